//! Fault rules, compiled: after this nothing in them is out of range, and nothing contradicts itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::kind::Kind;
use super::problem::Problem;
use super::settings::{FaultSettings, Scope};
use super::when::When;

mod bounds;
mod conflict;
mod header;
mod kinds;
mod range;
#[cfg(test)]
mod tests;

/// One fault of a route.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, unique in its route; a token, so it can stand in a header or a metric.
    pub name: String,
    /// `ROUTE/NAME`: unique in the plan, and what its draws are made from.
    pub id: String,
    /// What it does.
    pub kind: Kind,
    /// How often.
    pub chance: Chance,
    /// To which requests.
    pub when: When,
    /// Whether it is on from the start.
    pub is_enabled: bool,
    /// It switches itself off after so long. `None`: never.
    pub ttl: Option<Duration>,
    /// At most so many exchanges at once. `None`: any number.
    pub max_active: Option<u32>,
    /// Whether it only counts.
    pub is_dry_run: bool,
    /// Whether it decides before the upstream is called: it answers by itself, and no call is to be paid for.
    pub is_before_upstream: bool,
    /// What it takes.
    pub scope: Scope,
}

/// How often a rule hits.
#[derive(Clone, Debug, PartialEq)]
pub enum Chance {
    /// By a draw of its own. `0 <= probability <= 1`
    Alone(f64),
    /// When its group's draw falls into its slice, `from <= unit < to`. The slices of a group don't overlap.
    Slice {
        /// `ROUTE/GROUP`: what the group's draws are made from.
        group: String,
        /// `0 <= from <= to`
        from: f64,
        /// `to <= 1`
        to: f64,
    },
}

impl Rule {
    /// Makes the rules of a route ready, in their order.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, in their order.
    pub fn compile(route: &str, settings: &[FaultSettings]) -> Result<Vec<Self>, Vec<Problem>> {
        let mut problems = Vec::new();
        let kinds: Vec<_> = settings
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                kinds::the_one(rule)
                    .map_err(|problem| problems.push(problem.of(index)))
                    .ok()
            })
            .collect();
        let names = names(settings, &kinds, &mut problems);
        let slices = slices(settings, &mut problems);
        let mut rules = Vec::with_capacity(settings.len());
        for (index, rule) in settings.iter().enumerate() {
            let mut found = Vec::new();
            range::check_rule(rule, &mut found);
            let when = When::compile(&rule.when, &names[index])
                .map_err(|problems| found.extend(problems))
                .ok();
            if let Some(kind) = &kinds[index] {
                range::check_kind(kind, rule, &mut found);
            }
            problems.extend(found.into_iter().map(|problem| problem.of(index)));
            let (Some(kind), Some(when)) = (&kinds[index], when) else {
                continue;
            };
            let chance = match (&rule.group, slices[index]) {
                (Some(group), Some((from, to))) => Chance::Slice {
                    group: format!("{route}/{group}"),
                    from,
                    to,
                },
                (Some(_) | None, _) => Chance::Alone(rule.probability.unwrap_or(1.0)),
            };
            rules.push(Self {
                id: format!("{route}/{}", names[index]),
                name: names[index].clone(),
                chance,
                when,
                is_enabled: rule.enabled.unwrap_or(true),
                ttl: rule.ttl.map(|ttl| ttl.0),
                max_active: rule.max_active,
                is_dry_run: rule.dry_run,
                is_before_upstream: kind.answers_alone() && !rule.after_upstream,
                scope: rule.scope,
                kind: kind.clone(),
            });
        }
        conflict::check(settings, &kinds, &names, &mut problems);
        if problems.is_empty() {
            Ok(rules)
        } else {
            problems.sort_by_key(|problem| problem.rule);
            Err(problems)
        }
    }
}

/// The names of all rules: their own, or their kinds'.
fn names(
    settings: &[FaultSettings],
    kinds: &[Option<Kind>],
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let mut own: HashMap<&str, usize> = HashMap::new();
    for (index, rule) in settings.iter().enumerate() {
        let Some(name) = &rule.name else { continue };
        if name.len() > MAX_NAME || !crate::route::is_token(name) {
            let what = format!("`{name}` can't be the name of a rule");
            let hint = format!("expected up to {MAX_NAME} letters, digits, `-`, `_` or `.`");
            problems.push(Problem::at(&["name"], what).hint(hint).of(index));
        }
        if let Some(first) = own.insert(name, index) {
            let what = format!("two rules of this route have the name `{name}`");
            problems.push(Problem::at(&["name"], what).of(index).with(first));
        }
    }
    let mut taken: HashSet<String> = own.keys().map(|&name| name.to_owned()).collect();
    let named = settings.iter().zip(kinds).map(|(rule, kind)| {
        if let Some(name) = &rule.name {
            return name.clone();
        }
        let kind = kind.as_ref().map_or("rule", Kind::word);
        let candidates = (2..=u32::MAX).map(|number| format!("{kind}-{number}"));
        let free = std::iter::once(kind.to_owned())
            .chain(candidates)
            .find(|name| !taken.contains(name))
            .unwrap_or_default();
        taken.insert(free.clone());
        free
    });
    named.collect()
}

/// The slice of each rule that has a group, laid out one after the other in the order of the file.
fn slices(settings: &[FaultSettings], problems: &mut Vec<Problem>) -> Vec<Option<(f64, f64)>> {
    let mut ends: HashMap<&str, f64> = HashMap::new();
    for (index, rule) in settings.iter().enumerate() {
        let (Some(group), Some(weight)) = (&rule.group, rule.weight) else {
            continue;
        };
        let end = ends.entry(group).or_default();
        let before = *end;
        *end += weight.clamp(0.0, 1.0);
        if *end > 1.0 + ROUNDING && before <= 1.0 + ROUNDING {
            let what =
                format!("with this rule the weights of the group `{group}` make more than 1");
            let hint = "a group shares one draw, so its weights make 1 at most";
            problems.push(Problem::at(&["weight"], what).hint(hint).of(index));
        }
    }
    let mut starts: HashMap<&str, f64> = HashMap::new();
    let mut slices = Vec::with_capacity(settings.len());
    for rule in settings {
        let (Some(group), Some(weight)) = (&rule.group, rule.weight) else {
            slices.push(None);
            continue;
        };
        let end = starts.entry(group).or_default();
        let from = *end;
        *end += weight.clamp(0.0, 1.0);
        // Ten times a tenth is a little less than 1 in floats; who writes that means that something always hits.
        let total = ends.get(&**group).copied().unwrap_or(1.0);
        let scale = if (total - 1.0).abs() <= ROUNDING {
            total
        } else {
            1.0
        };
        slices.push(Some((from / scale, *end / scale)));
    }
    slices
}

/// In characters: names are labels of metrics.
const MAX_NAME: usize = 64;

/// What sums of floats may be off.
const ROUNDING: f64 = 1e-9;
