//! How many tokens make a chunk of about the same time, as the tokens come faster or slower.

use std::time::Duration;

use super::settings::Adaptive;

/// Estimates the time between two tokens, and the size of a chunk from it. Constant time and space per token.
///
/// The estimate is the median of the last [`WINDOW`] gaps, so that one stall does not shrink the chunks that follow it. What
/// comes within [`BURST`] came together, and shares the time to what comes next: five tokens in one read every 50 ms are 10 ms
/// each and not 0.
#[derive(Clone, Debug)]
pub(super) struct Sizer {
    settings: Adaptive,
    gaps: [Duration; WINDOW],
    /// How many of `gaps` were measured, and where the next goes. `count <= WINDOW`, `next < WINDOW`
    count: usize,
    next: usize,
    /// When the last tokens came, and how many together.
    burst: Option<(Duration, u32)>,
    /// What slow writes add, in tokens.
    extra: u32,
}

impl Sizer {
    pub(super) fn new(settings: Adaptive) -> Self {
        Self {
            settings,
            gaps: [Duration::ZERO; WINDOW],
            count: 0,
            next: 0,
            burst: None,
            extra: 0,
        }
    }

    /// A token came. Says whether it is the first, which is never held.
    pub(super) fn token(&mut self, now: Duration) -> bool {
        let Some((at, count)) = &mut self.burst else {
            self.burst = Some((now, 1));
            return true;
        };
        let passed = now.saturating_sub(*at);
        if passed < BURST {
            *count = count.saturating_add(1);
            return false;
        }
        self.gaps[self.next] = passed / *count;
        self.next = (self.next + 1) % WINDOW;
        self.count = (self.count + 1).min(WINDOW);
        self.burst = Some((now, 1));
        false
    }

    /// How many tokens a chunk has now: `target / gap`, within the bounds; `min` as long as no gap is known.
    pub(super) fn size(&self) -> u32 {
        let Adaptive { target, min, max } = self.settings;
        let fitting = self.gap().map_or(min, |gap| {
            let fitting = target.0.as_nanos() / gap.as_nanos().max(1);
            u32::try_from(fitting).unwrap_or(u32::MAX)
        });
        fitting.saturating_add(self.extra).clamp(min, max)
    }

    /// How long a token is held at most.
    pub(super) fn target(&self) -> Duration {
        self.settings.target.0
    }

    /// A write had to wait for the client, or not: chunks grow by one token a write, and shrink likewise.
    pub(super) fn note_blocked(&mut self, is_blocked: bool) {
        self.extra = if is_blocked {
            (self.extra + 1).min(self.settings.max)
        } else {
            self.extra.saturating_sub(1)
        };
    }

    fn gap(&self) -> Option<Duration> {
        let mut gaps = self.gaps;
        let known = gaps
            .get_mut(..self.count)
            .filter(|known| !known.is_empty())?;
        let middle = known.len() / 2;
        Some(*known.select_nth_unstable(middle).1)
    }
}

/// As many gaps as count.
const WINDOW: usize = 10;

/// Within this time tokens came together: less than the shortest gap that a network keeps.
const BURST: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const TARGET: Adaptive = Adaptive {
        target: Span::millis(50),
        min: 1,
        max: 15,
    };

    fn after(gaps_us: &[u64]) -> Sizer {
        let mut sizer = Sizer::new(TARGET);
        let mut now = Duration::ZERO;
        sizer.token(now);
        for gap in gaps_us {
            now += Duration::from_micros(*gap);
            sizer.token(now);
        }
        sizer
    }

    #[test]
    fn a_chunk_has_as_many_tokens_as_come_within_the_target() {
        for (gaps, size) in [
            (vec![], 1),
            (vec![10_000], 5),
            (vec![10_000; 30], 5),
            (vec![5000; 30], 10),
            (vec![100_000; 30], 1),
            (vec![1000; 30], 15),
        ] {
            assert_eq!(after(&gaps).size(), size, "{gaps:?}");
        }
    }

    #[test]
    fn one_outlier_changes_nothing() {
        let mut gaps = vec![10_000; 10];
        gaps.push(2_000_000);
        assert_eq!(after(&gaps).size(), 5);
        gaps.extend([10_000; 3]);
        assert_eq!(after(&gaps).size(), 5);
    }

    #[test]
    fn a_change_of_speed_is_followed_within_six_tokens() {
        let mut gaps = vec![10_000; 20];
        gaps.extend([25_000; 6]);
        assert_eq!(after(&gaps).size(), 2);
    }

    #[test]
    fn tokens_that_come_together_share_the_time_to_the_next() {
        let gaps: Vec<_> = (0..40)
            .map(|index| if index % 5 == 4 { 50_000 } else { 0 })
            .collect();
        assert_eq!(after(&gaps).size(), 5);
    }

    #[test]
    fn chunks_grow_while_the_client_is_slow_and_shrink_after_it() {
        let mut sizer = after(&[25_000; 10]);
        assert_eq!(sizer.size(), 2);
        for _ in 0..5 {
            sizer.note_blocked(true);
        }
        assert_eq!(sizer.size(), 7);
        for _ in 0..100 {
            sizer.note_blocked(true);
        }
        assert_eq!(sizer.size(), 15);
        for _ in 0..100 {
            sizer.note_blocked(false);
        }
        assert_eq!(sizer.size(), 2);
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut sizer = after(&[10_000; 10]);
        sizer.token(Duration::ZERO);
        sizer.token(Duration::MAX);
        assert_eq!(sizer.size(), 5);
    }
}
