//! What a fault needs of the way on which it acts.

use super::kind::{How, KeepAlive, Kind};
use super::position::Position;

impl Kind {
    /// Whether it has to know where an event of a stream begins and ends.
    pub fn needs_events(&self) -> bool {
        match self {
            Self::FirstToken(_)
            | Self::Gap { .. }
            | Self::ErrorEvent { .. }
            | Self::InvalidJson(_)
            | Self::TwoObjects(_)
            | Self::Drop(_)
            | Self::Duplicate(_)
            | Self::Reorder(_)
            | Self::Merge(_)
            | Self::Split(_)
            | Self::InvalidUtf8(_)
            | Self::DropEventLines
            | Self::ToolArgs(_)
            | Self::Cut {
                how: How::MissingTerminator,
                ..
            } => true,
            // Noise must fall between two events.
            Self::Stall {
                after, keepalive, ..
            } => *keepalive != KeepAlive::None || is_event(after),
            Self::Cut { after, .. }
            | Self::MalformedChunk { after }
            | Self::Corrupt { after, .. } => is_event(after),
            Self::Latency { .. }
            | Self::Bandwidth { .. }
            | Self::Dribble { .. }
            | Self::SlowHead { .. }
            | Self::SlowRead(_)
            | Self::HoldOpen(_)
            | Self::Empty
            | Self::Blackhole
            | Self::Status(_)
            | Self::Garbage(_)
            | Self::SplitUtf8
            | Self::ContentType(_)
            | Self::ContentEncoding(_)
            | Self::Header(_)
            | Self::Html200
            | Self::RateLimit { .. } => false,
        }
    }

    /// Whether it looks at the bytes of the body, or puts others in: an encoding has to come off before.
    pub fn changes_content(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::SplitUtf8 => true,
            Self::Stall { keepalive, .. } => *keepalive != KeepAlive::None,
            _ => self.changes_length() && !matches!(self, Self::Cut { .. }),
        }
    }

    /// Whether it changes how many bytes there are, or how their end is marked.
    pub fn changes_length(&self) -> bool {
        match self {
            Self::ErrorEvent { .. }
            | Self::InvalidJson(_)
            | Self::TwoObjects(_)
            | Self::Drop(_)
            | Self::Duplicate(_)
            | Self::InvalidUtf8(_)
            | Self::DropEventLines
            | Self::ToolArgs(_)
            | Self::MalformedChunk { .. }
            | Self::HoldOpen(_) => true,
            Self::Stall { keepalive, .. } => *keepalive != KeepAlive::None,
            Self::Cut { how, .. } => match how {
                How::CleanEnd | How::MissingTerminator | How::MissingLastChunk => true,
                How::CloseFramed
                | How::ShortBody
                | How::Reset
                | How::H2Reset(_)
                | How::GoAway(_) => false,
            },
            Self::Latency { .. }
            | Self::FirstToken(_)
            | Self::Gap { .. }
            | Self::Bandwidth { .. }
            | Self::Dribble { .. }
            | Self::SlowHead { .. }
            | Self::SlowRead(_)
            | Self::Empty
            | Self::Blackhole
            | Self::Status(_)
            | Self::Corrupt { .. }
            | Self::Garbage(_)
            | Self::Reorder(_)
            | Self::Merge(_)
            | Self::Split(_)
            | Self::SplitUtf8
            | Self::ContentType(_)
            | Self::ContentEncoding(_)
            | Self::Header(_)
            | Self::Html200
            | Self::RateLimit { .. } => false,
        }
    }

    /// Whether it takes the place of the source: no upstream has to be called for it.
    pub fn is_before_source(&self) -> bool {
        match self {
            Self::Empty
            | Self::Blackhole
            | Self::Status(_)
            | Self::Garbage(_)
            | Self::Html200
            | Self::RateLimit { .. } => true,
            Self::Cut { after, .. } => *after == Position::BeforeHead,
            _ => false,
        }
    }
}

fn is_event(position: &Position) -> bool {
    match position {
        Position::Events(_)
        | Position::FirstToolCall
        | Position::FirstToken
        | Position::BeforeTerminator => true,
        Position::BeforeHead
        | Position::Head
        | Position::Bytes(_)
        | Position::Time(_)
        | Position::End => false,
    }
}
