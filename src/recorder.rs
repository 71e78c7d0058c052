//! Gathers one exchange in the reader task and hands it to the cassette, without ever waiting.
//!
//! Stands before faults and shaping: what it gets is what the upstream said, and when.

use std::time::Duration;

use bytes::Bytes;

use crate::cassette::Ticket;
use crate::message::{Chunk, Ending, Headers, ResponseHead, is_ours};

/// One recording under way. Dropped without [`Recorder::finish`], it is discarded.
pub struct Recorder {
    ticket: Ticket,
    /// How many bytes of the request's body may still be kept.
    room: usize,
    is_over: bool,
}

impl Recorder {
    /// Keeps at most `body_limit` bytes of the request's body; of a larger one, none.
    pub fn new(ticket: Ticket, body_limit: usize) -> Self {
        Self {
            ticket,
            room: body_limit,
            is_over: false,
        }
    }

    /// A piece of the request's body went out.
    pub fn request_body(&mut self, bytes: &Bytes) {
        if self.is_over {
            return;
        }
        if bytes.len() > self.room {
            self.is_over = true;
            self.ticket.request_too_large();
        } else {
            self.room -= bytes.len();
            self.ticket.request_body(bytes.clone());
        }
    }

    /// What is spoken with the upstream, such as `h2`; `http/1.1` where nothing is said.
    pub fn protocol(&mut self, protocol: &'static str) {
        self.ticket.protocol(protocol);
    }

    /// The head of the answer came, so long after the end of the request. What another rehearsal says of itself in it is not kept:
    /// a replay says such things of its own.
    pub fn head(&mut self, head: &ResponseHead, after: Duration) {
        let mut head = head.clone();
        head.headers.retain(|name, _| !is_ours(name));
        self.ticket.head(head, after);
    }

    /// A chunk of the answer came.
    pub fn chunk(&mut self, chunk: &Chunk) {
        self.ticket.chunk(chunk.clone());
    }

    /// Header lines came after the body.
    pub fn trailers(&mut self, trailers: &Headers) {
        self.ticket.trailers(trailers.clone());
    }

    /// To be awaited between two reads: a transfer that is faster than the disk is read at the disk's speed. What was read
    /// has gone to the client before; a disk that stands still is not waited for.
    pub async fn catch_up(&self) {
        self.ticket.catch_up().await;
    }

    /// The answer is over.
    pub fn finish(self, ending: Ending) {
        self.ticket.finish(ending);
    }
}
