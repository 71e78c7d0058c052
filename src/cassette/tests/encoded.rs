//! Bodies in encodings.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Stage, begin, body, contents, get, key, ok, wire, wire_chunks};
use crate::cassette::{Flaw, Recording};
use crate::encoding::{Encoder, Flush, decode};
use crate::message::{Chunk, Ending, ResponseHead};
use crate::mode::RecordPolicy::Replace;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// By an encoder that is none of those that are tried: in two members.
fn oddly(text: &[u8]) -> Vec<u8> {
    let (first, second) = text.split_at(text.len() / 2);
    [gzip(first), gzip(second)].concat()
}

/// Records an answer of these chunks to a request with a secret, a millisecond between them.
fn record_chunks<B: AsRef<[u8]>>(
    stage: &Stage,
    head: ResponseHead,
    chunks: &[B],
    ending: Ending,
) -> Arc<Recording> {
    let mut request = get("/x");
    request.headers.push("x-api-key", "sk-planted-0123456789");
    let mut ticket = begin(&stage.cassette, request.clone(), Replace).unwrap();
    ticket.head(head, Duration::ZERO);
    for (index, piece) in chunks.iter().enumerate() {
        let at = Duration::from_millis(index as u64);
        ticket.chunk(Chunk {
            at,
            bytes: Bytes::copy_from_slice(piece.as_ref()),
            held: false,
        });
    }
    ticket.finish(ending);
    stage.settle();
    for (path, bytes) in contents(&stage.folder) {
        let unpacked = decode("gzip", &bytes, 1 << 24).unwrap_or_default();
        for view in [bytes, unpacked] {
            assert!(
                !String::from_utf8_lossy(&view).contains("planted"),
                "{}",
                path.display()
            );
        }
    }
    load(stage)
}

fn load(stage: &Stage) -> Arc<Recording> {
    let ids = stage.cassette.lookup(0, &key(&get("/x"), b""));
    stage.cassette.load(ids[0]).unwrap()
}

/// The same in three chunks.
fn record(stage: &Stage, head: ResponseHead, bytes: &[u8], ending: Ending) -> Arc<Recording> {
    let pieces: Vec<_> = bytes.chunks(bytes.len().div_ceil(3)).collect();
    record_chunks(stage, head, &pieces, ending)
}

fn head(length: usize) -> ResponseHead {
    let length = length.to_string();
    ok(&[
        ("content-encoding", "gzip"),
        ("content-length", &length),
        ("content-md5", "x"),
    ])
}

fn played(recording: &Recording) -> &ResponseHead {
    recording
        .playback
        .as_ref()
        .map_or(&recording.head, |playback| &playback.head)
}

/// The only recording, as it stands in its file.
fn file(stage: &Stage) -> String {
    fs::read_to_string(stage.folder.join(&stage.files()[0])).unwrap()
}

fn sides(stage: &Stage) -> usize {
    contents(&stage.folder.join("bodies")).len()
}

/// Changes the file as a person would, and looks at it anew.
fn edit(stage: Stage, old: &str, new: &str) -> (Stage, Arc<Recording>) {
    let text = file(&stage);
    assert!(text.contains(old), "{old:?} is not in {text}");
    let path = stage.folder.join(&stage.files()[0]);
    fs::write(path, text.replace(old, new)).unwrap();
    let stage = stage.again();
    let recording = load(&stage);
    (stage, recording)
}

