//! What reading and writing share: the folder, the index, and what was loaded last.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use crate::cassette::files;
use crate::cassette::format::{BrokenFile, parse};
use crate::cassette::index::{Index, Indexed, RecordingId, Rules};
use crate::cassette::recording::{ItemBody, RecordedBody, Recording};
use crate::lru::Lru;

/// The recordings of one cassette.
pub(crate) struct Shelf {
    pub(crate) folder: Arc<PathBuf>,
    /// Recordings that a crash left in the journal, where only reading is allowed; by name.
    recovered: HashMap<String, Arc<Recording>>,
    /// Files that those replace.
    hidden: Vec<String>,
    index: RwLock<Index>,
    loaded: Mutex<Lru<RecordingId, Arc<Recording>>>,
    /// Held while the index is made anew or files are put in place, so that neither misses the other.
    changes: Mutex<()>,
    /// The rules of the index.
    rules: RwLock<Option<Arc<Rules>>>,
    is_made: AtomicBool,
}

// The rules are a closure.
impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// The right to change what the shelf holds.
pub(crate) struct Change<'a> {
    shelf: &'a Shelf,
    _changes: MutexGuard<'a, ()>,
}

impl Shelf {
    pub(crate) fn new(
        folder: Arc<PathBuf>,
        recovered: HashMap<String, Arc<Recording>>,
        hidden: Vec<String>,
    ) -> Self {
        Self {
            folder,
            recovered,
            hidden,
            index: RwLock::default(),
            loaded: Mutex::new(Lru::new(LOADED_ENTRIES, LOADED_BYTES)),
            changes: Mutex::default(),
            rules: RwLock::default(),
            is_made: AtomicBool::new(false),
        }
    }

    /// The index, made if it was not yet.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        if !self.is_made.load(Ordering::Acquire) {
            drop(self.change());
        }
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the index anew, by these rules.
    pub(crate) fn index_by(&self, rules: Arc<Rules>) {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.scan(Some(&*rules));
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Some(rules);
    }

    /// Looks again which files are there.
    pub(crate) fn rescan(&self) {
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.scan(self.rules().as_deref());
    }

    /// The rules by which recordings are found.
    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for the right to change what is here.
    pub(crate) fn change(&self) -> Change<'_> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_made.load(Ordering::Acquire) {
            self.scan(self.rules().as_deref());
        }
        Change {
            shelf: self,
            _changes: changes,
        }
    }

    fn scan(&self, rules: Option<&Rules>) {
        let mut index = self.index_mut().renewed();
        let mut names: Vec<String> = match files::list(&self.folder) {
            Ok(names) => names,
            Err(error) => {
                index.insert_broken(BrokenFile {
                    name: self.folder.display().to_string(),
                    line: None,
                    message: format!("cannot be listed: {error}"),
                });
                Vec::new()
            }
        };
        names.retain(|name| !self.recovered.contains_key(name) && !self.hidden.contains(name));
        names.extend(self.recovered.keys().cloned());
        let look = |name: &String| {
            self.read(name)
                .map(|recording| Indexed::new(&recording, rules))
        };
        let half = names.len() / 2;
        let (left, right) = names.split_at(if half > FEW { half } else { 0 });
        let looked = thread::scope(|scope| {
            let left = scope.spawn(|| left.iter().map(look).collect::<Vec<_>>());
            let right: Vec<_> = right.iter().map(look).collect();
            // The other thread can't panic; if it did, its half would be missing, which is seen below.
            let mut looked = left.join().unwrap_or_default();
            looked.extend(right);
            looked
        });
        for result in looked {
            match result {
                Ok(indexed) => drop(index.insert(indexed)),
                Err(broken) => index.insert_broken(broken),
            }
        }
        index.settle_names();
        *self.index_mut() = index;
        *self.loaded() = Lru::new(LOADED_ENTRIES, LOADED_BYTES);
        self.is_made.store(true, Ordering::Release);
    }

    /// Reads a recording from its file.
    pub(crate) fn read(&self, name: &str) -> Result<Recording, BrokenFile> {
        if let Some(recording) = self.recovered.get(name) {
            return Ok(Recording::clone(recording));
        }
        parse(&self.folder, name, &files::read(&self.folder, name)?)
    }

    /// A recording, if it is in memory.
    pub(crate) fn cached(&self, id: RecordingId) -> Option<Arc<Recording>> {
        self.loaded().get(&id).map(Arc::clone)
    }

    /// A recording, from memory or from its file. `None` where it's gone.
    pub(crate) fn load(&self, id: RecordingId) -> Option<Result<Arc<Recording>, BrokenFile>> {
        if let Some(recording) = self.cached(id) {
            return Some(Ok(recording));
        }
        let name = self.index().name(id)?.to_owned();
        let recording = match self.read(&name) {
            Ok(recording) => Arc::new(recording),
            Err(broken) => return Some(Err(broken)),
        };
        let bytes = weight(&recording);
        self.loaded().insert(id, Arc::clone(&recording), bytes);
        Some(Ok(recording))
    }

    fn loaded(&self) -> MutexGuard<'_, Lru<RecordingId, Arc<Recording>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change<'_> {
    /// The rules by which recordings are found.
    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        self.shelf.rules()
    }

    /// The index as it is.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shelf
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of this recording is in place. Gives back the side files that are needed no more.
    pub(crate) fn insert(&self, indexed: Indexed) -> Vec<String> {
        let mut index = self.shelf.index_mut();
        let (id, unused) = index.insert(indexed);
        drop(index);
        self.shelf.loaded().remove(&id);
        unused
    }

    /// The file of this name is gone. Gives back the side files that are needed no more.
    pub(crate) fn remove(&self, name: &str) -> Vec<String> {
        self.shelf.index_mut().remove(name)
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
        .map(|item| match &item.body {
            ItemBody::Inline(bytes) => ITEM_WEIGHT + bytes.len(),
            ItemBody::Side { .. } => ITEM_WEIGHT,
        })
        .sum();
    let headers = recording.request.headers.len() + recording.head.headers.len();
    size_of::<Recording>() + inline(&recording.request_body) + items + headers * HEADER_WEIGHT
}

/// How many recordings stay in memory.
const LOADED_ENTRIES: usize = 1024;
/// How many bytes of recordings stay in memory: 64 MiB.
const LOADED_BYTES: usize = 64 * 1024 * 1024;

/// Up to so many files a second thread costs more than it gives.
const FEW: usize = 128;

/// Bookkeeping of an item beside its bytes.
const ITEM_WEIGHT: usize = 128;
/// A header line with its allocations, about.
const HEADER_WEIGHT: usize = 128;
