//! When a chunk is due, given when it came. Knows no clock; the pump waits.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The pace at which chunks are sent: `"instant"`, `"recorded"` or `{ recorded = { speed = 2.0 } }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each chunk as soon as the client takes it.
    Instant,
    /// At the times at which the chunks came.
    Recorded {
        /// How many times faster than it came. `0 < speed <= 1000`; 1 is as it came.
        speed: f64,
    },
}

impl Pace {
    /// At the times at which the chunks came, `speed` times faster.
    ///
    /// # Errors
    /// `SpeedError` unless `0 < speed <= 1000`.
    pub fn recorded(speed: f64) -> Result<Self, SpeedError> {
        // A comparison with NaN is false, so NaN is refused here too.
        if speed > 0.0 && speed <= MAX_SPEED {
            Ok(Self::Recorded { speed })
        } else {
            Err(SpeedError { speed })
        }
    }

    /// When the chunk that came at `at` is to be sent; both count from the same moment. `None` means at once.
    pub fn due(&self, at: Duration) -> Option<Duration> {
        match self {
            Self::Instant => None,
            Self::Recorded { speed } => {
                // Division by a tiny speed can leave the range of a duration; then the chunk is due as late as can be.
                Some(Duration::try_from_secs_f64(at.as_secs_f64() / speed).unwrap_or(Duration::MAX))
            }
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::Recorded { speed: 1.0 }
    }
}

/// A speed at which nothing can be replayed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("speed {speed} is out of range, expected a number above 0 and at most 1000")]
pub struct SpeedError {
    speed: f64,
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived enum takes `"recorded"` or `{ recorded = … }`, but not both for one variant.
        deserializer.deserialize_any(PaceVisitor)
    }
}

struct PaceVisitor;

impl<'de> Visitor<'de> for PaceVisitor {
    type Value = Pace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`\"instant\"`, `\"recorded\"` or `{ recorded = { speed = 2.0 } }`")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Pace, E> {
        match word {
            "instant" => Ok(Pace::Instant),
            "recorded" => Ok(Pace::default()),
            _ => Err(E::unknown_variant(word, &["instant", "recorded"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pace, A::Error> {
        let Some(TimedPace::Recorded) = map.next_key()? else {
            return Err(de::Error::invalid_length(0, &self));
        };
        let settings: RecordedSettings = map.next_value()?;
        if map.next_key::<TimedPace>()?.is_some() {
            return Err(de::Error::invalid_length(2, &self));
        }
        Ok(Pace::Recorded {
            speed: settings.speed,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TimedPace {
    Recorded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedSettings {
    #[serde(deserialize_with = "speed")]
    speed: f64,
}

fn speed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let speed = f64::deserialize(deserializer)?;
    Pace::recorded(speed).map_err(de::Error::custom)?;
    Ok(speed)
}

impl Serialize for Pace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Instant => serializer.serialize_str("instant"),
            Self::Recorded { speed: 1.0 } => serializer.serialize_str("recorded"),
            Self::Recorded { speed } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(
                    "recorded",
                    &std::collections::BTreeMap::from([("speed", speed)]),
                )?;
                map.end()
            }
        }
    }
}

impl JsonSchema for Pace {
    fn schema_name() -> Cow<'static, str> {
        "Pace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The pace at which chunks are sent.",
            "oneOf": [
                { "const": "instant", "description": "Each chunk as soon as the client takes it." },
                { "const": "recorded", "description": "At the times at which the chunks came." },
                {
                    "type": "object",
                    "description": "At the times at which the chunks came, so many times faster.",
                    "properties": { "recorded": {
                        "type": "object",
                        "properties": { "speed": { "type": "number", "exclusiveMinimum": 0, "maximum": MAX_SPEED } },
                        "required": ["speed"],
                        "additionalProperties": false
                    } },
                    "required": ["recorded"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

const MAX_SPEED: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_due_when_it_came_divided_by_the_speed() {
        let at = Duration::from_millis(300);
        assert_eq!(Pace::Instant.due(at), None);
        assert_eq!(Pace::default().due(at), Some(at));
        assert_eq!(
            Pace::recorded(2.0).unwrap().due(at),
            Some(Duration::from_millis(150))
        );
        assert_eq!(
            Pace::recorded(f64::MIN_POSITIVE).unwrap().due(at),
            Some(Duration::MAX)
        );
    }

    #[test]
    fn speeds_at_which_nothing_can_be_replayed_are_refused() {
        for speed in [0.0, -1.0, 1000.5, f64::NAN, f64::INFINITY] {
            assert!(Pace::recorded(speed).is_err(), "{speed}");
        }
    }

    #[test]
    fn every_way_to_write_a_pace_is_read_back() {
        for (json, pace) in [
            ("\"instant\"", Pace::Instant),
            ("\"recorded\"", Pace::Recorded { speed: 1.0 }),
            (
                "{\"recorded\":{\"speed\":2.5}}",
                Pace::Recorded { speed: 2.5 },
            ),
        ] {
            assert_eq!(serde_json::from_str::<Pace>(json).unwrap(), pace);
            assert_eq!(serde_json::to_string(&pace).unwrap(), json);
        }
        for json in [
            "\"fast\"",
            "{}",
            "{\"recorded\":{}}",
            "{\"recorded\":{\"speed\":0}}",
            "7",
        ] {
            assert!(serde_json::from_str::<Pace>(json).is_err(), "{json}");
        }
    }
}
