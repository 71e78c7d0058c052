use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;

fn request(line: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        headers: headers
            .iter()
            .map(|&(name, value)| (name, value.to_owned()))
            .collect(),
    }
}

fn compile(json: &str) -> CompiledMatch {
    CompiledMatch::compile(&serde_json::from_str(json).unwrap()).unwrap()
}

fn path(pattern: &str) -> CompiledMatch {
    let settings = RouteMatch {
        path: Some(pattern.to_owned()),
        ..RouteMatch::default()
    };
    CompiledMatch::compile(&settings).unwrap()
}

#[test]
fn a_path_pattern_matches_segments_and_rests() {
    for (pattern, target, expected) in [
        ("/v1/models", "/v1/models", true),
        ("/v1/models", "/v1/models/", false),
        ("/v1/models", "/v1/models?x=1", true),
        ("/v1/*", "/v1/a", true),
        ("/v1/*", "/v1/", true),
        ("/v1/*", "/v1/a/b", false),
        ("/v1/*/x", "/v1/a/x", true),
        ("/v1/a*c", "/v1/abbc", true),
        ("/v1/**", "/v1/", true),
        ("/v1/**", "/v1/a/b", true),
        ("/v1/**", "/v1", false),
        ("/v1**", "/v1", true),
        ("/**/x", "/a/b/x", true),
        ("/a.b", "/aXb", false),
        ("/a(b", "/a(b", true),
        ("/%C3%BC/*", "/%C3%BC/ß", true),
    ] {
        let head = request(&format!("GET {target}"), &[]);
        assert_eq!(path(pattern).matches(&head), expected, "{pattern} {target}");
    }
}

#[test]
fn everything_that_is_set_must_fit() {
    let all = r#"{ "method": "POST", "path": "/v1/*", "host": "*.Example.com",
        "headers": { "x-team": "a*" }, "query": { "v": "1 *" } }"#;
    let headers = [
        ("Host", "api.example.com:8080"),
        ("X-Team", "b"),
        ("x-team", "ab"),
    ];
    let check = |line: &str, headers: &[_], expected| {
        assert_eq!(
            compile(all).matches(&request(line, headers)),
            expected,
            "{line} {headers:?}"
        );
    };
    check("POST /v1/x?v=1+%32", &headers, true);
    check("POST /v1/x?a&v=0&v=1%20", &headers, true);
    check("GET /v1/x?v=1+2", &headers, false);
    check("POST /v2/x?v=1+2", &headers, false);
    check("POST /v1/x?v=2", &headers, false);
    check("POST /v1/x", &headers, false);
    check("POST /v1/x?v=1+2", &headers[..2], false);
    check("POST /v1/x?v=1+2", &headers[1..], false);
    assert!(compile("{}").matches(&request("OPTIONS *", &[])));
}

#[test]
fn a_port_counts_only_where_the_pattern_has_one() {
    for (pattern, host, expected) in [
        ("localhost", "LOCALHOST:80", true),
        ("localhost:80", "localhost:80", true),
        ("localhost:80", "localhost:81", false),
        ("localhost:80", "localhost", false),
        ("[::1]", "[::1]:80", true),
        ("[::1]:80", "[::1]:80", true),
    ] {
        let settings = RouteMatch {
            host: Some(pattern.to_owned()),
            ..RouteMatch::default()
        };
        let head = request("GET /", &[("host", host)]);
        let got = CompiledMatch::compile(&settings).unwrap().matches(&head);
        assert_eq!(got, expected, "{pattern} {host}");
    }
}

