//! Decides which faults hit an exchange, and arms them. Touches what rules share for a moment each; nothing is drawn twice.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::board::{Board, Injection, Live, Verdict};
use crate::client::ClientId;
use crate::dialect::Dialect;
use crate::dice::{BodyHash, DrawKey, DrawParts};
use crate::fault::kind::{Kind, StandIn};
use crate::fault::pick::{self, Hit};
use crate::fault::rule::{Chance, Rule};
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
    let lives = board.lives(
        &route.name,
        route.faults.iter().map(|rule| rule.name.as_str()),
    );
    let json: Option<Value> = asking
        .body
        .filter(|_| route.faults.iter().any(|rule| rule.when.needs_body()))
        .and_then(|body| serde_json::from_slice(body).ok());
    let client = asking.client.to_string();
    let asked = Asked {
        head: asking.head,
        client: &client,
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
        client: &client,
        body: asking.body.map(|body| BodyHash::of(body)),
    });
    let (occurrences, attempt) = {
        let mut counts = board.counts();
        (
            pick::count(&route.faults, &concerns, &client, &mut counts),
            counts.attempt(key),
        )
    };
    let picked = pick::pick(
        plan.seed,
        &route.faults,
        &concerns,
        &occurrences,
        board.age(),
        &key,
        attempt,
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
    let dialect = Dialect::of(asking.head);
    let mut armed = Vec::new();
    let mut held = Vec::new();
    let mut labels = Vec::new();
    let mut is_before_source = false;
    for hit in picked.hits() {
        let (Some(rule), Some(live)) = (route.faults.get(hit.rule), lives.get(hit.rule)) else {
            continue;
        };
        let Some(active) = live.enter(rule.max_active) else {
            live.count(Verdict::OverCap);
            continue;
        };
        if rule.kind.impossible_on(asking.protocol).is_some() {
            live.count(Verdict::NotApplicable);
            continue;
        }
        board.note(injection(plan, rule, live, hit, asking, key, attempt));
        labels.push(format!("{};draw={}", rule.name, hit.draw));
        is_before_source |= rule.is_before_upstream;
        armed.push(equip(rule, hit));
        held.push(active);
    }
    if armed.is_empty() {
        return None;
    }
    let script = Script::new(
        armed,
        Scene {
            dialect,
            is_http2: asking.protocol == Protocol::Http2,
        },
    );
    let watch = board.watch(held);
    Some(Armory {
        faults: Faults { script, watch },
        labels,
        is_before_source,
    })
}

/// Whether a route's faults have to be decided before the request's body is read.
pub(crate) fn is_early(route: &Route) -> bool {
    route.faults.iter().any(|rule| rule.kind.is_on_upload())
}

/// Counts what became of the faults of an exchange.
pub(crate) fn settle(faults: &Faults, client_left: bool) {
    for (fault, fate) in faults.script.fates().enumerate() {
        let verdict = match fate {
            Fate::Injected => Verdict::Injected,
            Fate::Lifted => Verdict::Prevented,
            Fate::Waiting if client_left => Verdict::Prevented,
            Fate::Waiting => Verdict::NotApplicable,
        };
        faults.watch.count(fault, verdict);
    }
}

/// Makes a fault ready to act.
fn equip(rule: &Rule, hit: Hit) -> Armed {
    Armed {
        stand_in: stand_in(&rule.kind),
        kind: rule.kind.clone(),
        chance: hit.draw.stream(),
        is_for_connection: rule.scope == Scope::Connection,
    }
}

/// The answer that a fault puts in the place of the source's, if it has one.
fn stand_in(kind: &Kind) -> Option<(ResponseHead, Bytes)> {
    let (status, headers, body) = match kind {
        Kind::Status(StandIn::Plain {
            status,
            headers,
            body,
        }) => (*status, headers.clone(), body.clone().unwrap_or_default()),
        _ => return None,
    };
    let mut head = ResponseHead {
        status,
        reason: None,
        headers: Headers::new(),
    };
    for (name, value) in headers {
        head.headers.push(name, value);
    }
    if !head.headers.contains("content-length") {
        head.headers.push("content-length", body.len().to_string());
    }
    Some((head, body.into()))
}

fn injection(
    plan: &Plan,
    rule: &Rule,
    live: &Live,
    hit: Hit,
    asking: &Asking<'_>,
    key: DrawKey,
    attempt: u64,
) -> Injection {
    let probability = match &rule.chance {
        Chance::Alone(probability) => format!("{probability}"),
        Chance::Slice { group, from, to } => format!("{from} to {to} of group {group}"),
    };
    Injection {
        id: hit.draw.id(),
        name: live.name.clone(),
        kind: rule.kind.word().to_owned(),
        seed: plan.seed,
        key: format!("{} {}", asking.head.method, asking.head.path),
        key_hash: key.to_string(),
        attempt,
        drawn: hit.draw.unit().to_string(),
        probability,
    }
}
