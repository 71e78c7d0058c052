//! How true intended times are kept: an injected latency at 50 and at 1,000 connections, tokens at 15 ms and at 1 ms, and many
//! streams at 20 ms.
//!
//! Starts the binary on one core and talks to it over loopback from another, so that what is measured is the binary and not
//! the load. Needs `taskset`. The bounds are those of an otherwise idle machine and are asserted. Run with
//! `cargo bench --bench timing`; about a minute.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{
    Quantiles, Server, apart, gap_error, load_apart, median, millis, rehearsal, runtime,
    token_times,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

mod common;

/// Of the latencies, whose medians count: one in which something else ran on the machine says little.
const TRIES: usize = 3;
const LATENCY: Duration = Duration::from_millis(100);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    load_apart();
    runtime().block_on(async {
        let mut kept = Vec::new();
        for _ in 0..TRIES {
            let few = latency(50, 20, Duration::ZERO).await;
            println!("+100 ms at    50 connections: achieved - intended {few}");
            let many = latency(1000, 10, LATENCY).await;
            println!("+100 ms at 1,000 connections: achieved - intended {many}");
            kept.push([few.seen, many.seen]);
        }
        let herd = latency(1000, 10, Duration::ZERO).await;
        println!("+100 ms at 1,000 connections that ask again at once: {herd}");
        let slow = tokens("15ms", 200).await;
        println!(
            "200 tokens at 15 ms: {slow:.4} s of 3.000 (from the first to the last: 199 gaps)"
        );
        let quick = tokens("1ms", 200).await;
        println!("200 tokens at  1 ms: {quick:.4} s");
        let gaps = streams(500, 100).await;
        println!("500 streams of 100 tokens at 20 ms: gap error {gaps}");
        let share = (slow / 2.985 - 1.0).abs();
        assert!(
            share <= 0.002,
            "tokens at 15 ms are off by {:.2} %",
            share * 100.0
        );
        assert!(
            (quick / 0.199 - 1.0).abs() <= 0.02,
            "tokens at 1 ms are off"
        );
        for case in 0..2 {
            let p50 = median(kept.iter().map(|both| both[case].p50.abs()).collect());
            let p99 = median(kept.iter().map(|both| both[case].p99).collect());
            assert!(p50 <= 0.5 && p99 <= 4.0, "a latency is not kept");
        }
        assert!(gaps.p99 <= 10.0, "gaps are not kept");
    });
}

/// How well a latency is kept.
struct Kept {
    /// What a request takes beyond the latency asked for, less what it takes without one, in ms.
    seen: Quantiles,
    /// What the server says of it itself.
    said: String,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; by its own account {}", self.seen, self.said)
    }
}

/// Each connection asks again after up to `rest`. Clients that ask again at once gather behind each other, as those of the
/// same moment are answered one by one and stay together from then on: that is how long they wait for each other, and not how
/// well a latency is kept.
async fn latency(connections: usize, rounds: usize, rest: Duration) -> Kept {
    let route = |more: &str| {
        format!(
            "[[route]]\nmatch = {{ path = \"/v1/models\" }}\nmode = \"synthesize\"\nupstream = \"fake\"\npace = \"instant\"\n{more}"
        )
    };
    let plain = configured(&route(""));
    let mut broken = configured(&route("[[route.fault]]\nlatency = \"100ms\"\n"));
    // Of one connection alone: many without a latency would only measure how long they wait for each other.
    let base = Quantiles::of(asked(plain.address, 1, 50, Duration::ZERO).await);
    let took = asked(broken.address, connections, rounds, rest).await;
    let beyond = took
        .into_iter()
        .map(|took| took - base.p50 - millis(LATENCY));
    Kept {
        seen: Quantiles::of(beyond.collect()),
        said: said(&mut broken),
    }
}

/// The time errors of its one fault, as its admin listener shows them.
fn said(server: &mut Server) -> String {
    let line = server.line();
    let admin = line.trim().strip_prefix("admin on ").unwrap();
    let mut answer = ureq::get(format!("{admin}/v1/faults"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .call()
        .unwrap();
    let told: serde_json::Value = answer.body_mut().read_json().unwrap();
    let timing = &told["faults"][0]["timing"];
    format!(
        "p50 <= {} us, p99 <= {} us",
        timing["p50_us"], timing["p99_us"]
    )
}

/// How long each of many requests takes, in ms, without the first of each connection. They begin spread over 100 ms, as
/// clients that don't know of each other, and rest for up to `rest` between two requests.
async fn asked(address: SocketAddr, connections: usize, rounds: usize, rest: Duration) -> Vec<f64> {
    let mut tasks = Vec::new();
    for number in 0..connections {
        let mut asking = Asking::begin(address).await;
        tasks.push(tokio::spawn(async move {
            // What a connection takes to be accepted is no latency.
            asking.ask().await;
            let share = number as u64 * 100_003 / connections as u64;
            tokio::time::sleep(Duration::from_micros(share)).await;
            let mut took = Vec::new();
            for round in 0..rounds {
                took.push(millis(asking.ask().await));
                // Far enough from each other, and the same in each run.
                let share = (number * 7919 + round * 104_729) % 1000;
                if !rest.is_zero() {
                    tokio::time::sleep(rest.mul_f64(share as f64 / 1000.0)).await;
                }
            }
            took
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

/// A connection on which the same is asked again and again.
struct Asking {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How long an answer is, once one was read.
    length: Option<usize>,
}

impl Asking {
    async fn begin(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: vec![0; 16 * 1024],
            length: None,
        }
    }

    async fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        let request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
        self.stream.write_all(request).await.unwrap();
        let mut have = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[have..]).await.unwrap();
            assert!(count > 0, "the proxy closed");
            have += count;
            if self.length.is_none() {
                self.length = whole(&self.buffer[..have]);
            }
            if self.length.is_some_and(|length| have >= length) {
                return begun.elapsed();
            }
        }
    }
}

/// How long an answer with this beginning is.
fn whole(read: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(read).unwrap();
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().unwrap())
    });
    Some(head.len() + 4 + length.unwrap())
}

/// From the first token to the last, in s: the median of five streams.
async fn tokens(gap: &str, count: usize) -> f64 {
    let proxy = fake(&["--ttft", "50ms", "--gap", gap]);
    let mut spans = Vec::new();
    for _ in 0..5 {
        let times = token_times(proxy.address, count, |_| ()).await;
        spans.push((*times.last().unwrap() - times[0]).as_secs_f64());
    }
    median(spans)
}

/// How far gaps are from 20 ms, in ms, over many streams at once.
async fn streams(count: usize, length: usize) -> Quantiles {
    let proxy = fake(&["--ttft", "50ms", "--gap", "20ms"]);
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(tokio::spawn(token_times(proxy.address, length, |_| ())));
        tokio::time::sleep(Duration::from_micros(137)).await;
    }
    let mut errors = Vec::new();
    for task in tasks {
        let times = task.await.unwrap();
        errors.extend(times.windows(2).map(|pair| gap_error(pair, 20.0)));
    }
    Quantiles::of(errors)
}

fn fake(flags: &[&str]) -> Server {
    Server::start(apart(&rehearsal(&[&["fake"], flags].concat())))
}

/// With this config; it is read once.
fn configured(config: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rehearsal.toml");
    std::fs::write(&file, config).unwrap();
    let args = [
        "serve",
        "-c",
        file.to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
    ];
    Server::start(apart(rehearsal(&args).env("REHEARSAL_ADMIN_TOKEN", TOKEN)))
}
