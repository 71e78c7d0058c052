//! The smallest useful part of the `OpenAI` API: chat completions, streamed and not, and the list of models.
//!
//! One word is one token. Id and time of an answer come from a hash of the request.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Answer;
use crate::message::{Headers, RequestHead, ResponseHead};

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

/// What a request for a completion asks for.
struct Wish {
    model: String,
    is_stream: bool,
    /// Whether the stream ends with the usage.
    has_usage: bool,
    max_tokens: Option<usize>,
    /// As many at least; the answer is drawn out to it.
    min_tokens: usize,
    prompt_tokens: usize,
    /// The text of the last message of the user; empty where there is none.
    last_words: String,
}

/// Why a request can't be answered, in the terms of the API.
struct Problem {
    message: String,
    param: Option<&'static str>,
}

impl Wish {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Problem {
            message: format!("We could not parse the JSON body of your request: {error}."),
            param: None,
        })?;
        let model = match &body["model"] {
            Value::String(model) if !model.is_empty() => model.clone(),
            _ => {
                return Err(problem(
                    "model",
                    "you must provide a model parameter, a string",
                ));
            }
        };
        let messages = match &body["messages"] {
            Value::Array(messages) if !messages.is_empty() => messages,
            _ => {
                return Err(problem(
                    "messages",
                    "expected an array with at least one message",
                ));
            }
        };
        if !messages.iter().all(|message| message["role"].is_string()) {
            return Err(problem(
                "messages",
                "expected each message to be an object with a role",
            ));
        }
        let max_tokens = match count(&body["max_completion_tokens"], "max_completion_tokens")? {
            Some(most) => Some(most),
            None => count(&body["max_tokens"], "max_tokens")?,
        };
        let last = messages
            .iter()
            .rev()
            .find(|message| message["role"] == "user");
        Ok(Self {
            model,
            is_stream: flag(&body["stream"], "stream")?,
            has_usage: flag(&body["stream_options"]["include_usage"], "stream_options")?,
            max_tokens,
            min_tokens: min_tokens(&body, max_tokens)?,
            prompt_tokens: messages
                .iter()
                .map(|message| text_of(message).split_whitespace().count())
                .sum(),
            last_words: last.map(text_of).unwrap_or_default(),
        })
    }

    /// The words of the answer, and why it ends.
    fn words(&self) -> (Vec<String>, &'static str) {
        let mut said = self.last_words.split_whitespace();
        let echo: Vec<String> = said
            .by_ref()
            .take(MAX_ECHO)
            .map(|word| word.chars().take(MAX_ECHO).collect())
            .collect();
        let more = if said.next().is_some() { " …" } else { "" };
        let text = if echo.is_empty() {
            "There was no text to answer, and this is a made-up answer from rehearsal.".to_owned()
        } else {
            format!(
                "You said: “{}{more}” This is a made-up answer from rehearsal.",
                echo.join(" ")
            )
        };
        let mut words: Vec<String> = text
            .split(' ')
            .enumerate()
            .map(|(index, word)| {
                if index == 0 {
                    word.to_owned()
                } else {
                    format!(" {word}")
                }
            })
            .collect();
        let more = self.min_tokens.saturating_sub(words.len());
        words.extend(FILLER.into_iter().cycle().take(more).map(str::to_owned));
        match self.max_tokens {
            Some(most) if most < words.len() => {
                words.truncate(most);
                (words, "length")
            }
            Some(_) | None => (words, "stop"),
        }
    }
}

/// How many tokens there are to be at least: `min_tokens`, or `max_tokens` if the end of the text is to be ignored
/// (`ignore_eos`). Both are widely known extensions of the API, made for measuring.
fn min_tokens(body: &Value, max_tokens: Option<usize>) -> Result<usize, Problem> {
    let is_endless = flag(&body["ignore_eos"], "ignore_eos")?;
    let (param, least) = match count(&body["min_tokens"], "min_tokens")? {
        Some(least) => ("min_tokens", least),
        None if is_endless => ("max_tokens", max_tokens.unwrap_or(0)),
        None => return Ok(0),
    };
    if least > MAX_FILLED {
        return Err(problem(
            param,
            &format!("the built-in backend makes up at most {MAX_FILLED} tokens"),
        ));
    }
    Ok(least)
}

