//! Becomes the one writer of a cassette: takes the lock, makes recordings of what a crash left, and starts the thread.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::SystemTime;

use tracing::{error, info};

use crate::cassette::error::CassetteError;
use crate::cassette::files::{self, WriteError};
use crate::cassette::journal::Journal;
use crate::cassette::policy::Run;
use crate::cassette::queue::Queue;
use crate::cassette::recover;
use crate::cassette::shelf::Shelf;
use crate::cassette::side::BODIES;
use crate::cassette::writer::{Done, Writer};

/// What reading and writing share, with a writer behind it.
pub(crate) type Opened = (Arc<Shelf>, Arc<Queue>);

/// Opens a cassette that no other process writes to.
pub(crate) fn open(folder: &Path) -> Result<Opened, CassetteError> {
    files::make_folder(folder).map_err(failed("create", folder))?;
    let lock = lock_file(folder)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(CassetteError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => {
            return Err(failed("lock", &folder.join(LOCK))(error));
        }
    }
    make_bodies(folder)?;
    let journal = recovered(folder)?;
    let (shelf, queue) = (shelf(folder), Arc::new(Queue::default()));
    let run = Run::default();
    let writer = Writer::new(Arc::clone(&shelf), Arc::clone(&queue), run, journal, lock);
    spawn(folder, move || writer.run())?;
    Ok((shelf, queue))
}

/// Opens a cassette that another process has, to go on with its run. It is taken once the other end of `turn` is gone.
pub(crate) fn open_behind(
    folder: &Path,
    since: SystemTime,
    turn: Receiver<()>,
) -> Result<Opened, CassetteError> {
    files::make_folder(folder).map_err(failed("create", folder))?;
    make_bodies(folder)?;
    let lock = lock_file(folder)?;
    let (shelf, queue) = (shelf(folder), Arc::new(Queue::behind()));
    let (behind, told) = (Arc::clone(&shelf), Arc::clone(&queue));
    spawn(folder, move || {
        let done = Done::of(&told);
        // Nothing is ever sent: what is awaited is that nobody can.
        turn.recv().unwrap_or_default();
        match succeed(&behind, lock) {
            Ok((lock, journal)) => {
                told.come_first();
                info!("the process before has let the cassette go");
                Writer::new(behind, told, Run::since(since), journal, lock).run();
            }
            Err(failure) => {
                error!("recording stopped: {failure}; what passes is not recorded any more");
                told.stop(failure.to_string());
            }
        }
        drop(done);
    })?;
    Ok((shelf, queue))
}

/// Waits for the lock, then makes all as it is after an opening without another process.
fn succeed(shelf: &Shelf, lock: File) -> Result<(File, Journal), CassetteError> {
    let path = shelf.folder.join(LOCK);
    while let Err(error) = lock.lock() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(failed("lock", &path)(error));
        }
    }
    let journal = recovered(&shelf.folder)?;
    // The other process has added files since this one looked.
    shelf.rescan();
    Ok((lock, journal))
}

/// Makes recordings of what a crash left in the journal; gives the empty journal.
fn recovered(folder: &Path) -> Result<Journal, CassetteError> {
    let recovered = recover::read(folder).map_err(unreadable)?;
    recover::settle(folder, recovered).map_err(unreadable)?;
    Journal::open(folder).map_err(failed("write", folder))
}

fn shelf(folder: &Path) -> Arc<Shelf> {
    Arc::new(Shelf::new(
        Arc::new(folder.to_owned()),
        HashMap::new(),
        Vec::new(),
    ))
}

fn make_bodies(folder: &Path) -> Result<(), CassetteError> {
    let bodies = folder.join(BODIES);
    if fs::symlink_metadata(&bodies).is_ok_and(|found| found.is_symlink()) {
        return Err(CassetteError::Symlink(bodies));
    }
    files::make_folder(&bodies).map_err(failed("create", &bodies))
}

fn spawn(folder: &Path, work: impl FnOnce() + Send + 'static) -> Result<(), CassetteError> {
    thread::Builder::new()
        .name("cassette".to_owned())
        .spawn(work)
        .map(drop)
        .map_err(failed("start a thread for", folder))
}

fn lock_file(folder: &Path) -> Result<File, CassetteError> {
    let path = folder.join(LOCK);
    files::append_to(&path).map_err(failed("write", &path))
}

/// Whether a process writes to this cassette now.
pub(crate) fn is_written(folder: &Path) -> bool {
    let file = files::read_from(&folder.join(LOCK));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CassetteError {
    move |source| CassetteError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn unreadable(error: WriteError) -> CassetteError {
    CassetteError::Io {
        doing: "recover",
        path: error.path,
        source: error.source,
    }
}

/// The name of the lock within a cassette.
const LOCK: &str = ".lock";
