//! Finds recordings by key, and lists them, without holding a body.

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;

use crate::cassette::entry::{Entry, Indexed, numbered};
use crate::cassette::files::Stamp;
use crate::cassette::format::BrokenFile;
use crate::cassette::id::RecordingId;
use crate::cassette::near::{Near, Sketch};
use crate::key::Key;

/// All recordings of a cassette.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<RecordingId, Box<Indexed>>,
    by_name: HashMap<Arc<str>, RecordingId>,
    /// Replayable ones, in their sequence.
    by_key: HashMap<(u32, Key), Sequence>,
    /// All, by the key of the request as it was recorded; in no order.
    by_recorded: HashMap<Key, Sequence>,
    /// Replayable ones, by what they are like.
    near: Near,
    /// How many recordings need a side file.
    sides: HashMap<Box<str>, usize>,
    /// Files that can't be used. Where one could before, its recording keeps its place.
    broken: HashMap<String, BrokenFile>,
    words: Words,
    next: usize,
}

/// Recordings in their order; nearly always it's one.
#[derive(Debug)]
enum Sequence {
    One(RecordingId),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    ids: Vec<RecordingId>,
    /// Whether one of them is played more than once.
    has_repeats: bool,
}

impl Sequence {
    fn ids(&self) -> &[RecordingId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(many) => &many.ids,
        }
    }
}

/// Texts that many recordings have in common, held once.
#[derive(Debug, Default)]
struct Words {
    methods: Vec<Arc<str>>,
    /// Recordings of one path follow each other in the order of their names.
    path: Option<Arc<str>>,
}

impl Words {
    fn share(&mut self, indexed: &mut Indexed) {
        match self
            .methods
            .iter()
            .find(|known| ***known == *indexed.method)
        {
            Some(known) => indexed.method = Arc::clone(known),
            None if self.methods.len() < METHODS => self.methods.push(Arc::clone(&indexed.method)),
            None => {}
        }
        match &self.path {
            Some(known) if **known == *indexed.path => indexed.path = Arc::clone(known),
            Some(_) | None => self.path = Some(Arc::clone(&indexed.path)),
        }
    }
}

impl Index {
    /// Adds a recording, or puts it in place of the one in the file of that name. Gives back the id, and the side files
    /// that no recording needs any more.
    pub(crate) fn insert(&mut self, mut indexed: Indexed) -> (RecordingId, Vec<String>) {
        self.broken.remove(&*indexed.name);
        for side in &indexed.sides {
            *self.sides.entry(side.clone()).or_default() += 1;
        }
        let (id, unused) = if let Some(&id) = self.by_name.get(&indexed.name) {
            (id, self.unlink(id))
        } else {
            self.next += 1;
            (RecordingId::new(self.next), Vec::new())
        };
        self.words.share(&mut indexed);
        self.by_name.insert(Arc::clone(&indexed.name), id);
        if let Some(key) = indexed.recorded {
            match self.by_recorded.remove(&key) {
                None => self.by_recorded.insert(key, Sequence::One(id)),
                Some(sequence) => {
                    let mut many = sequence.into_many();
                    many.ids.push(id);
                    self.by_recorded.insert(key, Sequence::Many(Box::new(many)))
                }
            };
        }
        if indexed.replayable {
            let sketch = std::mem::take(&mut indexed.sketch);
            let (method, path) = indexed.matches();
            indexed.marks = self.near.insert(id, method, path, &sketch);
        }
        let found = indexed.found.filter(|_| indexed.replayable);
        self.entries.insert(id, Box::new(indexed));
        if let Some(found) = found {
            self.join(found, id);
        }
        (id, unused)
    }

    /// Puts a recording into its sequence.
    fn join(&mut self, found: (u32, Key), id: RecordingId) {
        let repeats = self.repeats(id) > 1;
        let sequence = match self.by_key.remove(&found) {
            None if repeats => Sequence::Many(Box::new(Many {
                ids: vec![id],
                has_repeats: true,
            })),
            None => Sequence::One(id),
            Some(sequence) => {
                let mut many = sequence.into_many();
                let at = many
                    .ids
                    .partition_point(|other| self.place(*other) < self.place(id));
                many.ids.insert(at, id);
                many.has_repeats |= repeats;
                Sequence::Many(Box::new(many))
            }
        };
        self.by_key.insert(found, sequence);
    }

    /// Notes a file that can't be used. A recording that was in it before keeps its place, so that its requests are refused
    /// with the reason, and not taken for ones that nobody recorded. Says whether that is news.
    pub(crate) fn insert_broken(&mut self, broken: BrokenFile) -> bool {
        let is_news = self.broken.get(&broken.name) != Some(&broken);
        self.broken.insert(broken.name.clone(), broken);
        is_news
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
        if indexed.replayable {
            let (method, path) = indexed.matches();
            self.near.remove(id, method, path, indexed.marks);
        }
        let mut unused = Vec::new();
        for side in &indexed.sides {
            if let Some(count) = self.sides.get_mut(side) {
                *count -= 1;
                if *count == 0 {
                    self.sides.remove(side);
                    unused.push(side.to_string());
                }
            }
        }
        unused
    }

