//! Why a cassette can't be used.

use std::io;
use std::path::PathBuf;

use crate::cassette::format::BrokenFile;

/// Why a cassette can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CassetteError {
    /// Another process writes to it.
    #[error("cassette `{}` is in use: another process records into it", .0.display())]
    Locked(PathBuf),
    /// Its folder or a file in it can't be read or written.
    #[error("cassette: cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A symbolic link stands where a file or folder of the cassette should.
    #[error("cassette: `{}` is a symbolic link, which is refused", .0.display())]
    Symlink(PathBuf),
    /// A recording can't be read.
    #[error("{0}")]
    Broken(BrokenFile),
    /// The recording was replaced or removed since it was looked up.
    #[error("the recording is gone")]
    Gone,
}
