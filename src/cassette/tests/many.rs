//! Many recordings: what is in memory, what is loaded once, and what others change on the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Stage, answers, body, get, key, open, post, rules};
use crate::cassette::{Access, Cassette, CassetteError, MemoryStats};
use crate::key::KeyBody;
use crate::message::Ending;
use crate::mode::RecordPolicy::{Append, Replace};

/// The file of a recording of GET.
fn file(path: &str, answer: &str) -> String {
    format!(
        r#"{{
  "version": 1,
  "recorded": {{
    "at": "2026-01-31T12:00:00Z", "upstream": "http://127.0.0.1:9000", "protocol": "http/1.1",
    "request": {{ "method": "GET", "path": "{path}", "headers": [["Host", "api.test"]] }},
    "response": {{
      "status": 200, "head_us": 5, "headers": [],
      "items": [
        [1, "{answer}"]
      ]
    }},
    "ending": "complete"
  }}
}}
"#
    )
}

/// A folder with a recording of `/0`, `/1` and on, each of which answers its path.
fn folder(count: usize) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for index in 0..count {
        let text = file(&format!("/{index}"), &format!("/{index}"));
        fs::write(home.path().join(format!("{index}.json")), text).unwrap();
    }
    home
}

fn watched(folder: &Path) -> Cassette {
    let cassette = open(folder, Access::Read);
    cassette.watch().unwrap();
    cassette
}

/// Waits until something is so; a machine may be very slow.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "not seen: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn memory_holds_what_was_used_last_within_its_bounds() {
    let home = folder(20);
    let cassette = open(home.path(), Access::Read);
    cassette.limit_memory(5, usize::MAX);
    for index in 0..20 {
        assert_eq!(
            answers(&cassette, &format!("/{index}")),
            [format!("/{index}")]
        );
    }
    assert_eq!(answers(&cassette, "/19"), ["/19"]);
    let stats = cassette.memory();
    let bytes = stats.bytes;
    let expected = MemoryStats {
        hits: 1,
        misses: 20,
        evictions: 15,
        loads: 20,
        entries: 5,
        bytes,
    };
    assert_eq!(stats, expected);
    cassette.limit_memory(100, bytes / 2);
    let stats = cassette.memory();
    assert!(stats.entries < 3 && stats.bytes <= bytes / 2, "{stats:?}");
    cassette.limit_memory(0, 0);
    assert_eq!(answers(&cassette, "/19"), ["/19"], "without any memory too");
    assert_eq!(cassette.memory().bytes, 0);
}

#[test]
fn all_who_wait_for_a_recording_have_it_loaded_once() {
    let stage = Stage::new();
    stage.record("/small", "small", Replace);
    // Beyond what is read without handing over to another thread.
    let large = "0123456789abcdef".repeat(20_000);
    stage.record("/large", &large, Replace);
    let stage = stage.again();
    let runtime = runtime();
    for path in ["/small", "/large"] {
        let before = stage.cassette.memory().loads;
        let ids = stage.cassette.lookup(0, &key(&get(path), b""));
        let all: Vec<_> = (0..64)
            .map(|_| {
                let (cassette, id) = (stage.cassette.clone(), ids[0]);
                runtime.spawn(async move { cassette.fetch(id).await.unwrap() })
            })
            .collect();
        let all: Vec<_> = all
            .into_iter()
            .map(|one| runtime.block_on(one).unwrap())
            .collect();
        assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])), "{path}");
        assert_eq!(stage.cassette.memory().loads, before + 1, "{path}");
    }
}

#[test]
fn a_load_that_nobody_waits_for_any_more_is_begun_again() {
    let stage = Stage::new();
    stage.record("/large", &"0123456789abcdef".repeat(20_000), Replace);
    let stage = stage.again();
    let ids = stage.cassette.lookup(0, &key(&get("/large"), b""));
    runtime().block_on(async {
        for _ in 0..20 {
            let fetch = stage.cassette.fetch(ids[0]);
            // Polled once, then dropped: the client left.
            drop(tokio::time::timeout(Duration::ZERO, fetch).await);
        }
        let recording = stage.cassette.fetch(ids[0]).await.unwrap();
        assert_eq!(body(&recording).len(), 320_000);
    });
}

