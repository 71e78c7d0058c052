#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "counts of draws are small, and equal times are the same time"
)]

use std::time::Duration;

use super::*;
use crate::dice::Draw;

fn read(json: &str) -> Distribution {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn refusal(json: &str) -> String {
    let error = serde_json::from_str::<Distribution>(json).expect_err(json);
    let text = error.to_string();
    text.split(" at line ").next().unwrap().to_owned()
}

fn stream(bits: u64) -> Stream {
    Draw::from_bits(bits).stream()
}

/// In seconds, sorted.
fn draws(of: &Distribution, count: usize) -> Vec<f64> {
    let mut stream = stream(11);
    let mut times: Vec<_> = (0..count)
        .map(|_| of.sample(&mut stream).as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The largest distance between the shares that were drawn and those of the definition.
fn distance(times: &[f64], share: impl Fn(f64) -> f64) -> f64 {
    let count = times.len() as f64;
    let mut largest: f64 = 0.0;
    for (index, &time) in times.iter().enumerate() {
        let share = share(time);
        largest = largest
            .max((share - index as f64 / count).abs())
            .max(((index + 1) as f64 / count - share).abs());
    }
    largest
}

/// Beyond this a draw of 100,000 fits its definition less than once in 10,000: sqrt(ln(2 / 0.0001) / 2n).
const ALLOWED: f64 = 0.00704;
const COUNT: usize = 100_000;

/// By summing up the density in small steps, so that no formula is shared with what is tested.
fn bell(place: f64) -> f64 {
    let steps = 400;
    let width = (place + 9.0).max(0.0) / f64::from(steps);
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (0..steps)
        .map(|step| density(-9.0 + (f64::from(step) + 0.5) * width) * width)
        .sum()
}

/// The same, looked up.
fn bell_table() -> impl Fn(f64) -> f64 {
    let table: Vec<f64> = (0..=1800)
        .map(|step| bell(f64::from(step) / 100.0 - 9.0))
        .collect();
    move |place: f64| {
        let at = ((place + 9.0) * 100.0).clamp(0.0, 1799.0);
        let (low, part) = (at as usize, at.fract());
        table[low] * (1.0 - part) + table[low + 1] * part
    }
}

fn check(json: &str, share: impl Fn(f64) -> f64) {
    let distance = distance(&draws(&read(json), COUNT), share);
    assert!(distance < ALLOWED, "{json}: {distance}");
}

#[test]
fn draws_of_each_shape_follow_its_definition() {
    let bell = bell_table();
    check(r#"{"uniform":{"min":"100ms","max":"300ms"}}"#, |t| {
        (t - 0.1) / 0.2
    });
    check(r#""200ms ± 40ms""#, |t| bell((t - 0.2) / 0.04));
    check(r#"{"lognormal":{"median":"200ms","sigma":0.7}}"#, |t| {
        bell((t / 0.2).ln() / 0.7)
    });
    check(r#"{"lognormal":{"median":"200ms","p99":"2s"}}"#, |t| {
        bell((t / 0.2).ln() / (10_f64.ln() / 2.326_348))
    });
    check(r#"{"exponential":{"mean":"50ms"}}"#, |t| {
        1.0 - (-t / 0.05).exp()
    });
    check(r#"{"pareto":{"scale":"10ms","shape":1.5}}"#, |t| {
        1.0 - (0.01 / t).powf(1.5)
    });
}

#[test]
fn draws_of_measured_and_mixed_times_follow_their_definition() {
    let quantiles =
        r#"{"empirical":{"quantiles":[[0,"10ms"],[0.5,"20ms"],[0.9,"100ms"],[1,"2s"]]}}"#;
    check(quantiles, |t| {
        if t < 0.02 {
            (t - 0.01) / 0.01 * 0.5
        } else if t < 0.1 {
            0.5 + (t - 0.02) / 0.08 * 0.4
        } else {
            0.9 + (t - 0.1) / 1.9 * 0.1
        }
    });
    let mixture = r#"{"mixture":[
        {"weight":3,"time":{"uniform":{"min":"0s","max":"100ms"}}},
        {"weight":1,"time":{"exponential":{"mean":"1s"}}}]}"#;
    check(mixture, |t| {
        0.75 * (t / 0.1).min(1.0) + 0.25 * (1.0 - (-t).exp())
    });
    let samples = draws(
        &read(r#"{"empirical":{"samples":["1s","2s","2s","5s"]}}"#),
        40_000,
    );
    for (time, share) in [(1.0, 0.25), (2.0, 0.5), (5.0, 0.25)] {
        let count = samples.iter().filter(|drawn| **drawn == time).count();
        assert!(
            (count as f64 / 40_000.0 - share).abs() < 0.015,
            "{time}: {count}"
        );
    }
}

