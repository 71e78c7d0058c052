//! The kinds of fault, and what each one takes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::distribution::Distribution;
use super::position::{Events, Position};
use crate::units::{ByteSize, Span};

/// What is done to an exchange. One file of settings (`rule.rs`) makes these; after that nothing in them is out of range.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    // Timing.
    /// Time before the head.
    Latency {
        /// How long.
        time: Distribution,
        /// From what it counts.
        basis: Basis,
    },
    /// Time before the first event with text; the head goes at once.
    FirstToken(Distribution),
    /// Time between two events, on absolute deadlines.
    Gap {
        /// Each single one.
        each: Distribution,
        /// How much one resembles the one before. `-0.99 <= correlation <= 0.99`; 0 is not at all.
        correlation: f64,
    },
    /// Bytes a second, at most; either way.
    Bandwidth {
        /// Of the answer, a second. Above zero. `None`: no limit.
        down: Option<ByteSize>,
        /// Of the upload, a second. Above zero. `None`: no limit.
        up: Option<ByteSize>,
    },
    /// The body in so many pieces over so long.
    Dribble {
        /// `1 <= pieces <= 100,000`
        pieces: u32,
        /// From the first piece to the last.
        over: Span,
    },
    /// The head so many bytes at a time.
    SlowHead {
        /// Above zero.
        bytes: u32,
        /// From one piece to the next. Above zero.
        every: Span,
    },
    /// Reads the upload at so many bytes a second.
    SlowRead(ByteSize),
    /// Silence in the middle. `None` as `time`: for ever.
    Stall {
        /// Where it begins.
        after: Position,
        /// How long it lasts. `None`: for ever.
        time: Option<Span>,
        /// What is sent all the same.
        keepalive: KeepAlive,
        /// From one keep-alive to the next. Above zero.
        every: Span,
    },
    /// The connection stays open after the end of the content, before the end of the framing. `None`: for ever.
    HoldOpen(Option<Span>),

    // Ending.
    /// The answer ends too early.
    Cut {
        /// Where.
        after: Position,
        /// How.
        how: How,
    },
    /// The connection is closed before any byte.
    Empty,
    /// The request is read and never answered.
    Blackhole,

    // Content.
    /// Another answer in the place of the source's.
    Status(StandIn),
    /// A provider-shaped error inside the stream.
    ErrorEvent {
        /// Where; never before the head.
        after: Position,
        /// Which one.
        error: ErrorName,
        /// In which of its shapes.
        style: EventStyle,
        /// What follows it.
        then: Then,
    },
    /// Flips bits of the body, in all of it after a place.
    Corrupt {
        /// Where it begins; never before the head.
        after: Position,
        /// How many. `1 <= count <= 1,000,000`
        count: u32,
        /// Of what.
        unit: Unit,
    },
    /// So many bytes that are not HTTP in the place of the answer, then the connection is closed. Above zero.
    Garbage(u32),
    /// A chunk whose size can't be read.
    MalformedChunk {
        /// Where; never before the head.
        after: Position,
    },
    /// JSON that can't be read, in the body or in these events.
    InvalidJson(Events),
    /// Two objects in one `data` line.
    TwoObjects(Events),
    /// Events that don't come.
    Drop(Events),
    /// Events that come twice.
    Duplicate(Events),
    /// Each of these events after the one that follows it.
    Reorder(Events),
    /// Each of these events in one write with the one that follows it.
    Merge(Events),
    /// Each of these events in two writes.
    Split(Events),
    /// Write boundaries inside characters, wherever there is one of more than one byte.
    SplitUtf8,
    /// A byte that is no UTF-8 in these events.
    InvalidUtf8(Events),
    /// The `event:` lines don't come.
    DropEventLines,
    /// Arguments of a tool call that are wrong.
    ToolArgs(ToolArgs),
    /// Another `content-type`.
    ContentType(String),
    /// Another `content-encoding`, which the body does not have.
    ContentEncoding(String),
    /// Headers set, taken out, doubled, or huge.
    Header(HeaderEdit),
    /// A gateway's page in the place of the answer, with status 200.
    Html200,

    // Rate limits.
    /// Requests and tokens in a window; more are refused as the provider does.
    RateLimit {
        /// So many requests in a window. Above zero. `None`: no limit.
        requests: Option<u64>,
        /// So many tokens in a window. Above zero. `None`: no limit.
        tokens: Option<u64>,
        /// The length of the window. Above zero.
        per: Span,
        /// Whether all clients share one.
        is_shared: bool,
    },
}

