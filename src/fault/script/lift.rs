//! Ends faults while their exchange goes on.

use std::time::Duration;

use super::times::is_error;
use super::{Fate, Script};
use crate::cue::{Cue, Timed};

impl Script {
    /// Ends faults: what they have not done yet does not happen.
    pub fn lift(&mut self, faults: &[usize]) {
        for fault in faults {
            self.lift_one(*fault);
        }
        let ends = |timed: &Timed| matches!(timed.cue, Cue::End(_) | Cue::Cut(_));
        if self.is_over && !self.is_ended && !self.queue.iter().chain(&self.next).any(ends) {
            self.go_on();
        }
    }

    fn lift_one(&mut self, fault: usize) {
        if let Some(effect) = self.effects.get_mut(fault) {
            effect.has_acted = true;
            if effect.fate == Fate::Waiting {
                effect.fate = Fate::Lifted;
            }
        }
        let before = self.answer_due();
        self.clock.lift(fault);
        let after = self.answer_due();
        if before != after {
            // What another fault says waited for this one.
            for timed in self.queue.iter_mut().chain(&mut self.next) {
                if timed.due == before {
                    timed.due = after;
                }
            }
        }
        self.flow.lift(fault);
        self.edits.lift(fault);
        let answers = self.answer.by == Some(fault);
        if answers && self.answer.is_begun {
            // Half an answer is not taken back, nor left without its end.
            self.hurry(fault);
            return;
        }
        let is_whole = answers || is_error(&self.effects, fault);
        let goes =
            |timed: &Timed| timed.fault == Some(fault) && (is_whole || is_made_up(&timed.cue));
        self.queue.retain(|timed| !goes(timed));
        let before = self.next.len();
        self.next.retain(|timed| !goes(timed));
        if self.next.len() < before
            && let Some(effect) = self.effects.get_mut(fault)
        {
            effect.fate = Fate::Lifted;
        }
        self.hurry(fault);
    }

    /// When it is due what a fault says in the place of the source's head.
    fn answer_due(&self) -> Option<Duration> {
        let moment = self.withheld.head_moment()?;
        self.clock.again(moment).due
    }

    /// Lets nothing wait any longer because of this fault.
    fn hurry(&mut self, fault: usize) {
        for timed in self.queue.iter_mut().chain(&mut self.next) {
            if timed.fault == Some(fault) {
                timed.due = timed.natural;
                match &mut timed.cue {
                    Cue::Hold(silence) => silence.time = Some(Duration::ZERO),
                    Cue::Head(_, drip) => *drip = None,
                    Cue::Send(_) | Cue::Trailers(_) | Cue::End(_) | Cue::Cut(_) => {}
                }
            }
        }
    }
}

/// Whether a cue is not of the source's: it goes when its fault goes.
fn is_made_up(cue: &Cue) -> bool {
    match cue {
        Cue::Hold(_) | Cue::Cut(_) | Cue::End(_) => true,
        Cue::Head(..) | Cue::Send(_) | Cue::Trailers(_) => false,
    }
}
