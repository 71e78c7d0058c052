//! Decides which faults hit an exchange, and arms them. Touches what rules share for a moment each; nothing is drawn twice.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::Value;

use crate::board::{Board, Held, Injection, Live, Verdict};
use crate::client::ClientId;
use crate::dialect;
use crate::dice::{BodyHash, Draw, DrawKey, DrawParts};
use crate::fault::bucket::{self, Charge, RateLimits};
use crate::fault::edit::head::html_page;
use crate::fault::kind::{ErrorName, Kind, StandIn};
use crate::fault::pick::{self, Hit};
use crate::fault::provider::{self, ErrorContext};
use crate::fault::rule::Rule;
use crate::fault::script::{Armed, Fate, Scene, Script};
use crate::fault::settings::Scope;
use crate::fault::when::{Asked, Protocol};
use crate::message::{Headers, RequestHead, ResponseHead};
use crate::plan::{Plan, Route};
use crate::pump::Faults;

/// A request, as far as faults are decided by it.
pub(crate) struct Asking<'a> {
    /// With the headers that are meant for us.
    pub(crate) head: &'a RequestHead,
    pub(crate) client: &'a ClientId,
    pub(crate) protocol: Protocol,
    /// The body, where it is in memory.
    pub(crate) body: Option<&'a Bytes>,
}

/// What hits one exchange.
pub(crate) struct Armory {
    /// For the pump.
    pub(crate) faults: Faults,
    /// What the header of the answer names: rule and draw.
    pub(crate) labels: Vec<String>,
    /// Whether an answer is made up before any upstream is called.
    pub(crate) is_before_source: bool,
}

/// Whether a route's faults can only be decided when the body of the request is in memory.
pub(crate) fn needs_body(route: &Route) -> bool {
    route
        .faults
        .iter()
        .any(|rule| rule.when.needs_body() || matches!(rule.kind, Kind::RateLimit { .. }))
}

/// Draws for all rules of a route. `None` where nothing hits.
pub(crate) fn arm(
    board: &Arc<Board>,
    plan: &Plan,
    route: &Route,
    asking: &Asking<'_>,
) -> Option<Armory> {
    if route.faults.is_empty() || board.is_killed() {
        return None;
    }
    let lives = &route.lives;
    let json: Option<Value> = asking
        .body
        .filter(|_| route.faults.iter().any(|rule| rule.when.needs_body()))
        .and_then(|body| serde_json::from_slice(body).ok());
    let client = asking.client.as_str();
    let asked = Asked {
        head: asking.head,
        client,
        protocol: asking.protocol,
        body: json.as_ref(),
        elapsed: board.age(),
    };
    let concerns = pick::addressed(
        &route.faults,
        |at| lives.get(at).is_some_and(|live| live.is_on()),
        &asked,
    );
    if concerns
        .iter()
        .all(|concern| matches!(concern, pick::Concern::Off | pick::Concern::None))
    {
        return None;
    }
    let key = DrawKey::of(&DrawParts {
        method: &asking.head.method,
        path: &asking.head.path,
        query: asking.head.query.as_deref(),
        client,
        body: asking.body.map(|body| BodyHash::of(body)),
    });
    let (occurrences, attempts) = {
        let mut counts = board.counts();
        (
            pick::count(&route.faults, &concerns, client, &mut counts),
            pick::attempts(&route.faults, &concerns, key, &mut counts),
        )
    };
    let picked = pick::pick(
        plan.seed,
        &route.faults,
        &concerns,
        &occurrences,
        board.age(),
        &key,
        &attempts,
    );
    for (live, verdict) in lives.iter().zip(&picked.verdicts) {
        match verdict {
            pick::Verdict::Off | pick::Verdict::NotAddressed => {}
            pick::Verdict::Missed(_) | pick::Verdict::Hit(_) => live.count(Verdict::Drawn),
            pick::Verdict::DryRun(_) => {
                live.count(Verdict::Drawn);
                live.count(Verdict::DryRun);
            }
        }
    }
    let mut armory = Loading::new(asking);
    for hit in picked.hits() {
        let (Some(rule), Some(live)) = (route.faults.get(hit.rule), lives.get(hit.rule)) else {
            continue;
        };
        if rule.kind.impossible_on(asking.protocol).is_some() {
            live.count(Verdict::NotApplicable);
            continue;
        }
        if let Some(armed) = armory.load(rule, live, hit, asking, board.age()) {
            let attempt = attempts.get(hit.rule).copied().unwrap_or_default();
            board.note(injection(plan, rule, live, hit, asking, key, attempt));
            armory.put(rule, hit, armed);
        }
    }
    armory.finish(board)
}

