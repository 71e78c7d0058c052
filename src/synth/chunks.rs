//! The pieces of a made-up body: listed, or made one by one.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::words::Words;

/// Pieces of a body, and when each comes, from the head on. The times never go backwards, no piece is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Listed(Vec<(Duration, Bytes)>),
    Told(Box<Told>),
}

/// Events of a stream that differ in one word each. They are made when they are asked for: a thousand long streams would
/// take more memory than the processor has near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Events before the words, as they go out.
    pub(super) opening: Vec<String>,
    /// What stands around each word, which goes in between as the inside of a JSON string.
    pub(super) around: Vec<String>,
    pub(super) words: Words,
    /// Events after the words, as they go out.
    pub(super) closing: Vec<String>,
    /// When the first event comes.
    pub(super) first: Duration,
    /// From one event to the next.
    pub(super) gap: Duration,
}

impl Told {
    fn len(&self) -> usize {
        self.opening.len() + self.words.len() + self.closing.len()
    }

    fn at(&self, index: usize) -> Duration {
        self.first + self.gap * u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn make(&self, index: usize) -> Option<Bytes> {
        if let Some(event) = self.opening.get(index) {
            return Some(Bytes::copy_from_slice(event.as_bytes()));
        }
        let index = index - self.opening.len();
        let Some(word) = self.words.get(index) else {
            let event = self.closing.get(index - self.words.len())?;
            return Some(Bytes::copy_from_slice(event.as_bytes()));
        };
        // Most words need no escaping.
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        let event = if word.bytes().all(is_plain) {
            self.around.join(word)
        } else {
            let quoted = Value::from(word).to_string();
            let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
            self.around.join(inside)
        };
        Some(event.into())
    }
}

impl Chunks {
    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Listed(chunks) => chunks.len(),
            Kind::Told(told) => told.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When a piece comes; `None` behind the last.
    pub fn at(&self, index: usize) -> Option<Duration> {
        match &self.0 {
            Kind::Listed(chunks) => chunks.get(index).map(|(at, _)| *at),
            Kind::Told(told) => (index < told.len()).then(|| told.at(index)),
        }
    }

    /// A piece; `None` behind the last.
    pub fn get(&self, index: usize) -> Option<Bytes> {
        match &self.0 {
            Kind::Listed(chunks) => chunks.get(index).map(|(_, bytes)| bytes.clone()),
            Kind::Told(told) => told.make(index),
        }
    }

    /// A piece that is not needed again; `None` behind the last.
    pub fn take(&mut self, index: usize) -> Option<Bytes> {
        match &mut self.0 {
            Kind::Listed(chunks) => chunks
                .get_mut(index)
                .map(|(_, bytes)| std::mem::take(bytes)),
            Kind::Told(told) => told.make(index),
        }
    }

    /// The whole body, where it is one piece.
    pub fn only(&self) -> Option<Bytes> {
        (self.len() == 1).then(|| self.get(0)).flatten()
    }

    /// All, with their times.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, Bytes)> {
        (0..self.len()).filter_map(|index| self.at(index).zip(self.get(index)))
    }
}

impl From<Told> for Chunks {
    fn from(told: Told) -> Self {
        Self(Kind::Told(Box::new(told)))
    }
}

impl FromIterator<(Duration, Bytes)> for Chunks {
    fn from_iter<Pieces: IntoIterator<Item = (Duration, Bytes)>>(pieces: Pieces) -> Self {
        Self(Kind::Listed(pieces.into_iter().collect()))
    }
}
