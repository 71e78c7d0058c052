//! What a request asks for, as far as its body or its path says it: which model, whether a stream, how many tokens.

use std::borrow::Cow;

use super::of::{is_model_verb, query_value};
use super::{Dialect, Surface};
use crate::json::scan::Scanned;
use crate::message::RequestHead;

/// The model that is asked: `model` of the body, else what the path names (Gemini, and a deployment at Azure).
pub fn model_of<'a>(head: &'a RequestHead, body: &'a [u8]) -> Option<Cow<'a, str>> {
    let in_body = root(body).and_then(|root| root.get("model")?.text());
    in_body.or_else(|| model_in_path(&head.path).map(Cow::Borrowed))
}

/// The model that a path names, as it stands there.
fn model_in_path(path: &str) -> Option<&str> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    while let Some(segment) = segments.next() {
        if matches!(segment, "models" | "tunedModels" | "deployments") {
            let last = segments.next()?;
            // A verb stands behind the last colon; a name may have others.
            let name = match last.rsplit_once(':') {
                Some((name, verb)) if is_model_verb(verb) => name,
                Some(_) | None => last,
            };
            return (!name.is_empty()).then_some(name);
        }
    }
    None
}

/// Whether a stream is asked for: `"stream": true` in the body, Gemini's verb in the path, or `?stream=true`.
pub fn is_stream_asked(dialect: Dialect, head: &RequestHead, body: &[u8]) -> bool {
    match dialect {
        Dialect::Gemini => head.path.contains("streamGenerateContent"),
        Dialect::OpenAi | Dialect::AzureOpenAi | Dialect::Anthropic | Dialect::Plain => {
            let in_body = root(body).and_then(|root| root.get("stream"));
            in_body.is_some_and(Scanned::is_true)
                || query_value(head, "stream") == Some("true")
                || head.path.ends_with(":streamRawPredict")
        }
    }
}

/// How many tokens an answer may have at most, as the body asks. `None` where it does not say.
pub fn max_tokens(dialect: Dialect, body: &[u8]) -> Option<u64> {
    let root = root(body)?;
    let holder = match dialect {
        Dialect::Gemini => root
            .get("generationConfig")
            .or_else(|| root.get("generation_config"))?,
        Dialect::OpenAi | Dialect::AzureOpenAi | Dialect::Anthropic | Dialect::Plain => root,
    };
    MAX_TOKENS
        .iter()
        .find_map(|name| holder.get(name)?.number())
}

/// The version of the API that a request names in its query, as Azure wants it.
pub fn api_version(head: &RequestHead) -> Option<&str> {
    query_value(head, "api-version")
}

/// What is asked, together: for those who need all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose API.
    pub dialect: Dialect,
    /// Which part of it.
    pub surface: Surface,
    /// Which model.
    pub model: Option<String>,
    /// Whether a stream.
    pub is_stream: bool,
    /// How many tokens at most.
    pub max_tokens: Option<u64>,
    /// The version that the query names.
    pub api_version: Option<String>,
}

impl Asked {
    /// Reads a request. `forced` is the dialect that its route says; else it is found out.
    pub fn read(forced: Option<Dialect>, head: &RequestHead, body: &[u8]) -> Self {
        let dialect = forced.unwrap_or_else(|| Dialect::of(head));
        Self {
            dialect,
            surface: Surface::of(dialect, head),
            model: model_of(head, body).map(Cow::into_owned),
            is_stream: is_stream_asked(dialect, head, body),
            max_tokens: max_tokens(dialect, body),
            api_version: api_version(head).map(str::to_owned),
        }
    }
}

fn root(body: &[u8]) -> Option<Scanned<'_>> {
    Scanned::root(std::str::from_utf8(body).ok()?)
}

/// The names that the limit has.
const MAX_TOKENS: &[&str] = &[
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "maxOutputTokens",
    "max_tokens_to_sample",
];
