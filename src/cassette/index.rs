//! Finds recordings by key, and lists them, without holding a body.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cassette::format::BrokenFile;
use crate::cassette::names::place_of;
use crate::cassette::recording::{RecordedBody, Recording};
use crate::key::{Canonical, Key, KeyBody, KeyRules};
use crate::message::{Ending, RequestHead};
use crate::sanitize::redact::RedactRules;

/// A recording in the index. Stays the same while its file is there, and is never used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId(usize);

/// By which rules a recording is found.
#[derive(Clone, Debug)]
pub struct Keying {
    /// The place of the route in the plan.
    pub route: usize,
    /// The rules of that route.
    pub rules: Arc<KeyRules>,
    /// Applied before keying, so that a rule younger than the recording counts too.
    pub redact: Option<Arc<RedactRules>>,
}

/// Decides by which rules a recorded request is found. `None`: by no route, it's only listed.
pub(crate) type Rules = dyn Fn(&RequestHead) -> Option<Keying> + Send + Sync;

/// What is listed of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of its file.
    pub name: String,
    /// Of the recorded request.
    pub method: String,
    /// Of the recorded request.
    pub path: String,
    /// Of the answer.
    pub status: u16,
    /// How the answer ended.
    pub ending: Ending,
    /// How many items came after the head.
    pub chunks: usize,
    /// Of the answer's body.
    pub bytes: u64,
    /// From the head to the last item.
    pub duration: Duration,
    /// When the request came.
    pub at: SystemTime,
    /// Whether replay may use it.
    pub replayable: bool,
}

/// All recordings of a cassette.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<RecordingId, Indexed>,
    by_name: HashMap<String, RecordingId>,
    /// Replayable ones, in their sequence.
    by_key: HashMap<(usize, Key), Vec<RecordingId>>,
    /// All, by the key of the request as it was recorded.
    by_recorded: HashMap<Key, Vec<RecordingId>>,
    /// How many recordings need a side file.
    sides: HashMap<String, usize>,
    broken: HashMap<String, BrokenFile>,
    next: usize,
}

/// A recording as the index holds it.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    pub(crate) entry: Entry,
    /// Its place in its sequence.
    place: u32,
    /// How often it stands there.
    repeats: usize,
    /// Where it's found. `None` where no route matches.
    found: Option<(usize, Key)>,
    /// The key of the request as it was recorded. `None` where there are no rules and the file does not say.
    recorded: Option<Key>,
    sides: Vec<String>,
}

impl Indexed {
    /// What the index needs of a recording.
    pub(crate) fn new(recording: &Recording, rules: Option<&Rules>) -> Self {
        let (matched, body) = recording.matched_request();
        let found = canonical(&matched, body, rules);
        let recorded = canonical(&recording.request, &recording.request_body, rules);
        let key = |found: Option<(usize, Canonical)>| {
            found.map(|(route, canonical)| (route, canonical.key()))
        };
        let recorded = key(recorded).map(|(_, key)| key);
        let wire = recording.encoded.as_ref();
        let mut sides: Vec<String> = recording
            .side
            .iter()
            .chain(wire.and_then(|encoded| encoded.wire.as_ref()))
            .map(|side| side.name.clone())
            .collect();
        for body in [
            Some(&recording.request_body),
            recording.matching.body.as_ref(),
        ] {
            if let Some(RecordedBody::Side(side)) = body {
                sides.push(side.name.clone());
            }
        }
        Self {
            entry: Entry {
                name: recording.name.clone(),
                method: recording.request.method.clone(),
                path: recording.request.path.clone(),
                status: recording.head.status,
                ending: recording.ending,
                chunks: recording.items.len(),
                bytes: recording.body_bytes(),
                duration: recording.duration(),
                at: recording.at,
                replayable: recording.is_replayable(),
            },
            place: place_of(&recording.name),
            found: key(found),
            recorded: recorded.or_else(|| recording.key.parse().ok()),
            repeats: recording.play.repeat.map_or(1, |repeat| repeat as usize),
            sides,
        }
    }
}

