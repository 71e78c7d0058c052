//! How well intended times were kept: achieved minus intended, as a histogram. Atomic counts only, so that no stream waits for
//! a reader.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A histogram of time errors.
#[derive(Debug, Default)]
pub struct Timing {
    /// One for each bound, and one for what is beyond.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicI64,
}

/// What a histogram says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimingSummary {
    /// How many times there were.
    pub count: u64,
    /// The sum of all errors, in µs.
    pub sum_us: i64,
    /// For each bound in µs, how many errors were at most that. Not added up.
    pub buckets: Vec<(i64, u64)>,
}

impl Timing {
    /// One more error: achieved minus intended.
    pub fn note(&self, error_us: i64) {
        let at = BOUNDS_US.partition_point(|bound| *bound < error_us);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(error_us, Ordering::Relaxed);
    }

    /// What was counted elsewhere, for each bound in µs. A bound that is not ours counts for the next one of ours.
    pub(super) fn add(&self, sum_us: i64, buckets: &[(i64, u64)]) {
        for (bound, count) in buckets {
            let at = BOUNDS_US.partition_point(|own| own < bound);
            self.buckets[at].fetch_add(*count, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(sum_us, Ordering::Relaxed);
    }

    /// What there is so far.
    pub fn summary(&self) -> TimingSummary {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        TimingSummary {
            count: counts.iter().sum(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            buckets: BOUNDS_US
                .iter()
                .copied()
                .chain([i64::MAX])
                .zip(counts)
                .collect(),
        }
    }
}

impl TimingSummary {
    /// The bound below which this share of all errors is, in µs. `None` without errors.
    pub fn quantile_us(&self, share: f64) -> Option<i64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank"
        )]
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        self.buckets.iter().find_map(|(bound, count)| {
            below += count;
            (below >= rank.max(1)).then_some(*bound)
        })
    }
}

/// From too early to far too late, in µs.
const BOUNDS_US: [i64; 20] = [
    -1000, -500, -250, -100, 0, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 4000,
    10_000, 50_000, 1_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let timing = Timing::default();
        for error in [-2000, -1000, 0, 1, 50, 51, 2_000_000] {
            timing.note(error);
        }
        let summary = timing.summary();
        let filled: Vec<_> = summary
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .copied()
            .collect();
        assert_eq!(
            filled,
            [(-1000, 2), (0, 1), (50, 2), (100, 1), (i64::MAX, 1)]
        );
        assert_eq!(summary.count, 7);
        assert_eq!(summary.quantile_us(0.5), Some(50));
        assert_eq!(TimingSummary::default().quantile_us(0.5), None);
    }
}
