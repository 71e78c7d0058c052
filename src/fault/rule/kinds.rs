//! The kind of a rule, from the one key that is set.

use crate::fault::kind::Kind;
use crate::fault::problem::Problem;
use crate::fault::settings::FaultSettings;
use crate::units::Span;

/// The kind of a rule.
pub(super) fn the_one(rule: &FaultSettings) -> Result<Kind, Problem> {
    let mut found = timing(rule)
        .into_iter()
        .chain(ending(rule))
        .chain(content(rule))
        .flatten();
    let Some(first) = found.next() else {
        return Err(Problem::at(&[], "this rule has no kind of fault")
            .hint("expected one such as `latency`, `stall`, `cut` or `status`"));
    };
    match found.next() {
        None => Ok(first),
        Some(second) => Err(Problem::at_key(
            &[second.word()],
            format!(
                "two kinds of fault in one rule, `{}` and `{}`",
                first.word(),
                second.word()
            ),
        )
        .hint("write a rule for each; both may hit one exchange")),
    }
}

fn timing(rule: &FaultSettings) -> [Option<Kind>; 9] {
    let gap = rule.gap.clone();
    let stall = rule.stall.clone();
    [
        rule.latency.clone().map(|time| Kind::Latency {
            time,
            basis: rule.basis.unwrap_or_default(),
        }),
        rule.first_token.clone().map(Kind::FirstToken),
        gap.map(|gap| Kind::Gap {
            each: gap.each,
            correlation: gap.correlation,
        }),
        rule.bandwidth.as_ref().map(|limit| Kind::Bandwidth {
            down: limit.down,
            up: limit.up,
        }),
        rule.dribble.as_ref().map(|dribble| Kind::Dribble {
            pieces: dribble.pieces,
            over: dribble.over,
        }),
        rule.slow_head.as_ref().map(|slow| Kind::SlowHead {
            bytes: slow.bytes,
            every: slow.every,
        }),
        rule.slow_read.map(Kind::SlowRead),
        stall.map(|stall| Kind::Stall {
            after: stall.after,
            time: stall.time.0,
            keepalive: stall.keepalive,
            every: stall.every.unwrap_or(KEEPALIVE),
        }),
        rule.hold_open.map(|lasting| Kind::HoldOpen(lasting.0)),
    ]
}

fn ending(rule: &FaultSettings) -> [Option<Kind>; 4] {
    [
        rule.cut.clone().map(|cut| Kind::Cut {
            after: cut.after,
            how: cut.how,
        }),
        rule.empty.then_some(Kind::Empty),
        rule.blackhole.then_some(Kind::Blackhole),
        rule.rate_limit.as_ref().map(|limit| Kind::RateLimit {
            requests: limit.requests,
            tokens: limit.tokens,
            per: limit.per.unwrap_or(MINUTE),
            is_shared: limit.shared,
        }),
    ]
}

fn content(rule: &FaultSettings) -> [Option<Kind>; 20] {
    let (error_event, corrupt) = (rule.error_event.clone(), rule.corrupt.clone());
    let garbage = rule
        .garbage
        .map(|size| u32::try_from(size.0).unwrap_or(u32::MAX));
    [
        rule.status.clone().map(Kind::Status),
        error_event.map(|event| Kind::ErrorEvent {
            after: event.after,
            error: event.error,
            then: event.then,
        }),
        corrupt.map(|corrupt| Kind::Corrupt {
            after: corrupt.after,
            count: corrupt.count,
            unit: corrupt.unit,
        }),
        garbage.map(Kind::Garbage),
        rule.malformed_chunk
            .clone()
            .map(|chunk| Kind::MalformedChunk { after: chunk.after }),
        rule.invalid_json.clone().map(Kind::InvalidJson),
        rule.two_objects.clone().map(Kind::TwoObjects),
        rule.drop.clone().map(Kind::Drop),
        rule.duplicate.clone().map(Kind::Duplicate),
        rule.reorder.clone().map(Kind::Reorder),
        rule.merge.clone().map(Kind::Merge),
        rule.split.clone().map(Kind::Split),
        rule.split_utf8.then_some(Kind::SplitUtf8),
        rule.invalid_utf8.clone().map(Kind::InvalidUtf8),
        rule.drop_event_lines.then_some(Kind::DropEventLines),
        rule.tool_args.map(Kind::ToolArgs),
        rule.content_type.clone().map(Kind::ContentType),
        rule.content_encoding.clone().map(Kind::ContentEncoding),
        rule.header.clone().map(Kind::Header),
        rule.html_200.then_some(Kind::Html200),
    ]
}

/// As Anthropic sends its `ping`.
const KEEPALIVE: Span = Span::secs(15);

const MINUTE: Span = Span::secs(60);
