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
    Told(Told),
}

/// Events of a stream that differ in one word each. They are made when they are asked for: a thousand long streams would
/// take more memory than the processor has near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Events before the words, as they go out.
    pub(super) opening: Vec<String>,
    /// An event without its word.
    pub(super) frame: Frame,
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
        if word.bytes().all(is_plain) {
            return Some(self.frame.around(word));
        }
        let quoted = Value::from(word).to_string();
        let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        Some(self.frame.around(inside))
    }
}

/// An event that lacks a word in one place or several, each the inside of a JSON string. One text, and not its parts: where many
/// streams take turns, each place in memory that an event needs is one to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    text: String,
    /// Where the word goes, in rising order.
    places: Vec<usize>,
}

impl Frame {
    /// An event in which each content is empty. The name of a model can't look like one: a quote in it is escaped.
    pub(super) fn new(text: String) -> Self {
        let empty = text.match_indices(EMPTY);
        let places = empty.map(|(at, _)| at + EMPTY.len() - 1).collect();
        Self { text, places }
    }

    /// The event with this word.
    fn around(&self, word: &str) -> Bytes {
        let text = self.text.as_bytes();
        let mut event = Vec::with_capacity(text.len() + self.places.len() * word.len());
        let mut from = 0;
        for &place in &self.places {
            event.extend_from_slice(&text[from..place]);
            event.extend_from_slice(word.as_bytes());
            from = place;
        }
        event.extend_from_slice(&text[from..]);
        event.into()
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
        Self(Kind::Told(told))
    }
}

impl FromIterator<(Duration, Bytes)> for Chunks {
    fn from_iter<Pieces: IntoIterator<Item = (Duration, Bytes)>>(pieces: Pieces) -> Self {
        Self(Kind::Listed(pieces.into_iter().collect()))
    }
}

/// A content without a word.
const EMPTY: &str = r#""content":"""#;
