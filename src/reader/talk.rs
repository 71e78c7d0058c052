//! Where one try stands: what passed last, what waits for the client, and how long there is patience.
//!
//! The same over HTTP/1.1 and HTTP/2; it reads the clock, but neither reads nor writes.

use std::pin::Pin;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::message::Chunk;
use crate::plan::{CallTimeouts, Drain};

/// Where one try stands.
pub(super) struct Talk {
    pub(super) timeouts: CallTimeouts,
    /// When something passed last, either way.
    pub(super) last: Instant,
    /// When the request was through.
    pub(super) request_end: Option<Instant>,
    /// When the head of the answer came.
    pub(super) head_at: Option<Instant>,
    /// When the try began.
    pub(super) since: Instant,
    /// Whether the upstream said anything.
    pub(super) has_heard: bool,
    /// A chunk for which the client has made no room yet; nothing is read while there is one.
    pub(super) waiting: Option<Chunk>,
    /// Whether the next chunk may have come while nothing was read.
    pub(super) was_held: bool,
    /// Set once the client has left.
    pub(super) drained: Option<Drained>,
}

/// What is left to read when the client has gone.
pub(super) struct Drained {
    until: Instant,
    /// At most so many more.
    pub(super) bytes: usize,
}

impl Talk {
    /// A try begins.
    pub(super) fn start(timeouts: CallTimeouts, request_is_through: bool) -> Self {
        let now = Instant::now();
        Self {
            timeouts,
            last: now,
            request_end: request_is_through.then_some(now),
            head_at: None,
            since: now,
            has_heard: false,
            waiting: None,
            was_held: false,
            drained: None,
        }
    }

    /// How long the chunk is that waits.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |chunk| chunk.bytes.len())
    }

    /// Until when something must pass.
    pub(super) fn deadline(&self) -> Instant {
        match (&self.drained, self.head_at, self.request_end) {
            (Some(drained), ..) => drained.until,
            (None, None, Some(end)) => end + self.timeouts.first_byte,
            (None, ..) => self.last + self.timeouts.idle,
        }
    }

    /// Has the timer fire at the deadline, or before it.
    pub(super) fn keep_time(&self, timer: Pin<&mut Sleep>) {
        // Moving a timer costs more than letting it fire early once in a while.
        let deadline = self.deadline();
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.reset(deadline);
        }
    }

    /// A chunk of these bytes, which came last; `None` for none, and before the head.
    pub(super) fn stamp(&mut self, bytes: Option<Bytes>) -> Option<Chunk> {
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
        let at = self.last.saturating_duration_since(self.head_at?);
        Some(Chunk {
            at,
            bytes,
            held: std::mem::take(&mut self.was_held),
        })
    }
}

impl Drained {
    /// The client leaves.
    pub(super) fn start(drain: Drain) -> Self {
        Self {
            until: Instant::now() + drain.time,
            bytes: drain.bytes,
        }
    }
}
