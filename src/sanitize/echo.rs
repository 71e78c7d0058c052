//! Replaces known secrets wherever they appear, in bytes that come in any pieces.
//!
//! What comes out does not depend on the pieces: a position is decided only when no more bytes could change the decision.
//! The longest secret at the leftmost position wins. Placeholders that already stand there are left alone.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::secrets::{LONG_SECRET, MAX_RULE, PLACEHOLDER, Secrets, is_rule_byte, placeholder};
use super::spellings::spellings;

use pattern::Pattern;

pub(super) use stream::EchoStream;

mod pattern;
mod stream;

/// All the secrets of an exchange, ready to be looked for.
#[derive(Debug)]
pub(super) struct Echo {
    /// `None` for a few patterns, each of which is then looked for by itself: building takes longer than it saves.
    automaton: Option<AhoCorasick>,
    /// The first one is the beginning of a placeholder.
    patterns: Vec<Pattern>,
    /// The longest pattern, in bytes.
    longest: usize,
    /// As in [`Secrets`].
    rules: Arc<HashSet<String>>,
}

/// What is found next.
enum Found<'a> {
    /// A secret.
    Secret {
        start: usize,
        end: usize,
        rule: &'a str,
    },
    /// No secret begins before this place; from there on more bytes are needed.
    Until(usize),
}

impl Echo {
    /// `None` where there is nothing to look for.
    pub(super) fn new(secrets: &Secrets) -> Option<Self> {
        if secrets.list().is_empty() {
            return None;
        }
        let mut patterns = vec![Pattern::new(PLACEHOLDER.to_vec(), String::new(), false)];
        let mut seen = BTreeSet::new();
        for secret in secrets.list() {
            let is_word = secret.value.len() < LONG_SECRET;
            for spelling in spellings(&secret.value) {
                if seen.insert(spelling.clone()) {
                    patterns.push(Pattern::new(spelling, secret.rule.clone(), is_word));
                }
            }
        }
        let automaton = if patterns.len() > FEW {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(patterns.iter().map(|pattern| &pattern.bytes))
                // It fails beyond 2³¹ bytes of patterns; the search is then slow, but complete.
                .ok()
        } else {
            None
        };
        let longest = patterns.iter().map(|p| p.bytes.len()).max().unwrap_or(0);
        Some(Self {
            automaton,
            patterns,
            longest,
            rules: Arc::clone(secrets.rules()),
        })
    }

    /// Whether there is a secret in it.
    pub(super) fn finds(&self, bytes: &[u8]) -> bool {
        matches!(
            Search::new(self, bytes).next(0, None, None),
            Found::Secret { .. }
        )
    }

    /// Replaces in something that is there as a whole. `None` where nothing was found.
    pub(super) fn replace(&self, bytes: &[u8], applied: &mut BTreeSet<String>) -> Option<Vec<u8>> {
        let mut out = None;
        let mut from = 0;
        let mut search = Search::new(self, bytes);
        while let Found::Secret { start, end, rule } = search.next(from, None, None) {
            let out = out.get_or_insert_with(|| Vec::with_capacity(bytes.len()));
            out.extend_from_slice(bytes.get(from..start).unwrap_or_default());
            out.extend_from_slice(&placeholder(rule));
            if !applied.contains(rule) {
                applied.insert(rule.to_owned());
            }
            from = end;
        }
        if let Some(out) = &mut out {
            out.extend_from_slice(bytes.get(from..).unwrap_or_default());
        }
        out
    }

    /// `rest` begins like a placeholder.
    fn placeholder_at(&self, rest: &[u8]) -> Standing {
        let name = rest.get(PLACEHOLDER.len()..).unwrap_or_default();
        let length = name
            .iter()
            .take(MAX_RULE + 1)
            .take_while(|byte| is_rule_byte(**byte))
            .count();
        if length > MAX_RULE {
            return Standing::No;
        }
        let (rule, after) = name.split_at(length);
        match after.first() {
            Some(b']') if std::str::from_utf8(rule).is_ok_and(|rule| self.rules.contains(rule)) => {
                Standing::Yes(PLACEHOLDER.len() + length + 1)
            }
            Some(_) => Standing::No,
            None => Standing::Unknown,
        }
    }

