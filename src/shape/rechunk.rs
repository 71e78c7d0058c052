//! Where one write to the client ends and the next begins. Moves these places, and nothing else: put together, what comes
//! out is what went in, byte for byte.
//!
//! Knows no clock and no socket: `now` is a value that never goes back, counted from any fixed moment (for recorded chunks
//! the time at which they came). Stands after the faults and before the pace.

use std::time::Duration;

use bytes::Bytes;

use crate::dialect::Dialect;

pub use settings::{Adaptive, RechunkSettings};

mod adaptive;
mod events;
mod held;
mod settings;
mod text;
mod unit;

/// The stage for one answer.
#[derive(Debug)]
pub struct Rechunk {
    lane: Lane,
}

#[derive(Debug)]
enum Lane {
    /// As it came.
    Through,
    /// An event stream: cuts fall between two events.
    Events(Box<events::Events>),
    /// Any other body: cuts fall between two characters.
    Text(Box<text::Text>),
}

impl Rechunk {
    /// For one answer, which is an event stream or not, of this dialect. An encoded (compressed) answer is neither that nor text:
    /// it can be cut by bytes alone.
    pub fn new(settings: &RechunkSettings, is_event_stream: bool, dialect: Dialect) -> Self {
        let lane = match settings {
            RechunkSettings::AsRecorded => Lane::Through,
            RechunkSettings::Event if !is_event_stream => Lane::Through,
            RechunkSettings::Event
            | RechunkSettings::Token
            | RechunkSettings::Word
            | RechunkSettings::Sentence
            | RechunkSettings::Bytes(_)
            | RechunkSettings::Adaptive(_) => {
                if is_event_stream {
                    Lane::Events(Box::new(events::Events::new(settings, dialect)))
                } else {
                    Lane::Text(Box::new(text::Text::new(settings)))
                }
            }
        };
        Self { lane }
    }

    /// Whether everything goes as it came, so that the stage can be left out.
    pub fn is_through(&self) -> bool {
        matches!(self.lane, Lane::Through)
    }

    /// Takes what came at `now`, and adds to `out` what is to be written, one write each.
    pub fn push(&mut self, now: Duration, bytes: Bytes, out: &mut Vec<Bytes>) {
        match &mut self.lane {
            Lane::Through => out.push(bytes),
            Lane::Events(events) => events.push(now, &bytes, out),
            Lane::Text(text) => text.push(now, bytes, out),
        }
    }

    /// When what is held has to be written even if nothing more comes; [`Rechunk::tick`] does it. `None`: nothing is held, or
    /// only the beginning of an event or of a character, which is of no use to anybody.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.lane {
            Lane::Through => None,
            Lane::Events(events) => events.deadline(),
            Lane::Text(text) => text.deadline(),
        }
    }

    /// Adds to `out` what is due at `now`.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Bytes>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            match &mut self.lane {
                Lane::Through => {}
                Lane::Events(events) => events.release(out),
                Lane::Text(text) => text.release(out),
            }
        }
    }

    /// Tells, once after each write, whether it had to wait for the client's socket. Adaptive chunks grow while it does.
    pub fn note_blocked(&mut self, is_blocked: bool) {
        match &mut self.lane {
            Lane::Through => {}
            Lane::Events(events) => events.note_blocked(is_blocked),
            Lane::Text(text) => text.note_blocked(is_blocked),
        }
    }

    /// Adds to `out` all that is left, at the end of the answer or where it is broken off.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        match &mut self.lane {
            Lane::Through => {}
            Lane::Events(events) => events.finish(out),
            Lane::Text(text) => text.finish(out),
        }
    }
}

/// Silence after which what is held is written, where no target says otherwise.
const SILENCE: Duration = Duration::from_secs(1);

/// More than this is never held.
const HELD_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
