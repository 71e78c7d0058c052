//! Fits the times of tokens to what was recorded: as quantiles, so that any shape is kept.

use std::time::Duration;

use serde_json::{Value, json};

use super::pace::FITTED_VERSION;
use crate::units::Span;

/// Times gathered from streams.
#[derive(Clone, Debug, Default)]
pub struct Fit {
    ttft: Vec<Duration>,
    gaps: Vec<Duration>,
}

/// When a token came, from the end of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTime {
    /// The moment.
    pub at: Duration,
    /// Whether it was read late, because something else had to be waited for: then its gap says nothing.
    pub is_held: bool,
}

impl Fit {
    /// Adds the tokens of one stream, in their order. A stream without any adds nothing.
    pub fn add(&mut self, tokens: &[TokenTime]) {
        let Some(first) = tokens.first() else { return };
        if !first.is_held {
            self.ttft.push(first.at);
        }
        let gaps = tokens.windows(2).filter_map(|pair| match pair {
            // A late read moves the token after it, too.
            [before, after] if !before.is_held && !after.is_held => {
                Some(after.at.saturating_sub(before.at))
            }
            _ => None,
        });
        self.gaps.extend(gaps);
    }

    /// How many streams and gaps were added.
    pub fn counts(&self) -> (usize, usize) {
        (self.ttft.len(), self.gaps.len())
    }

    /// Times to the first token, and gaps, each as the quantiles of a distribution, at `steps` even steps at most. `None` if there
    /// is not at least one of both.
    pub fn quantiles(mut self, steps: usize) -> Option<Fitted> {
        self.ttft.sort_unstable();
        self.gaps.sort_unstable();
        Some(Fitted {
            streams: self.ttft.len(),
            tokens: self.ttft.len() + self.gaps.len(),
            ttft: quantiles(&self.ttft, steps)?,
            gap: quantiles(&self.gaps, steps)?,
        })
    }
}

/// Fitted times, to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    streams: usize,
    tokens: usize,
    ttft: Vec<(f64, Span)>,
    gap: Vec<(f64, Span)>,
}

impl Fitted {
    /// As the file that `pace = { fitted = "…" }` names. `from` says where the times are from.
    pub fn to_json(&self, from: &str) -> Value {
        json!({
            "version": FITTED_VERSION,
            "from": from,
            "streams": self.streams,
            "tokens": self.tokens,
            "ttft": { "empirical": { "quantiles": self.ttft } },
            "gap": { "empirical": { "quantiles": self.gap } },
        })
    }

    /// As the line of a route, in TOML. Each of the two distributions can be used for a fault as well.
    pub fn to_toml(&self) -> String {
        let list = |pairs: &[(f64, Span)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(share, time)| format!("[{share}, \"{time}\"]"))
                .collect();
            pairs.join(", ")
        };
        format!(
            "pace = {{ tokens = {{ ttft = {{ empirical = {{ quantiles = [{}] }} }}, gap = {{ empirical = {{ quantiles = [{}] }} }} }} }}",
            list(&self.ttft),
            list(&self.gap)
        )
    }
}

/// Quantiles of sorted times, between two of them in proportion.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are places in a list"
)]
fn quantiles(times: &[Duration], steps: usize) -> Option<Vec<(f64, Span)>> {
    let last = times.len().checked_sub(1)?;
    let steps = steps.min(last).max(1);
    let quantile = |step: usize| {
        let place = step as f64 * last as f64 / steps as f64;
        let before = times.get(place as usize).copied().unwrap_or_default();
        let after = times.get(place.ceil() as usize).copied().unwrap_or(before);
        let time = before + after.saturating_sub(before).mul_f64(place.fract());
        // Four digits tell 10,000 steps apart.
        let share = (step as f64 * 1e4 / steps as f64).round() / 1e4;
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        (share, Span(Duration::from_micros(micros).min(LONGEST)))
    };
    Some((0..=steps).map(quantile).collect())
}

/// The longest time that can be written down: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Draw;
    use crate::fault::distribution::Distribution;
    use crate::shape::pace::Pace;
    use crate::shape::schedule::Timing;

    fn tokens(at_ms: &[u64]) -> Vec<TokenTime> {
        at_ms
            .iter()
            .map(|at| TokenTime {
                at: Duration::from_millis(*at),
                is_held: false,
            })
            .collect()
    }

    #[test]
    fn what_is_drawn_from_a_fit_is_spread_as_what_was_recorded() {
        let mut fit = Fit::default();
        for stream in 0..50 {
            // Gaps of 10 ms, and every fifth one of 50 ms.
            let mut at = 200 + stream * 4;
            let mut times = vec![at];
            for index in 0..100 {
                at += if index % 5 == 4 { 50 } else { 10 };
                times.push(at);
            }
            fit.add(&tokens(&times));
        }
        assert_eq!(fit.counts(), (50, 5000));
        let fitted = fit.quantiles(100).unwrap();
        let json = fitted.to_json("a test").to_string();
        let pace = Pace::Fitted("x".into());
        let Timing::Tokens(pace) = pace.timing(&|_| Ok(json.clone())).unwrap() else {
            panic!("it is read");
        };
        let mut stream = Draw::from_bits(1).stream();
        let mut draws = |of: &Distribution| -> Vec<f64> {
            (0..20_000)
                .map(|_| of.sample(&mut stream).as_secs_f64() * 1e3)
                .collect()
        };
        let gaps = draws(&pace.gap);
        let mean = gaps.iter().sum::<f64>() / 20_000.0;
        assert!(
            (17.0..19.0).contains(&mean),
            "the mean is 18 ms, not {mean}"
        );
        let long = gaps.iter().filter(|gap| **gap > 40.0).count();
        assert!((3600..4400).contains(&long), "a fifth is long, not {long}");
        let ttft = draws(&pace.ttft);
        assert!(ttft.iter().all(|time| (200.0..=396.1).contains(time)));
    }

    #[test]
    fn few_times_are_few_quantiles() {
        let mut fit = Fit::default();
        fit.add(&tokens(&[100, 110]));
        let fitted = fit.quantiles(20).unwrap();
        assert_eq!(
            fitted.to_toml(),
            "pace = { tokens = { ttft = { empirical = { quantiles = [[0, \"100ms\"], [1, \"100ms\"]] } }, \
             gap = { empirical = { quantiles = [[0, \"10ms\"], [1, \"10ms\"]] } } } }"
        );
    }

    #[test]
    fn nothing_is_fitted_to_nothing() {
        let mut fit = Fit::default();
        fit.add(&[]);
        fit.add(&tokens(&[100]));
        assert_eq!(fit.quantiles(20), None);
    }

    #[test]
    fn a_token_that_was_read_late_is_left_out_with_both_its_gaps() {
        let mut fit = Fit::default();
        let mut times = tokens(&[100, 110, 500, 510, 520]);
        times[2].is_held = true;
        fit.add(&times);
        assert_eq!(fit.counts(), (1, 2));
    }
}
