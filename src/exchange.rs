//! One request and its answer: decides where the answer comes from, and has the pump carry it.
//!
//! All the ifs about modes stand here and in the files below; the mechanisms hold none.

use std::sync::Arc;

use crate::alarm::Alarm;
use crate::arm;
use crate::call::{BodyLength, UpstreamError};
use crate::cassette::Claim;
use crate::client::ClientId;
use crate::dialect::Dialect;
use crate::dice::{self, BodyHash, Draw, DrawKey, DrawParts};
use crate::fault::when::Protocol;
use crate::message::{Headers, RequestHead};
use crate::mode::Mode;
use crate::plan::{Plan, Route, Target};
use crate::pump::{Client, Left, Outcome, Shape, Tally, Upload};
use crate::refusal::Refused;
use crate::shape::pacer::Pacer;
use crate::shape::rechunk::RechunkSettings;
use crate::shape::schedule::Timing;
use crate::source::{Source, Synth};
use crate::state::State;
use crate::synth;
use crate::upstream::{self, Upstreams};

use body::Collected;
use served::{Chosen, Served};

mod body;
mod faults;
mod forward;
mod replay;
mod served;

/// What all exchanges share.
pub struct Flow {
    /// What changes.
    pub state: Arc<State>,
    /// The connections to all upstreams.
    pub upstreams: Arc<Upstreams>,
    /// What keeps the times of faults more exactly than the runtime does.
    pub alarm: Option<Arc<Alarm>>,
}

impl Flow {
    /// The right to record what is not here yet.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.state.cassette()?.claim()
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Without what concerns one connection only and without framing; with `Expect`.
    pub head: RequestHead,
    /// How its body is framed.
    pub body: BodyLength,
    /// Who sent it.
    pub client: ClientId,
    /// Its headers that are meant for us alone.
    pub ours: Headers,
    /// What it came over.
    pub protocol: Protocol,
}

/// What became of an exchange.
#[derive(Debug)]
pub struct Report {
    /// The route's name; `-` where none matched.
    pub route: String,
    /// Where the answer came from.
    pub source: &'static str,
    /// The recording that was played.
    pub recording: Option<String>,
    /// The faults that hit it, rule and draw of each.
    pub faults: Vec<String>,
    /// As the client saw it.
    pub outcome: Outcome,
    /// What was counted.
    pub tally: Tally,
}

/// Serves one exchange from its route to its end.
pub async fn serve<C: Client>(flow: &Flow, client: &mut C, incoming: Incoming) -> Report {
    let plan = flow.state.plan();
    let claim = flow.claim();
    let found = plan.route(&incoming.head);
    let (name, is_marked) = found.map_or(("-", true), |(_, route)| {
        (route.name.as_str(), !route.is_opaque)
    });
    let mut served = Served::new(client, name, is_marked);
    let decided = if let Some((index, route)) = found {
        served.claim = claim;
        let exchange = Exchange {
            flow,
            plan: &plan,
            route,
            index,
            incoming,
        };
        // What it needs is gone before the answer begins, which may take long.
        exchange.decide(&mut served).await
    } else {
        Ok(served.refusal(&Refused::no_route(&incoming.head), false))
    };
    match decided {
        Ok(mut chosen) => served.answer(&mut chosen).await,
        Err(Over(report)) => *report,
    }
}

/// Serves what an upstream already began to answer.
pub async fn pass<C: Client>(
    client: &mut C,
    route: &Route,
    answer: Result<upstream::Exchange, UpstreamError>,
) -> Report {
    let mut served = Served::new(client, &route.name, !route.is_opaque);
    let mut chosen = match answer {
        Ok(answer) => Box::new(Chosen {
            source: Source::Upstream(answer),
            upload: Upload::through(),
            name: "forward",
            recording: None,
        }),
        Err(error) => served.refusal(&Refused::no_answer(&error), true),
    };
    served.answer(&mut chosen).await
}

/// The exchange is over already.
struct Over(Box<Report>);

/// Who answers. It stays where it is for the time of the answer.
type Decided = Result<Box<Chosen>, Over>;

/// One exchange on its route.
struct Exchange<'a> {
    flow: &'a Flow,
    plan: &'a Plan,
    route: &'a Route,
    index: usize,
    incoming: Incoming,
}

impl Exchange<'_> {
    /// Decides who answers: the faults alone, or the source of the route's mode.
    async fn decide<C: Client>(mut self, served: &mut Served<'_, C>) -> Decided {
        let is_fake = matches!(self.route.target, Some(Target::Fake));
        let passes = matches!(self.route.mode, Mode::Forward | Mode::Record) && !is_fake;
        let is_early = arm::is_early(self.route) || (passes && !arm::needs_body(self.route));
        if is_early {
            let is_before_source = self.arm(served, None);
            if passes && !is_before_source {
                let is_recorded = self.route.mode == Mode::Record;
                let upload = Upload {
                    read: None,
                    is_through: !self.incoming.body.is_some(),
                };
                return Ok(self.forward(served, upload, is_recorded));
            }
        }
        let collected = self.collect(served).await;
        let collected = collected.map_err(|Left| served.left())?;
        if !is_early {
            self.arm(served, Some(&collected));
        }
        if served.is_before_source {
            return Box::pin(self.break_before_source(served, collected)).await;
        }
        self.answer(served, collected).await
    }

    /// Has the source of the route's mode answer.
    async fn answer<C: Client>(&self, served: &mut Served<'_, C>, collected: Collected) -> Decided {
        match self.route.mode {
            Mode::Forward => Ok(self.forward(served, collected.upload(), false)),
            Mode::Record => Ok(self.forward(served, collected.upload(), true)),
            Mode::Synthesize => Ok(self.synthesize(served, collected)),
            Mode::Replay => self.replay(served, collected).await,
        }
    }

    /// The shape of an answer; a live one is paced by it, others at their source.
    fn shape(&self, pacer: Option<Pacer>) -> Option<Shape> {
        let is_shaped = self.route.rechunk != RechunkSettings::AsRecorded || pacer.is_some();
        is_shaped.then(|| Shape::new(&self.route.rechunk, Dialect::of(&self.incoming.head), pacer))
    }

    /// The pace of an answer that is known, with chances of its own if it has to draw.
    fn pacer(&self, timing: &Timing, body: Option<&[u8]>, is_live: bool) -> Pacer {
        if !timing.draws() {
            return Pacer::new(timing, is_live, Dialect::Plain, Draw::from_bits(0));
        }
        let head = &self.incoming.head;
        let key = DrawKey::of(&DrawParts {
            method: &head.method,
            path: &head.path,
            query: head.query.as_deref(),
            client: self.incoming.client.as_str(),
            body: body.map(BodyHash::of),
        });
        let rule = format!("{}/pace", self.route.name);
        let draw = dice::draw(self.plan.seed, &rule, &key, self.flow.state.attempt(key));
        Pacer::new(timing, is_live, Dialect::of(head), draw)
    }

    /// Makes an answer up from the request.
    fn synthesize<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        collected: Collected,
    ) -> Box<Chosen> {
        let Collected::Whole(body) = collected else {
            return served.refusal(&Refused::too_large(self.route.body_limit), false);
        };
        let answer = synth::answer(&self.route.inside(&self.incoming.head), &body);
        let pacer = self.pacer(&self.route.timing, Some(&body), false);
        served.stages.shape = self.shape(None);
        Box::new(Chosen {
            source: Source::Synth(Synth::new(answer, pacer)),
            upload: Upload::through(),
            name: "synthesize",
            recording: None,
        })
    }
}
