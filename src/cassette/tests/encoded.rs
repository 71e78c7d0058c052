//! Bodies in encodings.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;

use super::{Stage, begin, body, contents, get, key, ok};
use crate::cassette::Recording;
use crate::message::{Chunk, Ending, ResponseHead};
use crate::mode::RecordPolicy::Replace;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Records an answer of these bytes in three chunks, to a request with a secret.
fn record(
    stage: &Stage,
    head: ResponseHead,
    bytes: &[u8],
    ending: Ending,
) -> std::sync::Arc<Recording> {
    let mut request = get("/x");
    request.headers.push("x-api-key", "sk-planted-0123456789");
    let mut ticket = begin(&stage.cassette, request.clone(), Replace).unwrap();
    ticket.head(head, Duration::ZERO);
    for (index, piece) in bytes.chunks(bytes.len().div_ceil(3)).enumerate() {
        let at = Duration::from_millis(index as u64);
        ticket.chunk(Chunk {
            at,
            bytes: Bytes::copy_from_slice(piece),
            held: false,
        });
    }
    ticket.finish(ending);
    stage.settle();
    for (path, bytes) in contents(&stage.folder) {
        assert!(
            !String::from_utf8_lossy(&bytes).contains("planted"),
            "{}",
            path.display()
        );
    }
    let ids = stage.cassette.lookup(0, &key(&request, b""));
    stage.cassette.load(ids[0]).unwrap()
}

fn head(length: usize) -> ResponseHead {
    let length = length.to_string();
    ok(&[
        ("content-encoding", "gzip"),
        ("content-length", &length),
        ("content-md5", "x"),
    ])
}

#[test]
fn an_encoded_body_without_secrets_is_kept_as_it_came() {
    let stage = Stage::new();
    let wire = gzip("no secret in here. ".repeat(50).as_bytes());
    let recording = record(&stage, head(wire.len()), &wire, Ending::Complete);
    assert_eq!(body(&recording), wire);
    assert_eq!(recording.items.len(), 3);
    assert_eq!(recording.head, head(wire.len()));
}

#[test]
fn an_encoded_body_that_hides_a_secret_is_kept_decoded_without_it() {
    let stage = Stage::new();
    let wire = gzip("your key is sk-planted-0123456789. ".repeat(50).as_bytes());
    let recording = record(&stage, head(wire.len()), &wire, Ending::Complete);
    let shown = "your key is [redacted:x-api-key]. ".repeat(50);
    assert_eq!(String::from_utf8(body(&recording)).unwrap(), shown);
    let length = shown.len().to_string();
    assert_eq!(recording.head, ok(&[("content-length", &length)]));
}

#[test]
fn a_body_that_is_not_what_its_encoding_says_is_kept_as_it_came_but_for_secrets() {
    let stage = Stage::new();
    let plain = b"this is no gzip at all, really";
    let recording = record(&stage, head(plain.len()), plain, Ending::Complete);
    assert_eq!(body(&recording), plain);
    assert_eq!(recording.head, head(plain.len()));
    let stage = Stage::new();
    let plain = b"this is no gzip and shows sk-planted-0123456789 to all";
    let recording = record(&stage, head(plain.len()), plain, Ending::Complete);
    assert_eq!(
        body(&recording),
        b"this is no gzip and shows [redacted:x-api-key] to all"
    );
    let stage = Stage::new();
    let broken = [
        &gzip(b"fine")[..10],
        b"garbage that is no deflate \xff\xff\xff sk-planted-0123456789",
    ]
    .concat();
    record(&stage, head(broken.len()), &broken, Ending::Complete);
}

#[test]
fn an_encoded_stream_that_was_cut_is_kept_as_it_came() {
    let stage = Stage::new();
    let wire = gzip("no secret in here. ".repeat(500).as_bytes());
    let cut = &wire[..wire.len() - 12];
    let recording = record(&stage, head(wire.len()), cut, Ending::Closed);
    assert_eq!(body(&recording), cut);
    assert_eq!(
        recording.head,
        head(wire.len()),
        "it still claims what never came"
    );
}
