//! What a completion says, as a whole or in events.

use serde_json::{Value, json};

use super::wish::Wish;
use super::{FIRST, GAP, created, due, hash, whole};
use crate::message::{Headers, RequestHead, ResponseHead};
use crate::synth::Answer;
use crate::synth::chunks::{Frame, Told};
use crate::synth::words::Words;

/// The answer to a request for a completion.
pub(super) fn completion(request: &RequestHead, body: &[u8], wish: &Wish) -> Answer {
    let (words, finish_reason) = wish.words();
    let hash = hash(request, body);
    // All choices say the same.
    let said = words.len() * wish.choices;
    let completion = Completion {
        id: format!("chatcmpl-{}", &hash.to_hex()[..24]),
        created: created(&hash),
        usage: json!({
            "prompt_tokens": wish.prompt_tokens,
            "completion_tokens": said,
            "total_tokens": wish.prompt_tokens + said,
        }),
        words,
        finish_reason,
    };
    let mut answer = if wish.is_stream {
        completion.in_events(wish)
    } else {
        completion.at_once(wish)
    };
    answer
        .head
        .headers
        .push("x-request-id", format!("req_{}", &hash.to_hex()[..32]));
    answer
}

/// What a completion says.
struct Completion {
    id: String,
    created: u64,
    usage: Value,
    words: Words,
    finish_reason: &'static str,
}

impl Completion {
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
            let choice = |index| json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
            event((0..wish.choices).map(choice).collect())
        };
        let first = delta(
            json!({ "role": "assistant", "content": "", "refusal": null }),
            None,
        );
        // All other events differ in their word only.
        let any = line(&delta(json!({ "content": "" }), None));
        let mut closing = vec![line(&delta(json!({}), Some(self.finish_reason)))];
        if wish.has_usage {
            let mut last = event(json!([]));
            last["usage"] = self.usage;
            closing.push(line(&last));
        }
        closing.push("data: [DONE]\n\n".to_owned());
        stream(Told {
            opening: vec![line(&first)],
            frame: Frame::new(any),
            words: self.words,
            closing,
            first: FIRST,
            gap: GAP,
        })
    }

    /// As a whole, which is there when its last word would have come.
    fn at_once(self, wish: &Wish) -> Answer {
        let text = self.words.text();
        let choice = |index| {
            json!({
                "index": index,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": self.finish_reason,
            })
        };
        let completion = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": wish.model,
            "choices": (0..wish.choices).map(choice).collect::<Vec<_>>(),
            "usage": self.usage,
        });
        whole(200, &completion, due(self.words.len()))
    }
}

/// An event as it goes out.
fn line(event: &Value) -> String {
    format!("data: {event}\n\n")
}

/// A stream of these events, with a token in each that has a word.
fn stream(told: Told) -> Answer {
    let mut headers = Headers::new();
    headers.push("content-type", "text/event-stream; charset=utf-8");
    headers.push("cache-control", "no-cache");
    // Without it the end of the connection would be the end of the answer, and nobody could tell that from a failure.
    headers.push("transfer-encoding", "chunked");
    let first = told.opening.len();
    Answer {
        head: ResponseHead {
            status: 200,
            reason: None,
            headers,
        },
        tokens: Some(first..first + told.words.len()),
        chunks: told.into(),
    }
}
