//! One request and its answer: decides where the answer comes from, and has the pump carry it.
//!
//! All the ifs about modes stand here; the mechanisms below hold none.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::arm::{self, Asking};
use crate::board::{Board, Live};
use crate::call::{BodyLength, Call, UpstreamError};
use crate::cassette::{Begin, Claim, Recording};
use crate::client::ClientId;
use crate::dialect::Dialect;
use crate::dice::{self, BodyHash, Draw, DrawKey, DrawParts};
use crate::fault::bucket::Charge;
use crate::fault::when::Protocol;
use crate::key::{Canonical, Key, KeyBody, OverLimit};
use crate::message::{Headers, RequestHead, ResponseHead};
use crate::mode::{Mode, OnMiss, RecordPolicy};
use crate::plan::{Plan, Route, Target};
use crate::pump::{self, Client, Cut, Left, Outcome, Shape, Stages, Tally, Upload};
use crate::recorder::Recorder;
use crate::refusal::Refused;
use crate::sanitize::redact::Redactor;
use crate::shape::pacer::Pacer;
use crate::shape::rechunk::RechunkSettings;
use crate::shape::schedule::Timing;
use crate::source::{Replay, Source, Synth};
use crate::state::State;
use crate::synth;
use crate::upstream::{self, Upstreams};

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
    let Some((index, route)) = plan.route(&incoming.head) else {
        let refused = Refused::no_route(&incoming.head);
        return Served::new(client, "-", true)
            .refuse(refused, Upload::default())
            .await;
    };
    let mut served = Served::new(client, &route.name, !route.is_opaque);
    served.claim = claim;
    let exchange = Exchange {
        flow,
        plan: &plan,
        route,
        index,
        incoming,
    };
    exchange.serve(&mut served).await
}

/// Serves what an upstream already began to answer.
pub async fn pass<C: Client>(
    client: &mut C,
    route: &Route,
    answer: Result<upstream::Exchange, UpstreamError>,
) -> Report {
    let mut served = Served::new(client, &route.name, !route.is_opaque);
    let upload = Upload {
        read: None,
        is_through: true,
    };
    match answer {
        Ok(answer) => {
            served
                .pump(Source::Upstream(answer), upload, "forward", None)
                .await
        }
        Err(error) => served.refuse(Refused::no_answer(&error), upload).await,
    }
}

/// The client's side of an exchange, and what is counted there.
struct Served<'a, C> {
    client: &'a mut C,
    route: &'a str,
    is_marked: bool,
    tally: Tally,
    /// When the request was through, if it was read before an answer was chosen.
    request_end: Option<Instant>,
    /// What the answer passes on its way.
    stages: Stages,
    /// The faults that hit the exchange.
    faults: Vec<String>,
    /// Whether they answer alone.
    is_before_source: bool,
    /// What rate limits charged.
    charges: Vec<(Arc<Live>, Charge)>,
    /// Since when faults are.
    board: Option<Arc<Board>>,
    /// Given up when an answer is chosen: a recording of it has its own by then.
    claim: Option<Claim>,
}

impl<'a, C: Client> Served<'a, C> {
    fn new(client: &'a mut C, route: &'a str, is_marked: bool) -> Self {
        Self {
            client,
            route,
            is_marked,
            tally: Tally::default(),
            request_end: None,
            stages: Stages::default(),
            faults: Vec::new(),
            is_before_source: false,
            charges: Vec::new(),
            board: None,
            claim: None,
        }
    }

    async fn pump(
        &mut self,
        mut source: Source,
        upload: Upload,
        name: &'static str,
        recording: Option<&str>,
    ) -> Report {
        let mut stages = std::mem::take(&mut self.stages);
        let outcome = self
            .run(&mut source, upload, name, recording, &mut stages)
            .await;
        self.settle(&stages, &outcome);
        if let Outcome::NoAnswer(error) = &outcome {
            let refused = Refused::no_answer(error);
            let mut report = Box::pin(self.refuse(refused, Upload::default())).await;
            report.source = name;
            if report.outcome == Outcome::Completed {
                report.outcome = outcome;
            }
            return report;
        }
        self.report(name, recording, outcome)
    }

