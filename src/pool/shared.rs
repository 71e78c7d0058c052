//! Connections with HTTP/2, each shared by many calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep, timeout};

use crate::socket::Socket;

/// A connection that calls may share.
pub(super) struct Shared {
    requests: SendRequest<Bytes>,
    life: Arc<Life>,
    /// How many calls fit, whatever the upstream allows: together their windows must not exceed the connection's.
    most: usize,
}

/// The place of one call on a connection. Dropped, it makes room for another.
pub(crate) struct Lease {
    requests: SendRequest<Bytes>,
    life: Arc<Life>,
    /// Whether the connection was there before the call.
    is_reused: bool,
}

/// What is known of a connection by all who use it.
struct Life {
    since: Instant,
    is_closed: AtomicBool,
    calls: AtomicUsize,
    /// In ms after `since`: when the last call ended.
    idle_ms: AtomicU64,
    /// In ms after `since`: when the upstream last said something to a call.
    heard_ms: AtomicU64,
}

impl Life {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }
}

impl Shared {
    /// A place for one more call, if there is one.
    pub(super) fn lease(&self) -> Option<Lease> {
        // All leases are given under the pool's lock, so that the count can only fall meanwhile.
        let most = self.most.min(self.requests.current_max_send_streams());
        if !self.is_open() || self.life.calls.load(Ordering::Relaxed) >= most {
            return None;
        }
        let mut lease = self.lease_anyway(true);
        // A GOAWAY shows here; calls under way may still go on.
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = lease.requests.poll_ready(&mut context) {
            lease.close();
            return None;
        }
        Some(lease)
    }

    fn lease_anyway(&self, is_reused: bool) -> Lease {
        self.life.calls.fetch_add(1, Ordering::Relaxed);
        Lease {
            requests: self.requests.clone(),
            life: Arc::clone(&self.life),
            is_reused,
        }
    }

    /// Whether new calls may begin.
    pub(super) fn is_open(&self) -> bool {
        !self.life.is_closed.load(Ordering::Relaxed)
    }

    /// Whether no call was under way for so long.
    pub(super) fn was_idle_for(&self, span: Duration, now: Instant) -> bool {
        let idle = Duration::from_millis(self.life.idle_ms.load(Ordering::Relaxed));
        !self.life.is_busy() && now.saturating_duration_since(self.life.since + idle) >= span
    }
}

impl Lease {
    /// Where the request goes.
    pub(crate) fn requests(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.requests
    }

    /// Whether the connection was there before the call, so that it may be dead.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Has no other call begin on this connection; those under way go on.
    pub(crate) fn close(&self) {
        self.life.is_closed.store(true, Ordering::Relaxed);
    }

    /// The upstream said something.
    pub(crate) fn heard(&self) {
        self.life.heard_ms.store(self.life.now(), Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.life.idle_ms.store(self.life.now(), Ordering::Relaxed);
        self.life.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Begins HTTP/2 on a new connection.
pub(super) async fn open(socket: Socket, window: u32) -> Result<(Shared, Lease), h2::Error> {
    let (requests, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(window)
        // One call whose client is slow must not take from the others: each has its own window, the connection's is never
        // in the way.
        .initial_connection_window_size(WINDOW_MAX)
        .max_header_list_size(HEADERS_MAX)
        .handshake::<_, Bytes>(socket)
        .await?;
    let life = Arc::new(Life {
        since: Instant::now(),
        is_closed: AtomicBool::new(false),
        calls: AtomicUsize::new(0),
        idle_ms: AtomicU64::new(0),
        heard_ms: AtomicU64::new(0),
    });
    let pings = connection.ping_pong();
    tokio::spawn(drive(connection, pings, Arc::clone(&life)));
    let most = usize::try_from(WINDOW_MAX / window.max(1)).unwrap_or(usize::MAX);
    let shared = Shared {
        requests,
        life,
        most: most.max(1),
    };
    let lease = shared.lease_anyway(false);
    Ok((shared, lease))
}

/// Keeps the connection going until it is closed, or its peer is dead.
async fn drive(connection: Connection<Socket, Bytes>, pings: Option<PingPong>, life: Arc<Life>) {
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection with HTTP/2 ended");
            }
        }
        () = dies(pings, &life) => {
            tracing::warn!("an upstream did not answer an HTTP/2 ping within {PONG:?}: the connection is given up");
        }
    }
    life.is_closed.store(true, Ordering::Relaxed);
}

/// Resolves when the peer does not answer. It is asked only while calls wait for it in vain, and then seldom: servers of
/// gRPC take more than two pings in five minutes without data for an attack.
async fn dies(pings: Option<PingPong>, life: &Life) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        sleep(SILENCE).await;
        let heard = life.heard_ms.load(Ordering::Relaxed);
        let silent = Duration::from_millis(life.now().saturating_sub(heard));
        if !life.is_busy() || silent < SILENCE {
            continue;
        }
        match timeout(PONG, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection has ended, and says so itself.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
        let asked = Instant::now();
        while asked.elapsed() < PINGED_EVERY && life.heard_ms.load(Ordering::Relaxed) == heard {
            sleep(SILENCE).await;
        }
    }
}

/// The largest window of HTTP/2 (RFC 9113, 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// The longest head of an answer, in bytes.
const HEADERS_MAX: u32 = 1024 * 1024;

/// How long an upstream may be silent until it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(20);

/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(20);

/// How often it is asked in one silence.
const PINGED_EVERY: Duration = Duration::from_secs(300);
