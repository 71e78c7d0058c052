//! A cassette that is open: the handle that everything above holds.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::cassette::entry::{Entry, Keying, canonical};
use crate::cassette::error::CassetteError;
use crate::cassette::format::BrokenFile;
use crate::cassette::id::RecordingId;
use crate::cassette::memory::{Loaded, MemoryStats};
use crate::cassette::near::Sketch;
use crate::cassette::opening;
use crate::cassette::queue::{Begin, Claim, Message, Queue};
use crate::cassette::recording::Recording;
use crate::cassette::recover;
use crate::cassette::shelf::Shelf;
use crate::cassette::ticket::Ticket;
use crate::cassette::watch::Watch;
use crate::key::{Canonical, Key};
use crate::message::RequestHead;

/// What a cassette is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; takes no lock and creates nothing.
    Read,
    /// Reads and writes. One process at a time.
    Write,
}

/// A set of recordings, open. Cheap to clone; all clones are the same one.
///
/// When the last clone goes, what was finished is written, for which it waits up to five seconds.
#[derive(Clone, Debug)]
pub struct Cassette {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shelf: Arc<Shelf>,
    /// `None` where it's only read.
    queue: Option<Arc<Queue>>,
    watch: OnceLock<Watch>,
    since: SystemTime,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.close();
            queue.wait_done(LAST_WAIT);
        }
    }
}

impl Cassette {
    /// Opens the cassette in this folder. For writing, makes the folder and takes the lock; what a crash left in the journal
    /// becomes recordings first, on the disk or, where it's only read, in memory.
    ///
    /// # Errors
    ///
    /// `Locked`, `Symlink`, and `Io` where the folder can't be read or, for writing, be written.
    pub fn open(folder: &Path, access: Access) -> Result<Self, CassetteError> {
        match access {
            Access::Read => Self::open_to_read(folder),
            Access::Write => Self::open_to_write(folder),
        }
    }

    fn open_to_read(folder: &Path) -> Result<Self, CassetteError> {
        fs::read_dir(folder).map_err(opening::failed("read", folder))?;
        let mut recovered = HashMap::new();
        let mut hidden = Vec::new();
        if !opening::is_written(folder) {
            for one in recover::read(folder).map_err(opening::unreadable)? {
                hidden.extend(one.replaces);
                recovered.insert(one.recording.name.clone(), Arc::new(one.recording));
            }
        }
        let shelf = Shelf::new(Arc::new(folder.to_owned()), recovered, hidden);
        Ok(Self {
            inner: Arc::new(Inner {
                shelf: Arc::new(shelf),
                queue: None,
                watch: OnceLock::new(),
                since: SystemTime::now(),
            }),
        })
    }

    /// Opens for writing a cassette that another process has, and goes on with its run, which began `since` then. It's taken
    /// once the sender of `turn` is gone, and the other process has let go. Until then recordings wait in memory (64 MiB; of
    /// what is more, only the beginning is kept), and can't be looked up.
    ///
    /// # Errors
    ///
    /// As for [`Self::open`], but for `Locked`.
    pub fn open_behind(
        folder: &Path,
        since: SystemTime,
        turn: Receiver<()>,
    ) -> Result<Self, CassetteError> {
        Ok(Self::written(
            opening::open_behind(folder, since, turn)?,
            since,
        ))
    }

    fn open_to_write(folder: &Path) -> Result<Self, CassetteError> {
        let since = SystemTime::now();
        Ok(Self::written(opening::open(folder)?, since))
    }

    fn written((shelf, queue): (Arc<Shelf>, Arc<Queue>), since: SystemTime) -> Self {
        Self {
            inner: Arc::new(Inner {
                shelf,
                queue: Some(queue),
                watch: OnceLock::new(),
                since,
            }),
        }
    }

    /// Whether it was opened for writing.
    pub fn is_written(&self) -> bool {
        self.inner.queue.is_some()
    }

    /// When the run began to which its recordings belong.
    pub fn since(&self) -> SystemTime {
        self.inner.since
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.inner.shelf.folder
    }

