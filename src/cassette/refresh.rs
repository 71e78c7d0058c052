//! Brings the index up to what stands on the disk, where somebody else changed it: an editor, git, another process.

use std::path::Path;

use tracing::{info, warn};

use crate::cassette::entry::Indexed;
use crate::cassette::files::{self, Stamp};
use crate::cassette::format::BrokenFile;
use crate::cassette::scan;
use crate::cassette::shelf::{Change, Shelf};

/// What was found of a file.
struct Looked {
    name: String,
    what: What,
}

enum What {
    /// It's as it was, or can't be asked for now.
    Same,
    Gone,
    Changed(Box<Indexed>),
    Broken(BrokenFile),
}

/// How many recordings were found changed.
#[derive(Debug, Default)]
struct Counts {
    changed: usize,
    removed: usize,
    broken: usize,
}

/// Looks at all files: those in the folder, and those that were there.
pub(crate) fn all(shelf: &Shelf) {
    if !shelf.is_made() {
        return;
    }
    let mut names = match files::list(&shelf.folder) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let folder = shelf.folder.display();
            return warn!("cannot look for changes in {folder}: {error}");
        }
    };
    names.extend(shelf.index().names().iter().map(ToString::to_string));
    names.sort_unstable();
    names.dedup();
    some(shelf, &names);
}

/// Looks again at files that could not be used: what they lacked may be there now.
pub(crate) fn broken(shelf: &Shelf) {
    if shelf.is_made() {
        let broken = shelf.index().broken();
        let names: Vec<_> = broken.into_iter().map(|broken| broken.name).collect();
        some(shelf, &names);
    }
}

/// Looks at these files. Costs one look at the folder for each that is as it was.
pub(crate) fn some(shelf: &Shelf, names: &[String]) {
    if names.is_empty() || !shelf.is_made() {
        return;
    }
    let rules = shelf.rules();
    let mut counts = Counts::default();
    let look = |name: &str| Looked {
        what: look(shelf, name, |recording, stamp| {
            Indexed::new(recording, stamp, rules.as_deref())
        }),
        name: name.to_owned(),
    };
    scan::each(&shelf.folder, names, look, |looked| {
        if !matches!(looked.what, What::Same) {
            take(&shelf.change(), &shelf.folder, looked, &mut counts);
        }
    });
    let Counts {
        changed,
        removed,
        broken,
    } = counts;
    if changed + removed + broken > 0 {
        info!(
            changed,
            removed, broken, "recordings were changed on the disk"
        );
    }
}

fn look(
    shelf: &Shelf,
    name: &str,
    indexed: impl Fn(&crate::cassette::recording::Recording, Stamp) -> Indexed,
) -> What {
    if shelf.is_hidden(name) {
        return What::Same;
    }
    let index = shelf.index();
    let (known, is_broken) = (index.stamp(name), index.broken_file(name).is_some());
    drop(index);
    match Stamp::at(&shelf.folder.join(name)) {
        Err(_) => What::Same,
        Ok(None) if shelf.recovered(name).is_some() => What::Same,
        Ok(None) if known.is_none() && !is_broken => What::Same,
        Ok(None) => What::Gone,
        Ok(stamp) if stamp == known && !is_broken => What::Same,
        Ok(_) => match shelf.read(name) {
            Ok((recording, stamp)) => What::Changed(Box::new(indexed(&recording, stamp))),
            Err(broken) => What::Broken(broken),
        },
    }
}

/// Changes the index, unless the file was changed again since it was looked at: then that will be seen too. Our own writer
/// is kept out meanwhile.
fn take(change: &Change<'_>, folder: &Path, looked: Looked, counts: &mut Counts) {
    let Looked { name, what } = looked;
    let Ok(now) = Stamp::at(&folder.join(&name)) else {
        return;
    };
    let index = change.index();
    let is_ours = now.is_some() && now == index.stamp(&name) && index.broken_file(&name).is_none();
    drop(index);
    match what {
        What::Gone if now.is_none() => {
            // Side files stay: who removed the recording may bring it back.
            drop(change.remove(&name));
            counts.removed += 1;
        }
        What::Changed(indexed) if now == Some(indexed.stamp) && !is_ours => {
            drop(change.insert(*indexed));
            counts.changed += 1;
        }
        What::Broken(broken) if now.is_some() && !is_ours => {
            let text = broken.to_string();
            if change.insert_broken(broken) {
                counts.broken += 1;
                warn!("{text}; what this recording matched is refused until it's mended");
            }
        }
        What::Same | What::Gone | What::Changed(_) | What::Broken(_) => {}
    }
}
