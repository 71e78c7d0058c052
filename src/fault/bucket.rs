//! Rate limits: how much each client has left, refilled without steps. Pure: `now` comes as a value.

use std::time::Duration;

use crate::dialect::limits::{Standing, Standings};
use crate::lru::Lru;

/// Limits of requests and tokens in a window of time, for each client on its own or for all together.
///
/// Exact: what is there is counted in parts of a token so small that no refill is rounded.
#[derive(Debug)]
pub struct RateLimiter {
    limits: RateLimits,
    /// Bounded; a client that was not seen for longest is forgotten, and begins with everything again.
    clients: Lru<String, Buckets>,
}

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests in the window; as many may come at once. `None`: not limited.
    pub requests: Option<u64>,
    /// Tokens in the window, both ways together.
    pub tokens: Option<u64>,
    /// The window, in which an empty bucket becomes full. `per > 0`
    pub per: Duration,
    /// Whether all clients share it.
    pub is_shared: bool,
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass, and was charged.
    Allowed {
        /// How the limits stand after it.
        standings: Standings,
        /// What it was charged, to be settled when its usage is known.
        charge: Charge,
    },
    /// It may not, and was not charged.
    Refused {
        /// The limit that it hit; the one that takes longer where it hit both.
        limit: Limit,
        /// How long until it could pass. `None`: never, it is larger than the limit.
        retry_after: Option<Duration>,
        /// How the limits stand.
        standings: Standings,
    },
}

/// Which limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of requests.
    Requests,
    /// Of tokens.
    Tokens,
}

/// What a request was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    client: String,
    tokens: u64,
}

#[derive(Clone, Copy, Debug)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// What is there, in parts of which `per` in nanoseconds make one, so that a nanosecond brings `limit` parts.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    limit: u64,
    /// Below zero where an answer used more than was thought. `parts <= limit * per`
    parts: i128,
    at: Duration,
}

impl RateLimiter {
    /// With room for so many clients.
    pub fn new(limits: RateLimits, max_clients: usize) -> Self {
        Self {
            limits,
            clients: Lru::new(max_clients.max(1), usize::MAX),
        }
    }

    /// A request of a client that is estimated at so many tokens. `now` counts from any moment and never goes back.
    pub fn ask(&mut self, client: &str, tokens: u64, now: Duration) -> Verdict {
        let per = self.per();
        let client = if self.limits.is_shared { "" } else { client };
        let mut buckets = self.buckets(client, now);
        let wait = |bucket: &mut Option<Bucket>, count, limit| {
            let bucket = bucket.as_mut()?;
            bucket.refill(per, now);
            bucket.wait(per, count).map(|wait| (wait, limit))
        };
        let requests = wait(&mut buckets.requests, 1, Limit::Requests);
        let tokens_wait = wait(&mut buckets.tokens, tokens, Limit::Tokens);
        // Never comes after every time.
        let refused = requests
            .into_iter()
            .chain(tokens_wait)
            .max_by_key(|(wait, _)| wait.unwrap_or(Duration::MAX));
        let verdict = if let Some((retry_after, limit)) = refused {
            Verdict::Refused {
                limit,
                retry_after,
                standings: buckets.standings(per),
            }
        } else {
            if let Some(bucket) = &mut buckets.requests {
                bucket.take(per, 1);
            }
            if let Some(bucket) = &mut buckets.tokens {
                bucket.take(per, tokens);
            }
            Verdict::Allowed {
                standings: buckets.standings(per),
                charge: Charge {
                    client: client.to_owned(),
                    tokens,
                },
            }
        };
        self.clients.insert(client.to_owned(), buckets, 0);
        verdict
    }

    /// Puts the tokens that were used in the place of those that were charged. An answer whose usage is not known is not
    /// settled: its estimate stays.
    pub fn settle(&mut self, charge: Charge, used: u64, now: Duration) {
        let per = self.per();
        let Some(mut buckets) = self.clients.remove(&charge.client) else {
            return;
        };
        if let Some(bucket) = &mut buckets.tokens {
            bucket.refill(per, now);
            bucket.give(per, charge.tokens);
            bucket.take(per, used);
            bucket.bound(per);
        }
        self.clients.insert(charge.client, buckets, 0);
    }

