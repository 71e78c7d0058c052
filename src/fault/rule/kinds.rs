//! The kind of a rule, from the one key that names it.

use crate::fault::kind::Kind;
use crate::fault::problem::Problem;
use crate::fault::settings::FaultSettings;
use crate::units::Span;

/// The key and the kind of a rule.
pub(super) fn the_one(rule: &FaultSettings) -> Result<(&'static str, Kind), Problem> {
    let mut found = timing(rule);
    found.extend(ending(rule));
    found.extend(content(rule));
    let mut found = found.into_iter();
    let Some(first) = found.next() else {
        return Err(Problem::at(&[], "this rule has no kind of fault")
            .hint("expected one such as `latency`, `stall`, `cut` or `status`"));
    };
    match found.next() {
        None => Ok(first),
        Some((second, _)) => Err(Problem::at_key(
            &[second],
            format!(
                "two kinds of fault in one rule, `{}` and `{second}`",
                first.0
            ),
        )
        .hint("write a rule for each; both may hit one exchange")),
    }
}

type Found = Vec<(&'static str, Kind)>;

/// What is set, of a list of keys with what they mean.
macro_rules! found {
    ($($key:literal: $kind:expr,)*) => {
        [$(($key, $kind)),*]
            .into_iter()
            .filter_map(|(key, kind)| Some((key, kind?)))
            .collect()
    };
}

fn timing(rule: &FaultSettings) -> Found {
    let gap = rule.gap.clone();
    let stall = rule.stall.clone();
    found! {
        "latency": rule.latency.clone().map(|time| Kind::Latency {
            time,
            basis: rule.basis.unwrap_or_default(),
        }),
        "first_token": rule.first_token.clone().map(Kind::FirstToken),
        "gap": gap.map(|gap| Kind::Gap {
            each: gap.each,
            correlation: gap.correlation,
        }),
        "bandwidth": rule.bandwidth.as_ref().map(|limit| Kind::Bandwidth {
            down: limit.down,
            up: limit.up,
        }),
        "dribble": rule.dribble.as_ref().map(|dribble| Kind::Dribble {
            pieces: dribble.pieces,
            over: dribble.over,
        }),
        "slow_head": rule.slow_head.as_ref().map(|slow| Kind::SlowHead {
            bytes: slow.bytes,
            every: slow.every,
        }),
        "slow_read": rule.slow_read.map(Kind::SlowRead),
        "stall": stall.map(|stall| Kind::Stall {
            after: stall.after,
            time: stall.time.0,
            keepalive: stall.keepalive,
            every: stall.every.unwrap_or(KEEPALIVE),
        }),
        "hold_open": rule.hold_open.map(|lasting| Kind::HoldOpen(lasting.0)),
    }
}

fn ending(rule: &FaultSettings) -> Found {
    found! {
        "cut": rule.cut.clone().map(|cut| Kind::Cut {
            after: cut.after,
            how: cut.how,
        }),
        "empty": rule.empty.then_some(Kind::Empty),
        "blackhole": rule.blackhole.then_some(Kind::Blackhole),
        "rate_limit": rule.rate_limit.as_ref().map(|limit| Kind::RateLimit {
            requests: limit.requests,
            tokens: limit.tokens,
            per: limit.per.unwrap_or(MINUTE),
            is_shared: limit.shared,
        }),
    }
}

fn content(rule: &FaultSettings) -> Found {
    let (error_event, corrupt) = (rule.error_event.clone(), rule.corrupt.clone());
    let garbage = rule
        .garbage
        .map(|size| u32::try_from(size.0).unwrap_or(u32::MAX));
    found! {
        "status": rule.status.clone().map(Kind::Status),
        "error_event": error_event.map(|event| Kind::ErrorEvent {
            after: event.after,
            error: event.error,
            style: event.style,
            then: event.then,
        }),
        "corrupt": corrupt.map(|corrupt| Kind::Corrupt {
            after: corrupt.after,
            count: corrupt.count,
            unit: corrupt.unit,
        }),
        "garbage": garbage.map(Kind::Garbage),
        "malformed_chunk": rule.malformed_chunk.clone().map(|chunk| Kind::MalformedChunk {
            after: chunk.after,
        }),
        "invalid_json": rule.invalid_json.clone().map(Kind::InvalidJson),
        "two_objects": rule.two_objects.clone().map(Kind::TwoObjects),
        "drop": rule.drop.clone().map(Kind::Drop),
        "duplicate": rule.duplicate.clone().map(Kind::Duplicate),
        "reorder": rule.reorder.clone().map(Kind::Reorder),
        "merge": rule.merge.clone().map(Kind::Merge),
        "split": rule.split.clone().map(Kind::Split),
        "split_utf8": rule.split_utf8.then_some(Kind::SplitUtf8),
        "invalid_utf8": rule.invalid_utf8.clone().map(Kind::InvalidUtf8),
        "drop_event_lines": rule.drop_event_lines.then_some(Kind::DropEventLines),
        "tool_args": rule.tool_args.map(Kind::ToolArgs),
        "content_type": rule.content_type.clone().map(Kind::ContentType),
        "content_encoding": rule.content_encoding.clone().map(Kind::ContentEncoding),
        "header": rule.header.clone().map(Kind::Header),
        "html_200": rule.html_200.then_some(Kind::Html200),
    }
}

/// As Anthropic sends its `ping`.
const KEEPALIVE: Span = Span::secs(15);

const MINUTE: Span = Span::secs(60);
