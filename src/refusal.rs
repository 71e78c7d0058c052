//! The answers that we give for ourselves: what was wrong, and what to do about it.
//!
//! The body has the shape in which the API of `OpenAI` reports errors, because its SDKs and most others show `message` from
//! it. What a retry can't mend is a 4xx with `x-should-retry: false`; a 5xx would make SDKs try three times and hide the
//! cause.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::call::UpstreamError;
use crate::explain::{Difference, differences, distance, ignore_line};
use crate::key::Canonical;
use crate::message::{Headers, RequestHead, ResponseHead};
use crate::synth::{Answer, Chunks};
use crate::units::ByteSize;

/// An answer of our own.
#[derive(Clone, Debug)]
pub struct Refused {
    status: u16,
    code: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refused {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: None,
        }
    }

    /// The head of the request is not acceptable.
    pub fn bad_head(status: u16, reason: &str) -> Self {
        Self::new(status, "bad_request", reason)
    }

    /// No route matches.
    pub fn no_route(head: &RequestHead) -> Self {
        let message = format!(
            "no route matches {} {}; add a `[[route]]` without `match` to catch what the others don't",
            head.method, head.path
        );
        Self::new(404, "no_route", message)
    }

    /// The route has nowhere to send the request to.
    pub fn no_upstream(route: &str) -> Self {
        Self::new(
            404,
            "no_upstream",
            format!("route `{route}` has no `upstream` to send this to; add one to it"),
        )
    }

    /// The body is larger than what is keyed.
    pub fn too_large(limit: usize) -> Self {
        let message = format!(
            "the request's body is larger than {} (`key.body_limit`), so no recording can be chosen by it; raise the \
             limit, or set `key.over_limit = \"head-only\"` to choose by the head alone",
            ByteSize(limit as u64)
        );
        Self::new(413, "body_over_limit", message)
    }

    /// The recording that matches can't be read.
    pub fn unreadable(reason: &str) -> Self {
        Self::new(
            404,
            "unreadable_recording",
            format!("the recording that matches can't be replayed: {reason}"),
        )
    }

    /// All recordings of the sequence were played.
    pub fn exhausted(canonical: &Canonical, count: usize) -> Self {
        let message = format!(
            "{} {} was recorded {count} {}, and all of it was replayed; `exhausted = \"last\"` or `\"loop\"` would go on",
            canonical.method,
            canonical.path,
            if count == 1 { "time" } else { "times" }
        );
        Self::new(404, "recordings_exhausted", message)
    }

    /// No recording matches; `near` are those that came closest, as candidates, the likest first. Without a form: no route
    /// matches their requests.
    pub fn missed(
        canonical: &Canonical,
        cassette: &str,
        near: &[(String, Option<Canonical>)],
    ) -> Self {
        let ranked = ranked(canonical, near);
        let mut message = format!(
            "no recording in {cassette} matches {} {}",
            canonical.method, canonical.path
        );
        if let Some((_, name, found)) = ranked.first() {
            let places: Vec<_> = found
                .iter()
                .take(3)
                .map(|difference| difference.at.as_str())
                .collect();
            let more = if found.len() > places.len() {
                ", …"
            } else {
                ""
            };
            let places = places.join(", ");
            let why = if places.is_empty() {
                // Keys are alike, so the request that was recorded is one for another route.
                "is the same request to another route".to_owned()
            } else {
                format!("differs in {places}{more}")
            };
            // Writing into a text can't fail.
            write!(message, "; the nearest is {name}, which {why}").ok();
        } else if let Some((name, _)) = near.iter().find(|(_, recorded)| recorded.is_none()) {
            let why = "whose request no route matches";
            write!(message, "; the nearest is {name}, {why}").ok();
        } else {
            message.push_str("; there is none that is like it");
        }
        let nearest: Vec<_> = ranked
            .iter()
            .map(|(_, name, found)| {
                let differs: Vec<_> = found
                    .iter()
                    .map(|one| json!({ "at": one.at, "recorded": one.recorded, "got": one.got }))
                    .collect();
                json!({ "recording": name, "differs": differs, "ignore": ignore_line(found) })
            })
            .collect();
        let details = json!({ "key": canonical.key().to_string(), "nearest": nearest });
        Self {
            details: Some(details),
            ..Self::new(404, "no_recording", message)
        }
    }

    /// The upstream gave no answer.
    pub fn no_answer(error: &UpstreamError) -> Self {
        let (status, code) = if error.is_timeout() {
            (504, "upstream_timeout")
        } else {
            (502, "upstream_failed")
        };
        Self::new(status, code, error.to_string())
    }

    /// Something of ours went wrong.
    pub fn internal(reason: &str) -> Self {
        Self::new(500, "internal", reason)
    }

    /// The status to say it with.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What is wrong, for the log.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// As an answer.
    pub fn answer(&self) -> Answer {
        let mut body = json!({
            "error": { "message": self.message, "type": "rehearsal_error", "param": null, "code": self.code }
        });
        if let (Some(details), Some(object)) = (&self.details, body.as_object_mut()) {
            object.insert("rehearsal".to_owned(), details.clone());
        }
        let mut text = serde_json::to_vec_pretty(&body).unwrap_or_default();
        text.push(b'\n');
        let mut headers: Headers = [("content-type", "application/json")].into_iter().collect();
        headers.push("content-length", text.len().to_string());
        if self.status < 500 {
            headers.push("x-should-retry", "false");
        }
        let head = ResponseHead {
            status: self.status,
            reason: None,
            headers,
        };
        Answer {
            head,
            chunks: Chunks::from_iter([(Duration::ZERO, Bytes::from(text))]),
            tokens: None,
        }
    }
}

/// The recordings that differ least, by their names, with what differs; at most so many as are named.
fn ranked<'a>(
    canonical: &Canonical,
    near: &'a [(String, Option<Canonical>)],
) -> Vec<(usize, &'a String, Vec<Difference>)> {
    let routed = || {
        near.iter()
            .filter_map(|(name, recorded)| Some((name, recorded.as_ref()?)))
    };
    // What was asked of another path tells something only where nothing was asked of this one.
    let is_same = |recorded: &Canonical| {
        recorded.method == canonical.method && recorded.path == canonical.path
    };
    let has_same = routed().any(|(_, recorded)| is_same(recorded));
    let mut ranked: Vec<_> = routed()
        .filter(|(_, recorded)| !has_same || is_same(recorded))
        .map(|(name, recorded)| (name, differences(canonical, recorded, DIFFERENCES_MAX)))
        .map(|(name, found)| (distance(&found), name, found))
        .collect();
    // Of those that differ in as many places, the likest came first and stays so.
    ranked.sort_by_key(|(distance, ..)| *distance);
    ranked.truncate(NEAREST_MAX);
    ranked
}

/// How many near recordings are named.
const NEAREST_MAX: usize = 3;

/// How many differences are named for each.
const DIFFERENCES_MAX: usize = 16;
