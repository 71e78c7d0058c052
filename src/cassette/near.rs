//! Finds the recordings that are nearest to a request which has none, in a time that does not depend on how many there are.
//!
//! Each recording stands under a few numbers: one for each beginning of its path, and [`SLOTS`] that stand for what its
//! query and its body say. Two requests share such a one about as likely as a part of what they say is the same (they are
//! the least hashes of all parts, under as many orders). So the nearest stand together, and a few look-ups find them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::cassette::index::RecordingId;
use crate::key::{Canonical, CanonicalBody};

/// Replayable recordings by what their requests are like.
#[derive(Debug, Default)]
pub(crate) struct Near {
    spots: BTreeSet<(u64, RecordingId)>,
    methods: BTreeMap<Box<str>, usize>,
}

/// What the query and the body of a request say, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sketch(Option<[u32; SLOTS]>);

impl Near {
    pub(crate) fn insert(&mut self, id: RecordingId, method: &str, path: &str, sketch: Sketch) {
        *self.methods.entry(method.into()).or_default() += 1;
        let spots = spots(method, path, sketch);
        self.spots.extend(spots.map(|spot| (spot, id)));
    }

    pub(crate) fn remove(&mut self, id: RecordingId, method: &str, path: &str, sketch: Sketch) {
        if let Some(count) = self.methods.get_mut(method) {
            *count -= 1;
            if *count == 0 {
                self.methods.remove(method);
            }
        }
        for spot in spots(method, path, sketch) {
            self.spots.remove(&(spot, id));
        }
    }

    /// At most `limit` recordings, the likest first: of the same method and path those that share most of what they say,
    /// then of the same method those whose paths agree furthest, then of other methods.
    pub(crate) fn find(
        &self,
        method: &str,
        path: &str,
        sketch: Sketch,
        limit: usize,
    ) -> Vec<RecordingId> {
        let mut found = self.sharing(sketch.spots(method, path), limit);
        let others = self.methods.keys().map(AsRef::as_ref);
        let others = others.filter(|other| *other != method).take(METHODS);
        let same = beginnings(method, path);
        let other = others.flat_map(|other| beginnings(other, path).filter(|at| at.depth > 0));
        for spot in same.chain(other).flat_map(|at| [at.whole, at.begun]) {
            if found.len() >= limit {
                break;
            }
            let more: Vec<_> = self
                .at(spot, found.len() + limit)
                .filter(|id| !found.contains(id))
                .collect();
            found.extend(more);
        }
        found.truncate(limit);
        found
    }

    /// Recordings that stand at one of these spots, first those that share most with few others.
    fn sharing(&self, spots: impl Iterator<Item = u64>, limit: usize) -> Vec<RecordingId> {
        let mut shared: HashMap<RecordingId, usize> = HashMap::new();
        for spot in spots {
            let here: Vec<_> = self.at(spot, limit + 1).collect();
            // What nearly all have in common tells nothing.
            let weight = if here.len() > limit {
                1
            } else {
                1 + limit * limit / here.len().max(1)
            };
            for id in here {
                *shared.entry(id).or_default() += weight;
            }
        }
        let mut found: Vec<_> = shared.into_iter().collect();
        found.sort_unstable_by_key(|(id, weight)| (Reverse(*weight), *id));
        found.into_iter().map(|(id, _)| id).collect()
    }

    fn at(&self, spot: u64, limit: usize) -> impl Iterator<Item = RecordingId> {
        self.spots
            .range((spot, RecordingId::FIRST)..=(spot, RecordingId::LAST))
            .map(|(_, id)| *id)
            .take(limit)
    }
}

fn spots(method: &str, path: &str, sketch: Sketch) -> impl Iterator<Item = u64> {
    let mut whole = None;
    let mut begun = Vec::new();
    for at in beginnings(method, path) {
        match whole {
            None => whole = Some(at.whole),
            Some(_) => begun.push(at.begun),
        }
    }
    whole
        .into_iter()
        .chain(begun)
        .chain(sketch.spots(method, path))
}

/// A beginning of a path, in whole segments.
struct Beginning {
    depth: usize,
    /// Where recordings stand whose path is this.
    whole: u64,
    /// Where recordings stand whose path goes on after this.
    begun: u64,
}

/// The path as a whole, and its beginnings of at most [`DEPTH`] segments down to none; the longest first.
fn beginnings(method: &str, path: &str) -> impl Iterator<Item = Beginning> + use<> {
    let mut hasher = DefaultHasher::new();
    method.hash(&mut hasher);
    let beginning = |depth, hasher: &DefaultHasher| Beginning {
        depth,
        whole: mixed(hasher.finish()),
        begun: hasher.finish(),
    };
    let mut found = vec![beginning(0, &hasher)];
    let mut depth = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        segment.hash(&mut hasher);
        depth += 1;
        found.truncate(DEPTH + 1);
        found.push(beginning(depth, &hasher));
    }
    found.into_iter().rev()
}

impl Sketch {
    /// What this request says beside its method and path.
    pub(crate) fn of(request: &Canonical) -> Self {
        let mut parts = Parts {
            least: [u32::MAX; SLOTS],
            left: PARTS,
        };
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
        Self((parts.left < PARTS).then_some(parts.least))
    }

    fn spots(self, method: &str, path: &str) -> impl Iterator<Item = u64> + use<> {
        let mut hasher = DefaultHasher::new();
        (method, path).hash(&mut hasher);
        let place = hasher.finish();
        let slots = self.0.into_iter().flatten().zip(1_u64..);
        slots.map(move |(least, slot)| mixed(place ^ mixed(u64::from(least) ^ (slot << 32))))
    }
}