#[test]
fn what_others_add_edit_and_remove_is_seen() {
    let home = folder(3);
    let cassette = watched(home.path());
    let at = |name: &str| home.path().join(name);
    fs::write(at("new.json"), file("/new", "new")).unwrap();
    wait("an addition", || answers(&cassette, "/new") == ["new"]);
    assert_eq!(answers(&cassette, "/1"), ["/1"], "it's in memory now");
    fs::write(at("1.json"), file("/1", "edited in place")).unwrap();
    wait("an edit", || {
        answers(&cassette, "/1") == ["edited in place"]
    });
    fs::write(at(".1.swp"), file("/1", "put in place")).unwrap();
    fs::rename(at(".1.swp"), at("1.json")).unwrap();
    wait("a file put in place", || {
        answers(&cassette, "/1") == ["put in place"]
    });
    fs::write(at("1.json"), file("/other", "of another path")).unwrap();
    wait("another request", || {
        answers(&cassette, "/other") == ["of another path"]
    });
    assert!(answers(&cassette, "/1").is_empty());
    fs::rename(at("2.json"), at("renamed.json")).unwrap();
    wait("a new name", || {
        cassette.named("renamed").is_ok() && cassette.named("2").is_err()
    });
    fs::remove_file(at("0.json")).unwrap();
    let removed = key(&get("/0"), b"");
    wait("a removal", || cassette.count(0, &removed) == 0);
    assert_eq!(cassette.entries().len(), 3);
}

#[test]
fn an_edit_that_breaks_a_recording_refuses_what_it_matched_until_it_is_mended() {
    let home = folder(2);
    let cassette = watched(home.path());
    assert_eq!(answers(&cassette, "/1"), ["/1"]);
    let text = file("/1", "mended");
    let spoiled = text.replace("\"status\": 200", "\"status\": \"200\"");
    fs::write(home.path().join("1.json"), spoiled).unwrap();
    wait("the mistake", || !cassette.broken().is_empty());
    let ids = cassette.lookup(0, &key(&get("/1"), b""));
    let error = cassette.load(ids[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1.json:7: \"status\" must be a whole number from 100 to 999, found \"200\""
    );
    assert!(matches!(error, CassetteError::Broken(_)));
    assert_eq!(cassette.entries().len(), 1);
    assert_eq!(cassette.replayable(), 1);
    fs::write(home.path().join("1.json"), text).unwrap();
    wait("the mended one", || cassette.broken().is_empty());
    assert_eq!(answers(&cassette, "/1"), ["mended"]);
}

#[test]
fn a_recording_that_came_before_its_side_file_is_seen_when_that_is_there() {
    let stage = Stage::new();
    let mut ticket = super::begin(&stage.cassette, get("/binary"), Replace).unwrap();
    ticket.head(super::ok(&[]), Duration::ZERO);
    ticket.chunk(super::chunk(1, [0, 159, 146, 150]));
    ticket.finish(Ending::Complete);
    let name = stage.files().remove(0);
    let bodies = stage.folder.join("bodies");
    let side = super::contents(&bodies).into_keys().next().unwrap();
    let home = tempfile::tempdir().unwrap();
    let cassette = watched(home.path());
    fs::copy(stage.folder.join(&name), home.path().join(&name)).unwrap();
    wait("the lack", || !cassette.broken().is_empty());
    // The folder for it is new too.
    fs::create_dir(home.path().join("bodies")).unwrap();
    let target = home.path().join("bodies").join(side.file_name().unwrap());
    fs::copy(&side, target).unwrap();
    wait("the whole", || cassette.broken().is_empty());
    assert_eq!(cassette.entries().len(), 1);
}

#[test]
fn a_folder_that_is_taken_away_and_comes_back_is_seen_again() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    fs::create_dir(&one).unwrap();
    fs::write(one.join("a.json"), file("/a", "a")).unwrap();
    let cassette = watched(&one);
    wait("the first look", || answers(&cassette, "/a") == ["a"]);
    fs::rename(&one, &two).unwrap();
    wait("that all is gone", || cassette.entries().is_empty());
    fs::write(two.join("b.json"), file("/b", "b")).unwrap();
    fs::rename(&two, &one).unwrap();
    wait("that all is back", || cassette.entries().len() == 2);
    fs::write(one.join("c.json"), file("/c", "c")).unwrap();
    wait("a change after that", || answers(&cassette, "/c") == ["c"]);
}

