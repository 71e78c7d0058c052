use std::time::{Duration, SystemTime};

use bytes::Bytes;
use expect_test::expect;
use proptest::prelude::*;

use crate::cassette::format::body::{JsonBody, Style};
use crate::cassette::format::{fit_length, parse, render};
use crate::cassette::{
    Direction, Item, ItemBody, ItemKind, Matching, Play, RecordedBody, Recording,
};
use crate::message::{Ending, Headers, RequestHead, ResponseHead};

fn recording(items: Vec<Item>, request_body: &[u8]) -> Recording {
    Recording {
        name: "r.json".to_owned(),
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_769_860_800_123_456),
        upstream: "http://127.0.0.1:9000".to_owned(),
        protocol: "http/1.1".to_owned(),
        request: RequestHead {
            method: "POST".to_owned(),
            path: "/v1/chat".to_owned(),
            query: Some("a=b".to_owned()),
            headers: [("Host", "api"), ("content-type", "application/json")]
                .into_iter()
                .collect(),
        },
        request_body: RecordedBody::Inline(Bytes::copy_from_slice(request_body)),
        head: ResponseHead {
            status: 200,
            reason: None,
            headers: [("A", &b"\xff"[..]), ("a", b"2")].into_iter().collect(),
        },
        head_after: Duration::from_micros(1234),
        items,
        side: None,
        encoded: None,
        playback: None,
        trailers: None,
        ending: Ending::Complete,
        redacted: vec!["authorization".to_owned()],
        key: "3fa9c1d2e5b6000000000000000000ff".to_owned(),
        matching: Matching::default(),
        play: Play::default(),
        notes: serde_json::Map::new(),
    }
}

fn item(at_us: u64, bytes: &[u8]) -> Item {
    Item {
        at: Duration::from_micros(at_us),
        direction: Direction::Down,
        kind: ItemKind::Bytes,
        body: ItemBody::Inline(Bytes::copy_from_slice(bytes)),
        held: false,
    }
}

fn read(text: &str) -> Recording {
    parse(std::path::Path::new("/nowhere"), "r.json", text.as_bytes())
        .unwrap_or_else(|broken| panic!("{broken}\n{text}"))
}

fn check(recording: &Recording) {
    assert_eq!(
        read(&render(recording)),
        *recording,
        "{}",
        render(recording)
    );
}

