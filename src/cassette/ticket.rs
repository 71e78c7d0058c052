//! The way of one exchange into the cassette.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::cassette::queue::{Begin, Claim, Message, Queue};
use crate::message::{Chunk, Ending, Headers, ResponseHead};

/// What the recorder of one exchange holds. No call waits or fails: where the disk can't follow, the recording ends with
/// `limit`, and nothing else changes. Dropped without `finish`, the exchange is discarded.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    id: u64,
    is_open: bool,
    /// Given up last, when the writer has been told all.
    _claim: Claim,
}

impl Ticket {
    /// Begins an exchange. `None` where nothing is written.
    pub(crate) fn new(queue: &Arc<Queue>, begin: Begin) -> Option<Self> {
        let id = queue.admit()?;
        if !queue.push(Message::Begin(id, Box::new(begin))) {
            warn!("the disk can't follow: an exchange is not recorded");
            return None;
        }
        Some(Self {
            queue: Arc::clone(queue),
            id,
            is_open: true,
            _claim: queue.claim(),
        })
    }

    /// The next piece of the request's body, as it was received.
    pub fn request_body(&mut self, bytes: Bytes) {
        self.send(Message::RequestBody(self.id, bytes));
    }

    /// The request's body is larger than may be kept.
    pub fn request_too_large(&mut self) {
        self.send(Message::TooLarge(self.id));
    }

    /// What is spoken with the upstream, where it is not `http/1.1`.
    pub fn protocol(&mut self, protocol: &'static str) {
        self.send(Message::Protocol(self.id, protocol));
    }

    /// The head of the answer; `after` counts from the end of the request. Heads after the first are ignored.
    pub fn head(&mut self, head: ResponseHead, after: Duration) {
        self.send(Message::Head(self.id, Box::new(head), after));
    }

    /// The next piece of the answer, as it was received.
    pub fn chunk(&mut self, chunk: Chunk) {
        self.send(Message::Chunk(self.id, chunk));
    }

    /// What came after the answer's body.
    pub fn trailers(&mut self, trailers: Headers) {
        self.send(Message::Trailers(self.id, trailers));
    }

    /// The answer ended; the recording is committed.
    pub fn finish(mut self, ending: Ending) {
        self.end(ending);
    }

    /// Waits while the writer is far behind, as long as it makes progress.
    pub async fn catch_up(&self) {
        if self.is_open {
            self.queue.catch_up().await;
        }
    }

    /// Whether what is told still goes into the cassette.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    fn send(&mut self, message: Message) {
        if self.is_open && !self.queue.push(message) {
            warn!("the disk can't follow: a recording ends with `limit`");
            self.end(Ending::Limit);
        }
    }

    fn end(&mut self, ending: Ending) {
        if std::mem::take(&mut self.is_open) {
            self.queue.push(Message::End(self.id, ending));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_open {
            self.queue.push(Message::Discard(self.id));
        }
    }
}
