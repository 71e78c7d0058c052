//! Which requests a route takes, and how it rewrites their path. Looks at the request's head alone.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::glob::Glob;
use crate::message::RequestHead;

pub mod glob;

/// Which requests a route takes: those that fit everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteMatch {
    /// The method, such as `POST`. Any method where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path as it is sent, percent-encoding included: `/v1/models`, `/v1/models/*` (`*` is any text inside one
    /// segment) or `/v1/**` (`**` is any rest, slashes included).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The host that is asked, in any case; `*` is any text. Without a port it fits all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers that must be there, with a pattern for the value; `*` is any text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Query parameters that must be there, with a pattern for the decoded value; `*` is any text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
}

/// Why a [`RouteMatch`] can't be used, and which of its fields is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RouteError {
    /// The way to the value, such as `["headers", "x-team"]`.
    pub field: Vec<String>,
    /// What is wrong and what was expected.
    pub what: String,
}

/// A [`RouteMatch`] made ready to be asked.
#[derive(Clone, Debug)]
pub struct CompiledMatch {
    method: Option<String>,
    path: Option<Glob>,
    host: Option<HostGlob>,
    headers: Vec<(String, Glob)>,
    query: Vec<(String, Glob)>,
}

impl CompiledMatch {
    /// Makes the patterns ready.
    ///
    /// # Errors
    /// The first field that can't be used.
    pub fn compile(settings: &RouteMatch) -> Result<Self, RouteError> {
        if let Some(method) = &settings.method {
            check_method(method).map_err(|what| error(&["method"], what))?;
        }
        let path = match &settings.path {
            Some(path) if !path.starts_with('/') => {
                return Err(error(
                    &["path"],
                    format!("the path `{path}` does not begin with `/`"),
                ));
            }
            Some(path) if path.contains(['?', '#', ' ']) => {
                return Err(error(
                    &["path"],
                    format!(
                        "the path `{path}` holds `?`, `#` or a blank; a query is matched by `query`"
                    ),
                ));
            }
            Some(path) => Some(Glob::path(path).map_err(|what| error(&["path"], what))?),
            None => None,
        };
        let host = match &settings.host {
            Some(host) if host.is_empty() || host.contains(['/', ' ', '@']) => {
                return Err(error(
                    &["host"],
                    format!(
                        "`{host}` is not a host, expected a name such as `api.example.com` or `*.example.com`"
                    ),
                ));
            }
            Some(host) => Some(HostGlob::compile(host).map_err(|what| error(&["host"], what))?),
            None => None,
        };
        let mut headers = Vec::with_capacity(settings.headers.len());
        for (name, pattern) in &settings.headers {
            if !is_token(name) {
                let what = format!("`{name}` is not a header name");
                return Err(error(&["headers", name], what));
            }
            let glob = Glob::text(pattern).map_err(|what| error(&["headers", name], what))?;
            headers.push((name.clone(), glob));
        }
        let mut query = Vec::with_capacity(settings.query.len());
        for (name, pattern) in &settings.query {
            let glob = Glob::text(pattern).map_err(|what| error(&["query", name], what))?;
            query.push((name.clone(), glob));
        }
        Ok(Self {
            method: settings.method.clone(),
            path,
            host,
            headers,
            query,
        })
    }

