//! Headers that say how much of a rate limit is left and when to come back, as each provider writes them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::Dialect;
use crate::message::Headers;

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The most at once.
    pub limit: u64,
    /// What is left now. `remaining <= limit`
    pub remaining: u64,
    /// How long until all of it is there again.
    pub reset: Duration,
}

/// How the limits of a client stand; what has no limit is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Of requests.
    pub requests: Option<Standing>,
    /// Of tokens, both ways together.
    pub tokens: Option<Standing>,
}

impl Standings {
    /// Writes them into the headers of an answer, in the place of those which are there. Gemini tells nothing in headers.
    ///
    /// `now` is what the clock on the wall shows: Anthropic says at what time a limit is whole again.
    pub fn write(&self, dialect: Dialect, now: SystemTime, headers: &mut Headers) {
        let all = [("requests", self.requests), ("tokens", self.tokens)];
        for (what, standing) in all {
            let Some(standing) = standing else { continue };
            let Standing {
                limit,
                remaining,
                reset,
            } = standing;
            let mut set = |name: String, value: String| headers.set(&name, value);
            match dialect {
                // Azure's answers have the same names.
                Dialect::OpenAi | Dialect::AzureOpenAi => {
                    set(format!("x-ratelimit-limit-{what}"), limit.to_string());
                    set(
                        format!("x-ratelimit-remaining-{what}"),
                        remaining.to_string(),
                    );
                    set(format!("x-ratelimit-reset-{what}"), go_duration(reset));
                }
                Dialect::Anthropic => {
                    for what in of_anthropic(what) {
                        let mut set =
                            |of, value| set(format!("anthropic-ratelimit-{what}-{of}"), value);
                        set("limit", limit.to_string());
                        set("remaining", remaining.to_string());
                        set("reset", rfc3339(now, reset));
                    }
                }
                Dialect::Gemini => {}
                Dialect::Plain => {
                    set(format!("x-ratelimit-limit-{what}"), limit.to_string());
                    set(
                        format!("x-ratelimit-remaining-{what}"),
                        remaining.to_string(),
                    );
                    set(
                        format!("x-ratelimit-reset-{what}"),
                        whole_seconds(reset).to_string(),
                    );
                }
            }
        }
    }
}

/// What Anthropic tells of a limit. Of tokens it also tells how many may go in and how many may come out: where both share
/// one limit, each may have all that is left of it.
fn of_anthropic(what: &str) -> &[&str] {
    if what == "tokens" {
        &["tokens", "input-tokens", "output-tokens"]
    } else {
        &["requests"]
    }
}

/// Writes when to come back. Gemini says it in the body of an error only.
pub fn write_retry_after(dialect: Dialect, after: Duration, headers: &mut Headers) {
    match dialect {
        Dialect::OpenAi | Dialect::AzureOpenAi => {
            headers.set("retry-after-ms", whole_millis(after).to_string());
            headers.set("retry-after", whole_seconds(after).to_string());
        }
        Dialect::Anthropic | Dialect::Plain => {
            headers.set("retry-after", whole_seconds(after).to_string());
        }
        Dialect::Gemini => {}
    }
}

/// A length of time as `OpenAI` writes it, to the millisecond: `0s`, `12ms`, `8.64s`, `6m0s`, `24h0m0s`.
pub fn go_duration(time: Duration) -> String {
    let millis = whole_millis(time);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!(".{fraction:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        (_, _) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// The second in which `after` has passed, `2026-11-24T08:00:00Z`. Rounded up, so that who comes then is not too early.
fn rfc3339(now: SystemTime, after: Duration) -> String {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_add(after);
    let seconds = i64::try_from(whole_seconds(since)).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(RFC3339).unwrap_or_default()
}

const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// Rounded up: who waits so long has waited long enough.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// The same in milliseconds.
pub fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
