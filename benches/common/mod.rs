//! What the benches share: the programs that are measured, what they use, and quantiles of what was seen.

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "each bench uses a part of it, and a place in a list is no large number"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A server as a process of its own; told to stop when dropped, and waited for.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Until it could answer.
    pub(crate) started: Duration,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Any server whose first line on stdout is `listening on http://ADDRESS`.
    pub(crate) fn start(mut command: Command) -> Self {
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let started = start.elapsed();
        let address = line.trim().strip_prefix("listening on http://");
        Self {
            address: address
                .expect("the first line says where it listens")
                .parse()
                .unwrap(),
            child,
            started,
            stdout,
        }
    }

    /// What it says next on stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// All that its threads used so far, to 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// A line of its status, such as `VmRSS` or `VmHWM`, in MiB.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// `rehearsal` with these arguments, on a free port.
pub(crate) fn rehearsal(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehearsal"));
    command
        .args(args)
        .args(["--listen", "127.0.0.1:0"])
        .env("REHEARSAL_LOG", "warn");
    command
}

/// The same on a core of its own, so that the load, [kept](load_apart) to another, doesn't stand in its way. Needs `taskset`.
pub(crate) fn apart(command: &Command) -> Command {
    let mut apart = Command::new("taskset");
    apart
        .args(["-c", SERVER_CORE])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        apart.env(name, value.unwrap_or_default());
    }
    apart
}

/// Keeps this thread, and those it starts from now on, to the core of the load.
pub(crate) fn load_apart() {
    let pid = std::process::id().to_string();
    let done = Command::new("taskset")
        .args(["-c", "-p", LOAD_CORE, &pid])
        .output();
    assert!(
        done.is_ok_and(|done| done.status.success()),
        "`taskset` failed; two cores are needed"
    );
}

/// A runtime on this thread alone.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Asks `rehearsal fake`, or what answers like it, for a stream of so many tokens, and says when each came. `seen` is told how
/// many came with each read.
pub(crate) async fn token_times(
    address: SocketAddr,
    tokens: usize,
    mut seen: impl FnMut(usize),
) -> Vec<Instant> {
    let body = format!(
        "{{\"model\":\"m\",\"stream\":true,\"ignore_eos\":true,\"max_tokens\":{tokens},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
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
    let mut times = Vec::with_capacity(tokens);
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
        seen(here);
        kept = end.min(token.needle().len() - 1);
        buffer.copy_within(end - kept..end, 0);
    }
    assert_eq!(times.len(), tokens, "all tokens came");
    times
}

/// How far the time between two tokens is from what it should be, in ms.
pub(crate) fn gap_error(pair: &[Instant], gap: f64) -> f64 {
    (millis(pair[1] - pair[0]) - gap).abs()
}

pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// What a process used so far, to 10 ms.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|text| text.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// A sorted look at many values.
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    /// Of values in ms.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
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

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
