//! Says why a request was not replayed: what differs from a recording, and the line that would ignore it.
//!
//! Compares canonical requests, so it only ever sees what was redacted.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use serde_json::Value;

use crate::json;
use crate::key::{Canonical, CanonicalBody, Part};

/// One place in which a request and a recording differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `method`, `host`, `path`, `query NAME`, `header NAME`, `body`, `body $.json.path`, `form NAME`, `part 1 name`.
    pub at: String,
    /// What the recording has there, cut to be read in a line.
    pub recorded: String,
    /// What the request has there, cut to be read in a line.
    pub got: String,
    /// What to ignore so that this does not count: a JSON path, or the name of a query parameter.
    pub ignore: Option<String>,
}

/// What differs, at most `max` places, the weightiest first.
pub fn differences(got: &Canonical, recorded: &Canonical, max: usize) -> Vec<Difference> {
    let mut found = Found {
        differences: Vec::new(),
        max,
    };
    found.text("method", &recorded.method, &got.method);
    if recorded.host != got.host {
        let shown = |host: &Option<String>| host.as_deref().map_or_else(absent, cut);
        found.push(
            "host".to_owned(),
            shown(&recorded.host),
            shown(&got.host),
            None,
        );
    }
    found.text("path", &recorded.path, &got.path);
    found.pairs("query", &recorded.query, &got.query);
    found.headers(&recorded.headers, &got.headers);
    found.body(&recorded.body, &got.body);
    found.differences
}

/// How far apart a request and a recording are, to sort recordings by. 0 where nothing differs.
pub fn distance(differences: &[Difference]) -> usize {
    differences
        .iter()
        .map(|difference| match difference.at.split(' ').next() {
            Some("method") => 10_000,
            Some("path") => 1_000 + 100 * segments_apart(&difference.recorded, &difference.got),
            Some("host") => 500,
            Some("header" | "query") => 3,
            _ if difference.at == "body" || difference.at == "body $" => 20,
            _ => 1,
        })
        .sum()
}

/// The setting that makes all these differences not count, as a line for the route. `None` where one of them always counts.
pub fn ignore_line(differences: &[Difference]) -> Option<String> {
    let mut paths = BTreeSet::new();
    let mut names = BTreeSet::new();
    for difference in differences {
        let ignore = difference.ignore.as_deref()?;
        if difference.at.starts_with("query ") {
            names.insert(ignore);
        } else {
            paths.insert(ignore);
        }
    }
    let settings: Vec<String> = [("ignore", paths), ("ignore_query", names)]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| {
            let values: Vec<_> = values.into_iter().map(toml_string).collect();
            format!("{name} = [{}]", values.join(", "))
        })
        .collect();
    (!settings.is_empty()).then(|| format!("key = {{ {} }}", settings.join(", ")))
}

struct Found {
    differences: Vec<Difference>,
    max: usize,
}

impl Found {
    fn is_full(&self) -> bool {
        self.differences.len() >= self.max
    }

    fn push(&mut self, at: String, recorded: String, got: String, ignore: Option<String>) {
        if !self.is_full() {
            self.differences.push(Difference {
                at,
                recorded,
                got,
                ignore,
            });
        }
    }

    fn text(&mut self, at: &str, recorded: &str, got: &str) {
        if recorded != got {
            let (recorded, got) = cut_both(recorded, got);
            self.push(at.to_owned(), recorded, got, None);
        }
    }

    /// Both sorted by name.
    fn pairs(&mut self, kind: &str, recorded: &[(String, String)], got: &[(String, String)]) {
        let names: BTreeSet<&str> = recorded
            .iter()
            .chain(got)
            .map(|(name, _)| name.as_str())
            .collect();
        for name in names {
            if self.is_full() {
                return;
            }
            let one = values_of(recorded, name);
            let other = values_of(got, name);
            if one == other {
                continue;
            }
            let (one, other) = cut_lists(one, other);
            let ignore = (kind == "query").then(|| name.to_owned());
            self.push(format!("{kind} {}", cut(name)), one, other, ignore);
        }
    }

    fn headers(&mut self, recorded: &[(String, Vec<String>)], got: &[(String, Vec<String>)]) {
        let names: BTreeSet<&String> = recorded.iter().chain(got).map(|(name, _)| name).collect();
        for name in names {
            let of = |headers: &[(String, Vec<String>)]| -> Vec<String> {
                headers
                    .iter()
                    .find(|(have, _)| have == name)
                    .map(|(_, values)| values.clone())
                    .unwrap_or_default()
            };
            let (one, other) = (of(recorded), of(got));
            if one != other {
                let (one, other) = cut_lists(
                    one.iter().map(String::as_str).collect(),
                    other.iter().map(String::as_str).collect(),
                );
                self.push(format!("header {name}"), one, other, None);
            }
        }
    }

    fn body(&mut self, recorded: &CanonicalBody, got: &CanonicalBody) {
        match (recorded, got) {
            (CanonicalBody::Json(recorded), CanonicalBody::Json(got)) => {
                let mut path = String::from("$");
                self.json(&mut path, recorded, got);
            }
            (CanonicalBody::Form(recorded), CanonicalBody::Form(got)) => {
                self.pairs("form", recorded, got);
            }
            (CanonicalBody::Multipart(recorded), CanonicalBody::Multipart(got)) => {
                self.parts(recorded, got);
            }
            (CanonicalBody::Text(recorded), CanonicalBody::Text(got)) => {
                self.text("body", recorded, got);
            }
            (recorded, got) if recorded != got => {
                self.push("body".to_owned(), outline(recorded), outline(got), None);
            }
            _ => {}
        }
    }

