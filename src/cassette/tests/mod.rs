//! A stage on which exchanges are recorded, and what they all use.

mod behind;
mod crash;
mod disk;
mod encoded;
mod hostile;
mod many;
mod policy;
mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use crate::cassette::{Access, Begin, Cassette, Keying, Recording, Ticket};
use crate::key::{Key, KeyBody, KeyRules, KeySettings};
use crate::message::{Chunk, Ending, Headers, RequestHead, ResponseHead};
use crate::mode::RecordPolicy;
use crate::sanitize::redact::RedactRules;

/// A cassette in a folder of its own.
pub(super) struct Stage {
    pub(super) folder: PathBuf,
    pub(super) cassette: Cassette,
    _home: Option<TempDir>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("cassette");
        let cassette = open(&folder, Access::Write);
        Self {
            folder,
            cassette,
            _home: Some(home),
        }
    }

    /// The next run on the same folder.
    pub(super) fn again(self) -> Self {
        let Self {
            folder,
            cassette,
            _home: home,
        } = self;
        assert!(cassette.close(Duration::from_secs(10)));
        drop(cassette);
        let cassette = open(&folder, Access::Write);
        Self {
            folder,
            cassette,
            _home: home,
        }
    }

    pub(super) fn settle(&self) {
        settle(&self.cassette);
    }

    /// The names of the recordings in the folder.
    pub(super) fn files(&self) -> Vec<String> {
        self.settle();
        names(&self.folder)
    }

    /// Records a whole exchange.
    pub(super) fn record(&self, path: &str, answer: &str, policy: RecordPolicy) {
        self.record_ending(path, answer, policy, Ending::Complete);
    }

    pub(super) fn record_ending(
        &self,
        path: &str,
        answer: &str,
        policy: RecordPolicy,
        ending: Ending,
    ) {
        let mut ticket = begin(&self.cassette, get(path), policy).unwrap();
        ticket.head(
            ok(&[("content-type", "text/plain")]),
            Duration::from_micros(7),
        );
        ticket.chunk(chunk(1, answer));
        ticket.finish(ending);
    }

    /// What replay would find for a GET, in its sequence.
    pub(super) fn answers(&self, path: &str) -> Vec<String> {
        self.settle();
        answers(&self.cassette, path)
    }
}

pub(super) fn open(folder: &Path, access: Access) -> Cassette {
    let cassette = Cassette::open(folder, access).unwrap();
    index(&cassette);
    cassette
}

pub(super) fn index(cassette: &Cassette) {
    cassette.index(|_| {
        Some(Keying {
            route: 0,
            rules: rules(),
            redact: Some(Arc::new(RedactRules::default())),
        })
    });
}

pub(super) fn rules() -> Arc<KeyRules> {
    Arc::new(KeyRules::compile(&KeySettings::default()).unwrap())
}

pub(super) fn settle(cassette: &Cassette) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(cassette.settled());
}

pub(super) fn begin(
    cassette: &Cassette,
    request: RequestHead,
    policy: RecordPolicy,
) -> Option<Ticket> {
    let redactor = RedactRules::default().exchange(&request);
    cassette.begin(Begin {
        request,
        upstream: "http://127.0.0.1:9000".to_owned(),
        redactor,
        rules: rules(),
        policy,
        at: SystemTime::now(),
    })
}

pub(super) fn get(path: &str) -> RequestHead {
    RequestHead {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: None,
        headers: headers(&[("host", "api.test")]),
    }
}

pub(super) fn post(path: &str, lines: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: "POST".to_owned(),
        headers: headers(lines),
        ..get(path)
    }
}

pub(super) fn ok(lines: &[(&str, &str)]) -> ResponseHead {
    ResponseHead {
        status: 200,
        reason: None,
        headers: headers(lines),
    }
}

pub(super) fn headers(lines: &[(&str, &str)]) -> Headers {
    lines
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect()
}

