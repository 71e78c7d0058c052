//! How true the gaps of many streams are, and what an event costs, beside pingora alone: an event every 20 ms, from
//! `rehearsal fake` and from `baseline pace`, in turn.
//!
//! The gaps are those of 2,000 streams, with the server and the load on all cores. The cost is that of 1,000 streams, with the
//! server on one core and the load on another: so a core is used by two thirds, and one that has to catch up would seem cheap.
//! Needs `taskset`. The bounds are those of an otherwise idle machine and are asserted. Run with
//! `cargo build --release --bench baseline && cargo bench --bench pace`; some three minutes. `ROUNDS=1` is quicker.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{Quantiles, Server, apart, cpu_of, load_apart, median, rehearsal};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
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
        let one = stream(server.address, Rc::clone(&came));
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
        errors.extend(within.map(|pair| ((pair[1] - pair[0]).as_secs_f64() * 1e3 - GAP).abs()));
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

/// When each event of a stream came.
async fn stream(address: SocketAddr, came: Rc<Cell<u64>>) -> Vec<Instant> {
    let body = format!(
        "{{\"model\":\"m\",\"stream\":true,\"ignore_eos\":true,\"max_tokens\":{EVENTS},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The role comes with an empty content, the rest of the events without any.
    let token = memmem::Finder::new("\"delta\":{\"content\":\"");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut times = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; 8 * 1024];
    // What a token that is read in two parts may have left behind.
    let mut kept = 0;
    loop {
        let count = stream.read(&mut buffer[kept..]).await.unwrap();
        if count == 0 {
            break;
        }
        let now = Instant::now();
        let end = kept + count;
        let here = token.find_iter(&buffer[..end]).count();
        times.extend(std::iter::repeat_n(now, here));
        came.set(came.get() + here as u64);
        kept = end.min(token.needle().len() - 1);
        buffer.copy_within(end - kept..end, 0);
    }
    assert_eq!(times.len(), EVENTS, "all events came");
    times
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
