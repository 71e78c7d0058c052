//! What stands between the source and the client: faults, then the writing of what is due.
//!
//! Without faults a step goes straight to the client.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::cue::Timed;
use crate::source::{EARLY, Source, Step, What};

pub(super) use act::{Act, end, mark};
pub(super) use due::Due;
pub use faults::Faults;
pub use shape::Shape;

use doing::Doing;
use due::{due, moment, since};
use steps::{cue_of, due_of, moment_of};

mod act;
mod doing;
mod due;
mod faults;
mod shape;
mod steps;

/// What an answer passes on its way. Nothing by default.
#[derive(Debug, Default)]
pub struct Stages {
    /// What is done to it on purpose.
    pub faults: Option<Faults>,
    /// Where its writes begin and end, and when they are due.
    pub shape: Option<Shape>,
}

impl Stages {
    /// Whether nothing is done to the answer.
    pub(super) fn are_none(&self) -> bool {
        self.faults.is_none() && self.shape.is_none()
    }
}

/// Where an answer is on its way.
pub(super) struct Line<'a> {
    stages: &'a mut Stages,
    request_end: Instant,
    /// Without faults: the step that waits for its time.
    waiting: Option<Timed>,
    doing: Option<Doing>,
    /// What passed all stages, and waits for its time.
    shaped: VecDeque<Timed>,
    /// Dropped when all of a chunk was written, so that the source reads on.
    room: Option<OwnedSemaphorePermit>,
    /// When the next piece of the request may be read.
    gate: Option<Instant>,
    /// What the source said while it was only to be seen whether it had something to say.
    ahead: Option<Step>,
}

impl<'a> Line<'a> {
    pub(super) fn new(stages: &'a mut Stages, request_end: Instant) -> Self {
        Self {
            stages,
            request_end,
            waiting: None,
            doing: None,
            shaped: VecDeque::new(),
            room: None,
            gate: None,
            ahead: None,
        }
    }

    pub(super) fn set_request_end(&mut self, request_end: Instant) {
        self.request_end = request_end;
    }

    /// When there is something to do, if there is.
    pub(super) fn next(&mut self) -> Option<Due> {
        if let Some(doing) = &self.doing {
            return Some(Due::Exactly(doing.due()));
        }
        if let Some(timed) = self.shaped.front() {
            return Some(due(timed, self.request_end));
        }
        let front = match &mut self.stages.faults {
            Some(faults) => faults.script.next(since(self.request_end)),
            None => self.waiting.as_ref(),
        };
        let due = front.map(|timed| due(timed, self.request_end));
        if due.is_none() {
            self.room = None;
        }
        due
    }

    /// Whether nothing of the source matters any more.
    pub(super) fn is_over(&self) -> bool {
        self.stages
            .faults
            .as_ref()
            .is_some_and(|faults| faults.script.is_over())
    }

    /// Whether what the source says next is wanted, also where there is something to do before it.
    pub(super) fn is_open(&self, is_idle: bool) -> bool {
        let faults = self.stages.faults.as_ref();
        (is_idle || faults.is_some_and(|faults| faults.script.looks_ahead()))
            && self.ahead.is_none()
            && !self.is_over()
    }

    /// Whether the source said something whose turn has not come.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether what [`Self::next`] said can be done without waiting.
    pub(super) fn is_due(&self, next: Option<Due>) -> bool {
        match next {
            Some(Due::Now) => true,
            Some(Due::Exactly(due)) if self.alarm().is_some() => due <= Instant::now(),
            Some(Due::At(due) | Due::Exactly(due)) => due <= Instant::now() + EARLY,
            None => false,
        }
    }

    /// What the source says next, if that is known without waiting.
    pub(super) async fn at_hand(&mut self, source: &mut Source) -> Option<Step> {
        if self.ahead.is_some() {
            return self.ahead.take();
        }
        if self.is_over() || !source.is_at_hand() {
            return None;
        }
        Some(source.next(self.request_end).await)
    }