    /// How many clients are known.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn buckets(&mut self, client: &str, now: Duration) -> Buckets {
        let per = self.per();
        let full = |limit: u64| Bucket {
            limit,
            parts: parts(limit, per),
            at: now,
        };
        self.clients
            .remove(&client.to_owned())
            .unwrap_or_else(|| Buckets {
                requests: self.limits.requests.map(full),
                tokens: self.limits.tokens.map(full),
            })
    }

    fn per(&self) -> Duration {
        self.limits.per.max(Duration::from_nanos(1))
    }
}

impl Buckets {
    fn standings(&self, per: Duration) -> Standings {
        Standings {
            requests: self.requests.map(|bucket| bucket.standing(per)),
            tokens: self.tokens.map(|bucket| bucket.standing(per)),
        }
    }
}

impl Bucket {
    fn refill(&mut self, per: Duration, now: Duration) {
        let since = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.parts = self.parts.saturating_add(parts(self.limit, since));
        self.bound(per);
    }

    fn bound(&mut self, per: Duration) {
        self.parts = self.parts.min(parts(self.limit, per));
    }

    fn take(&mut self, per: Duration, count: u64) {
        self.parts = self.parts.saturating_sub(parts(count, per));
    }

    fn give(&mut self, per: Duration, count: u64) {
        self.parts = self.parts.saturating_add(parts(count, per));
    }

    /// How long until so many are there: `None` where they are, and `Some(None)` where they never will be.
    #[expect(
        clippy::option_option,
        reason = "whether it has to wait, and for how long, are two questions"
    )]
    fn wait(&self, per: Duration, count: u64) -> Option<Option<Duration>> {
        if count > self.limit {
            return Some(None);
        }
        let missing = parts(count, per).saturating_sub(self.parts);
        (missing > 0).then(|| Some(self.time_for(missing)))
    }

    /// How long so many parts take to come, rounded up.
    fn time_for(&self, parts: i128) -> Duration {
        let rate = u128::from(self.limit.max(1));
        let nanos = u128::try_from(parts).unwrap_or_default().div_ceil(rate);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or_default();
        Duration::new(seconds, rest)
    }

    fn standing(&self, per: Duration) -> Standing {
        let one = i128::try_from(per.as_nanos()).unwrap_or(i128::MAX);
        let remaining = u64::try_from((self.parts / one).max(0)).unwrap_or(u64::MAX);
        Standing {
            limit: self.limit,
            remaining,
            reset: self.time_for(parts(self.limit, per).saturating_sub(self.parts)),
        }
    }
}

fn parts(count: u64, time: Duration) -> i128 {
    let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
    i128::from(count).saturating_mul(nanos)
}

