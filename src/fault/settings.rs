//! One fault rule as it is written in the file. What it means is compiled by `rule`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::distribution::Distribution;
use super::kind::{
    Basis, ErrorName, EventStyle, HeaderEdit, How, KeepAlive, StandIn, Then, ToolArgs, Unit,
};
use super::position::{Events, Position};
use super::when::WhenSettings;
use crate::units::{ByteSize, Span};

pub use super::notation::{Gap, Lasting};

/// One fault: exactly one kind, to which requests, and how often.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub struct FaultSettings {
    /// Its name in logs, metrics and commands. The kind's where it is not set, with a number from the second one on.
    pub name: Option<String>,
    /// How often it hits a request that it is addressed to, from 0 to 1. Default 1.
    pub probability: Option<f64>,
    /// Rules of a route that share a group share one draw: at most one of them hits.
    pub group: Option<String>,
    /// Its share of the group's draw, from 0 to 1; those of a group make 1 at most.
    pub weight: Option<f64>,
    /// Which requests it is addressed to; all of the route where it is not set.
    pub when: WhenSettings,
    /// Whether it is on from the start. Default true.
    pub enabled: Option<bool>,
    /// It switches itself off after so long.
    pub ttl: Option<Span>,
    /// It hits at most so many exchanges at once.
    pub max_active: Option<u32>,
    /// Counts what it would hit, and does nothing.
    pub dry_run: bool,
    /// Whether the upstream is called before an answer is put in the place of its own. Default false: such a fault
    /// costs no call.
    pub after_upstream: bool,
    /// Whether a client may be told to wait for longer than a minute. Some take it at its word.
    pub allow_long_retry_after: bool,
    /// What it takes: the exchange, or on HTTP/2 the whole connection with all its streams.
    pub scope: Scope,

    /// Time before the head.
    pub latency: Option<Distribution>,
    /// From what `latency` counts. Default `add`.
    pub basis: Option<Basis>,
    /// Time before the first event with text; the head goes at once.
    pub first_token: Option<Distribution>,
    /// Time between two events.
    pub gap: Option<Gap>,
    /// Bytes a second, at most.
    pub bandwidth: Option<Bandwidth>,
    /// The body in so many pieces over so long.
    pub dribble: Option<Dribble>,
    /// The head so many bytes at a time.
    pub slow_head: Option<SlowHead>,
    /// Reads the upload at so many bytes a second.
    pub slow_read: Option<ByteSize>,
    /// Silence in the middle.
    pub stall: Option<Stall>,
    /// The connection stays open after the end of the content, for so long or `forever`.
    pub hold_open: Option<Lasting>,

    /// The answer ends too early.
    pub cut: Option<Cut>,
    /// The connection is closed before any byte.
    pub empty: bool,
    /// The request is read and never answered.
    pub blackhole: bool,

    /// Another answer in the place of the source's.
    pub status: Option<StandIn>,
    /// A provider-shaped error inside the stream.
    pub error_event: Option<ErrorEvent>,
    /// Flips bits or bytes of the body.
    pub corrupt: Option<Corrupt>,
    /// So many bytes that are not HTTP in the place of the answer.
    pub garbage: Option<ByteSize>,
    /// A chunk whose size can't be read.
    pub malformed_chunk: Option<MalformedChunk>,
    /// JSON that can't be read, in these events.
    pub invalid_json: Option<Events>,
    /// Two objects in one `data` line, in these events.
    pub two_objects: Option<Events>,
    /// Events that don't come.
    pub drop: Option<Events>,
    /// Events that come twice.
    pub duplicate: Option<Events>,
    /// Each of these events after the one that follows it.
    pub reorder: Option<Events>,
    /// Each of these events in one write with the one that follows it.
    pub merge: Option<Events>,
    /// Each of these events in two writes.
    pub split: Option<Events>,
    /// Write boundaries inside characters.
    pub split_utf8: bool,
    /// A byte that is no UTF-8, in these events.
    pub invalid_utf8: Option<Events>,
    /// The `event:` lines don't come.
    pub drop_event_lines: bool,
    /// What is wrong with the arguments of a tool call.
    pub tool_args: Option<ToolArgs>,
    /// Another `content-type`.
    pub content_type: Option<String>,
    /// Another `content-encoding`, which the body does not have.
    pub content_encoding: Option<String>,
    /// Headers set, taken out, doubled, or huge.
    pub header: Option<HeaderEdit>,
    /// A gateway's page in the place of the answer, with status 200.
    pub html_200: bool,
    /// So many requests or tokens in a window; more are refused as the provider does.
    pub rate_limit: Option<RateLimit>,
}

/// What a fault takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One exchange, and never its neighbours.
    #[default]
    Exchange,
    /// The whole connection.
    Connection,
}

/// Bytes a second, at most.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    /// Of the answer.
    pub down: Option<ByteSize>,
    /// Of the upload.
    pub up: Option<ByteSize>,
}

/// The body in pieces.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dribble {
    /// How many, from 1 to 100,000.
    pub pieces: u32,
    /// From the first to the last.
    pub over: Span,
}

/// The head in pieces.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowHead {
    /// So many bytes at a time. Default 1.
    #[serde(default = "one")]
    pub bytes: u32,
    /// From one piece to the next.
    pub every: Span,
}

/// Silence in the middle.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// Where it begins.
    pub after: Position,
    /// How long, or `forever`. Default `forever`.
    #[serde(rename = "for", default)]
    pub time: Lasting,
    /// What is sent all the same. Default `none`.
    #[serde(default)]
    pub keepalive: KeepAlive,
    /// From one keep-alive to the next. Default `15s`, as providers do.
    pub every: Option<Span>,
}

/// The answer ends too early.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Where.
    pub after: Position,
    /// How: clients see very different things.
    pub how: How,
}

/// An error inside the stream.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorEvent {
    /// Where.
    pub after: Position,
    /// Which one.
    pub error: ErrorName,
    /// In which of its shapes, where the provider has several. Default `captured`.
    #[serde(default)]
    pub style: EventStyle,
    /// What follows it. Default `end`.
    #[serde(default)]
    pub then: Then,
}

/// Flips bits or bytes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// Where it begins. Default `head`.
    #[serde(default = "head")]
    pub after: Position,
    /// How many, from 1 to 1,000,000. Default 1.
    #[serde(default = "one")]
    pub count: u32,
    /// Bits or bytes. Default `bytes`.
    #[serde(default)]
    pub unit: Unit,
}

/// A chunk whose size can't be read.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MalformedChunk {
    /// Where. Default `head`.
    #[serde(default = "head")]
    pub after: Position,
}

/// So many in a window.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens, of requests and answers together.
    pub tokens: Option<u64>,
    /// The length of the window. Default `1m`.
    pub per: Option<Span>,
    /// Whether all clients share one. Default false: each has its own.
    #[serde(default)]
    pub shared: bool,
}

/// A code, headers and a body, or an error by its name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StandInSettings {
    /// The status, from 200 to 599.
    pub(super) code: Option<u16>,
    /// Its headers.
    pub(super) headers: BTreeMap<String, String>,
    /// Its body.
    pub(super) body: Option<String>,
    /// An error, in the shape of the route's provider.
    pub(super) error: Option<ErrorName>,
    /// After what time the client is told to come again.
    pub(super) retry_after: Option<Span>,
}

fn one() -> u32 {
    1
}

fn head() -> Position {
    Position::Head
}
