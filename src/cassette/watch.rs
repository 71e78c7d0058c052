//! Watches the folder of a cassette, so that what others change there is picked up while we serve.
//!
//! The kernel says which names changed. Where it can't (too many watches, a file system that doesn't tell) or said that it
//! lost count, all files are looked at; that is repeated while it can't, ever more seldom the longer it takes.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use crate::cassette::files;
use crate::cassette::refresh;
use crate::cassette::shelf::Shelf;
use crate::cassette::side::BODIES;

/// A folder that is watched, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_over: bool,
    /// What the thread waits for.
    events: Option<Arc<Events>>,
}

/// What the kernel tells of the folder.
#[derive(Debug)]
struct Events {
    inotify: OwnedFd,
    /// The watch on the folder itself.
    folder: i32,
}

/// What changed.
#[derive(Debug, Default)]
struct Changes {
    names: BTreeSet<String>,
    /// Something was put into the folder of side files.
    has_sides: bool,
    /// There was more than the kernel could hold.
    is_overflow: bool,
    /// The folder is not there any more, or we are to end.
    is_lost: bool,
}

impl Watch {
    /// Begins to watch. What changed since the index was made is found too.
    pub(crate) fn start(shelf: Arc<Shelf>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let watch = Self {
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || shared.run(&shelf))?;
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        if let Some(events) = &state.events {
            // This is told as an event, which wakes the thread. A folder that is gone has woken it before.
            inotify::remove_watch(&events.inotify, events.folder).unwrap_or_default();
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, shelf: &Shelf) {
        let mut is_told = false;
        loop {
            let events = Events::of(shelf);
            if let Err(error) = &events
                && *error != Errno::NOENT
                && !is_told
            {
                is_told = true;
                let folder = shelf.folder.display();
                warn!("cannot watch {folder}: {error}; it's looked through every few seconds");
            }
            let events = events.ok().map(Arc::new);
            {
                let mut state = self.state();
                if state.is_over {
                    return;
                }
                state.events.clone_from(&events);
            }
            // Only now, so that nothing falls between the look and the watch.
            let start = Instant::now();
            refresh::all(shelf);
            let cost = start.elapsed();
            if let Some(events) = events {
                events.follow(shelf);
            }
            let mut state = self.state();
            state.events = None;
            let pause = PAUSE.max(cost * SHARE);
            let waited = self
                .changed
                .wait_timeout_while(state, pause, |state| !state.is_over);
            if waited.unwrap_or_else(PoisonError::into_inner).0.is_over {
                return;
            }
        }
    }
}

impl Events {
    fn of(shelf: &Shelf) -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let folder = inotify::add_watch(
            &inotify,
            shelf.folder.as_path(),
            changes() | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF,
        )?;
        let events = Self { inotify, folder };
        events.watch_sides(shelf);
        Ok(events)
    }

    /// Most cassettes have no side files; the folder for them may come later.
    fn watch_sides(&self, shelf: &Shelf) {
        let flags = changes() | WatchFlags::DONT_FOLLOW;
        inotify::add_watch(&self.inotify, shelf.folder.join(BODIES), flags).unwrap_or_default();
    }

    /// Picks up what changes, until the folder is gone or we are to end.
    fn follow(&self, shelf: &Shelf) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        loop {
            let mut changes = Changes::default();
            if self.gather(&mut buffer, &mut changes).is_err() || changes.is_lost {
                return;
            }
            if changes.names.contains(BODIES) {
                changes.names.remove(BODIES);
                changes.has_sides = true;
                self.watch_sides(shelf);
            }
            if changes.is_overflow {
                refresh::all(shelf);
            } else {
                let names: Vec<_> = changes.names.into_iter().collect();
                refresh::some(shelf, &names);
            }
            if changes.has_sides {
                refresh::broken(shelf);
            }
        }
    }

    /// Waits for the first change, and for those that come with it.
    fn gather(&self, buffer: &mut [MaybeUninit<u8>], changes: &mut Changes) -> io::Result<()> {
        self.read(buffer, changes)?;
        if !changes.is_lost {
            thread::sleep(TOGETHER);
        }
        while rustix::io::ioctl_fionread(&self.inotify)? > 0 && changes.names.len() < MANY {
            self.read(buffer, changes)?;
        }
        Ok(())
    }

    fn read(&self, buffer: &mut [MaybeUninit<u8>], changes: &mut Changes) -> io::Result<()> {
        let mut reader = inotify::Reader::new(&self.inotify, buffer);
        loop {
            let event = match reader.next() {
                Err(Errno::INTR) => continue,
                event => event?,
            };
            let flags = event.events();
            let is_folder = event.wd() == self.folder;
            changes.is_overflow |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            changes.is_lost |=
                is_folder && flags.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            match name {
                Some(name) if is_folder && (files::is_recording(name) || name == BODIES) => {
                    changes.names.insert(name.to_owned());
                }
                Some(name) => changes.has_sides |= !is_folder && !name.starts_with('.'),
                None => {}
            }
            if reader.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

/// A file that is written, put in place, or taken away. A link is made without being written.
fn changes() -> WatchFlags {
    WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::ONLYDIR
}

/// How long is waited after a change for what belongs to it: a tool that writes a file anew may take it away first.
const TOGETHER: Duration = Duration::from_millis(50);

/// How long is waited between two looks at all files, where the kernel tells nothing.
const PAUSE: Duration = Duration::from_secs(2);

/// A look at all files takes at most one part in so many of a thread's time.
const SHARE: u32 = 50;

/// How many changes are taken together.
const MANY: usize = 10_000;

/// Room for a few hundred events.
const BUFFER: usize = 64 * 1024;
