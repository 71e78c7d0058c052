//! Where in an answer something happens.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::dialect::Part;
use crate::units::{ByteSize, Span};

/// A place in an answer: before it, after so much of it, or at an event of a kind. Counted in what the source sent.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Position {
    /// Before the head.
    BeforeHead,
    /// After the head, before any byte of the body.
    Head,
    /// After so many events (of an event stream; elsewhere one chunk counts as one event). 0 is the same as `head`.
    Events(u64),
    /// After so many bytes of the body.
    Bytes(ByteSize),
    /// So long after the head.
    Time(Span),
    /// Before the first event that begins a call of a tool.
    FirstToolCall,
    /// Before the first event with text.
    FirstToken,
    /// Before the event that ends the stream; where there is none, before the end.
    BeforeTerminator,
    /// After everything, before the end of the framing.
    End,
}

/// Which events of a stream are meant.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Events {
    /// The n-th ones, counted from 1.
    At(Vec<u64>),
    /// From the n-th on, counted from 1, so many.
    Range {
        /// The first one.
        from: u64,
        /// How many.
        count: u64,
    },
    /// All of a kind.
    Kind(EventKind),
}

/// A kind of event, as faults name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Begins the answer: a role, `message_start`.
    Role,
    /// Adds text.
    Content,
    /// A call of a tool.
    ToolCall,
    /// Says why the answer is over.
    Finish,
    /// Says what was used.
    Usage,
    /// The last event.
    Terminator,
}

impl EventKind {
    /// The part of an answer that it names.
    pub fn part(self) -> Part {
        match self {
            Self::Role => Part::Start,
            Self::Content => Part::Content,
            Self::ToolCall => Part::ToolCall,
            Self::Finish => Part::Finish,
            Self::Usage => Part::Usage,
            Self::Terminator => Part::Terminator,
        }
    }
}
