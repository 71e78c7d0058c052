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
struct Found<'a> {
    text: Option<Cow<'a, str>>,
    part: Part,
}

impl<'a> Found<'a> {
    fn new() -> Self {
        Self {
            text: None,
            part: Part::Other,
        }
    }

    /// Keeps the part of the two that counts.
    fn mark(&mut self, part: Part) {
        if rank(part) > rank(self.part) {
            self.part = part;
        }
    }

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
        self.mark(Part::Content);
        match &mut self.text {
            Some(have) => have.to_mut().push_str(&text),
            None => self.text = Some(text),
        }
    }

    fn meaning(self) -> Meaning<'a> {
        Meaning {
            part: self.part,
            text: self.text,
        }
    }
}

/// Which of the parts that one event plays counts: the highest.
fn rank(part: Part) -> u8 {
    match part {
        Part::Error => 7,
        Part::Terminator => 6,
        Part::ToolCall => 5,
        Part::Finish => 4,
        Part::Content => 3,
        Part::Usage => 2,
        Part::Start => 1,
        Part::KeepAlive | Part::Other => 0,
    }
}

/// An event of chat completions or completions, which have `choices`, or of responses, which have a `type`.
fn openai<'a>(name: Option<&str>, root: Scanned<'a>) -> Meaning<'a> {
    let (mut kind, mut choices, mut delta, mut found) = (None, None, None, Found::new());
    for (name, value) in root.members() {
        match name.plain() {
            "choices" => choices = Some(value),
            "type" => kind = value.text(),
            "delta" => delta = Some(value),
            "usage" if value.is_something() => found.mark(Part::Usage),
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
            "finish_reason" if value.is_something() => found.mark(Part::Finish),
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
                    found.mark(Part::ToolCall);
                    let function = call.get("function");
                    found.add(function.and_then(|function| function.get("arguments")));
                    found.add(call.get("custom").and_then(|custom| custom.get("input")));
                }
            }
            "function_call" if value.is_something() => {
                found.mark(Part::ToolCall);
                found.add(value.get("arguments"));
            }
            "role" => found.mark(Part::Start),
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
    let mut found = Found::new();
    match kind {
        "created" | "in_progress" | "queued" => found.mark(Part::Start),
        "completed" | "incomplete" | "cancelled" => return just(Part::Terminator),
        "failed" => return just(Part::Error),
        "output_item.added" => {
            let item = root.get("item").and_then(|item| item.get("type")?.text());
            if item.is_some_and(|item| item.ends_with("_call")) {
                found.mark(Part::ToolCall);
            }
            found.mark(Part::Start);
        }
        "function_call_arguments.delta"
        | "custom_tool_call_input.delta"
        | "mcp_call_arguments.delta"
        | "code_interpreter_call_code.delta" => {
            found.mark(Part::ToolCall);
            found.add(delta);
        }
        // What it adds is sound, which no text can stand for.
        "audio.delta" => return just(Part::Content),
        _ => match kind.rsplit('.').next() {
            Some("delta") => found.add(delta),
            Some("done") => found.mark(Part::Finish),
            Some("added") => found.mark(Part::Start),
            Some(_) | None => {}
        },
    }
    found.meaning()
}

fn anthropic<'a>(name: Option<&str>, root: Scanned<'a>) -> Meaning<'a> {
    let kind = root.get("type").and_then(Scanned::text);
    let mut found = Found::new();
    match kind.as_deref().or(name).unwrap_or_default() {
        "message_start" => found.mark(Part::Start),
        "content_block_start" => {
            let block = root.get("content_block");
            let kind = block.and_then(|block| block.get("type")?.text());
            if kind.is_some_and(|kind| kind.ends_with("tool_use")) {
                found.mark(Part::ToolCall);
            }
            found.mark(Part::Start);
            found.add(block.and_then(|block| block.get("text").or_else(|| block.get("thinking"))));
        }
        "content_block_delta" => {
            let members = root.get("delta").map(Scanned::members);
            for (name, value) in members.into_iter().flatten() {
                match name.plain() {
                    "text" | "thinking" => found.add(Some(value)),
                    "partial_json" => {
                        found.mark(Part::ToolCall);
                        found.add(Some(value));
                    }
                    _ => {}
                }
            }
        }
        "content_block_stop" | "message_delta" => found.mark(Part::Finish),
        "message_stop" => return just(Part::Terminator),
        "ping" => return just(Part::KeepAlive),
        "error" => return just(Part::Error),
        _ => {}
    }
    found.meaning()
}

fn gemini(root: Scanned<'_>) -> Meaning<'_> {
    let mut found = Found::new();
    for (name, value) in root.members() {
        match name.plain() {
            "error" if value.is_something() => return just(Part::Error),
            "candidates" => {
                for candidate in value.items() {
                    add_candidate(candidate, &mut found);
                }
            }
            "usageMetadata" => found.mark(Part::Usage),
            // The request itself was refused: that is why the answer is over.
            "promptFeedback" if value.get("blockReason").is_some() => found.mark(Part::Finish),
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
                            found.mark(Part::ToolCall);
                            let arguments = value.get("args").map(Scanned::raw);
                            found.add_text(arguments.unwrap_or_default().into());
                        }
                        _ => {}
                    }
                }
                found.mark(Part::Start);
            }
            "finishReason" if value.is_something() => found.mark(Part::Finish),
            _ => {}
        }
    }
}
