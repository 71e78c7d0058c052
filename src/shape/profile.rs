//! Named latency profiles: how long well-known models take to the first token, and from one to the next.

use std::fmt;
use std::str::FromStr;

use crate::fault::distribution::Distribution;
use crate::shape::token_pace::TokenPace;

/// One of [`PROFILES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// As it is written.
    pub name: &'static str,
    ttft: &'static str,
    gap: &'static str,
}

impl Profile {
    /// Its times.
    pub fn pace(&self) -> TokenPace {
        let read = |text: &str| -> Distribution {
            text.parse()
                .expect("a test reads the times of every profile")
        };
        TokenPace {
            ttft: read(self.ttft),
            gap: read(self.gap),
        }
    }

    const fn new(name: &'static str, ttft: &'static str, gap: &'static str) -> Self {
        Self { name, ttft, gap }
    }
}

impl Default for Profile {
    /// The one named `default`.
    fn default() -> Self {
        DEFAULT
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(name: &str) -> Result<Self, ProfileError> {
        PROFILES
            .into_iter()
            .find(|profile| profile.name == name)
            .ok_or_else(|| ProfileError(name.chars().take(64).collect()))
    }
}

/// A name that no profile has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no latency profile `{0}`, expected one of {names}", names = NAMES.join(", "))]
pub struct ProfileError(String);

const DEFAULT: Profile = Profile::new("default", "200ms ± 40ms", "12ms ± 2.5ms");

/// All of them. Mean and standard deviation of the time to the first token and of the gap, from a report on simulating these
/// models; they are of the year 2025.
pub const PROFILES: [Profile; 14] = [
    DEFAULT,
    Profile::new("gpt-4", "800ms ± 150ms", "35ms ± 8ms"),
    Profile::new("gpt-4-turbo", "400ms ± 80ms", "20ms ± 5ms"),
    Profile::new("gpt-4o", "250ms ± 50ms", "15ms ± 3ms"),
    Profile::new("gpt-4o-mini", "180ms ± 35ms", "10ms ± 2ms"),
    Profile::new("gpt-oss-120b", "600ms ± 120ms", "28ms ± 6ms"),
    Profile::new("gpt-oss-20b", "300ms ± 60ms", "15ms ± 3ms"),
    Profile::new("deepseek-r1", "700ms ± 140ms", "30ms ± 7ms"),
    Profile::new("claude-opus", "850ms ± 170ms", "38ms ± 8.5ms"),
    Profile::new("claude-sonnet", "450ms ± 90ms", "22ms ± 5ms"),
    Profile::new("claude-haiku", "220ms ± 45ms", "12ms ± 2.5ms"),
    Profile::new("llama-3.1-8b", "140ms ± 28ms", "7.5ms ± 1.5ms"),
    Profile::new("llama-3.1-70b", "480ms ± 95ms", "23ms ± 5ms"),
    Profile::new("mixtral-8x7b", "380ms ± 75ms", "18ms ± 4ms"),
];

/// The names of [`PROFILES`].
pub const NAMES: [&str; PROFILES.len()] = {
    let mut names = [""; PROFILES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = PROFILES[index].name;
        index += 1;
    }
    names
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_has_its_times() {
        for profile in PROFILES {
            assert_eq!(profile.name.parse(), Ok(profile));
            profile.pace();
        }
        assert_eq!(
            "gpt-5".parse::<Profile>().unwrap_err().to_string(),
            "there is no latency profile `gpt-5`, expected one of default, gpt-4, gpt-4-turbo, gpt-4o, gpt-4o-mini, gpt-oss-120b, \
             gpt-oss-20b, deepseek-r1, claude-opus, claude-sonnet, claude-haiku, llama-3.1-8b, llama-3.1-70b, mixtral-8x7b"
        );
    }
}
