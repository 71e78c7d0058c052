//! Takes out the values of members that hold secrets by their name: in JSON, and in forms.
//!
//! Byte by byte, holding nothing: a name passes unchanged, a value is dropped as it comes. It is no parser, so it works in
//! event streams, in broken documents, and in JSON inside the strings of JSON.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use percent_encoding::percent_decode;

use super::secrets::placeholder;

/// The names that hold secrets, in lower case.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: HashSet<String>,
    /// The longest of them, in bytes.
    longest: usize,
    /// Which first bytes occur, as bits: most other names cost no look-up.
    firsts: [u64; 4],
}

impl Names {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let all: HashSet<String> = names.into_iter().collect();
        let longest = all.iter().map(String::len).max().unwrap_or(0);
        let mut firsts = [0; 4];
        for first in all.iter().filter_map(|name| name.bytes().next()) {
            if let Some(bits) = firsts.get_mut(usize::from(first >> 6)) {
                *bits |= 1 << (first & 63);
            }
        }
        Self {
            all,
            longest,
            firsts,
        }
    }

    /// The rule for this name, whatever its case.
    pub(super) fn rule(&self, name: &[u8]) -> Option<String> {
        let first = name.first()?.to_ascii_lowercase();
        let bits = self.firsts.get(usize::from(first >> 6))?;
        if name.len() > self.longest || bits & (1 << (first & 63)) == 0 {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.all.contains(&name).then_some(name)
    }
}

/// What the syntax of a body is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `"name": "value"`, anywhere.
    Json,
    /// `name=value&…`
    Form,
}

/// Drops the values of certain members from bytes that come in any pieces.
#[derive(Clone, Debug)]
pub(super) struct Members {
    names: Arc<Names>,
    state: State,
    /// What came of the name in `State::Name` and `State::FormName`. `name.len() <= 3 * names.longest`
    name: Vec<u8>,
    /// The member whose value is awaited or dropped, from the end of its name to the end of its value.
    value: Value,
    applied: BTreeSet<String>,
    changed: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waits for a quote.
    Text,
    /// After a quote, or after backslashes that may belong to the next one: this may be a name.
    Name { slashes: usize },
    /// After a name that counts: waits for the colon.
    Colon { level: u32 },
    /// After the colon: waits for the quote.
    Quote { level: u32, slashes: usize },
    /// Inside the value.
    Value { level: u32, slashes: usize },
    /// In the name of a pair of a form.
    FormName,
    /// In a name that is too long, or in a value that stays.
    FormOther,
    /// In a value that goes.
    FormValue,
}

/// A value that is being dropped.
#[derive(Clone, Debug, Default)]
struct Value {
    rule: String,
    placeholder: Vec<u8>,
    /// How many bytes of it were dropped.
    dropped: usize,
    /// Whether these are not what stands in their place.
    differs: bool,
}

impl Value {
    fn new(rule: String) -> Self {
        Self {
            placeholder: placeholder(&rule),
            rule,
            dropped: 0,
            differs: false,
        }
    }

    fn drop_byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.dropped == 0 {
            out.extend_from_slice(&self.placeholder);
        }
        self.differs |= self.placeholder.get(self.dropped) != Some(&byte);
        self.dropped += 1;
    }
}

impl Members {
    pub(super) fn new(names: Arc<Names>, syntax: Syntax) -> Self {
        Self {
            names,
            state: match syntax {
                Syntax::Json => State::Text,
                Syntax::Form => State::FormName,
            },
            name: Vec::new(),
            value: Value::default(),
            applied: BTreeSet::new(),
            changed: false,
        }
    }

