//! The built-in fake backend: answers made up from the request alone, the same for the same request.
//!
//! Pure: when a chunk is to be sent is said, not waited for.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{RequestHead, ResponseHead};

mod openai;

/// An answer made up: a head, then timed chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Without `Date`: there is no clock here.
    pub head: ResponseHead,
    /// Pieces of the body, and when each comes, from the head on. The times never go backwards, no piece is empty.
    pub chunks: Vec<(Duration, Bytes)>,
    /// Which of the chunks are one token each, while the others have none. `None` where that has to be looked for.
    pub tokens: Option<Range<usize>>,
}

/// The answer of the built-in backend, which is shaped like the `OpenAI` API.
pub fn answer(request: &RequestHead, body: &[u8]) -> Answer {
    openai::answer(request, body)
}
