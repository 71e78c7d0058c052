//! Metrics in the text format of Prometheus, version 0.0.4. All names stand here.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Shared;
use crate::board::{Standing, Verdict};

/// Of each rule: how often it was asked. Apart from what came of it, so that the sum over those means something.
const DRAWS: &str = "rehearsal_fault_draws_total";

/// Of each rule: what became of its faults.
const FAULTS: &str = "rehearsal_faults_total";

/// Of each rule: in how many exchanges it is at work.
const ACTIVE: &str = "rehearsal_faults_active";

/// Whether the kill switch is thrown.
const KILLED: &str = "rehearsal_faults_killed";

/// Of each rule: achieved minus intended time.
const TIMING: &str = "rehearsal_fault_timing_error_seconds";

/// Which version runs.
const BUILD: &str = "rehearsal_build_info";

/// `GET /metrics`
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let board = &shared.board;
    let text = render(&board.standings(), board.is_killed());
    ([(header::CONTENT_TYPE, TYPE)], text)
}

fn render(standings: &[Standing], is_killed: bool) -> String {
    let mut text = String::new();
    head(&mut text, BUILD, "gauge", "The version that runs.");
    let version = env!("CARGO_PKG_VERSION");
    line(&mut text, BUILD, &label("version", version), "1");
    head(
        &mut text,
        KILLED,
        "gauge",
        "1 while the kill switch ends all faults.",
    );
    line(&mut text, KILLED, "", if is_killed { "1" } else { "0" });
    counters(&mut text, standings);
    head(
        &mut text,
        ACTIVE,
        "gauge",
        "In how many exchanges a rule is at work now.",
    );
    for standing in standings {
        line(
            &mut text,
            ACTIVE,
            &rule(standing),
            &standing.active.to_string(),
        );
    }
    let help = "Achieved minus intended time of what a fault timed; below zero it was early.";
    head(&mut text, TIMING, "histogram", help);
    for standing in standings {
        histogram(&mut text, standing);
    }
    text
}

fn counters(text: &mut String, standings: &[Standing]) {
    let help = "How often a rule was asked whether it hits.";
    head(text, DRAWS, "counter", help);
    for standing in standings {
        let draws = standing
            .counts
            .iter()
            .find(|(verdict, _)| *verdict == Verdict::Drawn)
            .map_or(0, |(_, count)| *count);
        line(text, DRAWS, &rule(standing), &draws.to_string());
    }
    let help = "What became of the faults of a rule that hit.";
    head(text, FAULTS, "counter", help);
    for standing in standings {
        let outcomes = standing.counts.iter();
        for (verdict, count) in outcomes.filter(|(verdict, _)| *verdict != Verdict::Drawn) {
            let labels = format!("{},{}", rule(standing), label("verdict", verdict.as_str()));
            line(text, FAULTS, &labels, &count.to_string());
        }
    }
}

fn histogram(text: &mut String, standing: &Standing) {
    let (rule, timing) = (rule(standing), &standing.timing);
    let mut below = 0;
    for (bound, count) in &timing.buckets {
        below += count;
        let bound = if *bound == i64::MAX {
            "+Inf".to_owned()
        } else {
            seconds(*bound)
        };
        let labels = format!("{rule},{}", label("le", &bound));
        line(
            text,
            &format!("{TIMING}_bucket"),
            &labels,
            &below.to_string(),
        );
    }
    line(
        text,
        &format!("{TIMING}_sum"),
        &rule,
        &seconds(timing.sum_us),
    );
    line(
        text,
        &format!("{TIMING}_count"),
        &rule,
        &timing.count.to_string(),
    );
}

fn rule(standing: &Standing) -> String {
    let (route, rule) = (&standing.name.route, &standing.name.rule);
    format!("{},{}", label("route", route), label("rule", rule))
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    put(
        text,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
    );
}

fn line(text: &mut String, name: &str, labels: &str, value: &str) {
    if labels.is_empty() {
        put(text, format_args!("{name} {value}\n"));
    } else {
        put(text, format_args!("{name}{{{labels}}} {value}\n"));
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("a string takes all that is written");
}

fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn seconds(micros: i64) -> String {
    (micros as f64 / 1e6).to_string()
}

const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Name, Timing, Verdict};

    #[test]
    fn buckets_add_up_and_labels_are_escaped() {
        let timing = Timing::default();
        for error in [-2000, 40, 120, 2_000_000] {
            timing.note(error);
        }
        let standing = Standing {
            name: Name {
                route: "a\"b\\c\nd".to_owned(),
                rule: "slow".to_owned(),
            },
            kind: "latency",
            is_on: true,
            left: None,
            active: 2,
            counts: vec![(Verdict::Drawn, 4), (Verdict::Injected, 3)],
            timing: timing.summary(),
        };
        let text = render(&[standing], false);
        let rule = r#"route="a\"b\\c\nd",rule="slow""#;
        for expected in [
            format!("rehearsal_fault_draws_total{{{rule}}} 4"),
            format!("rehearsal_faults_total{{{rule},verdict=\"injected\"}} 3"),
            format!("rehearsal_faults_active{{{rule}}} 2"),
            format!("rehearsal_fault_timing_error_seconds_bucket{{{rule},le=\"-0.001\"}} 1"),
            format!("rehearsal_fault_timing_error_seconds_bucket{{{rule},le=\"0\"}} 1"),
            format!("rehearsal_fault_timing_error_seconds_bucket{{{rule},le=\"0.00005\"}} 2"),
            format!("rehearsal_fault_timing_error_seconds_bucket{{{rule},le=\"1\"}} 3"),
            format!("rehearsal_fault_timing_error_seconds_bucket{{{rule},le=\"+Inf\"}} 4"),
            format!("rehearsal_fault_timing_error_seconds_sum{{{rule}}} 1.99816"),
            format!("rehearsal_fault_timing_error_seconds_count{{{rule}}} 4"),
            "rehearsal_faults_killed 0".to_owned(),
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected}\n{text}"
            );
        }
        assert!(!text.contains("drawn"), "it is no verdict");
    }
}
