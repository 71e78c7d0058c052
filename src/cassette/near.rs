//! Finds the recordings that are nearest to a request which has none, in a time that does not depend on how many there are.
//!
//! Each recording stands under a few numbers: one for each beginning of its path, and up to [`MARKS`] for those parts of
//! what it says (words of its texts, say) that were the rarest when it came. A request that says nearly the same has nearly
//! all of them, however much else all requests have in common. How often parts occur is counted in a table of fixed size,
//! where some share a place: that makes them seem less rare than they are, which does little harm.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::cassette::id::RecordingId;
use crate::key::{Canonical, CanonicalBody};

/// Replayable recordings by what their requests are like.
#[derive(Debug, Default)]
pub(crate) struct Near {
    spots: BTreeSet<(u64, RecordingId)>,
    methods: BTreeMap<Box<str>, usize>,
    /// How often parts occurred; empty until the first one.
    counts: Vec<u32>,
    /// How many recordings were counted.
    total: u32,
}

/// The parts of what a request says beside its method and path: a number for each, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sketch(Box<[u32]>);

/// The parts by which a recording is found; fewer where it says less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks([Option<u32>; MARKS]);

impl Near {
    /// Adds a recording. Keep the marks for its removal.
    pub(crate) fn insert(
        &mut self,
        id: RecordingId,
        method: &str,
        path: &str,
        sketch: &Sketch,
    ) -> Marks {
        *self.methods.entry(method.into()).or_default() += 1;
        let marks = self.marks(sketch);
        let spots = spots(method, path, marks);
        self.spots.extend(spots.map(|spot| (spot, id)));
        marks
    }

    /// The rarest parts, as far as is known yet.
    fn marks(&mut self, sketch: &Sketch) -> Marks {
        if self.counts.is_empty() && !sketch.0.is_empty() {
            self.counts = vec![0; COUNTS];
        }
        self.total = self.total.saturating_add(1);
        let mut rarest: Vec<(u32, u32)> = Vec::with_capacity(sketch.0.len());
        for part in &sketch.0 {
            if let Some(count) = self.counts.get_mut(*part as usize % COUNTS) {
                rarest.push((*count, *part));
                *count = count.saturating_add(1);
            }
        }
        if rarest.len() > MARKS {
            rarest.select_nth_unstable(MARKS - 1);
        }
        let mut marks = Marks::default();
        for (mark, (_, part)) in marks.0.iter_mut().zip(rarest) {
            *mark = Some(part);
        }
        marks
    }

    pub(crate) fn remove(&mut self, id: RecordingId, method: &str, path: &str, marks: Marks) {
        if let Some(count) = self.methods.get_mut(method) {
            *count -= 1;
            if *count == 0 {
                self.methods.remove(method);
            }
        }
        for spot in spots(method, path, marks) {
            self.spots.remove(&(spot, id));
        }
    }

