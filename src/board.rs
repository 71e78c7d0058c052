//! The live side of faults: what is switched on, for how long, how often each rule hit, and how well times were kept.
//!
//! Keyed by route and rule, so that it survives a swap of the plan. Running exchanges watch it: a fault that is switched off
//! ends in streams that run already.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::dice::{Draw, DrawKey, draw};
use crate::fault::bucket::{self, Charge, RateLimiter, RateLimits};
use crate::fault::counts::Counts;

pub use timing::{Timing, TimingSummary};

mod timing;

/// All fault rules, as they are now.
#[derive(Debug)]
pub struct Board {
    rules: Mutex<BTreeMap<Name, Arc<Live>>>,
    turned: watch::Sender<u64>,
    is_killed: AtomicBool,
    injected: Mutex<VecDeque<Injection>>,
    counts: Mutex<Counts>,
    since: Instant,
}

/// A rule, by its route and its own name. Names of routes are unique, and so are those of rules within one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The route's; `listen` for what comes before routing.
    pub route: String,
    /// The rule's.
    pub rule: String,
}

/// What a plan says of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Which one.
    pub name: Name,
    /// The kind of fault, in the words of the config.
    pub kind: &'static str,
    /// Whether it is on from the start.
    pub is_on: bool,
    /// After how long it switches itself off. `None`: never.
    pub ttl: Option<Duration>,
}

/// One rule, live.
#[derive(Debug)]
pub struct Live {
    /// Which one.
    pub name: Name,
    switch: Mutex<Switch>,
    active: AtomicUsize,
    tallies: [AtomicU64; Verdict::ALL.len()],
    timing: Timing,
    limiter: Mutex<Option<(RateLimits, RateLimiter)>>,
}

#[derive(Debug)]
struct Switch {
    /// The kind of fault, in the words of the config.
    kind: &'static str,
    /// What the config says.
    configured: bool,
    /// What somebody said since.
    forced: Option<bool>,
    /// Since when it is as it is.
    since: Instant,
    /// The dead man's switch of the config.
    ttl: Option<Duration>,
    /// When somebody wants it to end.
    until: Option<Instant>,
}

impl Switch {
    fn end(&self) -> Option<Instant> {
        self.until.or_else(|| self.ttl.map(|ttl| self.since + ttl))
    }

    fn is_on(&self, now: Instant) -> bool {
        self.forced.unwrap_or(self.configured) && self.end().is_none_or(|end| now < end)
    }
}

/// What is counted of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was asked, as the exchange is one of those that it means.
    Drawn,
    /// The client saw it.
    Injected,
    /// It hit, and its place in the answer never came.
    NotApplicable,
    /// It hit, and the client left or it was switched off before its place came.
    Prevented,
    /// It hit, and there were as many at once as are allowed.
    OverCap,
    /// It would have hit, but only counts.
    DryRun,
}

impl Verdict {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::Drawn,
        Self::Injected,
        Self::NotApplicable,
        Self::Prevented,
        Self::OverCap,
        Self::DryRun,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Injected => "injected",
            Self::NotApplicable => "not_applicable",
            Self::Prevented => "prevented",
            Self::OverCap => "over_cap",
            Self::DryRun => "dry_run",
        }
    }
}

/// A fault that was armed, as it can be explained later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// What the header of the answer and the log name it by.
    pub id: String,
    /// Which rule.
    pub name: Name,
    /// The kind of fault, in the words of the config.
    pub kind: String,
    /// The seed of the config.
    pub seed: u64,
    /// What the draw was made for: method, path, client and the like, without a secret.
    pub key: String,
    /// The name under which it was drawn: that of the rule, or of its group.
    pub drawn_as: String,
    /// The key as the draw takes it.
    pub key_hash: DrawKey,
    /// Which occurrence of that key it was, from 0 on.
    pub attempt: u64,
    /// What was drawn, from 0 to 1.
    pub drawn: String,
    /// Against which it was held, from 0 to 1.
    pub probability: String,
}

impl Injection {
    /// The draw, made again from what it was made from.
    pub fn draw_again(&self) -> Draw {
        draw(self.seed, &self.drawn_as, &self.key_hash, self.attempt)
    }
}

/// How a rule stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which one.
    pub name: Name,
    /// The kind of fault, in the words of the config.
    pub kind: &'static str,
    /// Whether it hits now.
    pub is_on: bool,
    /// How long it stays on.
    pub left: Option<Duration>,
    /// How many exchanges it is at work in.
    pub active: usize,
    /// What was counted, in the order of [`Verdict::ALL`].
    pub counts: Vec<(Verdict, u64)>,
    /// How well times were kept.
    pub timing: TimingSummary,
}

