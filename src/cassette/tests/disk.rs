//! What is on the disk, and what happens where the disk refuses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::FileType;

use super::{Stage, begin, body, chunk, get, headers, key, ok, open, post, settle};
use crate::cassette::{Access, Cassette, CassetteError, ItemBody};
use crate::message::Ending;
use crate::mode::RecordPolicy::Replace;

#[test]
fn all_is_for_its_owner_alone() {
    let stage = Stage::new();
    let mut ticket = begin(&stage.cassette, get("/binary"), Replace).unwrap();
    ticket.head(ok(&[]), Duration::ZERO);
    ticket.chunk(chunk(1, vec![0; 10]));
    ticket.finish(Ending::Complete);
    stage.settle();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&stage.folder), 0o700);
    assert_eq!(mode(&stage.folder.join("bodies")), 0o700);
    let files = super::contents(&stage.folder);
    assert_eq!(
        files.len(),
        4,
        "a recording, its side file, the journal, the lock: {:?}",
        files.keys()
    );
    for path in files.keys() {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_large_body_goes_to_a_side_file_from_its_first_byte() {
    let stage = Stage::new();
    let mut ticket = begin(&stage.cassette, get("/large"), Replace).unwrap();
    ticket.head(ok(&[("content-type", "text/plain")]), Duration::ZERO);
    let piece = "0123456789abcdef".repeat(4096);
    for index in 0..40 {
        ticket.chunk(chunk(index, piece.clone()));
    }
    ticket.finish(Ending::Complete);
    stage.settle();
    let ids = stage.cassette.lookup(0, &key(&get("/large"), b""));
    let recording = stage.cassette.load(ids[0]).unwrap();
    assert_eq!(recording.items.len(), 40);
    assert_eq!(
        recording.items[39].body,
        ItemBody::Side {
            offset: 39 * 65536,
            len: 65536
        }
    );
    assert_eq!(body(&recording), piece.repeat(40).as_bytes());
    assert!(
        fs::metadata(stage.folder.join(&recording.name))
            .unwrap()
            .len()
            < 10_000
    );
    assert_eq!(
        super::contents(&stage.folder.join("bodies")).len(),
        1,
        "the spool is gone"
    );
}

#[test]
fn large_and_binary_requests_are_kept_and_found() {
    let large = vec![b'a'; 2_000_000];
    let binary: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for asked in [&large, &binary, &vec![0xff, 0xfe]] {
        let stage = Stage::new();
        let request = post("/upload", &[("content-type", "application/octet-stream")]);
        let mut ticket = begin(&stage.cassette, request.clone(), Replace).unwrap();
        ticket.head(ok(&[]), Duration::ZERO);
        for piece in asked.chunks(60_000) {
            // After the head, as of an upload that is answered early.
            ticket.request_body(Bytes::copy_from_slice(piece));
        }
        ticket.finish(Ending::Complete);
        stage.settle();
        let stage = stage.again();
        let ids = stage.cassette.lookup(0, &key(&request, asked));
        let recording = stage.cassette.load(ids[0]).unwrap();
        assert_eq!(
            recording.request_body.load().unwrap().unwrap(),
            asked.as_slice()
        );
        assert!(recording.items.is_empty());
    }
}

#[test]
fn a_request_that_is_too_large_is_found_by_its_head() {
    let stage = Stage::new();
    let request = post("/upload", &[("content-length", "99999999")]);
    let mut ticket = begin(&stage.cassette, request.clone(), Replace).unwrap();
    ticket.request_body(Bytes::from_static(b"beginning"));
    ticket.request_too_large();
    ticket.request_body(Bytes::from_static(b"more"));
    ticket.head(ok(&[]), Duration::ZERO);
    ticket.finish(Ending::Complete);
    stage.settle();
    let key = super::rules()
        .canonical(&request, crate::key::KeyBody::TooLarge)
        .key();
    assert_eq!(stage.cassette.lookup(0, &key).len(), 1);
}

#[test]
fn a_disk_that_refuses_stops_recording_and_nothing_else() {
    let stage = Stage::new();
    stage.record("/a", "a", Replace);
    stage.settle();
    fs::remove_dir_all(&stage.folder).unwrap();
    stage.record("/b", "b", Replace);
    stage.settle();
    let why = stage.cassette.health().unwrap();
    assert!(
        why.starts_with("cannot write `") && why.contains("No such file"),
        "{why}"
    );
    assert!(begin(&stage.cassette, get("/c"), Replace).is_none());
    settle(&stage.cassette);
    assert!(!stage.cassette.close(Duration::from_secs(10)));
}

#[test]
fn a_folder_that_cannot_be_is_refused() {
    let error = Cassette::open("/dev/null/x".as_ref(), Access::Write).unwrap_err();
    assert_eq!(error.to_string(), "cassette: cannot create `/dev/null/x`");
    let error = Cassette::open("/nowhere/at/all".as_ref(), Access::Read).unwrap_err();
    assert_eq!(error.to_string(), "cassette: cannot read `/nowhere/at/all`");
}

#[test]
fn links_are_refused() {
    let stage = Stage::new();
    stage.record("/a", "a", Replace);
    let name = stage.files().remove(0);
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("outside.json");
    fs::copy(stage.folder.join(&name), &target).unwrap();
    symlink(&target, stage.folder.join("link.json")).unwrap();
    fs::create_dir(stage.folder.join("folder.json")).unwrap();
    let stage = stage.again();
    let broken: Vec<_> = stage
        .cassette
        .broken()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        broken,
        [
            "folder.json: it is not a plain file",
            "link.json: it is a symbolic link, which is refused"
        ]
    );
    assert_eq!(stage.cassette.entries().len(), 1);
    let Stage {
        folder, cassette, ..
    } = &stage;
    assert!(cassette.close(Duration::from_secs(10)));
    fs::remove_dir_all(folder.join("bodies")).unwrap();
    symlink(outside.path(), folder.join("bodies")).unwrap();
    let error = Cassette::open(folder, Access::Write).unwrap_err();
    assert!(matches!(error, CassetteError::Symlink(_)), "{error}");
    let reader = open(folder, Access::Read);
    assert_eq!(reader.entries().len(), 1);
}

