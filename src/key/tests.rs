use proptest::prelude::*;

use super::*;
use crate::message::Headers;

fn head(target: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut lines = Headers::new();
    for (name, value) in headers {
        lines.push(*name, value.as_bytes().to_vec());
    }
    RequestHead {
        method: "POST".to_owned(),
        path: path.to_owned(),
        query,
        headers: lines,
    }
}

fn rules(settings: &str) -> KeyRules {
    KeyRules::compile(&toml::from_str(settings).unwrap()).unwrap()
}

fn key_of(rules: &KeyRules, head: &RequestHead, body: &[u8]) -> Key {
    rules.canonical(head, KeyBody::Whole(body)).key()
}

/// Requests of one group have the same key, requests of different groups have different ones.
fn check(rules: &KeyRules, groups: &[&[(RequestHead, &[u8])]]) {
    let mut seen: Vec<Key> = Vec::new();
    for group in groups {
        let keys: Vec<_> = group
            .iter()
            .map(|(head, body)| key_of(rules, head, body))
            .collect();
        for (key, (head, body)) in keys.iter().zip(*group) {
            assert_eq!(
                *key,
                keys[0],
                "{head:?} {:?}",
                String::from_utf8_lossy(body)
            );
        }
        assert!(!seen.contains(&keys[0]), "{:?}", group[0]);
        seen.push(keys[0]);
    }
}

fn targets(settings: &str, groups: &[&[&str]]) {
    let groups: Vec<Vec<_>> = groups
        .iter()
        .map(|group| {
            group
                .iter()
                .map(|target| (head(target, &[]), &b""[..]))
                .collect()
        })
        .collect();
    let groups: Vec<_> = groups.iter().map(Vec::as_slice).collect();
    check(&rules(settings), &groups);
}

fn bodies(settings: &str, content_type: &str, groups: &[&[&str]]) {
    let head = head("/", &[("content-type", content_type)]);
    let groups: Vec<Vec<_>> = groups
        .iter()
        .map(|group| {
            group
                .iter()
                .map(|body| (head.clone(), body.as_bytes()))
                .collect()
        })
        .collect();
    let groups: Vec<_> = groups.iter().map(Vec::as_slice).collect();
    check(&rules(settings), &groups);
}

#[test]
fn ways_to_write_a_target_do_not_matter() {
    targets(
        "ignore_query = ['t', 'a b']",
        &[
            &["/a%2fb", "/a%2Fb"],
            &[
                "/a/b",
                "/%61/b",
                "/a/b?",
                "/a/b?t=1",
                "/a/b?&&t",
                "/a/b?a+b=1&a%20b=2",
            ],
            &["/a/../b"],
            &["/b"],
            &["//b"],
            &["/é", "/%C3%A9", "/%c3%a9"],
            &["/%", "/%"],
            &["/%zz"],
            &["/%00"],
            &["/?a=1&b=2", "/?b=2&a=1", "/?b=%32&a=1&t=9"],
            &["/?a=1&a=2", "/?a=1&b&a=2&b"]
                .map(|t| t.split("&b").collect::<String>())
                .each_ref()
                .map(String::as_str),
            &["/?a=2&a=1"],
            &["/?q=x+y", "/?q=x%20y"],
            &["/?q=x%2By"],
            &["/?q", "/?q="],
            &["/?q=%FF"],
            &["/?q=%FE"],
            &["/?q=%25FF"],
        ],
    );
}

