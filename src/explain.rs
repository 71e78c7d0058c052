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

use crate::key::Canonical;

use compare::Found;

mod compare;
mod shown;

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
    let mut found = Found::new(max);
    found.request(recorded, got);
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

#[cfg(test)]
mod tests;
