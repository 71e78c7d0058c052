//! Which rules hit a request. One draw for each rule, or one for a group of them; nothing is rolled twice.
//!
//! Three steps, so that what is shared is touched only in the middle one, and for a moment: [`addressed`] asks the
//! conditions, [`Counts`] counts for the rules that were addressed, [`pick`] draws.

use super::counts::Counts;
use super::rule::{Chance, Rule};
use super::when::{Asked, Occurrence};
use crate::dice::{Draw, DrawKey, draw};

/// What came of one rule for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is switched off.
    Off,
    /// It is not addressed to this request.
    NotAddressed,
    /// It was drawn and missed.
    Missed(Draw),
    /// It was drawn and hits.
    Hit(Draw),
    /// It was drawn and would hit, if it were not a dry run.
    DryRun(Draw),
}

/// A rule that hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its place among the rules of the route.
    pub rule: usize,
    /// What decided it, and what everything that follows comes from.
    pub draw: Draw,
}

/// What came of all rules for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// Of each rule, in their order.
    pub verdicts: Vec<Verdict>,
}

impl Picked {
    /// The rules that hit, in their order.
    pub fn hits(&self) -> impl Iterator<Item = Hit> {
        self.verdicts
            .iter()
            .enumerate()
            .filter_map(|(rule, verdict)| match verdict {
                Verdict::Hit(draw) => Some(Hit { rule, draw: *draw }),
                Verdict::Off | Verdict::NotAddressed | Verdict::Missed(_) | Verdict::DryRun(_) => {
                    None
                }
            })
    }
}

/// How far each rule is concerned by a request, before any count and any draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// It is switched off.
    Off,
    /// It is not addressed to this request.
    None,
    /// It is addressed to it, and has nothing to count.
    Addressed,
    /// It is addressed to it, and counts it.
    Counts,
}

/// Asks the conditions of each rule. `is_on` says whether a rule is switched on now, by its place.
pub fn addressed(rules: &[Rule], is_on: impl Fn(usize) -> bool, asked: &Asked<'_>) -> Vec<Concern> {
    let concern = |(index, rule): (usize, &Rule)| {
        if !is_on(index) {
            Concern::Off
        } else if !rule.when.addresses(asked) {
            Concern::None
        } else if rule.when.counts() {
            Concern::Counts
        } else {
            Concern::Addressed
        }
    };
    rules.iter().enumerate().map(concern).collect()
}

/// Counts the request for the rules that count it. What it gives is for [`pick`].
pub fn count(
    rules: &[Rule],
    concerns: &[Concern],
    client: &str,
    counts: &mut Counts,
) -> Vec<Option<Occurrence>> {
    let count = |(rule, concern): (&Rule, &Concern)| match concern {
        Concern::Counts => Some(counts.next(&rule.id, client)),
        Concern::Off | Concern::None | Concern::Addressed => None,
    };
    rules.iter().zip(concerns).map(count).collect()
}

/// Counts the request for each draw that it takes part in, and says how often its key came before to each rule; rules of
/// a group share one draw, so one count too. What it gives is for [`pick`].
pub fn attempts(
    rules: &[Rule],
    concerns: &[Concern],
    key: DrawKey,
    counts: &mut Counts,
) -> Vec<u64> {
    let mut groups: Vec<(&str, u64)> = Vec::new();
    let mut attempts = Vec::with_capacity(rules.len());
    for (rule, concern) in rules.iter().zip(concerns) {
        let group = match &rule.chance {
            Chance::Slice { group, .. } => Some(group.as_str()),
            Chance::Alone(_) => None,
        };
        let counted = groups.iter().find(|(known, _)| Some(*known) == group);
        attempts.push(match (concern, counted) {
            (Concern::Off | Concern::None, _) => 0,
            (Concern::Addressed | Concern::Counts, Some((_, attempt))) => *attempt,
            (Concern::Addressed | Concern::Counts, None) => {
                let attempt = counts.attempt(&drawn_as(&rule.id, &rule.chance), key);
                groups.extend(group.map(|group| (group, attempt)));
                attempt
            }
        });
    }
    attempts
}

/// Draws for each rule that a request concerns.
///
/// `concerns`, `occurrences` and `attempts` are what [`addressed`], [`count`] and [`attempts`](fn@attempts) gave for the same
/// rules.
pub fn pick(
    seed: u64,
    rules: &[Rule],
    concerns: &[Concern],
    occurrences: &[Option<Occurrence>],
    elapsed: std::time::Duration,
    key: &DrawKey,
    attempts: &[u64],
) -> Picked {
    let verdict = |(index, rule): (usize, &Rule)| {
        match concerns.get(index) {
            Some(Concern::Off) => return Verdict::Off,
            Some(Concern::None) | None => return Verdict::NotAddressed,
            Some(Concern::Addressed) => {}
            Some(Concern::Counts) => {
                let occurrence = occurrences.get(index).copied().flatten();
                if !occurrence.is_some_and(|occurrence| rule.when.counted(occurrence)) {
                    return Verdict::NotAddressed;
                }
            }
        }
        let attempt = attempts.get(index).copied().unwrap_or_default();
        let (draw, is_hit) = decide(seed, rule, rule.when.ramp(elapsed), key, attempt);
        if !is_hit {
            Verdict::Missed(draw)
        } else if rule.is_dry_run {
            Verdict::DryRun(draw)
        } else {
            Verdict::Hit(draw)
        }
    };
    Picked {
        verdicts: rules.iter().enumerate().map(verdict).collect(),
    }
}

/// The name under which a rule with this id is drawn: `rule ROUTE/NAME`, or `group ROUTE/GROUP`.
pub fn drawn_as(id: &str, chance: &Chance) -> String {
    match chance {
        Chance::Alone(_) => format!("rule {id}"),
        Chance::Slice { group, .. } => format!("group {group}"),
    }
}

/// The draw of a rule, and whether it hits. Rules of a group compute the same draw, and their slices don't overlap; a
/// slice shrinks with its ramp, and those of rules that are not concerned stay empty, so nobody's share changes.
fn decide(seed: u64, rule: &Rule, ramp: f64, key: &DrawKey, attempt: u64) -> (Draw, bool) {
    let draw = draw(seed, &drawn_as(&rule.id, &rule.chance), key, attempt);
    match &rule.chance {
        Chance::Alone(probability) => (draw, draw.unit() < probability * ramp),
        Chance::Slice { from, to, .. } => {
            let to = if ramp < 1.0 {
                from + (to - from) * ramp
            } else {
                *to
            };
            (draw, *from <= draw.unit() && draw.unit() < to)
        }
    }
}

#[cfg(test)]
mod tests;
