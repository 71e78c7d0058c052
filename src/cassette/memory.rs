//! Recordings that were used last, whole; and each one that is missing is loaded once, however many ask for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::cassette::format::BrokenFile;
use crate::cassette::id::RecordingId;
use crate::cassette::item::{ItemBody, ItemKind};
use crate::cassette::recording::{RecordedBody, Recording};
use crate::lru::Lru;
use crate::message::Headers;

/// What memory did so far, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Requests whose recording was in memory.
    pub hits: u64,
    /// Requests whose recording was not.
    pub misses: u64,
    /// Recordings put out to make room.
    pub evictions: u64,
    /// Recordings that were read from their files; less than the misses where several waited for one.
    pub loads: u64,
    /// Recordings that are held.
    pub entries: usize,
    /// How much they take, about.
    pub bytes: usize,
}

/// What came of loading a recording. `None` where it's gone.
pub(crate) type Loaded = Option<Result<Arc<Recording>, BrokenFile>>;

/// The memory of a cassette.
#[derive(Debug)]
pub(crate) struct Memory {
    state: Mutex<State>,
    flights: Mutex<HashMap<RecordingId, Arc<OnceCell<Loaded>>>>,
}

#[derive(Debug)]
struct State {
    lru: Lru<RecordingId, Arc<Recording>>,
    loads: u64,
}

/// A recording that is being loaded. All who ask for it meanwhile get the same one.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    memory: &'a Memory,
    id: RecordingId,
    pub(crate) cell: Arc<OnceCell<Loaded>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                lru: Lru::new(ENTRIES, BYTES),
                loads: 0,
            }),
            flights: Mutex::default(),
        }
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how much is held, and puts out what is too much.
    pub(crate) fn limit(&self, entries: usize, bytes: usize) {
        self.state().lru.limit(entries, bytes);
    }

    /// A recording, if it's here.
    pub(crate) fn get(&self, id: RecordingId) -> Option<Arc<Recording>> {
        self.state().lru.get(&id).map(Arc::clone)
    }

    /// The same, where it's not a request that asks.
    pub(crate) fn peek(&self, id: RecordingId) -> Option<Arc<Recording>> {
        self.state().lru.peek(&id).map(Arc::clone)
    }

    /// Holds a recording that was read from its file.
    pub(crate) fn insert(&self, id: RecordingId, recording: &Arc<Recording>) {
        let bytes = weight(recording);
        let recording = Arc::clone(recording);
        // What goes is dropped when others can go on.
        let gone = self.state().lru.insert_all(id, recording, bytes).1;
        drop(gone);
    }

    /// Counts a recording that was read from its file.
    pub(crate) fn count_load(&self) {
        self.state().loads += 1;
    }

    pub(crate) fn remove(&self, id: RecordingId) {
        drop(self.state().lru.remove(&id));
    }

    pub(crate) fn clear(&self) {
        self.state().lru.clear();
    }

    pub(crate) fn stats(&self) -> MemoryStats {
        let state = self.state();
        let stats = state.lru.stats();
        MemoryStats {
            hits: stats.hits,
            misses: stats.misses,
            evictions: stats.evictions,
            loads: state.loads,
            entries: state.lru.len(),
            bytes: state.lru.bytes(),
        }
    }

    /// Joins those who wait for this recording, or is the first of them.
    pub(crate) fn flight(&self, id: RecordingId) -> Flight<'_> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        Flight {
            memory: self,
            id,
            cell: Arc::clone(flights.entry(id).or_default()),
        }
    }
}

impl Drop for Flight<'_> {
    /// The last one to leave takes it away, whether or not it was loaded.
    fn drop(&mut self) {
        let flights = self.memory.flights.lock();
        let mut flights = flights.unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.cell) <= 2 {
            flights.remove(&self.id);
        }
    }
}

/// About how many bytes a recording takes in memory.
fn weight(recording: &Recording) -> usize {
    let inline = |body: &RecordedBody| match body {
        RecordedBody::Inline(bytes) => bytes.len(),
        RecordedBody::Side(_) | RecordedBody::TooLarge => 0,
    };
    let items: usize = recording
        .items
        .iter()
        .map(|item| {
            let bytes = match &item.body {
                ItemBody::Inline(bytes) => bytes.len(),
                ItemBody::Side { .. } => 0,
            };
            let more = match &item.kind {
                ItemKind::Bytes | ItemKind::Frame { .. } => 0,
                ItemKind::Trailers(lines) => headers(lines),
            };
            ITEM + bytes + more
        })
        .sum();
    let matching = &recording.matching;
    let lines = [
        Some(&recording.request.headers),
        Some(&recording.head.headers),
        recording.trailers.as_ref(),
        matching.headers.as_ref(),
    ];
    let bodies = [Some(&recording.request_body), matching.body.as_ref()];
    let played = recording
        .playback
        .as_ref()
        .map_or(0, |playback| playback.held() + playback.items.len() * ITEM);
    RECORDING
        + played
        + items
        + lines.into_iter().flatten().map(headers).sum::<usize>()
        + bodies.into_iter().flatten().map(inline).sum::<usize>()
}

fn headers(headers: &Headers) -> usize {
    let lines = headers.iter();
    lines
        .map(|(name, value)| HEADER + name.len() + value.len())
        .sum()
}

/// How many recordings are held, unless something else is set: more than fit in [`BYTES`] unless they are tiny.
pub(crate) const ENTRIES: usize = 65_536;
/// How many bytes of recordings are held, unless something else is set: 64 MiB.
pub(crate) const BYTES: usize = 64 * 1024 * 1024;

/// A recording without anything in it: itself, its short texts, and its place in the memory.
const RECORDING: usize = size_of::<Recording>() + 512;
/// An item beside its bytes.
const ITEM: usize = size_of::<crate::cassette::item::Item>() + 32;
/// A header line beside its bytes: two texts, each with its allocation.
const HEADER: usize = 56 + 32;
