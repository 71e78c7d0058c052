//! The faults of an exchange: draws for them, and has those answer alone that act before any source is asked.
//!
//! What they do to an answer on its way the pump does.

use std::borrow::Cow;

use tokio::time::Instant;

use super::body::Collected;
use super::served::Served;
use super::{Decided, Exchange};
use crate::arm::{self, Asking};
use crate::message::{Headers, ResponseHead};
use crate::pump::{Client, Cut, Left, Upload};
use crate::shape::pacer::Pacer;
use crate::source::{Source, Synth};
use crate::synth;

impl Exchange<'_> {
    /// Draws for the faults of the route. Says whether one of them answers before any source is asked.
    pub(super) fn arm<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        collected: Option<&Collected>,
    ) -> bool {
        if self.route.faults.is_empty() {
            return false;
        }
        let mut head = Cow::Borrowed(&self.incoming.head);
        for (name, value) in self.incoming.ours.iter() {
            head.to_mut().headers.push(name, value.clone());
        }
        let asking = Asking {
            head: &head,
            client: &self.incoming.client,
            protocol: self.incoming.protocol,
            body: collected.and_then(Collected::whole),
        };
        if let Some(armory) = arm::arm(self.flow.state.board(), self.plan, self.route, &asking) {
            served.faults = armory.labels;
            served.is_before_source = armory.is_before_source;
            let mut faults = armory.faults;
            faults.alarm.clone_from(&self.flow.alarm);
            served.stages.faults = Some(faults);
        }
        served.is_before_source
    }

    /// Lets the faults answer alone: no upstream is called, and nothing is taken from a sequence. If they end before the client
    /// saw anything of that, the exchange goes on as if they had not been.
    pub(super) async fn break_before_source<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        collected: Collected,
    ) -> Decided {
        // Such a fault may take for ever, and many may hold what they keep: without a body there is nothing to go on with.
        let kept = match collected {
            Collected::Whole(body) if body.len() <= KEPT_MAX => Some(body),
            Collected::Whole(_) | Collected::TooLarge(_) => None,
        };
        let rest = served.read_rest().await;
        rest.map_err(|Left| served.left())?;
        let nothing = synth::Answer {
            head: ResponseHead {
                status: 200,
                reason: None,
                headers: Headers::new(),
            },
            chunks: synth::Chunks::from_iter([]),
            tokens: None,
        };
        let mut source = Source::Synth(Synth::new(nothing, Pacer::instant()));
        if let Some(faults) = &mut served.stages.faults {
            faults.script.answer_alone();
        }
        let outcome = served
            .run(&mut source, Upload::through(), "fault", None)
            .await;
        if let Some(faults) = &mut served.stages.faults
            && faults.script.is_unanswered()
        {
            if let Some(body) = kept {
                faults.script.begin_again();
                served.claim = self.flow.claim();
                // The times of the answer begin now.
                served.request_end = Some(Instant::now());
                return self.answer(served, Collected::Whole(body)).await;
            }
            served.client.cut(Cut::Close).await;
        }
        served.settle(&outcome);
        Err(served.over("fault", outcome))
    }
}

/// The largest body that is kept for an answer that may yet be wanted.
const KEPT_MAX: usize = 256 * 1024;
