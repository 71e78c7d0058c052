//! The file of a recording, version 1: made to be read in a diff and edited by hand.
//!
//! Text only; side files are looked at for their length and never read. What is not understood is an error with its
//! line, because a member that is silently skipped would be an edit without effect.

mod body;
mod locate;
mod place;

mod values;
mod written;

mod encoding;

mod answer;
mod read;
mod write;

use std::fmt;

pub(crate) use answer::{fit_length, has_body};
pub(crate) use encoding::{encoded_of, encoded_value};
pub(crate) use read::parse;
pub(crate) use values::{header_list, is_header, is_plain, time_of};
pub(crate) use write::render;
pub(crate) use written::{header_lines, micros, octets, timestamp};

/// A file of a cassette that can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BrokenFile {
    /// Within the cassette.
    pub name: String,
    /// From 1. `None` where the fault is not in the text.
    pub line: Option<usize>,
    /// What is wrong, a lower-case fragment.
    pub message: String,
}

impl fmt::Display for BrokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.name, self.message),
            None => write!(f, "{}: {}", self.name, self.message),
        }
    }
}

/// The newest version of the format that is read, and the one that is written.
pub(crate) const VERSION: u64 = 1;

/// Bodies up to here stand in the recording itself, in the journal too.
pub(crate) const INLINE_LIMIT: usize = 1024 * 1024;

/// The largest file that is read as a recording: 256 MiB, far beyond what is ever written.
pub(crate) const FILE_LIMIT: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests;
