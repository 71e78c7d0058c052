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

    /// Its word in the config.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::FirstToken(_) => "first_token",
            Self::Gap { .. } => "gap",
            Self::Bandwidth { .. } => "bandwidth",
            Self::Dribble { .. } => "dribble",
            Self::SlowHead { .. } => "slow_head",
            Self::SlowRead(_) => "slow_read",
            Self::Stall { .. } => "stall",
            Self::HoldOpen(_) => "hold_open",
            Self::Cut { .. } => "cut",
            Self::Empty => "empty",
            Self::Blackhole => "blackhole",
            Self::Status(_) => "status",
            Self::ErrorEvent { .. } => "error_event",
            Self::Corrupt { .. } => "corrupt",
            Self::Garbage(_) => "garbage",
            Self::MalformedChunk { .. } => "malformed_chunk",
            Self::InvalidJson(_) => "invalid_json",
            Self::TwoObjects(_) => "two_objects",
            Self::Drop(_) => "drop",
            Self::Duplicate(_) => "duplicate",
            Self::Reorder(_) => "reorder",
            Self::Merge(_) => "merge",
            Self::Split(_) => "split",
            Self::SplitUtf8 => "split_utf8",
            Self::InvalidUtf8(_) => "invalid_utf8",
            Self::DropEventLines => "drop_event_lines",
            Self::ToolArgs(_) => "tool_args",
            Self::ContentType(_) => "content_type",
            Self::ContentEncoding(_) => "content_encoding",
            Self::Header(_) => "header",
            Self::Html200 => "html_200",
            Self::RateLimit { .. } => "rate_limit",
        }
    }

    /// Whether it acts on the upload, so that it has to be armed before that is read.
    pub fn is_on_upload(&self) -> bool {
        matches!(
            self,
            Self::SlowRead(_) | Self::Bandwidth { up: Some(_), .. }
        )
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
