//! Where the socket of a hand-over is, and that nobody else can put one there.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::HandoverError;

/// Where a process that listens there offers its listeners, unless told otherwise: in the user's folder for such things, else
/// in one of our own among the temporary ones.
pub fn default_path(address: SocketAddr) -> PathBuf {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => Path::new(&folder).join("rehearsal"),
        None => std::env::temp_dir().join(format!("rehearsal-{}", geteuid().as_raw())),
    };
    // No colon: some tools take what is before it for the name of a host.
    let name = address.to_string().replace([':', '%', '/'], "-");
    folder.join(format!("{name}.sock"))
}

/// Makes the folder for its owner alone, unless it is there; refuses one in which others may write.
pub(super) fn prepare(path: &Path) -> Result<(), HandoverError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(path, &error))?;
    let found = fs::symlink_metadata(folder).map_err(|error| unusable(path, &error))?;
    let us = geteuid().as_raw();
    let why = if !found.is_dir() {
        "its folder is a link"
    } else if found.uid() != us && found.uid() != 0 {
        "its folder belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others may write in its folder"
    } else {
        return Ok(());
    };
    Err(HandoverError::Place {
        path: path.to_owned(),
        why: why.to_owned(),
    })
}

/// Where the socket is before it is published.
pub(super) fn hidden(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(std::process::id().to_string());
    name.push(".sock");
    path.with_file_name(name)
}

/// Keeps others away from the socket; gives its device and inode.
pub(super) fn protect(path: &Path) -> io::Result<(u64, u64)> {
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    file_at(path).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Device and inode of what is there.
pub(super) fn file_at(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Removes a socket, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn unusable(path: &Path, error: &io::Error) -> HandoverError {
    HandoverError::Place {
        path: path.to_owned(),
        why: error.to_string(),
    }
}