    /// Counts what became of the faults, and settles what was charged.
    fn settle(&mut self, stages: &Stages, outcome: &Outcome) {
        if let Some(faults) = &stages.faults {
            let charges = std::mem::take(&mut self.charges);
            let now = self
                .board
                .as_ref()
                .map_or(Duration::ZERO, |board| board.age());
            arm::settle(faults, charges, *outcome == Outcome::ClientLeft, now);
        }
    }

    /// Has the pump carry a source. Its times count from the end of the request, where that was read before.
    async fn run(
        &mut self,
        source: &mut Source,
        upload: Upload,
        name: &str,
        recording: Option<&str>,
        stages: &mut Stages,
    ) -> Outcome {
        self.claim = None;
        let mut marks = Headers::new();
        if self.is_marked {
            marks.push("x-rehearsal-source", name.to_owned());
            if let Some(recording) = recording {
                marks.push("x-rehearsal-recording", recording.to_owned());
            }
            for fault in self.faults.iter().filter(|_| stages.faults.is_some()) {
                marks.push("x-rehearsal-fault", fault.clone());
            }
        }
        let request_end = self.request_end.unwrap_or_else(Instant::now);
        pump::run(
            self.client,
            source,
            upload,
            request_end,
            &marks,
            stages,
            &mut self.tally,
        )
        .await
    }

    /// Answers for ourselves. What is left of the request is not read.
    async fn refuse(&mut self, refused: Refused, upload: Upload) -> Report {
        let is_through = upload.is_through || self.tally.request_is_through;
        let mut source = Source::Synth(Synth::new(refused.answer(), Pacer::instant()));
        let upload = Upload {
            read: None,
            is_through,
        };
        let outcome = self
            .run(&mut source, upload, "refusal", None, &mut Stages::default())
            .await;
        self.report("refusal", None, outcome)
    }

    fn report(
        &mut self,
        source: &'static str,
        recording: Option<&str>,
        outcome: Outcome,
    ) -> Report {
        Report {
            route: self.route.to_owned(),
            source,
            recording: recording.map(str::to_owned),
            faults: std::mem::take(&mut self.faults),
            outcome,
            tally: std::mem::take(&mut self.tally),
        }
    }

    /// Waits as long as so many bytes of the request take at the rate that a fault sets.
    async fn slow_down(&mut self, bytes: usize) -> Result<(), Left> {
        let Some(faults) = &mut self.stages.faults else {
            return Ok(());
        };
        if let Some(pause) = faults.pause_for(bytes) {
            pump::rest(pause, &mut faults.watch).await;
        }
        Ok(())
    }

    /// Reads and forgets what is left of the request: an answer counts from its end.
    async fn read_rest(&mut self) -> Result<(), Left> {
        while !self.tally.request_is_through {
            self.tally.request_is_through = self.client.hear().await?.is_none();
            self.request_end = Some(Instant::now());
        }
        Ok(())
    }

    fn left(&mut self) -> Report {
        self.report("none", None, Outcome::ClientLeft)
    }
}

/// One exchange on its route.
struct Exchange<'a> {
    flow: &'a Flow,
    plan: &'a Plan,
    route: &'a Route,
    index: usize,
    incoming: Incoming,
}

/// The request's body, as far as it is wanted before an answer can be chosen.
enum Collected {
    Whole(Bytes),
    TooLarge(Bytes),
}

