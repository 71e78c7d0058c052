//! How true intended times are kept: an injected latency at 50 and at 1,000 connections, tokens at 15 ms and at 1 ms, and many
//! streams at 20 ms; and what the stages of faults cost where nothing is configured.
//!
//! Starts the binary and talks to it over loopback. The bounds are those of an otherwise idle machine and are asserted. Run
//! with `cargo bench --bench timing`; about a minute.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LATENCY: Duration = Duration::from_millis(100);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let few = latency(50, 20).await;
        println!("+100 ms at    50 connections: achieved - intended {few}");
        let many = latency(1000, 5).await;
        println!("+100 ms at 1,000 connections: achieved - intended {many}");
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
        for one in [&few, &many] {
            assert!(
                one.p50.abs() <= 0.5 && one.p99 <= 4.0,
                "a latency is not kept"
            );
        }
        assert!(gaps.p99 <= 10.0, "gaps are not kept");
    });
}

/// What a request takes beyond the latency asked for, less what it takes without one, in ms.
async fn latency(connections: usize, rounds: usize) -> Quantiles {
    let route = |more: &str| {
        format!(
            "[[route]]\nmatch = {{ path = \"/v1/models\" }}\nmode = \"synthesize\"\nupstream = \"fake\"\npace = \"instant\"\n{more}"
        )
    };
    let plain = Proxy::start(&route(""));
    let broken = Proxy::start(&route("[[route.fault]]\nlatency = \"100ms\"\n"));
    // Of one connection alone: many without a latency would only measure how long they wait for each other.
    let base = Quantiles::of(asked(plain.port, 1, 50).await);
    let took = asked(broken.port, connections, rounds).await;
    Quantiles::of(
        took.into_iter()
            .map(|took| took - base.p50 - LATENCY.as_secs_f64() * 1e3)
            .collect(),
    )
}

/// How long each of many requests takes, in ms. The connections begin spread over 100 ms, as clients that don't know of each other.
async fn asked(port: u16, connections: usize, rounds: usize) -> Vec<f64> {
    let mut tasks = Vec::new();
    for number in 0..connections {
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::time::sleep(Duration::from_micros(
                number as u64 * 100_003 / connections as u64,
            ))
            .await;
            let mut took = Vec::new();
            let mut buffer = vec![0; 16 * 1024];
            for _ in 0..rounds {
                let begun = Instant::now();
                stream
                    .write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
                    .await
                    .unwrap();
                let mut read = Vec::new();
                while !is_whole(&read) {
                    let count = stream.read(&mut buffer).await.unwrap();
                    assert!(count > 0, "the proxy closed");
                    read.extend_from_slice(&buffer[..count]);
                }
                took.push(begun.elapsed().as_secs_f64() * 1e3);
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

fn is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().unwrap())
    });
    length.is_some_and(|length| body.len() >= length)
}

/// From the first token to the last, in s: the median of five streams.
async fn tokens(gap: &str, count: usize) -> f64 {
    let proxy = Proxy::fake(&["--ttft", "50ms", "--gap", gap]);
    let mut spans = Vec::new();
    for _ in 0..5 {
        let times = stream(proxy.port, count).await;
        spans.push((*times.last().unwrap() - times[0]).as_secs_f64());
    }
    spans.sort_by(f64::total_cmp);
    spans[2]
}

/// How far gaps are from 20 ms, in ms, over many streams at once.
async fn streams(count: usize, length: usize) -> Quantiles {
    let proxy = Proxy::fake(&["--ttft", "50ms", "--gap", "20ms"]);
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(tokio::spawn(stream(proxy.port, length)));
        tokio::time::sleep(Duration::from_micros(137)).await;
    }
    let mut errors = Vec::new();
    for task in tasks {
        let times = task.await.unwrap();
        errors.extend(
            times
                .windows(2)
                .map(|pair| ((pair[1] - pair[0]).as_secs_f64() * 1e3 - 20.0).abs()),
        );
    }
    Quantiles::of(errors)
}

/// When each token of a stream came.
async fn stream(port: u16, tokens: usize) -> Vec<Instant> {
    let body = format!(
        "{{\"model\":\"m\",\"stream\":true,\"ignore_eos\":true,\"max_tokens\":{tokens},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut times = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        let now = Instant::now();
        if count == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        // The role comes with an empty content, the rest of the events without any.
        let came = text.matches("\"delta\":{\"content\":\"").count();
        times.extend(std::iter::repeat_n(now, came));
    }
    assert_eq!(times.len(), tokens, "all tokens came");
    times
}

struct Quantiles {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
            self.p50, self.p99, self.max
        )
    }
}

/// The binary under measurement; ends with this.
struct Proxy {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rehearsal.toml");
        std::fs::write(&file, config).unwrap();
        Self::run(&["serve", "-c", file.to_str().unwrap()], folder)
    }

    fn fake(flags: &[&str]) -> Self {
        Self::run(&[&["fake"], flags].concat(), tempfile::tempdir().unwrap())
    }

    fn run(args: &[&str], folder: tempfile::TempDir) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rehearsal"))
            .args(args)
            .args(["--listen", "127.0.0.1:0"])
            .env("REHEARSAL_LOG", "warn")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .expect("the first line says where it listens");
        Self {
            child,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