#[test]
fn what_we_record_ourselves_is_not_taken_for_a_change_by_others() {
    let stage = Stage::new();
    stage.cassette.watch().unwrap();
    for index in 0..50 {
        stage.record(&format!("/{index}"), "ours", Replace);
        stage.record("/sequence", &index.to_string(), Append);
    }
    stage.settle();
    assert_eq!(stage.answers("/7"), ["ours"]);
    // By then what was ours was looked at.
    let extra = stage.folder.join("by-hand.json");
    fs::write(&extra, file("/by-hand", "theirs")).unwrap();
    wait("the addition", || stage.answers("/by-hand") == ["theirs"]);
    assert_eq!(stage.cassette.entries().len(), 101);
    assert_eq!(
        stage.answers("/sequence"),
        (0..50).map(|index| index.to_string()).collect::<Vec<_>>()
    );
    // What was ours was never read again: else it would have been taken out of the memory.
    let loads = stage.cassette.memory().loads;
    assert_eq!(stage.answers("/7"), ["ours"]);
    assert_eq!(stage.cassette.memory().loads, loads);
}

#[test]
fn a_recording_that_a_person_broke_is_never_recorded_over() {
    let stage = Stage::new();
    stage.record("/x", "first", Replace);
    let name = stage.files().remove(0);
    let stage = stage.again();
    stage.cassette.watch().unwrap();
    fs::write(stage.folder.join(&name), "half an edi").unwrap();
    wait("the mistake", || !stage.cassette.broken().is_empty());
    stage.record("/x", "second", Replace);
    let files = stage.files();
    assert_eq!(files.len(), 2, "{files:?}");
    let kept = fs::read_to_string(stage.folder.join(&name)).unwrap();
    assert_eq!(kept, "half an edi");
}

#[test]
fn a_long_sequence_is_found_by_its_positions() {
    let stage = Stage::new();
    for answer in ["a", "b", "c"] {
        stage.record("/x", answer, Append);
    }
    let second = stage
        .files()
        .into_iter()
        .find(|name| name.ends_with("-2.json"));
    let path = stage.folder.join(second.unwrap());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("\"play\": {}", "\"play\": {\"repeat\": 3}"),
    )
    .unwrap();
    let stage = stage.again();
    let key = key(&get("/x"), b"");
    let all = stage.cassette.lookup(0, &key);
    assert_eq!(stage.answers("/x"), ["a", "b", "b", "b", "c"]);
    assert_eq!(stage.cassette.count(0, &key), 5);
    let each: Vec<_> = (0..5)
        .map(|position| stage.cassette.nth(0, &key, position).unwrap())
        .collect();
    assert_eq!(each, all);
    assert_eq!(stage.cassette.nth(0, &key, 5), None);
}

#[test]
fn a_miss_among_many_reads_at_most_32_files_and_finds_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    let question = |index: usize| {
        let words: Vec<_> = (0..20)
            .map(|at| blake3::hash(format!("{index} {at}").as_bytes()).as_bytes()[0])
            .map(|number| format!("word{number}"))
            .collect();
        format!("question {index}: {}", words.join(" "))
    };
    for index in 0..3000 {
        let asked = format!(
            r#""body": {{ "json": {{ "model": "m", "prompt": "{}" }} }},"#,
            question(index)
        );
        let text = file("/v1/chat", "x")
            .replace("\"GET\"", "\"POST\"")
            .replace(
                "\"headers\": [[\"Host\"",
                &format!("{asked} \"headers\": [[\"Host\""),
            );
        fs::write(home.path().join(format!("{index}.json")), text).unwrap();
    }
    let cassette = open(home.path(), Access::Read);
    assert_eq!(cassette.entries().len(), 3000);
    let asked = format!(r#"{{"model":"m","prompt":"{}, please"}}"#, question(1234));
    let wanted = rules().canonical(&post("/v1/chat", &[]), KeyBody::Whole(asked.as_bytes()));
    let near = cassette.near(&wanted, 1000);
    assert_eq!(near.len(), 32);
    assert_eq!(near[0].0, "1234.json");
    assert_eq!(
        cassette.memory().entries,
        0,
        "it puts nothing out of the memory"
    );
}
