//! Files from people who mean no good, or slipped.

use std::fs;

use super::{Stage, get, key, open};
use crate::cassette::Access;

const GOOD: &str = r#"{
  "version": 1,
  "recorded": {
    "at": "2026-01-31T12:00:00Z",
    "upstream": "http://127.0.0.1:9000",
    "protocol": "http/1.1",
    "request": {
      "method": "GET",
      "path": "/x",
      "headers": []
    },
    "response": {
      "status": 200,
      "head_us": 5,
      "headers": [
        ["content-length", "3"]
      ],
      "items": [
        [1, "abc"]
      ]
    },
    "ending": "complete"
  }
}
"#;

/// The message for the good file with one text replaced.
fn message(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("bodies")).unwrap();
    fs::write(home.path().join("bodies/x.bin"), "12345").unwrap();
    fs::write(home.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", home.path().join("bodies/link.bin")).unwrap();
    fs::write(home.path().join("r.json"), GOOD.replacen(from, to, 1)).unwrap();
    fs::write(home.path().join("good.json"), GOOD).unwrap();
    let cassette = open(home.path(), Access::Read);
    assert!(cassette.named("good").is_ok(), "the rest serves");
    cassette
        .broken()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn a_mistake_is_named_with_its_file_and_line() {
    for (from, to, expected) in [
        (
            "200",
            "\"abc\"",
            r#"r.json:13: "status" must be a whole number from 100 to 999, found "abc""#,
        ),
        (
            "200",
            "1000",
            r#"r.json:13: "status" must be a whole number from 100 to 999, found 1000"#,
        ),
        (
            "200",
            "1e999999999999",
            r#"r.json:13: "status" must be a whole number from 100 to 999, found 1e+999999999999"#,
        ),
        (
            "\"version\": 1",
            "\"version\": 2",
            "r.json:2: version 2 is newer than this program, which reads up to version 1",
        ),
        (
            "\"version\": 1",
            "\"version\": \"1\"",
            r#"r.json:2: "version" must be 1, found "1""#,
        ),
        (
            "\"version\": 1,",
            "",
            r#"r.json:1: a recording lacks "version""#,
        ),
        (
            "\"status\": 200,",
            "",
            r#"r.json:12: "response" lacks "status""#,
        ),
        (
            "\"status\"",
            "\"statsu\"",
            r#"r.json:13: unknown member "statsu" in "response", expected "status", "reason", "head_us", "headers", "encoding", "items", "body""#,
        ),
        (
            "\"complete\"",
            "\"done\"",
            concat!(
                r#"r.json:22: "ending" must be one of complete, closed, reset, timed-out, malformed, "#,
                r#"client-left, limit, interrupted, found "done""#
            ),
        ),
        (
            "\"2026-01-31T12:00:00Z\"",
            "\"today\"",
            r#"r.json:4: "at" must be a time such as 2026-01-31T12:00:00Z, found "today""#,
        ),
        (
            "[1, \"abc\"]",
            "[1]",
            r#"r.json:19: item 1 of "items" must be [at_us, text]"#,
        ),
        (
            "[1, \"abc\"]",
            "[5, \"a\"],\n[1, \"bc\"]",
            r#"r.json:20: item 2 of "items" comes before the one above it"#,
        ),
        (
            "[1, \"abc\"]",
            "[99999999999999999999, \"a\"]",
            r#"r.json:19: item 1 of item 1 of "items" must be a whole number from 0 to 31536000000000, found 99999999999999999999"#,
        ),
        (
            "[1, \"abc\"]",
            "[1, {\"b64\": \"?\"}]",
            r#"r.json:19: "b64" must be in base64"#,
        ),
        (
            "[1, \"abc\"]",
            "{\"at_us\": 1, \"kind\": \"thing\"}",
            r#"r.json:19: "kind" must be bytes, frame or trailers, found "thing""#,
        ),
        (
            "\"GET\"",
            "\"G T\"",
            r#"r.json:8: "method" must be an HTTP method, found "G T""#,
        ),
        (
            "\"/x\"",
            "\"/x\\r\\ny\"",
            r#"r.json:9: "path" must be a text without blanks and control characters, found "/x\r\ny""#,
        ),
        (
            "\"content-length\", \"3\"",
            "\"a\", \"b\\r\\nc: d\"",
            r#"r.json:16: item 1 of "headers" must have no line break in its value"#,
        ),
        (
            "\"content-length\", \"3\"",
            "\"a b\", \"c\"",
            r#"r.json:16: item 1 of item 1 of "headers" must be a header name, found "a b""#,
        ),
        (
            "\"ending\"",
            "\"at\": 1,\n\"ending\"",
            "r.json:22: repeated member \"at\"",
        ),
        ("\"GET\"", "\"GET\"\n", ""),
        (
            "[1, \"abc\"]",
            "[1, \"abc\"",
            "r.json:21: not JSON: expected `,` or `]`",
        ),
    ] {
        let message = message(from, to);
        assert!(message.starts_with(expected), "{from} → {to}: {message}");
        if !expected.is_empty()
            && !expected.contains("repeated")
            && !expected.contains("expected `,`")
        {
            assert_eq!(message, expected);
        }
    }
}

#[test]
fn a_side_file_is_in_the_cassette_and_as_long_as_it_says() {
    for (file, len, chunks, expected) in [
        ("bodies/x.bin", "5", "[[1, 2], [2, 3]]", ""),
        (
            "bodies/x.bin",
            "1073741824",
            "[[1, 1073741824]]",
            r#"r.json:19: "len" says 1073741824, but "bodies/x.bin" has 5 bytes"#,
        ),
        (
            "bodies/x.bin",
            "5",
            "[[1, 4]]",
            r#"r.json:20: "chunks" add up to 4 bytes, but "len" says 5"#,
        ),
        (
            "bodies/x.bin",
            "5",
            "[[1, 18446744073709551615], [1, 6]]",
            r#"r.json:20: "chunks" add up to 18446744073709551615 bytes, but "len" says 5"#,
        ),
        (
            "bodies/../secret",
            "6",
            "[[1, 6]]",
            r#"r.json:18: "file" must be the name of a file in bodies/, found "bodies/../secret""#,
        ),
        (
            "../secret",
            "6",
            "[[1, 6]]",
            r#"r.json:18: "file" must be the name of a file in bodies/, found "../secret""#,
        ),
        (
            "/etc/passwd",
            "6",
            "[[1, 6]]",
            r#"r.json:18: "file" must be the name of a file in bodies/, found "/etc/passwd""#,
        ),
        (
            "bodies/.spool-1",
            "6",
            "[[1, 6]]",
            r#"r.json:18: "file" must be the name of a file in bodies/, found "bodies/.spool-1""#,
        ),
        (
            "bodies/gone.bin",
            "6",
            "[[1, 6]]",
            r#"r.json:18: cannot open "bodies/gone.bin": No such file or directory (os error 2); it belongs to this recording, so copy it too, or record again"#,
        ),
        (
            "bodies/link.bin",
            "6",
            "[[1, 6]]",
            r#"r.json:18: cannot open "bodies/link.bin": Too many levels of symbolic links (os error 40)"#,
        ),
    ] {
        let body = format!(
            "\"body\": {{\n\"file\": \"{file}\",\n\"len\": {len},\n\"chunks\": {chunks}\n}}"
        );
        let message = {
            let from = "\"items\": [\n        [1, \"abc\"]\n      ]";
            let good = GOOD.replace("[\"content-length\", \"3\"]", "");
            assert!(good.contains(from));
            message(from, &body)
        };
        let expected = expected.replace("r.json:", "");
        let shown = message.replace("r.json:", "");
        if expected.is_empty() {
            assert_eq!(shown, "");
            continue;
        }
        let (_, expected) = expected.split_once(": ").unwrap();
        let (_, shown) = shown
            .split_once(": ")
            .unwrap_or_else(|| panic!("{file}: {shown}"));
        assert_eq!(shown, expected);
    }
}

#[test]
fn hostile_json_is_only_a_broken_file() {
    let home = tempfile::tempdir().unwrap();
    let deep = "[".repeat(100_000);
    let long = format!("{{\"version\": 1, \"x-a\": {}}}", "9".repeat(1_000_000));
    let files: [(&str, &[u8]); 8] = [
        ("deep.json", deep.as_bytes()),
        ("empty.json", b""),
        ("long.json", long.as_bytes()),
        ("list.json", b"[]"),
        ("null.json", b"null"),
        ("bytes.json", b"\xff\xfe{}"),
        ("nul.json", b"\0\0\0\0"),
        ("empty-object.json", b"{}"),
    ];
    for (name, bytes) in files {
        fs::write(home.path().join(name), bytes).unwrap();
    }
    let huge = fs::File::create(home.path().join("huge.json")).unwrap();
    huge.set_len(300 * 1024 * 1024).unwrap();
    let cassette = open(home.path(), Access::Read);
    assert_eq!(cassette.broken().len(), files.len() + 1);
    let messages: Vec<_> = cassette.broken().iter().map(ToString::to_string).collect();
    assert!(
        messages.contains(&"huge.json: has 314572800 bytes, at most 268435456 are read".to_owned()),
        "{messages:?}"
    );
    assert!(
        messages.iter().all(|message| message.len() < 200),
        "{messages:?}"
    );
}

#[test]
fn an_edit_by_hand_works() {
    let stage = Stage::new();
    let edited = GOOD
        .replace("\"abc\"", "\"abcdef\"],\n[9, \"\"],\n[10, \"g\"")
        .replace("\"ending\"", "\"x-note\": \"mine\",\n\"ending\"");
    fs::write(stage.folder.join("mine.json"), edited).unwrap();
    let stage = stage.again();
    assert_eq!(stage.cassette.broken(), []);
    let ids = stage.cassette.lookup(0, &key(&get("/x"), b""));
    let recording = stage.cassette.load(ids[0]).unwrap();
    assert_eq!(super::body(&recording), b"abcdefg");
    assert_eq!(recording.items.len(), 2);
    assert_eq!(recording.head.headers.get_str("content-length"), Some("7"));
}