pub(super) fn chunk(at_ms: u64, bytes: impl AsRef<[u8]>) -> Chunk {
    Chunk {
        at: Duration::from_millis(at_ms),
        bytes: Bytes::copy_from_slice(bytes.as_ref()),
        held: false,
    }
}

pub(super) fn key(request: &RequestHead, body: &[u8]) -> Key {
    let mut redactor = RedactRules::default().exchange(request);
    let head = redactor.request_head(request).into_inner();
    let body = redactor.request_body(request, body).into_inner();
    rules().canonical(&head, KeyBody::Whole(&body)).key()
}

pub(super) fn body(recording: &Recording) -> Vec<u8> {
    let pieces = recording
        .items
        .iter()
        .map(|item| recording.read(&item.body).unwrap());
    pieces.collect::<Vec<_>>().concat()
}

/// The answer's body as it goes over the wire.
pub(super) fn wire(recording: &Recording) -> Vec<u8> {
    wire_chunks(recording)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect::<Vec<_>>()
        .concat()
}

/// The same in its chunks, with their times in milliseconds.
pub(super) fn wire_chunks(recording: &Recording) -> Vec<(u128, Vec<u8>)> {
    let played = recording.playback.as_deref();
    if let Some(again) = played.and_then(|playback| playback.encoder.as_ref()) {
        let whole = body(recording);
        let encoder = again.encoder(whole.len(), recording.items.len()).unwrap();
        return vec![(0, encoder.pack(&[whole], true).unwrap().concat())];
    }
    let Some(playback) = played else {
        let items = recording.items.iter();
        return items
            .map(|item| {
                (
                    item.at.as_millis(),
                    recording.read(&item.body).unwrap().to_vec(),
                )
            })
            .collect();
    };
    let shown = Recording {
        items: playback.items.clone(),
        side: playback.side.clone(),
        playback: None,
        ..recording.clone()
    };
    wire_chunks(&shown)
}

pub(super) fn answers(cassette: &Cassette, path: &str) -> Vec<String> {
    cassette
        .lookup(0, &key(&get(path), b""))
        .into_iter()
        .map(|id| String::from_utf8(body(&cassette.load(id).unwrap())).unwrap())
        .collect()
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.strip_suffix(".json").is_some() && !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// All files below a folder, with their bytes.
pub(super) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(path, bytes);
        }
    }
    found
}

/// Copies a cassette as it stands, as a kill would leave it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn what_was_recorded_is_found_and_says_the_same() {
    let stage = Stage::new();
    let request = post(
        "/v1/chat",
        &[("Content-Type", "application/json"), ("X-Odd", "1")],
    );
    let mut ticket = begin(&stage.cassette, request.clone(), RecordPolicy::Replace).unwrap();
    ticket.request_body(Bytes::from_static(b"{\"b\":1,"));
    ticket.request_body(Bytes::from_static(b"\"a\":[true]}"));
    let head = ok(&[
        ("Content-Type", "text/event-stream"),
        ("A", "1"),
        ("a", "2"),
    ]);
    ticket.head(head.clone(), Duration::from_micros(1234));
    ticket.chunk(chunk(3, "data: {\"x\":\"ü"));
    ticket.chunk(Chunk {
        held: true,
        ..chunk(5, "\"}\n\n")
    });
    ticket.chunk(chunk(5, vec![0xc3]));
    ticket.chunk(chunk(6, vec![0xbc]));
    ticket.protocol("h2");
    ticket.trailers(headers(&[("x-sum", "1")]));
    ticket.finish(Ending::Closed);
    stage.settle();
    let ids = stage
        .cassette
        .lookup(0, &key(&request, b"{\"a\":[true],\"b\":1}"));
    assert_eq!(ids.len(), 1);
    let recording = stage.cassette.load(ids[0]).unwrap();
    assert_eq!(recording.head, head);
    assert_eq!(recording.request, request);
    assert_eq!(recording.head_after, Duration::from_micros(1234));
    let items: Vec<_> = recording
        .items
        .iter()
        .map(|item| {
            (
                item.at.as_millis(),
                recording.read(&item.body).unwrap(),
                item.held,
            )
        })
        .collect();
    assert_eq!(
        items,
        [
            (3, Bytes::from_static("data: {\"x\":\"ü".as_bytes()), false),
            (5, Bytes::from_static(b"\"}\n\n"), true),
            (5, Bytes::from_static(b"\xc3"), false),
            (6, Bytes::from_static(b"\xbc"), false),
        ]
    );
    assert_eq!(recording.trailers, Some(headers(&[("x-sum", "1")])));
    assert_eq!(recording.protocol, "h2");
    assert_eq!(recording.ending, Ending::Closed);
    assert!(recording.is_replayable());
    let entries = stage.cassette.entries();
    assert_eq!(
        (entries[0].chunks, entries[0].bytes, entries[0].status),
        (4, 20, 200)
    );
    assert_eq!(fs::read(stage.folder.join("journal.ndjson")).unwrap(), b"");
}

