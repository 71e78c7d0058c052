//! What pingora costs without us: our accept loop and connection, and nothing on top of pingora's own proxy.
//!
//! `baseline static` answers everything with 1 KiB; `baseline forward ADDR` passes everything on to `ADDR`; `baseline pace COUNT`
//! sends so many events to whoever asks, one every 20 ms; `baseline chunks COUNT` sends them at once. It says where it listens, and runs until it is killed.
//! `compare.py` and `pace.rs` measure against it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool may panic, and says on stdout where it listens"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use rehearsal::conn::Conn;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Passes requests on, or answers them itself where there is nobody to pass them on to.
struct App {
    upstream: Option<SocketAddr>,
}

#[async_trait]
impl ProxyHttp for App {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        if self.upstream.is_some() {
            return Ok(false);
        }
        let mut head = ResponseHeader::build(200, Some(2))?;
        head.insert_header("Content-Type", "application/octet-stream")?;
        head.insert_header("Content-Length", "1024")?;
        session.write_response_header(Box::new(head), false).await?;
        let body = Bytes::from_static(&[b'x'; 1024]);
        session.write_response_body(Some(body), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let upstream = self
            .upstream
            .expect("it is asked for only where there is one");
        Ok(Box::new(HttpPeer::new(upstream, false, String::new())))
    }
}

/// Sends events in its own loop, on absolute deadlines.
struct Pace {
    count: u32,
    gap: Duration,
}

#[async_trait]
impl HttpServerApp for Pace {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.read_request().await.ok().filter(|read| *read)?;
        while session.read_request_body().await.ok()?.is_some() {}
        let mut head = ResponseHeader::build(200, Some(2)).ok()?;
        head.insert_header("Content-Type", "text/event-stream")
            .ok()?;
        head.insert_header("Transfer-Encoding", "chunked").ok()?;
        session.write_response_header(Box::new(head)).await.ok()?;
        let start = Instant::now();
        for number in 1..=self.count {
            if !self.gap.is_zero() {
                sleep_until(start + self.gap * number).await;
            }
            let event = Bytes::from_static(EVENT.as_bytes());
            session.write_response_body(event, false).await.ok()?;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let (stream, _) = session.finish().await.ok().flatten()?.into_parts();
        Some(ReusedHttpStream::new(stream, Some(settings)))
    }
}

/// On one core a runtime of one thread costs least.
fn main() {
    let runtime = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    }
    .enable_all()
    .build();
    runtime.unwrap().block_on(run());
}

async fn run() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let proxy = |upstream| http_proxy(&Arc::new(ServerConf::default()), App { upstream });
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["static"] => serve(proxy(None)).await,
        ["forward", addr] => serve(proxy(Some(addr.parse().unwrap()))).await,
        ["pace", count] => {
            let count = count.parse().unwrap();
            serve(Pace { count, gap: GAP }).await;
        }
        ["chunks", count] => {
            let (count, gap) = (count.parse().unwrap(), Duration::ZERO);
            serve(Pace { count, gap }).await;
        }
        // `cargo bench` runs all there are; this one measures nothing by itself.
        _ => println!(
            "usage: baseline static | baseline forward ADDR | baseline pace COUNT | baseline chunks COUNT"
        ),
    }
}

async fn serve<App: ServerApp + Send + Sync + 'static>(app: App) {
    let app = Arc::new(app);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    let (_open, is_closing) = watch::channel(false);
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (app, is_closing) = (Arc::clone(&app), is_closing.clone());
        tokio::spawn(async move {
            if let Ok(conn) = Conn::accepted(tcp) {
                app.process_new(Box::new(conn), &is_closing).await;
            }
        });
    }
}

const GAP: Duration = Duration::from_millis(20);

/// As long as what the fake backend says of one token.
const EVENT: &str = "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"rehearse \"},\"finish_reason\":null}]}\n\n";
