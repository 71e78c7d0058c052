//! What a crash left in the journal becomes recordings: committed ones as they would have been, and what was under way as
//! a prefix that is listed and never replayed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

use tracing::warn;

use crate::cassette::draft::Draft;
use crate::cassette::event::{End, Event};
use crate::cassette::files::WriteError;
use crate::cassette::files::{self, TEMPORARY};
use crate::cassette::format::{parse, render};
use crate::cassette::journal::{self, JOURNAL};
use crate::cassette::names::{DIGITS, file_name, place_of, stem};
use crate::cassette::recording::Recording;
use crate::cassette::side::BODIES;
use crate::message::Ending;

/// A recording that has no file yet.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) recording: Recording,
    /// Files that go when its own is there.
    pub(crate) replaces: Vec<String>,
    /// The spool that must become its side file.
    spool: Option<String>,
}

/// Reads what the journal holds and no file does. Changes nothing.
pub(crate) fn read(folder: &Path) -> Result<Vec<Recovered>, WriteError> {
    let mut drafts: BTreeMap<u64, Draft> = BTreeMap::new();
    let mut committed: Vec<(u64, Draft, End)> = Vec::new();
    let torn = journal::read(folder, |line| match line.event {
        Event::Begin { .. } => {
            drafts.extend(Draft::begin(line.event).map(|draft| (line.id, draft)));
        }
        Event::End(end) => {
            committed.extend(drafts.remove(&line.id).map(|draft| (line.id, draft, *end)));
        }
        Event::Discard => drop(drafts.remove(&line.id)),
        Event::Filed => committed.retain(|(id, ..)| *id != line.id),
        event => {
            if let Some(draft) = drafts.get_mut(&line.id) {
                draft.apply(event);
            }
        }
    })
    .map_err(WriteError::at(&folder.join(JOURNAL)))?;
    if let Some(line) = torn {
        warn!(
            "{}:{line}: the journal is torn here, which a crash explains; what follows is dropped",
            folder.join(JOURNAL).display()
        );
    }
    let mut recovered = Vec::new();
    for (_, draft, end) in committed {
        let recording = draft.recording(folder, &end);
        if !is_made(folder, &recording) {
            recovered.push(Recovered {
                recording,
                replaces: end.replaces,
                spool: None,
            });
        }
    }
    for (id, draft) in drafts {
        recovered.extend(interrupted(folder, id, draft, &recovered));
    }
    Ok(recovered)
}

/// Makes the files of what was recovered, and empties the journal. Done again after a crash in its middle, it ends the
/// same.
pub(crate) fn settle(folder: &Path, recovered: Vec<Recovered>) -> Result<(), WriteError> {
    for Recovered {
        mut recording,
        replaces,
        spool,
    } in recovered
    {
        if let (Some(spool), Some(side)) = (&spool, &mut recording.side) {
            side.name = keep_spool(folder, spool, side.len)?;
        }
        let path = folder.join(&recording.name);
        // What a person wrote stays.
        if let Ok(bytes) = files::read(folder, &recording.name)
            && let Ok(old) = parse(folder, &recording.name, &bytes)
        {
            (recording.matching, recording.play, recording.notes) =
                (old.matching, old.play, old.notes);
        }
        let temporary = folder.join(format!("{TEMPORARY}{}", recording.name));
        files::write_new(&temporary, render(&recording).as_bytes())
            .and_then(|file| file.sync_data())
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(WriteError::at(&path))?;
        for name in replaces.iter().filter(|name| **name != recording.name) {
            let path = folder.join(name);
            files::remove(&path).map_err(WriteError::at(&path))?;
        }
    }
    let journal = folder.join(JOURNAL);
    if !files::is_missing(&journal).map_err(WriteError::at(&journal))? {
        files::append_to(&journal)
            .and_then(|file| file.set_len(0))
            .map_err(WriteError::at(&journal))?;
    }
    files::sweep(folder).map_err(WriteError::at(folder))
}

/// Whether the file of a recording is there already, perhaps edited since.
fn is_made(folder: &Path, recording: &Recording) -> bool {
    files::read(folder, &recording.name)
        .and_then(|bytes| parse(folder, &recording.name, &bytes))
        .is_ok_and(|made| made.at == recording.at && made.key == recording.key)
}

/// What came of an exchange that was under way. `None` where no head came, or where its file is there already.
fn interrupted(folder: &Path, id: u64, draft: Draft, before: &[Recovered]) -> Option<Recovered> {
    let (head, _, key) = draft.head.clone()?;
    let stem = stem(&draft.request, &key, DIGITS[0]);
    let mut place = 0;
    for name in files::list(folder).ok()? {
        if !name.starts_with(&stem) {
            continue;
        }
        place = place.max(place_of(&name));
        let made = files::read(folder, &name).and_then(|bytes| parse(folder, &name, &bytes));
        if made.is_ok_and(|made| made.at == draft.at && made.key == key.to_string()) {
            return None;
        }
    }
    let named = before.iter().map(|other| &other.recording.name);
    place = named
        .filter(|name| name.starts_with(&stem))
        .map(|name| place_of(name))
        .max()
        .unwrap_or_default()
        .max(place);
    let spool = draft.spooled.map(|_| files::spool_name(id));
    let end = End {
        ending: Ending::Interrupted,
        head,
        redacted: draft.redacted.clone(),
        key,
        file: file_name(&draft.request, &key, DIGITS[0], place + 1),
        replaces: Vec::new(),
        side: spool.clone().zip(draft.spooled),
        chunks: None,
        encoded: None,
    };
    let mut draft = draft;
    if let Some(spool) = &spool {
        let found = fs::symlink_metadata(folder.join(BODIES).join(spool));
        if !found
            .is_ok_and(|found| found.is_file() && found.len() >= draft.spooled.unwrap_or_default())
        {
            // The bytes are lost, which only a loss of power does; the head still tells something.
            draft.items.clear();
            let end = End { side: None, ..end };
            let recording = draft.recording(folder, &end);
            return Some(Recovered {
                recording,
                replaces: Vec::new(),
                spool: None,
            });
        }
    }
    let recording = draft.recording(folder, &end);
    Some(Recovered {
        recording,
        replaces: Vec::new(),
        spool,
    })
}

/// Makes a side file of a spool, of so many bytes as the journal knows of. The spool stays until all is done.
fn keep_spool(folder: &Path, spool: &str, len: u64) -> Result<String, WriteError> {
    let path = folder.join(BODIES).join(spool);
    let at = || WriteError::at(&path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(at())?;
    file.set_len(len).map_err(at())?;
    file.sync_data().map_err(at())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file).map_err(at())?;
    let name = files::side_name(&hasher.finalize());
    files::link_side(folder, spool, &name).map_err(at())?;
    Ok(name)
}
