//! How those settings of faults are written that have a short form and a long one.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::distribution::{Distribution, Shape, Table};
use super::kind::{ErrorName, StandIn};
use super::settings::StandInSettings;
use crate::units::Span;

/// Times between events: a distribution, or `{ each = …, correlation = 0.3 }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Each single one.
    pub each: Distribution,
    /// How much one resembles the one before. 0 is not at all.
    pub correlation: f64,
}

impl<'de> Deserialize<'de> for Gap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GapVisitor)
    }
}

struct GapVisitor;

/// The keys of a gap, and those of a distribution.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum GapKey {
    Each,
    Correlation,
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

impl<'de> Visitor<'de> for GapVisitor {
    type Value = Gap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as `\"15ms\"` or `\"15ms ± 3ms\"`, or `{ each = \"15ms ± 3ms\", correlation = 0.3 }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Gap, E> {
        let text: StrDeserializer<'_, E> = text.into_deserializer();
        Ok(Gap {
            each: Distribution::deserialize(text)?,
            correlation: 0.0,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Gap, A::Error> {
        let mut table = Table::default();
        let mut has_shape = false;
        let mut each = None;
        let mut correlation = 0.0;
        while let Some(key) = map.next_key()? {
            let shape = match key {
                GapKey::Each => {
                    each = Some(map.next_value()?);
                    continue;
                }
                GapKey::Correlation => {
                    correlation = map.next_value()?;
                    continue;
                }
                GapKey::Fixed => Shape::Fixed,
                GapKey::Uniform => Shape::Uniform,
                GapKey::Normal => Shape::Normal,
                GapKey::Lognormal => Shape::Lognormal,
                GapKey::Exponential => Shape::Exponential,
                GapKey::Pareto => Shape::Pareto,
                GapKey::Empirical => Shape::Empirical,
                GapKey::Mixture => Shape::Mixture,
                GapKey::Min => Shape::Min,
                GapKey::Max => Shape::Max,
            };
            table.read(shape, &mut map)?;
            has_shape = true;
        }
        let each = match each {
            Some(each) if !has_shape => each,
            Some(_) => {
                return Err(de::Error::custom(
                    "both `each` and a shape of its own, expected one of them",
                ));
            }
            None => table.finish()?,
        };
        Ok(Gap { each, correlation })
    }
}

impl JsonSchema for Gap {
    fn schema_name() -> Cow<'static, str> {
        "Gap".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let each = generator.subschema_for::<Distribution>();
        json_schema!({
            "description": "Times between events.",
            "anyOf": [
                each,
                {
                    "type": "object",
                    "properties": {
                        "each": each,
                        "correlation": { "type": "number", "minimum": -0.99, "maximum": 0.99 }
                    },
                    "required": ["each"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// For so long, or `forever`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting(pub Option<Span>);

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if text == FOREVER {
            return Ok(Self(None));
        }
        let span = text
            .parse::<Span>()
            .map_err(|error| de::Error::custom(format_args!("{error}, or `{FOREVER}`")))?;
        Ok(Self(Some(span)))
    }
}

impl JsonSchema for Lasting {
    fn schema_name() -> Cow<'static, str> {
        "Lasting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "For so long, or `forever`.",
            "oneOf": [generator.subschema_for::<Span>(), { "const": FOREVER }]
        })
    }
}

impl<'de> Deserialize<'de> for StandIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StandInVisitor)
    }
}

struct StandInVisitor;

impl<'de> Visitor<'de> for StandInVisitor {
    type Value = StandIn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STAND_IN)
    }

    fn visit_u64<E: de::Error>(self, code: u64) -> Result<StandIn, E> {
        let code = u16::try_from(code).map_err(|_| {
            E::custom(format_args!(
                "{code} is not a status, expected one from 200 to 599"
            ))
        })?;
        Ok(StandIn::Plain {
            status: code,
            headers: std::collections::BTreeMap::new(),
            body: None,
        })
    }

    fn visit_i64<E: de::Error>(self, code: i64) -> Result<StandIn, E> {
        self.visit_u64(u64::try_from(code).unwrap_or(u64::MAX))
    }

    fn visit_str<E: de::Error>(self, error: &str) -> Result<StandIn, E> {
        let error: StrDeserializer<'_, E> = error.into_deserializer();
        Ok(StandIn::Error {
            error: ErrorName::deserialize(error)?,
            retry_after: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StandIn, A::Error> {
        let settings = StandInSettings::deserialize(MapAccessDeserializer::new(map))?;
        let has_plain_parts = !settings.headers.is_empty() || settings.body.is_some();
        match (settings.code, settings.error) {
            (Some(status), None) if settings.retry_after.is_none() => Ok(StandIn::Plain {
                status,
                headers: settings.headers,
                body: settings.body,
            }),
            (None, Some(error)) if !has_plain_parts => Ok(StandIn::Error {
                error,
                retry_after: settings.retry_after,
            }),
            (Some(_), None) => Err(de::Error::custom(
                "`retry_after` goes with `error`; beside `code` write it as a header",
            )),
            (None, Some(_)) => Err(de::Error::custom(
                "`error` brings headers and body of its own; `headers` and `body` go with `code`",
            )),
            (Some(_), Some(_)) => Err(de::Error::custom(format_args!(
                "both `code` and `error`, expected {STAND_IN}"
            ))),
            (None, None) => Err(de::Error::custom(format_args!(
                "neither `code` nor `error`, expected {STAND_IN}"
            ))),
        }
    }
}

impl JsonSchema for StandIn {
    fn schema_name() -> Cow<'static, str> {
        "StandIn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An answer in the place of the source's: a status, an error's name, or a table with more.",
            "oneOf": [
                { "type": "integer", "minimum": 200, "maximum": 599 },
                generator.subschema_for::<ErrorName>(),
                generator.subschema_for::<StandInSettings>()
            ]
        })
    }
}

const FOREVER: &str = "forever";

const STAND_IN: &str = "a status such as `503`, `{ code = 503, headers = { … }, body = \"…\" }`, or an error such as \
                        `\"rate-limit\"` or `{ error = \"rate-limit\", retry_after = \"2s\" }`";