/// The tokens that a request is estimated at before its answer: a quarter of its bytes, and all that it allows the answer.
pub fn estimate(body: usize, max_tokens: Option<u64>) -> u64 {
    let input = u64::try_from(body.div_ceil(4)).unwrap_or(u64::MAX);
    input.saturating_add(max_tokens.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(requests: Option<u64>, tokens: Option<u64>) -> RateLimiter {
        let limits = RateLimits {
            requests,
            tokens,
            per: 60 * SECOND,
            is_shared: false,
        };
        RateLimiter::new(limits, 100)
    }

    fn charge(verdict: Verdict) -> Charge {
        match verdict {
            Verdict::Allowed { charge, .. } => charge,
            Verdict::Refused { .. } => panic!("{verdict:?}"),
        }
    }

    fn refusal(verdict: &Verdict) -> (Limit, Option<Duration>) {
        match verdict {
            Verdict::Refused {
                limit, retry_after, ..
            } => (*limit, *retry_after),
            Verdict::Allowed { .. } => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn it_refills_without_steps() {
        let mut limiter = limiter(Some(60), None);
        for _ in 0..60 {
            charge(limiter.ask("a", 0, SECOND));
        }
        let refused = limiter.ask("a", 0, SECOND);
        assert_eq!(refusal(&refused), (Limit::Requests, Some(SECOND)));
        let refused = limiter.ask("a", 0, SECOND + SECOND / 4);
        assert_eq!(refusal(&refused).1, Some(SECOND * 3 / 4));
        charge(limiter.ask("a", 0, 2 * SECOND));
        refusal(&limiter.ask("a", 0, 2 * SECOND));
        charge(limiter.ask("b", 0, 2 * SECOND));
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let mut limiter = limiter(Some(10), Some(100));
        charge(limiter.ask("a", 90, SECOND));
        for _ in 0..50 {
            let refused = limiter.ask("a", 20, SECOND);
            assert_eq!(refusal(&refused), (Limit::Tokens, Some(6 * SECOND)));
        }
        let Verdict::Allowed { standings, .. } = limiter.ask("a", 10, SECOND) else {
            panic!("ten tokens were left")
        };
        assert_eq!(standings.requests.unwrap().remaining, 8);
        assert_eq!(standings.tokens.unwrap().remaining, 0);
        assert_eq!(standings.tokens.unwrap().reset, 60 * SECOND);
    }

    #[test]
    fn what_never_fits_is_not_told_to_come_back() {
        let mut limiter = limiter(Some(1), Some(100));
        charge(limiter.ask("a", 1, SECOND));
        // It hits both, and waiting helps against one of them only.
        assert_eq!(
            refusal(&limiter.ask("a", 101, SECOND)),
            (Limit::Tokens, None)
        );
        assert_eq!(refusal(&limiter.ask("a", 100, SECOND)).0, Limit::Requests);
        let mut shut = self::limiter(Some(0), None);
        assert_eq!(refusal(&shut.ask("a", 0, SECOND)), (Limit::Requests, None));
    }

    #[test]
    fn an_answer_pays_what_it_used() {
        let mut limiter = limiter(None, Some(100));
        let charged = charge(limiter.ask("a", 80, SECOND));
        limiter.settle(charged, 10, SECOND);
        let charged = charge(limiter.ask("a", 90, SECOND));
        // More than was thought: the next has to wait for that too.
        limiter.settle(charged, 150, SECOND);
        assert_eq!(refusal(&limiter.ask("a", 10, SECOND)).1, Some(42 * SECOND));
        let charged = charge(limiter.ask("a", 10, 43 * SECOND));
        limiter.settle(charged, 0, 10_000 * SECOND);
        charge(limiter.ask("a", 100, 10_000 * SECOND));
    }

    #[test]
    fn clients_are_bounded_and_may_share() {
        let limits = RateLimits {
            requests: Some(1),
            tokens: None,
            per: SECOND,
            is_shared: true,
        };
        let mut shared = RateLimiter::new(limits, 10);
        charge(shared.ask("a", 0, SECOND));
        refusal(&shared.ask("b", 0, SECOND));
        assert_eq!(shared.clients(), 1);
        let mut many = limiter(Some(1), None);
        for client in 0..1000 {
            charge(many.ask(&client.to_string(), 0, SECOND));
        }
        assert_eq!(many.clients(), 100);
    }

    #[test]
    fn an_estimate_is_the_input_and_all_that_may_come() {
        assert_eq!(estimate(0, None), 0);
        assert_eq!(estimate(401, Some(50)), 151);
        assert_eq!(estimate(usize::MAX, Some(u64::MAX)), u64::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_numbers_panic(
            requests in proptest::option::of(any::<u64>()),
            tokens in proptest::option::of(any::<u64>()),
            per in any::<u64>(),
            asked in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..8),
        ) {
            let limits = RateLimits { requests, tokens, per: Duration::from_nanos(per), is_shared: false };
            let mut limiter = RateLimiter::new(limits, 2);
            for (count, used, now) in asked {
                let now = Duration::from_millis(now);
                if let Verdict::Allowed { charge, standings } = limiter.ask("a", count, now) {
                    for standing in [standings.requests, standings.tokens].into_iter().flatten() {
                        prop_assert!(standing.remaining <= standing.limit);
                    }
                    limiter.settle(charge, used, now);
                }
            }
        }

        #[test]
        fn who_comes_when_told_passes(gaps in proptest::collection::vec(0_u64..2_000, 1..40), limit in 1_u64..50) {
            let mut limiter = limiter(Some(limit), Some(limit * 10));
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += Duration::from_millis(gap);
                if let Verdict::Refused { retry_after, .. } = limiter.ask("a", 7.min(limit * 10), now) {
                    now += retry_after.unwrap();
                    charge(limiter.ask("a", 7.min(limit * 10), now));
                }
            }
        }
    }
}