#[test]
fn draws_outside_of_bounds_are_drawn_again_and_not_clamped() {
    let bell = bell_table();
    // Half of the curve is below zero, and a third of the rest is beyond the bound.
    check(r#""0ms ± 100ms""#, |t| (bell(t / 0.1) - 0.5) / 0.5);
    let bounded = r#"{"normal":{"mean":"100ms","sd":"50ms"},"min":"80ms","max":"120ms"}"#;
    let (low, high) = (bell(-0.4), bell(0.4));
    check(bounded, |t| (bell((t - 0.1) / 0.05) - low) / (high - low));
    let times = draws(&read(bounded), 10_000);
    let at_the_bounds = |bound: f64| times.iter().filter(|t| **t == bound).count();
    assert!(at_the_bounds(0.08) + at_the_bounds(0.12) < 5);
    let tail = r#"{"pareto":{"scale":"10ms","shape":1},"max":"30ms"}"#;
    check(tail, |t| (1.0 - 0.01 / t) / (1.0 - 0.01 / 0.03));
}

#[test]
fn a_fixed_time_is_always_the_same() {
    for json in [r#""200ms""#, r#"{"fixed":"200ms"}"#] {
        let mut stream = stream(1);
        assert!((0..10).all(|_| read(json).sample(&mut stream) == Duration::from_millis(200)));
    }
}

#[test]
fn one_draw_gives_the_same_times_again() {
    let of = read(r#"{"lognormal":{"median":"200ms","p99":"2s"}}"#);
    let times = |bits| {
        let mut stream = stream(bits);
        (0..20).map(|_| of.sample(&mut stream)).collect::<Vec<_>>()
    };
    assert_eq!(times(5), times(5));
    assert_ne!(times(5), times(6));
}

#[test]
fn a_series_hangs_together_and_keeps_its_distribution() {
    let of = read(r#"{"exponential":{"mean":"50ms"}}"#);
    let mut between = Vec::new();
    for correlation in [0.0, 0.6, -0.6] {
        let mut series = Series::new(of.clone(), correlation);
        let mut stream = stream(4);
        let times: Vec<f64> = (0..COUNT)
            .map(|_| series.next(&mut stream).as_secs_f64())
            .collect();
        let mean = times.iter().sum::<f64>() / COUNT as f64;
        let spread: f64 = times.iter().map(|t| (t - mean).powi(2)).sum();
        let pairs: f64 = times
            .windows(2)
            .map(|pair| (pair[0] - mean) * (pair[1] - mean))
            .sum();
        between.push(pairs / spread);
        let mut times = times;
        times.sort_by(f64::total_cmp);
        // Times that hang together are worth fewer independent ones: here a quarter of them.
        assert!(distance(&times, |t| 1.0 - (-t / 0.05).exp()) < 2.0 * ALLOWED);
    }
    assert!(between[0].abs() < 0.02, "{between:?}");
    assert!(between[1] > 0.4 && between[2] < -0.3, "{between:?}");
}

#[test]
fn what_nothing_can_be_drawn_from_is_refused() {
    for (json, expected) in [
        (
            r#""soon""#,
            "`soon` is not a length of time, expected a number and a unit such as `250ms`, `1.5s` or `2m`",
        ),
        (
            r#""200ms ± lots""#,
            "`lots` is not a length of time, expected a number and a unit such as `250ms`, `1.5s` or `2m`",
        ),
        (
            "7",
            "invalid type: integer `7`, expected a time such as `\"200ms\"`, `\"200ms ± 40ms\"` or `{ lognormal = { median = \"200ms\", p99 = \"2s\" } }`",
        ),
        (
            "{}",
            "no shape of a distribution, expected a time such as `\"200ms\"`, `\"200ms ± 40ms\"` or `{ lognormal = { median = \"200ms\", p99 = \"2s\" } }`",
        ),
        (
            r#"{"gauss":{}}"#,
            "unknown field `gauss`, expected one of `fixed`, `uniform`, `normal`, `lognormal`, `exponential`, `pareto`, `empirical`, `mixture`, `min`, `max`",
        ),
        (
            r#"{"fixed":"1s","exponential":{"mean":"1s"}}"#,
            "two shapes in one distribution, expected one; `mixture` holds several",
        ),
        (
            r#"{"uniform":{"min":"2s","max":"1s"}}"#,
            "the smallest time 2s is above the largest, 1s",
        ),
        (
            r#"{"lognormal":{"median":"2s"}}"#,
            "a lognormal with neither `sigma` nor `p99`, expected one of them besides `median`",
        ),
        (
            r#"{"lognormal":{"median":"2s","p99":"1s"}}"#,
            "the p99 1s is below the median 2s",
        ),
        (
            r#"{"lognormal":{"median":"2s","sigma":11}}"#,
            "`sigma` is 11, expected a number from 0 to 10",
        ),
        (
            r#"{"pareto":{"scale":"1s","shape":0}}"#,
            "`shape` is 0, expected a number above 0 and at most 100",
        ),
        (
            r#"{"pareto":{"scale":"8760h","shape":2}}"#,
            "of 10,000 draws 0 are inside the bounds, expected at least 100; nothing is clamped, so bounds must leave something to draw",
        ),
        (
            r#"{"exponential":{"mean":"0s"}}"#,
            "`mean` is zero, expected a time above it",
        ),
        (r#"{"mixture":[]}"#, "`mixture` is empty"),
        (
            r#"{"mixture":[{"weight":0,"time":"1s"}]}"#,
            "`weight` is 0, expected a number above 0 and at most 1000000",
        ),
        (r#"{"empirical":{"samples":[]}}"#, "`samples` is empty"),
        (
            r#"{"empirical":{"quantiles":[[0,"2s"],[1,"1s"]]}}"#,
            "the quantiles have times that fall, expected pairs in rising order such as `[[0, \"10ms\"], [0.5, \"20ms\"], [1, \"2s\"]]`",
        ),
        (
            r#"{"normal":{"mean":"1s","sd":"1ms"},"max":"900ms"}"#,
            "of 10,000 draws 0 are inside the bounds, expected at least 100; nothing is clamped, so bounds must leave something to draw",
        ),
    ] {
        assert_eq!(refusal(json), expected, "{json}");
    }
    for json in [
        r#"{"empirical":{"quantiles":[]}}"#,
        r#"{"empirical":{"quantiles":[[0.1,"1s"],[1,"2s"]]}}"#,
        r#"{"empirical":{"quantiles":[[0,"1s"],[0.5,"1s"],[0.5,"2s"],[1,"2s"]]}}"#,
        r#"{"fixed":"1s","min":"2s"}"#,
        r#"{"normal":{"mean":"1s"}}"#,
        r#"{"normal":{"mean":"1s","sd":"1s","x":1}}"#,
    ] {
        refusal(json);
    }
}

#[test]
fn nothing_made_by_hand_panics_either() {
    let second = Span::secs(1);
    for of in [
        Distribution::LogNormal {
            median: second,
            sigma: f64::NAN,
        },
        Distribution::Pareto {
            scale: second,
            shape: 0.0,
        },
        Distribution::Uniform {
            min: second,
            max: Span::default(),
        },
        Distribution::Mixture(Vec::new()),
        Distribution::Empirical(Empirical::Samples(Vec::new())),
        Distribution::Empirical(Empirical::Quantiles(Vec::new())),
        Distribution::Within {
            of: Box::new(Distribution::Fixed(second)),
            min: Some(Span::secs(3)),
            max: Some(Span::secs(2)),
        },
    ] {
        let mut stream = stream(1);
        Series::new(of.clone(), 2.0).next(&mut stream);
        assert!(of.sample(&mut stream) <= Duration::from_secs(3));
    }
}
