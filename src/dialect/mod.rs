//! What a provider's API means by its bytes: which provider speaks, and what each event of its streams is about.
//!
//! A view on bytes, which it never changes. Knows nothing of routes or faults; those that count tokens, cut at a tool call
//! or make a provider-shaped error ask here.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::frames::sse::SseEvent;

pub mod asked;
pub mod limits;
mod meaning;
mod of;
pub mod tools;
pub mod usage;

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `OpenAI`: chat completions, completions, responses, embeddings.
    #[serde(rename = "openai")]
    OpenAi,
    /// The same at Azure, with errors of its own shape.
    #[serde(rename = "azure-openai")]
    AzureOpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini and Vertex.
    Gemini,
    /// Any other HTTP API.
    #[default]
    Plain,
}

/// Which part of an API a request asks, as far as its answers and errors differ in shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Surface {
    /// Chat completions.
    Chat,
    /// Completions of a text, the older way.
    Completions,
    /// Responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Gemini's `generateContent` and its like.
    Generate {
        /// At Vertex, whose errors say more.
        is_vertex: bool,
        /// A stream without `alt=sse`: one JSON array that grows.
        is_array: bool,
    },
    /// Anything else.
    #[default]
    Other,
}

/// What an event of a stream is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// Its part in the answer.
    pub part: Part,
    /// The text that it adds to the answer, decoded: content, reasoning or arguments of a tool. `None` where it adds none.
    pub text: Option<Cow<'a, str>>,
}

/// The part that an event plays in an answer. Where it plays several, the one that stands first in this order counts:
/// error, terminator, tool call, finish, content, usage, start; its text is told all the same.
///
/// So the last event of a Gemini stream, with the last text and the reason for the end in one, is the finish: a fault can
/// then take out the finish of every dialect, and only a tool call, after which positions ask, comes before it.
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
    /// The word for it in configs and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure-openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Plain => "plain",
        }
    }

    /// What an event of one of its streams is about. Never fails: what is broken or unknown is `Part::Other`.
    ///
    /// A plain stream has no text that could be known; of its events only `[DONE]` and comments mean something.
    pub fn meaning<'a>(self, event: &SseEvent<'a>) -> Meaning<'a> {
        meaning::of(self, event)
    }

    /// Whether an event of one of its streams is a token, as pace and chunks count them: it adds text. Nobody knows the text of a
    /// plain stream; there each event with data is one, but `[DONE]`.
    pub fn adds_token(self, event: &SseEvent<'_>) -> bool {
        let meaning = self.meaning(event);
        match self {
            Self::Plain => event.data.is_some() && meaning.part == Part::Other,
            Self::OpenAi | Self::AzureOpenAi | Self::Anthropic | Self::Gemini => {
                meaning.text.is_some_and(|text| !text.is_empty())
            }
        }
    }

    /// A comment of an event stream, a frame that every other client passes over. `None` for Gemini, whose clients take
    /// it for broken JSON.
    pub fn comment(self) -> Option<&'static [u8]> {
        match self {
            Self::OpenAi | Self::AzureOpenAi | Self::Anthropic | Self::Plain => {
                Some(b": keep-alive\n\n")
            }
            Self::Gemini => None,
        }
    }

    /// The provider's own keep-alive frame; a comment where it has none.
    pub fn ping(self) -> Option<&'static [u8]> {
        match self {
            Self::Anthropic => Some(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
            Self::OpenAi | Self::AzureOpenAi | Self::Plain | Self::Gemini => self.comment(),
        }
    }

    /// The frame that ends a stream and is always the same. `None` where the end says something (`response.completed`),
    /// or there is no such frame.
    pub fn terminator(self, surface: Surface) -> Option<&'static [u8]> {
        match (self, surface) {
            (Self::OpenAi | Self::AzureOpenAi, Surface::Chat | Surface::Completions) => {
                Some(b"data: [DONE]\n\n")
            }
            (Self::Anthropic, Surface::Messages) => {
                Some(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
            }
            (
                Self::OpenAi | Self::AzureOpenAi | Self::Anthropic | Self::Gemini | Self::Plain,
                Surface::Chat
                | Surface::Completions
                | Surface::Responses
                | Surface::Messages
                | Surface::Generate { .. }
                | Surface::Other,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests;
