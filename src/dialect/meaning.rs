//! What an event of a stream is about, read from its JSON.
//!
//! Each event passes here where a route counts or breaks events, so nothing is built: members are looked at where they
//! stand, and text without escapes is borrowed.

use std::borrow::Cow;

use super::{Dialect, Meaning, Part};
use crate::frames::sse::SseEvent;
use crate::json::scan::Scanned;

/// What this event is about.
pub(super) fn of<'a>(dialect: Dialect, event: &SseEvent<'a>) -> Meaning<'a> {
    let name = event.event.as_deref();
    match &event.data {
        None if event.is_comment => just(Part::KeepAlive),
        None => just(Part::Other),
        Some(Cow::Borrowed(data)) => read(dialect, name, data),
        // Data of several lines was put together for this event alone.
        Some(Cow::Owned(data)) => {
            let found = read(dialect, name, data);
            Meaning {
                part: found.part,
                text: found.text.map(|text| Cow::Owned(text.into_owned())),
            }
        }
    }
}

fn just(part: Part) -> Meaning<'static> {
    Meaning { part, text: None }
}

fn read<'a>(dialect: Dialect, name: Option<&str>, data: &'a str) -> Meaning<'a> {
    if data.trim_ascii() == "[DONE]" {
        return just(Part::Terminator);
    }
    let found = match (dialect, Scanned::root(data)) {
        (Dialect::Plain, _) | (_, None) => None,
        (Dialect::OpenAi | Dialect::AzureOpenAi, Some(root)) => Some(openai(name, root)),
        (Dialect::Anthropic, Some(root)) => Some(anthropic(name, root)),
        (Dialect::Gemini, Some(root)) => Some(gemini(root)),
    };
    found.unwrap_or(just(Part::Other))
}

/// What was found in an event, piece by piece.
#[derive(Default)]
struct Found<'a> {
    text: Option<Cow<'a, str>>,
    has_call: bool,
    has_finish: bool,
    has_usage: bool,
    has_start: bool,
}

impl<'a> Found<'a> {
    /// Adds the text of a string; anything else and the empty string add none.
    fn add(&mut self, value: Option<Scanned<'a>>) {
        if let Some(text) = value.and_then(Scanned::text) {
            self.add_text(text);
        }
    }

    fn add_text(&mut self, text: Cow<'a, str>) {
        if text.is_empty() {
            return;
        }
        match &mut self.text {
            Some(have) => have.to_mut().push_str(&text),
            None => self.text = Some(text),
        }
    }

    fn meaning(self) -> Meaning<'a> {
        let part = if self.has_call {
            Part::ToolCall
        } else if self.has_finish {
            Part::Finish
        } else if self.text.is_some() {
            Part::Content
        } else if self.has_usage {
            Part::Usage
        } else if self.has_start {
            Part::Start
        } else {
            Part::Other
        };
        Meaning {
            part,
            text: self.text,
        }
    }
}

/// An event of chat completions or completions, which have `choices`, or of responses, which have a `type`.
fn openai<'a>(name: Option<&str>, root: Scanned<'a>) -> Meaning<'a> {
    let (mut kind, mut choices, mut delta, mut found) = (None, None, None, Found::default());
    for (name, value) in root.members() {
        match name.plain() {
            "choices" => choices = Some(value),
            "type" => kind = value.text(),
            "delta" => delta = Some(value),
            "usage" => found.has_usage = value.is_something(),
            "error" if value.is_something() => return just(Part::Error),
            _ => {}
        }
    }
    if let Some(choices) = choices {
        for choice in choices.items() {
            add_choice(choice, &mut found);
        }
        return found.meaning();
    }
    match kind.as_deref().or(name) {
        Some(kind) => response(kind, root, delta),
        None => found.meaning(),
    }
}

fn add_choice<'a>(choice: Scanned<'a>, found: &mut Found<'a>) {
    for (name, value) in choice.members() {
        match name.plain() {
            "delta" | "message" => add_delta(value, found),
            "text" => found.add(Some(value)),
            "finish_reason" => found.has_finish |= value.is_something(),
            _ => {}
        }
    }
}

