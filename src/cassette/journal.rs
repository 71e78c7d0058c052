//! The journal: one JSON line for each thing that happened to an exchange that is being recorded, all of it redacted.
//!
//! Appended only; the line that ends an exchange commits it. It's emptied when nothing is under way and all files are
//! made, so that what it holds at start-up is what a crash left.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use crate::cassette::event::Line;
use crate::cassette::files;

/// The journal of a cassette, open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// How long it is.
    len: u64,
}

impl Journal {
    /// Opens it at its end.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        Self::at(&folder.join(JOURNAL))
    }

    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let file = files::append_to(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends whole lines. Where that fails, nothing of them stays, if it can be helped.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match self.file.write_all(lines) {
            Ok(()) => {
                self.len += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A torn line is dropped on reading too, so it's no further fault if this fails.
                drop(self.file.set_len(self.len));
                Err(error)
            }
        }
    }

    /// Puts these lines in place of all that it holds.
    pub(crate) fn replace(&mut self, folder: &Path, lines: &[u8]) -> io::Result<()> {
        let temporary = folder.join(format!("{}{JOURNAL}", files::TEMPORARY));
        files::write_new(&temporary, lines)?.sync_data()?;
        std::fs::rename(&temporary, folder.join(JOURNAL))?;
        *self = Self::open(folder)?;
        Ok(())
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.len = 0;
        Ok(())
    }
}

/// Reads the journal of a cassette line by line up to the first broken line. Says which line, from 1, was broken.
pub(crate) fn read(folder: &Path, mut each: impl FnMut(Line)) -> io::Result<Option<usize>> {
    let file = match files::read_from(&folder.join(JOURNAL)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        match Line::read(&bytes) {
            Some(line) => each(line),
            None => return Ok(Some(number)),
        }
    }
    Ok(None)
}

/// The journal's name within a cassette.
pub(crate) const JOURNAL: &str = "journal.ndjson";

/// 16 MiB: a body of 1 MiB, each byte as an escape of six, and room for headers.
const MAX_LINE: u64 = 16 * 1024 * 1024;
