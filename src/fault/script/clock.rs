//! When each cue is due, with the faults on time at work.

use std::time::Duration;

use super::{Armed, Moment};
use crate::cue::{Cue, Timed};
use crate::dialect::Part;
use crate::dice::Stream;
use crate::fault::distribution::{Distribution, Series};
use crate::fault::kind::{Basis, Kind};

/// When something is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct When {
    /// `None`: at once.
    pub(super) due: Option<Duration>,
    natural: Option<Duration>,
    fault: Option<usize>,
    is_apart: bool,
}

impl When {
    /// At this moment, by a fault that waited for it.
    pub(super) fn at(due: Duration) -> Self {
        Self {
            due: Some(due),
            ..Self::default()
        }
    }

    /// The same, not together with what stands before.
    pub(super) fn apart(self) -> Self {
        Self {
            is_apart: true,
            ..self
        }
    }

    pub(super) fn of(self, cue: Cue) -> Timed {
        Timed {
            due: self.due,
            natural: self.natural,
            fault: self.fault,
            is_apart: self.is_apart,
            cue,
        }
    }
}

/// The faults on time of one exchange.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The faults that have begun, until somebody asks.
    begun: Vec<usize>,
    delays: Vec<Delay>,
    gaps: Vec<Gap>,
    /// When the last event was due, where there are gaps.
    last_due: Option<Duration>,
    /// How much later everything is, in µs.
    offset: i64,
    /// Whose doing the offset is.
    by: Option<usize>,
}

#[derive(Debug)]
struct Delay {
    fault: usize,
    time: Duration,
    place: DelayPlace,
    /// What it added to the offset, in µs.
    added: i64,
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DelayPlace {
    Head(Basis),
    FirstToken,
}

/// A time between two events.
#[derive(Debug)]
struct Gap {
    fault: usize,
    times: Series,
    chance: Stream,
    /// Whether nothing was moved by it yet.
    is_new: bool,
}

impl Clock {
    pub(super) fn new(armed: &[Armed]) -> Self {
        let mut clock = Self::default();
        for (fault, armed) in armed.iter().enumerate() {
            let mut chance = armed.chance.clone();
            let mut delay = |times: &Distribution, place| Delay {
                fault,
                time: times.sample(&mut chance),
                place,
                added: 0,
                is_over: false,
            };
            match &armed.kind {
                Kind::Latency { time, basis } => {
                    clock.delays.push(delay(time, DelayPlace::Head(*basis)));
                }
                Kind::FirstToken(time) => clock.delays.push(delay(time, DelayPlace::FirstToken)),
                Kind::Gap { each, correlation } => {
                    clock.gaps.push(Gap {
                        fault,
                        times: Series::new(each.clone(), *correlation),
                        chance: armed.chance.clone(),
                        is_new: true,
                    });
                }
                _ => {}
            }
        }
        clock
    }

    /// The head, which came or is due at this moment.
    pub(super) fn head(&mut self, moment: Moment) -> When {
        for delay in &mut self.delays {
            if let DelayPlace::Head(basis) = delay.place {
                let at = micros(moment.at) + self.offset;
                delay.added = match basis {
                    Basis::Add => micros(delay.time),
                    Basis::Total => (micros(delay.time) - at).max(0),
                    Basis::Replace => micros(delay.time) - at,
                };
                delay.is_over = true;
                self.offset += delay.added;
                self.by = Some(delay.fault);
                self.begun.push(delay.fault);
            }
        }
        self.timed(moment)
    }

    /// The same again, for what follows where an answer was taken back.
    pub(super) fn again(&self, moment: Moment) -> When {
        self.timed(moment)
    }

    /// As if there had been no head.
    pub(super) fn begin_again(&mut self) {
        for delay in &mut self.delays {
            self.offset -= std::mem::take(&mut delay.added);
            delay.is_over = false;
        }
        self.by = None;
    }

    /// A piece of the body.
    pub(super) fn unit(&mut self, moment: Moment, part: Option<Part>) -> When {
        if part == Some(Part::Content) {
            for delay in &mut self.delays {
                if delay.place == DelayPlace::FirstToken && !delay.is_over {
                    delay.added = micros(delay.time);
                    delay.is_over = true;
                    self.offset += delay.added;
                    self.by = Some(delay.fault);
                    self.begun.push(delay.fault);
                }
            }
        }
        let mut timed = self.timed(moment);
        if !self.gaps.is_empty() && part.is_some() {
            let at = timed.due.unwrap_or(moment.at);
            // On absolute deadlines: what one write was late does not move the next. The longest gap is the one that is seen.
            let longest = self
                .last_due
                .and_then(|last| {
                    let drawn = self
                        .gaps
                        .iter_mut()
                        .map(|gap| (last + gap.times.next(&mut gap.chance), gap));
                    drawn.max_by_key(|(due, _)| *due)
                })
                .filter(|(due, _)| *due > at);
            self.last_due = Some(longest.as_ref().map_or(at, |(due, _)| *due));
            if let Some((due, gap)) = longest {
                if std::mem::take(&mut gap.is_new) {
                    self.begun.push(gap.fault);
                }
                timed.due = Some(due);
                timed.fault = Some(gap.fault);
            }
        }
        timed
    }

    /// When what came or is due at this moment is sent.
    pub(super) fn when(&self, moment: Moment) -> Duration {
        self.moved(moment.at)
    }

    pub(super) fn lift(&mut self, fault: usize) {
        for delay in self.delays.iter_mut().filter(|delay| delay.fault == fault) {
            self.offset -= std::mem::take(&mut delay.added);
        }
        // What has not begun does not begin.
        self.delays.retain(|delay| delay.fault != fault);
        if self.by == Some(fault) {
            self.by = self
                .delays
                .iter()
                .rev()
                .find(|delay| delay.added != 0)
                .map(|delay| delay.fault);
        }
        self.gaps.retain(|gap| gap.fault != fault);
    }

    /// The faults that have begun since this was asked last.
    pub(super) fn begun(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.begun)
    }

    fn timed(&self, moment: Moment) -> When {
        let natural = moment.due();
        if self.offset == 0 {
            return When {
                due: natural,
                natural,
                fault: None,
                is_apart: false,
            };
        }
        When {
            due: Some(self.moved(moment.at)),
            natural,
            fault: self.by,
            is_apart: false,
        }
    }

    fn moved(&self, at: Duration) -> Duration {
        let moved = micros(at).saturating_add(self.offset).max(0);
        Duration::from_micros(moved.unsigned_abs())
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}
