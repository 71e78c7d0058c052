//! Reads the value of a `content-encoding` header.

use super::error::EncodingError;

/// The encodings in the value of a `content-encoding`, in lower case, in the order in which they were applied.
pub(super) fn names(content_encoding: &str) -> Vec<String> {
    content_encoding
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect()
}

/// The same, where they are not more than anybody sends.
///
/// # Errors
///
/// `Unsupported` for more than four.
pub(super) fn few_names(content_encoding: &str) -> Result<Vec<String>, EncodingError> {
    let names = names(content_encoding);
    if names.len() > MAX_STAGES {
        return Err(EncodingError::Unsupported(content_encoding.to_owned()));
    }
    Ok(names)
}

/// More encodings on top of each other than anybody sends; each one multiplies what a bomb may cost.
const MAX_STAGES: usize = 4;