    /// What is to be written for these bytes.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        loop {
            if matches!(self.state, State::Text) {
                // Most of a body is neither quote nor name, so it is passed at the speed of a search.
                let until = memchr::memchr(b'"', rest).unwrap_or(rest.len());
                let (text, after) = rest.split_at(until);
                out.extend_from_slice(text);
                rest = after;
            }
            if matches!(self.state, State::Name { slashes: 0 }) {
                let room = self.names.longest - self.name.len().min(self.names.longest);
                let length = rest
                    .iter()
                    .take(room)
                    .take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' '))
                    .count();
                let (name, after) = rest.split_at(length);
                self.name.extend_from_slice(name);
                out.extend_from_slice(name);
                rest = after;
            }
            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            rest = after;
            self.state = match self.state {
                State::Value { level, slashes } => self.json_value(level, slashes, byte, out),
                State::FormValue if byte != b'&' => {
                    self.value.drop_byte(byte, out);
                    State::FormValue
                }
                state @ (State::FormName | State::FormOther | State::FormValue) => {
                    out.push(byte);
                    self.form(state, byte)
                }
                state => {
                    out.push(byte);
                    self.json(state, byte)
                }
            };
        }
    }

    /// There is nothing more.
    pub(super) fn finish(&mut self) {
        // Backslashes at the very end belonged to the value, or to the end of it that never came.
        if let State::Value { slashes, .. } = self.state {
            self.changed |= slashes > 0;
        }
        self.end();
    }

    /// The rules that fired.
    pub(super) fn applied(&self) -> impl Iterator<Item = &String> {
        self.applied.iter()
    }

    /// Whether what came out is not what went in.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// The value that was dropped, if there was one, has ended.
    fn end(&mut self) {
        let value = std::mem::take(&mut self.value);
        if value.dropped > 0 && (value.differs || value.dropped < value.placeholder.len()) {
            self.changed = true;
            self.applied.insert(value.rule);
        }
    }

    /// A byte that passes, outside of values that go.
    fn json(&mut self, state: State, byte: u8) -> State {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match state {
            State::Name { slashes } => match byte {
                b'"' => {
                    if let Some(rule) = self.names.rule(&self.name)
                        && let Some(level) = level(slashes)
                    {
                        self.value = Value::new(rule);
                        return State::Colon { level };
                    }
                }
                b'\\' if slashes < MAX_SLASHES => {
                    return State::Name {
                        slashes: slashes + 1,
                    };
                }
                // The bytes of the name itself have been taken, so this is a control byte, or one too many.
                _ => {}
            },
            State::Colon { level } => match byte {
                b':' => return State::Quote { level, slashes: 0 },
                _ if is_blank => return state,
                _ => {}
            },
            State::Quote { level, slashes } => match byte {
                b'"' if slashes == escapes(level) => return State::Value { level, slashes: 0 },
                b'\\' if slashes < MAX_SLASHES => {
                    return State::Quote {
                        level,
                        slashes: slashes + 1,
                    };
                }
                _ if is_blank && slashes == 0 => return state,
                _ => {}
            },
            State::Text
            | State::Value { .. }
            | State::FormName
            | State::FormOther
            | State::FormValue => {}
        }
        // Whether a quote begins or ends a string is never known for certain, so each may begin a name.
        if byte == b'"' {
            self.name.clear();
            State::Name { slashes: 0 }
        } else {
            State::Text
        }
    }

    /// Drops the byte, or ends the value with it.
    fn json_value(&mut self, level: u32, slashes: usize, byte: u8, out: &mut Vec<u8>) -> State {
        let kept = match byte {
            b'\\' => {
                return State::Value {
                    level,
                    slashes: slashes + 1,
                };
            }
            b'"' => closing(level, slashes),
            // No string of JSON goes on over a line.
            b'\r' | b'\n' => Some(0),
            _ => None,
        };
        for _ in kept.unwrap_or(0)..slashes {
            self.value.drop_byte(b'\\', out);
        }
        let Some(kept) = kept else {
            self.value.drop_byte(byte, out);
            return State::Value { level, slashes: 0 };
        };
        self.end();
        out.extend(std::iter::repeat_n(b'\\', kept));
        out.push(byte);
        self.json(State::Text, byte)
    }

    /// A byte that passes, outside of values that go.
    fn form(&mut self, state: State, byte: u8) -> State {
        match (state, byte) {
            (_, b'&') => {
                self.end();
                self.name.clear();
                State::FormName
            }
            (State::FormName, b'=') => {
                let name: Vec<u8> = percent_decode(&self.name).collect();
                match self.names.rule(&name) {
                    Some(rule) => {
                        self.value = Value::new(rule);
                        State::FormValue
                    }
                    None => State::FormOther,
                }
            }
            // Each byte of a name may have been escaped to three.
            (State::FormName, _) if self.name.len() < 3 * self.names.longest => {
                self.name.push(byte);
                State::FormName
            }
            _ => State::FormOther,
        }
    }
}

/// How many backslashes stand before each quote of a document that is a string inside of so many others.
fn escapes(level: u32) -> usize {
    (1 << level) - 1
}

/// The other way round.
fn level(slashes: usize) -> Option<u32> {
    (0..=MAX_LEVEL).find(|level| escapes(*level) == slashes)
}

/// How many of the backslashes before a quote belong to it, where it ends a value at this level, or a document around it.
/// `None` where it belongs to the value.
fn closing(level: u32, slashes: usize) -> Option<usize> {
    let mut left = slashes;
    for outer in 0..=level {
        if left.is_multiple_of(2) {
            return Some(escapes(outer));
        }
        left /= 2;
    }
    None
}

/// JSON in a string in a string in a string.
const MAX_LEVEL: u32 = 3;

/// `escapes(MAX_LEVEL)`
const MAX_SLASHES: usize = 7;
