//! What is out of range, or has no effect, inside one rule. Nothing is clamped.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bounds::{
    MAX_FLIPS, MAX_GARBAGE, MAX_PIECES, above_zero, some_bytes, some_limit, whole,
};
use super::header::{check_edit, check_header};
use crate::fault::kind::{How, KeepAlive, Kind, StandIn};
use crate::fault::position::Position;
use crate::fault::problem::Problem;
use crate::fault::settings::{FaultSettings, Scope};
use crate::route::is_token;
use crate::units::Span;

/// What every rule has.
pub(super) fn check_rule(rule: &FaultSettings, found: &mut Vec<Problem>) {
    for (key, value) in [("probability", rule.probability), ("weight", rule.weight)] {
        if let Some(value) = value
            && !(0.0..=1.0).contains(&value)
        {
            let what = format!("`{key}` is {value}, expected a number from 0 to 1");
            found.push(Problem::at(&[key], what));
        }
    }
    match (&rule.group, rule.weight) {
        (Some(group), Some(_)) => {
            if !is_token(group) {
                let what = format!("`{group}` can't be the name of a group");
                let hint = "expected letters, digits, `-`, `_` or `.`";
                found.push(Problem::at(&["group"], what).hint(hint));
            }
            if rule.probability.is_some() {
                let what = "in a group the `weight` says how often, so `probability` has no effect";
                found.push(Problem::at_key(&["probability"], what).hint("take it out"));
            }
        }
        (Some(group), None) => {
            let what = format!("a rule of the group `{group}` needs a `weight`, from 0 to 1");
            found.push(Problem::at(&["group"], what));
        }
        (None, Some(_)) => {
            let what = "a weight is a share of a group's draw, and this rule has no `group`";
            found.push(
                Problem::at_key(&["weight"], what).hint("write `probability`, or add a `group`"),
            );
        }
        (None, None) => {}
    }
    if rule.max_active == Some(0) {
        let what = "with `max_active` at zero it never happens";
        found.push(Problem::at(&["max_active"], what).hint("write `enabled = false`"));
    }
    if rule.ttl == Some(Span::default()) {
        let what = "with `ttl` at zero it never happens";
        found.push(Problem::at(&["ttl"], what).hint("write `enabled = false`"));
    }
}

/// What this kind takes, and what goes with it.
pub(super) fn check_kind(kind: &Kind, rule: &FaultSettings, found: &mut Vec<Problem>) {
    let key = kind.word();
    if rule.basis.is_some() && !matches!(kind, Kind::Latency { .. }) {
        let what = format!("`basis` goes with `latency` and has no effect on `{key}`");
        found.push(Problem::at_key(&["basis"], what).hint("take it out"));
    }
    if rule.after_upstream && !kind.answers_alone() {
        let what = format!(
            "`after_upstream` has no effect on `{key}`, which needs the source's answer anyway"
        );
        found.push(Problem::at_key(&["after_upstream"], what).hint("take it out"));
    }
    check_scope(kind, key, rule, found);
    if let Some(protocol) = rule.when.protocol
        && let Some(why) = kind.impossible_on(protocol)
    {
        let what = format!("`{key}` can't be done on {protocol}: {why}");
        found.push(Problem::at(&["when", "protocol"], what));
    }
    let retry_after = longest_retry_after(kind);
    if !rule.allow_long_retry_after
        && let Some((way, wait)) = retry_after.filter(|(_, wait)| *wait > MAX_RETRY_AFTER)
    {
        let way: Vec<_> = [key].into_iter().chain(way.iter().copied()).collect();
        let what = format!(
            "clients could be told to come again after {wait}, and some wait for all of it"
        );
        let hint = "expected at most 1m, or `allow_long_retry_after = true`";
        found.push(Problem::at(&way, what).hint(hint));
    }
    if !rule.allow_long_retry_after
        && let Some((part, value)) = retry_date(kind)
    {
        let what = format!(
            "clients are told to come again at `{value}`, which may be far away, and some wait for all of it"
        );
        let hint = "expected a number of seconds, or `allow_long_retry_after = true`";
        found.push(Problem::at(&[key, part], what).hint(hint));
    }
    check_parts(kind, key, found);
}