#[test]
fn a_journal_that_is_no_plain_file_is_refused_without_waiting() {
    let stage = Stage::new();
    stage.record("/x", "x", Replace);
    assert!(stage.cassette.close(Duration::from_secs(10)));
    let outside = tempfile::NamedTempFile::new().unwrap();
    let journal = stage.folder.join("journal.ndjson");
    let refused = |why: &str| {
        for access in [Access::Read, Access::Write] {
            let error = Cassette::open(&stage.folder, access).unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(source.to_string(), why);
        }
        fs::remove_file(&journal).unwrap();
    };
    fs::remove_file(&journal).unwrap();
    symlink(outside.path(), &journal).unwrap();
    refused("it is a symbolic link, which is refused");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &journal, FileType::Fifo, mode, 0).unwrap();
    refused("it is not a plain file");
    fs::remove_file(stage.folder.join(".lock")).unwrap();
    let lock = stage.folder.join(".lock");
    rustix::fs::mknodat(rustix::fs::CWD, &lock, FileType::Fifo, mode, 0).unwrap();
    assert_eq!(open(&stage.folder, Access::Read).entries().len(), 1);
    assert!(Cassette::open(&stage.folder, Access::Write).is_err());
}

#[test]
fn a_name_that_another_key_has_is_not_taken() {
    let stage = Stage::new();
    let short = key(&get("/x"), b"").short();
    fs::write(stage.folder.join(format!("GET-x-{short}.json")), "not json").unwrap();
    let stage = stage.again();
    stage.record("/x", "x", Replace);
    assert_eq!(stage.answers("/x"), ["x"]);
    let long = &key(&get("/x"), b"").to_string()[..20];
    assert_eq!(
        stage.files(),
        [format!("GET-x-{short}.json"), format!("GET-x-{long}.json")]
    );
    assert_eq!(
        stage.cassette.broken()[0].to_string(),
        format!("GET-x-{short}.json:1: not JSON: expected ident")
    );
}

