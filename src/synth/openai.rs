//! The smallest useful part of the `OpenAI` API: chat completions, streamed and not, and the list of models.
//!
//! One word is one token. Id and time of an answer come from a hash of the request.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Chunks};
use crate::message::{Headers, RequestHead, ResponseHead};

use completion::completion;
use wish::Wish;

mod completion;
mod wish;

pub(super) fn answer(request: &RequestHead, body: &[u8]) -> Answer {
    // What answers GET answers HEAD; that HEAD has no body is known where it is written.
    let method = match request.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    let path = request.path.trim_end_matches('/');
    let allowed = match path {
        "/v1/chat/completions" => "POST",
        "/v1/models" => "GET",
        _ if model_of(path).is_some() => "GET",
        _ => return unknown_path(request),
    };
    if method != allowed {
        let message = format!(
            "Not allowed to {} on {path}, only {allowed}.",
            request.method
        );
        return error(405, &message, None, Some("method_not_supported"));
    }
    match model_of(path) {
        _ if path == "/v1/chat/completions" => match Wish::read(body) {
            Ok(wish) => completion(request, body, &wish),
            Err(problem) => error(400, &problem.message, problem.param, None),
        },
        Some(id) => whole(200, &model(id), Duration::ZERO),
        None => {
            let models: Vec<_> = MODELS.iter().map(|id| model(id)).collect();
            whole(
                200,
                &json!({ "object": "list", "data": models }),
                Duration::ZERO,
            )
        }
    }
}

fn hash(request: &RequestHead, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(request.target().as_bytes());
    hasher.update(b"\n");
    hasher.update(body);
    hasher.finalize()
}

/// A time in seconds that is not the present one, so that the same request gets the same answer.
fn created(hash: &blake3::Hash) -> u64 {
    let [a, b, c, ..] = *hash.as_bytes();
    EPOCH + u64::from(u32::from_be_bytes([0, a, b, c]))
}

/// When the chunk of this number comes.
fn due(index: usize) -> Duration {
    FIRST + GAP * u32::try_from(index).unwrap_or(u32::MAX)
}

fn whole(status: u16, body: &Value, at: Duration) -> Answer {
    let body = Bytes::from(body.to_string());
    let mut headers = Headers::new();
    headers.push("content-type", "application/json");
    headers.push("content-length", body.len().to_string());
    Answer {
        head: ResponseHead {
            status,
            reason: None,
            headers,
        },
        chunks: Chunks::from_iter([(at, body)]),
        tokens: None,
    }
}

fn error(status: u16, message: &str, param: Option<&str>, code: Option<&str>) -> Answer {
    let body = json!({ "error": {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    } });
    whole(status, &body, Duration::ZERO)
}

fn unknown_path(request: &RequestHead) -> Answer {
    let message = format!(
        "Unknown request URL: {} {}. The built-in backend of rehearsal knows POST /v1/chat/completions and GET /v1/models.",
        request.method, request.path
    );
    let mut answer = error(404, &message, None, Some("unknown_url"));
    answer.head.headers.push("x-should-retry", "false");
    answer
}

/// The id in `/v1/models/ID`.
fn model_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/models/").filter(|id| !id.is_empty())
}

fn model(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": EPOCH, "owned_by": "rehearsal" })
}

/// From the head to the first chunk.
const FIRST: Duration = Duration::from_millis(200);

/// Between two chunks.
const GAP: Duration = Duration::from_millis(12);

/// 2024-01-01, in seconds since 1970.
const EPOCH: u64 = 1_704_067_200;

/// Any model is answered; these are listed.
const MODELS: [&str; 2] = ["rehearsal-fake", "gpt-4o-mini"];

#[cfg(test)]
mod tests;