    /// The longest pattern that counts at the beginning of `rest`; `longest` is the longest one that is there.
    fn best(&self, longest: usize, rest: &[u8], previous: Option<u8>) -> Option<&Pattern> {
        let longest = self.patterns.get(longest)?;
        if longest.counts(rest, previous) {
            return Some(longest);
        }
        self.patterns
            .iter()
            .filter(|pattern| {
                pattern.bytes.len() < longest.bytes.len()
                    && rest.starts_with(&pattern.bytes)
                    && pattern.counts(rest, previous)
            })
            .max_by_key(|pattern| pattern.bytes.len())
    }
}

/// A search through some bytes, from the left to the right.
struct Search<'a> {
    echo: &'a Echo,
    bytes: &'a [u8],
    /// Without an automaton: where each pattern is found next, at or after the place that was asked for last.
    ahead: Vec<Ahead>,
}

#[derive(Clone, Copy)]
enum Ahead {
    /// Not looked for yet.
    Unknown,
    At(usize),
    /// No more.
    Nowhere,
}

impl<'a> Search<'a> {
    fn new(echo: &'a Echo, bytes: &'a [u8]) -> Self {
        let ahead = match echo.automaton {
            Some(_) => Vec::new(),
            None => vec![Ahead::Unknown; echo.patterns.len()],
        };
        Self { echo, bytes, ahead }
    }

    /// The next secret at or after `from`, which never goes back.
    ///
    /// `before` is the byte that came before the first one. With `undecided`, more bytes may follow, and only what begins
    /// before that place is decided.
    fn next(&mut self, from: usize, before: Option<u8>, undecided: Option<usize>) -> Found<'a> {
        let bytes = self.bytes;
        let limit = undecided.unwrap_or(bytes.len());
        let mut at = from;
        while let Some((start, index)) = self.candidate(at) {
            if start >= limit {
                break;
            }
            let rest = bytes.get(start..).unwrap_or_default();
            if index == 0 {
                match self.echo.placeholder_at(rest) {
                    Standing::Yes(length) => {
                        at = start + length;
                        continue;
                    }
                    Standing::Unknown if undecided.is_some() => return Found::Until(start),
                    Standing::Unknown | Standing::No => {}
                }
            }
            let previous = match start.checked_sub(1) {
                Some(previous) => bytes.get(previous).copied(),
                None => before,
            };
            if let Some(pattern) = self.echo.best(index, rest, previous) {
                return Found::Secret {
                    start,
                    end: start + pattern.bytes.len(),
                    rule: &pattern.rule,
                };
            }
            at = start + 1;
        }
        // A placeholder that was passed over may reach beyond the limit.
        Found::Until(limit.max(at.min(bytes.len())))
    }

    /// Where the leftmost pattern begins, and which is the longest there, whether it counts or not.
    fn candidate(&mut self, from: usize) -> Option<(usize, usize)> {
        if from > self.bytes.len() {
            return None;
        }
        if let Some(automaton) = &self.echo.automaton {
            let found = automaton.find(Input::new(self.bytes).range(from..))?;
            return Some((found.start(), found.pattern().as_usize()));
        }
        let rest = self.bytes.get(from..)?;
        let mut best: Option<(usize, Reverse<usize>, usize)> = None;
        let patterns = self.echo.patterns.iter().enumerate();
        for ((index, pattern), ahead) in patterns.zip(&mut self.ahead) {
            let stale = match ahead {
                Ahead::Unknown => true,
                Ahead::At(start) => *start < from,
                Ahead::Nowhere => false,
            };
            if stale {
                *ahead = match pattern.finder.find(rest) {
                    Some(found) => Ahead::At(from + found),
                    None => Ahead::Nowhere,
                };
            }
            if let Ahead::At(start) = *ahead {
                let found = (start, Reverse(pattern.bytes.len()), index);
                best = Some(best.map_or(found, |best| best.min(found)));
            }
        }
        best.map(|(start, _, index)| (start, index))
    }
}

/// Whether a placeholder stands somewhere.
enum Standing {
    /// So many bytes.
    Yes(usize),
    No,
    /// The bytes end too early.
    Unknown,
}

/// So many patterns are found faster one by one: one credential in its spellings.
const FEW: usize = 12;