    /// Feeds the faults with a step of the answer. Gives back any other.
    fn feed(&mut self, step: Step) -> Option<Step> {
        let Some(faults) = &mut self.stages.faults else {
            return Some(step);
        };
        let mut moment = moment_of(&step, self.request_end);
        if let Some(shape) = &mut self.stages.shape {
            shape.plan(&mut moment, &step.what);
        }
        match cue_of(step, &mut self.room) {
            Ok(cue) => {
                faults.script.feed(moment, cue);
                None
            }
            Err(step) => Some(step),
        }
    }

    /// Whether something of a script is still to be done.
    fn has_cues(&mut self) -> bool {
        let request_end = self.request_end;
        let faults = self.stages.faults.as_mut();
        faults.is_some_and(|faults| faults.script.next(since(request_end)).is_some())
    }

    /// Takes what the source says. Gives what is to be done for it now.
    pub(super) fn take(&mut self, step: Step) -> Act {
        let Some(step) = self.feed(step) else {
            return self.unanswered().map_or(Act::Nothing, Act::GiveUp);
        };
        if self.has_cues() {
            // What came before it goes first.
            self.ahead = Some(step);
            return Act::Nothing;
        }
        let due = due_of(&step, self.request_end);
        let cue = match cue_of(step, &mut self.room).map_err(|step| step.what) {
            Ok(cue) => cue,
            Err(What::Failed(error)) => return Act::Fail(error),
            Err(What::Unreadable(reason)) => return Act::BreakOff(reason),
            Err(What::Interim(head)) => return Act::Interim(head),
            Err(What::Head(_) | What::Chunk(..) | What::Trailers(_) | What::End(_)) => {
                return Act::Nothing;
            }
        };
        let timed = Timed {
            due,
            natural: due,
            fault: None,
            is_apart: false,
            cue,
        };
        if due.is_some() {
            self.waiting = Some(timed);
            return Act::Nothing;
        }
        self.shape(timed)
    }

    /// What is to be done now that the next is due.
    pub(super) fn play(&mut self) -> Act {
        if let Some(doing) = self.doing.take() {
            return Act::GoOn(doing);
        }
        if let Some(timed) = self.shaped.pop_front() {
            return Act::Carry(timed);
        }
        let timed = match &mut self.stages.faults {
            Some(faults) => faults.script.take(),
            None => self.waiting.take(),
        };
        timed.map_or(Act::Nothing, |timed| self.shape(timed))
    }

    /// Shapes what is due; it is carried out as it is where nothing is to be shaped.
    fn shape(&mut self, timed: Timed) -> Act {
        let Some(shape) = &mut self.stages.shape else {
            return Act::Carry(timed);
        };
        shape.take(since(self.request_end), timed, &mut self.shaped);
        Act::Nothing
    }

    /// When a stage acts by itself, where that is before what is next: that is not held up by it, and what is due earlier goes first.
    pub(super) fn deadline(&self, next: Option<Due>) -> Option<Instant> {
        let fault = self
            .stages
            .faults
            .as_ref()
            .and_then(|faults| faults.script.deadline());
        let shape = self.stages.shape.as_ref().and_then(Shape::deadline);
        let deadline = self.moment(fault.into_iter().chain(shape).min()?);
        let is_first = next.is_none_or(|due| due.moment().is_some_and(|due| deadline < due));
        is_first.then_some(deadline)
    }

    /// It is late enough for what acts at a time.
    pub(super) fn tick(&mut self) {
        let now = self.now() + EARLY;
        if let Some(faults) = &mut self.stages.faults {
            let is_end = faults.script.tick(now);
            // Where the answer ends, no silence goes on.
            self.doing
                .take_if(|doing| is_end && matches!(doing, Doing::Silence { .. }));
        }
        if let Some(shape) = &mut self.stages.shape {
            shape.tick(now, &mut self.shaped);
        }
    }

    fn now(&self) -> Duration {
        since(self.request_end)
    }

    fn moment(&self, after: Duration) -> Instant {
        moment(self.request_end, after)
    }
}
