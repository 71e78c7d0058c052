//! JSON bodies as values: only where the exact bytes come out again, so that a diff shows what changed in them.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::json;

/// A JSON body, taken apart so that its bytes can be put together again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JsonBody {
    pub(super) value: Value,
    pub(super) style: Style,
    /// White space after the value.
    pub(super) end: String,
}

/// How a value was written, by the habits of the writers that are out there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// No white space.
    Compact,
    /// `", "` and `": "`, as Python does.
    Spaced,
    /// Indented by two blanks.
    Indented,
    /// As `Compact`, with escapes for what is not ASCII.
    CompactAscii,
    /// As `Spaced`, with escapes for what is not ASCII: the default of Python.
    SpacedAscii,
}

impl Style {
    pub(super) const ALL: [Self; 5] = [
        Self::Compact,
        Self::Spaced,
        Self::Indented,
        Self::CompactAscii,
        Self::SpacedAscii,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Spaced => "spaced",
            Self::Indented => "indented",
            Self::CompactAscii => "compact-ascii",
            Self::SpacedAscii => "spaced-ascii",
        }
    }

    /// Writes a value in this style.
    pub(super) fn write(self, value: &Value) -> Vec<u8> {
        let layout = |is_spaced, is_ascii| Layout {
            is_spaced,
            is_ascii,
        };
        match self {
            Self::Compact => with(layout(false, false), value),
            Self::Spaced => with(layout(true, false), value),
            Self::Indented => with(PrettyFormatter::new(), value),
            Self::CompactAscii => with(layout(false, true), value),
            Self::SpacedAscii => with(layout(true, true), value),
        }
    }
}

impl JsonBody {
    /// Takes a body apart. `None` where it's no object and no list, or its bytes would not come out again.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let last = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace())?;
        let (text, end) = bytes.split_at(last + 1);
        if !matches!((text[0], text[last]), (b'{', b'}') | (b'[', b']')) || end.len() > 2 {
            return None;
        }
        let value = json::parse(text).ok()?;
        // The file wraps it in a few levels of its own, and must be readable by the same reader.
        if depth(&value) > MAX_DEPTH {
            return None;
        }
        let style = Style::ALL
            .into_iter()
            .find(|style| style.write(&value) == text)?;
        let end = std::str::from_utf8(end).ok()?.to_owned();
        Some(Self { value, style, end })
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.style.write(&self.value);
        bytes.extend_from_slice(self.end.as_bytes());
        bytes
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + inner.unwrap_or(0)
}

fn with(formatter: impl Formatter, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .expect("a value with text keys is written to memory");
    bytes
}

/// On one line.
struct Layout {
    is_spaced: bool,
    is_ascii: bool,
}

impl Layout {
    fn separate<W: ?Sized + io::Write>(&self, writer: &mut W, is_first: bool) -> io::Result<()> {
        match (is_first, self.is_spaced) {
            (true, _) => Ok(()),
            (false, true) => writer.write_all(b", "),
            (false, false) => writer.write_all(b","),
        }
    }
}

impl Formatter for Layout {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        self.separate(writer, is_first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        self.separate(writer, is_first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.is_spaced { b": " } else { b":" })
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.is_ascii || fragment.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return writer.write_all(fragment.as_bytes());
        }
        for char in fragment.chars() {
            if (' '..='~').contains(&char) {
                writer.write_all(&[char as u8])?;
                continue;
            }
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Levels of a body that are kept as a value; the reader allows 127 in all, of which the file takes up to five.
const MAX_DEPTH: usize = 100;
