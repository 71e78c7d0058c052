//! How distributions are written: as a text, or as a table with one shape and maybe bounds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Distribution, DistributionError, Empirical, Part};
use crate::units::{Span, UnitError};

impl FromStr for Distribution {
    type Err = UnitError;

    /// `"200ms"`, or `"200ms ± 40ms"` for a mean and a standard deviation (`+-` is read too).
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Some((mean, sd)) = text.split_once('±').or_else(|| text.split_once("+-")) else {
            return text.parse().map(Self::Fixed);
        };
        Ok(Self::Normal {
            mean: mean.trim().parse()?,
            sd: sd.trim().parse()?,
        })
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DistributionVisitor)
    }
}

struct DistributionVisitor;

impl<'de> Visitor<'de> for DistributionVisitor {
    type Value = Distribution;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Distribution, E> {
        let read: Distribution = text.parse().map_err(E::custom)?;
        read.checked().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distribution, A::Error> {
        let mut table = Table::default();
        while let Some(key) = map.next_key()? {
            table.read(key, &mut map)?;
        }
        table.finish()
    }
}

/// What a table may hold.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
pub(in crate::fault) enum Shape {
    Fixed,
    Uniform,
    Normal,
    Lognormal,
    Exponential,
    Pareto,
    Empirical,
    Mixture,
    Min,
    Max,
}

/// A table as far as it was read; other tables that may hold a distribution among their own keys read it so, too.
#[derive(Default)]
pub(in crate::fault) struct Table {
    shape: Option<Distribution>,
    min: Option<Span>,
    max: Option<Span>,
}

impl Table {
    /// Reads the value of a key.
    pub(in crate::fault) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: Shape,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let shape = match key {
            Shape::Min => {
                self.min = Some(map.next_value()?);
                return Ok(());
            }
            Shape::Max => {
                self.max = Some(map.next_value()?);
                return Ok(());
            }
            Shape::Fixed => Distribution::Fixed(map.next_value()?),
            Shape::Uniform => map.next_value::<Checked<UniformSettings>>()?.0,
            Shape::Normal => map.next_value::<Checked<NormalSettings>>()?.0,
            Shape::Lognormal => map.next_value::<Checked<LognormalSettings>>()?.0,
            Shape::Exponential => map.next_value::<Checked<ExponentialSettings>>()?.0,
            Shape::Pareto => map.next_value::<Checked<ParetoSettings>>()?.0,
            Shape::Empirical => map.next_value::<Checked<EmpiricalSettings>>()?.0,
            Shape::Mixture => map.next_value::<Checked<Vec<PartSettings>>>()?.0,
        };
        if self.shape.replace(shape).is_some() {
            return Err(de::Error::custom(
                "two shapes in one distribution, expected one; `mixture` holds several",
            ));
        }
        Ok(())
    }

    /// What it says in all.
    pub(in crate::fault) fn finish<E: de::Error>(self) -> Result<Distribution, E> {
        let shape = self.shape.ok_or_else(|| {
            E::custom(format_args!(
                "no shape of a distribution, expected {EXPECTED}"
            ))
        })?;
        if self.min.is_none() && self.max.is_none() {
            return Ok(shape);
        }
        let within = Distribution::Within {
            of: Box::new(shape),
            min: self.min,
            max: self.max,
        };
        within.checked().map_err(E::custom)
    }
}

/// A shape whose numbers were checked when it was read, so that a mistake is shown at this shape.
struct Checked<S>(Distribution, std::marker::PhantomData<S>);

impl<'de, S: Deserialize<'de> + Settings> Deserialize<'de> for Checked<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let settings = S::deserialize(deserializer)?;
        let shape = settings.shape().and_then(Distribution::checked);
        Ok(Self(
            shape.map_err(de::Error::custom)?,
            std::marker::PhantomData,
        ))
    }
}

/// The settings of one shape.
trait Settings {
    fn shape(self) -> Result<Distribution, DistributionError>;
}

/// Each time of a range equally often.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UniformSettings {
    /// At least so long.
    min: Span,
    /// At most so long.
    max: Span,
}

impl Settings for UniformSettings {
    fn shape(self) -> Result<Distribution, DistributionError> {
        let Self { min, max } = self;
        Ok(Distribution::Uniform { min, max })
    }
}

/// The bell curve, without its part below zero.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NormalSettings {
    /// The time in the middle.
    mean: Span,
    /// The standard deviation.
    sd: Span,
}

impl Settings for NormalSettings {
    fn shape(self) -> Result<Distribution, DistributionError> {
        let Self { mean, sd } = self;
        Ok(Distribution::Normal { mean, sd })
    }
}