#[test]
fn a_stream_is_one_line_a_chunk() {
    let mut items = vec![
        item(10, b"data: {\"a\":1}\n\n"),
        item(20, b"data: \xc3"),
        item(30, b"\xbc\n\n"),
    ];
    items[2].held = true;
    let recording = recording(items, b"{\"model\": \"m\", \"n\": [1, 2.50]}");
    check(&recording);
    expect![[r#"
        {
          "version": 1,
          "recorded": {
            "at": "2026-01-31T12:00:00.123456Z",
            "upstream": "http://127.0.0.1:9000",
            "protocol": "http/1.1",
            "request": {
              "method": "POST",
              "path": "/v1/chat",
              "query": "a=b",
              "headers": [
                ["Host", "api"],
                ["content-type", "application/json"]
              ],
              "body": {
                "json": {
                  "model": "m",
                  "n": [
                    1,
                    2.50
                  ]
                },
                "style": "spaced"
              }
            },
            "response": {
              "status": 200,
              "head_us": 1234,
              "headers": [
                ["A", {"b64": "/w=="}],
                ["a", "2"]
              ],
              "items": [
                [10, "data: {\"a\":1}\n\n"],
                [20, {"b64": "ZGF0YTogww=="}],
                [30, {"b64": "vAoK"}, {"held": true}]
              ]
            },
            "ending": "complete",
            "redacted": ["authorization"],
            "key": "3fa9c1d2e5b6000000000000000000ff"
          },
          "match": {},
          "play": {}
        }
    "#]]
    .assert_eq(&render(&recording));
}

#[test]
fn a_json_answer_can_be_edited() {
    let mut original = recording(vec![item(10, b"{\"a\":"), item(20, b"1}\n")], b"plain");
    original.head.headers.push("content-length", "8");
    check(&original);
    let text = render(&original);
    assert!(text.contains("\"body\": \"plain\""), "{text}");
    let body = |text: &str| {
        let recording = read(text);
        let items: Vec<_> = recording
            .items
            .iter()
            .map(|item| String::from_utf8(recording.read(&item.body).unwrap().to_vec()).unwrap())
            .collect();
        (
            items,
            recording
                .head
                .headers
                .get_str("content-length")
                .unwrap()
                .to_owned(),
        )
    };
    let longer = text.replace("\"a\": 1", "\"a\": 1234");
    assert_eq!(
        body(&longer),
        (
            vec!["{\"a\":".to_owned(), "1234}\n".to_owned()],
            "11".to_owned()
        )
    );
    let shorter = text.replace("\"a\": 1", "");
    assert_eq!(body(&shorter), (vec!["{}\n".to_owned()], "3".to_owned()));
    let without = text
        .replace("\"style\": \"compact\",", "")
        .replace("\"end\": \"\\n\",", "");
    assert_eq!(body(&without).1, "7");
}

#[test]
fn the_length_that_an_answer_without_a_body_claims_stays() {
    for (method, status, ending) in [
        ("HEAD", 200, Ending::Complete),
        ("GET", 304, Ending::Complete),
        ("GET", 200, Ending::Closed),
    ] {
        let mut recording = recording(Vec::new(), b"");
        recording.request.method = method.to_owned();
        recording.head.status = status;
        recording.ending = ending;
        recording.head.headers.push("content-length", "1000");
        let before = recording.clone();
        fit_length(&mut recording);
        assert_eq!(recording, before);
        check(&recording);
    }
}

#[test]
fn each_habit_of_writing_json_is_known() {
    for (text, style) in [
        ("{\"a\":[1,2.0,\"ü\\n\"],\"b\":{}}", Style::Compact),
        ("{\"a\": [1, 2.0, \"ü\"], \"b\": {}}", Style::Spaced),
        (
            "{\"a\": [1, 2.0, \"\\u00fc\\ud83d\\ude00\\u007f\"]}",
            Style::SpacedAscii,
        ),
        ("{\"a\":\"\\u00fc\"}", Style::CompactAscii),
        (
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}",
            Style::Indented,
        ),
    ] {
        for end in ["", "\n", "\r\n"] {
            let body = JsonBody::of(format!("{text}{end}").as_bytes()).unwrap();
            assert_eq!((body.style, body.end.as_str()), (style, end), "{text}");
            assert_eq!(body.bytes(), format!("{text}{end}").as_bytes());
        }
    }
    for text in [
        "{\"a\" :1}",
        "{\"a\":1,\"a\":1}",
        "\"text\"",
        "1",
        "",
        "{\"a\":\"\\u00FC\"}",
        "{}\n\n\n",
        " {}",
    ] {
        assert_eq!(JsonBody::of(text.as_bytes()), None, "{text}");
    }
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(JsonBody::of(deep.as_bytes()), None);
    check(&recording(vec![item(1, deep.as_bytes())], deep.as_bytes()));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(JsonBody::of(deep.as_bytes()).is_some());
    check(&recording(vec![item(1, deep.as_bytes())], deep.as_bytes()));
}

#[test]
fn what_flows_both_ways_has_its_place_already() {
    let mut frames = vec![
        item(1, b"hello"),
        item(2, b""),
        item(2, b"\xff"),
        item(3, b""),
    ];
    frames[0].direction = Direction::Up;
    frames[0].kind = ItemKind::Frame {
        sort: "text".to_owned(),
    };
    frames[1].kind = ItemKind::Frame {
        sort: "ping".to_owned(),
    };
    frames[2].direction = Direction::Up;
    frames[3].kind = ItemKind::Trailers([("grpc-status", "0")].into_iter().collect());
    let mut recording = recording(frames, b"");
    recording.trailers = Some(Headers::new());
    check(&recording);
    let text = render(&recording);
    assert!(
        text.contains("{\"at_us\": 1, \"dir\": \"up\", \"kind\": \"frame\", \"frame\": \"text\", \"data\": \"hello\"}"),
        "{text}"
    );
}

#[test]
fn what_a_person_wrote_is_kept() {
    let mut recording = recording(Vec::new(), b"");
    recording.request_body = RecordedBody::TooLarge;
    recording.matching = Matching {
        method: Some("PUT".to_owned()),
        path: Some("/other".to_owned()),
        query: Some(None),
        headers: Some([("x", "y")].into_iter().collect()),
        body: Some(RecordedBody::Inline(Bytes::new())),
        notes: serde_json::from_str("{\"x-why\": {\"a\": [1]}}").unwrap(),
    };
    recording.play = Play {
        skip: true,
        repeat: Some(3),
        speed: Some(0.5),
        notes: serde_json::from_str("{\"x-b\": null}").unwrap(),
    };
    recording.notes = serde_json::from_str("{\"x-c\": 1.50}").unwrap();
    check(&recording);
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        ".{0,40}".prop_map(String::into_bytes),
        "(\\{\"a\":? ?[0-9.e\\-]{1,5}(, ?\"b\": ?\\[\\])?\\}|\\[1, 2\\])\n?"
            .prop_map(String::into_bytes),
    ]
}