#[test]
fn an_encoded_body_is_shown_decoded_and_encoded_again() {
    let stage = Stage::new();
    let wire_bytes = gzip(br#"{"answer":"forty-two","list":[1,2]}"#);
    let recording = record(
        &stage,
        head(wire_bytes.len()),
        &wire_bytes,
        Ending::Complete,
    );
    assert_eq!(body(&recording), br#"{"answer":"forty-two","list":[1,2]}"#);
    assert_eq!(wire(&recording), wire_bytes);
    assert_eq!(wire_chunks(&recording).len(), 3);
    assert_eq!(*played(&recording), head(wire_bytes.len()));
    let text = file(&stage);
    assert!(text.contains("\"answer\": \"forty-two\""), "{text}");
    assert!(
        text.contains("\"method\": \"gzip\", \"by\": \"zlib"),
        "{text}"
    );
    assert_eq!(sides(&stage), 0, "nothing else is kept");
}

#[test]
fn what_encoding_again_does_not_give_is_kept_beside_what_is_shown() {
    let stage = Stage::new();
    let wire_bytes = oddly("no secret in here. ".repeat(50).as_bytes());
    let recording = record(
        &stage,
        head(wire_bytes.len()),
        &wire_bytes,
        Ending::Complete,
    );
    assert_eq!(wire(&recording), wire_bytes);
    assert_eq!(wire_chunks(&recording).len(), 3);
    assert_eq!(*played(&recording), head(wire_bytes.len()));
    assert!(file(&stage).contains("no secret in here."));
    assert_eq!(sides(&stage), 1);
    let stage = stage.again();
    assert_eq!(load(&stage), recording);
}

#[test]
fn an_edited_body_is_encoded_again() {
    for encode in [gzip, oddly] {
        let stage = Stage::new();
        let wire_bytes = encode(br#"{"answer":"forty-two"}"#);
        record(
            &stage,
            head(wire_bytes.len()),
            &wire_bytes,
            Ending::Complete,
        );
        let (stage, recording) = edit(stage, "\"forty-two\"", "\"something else, and more of it\"");
        let edited = br#"{"answer":"something else, and more of it"}"#;
        assert_eq!(decode("gzip", &wire(&recording), 1000).unwrap(), edited);
        let length = wire(&recording).len().to_string();
        assert_eq!(
            played(&recording).headers.get_str("content-length"),
            Some(&*length)
        );
        assert_eq!(
            played(&recording).headers.get_str("content-encoding"),
            Some("gzip")
        );
        let (_stage, recording) = edit(
            stage,
            "[\"content-encoding\", \"gzip\"],",
            "[\"content-encoding\", \"br\"],",
        );
        assert_eq!(decode("br", &wire(&recording), 1000).unwrap(), edited);
    }
}

#[test]
fn what_cannot_be_encoded_is_served_as_it_is() {
    let stage = Stage::new();
    let wire_bytes = gzip(b"hello hello hello");
    record(
        &stage,
        head(wire_bytes.len()),
        &wire_bytes,
        Ending::Complete,
    );
    for name in ["rot13", "identity"] {
        let stage = Stage {
            folder: stage.folder.clone(),
            cassette: stage.cassette.clone(),
            _home: None,
        };
        let text = file(&stage).replace(
            "[\"content-encoding\", \"gzip\"]",
            &format!("[\"content-encoding\", \"{name}\"]"),
        );
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join(&stage.files()[0]), text).unwrap();
        let cassette = super::open(other.path(), crate::cassette::Access::Read);
        let ids = cassette.lookup(0, &key(&get("/x"), b""));
        let recording = cassette.load(ids[0]).unwrap();
        assert_eq!(wire(&recording), b"hello hello hello");
        assert_eq!(
            *played(&recording),
            ok(&[("content-length", "17"), ("content-md5", "x")])
        );
    }
}

#[test]
fn an_encoded_body_that_hides_a_secret_loses_it_and_stays_encoded() {
    for encode in [gzip, oddly] {
        let stage = Stage::new();
        let wire_bytes = encode("your key is sk-planted-0123456789. ".repeat(50).as_bytes());
        let recording = record(
            &stage,
            head(wire_bytes.len()),
            &wire_bytes,
            Ending::Complete,
        );
        let shown = "your key is [redacted:x-api-key]. ".repeat(50);
        assert_eq!(String::from_utf8(body(&recording)).unwrap(), shown);
        let again = wire(&recording);
        assert_eq!(decode("gzip", &again, 10_000).unwrap(), shown.as_bytes());
        let length = again.len().to_string();
        let expected = ok(&[("content-encoding", "gzip"), ("content-length", &length)]);
        assert_eq!(*played(&recording), expected);
        assert_eq!(recording.head, expected, "the file says it too");
        assert_eq!(sides(&stage), 0);
    }
}

#[test]
fn a_large_body_that_hides_a_secret_is_encoded_while_it_is_played() {
    let stage = Stage::new();
    let text = "your key is sk-planted-0123456789. ".repeat(50_000);
    let wire_bytes = gzip(text.as_bytes());
    let recording = record(
        &stage,
        head(wire_bytes.len()),
        &wire_bytes,
        Ending::Complete,
    );
    let shown = text.replace("sk-planted-0123456789", "[redacted:x-api-key]");
    assert!(decode("gzip", &wire(&recording), 1 << 22).unwrap() == shown.as_bytes());
    assert_eq!(*played(&recording), ok(&[("content-encoding", "gzip")]));
}

#[test]
fn a_secret_beside_the_encoded_body_is_not_kept() {
    let stage = Stage::new();
    let mut writer = flate2::GzBuilder::new()
        .filename("sk-planted-0123456789.txt")
        .write(Vec::new(), flate2::Compression::default());
    writer.write_all(b"nothing in here").unwrap();
    let named = writer.finish().unwrap();
    let recording = record(&stage, head(named.len()), &named, Ending::Complete);
    assert_eq!(
        decode("gzip", &wire(&recording), 100).unwrap(),
        b"nothing in here"
    );
    let stage = Stage::new();
    let behind = [gzip(b"nothing in here"), b"sk-planted-0123456789".to_vec()].concat();
    let recording = record(&stage, head(behind.len()), &behind, Ending::Complete);
    assert_eq!(
        decode("gzip", &wire(&recording), 100).unwrap(),
        b"nothing in here"
    );
}

#[test]
fn a_body_that_is_not_what_its_encoding_says_is_kept_as_it_came_but_for_secrets() {
    let stage = Stage::new();
    let plain = b"this is no gzip at all, really";
    let recording = record(&stage, head(plain.len()), plain, Ending::Complete);
    assert_eq!(wire(&recording), plain);
    assert_eq!(recording.head, head(plain.len()));
    assert!(file(&stage).contains("\"undecoded\": \"the body is not valid gzip\""));
    let stage = Stage::new();
    let plain = b"this is no gzip and shows sk-planted-0123456789 to all";
    let recording = record(&stage, head(plain.len()), plain, Ending::Complete);
    assert_eq!(
        wire(&recording),
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
fn an_unknown_encoding_is_kept_as_it_came() {
    let stage = Stage::new();
    let bytes = b"\x00\xff\xfe whatever this is";
    let odd = ok(&[
        ("content-encoding", "x-odd"),
        ("content-type", "text/plain"),
    ]);
    let recording = record_chunks(&stage, odd.clone(), &[bytes], Ending::Complete);
    assert_eq!(
        (wire(&recording), played(&recording)),
        (bytes.to_vec(), &odd)
    );
    let why = "unknown content encoding `x-odd`, expected gzip, deflate, br, zstd or identity";
    let flaw = recording.encoded.as_ref().unwrap().flaw.clone();
    assert_eq!(flaw, Some(Flaw::Undecoded(why.to_owned())));
}

#[test]
fn an_encoded_stream_that_was_cut_is_kept_as_it_came() {
    let stage = Stage::new();
    let whole = gzip("no secret in here. ".repeat(500).as_bytes());
    for (ending, flaw) in [
        (Ending::Closed, "the body is not valid gzip"),
        (Ending::Complete, "the body is not valid gzip"),
    ] {
        let cut = &whole[..whole.len() - 12];
        let recording = record(&stage, head(whole.len()), cut, ending);
        assert_eq!(wire(&recording), cut);
        if ending == Ending::Closed {
            assert_eq!(
                *played(&recording),
                head(whole.len()),
                "it still claims what never came"
            );
        }
        let expected = Some(Flaw::Broken(flaw.to_owned()));
        assert_eq!(recording.encoded.as_ref().unwrap().flaw, expected);
        assert!(
            file(&stage).contains("no secret in here."),
            "what could be read is shown"
        );
    }
}

#[test]
fn a_bomb_ends_its_own_recording_only() {
    let stage = Stage::new();
    let zeros = vec![0; 4 << 20];
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        writer.write_all(&zeros).unwrap();
    }
    let bomb = writer.finish().unwrap();
    let mut ticket = begin(&stage.cassette, get("/bomb"), Replace).unwrap();
    ticket.head(head(bomb.len()), Duration::ZERO);
    ticket.chunk(super::chunk(1, &bomb));
    ticket.finish(Ending::Complete);
    stage.record("/after", "fine", Replace);
    assert_eq!(stage.answers("/after"), ["fine"]);
    let entries = stage.cassette.entries();
    let entry = entries.iter().find(|entry| entry.path == "/bomb").unwrap();
    assert_eq!((entry.ending, entry.replayable), (Ending::Limit, false));
    assert!(stage.cassette.health().is_none());
    assert_eq!(sides(&stage), 0, "what it stands for is not kept");
    let recording = stage.cassette.named(&entry.name).unwrap();
    let why = recording.encoded.as_ref().unwrap().flaw.clone();
    assert!(
        matches!(&why, Some(Flaw::Undecoded(why)) if why.starts_with("the decoded body is larger than")),
        "{why:?}"
    );
}

fn events() -> Vec<Vec<u8>> {
    (0..5)
        .map(|number| format!("data: {{\"n\":{number}}}\n\n").into_bytes())
        .collect()
}

#[test]
fn a_stream_that_is_flushed_for_each_event_is_shown_event_by_event() {
    for name in ["gzip", "deflate", "br", "zstd"] {
        let stage = Stage::new();
        let stream = ok(&[
            ("content-type", "text/event-stream"),
            ("content-encoding", name),
        ]);
        let encoder = Encoder::by_name(name, Flush::Sync).unwrap();
        let packed = encoder.pack(&events(), true).unwrap();
        let chunks = [packed.pieces.clone(), vec![packed.tail.clone()]].concat();
        let recording = record_chunks(&stage, stream, &chunks, Ending::Complete);
        let timed: Vec<_> = (0..).zip(chunks.clone()).collect();
        assert_eq!(wire_chunks(&recording), timed, "{name}");
        let text = file(&stage);
        assert!(
            text.contains("[2000, \"data: {\\\"n\\\":2}\\n\\n\"]"),
            "{text}"
        );
        assert!(
            text.contains("\"flush\": \"sync\"") && text.contains("\"tail_us\": 5000"),
            "{text}"
        );
        assert!(!text.contains("\"chunks\""), "{text}");
        assert_eq!(sides(&stage), 0);
        let (_stage, recording) = edit(
            stage,
            "[2000, \"data: {\\\"n\\\":2}",
            "[2500, \"data: {\\\"n\\\":\\\"two\\\"}",
        );
        let chunks = wire_chunks(&recording);
        assert_eq!(chunks.len(), 6, "{name}");
        let mut decoder = crate::encoding::Decoder::new(name, 1000).unwrap();
        let shown: Vec<_> = chunks
            .iter()
            .map(|(at, bytes)| (*at, decoder.push(bytes).unwrap()))
            .collect();
        assert_eq!(
            shown[2],
            (2, b"data: {\"n\":\"two\"}\n\n".to_vec()),
            "{name}"
        );
        assert_eq!(shown[3], (3, events()[3].clone()), "{name}");
    }
}

#[test]
fn a_stream_that_was_cut_within_flushed_events_is_cut_there_again() {
    let stage = Stage::new();
    let stream = ok(&[
        ("content-type", "text/event-stream"),
        ("content-encoding", "br"),
    ]);
    let encoder = Encoder::by_name("br", Flush::Sync).unwrap();
    let chunks = encoder.pack(&events(), false).unwrap().pieces;
    let recording = record_chunks(&stage, stream, &chunks, Ending::Reset);
    let got: Vec<_> = wire_chunks(&recording)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(got, chunks);
    assert_eq!(sides(&stage), 0);
}

#[test]
fn a_stream_cut_anywhere_is_shown_as_far_as_it_can_be() {
    let stage = Stage::new();
    let stream = ok(&[
        ("content-type", "text/event-stream"),
        ("content-encoding", "gzip"),
    ]);
    let whole = Encoder::by_name("gzip", Flush::Sync)
        .unwrap()
        .pack(&events(), true)
        .unwrap()
        .concat();
    let chunks: Vec<_> = whole.chunks(7).collect();
    let recording = record_chunks(&stage, stream, &chunks, Ending::Complete);
    let got: Vec<_> = wire_chunks(&recording)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(got, chunks);
    assert_eq!(body(&recording), events().concat());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_body_in_any_encoding_and_any_chunks_is_replayed_in_its_bytes(
        name in prop_oneof![Just("gzip"), Just("deflate"), Just("br"), Just("zstd"), Just("gzip, br"), Just("x-odd")],
        parts in proptest::collection::vec(prop_oneof![
            "[a-z{}:\", \n]{0,40}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40),
        ], 0..6),
        flush in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ending in prop_oneof![Just(Ending::Complete), Just(Ending::Closed)],
    ) {
        let stage = Stage::new();
        let flush = if flush { Flush::Sync } else { Flush::None };
        let known = if name == "x-odd" { "zstd" } else { name };
        let mut bytes = Encoder::by_name(known, flush).unwrap().pack(&parts, true).unwrap().concat();
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.dedup();
        let chunks: Vec<_> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let head = ok(&[("content-type", "text/event-stream"), ("content-encoding", name)]);
        let recording = record_chunks(&stage, head.clone(), &chunks, ending);
        let got = wire_chunks(&recording);
        let expected: Vec<_> = (0..).zip(chunks.iter().map(|chunk| chunk.to_vec())).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(played(&recording), &head);
        let stage = stage.again();
        let again = load(&stage);
        prop_assert_eq!(again, recording);
    }
}
