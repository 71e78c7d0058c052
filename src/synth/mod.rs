//! The built-in fake backend: answers made up from the request alone, the same for the same request.
//!
//! Pure: when a chunk is to be sent is said, not waited for.

use crate::message::{RequestHead, ResponseHead};
use std::ops::Range;

pub use chunks::Chunks;

mod chunks;
mod openai;
mod words;

/// An answer made up: a head, then timed chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Without `Date`: there is no clock here.
    pub head: ResponseHead,
    /// The body, in pieces.
    pub chunks: Chunks,
    /// Which of the chunks are one token each, while the others have none. `None` where that has to be looked for.
    pub tokens: Option<Range<usize>>,
}

/// The answer of the built-in backend, which is shaped like the `OpenAI` API.
pub fn answer(request: &RequestHead, body: &[u8]) -> Answer {
    openai::answer(request, body)
}
