//! A stage for stories over real sockets: a scripted upstream, `rehearsal` itself in this process, and a raw client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rehearsal::cassette::{Access, Cassette};
use rehearsal::config::Config;
use rehearsal::exchange::Flow;
use rehearsal::plan::Plan;
use rehearsal::proxy::Proxy;
use rehearsal::server::{Server, Stopped};
use rehearsal::state::State;
use rehearsal::upstream::Upstreams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// What the upstream does once it has read a request's head.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Send(Vec<u8>),
    Pause(Duration),
    /// Reads the request's body to its end.
    ReadBody,
    Close,
    Reset,
}

/// An upstream that does for every request on a path what its script says.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<std::sync::Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn start(
        script: impl Fn(&str, usize) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(std::sync::Mutex::new(Vec::new()));
        let script = Arc::new(script);
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        let serving = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move { serve(tcp, &*script, &seen).await });
            }
        });
        Self {
            address,
            connections,
            requests,
            serving,
        }
    }

    pub(crate) fn stop(&self) {
        self.serving.abort();
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut tcp: TcpStream,
    script: &(dyn Fn(&str, usize) -> Vec<Act> + Send + Sync),
    seen: &std::sync::Mutex<Vec<String>>,
) {
    tcp.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    for turn in 0.. {
        let Some(head) = read_until(&mut tcp, &mut buffer, b"\r\n\r\n").await else {
            return;
        };
        let head = String::from_utf8(head).unwrap();
        seen.lock().unwrap().push(head.clone());
        for act in script(head.lines().next().unwrap(), turn) {
            match act {
                Act::Send(bytes) => {
                    if tcp.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Act::Pause(span) => sleep(span).await,
                Act::ReadBody => read_body(&mut tcp, &mut buffer, &head).await,
                Act::Close => return,
                Act::Reset => {
                    socket2::SockRef::from(&tcp)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    return;
                }
            }
        }
    }
}

async fn read_body(tcp: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) {
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(str::trim)
                .map(str::to_owned)
        })
        .map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if tcp.read_buf(buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
    buffer.drain(..length);
}

/// Reads up to and with `mark`; `None` at the end of the connection.
async fn read_until(tcp: &mut TcpStream, buffer: &mut Vec<u8>, mark: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(mark.len()).position(|window| window == mark) {
            return Some(buffer.drain(..at + mark.len()).collect());
        }
        if tcp.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// `rehearsal` itself, on a free port.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    cassette: Option<Cassette>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Stopped>,
}

impl Stage {
    /// With this config; its routes' `upstream` may say `UPSTREAM` for the address of `upstream`.
    pub(crate) async fn open(config: &str, upstream: Option<&Upstream>, cassette: &Path) -> Self {
        let mut text = format!(
            "[cassette]\npath = {:?}\n{config}",
            cassette.to_str().unwrap()
        );
        if let Some(upstream) = upstream {
            text = text.replace("UPSTREAM", &format!("http://{}", upstream.address));
        }
        let config = Config::parse(&text, Path::new("stage.toml")).unwrap();
        let plan = Plan::compile(&config).unwrap();
        let cassette = plan.needs_cassette().then(|| {
            let access = if plan.records() {
                Access::Write
            } else {
                Access::Read
            };
            let cassette = Cassette::open(&config.cassette.path, access).unwrap();
            cassette.index(plan.keying());
            cassette
        });
        let flow = Flow {
            state: Arc::new(State::new(plan, cassette.clone())),
            upstreams: Arc::new(Upstreams::new(16)),
            alarm: None,
        };
        let listener = Server::listen("127.0.0.1:0").await.unwrap();
        let server = Server::new(listener, Arc::new(Proxy::new(flow)));
        let address = server.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving =
            tokio::spawn(server.run(async { drop(stopped.await) }, Duration::from_secs(10)));
        Self {
            address,
            cassette,
            stop: Some(stop),
            serving,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Client {
            tcp,
            buffer: Vec::new(),
        }
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut client = self.client().await;
        client.send(request.as_bytes()).await;
        client.answer().await
    }

    /// Ends it, with everything recorded on the disk.
    pub(crate) async fn close(mut self) -> Stopped {
        self.stop.take().unwrap().send(()).unwrap();
        let stopped = self.serving.await.unwrap();
        if let Some(cassette) = self.cassette {
            tokio::task::spawn_blocking(move || cassette.close(Duration::from_secs(30)))
                .await
                .unwrap();
        }
        stopped
    }
}

/// A client that sees what is on the wire.
pub(crate) struct Client {
    pub(crate) tcp: TcpStream,
    buffer: Vec<u8>,
}

/// An answer as it was read.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The pieces of the body: HTTP chunks, or the whole of one with a length.
    pub(crate) chunks: Vec<Vec<u8>>,
    /// When each piece was whole, from the moment at which the head was.
    pub(crate) times: Vec<Duration>,
    pub(crate) end: End,
}

