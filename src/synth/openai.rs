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
    let id = format!("chatcmpl-{}", &hash.to_hex()[..24]);
    let created = created(&hash);
    // All choices say the same.
    let said = words.len() * wish.choices;
    let usage = json!({
        "prompt_tokens": wish.prompt_tokens,
        "completion_tokens": said,
        "total_tokens": wish.prompt_tokens + said,
    });
    let mut answer = if wish.is_stream {
        let event = |choices: Value| {
            let mut event = json!({
                "id": id,
                "object": "chat.completion.chunk",
                "created": created,
                "model": wish.model,
                "choices": choices,
            });
            if wish.has_usage {
                event["usage"] = Value::Null;
            }
            event
        };
        let delta = |delta: Value, finish_reason: Option<&str>| {
            let choice = |index| json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
            event((0..wish.choices).map(choice).collect())
        };
        let first = delta(
            json!({ "role": "assistant", "content": "", "refusal": null }),
            None,
        );
        // All other events differ in their word only.
        let any = delta(json!({ "content": "" }), None).to_string();
        let mut events = vec![first.to_string()];
        events.extend(words.iter().map(|word| {
            any.replace(
                EMPTY,
                &format!(r#""content":{}"#, Value::from(word.as_str())),
            )
        }));
        let tokens = 1..events.len();
        events.push(delta(json!({}), Some(finish_reason)).to_string());
        if wish.has_usage {
            let mut last = event(json!([]));
            last["usage"] = usage;
            events.push(last.to_string());
        }
        stream(&events, tokens)
    } else {
        let completion = json!({
            "id": id,
            "object": "chat.completion",
            "created": created,
            "model": wish.model,
            "choices": (0..wish.choices).map(|index| json!({
                "index": index,
                "message": { "role": "assistant", "content": words.concat(), "refusal": null },
                "logprobs": null,
                "finish_reason": finish_reason,
            })).collect::<Vec<_>>(),
            "usage": usage,
        });
        // The whole answer is there when its last word would have come.
        whole(200, &completion, due(words.len()))
    };
    answer
        .head
        .headers
        .push("x-request-id", format!("req_{}", &hash.to_hex()[..32]));
    answer
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

/// Where the word of an event goes in. The model can't say it: a quote in a name is escaped.
const EMPTY: &str = r#""content":"""#;

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
