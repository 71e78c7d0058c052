//! What a new recording means for those that are there: replace, append, once.

use std::collections::HashMap;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::cassette::event::End;
use crate::cassette::files;
use crate::cassette::names::{DIGITS, file_name};
use crate::cassette::recording::{Matching, Play, Recording};
use crate::cassette::shelf::{Change, Shelf};
use crate::key::Key;
use crate::message::RequestHead;
use crate::mode::RecordPolicy;

/// What this run did with each key.
#[derive(Debug, Default)]
pub(crate) struct Run {
    sequences: HashMap<Key, Sequence>,
    /// Names given in this run, some of which the index doesn't know yet.
    names: HashMap<String, Key>,
    /// When the run began, if another process began it.
    since: Option<SystemTime>,
}

/// The recordings of one key.
#[derive(Debug, Default)]
struct Sequence {
    /// Whether this run began a new sequence.
    is_fresh: bool,
    /// Whether this run looked at what was there before.
    is_known: bool,
    /// Whether there is an answer that can be replayed, or this run kept a whole one.
    has_whole: bool,
    /// The last place that a whole answer has.
    last_whole: u32,
    /// The last place that is taken.
    last: u32,
    /// Names of answers of this run that are not whole.
    partials: Vec<String>,
    /// What people wrote into the recordings that were replaced, in their sequence.
    edits: Vec<Edits>,
}

/// What people wrote into a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Edits {
    pub(crate) matching: Matching,
    pub(crate) play: Play,
    pub(crate) notes: Map<String, Value>,
}

/// What becomes of a new recording.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The name of its file.
    pub(crate) file: String,
    /// Files that go when it's there.
    pub(crate) replaces: Vec<String>,
    /// What people wrote into the one whose place it takes.
    pub(crate) edits: Edits,
}

/// A recording that was there before.
struct Old {
    name: String,
    is_whole: bool,
}

impl Edits {
    fn of(recording: &Recording) -> Self {
        Self {
            matching: recording.matching.clone(),
            play: recording.play.clone(),
            notes: recording.notes.clone(),
        }
    }

    pub(crate) fn apply(self, recording: &mut Recording) {
        recording.matching = self.matching;
        recording.play = self.play;
        recording.notes = self.notes;
    }
}

impl Run {
    /// Goes on with the run of another process: what was recorded since then belongs to it.
    pub(crate) fn since(since: SystemTime) -> Self {
        Self {
            since: Some(since),
            ..Self::default()
        }
    }

    /// Decides where a recording goes. `None` where it's not kept.
    pub(crate) fn decide(
        &mut self,
        shelf: &Shelf,
        change: &Change<'_>,
        request: &RequestHead,
        end: &End,
        policy: RecordPolicy,
    ) -> Option<Decision> {
        let End { key, ending, .. } = *end;
        let since = self.since;
        let sequence = self.sequences.entry(key).or_insert_with(|| {
            since.map_or_else(Sequence::default, |since| Sequence::of(change, &key, since))
        });
        let starts = policy == RecordPolicy::Replace && !sequence.is_fresh;
        // A sequence may be long, so it's only looked at where that can matter.
        let old = if starts || !sequence.is_known || !ending.is_whole() {
            sequence.look(change, &key)
        } else {
            Vec::new()
        };
        let mut replaces = Vec::new();
        let mut edits = Edits::default();
        let place = match (ending.is_whole(), policy) {
            (_, RecordPolicy::Once) if sequence.has_whole => return None,
            (true, RecordPolicy::Replace) if starts => {
                sequence.begin(shelf, old, &mut replaces);
                1
            }
            (true, RecordPolicy::Replace) => {
                replaces.append(&mut sequence.partials);
                sequence.last_whole + 1
            }
            (true, RecordPolicy::Once) | (_, RecordPolicy::Append) => sequence.last + 1,
            (false, RecordPolicy::Replace | RecordPolicy::Once) => {
                // One prefix is enough, and it never costs what was whole.
                let partials = old.into_iter().filter(|old| !old.is_whole);
                replaces.extend(partials.map(|old| old.name));
                replaces.append(&mut sequence.partials);
                sequence.last + 1
            }
        };
        if ending.is_whole() {
            sequence.has_whole = true;
            sequence.last_whole = place;
            if let Some(own) = sequence.edits.get_mut(place as usize - 1) {
                edits = std::mem::take(own);
            }
        }
        sequence.last = sequence.last.max(place);
        let file = free_name(&self.names, shelf, change, request, key, place);
        if !ending.is_whole() {
            sequence.partials.push(file.clone());
        }
        self.names.insert(file.clone(), key);
        replaces.retain(|name| *name != file);
        replaces.sort_unstable();
        replaces.dedup();
        Some(Decision {
            file,
            replaces,
            edits,
        })
    }
}

impl Sequence {
    /// Looks at what is there, and takes note of it.
    fn look(&mut self, change: &Change<'_>, key: &Key) -> Vec<Old> {
        let index = change.index();
        let old = index.recorded(key);
        let last = old.iter().map(|indexed| indexed.place).max();
        self.last = self.last.max(last.unwrap_or_default());
        self.has_whole |= old.iter().any(|indexed| indexed.replayable);
        self.is_known = true;
        old.into_iter()
            .map(|indexed| Old {
                name: indexed.name.to_string(),
                is_whole: indexed.ending.is_whole(),
            })
            .collect()
    }

    /// Begins a new one in the place of all that is there, whose edits it keeps.
    fn begin(&mut self, shelf: &Shelf, old: Vec<Old>, replaces: &mut Vec<String>) {
        self.is_fresh = true;
        self.edits = old
            .iter()
            .filter(|old| old.is_whole)
            .map(|old| {
                let read = shelf.read(&old.name);
                read.map(|(recording, _)| Edits::of(&recording))
                    .unwrap_or_default()
            })
            .collect();
        replaces.extend(old.into_iter().map(|old| old.name));
        replaces.append(&mut self.partials);
        self.last = 1;
    }

    /// As the process before left it.
    fn of(change: &Change<'_>, key: &Key, since: SystemTime) -> Self {
        let mut sequence = Self::default();
        let index = change.index();
        for indexed in index.recorded(key) {
            let (place, entry) = (indexed.place, indexed.entry());
            if entry.at < since {
                continue;
            }
            if entry.ending.is_whole() {
                sequence.is_fresh = true;
                sequence.last_whole = sequence.last_whole.max(place);
            } else {
                sequence.partials.push(entry.name);
            }
        }
        sequence
    }
}

/// A name that no recording of another key has, and no file that can't be read.
fn free_name(
    names: &HashMap<String, Key>,
    shelf: &Shelf,
    change: &Change<'_>,
    request: &RequestHead,
    key: Key,
    place: u32,
) -> String {
    let index = change.index();
    let is_free = |name: &str| match names
        .get(name)
        .copied()
        .or_else(|| index.recorded_key(name))
    {
        // What a person is writing must not be lost, even if it can't be read now.
        Some(other) => other == key && index.broken_file(name).is_none(),
        None => files::is_missing(&shelf.folder.join(name)).unwrap_or(true),
    };
    let name = |digits| file_name(request, &key, digits, place);
    DIGITS
        .into_iter()
        .map(name)
        .find(|name| is_free(name))
        .unwrap_or_else(|| name(usize::MAX))
}