/// How the answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Framing,
    Fin,
    Reset,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.chunks.concat()).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    /// The head without what may differ between a recording and its replay.
    pub(crate) fn stable_head(&self) -> Vec<String> {
        self.head
            .lines()
            .filter(|line| {
                let name = line
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                !matches!(name.as_str(), "date" | "connection") && !name.starts_with("x-rehearsal-")
            })
            .map(str::to_owned)
            .collect()
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).await.unwrap();
    }

    async fn fill(&mut self) -> Result<(), End> {
        match timeout(Duration::from_secs(20), self.tcp.read_buf(&mut self.buffer))
            .await
            .expect("the proxy says something")
        {
            Ok(0) => Err(End::Fin),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => panic!("{error}"),
        }
    }

    async fn line(&mut self, mark: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = self
                .buffer
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return Ok(self.buffer.drain(..at + mark.len()).collect());
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        if let Err(end) = self.read(&mut answer).await {
            answer.end = end;
        }
        answer
    }

    async fn read(&mut self, answer: &mut Answer) -> Result<(), End> {
        answer.head = String::from_utf8(self.line(b"\r\n\r\n").await?).unwrap();
        answer.status = answer.head.split(' ').nth(1).unwrap().parse().unwrap();
        let start = Instant::now();
        let mut push = |chunk: Vec<u8>| {
            answer.chunks.push(chunk);
            answer.times.push(start.elapsed());
        };
        let head = answer.head.to_ascii_lowercase();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let size = String::from_utf8(self.line(b"\r\n").await?).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let chunk = self.exactly(size + 2).await?;
                if size == 0 {
                    return Ok(());
                }
                push(chunk[..size].to_vec());
            }
        }
        let length = head.lines().find_map(|line| {
            line.strip_prefix("content-length:")?
                .trim()
                .parse::<usize>()
                .ok()
        });
        if let Some(length) = length {
            if length > 0 {
                push(self.exactly(length).await?);
            }
            return Ok(());
        }
        if matches!(answer.status, 100..=199 | 204 | 304) {
            return Ok(());
        }
        loop {
            if !self.buffer.is_empty() {
                push(std::mem::take(&mut self.buffer));
            }
            if let Err(end) = self.fill().await {
                return if end == End::Fin { Ok(()) } else { Err(end) };
            }
        }
    }
}

/// A whole answer with a length.
pub(crate) fn reply(status: &str, headers: &str, body: &str) -> Vec<Act> {
    vec![
        Act::ReadBody,
        Act::Send(
            format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        ),
    ]
}

/// The head of a stream of events.
pub(crate) fn stream_head() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

/// One HTTP chunk.
pub(crate) fn chunk(text: &str) -> Act {
    Act::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// The end of a chunked body.
pub(crate) fn last_chunk() -> Act {
    Act::Send(b"0\r\n\r\n".to_vec())
}

pub(crate) fn pause(millis: u64) -> Act {
    Act::Pause(Duration::from_millis(millis))
}
