//! What stands between the source and the client: faults, then the writing of what is due.
//!
//! Without faults a step goes straight to the client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Client, Left, Outcome, Tally};
use crate::alarm::Alarm;
use crate::call::UpstreamError;
use crate::cue::{Cue, Cut, Drip, Timed};
use crate::message::{Ending, Headers, ResponseHead};
use crate::source::{EARLY, Source, Step, What};

pub use faults::Faults;
pub use shape::Shape;

use doing::Doing;
use steps::{cue_of, due_of, moment_of};

mod doing;
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

/// How long ago a moment was.
fn since(moment: Instant) -> Duration {
    Instant::now().saturating_duration_since(moment)
}

/// When there is something to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Now,
    /// At a moment that came with the answer.
    At(Instant),
    /// At a moment that a fault set.
    Exactly(Instant),
}

impl Due {
    /// The moment; `None`: at once.
    pub(super) fn moment(self) -> Option<Instant> {
        match self {
            Self::Now => None,
            Self::At(moment) | Self::Exactly(moment) => Some(moment),
        }
    }
}

/// What is to be done for the client.
pub(super) enum Act {
    Nothing,
    /// What passed all stages.
    Carry(Timed),
    /// More of what takes its time.
    GoOn(Doing),
    /// Send an interim head.
    Interim(ResponseHead),
    /// Nothing more is to come from this source.
    GiveUp(Outcome),
    /// There is no answer.
    Fail(UpstreamError),
    /// The source can't be read on.
    BreakOff(String),
}

