//! Edits on one event: its JSON made unreadable, its lines taken out.
//!
//! Each gives `None` where there is nothing to edit, so that the caller sends what came and counts the fault as not applicable.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::replaced;
use crate::dialect::Dialect;
use crate::dialect::tools::calls;
use crate::json::scan::Scanned;

/// Breaks the JSON of an event so that no parser takes it: its first brace is followed by a bracket that closes nothing.
pub fn invalid_json(frame: &[u8]) -> Option<Bytes> {
    let data = data_line(frame)?;
    break_json(frame, data)
}

/// The same in a body that is no stream, in the piece in which it begins. `None` where a piece is white space only.
pub fn invalid_json_body(piece: &[u8]) -> Option<Bytes> {
    break_json(piece, 0..piece.len())
}

fn break_json(bytes: &[u8], range: Range<usize>) -> Option<Bytes> {
    let text = bytes.get(range.clone())?;
    let at = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let start = range.start + at;
    if is_done(text) {
        return None;
    }
    Some(match text.get(at) {
        Some(b'{') => replaced(bytes, start + 1..start + 1, b"]"),
        Some(_) | None => replaced(bytes, start..start, b"{]"),
    })
}

/// The object of an event twice in one line.
pub fn two_objects(frame: &[u8]) -> Option<Bytes> {
    let data = data_line(frame)?;
    let object = frame.get(data.clone())?;
    let end = object.trim_ascii_end().len();
    let is_object = object.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| {
        let at = data.start + end;
        let again = object.get(..end).unwrap_or_default();
        replaced(frame, at..at, again)
    })
}

/// A byte that no UTF-8 has, at the end of the text that the event adds; else in its last string, or at its end.
pub fn invalid_utf8(dialect: Dialect, frame: &[u8]) -> Option<Bytes> {
    let data = data_line(frame)?;
    let bytes = frame.get(data.clone())?;
    if is_done(bytes) {
        return None;
    }
    let in_text = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text_end(dialect, text));
    let at = data.start + in_text.unwrap_or(bytes.len());
    Some(replaced(frame, at..at, b"\xff"))
}

/// Where the first string that adds text ends, before its quote.
fn text_end(dialect: Dialect, data: &str) -> Option<usize> {
    let root = Scanned::root(data)?;
    let argument = calls(dialect, data)
        .into_iter()
        .find_map(|call| call.arguments.filter(|arguments| arguments.is_string()));
    let text = argument
        .or_else(|| deepest_text(root, 0))
        .or_else(|| last_string(root, 0))?;
    text.range().end.checked_sub(1)
}

/// A member that holds text in some dialect. Depth is bounded: no event has its text deeper.
fn deepest_text(value: Scanned<'_>, depth: u32) -> Option<Scanned<'_>> {
    if depth > MAX_DEPTH {
        return None;
    }
    for (name, member) in value.members() {
        let is_text = matches!(
            name.plain(),
            "content" | "text" | "delta" | "thinking" | "reasoning_content" | "reasoning"
        );
        if is_text && member.is_string() && member.is_something() {
            return Some(member);
        }
        if let Some(found) = deepest_text(member, depth + 1) {
            return Some(found);
        }
    }
    value.items().find_map(|item| deepest_text(item, depth + 1))
}

fn last_string(value: Scanned<'_>, depth: u32) -> Option<Scanned<'_>> {
    if depth > MAX_DEPTH {
        return None;
    }
    if value.is_string() {
        return Some(value);
    }
    let inner = |value| last_string(value, depth + 1);
    let members = value
        .members()
        .filter_map(|(_, member)| inner(member))
        .last();
    members.or_else(|| value.items().filter_map(inner).last())
}

const MAX_DEPTH: u32 = 12;

/// Takes out the lines with `event`.
pub fn drop_event_lines(frame: &[u8]) -> Option<Bytes> {
    let is_event = |line: &Line<'_>| line.name == b"event";
    if !lines(frame).any(|line| is_event(&line)) {
        return None;
    }
    let mut made = BytesMut::with_capacity(frame.len());
    for line in lines(frame).filter(|line| !is_event(line)) {
        made.extend_from_slice(frame.get(line.whole).unwrap_or_default());
    }
    Some(made.freeze())
}

/// Where the data of a frame stands, when it is in one line. JSON over several lines is not edited.
pub(super) fn data_line(frame: &[u8]) -> Option<Range<usize>> {
    let mut data = lines(frame).filter(|line| line.name == b"data");
    let first = data.next()?;
    (data.next().is_none() && !first.value.is_empty()).then_some(first.value)
}

fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// A line of a frame.
struct Line<'a> {
    /// With its end.
    whole: Range<usize>,
    name: &'a [u8],
    /// Without the space after the colon.
    value: Range<usize>,
}

/// The lines of a frame; CR, LF and CRLF end one.
fn lines(frame: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let rest = frame.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..length)?;
        let end = match rest.get(length..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([]) | None => 0,
            Some(_) => 1,
        };
        at = start + length + end;
        // A mark of the byte order may stand before the first line.
        let mark = if start == 0 && line.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let field = line.get(mark..)?;
        let colon = memchr::memchr(b':', field).unwrap_or(field.len());
        let name = field.get(..colon)?;
        let value = match field.get(colon..) {
            Some([b':', b' ', ..]) => colon + 2,
            Some([b':', ..]) => colon + 1,
            Some(_) | None => colon,
        };
        Some(Line {
            whole: start..at,
            name,
            value: start + mark + value..start + length,
        })
    })
}
