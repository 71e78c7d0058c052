//! Rules of one route that can't both happen.

use crate::fault::kind::Kind;
use crate::fault::problem::Problem;
use crate::fault::settings::FaultSettings;
use crate::fault::when::Protocol;

/// Adds the rules that another one of the route always comes before.
pub(super) fn check(
    settings: &[FaultSettings],
    kinds: &[Option<Kind>],
    names: &[String],
    problems: &mut Vec<Problem>,
) {
    let enders: Vec<_> = (0..settings.len())
        .filter(|&index| is_certain(&settings[index]))
        .filter_map(|index| Some((index, kinds[index].as_ref()?.ends()?)))
        .collect();
    for (index, rule) in settings.iter().enumerate() {
        let Some(kind) = &kinds[index] else {
            continue;
        };
        let Some(begin) = kind.begins() else {
            continue;
        };
        let ender = enders.iter().find(|(ender, end)| {
            *ender != index
                && begin.is_after(end)
                && covers(&settings[*ender], rule)
                && kinds[*ender]
                    .as_ref()
                    .is_some_and(|by| is_wherever(by, kind))
        });
        if let Some((ender, end)) = ender {
            let (name, by) = (&names[index], &names[*ender]);
            let key = kind.word();
            let verb = match key {
                "cut" => "ends the answer",
                "stall" => "starts",
                _ => "happens",
            };
            let what = format!(
                "fault `{name}` {verb} {begin}, but fault `{by}` ends the answer {end}, so it never happens"
            );
            problems.push(Problem::at(&[key], what).of(index).with(*ender));
        }
    }
}

/// Whether it hits whatever it is addressed to.
fn is_certain(rule: &FaultSettings) -> bool {
    rule.enabled.unwrap_or(true)
        && rule.group.is_none()
        && rule
            .probability
            .is_none_or(|probability| probability >= 1.0)
        && !rule.dry_run
        && rule.ttl.is_none()
        && rule.max_active.is_none()
}

/// Whether one kind can be done on each protocol on which the other one can.
fn is_wherever(kind: &Kind, other: &Kind) -> bool {
    [Protocol::Http1, Protocol::Http2]
        .into_iter()
        .filter(|protocol| other.impossible_on(*protocol).is_none())
        .all(|protocol| kind.impossible_on(protocol).is_none())
}

/// Whether it is surely addressed to every request that the other one is addressed to.
fn covers(rule: &FaultSettings, other: &FaultSettings) -> bool {
    // Rules that wait to be named are named one by one.
    rule.when.header.is_none()
        && (rule.when == crate::fault::when::WhenSettings::default() || rule.when == other.when)
}
