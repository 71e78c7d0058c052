//! From a committed exchange to its file: proved, written under a temporary name, made to last, and put in place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cassette::entry::{Indexed, key_body};
use crate::cassette::event::{Event, Line};
use crate::cassette::files::{self, Stamp, TEMPORARY, WriteError};
use crate::cassette::format::{parse, render};
use crate::cassette::recording::Recording;
use crate::cassette::shelf::Shelf;
use crate::key::{Key, KeyRules};

/// A committed recording whose file has a temporary name.
#[derive(Debug)]
pub(crate) struct Ready {
    id: u64,
    recording: Recording,
    temporary: PathBuf,
    file: File,
    replaces: Vec<String>,
    /// Side files that it needs, or that were made for it in vain.
    pub(crate) sides: Vec<String>,
}

/// Reads a recording's file back before it's kept: it must say the same, and be found by the same key.
pub(crate) fn prove(
    recording: &Recording,
    folder: &Path,
    rules: &KeyRules,
    key: Key,
) -> Result<(), String> {
    let text = render(recording);
    let read =
        parse(folder, &recording.name, text.as_bytes()).map_err(|broken| broken.to_string())?;
    if read != *recording {
        return Err("it reads otherwise than it was written".to_owned());
    }
    let body = read
        .request_body
        .load()
        .map_err(|error| format!("its request's body can't be read: {error}"))?;
    let found = rules
        .canonical(&read.request, key_body(body.as_deref()))
        .key();
    if found == key {
        Ok(())
    } else {
        Err(format!("its key is {found}, {key} was expected"))
    }
}

impl Ready {
    /// Writes the file of a committed recording under a temporary name.
    pub(crate) fn new(
        id: u64,
        folder: &Path,
        recording: Recording,
        replaces: Vec<String>,
        sides: Vec<String>,
    ) -> Result<Self, WriteError> {
        let temporary = folder.join(format!("{TEMPORARY}{id}"));
        let file = files::write_new(&temporary, render(&recording).as_bytes())
            .map_err(WriteError::at(&temporary))?;
        Ok(Self {
            id,
            recording,
            temporary,
            file,
            replaces,
            sides,
        })
    }
}

/// Makes new files survive a loss of power: each by itself, or many at once.
pub(crate) fn sync(ready: &[Ready]) -> Result<(), WriteError> {
    if let [first, .., _] = ready
        && ready.len() > MANY
    {
        return rustix::fs::syncfs(&first.file)
            .map_err(std::io::Error::from)
            .map_err(WriteError::at(&first.temporary));
    }
    for one in ready {
        one.file
            .sync_data()
            .map_err(WriteError::at(&one.temporary))?;
    }
    Ok(())
}

/// Puts files in place, takes away those that they replace, and brings the index up to date. Gives back the side files
/// that may be needed no more.
pub(crate) fn place(
    ready: Vec<Ready>,
    shelf: &Shelf,
    journal: &mut Vec<u8>,
) -> Result<Vec<String>, WriteError> {
    let change = shelf.change();
    let rules = change.rules();
    let mut unused = Vec::new();
    for one in ready {
        let path = shelf.folder.join(&one.recording.name);
        fs::rename(&one.temporary, &path).map_err(WriteError::at(&path))?;
        // By its stamp, who watches the folder knows it as our own.
        let metadata = one.file.metadata().map_err(WriteError::at(&path))?;
        let stamp = Stamp::of(&metadata);
        unused.extend(change.insert(Indexed::new(&one.recording, stamp, rules.as_deref())));
        for name in one.replaces {
            let path = shelf.folder.join(&name);
            files::remove(&path).map_err(WriteError::at(&path))?;
            unused.extend(change.remove(&name));
        }
        unused.extend(one.sides);
        Line {
            id: one.id,
            event: Event::Filed,
        }
        .write(journal);
    }
    Ok(unused)
}

/// Beyond so many files, one call for the whole file system is cheaper than one for each.
const MANY: usize = 32;
