//! How limits are written.

use std::time::{Duration, SystemTime};

use super::*;
use crate::dialect::limits::{Standing, Standings, go_duration, write_retry_after};
use crate::message::Headers;

fn lines(headers: &Headers) -> Vec<String> {
    headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", std::str::from_utf8(value).unwrap()))
        .collect()
}

#[test]
fn limits_are_written_as_each_provider_writes_them() {
    let standings = Standings {
        requests: Some(Standing {
            limit: 500,
            remaining: 499,
            reset: Duration::from_millis(120),
        }),
        tokens: Some(Standing {
            limit: 30_000,
            remaining: 0,
            reset: Duration::from_secs(360),
        }),
    };
    // 2026-11-24T08:00:00Z and a bit.
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_507_200_250);
    let write = |dialect| {
        let mut headers = Headers::new();
        standings.write(dialect, now, &mut headers);
        write_retry_after(dialect, Duration::from_millis(1500), &mut headers);
        lines(&headers)
    };
    let openai = [
        "x-ratelimit-limit-requests: 500",
        "x-ratelimit-remaining-requests: 499",
        "x-ratelimit-reset-requests: 120ms",
        "x-ratelimit-limit-tokens: 30000",
        "x-ratelimit-remaining-tokens: 0",
        "x-ratelimit-reset-tokens: 6m0s",
        "retry-after-ms: 1500",
        "retry-after: 2",
    ];
    assert_eq!(write(Dialect::OpenAi), openai);
    assert_eq!(write(Dialect::AzureOpenAi), openai);
    assert_eq!(
        write(Dialect::Anthropic),
        [
            "anthropic-ratelimit-requests-limit: 500",
            "anthropic-ratelimit-requests-remaining: 499",
            "anthropic-ratelimit-requests-reset: 2026-11-24T08:00:01Z",
            "anthropic-ratelimit-tokens-limit: 30000",
            "anthropic-ratelimit-tokens-remaining: 0",
            "anthropic-ratelimit-tokens-reset: 2026-11-24T08:06:01Z",
            "anthropic-ratelimit-input-tokens-limit: 30000",
            "anthropic-ratelimit-input-tokens-remaining: 0",
            "anthropic-ratelimit-input-tokens-reset: 2026-11-24T08:06:01Z",
            "anthropic-ratelimit-output-tokens-limit: 30000",
            "anthropic-ratelimit-output-tokens-remaining: 0",
            "anthropic-ratelimit-output-tokens-reset: 2026-11-24T08:06:01Z",
            "retry-after: 2",
        ]
    );
    assert!(write(Dialect::Gemini).is_empty());
    assert_eq!(write(Dialect::Plain)[2], "x-ratelimit-reset-requests: 1");
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (micros, text) in [
        (0, "0s"),
        (1, "1ms"),
        (12_000, "12ms"),
        (999_000, "999ms"),
        (1_000_000, "1s"),
        (8_640_000, "8.64s"),
        (60_000_000, "1m0s"),
        (86_400_000, "1m26.4s"),
        (360_000_000, "6m0s"),
        (86_400_000_000, "24h0m0s"),
    ] {
        assert_eq!(go_duration(Duration::from_micros(micros)), text);
    }
    go_duration(Duration::MAX);
    write_retry_after(Dialect::OpenAi, Duration::MAX, &mut Headers::new());
    let far = Standing {
        limit: 1,
        remaining: 0,
        reset: Duration::MAX,
    };
    Standings {
        requests: Some(far),
        tokens: None,
    }
    .write(
        Dialect::Anthropic,
        SystemTime::UNIX_EPOCH,
        &mut Headers::new(),
    );
}
