//! Faults while they run: shown, switched, ended, explained.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Refusal, Shared};
use crate::board::{Board, Name, NotSet, Standing, TimingSummary};
use crate::units::Span;

type Answer = Result<Json<Value>, Refusal>;
type Body = Result<Bytes, BytesRejection>;
type Named<T> = Result<Path<T>, PathRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    on: bool,
    ttl: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ttl {
    ttl: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kill {
    killed: bool,
}

/// `GET /v1/faults`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let faults: Vec<_> = shared.board.standings().iter().map(standing).collect();
    Json(json!({ "killed": shared.board.is_killed(), "faults": faults }))
}

/// `POST /v1/faults/{route}/{rule}`
pub(super) async fn switch(
    State(shared): State<Arc<Shared>>,
    named: Named<(String, String)>,
    body: Body,
) -> Answer {
    let (route, rule) = said(named)?;
    turn(&shared, &Name { route, rule }, &body)
}

/// The same for a route that is called `explain`.
pub(super) async fn switch_of_explain(
    State(shared): State<Arc<Shared>>,
    named: Named<String>,
    body: Body,
) -> Answer {
    let rule = said(named)?;
    let route = "explain".to_owned();
    turn(&shared, &Name { route, rule }, &body)
}

fn turn(shared: &Shared, name: &Name, body: &Body) -> Answer {
    let Switch { on, ttl } = read(body, r#"{"on": true, "ttl": "30s"}"#)?;
    let time = ttl.map(some_time).transpose()?;
    if !on && time.is_some() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "`ttl` says how long a rule stays on, so it needs `on` to be true",
        ));
    }
    let board = shared.take_order()?;
    let is_known = board.switch(name, on, time);
    if is_known {
        tracing::info!(route = name.route, rule = name.rule, on, ttl = ?time, "a fault was switched");
    }
    now(board, name)
}

/// `POST /v1/faults/{route}/{rule}/ttl`
pub(super) async fn set_ttl(
    State(shared): State<Arc<Shared>>,
    named: Named<(String, String)>,
    body: Body,
) -> Answer {
    let (route, rule) = said(named)?;
    let Ttl { ttl } = read(&body, r#"{"ttl": "30s"}"#)?;
    let time = some_time(ttl)?;
    let name = Name { route, rule };
    let board = shared.take_order()?;
    match board.set_ttl(&name, time) {
        Ok(()) => {
            tracing::info!(route = name.route, rule = name.rule, ttl = ?time, "a fault got a time to live");
        }
        // So it says below.
        Err(NotSet::NoRule) => {}
        Err(NotSet::Off) => {
            let Name { route, rule } = name;
            let what = format!(
                "the rule `{rule}` of the route `{route}` is off, so there is nothing to end after {ttl}; \
                 to switch it on for so long: `rehearsal fault on {route}/{rule} --ttl {ttl}`"
            );
            return Err(Refusal::new(StatusCode::CONFLICT, what));
        }
    }
    now(board, &name)
}

/// `POST /v1/faults/kill`
pub(super) async fn kill(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let Kill { killed } = read(&body, r#"{"killed": true}"#)?;
    shared.take_order()?.kill(killed);
    tracing::info!(killed, "the kill switch for faults was moved");
    Ok(Json(json!({ "killed": killed })))
}

/// `GET /v1/faults/explain/{id}`
pub(super) async fn explain(State(shared): State<Arc<Shared>>, named: Named<String>) -> Answer {
    let id = said(named)?;
    let Some(injection) = shared.board.explain(&id.to_ascii_lowercase()) else {
        let message = "there is no such fault among the last 10,000; \
                       its ID is what stands after `draw=` in `x-rehearsal-fault`";
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    let again = injection.draw_again();
    Ok(Json(json!({
        "id": injection.id(),
        "route": injection.live.name.route,
        "rule": injection.live.name.rule,
        "kind": injection.kind,
        "request": injection.request,
        "seed": injection.seed,
        "drawn_as": injection.drawn_as(),
        "key": injection.key.to_string(),
        "attempt": injection.attempt,
        "drawn": injection.draw.unit().to_string(),
        "probability": injection.probability(),
        "again": { "id": again.id(), "drawn": again.unit().to_string() },
        "is_same": again == injection.draw,
    })))
}

/// What stands in the path.
fn said<T>(named: Named<T>) -> Result<T, Refusal> {
    named
        .map(|Path(named)| named)
        .map_err(|error| Refusal::new(error.status(), error.body_text().to_lowercase()))
}

/// `example` is a body as it is expected.
fn read<T: DeserializeOwned>(body: &Body, example: &str) -> Result<T, Refusal> {
    let body = body
        .as_ref()
        .map_err(|error| Refusal::new(error.status(), error.body_text().to_lowercase()))?;
    // A list would be taken for the members in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        let message = format!("the body is a list, expected an object such as {example}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not what was expected, such as {example}: {error}"),
        )
    })
}

fn some_time(ttl: Span) -> Result<Duration, Refusal> {
    if ttl.0.is_zero() {
        let message =
            "a `ttl` of zero is no time at all, expected some; to end a rule switch it off";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(ttl.0)
}

/// How a rule stands now.
fn now(board: &Board, name: &Name) -> Answer {
    board
        .standings()
        .iter()
        .find(|standing| standing.name == *name)
        .map(|found| {
            let mut answer = standing(found);
            answer["killed"] = board.is_killed().into();
            Json(answer)
        })
        .ok_or_else(|| {
            let Name { route, rule } = name;
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is no fault rule `{rule}` on a route `{route}`"),
            )
        })
}

fn standing(standing: &Standing) -> Value {
    let counts: Map<_, _> = standing
        .counts
        .iter()
        .map(|(verdict, count)| (verdict.as_str().to_owned(), Value::from(*count)))
        .collect();
    json!({
        "route": standing.name.route,
        "rule": standing.name.rule,
        "kind": standing.kind,
        "on": standing.is_on,
        "left_ms": standing.left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        "active": standing.active,
        "counts": counts,
        "timing": timing(&standing.timing),
    })
}

/// The bounds below which the time errors are; beyond the last one there is none.
fn timing(timing: &TimingSummary) -> Value {
    let below = |share| timing.quantile_us(share).filter(|bound| *bound < i64::MAX);
    json!({ "count": timing.count, "p50_us": below(0.5), "p99_us": below(0.99) })
}