/// Gathers the parts of what a request says.
struct Parts {
    least: [u32; SLOTS],
    /// How many more are looked at.
    left: usize,
}

impl Parts {
    fn add(&mut self, part: &impl Hash) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let mut hasher = DefaultHasher::new();
        part.hash(&mut hasher);
        let hash = hasher.finish();
        for (least, order) in self.least.iter_mut().zip(ORDERS) {
            // The upper half is the better mixed one.
            *least = (*least).min((mixed(hash ^ order) >> 32) as u32);
        }
    }

    /// Each value with the way to it; of long texts, each word.
    fn json(&mut self, value: &Value, way: &mut Vec<u64>) {
        if self.left == 0 {
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

    fn text(&mut self, place: u64, text: &str) {
        if text.len() <= SHORT {
            return self.add(&(place, text));
        }
        for word in text.split_whitespace() {
            self.add(&(place, word));
        }
    }
}

/// The end of SplitMix64: each bit of the input turns half of the output.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// How many numbers stand for what a request says. With 4, two of which half is the same share one in 15 of 16 cases.
const SLOTS: usize = 4;

/// Whatever is different, for as many orders of the same parts.
const ORDERS: [u64; SLOTS] = [
    0x9e37_79b9_7f4a_7c15,
    0x3c6e_f372_fe94_f82a,
    0xdaa6_6d2c_7ddf_743f,
    0x78dd_e6e5_fd29_f054,
];

/// How many parts of a request are looked at.
const PARTS: usize = 4096;

/// Up to so many bytes a text is one part.
const SHORT: usize = 40;

/// How many beginnings of a path count, besides the whole.
const DEPTH: usize = 8;

/// How many other methods are looked at.
const METHODS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyBody, KeyRules, KeySettings};
    use crate::message::{Headers, RequestHead};

    fn canonical(method: &str, path: &str, body: &str) -> Canonical {
        let head = RequestHead {
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            headers: Headers::new(),
        };
        let rules = KeyRules::compile(&KeySettings::default()).unwrap();
        rules.canonical(&head, KeyBody::Whole(body.as_bytes()))
    }

    fn insert(near: &mut Near, id: usize, request: &Canonical) {
        near.insert(
            RecordingId::new(id),
            &request.method,
            &request.path,
            Sketch::of(request),
        );
    }

    fn find(near: &Near, request: &Canonical, limit: usize) -> Vec<usize> {
        let sketch = Sketch::of(request);
        near.find(&request.method, &request.path, sketch, limit)
            .into_iter()
            .map(RecordingId::number)
            .collect()
    }

    fn question(index: usize, more: &str) -> String {
        let topic = format!("{:x}", mixed(index as u64));
        let words: Vec<_> = (0..30)
            .map(|at| format!("w{:x}", mixed((index * 31 + at) as u64) % 5000))
            .collect();
        format!(
            r#"{{"model":"gpt-4o","stream":true,"messages":[{{"role":"user","content":"About {topic}: {}{more}"}}]}}"#,
            words.join(" ")
        )
    }

    #[test]
    fn among_many_of_one_path_the_one_that_says_nearly_the_same_is_found() {
        let mut near = Near::default();
        for index in 0..5000 {
            insert(
                &mut near,
                index,
                &canonical("POST", "/v1/chat", &question(index, "")),
            );
        }
        let mut firsts = 0;
        for index in (0..5000).step_by(100) {
            let asked = canonical("POST", "/v1/chat", &question(index, " and in short"));
            let found = find(&near, &asked, 32);
            assert_eq!(found.len(), 32);
            assert!(found.contains(&index), "{index}: {found:?}");
            firsts += usize::from(found[0] == index);
        }
        assert!(firsts >= 45, "{firsts} of 50 come first");
    }

    #[test]
    fn what_was_taken_out_is_not_found() {
        let mut near = Near::default();
        let requests: Vec<_> = (0..3)
            .map(|index| canonical("POST", "/v1/chat", &question(index, "")))
            .collect();
        for (index, request) in requests.iter().enumerate() {
            insert(&mut near, index, request);
        }
        let sketch = Sketch::of(&requests[1]);
        near.remove(RecordingId::new(1), "POST", "/v1/chat", sketch);
        let mut found = find(&near, &requests[1], 32);
        found.sort_unstable();
        assert_eq!(found, [0, 2]);
        for index in [0, 2] {
            let sketch = Sketch::of(&requests[index]);
            near.remove(RecordingId::new(index), "POST", "/v1/chat", sketch);
        }
        assert!(near.spots.is_empty() && near.methods.is_empty());
    }

    #[test]
    fn paths_that_agree_further_come_first_and_other_methods_last() {
        let mut near = Near::default();
        let requests = [
            ("GET", "/v1/chat"),
            ("POST", "/other"),
            ("POST", "/v1/models"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/chat"),
            ("PUT", "/nothing/alike"),
        ];
        for (index, (method, path)) in requests.into_iter().enumerate() {
            insert(&mut near, index, &canonical(method, path, ""));
        }
        let asked = canonical("POST", "/v1/chat", "{}");
        assert_eq!(find(&near, &asked, 32), [4, 3, 2, 1, 0]);
        assert_eq!(find(&near, &asked, 2), [4, 3]);
        assert!(find(&near, &canonical("PATCH", "/x", ""), 32).is_empty());
    }

    #[test]
    fn a_path_without_end_costs_no_more_than_another() {
        let long = "/a".repeat(5000);
        let mut near = Near::default();
        insert(&mut near, 0, &canonical("GET", &long, ""));
        assert!(near.spots.len() <= DEPTH + 2 + SLOTS);
        let asked = canonical("GET", &(long + "/b"), "");
        assert_eq!(find(&near, &asked, 32), [0]);
    }
}
