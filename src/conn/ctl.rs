//! What an exchange says to the connection that carries it, and what the connection tells it.
//!
//! Holds wishes and counts only: it neither reads nor writes, and knows nothing of HTTP. The first block of methods is for
//! the exchange, the second for the connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::board::{Live, Verdict};

/// What an exchange says to the connection that carries it. Shared; locked only for what is seldom.
#[derive(Debug, Default)]
pub struct ConnCtl {
    corked: AtomicBool,
    reset: AtomicBool,
    linger: AtomicBool,
    forgives_writes: AtomicBool,
    is_patient: AtomicBool,
    pending: AtomicUsize,
    room: Notify,
    /// How many bytes may go out, if that is held down.
    allowance: AtomicUsize,
    is_deaf: AtomicBool,
    /// Whether it was polled for a read since it became deaf.
    was_polled: AtomicBool,
    is_held: AtomicBool,
    /// What goes out last, below all framing.
    last: Mutex<Option<Bytes>>,
    /// How it treats its client, on purpose.
    manners: OnceLock<Manners>,
    /// How many requests came.
    requests: AtomicUsize,
    /// The request line as it comes, while somebody listens.
    line: Mutex<Option<Vec<u8>>>,
    listens: AtomicBool,
}

/// How a connection treats its client, on purpose.
#[derive(Debug, Default)]
pub struct Manners {
    /// It is closed when it was idle for so long between two requests.
    pub idle_close: Option<(Duration, Arc<Live>)>,
    /// It is closed when its second request comes.
    pub close_on_reuse: Option<Arc<Live>>,
}

impl ConnCtl {
    /// Says how it treats its client; once.
    pub fn behave(&self, manners: Manners) {
        // It is said once, right after the connection was accepted.
        drop(self.manners.set(manners));
    }

    /// How long it may be idle, if that is shorter than usual.
    pub fn idle_close(&self) -> Option<&(Duration, Arc<Live>)> {
        self.manners.get()?.idle_close.as_ref()
    }

    /// Counts a request. Says whether the connection is to be closed for it.
    pub fn is_tired(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let live = self
            .manners
            .get()
            .and_then(|manners| manners.close_on_reuse.as_ref());
        match live.filter(|live| before > 0 && live.is_on()) {
            Some(live) => {
                live.count(Verdict::Injected);
                true
            }
            None => false,
        }
    }

    /// Whether writes are held together (up to 16 KiB) until this is taken back: only while another write follows
    /// at once.
    pub fn cork(&self, corked: bool) {
        self.corked.store(corked, Ordering::Relaxed);
    }

    /// Has the connection end with a TCP RST when it is dropped.
    pub fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Has a shutdown go on reading for a while, because the client may still be sending: a socket that is closed
    /// with unread bytes is reset by the kernel, and the answer would be lost.
    pub fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// Has writes never wait and failed ones be kept silent, so that an answer that the peer sends before it has read
    /// everything, or before it closes, is read. [`ConnCtl::has_room`] says when to write.
    pub fn forgive_writes(&self, forgives: bool) {
        self.forgives_writes.store(forgives, Ordering::Relaxed);
    }