#[test]
fn ways_to_write_json_do_not_matter() {
    bodies(
        "ignore = ['$.user', '$.meta.id', '$.m[*].id', '$.gone[0,1,2]', '$..deep']",
        "application/json; charset=utf-8",
        &[
            &[
                r#"{"a":1,"b":[1,2]}"#,
                "{ \"b\" : [1.0, 2e0],\n\"a\" : 1, \"user\": \"x\" }",
                r#"{"a":1,"b":[1,2],"user":{"y":1}}"#,
                r#"{"\u0061":1,"b":[1,2]}"#,
            ],
            &[r#"{"a":1,"b":[2,1]}"#],
            &[r#"{"a":"1","b":[1,2]}"#],
            &[r#"{"meta":{"id":1}}"#, r#"{"meta":{}}"#],
            &["{}", r#"{"deep":1}"#],
            &[
                r#"{"m":[{"id":1,"t":"a"},{"id":2,"t":"b"}]}"#,
                r#"{"m":[{"t":"a"},{"t":"b"}]}"#,
            ],
            &[r#"{"gone":[1,2,3,4]}"#, r#"{"gone":[9,8,7,4]}"#],
            &[r#"{"gone":[]}"#, r#"{"gone":[1]}"#],
            &["1", "1.0"],
            &["\"1\""],
            &["null"],
            &[""],
            // Not JSON as it should be, so only the same bytes are the same.
            &[r#"{"a":1,"a":2}"#],
            &[r#"{"a":2,"a":1}"#],
            &["{"],
        ],
    );
}

#[test]
fn json_is_known_without_its_media_type() {
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/vnd.api+json",
    ] {
        bodies(
            "",
            content_type,
            &[&[r#"{"a":1,"b":2}"#, r#" {"b":2,"a":1}"#]],
        );
    }
    // Nobody said that these are JSON.
    bodies("", "text/plain", &[&["1"], &["1.0"], &["{1"], &["{ 1"]]);
}

#[test]
fn ways_to_write_a_form_do_not_matter() {
    bodies(
        "",
        "application/x-www-form-urlencoded",
        &[&["a=1&b=x+y", "b=x%20y&a=1"], &["a=1&a=2"], &["a=2&a=1"]],
    );
}

#[test]
fn the_boundary_of_a_multipart_body_does_not_matter() {
    let form = |boundary: &str, content: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n--{boundary}--\r\n"
        );
        (
            head(
                "/",
                &[(
                    "content-type",
                    &format!("multipart/form-data; boundary={boundary}"),
                )],
            ),
            body,
        )
    };
    let (one, other, third) = (form("x", "\0"), form("yy-yy", "\0"), form("x", "\u{1}"));
    let rules = rules("headers = ['Content-Type']");
    check(
        &rules,
        &[
            &[(one.0, one.1.as_bytes()), (other.0, other.1.as_bytes())],
            &[(third.0, third.1.as_bytes())],
        ],
    );
}

#[test]
fn signatures_and_encodings_around_a_body_do_not_matter() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(br#"{"a":1}"#).unwrap();
    let gzip = gzip.finish().unwrap();
    let aws = |signature: &str| {
        format!(
            "7;chunk-signature={signature}\r\n{{\"a\":1}}\r\n0;chunk-signature={signature}\r\n\r\n"
        )
    };
    let (one, other) = (aws("aa"), aws("bb"));
    let streaming = head(
        "/",
        &[("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")],
    );
    check(
        &rules(""),
        &[&[
            (head("/", &[]), br#"{"a":1}"#),
            (streaming, one.as_bytes()),
            (
                head("/", &[("content-encoding", "aws-chunked")]),
                other.as_bytes(),
            ),
            (head("/", &[("content-encoding", "gzip")]), &gzip),
            // Decoded before, as redaction does.
            (head("/", &[("content-encoding", "gzip")]), br#"{"a":1}"#),
            (
                head("/", &[("content-encoding", "aws-chunked")]),
                br#"{"a":1}"#,
            ),
        ]],
    );
}

#[test]
fn host_and_headers_count_when_asked() {
    let plain = [("host", "a.example"), ("x-tenant", "1"), ("accept", "x")];
    let other = [("Host", "b.example"), ("X-Tenant", "2")];
    check(
        &rules(""),
        &[&[(head("/", &plain), b""), (head("/", &other), b"")]],
    );
    check(
        &rules("host = true\nheaders = ['X-Tenant', 'x-tenant']"),
        &[
            &[
                (head("/", &plain), b""),
                (
                    head("/", &[("HOST", "A.example:443"), ("X-TENANT", " 1 ")]),
                    b"",
                ),
            ],
            &[(head("/", &other), b"")],
            &[(head("/", &[("host", "a.example")]), b"")],
            &[(head("/", &[("host", "a.example"), ("x-tenant", "")]), b"")],
        ],
    );
}

#[test]
fn a_body_beyond_the_limit_does_not_count() {
    let rules = rules("body_limit = '4B'\nover_limit = 'head-only'");
    assert_eq!(rules.over_limit(), OverLimit::HeadOnly);
    let head = head("/", &[]);
    assert_eq!(
        rules.canonical(&head, KeyBody::Whole(b"12345")).body,
        CanonicalBody::Unread
    );
    assert_eq!(
        rules.canonical(&head, KeyBody::TooLarge).key(),
        key_of(&rules, &head, b"54321")
    );
    assert_ne!(
        rules.canonical(&head, KeyBody::TooLarge).key(),
        key_of(&rules, &head, b"")
    );
}

#[test]
fn the_key_of_a_request_never_changes() {
    // Recordings are found by it, so it must only change together with the version in its encoding.
    let head = head("/v1/chat?b=2&a=1", &[("content-type", "application/json")]);
    let key = key_of(
        &rules(""),
        &head,
        br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"t":0.5}"#,
    );
    expect_test::expect!["de41bc1ed207368f3056fbf73ce66bb9"].assert_eq(&key.to_string());
    assert_eq!(key.to_string().parse(), Ok(key));
    assert!(key.to_string().starts_with(&key.short()) && key.short().len() == 12);
    for wrong in [
        "",
        "0",
        &"g".repeat(32),
        &"A".repeat(32),
        &format!("+{}", "0".repeat(31)),
    ] {
        assert_eq!(wrong.parse::<Key>(), Err(NotAKey));
    }
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    let compile = |settings: &str| {
        let settings: KeySettings = toml::from_str(settings).unwrap();
        KeyRules::compile(&settings).unwrap_err().to_string()
    };
    expect_test::expect!["`$.b[` is not a JSON path: parser error at position 3"]
        .assert_eq(&compile("ignore = ['$.a', '$.b[']"));
    expect_test::expect!["`a b` is not a header name"].assert_eq(&compile("headers = ['a b']"));
    assert!(toml::from_str::<KeySettings>("ignored = []").is_err());
    assert!(toml::from_str::<KeySettings>("over_limit = 'reject'").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_members_and_of_other_names_does_not_matter(
        pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z0-9 %+é]{0,4}", 0..6),
        seed in any::<u64>(),
    ) {
        let mut shuffled: Vec<_> = pairs.iter().collect();
        let length = shuffled.len().max(1);
        shuffled.rotate_left(usize::try_from(seed % length as u64).unwrap_or(0));
        let json = |pairs: &[(&String, &String)]| {
            let members: Vec<_> = pairs.iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let query = |pairs: &[(&String, &String)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("/?{}", pairs.join("&"))
        };
        let straight: Vec<_> = pairs.iter().collect();
        let rules = KeyRules::compile(&KeySettings::default()).unwrap();
        let one = key_of(&rules, &head(&query(&straight), &[]), json(&straight).as_bytes());
        let other = key_of(&rules, &head(&query(&shuffled), &[]), json(&shuffled).as_bytes());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn no_request_panics(
        path in "\\PC{0,20}",
        query in proptest::option::of("\\PC{0,20}"),
        value in proptest::collection::vec(any::<u8>(), 0..20),
        content_type in prop_oneof![Just("multipart/form-data; boundary=x"), Just("application/json"), Just("é")],
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[\\[\\]{}\",:0-9eE.a-]{0,20}".prop_map(String::into_bytes),
        ],
    ) {
        let mut head = head("/", &[("content-type", content_type), ("content-encoding", "aws-chunked, br")]);
        head.path = path;
        head.query = query;
        head.headers.push("x", value);
        let rules = rules("host = true\nheaders = ['x']\nignore = ['$..[?@.a > 1]', '$', '$[-1]']");
        let canonical = rules.canonical(&head, KeyBody::Whole(&body));
        prop_assert_eq!(canonical.key(), rules.canonical(&head, KeyBody::Whole(&body)).key());
        // What is canonical stays so.
        head.path.clone_from(&canonical.path);
        prop_assert_eq!(rules.canonical(&head, KeyBody::TooLarge).path, canonical.path);
    }
}
