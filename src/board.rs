//! The live side of faults: what is switched on, for how long, how often each rule hit, and how well times were kept.
//!
//! Keyed by route and rule, so that it survives a swap of the plan. Running exchanges watch it: a fault that is switched off
//! ends in streams that run already.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

use crate::dice::Draw;
use crate::fault::counts::Counts;

pub use injection::Injection;
pub use legacy::{Inherited, Legacy, RuleLegacy};
pub use live::{Configured, Held, Live, Name, Standing, Verdict};
pub use timing::{Timing, TimingSummary};
pub use watch::Watch;

mod timing;

mod live;

mod injection;
mod legacy;
mod watch;

/// All fault rules, as they are now.
#[derive(Debug)]
pub struct Board {
    rules: Mutex<BTreeMap<Name, Arc<Live>>>,
    turned: Sender<u64>,
    is_killed: AtomicBool,
    injected: Mutex<VecDeque<Injection>>,
    counts: Mutex<Counts>,
    since: Instant,
}

impl Board {
    /// Without rules.
    pub fn new() -> Self {
        Self {
            rules: Mutex::default(),
            turned: Sender::new(0),
            is_killed: AtomicBool::new(false),
            injected: Mutex::default(),
            counts: Mutex::default(),
            since: Instant::now(),
        }
    }

    /// How long the board, and with it the proxy, has been there.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Makes the rules of a plan known. What was switched by hand stays so, what was counted stays counted; rules that are gone
    /// are forgotten.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = Configured>) {
        // Held throughout, so that nobody finds a rule gone that stays.
        let mut known = self.lock();
        let mut old = std::mem::take(&mut *known);
        let mut new = BTreeMap::new();
        for rule in rules {
            let live = old
                .remove(&rule.name)
                .unwrap_or_else(|| Arc::new(Live::new(rule.name.clone())));
            let mut switch = live.lock();
            switch.kind = rule.kind;
            switch.configured = rule.is_on;
            switch.ttl = rule.ttl;
            drop(switch);
            new.insert(rule.name, live);
        }
        *known = new;
        drop(known);
        self.turn();
    }

    /// The rules of a route, in the order of these names.
    pub fn lives<'a>(&self, route: &str, rules: impl Iterator<Item = &'a str>) -> Vec<Arc<Live>> {
        let known = self.lock();
        rules
            .filter_map(|rule| {
                known
                    .get(&Name {
                        route: route.to_owned(),
                        rule: rule.to_owned(),
                    })
                    .cloned()
            })
            .collect()
    }

    /// How often rules were addressed, and keys drawn for.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rules.
    pub fn standings(&self) -> Vec<Standing> {
        let now = Instant::now();
        let is_killed = self.is_killed();
        self.lock()
            .values()
            .map(|live| live.standing(now, is_killed))
            .collect()
    }

    /// Switches a rule, for a time if one is given. `false` if there is none of this name.
    pub fn switch(&self, name: &Name, is_on: bool, time: Option<Duration>) -> bool {
        let Some(live) = self.lock().get(name).cloned() else {
            return false;
        };
        let mut switch = live.lock();
        switch.forced = Some(is_on);
        switch.since = Instant::now();
        switch.until = time.map(|time| switch.since + time);
        drop(switch);
        self.turn();
        true
    }

    /// Lets a rule that is on end after this time, whatever was said before of its end. Where all faults are ended, its time
    /// passes all the same.
    ///
    /// # Errors
    /// If there is no rule of this name, or it is off: there is nothing to end, and nothing is switched on.
    pub fn set_ttl(&self, name: &Name, time: Duration) -> Result<(), NotSet> {
        let live = self.lock().get(name).cloned().ok_or(NotSet::NoRule)?;
        let now = Instant::now();
        let mut switch = live.lock();
        if !switch.is_on(now) {
            return Err(NotSet::Off);
        }
        switch.until = Some(now + time);
        drop(switch);
        self.turn();
        Ok(())
    }

    /// Ends all faults at once, those in running streams too, or allows them again.
    pub fn kill(&self, is_killed: bool) {
        self.is_killed.store(is_killed, Ordering::Relaxed);
        self.turn();
    }

    /// Whether the kill switch is thrown.
    pub fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Relaxed)
    }

    /// Keeps what is needed to explain a fault later. The oldest of 10,000 goes first.
    pub fn note(&self, injection: Injection) {
        let mut injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
        if injected.len() >= INJECTIONS_MAX {
            injected.pop_front();
        }
        injected.push_back(injection);
    }

    /// The faults with this id, the last one first; a draw that is made again has the id of the first.
    pub fn explain(&self, id: &str) -> Option<Injection> {
        let draw: Draw = id.parse().ok()?;
        let injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
        injected
            .iter()
            .rev()
            .find(|injection| injection.draw == draw)
            .cloned()
    }

    /// Watches the rules of one exchange.
    pub fn watch(self: &Arc<Self>, held: Vec<Held>) -> Watch {
        Watch::new(Arc::clone(self), held)
    }

    /// Changes whenever a switch is thrown.
    pub fn turns(&self) -> Receiver<u64> {
        self.turned.subscribe()
    }

    fn turn(&self) {
        self.turned
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<Live>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a rule got no time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSet {
    /// Nobody knows it.
    #[error("there is no such rule")]
    NoRule,
    /// It is off.
    #[error("the rule is off")]
    Off,
}

/// How many faults are kept to be explained.
const INJECTIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
