//! The request of an exchange as it came, in memory only: secrets are found by looking at all of it.

use std::fmt;

use bytes::Bytes;

use crate::message::RequestHead;

/// A request that is coming.
pub(crate) struct Asked {
    pub(crate) head: RequestHead,
    body: Vec<Bytes>,
    bytes: usize,
    is_too_large: bool,
    /// Whether there is more than was told.
    is_news: bool,
}

impl Asked {
    pub(crate) fn new(head: RequestHead) -> Self {
        Self {
            head,
            body: Vec::new(),
            bytes: 0,
            is_too_large: false,
            is_news: false,
        }
    }

    /// A piece of its body.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !self.is_too_large && !bytes.is_empty() {
            self.bytes += bytes.len();
            self.body.push(bytes);
            self.is_news = true;
        }
    }

    /// It's too large to be kept.
    pub(crate) fn too_large(&mut self) {
        self.is_too_large = true;
        self.is_news = true;
        self.forget();
    }

    /// How many bytes of its body are held.
    pub(crate) fn held(&self) -> usize {
        self.bytes
    }

    /// Whether there is more than was told.
    pub(crate) fn is_news(&self) -> bool {
        self.is_news
    }

    /// The body as far as it came. `None` for one that is too large.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        if self.is_too_large {
            return None;
        }
        Some(match self.body.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        })
    }

    /// All so far was told. Lets go of it where more can't come.
    pub(crate) fn told(&mut self) {
        self.is_news = false;
        if self.is_complete() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.body = Vec::new();
        self.bytes = 0;
    }

    /// Whether the head says that all of the body is there.
    fn is_complete(&self) -> bool {
        if self.is_too_large {
            return true;
        }
        match self.head.headers.get_str("content-length") {
            Some(length) => length
                .trim()
                .parse()
                .is_ok_and(|length: usize| self.bytes >= length),
            None => false,
        }
    }
}

// What came holds secrets.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
