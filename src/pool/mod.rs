//! The connections to all upstreams: one pool, one set of TLS roots.
//!
//! The idle ones are kept here and not in pingora's pool, whose watcher may still hold a connection in the moment in which
//! it is asked for; it is then lost (`failed to acquire reusable stream`, 0.9.1), which happened to one in five on two
//! cores. A connection with HTTP/2 is shared by as many calls as the upstream allows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pingora::protocols::http::v1::client::HttpSession;
use tokio::time::{Instant, sleep};

use crate::call::UpstreamError;
use crate::conn::Conn;
use crate::dial::{DialError, Dialer, Offer};
use crate::link::{Link, LinkId};
use crate::origin::Origin;
use crate::resolve::Resolver;

pub(crate) use shared::Lease;

use slots::Slots;

mod shared;
mod slots;

/// All connections that we open.
pub(crate) struct Pool {
    dialer: Dialer,
    resolver: Resolver,
    slots: Mutex<Slots>,
}

/// Connections may be exchanged for each other where all of this is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    address: SocketAddr,
    /// The name in TLS; empty without.
    host: String,
    link: LinkId,
    offer: Offer,
    /// What HTTP/2 lets an upstream send before its client has taken some of it; part of a connection's settings.
    window: u32,
}

/// Where to connect to, and how.
#[derive(Clone, Copy)]
pub(crate) struct Goal<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) link: &'a Link,
    /// For HTTP/2: how many bytes of one answer may come before some were taken.
    pub(crate) window: u32,
    /// From the first try to an established connection, TLS included.
    pub(crate) timeout: Duration,
}

/// A way to an upstream.
pub(crate) enum Connected {
    /// A connection for one call at a time.
    Http1(Box<Http1>),
    /// A place on a connection that many calls share.
    Http2(Lease),
}

/// An established connection and what it takes to pool it again.
pub(crate) struct Http1 {
    /// The connection.
    pub(crate) conn: Conn,
    /// What the pool goes by.
    pub(crate) key: Key,
    /// Whether it came from the pool, so that it may be dead.
    pub(crate) is_reused: bool,
}

impl Pool {
    /// No connection yet.
    ///
    /// `idle`: how many idle connections are kept in all.
    pub(crate) fn new(idle: usize) -> Self {
        Self {
            dialer: Dialer::default(),
            resolver: Resolver::default(),
            slots: Mutex::new(Slots::new(idle)),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A way to this origin. An idle connection is taken only if `pooled`; one with HTTP/2 is always shared, because the
    /// pool knows at once when it dies.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        goal: Goal<'_>,
        pooled: bool,
    ) -> Result<Connected, UpstreamError> {
        let offer = Offer::to(goal.origin, goal.link);
        let connecting = async {
            let mut failure = None;
            for address in self.resolve(goal.origin).await? {
                let key = key(address, goal, offer);
                match self.connect_to(key, goal, pooled).await {
                    Ok(connected) => return Ok(connected),
                    Err(error) if error.was_answered => {
                        failure = Some(error.reason);
                        break;
                    }
                    Err(error) => failure = Some(error.reason),
                }
            }
            Err(no_connection(goal.origin, failure))
        };
        // On the heap for its short time, and not in the state of the whole call.
        in_time(goal, Box::pin(connecting)).await
    }

    /// A new connection with HTTP/1.1, whatever else is spoken with this origin.
    pub(crate) async fn connect_http1(&self, goal: Goal<'_>) -> Result<Conn, UpstreamError> {
        let connecting = async {
            let mut failure = None;
            for address in self.resolve(goal.origin).await? {
                let dialed = self
                    .dialer
                    .dial(address, goal.origin, goal.link, Offer::Http1)
                    .await;
                match dialed {
                    Ok(dialed) => {
                        self.resolver.prefer(goal.origin, address);
                        return Ok(Conn::upstream(dialed.socket));
                    }
                    Err(error) => failure = Some(error.reason),
                }
            }
            Err(no_connection(goal.origin, failure))
        };
        in_time(goal, connecting).await
    }

    async fn resolve(&self, origin: &Origin) -> Result<Vec<SocketAddr>, UpstreamError> {
        self.resolver
            .resolve(origin)
            .await
            .map_err(|reason| UpstreamError::Resolve {
                host: origin.host.clone(),
                reason,
            })
    }

    async fn connect_to(
        self: &Arc<Self>,
        key: Key,
        goal: Goal<'_>,
        pooled: bool,
    ) -> Result<Connected, DialError> {
        if let Some(connected) = self.slots().take(&key, pooled) {
            return Ok(connected);
        }
        // Calls that may share one connection don't open one each: they wait for the first.
        let gate = self.slots().gate(&key);
        let _gate = match &gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        if gate.is_some()
            && let Some(connected) = self.slots().take(&key, pooled)
        {
            return Ok(connected);
        }
        let dialed = self
            .dialer
            .dial(key.address, goal.origin, goal.link, key.offer)
            .await?;
        self.resolver.prefer(goal.origin, key.address);
        if !dialed.is_http2 {
            self.slots().speaks_http1(&key);
            return Ok(Connected::Http1(Box::new(Http1 {
                conn: Conn::upstream(dialed.socket),
                key,
                is_reused: false,
            })));
        }
        let (shared, lease) = shared::open(dialed.socket, key.window)
            .await
            .map_err(|error| DialError {
                reason: format!("HTTP/2 could not begin: {error}"),
                was_answered: true,
            })?;
        let mut slots = self.slots();
        slots.share(key, shared);
        self.look_after(&mut slots);
        Ok(Connected::Http2(lease))
    }

    /// Takes a connection back, if it can be used again.
    pub(crate) async fn release(self: &Arc<Self>, mut http: HttpSession, key: &Key) {
        http.respect_keepalive();
        let Some(stream) = http.reuse().await else {
            return;
        };
        let Ok(conn) = stream.into_any().downcast::<Conn>() else {
            return;
        };
        let Some(socket) = conn.release() else { return };
        let mut slots = self.slots();
        slots.put(key, socket);
        self.look_after(&mut slots);
    }

    fn look_after(self: &Arc<Self>, slots: &mut Slots) {
        if !std::mem::replace(&mut slots.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

fn key(address: SocketAddr, goal: Goal<'_>, offer: Offer) -> Key {
    Key {
        address,
        host: if goal.origin.is_tls {
            goal.origin.host.clone()
        } else {
            String::new()
        },
        link: goal.link.id(),
        offer,
        window: if offer == Offer::Http1 {
            0
        } else {
            goal.window
        },
    }
}

fn no_connection(origin: &Origin, failure: Option<String>) -> UpstreamError {
    UpstreamError::Connect {
        origin: origin.to_string(),
        reason: failure.unwrap_or_else(|| "it has no address".to_owned()),
    }
}

async fn in_time<T>(
    goal: Goal<'_>,
    connecting: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    tokio::time::timeout(goal.timeout, connecting)
        .await
        .unwrap_or_else(|_| {
            Err(UpstreamError::ConnectTimedOut {
                origin: goal.origin.to_string(),
                after: goal.timeout,
            })
        })
}

/// Looks after idle connections as long as there are any.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEPT_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut slots = pool.slots();
        slots.sweep(Instant::now());
        if slots.is_empty() {
            slots.is_swept = false;
            return;
        }
    }
}

/// How often dead ones are looked for: a closed one holds a file descriptor.
const SWEPT_EVERY: Duration = Duration::from_secs(5);
