//! Whether anything can be drawn from a distribution.

use super::{Distribution, Empirical};
use crate::dice::{Draw, Stream};
use crate::units::Span;

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
    #[error("a lognormal with {0}, expected one of them besides `median`")]
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
    /// Itself, if something can be drawn from it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn checked(self) -> Result<Self, DistributionError> {
        self.check()?;
        Ok(self)
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

/// Of 10,000.
const MIN_INSIDE: u32 = 100;
