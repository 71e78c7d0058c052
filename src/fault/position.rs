//! Where in an answer something happens.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::dialect::Part;
use crate::units::{ByteSize, Span};

pub use notation::PositionError;

mod notation;

/// A place in an answer: before it, after so much of it, or at an event of a kind. Counted in what the source sent.
///
/// Written as a word (`"first-tool-call"`), as `{ events = 12 }`, or as a size or a time (`"4KiB"`, `"2s"`).
#[derive(Clone, Debug, PartialEq, Eq)]
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
///
/// Written as a number (`3`), several (`[1, 3]`), `{ from = 3, count = 2 }`, or a kind (`"usage"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// The n-th ones, counted from 1; at least one.
    At(Vec<u64>),
    /// From the n-th on, counted from 1, so many.
    Range {
        /// The first one, at least 1.
        from: u64,
        /// How many, at least 1.
        count: u64,
    },
    /// All of a kind.
    Kind(EventKind),
}

/// A kind of event, as faults name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Begins the answer, or a piece of it: a role, `message_start`, `content_block_start`.
    Role,
    /// Adds text.
    Content,
    /// A call of a tool.
    ToolCall,
    /// Says why the answer is over, or that a piece of it is: `finish_reason`, `message_delta`, `content_block_stop`.
    Finish,
    /// Says what was used.
    Usage,
    /// The last event.
    Terminator,
}

impl Position {
    /// Whether what happens at `other` surely comes first, so that an end there leaves this place unreached. Places that are
    /// counted in different units can't be compared.
    pub fn is_after(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::BeforeHead, _) | (Self::Head, Self::Head) => false,
            (_, Self::BeforeHead) | (Self::End, Self::BeforeTerminator) => true,
            (Self::Events(own), Self::Events(other)) => own > other,
            (Self::Bytes(own), Self::Bytes(other)) => own > other,
            (Self::Time(own), Self::Time(other)) => own > other,
            // Each of these is the place right after the head.
            (_, Self::Head | Self::Events(0) | Self::Bytes(ByteSize(0))) => !self.is_head(),
            (
                Self::Head
                | Self::Events(_)
                | Self::Bytes(_)
                | Self::Time(_)
                | Self::FirstToolCall
                | Self::FirstToken
                | Self::BeforeTerminator
                | Self::End,
                Self::Events(_)
                | Self::Bytes(_)
                | Self::Time(_)
                | Self::FirstToolCall
                | Self::FirstToken
                | Self::BeforeTerminator
                | Self::End,
            ) => false,
        }
    }

    fn is_head(&self) -> bool {
        match self {
            Self::Head | Self::Events(0) | Self::Bytes(ByteSize(0)) => true,
            Self::Time(span) => *span == Span::default(),
            Self::BeforeHead
            | Self::Events(_)
            | Self::Bytes(_)
            | Self::FirstToolCall
            | Self::FirstToken
            | Self::BeforeTerminator
            | Self::End => false,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeHead => f.write_str("before the head"),
            Self::Head => f.write_str("after the head"),
            Self::Events(1) => f.write_str("after 1 event"),
            Self::Events(count) => write!(f, "after {count} events"),
            Self::Bytes(size) => write!(f, "at {size}"),
            Self::Time(span) => write!(f, "after {span}"),
            Self::FirstToolCall => f.write_str("at the first tool call"),
            Self::FirstToken => f.write_str("at the first token"),
            Self::BeforeTerminator => f.write_str("before the terminator"),
            Self::End => f.write_str("at the end"),
        }
    }
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