    fn parts(&mut self, recorded: &[Part], got: &[Part]) {
        for index in 0..recorded.len().max(got.len()) {
            if self.is_full() {
                return;
            }
            let place = index + 1;
            let (one, other) = match (recorded.get(index), got.get(index)) {
                (Some(one), Some(other)) => (one, other),
                (one, other) => {
                    let shown = |part: Option<&Part>| {
                        part.map_or_else(absent, |part| {
                            part.name
                                .as_deref()
                                .map_or_else(|| outline(&part.content), cut)
                        })
                    };
                    self.push(format!("part {place}"), shown(one), shown(other), None);
                    continue;
                }
            };
            for (what, one, other) in [
                ("name", &one.name, &other.name),
                ("filename", &one.filename, &other.filename),
                ("content-type", &one.content_type, &other.content_type),
            ] {
                if one != other {
                    let shown = |text: &Option<String>| text.as_deref().map_or_else(absent, cut);
                    self.push(
                        format!("part {place} {what}"),
                        shown(one),
                        shown(other),
                        None,
                    );
                }
            }
            if one.content != other.content {
                let (one, other) = match (&one.content, &other.content) {
                    (CanonicalBody::Text(one), CanonicalBody::Text(other)) => cut_both(one, other),
                    (one, other) => (outline(one), outline(other)),
                };
                self.push(format!("part {place} content"), one, other, None);
            }
        }
    }

    /// `path` is the same again afterwards.
    fn json(&mut self, path: &mut String, recorded: &Value, got: &Value) {
        if self.is_full() {
            return;
        }
        let length = path.len();
        match (recorded, got) {
            (Value::Object(one), Value::Object(other)) => {
                // Both are sorted: first what the recording has, in its order, then what only the request has.
                let more = other.keys().filter(|name| !one.contains_key(*name));
                for name in one.keys().chain(more) {
                    push_name(path, name);
                    self.either(path, one.get(name), other.get(name));
                    path.truncate(length);
                }
            }
            (Value::Array(one), Value::Array(other)) => {
                for index in 0..one.len().max(other.len()) {
                    let _infallible = write!(path, "[{index}]");
                    self.either(path, one.get(index), other.get(index));
                    path.truncate(length);
                    if self.is_full() {
                        return;
                    }
                }
            }
            (Value::Number(one), Value::Number(other))
                if json::canonical_number(one) == json::canonical_number(other) => {}
            (Value::String(one), Value::String(other)) if one != other => {
                let (one, other) = cut_both(one, other);
                let quoted = |text: String| Value::String(text).to_string();
                self.push_json(path, quoted(one), quoted(other));
            }
            (one, other) if one != other => self.push_json(path, compact(one), compact(other)),
            _ => {}
        }
    }

    fn either(&mut self, path: &mut String, recorded: Option<&Value>, got: Option<&Value>) {
        match (recorded, got) {
            (Some(recorded), Some(got)) => self.json(path, recorded, got),
            (recorded, got) => {
                let shown = |value: Option<&Value>| value.map_or_else(absent, compact);
                let (recorded, got) = (shown(recorded), shown(got));
                self.push_json(path, recorded, got);
            }
        }
    }

    fn push_json(&mut self, path: &str, recorded: String, got: String) {
        let ignore = (path != "$").then(|| path.to_owned());
        self.push(format!("body {path}"), recorded, got, ignore);
    }
}

fn values_of<'a>(pairs: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let from = pairs.partition_point(|(have, _)| have.as_str() < name);
    pairs
        .iter()
        .skip(from)
        .take_while(|(have, _)| have == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

fn absent() -> String {
    "(absent)".to_owned()
}

/// The kind and size of a body that cannot be compared in detail.
fn outline(body: &CanonicalBody) -> String {
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
fn compact(value: &Value) -> String {
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

fn cut_lists(recorded: Vec<&str>, got: Vec<&str>) -> (String, String) {
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
fn cut_both(recorded: &str, got: &str) -> (String, String) {
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
fn cut(text: &str) -> String {
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

/// A member as RFC 9535 writes it in a normalized path, or short where its name allows.
fn push_name(path: &mut String, name: &str) {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if is_plain {
        path.push('.');
        path.push_str(name);
        return;
    }
    path.push_str("['");
    for c in name.chars() {
        match c {
            '\'' => path.push_str("\\'"),
            '\\' => path.push_str("\\\\"),
            '\n' => path.push_str("\\n"),
            '\r' => path.push_str("\\r"),
            '\t' => path.push_str("\\t"),
            '\u{8}' => path.push_str("\\b"),
            '\u{c}' => path.push_str("\\f"),
            c if c < ' ' => {
                let _infallible = write!(path, "\\u{:04x}", u32::from(c));
            }
            c => path.push(c),
        }
    }
    path.push_str("']");
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// How many path segments differ, at most 50.
fn segments_apart(one: &str, other: &str) -> usize {
    let count = |path: &str| path.split('/').count();
    let apart = one
        .split('/')
        .zip(other.split('/'))
        .filter(|(one, other)| one != other)
        .count();
    (apart + count(one).abs_diff(count(other))).min(50)
}

/// In characters; fits a line beside its place.
const MAX_SHOWN: usize = 80;

#[cfg(test)]
mod tests;