    /// By what a sequence is ordered.
    fn place(&self, id: RecordingId) -> Option<(u32, &str)> {
        let indexed = self.entries.get(&id)?;
        Some((indexed.place, &indexed.name))
    }

    fn repeats(&self, id: RecordingId) -> usize {
        self.entries
            .get(&id)
            .map_or(1, |indexed| usize::from(indexed.repeats))
    }

    fn sequence(&self, route: usize, key: &Key) -> (&[RecordingId], bool) {
        match self.by_key.get(&(numbered(route), *key)) {
            None => (&[], false),
            Some(sequence @ Sequence::One(_)) => (sequence.ids(), false),
            Some(Sequence::Many(many)) => (&many.ids, many.has_repeats),
        }
    }

    /// The replayable recordings of a key, in their sequence; each as often as it's to be played.
    pub(crate) fn lookup(&self, route: usize, key: &Key) -> impl Iterator<Item = RecordingId> {
        self.sequence(route, key)
            .0
            .iter()
            .flat_map(|id| iter::repeat_n(*id, self.repeats(*id)))
    }

    /// How many [`Index::lookup`] gives.
    pub(crate) fn count(&self, route: usize, key: &Key) -> usize {
        match self.sequence(route, key) {
            (ids, false) => ids.len(),
            (ids, true) => ids.iter().map(|id| self.repeats(*id)).sum(),
        }
    }

    /// The one at this position, from 0, of those that [`Index::lookup`] gives.
    pub(crate) fn nth(&self, route: usize, key: &Key, position: usize) -> Option<RecordingId> {
        match self.sequence(route, key) {
            (ids, false) => ids.get(position).copied(),
            (_, true) => self.lookup(route, key).nth(position),
        }
    }

    /// All recordings that can be read and whose recorded request has this key, in their sequence.
    pub(crate) fn recorded(&self, key: &Key) -> Vec<&Indexed> {
        let ids = self.by_recorded.get(key).map_or(&[][..], Sequence::ids);
        let mut found: Vec<_> = ids
            .iter()
            .filter_map(|id| self.entries.get(id).map(AsRef::as_ref))
            .filter(|indexed| !self.broken.contains_key(&*indexed.name))
            .collect();
        found.sort_by(|left, right| (left.place, &left.name).cmp(&(right.place, &right.name)));
        found
    }

    /// The recording in the file of this name.
    pub(crate) fn named(&self, name: &str) -> Option<RecordingId> {
        self.by_name.get(name).copied()
    }

    /// The name and the stamp of a recording's file.
    pub(crate) fn file(&self, id: RecordingId) -> Option<(Arc<str>, Stamp)> {
        let indexed = self.entries.get(&id)?;
        Some((Arc::clone(&indexed.name), indexed.stamp))
    }

    /// The stamp of the file of this name, as it was when it became a recording.
    pub(crate) fn stamp(&self, name: &str) -> Option<Stamp> {
        Some(self.entries.get(self.by_name.get(name)?)?.stamp)
    }

    /// The names of all files that are known, broken ones too.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let broken = self.broken.keys().map(|name| Arc::from(name.as_str()));
        self.by_name.keys().cloned().chain(broken).collect()
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
    pub(crate) fn near(
        &self,
        method: &str,
        path: &str,
        sketch: &Sketch,
        limit: usize,
    ) -> Vec<String> {
        self.near
            .find(method, path, sketch, limit)
            .into_iter()
            .filter_map(|id| Some(self.entries.get(&id)?.name.to_string()))
            .filter(|name| !self.broken.contains_key(name))
            .collect()
    }

    /// All recordings that can be read, by name.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.usable().map(Indexed::entry).collect();
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        entries
    }

    /// How many recordings can be replayed.
    pub(crate) fn replayable(&self) -> usize {
        let is_found = |indexed: &&Indexed| indexed.replayable && indexed.found.is_some();
        self.usable().filter(is_found).count()
    }

    fn usable(&self) -> impl Iterator<Item = &Indexed> {
        self.entries
            .values()
            .map(AsRef::as_ref)
            .filter(|indexed| !self.broken.contains_key(&*indexed.name))
    }

    /// The file of this name, if it can't be used.
    pub(crate) fn broken_file(&self, name: &str) -> Option<&BrokenFile> {
        self.broken.get(name)
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

impl Sequence {
    /// As one that can grow.
    fn into_many(self) -> Many {
        match self {
            Self::One(id) => Many {
                ids: vec![id],
                has_repeats: false,
            },
            Self::Many(many) => *many,
        }
    }
}

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Sequence>, key: &K, id: RecordingId) {
    let is_empty = match map.get_mut(key) {
        None => return,
        Some(Sequence::One(only)) => *only == id,
        Some(Sequence::Many(many)) => {
            many.ids.retain(|have| *have != id);
            many.ids.is_empty()
        }
    };
    if is_empty {
        map.remove(key);
    }
}

/// How many methods are held once; there are hardly more.
const METHODS: usize = 32;
