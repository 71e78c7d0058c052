//! Errors as each provider says them: status, headers and body of an answer, and the frames inside a stream.
//!
//! Shapes are those that were documented or captured. Where a provider was never seen to have an error, it gets the
//! shape that its other errors have, with a text in the same tone.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};

use super::kind::{ErrorName, EventStyle};
use crate::dialect::asked::Asked;
use crate::dialect::limits::{Standing, Standings, write_retry_after};
use crate::dialect::{Dialect, Surface};
use crate::json::scan::Scanned;
use crate::message::Headers;

mod anthropic;
mod azure;
mod gemini;
mod openai;
mod plain;

/// What an error is about, beside its name.
#[derive(Clone, Debug)]
pub struct ErrorContext<'a> {
    /// Whose API was asked.
    pub dialect: Dialect,
    /// Which part of it.
    pub surface: Surface,
    /// The model that was asked.
    pub model: Option<&'a str>,
    /// The version that the query named (Azure).
    pub api_version: Option<&'a str>,
    /// When to come back. `None`: it is not said.
    pub retry_after: Option<Duration>,
    /// How the limits stand. Where none does, an error of a limit makes them up.
    pub standings: Standings,
    /// The tokens that the request was estimated at, for those that are larger than the limit.
    pub requested: Option<u64>,
    /// Ids are made from this: the same seed, the same ids.
    pub seed: u64,
    /// What the clock on the wall shows.
    pub now: SystemTime,
}

impl<'a> ErrorContext<'a> {
    /// With what a request asked, and nothing said of limits.
    pub fn new(asked: &'a Asked, seed: u64, now: SystemTime) -> Self {
        Self {
            dialect: asked.dialect,
            surface: asked.surface,
            model: asked.model.as_deref(),
            api_version: asked.api_version.as_deref(),
            retry_after: None,
            standings: Standings::default(),
            requested: None,
            seed,
            now,
        }
    }

    fn model(&self) -> &'a str {
        self.model.unwrap_or("unknown")
    }

    /// Whether coming back helps, and when.
    fn retry_after(&self, name: ErrorName) -> Option<Duration> {
        match name {
            // A client that believed it would come back for ever.
            ErrorName::Quota
            | ErrorName::ContextLength
            | ErrorName::InvalidRequest
            | ErrorName::Authentication
            | ErrorName::Permission
            | ErrorName::NotFound
            | ErrorName::TooLarge
            | ErrorName::ContentFilter => None,
            ErrorName::RateLimit
            | ErrorName::TokenLimit
            | ErrorName::SlowDown
            | ErrorName::Overloaded
            | ErrorName::Internal
            | ErrorName::Timeout => self.retry_after.filter(|_| !self.is_too_large(name)),
        }
    }

    /// Whether it asks for more tokens than there can ever be.
    fn is_too_large(&self, name: ErrorName) -> bool {
        let limit = self.standings.tokens.map(|tokens| tokens.limit);
        name == ErrorName::TokenLimit
            && matches!((self.requested, limit), (Some(asked), Some(limit)) if asked > limit)
    }

    /// How the limits stand when this error comes.
    fn standings(&self, name: ErrorName) -> Standings {
        let is_limit = matches!(name, ErrorName::RateLimit | ErrorName::TokenLimit);
        if !is_limit || self.standings != Standings::default() {
            return self.standings;
        }
        let reset = self.retry_after.unwrap_or(Duration::from_secs(1));
        let standing = |limit, is_gone| Standing {
            limit,
            remaining: if is_gone { 0 } else { limit - 1 },
            reset,
        };
        Standings {
            requests: Some(standing(500, name == ErrorName::RateLimit)),
            tokens: Some(standing(30_000, name == ErrorName::TokenLimit)),
        }
    }

    /// How the limit stands of which the error speaks.
    fn standing(&self, name: ErrorName) -> Standing {
        let standings = self.standings(name);
        let standing = if name == ErrorName::TokenLimit {
            standings.tokens
        } else {
            standings.requests
        };
        standing.unwrap_or(Standing {
            limit: 0,
            remaining: 0,
            reset: Duration::ZERO,
        })
    }

    /// So many characters of `alphabet`, chosen by the seed.
    fn id(&self, alphabet: &[u8], length: usize) -> String {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"request id");
        hasher.update(&self.seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        let pick = |byte: u8| alphabet.get(usize::from(byte) % alphabet.len().max(1));
        bytes
            .into_iter()
            .filter_map(pick)
            .map(|byte| char::from(*byte))
            .collect()
    }
}