    /// Has a shutdown wait as long as the peer takes to read what is left.
    pub fn be_patient(&self) {
        self.is_patient.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is taken from the client: what polls a read then only has written what is held. Who polls so must
    /// not wait for it.
    pub fn be_deaf(&self, is_deaf: bool) {
        self.was_polled.store(false, Ordering::Relaxed);
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    /// Whether anybody polled a read since it became deaf: nobody does once the client's next request has begun to come.
    pub fn was_polled(&self) -> bool {
        self.was_polled.load(Ordering::Relaxed)
    }

    /// Says whether a read that is polled now is to take nothing.
    pub(super) fn takes_nothing(&self) -> bool {
        let is_deaf = self.is_deaf.load(Ordering::Relaxed);
        if is_deaf {
            self.was_polled.store(true, Ordering::Relaxed);
        }
        is_deaf
    }

    /// Lets only so many more bytes out. What is held is written while the connection is read.
    pub fn allow(&self, bytes: usize) {
        self.allowance.fetch_add(bytes, Ordering::Relaxed);
        self.is_held.store(true, Ordering::Relaxed);
    }

    /// Lets all out again.
    pub fn allow_all(&self) {
        self.is_held.store(false, Ordering::Relaxed);
        self.allowance.store(0, Ordering::Relaxed);
    }

    /// Has these bytes go out as they are when the connection is shut down, after all that was written.
    pub fn say_last(&self, bytes: Bytes) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// Whether nothing waits to be written.
    pub fn is_drained(&self) -> bool {
        self.pending.load(Ordering::Relaxed) == 0
    }

    /// Has the next line that is read be kept as it came; `begun` is what was read of it before.
    pub fn keep_line(&self, begun: &[u8]) {
        let end = begun.iter().position(|byte| *byte == b'\n');
        *self.lock_line() = Some(begun[..end.map_or(begun.len(), |end| end + 1)].to_vec());
        self.listens.store(end.is_none(), Ordering::Relaxed);
    }

    /// The line that was to be kept, with its end; `None` if there was none of at most 64 KiB.
    pub fn take_line(&self) -> Option<Vec<u8>> {
        self.listens.store(false, Ordering::Relaxed);
        self.lock_line().take().filter(|line| line.ends_with(b"\n"))
    }

    /// Whether fewer than 64 KiB wait to be written.
    pub fn has_room(&self) -> bool {
        self.pending.load(Ordering::Relaxed) < PENDING_MAX
    }

    /// Resolves when bytes that waited have been written.
    pub async fn drained(&self) {
        self.room.notified().await;
    }
}

/// For the connection.
impl ConnCtl {
    pub(super) fn is_corked(&self) -> bool {
        self.corked.load(Ordering::Relaxed)
    }

    pub(super) fn resets(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    pub(super) fn lingers(&self) -> bool {
        self.linger.load(Ordering::Relaxed)
    }

    pub(super) fn forgives_writes(&self) -> bool {
        self.forgives_writes.load(Ordering::Relaxed)
    }

    pub(super) fn is_patient(&self) -> bool {
        self.is_patient.load(Ordering::Relaxed)
    }

    /// So many bytes wait to be written.
    pub(super) fn note_pending(&self, bytes: usize) {
        self.pending.store(bytes, Ordering::Relaxed);
    }

    /// There is room again, after there was none.
    pub(super) fn note_room(&self) {
        self.room.notify_one();
    }

    /// Whether what goes out is held down.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// How many of so many bytes may go out now.
    pub(super) fn allowed(&self, count: usize) -> usize {
        if self.is_held.load(Ordering::Relaxed) {
            count.min(self.allowance.load(Ordering::Relaxed))
        } else {
            count
        }
    }

    /// So many of the bytes that may go out went.
    pub(super) fn use_up(&self, count: usize) {
        if self.is_held.load(Ordering::Relaxed) {
            self.allowance.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// What goes out last, once.
    pub(super) fn take_last(&self) -> Option<Bytes> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// These bytes were read.
    pub(super) fn hear(&self, bytes: &[u8]) {
        if self.listens.load(Ordering::Relaxed) {
            self.hear_line(bytes);
        }
    }

    fn hear_line(&self, bytes: &[u8]) {
        let mut line = self.lock_line();
        let Some(line) = line.as_mut() else { return };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&bytes[..end.map_or(bytes.len(), |end| end + 1)]);
        if end.is_some() || line.len() > PENDING_MAX {
            self.listens.store(false, Ordering::Relaxed);
        }
    }

    fn lock_line(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much may wait to be written before a write has to wait: one read of pingora's (64 KiB, 0.9.1).
pub(super) const PENDING_MAX: usize = 64 * 1024;
