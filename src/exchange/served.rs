//! The client's side of an exchange: what is known of it, what was counted, and what can be done there.
//!
//! Has the pump carry one source, or an answer of our own. Which source that is, it is told.

use std::mem;

use tokio::time::Instant;

use super::{Over, Report};
use crate::arm;
use crate::cassette::Claim;
use crate::message::{FAULT_HEADER, Headers};
use crate::pump::{self, Client, Left, Outcome, Stages, Tally, Upload};
use crate::refusal::Refused;
use crate::shape::pacer::Pacer;
use crate::source::{Source, Synth};

/// A source that answers.
pub(super) struct Chosen {
    pub(super) source: Source,
    /// What was read of the request.
    pub(super) upload: Upload,
    /// The source's name.
    pub(super) name: &'static str,
    /// The recording that is played.
    pub(super) recording: Option<String>,
}

/// The client's side of an exchange, and what is counted there.
pub(super) struct Served<'a, C> {
    pub(super) client: &'a mut C,
    route: &'a str,
    is_marked: bool,
    pub(super) tally: Tally,
    /// When the request was through, if it was read before an answer was chosen.
    pub(super) request_end: Option<Instant>,
    /// What the answer passes on its way.
    pub(super) stages: Stages,
    /// The faults that hit the exchange.
    pub(super) faults: Vec<String>,
    /// Whether they answer alone.
    pub(super) is_before_source: bool,
    /// Given up when an answer is chosen: a recording of it has its own by then.
    pub(super) claim: Option<Claim>,
}

impl<'a, C: Client> Served<'a, C> {
    /// Of a client on this route; `is_marked`: answers get headers of ours.
    pub(super) fn new(client: &'a mut C, route: &'a str, is_marked: bool) -> Self {
        Self {
            client,
            route,
            is_marked,
            tally: Tally::default(),
            request_end: None,
            stages: Stages::default(),
            faults: Vec::new(),
            is_before_source: false,
            claim: None,
        }
    }

    /// Has the pump carry a source to its end, and answers for ourselves where the upstream gave no answer.
    pub(super) async fn answer(&mut self, chosen: &mut Chosen) -> Report {
        let Chosen {
            source,
            upload,
            name,
            recording,
        } = chosen;
        let outcome = self
            .run(source, mem::take(upload), name, recording.as_deref())
            .await;
        self.settle(&outcome);
        if let Outcome::NoAnswer(error) = &outcome {
            let mut refusal = self.refusal(&Refused::no_answer(error), false);
            let mut report = Box::pin(self.answer(&mut refusal)).await;
            report.source = name;
            if report.outcome == Outcome::Completed {
                report.outcome = outcome;
            }
            return report;
        }
        self.report(name, recording.take(), outcome)
    }

    /// Has the pump carry a source. Its times count from the end of the request, where that was read before.
    pub(super) async fn run(
        &mut self,
        source: &mut Source,
        upload: Upload,
        name: &str,
        recording: Option<&str>,
    ) -> Outcome {
        self.claim = None;
        let mut marks = Headers::new();
        if self.is_marked {
            marks.push("x-rehearsal-source", name.to_owned());
            if let Some(recording) = recording {
                marks.push("x-rehearsal-recording", recording.to_owned());
            }
            for fault in self.faults.iter().filter(|_| self.stages.faults.is_some()) {
                marks.push(FAULT_HEADER, fault.clone());
            }
        }
        let request_end = self.request_end.unwrap_or_else(Instant::now);
        pump::run(
            self.client,
            source,
            upload,
            request_end,
            &marks,
            &mut self.stages,
            &mut self.tally,
        )
        .await
    }

    /// An answer of our own, to which nothing is done. Of the request no more is read; `is_through`: nothing is left of it.
    pub(super) fn refusal(&mut self, refused: &Refused, is_through: bool) -> Box<Chosen> {
        self.stages = Stages::default();
        Box::new(Chosen {
            source: Source::Synth(Synth::new(refused.answer(), Pacer::instant())),
            upload: Upload {
                read: None,
                is_through: is_through || self.tally.request_is_through,
            },
            name: "refusal",
            recording: None,
        })
    }

    /// What became of the exchange; it is over.
    pub(super) fn report(
        &mut self,
        source: &'static str,
        recording: Option<String>,
        outcome: Outcome,
    ) -> Report {
        Report {
            route: self.route.to_owned(),
            source,
            recording,
            faults: mem::take(&mut self.faults),
            outcome,
            tally: mem::take(&mut self.tally),
        }
    }

    /// Counts what became of the faults, and settles what was charged.
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        if let Some(faults) = &mut self.stages.faults {
            arm::settle(faults, *outcome == Outcome::ClientLeft);
        }
    }

    /// Waits as long as so many bytes of the request take at the rate that a fault sets.
    pub(super) async fn slow_down(&mut self, bytes: usize) -> Result<(), Left> {
        let Some(faults) = &mut self.stages.faults else {
            return Ok(());
        };
        // Nothing of an answer has begun that would have to end too.
        faults.lift();
        let Some(due) = faults.slow_down(bytes) else {
            return Ok(());
        };
        while !pump::rest_until(due, &mut faults.watch).await {
            faults.lift();
            if faults.script.upload_rate().is_none() {
                return Ok(());
            }
        }
        faults.read_on();
        Ok(())
    }

    /// Reads and forgets what is left of the request: an answer counts from its end.
    pub(super) async fn read_rest(&mut self) -> Result<(), Left> {
        while !self.tally.request_is_through {
            self.tally.request_is_through = self.client.hear().await?.is_none();
            self.request_end = Some(Instant::now());
        }
        Ok(())
    }

    /// The client left before there was an answer.
    pub(super) fn left(&mut self) -> Over {
        self.over("none", Outcome::ClientLeft)
    }

    /// The exchange is over before a source was chosen.
    pub(super) fn over(&mut self, name: &'static str, outcome: Outcome) -> Over {
        Over(Box::new(self.report(name, None, outcome)))
    }
}