impl Collected {
    fn key_body(&self) -> KeyBody<'_> {
        match self {
            Self::Whole(bytes) => KeyBody::Whole(bytes),
            Self::TooLarge(_) => KeyBody::TooLarge,
        }
    }

    fn upload(self) -> Upload {
        match self {
            Self::Whole(bytes) => Upload {
                read: Some(bytes).filter(|bytes| !bytes.is_empty()),
                is_through: true,
            },
            Self::TooLarge(bytes) => Upload {
                read: Some(bytes),
                is_through: false,
            },
        }
    }
}

impl Exchange<'_> {
    async fn serve<C: Client>(mut self, served: &mut Served<'_, C>) -> Report {
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
                return self.forward(served, upload, is_recorded).await;
            }
        }
        let collected = match self.collect(served).await {
            Ok(collected) => collected,
            Err(Left) => return served.left(),
        };
        if !is_early {
            self.arm(served, Some(&collected));
        }
        if served.is_before_source {
            return self.break_before_source(served, collected).await;
        }
        self.answer(served, collected).await
    }

    /// Has the source of the route's mode answer.
    async fn answer<C: Client>(self, served: &mut Served<'_, C>, collected: Collected) -> Report {
        match self.route.mode {
            Mode::Forward => self.forward(served, collected.upload(), false).await,
            Mode::Record => self.forward(served, collected.upload(), true).await,
            Mode::Synthesize => self.synthesize(served, collected).await,
            Mode::Replay => self.replay(served, collected).await,
        }
    }

    /// Draws for the faults of the route. Says whether one of them answers before any source is asked.
    fn arm<C: Client>(&self, served: &mut Served<'_, C>, collected: Option<&Collected>) -> bool {
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
            body: collected.and_then(|collected| match collected {
                Collected::Whole(bytes) => Some(bytes),
                Collected::TooLarge(_) => None,
            }),
        };
        if let Some(armory) = arm::arm(self.flow.state.board(), self.plan, self.route, &asking) {
            served.faults = armory.labels;
            served.charges = armory.charges;
            served.board = Some(Arc::clone(self.flow.state.board()));
            served.is_before_source = armory.is_before_source;
            let mut faults = armory.faults;
            faults.alarm.clone_from(&self.flow.alarm);
            served.stages.faults = Some(faults);
        }
        served.is_before_source
    }

    /// Lets the faults answer alone: no upstream is called, and nothing is taken from a sequence. If they end before the client
    /// saw anything of that, the exchange goes on as if they had not been.
    async fn break_before_source<C: Client>(
        self,
        served: &mut Served<'_, C>,
        collected: Collected,
    ) -> Report {
        // Nothing is kept of a body that is larger than may be in memory: there is nothing to go on with.
        let kept = match collected {
            Collected::Whole(body) => Some(body),
            Collected::TooLarge(_) => None,
        };
        if let Err(Left) = served.read_rest().await {
            return served.left();
        }
        let nothing = synth::Answer {
            head: ResponseHead {
                status: 200,
                reason: None,
                headers: Headers::new(),
            },
            chunks: synth::Chunks::from_iter([]),
            tokens: None,
        };
        let upload = Upload {
            read: None,
            is_through: true,
        };
        let mut source = Source::Synth(Synth::new(nothing, Pacer::instant()));
        let mut stages = std::mem::take(&mut served.stages);
        if let Some(faults) = &mut stages.faults {
            faults.script.answer_alone();
        }
        let outcome = served
            .run(&mut source, upload, "fault", None, &mut stages)
            .await;
        if let Some(faults) = &mut stages.faults
            && faults.script.is_unanswered()
        {
            if let Some(body) = kept {
                faults.script.begin_again();
                served.stages = stages;
                served.claim = self.flow.claim();
                return Box::pin(self.answer(served, Collected::Whole(body))).await;
            }
            served.client.cut(Cut::Close).await;
        }
        served.settle(&stages, &outcome);
        served.report("fault", None, outcome)
    }

    /// Reads the body before an answer is chosen, up to the limit for keys.
    async fn collect<C: Client>(&mut self, served: &mut Served<'_, C>) -> Result<Collected, Left> {
        if self.incoming.head.headers.remove("expect") && self.incoming.body.is_some() {
            let head = ResponseHead {
                status: 100,
                reason: None,
                headers: Headers::new(),
            };
            served.client.interim(&head).await?;
        }
        let mut body = BytesMut::new();
        loop {
            match served.client.hear().await? {
                Some(bytes) if body.is_empty() && bytes.len() > self.route.body_limit => {
                    return Ok(Collected::TooLarge(bytes));
                }
                Some(bytes) => {
                    served.slow_down(bytes.len()).await?;
                    body.extend_from_slice(&bytes);
                    if body.len() > self.route.body_limit {
                        return Ok(Collected::TooLarge(body.freeze()));
                    }
                }
                None => {
                    served.tally.request_is_through = true;
                    served.request_end = Some(Instant::now());
                    return Ok(Collected::Whole(body.freeze()));
                }
            }
        }
    }

    /// Lets the upstream answer, with a recorder beside it if `is_recorded`.
    async fn forward<C: Client>(
        self,
        served: &mut Served<'_, C>,
        upload: Upload,
        is_recorded: bool,
    ) -> Report {
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
        match &self.route.target {
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
                let source = Source::Upstream(self.flow.upstreams.call(call, recorder));
                served.pump(source, upload, name, None).await
            }
            Some(Target::Fake) => {
                let body = upload.read.clone().unwrap_or_default();
                let answer = synth::answer(&self.route.inside(&self.incoming.head), &body);
                let recorder = recorder.map(|mut recorder| {
                    recorder.request_body(&body);
                    recorder
                });
                let source = Source::Upstream(self.flow.upstreams.pretend(answer, recorder));
                served
                    .pump(
                        source,
                        Upload {
                            read: None,
                            is_through: upload.is_through,
                        },
                        name,
                        None,
                    )
                    .await
            }
            None => {
                served
                    .refuse(Refused::no_upstream(&self.route.name), upload)
                    .await
            }
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

    async fn synthesize<C: Client>(
        self,
        served: &mut Served<'_, C>,
        collected: Collected,
    ) -> Report {
        let Collected::Whole(body) = collected else {
            return served
                .refuse(Refused::too_large(self.route.body_limit), Upload::default())
                .await;
        };
        let answer = synth::answer(&self.route.inside(&self.incoming.head), &body);
        let pacer = self.pacer(&self.route.timing, Some(&body), false);
        let source = Source::Synth(Synth::new(answer, pacer));
        served.stages.shape = self.shape(None);
        served
            .pump(
                source,
                Upload {
                    read: None,
                    is_through: true,
                },
                "synthesize",
                None,
            )
            .await
    }

    async fn replay<C: Client>(self, served: &mut Served<'_, C>, collected: Collected) -> Report {
        if matches!(collected, Collected::TooLarge(_)) && self.route.over_limit == OverLimit::Refuse
        {
            return served
                .refuse(
                    Refused::too_large(self.route.body_limit),
                    collected.upload(),
                )
                .await;
        }
        let (canonical, key) = self.key(&collected);
        match self.find(&key).await {
            Found::Recording(recording) => {
                let name = recording.name.clone();
                let timing = match recording.play.speed {
                    Some(own) => self.route.timing.faster(own),
                    None => self.route.timing.clone(),
                };
                let body = match &collected {
                    Collected::Whole(body) => Some(&body[..]),
                    Collected::TooLarge(_) => None,
                };
                match Replay::new(recording, self.pacer(&timing, body, false)) {
                    Ok(replay) => {
                        served.stages.shape = self.shape(None);
                        if let Err(Left) = served.read_rest().await {
                            return served.left();
                        }
                        let upload = Upload {
                            read: None,
                            is_through: true,
                        };
                        served
                            .pump(Source::Replay(replay), upload, "replay", Some(&name))
                            .await
                    }
                    Err(error) => {
                        served
                            .refuse(
                                Refused::unreadable(&format!("{name}: {error}")),
                                collected.upload(),
                            )
                            .await
                    }
                }
            }
            Found::Unreadable(reason) => {
                served
                    .refuse(Refused::unreadable(&reason), collected.upload())
                    .await
            }
            Found::Exhausted(count) => match self.route.on_miss {
                OnMiss::Refuse => {
                    served
                        .refuse(Refused::exhausted(&canonical, count), collected.upload())
                        .await
                }
                on_miss => Box::pin(self.missed(served, collected, on_miss)).await,
            },
            Found::Nothing => match self.route.on_miss {
                OnMiss::Refuse => {
                    let refused = self.explain(canonical).await;
                    served.refuse(refused, collected.upload()).await
                }
                on_miss => Box::pin(self.missed(served, collected, on_miss)).await,
            },
        }
    }

    async fn missed<C: Client>(
        self,
        served: &mut Served<'_, C>,
        collected: Collected,
        on_miss: OnMiss,
    ) -> Report {
        match on_miss {
            OnMiss::Record => self.forward(served, collected.upload(), true).await,
            OnMiss::Forward => self.forward(served, collected.upload(), false).await,
            OnMiss::Synthesize | OnMiss::Refuse => self.synthesize(served, collected).await,
        }
    }

    fn redactor(&self) -> Redactor {
        self.plan.redact.exchange(&self.incoming.head)
    }

    /// What identifies the request: made from the redacted request, as the recorder does.
    fn key(&self, collected: &Collected) -> (Canonical, Key) {
        let mut redactor = self.redactor();
        let head = redactor.request_head(&self.incoming.head).into_inner();
        let canonical = match collected.key_body() {
            KeyBody::Whole(body) => {
                let body = redactor
                    .request_body(&self.incoming.head, body)
                    .into_inner();
                self.route.key.canonical(&head, KeyBody::Whole(&body))
            }
            KeyBody::TooLarge => self.route.key.canonical(&head, KeyBody::TooLarge),
        };
        let key = canonical.key();
        (canonical, key)
    }

    async fn find(&self, key: &Key) -> Found {
        let Some(cassette) = self.flow.state.cassette() else {
            return Found::Nothing;
        };
        let mut count = cassette.count(self.index, key);
        if count == 0 {
            // What was recorded a moment ago may be still on its way to the disk.
            cassette.settled().await;
            count = cassette.count(self.index, key);
        }
        if count == 0 {
            return Found::Nothing;
        }
        let client = self
            .route
            .is_per_client
            .then(|| self.incoming.client.clone());
        let Some(position) =
            self.flow
                .state
                .next_position(self.index, *key, client, count, self.route.exhausted)
        else {
            return Found::Exhausted(count);
        };
        let Some(id) = cassette.nth(self.index, key, position) else {
            return Found::Nothing;
        };
        match cassette.fetch(id).await {
            Ok(recording) => Found::Recording(recording),
            Err(error) => Found::Unreadable(error.to_string()),
        }
    }

    async fn explain(&self, canonical: Canonical) -> Refused {
        let Some(cassette) = self.flow.state.cassette().cloned() else {
            return Refused::missed(&canonical, "(no cassette)", &[]);
        };
        let path = cassette.folder().display().to_string();
        let explained = tokio::task::spawn_blocking(move || {
            let near = cassette.near(&canonical, NEAR_MAX);
            Refused::missed(&canonical, &path, &near)
        });
        explained
            .await
            .unwrap_or_else(|error| Refused::internal(&error.to_string()))
    }

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

/// What was found for a key.
enum Found {
    Recording(Arc<Recording>),
    Unreadable(String),
    Exhausted(usize),
    Nothing,
}

/// How many recordings are looked at to explain a miss.
const NEAR_MAX: usize = 32;