/// The faults of one exchange while they are made ready.
struct Loading {
    scene: Scene,
    armed: Vec<Armed>,
    held: Vec<Held>,
    labels: Vec<String>,
    charges: Vec<(Arc<Live>, Charge)>,
    is_before_source: bool,
}

impl Loading {
    fn new(asking: &Asking<'_>) -> Self {
        let body = asking.body.map(AsRef::as_ref).unwrap_or_default();
        Self {
            scene: Scene {
                asked: dialect::asked::Asked::read(None, asking.head, body),
                is_head_asked: asking.head.method == "HEAD",
                limits: Headers::new(),
                counts_tokens: false,
                seed: 0,
                now: SystemTime::now(),
            },
            armed: Vec::new(),
            held: Vec::new(),
            labels: Vec::new(),
            charges: Vec::new(),
            is_before_source: false,
        }
    }

    /// Makes a fault ready. `None` where it does nothing after all: a limit that is not reached, or a cap that is.
    fn load(
        &mut self,
        rule: &Rule,
        live: &Arc<Live>,
        hit: Hit,
        asking: &Asking<'_>,
        now: Duration,
    ) -> Option<Armed> {
        let stand_in = match &rule.kind {
            Kind::RateLimit {
                requests,
                tokens,
                per,
                is_shared,
            } => {
                let limits = RateLimits {
                    requests: *requests,
                    tokens: *tokens,
                    per: per.0,
                    is_shared: *is_shared,
                };
                Some(self.ask(live, limits, hit.draw, asking, now)?)
            }
            kind => stand_in(kind, &self.scene, hit.draw),
        };
        let Some(held) = live.enter(rule.max_active) else {
            live.count(Verdict::OverCap);
            return None;
        };
        self.held.push(held);
        Some(Armed {
            stand_in,
            kind: rule.kind.clone(),
            chance: hit.draw.stream(),
            is_for_connection: rule.scope == Scope::Connection,
        })
    }

    /// Asks a rate limit. The answer with which it refuses; `None` where it lets the request pass.
    fn ask(
        &mut self,
        live: &Arc<Live>,
        limits: RateLimits,
        draw: Draw,
        asking: &Asking<'_>,
        now: Duration,
    ) -> Option<(ResponseHead, Bytes)> {
        let tokens = bucket::estimate(
            asking.body.map_or(0, Bytes::len),
            self.scene.asked.max_tokens,
        );
        match live.ask(limits, asking.client.as_str(), tokens, now) {
            bucket::Verdict::Allowed { standings, charge } => {
                let dialect = self.scene.asked.dialect;
                standings.write(dialect, self.scene.now, &mut self.scene.limits);
                self.scene.counts_tokens |= limits.tokens.is_some();
                self.charges.push((Arc::clone(live), charge));
                None
            }
            bucket::Verdict::Refused {
                limit,
                retry_after,
                standings,
            } => {
                let name = match limit {
                    bucket::Limit::Requests => ErrorName::RateLimit,
                    bucket::Limit::Tokens => ErrorName::TokenLimit,
                };
                let context = ErrorContext {
                    retry_after,
                    standings,
                    requested: Some(tokens),
                    seed: draw.stream().bits(),
                    ..self.scene.context()
                };
                Some(of_provider(name, &context))
            }
        }
    }

