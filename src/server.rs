//! Binds, accepts, sees what a client speaks, hands connections on, and stops gracefully.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::conn::Conn;
use crate::gate::{self, Entry};
use crate::h2::serve_connection;
use crate::proxy::{Proxy, Stages};

/// Bound listeners and what answers on them.
pub struct Server {
    doors: Vec<Door>,
    proxy: Arc<Proxy>,
}

/// A bound listener.
struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

/// Why a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was told to: connections without a request are closed at once.
    Ordered,
    /// Another process has its listeners: the next request on a connection that stays open is answered, and is the last there;
    /// one without a request for [`COURTESY`] is closed.
    HandedOver,
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

    /// On a bound listener, without TLS.
    pub fn new(listener: TcpListener, proxy: Arc<Proxy>) -> Self {
        let doors = vec![Door {
            listener,
            tls: None,
        }];
        Self { doors, proxy }
    }

    /// And on one with TLS.
    ///
    /// # Errors
    /// If the library of TLS was built without the versions of it that are in use.
    pub fn with_tls(
        mut self,
        listener: TcpListener,
        certificate: Certificate,
    ) -> Result<Self, rustls::Error> {
        let config: ServerConfig = certificate.server_config()?;
        self.doors.push(Door {
            listener,
            tls: Some(TlsAcceptor::from(Arc::new(config))),
        });
        Ok(self)
    }

    /// Where it listens, first without TLS, then with it; ports are the real ones where 0 was asked for.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.doors
            .iter()
            .map(|door| door.listener.local_addr())
            .collect()
    }

    /// Where it listens without TLS.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.doors
            .first()
            .ok_or(io::ErrorKind::NotConnected)?
            .listener
            .local_addr()
    }

    /// The listeners, by the scheme of what is spoken on them.
    pub fn listeners(&self) -> impl Iterator<Item = (&'static str, &TcpListener)> {
        self.doors.iter().map(|door| {
            let scheme = if door.tls.is_some() { "https" } else { "http" };
            (scheme, &door.listener)
        })
    }

    /// Serves until `stop` resolves, then lets what is in flight go on for at most `grace`.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) -> Stopped {
        let stop = async {
            stop.await;
            Stop::Ordered
        };
        self.run_until(stop, grace).await
    }

    /// Serves until `stop` says why not to, then lets what is in flight go on for at most `grace`.
    pub async fn run_until(self, stop: impl Future<Output = Stop>, grace: Duration) -> Stopped {
        let (leaving, is_leaving) = watch::channel(false);
        let (closing, is_closing) = watch::channel(false);
        let stages = Stages {
            is_leaving,
            is_closing,
        };
        let mut connections = JoinSet::new();
        let mut turn = 0;
        let mut turned = self.proxy.flow().state.board().turns();
        let mut shut = gate::is_shut(&self.proxy.flow().state).then(|| self.shut());
        tokio::pin!(stop);
        let stop = loop {
            if let Some(addresses) = shut.take() {
                tokio::select! {
                    stop = &mut stop => break stop,
                    () = tokio::time::sleep(gate::SHUT_LOOK) => {}
                }
                if gate::is_shut(&self.proxy.flow().state) {
                    shut = Some(addresses);
                } else {
                    self.open_again(&addresses);
                }
                continue;
            }
            tokio::select! {
                stop = &mut stop => break stop,
                // The board lives as long as the proxy.
                _ = turned.changed() => shut = gate::is_shut(&self.proxy.flow().state).then(|| self.shut()),
                (door, accepted) = accept(&self.doors, &mut turn) => match accepted {
                    Ok((tcp, peer)) => {
                        let (proxy, stages) = (Arc::clone(&self.proxy), stages.clone());
                        let tls = door.tls.clone();
                        connections.spawn(serve(tcp, peer, tls, proxy, stages));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        // Out of file descriptors, most likely: it does not get better at once.
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        };
        drop(self.doors);
        self.proxy.leave();
        leaving.send_replace(true);
        wind_down(connections, stop, closing, grace).await
    }
}

impl Server {
    /// Has the system refuse who connects. The sockets stay, as a process that takes over may ask for them.
    fn shut(&self) -> Vec<SocketAddr> {
        let addresses = self.addresses().unwrap_or_default();
        for door in &self.doors {
            if let Err(error) = rustix::net::shutdown(&door.listener, rustix::net::Shutdown::Read) {
                tracing::warn!(%error, "could not refuse connections");
            }
        }
        addresses
    }

    /// Listens again, where it listened before.
    fn open_again(&self, addresses: &[SocketAddr]) {
        for (door, address) in self.doors.iter().zip(addresses) {
            // A port that the system had chosen was given back; one of the config's is still bound, which is said by an error.
            rustix::net::bind(&door.listener, address).ok();
            if let Err(error) = rustix::net::listen(&door.listener, BACKLOG) {
                tracing::error!(%error, %address, "could not listen again");
            }
        }
    }
}

/// Lets what is in flight go on for at most `grace`. Connections that carry nothing are told to close by `closing`: at once,
/// or after a while in which requests that are on their way still find them.
async fn wind_down(
    mut connections: JoinSet<()>,
    stop: Stop,
    closing: watch::Sender<bool>,
    grace: Duration,
) -> Stopped {
    let end = Instant::now() + grace;
    let courtesy = match stop {
        Stop::Ordered => Duration::ZERO,
        Stop::HandedOver => COURTESY.min(grace),
    };
    if !courtesy.is_zero() && timeout(courtesy, drain(&mut connections)).await.is_ok() {
        return Stopped::Drained;
    }
    closing.send_replace(true);
    if timeout_at(end, drain(&mut connections)).await.is_ok() {
        return Stopped::Drained;
    }
    let busy = connections.len();
    connections.shutdown().await;
    Stopped::GraceOver(busy)
}

async fn drain(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// The next connection, from each listener in turn, so that one with many does not keep the others waiting.
async fn accept<'a>(
    doors: &'a [Door],
    turn: &mut usize,
) -> (&'a Door, io::Result<(TcpStream, SocketAddr)>) {
    poll_fn(|cx| {
        for _ in doors {
            *turn = (*turn + 1) % doors.len();
            let door = &doors[*turn];
            if let Poll::Ready(accepted) = door.listener.poll_accept(cx) {
                return Poll::Ready((door, accepted));
            }
        }
        Poll::Pending
    })
    .await
}

/// Serves one connection to its end.
async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    proxy: Arc<Proxy>,
    mut stages: Stages,
) {
    let (manners, held) = match gate::enter(&proxy.flow().state, peer.ip()) {
        Entry::Pass(manners, held) => (manners, held),
        Entry::Refuse => {
            // A socket that is gone needs no reset.
            drop(socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)));
            return;
        }
        Entry::Blackhole(watch) => return gate::blackhole(tcp, watch).await,
    };
    let patience = proxy.flow().state.plan().keepalive;
    let opened = tokio::select! {
        biased;
        opened = timeout(patience, open(tcp, tls)) => opened,
        // The sender lives as long as the server runs.
        _ = stages.is_closing.wait_for(|is_closing| *is_closing) => return,
    };
    if let Ok(Ok((conn, _))) = &opened {
        conn.ctl().behave(manners);
    }
    match opened {
        Ok(Ok((conn, true))) => {
            // On the heap, and not in the state of connections with HTTP/1 too.
            Box::pin(serve_connection(conn, Some(peer.ip()), &proxy, stages)).await;
        }
        Ok(Ok((conn, false))) => {
            let conn = Box::new(conn);
            proxy.serve_http1(conn, &stages.is_closing).await;
        }
        // What a client does not like of our certificate is good to know; that it left is not.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            let what = error.get_ref().and_then(|error| error.downcast_ref());
            if let Some(rustls::Error::InvalidMessage(_)) = what {
                tracing::info!(
                    %error,
                    "a client does not speak TLS with the listener for HTTPS: its URL should begin with `https://`, or name `listen.http`"
                );
            } else {
                tracing::info!(%error, "a client and we did not agree on TLS");
            }
        }
        Ok(Err(_)) | Err(_) => {}
    }
    drop(held);
}

/// Greets a client, and sees whether it speaks HTTP/2.
async fn open(tcp: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Conn, bool)> {
    let Some(tls) = tls else {
        let mut conn = Conn::accepted(tcp)?;
        let is_http2 = conn.begins_with_http2().await?;
        if conn.begins_with_tls() {
            tracing::info!(
                "a client speaks TLS with the listener for plain HTTP: its URL should begin with `http://`, or name `listen.https`"
            );
        }
        return Ok((conn, is_http2));
    };
    tcp.set_nodelay(true)?;
    let tls = Box::pin(tls.accept(tcp)).await?;
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Conn::tls(tls)?, is_http2))
}

/// For how long after a hand-over a connection without a request is kept, so that a client that is just about to send
/// one does not lose it.
pub const COURTESY: Duration = Duration::from_secs(2);

/// How many connections wait to be accepted, as tokio has it (1.x).
const BACKLOG: i32 = 1024;

/// How long no connection is accepted after a failure to accept one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
