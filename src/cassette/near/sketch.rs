//! What a request says beside its method and path, as a set of numbers.
//!
//! Requests that say nearly the same have nearly all numbers in common, which is all that is asked of the numbers.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::key::{Canonical, CanonicalBody};

/// The parts of what a request says beside its method and path: a number for each, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sketch(Box<[u32]>);

impl Sketch {
    /// What this request says beside its method and path.
    pub(crate) fn of(request: &Canonical) -> Self {
        let mut parts = Parts(Vec::new());
        for pair in &request.query {
            parts.add(&("query", pair));
        }
        match &request.body {
            CanonicalBody::Json(value) => parts.json(value, &mut Vec::new()),
            CanonicalBody::Form(pairs) => pairs.iter().for_each(|pair| parts.add(pair)),
            CanonicalBody::Text(text) => parts.text(0, text),
            CanonicalBody::Multipart(list) => {
                for part in list {
                    parts.add(&(&part.name, &part.filename));
                    if let CanonicalBody::Text(text) = &part.content {
                        parts.text(0, text);
                    }
                }
            }
            CanonicalBody::Bytes { len, hash } => parts.add(&(len, hash)),
            CanonicalBody::Empty | CanonicalBody::Unread => {}
        }
        parts.0.sort_unstable();
        parts.0.dedup();
        Self(parts.0.into())
    }

    /// The numbers, sorted.
    pub(super) fn parts(&self) -> &[u32] {
        &self.0
    }
}

/// Gathers the parts of what a request says.
struct Parts(Vec<u32>);

impl Parts {
    fn is_full(&self) -> bool {
        self.0.len() >= PARTS
    }

    fn add(&mut self, part: &impl Hash) {
        if !self.is_full() {
            let mut hasher = DefaultHasher::new();
            part.hash(&mut hasher);
            // The upper half is as good as the lower one.
            self.0.push((hasher.finish() >> 32) as u32);
        }
    }

    /// Each value with the way to it; of texts, each word.
    fn json(&mut self, value: &Value, way: &mut Vec<u64>) {
        if self.is_full() {
            return;
        }
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let mut hasher = DefaultHasher::new();
                    name.hash(&mut hasher);
                    way.push(hasher.finish());
                    self.json(value, way);
                    way.pop();
                }
            }
            // The place in a list does not count: one more message at the beginning moves all.
            Value::Array(items) => items.iter().for_each(|item| self.json(item, way)),
            Value::String(text) => {
                let mut hasher = DefaultHasher::new();
                way.hash(&mut hasher);
                self.text(hasher.finish(), text);
            }
            Value::Null => self.add(&(&*way, "null")),
            Value::Bool(value) => self.add(&(&*way, value)),
            Value::Number(number) => self.add(&(&*way, number.as_str())),
        }
    }

    /// Each word; of long ones, and of scripts without blanks, each few letters.
    fn text(&mut self, place: u64, text: &str) {
        for word in text.split_whitespace() {
            if self.is_full() {
                return;
            }
            if word.len() <= LONG_WORD {
                self.add(&(place, word));
                continue;
            }
            let mut starts = word.char_indices().map(|(at, _)| at).chain([word.len()]);
            let ends = starts.clone().skip(LETTERS);
            let pieces = starts
                .by_ref()
                .zip(ends)
                .map_while(|(from, to)| word.get(from..to));
            for piece in pieces.take(PARTS) {
                self.add(&(place, piece));
            }
        }
    }
}

/// How many parts of a request are looked at.
const PARTS: usize = 2048;

/// Up to so many bytes a word is one part.
const LONG_WORD: usize = 32;

/// How many letters of a long word are a part.
const LETTERS: usize = 4;