/// How one step went: the outcome, if it was the last.
type Went = Result<Option<Outcome>, Left>;

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

    /// What keeps the times of faults, if the runtime's timer does not.
    fn alarm(&self) -> Option<&Arc<Alarm>> {
        self.stages.faults.as_ref()?.alarm.as_ref()
    }

    /// What to wait with until this.
    pub(super) fn alarm_for(&self, due: Due) -> Option<Arc<Alarm>> {
        match due {
            Due::Exactly(_) => self.alarm().cloned(),
            Due::Now | Due::At(_) => None,
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

    /// Feeds the faults with what the source has ready, if they have nothing else: what leaves together is known only then.
    async fn look_ahead(&mut self, source: &mut Source) {
        let request_end = self.request_end;
        let is_idle = self.stages.faults.as_mut().is_some_and(|faults| {
            !faults.script.is_over() && faults.script.next(since(request_end)).is_none()
        });
        if !is_idle
            || self.stages.shape.is_some()
            || self.ahead.is_some()
            || !source.is_ready(request_end)
        {
            return;
        }
        let step = source.next(request_end).await;
        self.ahead = self.feed(step);
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
        let now = since(self.request_end);
        let faults = self.stages.faults.as_mut();
        faults.is_some_and(|faults| faults.script.next(now).is_some())
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

    /// Does it.
    pub(super) async fn act<C: Client>(
        &mut self,
        act: Act,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Went {
        let timed = match act {
            Act::Nothing => return Ok(None),
            Act::Carry(timed) => timed,
            Act::GoOn(doing) => return self.go_on(doing, client, tally).await.map(|()| None),
            Act::Interim(head) => return client.interim(&head).await.map(|()| None),
            Act::GiveUp(outcome) => return Ok(Some(outcome)),
            Act::Fail(error) => return Ok(Some(Outcome::NoAnswer(error))),
            Act::BreakOff(reason) => {
                client.cut(Cut::Close).await;
                return Ok(Some(Outcome::SourceFailed(reason)));
            }
        };
        let intended = timed.due.filter(|_| timed.due != timed.natural);
        let outcome = match timed.cue {
            Cue::Send(bytes) => {
                tally.bytes += bytes.len() as u64;
                tally.chunks += 1;
                self.look_ahead(source).await;
                let more = self.has_more(source);
                let begun = self.stages.shape.is_some().then(Instant::now);
                client.write(bytes, more).await?;
                if let (Some(begun), Some(shape)) = (begun, &mut self.stages.shape) {
                    shape.note_write(begun.elapsed());
                }
                None
            }
            Cue::Head(mut head, drip) => {
                for (name, value) in marks.iter() {
                    head.headers.push(name, value.clone());
                }
                tally.status = Some(head.status);
                self.head(&head, drip, timed.fault, client, source).await?;
                tally.first_byte = Some(since(self.request_end));
                None
            }
            Cue::Hold(silence) => {
                self.begin(silence, timed.fault);
                None
            }
            Cue::Trailers(trailers) => {
                client.trailers(&trailers).await?;
                None
            }
            Cue::End(ending) => Some(end(ending, client).await?),
            Cue::Cut(cut) => {
                client.cut(cut).await;
                Some(Outcome::Cut)
            }
        };
        if let (Some(intended), Some(fault)) = (intended, timed.fault) {
            self.note(fault, self.moment(intended));
        }
        Ok(outcome)
    }

    /// Sends the head, or begins to, where it goes out in drips.
    async fn head<C: Client>(
        &mut self,
        head: &ResponseHead,
        drip: Option<Drip>,
        fault: Option<usize>,
        client: &mut C,
        source: &mut Source,
    ) -> Result<(), Left> {
        let drip = drip.filter(|_| client.hold_back());
        self.look_ahead(source).await;
        let more = drip.is_none() && self.has_more(source);
        client.head(head, more).await?;
        match drip {
            None => self.release_with_head(),
            Some(drip) => {
                self.doing = Some(Doing::Drip {
                    drip,
                    next: Instant::now(),
                    fault,
                });
            }
        }
        Ok(())
    }

    /// When a stage acts though the source is silent.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let fault = self
            .stages
            .faults
            .as_ref()
            .and_then(|faults| faults.script.deadline());
        let shape = self.stages.shape.as_ref().and_then(Shape::deadline);
        let deadline = fault.into_iter().chain(shape).min()?;
        Some(self.moment(deadline))
    }

    /// It is late enough for what acts at a time.
    pub(super) fn tick(&mut self) {
        let now = self.now() + EARLY;
        if let Some(faults) = &mut self.stages.faults {
            faults.script.tick(now);
        }
        if let Some(shape) = &mut self.stages.shape {
            shape.tick(now, &mut self.shaped);
        }
    }

    /// Resolves when a fault may have been switched off.
    pub(super) async fn turned(&mut self) {
        match &mut self.stages.faults {
            Some(faults) => faults.watch.turned().await,
            None => std::future::pending().await,
        }
    }

    /// Whether a fault may have been switched off just now.
    pub(super) fn is_turned(&self) -> bool {
        let faults = self.stages.faults.as_ref();
        faults.is_some_and(|faults| faults.watch.is_turned())
    }

    /// Ends what was switched off.
    pub(super) async fn lift<C: Client>(&mut self, client: &mut C) -> Result<(), Left> {
        let Some(faults) = &mut self.stages.faults else {
            return Ok(());
        };
        let lifted = faults.watch.lifted();
        faults.script.lift(&lifted);
        for timed in &mut self.shaped {
            if let (Cue::Hold(silence), Some(fault)) = (&mut timed.cue, timed.fault)
                && lifted.contains(&fault)
            {
                silence.time = Some(Duration::ZERO);
            }
        }
        if !lifted.is_empty() {
            // What was next may have gone with its fault.
            client.uncork()?;
        }
        for fault in lifted {
            faults.watch.release(fault);
            if self.doing.as_ref().and_then(Doing::fault) == Some(fault)
                && let Some(Doing::Drip { .. }) = self.doing.take()
            {
                client.let_out(usize::MAX).await?;
            }
        }
        if faults.script.upload_rate().is_none() {
            self.gate = None;
        }
        Ok(())
    }

    /// The end, where a source is wanted after all and the client has seen nothing: [`Script::is_unanswered`] tells it from others.
    ///
    /// [`Script::is_unanswered`]: crate::fault::script::Script::is_unanswered
    pub(super) fn unanswered(&self) -> Option<Outcome> {
        let faults = self.stages.faults.as_ref()?;
        faults.script.is_unanswered().then_some(Outcome::Cut)
    }

    /// When the next piece of the request may be read, if it may not be read now.
    pub(super) fn gate(&self) -> Option<Instant> {
        self.gate
    }

    pub(super) fn open_gate(&mut self) {
        self.gate = None;
    }

    /// So much of the request was read.
    pub(super) fn close_gate(&mut self, bytes: usize) {
        let pause = self
            .stages
            .faults
            .as_mut()
            .and_then(|faults| faults.pause_for(bytes));
        self.gate = pause.map(|pause| Instant::now() + pause);
    }

    /// Whether a write follows at once, so that both may leave together.
    fn has_more(&mut self, source: &Source) -> bool {
        let request_end = self.request_end;
        if let Some(timed) = self.shaped.front() {
            return timed.due.is_none_or(|due| due <= since(request_end));
        }
        if self.stages.shape.is_some() {
            // The next write is as far away as the shape wants.
            return false;
        }
        match &mut self.stages.faults {
            Some(faults) => match faults.script.next(since(request_end)) {
                Some(timed) => {
                    !timed.is_apart
                        && !matches!(timed.cue, Cue::Hold(_) | Cue::Cut(_))
                        && timed.due.is_none_or(|due| due <= since(request_end))
                }
                // What the source says next may begin with a silence.
                None => false,
            },
            None => source.is_ready(request_end),
        }
    }

    fn note(&self, fault: usize, intended: Instant) {
        if let Some(faults) = &self.stages.faults {
            let now = Instant::now();
            let late = now.saturating_duration_since(intended).as_micros();
            let early = intended.saturating_duration_since(now).as_micros();
            let error =
                i64::try_from(late).unwrap_or(i64::MAX) - i64::try_from(early).unwrap_or(i64::MAX);
            faults.watch.timed(fault, error);
        }
    }

    /// The head is out: what acts on nothing else has ended.
    fn release_with_head(&mut self) {
        if let Some(faults) = &mut self.stages.faults {
            for fault in faults.script.ended_with_head() {
                faults.watch.release(fault);
            }
        }
    }

    fn release(&mut self, fault: usize) {
        if let Some(faults) = &mut self.stages.faults {
            faults.watch.release(fault);
        }
    }

    fn now(&self) -> Duration {
        since(self.request_end)
    }

    fn moment(&self, after: Duration) -> Instant {
        moment(self.request_end, after)
    }
}

/// When this is due.
fn due(timed: &Timed, request_end: Instant) -> Due {
    match timed.due {
        None => Due::Now,
        Some(due) if timed.due == timed.natural => Due::At(moment(request_end, due)),
        Some(due) => Due::Exactly(moment(request_end, due)),
    }
}

fn moment(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or_else(|| start + FAR)
}

/// Ends the answer as its source ended.
async fn end<C: Client>(ending: Ending, client: &mut C) -> Result<Outcome, Left> {
    if ending == Ending::Complete {
        client.end().await?;
        return Ok(Outcome::Completed);
    }
    let how = if ending == Ending::Reset {
        Cut::Reset
    } else {
        Cut::Close
    };
    client.cut(how).await;
    Ok(Outcome::UpstreamFailed(ending))
}

/// Later than anyone waits, and still a moment: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