    /// Whether the request fits everything that is set.
    pub fn matches(&self, head: &RequestHead) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == head.method)
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.matches(head.path.as_bytes()))
            && self.host.as_ref().is_none_or(|host| {
                head.headers
                    .get("host")
                    .is_some_and(|asked| host.matches(asked))
            })
            && self
                .headers
                .iter()
                .all(|(name, glob)| head.headers.get_all(name).any(|value| glob.matches(value)))
            && (self.query.is_empty() || self.matches_query(head.query.as_deref().unwrap_or("")))
    }

    fn matches_query(&self, query: &str) -> bool {
        let pairs: Vec<_> = query
            .split('&')
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        self.query.iter().all(|(name, glob)| {
            pairs
                .iter()
                .any(|(have, value)| have == name.as_bytes() && glob.matches(value))
        })
    }

    /// Whether every request that `other` matches is surely matched by this one. May say no where the truth is yes.
    pub fn covers(&self, other: &Self) -> bool {
        fn all_covered(
            own: &[(String, Glob)],
            other: &[(String, Glob)],
            same: impl Fn(&str, &str) -> bool,
        ) -> bool {
            own.iter().all(|(name, glob)| {
                other
                    .iter()
                    .any(|(have, narrow)| same(name, have) && glob.covers(narrow))
            })
        }
        fn covered<T>(own: Option<&T>, other: Option<&T>, covers: impl Fn(&T, &T) -> bool) -> bool {
            own.is_none_or(|own| other.is_some_and(|other| covers(own, other)))
        }
        covered(self.method.as_ref(), other.method.as_ref(), |own, other| {
            own == other
        }) && covered(self.path.as_ref(), other.path.as_ref(), Glob::covers)
            && covered(self.host.as_ref(), other.host.as_ref(), HostGlob::covers)
            && all_covered(&self.headers, &other.headers, str::eq_ignore_ascii_case)
            && all_covered(&self.query, &other.query, |own, other| own == other)
    }
}

/// How a request's path is changed on its way to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken from the path's beginning, on a segment border only.
    pub strip_prefix: Option<String>,
    /// Put before what is left.
    pub add_prefix: Option<String>,
}

impl Rewrite {
    /// The path for the upstream. A path that does not begin with `strip_prefix` is not stripped.
    pub fn apply(&self, path: &str) -> String {
        // `OPTIONS *` asks for no path at all.
        if !path.starts_with('/') {
            return path.to_owned();
        }
        let mut rest = path;
        if let Some(prefix) = &self.strip_prefix
            && let Some(after) = path.strip_prefix(prefix.trim_end_matches('/'))
            && (after.is_empty() || after.starts_with('/'))
        {
            rest = if after.is_empty() { "/" } else { after };
        }
        match &self.add_prefix {
            Some(prefix) => format!("{}{rest}", prefix.trim_end_matches('/')),
            None => rest.to_owned(),
        }
    }
}

/// Whether this can be a method or the name of a header: a token of RFC 9110.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn error(field: &[&str], what: String) -> RouteError {
    RouteError {
        field: field.iter().map(|&step| step.to_owned()).collect(),
        what,
    }
}

fn check_method(method: &str) -> Result<(), String> {
    if !is_token(method) {
        return Err(format!(
            "`{method}` is not a method, expected one such as `POST`"
        ));
    }
    if method.bytes().any(|byte| byte.is_ascii_lowercase())
        && METHODS.contains(&&*method.to_ascii_uppercase())
    {
        let upper = method.to_ascii_uppercase();
        return Err(format!(
            "no request has the method `{method}`, methods are written in capitals; did you mean `{upper}`?"
        ));
    }
    Ok(())
}

/// Query parameters are written like forms: `+` is a blank.
fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

/// A pattern for the host; the port counts only where the pattern has one.
#[derive(Clone, Debug)]
struct HostGlob {
    name: Glob,
    port: Option<String>,
}

impl HostGlob {
    fn compile(pattern: &str) -> Result<Self, String> {
        let lower = pattern.to_ascii_lowercase();
        let (name, port) = split_port(&lower);
        Ok(Self {
            name: Glob::text(name)?,
            port: port.map(str::to_owned),
        })
    }

    fn matches(&self, asked: &[u8]) -> bool {
        let Ok(asked) = std::str::from_utf8(asked) else {
            return false;
        };
        let lower = asked.to_ascii_lowercase();
        let (name, port) = split_port(&lower);
        self.name.matches(name.as_bytes())
            && self.port.as_deref().is_none_or(|own| port == Some(own))
    }

    fn covers(&self, other: &Self) -> bool {
        self.name.covers(&other.name) && (self.port.is_none() || self.port == other.port)
    }
}

/// Name and port of `name:port` and of `[::1]:port`.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && !is_open(name) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Whether a bracket of an IPv6 address is still open at the end.
fn is_open(name: &str) -> bool {
    name.contains('[') && !name.contains(']')
}

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

#[cfg(test)]
mod tests {
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
            ("/ü/*", "/ü/ß", true),
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
}
