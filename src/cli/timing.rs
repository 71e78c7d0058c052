//! `rehearsal check --timing`: how well this machine keeps times, measured on the pump's own waiting.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Failure, print};
use crate::pump::until;
use crate::units::Span;

/// Measures for about two seconds, says what came of it, and gives 1 where that falls short: 99 of 100 times are further
/// off than `within`, or than was promised where that is not given.
pub(super) fn run(within: Option<Span>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")
        .map_err(Failure::Unusable)?;
    let rows = SLEEPERS.map(|sleepers| Row {
        sleepers,
        errors: runtime.block_on(measure(sleepers)),
    });
    let wanted = within.map_or(PROMISED, Wanted::within);
    print(&report(&rows, wanted))?;
    Ok(if wanted.is_kept_by(&rows) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// How far off times may be, early or late, in µs.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// In the middle. `None`: that is not asked for.
    p50: Option<i64>,
    /// In 99 cases of 100.
    p99: i64,
}

impl Wanted {
    fn within(time: Span) -> Self {
        Self {
            p50: None,
            p99: i64::try_from(time.0.as_micros()).unwrap_or(i64::MAX),
        }
    }

    fn is_kept_by(self, rows: &[Row]) -> bool {
        rows.iter()
            .all(|row| row.off(990) <= self.p99 && self.p50.is_none_or(|p50| row.off(500) <= p50))
    }
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

    /// So many of 1000 are off by at most this, in µs.
    fn off(&self, per_mille: usize) -> i64 {
        let mut off: Vec<_> = self
            .errors
            .iter()
            .map(|error| error.saturating_abs())
            .collect();
        off.sort_unstable();
        let rank = (off.len() * per_mille).div_ceil(1000);
        off.get(rank.saturating_sub(1)).copied().unwrap_or_default()
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

fn report(rows: &[Row], wanted: Wanted) -> String {
    let mut text =
        "achieved minus intended time (ms)\n  streams      p50      p99      max\n".to_owned();
    for row in rows {
        let [p50, p99, max] = [500, 990, 1000].map(|share| millis(row.quantile(share)));
        writeln!(text, "  {:>7}  {p50:>7}  {p99:>7}  {max:>7}", row.sleepers)
            .expect("a string takes all that is written");
    }
    let worst = |per_mille| rows.iter().map(|row| row.off(per_mille)).max();
    let is_kept = wanted.is_kept_by(rows);
    writeln!(
        text,
        "{}: off by at most {}; expected at most {}",
        if is_kept { "kept" } else { "not kept" },
        offs(worst(990).unwrap_or_default(), worst(500)),
        offs(wanted.p99, wanted.p50),
    )
    .expect("a string takes all that is written");
    if !is_kept {
        text.push_str("the machine may be busy, or too small\n");
    }
    text
}

fn offs(p99: i64, p50: Option<i64>) -> String {
    let middle = p50.map(|p50| format!(", and {} ms in the middle", millis(p50)));
    format!(
        "{} ms in 99 of 100 cases{}",
        millis(p99),
        middle.unwrap_or_default()
    )
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

/// What an otherwise idle machine keeps.
const PROMISED: Wanted = Wanted {
    p50: Some(500),
    p99: 4000,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sleepers: u32, errors: Vec<i64>) -> Row {
        Row { sleepers, errors }
    }

    #[test]
    fn a_report_has_the_ranks_and_says_what_was_kept() {
        let rows = [row(1, (1..=900).collect()), row(50, vec![-20, 400])];
        assert_eq!(
            report(&rows, PROMISED),
            "achieved minus intended time (ms)\n\
             \x20 streams      p50      p99      max\n\
             \x20       1    0.450    0.891    0.900\n\
             \x20      50   -0.020    0.400    0.400\n\
             kept: off by at most 0.891 ms in 99 of 100 cases, and 0.450 ms in the middle; \
             expected at most 4.000 ms in 99 of 100 cases, and 0.500 ms in the middle\n"
        );
        let slow = report(&[row(1, vec![9000])], Wanted::within(Span::millis(8)));
        assert!(
            slow.ends_with(
                "not kept: off by at most 9.000 ms in 99 of 100 cases, and 9.000 ms in the middle; \
                 expected at most 8.000 ms in 99 of 100 cases\nthe machine may be busy, or too small\n"
            ),
            "{slow}"
        );
    }

    #[test]
    fn one_row_that_is_too_early_or_too_late_falls_short() {
        let good = || row(1, vec![100; 100]);
        for (errors, wanted, is_kept) in [
            (vec![100; 100], PROMISED, true),
            (vec![600; 100], PROMISED, false),
            (vec![-600; 100], PROMISED, false),
            (vec![600; 100], Wanted::within(Span::millis(1)), true),
            ([vec![100; 99], vec![90_000]].concat(), PROMISED, true),
            ([vec![-90_000; 2], vec![100; 98]].concat(), PROMISED, false),
        ] {
            let rows = [good(), row(50, errors.clone())];
            assert_eq!(wanted.is_kept_by(&rows), is_kept, "{errors:?} {wanted:?}");
        }
    }
}