impl Board {
    /// Without rules.
    pub fn new() -> Self {
        Self {
            rules: Mutex::default(),
            turned: watch::Sender::new(0),
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

    /// Lets a rule end after this time, whatever it was before. `false` if there is none of this name.
    pub fn set_ttl(&self, name: &Name, time: Duration) -> bool {
        let Some(live) = self.lock().get(name).cloned() else {
            return false;
        };
        live.lock().until = Some(Instant::now() + time);
        self.turn();
        true
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
        let injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
        injected
            .iter()
            .rev()
            .find(|injection| injection.id == id)
            .cloned()
    }

    /// Watches the rules of one exchange.
    pub fn watch(self: &Arc<Self>, held: Vec<Held>) -> Watch {
        Watch {
            turned: self.turned.subscribe(),
            board: Arc::clone(self),
            held,
        }
    }

    /// Changes whenever a switch is thrown.
    pub fn turns(&self) -> watch::Receiver<u64> {
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

impl Live {
    fn new(name: Name) -> Self {
        Self {
            name,
            switch: Mutex::new(Switch {
                kind: "",
                configured: true,
                forced: None,
                since: Instant::now(),
                ttl: None,
                until: None,
            }),
            active: AtomicUsize::new(0),
            tallies: Default::default(),
            timing: Timing::default(),
            limiter: Mutex::default(),
        }
    }

    /// Whether it hits now, the kill switch aside.
    pub fn is_on(&self) -> bool {
        self.lock().is_on(Instant::now())
    }

    /// Counts.
    pub fn count(&self, verdict: Verdict) {
        let at = Verdict::ALL
            .iter()
            .position(|one| *one == verdict)
            .unwrap_or_default();
        self.tallies[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more exchange in which it is at work. `None` if there are as many as allowed.
    pub fn enter(self: &Arc<Self>, most: Option<u32>) -> Option<Held> {
        let most = most.map_or(usize::MAX, |most| most as usize);
        self.active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < most).then_some(active + 1)
            })
            .ok()?;
        Some(Held {
            live: Arc::clone(self),
            is_active: true,
        })
    }

    /// Asks the rate limit of this rule; one with other limits than before begins with all of them.
    pub fn ask(
        &self,
        limits: RateLimits,
        client: &str,
        tokens: u64,
        now: Duration,
    ) -> bucket::Verdict {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, buckets) =
            limiter.get_or_insert_with(|| (limits, RateLimiter::new(limits, LIMITED_CLIENTS_MAX)));
        if *known != limits {
            (*known, *buckets) = (limits, RateLimiter::new(limits, LIMITED_CLIENTS_MAX));
        }
        buckets.ask(client, tokens, now)
    }

    /// Puts what a request used in the place of what it was charged.
    pub fn settle(&self, charge: Charge, used: u64, now: Duration) {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, buckets)) = limiter.as_mut() {
            buckets.settle(charge, used, now);
        }
    }

    /// In how many exchanges it is at work.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn standing(&self, now: Instant, is_killed: bool) -> Standing {
        let switch = self.lock();
        let is_on = switch.is_on(now) && !is_killed;
        Standing {
            name: self.name.clone(),
            kind: switch.kind,
            is_on,
            left: switch
                .end()
                .filter(|_| is_on)
                .map(|end| end.saturating_duration_since(now)),
            active: self.active(),
            counts: Verdict::ALL
                .iter()
                .zip(&self.tallies)
                .map(|(verdict, count)| (*verdict, count.load(Ordering::Relaxed)))
                .collect(),
            timing: self.timing.summary(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules at work in one exchange. Dropping it ends their being active.
#[derive(Debug)]
pub struct Watch {
    turned: watch::Receiver<u64>,
    board: Arc<Board>,
    held: Vec<Held>,
}

/// A rule that counts as active while this is there, and its fault has not ended.
#[derive(Debug)]
pub struct Held {
    live: Arc<Live>,
    is_active: bool,
}

impl Held {
    fn release(&mut self) {
        if std::mem::take(&mut self.is_active) {
            self.live.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl Watch {
    /// Resolves when a switch was thrown, or a time to live is over. Cancel-safe.
    pub async fn turned(&mut self) {
        let end = self
            .held
            .iter()
            .filter_map(|held| held.live.lock().end())
            .filter(|end| *end > Instant::now())
            .min();
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.turned.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            () = over => {}
        }
    }

    /// The faults that are switched off now, as places in the list that was watched.
    pub fn lifted(&self) -> Vec<usize> {
        let (now, is_killed) = (Instant::now(), self.board.is_killed());
        let is_lifted = |held: &Held| is_killed || !held.live.lock().is_on(now);
        self.held
            .iter()
            .enumerate()
            .filter(|(_, held)| is_lifted(held))
            .map(|(fault, _)| fault)
            .collect()
    }

    /// The fault has ended, though the exchange may go on: it is not active any more.
    pub fn release(&mut self, fault: usize) {
        if let Some(held) = self.held.get_mut(fault) {
            held.release();
        }
    }

    /// Something that a fault wanted at one moment was done at another.
    pub fn timed(&self, fault: usize, late: TimeError) {
        if let Some(held) = self.held.get(fault) {
            held.live.timing.note(late);
        }
    }

    /// Counts for a fault.
    pub fn count(&self, fault: usize, verdict: Verdict) {
        if let Some(held) = self.held.get(fault) {
            held.live.count(verdict);
        }
    }
}

/// Achieved minus intended, in µs.
pub type TimeError = i64;

/// How many clients of a rate limit are known; one that was not seen for longest begins anew.
const LIMITED_CLIENTS_MAX: usize = 10_000;

/// How many faults are kept to be explained.
const INJECTIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
