//! The way from the exchanges to the writer: bounded in bytes, never waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::key::KeyRules;
use crate::message::{Chunk, Ending, Headers, RequestHead, ResponseHead};
use crate::mode::RecordPolicy;
use crate::sanitize::redact::Redactor;

/// What is known when a request comes that shall be recorded.
#[derive(Debug)]
pub struct Begin {
    /// As it came, before redaction.
    pub request: RequestHead,
    /// The URL of the upstream.
    pub upstream: String,
    /// Takes secrets out of this exchange.
    pub redactor: Redactor,
    /// By which the request is keyed.
    pub rules: Arc<KeyRules>,
    /// What happens to earlier recordings of the key.
    pub policy: RecordPolicy,
    /// When the request came.
    pub at: SystemTime,
}

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Message {
    Begin(u64, Box<Begin>),
    RequestBody(u64, Bytes),
    TooLarge(u64),
    Protocol(u64, &'static str),
    Head(u64, Box<ResponseHead>, Duration),
    Chunk(u64, Chunk),
    Trailers(u64, Headers),
    End(u64, Ending),
    Discard(u64),
    Settle(oneshot::Sender<()>),
}

impl Message {
    /// How many bytes it holds in memory, about.
    fn bytes(&self) -> usize {
        let held = match self {
            Self::Begin(_, begin) => begin.request.path.len() + lines(&begin.request.headers),
            Self::RequestBody(_, bytes) => bytes.len(),
            Self::Chunk(_, chunk) => chunk.bytes.len(),
            Self::Head(_, head, _) => lines(&head.headers),
            Self::Trailers(_, headers) => lines(headers),
            Self::TooLarge(_)
            | Self::Protocol(..)
            | Self::End(..)
            | Self::Discard(_)
            | Self::Settle(_) => 0,
        };
        held + size_of::<Self>()
    }

    /// Whether it's let in however full the queue is: without it an exchange would never end.
    fn is_let_in(&self) -> bool {
        match self {
            Self::End(..) | Self::Discard(_) | Self::Settle(_) => true,
            Self::Begin(..)
            | Self::RequestBody(..)
            | Self::TooLarge(_)
            | Self::Protocol(..)
            | Self::Head(..)
            | Self::Chunk(..)
            | Self::Trailers(..) => false,
        }
    }
}

fn lines(headers: &Headers) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

/// Messages on their way.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signalled for the writer, and when the writer is done.
    changed: Condvar,
    /// Signalled when the writer took what was there.
    taken: Notify,
    /// Exchanges that were finished and can't be looked up yet.
    unsettled: AtomicUsize,
    /// Signalled when the last claim is given up.
    unclaimed: Notify,
}

/// The right to begin a recording, or to go on with one. Whoever has one keeps the cassette's writer from retiring.
#[derive(Debug)]
pub struct Claim {
    queue: Arc<Queue>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.claims -= 1;
        if state.claims == 0 {
            drop(state);
            self.queue.unclaimed.notify_waiters();
        }
    }
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a claim of its own, and they are changed apart"
)]
struct State {
    messages: Vec<Message>,
    /// What the messages hold.
    queued: usize,
    /// What the queue, the batch in work and the writer's own memory hold. `bytes <= LIMIT`, but for what is let in.
    bytes: usize,
    /// Whether the writer waits to be woken, rather than looking by itself.
    is_asleep: bool,
    /// Whether somebody waits for the writer.
    is_urgent: bool,
    is_closing: bool,
    is_done: bool,
    /// Whether the writer waits for another process to let the cassette go.
    is_behind: bool,
    claims: usize,
    /// Why nothing is written any more.
    stopped: Option<String>,
    next: u64,
}

