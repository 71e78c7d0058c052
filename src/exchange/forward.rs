//! Has the upstream of a route answer, or its built-in backend, with a recorder beside it where the mode wants one.

use std::sync::Arc;

use super::Exchange;
use super::served::{Chosen, Served};
use crate::call::Call;
use crate::cassette::Begin;
use crate::mode::{Mode, RecordPolicy};
use crate::plan::Target;
use crate::pump::{Client, Upload};
use crate::recorder::Recorder;
use crate::refusal::Refused;
use crate::source::Source;
use crate::synth;

impl Exchange<'_> {
    /// Lets the upstream answer, with a recorder beside it if `is_recorded`.
    pub(super) fn forward<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        upload: Upload,
        is_recorded: bool,
    ) -> Box<Chosen> {
        let name = if is_recorded { "record" } else { "forward" };
        let timing = &self.route.timing;
        let body = upload.read.as_deref().filter(|_| upload.is_through);
        let pacer = timing.draws().then(|| self.pacer(timing, body, true));
        served.stages.shape = self.shape(pacer);
        // What a miss adds must not take away what was there: a sequence may only be exhausted.
        let policy = match self.route.mode {
            Mode::Replay => RecordPolicy::Append,
            Mode::Record | Mode::Forward | Mode::Synthesize => self.route.record,
        };
        let recorder = if is_recorded {
            self.recorder(policy)
        } else {
            None
        };
        let (exchange, upload) = match &self.route.target {
            Some(Target::Origin(origin)) => {
                let call = Call {
                    origin: Arc::clone(origin),
                    link: Arc::clone(&self.route.link),
                    head: self.route.outgoing(&self.incoming.head, origin),
                    body: self.incoming.body,
                    timeouts: self.plan.call_timeouts,
                    ahead: self.plan.ahead,
                    drain: self.plan.drain,
                };
                (self.flow.upstreams.call(call, recorder), upload)
            }
            Some(Target::Fake) => {
                let body = upload.read.unwrap_or_default();
                let answer = synth::answer(&self.route.inside(&self.incoming.head), &body);
                let recorder = recorder.map(|mut recorder| {
                    recorder.request_body(&body);
                    recorder
                });
                let upload = Upload {
                    read: None,
                    is_through: upload.is_through,
                };
                (self.flow.upstreams.pretend(answer, recorder), upload)
            }
            None => {
                let refused = Refused::no_upstream(&self.route.name);
                return served.refusal(&refused, upload.is_through);
            }
        };
        Box::new(Chosen {
            source: Source::Upstream(exchange),
            upload,
            name,
            recording: None,
        })
    }

    /// What records the exchange; `None` where that is not wanted or not possible.
    fn recorder(&self, policy: RecordPolicy) -> Option<Recorder> {
        let cassette = self.flow.state.cassette()?;
        let upstream = match &self.route.target {
            Some(Target::Origin(origin)) => origin.to_string(),
            Some(Target::Fake) | None => "fake".to_owned(),
        };
        let ticket = cassette.begin(Begin {
            request: self.incoming.head.clone(),
            upstream,
            redactor: self
                .plan
                .redact
                .exchange(&self.route.carrying_secrets(&self.incoming.head)),
            rules: Arc::clone(&self.route.key),
            policy,
            at: std::time::SystemTime::now(),
        })?;
        Some(Recorder::new(ticket, self.route.body_limit))
    }
}
