//! What a provider's API means by its bytes: which provider speaks, and what each event of its streams is about.
//!
//! A view on bytes, which it never changes. Knows nothing of routes or faults; those that count tokens, cut at a tool call
//! or make a provider-shaped error ask here.

use std::borrow::Cow;

use crate::frames::sse::SseEvent;
use crate::message::RequestHead;

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `OpenAI`: chat completions, completions, responses, embeddings.
    OpenAi,
    /// The same at Azure, with errors of its own shape.
    AzureOpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini and Vertex.
    Gemini,
    /// Any other HTTP API.
    #[default]
    Plain,
}

/// What an event of a stream is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// Its part in the answer.
    pub part: Part,
    /// The text that it adds to the answer, decoded: content, reasoning or arguments of a tool. `None` where it adds none.
    pub text: Option<Cow<'a, str>>,
}

/// The part that an event plays in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Begins the answer, or a piece of it, without text: a role, `message_start`, `content_block_start`, `response.created`.
    Start,
    /// Adds text to the answer, or to its reasoning.
    Content,
    /// Begins or continues a call of a tool.
    ToolCall,
    /// Says why the answer is over, or that a piece of it is: `finish_reason`, `message_delta`, `content_block_stop`.
    Finish,
    /// Says only what was used.
    Usage,
    /// The last event: `[DONE]`, `message_stop`, `response.completed`.
    Terminator,
    /// A keep-alive: a comment, or the provider's `ping`.
    KeepAlive,
    /// An error inside a stream.
    Error,
    /// Anything else.
    Other,
}

impl Dialect {
    /// Whose API a request speaks, from its path and headers alone.
    pub fn of(head: &RequestHead) -> Self {
        let has = |name: &str| head.headers.contains(name);
        let path = head.path.as_str();
        if has("anthropic-version") || path.ends_with("/v1/messages") {
            Self::Anthropic
        } else if has("x-goog-api-key")
            || has("x-goog-api-client")
            || path.contains(":streamGenerateContent")
        {
            Self::Gemini
        } else if path.contains("/openai/deployments/") {
            Self::AzureOpenAi
        } else if path.contains("/v1/") {
            Self::OpenAi
        } else {
            Self::Plain
        }
    }

    /// What an event of one of its streams is about.
    pub fn meaning<'a>(self, event: &SseEvent<'a>) -> Meaning<'a> {
        let meaning = |part, text| Meaning { part, text };
        let Some(data) = event.data.as_deref() else {
            let part = if event.is_comment {
                Part::KeepAlive
            } else {
                Part::Other
            };
            return meaning(part, None);
        };
        match self {
            Self::OpenAi | Self::AzureOpenAi => openai_chat(data),
            Self::Anthropic | Self::Gemini | Self::Plain => meaning(Part::Other, None),
        }
    }
}

fn openai_chat(data: &str) -> Meaning<'static> {
    let meaning = |part, text| Meaning { part, text };
    if data == "[DONE]" {
        return meaning(Part::Terminator, None);
    }
    let Ok(event) = serde_json::from_str::<serde_json::Value>(data) else {
        return meaning(Part::Other, None);
    };
    let choice = &event["choices"][0];
    match choice["delta"]["content"].as_str() {
        Some(text) if !text.is_empty() => {
            return meaning(Part::Content, Some(Cow::Owned(text.to_owned())));
        }
        Some(_) | None => {}
    }
    if choice["finish_reason"].is_string() {
        meaning(Part::Finish, None)
    } else if event["usage"].is_object() {
        meaning(Part::Usage, None)
    } else if choice["delta"]["role"].is_string() {
        meaning(Part::Start, None)
    } else {
        meaning(Part::Other, None)
    }
}