fn any_headers() -> impl Strategy<Value = Headers> {
    let value = any_bytes().prop_map(|mut value| {
        value.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        value
    });
    proptest::collection::vec(("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}", value), 0..5)
        .prop_map(|lines| lines.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_exchange_reads_as_it_was_written(
        asked in any_bytes(),
        chunks in proptest::collection::vec((any_bytes(), 0..1000_u64, any::<bool>()), 0..6),
        request_headers in any_headers(),
        response_headers in any_headers(),
        trailers in proptest::option::of(any_headers()),
        status in 100..=999_u16,
        reason in proptest::option::of("[ -~ü]{0,20}"),
        query in proptest::option::of("[!-~ü]{0,20}"),
        ending in proptest::sample::select(Ending::ALL.to_vec()),
    ) {
        let mut at = 0;
        let items = chunks
            .into_iter()
            .filter(|(bytes, ..)| !bytes.is_empty())
            .map(|(bytes, later, held)| {
                at += later;
                Item { held, ..item(at, &bytes) }
            })
            .collect();
        let mut recording = recording(items, &asked);
        recording.request.headers = request_headers;
        recording.request.query = query;
        recording.head = ResponseHead { status, reason, headers: response_headers };
        recording.trailers = trailers;
        recording.ending = ending;
        fit_length(&mut recording);
        check(&recording);
    }

    #[test]
    fn any_change_to_a_file_is_read_or_refused(at in 0..1200_usize, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = render(&recording(vec![item(1, b"{\"a\":1}")], b"{\"b\": []}")).into_bytes();
        let at = at % bytes.len();
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        if let Err(broken) = parse(std::path::Path::new("/nowhere"), "r.json", &bytes) {
            let lines = bytes.split(|&byte| byte == b'\n').count();
            prop_assert!(broken.line.unwrap() <= lines, "{}", broken);
        }
    }
}

#[test]
fn the_mark_of_utf8_is_no_part_of_a_recording() {
    let text = render(&recording(vec![item(0, b"a")], b""));
    let read = |bytes: &[u8]| parse(std::path::Path::new("/nowhere"), "r.json", bytes);
    let marked = format!("\u{feff}{text}");
    assert_eq!(read(marked.as_bytes()), read(text.as_bytes()));
    let wrong = marked.replace("\"status\": 200", "\"status\": \"ok\"");
    let line = 1 + wrong
        .lines()
        .position(|line| line.contains("\"ok\""))
        .unwrap();
    assert_eq!(read(wrong.as_bytes()).unwrap_err().line, Some(line));
}

#[test]
fn a_recording_that_is_not_utf8_is_told_with_what_to_do() {
    let text = render(&recording(vec![item(0, b"a")], b""));
    let read = |bytes: &[u8]| {
        parse(std::path::Path::new("/nowhere"), "r.json", bytes)
            .unwrap_err()
            .to_string()
    };
    let utf16: Vec<_> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        read(&utf16),
        "r.json:1: it is UTF-16, expected UTF-8; save it as UTF-8"
    );
    assert_eq!(
        read(b"{\n\"version\": \"\xe9\"}"),
        "r.json:2: the byte 0xe9 on line 2, column 13, is not UTF-8; save it as UTF-8"
    );
}

#[test]
fn a_recording_that_is_cut_off_is_told_with_what_to_do() {
    let text = render(&recording(vec![item(0, b"a")], b""));
    for length in [0, 1, 100, text.trim_end().len() - 1] {
        let error = parse(
            std::path::Path::new("/nowhere"),
            "r.json",
            &text.as_bytes()[..length],
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.ends_with("the file is cut off; restore it, or delete it and record again"),
            "{error}"
        );
    }
}
