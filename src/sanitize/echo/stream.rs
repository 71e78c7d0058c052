//! Replaces secrets in a stream: what is undecided is held back, and no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pattern::follow;
use super::{Echo, Found, Search};
use crate::sanitize::lane::Lane;
use crate::sanitize::secrets::placeholder;

/// Replaces secrets in a stream of chunks; each comes out once, when all of it is decided.
#[derive(Clone, Debug)]
pub(in crate::sanitize) struct EchoStream<T> {
    echo: Option<Arc<Echo>>,
    lane: Lane<T>,
    /// What is undecided.
    buffer: Vec<u8>,
    /// The byte before the buffer.
    before: Option<u8>,
    /// For each pattern, how long a prefix of it the buffer ends with.
    matched: Vec<usize>,
    applied: BTreeSet<String>,
    changed: bool,
}

impl<T: Copy> EchoStream<T> {
    /// Where it is `None`, there is nothing to look for.
    pub(in crate::sanitize) fn new(echo: Option<Arc<Echo>>) -> Self {
        let patterns = echo.as_ref().map_or(0, |echo| echo.patterns.len());
        Self {
            echo,
            lane: Lane::new(),
            buffer: Vec::new(),
            before: None,
            matched: vec![0; patterns],
            applied: BTreeSet::new(),
            changed: false,
        }
    }

    /// What is decided once these bytes came, in pieces that keep their tags.
    pub(in crate::sanitize) fn push(&mut self, tag: T, bytes: Vec<u8>) -> Vec<(T, Vec<u8>)> {
        let Some(echo) = self.echo.clone() else {
            return vec![(tag, bytes)];
        };
        self.lane.open(tag, bytes.len());
        if self.buffer.is_empty() {
            self.buffer = bytes;
            self.advance(&echo, self.buffer.len());
        } else {
            self.buffer.extend_from_slice(&bytes);
            self.advance(&echo, bytes.len());
        }
        self.decide(&echo, false);
        self.lane.ready()
    }

    /// The rest, after which nothing comes.
    pub(in crate::sanitize) fn finish(&mut self) -> Vec<(T, Vec<u8>)> {
        if let Some(echo) = self.echo.clone() {
            self.decide(&echo, true);
        }
        self.lane.ready()
    }

    /// The rules that found something.
    pub(in crate::sanitize) fn applied(&self) -> impl Iterator<Item = &String> {
        self.applied.iter()
    }

    /// Whether anything was replaced.
    pub(in crate::sanitize) fn changed(&self) -> bool {
        self.changed
    }

    /// Brings `matched` up to the end of the buffer, of which the last `new` bytes are new.
    fn advance(&mut self, echo: &Echo, new: usize) {
        // What came before the longest pattern's length has no part in any match that is under way.
        let restart = new >= echo.longest;
        let from = self.buffer.len() - new.min(echo.longest);
        let bytes = self.buffer.get(from..).unwrap_or_default();
        for (matched, pattern) in self.matched.iter_mut().zip(&echo.patterns) {
            if restart {
                *matched = 0;
            }
            for byte in bytes {
                *matched = follow(&pattern.bytes, &pattern.borders, *matched, *byte);
            }
        }
    }

    /// The first place at or after `from` where more bytes could complete a pattern.
    fn undecided(&self, echo: &Echo, from: usize) -> usize {
        let room = self.buffer.len().saturating_sub(from);
        let held = self
            .matched
            .iter()
            .zip(&echo.patterns)
            .map(|(matched, pattern)| {
                let mut matched = *matched;
                // A whole word waits for the byte after it; any other whole pattern is decided.
                while matched > room || (matched == pattern.bytes.len() && !pattern.is_word) {
                    matched = pattern.borders.get(matched).copied().unwrap_or(0);
                }
                matched
            })
            .max();
        self.buffer.len() - held.unwrap_or(0)
    }

    fn decide(&mut self, echo: &Echo, is_end: bool) {
        let mut from = 0;
        let mut search = Search::new(echo, &self.buffer);
        loop {
            let undecided = (!is_end).then(|| self.undecided(echo, from));
            match search.next(from, self.before, undecided) {
                Found::Secret { start, end, rule } => {
                    self.lane
                        .keep(self.buffer.get(from..start).unwrap_or_default());
                    self.lane.insert(&placeholder(rule));
                    self.lane.skip(end - start);
                    self.changed = true;
                    if !self.applied.contains(rule) {
                        self.applied.insert(rule.to_owned());
                    }
                    from = end;
                }
                Found::Until(until) => {
                    self.lane
                        .keep(self.buffer.get(from..until).unwrap_or_default());
                    from = until;
                    break;
                }
            }
        }
        if let Some(last) = from.checked_sub(1) {
            self.before = self.buffer.get(last).copied();
        }
        self.buffer.drain(..from.min(self.buffer.len()));
    }
}
