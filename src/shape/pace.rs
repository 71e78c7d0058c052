//! The pace at which an answer is sent, as it is written in the config. What follows from it is in `schedule`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::profile::{self, Profile};
use super::schedule::Timing;
use crate::by_name::ByName;
use crate::fault::distribution::Distribution;
use crate::units::ByteSize;

pub use super::token_pace::TokenPace;

/// The pace at which chunks are sent: `"instant"`, `"recorded"`, `{ recorded = { speed = 2.0 } }`,
/// `{ tokens = { ttft = "200ms ± 40ms", gap = "12ms" } }`, `{ profile = "gpt-4o" }` or `{ fitted = "profile.json" }`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// Each chunk as soon as the client takes it.
    Instant,
    /// At the times at which the chunks came.
    Recorded {
        /// How many times faster than it came. `0 < speed <= 1000`; 1 is as it came.
        speed: f64,
    },
    /// At times drawn for each token.
    Tokens(TokenPace),
    /// The same, by the name of a model.
    Profile(Profile),
    /// The same, from a file that `rehearsal cassette fit` wrote.
    Fitted(PathBuf),
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

    /// What schedules are made from. `read` gives the text of a file.
    ///
    /// # Errors
    /// If a file of fitted times can't be read, or is none.
    pub fn timing(
        &self,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Timing, FittedError> {
        Ok(match self {
            Self::Instant => Timing::Instant,
            Self::Recorded { speed } => Timing::Recorded { speed: *speed },
            Self::Tokens(pace) => Timing::Tokens(Arc::new(pace.clone())),
            Self::Profile(profile) => Timing::Tokens(Arc::new(profile.pace())),
            Self::Fitted(file) => {
                let text =
                    read(file).map_err(|error| FittedError::Unreadable(file.clone(), error))?;
                Timing::Tokens(Arc::new(
                    fitted(&text)
                        .map_err(|problem| FittedError::Malformed(file.clone(), problem))?,
                ))
            }
        })
    }
}

/// What a file of fitted times says.
fn fitted(text: &str) -> Result<TokenPace, String> {
    let file: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match file["version"].as_u64() {
        Some(FITTED_VERSION) => {}
        Some(version) => {
            return Err(format!(
                "its version is {version}, and this program reads version {FITTED_VERSION}"
            ));
        }
        None => return Err("it has no version".to_owned()),
    }
    let part = |name: &str| {
        Distribution::deserialize(ByName(file[name].clone()))
            .map_err(|error| format!("`{name}`: {error}"))
    };
    Ok(TokenPace {
        ttft: part("ttft")?,
        gap: part("gap")?,
    })
}

