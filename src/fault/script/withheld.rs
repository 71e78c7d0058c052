//! What the source said behind the place where a fault ends the answer: it goes out after all where that fault is ended before
//! it came to it.

use super::units::Unit;
use super::{Moment, Script};
use crate::cue::{Cue, Cut, Timed};
use crate::message::{Ending, Headers};

/// At most what came in one step of the source, as none is asked for behind the end.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    units: Vec<(Moment, Unit)>,
    trailers: Option<(Moment, Headers)>,
    end: Option<(Moment, Ending)>,
    /// Whether the answer is not the source's at all.
    is_all: bool,
}

impl Withheld {
    pub(super) fn unit(&mut self, moment: Moment, unit: Unit) {
        self.units.push((moment, unit));
    }

    pub(super) fn trailers(&mut self, moment: Moment, trailers: Headers) {
        self.trailers = Some((moment, trailers));
    }

    pub(super) fn end(&mut self, moment: Moment, ending: Ending) {
        self.end = Some((moment, ending));
    }

    /// Another answer stands in the place of the source's.
    pub(super) fn all(&mut self) {
        self.is_all = true;
    }
}

impl Script {
    /// Goes on where a fault that was ended would have ended the answer.
    pub(super) fn go_on(&mut self) {
        if self.withheld.is_all || self.progress.head_at.is_none() {
            // There was no other answer, or its head is gone.
            self.push(Timed::now(Cue::Cut(Cut::Close)));
            return;
        }
        let withheld = std::mem::take(&mut self.withheld);
        self.is_over = false;
        for (moment, unit) in withheld.units {
            self.unit(moment, unit);
        }
        // Another fault may have ended it meanwhile.
        if let Some((moment, trailers)) = withheld.trailers {
            if self.is_over {
                self.withheld.trailers(moment, trailers);
            } else {
                let when = self.clock.unit(moment, None);
                self.push(when.of(Cue::Trailers(trailers)));
            }
        }
        if let Some((moment, ending)) = withheld.end {
            self.finish(moment, ending);
        }
    }
}
