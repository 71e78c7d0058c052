//! The faults of one exchange, and whether they may go on: what ends when one is switched off, how fast the request may come,
//! and how exactly their times are kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Line;
use super::doing::Doing;
use super::due::{Due, FAR};
use crate::alarm::Alarm;
use crate::board::Watch;
use crate::cue::Cue;
use crate::fault::script::Script;
use crate::pump::{Client, Left, Outcome};

/// The faults of one exchange: what they do, and whether they still may.
#[derive(Debug)]
pub struct Faults {
    /// What they do.
    pub script: Box<Script>,
    /// Whether they still may.
    pub watch: Watch,
    /// What keeps their times more exactly than the runtime does.
    pub alarm: Option<Arc<Alarm>>,
    /// What slows the reading of the request, and when what was read of it last is paid for.
    slowed: Option<(usize, Instant)>,
}

impl Faults {
    /// Before anything of the exchange has passed.
    pub fn new(script: Box<Script>, watch: Watch) -> Self {
        Self {
            script,
            watch,
            alarm: None,
            slowed: None,
        }
    }

    /// Ends what was switched off; gives what that is, as places in the list of the faults. Each is given once: what has begun of
    /// it is for the caller to end.
    pub(crate) fn lift(&mut self) -> Vec<usize> {
        let lifted = self.watch.lifted();
        self.script.lift(&lifted);
        for fault in &lifted {
            self.watch.release(*fault);
        }
        lifted
    }

    /// When more of the request may be read after so many bytes, if not at once. A wait that ended late takes nothing from the rate.
    pub(crate) fn slow_down(&mut self, bytes: usize) -> Option<Instant> {
        let (fault, rate) = self.script.upload_rate()?;
        self.script.mark_injected(fault);
        // Up to 2^52 bytes a number of bytes is exact as a float.
        #[expect(
            clippy::cast_precision_loss,
            reason = "a piece of a request is far smaller"
        )]
        let seconds = bytes as f64 / rate.max(1) as f64;
        let pause = Duration::from_secs_f64(seconds.min(FAR.as_secs_f64()));
        let now = Instant::now();
        let paid = self.slowed.map(|(_, due)| due);
        let from = paid.filter(|due| *due <= now && now - *due <= LATE);
        let due = from.unwrap_or(now) + pause;
        self.slowed = Some((fault, due));
        Some(due)
    }

    /// More of the request may be read now.
    pub(crate) fn read_on(&self) {
        if let Some((fault, due)) = self.slowed {
            self.watch.timed(fault, due, Instant::now());
        }
    }
}

impl Line<'_> {
    /// What keeps the times of faults, if the runtime's timer does not.
    pub(super) fn alarm(&self) -> Option<&Arc<Alarm>> {
        self.stages.faults.as_ref()?.alarm.as_ref()
    }

    /// Settles what rate limits charged, before the client knows that the answer is whole: it may ask again at once.
    pub(super) fn settle(&mut self) {
        if let Some(faults) = &mut self.stages.faults
            && let Some(used) = faults.script.used_in_all()
        {
            faults.watch.settle(used);
        }
    }

    /// What to wait with until this.
    pub(in crate::pump) fn alarm_for(&self, due: Due) -> Option<Arc<Alarm>> {
        match due {
            Due::Exactly(_) => self.alarm().cloned(),
            Due::Now | Due::At(_) => None,
        }
    }

    /// Resolves when a fault may have been switched off.
    pub(in crate::pump) async fn turned(&mut self) {
        match &mut self.stages.faults {
            Some(faults) => faults.watch.turned().await,
            None => std::future::pending().await,
        }
    }

    /// Whether a fault may have been switched off just now.
    pub(in crate::pump) fn is_turned(&self) -> bool {
        let faults = self.stages.faults.as_ref();
        faults.is_some_and(|faults| faults.watch.is_turned())
    }

    /// Ends what was switched off.
    pub(in crate::pump) async fn lift<C: Client>(&mut self, client: &mut C) -> Result<(), Left> {
        let Some(faults) = &mut self.stages.faults else {
            return Ok(());
        };
        let lifted = faults.lift();
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
    pub(in crate::pump) fn unanswered(&self) -> Option<Outcome> {
        let faults = self.stages.faults.as_ref()?;
        faults.script.is_unanswered().then_some(Outcome::Cut)
    }

    /// When the next piece of the request may be read, if it may not be read now.
    pub(in crate::pump) fn gate(&self) -> Option<Instant> {
        self.gate
    }

    /// The next piece may be read.
    pub(in crate::pump) fn open_gate(&mut self) {
        self.gate = None;
        if let Some(faults) = &self.stages.faults {
            faults.read_on();
        }
    }

    /// So much of the request was read.
    pub(in crate::pump) fn close_gate(&mut self, bytes: usize) {
        let faults = self.stages.faults.as_mut();
        self.gate = faults.and_then(|faults| faults.slow_down(bytes));
    }

    /// Notes how exactly the moment of a fault was kept.
    pub(super) fn note(&self, fault: usize, intended: Instant) {
        if let Some(faults) = &self.stages.faults {
            faults.watch.timed(fault, intended, Instant::now());
        }
    }

    /// The head is out: what acts on nothing else has ended.
    pub(super) fn release_with_head(&mut self) {
        if let Some(faults) = &mut self.stages.faults {
            for fault in faults.script.ended_with_head() {
                faults.watch.release(fault);
            }
        }
    }

    /// A fault has ended.
    pub(super) fn release(&mut self, fault: usize) {
        if let Some(faults) = &mut self.stages.faults {
            faults.watch.release(fault);
        }
    }
}

/// A client that was kept waiting has its next piece ready by this much after the wait; one that comes later was slower than the
/// rate.
const LATE: Duration = Duration::from_millis(20);
