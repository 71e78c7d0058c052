//! Connections that wait for their next request, and those that are shared, by where they lead.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::shared::Shared;
use super::{Connected, Http1, Key};
use crate::conn::Conn;
use crate::dial::Offer;
use crate::socket::Socket;

/// All that is open and can be used.
pub(super) struct Slots {
    places: HashMap<Key, Slot>,
    /// How many idle connections there are.
    count: usize,
    /// `count <= most`
    most: usize,
    /// Whether somebody looks after those that die or grow old.
    pub(super) is_swept: bool,
}

/// What leads to one place.
#[derive(Default)]
struct Slot {
    idle: VecDeque<(Instant, Socket)>,
    shared: Vec<Shared>,
    /// Whether the upstream chose HTTP/1.1 when it was asked.
    is_http1: bool,
    /// Held while a connection is opened that others may share.
    gate: Arc<Mutex<()>>,
}

impl Slots {
    /// Keeps at most so many idle connections.
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: HashMap::new(),
            count: 0,
            most,
            is_swept: false,
        }
    }

    /// A place on a connection that is shared, or the idle connection used last, if it is alive and `pooled`.
    pub(super) fn take(&mut self, key: &Key, pooled: bool) -> Option<Connected> {
        let slot = self.places.get_mut(key)?;
        if let Some(lease) = slot.shared.iter().find_map(Shared::lease) {
            return Some(Connected::Http2(lease));
        }
        if !pooled {
            return None;
        }
        while let Some((_, mut socket)) = slot.idle.pop_back() {
            self.count -= 1;
            if is_alive(&mut socket) {
                return Some(Connected::Http1(Box::new(Http1 {
                    conn: Conn::upstream(socket),
                    key: key.clone(),
                    is_reused: true,
                })));
            }
        }
        None
    }

    /// What calls wait at that may share the connection that one of them opens; `None` where they can't.
    pub(super) fn gate(&mut self, key: &Key) -> Option<Arc<Mutex<()>>> {
        if key.offer == Offer::Http1 {
            return None;
        }
        let slot = self.places.entry(key.clone()).or_default();
        (!slot.is_http1).then(|| Arc::clone(&slot.gate))
    }

    /// The upstream chose HTTP/1.1.
    pub(super) fn speaks_http1(&mut self, key: &Key) {
        if key.offer != Offer::Http1 {
            self.places.entry(key.clone()).or_default().is_http1 = true;
        }
    }

    /// Adds a connection that can be shared.
    pub(super) fn share(&mut self, key: Key, shared: Shared) {
        let slot = self.places.entry(key).or_default();
        slot.is_http1 = false;
        slot.shared.push(shared);
    }

    /// Takes an idle connection.
    pub(super) fn put(&mut self, key: &Key, socket: Socket) {
        if self.count >= self.most {
            self.sweep(Instant::now());
        }
        if self.count < self.most {
            self.count += 1;
            self.places
                .entry(key.clone())
                .or_default()
                .idle
                .push_back((Instant::now(), socket));
        }
    }

    /// Drops what is dead or older than [`POOLED_FOR`].
    pub(super) fn sweep(&mut self, now: Instant) {
        for slot in self.places.values_mut() {
            slot.idle.retain_mut(|(since, socket)| {
                now.duration_since(*since) < POOLED_FOR && is_alive(socket)
            });
            slot.shared
                .retain(|shared| shared.is_open() && !shared.was_idle_for(POOLED_FOR, now));
        }
        self.places.retain(|_, slot| {
            // One that is being opened is waited for by others.
            !slot.idle.is_empty() || !slot.shared.is_empty() || Arc::strong_count(&slot.gate) > 1
        });
        self.count = self.places.values().map(|slot| slot.idle.len()).sum();
    }

    /// Whether nothing is there that could die or grow old.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Whether an idle connection is still open, and silent as it should be.
fn is_alive(socket: &mut Socket) -> bool {
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    let mut context = Context::from_waker(Waker::noop());
    matches!(
        Pin::new(socket).poll_read(&mut context, &mut byte),
        Poll::Pending
    )
}

/// How long a connection without a request stays in the pool.
const POOLED_FOR: Duration = Duration::from_secs(60);