/// The one form of a recorded request under the rules in force. `None` where no route matches, or its body can't be read.
pub(crate) fn canonical(
    head: &RequestHead,
    body: &RecordedBody,
    rules: Option<&Rules>,
) -> Option<(usize, Canonical)> {
    let Keying {
        route,
        rules,
        redact,
    } = rules?(head)?;
    let body = body.load().ok()?;
    let Some(redact) = redact else {
        return Some((route, rules.canonical(head, key_body(body.as_deref()))));
    };
    let mut redactor = redact.exchange(head);
    let redacted = redactor.request_head(head).into_inner();
    let body = body.map(|body| redactor.request_body(head, &body).into_inner());
    Some((route, rules.canonical(&redacted, key_body(body.as_deref()))))
}

/// A body as the key takes it; `None` for one that was too large.
pub(crate) fn key_body(body: Option<&[u8]>) -> KeyBody<'_> {
    match body {
        Some(bytes) => KeyBody::Whole(bytes),
        None => KeyBody::TooLarge,
    }
}

impl Index {
    /// Adds a recording, or puts it in place of the one in the file of that name. Gives back the id, and the side files
    /// that no recording needs any more.
    pub(crate) fn insert(&mut self, indexed: Indexed) -> (RecordingId, Vec<String>) {
        let name = &indexed.entry.name;
        self.broken.remove(name);
        for side in &indexed.sides {
            *self.sides.entry(side.clone()).or_default() += 1;
        }
        let (id, unused) = if let Some(&id) = self.by_name.get(name) {
            (id, self.unlink(id))
        } else {
            self.next += 1;
            (RecordingId(self.next), Vec::new())
        };
        self.by_name.insert(indexed.entry.name.clone(), id);
        if let Some(key) = indexed.recorded {
            self.by_recorded.entry(key).or_default().push(id);
        }
        let found = indexed.found.filter(|_| indexed.entry.replayable);
        self.entries.insert(id, indexed);
        if let Some(found) = found {
            let mut sequence = self.by_key.remove(&found).unwrap_or_default();
            let at = sequence.partition_point(|other| self.place(*other) < self.place(id));
            sequence.insert(at, id);
            self.by_key.insert(found, sequence);
        }
        (id, unused)
    }

    /// Notes a file that can't be used.
    pub(crate) fn insert_broken(&mut self, broken: BrokenFile) {
        self.remove(&broken.name);
        self.broken.insert(broken.name.clone(), broken);
    }

    /// Takes out the recording in this file. Gives back its side files that no other recording needs.
    pub(crate) fn remove(&mut self, name: &str) -> Vec<String> {
        self.broken.remove(name);
        let Some(id) = self.by_name.remove(name) else {
            return Vec::new();
        };
        self.unlink(id)
    }

    fn unlink(&mut self, id: RecordingId) -> Vec<String> {
        let Some(indexed) = self.entries.remove(&id) else {
            return Vec::new();
        };
        if let Some(found) = indexed.found {
            forget(&mut self.by_key, &found, id);
        }
        if let Some(key) = indexed.recorded {
            forget(&mut self.by_recorded, &key, id);
        }
        let mut unused = Vec::new();
        for side in indexed.sides {
            if let Some(count) = self.sides.get_mut(&side) {
                *count -= 1;
                if *count == 0 {
                    self.sides.remove(&side);
                    unused.push(side);
                }
            }
        }
        unused
    }

    /// By what a sequence is ordered.
    fn place(&self, id: RecordingId) -> Option<(u32, &str)> {
        let indexed = self.entries.get(&id)?;
        Some((indexed.place, &indexed.entry.name))
    }