#[test]
fn header_lines_that_could_not_be_read_again_are_left_out() {
    let stage = Stage::new();
    let mut ticket = begin(&stage.cassette, get("/x"), Replace).unwrap();
    ticket.head(
        ok(&[("good", "1"), ("b d", "2"), ("split", "a\r\nb: c")]),
        Duration::ZERO,
    );
    ticket.finish(Ending::Complete);
    stage.settle();
    let ids = stage.cassette.lookup(0, &key(&get("/x"), b""));
    assert_eq!(
        stage.cassette.load(ids[0]).unwrap().head.headers,
        headers(&[("good", "1")])
    );
}

#[test]
fn more_than_may_wait_ends_a_recording_and_never_the_caller() {
    let stage = Stage::new();
    // The writer can't go on while the index is held, as if the disk were stuck.
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(receiver);
    stage.record("/seed", "x", Replace);
    stage.settle();
    let cassette = stage.cassette.clone();
    let holder = std::thread::spawn(move || {
        cassette.index(move |_| {
            receiver.lock().unwrap().recv().unwrap_or_default();
            None
        });
    });
    std::thread::sleep(Duration::from_millis(50));
    stage.record("/stuck", "x", Replace);
    let mut ticket = begin(&stage.cassette, get("/large"), Replace).unwrap();
    ticket.head(ok(&[("content-type", "text/plain")]), Duration::ZERO);
    std::thread::sleep(Duration::from_millis(50));
    let piece = Bytes::from(vec![b'a'; 1024 * 1024]);
    let mut sent = 0;
    while ticket.is_open() && sent < 200 {
        ticket.chunk(crate::message::Chunk {
            at: Duration::ZERO,
            bytes: piece.clone(),
            held: false,
        });
        sent += 1;
    }
    assert!((50..70).contains(&sent), "64 MiB may wait, {sent} did");
    ticket.finish(Ending::Complete);
    drop(sender);
    holder.join().unwrap();
    super::index(&stage.cassette);
    stage.settle();
    let entries = stage.cassette.entries();
    let large = entries.iter().find(|entry| entry.path == "/large").unwrap();
    assert_eq!((large.ending, large.replayable), (Ending::Limit, false));
    assert!(large.bytes > 40 * 1024 * 1024);
    assert_eq!(stage.answers("/stuck"), ["x"]);
    // All that waited is given back.
    stage.record("/after", "x", Replace);
    assert_eq!(stage.answers("/after"), ["x"]);
    assert_eq!(stage.cassette.health(), None);
}

#[test]
fn a_journal_that_is_never_empty_is_written_anew() {
    let stage = Stage::new();
    let mut open_stream = begin(&stage.cassette, get("/open"), Replace).unwrap();
    open_stream.head(ok(&[("content-type", "text/plain")]), Duration::ZERO);
    open_stream.chunk(chunk(1, "early"));
    let text = "0123456789abcdef".repeat(40_000);
    for index in 0..120 {
        stage.record(&format!("/{index}"), &text, Replace);
        if index % 20 == 0 {
            stage.settle();
        }
    }
    stage.settle();
    let len = fs::metadata(stage.folder.join("journal.ndjson"))
        .unwrap()
        .len();
    assert!(len < 70 * 1024 * 1024, "{len}");
    open_stream.chunk(chunk(2, " and late"));
    std::thread::sleep(Duration::from_millis(50));
    // A kill now still leaves the whole prefix.
    let home = tempfile::tempdir().unwrap();
    super::copy(&stage.folder, home.path());
    let cassette = open(home.path(), Access::Write);
    let entry = cassette
        .entries()
        .into_iter()
        .find(|entry| entry.path == "/open")
        .unwrap();
    assert_eq!((entry.ending, entry.bytes), (Ending::Interrupted, 14));
    assert_eq!(cassette.entries().len(), 121);
}

#[test]
fn a_disk_that_is_full_is_told_once_with_its_name() {
    let mut journal = crate::cassette::journal::Journal::at("/dev/full".as_ref()).unwrap();
    let error = journal.append(b"{}\n").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}
