//! What recording adds to a stream, and how true a replay is to the recorded times.
//!
//! An upstream sends 100 chunks at 10 ms, each with the moment at which it was sent. Ten clients at a time read them,
//! directly and through `rehearsal record`, in turn, and the one-way delays are compared; then the recordings are
//! replayed. The bounds are asserted. Run with `cargo bench --bench stream`; about a minute.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use common::{Quantiles, Server, millis, rehearsal};
use rehearsal::cassette::{Access, Cassette};

mod common;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const CHUNKS: u32 = 100;
const GAP: Duration = Duration::from_millis(10);
const STREAMS: usize = 10;
const ROUNDS: usize = 5;

fn main() {
    LazyLock::force(&START);
    let dir = tempfile::tempdir().unwrap();
    let (direct, recording) = record(upstream(), dir.path());
    println!("one-way delay per chunk, direct:    {direct}");
    println!("one-way delay per chunk, recording: {recording}");
    println!(
        "recording adds: p50 {:.3} ms, p99 {:.3} ms",
        recording.p50 - direct.p50,
        recording.p99 - direct.p99
    );

    let (errors, totals) = replay(dir.path());
    println!("replayed against recorded time, per chunk: {errors}");
    println!(
        "replayed against recorded time, in all: p50 {:.3} %, max {:.3} %",
        totals.p50, totals.max
    );

    assert!(
        recording.p50 - direct.p50 <= 0.15,
        "recording adds too much in the median"
    );
    assert!(
        recording.p99 - direct.p99 <= 0.5,
        "recording adds too much at the 99th percentile"
    );
    assert!(
        errors.p99 <= 2.0,
        "chunks are replayed too far from their times"
    );
    assert!(
        totals.p50 <= 0.1,
        "replays take too long or too short in all"
    );
}

/// The one-way delays without `rehearsal` and while it records, in ms.
fn record(upstream: SocketAddr, cassette: &Path) -> (Quantiles, Quantiles) {
    let (mut direct, mut recording) = (Vec::new(), Vec::new());
    let proxy = Server::start(rehearsal(&[
        "record",
        "--upstream",
        &format!("http://{upstream}"),
        "--cassette",
        cassette.to_str().unwrap(),
    ]));
    clients(proxy.address, "warm");
    for round in 0..ROUNDS {
        direct.extend(clients(upstream, &format!("direct{round}")));
        recording.extend(clients(proxy.address, &format!("round{round}")));
    }
    (delays(direct), delays(recording))
}

/// How far each chunk of a replay is from its time, in ms, and each replay in all, in percent.
fn replay(cassette: &Path) -> (Quantiles, Quantiles) {
    let folder = cassette.to_str().unwrap();
    let proxy = Server::start(rehearsal(&["replay", "--cassette", folder]));
    let (mut errors, mut totals) = (Vec::new(), Vec::new());
    for (path, recorded) in recorded_times(cassette).into_iter().take(20) {
        let replayed = read_stream(proxy.address, &path).times;
        assert_eq!(replayed.len(), recorded.len());
        errors.extend(
            replayed
                .iter()
                .zip(&recorded)
                .map(|(one, other)| (millis(*one) - millis(*other)).abs()),
        );
        let (replayed, recorded) = (
            millis(*replayed.last().unwrap()),
            millis(*recorded.last().unwrap()),
        );
        totals.push((replayed - recorded).abs() / recorded * 100.0);
    }
    (Quantiles::of(errors), Quantiles::of(totals))
}

fn delays(streams: Vec<Stream>) -> Quantiles {
    Quantiles::of(
        streams
            .into_iter()
            .flat_map(|stream| stream.delays)
            .collect(),
    )
}

/// What one client saw.
struct Stream {
    /// From the moment a chunk was sent to the moment it was read, in ms.
    delays: Vec<f64>,
    /// When each chunk was read, from the moment the head was.
    times: Vec<Duration>,
}

fn clients(address: SocketAddr, name: &str) -> Vec<Stream> {
    let read = |index: usize| {
        let path = format!("/{name}-{index}");
        thread::spawn(move || read_stream(address, &path))
    };
    let handles: Vec<_> = (0..STREAMS).map(read).collect();
    handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect()
}

fn read_stream(address: SocketAddr, path: &str) -> Stream {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .unwrap();
    let mut stream = Stream {
        delays: Vec::new(),
        times: Vec::new(),
    };
    let mut buffer = Vec::new();
    let mut piece = [0; 4096];
    let mut head = None;
    loop {
        let count = tcp.read(&mut piece).unwrap();
        let now = START.elapsed();
        if count == 0 {
            return stream;
        }
        buffer.extend_from_slice(&piece[..count]);
        if head.is_none()
            && let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            assert!(
                buffer.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&buffer)
            );
            buffer.drain(..end + 4);
            head = Some(now);
        }
        while let Some(from) = buffer.iter().position(|byte| *byte == b'@') {
            let Some(length) = buffer[from + 1..].iter().position(|byte| *byte == b'@') else {
                break;
            };
            let sent: u64 = std::str::from_utf8(&buffer[from + 1..=from + length])
                .unwrap()
                .parse()
                .unwrap();
            stream
                .delays
                .push(millis(now.saturating_sub(Duration::from_nanos(sent))));
            stream.times.push(now.saturating_sub(head.unwrap()));
            buffer.drain(..from + length + 2);
        }
        if stream.times.len() == CHUNKS as usize {
            return stream;
        }
    }
}

/// A plain server that streams to whoever asks.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            // A client that goes away is no failure.
            thread::spawn(move || stream_to(tcp.unwrap()).ok());
        }
    });
    address
}

fn stream_to(mut tcp: TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut lines = BufReader::new(tcp.try_clone()?).lines();
    while let Some(first) = lines.next() {
        if first?.is_empty() {
            continue;
        }
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let start = Instant::now();
        for index in 1..=CHUNKS {
            thread::sleep((start + GAP * index).saturating_duration_since(Instant::now()));
            let event = format!("data: @{}@\n\n", START.elapsed().as_nanos());
            tcp.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        }
        tcp.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}

/// The recordings' paths, and the recorded time of each chunk.
fn recorded_times(dir: &Path) -> Vec<(String, Vec<Duration>)> {
    let cassette = Cassette::open(dir, Access::Read).unwrap();
    let recordings = cassette
        .entries()
        .into_iter()
        .filter(|entry| entry.path.starts_with("/round"));
    recordings
        .map(|entry| {
            let recording = cassette.named(&entry.name).unwrap();
            (
                entry.path,
                recording.items.iter().map(|item| item.at).collect(),
            )
        })
        .collect()
}