/// What latencies mostly look like.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LognormalSettings {
    /// Half of all times are below.
    median: Span,
    /// The standard deviation of the logarithm, from 0 to 10. Either this or `p99`.
    sigma: Option<f64>,
    /// One time in a hundred is above.
    p99: Option<Span>,
}

impl Settings for LognormalSettings {
    fn shape(self) -> Result<Distribution, DistributionError> {
        let median = self.median;
        let sigma = match (self.sigma, self.p99) {
            (Some(sigma), None) => sigma,
            (None, Some(p99)) if p99 < median => {
                return Err(DistributionError::LowP99 { p99, median });
            }
            (None, Some(_)) if median == Span::default() => {
                return Err(DistributionError::Zero("median"));
            }
            (None, Some(p99)) => (p99.0.as_secs_f64() / median.0.as_secs_f64()).ln() / Z_99,
            (Some(_), Some(_)) => return Err(DistributionError::Width("both `sigma` and `p99`")),
            (None, None) => return Err(DistributionError::Width("neither `sigma` nor `p99`")),
        };
        Ok(Distribution::LogNormal { median, sigma })
    }
}

/// The time to something that may happen at any moment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExponentialSettings {
    /// The mean.
    mean: Span,
}

impl Settings for ExponentialSettings {
    fn shape(self) -> Result<Distribution, DistributionError> {
        Ok(Distribution::Exponential { mean: self.mean })
    }
}

/// Mostly short, sometimes very long.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParetoSettings {
    /// The shortest time.
    scale: Span,
    /// The smaller, the heavier the tail; above 0, at most 100.
    shape: f64,
}

impl Settings for ParetoSettings {
    fn shape(self) -> Result<Distribution, DistributionError> {
        let Self { scale, shape } = self;
        Ok(Distribution::Pareto { scale, shape })
    }
}

/// As was measured.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum EmpiricalSettings {
    /// Pairs of a share and the time that this share of all times does not exceed: `[[0, "10ms"], [0.5, "20ms"], [1, "2s"]]`.
    Quantiles(Vec<(f64, Span)>),
    /// The times themselves.
    Samples(Vec<Span>),
}

impl Settings for EmpiricalSettings {
    fn shape(self) -> Result<Distribution, DistributionError> {
        Ok(Distribution::Empirical(match self {
            Self::Quantiles(pairs) => Empirical::Quantiles(pairs),
            Self::Samples(times) => Empirical::Samples(times),
        }))
    }
}

/// One part of a mixture.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PartSettings {
    /// How often, against the weights of the others.
    weight: f64,
    /// The times of this part.
    time: Distribution,
}

impl Settings for Vec<PartSettings> {
    fn shape(self) -> Result<Distribution, DistributionError> {
        let parts = self
            .into_iter()
            .map(|PartSettings { weight, time }| Part { weight, time });
        Ok(Distribution::Mixture(parts.collect()))
    }
}

impl JsonSchema for Distribution {
    fn schema_name() -> Cow<'static, str> {
        "Distribution".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Times to draw from: `200ms`, `200ms ± 40ms` (mean and standard deviation), or a table with one shape.",
            "oneOf": [
                { "type": "string", "pattern": TEXT_PATTERN },
                {
                    "type": "object",
                    "properties": {
                        "fixed": generator.subschema_for::<Span>(),
                        "uniform": generator.subschema_for::<UniformSettings>(),
                        "normal": generator.subschema_for::<NormalSettings>(),
                        "lognormal": generator.subschema_for::<LognormalSettings>(),
                        "exponential": generator.subschema_for::<ExponentialSettings>(),
                        "pareto": generator.subschema_for::<ParetoSettings>(),
                        "empirical": generator.subschema_for::<EmpiricalSettings>(),
                        "mixture": generator.subschema_for::<Vec<PartSettings>>(),
                        "min": generator.subschema_for::<Span>(),
                        "max": generator.subschema_for::<Span>()
                    },
                    "additionalProperties": false,
                    "minProperties": 1
                }
            ]
        })
    }
}

const EXPECTED: &str = "a time such as `\"200ms\"`, `\"200ms ± 40ms\"` or `{ lognormal = { median = \"200ms\", p99 = \"2s\" } }`";

const TEXT_PATTERN: &str =
    r"^[0-9]+(\.[0-9]+)? ?(us|µs|ms|s|m|h)( *(±|\+-) *[0-9]+(\.[0-9]+)? ?(us|µs|ms|s|m|h))?$";

/// The place below which 99 % of the bell curve lie.
const Z_99: f64 = 2.326_347_874_040_841;