const HEX: &[u8] = b"0123456789abcdef";
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// 400..=599
    pub status: u16,
    /// With `content-type` and `content-length`.
    pub headers: Headers,
    /// JSON.
    pub body: Bytes,
}

/// The answer with which the provider says this error.
pub fn answer(name: ErrorName, context: &ErrorContext<'_>) -> ErrorAnswer {
    let (status, body) = match context.dialect {
        Dialect::OpenAi => openai::body(name, context),
        Dialect::AzureOpenAi => azure::body(name, context),
        Dialect::Anthropic => anthropic::body(name, context),
        Dialect::Gemini => gemini::body(name, context),
        Dialect::Plain => plain::body(name, context),
    };
    let mut headers = Headers::new();
    let (kind, body) = match context.dialect {
        Dialect::Gemini => {
            let body = serde_json::to_vec_pretty(&body).unwrap_or_default();
            ("application/json; charset=UTF-8", body)
        }
        Dialect::OpenAi | Dialect::AzureOpenAi | Dialect::Anthropic | Dialect::Plain => {
            ("application/json", body.to_string().into_bytes())
        }
    };
    headers.push("content-type", kind);
    headers.push("content-length", body.len().to_string());
    write_request_id(context, &mut headers);
    context
        .standings(name)
        .write(context.dialect, context.now, &mut headers);
    if let Some(after) = context.retry_after(name) {
        write_retry_after(context.dialect, after, &mut headers);
    }
    ErrorAnswer {
        status,
        headers,
        body: body.into(),
    }
}

/// Writes the id of the answer where the provider has it; Gemini has none.
pub fn write_request_id(context: &ErrorContext<'_>, headers: &mut Headers) {
    match context.dialect {
        Dialect::OpenAi => headers.set("x-request-id", openai::request_id(context)),
        Dialect::AzureOpenAi => {
            let id = azure::request_id(context);
            headers.set("x-request-id", id.clone());
            headers.set("apim-request-id", id);
        }
        Dialect::Anthropic => headers.set("request-id", anthropic::request_id(context)),
        Dialect::Gemini | Dialect::Plain => {}
    }
}

/// What a stream said of itself so far, for those whose errors say it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPlace {
    /// The number of the event to come, where events have numbers (responses).
    pub sequence: u64,
    /// The id of the response.
    pub response: Option<String>,
}

impl StreamPlace {
    /// Takes note of the data of an event.
    pub fn see(&mut self, data: &str) {
        let Some(root) = Scanned::root(data) else {
            return;
        };
        for (name, value) in root.members() {
            match name.plain() {
                "sequence_number" => {
                    let next = value.number().map(|number| number.saturating_add(1));
                    self.sequence = next.unwrap_or(self.sequence);
                }
                "response" if self.response.is_none() => {
                    let id = value.get("id").and_then(Scanned::text);
                    self.response = id.map(Cow::into_owned);
                }
                _ => {}
            }
        }
    }
}

/// The frames with which the provider says this error in the middle of a stream.
pub fn event(
    name: ErrorName,
    context: &ErrorContext<'_>,
    place: &StreamPlace,
    style: EventStyle,
) -> Vec<u8> {
    let is_response = context.surface == Surface::Responses;
    let mut frames = match context.dialect {
        Dialect::OpenAi if is_response => openai::response_event(name, context, place, style),
        Dialect::OpenAi => {
            let error = openai::stream_error(name, context);
            frame(None, &json!({ "error": error }))
        }
        // Even a limit is said so there, after status 200.
        Dialect::AzureOpenAi if is_response => {
            openai::failed(name, &azure::error(name, context).1, context, place)
        }
        Dialect::AzureOpenAi => frame(None, &azure::body(name, context).1),
        Dialect::Anthropic => frame(Some("error"), &anthropic::stream_error(name, context)),
        Dialect::Gemini => gemini::stream_error(name, context, context.surface),
        Dialect::Plain => frame(Some("error"), &plain::body(name, context).1),
    };
    match style {
        EventStyle::Captured | EventStyle::Documented => {}
        EventStyle::Terminated => {
            let end = context.dialect.terminator(context.surface);
            frames.extend_from_slice(end.unwrap_or_default());
        }
    }
    frames
}

/// One event with this data.
fn frame(event: Option<&str>, data: &Value) -> Vec<u8> {
    match event {
        Some(event) => format!("event: {event}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests;
