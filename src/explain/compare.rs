//! Walks through a request and a recording side by side, and notes each place in which they differ.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::Difference;
use super::shown::{absent, compact, cut, cut_both, cut_lists, outline};
use crate::json;
use crate::key::{Canonical, CanonicalBody, Part};

/// What was found so far.
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    max: usize,
}

impl Found {
    /// Nothing yet; at most so many places.
    pub(super) fn new(max: usize) -> Self {
        Self {
            differences: Vec::new(),
            max,
        }
    }

    /// Compares whole requests, the weightiest places first.
    pub(super) fn request(&mut self, recorded: &Canonical, got: &Canonical) {
        self.text("method", &recorded.method, &got.method);
        if recorded.host != got.host {
            let shown = |host: &Option<String>| host.as_deref().map_or_else(absent, cut);
            self.push(
                "host".to_owned(),
                shown(&recorded.host),
                shown(&got.host),
                None,
            );
        }
        self.text("path", &recorded.path, &got.path);
        self.pairs("query", &recorded.query, &got.query);
        self.headers(&recorded.headers, &got.headers);
        self.body(&recorded.body, &got.body);
    }

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
