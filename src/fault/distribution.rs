//! Times that are drawn: what may be asked for, and the drawing.
//!
//! Each shape is drawn by turning evenly spread numbers into times through the shape's own curve. So one number is one
//! try, the result depends on no library's version, and times that hang together need only numbers that do. What falls
//! below zero or outside of the bounds is drawn again, never clamped: clamping would pile draws up at the bounds.
//! How they are written is in `notation`.

use std::time::Duration;

use crate::dice::{Draw, Stream};
use crate::units::Span;

pub(super) use notation::{Shape, Table};

mod curve;
mod notation;
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
        of: Box<Distribution>,
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

/// Why nothing can be drawn from a distribution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DistributionError {
    /// The bounds are the wrong way round.
    #[error("the smallest time {min} is above the largest, {max}")]
    Reversed {
        /// The smallest.
        min: Span,
        /// The largest.
        max: Span,
    },
    /// A time that can't be zero is.
    #[error("`{0}` is zero, expected a time above it")]
    Zero(&'static str),
    /// A number is out of its range.
    #[error("`{name}` is {value}, expected {expected}")]
    OutOfRange {
        /// As in the config.
        name: &'static str,
        /// As given.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// A lognormal whose p99 is below its median.
    #[error("the p99 {p99} is below the median {median}")]
    LowP99 {
        /// As given.
        p99: Span,
        /// As given.
        median: Span,
    },
    /// A lognormal is given by its median and one more number.
    #[error("{0}, expected either `sigma` or `p99` besides `median`")]
    Width(&'static str),
    /// Quantiles that are no curve.
    #[error(
        "the quantiles {0}, expected pairs in rising order such as `[[0, \"10ms\"], [0.5, \"20ms\"], [1, \"2s\"]]`"
    )]
    Quantiles(&'static str),
    /// Nothing to choose from.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// Nearly all draws would be drawn again.
    #[error(
        "of 10,000 draws {inside} are inside the bounds, expected at least {MIN_INSIDE}; nothing is clamped, so bounds must leave something to draw"
    )]
    Narrow {
        /// Between zero and a year, and inside `min` and `max` where they are set.
        inside: u32,
    },
}

impl Distribution {
    /// One time.
    pub fn sample(&self, stream: &mut Stream) -> Duration {
        if let Self::Fixed(time) = self {
            return time.0;
        }
        to_duration(self.draw(&mut Stream::open_unit, stream))
    }

    /// Itself, if something can be drawn from it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn checked(self) -> Result<Self, DistributionError> {
        self.check()?;
        Ok(self)
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

    fn check(&self) -> Result<(), DistributionError> {
        match self {
            Self::Fixed(_) => return Ok(()),
            Self::Uniform { min, max } => ordered(*min, *max)?,
            Self::Normal { .. } => {}
            Self::LogNormal { median, sigma } => {
                above_zero("median", *median)?;
                in_range("sigma", *sigma, 0.0..=10.0, "a number from 0 to 10")?;
            }
            Self::Exponential { mean } => above_zero("mean", *mean)?,
            Self::Pareto { scale, shape } => {
                above_zero("scale", *scale)?;
                let range = f64::MIN_POSITIVE..=100.0;
                in_range("shape", *shape, range, "a number above 0 and at most 100")?;
            }
            Self::Empirical(empirical) => empirical.check()?,
            Self::Mixture(parts) => {
                if parts.is_empty() {
                    return Err(DistributionError::Empty("mixture"));
                }
                for part in parts {
                    let range = f64::MIN_POSITIVE..=1e6;
                    let expected = "a number above 0 and at most 1000000";
                    in_range("weight", part.weight, range, expected)?;
                    part.time.check()?;
                }
            }
            Self::Within { of, min, max } => {
                of.check()?;
                if let (Some(min), Some(max)) = (min, max) {
                    ordered(*min, *max)?;
                }
            }
        }
        self.check_mass()
    }

    /// Tries it: what is inside of which bounds has no formula for a mixture, and this is one for all.
    fn check_mass(&self) -> Result<(), DistributionError> {
        let mut stream = Draw::from_bits(0).stream();
        let tries = std::iter::repeat_with(|| self.try_once(&mut Stream::open_unit, &mut stream));
        let inside = tries
            .take(10_000)
            .map(|time| u32::from(time.is_some()))
            .sum();
        if inside < MIN_INSIDE {
            return Err(DistributionError::Narrow { inside });
        }
        Ok(())
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

    fn check(&self) -> Result<(), DistributionError> {
        match self {
            Self::Samples(times) if times.is_empty() => Err(DistributionError::Empty("samples")),
            Self::Samples(_) => Ok(()),
            Self::Quantiles(pairs) => {
                let is_at = |pair: Option<&(f64, Span)>, share: f64| {
                    pair.is_some_and(|(at, _)| (at - share).abs() < f64::EPSILON)
                };
                let what = if !is_at(pairs.first(), 0.0) || !is_at(pairs.last(), 1.0) {
                    "do not go from 0 to 1"
                } else if !pairs.is_sorted_by(|left, right| left.0 < right.0) {
                    "have shares that do not rise"
                } else if !pairs.is_sorted_by(|left, right| left.1 <= right.1) {
                    "have times that fall"
                } else {
                    return Ok(());
                };
                Err(DistributionError::Quantiles(what))
            }
        }
    }
}

/// Times one after the other, each of which resembles the one before as much as is asked for.
///
/// Without correlation they are independent. Each single one is distributed as the distribution says in any case.
#[derive(Clone, Debug)]
pub struct Series {
    of: Distribution,
    correlation: f64,
    /// The last time, as its place on the bell curve. `None` before the first one.
    last: Option<f64>,
}

impl Series {
    /// `-1 < correlation < 1`; anything else counts as none.
    pub fn new(of: Distribution, correlation: f64) -> Self {
        let correlation = if correlation.abs() < 1.0 {
            correlation
        } else {
            0.0
        };
        Self {
            of,
            correlation,
            last: None,
        }
    }

    /// The next time.
    pub fn next(&mut self, stream: &mut Stream) -> Duration {
        if self.correlation == 0.0 {
            return self.of.sample(stream);
        }
        let (correlation, last) = (self.correlation, self.last);
        let mut place = 0.0;
        // Steps on the bell curve keep its shape if they shrink the old place as much as they add new chance.
        let mut unit = |stream: &mut Stream| {
            let news = curve::normal_quantile(stream.open_unit());
            place = last.map_or(news, |last| {
                correlation * last + (1.0 - correlation * correlation).sqrt() * news
            });
            curve::normal_share(place)
        };
        let time = self.of.draw(&mut unit, stream);
        self.last = Some(place);
        to_duration(time)
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

fn ordered(min: Span, max: Span) -> Result<(), DistributionError> {
    if min > max {
        return Err(DistributionError::Reversed { min, max });
    }
    Ok(())
}

fn above_zero(name: &'static str, time: Span) -> Result<(), DistributionError> {
    if time == Span::default() {
        return Err(DistributionError::Zero(name));
    }
    Ok(())
}

fn in_range(
    name: &'static str,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), DistributionError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(DistributionError::OutOfRange {
        name,
        value,
        expected,
    })
}

/// With at least 1 % of the draws inside, one in 10^17 finds nothing.
const MAX_TRIES: u32 = 4096;

/// Of 10,000.
const MIN_INSIDE: u32 = 100;

/// 365 days, as in [`Span`]: no draw is longer.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;
