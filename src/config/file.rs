//! Reads the files that a configuration is made of: no more than is sensible, and only text.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::read::parse;
use super::render::ConfigErrors;
use super::{Config, Given};
use crate::text;
use crate::units::ByteSize;

/// Reads the file of the configuration.
pub(super) fn load(path: &Path, given: &Given) -> Result<Config, ConfigErrors> {
    let bytes = read(path, MAX_FILE).map_err(|error| ConfigErrors::unreadable(path, &error))?;
    match text::utf8(text::without_mark(&bytes)) {
        Ok(text) => parse(text, path, given, &|name| std::env::var(name).ok()),
        Err(why) => Err(ConfigErrors::unreadable(path, &why)),
    }
}

/// The text of a file that a configuration names.
///
/// # Errors
/// That it can't be read, is longer than `limit`, or no text.
pub(crate) fn read_text(path: &Path, limit: ByteSize) -> io::Result<String> {
    let bytes = read(path, limit)?;
    text::utf8(text::without_mark(&bytes))
        .map(str::to_owned)
        .map_err(io::Error::other)
}

/// A device, or a recording given by mistake, has no end, or not soon.
fn read(path: &Path, limit: ByteSize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.0 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > limit.as_usize() {
        return Err(io::Error::other(format!("it is larger than {limit}")));
    }
    Ok(bytes)
}

const MAX_FILE: ByteSize = ByteSize::mib(4);
