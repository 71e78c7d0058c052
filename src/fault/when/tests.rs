use super::*;
use crate::message::Headers;
use crate::units::Span;

fn compile(toml: &str) -> When {
    let settings: WhenSettings =
        toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    When::compile(&settings, "busy").unwrap_or_else(|problems| panic!("{toml}: {problems:?}"))
}

fn head(line: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut lines = Headers::new();
    for (name, value) in headers {
        lines.push(*name, value.as_bytes().to_vec());
    }
    RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        headers: lines,
    }
}

/// A request whose parts each fit one condition below.
fn holds(when: &str, headers: &[(&str, &str)], body: Option<&str>) -> bool {
    let head = head("POST /v1/chat/completions?v=1", headers);
    let body: Option<Value> = body.map(|body| serde_json::from_str(body).unwrap());
    compile(when).addresses(&Asked {
        head: &head,
        client: "ci-7",
        protocol: Protocol::Http1,
        body: body.as_ref(),
        elapsed: Duration::from_secs(30),
    })
}

#[test]
fn each_condition_takes_what_fits_and_nothing_else() {
    for (when, expected) in [
        ("", true),
        ("method = 'POST'", true),
        ("method = 'GET'", false),
        ("path = '/v1/**'", true),
        ("path = '/v1/*'", false),
        ("query = { v = '*' }", true),
        ("query = { v = '2' }", false),
        ("headers = { x-team = 'a*' }", true),
        ("headers = { x-team = 'b*' }", false),
        ("client = 'ci-*'", true),
        ("client = 'dev-*'", false),
        ("model = 'gpt-*'", true),
        ("model = 'claude-*'", false),
        ("protocol = 'http1'", true),
        ("protocol = 'http2'", false),
        ("body = { '$.stream' = true }", true),
        ("body = { '$.stream' = false }", false),
        ("body = { '$.n' = 1 }", true),
        ("body = { '$.n' = 1.0 }", true),
        ("body = { '$.n' = 2 }", false),
        ("body = { '$.n' = '1' }", false),
        ("body = { '$.messages[*].role' = 'sys*' }", true),
        ("body = { '$.messages[0].role' = 'sys*' }", false),
        ("body = { '$.stream' = true, '$.n' = 2 }", false),
        ("body = { '$.missing' = true }", false),
        ("attempt = 1", true),
        ("attempt = 0", false),
        ("attempt = { from = 1 }", true),
        ("attempt = { to = 1 }", true),
        ("attempt = { from = 2 }", false),
        ("window = { from = '10s', to = '1m' }", true),
        ("window = { from = '30s' }", true),
        ("window = { to = '30s' }", false),
        ("header = 'x-rehearsal-fault'", true),
        ("header = 'x-other'", false),
        ("method = 'POST'\nclient = 'dev'", false),
    ] {
        let headers = [
            ("X-Team", "abc"),
            ("x-stainless-retry-count", "1"),
            ("x-rehearsal-fault", "other, busy"),
        ];
        let body = r#"{"model":"gpt-4o","stream":true,"n":1,"messages":[{"role":"user"},{"role":"system"}]}"#;
        assert_eq!(holds(when, &headers, Some(body)), expected, "{when}");
    }
}

#[test]
fn what_is_not_there_is_not_guessed() {
    for (when, expected) in [
        ("body = { '$.stream' = true }", false),
        ("model = '*'", false),
        ("attempt = 0", true),
        ("attempt = { from = 1 }", false),
        ("header = 'x-rehearsal-fault'", false),
    ] {
        assert_eq!(holds(when, &[], None), expected, "{when}");
    }
    assert!(holds(
        "attempt = 0",
        &[("x-stainless-retry-count", "many")],
        None
    ));
    assert!(!holds("header = 'x-f'", &[("x-f", "busybody")], None));
}

#[test]
fn a_model_in_the_path_is_found() {
    for (path, expected) in [
        (
            "/openai/deployments/gpt-4o/chat/completions",
            Some("gpt-4o"),
        ),
        (
            "/v1beta/models/gemini-pro:streamGenerateContent",
            Some("gemini-pro"),
        ),
        ("/v1/chat/completions", None),
        ("/v1/models/", None),
    ] {
        let head = head(&format!("POST {path}"), &[]);
        let asked = Asked {
            head: &head,
            client: "a",
            protocol: Protocol::Http2,
            body: None,
            elapsed: Duration::ZERO,
        };
        assert_eq!(model(&asked), expected, "{path}");
    }
}

