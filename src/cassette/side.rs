//! Files beside recordings: what is binary or large.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::files::plain;

/// A file beside a recording that holds the bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// The folder of the cassette.
    pub folder: PathBuf,
    /// Within `bodies/`; a plain name.
    pub name: String,
    /// As the recording claims and as it was found on reading it.
    pub len: u64,
}

impl SideFile {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(BODIES).join(&self.name)
    }

    /// Opens it for reading; the caller may keep it open while it plays.
    ///
    /// # Errors
    ///
    /// Where it or its folder is a symbolic link, where it is no plain file, or has another length than was claimed.
    pub fn open(&self) -> io::Result<File> {
        let file = open_side(&self.folder, &self.name)?;
        let len = file.metadata()?.len();
        if len == self.len {
            Ok(file)
        } else {
            Err(io::Error::other(format!(
                "has {len} bytes, {} were expected",
                self.len
            )))
        }
    }

    /// Bytes of the opened file.
    ///
    /// # Errors
    ///
    /// Where they reach beyond its claimed length, or it became shorter.
    pub fn read_at(&self, file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}

/// Opens `bodies/NAME` for reading, following no symbolic link below the cassette's folder.
pub(crate) fn open_side(folder: &Path, name: &str) -> io::Result<File> {
    let bodies = openat(
        CWD,
        folder.join(BODIES),
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Without NONBLOCK a named pipe would keep us waiting.
    let file = File::from(openat(
        bodies,
        name,
        OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    plain(file)
}

/// The folder for side files within a cassette.
pub(crate) const BODIES: &str = "bodies";
