//! What a board leaves to the process that takes its place: whether all faults are ended, what was switched by hand, which
//! times run, and what was counted.
//!
//! Moments become times that have passed or are left, as one process's clock means nothing to another. It is read by older and by
//! newer versions: what a reader does not know it skips, and what it misses was not said.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::live::{Live, Name, Switch, Verdict};
use super::{Board, TimingSummary};

/// How the faults of a process stand, for its successor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Legacy {
    /// Whether the kill switch is thrown.
    pub killed: bool,
    /// All rules that there are.
    #[serde(default)]
    pub rules: Vec<RuleLegacy>,
}

/// How one rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RuleLegacy {
    /// Of the route, or `listen`.
    route: String,
    rule: String,
    /// What somebody said, where that is not what the config says.
    #[serde(default)]
    switched: Option<bool>,
    /// For how long it has been as it is, in µs: the config's time to live counts from there.
    #[serde(default)]
    since_us: u64,
    /// How long it stays so if somebody set a time, in µs. 0: that time is over.
    #[serde(default)]
    left_us: Option<u64>,
    /// By the word of the verdict.
    #[serde(default)]
    counts: BTreeMap<String, u64>,
    #[serde(default)]
    timing: Timing,
}

/// Achieved minus intended times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Timing {
    sum_us: i64,
    /// For each bound in µs, how many were at most that, and above the one before. Without those that are 0.
    buckets: Vec<(i64, u64)>,
}

/// What was made of a legacy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Whether all faults are ended now.
    pub killed: bool,
    /// Rules that go on as they were: in how many words each.
    pub taken: Vec<String>,
    /// Rules that were switched by hand, or had a time to live that somebody set, and that are no more: the same.
    pub gone: Vec<String>,
    /// How many rules go on counting.
    pub counted: usize,
}

impl Board {
    /// How it stands now, for a successor.
    pub fn legacy(&self) -> Legacy {
        let now = Instant::now();
        Legacy {
            killed: self.is_killed(),
            rules: self.lock().values().map(|live| live.legacy(now)).collect(),
        }
    }

    /// Goes on where another board was. What the rules of that one counted is added; a rule that is not known here is left out.
    pub fn inherit(&self, legacy: &Legacy) -> Inherited {
        let now = Instant::now();
        let mut inherited = Inherited {
            killed: legacy.killed,
            ..Inherited::default()
        };
        let known = self.lock();
        for rule in &legacy.rules {
            let name = Name {
                route: rule.route.clone(),
                rule: rule.rule.clone(),
            };
            if let Some(live) = known.get(&name) {
                inherited.counted += 1;
                live.inherit(rule, now);
                inherited.taken.extend(rule.words());
            } else if rule.is_touched() {
                inherited.gone.extend(rule.words());
            }
        }
        drop(known);
        if legacy.killed {
            self.kill(true);
        } else {
            self.turn();
        }
        inherited
    }
}

impl Live {
    fn legacy(&self, now: Instant) -> RuleLegacy {
        let switch = self.lock();
        let summary = self.timing.summary();
        RuleLegacy {
            route: self.name.route.clone(),
            rule: self.name.rule.clone(),
            switched: switch.forced,
            since_us: micros(now.saturating_duration_since(switch.since)),
            left_us: switch
                .until
                .map(|until| micros(until.saturating_duration_since(now))),
            counts: self
                .counts()
                .map(|(verdict, count)| (verdict.as_str().to_owned(), count))
                .collect(),
            timing: Timing::of(&summary),
        }
    }

    fn inherit(&self, rule: &RuleLegacy, now: Instant) {
        let mut switch = self.lock();
        let Switch {
            forced,
            since,
            until,
            ..
        } = &mut *switch;
        *forced = rule.switched;
        // Older than the machine is nothing.
        *since = now
            .checked_sub(Duration::from_micros(rule.since_us))
            .unwrap_or(now);
        *until = rule
            .left_us
            .and_then(|left| now.checked_add(Duration::from_micros(left)));
        drop(switch);
        for (verdict, count) in Verdict::ALL.iter().zip(&self.tallies) {
            let before = rule.counts.get(verdict.as_str());
            count.fetch_add(before.copied().unwrap_or_default(), Ordering::Relaxed);
        }
        self.timing.add(rule.timing.sum_us, &rule.timing.buckets);
    }
}

impl RuleLegacy {
    /// Whether somebody changed it by hand.
    fn is_touched(&self) -> bool {
        self.switched.is_some() || self.left_us.is_some()
    }

    /// `chat/slow off`, `chat/slow on for 5s`; `None` for one that nobody touched.
    fn words(&self) -> Option<String> {
        let Self { route, rule, .. } = self;
        let time = self.left_us.map(Duration::from_micros);
        let state = match (self.switched, time) {
            (None, None) => return None,
            (Some(false), _) => "off".to_owned(),
            (Some(true) | None, Some(Duration::ZERO)) => "ended by its time to live".to_owned(),
            (Some(true), None) => "on".to_owned(),
            (Some(true), Some(time)) => format!("on for {}s", time.as_secs_f64().ceil()),
            (None, Some(time)) => format!("as configured for {}s", time.as_secs_f64().ceil()),
        };
        Some(format!("{route}/{rule} {state}"))
    }
}

impl Timing {
    fn of(summary: &TimingSummary) -> Self {
        let filled = summary.buckets.iter().filter(|(_, count)| *count > 0);
        Self {
            sum_us: summary.sum_us,
            buckets: filled.copied().collect(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