fn check_scope(kind: &Kind, key: &str, rule: &FaultSettings, found: &mut Vec<Problem>) {
    let how = if let Kind::Cut { how, .. } = kind {
        Some(*how)
    } else {
        None
    };
    match (how, rule.scope) {
        (Some(How::GoAway(_)), Scope::Exchange) => {
            let what = "`goaway` ends a connection with all its exchanges, not one of them";
            let hint = "add `scope = \"connection\"`, or write `how = { h2-reset = … }`";
            found.push(Problem::at(&[key, "how"], what).hint(hint));
        }
        (Some(How::GoAway(_) | How::Reset), _) | (_, Scope::Exchange) => {}
        (Some(_) | None, Scope::Connection) => {
            let what = format!("`scope = \"connection\"` has no effect on `{key}`");
            let hint = "it goes with `cut` and `how = \"reset\"` or `{ goaway = … }`";
            found.push(Problem::at(&["scope"], what).hint(hint));
        }
    }
}

/// The parts of a kind, one by one.
fn check_parts(kind: &Kind, key: &str, found: &mut Vec<Problem>) {
    match kind {
        Kind::Gap { correlation, .. } => check_correlation(*correlation, key, found),
        Kind::Bandwidth { down, up } => {
            some_bytes(&[key, "down"], *down, found);
            some_bytes(&[key, "up"], *up, found);
            some_limit(key, down.is_some() || up.is_some(), "`down`, `up`", found);
        }
        Kind::Dribble { pieces, .. } => whole(&[key, "pieces"], *pieces, MAX_PIECES, found),
        Kind::SlowHead { bytes, every } => {
            whole(&[key, "bytes"], *bytes, MAX_PIECES, found);
            above_zero(&[key, "every"], *every, found);
        }
        Kind::SlowRead(speed) => some_bytes(&[key], Some(*speed), found),
        Kind::Stall {
            after,
            keepalive,
            every,
            ..
        } => {
            above_zero(&[key, "every"], *every, found);
            if *after == Position::BeforeHead && *keepalive != KeepAlive::None {
                let what = "before the head there is no stream that a keep-alive could stand in";
                let hint = "write `after = \"head\"`, or take it out";
                found.push(Problem::at(&[key, "keepalive"], what).hint(hint));
            }
        }
        Kind::Cut { after, how } => check_cut(after, *how, key, found),
        Kind::Status(StandIn::Plain {
            status,
            headers,
            body,
        }) => {
            check_status(*status, headers, key, found);
            if matches!(status, 204 | 304) && body.as_ref().is_some_and(|body| !body.is_empty()) {
                let what = format!("an answer with status {status} has no body");
                found.push(Problem::at(&[key, "body"], what).hint("take it out"));
            }
        }
        Kind::ErrorEvent { after, .. } | Kind::MalformedChunk { after } => {
            in_body(after, key, found);
        }
        Kind::Corrupt { after, count, .. } => {
            in_body(after, key, found);
            if *after == Position::End {
                let what = "at the end nothing is left to corrupt, so it never has an effect";
                found.push(Problem::at(&[key, "after"], what).hint("write an earlier place"));
            }
            whole(&[key, "count"], *count, MAX_FLIPS, found);
        }
        Kind::Garbage(bytes) => whole(&[key], *bytes, MAX_GARBAGE, found),
        Kind::ContentType(value) => check_header("content-type", Some(value), &[key], found),
        Kind::ContentEncoding(value) => {
            check_header("content-encoding", Some(value), &[key], found);
        }
        Kind::Header(edit) => check_edit(edit, key, found),
        Kind::RateLimit {
            requests,
            tokens,
            per,
            ..
        } => check_rate_limit(*requests, *tokens, *per, key, found),
        Kind::Latency { .. }
        | Kind::FirstToken(_)
        | Kind::HoldOpen(_)
        | Kind::Empty
        | Kind::Blackhole
        | Kind::Status(StandIn::Error { .. })
        | Kind::InvalidJson(_)
        | Kind::TwoObjects(_)
        | Kind::Drop(_)
        | Kind::Duplicate(_)
        | Kind::Reorder(_)
        | Kind::Merge(_)
        | Kind::Split(_)
        | Kind::SplitUtf8
        | Kind::InvalidUtf8(_)
        | Kind::DropEventLines
        | Kind::ToolArgs(_)
        | Kind::Html200 => {}
    }
}