/// What the writer takes at once.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// What it takes from the queue's limit.
    pub(crate) bytes: usize,
    pub(crate) is_last: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a writer that waits for another process to let the cassette go.
    pub(crate) fn behind() -> Self {
        let queue = Self::default();
        queue.state().is_behind = true;
        queue
    }

    /// Whether the writer waits for another process to let the cassette go.
    pub(crate) fn is_behind(&self) -> bool {
        self.state().is_behind
    }

    /// The writer has the cassette for itself.
    pub(crate) fn come_first(&self) {
        self.state().is_behind = false;
    }

    /// The right to begin a recording.
    pub(crate) fn claim(self: &Arc<Self>) -> Claim {
        self.state().claims += 1;
        Claim {
            queue: Arc::clone(self),
        }
    }

    /// Resolves when nobody has a claim.
    pub(crate) async fn unclaimed(&self) {
        loop {
            let unclaimed = self.unclaimed.notified();
            tokio::pin!(unclaimed);
            // From here on it misses no signal.
            unclaimed.as_mut().enable();
            if self.state().claims == 0 {
                return;
            }
            unclaimed.await;
        }
    }

    /// A number for a new exchange. `None` where nothing is written any more.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut state = self.state();
        if state.stopped.is_some() || state.is_closing {
            return None;
        }
        state.next += 1;
        Some(state.next)
    }

    /// Says whether there was room. Where nothing is written any more, messages vanish.
    pub(crate) fn push(&self, message: Message) -> bool {
        let bytes = message.bytes();
        let mut state = self.state();
        if state.is_done {
            return true;
        }
        if state.bytes + bytes > LIMIT && !message.is_let_in() {
            return false;
        }
        if matches!(message, Message::Settle(_)) {
            state.is_urgent = true;
        }
        if matches!(message, Message::End(..)) {
            self.unsettled.fetch_add(1, Ordering::SeqCst);
        }
        state.bytes += bytes;
        state.queued += bytes;
        state.messages.push(message);
        let wake = state.is_asleep || state.is_urgent || state.queued > EAGER;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        true
    }

    /// Whether all that was finished can be looked up.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.load(Ordering::SeqCst) == 0
    }

    /// So many finished exchanges can be looked up, or never will.
    pub(crate) fn settle(&self, count: usize) {
        self.unsettled.fetch_sub(count, Ordering::SeqCst);
    }

    /// Gives room back.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// The writer's wait for work. Looks by itself for a while before it has to be woken, so that senders seldom must.
    pub(crate) fn take(&self) -> Batch {
        let mut state = self.state();
        loop {
            for _ in 0..ROUNDS {
                state = self
                    .changed
                    .wait_timeout_while(state, LINGER, |state| {
                        !state.is_urgent && !state.is_closing && state.queued <= EAGER
                    })
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if !state.messages.is_empty() || state.is_urgent || state.is_closing {
                    state.is_urgent = false;
                    state.queued = 0;
                    self.taken.notify_waiters();
                    let messages = std::mem::take(&mut state.messages);
                    return Batch {
                        bytes: messages.iter().map(Message::bytes).sum(),
                        messages,
                        is_last: state.is_closing,
                    };
                }
            }
            state.is_asleep = true;
            state = self
                .changed
                .wait_while(state, |state| {
                    state.messages.is_empty() && !state.is_urgent && !state.is_closing
                })
                .unwrap_or_else(PoisonError::into_inner);
            state.is_asleep = false;
        }
    }

    /// Waits while much is queued, as long as the writer makes progress: so that a transfer faster than the disk is read at
    /// the disk's speed instead of filling the memory. A disk that stands still is not waited for, nor another process.
    pub(crate) async fn catch_up(&self) {
        loop {
            let taken = self.taken.notified();
            let is_served = {
                let state = self.state();
                state.queued <= MUCH || state.is_behind
            };
            if is_served || tokio::time::timeout(STANDSTILL, taken).await.is_err() {
                return;
            }
        }
    }

    /// Nothing is written any more, and why.
    pub(crate) fn stop(&self, why: String) {
        self.state().stopped.get_or_insert(why);
    }

    /// Why nothing is written any more.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.state().stopped.clone()
    }

    /// Asks the writer to come to its end.
    pub(crate) fn close(&self) {
        self.state().is_closing = true;
        self.changed.notify_all();
    }

    /// The writer came to its end.
    pub(crate) fn done(&self) {
        let mut state = self.state();
        state.is_done = true;
        // What waits for an answer gets one by being dropped.
        let left = std::mem::take(&mut state.messages);
        drop(state);
        drop(left);
        self.unsettled.store(0, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Waits for the writer's end; says whether it came.
    pub(crate) fn wait_done(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut state = self.state();
        while !state.is_done {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// 64 MiB: seconds of the fastest stream, so that a disk may pause but not fall behind for good.
const LIMIT: usize = 64 * 1024 * 1024;

/// With so much queued, the writer works without gathering more: 256 KiB.
const EAGER: usize = 256 * 1024;

/// With so much queued, exchanges wait before they read on: 2 MiB.
const MUCH: usize = 2 * 1024 * 1024;

/// How long the writer may take nothing before nobody waits for it any more.
const STANDSTILL: Duration = Duration::from_millis(100);

/// How long the writer gathers before it works, and looks again by itself.
const LINGER: Duration = Duration::from_millis(3);

/// How often it looks by itself before it sleeps: over 50 ms in all.
const ROUNDS: usize = 20;