/// From what a latency counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// On top of the time that the source takes.
    #[default]
    Add,
    /// At least so long in all.
    Total,
    /// In the place of the recorded time; only for answers that are not live.
    Replace,
}

/// What is sent in a silence so that it does not look like one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeepAlive {
    /// Nothing.
    #[default]
    None,
    /// A comment of an event stream.
    Comment,
    /// The `ping` of the provider, where it has one; else a comment.
    Ping,
}

/// How an answer ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// As if it were complete: the framing ends properly.
    CleanEnd,
    /// The terminator is left out, everything else comes.
    MissingTerminator,
    /// FIN without the last chunk.
    MissingLastChunk,
    /// A body that ends with the connection, and does.
    CloseFramed,
    /// A `content-length` larger than what comes, then FIN.
    ShortBody,
    /// A TCP reset.
    Reset,
    /// `RST_STREAM` with this code (HTTP/2 only).
    #[serde(rename = "h2-reset")]
    H2Reset(u32),
    /// `GOAWAY` with this code (HTTP/2 only); takes the whole connection.
    #[serde(rename = "goaway")]
    GoAway(u32),
}

/// An answer in the place of the source's.
#[derive(Clone, Debug, PartialEq)]
pub enum StandIn {
    /// Just this.
    Plain {
        /// `200 <= status <= 599`
        status: u16,
        /// Names and values that can stand in a head; none about framing.
        headers: BTreeMap<String, String>,
        /// `None`: an empty one.
        body: Option<String>,
    },
    /// What the provider of the route says in this case.
    Error {
        /// Which one.
        error: ErrorName,
        /// After what time the client is told to come again. `None`: as is usual for this error.
        retry_after: Option<Span>,
    },
}

/// An error that providers have, by the name that is the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorName {
    /// Too many requests.
    RateLimit,
    /// Too many tokens.
    TokenLimit,
    /// No credit left; retrying does not help.
    Quota,
    /// The traffic grew too fast.
    SlowDown,
    /// Overloaded.
    Overloaded,
    /// Something broke inside.
    Internal,
    /// It took too long inside.
    Timeout,
    /// Too long for the model.
    ContextLength,
    /// A request that is not valid.
    InvalidRequest,
    /// A key that is not valid.
    Authentication,
    /// A key that may not do this.
    Permission,
    /// No such model.
    NotFound,
    /// Too large a body.
    TooLarge,
    /// Held back by a content filter.
    ContentFilter,
}

/// In which of the ways that were seen an error stands in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventStyle {
    /// As it was captured on the wire. In responses: the error nested, then `response.failed`.
    #[default]
    Captured,
    /// As it is documented, where that is something else: in responses one flat `error`.
    Documented,
    /// As captured, and then the terminator, where the stream has one that is always the same.
    Terminated,
}

/// What follows an error in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The end, as the provider ends after an error.
    #[default]
    End,
    /// The rest of the stream.
    Continue,
    /// The connection is cut.
    Close,
}

/// What is flipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Single bits.
    Bits,
    /// Whole bytes.
    #[default]
    Bytes,
}

/// What is wrong with the arguments of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ToolArgs {
    /// They end in the middle.
    Cut,
    /// The id is not the one that was announced.
    WrongId,
    /// The index is not the one that was announced.
    WrongIndex,
    /// A tool that the request does not have.
    UnknownTool,
    /// They fit the schema and are not what was asked for.
    WrongValue,
}

/// What is done to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdit {
    /// In the place of what is there.
    pub set: BTreeMap<String, String>,
    /// Taken out.
    pub drop: Vec<String>,
    /// Each line once more.
    pub duplicate: Vec<String>,
    /// A line `x-rehearsal-huge` of so many bytes.
    pub huge: Option<ByteSize>,
}