fn check_correlation(correlation: f64, key: &str, found: &mut Vec<Problem>) {
    if !(-0.99..=0.99).contains(&correlation) {
        let what = format!("`correlation` is {correlation}, expected a number from -0.99 to 0.99");
        found.push(Problem::at(&[key, "correlation"], what));
    }
}

fn check_rate_limit(
    requests: Option<u64>,
    tokens: Option<u64>,
    per: Span,
    key: &str,
    found: &mut Vec<Problem>,
) {
    for (name, count) in [("requests", requests), ("tokens", tokens)] {
        if let Some(count) = count {
            whole(&[key, name], count, u64::from(u32::MAX), found);
        }
    }
    let is_limit = requests.is_some() || tokens.is_some();
    some_limit(key, is_limit, "`requests`, `tokens`", found);
    above_zero(&[key, "per"], per, found);
}

fn in_body(after: &Position, key: &str, found: &mut Vec<Problem>) {
    if *after == Position::BeforeHead {
        let what = format!("`{key}` is about the body, and there is none before the head");
        found.push(Problem::at(&[key, "after"], what));
    }
}

fn check_status(
    status: u16,
    headers: &BTreeMap<String, String>,
    key: &str,
    found: &mut Vec<Problem>,
) {
    if !(200..=599).contains(&status) {
        let what = format!("{status} is not a status, expected one from 200 to 599");
        found.push(Problem::at(&[key], what));
    }
    for (name, value) in headers {
        check_header(name, Some(value), &[key, "headers", name], found);
    }
}

fn check_cut(after: &Position, how: How, key: &str, found: &mut Vec<Problem>) {
    if *after == Position::BeforeHead && how.needs_head() {
        let what = "this is a way to end a body, and there is none before the head";
        let hint = "write `after = \"head\"`, `how = \"reset\"`, or the kind `empty = true`";
        found.push(Problem::at(&[key, "how"], what).hint(hint));
    }
    if *after == Position::End && how == How::CleanEnd {
        let what = "at the end the answer ends well anyway, so it never has an effect";
        found.push(Problem::at(&[key, "after"], what).hint("write an earlier place"));
    }
}

/// The longest wait that clients can be told, and where it stands inside the kind.
fn longest_retry_after(kind: &Kind) -> Option<(&'static [&'static str], Span)> {
    // Refilled continuously: one request waits for its share of the window, a request of many tokens for all of it.
    if let Kind::RateLimit {
        requests,
        tokens,
        per,
        ..
    } = kind
    {
        let share = per.0 / u32::try_from(requests.unwrap_or(1).max(1)).unwrap_or(u32::MAX);
        let wait = if tokens.is_some() { per.0 } else { share };
        return Some((&["per"], Span(wait)));
    }
    if let Kind::Status(StandIn::Error { retry_after, .. }) = kind {
        return Some((&["retry_after"], (*retry_after)?));
    }
    let (way, headers): (&[&str], _) = match kind {
        Kind::Status(StandIn::Plain { headers, .. }) => (&["headers"], headers),
        Kind::Header(edit) => (&["set"], &edit.set),
        _ => return None,
    };
    let seconds = headers.iter().filter_map(|(name, value)| {
        let number: f64 = value.trim().parse().ok()?;
        match &*name.to_ascii_lowercase() {
            "retry-after" => Some(number),
            "retry-after-ms" => Some(number / 1000.0),
            _ => None,
        }
    });
    let longest = seconds.fold(0.0, f64::max).min(MAX_SPAN);
    let wait = Duration::try_from_secs_f64(longest).unwrap_or_default();
    Some((way, Span(wait)))
}

/// A moment at which clients are told to come again, and in which part of the kind it stands.
fn retry_date(kind: &Kind) -> Option<(&'static str, &str)> {
    let (part, headers) = match kind {
        Kind::Status(StandIn::Plain { headers, .. }) => ("headers", headers),
        Kind::Header(edit) => ("set", &edit.set),
        _ => return None,
    };
    let date = headers.iter().find(|(name, value)| {
        name.eq_ignore_ascii_case("retry-after") && value.trim().parse::<f64>().is_err()
    });
    date.map(|(_, value)| (part, value.as_str()))
}

/// Some SDKs wait in full for what they are told.
const MAX_RETRY_AFTER: Span = Span::secs(60);

/// In seconds: 365 days, as in [`Span`].
const MAX_SPAN: f64 = 365.0 * 86_400.0;
