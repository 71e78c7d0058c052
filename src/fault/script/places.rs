//! The places that faults wait for: how far the answer has come, and what acts there.

use std::time::Duration;

use super::Script;
use super::clock::When;
use crate::dialect::Part;
use crate::fault::kind::{How, Kind};
use crate::fault::position::Position;

/// A place that the answer has come to.
pub(super) enum Place {
    BeforeHead,
    /// So much of the body is through.
    After {
        events: u64,
        bytes: u64,
    },
    /// The first event of this part is next.
    Before(Part),
    /// All of the body is through, and no terminator was in it.
    Unterminated,
    /// It is so late.
    Time(Duration),
    /// All of the body is through.
    End,
}

/// How far the answer has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When the head came or was due.
    pub(super) head_at: Option<Duration>,
    /// How many events are through; elsewhere than in streams, pieces.
    pub(super) events: u64,
    /// How many bytes of the body are through.
    pub(super) bytes: u64,
    pub(super) seen: Seen,
}

/// What has been in the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    tool_call: bool,
    token: bool,
    terminator: bool,
}

impl Progress {
    /// The place before this part, where it is the first of its kind.
    fn first(&mut self, part: Part) -> Option<Place> {
        let seen = match part {
            Part::ToolCall => &mut self.seen.tool_call,
            Part::Content => &mut self.seen.token,
            Part::Terminator => &mut self.seen.terminator,
            Part::Start
            | Part::Finish
            | Part::Usage
            | Part::KeepAlive
            | Part::Error
            | Part::Other => return None,
        };
        (!std::mem::replace(seen, true)).then_some(Place::Before(part))
    }

    fn is_reached(&self, position: &Position, place: &Place) -> bool {
        match (position, place) {
            (Position::BeforeHead, Place::BeforeHead)
            | (Position::End, Place::End)
            | (Position::Head, Place::After { .. }) => true,
            (Position::Events(count), Place::After { events, .. }) => events >= count,
            (Position::Bytes(count), Place::After { bytes, .. }) => *bytes >= count.0,
            (Position::Time(span), Place::Time(now)) => {
                self.head_at.is_some_and(|head| *now >= head + span.0)
            }
            (Position::FirstToolCall, Place::Before(part)) => *part == Part::ToolCall,
            (Position::FirstToken, Place::Before(part)) => *part == Part::Content,
            (Position::BeforeTerminator, Place::Before(part)) => *part == Part::Terminator,
            (Position::BeforeTerminator, Place::Unterminated) => !self.seen.terminator,
            _ => false,
        }
    }
}

impl Script {
    /// What comes next is about this part.
    pub(super) fn fire_before(&mut self, part: Option<Part>) {
        if let Some(place) = part.and_then(|part| self.progress.first(part)) {
            self.fire(&place, When::default());
        }
    }

    /// All so far is through.
    pub(super) fn fire_after(&mut self) {
        let place = Place::After {
            events: self.progress.events,
            bytes: self.progress.bytes,
        };
        self.fire(&place, When::default());
    }

    /// Has every waiting fault act whose place is reached.
    pub(super) fn fire(&mut self, place: &Place, when: When) {
        let reached: Vec<usize> = self
            .waiting()
            .filter(|(_, kind)| {
                position(kind).is_some_and(|position| self.progress.is_reached(position, place))
                    && !is_idle_at(kind, place)
            })
            .map(|(fault, _)| fault)
            .collect();
        for fault in reached {
            if !self.is_over
                && let Some(effect) = self.effects.get_mut(fault)
            {
                effect.has_acted = true;
                let kind = effect.kind.clone();
                // What is next may be planned for much later.
                let when = match (position(&kind), self.progress.head_at) {
                    (Some(Position::Time(span)), Some(head)) => When::at(head + span.0),
                    (_, _) => when,
                };
                self.act(fault, &kind, when);
            }
        }
    }

    /// After which byte the next fault acts that waits for one.
    pub(super) fn next_byte_position(&self) -> Option<u64> {
        self.waiting()
            .filter_map(|(_, kind)| match position(kind)? {
                Position::Bytes(size) => Some(size.0),
                _ => None,
            })
            .min()
    }
}

/// Whether nothing would come of it there: a body ends well that is through.
fn is_idle_at(kind: &Kind, place: &Place) -> bool {
    matches!(place, Place::Unterminated)
        && matches!(
            kind,
            Kind::Cut {
                how: How::CleanEnd,
                ..
            }
        )
}

/// Where a fault acts, if it waits for a place.
pub(super) fn position(kind: &Kind) -> Option<&Position> {
    match kind {
        Kind::Stall { after, .. }
        | Kind::ErrorEvent { after, .. }
        | Kind::Corrupt { after, .. }
        | Kind::MalformedChunk { after } => Some(after),
        Kind::Cut { after, how } => (*how != How::MissingTerminator).then_some(after),
        Kind::HoldOpen(_) => Some(&Position::End),
        _ => None,
    }
}
