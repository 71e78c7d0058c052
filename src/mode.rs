//! The words for how a route is treated. Choices only; what they do is done by the flow above.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the answers of a route come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// From the upstream; nothing is kept.
    Forward,
    /// From the upstream; each answer is kept in the cassette.
    Record,
    /// From the cassette; `on_miss` says what happens without a recording.
    #[default]
    Replay,
    /// Made up by the built-in backend.
    Synthesize,
}

/// What replay does where the cassette has no recording for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnMiss {
    /// Answers 404 and says which recordings are near. The upstream is never called.
    #[default]
    Refuse,
    /// Asks the upstream, and keeps the answer in the cassette.
    Record,
    /// Asks the upstream, and keeps nothing.
    Forward,
    /// Makes an answer up.
    Synthesize,
}

/// What recording does where the cassette already has recordings for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecordPolicy {
    /// The first answer of a run starts a new sequence; the old one goes when the new one is complete.
    #[default]
    Replace,
    /// Each answer is added at the end of the sequence.
    Append,
    /// What is there stays; only requests without a recording are recorded.
    Once,
}

/// What replay does when a request has come more often than it was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    /// The last recording of the sequence again.
    #[default]
    Last,
    /// From the first one again.
    Loop,
    /// As if there were no recording: `on_miss` says what happens.
    Refuse,
}

impl Mode {
    /// The word for it in the configuration, in headers and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Record => "record",
            Self::Replay => "replay",
            Self::Synthesize => "synthesize",
        }
    }

    /// Whether each request of such a route goes to the upstream.
    pub fn needs_upstream(self) -> bool {
        match self {
            Self::Forward | Self::Record => true,
            Self::Replay | Self::Synthesize => false,
        }
    }
}

impl OnMiss {
    /// The word for it in the configuration, in headers and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Record => "record",
            Self::Forward => "forward",
            Self::Synthesize => "synthesize",
        }
    }

    /// Whether a request without a recording goes to the upstream.
    pub fn needs_upstream(self) -> bool {
        match self {
            Self::Record | Self::Forward => true,
            Self::Refuse | Self::Synthesize => false,
        }
    }
}

impl RecordPolicy {
    /// The word for it in the configuration and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Append => "append",
            Self::Once => "once",
        }
    }
}

impl Exhausted {
    /// The word for it in the configuration and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Loop => "loop",
            Self::Refuse => "refuse",
        }
    }
}

macro_rules! shown_as_word {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

shown_as_word!(Mode, OnMiss, RecordPolicy, Exhausted);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Serialize + for<'de> Deserialize<'de> + fmt::Display + PartialEq>(all: &[T]) {
        for one in all {
            let json = serde_json::to_string(one).unwrap();
            assert_eq!(json, format!("\"{one}\""), "shown as it is configured");
            assert!(serde_json::from_str::<T>(&json).unwrap() == *one);
        }
    }

    #[test]
    fn each_word_is_shown_as_it_is_configured() {
        check(&[Mode::Forward, Mode::Record, Mode::Replay, Mode::Synthesize]);
        check(&[
            OnMiss::Refuse,
            OnMiss::Record,
            OnMiss::Forward,
            OnMiss::Synthesize,
        ]);
        check(&[
            RecordPolicy::Replace,
            RecordPolicy::Append,
            RecordPolicy::Once,
        ]);
        check(&[Exhausted::Last, Exhausted::Loop, Exhausted::Refuse]);
    }
}
