//! How true the gaps of many streams are, and what an event costs, beside pingora alone: an event every 20 ms, from
//! `rehearsal fake` and from `baseline pace`, in turn.
//!
//! The gaps are those of 2,000 streams, with the server and the load on all cores. The cost is that of 1,000 streams, with the
//! server on one core and the load on another: so a core is used by two thirds, and one that has to catch up would seem cheap.
//! Needs `taskset`. The bounds are those of an otherwise idle machine and are asserted. Run with
//! `cargo build --release --bench baseline && cargo bench --bench pace`; some three minutes. `ROUNDS=1` is quicker.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::cell::Cell;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{
    Quantiles, Server, apart, cpu_of, gap_error, load_apart, median, rehearsal, runtime,
    token_times,
};
use tokio::task::LocalSet;

mod common;

const GAP: f64 = 20.0;
const FOR_GAPS: usize = 2000;
const FOR_COST: usize = 1000;
/// Within this all streams are open; until then they are spread.
const OPENING: Duration = Duration::from_secs(8);
const WINDOW: Duration = Duration::from_secs(6);
/// As many events as the opening, the window, and a second more take.
const EVENTS: usize = 750;

fn main() {
    let rounds = std::env::var("ROUNDS").map_or(3, |text| text.parse().unwrap());
    let runtime = runtime();
    let measure = |command: Command, streams| {
        let server = Server::start(command);
        LocalSet::new().block_on(&runtime, seen(&server, streams))
    };
    let fake = || rehearsal(&["fake", "--ttft", "20ms", "--gap", "20ms"]);
    measure(baseline(), FOR_GAPS).told("2,000 streams, pingora alone ");
    let wide = measure(fake(), FOR_GAPS).told("2,000 streams, rehearsal fake");
    load_apart();
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let one = measure(apart(&baseline()), FOR_COST);
        bare.push(one.told("1,000 streams, pingora alone ").cpu_us);
        let one = measure(apart(&fake()), FOR_COST);
        ours.push(one.told("1,000 streams, rehearsal fake").cpu_us);
    }
    let ratio = median(ours) / median(bare);
    println!("an event costs {ratio:.2} times as much as of pingora alone");
    assert!(wide.gaps.p99 < 10.0, "gaps are not kept");
    assert!(ratio <= 1.3, "an event costs too much");
}

/// What was seen within the window.
struct Seen {
    /// Of the server, for an event that came.
    cpu_us: f64,
    /// How far gaps are from what they should be.
    gaps: Quantiles,
    /// Cores in use.
    server: f64,
    load: f64,
    /// What came, as a share of what should.
    share: f64,
}

impl Seen {
    fn told(self, name: &str) -> Self {
        println!(
            "{name} {:.2} µs of CPU per event, {:.1} % of the events, gap error {}; server {:.2} cores, load {:.2}",
            self.cpu_us,
            self.share * 100.0,
            self.gaps,
            self.server,
            self.load
        );
        self
    }
}

async fn seen(server: &Server, count: usize) -> Seen {
    let came = Rc::new(Cell::new(0_u64));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..count {
        // To make up an answer takes time too, and none may be left of that in the window.
        let at = OPENING.mul_f64(number as f64 / count as f64 * 0.9);
        tokio::time::sleep_until((begun + at).into()).await;
        let came = Rc::clone(&came);
        let count = move |here| came.set(came.get() + here as u64);
        let one = token_times(server.address, EVENTS, count);
        tasks.push(tokio::task::spawn_local(one));
    }
    let own = std::process::id();
    tokio::time::sleep_until((begun + OPENING).into()).await;
    let (start, before) = (Instant::now(), (server.cpu(), cpu_of(own), came.get()));
    tokio::time::sleep(WINDOW).await;
    let (end, after) = (Instant::now(), (server.cpu(), cpu_of(own), came.get()));
    let mut errors = Vec::new();
    for task in tasks {
        let times = task.await.unwrap();
        let within = times
            .windows(2)
            .filter(|pair| pair[0] >= start && pair[1] <= end);
        errors.extend(within.map(|pair| gap_error(pair, GAP)));
    }
    let (span, events) = ((end - start).as_secs_f64(), (after.2 - before.2) as f64);
    let used = after.0.saturating_sub(before.0).as_secs_f64();
    Seen {
        cpu_us: used * 1e6 / events,
        gaps: Quantiles::of(errors),
        server: used / span,
        load: after.1.saturating_sub(before.1).as_secs_f64() / span,
        share: events / (count as f64 * span * 1e3 / GAP),
    }
}

/// The newest `baseline` that was built beside this.
fn baseline() -> Command {
    let here = std::env::current_exe().unwrap();
    let built = fs::read_dir(here.parent().unwrap()).unwrap();
    let programs = built.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("baseline-") && path.extension().is_none()
    });
    let newest = programs.max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    let mut command =
        Command::new(newest.expect("`cargo build --release --bench baseline` makes it"));
    command.args(["pace", &EVENTS.to_string()]);
    command
}