#[test]
fn counts_choose_among_the_requests_that_are_addressed() {
    let chosen = |when: &str| {
        let when = compile(when);
        (1..=20)
            .filter(|&number| {
                when.counted(Occurrence {
                    of_client: 99,
                    of_all: number,
                })
            })
            .collect::<Vec<u64>>()
    };
    assert_eq!(chosen("nth = 3"), [3]);
    assert_eq!(chosen("first = 3"), [1, 2, 3]);
    assert_eq!(chosen("every = 5"), [5, 10, 15, 20]);
    assert_eq!(chosen("after = 17"), [18, 19, 20]);
    assert_eq!(chosen("after = 10\nfirst = 2"), [11, 12]);
    assert_eq!(chosen("after = 10\nevery = 5"), [15, 20]);
    assert_eq!(chosen("every = 2\nfirst = 5"), [2, 4]);
    let per_client = compile("nth = 3\nper = 'client'");
    assert!(per_client.counted(Occurrence {
        of_client: 3,
        of_all: 99
    }));
    assert!(!per_client.counted(Occurrence {
        of_client: 99,
        of_all: 3
    }));
    assert!(compile("nth = 3").counts() && !compile("method = 'GET'").counts());
    assert!(compile("model = 'a'").needs_body() && !compile("nth = 3").needs_body());
}

#[test]
fn a_ramp_goes_straight_from_its_start_to_its_end() {
    let ramp = compile("ramp = { from = 0, to = 0.5, over = '1m' }");
    for (seconds, expected) in [(0, 0.0), (30, 0.25), (60, 0.5), (600, 0.5)] {
        let factor = ramp.ramp(Duration::from_secs(seconds));
        assert!((factor - expected).abs() < 1e-12, "{seconds}: {factor}");
    }
    let in_window = compile("ramp = { over = '10s' }\nwindow = { from = '1m' }");
    assert!((in_window.ramp(Duration::from_secs(65)) - 0.5).abs() < 1e-12);
    let at_once = compile("ramp = { to = 0.5, over = '0s' }");
    assert!((at_once.ramp(Duration::ZERO) - 0.5).abs() < 1e-12);
}

#[test]
fn what_can_never_hold_is_refused() {
    for (toml, expected) in [
        (
            "nth = 0",
            "when: nth: with `nth` at zero it never happens, requests are counted from 1",
        ),
        (
            "nth = 4\nfirst = 3",
            "when: nth: request 4 is not among the first 3, so it never happens",
        ),
        (
            "nth = 4\nevery = 3",
            "when: nth: request 4 is none of every 3, so it never happens",
        ),
        (
            "every = 4\nfirst = 3",
            "when: every: none of the first 3 is number 4, so it never happens",
        ),
        (
            "attempt = { from = 2, to = 1 }",
            "when: attempt: there is no attempt from 2 to 1",
        ),
        (
            "window = { from = '1s', to = '2m', every = '1m' }",
            "when: window: the window is over after 2m and comes again every 1m; expected a `to` of at most 1m",
        ),
        (
            "window = { every = '1m' }",
            "when: window: a window that comes again every 1m has to be over before; expected a `to` of at most 1m",
        ),
        (
            "window = { from = '1m', to = '1m' }",
            "when: window: the window from 1m to 1m has no time in it",
        ),
        (
            "ramp = { to = 2, over = '1s' }",
            "when: ramp: to: `to` is 2, expected a number from 0 to 1",
        ),
        ("header = 'x y'", "when: header: `x y` is not a header name"),
        (
            "path = 'v1'",
            "when: path: the path `v1` does not begin with `/`",
        ),
        (
            "headers = { 'x y' = '' }",
            "when: headers: x y: `x y` is not a header name",
        ),
        (
            "body = { stream = true }",
            "when: body: stream: `stream` is not a JSON path; expected a path such as `$.stream` or `$.messages[*].role`",
        ),
    ] {
        let settings: WhenSettings = toml::from_str(toml).unwrap();
        let problems = When::compile(&settings, "busy").expect_err(toml);
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said, [expected], "{toml}");
    }
    for toml in [
        "nth = -1",
        "attempt = -1",
        "attempt = 'x'",
        "body = { '$.a' = [] }",
        "ramp = {}",
        "protocol = 'http3'",
    ] {
        assert!(toml::from_str::<WhenSettings>(toml).is_err(), "{toml}");
    }
}

#[test]
fn a_window_comes_again() {
    let window = Window {
        from: Span::secs(10),
        to: Some(Span::secs(20)),
        every: Some(Span::secs(60)),
    };
    for (second, holds) in [
        (0, false),
        (10, true),
        (19, true),
        (20, false),
        (69, false),
        (70, true),
        (79, true),
        (80, false),
        (3_615, true),
    ] {
        assert_eq!(window.holds(Duration::from_secs(second)), holds, "{second}");
    }
}