fn problem(param: &'static str, what: &str) -> Problem {
    Problem {
        message: format!("Invalid value for '{param}': {what}."),
        param: Some(param),
    }
}

fn flag(value: &Value, param: &'static str) -> Result<bool, Problem> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(problem(param, "expected a boolean")),
    }
}

fn count(value: &Value, param: &'static str) -> Result<Option<usize>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    match value.as_u64() {
        Some(count) if count > 0 => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
        Some(_) | None => Err(problem(param, "expected a whole number of at least 1")),
    }
}

/// The text of a message, whether it is one string or a list of parts.
fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<_> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

fn completion(request: &RequestHead, body: &[u8], wish: &Wish) -> Answer {
    let (words, finish_reason) = wish.words();
    let hash = hash(request, body);
    let id = format!("chatcmpl-{}", &hash.to_hex()[..24]);
    let created = created(&hash);
    let usage = json!({
        "prompt_tokens": wish.prompt_tokens,
        "completion_tokens": words.len(),
        "total_tokens": wish.prompt_tokens + words.len(),
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
            event(
                json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]),
            )
        };
        let mut events = vec![delta(
            json!({ "role": "assistant", "content": "", "refusal": null }),
            None,
        )];
        events.extend(
            words
                .iter()
                .map(|word| delta(json!({ "content": word }), None)),
        );
        events.push(delta(json!({}), Some(finish_reason)));
        if wish.has_usage {
            let mut last = event(json!([]));
            last["usage"] = usage;
            events.push(last);
        }
        stream(&events)
    } else {
        let completion = json!({
            "id": id,
            "object": "chat.completion",
            "created": created,
            "model": wish.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": words.concat(), "refusal": null },
                "logprobs": null,
                "finish_reason": finish_reason,
            }],
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

fn stream(events: &[Value]) -> Answer {
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

/// In words, and of each in characters.
const MAX_ECHO: usize = 40;

/// What an answer is drawn out with.
const FILLER: [&str; 8] = [
    " And", " so", " it", " goes", " on,", " word", " by", " word.",
];

/// The most tokens that an answer is drawn out to.
const MAX_FILLED: usize = 20_000;

/// 2024-01-01, in seconds since 1970.
const EPOCH: u64 = 1_704_067_200;

/// Any model is answered; these are listed.
const MODELS: [&str; 2] = ["rehearsal-fake", "gpt-4o-mini"];

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, path: &str, body: &str) -> Answer {
        let request = RequestHead {
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            headers: Headers::new(),
        };
        answer(&request, body.as_bytes())
    }

    fn chat(body: &Value) -> Answer {
        ask("POST", "/v1/chat/completions", &body.to_string())
    }

    fn json_of(answer: &Answer) -> Value {
        let body: Vec<u8> = answer
            .chunks
            .iter()
            .flat_map(|(_, bytes)| bytes.to_vec())
            .collect();
        let length = answer.head.headers.get_str("content-length").unwrap();
        assert_eq!(length, body.len().to_string());
        serde_json::from_slice(&body).unwrap()
    }

    fn events(answer: &Answer) -> Vec<Value> {
        let mut lines: Vec<_> = answer
            .chunks
            .iter()
            .map(|(_, bytes)| std::str::from_utf8(bytes).unwrap())
            .map(|line| {
                line.strip_prefix("data: ")
                    .unwrap()
                    .strip_suffix("\n\n")
                    .unwrap()
            })
            .collect();
        assert_eq!(lines.pop(), Some("[DONE]"));
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_stream_says_the_same_as_the_whole_answer() {
        let mut body = json!({
            "model": "m",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": [{ "type": "text", "text": "hello big world" }] },
            ],
        });
        let whole = json_of(&chat(&body));
        let content = whole["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            content,
            "You said: “hello big world” This is a made-up answer from rehearsal."
        );
        assert_eq!(
            whole["usage"],
            json!({ "prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17 })
        );

        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        let streamed = chat(&body);
        let events = events(&streamed);
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        let said: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(said, content);
        assert_eq!(
            events[events.len() - 2]["choices"][0]["finish_reason"],
            "stop"
        );
        assert_eq!(events[events.len() - 1]["usage"], whole["usage"]);
        assert_eq!(events[0]["usage"], Value::Null);
        let times: Vec<_> = streamed
            .chunks
            .iter()
            .take(3)
            .map(|(at, _)| at.as_millis())
            .collect();
        assert_eq!(times, [200, 212, 224]);
    }

    #[test]
    fn the_same_request_gets_the_same_answer() {
        let body =
            |text: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
        assert_eq!(chat(&body("a")), chat(&body("a")));
        assert_ne!(
            json_of(&chat(&body("a")))["id"],
            json_of(&chat(&body("b")))["id"]
        );
    }

    #[test]
    fn an_answer_is_no_longer_than_asked() {
        for key in ["max_tokens", "max_completion_tokens"] {
            let mut body =
                json!({ "model": "m", "messages": [{ "role": "user", "content": "a b c" }] });
            body[key] = json!(3);
            let answer = json_of(&chat(&body));
            assert_eq!(answer["choices"][0]["message"]["content"], "You said: “a");
            assert_eq!(answer["choices"][0]["finish_reason"], "length");
            assert_eq!(answer["usage"]["completion_tokens"], 3);
        }
    }

    #[test]
    fn an_answer_is_as_long_as_asked() {
        for (more, count, reason) in [
            (json!({ "min_tokens": 200 }), 200, "stop"),
            (
                json!({ "ignore_eos": true, "max_tokens": 200 }),
                200,
                "stop",
            ),
            (
                json!({ "min_tokens": 200, "max_tokens": 150 }),
                150,
                "length",
            ),
            (json!({ "min_tokens": 1 }), 12, "stop"),
        ] {
            let mut body =
                json!({ "model": "m", "messages": [{ "role": "user", "content": "a b c" }] });
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let answer = json_of(&chat(&body));
            assert_eq!(answer["usage"]["completion_tokens"], count, "{more}");
            assert_eq!(answer["choices"][0]["finish_reason"], reason, "{more}");
            let words = answer["choices"][0]["message"]["content"].as_str().unwrap();
            assert_eq!(words.split(' ').count(), count);
        }
    }

    #[test]
    fn what_cannot_be_answered_is_refused_in_the_shape_of_the_api() {
        for (body, param) in [
            ("", Value::Null),
            ("{", Value::Null),
            ("[1]", json!("model")),
            (r#"{"model":"m","messages":[]}"#, json!("messages")),
            (r#"{"model":"m","messages":[1]}"#, json!("messages")),
            (
                r#"{"model":"m","messages":[{"role":"user"}],"stream":1}"#,
                json!("stream"),
            ),
            (
                r#"{"model":"m","messages":[{"role":"user"}],"max_tokens":0}"#,
                json!("max_tokens"),
            ),
            (
                r#"{"model":"m","messages":[{"role":"user"}],"max_tokens":1e99}"#,
                json!("max_tokens"),
            ),
            (
                r#"{"model":"m","messages":[{"role":"user"}],"min_tokens":20001}"#,
                json!("min_tokens"),
            ),
        ] {
            let answer = ask("POST", "/v1/chat/completions", body);
            assert_eq!(answer.head.status, 400, "{body}");
            let error = &json_of(&answer)["error"];
            assert_eq!(error["type"], "invalid_request_error");
            assert_eq!(error["param"], param, "{body}");
        }
    }

    #[test]
    fn an_unknown_path_is_not_worth_a_retry() {
        let answer = ask("GET", "/v2/x", "");
        assert_eq!(answer.head.status, 404);
        assert_eq!(answer.head.headers.get_str("x-should-retry"), Some("false"));
        assert_eq!(json_of(&answer)["error"]["code"], "unknown_url");
        assert_eq!(ask("GET", "/v1/chat/completions", "").head.status, 405);
    }

    #[test]
    fn models_are_listed_and_any_is_known() {
        let list = json_of(&ask("GET", "/v1/models", ""));
        assert_eq!(list["object"], "list");
        assert_eq!(list["data"][0]["id"], "rehearsal-fake");
        assert_eq!(json_of(&ask("GET", "/v1/models/any", ""))["id"], "any");
    }
}