    /// The replayable recordings of a key, in their sequence; each as often as it's to be played.
    pub(crate) fn lookup(&self, route: usize, key: &Key) -> Vec<RecordingId> {
        let ids = self
            .by_key
            .get(&(route, *key))
            .map_or(&[][..], Vec::as_slice);
        let repeats = |id| self.entries.get(id).map_or(1, |indexed| indexed.repeats);
        ids.iter()
            .flat_map(|id| iter::repeat_n(*id, repeats(id)))
            .collect()
    }

    /// All recordings whose recorded request has this key, in their sequence, with their places.
    pub(crate) fn recorded(&self, key: &Key) -> Vec<(u32, &Entry)> {
        let mut ids = self.by_recorded.get(key).cloned().unwrap_or_default();
        ids.sort_by(|left, right| self.place(*left).cmp(&self.place(*right)));
        ids.iter()
            .filter_map(|id| self.entries.get(id))
            .map(|indexed| (indexed.place, &indexed.entry))
            .collect()
    }

    /// The recording in the file of this name.
    pub(crate) fn named(&self, name: &str) -> Option<RecordingId> {
        self.by_name.get(name).copied()
    }

    /// The name of a recording's file.
    pub(crate) fn name(&self, id: RecordingId) -> Option<&str> {
        self.entries
            .get(&id)
            .map(|indexed| indexed.entry.name.as_str())
    }

    /// The key of the request as it was recorded in this file.
    pub(crate) fn recorded_key(&self, name: &str) -> Option<Key> {
        self.entries.get(self.by_name.get(name)?)?.recorded
    }

    /// Whether a recording needs this side file.
    pub(crate) fn needs(&self, side: &str) -> bool {
        self.sides.contains_key(side)
    }

    /// The names of recordings that look most like this request, the likest first.
    pub(crate) fn near(&self, method: &str, path: &str, limit: usize) -> Vec<String> {
        let mut ranked: Vec<_> = self
            .entries
            .values()
            .filter(|indexed| indexed.entry.replayable)
            .map(|indexed| (likeness(&indexed.entry, method, path), indexed))
            .filter(|(likeness, _)| likeness.1 > 0 || likeness.0)
            .map(|(likeness, indexed)| (Reverse(likeness), indexed.place, &indexed.entry.name))
            .collect();
        if ranked.len() > limit && limit > 0 {
            ranked.select_nth_unstable(limit - 1);
        }
        ranked.truncate(limit);
        ranked.sort_unstable();
        ranked
            .into_iter()
            .map(|(_, _, name)| name.clone())
            .collect()
    }

    /// All recordings, by name.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self
            .entries
            .values()
            .map(|indexed| indexed.entry.clone())
            .collect();
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        entries
    }

    /// Files that can't be used, by name.
    pub(crate) fn broken(&self) -> Vec<BrokenFile> {
        let mut broken: Vec<_> = self.broken.values().cloned().collect();
        broken.sort_by(|left, right| left.name.cmp(&right.name));
        broken
    }

    /// An empty index in which the files that are known here will have the ids that they have here.
    pub(crate) fn renewed(&self) -> Self {
        Self {
            by_name: self.by_name.clone(),
            next: self.next,
            ..Self::default()
        }
    }

    /// Forgets the names of files that were not found again.
    pub(crate) fn settle_names(&mut self) {
        let entries = &self.entries;
        self.by_name.retain(|_, id| entries.contains_key(id));
    }
}

fn forget<K: std::hash::Hash + Eq>(
    map: &mut HashMap<K, Vec<RecordingId>>,
    key: &K,
    id: RecordingId,
) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|have| *have != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Whether the method is the same, and how far the paths agree: the whole counts most, then each segment.
fn likeness(entry: &Entry, method: &str, path: &str) -> (bool, usize) {
    let is_same_method = entry.method == method;
    if entry.path == path {
        return (is_same_method, usize::MAX);
    }
    let agreeing = segments(&entry.path)
        .zip(segments(path))
        .take_while(|(have, want)| have == want)
        .count();
    (is_same_method, agreeing)
}
