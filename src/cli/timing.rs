//! `rehearsal check --timing`: how well this machine keeps times, measured on the pump's own waiting.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Failure, print};
use crate::pump::until;

/// Measures for about two seconds, and says what came of it.
pub(super) fn run() -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")
        .map_err(Failure::Unusable)?;
    let rows = SLEEPERS.map(|sleepers| Row {
        sleepers,
        errors: runtime.block_on(measure(sleepers)),
    });
    print(&report(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// What was measured with so many at once.
struct Row {
    sleepers: u32,
    /// Achieved minus intended, in µs, in rising order.
    errors: Vec<i64>,
}

impl Row {
    /// Nearest rank; `per_mille` is from 1 to 1000.
    fn quantile(&self, per_mille: usize) -> i64 {
        let rank = (self.errors.len() * per_mille).div_ceil(1000);
        self.errors
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// So many streams, each with a piece due every few ms, and none at the same moment as another.
async fn measure(sleepers: u32) -> Vec<i64> {
    let start = Instant::now() + GAP;
    let mut tasks = JoinSet::new();
    for sleeper in 0..sleepers {
        let first = start + GAP * sleeper / sleepers;
        tasks.spawn(async move {
            let mut errors = Vec::new();
            let mut due = first;
            while due < start + LENGTH {
                until(Some(due)).await;
                errors.push(micros_after(due, Instant::now()));
                due += GAP;
            }
            errors
        });
    }
    let mut errors: Vec<i64> = tasks.join_all().await.into_iter().flatten().collect();
    errors.sort_unstable();
    errors
}

/// How long after the first moment the second is, in µs; below zero where it is before it.
fn micros_after(intended: Instant, achieved: Instant) -> i64 {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    match achieved.checked_duration_since(intended) {
        Some(late) => micros(late),
        None => -micros(intended.duration_since(achieved)),
    }
}

fn report(rows: &[Row]) -> String {
    let mut text =
        "achieved minus intended time (ms)\n  streams      p50      p99      max\n".to_owned();
    for row in rows {
        let [p50, p99, max] = [500, 990, 1000].map(|share| millis(row.quantile(share)));
        writeln!(text, "  {:>7}  {p50:>7}  {p99:>7}  {max:>7}", row.sleepers)
            .expect("a string takes all that is written");
    }
    let worst = rows
        .iter()
        .map(|row| row.quantile(990))
        .max()
        .unwrap_or_default();
    let middle = rows
        .iter()
        .map(|row| row.quantile(500))
        .max()
        .unwrap_or_default();
    let verdict = if worst <= PROMISED_P99_US && middle <= PROMISED_P50_US {
        "that is as good as was promised"
    } else {
        "that is worse than an idle machine does (0.5 ms in the middle, 4 ms for 99 of 100): it may be busy, or too small"
    };
    writeln!(
        text,
        "of 100 times this machine keeps 99 to within {} ms; {verdict}",
        millis(worst)
    )
    .expect("a string takes all that is written");
    text
}

/// In ms, as people read it.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn millis(micros: i64) -> String {
    format!("{:.3}", micros as f64 / 1e3)
}

/// How many streams wait at once, in each row.
const SLEEPERS: [u32; 3] = [1, 50, 500];

/// For how long each row is measured.
const LENGTH: Duration = Duration::from_millis(650);

/// Between two moments of one stream.
const GAP: Duration = Duration::from_millis(13);

/// What an otherwise idle machine keeps in the middle.
const PROMISED_P50_US: i64 = 500;

/// And in 99 cases of 100.
const PROMISED_P99_US: i64 = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_ranks_and_says_what_can_be_kept() {
        let row = |sleepers, errors: Vec<i64>| Row { sleepers, errors };
        let rows = [row(1, (1..=1000).collect()), row(50, vec![-20, 400])];
        assert_eq!(
            report(&rows),
            "achieved minus intended time (ms)\n\
             \x20 streams      p50      p99      max\n\
             \x20       1    0.500    0.990    1.000\n\
             \x20      50   -0.020    0.400    0.400\n\
             of 100 times this machine keeps 99 to within 0.990 ms; that is as good as was promised\n"
        );
        let slow = report(&[row(1, vec![9000])]);
        assert!(slow.contains("within 9.000 ms; that is worse"), "{slow}");
    }
}
