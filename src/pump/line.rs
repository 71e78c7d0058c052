//! What stands between the source and the client: faults, then the writing of what is due.
//!
//! Without faults a step goes straight to the client.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Client, Left, Outcome, Tally};
use crate::cue::{Cue, Cut, Timed};
use crate::message::{Ending, Headers};
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
    waiting: VecDeque<Timed>,
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
    At(Instant),
}

impl Due {
    /// The moment; `None`: at once.
    pub(super) fn moment(self) -> Option<Instant> {
        match self {
            Self::Now => None,
            Self::At(moment) => Some(moment),
        }
    }
}

/// How one step went: the outcome, if it was the last.
type Went = Result<Option<Outcome>, Left>;

impl<'a> Line<'a> {
    pub(super) fn new(stages: &'a mut Stages, request_end: Instant) -> Self {
        Self {
            stages,
            request_end,
            waiting: VecDeque::new(),
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
            return Some(Due::At(doing.due()));
        }
        if let Some(timed) = self.shaped.front() {
            return Some(self.due(timed.due));
        }
        let front = match &mut self.stages.faults {
            Some(faults) => faults.script.next(since(self.request_end)),
            None => self.waiting.front(),
        };
        let due = front.map(|timed| timed.due);
        if due.is_none() {
            self.room = None;
        }
        due.map(|due| self.due(due))
    }

    /// Whether nothing of the source matters any more.
    pub(super) fn is_over(&self) -> bool {
        self.stages
            .faults
            .as_ref()
            .is_some_and(|faults| faults.script.is_over())
    }

    /// Whether the source said something whose turn has not come.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Does what can be done without waiting, if there is something; `next` is what [`Self::next`] said.
    pub(super) async fn hurry<C: Client>(
        &mut self,
        next: Option<Due>,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Option<Went> {
        match next.map(Due::moment) {
            Some(Some(due)) if due > Instant::now() + EARLY => None,
            Some(_) => Some(self.play(client, source, marks, tally).await),
            None => {
                let step = match self.ahead.take() {
                    Some(step) => step,
                    None if !self.is_over() && source.is_ready(self.request_end) => {
                        source.next(self.request_end).await
                    }
                    None => return None,
                };
                Some(self.take(step, client, source, marks, tally).await)
            }
        }
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
        let moment = moment_of(&step, self.request_end);
        match cue_of(step, &mut self.room) {
            Ok(cue) => {
                faults.script.feed(moment, cue);
                None
            }
            Err(step) => Some(step),
        }
    }

    /// Takes what the source says.
    pub(super) async fn take<C: Client>(
        &mut self,
        step: Step,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Went {
        let Some(step) = self.feed(step) else {
            return Ok(self.unanswered());
        };
        let due = due_of(&step, self.request_end);
        let cue = match cue_of(step, &mut self.room).map_err(|step| step.what) {
            Ok(cue) => cue,
            Err(What::Failed(error)) => return Ok(Some(Outcome::NoAnswer(error))),
            Err(What::Unreadable(reason)) => {
                client.cut(Cut::Close).await;
                return Ok(Some(Outcome::SourceFailed(reason)));
            }
            Err(What::Interim(head)) => return client.interim(&head).await.map(|()| None),
            Err(What::Head(_) | What::Chunk(..) | What::Trailers(_) | What::End(_)) => {
                return Ok(None);
            }
        };
        let timed = Timed {
            due,
            natural: due,
            fault: None,
            is_apart: false,
            cue,
        };
        if due.is_some_and(|due| self.moment(due) > Instant::now()) {
            self.waiting.push_back(timed);
            return Ok(None);
        }
        self.pass(timed, client, source, marks, tally).await
    }

    /// Does what is due.
    pub(super) async fn play<C: Client>(
        &mut self,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Went {
        if let Some(doing) = self.doing.take() {
            return self.go_on(doing, client, tally).await.map(|()| None);
        }
        if let Some(timed) = self.shaped.pop_front() {
            return self.carry_out(timed, client, source, marks, tally).await;
        }
        let timed = match &mut self.stages.faults {
            Some(faults) => faults.script.take(),
            None => self.waiting.pop_front(),
        };
        match timed {
            Some(timed) => self.pass(timed, client, source, marks, tally).await,
            None => Ok(None),
        }
    }

    /// Shapes what is due, or carries it out where nothing is to be shaped.
    async fn pass<C: Client>(
        &mut self,
        timed: Timed,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Went {
        let Some(shape) = &mut self.stages.shape else {
            return self.carry_out(timed, client, source, marks, tally).await;
        };
        shape.take(since(self.request_end), timed, &mut self.shaped);
        Ok(None)
    }

    async fn carry_out<C: Client>(
        &mut self,
        timed: Timed,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Went {
        let intended = timed.due.filter(|_| timed.due != timed.natural);
        let outcome = match timed.cue {
            Cue::Head(mut head, drip) => {
                for (name, value) in marks.iter() {
                    head.headers.push(name, value.clone());
                }
                tally.status = Some(head.status);
                let drip = drip.filter(|_| client.hold_back());
                self.look_ahead(source).await;
                client
                    .head(&head, drip.is_none() && self.has_more(source))
                    .await?;
                tally.first_byte = Some(Instant::now().saturating_duration_since(self.request_end));
                if drip.is_none() {
                    self.release_with_head();
                }
                if let Some(drip) = drip {
                    self.doing = Some(Doing::Drip {
                        drip,
                        next: Instant::now(),
                        fault: timed.fault,
                    });
                }
                None
            }
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
            Cue::Hold(silence) => {
                self.begin(silence, timed.fault);
                None
            }
            Cue::Trailers(trailers) => {
                client.trailers(&trailers).await?;
                None
            }
            Cue::End(Ending::Complete) => {
                client.end().await?;
                Some(Outcome::Completed)
            }
            Cue::End(ending) => {
                client
                    .cut(if ending == Ending::Reset {
                        Cut::Reset
                    } else {
                        Cut::Close
                    })
                    .await;
                Some(Outcome::UpstreamFailed(ending))
            }
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
    pub(super) async fn lift<C: Client>(&mut self, client: &mut C) -> Went {
        let Some(faults) = &mut self.stages.faults else {
            return Ok(None);
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
        Ok(self.unanswered())
    }

    /// The end, where a source is wanted after all and the client has seen nothing: [`Script::is_unanswered`] tells it from others.
    ///
    /// [`Script::is_unanswered`]: crate::fault::script::Script::is_unanswered
    fn unanswered(&self) -> Option<Outcome> {
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

    fn due(&self, due: Option<Duration>) -> Due {
        due.map_or(Due::Now, |due| Due::At(self.moment(due)))
    }

    fn moment(&self, after: Duration) -> Instant {
        self.request_end
            .checked_add(after)
            .unwrap_or_else(|| self.request_end + FAR)
    }
}

/// Later than anyone waits, and still a moment: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
