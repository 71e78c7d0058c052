//! What reading and writing share: the folder, the index, and what was loaded last.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cassette::encoded::Playback;
use crate::cassette::entry::{Indexed, Rules};
use crate::cassette::files::{self, Opened, Stamp};
use crate::cassette::format::{BrokenFile, parse};
use crate::cassette::id::RecordingId;
use crate::cassette::index::Index;
use crate::cassette::memory::{Loaded, Memory};
use crate::cassette::recording::Recording;
use crate::cassette::scan;

/// The recordings of one cassette.
pub(crate) struct Shelf {
    pub(crate) folder: Arc<PathBuf>,
    /// Recordings that a crash left in the journal, where only reading is allowed; by name.
    recovered: HashMap<String, Arc<Recording>>,
    /// Files that those replace.
    hidden: Vec<String>,
    index: RwLock<Index>,
    pub(crate) memory: Memory,
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
            memory: Memory::default(),
            changes: Mutex::default(),
            rules: RwLock::default(),
            is_made: AtomicBool::new(false),
        }
    }

    /// Whether the index was made.
    pub(crate) fn is_made(&self) -> bool {
        self.is_made.load(Ordering::Acquire)
    }

    /// The index, made if it was not yet.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        if !self.is_made() {
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
        if !self.is_made() {
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
        let look = |name: &str| {
            self.read(name)
                .map(|(recording, stamp)| Indexed::new(&recording, stamp, rules))
        };
        scan::each(&self.folder, &names, look, |looked| match looked {
            Ok(indexed) => drop(index.insert(indexed)),
            Err(broken) => drop(index.insert_broken(broken)),
        });
        index.settle_names();
        *self.index_mut() = index;
        self.memory.clear();
        self.is_made.store(true, Ordering::Release);
    }

    /// Reads a recording from its file.
    pub(crate) fn read(&self, name: &str) -> Result<(Arc<Recording>, Stamp), BrokenFile> {
        if let Some(recording) = self.recovered(name) {
            return Ok((Arc::clone(recording), Stamp::default()));
        }
        let opened = files::open(&self.folder, name)?;
        let stamp = opened.stamp;
        let recording = parse(&self.folder, name, &opened.read()?)?;
        Ok((Arc::new(recording), stamp))
    }

    /// A recording that has no file yet. Another process may have made one since.
    pub(crate) fn recovered(&self, name: &str) -> Option<&Arc<Recording>> {
        let recording = self.recovered.get(name)?;
        files::is_missing(&self.folder.join(name))
            .unwrap_or(true)
            .then_some(recording)
    }

    /// Whether a file of this name is replaced by a recording that has none yet.
    pub(crate) fn is_hidden(&self, name: &str) -> bool {
        self.hidden.iter().any(|hidden| hidden == name)
    }

    /// A recording from its file, which is kept in memory if the index knows that version of it. Blocks on the disk.
    pub(crate) fn load(&self, id: RecordingId) -> Loaded {
        let (name, _) = self.index().file(id)?;
        let loaded = self.read(&name);
        Some(loaded.map(|(recording, stamp)| self.keep(id, recording, stamp)))
    }

    /// The same, for a small file that the kernel holds in memory: `Err` for any other. Never waits for a disk.
    pub(crate) fn load_at_once(&self, id: RecordingId) -> Result<Loaded, NotAtOnce> {
        let Some((name, stamp)) = self.index().file(id) else {
            return Ok(None);
        };
        if stamp.len() > AT_ONCE || stamp == Stamp::default() {
            return Err(NotAtOnce);
        }
        let opened: Opened = match files::open(&self.folder, &name) {
            Ok(opened) => opened,
            Err(broken) => return Ok(Some(Err(broken))),
        };
        let bytes = opened.read_at_once(AT_ONCE).ok_or(NotAtOnce)?;
        let recording = match parse(&self.folder, &name, &bytes) {
            Ok(recording) => Arc::new(recording),
            Err(broken) => return Ok(Some(Err(broken))),
        };
        Ok(Some(Ok(self.keep(id, recording, opened.stamp))))
    }

    fn keep(&self, id: RecordingId, mut recording: Arc<Recording>, stamp: Stamp) -> Arc<Recording> {
        if recording.encoded.is_some() {
            let playback = Playback::of(&recording);
            Arc::make_mut(&mut recording).playback = playback;
        }
        self.memory.count_load();
        // Held until it's in, so that a change of the file which becomes known meanwhile takes it out again.
        let index = self.index();
        if index.file(id).is_some_and(|(_, known)| known == stamp) {
            self.memory.insert(id, &recording);
        }
        drop(index);
        recording
    }
}

/// A recording can't be loaded without waiting, perhaps.
#[derive(Debug)]
pub(crate) struct NotAtOnce;

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
        let (id, unused) = self.shelf.index_mut().insert(indexed);
        self.shelf.memory.remove(id);
        unused
    }

    /// The file of this name can't be used any more. Says whether that is news.
    pub(crate) fn insert_broken(&self, broken: BrokenFile) -> bool {
        let mut index = self.shelf.index_mut();
        let id = index.named(&broken.name);
        let is_news = index.insert_broken(broken);
        drop(index);
        if let Some(id) = id {
            self.shelf.memory.remove(id);
        }
        is_news
    }

    /// The file of this name is gone. Gives back the side files that are needed no more.
    pub(crate) fn remove(&self, name: &str) -> Vec<String> {
        let mut index = self.shelf.index_mut();
        let id = index.named(name);
        let unused = index.remove(name);
        drop(index);
        if let Some(id) = id {
            self.shelf.memory.remove(id);
        }
        unused
    }
}

/// Up to here a file is read where it's asked for: 64 KiB are copied and parsed within the time that handing over takes
/// a few times.
const AT_ONCE: u64 = 64 * 1024;
