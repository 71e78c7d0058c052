//! What pingora costs without us: our accept loop and connection, and nothing on top of pingora's own proxy.
//!
//! `baseline static` answers everything with 1 KiB; `baseline forward ADDR` passes everything on to `ADDR`. It says where
//! it listens, and runs until it is killed. `compare.py` measures against it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool may panic, and says on stdout where it listens"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::ServerApp as _;
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use rehearsal::conn::Conn;
use tokio::net::TcpListener;
use tokio::sync::watch;

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

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let upstream = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["static"] => None,
        ["forward", addr] => Some(addr.parse().unwrap()),
        // `cargo bench` runs all there are; this one measures nothing by itself.
        _ => return println!("usage: baseline static | baseline forward ADDR"),
    };
    let proxy = Arc::new(http_proxy(
        &Arc::new(ServerConf::default()),
        App { upstream },
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    let (_open, is_closing) = watch::channel(false);
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (proxy, is_closing) = (Arc::clone(&proxy), is_closing.clone());
        tokio::spawn(async move {
            if let Ok(conn) = Conn::accepted(tcp) {
                proxy.process_new(Box::new(conn), &is_closing).await;
            }
        });
    }
}
