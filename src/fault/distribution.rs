//! Times that are drawn: what may be asked for, and the drawing.
//!
//! Each shape is drawn by turning evenly spread numbers into times through the shape's own curve. So one number is one
//! try, the result depends on no library's version, and times that hang together need only numbers that do. What falls
//! below zero or outside of the bounds is drawn again, never clamped: clamping would pile draws up at the bounds.
//! How they are written is in `notation`.

use std::time::Duration;

use crate::dice::Stream;
use crate::units::Span;

pub use check::DistributionError;
pub(in crate::fault) use notation::{Shape, Table};
pub use series::Series;

mod check;
mod curve;
mod notation;
mod series;
#[cfg(test)]
mod tests;

/// Times to draw from: `"200ms"`, `"200ms ± 40ms"`, or a shape such as `{ lognormal = { median = "200ms", p99 = "2s" } }`.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Fixed(Span),
    /// Each time of a range equally often.
    Uniform {
        /// At least so long.
        min: Span,
        /// At most so long. `min <= max`
        max: Span,
    },
    /// The bell curve, without its part below zero.
    Normal {
        /// The time in the middle.
        mean: Span,
        /// The standard deviation.
        sd: Span,
    },
    /// The bell curve of the times' logarithms: what latencies mostly look like.
    LogNormal {
        /// Half of all times are below. Above zero.
        median: Span,
        /// The standard deviation of the logarithm. `0 <= sigma <= 10`
        sigma: f64,
    },
    /// The time to something that may happen at any moment.
    Exponential {
        /// The mean. Above zero.
        mean: Span,
    },
    /// Mostly short, sometimes very long: the heaviest tail.
    Pareto {
        /// The shortest time. Above zero.
        scale: Span,
        /// The smaller, the heavier the tail. `0 < shape <= 100`
        shape: f64,
    },
    /// As was measured.
    Empirical(Empirical),
    /// Now from one, now from another.
    Mixture(Vec<Part>),
    /// Another one, without what is outside of bounds.
    Within {
        /// The other one.
        of: Box<Self>,
        /// At least so long.
        min: Option<Span>,
        /// At most so long.
        max: Option<Span>,
    },
}

/// Measured times.
#[derive(Clone, Debug, PartialEq)]
pub enum Empirical {
    /// Pairs of a share and the time that this share of all times does not exceed, in rising order, from 0 to 1.
    /// Between two of them times are equally likely.
    Quantiles(Vec<(f64, Span)>),
    /// The times themselves, each one equally likely.
    Samples(Vec<Span>),
}

/// One part of a mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How often it is drawn from, against the others' weights. Above zero.
    pub weight: f64,
    /// What is drawn then.
    pub time: Distribution,
}

impl Distribution {
    /// One time.
    pub fn sample(&self, stream: &mut Stream) -> Duration {
        if let Self::Fixed(time) = self {
            return time.0;
        }
        to_duration(self.draw(&mut Stream::open_unit, stream))
    }

    /// Draws again until it fits.
    fn draw(&self, unit: Units<'_>, stream: &mut Stream) -> f64 {
        for _ in 0..MAX_TRIES {
            if let Some(seconds) = self.try_once(unit, stream) {
                return seconds;
            }
        }
        // Less than once in 10^17 for what `check` lets pass; a place inside the bounds all the same.
        match self {
            Self::Within { min, max, .. } => {
                let min = min.map_or(0.0, seconds);
                min.midpoint(max.map_or(min, seconds))
            }
            Self::Fixed(_)
            | Self::Uniform { .. }
            | Self::Normal { .. }
            | Self::LogNormal { .. }
            | Self::Exponential { .. }
            | Self::Pareto { .. }
            | Self::Empirical(_)
            | Self::Mixture(_) => 0.0,
        }
    }

    /// One try, in seconds. `None` if it is outside.
    fn try_once(&self, unit: Units<'_>, stream: &mut Stream) -> Option<f64> {
        let time = match self {
            Self::Fixed(time) => seconds(*time),
            Self::Uniform { min, max } => {
                let (min, max) = (seconds(*min), seconds(*max));
                min + unit(stream) * (max - min)
            }
            Self::Normal { mean, sd } => {
                seconds(*mean) + seconds(*sd) * curve::normal_quantile(unit(stream))
            }
            Self::LogNormal { median, sigma } => {
                seconds(*median) * (sigma * curve::normal_quantile(unit(stream))).exp()
            }
            Self::Exponential { mean } => -seconds(*mean) * (1.0 - unit(stream)).ln(),
            Self::Pareto { scale, shape } => {
                seconds(*scale) * (1.0 - unit(stream)).powf(-1.0 / shape)
            }
            Self::Empirical(empirical) => empirical.at(unit(stream)),
            Self::Mixture(parts) => pick_part(parts, stream)?.time.draw(unit, stream),
            Self::Within { of, min, max } => {
                let time = of.draw(unit, stream);
                let is_inside = min.is_none_or(|min| seconds(min) <= time)
                    && max.is_none_or(|max| time <= seconds(max));
                if !is_inside {
                    return None;
                }
                time
            }
        };
        // Also false for what is not a number.
        (0.0..=MAX_SECONDS).contains(&time).then_some(time)
    }
}

impl Empirical {
    /// The time, in seconds, that a share of all times does not exceed.
    fn at(&self, unit: f64) -> f64 {
        match self {
            Self::Quantiles(pairs) => {
                let after = pairs.partition_point(|(share, _)| *share < unit);
                let before = pairs.get(after.saturating_sub(1));
                let (Some((low, from)), Some((high, to))) = (before, pairs.get(after)) else {
                    return before.map_or(0.0, |(_, time)| seconds(*time));
                };
                let (from, to) = (seconds(*from), seconds(*to));
                if high <= low {
                    return to;
                }
                from + (unit - low) / (high - low) * (to - from)
            }
            Self::Samples(times) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "from 0 to the number of samples"
                )]
                let index = (unit * times.len() as f64) as usize;
                let time = times.get(index).or(times.last());
                time.map_or(0.0, |time| seconds(*time))
            }
        }
    }
}

/// Where evenly spread numbers come from.
type Units<'a> = &'a mut dyn FnMut(&mut Stream) -> f64;

fn pick_part<'a>(parts: &'a [Part], stream: &mut Stream) -> Option<&'a Part> {
    let total: f64 = parts.iter().map(|part| part.weight).sum();
    let mut rest = stream.unit() * total;
    let found = parts.iter().find(|part| {
        rest -= part.weight;
        rest < 0.0
    });
    // Rounding can leave a crumb behind the last one.
    found.or(parts.last())
}

fn seconds(span: Span) -> f64 {
    span.0.as_secs_f64()
}

fn to_duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// With at least 1 % of the draws inside, one in 10^17 finds nothing.
const MAX_TRIES: u32 = 4096;

/// 365 days, as in [`Span`]: no draw is longer.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;