    /// Makes the index anew, by rules that are decided for each recorded request: on the first use, and whenever the rules
    /// change. Reads every recording; what is looked up meanwhile is found by the rules before.
    pub fn index(&self, rules: impl Fn(&RequestHead) -> Option<Keying> + Send + Sync + 'static) {
        self.inner.shelf.index_by(Arc::new(rules));
    }

    /// Picks up, from now on and for as long as the cassette is open, what others change in its folder: recordings added,
    /// edited and removed. Within a fraction of a second, or seconds where the kernel can't tell of changes. An edit that
    /// can't be read is told once in the log; until it's mended the requests that the recording matched are refused with
    /// the reason.
    ///
    /// # Errors
    ///
    /// `Io` where no thread can be started.
    pub fn watch(&self) -> Result<(), CassetteError> {
        if self.inner.watch.get().is_none() {
            let watch = Watch::start(Arc::clone(&self.inner.shelf))
                .map_err(opening::failed("start a thread for", self.folder()))?;
            // A second watch that was begun meanwhile ends here.
            drop(self.inner.watch.set(watch));
        }
        Ok(())
    }

    /// Sets how many recordings, and about how many bytes of them, are held in memory whole. Zero of either holds none.
    pub fn limit_memory(&self, entries: usize, bytes: usize) {
        self.inner.shelf.memory.limit(entries, bytes);
    }

    /// What memory did so far, and what it holds.
    pub fn memory(&self) -> MemoryStats {
        self.inner.shelf.memory.stats()
    }

    /// The replayable recordings of a key on a route, in their sequence.
    pub fn lookup(&self, route: usize, key: &Key) -> Vec<RecordingId> {
        self.inner.shelf.index().lookup(route, key).collect()
    }

    /// How many replayable recordings a key has on a route, each counted as often as it's to be played.
    pub fn count(&self, route: usize, key: &Key) -> usize {
        self.inner.shelf.index().count(route, key)
    }

    /// The replayable recording at this position, from 0, in the sequence of a key on a route.
    pub fn nth(&self, route: usize, key: &Key, position: usize) -> Option<RecordingId> {
        self.inner.shelf.index().nth(route, key, position)
    }

    /// The replayable recordings nearest to a request that has none, the nearest first: those of the same method and path
    /// that say most of the same, then those of the same method by how far their paths agree, then others. Reads at most
    /// 32 files, whatever the `limit`, and looks at a bounded part of the index, however many recordings there are. One that no
    /// route matches has no form.
    pub fn near(&self, wanted: &Canonical, limit: usize) -> Vec<(String, Option<Canonical>)> {
        let shelf = &self.inner.shelf;
        let sketch = Sketch::of(wanted);
        let names = shelf
            .index()
            .near(&wanted.method, &wanted.path, &sketch, limit.min(MAX_NEAR));
        let rules = shelf.rules();
        let form = |name: String| {
            let id = shelf.index().named(&name)?;
            // What a miss looks at is not what is asked for next, so it puts nothing out of the memory.
            let recording = match shelf.memory.peek(id) {
                Some(recording) => recording,
                None => shelf.read(&name).ok()?.0,
            };
            let (request, body) = recording.matched_request();
            let has_route = rules
                .as_ref()
                .is_some_and(|rules| rules(&request).is_some());
            let form = canonical(&request, body, rules.as_deref()).map(|(_, form)| form);
            (form.is_some() || !has_route).then_some((name, form))
        };
        names.into_iter().filter_map(form).collect()
    }

    /// A recording whole. Blocks on the disk where it isn't in memory.
    ///
    /// # Errors
    ///
    /// `Gone` if it was removed since it was looked up, `Broken` if its file was spoiled since.
    pub fn load(&self, id: RecordingId) -> Result<Arc<Recording>, CassetteError> {
        let shelf = &self.inner.shelf;
        match shelf.memory.get(id) {
            Some(recording) => Ok(recording),
            None => finished(shelf.load(id)),
        }
    }

