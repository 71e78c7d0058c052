//! What the source said behind the place where a fault ends the answer: it goes out after all where that fault is ended before
//! it came to it.

use super::units::Unit;
use super::{Moment, Script};
use crate::cue::{Cue, Cut, Timed};
use crate::message::{Ending, Headers, ResponseHead};

/// At most what came in one step of the source, as none is asked for behind the end.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    head: Option<(Moment, Box<ResponseHead>)>,
    units: Vec<(Moment, Unit)>,
    trailers: Option<(Moment, Headers)>,
    end: Option<(Moment, Ending)>,
}

impl Withheld {
    pub(super) fn head(&mut self, moment: Moment, head: Box<ResponseHead>) {
        self.head = Some((moment, head));
    }

    /// When the source's head came or was due, if it is withheld.
    pub(super) fn head_moment(&self) -> Option<Moment> {
        self.head.as_ref().map(|(moment, _)| *moment)
    }

    pub(super) fn unit(&mut self, moment: Moment, unit: Unit) {
        self.units.push((moment, unit));
    }

    pub(super) fn trailers(&mut self, moment: Moment, trailers: Headers) {
        self.trailers = Some((moment, trailers));
    }

    pub(super) fn end(&mut self, moment: Moment, ending: Ending) {
        self.end = Some((moment, ending));
    }
}

impl Script {
    /// Goes on where a fault that was ended would have ended the answer.
    pub(super) fn go_on(&mut self) {
        let withheld = std::mem::take(&mut self.withheld);
        self.is_over = false;
        if self.answer.is_begun && withheld.head.is_some() {
            // Nothing of the source's can follow another answer's head.
            self.push(Timed::now(Cue::Cut(Cut::Close)));
            self.is_over = true;
            return;
        }
        if let Some((moment, head)) = withheld.head {
            // The client has seen nothing yet: what it gets is the source's after all, or the next fault's.
            self.answer.by = None;
            self.progress.head_at = None;
            let when = self.clock.again(moment);
            self.begin(moment, when, head);
        }
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
