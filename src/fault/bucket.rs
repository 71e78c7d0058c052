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
mod tests;
