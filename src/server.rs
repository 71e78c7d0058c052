//! Binds, accepts, hands connections to pingora, and stops gracefully.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::conn::Conn;
use crate::proxy::Proxy;

/// A bound listener and what answers on it.
pub struct Server {
    listener: TcpListener,
    proxy: Arc<Proxy>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All that was in flight went through.
    Drained,
    /// So many connections were still busy when the grace time was over.
    GraceOver(usize),
}

impl Server {
    /// Binds; what connects waits until a server runs.
    ///
    /// # Errors
    /// If the address is in use, or not ours.
    pub async fn listen(address: &str) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    /// On a bound listener.
    pub fn new(listener: TcpListener, proxy: Arc<Proxy>) -> Self {
        Self { listener, proxy }
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves, then lets what is in flight go on for at most `grace`.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) -> Stopped {
        let (stopping, is_stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted.map(|(tcp, _)| Conn::accepted(tcp)) {
                    Ok(Ok(conn)) => {
                        conn.ctl().keep_line(b"");
                        let (proxy, is_stopping) = (Arc::clone(&self.proxy), is_stopping.clone());
                        connections.spawn(async move {
                            proxy.process_new(Box::new(conn), &is_stopping).await;
                        });
                    }
                    // The client was gone before we looked.
                    Ok(Err(_)) => {}
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        // Out of file descriptors, most likely: it does not get better at once.
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        stopping.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, drained).await.is_ok() {
            return Stopped::Drained;
        }
        let busy = connections.len();
        connections.shutdown().await;
        Stopped::GraceOver(busy)
    }
}

/// How long no connection is accepted after a failure to accept one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
