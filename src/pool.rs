//! The connections to all upstreams: one pool, one set of TLS roots.
//!
//! Pingora opens the connections. The idle ones are kept here and not in pingora's pool, whose watcher may still hold a
//! connection in the moment in which it is asked for; it is then lost (`failed to acquire reusable stream`, 0.9.1), which
//! happened to one in five on two cores.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::call::UpstreamError;
use crate::conn::Conn;
use crate::origin::Origin;
use crate::resolve::Resolver;

/// All connections that we open.
pub(crate) struct Pool {
    /// Made when it is first needed: it loads the system's TLS roots (10 to 25 ms), once.
    connector: OnceLock<TransportConnector>,
    idle: Mutex<Idle>,
    resolver: Resolver,
}

/// Connections that wait for their next request, by where they lead.
struct Idle {
    streams: HashMap<u64, VecDeque<(Instant, Stream)>>,
    count: usize,
    /// `count <= most`
    most: usize,
    /// Whether somebody looks after those that die or grow old.
    is_swept: bool,
}

impl Idle {
    /// The connection used last, if it is alive.
    fn take(&mut self, key: u64) -> Option<Stream> {
        let streams = self.streams.get_mut(&key)?;
        while let Some((_, mut stream)) = streams.pop_back() {
            self.count -= 1;
            if is_alive(&mut stream) {
                return Some(stream);
            }
        }
        self.streams.remove(&key);
        None
    }

    fn put(&mut self, key: u64, stream: Stream) {
        if self.count >= self.most {
            self.sweep(Instant::now());
        }
        if self.count < self.most {
            self.count += 1;
            self.streams
                .entry(key)
                .or_default()
                .push_back((Instant::now(), stream));
        }
    }

    /// Drops what is dead or older than [`POOLED_FOR`].
    fn sweep(&mut self, now: Instant) {
        for streams in self.streams.values_mut() {
            streams.retain_mut(|(since, stream)| {
                now.duration_since(*since) < POOLED_FOR && is_alive(stream)
            });
        }
        self.streams.retain(|_, streams| !streams.is_empty());
        self.count = self.streams.values().map(VecDeque::len).sum();
    }
}

/// Whether an idle connection is still open, and silent as it should be.
fn is_alive(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    let mut context = Context::from_waker(Waker::noop());
    matches!(
        Pin::new(stream).poll_read(&mut context, &mut byte),
        Poll::Pending
    )
}

impl Pool {
    /// No connection yet.
    ///
    /// `idle`: how many idle connections are kept in all.
    pub(crate) fn new(idle: usize) -> Self {
        let idle = Idle {
            streams: HashMap::new(),
            count: 0,
            most: idle,
            is_swept: false,
        };
        Self {
            connector: OnceLock::new(),
            idle: Mutex::new(idle),
            resolver: Resolver::default(),
        }
    }

    fn connector(&self) -> &TransportConnector {
        self.connector
            .get_or_init(|| TransportConnector::new(Some(ConnectorOptions::new(0))))
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to this origin, from the pool if there is one that is alive.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        timeout: Duration,
        pooled: bool,
    ) -> Result<Connected, UpstreamError> {
        let connecting =
            async {
                let addresses = self.resolver.resolve(origin).await.map_err(|reason| {
                    UpstreamError::Resolve {
                        host: origin.host.clone(),
                        reason,
                    }
                })?;
                let mut failure = None;
                for address in addresses {
                    let sni = if origin.is_tls {
                        origin.host.clone()
                    } else {
                        String::new()
                    };
                    let mut peer = HttpPeer::new(address, origin.is_tls, sni);
                    peer.options.set_http_version(1, 1);
                    if pooled && let Some(stream) = self.idle().take(peer.reuse_hash()) {
                        return Ok(Connected {
                            conn: Conn::upstream(stream),
                            peer,
                            is_reused: true,
                        });
                    }
                    match self.connector().new_stream(&peer).await {
                        Ok(stream) => {
                            self.resolver.prefer(origin, address);
                            return Ok(Connected {
                                conn: Conn::upstream(stream),
                                peer,
                                is_reused: false,
                            });
                        }
                        Err(error) => failure = Some(connect_reason(&error)),
                    }
                }
                Err(UpstreamError::Connect {
                    origin: origin.to_string(),
                    reason: failure.unwrap_or_else(|| "it has no address".to_owned()),
                })
            };
        tokio::time::timeout(timeout, connecting)
            .await
            .unwrap_or_else(|_| {
                Err(UpstreamError::ConnectTimedOut {
                    origin: origin.to_string(),
                    after: timeout,
                })
            })
    }

    /// Takes a connection back, if it can be used again.
    pub(crate) async fn release(self: &Arc<Self>, mut http: HttpSession, peer: &HttpPeer) {
        http.respect_keepalive();
        let Some(stream) = http.reuse().await else {
            return;
        };
        let Ok(conn) = stream.into_any().downcast::<Conn>() else {
            return;
        };
        let Some(stream) = conn.release() else { return };
        let mut idle = self.idle();
        idle.put(peer.reuse_hash(), stream);
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Looks after idle connections as long as there are any.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEPT_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.sweep(Instant::now());
        if idle.count == 0 {
            idle.is_swept = false;
            return;
        }
    }
}

/// An established connection and what it takes to pool it again.
pub(crate) struct Connected {
    /// The connection.
    pub(crate) conn: Conn,
    /// What the pool goes by.
    pub(crate) peer: HttpPeer,
    /// Whether it came from the pool, so that it may be dead.
    pub(crate) is_reused: bool,
}

/// What went wrong, without the addresses and buffers that pingora puts into its messages.
fn connect_reason(error: &Error) -> String {
    match error.etype() {
        ErrorType::ConnectRefused => "connection refused".to_owned(),
        ErrorType::ConnectNoRoute => "no route to host".to_owned(),
        ErrorType::ConnectTimedout => "timed out".to_owned(),
        ErrorType::InvalidCert | ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError => {
            let why = error.context.as_ref().map(|context| {
                format!(
                    ": {}",
                    context
                        .as_str()
                        .rsplit("cause: ")
                        .next()
                        .unwrap_or_default()
                )
            });
            let why = why.unwrap_or_default();
            format!("the TLS handshake failed{why}")
        }
        other => other.as_str().to_owned(),
    }
}

/// How long an idle connection stays in the pool.
const POOLED_FOR: Duration = Duration::from_secs(60);

/// How often dead ones are looked for: a closed one holds a file descriptor.
const SWEPT_EVERY: Duration = Duration::from_secs(5);
