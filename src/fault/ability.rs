//! What holds for each kind of fault by its nature: where it begins, what it ends, and where it can't be done.

use super::kind::{How, Kind};
use super::position::Position;
use super::when::Protocol;

impl Kind {
    /// Whether what the client gets does not need the source at all.
    pub fn answers_alone(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Html200
            | Self::Empty
            | Self::Blackhole
            | Self::Garbage(_)
            | Self::RateLimit { .. } => true,
            Self::Cut { after, .. } => *after == Position::BeforeHead,
            Self::Latency { .. }
            | Self::FirstToken(_)
            | Self::Gap { .. }
            | Self::Bandwidth { .. }
            | Self::Dribble { .. }
            | Self::SlowHead { .. }
            | Self::SlowRead(_)
            | Self::Stall { .. }
            | Self::HoldOpen(_)
            | Self::ErrorEvent { .. }
            | Self::Corrupt { .. }
            | Self::MalformedChunk { .. }
            | Self::InvalidJson(_)
            | Self::TwoObjects(_)
            | Self::Drop(_)
            | Self::Duplicate(_)
            | Self::Reorder(_)
            | Self::Merge(_)
            | Self::Split(_)
            | Self::SplitUtf8
            | Self::InvalidUtf8(_)
            | Self::DropEventLines
            | Self::ToolArgs(_)
            | Self::ContentType(_)
            | Self::ContentEncoding(_)
            | Self::Header(_) => false,
        }
    }

    /// Why it can't be done on this protocol; `None` where it can.
    pub fn impossible_on(&self, protocol: Protocol) -> Option<&'static str> {
        let why_not = match self {
            Self::Cut { how, .. } => return how.impossible_on(protocol),
            Self::MalformedChunk { .. } => NO_CHUNKS,
            Self::SlowHead { .. } => NO_TEXT,
            Self::Garbage(_) | Self::Empty => ALL_EXCHANGES,
            Self::Latency { .. }
            | Self::FirstToken(_)
            | Self::Gap { .. }
            | Self::Bandwidth { .. }
            | Self::Dribble { .. }
            | Self::SlowRead(_)
            | Self::Stall { .. }
            | Self::HoldOpen(_)
            | Self::Blackhole
            | Self::Status(_)
            | Self::ErrorEvent { .. }
            | Self::Corrupt { .. }
            | Self::InvalidJson(_)
            | Self::TwoObjects(_)
            | Self::Drop(_)
            | Self::Duplicate(_)
            | Self::Reorder(_)
            | Self::Merge(_)
            | Self::Split(_)
            | Self::SplitUtf8
            | Self::InvalidUtf8(_)
            | Self::DropEventLines
            | Self::ToolArgs(_)
            | Self::ContentType(_)
            | Self::ContentEncoding(_)
            | Self::Header(_)
            | Self::Html200
            | Self::RateLimit { .. } => return None,
        };
        match protocol {
            Protocol::Http1 => None,
            Protocol::Http2 => Some(why_not),
        }
    }

    /// Where it begins, if that is one place in the answer.
    pub fn begins(&self) -> Option<Position> {
        match self {
            Self::Stall { after, .. }
            | Self::Cut { after, .. }
            | Self::ErrorEvent { after, .. }
            | Self::Corrupt { after, .. }
            | Self::MalformedChunk { after } => Some(after.clone()),
            Self::FirstToken(_) => Some(Position::FirstToken),
            Self::HoldOpen(_) => Some(Position::End),
            Self::Latency { .. }
            | Self::Gap { .. }
            | Self::Bandwidth { .. }
            | Self::Dribble { .. }
            | Self::SlowHead { .. }
            | Self::SlowRead(_)
            | Self::Empty
            | Self::Blackhole
            | Self::Status(_)
            | Self::Garbage(_)
            | Self::InvalidJson(_)
            | Self::TwoObjects(_)
            | Self::Drop(_)
            | Self::Duplicate(_)
            | Self::Reorder(_)
            | Self::Merge(_)
            | Self::Split(_)
            | Self::SplitUtf8
            | Self::InvalidUtf8(_)
            | Self::DropEventLines
            | Self::ToolArgs(_)
            | Self::ContentType(_)
            | Self::ContentEncoding(_)
            | Self::Header(_)
            | Self::Html200
            | Self::RateLimit { .. } => None,
        }
    }

    /// Where it ends the answer whatever comes, if it does.
    pub fn ends(&self) -> Option<Position> {
        if let Self::Cut { after, .. } = self {
            Some(after.clone())
        } else if matches!(self, Self::Empty | Self::Blackhole | Self::Garbage(_)) {
            Some(Position::BeforeHead)
        } else {
            None
        }
    }
}

impl How {
    /// Why an answer can't be cut so on this protocol; `None` where it can.
    pub fn impossible_on(self, protocol: Protocol) -> Option<&'static str> {
        match (self, protocol) {
            (Self::H2Reset(_) | Self::GoAway(_), Protocol::Http1) => Some(ONLY_H2),
            (Self::MissingLastChunk | Self::CloseFramed, Protocol::Http2) => Some(NO_CHUNKS),
            (
                Self::CleanEnd
                | Self::MissingTerminator
                | Self::MissingLastChunk
                | Self::CloseFramed
                | Self::ShortBody
                | Self::Reset
                | Self::H2Reset(_)
                | Self::GoAway(_),
                Protocol::Http1 | Protocol::Http2,
            ) => None,
        }
    }

    /// Whether it is a way to end a body, so that a head has to come before.
    pub fn needs_head(self) -> bool {
        match self {
            Self::CleanEnd
            | Self::MissingTerminator
            | Self::MissingLastChunk
            | Self::CloseFramed
            | Self::ShortBody => true,
            Self::Reset | Self::H2Reset(_) | Self::GoAway(_) => false,
        }
    }
}

const NO_CHUNKS: &str = "its frames carry lengths of their own, there are no chunks to break";
const NO_TEXT: &str = "its heads are compressed frames, which a client takes whole or not at all";
const ALL_EXCHANGES: &str = "it would take all exchanges of the connection, not one";
const ONLY_H2: &str = "its frames exist in HTTP/2 only";
