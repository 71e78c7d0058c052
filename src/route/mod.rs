//! Which requests a route takes, and how it rewrites their path. Looks at the request's head alone.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::glob::Glob;
use self::host::HostGlob;
use crate::message::RequestHead;

pub use covers::Covers;
pub use rewrite::Rewrite;

mod covers;
pub mod glob;
mod host;
mod rewrite;

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
            Some(path) => {
                check_path(path).map_err(|what| error(&["path"], what))?;
                Some(Glob::path(path).map_err(|what| error(&["path"], what))?)
            }
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

    /// Whether it may match a path that begins with this prefix, on a border of segments.
    pub fn reaches(&self, prefix: &str) -> bool {
        let folder = prefix.trim_end_matches('/');
        self.path.as_ref().is_none_or(|path| path.reaches(folder))
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

/// That there are requests with such a path.
fn check_path(path: &str) -> Result<(), String> {
    if let Some(char) = path.chars().find(|char| !char.is_ascii_graphic()) {
        let text = char.to_string();
        let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC);
        return Err(format!(
            "the path `{path}` holds {char:?}, which is percent-encoded in the path of a request, expected `{encoded}` for it"
        ));
    }
    if path.split('/').any(|segment| segment == "..") {
        return Err(format!(
            "the path `{path}` has a `..` segment, and requests that have one are refused"
        ));
    }
    Ok(())
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

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

#[cfg(test)]
mod tests;
