//! The smallest useful part of the `OpenAI` API: chat completions, streamed and not, and the list of models.
//!
//! One word is one token. Id and time of an answer come from a hash of the request.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Answer;
use crate::message::{Headers, RequestHead, ResponseHead};

use wish::Wish;

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

fn completion(request: &RequestHead, body: &[u8], wish: &Wish) -> Answer {
    let (words, finish_reason) = wish.words();
    let hash = hash(request, body);
    let told = Told {
        id: format!("chatcmpl-{}", &hash.to_hex()[..24]),
        created: created(&hash),
        usage: json!({
            "prompt_tokens": wish.prompt_tokens,
            "completion_tokens": words.len(),
            "total_tokens": wish.prompt_tokens + words.len(),
        }),
        words,
        finish_reason,
    };
    let mut answer = if wish.is_stream {
        told.in_events(wish)
    } else {
        told.at_once(wish)
    };
    answer
        .head
        .headers
        .push("x-request-id", format!("req_{}", &hash.to_hex()[..32]));
    answer
}

/// What a completion says.
struct Told {
    id: String,
    created: u64,
    usage: Value,
    words: Vec<String>,
    finish_reason: &'static str,
}

impl Told {
    /// One event a word.
    fn in_events(self, wish: &Wish) -> Answer {
        let event = |choices: Value| {
            let mut event = json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": wish.model,
                "choices": choices,
            });
            if wish.has_usage {
                event["usage"] = Value::Null;
            }
            event
        };
        let delta = |delta: Value, finish_reason: Option<&str>| {
            event(
                json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]),
            )
        };
        let first = delta(
            json!({ "role": "assistant", "content": "", "refusal": null }),
            None,
        );
        // All other events differ in their word only.
        let any = delta(json!({ "content": "" }), None).to_string();
        let (before, after) = any.rsplit_once(r#""""#).unwrap_or_default();
        let mut events = vec![first.to_string()];
        events.extend(
            self.words
                .iter()
                .map(|word| format!("{before}{}{after}", Value::from(word.as_str()))),
        );
        let tokens = 1..events.len();
        events.push(delta(json!({}), Some(self.finish_reason)).to_string());
        if wish.has_usage {
            let mut last = event(json!([]));
            last["usage"] = self.usage;
            events.push(last.to_string());
        }
        stream(&events, tokens)
    }

    /// As a whole, which is there when its last word would have come.
    fn at_once(self, wish: &Wish) -> Answer {
        let completion = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": wish.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": self.words.concat(), "refusal": null },
                "logprobs": null,
                "finish_reason": self.finish_reason,
            }],
            "usage": self.usage,
        });
        whole(200, &completion, due(self.words.len()))
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

/// A stream of these events, of which some are one token each.
fn stream(events: &[String], tokens: Range<usize>) -> Answer {
    let mut headers = Headers::new();
    headers.push("content-type", "text/event-stream; charset=utf-8");
    headers.push("cache-control", "no-cache");
    // Without it the end of the connection would be the end of the answer, and nobody could tell that from a failure.
    headers.push("transfer-encoding", "chunked");
    let lines = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .chain(["data: [DONE]\n\n".to_owned()]);
    Answer {
        head: ResponseHead {
            status: 200,
            reason: None,
            headers,
        },
        chunks: lines
            .enumerate()
            .map(|(index, line)| (due(index), Bytes::from(line)))
            .collect(),
        tokens: Some(tokens),
    }
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
        chunks: vec![(at, body)],
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
