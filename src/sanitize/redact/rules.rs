//! Which names hold secrets: those that are known to, and those that a config adds.

use std::collections::HashSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sanitize::members::Names;
use crate::sanitize::secrets::{names_secret, rule_name};

/// What holds secrets, besides what is known to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedactSettings {
    /// More headers, of requests and answers, whose values are secrets.
    pub headers: Vec<String>,
    /// More query parameters whose values are secrets.
    pub query: Vec<String>,
    /// More members of JSON bodies and forms whose values, where they are texts, are secrets.
    pub members: Vec<String>,
}

/// Why settings cannot become rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    /// A header that can never be sent.
    #[error("`{0}` is not a header name")]
    Header(String),
    /// An empty or very long name.
    #[error("`{0}` is not a name of 1 to 128 bytes")]
    Name(String),
}

/// Compiled [`RedactSettings`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct RedactRules {
    pub(super) rules: Arc<Rules>,
}

/// The names, in lower case.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) headers: HashSet<String>,
    pub(super) query: Names,
    pub(super) members: Arc<Names>,
    /// Names of forms: those of members and of queries.
    pub(super) form: Arc<Names>,
    /// All of them, as they stand in placeholders.
    pub(super) names: Arc<HashSet<String>>,
}

impl RedactSettings {
    /// What can't be: the key, the number in its list, and why.
    pub fn mistakes(&self) -> Vec<(&'static str, usize, RedactError)> {
        let headers = self.headers.iter().enumerate().filter_map(|(index, name)| {
            let is_header = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
            (!is_header).then(|| ("headers", index, RedactError::Header(name.clone())))
        });
        let names = [("query", &self.query), ("members", &self.members)];
        let names = names.into_iter().flat_map(|(key, names)| {
            let wrong = |name: &String| name.is_empty() || name.len() > MAX_NAME;
            let wrong = names
                .iter()
                .enumerate()
                .filter(move |(_, name)| wrong(name));
            wrong.map(move |(index, name)| (key, index, RedactError::Name(name.clone())))
        });
        headers.chain(names).collect()
    }
}

impl RedactRules {
    /// Adds the settings to the defaults.
    ///
    /// # Errors
    ///
    /// The first name that cannot be one.
    pub fn compile(settings: &RedactSettings) -> Result<Self, RedactError> {
        if let Some((_, _, mistake)) = settings.mistakes().into_iter().next() {
            return Err(mistake);
        }
        let headers: HashSet<String> = HEADERS
            .iter()
            .map(|&name| name.to_owned())
            .chain(
                settings
                    .headers
                    .iter()
                    .map(|name| name.to_ascii_lowercase()),
            )
            .collect();
        let all = |defaults: &[&str], more: &[String]| -> Vec<String> {
            let more = more.iter().map(String::as_str);
            defaults
                .iter()
                .copied()
                .chain(more)
                .map(str::to_ascii_lowercase)
                .collect()
        };
        let query = all(&QUERY, &settings.query);
        let members = all(&MEMBERS, &settings.members);
        let names = headers.iter().chain(&query).chain(&members);
        let names = names.map(|name| rule_name(name)).collect();
        Ok(Self {
            rules: Arc::new(Rules {
                headers,
                form: Arc::new(Names::new(query.iter().chain(&members).cloned())),
                query: Names::new(query),
                members: Arc::new(Names::new(members)),
                names: Arc::new(names),
            }),
        })
    }
}

impl Default for RedactRules {
    /// The defaults alone.
    fn default() -> Self {
        Self::compile(&RedactSettings::default()).expect("the defaults are names")
    }
}

impl Rules {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        (self.headers.contains(&name) || names_secret(&name)).then_some(name)
    }
}

/// Headers of requests and answers whose values are secrets, besides those whose [names say so](names_secret). The tokens against request forgery are bound to a session
/// and die with it, but until then they are a half of it.
const HEADERS: [&str; 22] = [
    "api-key",
    "authorization",
    "circle-token",
    "cookie",
    "cookie2",
    "fastly-key",
    "ocp-apim-subscription-key",
    "openai-api-key",
    "private-token",
    "proxy-authorization",
    "set-cookie",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-figma-token",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-honeycomb-team",
    "x-vault-token",
    "x-xsrf-token",
];

/// Query parameters whose values are secrets.
const QUERY: [&str; 28] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authorization",
    "client_secret",
    "id_token",
    "jwt",
    "key",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "sas",
    "secret",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-signature",
];

/// Members of JSON bodies and forms whose values are secrets where they are texts.
const MEMBERS: [&str; 7] = [
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "id_token",
    "password",
    "refresh_token",
];

/// Longer than any name in use.
const MAX_NAME: usize = 128;
