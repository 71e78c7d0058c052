//! What 100,000 recordings cost: to load, to hold, and to replay from.
//!
//! Writes cassettes of recordings with answers of 1 KiB, starts `rehearsal replay` on each, and asks for a hot set and for
//! all alike, in turn. The bounds are asserted. Run with `cargo bench --bench many`; about two minutes, and 500 MB on the
//! disk. `MANY=10000` makes the large cassette smaller.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, median, rehearsal};

mod common;

const HOT: usize = 100;
const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 7;

fn main() {
    let many = std::env::var("MANY").map_or(100_000, |text| text.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let (few, some, all) = (
        home.path().join("few"),
        home.path().join("some"),
        home.path().join("all"),
    );
    let start = Instant::now();
    for (folder, count) in [(&few, 10), (&some, 10_000.min(many)), (&all, many)] {
        write(folder, count);
    }
    println!("written in {:.1} s", start.elapsed().as_secs_f64());

    let loads: Vec<f64> = (0..5)
        .map(|_| replay(&some).started.as_secs_f64())
        .collect();
    let load = median(loads);
    println!(
        "ready with {} recordings after {load:.2} s (median)",
        10_000.min(many)
    );
    let (few, all) = (replay(&few), replay(&all));
    println!(
        "ready with {many} recordings after {:.2} s; RSS {:.1} MiB, at most {:.1} MiB so far",
        all.started.as_secs_f64(),
        all.memory("VmRSS"),
        all.memory("VmHWM"),
    );

    let (hot, uniform) = costs(&few, &all, many);
    let (rss, peak) = (all.memory("VmRSS"), all.memory("VmHWM"));
    println!("a hot set costs {hot:.2} times, all alike {uniform:.2} times as much as 10 of 10");
    println!("RSS {rss:.1} MiB at the end, {peak:.1} MiB at most");

    assert!(load < 2.0, "loading 10,000 recordings takes too long");
    assert!(rss < 200.0, "too much memory is held");
    assert!(hot <= 1.15, "a hot set is slower among many");
    assert!(uniform <= 2.5, "what is not in memory is too slow");
}

/// How many times as much CPU a request costs among `many` recordings as among 10: of a hot set, and of all alike.
fn costs(few: &Server, all: &Server, many: usize) -> (f64, f64) {
    let mut costs = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        let figures = [
            ask(few, round, 10),
            ask(all, round, HOT.min(many)),
            ask(all, round, many),
        ];
        // The first round warms up.
        for (costs, figure) in costs.iter_mut().zip(figures).filter(|_| round > 0) {
            costs.push(figure);
        }
    }
    let names = ["10 of 10", "100 of all", "all alike"];
    for (name, figures) in names.iter().zip(&costs) {
        let us = median(figures.iter().map(|figure| figure.cpu_us).collect());
        let wall = median(figures.iter().map(|figure| figure.wall_us).collect());
        println!("{name}: {us:.1} µs of CPU, {wall:.1} µs of time per request (medians)");
    }
    let ratio = |of: usize, to: usize| {
        let pairs = costs[of].iter().zip(&costs[to]);
        median(
            pairs
                .map(|(one, other)| one.cpu_us / other.cpu_us)
                .collect(),
        )
    };
    (ratio(1, 0), ratio(2, 0))
}

/// Writes recordings of `GET /v1/items/N`.
fn write(folder: &Path, count: usize) {
    fs::create_dir(folder).unwrap();
    for index in 0..count {
        let digest = mix(index as u64);
        let pieces = (0..64).map(|at| format!("{:016x}", mix(digest ^ at)));
        let body = pieces.collect::<Vec<_>>().concat();
        let text = format!(
            r#"{{
  "version": 1,
  "recorded": {{
    "at": "2026-01-31T12:00:00.{index:06}Z",
    "upstream": "http://127.0.0.1:4010",
    "protocol": "http/1.1",
    "request": {{
      "method": "GET",
      "path": "/v1/items/{index}",
      "headers": [
        ["Host", "127.0.0.1:8080"],
        ["Accept", "*/*"],
        ["User-Agent", "bench/1.0"],
        ["Authorization", "Bearer [redacted:authorization]"]
      ]
    }},
    "response": {{
      "status": 200,
      "head_us": 511,
      "headers": [
        ["Date", "Sat, 31 Jan 2026 12:00:00 GMT"],
        ["Content-Type", "text/plain"],
        ["Content-Length", "1024"],
        ["X-Request-Id", "req_{digest:016x}"]
      ],
      "items": [
        [120, "{body}"]
      ]
    }},
    "ending": "complete",
    "redacted": ["authorization"],
    "key": "{digest:032x}"
  }},
  "match": {{}},
  "play": {{}}
}}
"#
        );
        let name = format!("GET-v1-items-{index}-{:012x}.json", digest >> 16);
        fs::write(folder.join(name), text).unwrap();
    }
}

/// `SplitMix64`: the same numbers in each run.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What one request cost, on average.
struct Figure {
    /// In the process that answered.
    cpu_us: f64,
    wall_us: f64,
}

/// Answers from a cassette, without any waiting.
fn replay(cassette: &Path) -> Server {
    let cassette = cassette.to_str().unwrap();
    Server::start(rehearsal(&["replay", "--instant", "--cassette", cassette]))
}

/// Asks for recordings below `among`, each as likely as the other.
fn ask(server: &Server, round: usize, among: usize) -> Figure {
    let (cpu, start) = (server.cpu(), Instant::now());
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let seed = mix((round * CONNECTIONS + connection) as u64);
            scope.spawn(move || client(server.address, seed, among));
        }
    });
    let (cpu, wall) = (server.cpu().saturating_sub(cpu), start.elapsed());
    let each = |span: Duration| span.as_secs_f64() * 1e6 / REQUESTS as f64;
    Figure {
        cpu_us: each(cpu),
        wall_us: each(wall),
    }
}

fn client(address: SocketAddr, seed: u64, among: usize) {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut answer = vec![0; 8192];
    for number in 0..REQUESTS / CONNECTIONS {
        let index = mix(seed ^ number as u64) % among as u64;
        let request = format!("GET /v1/items/{index} HTTP/1.1\r\nHost: x\r\n\r\n");
        tcp.write_all(request.as_bytes()).unwrap();
        let mut have = 0;
        loop {
            have += tcp.read(&mut answer[have..]).unwrap();
            let head = answer[..have].windows(4).position(|at| at == b"\r\n\r\n");
            if head.is_some_and(|head| have >= head + 4 + 1024) {
                break;
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{index}");
    }
}