fn add_delta<'a>(delta: Scanned<'a>, found: &mut Found<'a>) {
    let mut has_reasoning = false;
    for (name, value) in delta.members() {
        match name.plain() {
            "content" if value.is_string() => found.add(Some(value)),
            // Some servers send parts.
            "content" => {
                for part in value.items() {
                    found.add(part.get("text"));
                }
            }
            "refusal" => found.add(Some(value)),
            // Servers that change from one name to the other send both.
            "reasoning_content" | "reasoning" if !has_reasoning && value.is_string() => {
                has_reasoning = value.is_something();
                found.add(Some(value));
            }
            "tool_calls" => {
                for call in value.items() {
                    found.has_call = true;
                    let function = call.get("function");
                    found.add(function.and_then(|function| function.get("arguments")));
                    found.add(call.get("custom").and_then(|custom| custom.get("input")));
                }
            }
            "function_call" if value.is_something() => {
                found.has_call = true;
                found.add(value.get("arguments"));
            }
            "role" => found.has_start = true,
            _ => {}
        }
    }
}

/// An event of responses, by its type.
fn response<'a>(kind: &str, root: Scanned<'a>, delta: Option<Scanned<'a>>) -> Meaning<'a> {
    let Some(kind) = kind.strip_prefix("response.") else {
        return just(match kind {
            "error" => Part::Error,
            _ => Part::Other,
        });
    };
    let mut found = Found::default();
    match kind {
        "created" | "in_progress" | "queued" => found.has_start = true,
        "completed" | "incomplete" | "cancelled" => return just(Part::Terminator),
        "failed" => return just(Part::Error),
        "output_item.added" => {
            let item = root.get("item").and_then(|item| item.get("type")?.text());
            found.has_call = item.is_some_and(|item| item.ends_with("_call"));
            found.has_start = true;
        }
        "function_call_arguments.delta"
        | "custom_tool_call_input.delta"
        | "mcp_call_arguments.delta"
        | "code_interpreter_call_code.delta" => {
            found.has_call = true;
            found.add(delta);
        }
        // What it adds is sound, which no text can stand for.
        "audio.delta" => return just(Part::Content),
        _ if kind.ends_with(".delta") => found.add(delta),
        _ if kind.ends_with(".done") => found.has_finish = true,
        _ if kind.ends_with(".added") => found.has_start = true,
        _ => {}
    }
    found.meaning()
}

fn anthropic<'a>(name: Option<&str>, root: Scanned<'a>) -> Meaning<'a> {
    let kind = root.get("type").and_then(Scanned::text);
    let mut found = Found::default();
    match kind.as_deref().or(name).unwrap_or_default() {
        "message_start" => found.has_start = true,
        "content_block_start" => {
            let block = root.get("content_block");
            let kind = block.and_then(|block| block.get("type")?.text());
            found.has_call = kind.is_some_and(|kind| kind.ends_with("tool_use"));
            found.has_start = true;
            found.add(block.and_then(|block| block.get("text").or_else(|| block.get("thinking"))));
        }
        "content_block_delta" => {
            let members = root.get("delta").map(Scanned::members);
            for (name, value) in members.into_iter().flatten() {
                match name.plain() {
                    "text" | "thinking" => found.add(Some(value)),
                    "partial_json" => {
                        found.has_call = true;
                        found.add(Some(value));
                    }
                    _ => {}
                }
            }
        }
        "content_block_stop" | "message_delta" => found.has_finish = true,
        "message_stop" => return just(Part::Terminator),
        "ping" => return just(Part::KeepAlive),
        "error" => return just(Part::Error),
        _ => {}
    }
    found.meaning()
}

fn gemini(root: Scanned<'_>) -> Meaning<'_> {
    let mut found = Found::default();
    for (name, value) in root.members() {
        match name.plain() {
            "error" if value.is_something() => return just(Part::Error),
            "candidates" => {
                for candidate in value.items() {
                    add_candidate(candidate, &mut found);
                }
            }
            "usageMetadata" => found.has_usage = true,
            // The request itself was refused: that is why the answer is over.
            "promptFeedback" => found.has_finish |= value.get("blockReason").is_some(),
            _ => {}
        }
    }
    found.meaning()
}

fn add_candidate<'a>(candidate: Scanned<'a>, found: &mut Found<'a>) {
    for (name, value) in candidate.members() {
        match name.plain() {
            "content" => {
                let parts = value.get("parts").map(Scanned::items);
                for (name, value) in parts.into_iter().flatten().flat_map(Scanned::members) {
                    match name.plain() {
                        "text" => found.add(Some(value)),
                        "functionCall" => {
                            found.has_call = true;
                            let arguments = value.get("args").map(Scanned::raw);
                            found.add_text(arguments.unwrap_or_default().into());
                        }
                        _ => {}
                    }
                }
                found.has_start = true;
            }
            "finishReason" => found.has_finish |= value.is_something(),
            _ => {}
        }
    }
}
