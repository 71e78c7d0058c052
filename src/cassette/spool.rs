//! The file in which a binary or large answer grows while it's recorded.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cassette::files::{self, WriteError};
use crate::cassette::side::BODIES;

/// Redacted bytes, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Spool {
    name: String,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    len: u64,
}

impl Spool {
    /// An empty one for this exchange.
    pub(crate) fn new(folder: &Path, id: u64) -> Result<Self, WriteError> {
        let name = files::spool_name(id);
        let path = folder.join(BODIES).join(&name);
        let file = files::write_new(&path, b"").map_err(WriteError::at(&path))?;
        Ok(Self {
            name,
            path,
            file,
            hasher: blake3::Hasher::new(),
            len: 0,
        })
    }

    /// Adds bytes at its end.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(WriteError::at(&self.path))
    }

    /// Makes a side file of it: gives its name and length. The spool stays, so that a crash before the commit loses nothing.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(String, u64), WriteError> {
        let name = files::side_name(&self.hasher.finalize());
        self.file
            .sync_data()
            .and_then(|()| files::link_side(folder, &self.name, &name))
            .map_err(WriteError::at(&self.path))?;
        Ok((name, self.len))
    }

    /// Removes it; the side file stays.
    pub(crate) fn remove(self) {
        // What can't be removed now is swept at the next start.
        drop(files::remove(&self.path));
    }
}
