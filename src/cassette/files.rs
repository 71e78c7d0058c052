//! Files of a cassette: made whole or not at all, readable by their owner alone, and never by way of a symbolic link.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, IoSliceMut, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

use crate::cassette::format::{BrokenFile, FILE_LIMIT};
use crate::cassette::side::BODIES;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {source}", path.display())]
pub(crate) struct WriteError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl WriteError {
    /// For `map_err`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            path: path.to_owned(),
            source,
        }
    }
}

/// Makes a folder for its owner alone, and those above it, unless it's there.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file for writing at its end, made for its owner alone; never through a link.
pub(crate) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)
        .map_err(|error| explained(path, error))
}

/// Opens a file for reading; never through a link, and without waiting for who writes to a named pipe.
pub(crate) fn read_from(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(no_follow())
        .open(path)
        .and_then(plain)
        .map_err(|error| explained(path, error))
}

/// The file, if it is neither a device, nor a pipe, nor a folder.
pub(crate) fn plain(file: File) -> io::Result<File> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    Ok(file)
}

/// What the system says of a link is about loops.
fn explained(path: &Path, error: io::Error) -> io::Error {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return io::Error::other("it is a symbolic link, which is refused");
    }
    error
}

/// Makes a file with these bytes at a path where none is expected; one that a crash left there is written over.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Makes a side file named by its content, unless it's there.
pub(crate) fn write_side(folder: &Path, bytes: &[u8]) -> io::Result<String> {
    let name = side_name(&blake3::hash(bytes));
    let bodies = folder.join(BODIES);
    let path = bodies.join(&name);
    if is_missing(&path)? {
        let temporary = bodies.join(format!("{TEMPORARY}{name}"));
        write_new(&temporary, bytes)?.sync_data()?;
        fs::rename(&temporary, &path)?;
    }
    Ok(name)
}

/// The name of a side file with this content.
pub(crate) fn side_name(hash: &blake3::Hash) -> String {
    let mut name = hash.to_hex().to_string();
    name.truncate(32);
    name.push_str(".bin");
    name
}

/// Gives a spool the name of its content too. It keeps its own, so that a crash before the commit loses nothing.
pub(crate) fn link_side(folder: &Path, spool: &str, name: &str) -> io::Result<()> {
    let bodies = folder.join(BODIES);
    match fs::hard_link(bodies.join(spool), bodies.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no hard links.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let temporary = bodies.join(format!("{TEMPORARY}{name}"));
            fs::copy(bodies.join(spool), &temporary)?;
            fs::rename(&temporary, bodies.join(name))
        }
        other => other,
    }
}

/// What tells one version of a file from another without reading it. The default is no file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: u64,
    /// When it was changed last, in seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            len: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// Of what stands at a path now, links not followed. `None` where nothing does.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes the file has.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// A file of a cassette, opened for reading and found acceptable.
pub(crate) struct Opened {
    name: String,
    pub(crate) file: File,
    pub(crate) stamp: Stamp,
}

/// Opens a file of a cassette, without reading it yet.
pub(crate) fn open(folder: &Path, name: &str) -> Result<Opened, BrokenFile> {
    let path = folder.join(name);
    let file = read_from(&path).map_err(|error| match error.kind() {
        // What we refuse, and not the system.
        io::ErrorKind::Other => broken(name, error.to_string()),
        _ => unreadable(name, &error),
    })?;
    let metadata = file.metadata().map_err(|error| unreadable(name, &error))?;
    if metadata.len() > FILE_LIMIT {
        let message = format!(
            "has {} bytes, at most {FILE_LIMIT} are read",
            metadata.len()
        );
        return Err(broken(name, message));
    }
    Ok(Opened {
        name: name.to_owned(),
        file,
        stamp: Stamp::of(&metadata),
    })
}

impl Opened {
    /// All of it.
    pub(crate) fn read(self) -> Result<Vec<u8>, BrokenFile> {
        let len = usize::try_from(self.stamp.len).unwrap_or_default();
        // One byte more, so that the end is seen without growing.
        let mut bytes = Vec::with_capacity(len + 1);
        self.file
            .take(FILE_LIMIT)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&self.name, &error))?;
        Ok(bytes)
    }

    /// All of it, if the kernel has it in memory and it's no longer than `limit`; never waits for the disk.
    pub(crate) fn read_at_once(&self, limit: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(self.stamp.len).ok()?;
        if self.stamp.len > limit {
            return None;
        }
        let mut bytes = vec![0; len];
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let count = rustix::io::preadv2(&self.file, into, 0, ReadWriteFlags::NOWAIT).ok()?;
        (count == len).then_some(bytes)
    }
}

fn unreadable(name: &str, error: &io::Error) -> BrokenFile {
    broken(name, format!("cannot be read: {error}"))
}

fn broken(name: &str, message: String) -> BrokenFile {
    BrokenFile {
        name: name.to_owned(),
        line: None,
        message,
    }
}

/// Reads a file of a cassette whole.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Vec<u8>, BrokenFile> {
    open(folder, name)?.read()
}

/// Names of what may be recordings, sorted. Symbolic links and folders are among them, for the reader to refuse.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if is_recording(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a file of this name is a recording; case counts, as in all names here.
pub(crate) fn is_recording(name: &str) -> bool {
    !name.starts_with('.') && name.strip_suffix(".json").is_some()
}

/// Removes what a crash left: temporary files, and spools.
pub(crate) fn sweep(folder: &Path) -> io::Result<()> {
    for folder in [folder, &folder.join(BODIES)] {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMPORARY) || name.starts_with(SPOOL) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Whether nothing stands at a path, not even a dangling link.
pub(crate) fn is_missing(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The spool of an exchange, within `bodies/`.
pub(crate) fn spool_name(id: u64) -> String {
    format!("{SPOOL}{id}")
}

/// Flags by which opening a link fails, and opening a named pipe doesn't wait.
fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC)
        .bits()
        .cast_signed()
}

/// What names of files begin with that are being made.
pub(crate) const TEMPORARY: &str = ".new-";

/// What names of spools begin with.
const SPOOL: &str = ".spool-";