    /// A recording whole, without blocking. However many ask for one that isn't in memory, it's loaded once.
    ///
    /// # Errors
    ///
    /// As for [`Cassette::load`].
    pub async fn fetch(&self, id: RecordingId) -> Result<Arc<Recording>, CassetteError> {
        let shelf = &self.inner.shelf;
        if let Some(recording) = shelf.memory.get(id) {
            return Ok(recording);
        }
        let flight = shelf.memory.flight(id);
        let load = || async {
            // Another one may have landed just before this one set out.
            if let Some(recording) = shelf.memory.peek(id) {
                return Some(Ok(recording));
            }
            if let Ok(loaded) = shelf.load_at_once(id) {
                return loaded;
            }
            let shelf = Arc::clone(shelf);
            tokio::task::spawn_blocking(move || shelf.load(id))
                .await
                .unwrap_or_default()
        };
        finished(flight.cell.get_or_init(load).await.clone())
    }

    /// The recording in the file of this name, with or without its `.json`.
    ///
    /// # Errors
    ///
    /// `Gone` if there is none, `Broken` if it can't be read.
    pub fn named(&self, name: &str) -> Result<Arc<Recording>, CassetteError> {
        let full = format!("{}.json", name.trim_end_matches(".json"));
        let index = self.inner.shelf.index();
        if let Some(broken) = index.broken_file(&full) {
            return Err(CassetteError::Broken(broken.clone()));
        }
        let id = index.named(&full).ok_or(CassetteError::Gone)?;
        drop(index);
        self.load(id)
    }

    /// All recordings, by name.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner.shelf.index().entries()
    }

    /// How many recordings can be replayed.
    pub fn replayable(&self) -> usize {
        self.inner.shelf.index().replayable()
    }

    /// Files that can't be used, by name.
    pub fn broken(&self) -> Vec<BrokenFile> {
        self.inner.shelf.index().broken()
    }

    /// Begins a recording. `None` where nothing is recorded: the cassette is only read, is closed, or [`Self::health`] says
    /// why.
    pub fn begin(&self, begin: Begin) -> Option<Ticket> {
        Ticket::new(self.inner.queue.as_ref()?, begin)
    }

    /// Why recording stopped, if it did.
    pub fn health(&self) -> Option<String> {
        self.inner.queue.as_ref()?.stopped()
    }

    /// The right to begin a recording later, which keeps [`Self::retire`] waiting. `None` where nothing is written.
    pub fn claim(&self) -> Option<Claim> {
        Some(self.inner.queue.as_ref()?.claim())
    }

    /// Waits until nobody has a claim and no recording is under way, then writes what is left and lets the cassette go. Says
    /// whether all was done, `within` so long from then on.
    pub async fn retire(&self, within: Duration) -> bool {
        if let Some(queue) = &self.inner.queue {
            queue.unclaimed().await;
        }
        let cassette = self.clone();
        // A writer that panicked has said so itself.
        tokio::task::spawn_blocking(move || cassette.close(within))
            .await
            .unwrap_or(false)
    }

    /// Resolves when everything that was finished before this call can be looked up. Costs nothing where all is. Another process
    /// that has the cassette is not waited for.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let waiting = self
            .inner
            .queue
            .as_ref()
            .filter(|queue| !queue.is_settled() && !queue.is_behind())
            .map(|queue| {
                let (sender, receiver) = oneshot::channel();
                queue.push(Message::Settle(sender));
                receiver
            });
        async move {
            if let Some(receiver) = waiting {
                // A writer that is gone settles nothing any more.
                drop(receiver.await);
            }
        }
    }

    /// Writes what is left, what is under way as interrupted, and stops the writer. Says whether all was done in this time.
    pub fn close(&self, within: Duration) -> bool {
        match &self.inner.queue {
            Some(queue) => {
                queue.close();
                queue.wait_done(within) && queue.stopped().is_none()
            }
            None => true,
        }
    }
}

fn finished(loaded: Loaded) -> Result<Arc<Recording>, CassetteError> {
    match loaded {
        Some(Ok(recording)) => Ok(recording),
        Some(Err(broken)) => Err(CassetteError::Broken(broken)),
        None => Err(CassetteError::Gone),
    }
}

/// How many files a miss may cost.
const MAX_NEAR: usize = 32;

/// How long the last handle waits for the writer.
const LAST_WAIT: Duration = Duration::from_secs(5);
