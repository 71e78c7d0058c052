//! How values are shown beside each other: in one line, short, and so that their difference is seen.

use std::io;

use serde_json::Value;

use crate::key::CanonicalBody;

pub(super) fn absent() -> String {
    "(absent)".to_owned()
}

/// The kind and size of a body that cannot be compared in detail.
pub(super) fn outline(body: &CanonicalBody) -> String {
    match body {
        CanonicalBody::Empty => "(absent)".to_owned(),
        CanonicalBody::Json(value) => compact(value),
        CanonicalBody::Form(pairs) => format!("a form of {} fields", pairs.len()),
        CanonicalBody::Multipart(parts) => format!("{} parts", parts.len()),
        CanonicalBody::Text(text) => cut(text),
        CanonicalBody::Bytes { len, hash } => {
            let [a, b, c, d, ..] = hash;
            format!("{len} bytes, hash {a:02x}{b:02x}{c:02x}{d:02x}…")
        }
        CanonicalBody::Unread => "(too large, not read)".to_owned(),
    }
}

/// JSON in one line, without writing out what will be cut off.
pub(super) fn compact(value: &Value) -> String {
    let mut line = Line(Vec::new());
    // It stops with an error where the line is full, which is all right.
    let complete = serde_json::to_writer(&mut line, value).is_ok();
    let text = String::from_utf8_lossy(&line.0);
    let text = text.trim_end_matches('\u{fffd}');
    if complete {
        cut(text)
    } else {
        cut(&format!("{text}…"))
    }
}

struct Line(Vec<u8>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (MAX_SHOWN * 4).saturating_sub(self.0.len());
        let taken = bytes.len().min(room);
        self.0.extend(bytes.iter().take(taken));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn cut_lists(recorded: Vec<&str>, got: Vec<&str>) -> (String, String) {
    let shown = |values: Vec<&str>| {
        if values.is_empty() {
            None
        } else {
            Some(values.join(", "))
        }
    };
    match (shown(recorded), shown(got)) {
        (Some(recorded), Some(got)) => cut_both(&recorded, &got),
        (recorded, got) => (
            recorded.as_deref().map_or_else(absent, cut),
            got.as_deref().map_or_else(absent, cut),
        ),
    }
}

/// Cuts two different texts so that the place of their first difference is seen in both.
pub(super) fn cut_both(recorded: &str, got: &str) -> (String, String) {
    let same = recorded
        .chars()
        .zip(got.chars())
        .take_while(|(one, other)| one == other)
        .count();
    if same < MAX_SHOWN - 20 {
        return (cut(recorded), cut(got));
    }
    let from = |text: &str| {
        let rest: String = text.chars().skip(same - 20).take(MAX_SHOWN + 1).collect();
        cut(&format!("…{rest}"))
    };
    (from(recorded), from(got))
}

/// In one line, at most [`MAX_SHOWN`] characters.
pub(super) fn cut(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN + 1)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.chars().count() > MAX_SHOWN {
        shown = shown.chars().take(MAX_SHOWN - 1).collect();
        shown.push('…');
    }
    shown
}

/// In characters; fits a line beside its place.
const MAX_SHOWN: usize = 80;
