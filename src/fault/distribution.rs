//! Times that are drawn: what may be asked for, and the drawing.

use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::dice::Stream;
use crate::units::{Span, UnitError};

/// Times to draw from: `"200ms"`, `"200ms ± 40ms"`, or one of the shapes below.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
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
    /// As was measured.
    Empirical(Empirical),
}

/// Measured times.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Empirical {
    /// Pairs of a share and the time that this share of all times does not exceed, in rising order, from 0 to 1.
    Quantiles(Vec<(f64, Span)>),
}

impl Distribution {
    /// One time.
    pub fn sample(&self, stream: &mut Stream) -> Duration {
        match self {
            Self::Fixed(time) => time.0,
            Self::Uniform { min, max } => {
                min.0 + max.0.saturating_sub(min.0).mul_f64(stream.unit())
            }
            Self::Empirical(Empirical::Quantiles(pairs)) => {
                let share = stream.unit();
                let after = pairs.partition_point(|(at, _)| *at <= share);
                let before = pairs.get(after.saturating_sub(1)).or(pairs.last());
                let before = before.copied().unwrap_or_default();
                let (to, end) = pairs.get(after).copied().unwrap_or(before);
                let part = if to > before.0 {
                    (share - before.0) / (to - before.0)
                } else {
                    0.0
                };
                before.1.0
                    + end
                        .0
                        .saturating_sub(before.1.0)
                        .mul_f64(part.clamp(0.0, 1.0))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Distribution;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time such as `\"200ms\"`, `\"200ms ± 40ms\"` or a shape")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Distribution, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<Distribution, A::Error> {
                Distribution::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl FromStr for Distribution {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Some((mean, sd)) = text.split_once('±').or_else(|| text.split_once("+-")) else {
            return text.parse().map(Self::Fixed);
        };
        let (mean, sd): (Span, Span) = (mean.trim().parse()?, sd.trim().parse()?);
        // The range with this mean and this standard deviation.
        let half = sd.0.mul_f64(3_f64.sqrt());
        Ok(Self::Uniform {
            min: Span(mean.0.saturating_sub(half)),
            max: Span(mean.0 + half),
        })
    }
}