#[test]
fn a_route_covers_another_only_when_surely_so() {
    for (wide, narrow, expected) in [
        ("{}", r#"{ "path": "/a" }"#, true),
        (r#"{ "path": "/a" }"#, "{}", false),
        (r#"{ "path": "/**" }"#, r#"{ "path": "/v1/*" }"#, true),
        (r#"{ "path": "/*" }"#, r#"{ "path": "/**" }"#, false),
        (r#"{ "path": "/v1/*" }"#, r#"{ "path": "/v1/*/x" }"#, false),
        (r#"{ "path": "/v1/*" }"#, r#"{ "path": "/v1/a*b" }"#, true),
        (r#"{ "path": "/**/x" }"#, r#"{ "path": "/a/x/x" }"#, true),
        (
            r#"{ "method": "GET" }"#,
            r#"{ "method": "GET", "path": "/a" }"#,
            true,
        ),
        (
            r#"{ "method": "GET" }"#,
            r#"{ "method": "POST", "path": "/a" }"#,
            false,
        ),
        (r#"{ "host": "a" }"#, r#"{ "host": "A:80" }"#, true),
        (r#"{ "host": "a:80" }"#, r#"{ "host": "a" }"#, false),
        (
            r#"{ "headers": { "X": "*" } }"#,
            r#"{ "headers": { "x": "1", "y": "2" } }"#,
            true,
        ),
        (
            r#"{ "headers": { "x": "1" } }"#,
            r#"{ "headers": { "x": "*" } }"#,
            false,
        ),
        (
            r#"{ "query": { "a": "*" } }"#,
            r#"{ "query": { "a": "1/2" } }"#,
            true,
        ),
        (
            r#"{ "query": { "A": "*" } }"#,
            r#"{ "query": { "a": "1" } }"#,
            false,
        ),
    ] {
        assert_eq!(
            compile(wide).covers(&compile(narrow)),
            expected,
            "{wide} {narrow}"
        );
    }
}

#[test]
fn what_can_match_nothing_is_refused() {
    let long = format!("/{}", "a".repeat(2000));
    for (json, field) in [
        (r#"{ "method": "post" }"#.to_owned(), "method"),
        (r#"{ "method": "" }"#.to_owned(), "method"),
        (r#"{ "path": "v1" }"#.to_owned(), "path"),
        (r#"{ "path": "/v1?x" }"#.to_owned(), "path"),
        (format!(r#"{{ "path": "{long}" }}"#), "path"),
        (r#"{ "host": "http://x" }"#.to_owned(), "host"),
        (r#"{ "headers": { "a b": "x" } }"#.to_owned(), "headers"),
    ] {
        let error = CompiledMatch::compile(&serde_json::from_str(&json).unwrap()).unwrap_err();
        assert_eq!(error.field[0], field, "{json}");
    }
}

#[test]
fn a_prefix_is_stripped_on_a_segment_border_only() {
    for (strip, add, path, expected) in [
        (Some("/openai"), None, "/openai/v1", "/v1"),
        (Some("/openai/"), None, "/openai/v1", "/v1"),
        (Some("/openai"), None, "/openai", "/"),
        (Some("/openai"), None, "/openai/", "/"),
        (Some("/openai"), None, "/openaix/v1", "/openaix/v1"),
        (Some("/openai"), Some("/v2/"), "/openai/v1", "/v2/v1"),
        (None, Some("/v2"), "/", "/v2/"),
        (Some("/"), None, "/v1", "/v1"),
        (Some("/openai"), Some("/v2"), "*", "*"),
    ] {
        let rewrite = Rewrite {
            strip_prefix: strip.map(str::to_owned),
            add_prefix: add.map(str::to_owned),
        };
        assert_eq!(rewrite.apply(path), expected, "{rewrite:?} {path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_covered_is_matched(wide in "/[ab*/]{0,5}", narrow in "/[ab*/]{0,5}", text in "/[ab/]{0,5}") {
        let (wide, narrow) = (path(&wide), path(&narrow));
        let head = request(&format!("GET {text}"), &[]);
        if wide.covers(&narrow) && narrow.matches(&head) {
            prop_assert!(wide.matches(&head));
        }
        prop_assert!(wide.covers(&wide));
    }
}
