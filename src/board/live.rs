//! One rule as it is now: its switch, its counts, and the exchanges in which it is at work.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::timing::{Timing, TimingSummary};
use crate::fault::bucket::{self, Charge, RateLimiter, RateLimits};

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
    pub(super) tallies: [AtomicU64; Verdict::ALL.len()],
    pub(super) timing: Timing,
    limiter: Mutex<Option<(RateLimits, RateLimiter)>>,
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

impl Live {
    pub(super) fn new(name: Name) -> Self {
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

    /// What it wanted at one moment was done at another.
    pub fn timed(&self, intended: Instant, kept: Instant) {
        let late = kept.saturating_duration_since(intended).as_micros();
        let early = intended.saturating_duration_since(kept).as_micros();
        let error =
            i64::try_from(late).unwrap_or(i64::MAX) - i64::try_from(early).unwrap_or(i64::MAX);
        self.timing.note(error);
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
            is_lifted: false,
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

    pub(super) fn standing(&self, now: Instant, is_killed: bool) -> Standing {
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
            counts: self.counts().collect(),
            timing: self.timing.summary(),
        }
    }

    /// What was counted, in the order of [`Verdict::ALL`].
    pub(super) fn counts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL
            .iter()
            .zip(&self.tallies)
            .map(|(verdict, count)| (*verdict, count.load(Ordering::Relaxed)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rule that counts as active while this is there, and its fault has not ended.
#[derive(Debug)]
pub struct Held {
    pub(super) live: Arc<Live>,
    is_active: bool,
    /// Whether its exchange knows that it was switched off.
    pub(super) is_lifted: bool,
}

impl Held {
    pub(super) fn release(&mut self) {
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

/// Whether a rule is on, and how long.
#[derive(Debug)]
pub(super) struct Switch {
    /// The kind of fault, in the words of the config.
    pub(super) kind: &'static str,
    /// What the config says.
    pub(super) configured: bool,
    /// What somebody said since.
    pub(super) forced: Option<bool>,
    /// Since when it is as it is.
    pub(super) since: Instant,
    /// The dead man's switch of the config.
    pub(super) ttl: Option<Duration>,
    /// When somebody wants it to end.
    pub(super) until: Option<Instant>,
}

impl Switch {
    pub(super) fn end(&self) -> Option<Instant> {
        self.until.or_else(|| self.ttl.map(|ttl| self.since + ttl))
    }

    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.forced.unwrap_or(self.configured) && self.end().is_none_or(|end| now < end)
    }
}

/// How many clients of a rate limit are known; one that was not seen for longest begins anew.
const LIMITED_CLIENTS_MAX: usize = 10_000;
