//! How a route's answers are cut, as it is written in the config.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::units::Span;

/// Where writes to the client are cut. Bytes are never changed; on event streams cuts fall between two events, elsewhere
/// between two characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RechunkSettings {
    /// As they came.
    #[default]
    AsRecorded,
    /// After each token. On an event stream an event with text is at least one.
    Token,
    /// After each word.
    Word,
    /// After each sentence.
    Sentence,
    /// After each event. What is no event stream goes as it came.
    Event,
    /// After at least so many bytes, 1 to 65536.
    Bytes(
        #[serde(deserialize_with = "bytes")]
        #[schemars(range(min = 1, max = 65_536))]
        usize,
    ),
    /// After as many tokens as come within a time.
    Adaptive(Adaptive),
}

/// Chunks of about the same time each, however fast the tokens come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "AdaptiveSettings")]
pub struct Adaptive {
    /// 1 ms to 60 s.
    pub target: Span,
    /// From 1 on.
    pub min: u32,
    /// From `min` on.
    pub max: u32,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            target: Span::millis(50),
            min: 1,
            max: 15,
        }
    }
}

/// Chunks of about the same time each, however fast the tokens come.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct AdaptiveSettings {
    /// How long a token is held at most, and how far apart chunks are where tokens come faster. From 1 ms to 60 s.
    target: Span,
    /// The fewest tokens of a chunk, unless it is written for another reason. From 1 on.
    #[schemars(range(min = 1))]
    min: u32,
    /// The most tokens of a chunk, from `min` to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    max: u32,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        let Adaptive { target, min, max } = Adaptive::default();
        Self { target, min, max }
    }
}

impl TryFrom<AdaptiveSettings> for Adaptive {
    type Error = String;

    fn try_from(AdaptiveSettings { target, min, max }: AdaptiveSettings) -> Result<Self, String> {
        if !(Span::millis(1)..=Span::secs(60)).contains(&target) {
            return Err(format!(
                "target {target} is out of range, expected 1ms to 60s"
            ));
        }
        if min < 1 || max < min || max > MAX_TOKENS {
            return Err(format!(
                "min {min} and max {max} are out of range, expected 1 <= min <= max <= {MAX_TOKENS}"
            ));
        }
        Ok(Self { target, min, max })
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    if (1..=MAX_BYTES).contains(&count) {
        Ok(count)
    } else {
        Err(de::Error::custom(format!(
            "{count} bytes are out of range, expected 1 to {MAX_BYTES}"
        )))
    }
}

/// As much as is held at most.
const MAX_BYTES: usize = 64 * 1024;
const MAX_TOKENS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_it_is_read() {
        let adaptive = |target, min, max| {
            RechunkSettings::Adaptive(Adaptive {
                target: Span::millis(target),
                min,
                max,
            })
        };
        for (json, expected) in [
            (r#""as-recorded""#, RechunkSettings::AsRecorded),
            (r#""token""#, RechunkSettings::Token),
            (r#""word""#, RechunkSettings::Word),
            (r#""sentence""#, RechunkSettings::Sentence),
            (r#""event""#, RechunkSettings::Event),
            (r#"{"bytes":512}"#, RechunkSettings::Bytes(512)),
            (r#"{"adaptive":{}}"#, adaptive(50, 1, 15)),
            (
                r#"{"adaptive":{"target":"20ms","min":2,"max":3}}"#,
                adaptive(20, 2, 3),
            ),
        ] {
            assert_eq!(
                serde_json::from_str::<RechunkSettings>(json).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for (json, message) in [
            (
                r#"{"bytes":0}"#,
                "0 bytes are out of range, expected 1 to 65536",
            ),
            (
                r#"{"adaptive":{"min":0}}"#,
                "min 0 and max 15 are out of range, expected 1 <= min <= max <= 10000",
            ),
            (
                r#"{"adaptive":{"min":4,"max":3}}"#,
                "min 4 and max 3 are out of range, expected 1 <= min <= max <= 10000",
            ),
            (
                r#"{"adaptive":{"target":"0s"}}"#,
                "target 0s is out of range, expected 1ms to 60s",
            ),
        ] {
            let error = serde_json::from_str::<RechunkSettings>(json)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(message), "{error}");
        }
        for json in [r#""words""#, r#"{"adaptive":{"most":3}}"#, "7"] {
            assert!(
                serde_json::from_str::<RechunkSettings>(json).is_err(),
                "{json}"
            );
        }
    }
}