#[test]
fn many_exchanges_at_once_are_all_kept() {
    let stage = Stage::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let stage = &stage;
            scope.spawn(move || {
                for index in 0..50 {
                    stage.record(&format!("/{thread}/{index}"), "same", RecordPolicy::Replace);
                }
            });
        }
    });
    assert_eq!(stage.files().len(), 200);
    assert_eq!(stage.answers("/3/49"), ["same"]);
    assert_eq!(stage.cassette.health(), None);
}

#[test]
fn an_exchange_without_a_head_or_without_an_end_is_not_kept() {
    let stage = Stage::new();
    begin(&stage.cassette, get("/a"), RecordPolicy::Replace)
        .unwrap()
        .finish(Ending::Closed);
    let mut ticket = begin(&stage.cassette, get("/b"), RecordPolicy::Replace).unwrap();
    ticket.head(ok(&[]), Duration::ZERO);
    ticket.chunk(chunk(1, vec![0; 2_000_000]));
    drop(ticket);
    assert_eq!(stage.files(), Vec::<String>::new());
    stage.record("/c", "c", RecordPolicy::Replace);
    assert_eq!(stage.files().len(), 1);
    assert_eq!(contents(&stage.folder.join("bodies")).len(), 0);
}

#[test]
fn what_is_under_way_at_the_end_is_kept_as_interrupted() {
    let stage = Stage::new();
    let mut ticket = begin(&stage.cassette, get("/a"), RecordPolicy::Replace).unwrap();
    ticket.head(ok(&[]), Duration::ZERO);
    ticket.chunk(chunk(1, "so far"));
    assert!(stage.cassette.close(Duration::from_secs(10)));
    ticket.chunk(chunk(2, "too late"));
    ticket.finish(Ending::Complete);
    let reader = open(&stage.folder, Access::Read);
    let entries = reader.entries();
    assert_eq!(
        (entries[0].ending, entries[0].bytes, entries[0].replayable),
        (Ending::Interrupted, 6, false)
    );
    assert!(begin(&stage.cassette, get("/b"), RecordPolicy::Replace).is_none());
}

#[test]
fn near_recordings_come_in_the_order_of_their_likeness() {
    let stage = Stage::new();
    for path in ["/v1/models", "/v1/chat/completions", "/v1/chat", "/other"] {
        stage.record(path, "x", RecordPolicy::Replace);
    }
    stage.settle();
    let wanted = rules().canonical(&get("/v1/chat"), KeyBody::Whole(b"{}"));
    let near: Vec<_> = stage
        .cassette
        .near(&wanted, 3)
        .into_iter()
        .filter_map(|(_, canonical)| Some(canonical?.path))
        .collect();
    assert_eq!(near, ["/v1/chat", "/v1/chat/completions", "/v1/models"]);
}
