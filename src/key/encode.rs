//! Turns a canonical request into its key: BLAKE3 over an encoding in which every item says what and how long it is.
//!
//! So no two different requests have the same encoding. A change here changes all keys, hence [`VERSION`].

use serde_json::Value;

use super::{Canonical, CanonicalBody, Key};
use crate::json;

pub(super) fn key(request: &Canonical) -> Key {
    let mut hash = Encoder {
        hasher: blake3::Hasher::new(),
        waiting: Vec::with_capacity(1024),
    };
    hash.text(b'v', VERSION);
    hash.text(b'm', &request.method);
    hash.option(b'h', request.host.as_deref());
    hash.text(b'p', &request.path);
    hash.pairs(b'q', &request.query);
    hash.count(b'H', request.headers.len());
    for (name, values) in &request.headers {
        hash.text(b'n', name);
        hash.count(b'V', values.len());
        for value in values {
            hash.text(b's', value);
        }
    }
    hash.body(&request.body);
    let mut key = [0; 16];
    hash.hasher.update(&hash.waiting);
    hash.hasher.finalize_xof().fill(&mut key);
    Key(key)
}

struct Encoder {
    hasher: blake3::Hasher,
    /// Small items are hashed together, which is many times faster.
    waiting: Vec<u8>,
}

impl Encoder {
    fn count(&mut self, tag: u8, count: usize) {
        self.waiting.push(tag);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.add(&count.to_le_bytes());
    }

    fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= ENOUGH {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.count(tag, bytes.len());
        self.add(bytes);
    }

    fn text(&mut self, tag: u8, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    fn option(&mut self, tag: u8, text: Option<&str>) {
        match text {
            Some(text) => self.text(tag, text),
            None => self.count(b'-', 0),
        }
    }

    fn pairs(&mut self, tag: u8, pairs: &[(String, String)]) {
        self.count(tag, pairs.len());
        for (name, value) in pairs {
            self.text(b'n', name);
            self.text(b's', value);
        }
    }

    fn body(&mut self, body: &CanonicalBody) {
        match body {
            CanonicalBody::Empty => self.count(b'0', 0),
            CanonicalBody::Json(value) => {
                self.count(b'J', 1);
                self.value(value);
            }
            CanonicalBody::Form(pairs) => self.pairs(b'F', pairs),
            CanonicalBody::Multipart(parts) => {
                self.count(b'M', parts.len());
                for part in parts {
                    self.option(b'n', part.name.as_deref());
                    self.option(b'f', part.filename.as_deref());
                    self.option(b't', part.content_type.as_deref());
                    self.body(&part.content);
                }
            }
            CanonicalBody::Text(text) => self.text(b'T', text),
            CanonicalBody::Bytes { len, hash } => {
                self.count(b'B', *len);
                self.add(hash);
            }
            CanonicalBody::Unread => self.count(b'U', 0),
        }
    }

    /// As deep as the parser lets values be.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.count(b'z', 0),
            Value::Bool(value) => self.count(b'b', usize::from(*value)),
            Value::Number(number) => self.text(b'd', &json::canonical_number(number)),
            Value::String(text) => self.text(b's', text),
            Value::Array(items) => {
                self.count(b'a', items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(members) => {
                self.count(b'o', members.len());
                for (name, value) in members {
                    self.text(b'n', name);
                    self.value(value);
                }
            }
        }
    }
}

/// In bytes. From 16 KiB on BLAKE3 hashes several of its chunks at once.
const ENOUGH: usize = 16 * 1024;

/// Raised whenever the same request would get another key than before.
const VERSION: &str = "rehearsal key 1";
