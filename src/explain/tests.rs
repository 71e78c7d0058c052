use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::key::{CanonicalBody, KeyBody, KeyRules, KeySettings};
use crate::message::{Headers, RequestHead};

fn canonical(target: &str, content_type: &str, body: &str) -> Canonical {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Headers::new();
    headers.push("content-type", content_type.as_bytes().to_vec());
    let head = RequestHead {
        method: "POST".to_owned(),
        path: path.to_owned(),
        query: Some(query.to_owned()),
        headers,
    };
    let settings = KeySettings {
        headers: vec!["x-tenant".to_owned()],
        ..KeySettings::default()
    };
    let rules = KeyRules::compile(&settings).unwrap();
    rules.canonical(&head, KeyBody::Whole(body.as_bytes()))
}

fn shown(recorded: &Canonical, got: &Canonical) -> String {
    let differences = differences(got, recorded, 20);
    let mut lines: Vec<_> = differences
        .iter()
        .map(|one| format!("{}: {} -> {}", one.at, one.recorded, one.got))
        .collect();
    lines.push(format!("distance {}", distance(&differences)));
    lines.push(ignore_line(&differences).unwrap_or_else(|| "cannot be ignored".to_owned()));
    lines.join("\n")
}

fn check(recorded: &str, got: &str, expected: &Expect) {
    let json = "application/json";
    expected.assert_eq(&shown(
        &canonical("/", json, recorded),
        &canonical("/", json, got),
    ));
}

#[test]
fn json_differs_by_its_paths() {
    check(
        r#"{"model":"a","n":1.0,"user":"u1","metadata":{"id":1,"odd 'name":true},"m":[{"c":"x"}]}"#,
        r#"{"model":"a","n":1,"user":"u2","metadata":{"id":2},"m":[{"c":"x"},{"c":"y"}],"new":null}"#,
        &expect![[r#"
            body $.m[1]: (absent) -> {"c":"y"}
            body $.metadata.id: 1 -> 2
            body $.metadata['odd \'name']: true -> (absent)
            body $.user: "u1" -> "u2"
            body $.new: (absent) -> null
            distance 5
            key = { ignore = ["$.m[1]", "$.metadata.id", "$.metadata['odd \\'name']", "$.new", "$.user"] }"#]],
    );
    check(
        "[1]",
        "{}",
        &expect![[r"
        body $: [1] -> {}
        distance 20
        cannot be ignored"]],
    );
    check(
        "{}",
        "{\"a\":1,\"a\":2}",
        &expect![[r#"
        body: {} -> {"a":1,"a":2}
        distance 20
        cannot be ignored"#]],
    );
}

#[test]
fn long_texts_are_cut_around_what_differs() {
    let long = "word ".repeat(100);
    check(
        &format!("{{\"p\":\"{long}one {long}\"}}"),
        &format!("{{\"p\":\"{long}two\\n {long}\"}}"),
        &expect![[r#"
            body $.p: "…word word word word one word word word word word word word word word word word…" -> "…word word word word two  word word word word word word word word word word wor…"
            distance 1
            key = { ignore = ["$.p"] }"#]],
    );
    check(
        "{}",
        &format!("{{\"p\":[\"{long}é\"]}}"),
        &expect![[r#"
        body $.p: (absent) -> ["word word word word word word word word word word word word word word word wo…
        distance 1
        key = { ignore = ["$.p"] }"#]],
    );
}

#[test]
fn other_places_are_named() {
    let form = "application/x-www-form-urlencoded";
    let mut recorded = canonical("/v1/a/b?x=1&y=2", form, "a=1&b=2");
    let mut got = canonical("/v1/a/c?x=1&z=3&z=4", form, "a=1&a=2");
    expect![[r"
        path: /v1/a/b -> /v1/a/c
        query y: 2 -> (absent)
        query z: (absent) -> 3, 4
        form a: 1 -> 1, 2
        form b: 2 -> (absent)
        distance 1108
        cannot be ignored"]]
    .assert_eq(&shown(&recorded, &got));
    recorded.path.clone_from(&got.path);
    recorded.body = got.body.clone();
    expect![[r#"
        query y: 2 -> (absent)
        query z: (absent) -> 3, 4
        distance 6
        key = { ignore_query = ["y", "z"] }"#]]
    .assert_eq(&shown(&recorded, &got));
    got.query.clone_from(&recorded.query);
    got.method = "GET".to_owned();
    got.headers = vec![("x-tenant".to_owned(), vec!["7".to_owned()])];
    got.body = CanonicalBody::Empty;
    expect![[r"
        method: POST -> GET
        header x-tenant: (absent) -> 7
        body: a form of 2 fields -> (absent)
        distance 10023
        cannot be ignored"]]
    .assert_eq(&shown(&recorded, &got));
    assert_eq!(differences(&got, &got, 20), []);
    assert_eq!(ignore_line(&[]), None);
    assert_eq!(differences(&got, &recorded, 2).len(), 2);
}

#[test]
fn a_nearer_recording_is_nearer() {
    let json = "application/json";
    let got = canonical("/v1/chat", json, r#"{"a":1,"b":2}"#);
    let far: Vec<_> = [
        canonical("/v1/chat", json, r#"{"a":1,"b":2}"#),
        canonical("/v1/chat", json, r#"{"a":1,"b":3}"#),
        canonical("/v1/chat?x=1", json, r#"{"a":1,"b":2}"#),
        canonical("/v1/chat", json, "[]"),
        canonical("/v1/other", json, r#"{"a":1,"b":2}"#),
        canonical("/v2/other", json, r#"{"a":1,"b":2}"#),
    ]
    .iter()
    .map(|recorded| distance(&differences(&got, recorded, 20)))
    .collect();
    assert!(far.is_sorted() && far[0] == 0 && far[1] > 0, "{far:?}");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i8>().prop_map(Value::from),
        "\\PC{0,3}|[ab'\"\\\\\n\u{1}]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[ab'\"\\\\\n\u{1}\u{7f}é]{0,2}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_line_to_paste_makes_requests_the_same(recorded in json(), got in json()) {
        let wrap = |value: &Value| format!("{{\"a\":{value},\"b\":[1,{value}]}}");
        let (recorded, got) = (wrap(&recorded), wrap(&got));
        let found = differences(
            &canonical("/?q=1", "application/json", &got),
            &canonical("/?q=2&r=1", "application/json", &recorded),
            1000,
        );
        let line = ignore_line(&found).unwrap();
        let settings: std::collections::HashMap<String, KeySettings> = toml::from_str(&line).unwrap();
        let rules = KeyRules::compile(&settings["key"]).unwrap();
        let key = |body: &str, query: &str| {
            let mut head = RequestHead {
                method: "POST".to_owned(),
                path: "/".to_owned(),
                query: Some(query.to_owned()),
                headers: Headers::new(),
            };
            head.headers.push("content-type", "application/json");
            rules.canonical(&head, KeyBody::Whole(body.as_bytes())).key()
        };
        prop_assert_eq!(key(&got, "q=1"), key(&recorded, "q=2&r=1"), "{}", line);
    }
}