/// Why there are no fitted times.
#[derive(Debug, thiserror::Error)]
pub enum FittedError {
    /// No file.
    #[error("could not read the fitted times in {file}: {1}", file = .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// Another file.
    #[error("{file} has no fitted times: {1}; `rehearsal cassette fit` writes such files", file = .0.display())]
    Malformed(PathBuf, String),
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
        f.write_str(
            "`\"instant\"`, `\"recorded\"`, `{ recorded = { speed = 2.0 } }`, `{ tokens = { ttft = \"200ms\", gap = \"12ms\" } }`, \
             `{ profile = \"gpt-4o\" }` or `{ fitted = \"profile.json\" }`",
        )
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Pace, E> {
        match word {
            "instant" => Ok(Pace::Instant),
            "recorded" => Ok(Pace::default()),
            _ => Err(E::custom(unknown(word))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pace, A::Error> {
        let Some(kind) = map.next_key()? else {
            return Err(de::Error::custom(format!(
                "a pace that says nothing, expected {ONE_OF}"
            )));
        };
        let pace = match kind {
            TimedPace::Recorded => Pace::Recorded {
                speed: map.next_value::<RecordedSettings>()?.speed,
            },
            TimedPace::Tokens => Pace::Tokens(map.next_value()?),
            TimedPace::Profile => Pace::Profile(
                map.next_value::<Cow<'_, str>>()?
                    .parse()
                    .map_err(de::Error::custom)?,
            ),
            TimedPace::Fitted => Pace::Fitted(map.next_value()?),
        };
        if map.next_key::<TimedPace>()?.is_some() {
            return Err(de::Error::custom(format!(
                "two paces in one, expected {ONE_OF}"
            )));
        }
        Ok(pace)
    }
}

/// In serde's words, with all that a pace may be; the name of a model alone is a near miss.
fn unknown(word: &str) -> String {
    let asked = match word.parse::<Profile>() {
        Ok(_) => format!("; did you mean `{{ profile = \"{word}\" }}`?"),
        Err(_) => String::new(),
    };
    format!(
        "unknown variant `{word}`{asked}, expected one of `instant`, `recorded`, `{{ recorded = {{ speed = 2.0 }} }}`, \
         `{{ tokens = {{ … }} }}`, `{{ profile = \"…\" }}`, `{{ fitted = \"…\" }}`"
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TimedPace {
    Recorded,
    Tokens,
    Profile,
    Fitted,
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

impl JsonSchema for Pace {
    fn schema_name() -> Cow<'static, str> {
        "Pace".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The pace at which chunks are sent.",
            "default": "recorded",
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
                },
                {
                    "type": "object",
                    "description": "At times drawn for each token.",
                    "properties": { "tokens": generator.subschema_for::<TokenPace>() },
                    "required": ["tokens"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "description": "At times drawn for each token, as of this model.",
                    "properties": { "profile": { "enum": profile::NAMES } },
                    "required": ["profile"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "description": "At times drawn for each token, from a file that `cassette fit` wrote, in the config's folder.",
                    "properties": { "fitted": { "type": "string" } },
                    "required": ["fitted"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

const MAX_SPEED: f64 = 1000.0;

const ONE_OF: &str = "one of `recorded`, `tokens`, `profile`, `fitted`";

/// Of the files of fitted times.
pub const FITTED_VERSION: u64 = 1;

/// The longest such file: far more than is written.
pub const FITTED_MAX: ByteSize = ByteSize::mib(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_at_which_nothing_can_be_replayed_are_refused() {
        for speed in [0.0, -1.0, 1000.5, f64::NAN, f64::INFINITY] {
            assert!(Pace::recorded(speed).is_err(), "{speed}");
        }
    }

    #[test]
    fn every_way_to_write_a_pace_is_read() {
        let read = |text: &str| text.parse::<Distribution>().unwrap();
        for (json, pace) in [
            (r#""instant""#, Pace::Instant),
            (r#""recorded""#, Pace::Recorded { speed: 1.0 }),
            (
                r#"{"recorded":{"speed":2.5}}"#,
                Pace::Recorded { speed: 2.5 },
            ),
            (
                r#"{"tokens":{"ttft":"200ms ± 40ms","gap":{"uniform":{"min":"1ms","max":"2ms"}}}}"#,
                Pace::Tokens(TokenPace {
                    ttft: read("200ms ± 40ms"),
                    gap: Distribution::Uniform {
                        min: "1ms".parse().unwrap(),
                        max: "2ms".parse().unwrap(),
                    },
                }),
            ),
            (
                r#"{"profile":"gpt-4o"}"#,
                Pace::Profile("gpt-4o".parse().unwrap()),
            ),
            (r#"{"fitted":"a.json"}"#, Pace::Fitted("a.json".into())),
        ] {
            assert_eq!(serde_json::from_str::<Pace>(json).unwrap(), pace);
        }
        for json in [
            r#""fast""#,
            "{}",
            r#"{"recorded":{}}"#,
            r#"{"recorded":{"speed":0}}"#,
            r#"{"tokens":{"ttft":"1s"}}"#,
            r#"{"tokens":{"ttft":"1s","gap":"1s","more":1}}"#,
            r#"{"profile":"gpt-0"}"#,
            r#"{"fitted":1}"#,
            r#"{"profile":"gpt-4","fitted":"a"}"#,
            "7",
        ] {
            assert!(serde_json::from_str::<Pace>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn fitted_times_are_read_from_their_file_and_no_other() {
        let pace = Pace::Fitted("a.json".into());
        let with = |text: &'static str| {
            pace.timing(&move |file| {
                assert_eq!(file, Path::new("a.json"));
                Ok(text.to_owned())
            })
        };
        let Ok(Timing::Tokens(times)) =
            with(r#"{"version":1,"ttft":"1s","gap":"2ms","streams":3}"#)
        else {
            panic!("it is read");
        };
        assert_eq!(times.gap, "2ms".parse().unwrap());
        for (text, problem) in [
            (
                r#"{"version":2}"#,
                "its version is 2, and this program reads version 1",
            ),
            ("{}", "it has no version"),
        ] {
            assert_eq!(
                with(text).unwrap_err().to_string(),
                format!(
                    "a.json has no fitted times: {problem}; `rehearsal cassette fit` writes such files"
                )
            );
        }
        for text in ["", r#"{"version":1,"ttft":"1s"}"#, "[1]"] {
            assert!(with(text).is_err(), "{text}");
        }
        let missing = pace.timing(&|_| Err(io::Error::other("gone"))).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "could not read the fitted times in a.json: gone"
        );
    }
}