    fn put(&mut self, rule: &Rule, hit: Hit, armed: Armed) {
        self.labels.push(format!("{};draw={}", rule.name, hit.draw));
        self.is_before_source |= rule.is_before_upstream;
        self.scene.seed = armed.chance.clone().bits();
        self.armed.push(armed);
    }

    fn finish(self, board: &Arc<Board>) -> Option<Armory> {
        if self.armed.is_empty() && self.charges.is_empty() {
            return None;
        }
        Some(Armory {
            faults: Faults::new(
                Box::new(Script::new(self.armed, self.scene)),
                board.watch(self.held).with_charges(self.charges),
            ),
            labels: self.labels,
            is_before_source: self.is_before_source,
        })
    }
}

/// Whether a route's faults have to be decided before the request's body is read.
pub(crate) fn is_early(route: &Route) -> bool {
    route.faults.iter().any(|rule| rule.kind.is_on_upload())
}

/// Counts what became of the faults of an exchange, and settles what it was charged, if that is still to be done.
pub(crate) fn settle(faults: &mut Faults, client_left: bool) {
    for (fault, fate) in faults.script.fates().enumerate() {
        let verdict = match fate {
            Fate::Injected => Verdict::Injected,
            Fate::Lifted => Verdict::Prevented,
            Fate::Waiting if client_left => Verdict::Prevented,
            Fate::Waiting => Verdict::NotApplicable,
        };
        faults.watch.count(fault, verdict);
    }
    if let Some(used) = faults.script.used_tokens() {
        faults.watch.settle(used);
    }
}

/// The answer that a fault puts in the place of the source's, if it has one.
fn stand_in(kind: &Kind, scene: &Scene, draw: Draw) -> Option<(ResponseHead, Bytes)> {
    let (status, mut headers, body) = match kind {
        Kind::Status(StandIn::Plain {
            status,
            headers,
            body,
        }) => {
            let headers: Headers = headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            (
                *status,
                headers,
                Bytes::from(body.clone().unwrap_or_default()),
            )
        }
        Kind::Status(StandIn::Error { error, retry_after }) => {
            let context = ErrorContext {
                retry_after: retry_after.map(|span| span.0).or_else(|| usual(*error)),
                seed: draw.stream().bits(),
                ..scene.context()
            };
            return Some(of_provider(*error, &context));
        }
        Kind::Html200 => html_page(),
        _ => return None,
    };
    // RFC 9110, 8.6: a 204 has none, and that of a 304 would be of another answer.
    if !headers.contains("content-length") && !matches!(status, 204 | 304) {
        headers.push("content-length", body.len().to_string());
    }
    let head = ResponseHead {
        status,
        reason: None,
        headers,
    };
    Some((head, body))
}

/// When to come back, where providers say so without being asked: at their limits.
fn usual(error: ErrorName) -> Option<Duration> {
    matches!(error, ErrorName::RateLimit | ErrorName::TokenLimit).then_some(Duration::from_secs(1))
}

/// The answer with which a provider says an error.
fn of_provider(name: ErrorName, context: &ErrorContext<'_>) -> (ResponseHead, Bytes) {
    let answer = provider::answer(name, context);
    let head = ResponseHead {
        status: answer.status,
        reason: None,
        headers: answer.headers,
    };
    (head, answer.body)
}

fn injection(
    plan: &Plan,
    rule: &Rule,
    live: &Arc<Live>,
    hit: Hit,
    asking: &Asking<'_>,
    key: DrawKey,
    attempt: u64,
) -> Injection {
    Injection {
        live: Arc::clone(live),
        kind: rule.kind.word(),
        seed: plan.seed,
        request: format!("{} {}", asking.head.method, asking.head.path),
        key,
        attempt,
        draw: hit.draw,
        chance: rule.chance.clone(),
    }
}
