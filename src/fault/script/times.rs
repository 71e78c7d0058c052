//! What happens at a time after the head: whatever the source says, and whatever waits for a later time.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::When;
use super::places::{Place, position};
use super::{Effect, Script};
use crate::cue::{Cue, Timed};
use crate::fault::kind::Kind;
use crate::fault::position::Position;

impl Script {
    /// When the next fault acts that waits for a time.
    pub fn deadline(&self) -> Option<Duration> {
        // It counts from the head, and ends with the answer.
        let counts = self.answer.is_begun && !self.is_ended;
        let head_at = self.progress.head_at.filter(|_| counts)?;
        self.waiting()
            .filter_map(|(_, kind)| match position(kind)? {
                Position::Time(span) => Some(head_at + span.0),
                _ => None,
            })
            .min()
    }

    /// It is this late now: what a time has come for goes before all that waits. Says whether that ends the answer.
    pub fn tick(&mut self, now: Duration) -> bool {
        let corrupters = self.edits.corrupters();
        let waiting = std::mem::take(&mut self.queue);
        // The end of the source may be among what waits.
        let was_over = std::mem::take(&mut self.is_over);
        self.fire(&Place::Time(now), When::default());
        let cues = std::mem::replace(&mut self.queue, waiting);
        let is_end = self.is_over;
        self.is_over |= was_over;
        self.corrupt_waiting(corrupters);
        self.put_first(cues);
        is_end
    }

    /// Puts cues before those that wait.
    fn put_first(&mut self, cues: VecDeque<Timed>) {
        let mut at = 0;
        for timed in cues {
            if matches!(timed.cue, Cue::Send(_)) {
                // An event never goes into another one, of which a piece is through.
                let rest = self.next.iter().chain(&self.queue).skip(at);
                at += rest.take_while(|timed| timed.is_apart).count();
            }
            if let Some(fault) = timed.fault {
                self.mark_injected(fault);
            }
            match at.checked_sub(self.next.len()) {
                None | Some(0) => self.next.insert(at, timed),
                Some(behind) => self.queue.insert(behind, timed),
            }
            at += 1;
        }
    }

    /// Has all corrupters but the first so many begin with what waits: nobody has seen that yet.
    fn corrupt_waiting(&mut self, known: usize) {
        if self.edits.corrupters() == known {
            return;
        }
        for timed in self.next.iter_mut().chain(&mut self.queue) {
            let is_made_up = timed.fault.is_some_and(|at| is_error(&self.effects, at));
            if let (Cue::Send(bytes), false) = (&mut timed.cue, is_made_up) {
                *bytes = self.edits.flip(known, std::mem::take(bytes));
            }
        }
        for fault in self.edits.begun() {
            self.mark_injected(fault);
        }
    }
}

/// Whether a fault puts an event of its own into the stream.
pub(super) fn is_error(effects: &[Effect], fault: usize) -> bool {
    let effect = effects.get(fault);
    effect.is_some_and(|effect| matches!(effect.kind, Kind::ErrorEvent { .. }))
}