    /// At most `limit` recordings, the likest first: of the same method and path those that share most of what is rare, then of the same method those whose paths agree furthest, then of other methods.
    pub(crate) fn find(
        &self,
        method: &str,
        path: &str,
        sketch: &Sketch,
        limit: usize,
    ) -> Vec<RecordingId> {
        let place = place(method, path);
        let parts = sketch.0.iter();
        let parts = parts.map(|part| (mark_spot(place, *part), self.rarity(*part)));
        let mut found = self.sharing(parts, limit);
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

    /// How much it tells that a part is shared: the more, the fewer have it. At least 1.
    fn rarity(&self, part: u32) -> u32 {
        let count = self.counts.get(part as usize % COUNTS).copied();
        let ratio = self.total / count.unwrap_or_default().max(1);
        1 + ratio.checked_ilog2().unwrap_or_default()
    }

    /// Recordings that stand at some of these spots, first those for which their weights add up to most.
    fn sharing(&self, spots: impl Iterator<Item = (u64, u32)>, limit: usize) -> Vec<RecordingId> {
        let mut shared: HashMap<RecordingId, u32> = HashMap::new();
        for (spot, weight) in spots {
            for id in self.at(spot, limit) {
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

fn spots(method: &str, path: &str, marks: Marks) -> impl Iterator<Item = u64> {
    let mut whole = None;
    let mut begun = Vec::new();
    for at in beginnings(method, path) {
        match whole {
            None => whole = Some(at.whole),
            Some(_) => begun.push(at.begun),
        }
    }
    let place = place(method, path);
    let marks = marks.0.into_iter().flatten();
    whole
        .into_iter()
        .chain(begun)
        .chain(marks.map(move |mark| mark_spot(place, mark)))
}

fn place(method: &str, path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (method, path).hash(&mut hasher);
    hasher.finish()
}

fn mark_spot(place: u64, mark: u32) -> u64 {
    mixed(place ^ mixed(u64::from(mark)))
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

/// The end of `SplitMix64`: each bit of the input turns half of the output.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// By how many of its parts a recording is found.
const MARKS: usize = 4;

/// How many parts of a request are looked at.
const PARTS: usize = 2048;

/// How many parts are counted apart. 1 MiB of memory.
const COUNTS: usize = 1 << 18;

/// Up to so many bytes a word is one part.
const LONG_WORD: usize = 32;

/// How many letters of a long word are a part.
const LETTERS: usize = 4;

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

    fn insert(near: &mut Near, id: usize, request: &Canonical) -> Marks {
        near.insert(
            RecordingId::new(id),
            &request.method,
            &request.path,
            &Sketch::of(request),
        )
    }

    fn find(near: &Near, request: &Canonical, limit: usize) -> Vec<usize> {
        let sketch = Sketch::of(request);
        near.find(&request.method, &request.path, &sketch, limit)
            .into_iter()
            .map(RecordingId::number)
            .collect()
    }

    fn question(index: usize, more: &str) -> String {
        let topic = format!("{:x}", mixed(index as u64));
        let words: Vec<_> = (0..30)
            .map(|at| format!("w{:x}", mixed((index * 31 + at) as u64) % 5000))
            .collect();
        // All have most in common.
        let system: Vec<_> = (0..300).map(|at| format!("rule{at}")).collect();
        format!(
            r#"{{"model":"gpt-4o","stream":true,"messages":[{{"role":"system","content":"{}"}},
            {{"role":"user","content":"About {topic}: {}{more}"}}]}}"#,
            system.join(" "),
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
    fn texts_without_blanks_are_compared_too() {
        let mut near = Near::default();
        let letters: Vec<char> = ('\u{4e00}'..'\u{6000}').collect();
        let question = |index: usize| -> String {
            (0..40)
                .map(|at| letters[usize::try_from(mixed((index * 41 + at) as u64) % 4000).unwrap()])
                .collect()
        };
        for index in 0..500 {
            let body = format!(r#"{{"q":"{}"}}"#, question(index));
            insert(&mut near, index, &canonical("POST", "/v1/chat", &body));
        }
        for index in (0..500).step_by(50) {
            let body = format!(r#"{{"q":"{}。"}}"#, question(index));
            let found = find(&near, &canonical("POST", "/v1/chat", &body), 32);
            assert_eq!(found[0], index);
        }
    }

    #[test]
    fn what_was_taken_out_is_not_found() {
        let mut near = Near::default();
        let requests: Vec<_> = (0..3)
            .map(|index| canonical("POST", "/v1/chat", &question(index, "")))
            .collect();
        let marks: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(index, request)| insert(&mut near, index, request))
            .collect();
        near.remove(RecordingId::new(1), "POST", "/v1/chat", marks[1]);
        let mut found = find(&near, &requests[1], 32);
        found.sort_unstable();
        assert_eq!(found, [0, 2]);
        for index in [0, 2] {
            near.remove(RecordingId::new(index), "POST", "/v1/chat", marks[index]);
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
        assert!(near.spots.len() <= DEPTH + 2 + MARKS);
        let asked = canonical("GET", &(long + "/b"), "");
        assert_eq!(find(&near, &asked, 32), [0]);
    }
}
