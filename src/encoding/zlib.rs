//! Deflate as zlib does it, byte for byte: what most servers encode with.
//!
//! The library that encodes for us is zlib-ng, which is faster and makes other bytes. So this follows the algorithm of zlib
//! 1.2 and 1.3 (`deflate.c`, levels 1 to 9, default strategy) step by step, with its names where they say something. It's not
//! made to be fast. The window is zlib's too, down to when it slides, because matches depend on it.
//!
//! This file and those below it are an altered version of parts of zlib (<https://zlib.net>, `deflate.c` and `trees.c`), put
//! into Rust and shortened to what is needed here. They are not zlib, and its authors have no part in their mistakes.

// As zlib asks for, its notice:
//
// Copyright (C) 1995-2022 Jean-loup Gailly and Mark Adler
//
// This software is provided 'as-is', without any express or implied
// warranty.  In no event will the authors be held liable for any damages
// arising from the use of this software.
//
// Permission is granted to anyone to use this software for any purpose,
// including commercial applications, and to alter it and redistribute it
// freely, subject to the following restrictions:
//
// 1. The origin of this software must not be misrepresented; you must not
//    claim that you wrote the original software. If you use this software
//    in a product, an acknowledgment in the product documentation would be
//    appreciated but is not required.
// 2. Altered source versions must be plainly marked as such, and must not be
//    misrepresented as being the original software.
// 3. This notice may not be removed or altered from any source distribution.
//
// Jean-loup Gailly        Mark Adler
// jloup@gzip.org          madler@alumni.caltech.edu

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "positions stay within tables that are made for all of them, and numbers are small"
)]

mod code;
mod trees;

use super::recipe::Flush;
use trees::Trees;

/// An encoder of one raw stream.
pub(super) struct Zlib {
    settings: Settings,
    /// Twice as long as matches may reach back.
    window: Vec<u8>,
    window_size: usize,
    /// For each hash the last position of a string that has it, 0 for none.
    head: Vec<u16>,
    /// For each position, modulo the size of the window, the one before it of the same hash.
    previous: Vec<u16>,
    hash: usize,
    hash_shift: u32,
    /// Where the current string begins, and how many bytes are known from there.
    start: usize,
    lookahead: usize,
    /// Where the current block begins; before the window where it's negative.
    block_start: isize,
    /// How many bytes before `start` are not in the hash table yet.
    insert: usize,
    match_start: usize,
    match_length: usize,
    previous_length: usize,
    previous_match: usize,
    has_literal: bool,
    trees: Trees,
}

/// How hard it's tried; `configuration_table` of zlib.
#[derive(Clone, Copy)]
struct Settings {
    /// Tries less when the last match was this long.
    good: usize,
    /// Looks for no better match after one of this length; in fast mode, the longest that is hashed in full.
    lazy: usize,
    /// Takes a match of this length at once.
    nice: usize,
    /// How many candidates are looked at.
    chain: usize,
    is_fast: bool,
}

impl Zlib {
    /// At a level from 1 to 9, a window of 9 to 15 bits, and a memory level from 1 to 9; other numbers count as the nearest
    /// of these.
    pub(super) fn new(level: u8, window_bits: u8, memory: u8) -> Self {
        let memory = memory.clamp(1, 9);
        let window_size = 1_usize << window_bits.clamp(9, 15);
        let hash_bits = u32::from(memory) + 7;
        Self {
            settings: SETTINGS[usize::from(level.clamp(1, 9)) - 1],
            window: vec![0; 2 * window_size],
            window_size,
            head: vec![0; 1 << hash_bits],
            previous: vec![0; window_size],
            hash: 0,
            hash_shift: hash_bits.div_ceil(MIN_MATCH as u32),
            start: 0,
            lookahead: 0,
            block_start: 0,
            insert: 0,
            match_start: 0,
            match_length: MIN_MATCH - 1,
            previous_length: MIN_MATCH - 1,
            previous_match: 0,
            has_literal: false,
            trees: Trees::new((1 << (u32::from(memory) + 6)) - 1),
        }
    }

    /// Takes bytes, and flushes behind them.
    pub(super) fn run(&mut self, bytes: &[u8], flush: Flush, out: &mut Vec<u8>) {
        let mut input = bytes;
        self.deflate(&mut input, flush != Flush::None, false, out);
        match flush {
            Flush::None => return,
            Flush::Sync => self.trees.stored_block(b"", false, out),
            Flush::Full => {
                self.trees.stored_block(b"", false, out);
                self.head.fill(0);
                if self.lookahead == 0 {
                    (self.start, self.block_start, self.insert) = (0, 0, 0);
                }
            }
        }
        self.trees.pad(out);
    }

    /// Brings out what is left, and ends the stream.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.deflate(&mut &[][..], true, true, out);
    }

    fn deflate(&mut self, input: &mut &[u8], is_flush: bool, is_end: bool, out: &mut Vec<u8>) {
        loop {
            if self.lookahead < MIN_LOOKAHEAD {
                self.fill(input);
                if self.lookahead < MIN_LOOKAHEAD && !is_flush {
                    return;
                }
                if self.lookahead == 0 {
                    break;
                }
            }
            let candidate = if self.lookahead >= MIN_MATCH {
                self.insert_string(self.start)
            } else {
                0
            };
            if self.settings.is_fast {
                self.step_fast(candidate, out);
            } else {
                self.step_slow(candidate, out);
            }
        }
        if std::mem::take(&mut self.has_literal) {
            self.trees.literal(self.window[self.start - 1]);
        }
        self.insert = self.start.min(MIN_MATCH - 1);
        if is_end || !self.trees.is_empty() {
            self.flush_block(is_end, out);
        }
    }

    /// `deflate_fast`: takes the first match.
    fn step_fast(&mut self, candidate: usize, out: &mut Vec<u8>) {
        if candidate != 0 && self.start - candidate <= self.max_distance() {
            self.match_length = self.longest_match(candidate);
        }
        let is_full = if self.match_length >= MIN_MATCH {
            let is_full = self
                .trees
                .reference(self.start - self.match_start, self.match_length);
            self.lookahead -= self.match_length;
            if self.match_length <= self.settings.lazy && self.lookahead >= MIN_MATCH {
                for _ in 1..self.match_length {
                    self.start += 1;
                    self.insert_string(self.start);
                }
                self.start += 1;
            } else {
                self.start += self.match_length;
                self.hash = usize::from(self.window[self.start]);
                let next = self.window.get(self.start + 1).copied();
                self.update_hash(next.unwrap_or_default());
            }
            self.match_length = 0;
            is_full
        } else {
            let is_full = self.trees.literal(self.window[self.start]);
            self.lookahead -= 1;
            self.start += 1;
            is_full
        };
        if is_full {
            self.flush_block(false, out);
        }
    }

    /// `deflate_slow`: takes a match only when there is no better one a byte later.
    fn step_slow(&mut self, candidate: usize, out: &mut Vec<u8>) {
        self.previous_length = self.match_length;
        self.previous_match = self.match_start;
        self.match_length = MIN_MATCH - 1;
        if candidate != 0
            && self.previous_length < self.settings.lazy
            && self.start - candidate <= self.max_distance()
        {
            self.match_length = self.longest_match(candidate);
            if self.match_length == MIN_MATCH && self.start.wrapping_sub(self.match_start) > TOO_FAR
            {
                self.match_length = MIN_MATCH - 1;
            }
        }
        if self.previous_length >= MIN_MATCH && self.match_length <= self.previous_length {
            // A match near the end may leave no string of three bytes to insert.
            let last = (self.start + self.lookahead).checked_sub(MIN_MATCH);
            let is_full = self.trees.reference(
                (self.start - 1).wrapping_sub(self.previous_match),
                self.previous_length,
            );
            self.lookahead -= self.previous_length - 1;
            for _ in 0..self.previous_length - 2 {
                self.start += 1;
                if last.is_some_and(|last| self.start <= last) {
                    self.insert_string(self.start);
                }
            }
            self.has_literal = false;
            self.match_length = MIN_MATCH - 1;
            self.start += 1;
            if is_full {
                self.flush_block(false, out);
            }
        } else {
            if self.has_literal && self.trees.literal(self.window[self.start - 1]) {
                self.flush_block(false, out);
            }
            self.has_literal = true;
            self.start += 1;
            self.lookahead -= 1;
        }
    }

    /// The length of the best match at `start` among the candidates of its chain; `match_start` says where it is.
    fn longest_match(&mut self, candidate: usize) -> usize {
        let window = &self.window;
        let mut chain = self.settings.chain;
        let mut best = self.previous_length;
        let limit = self.start.saturating_sub(self.max_distance());
        if self.previous_length >= self.settings.good {
            chain >>= 2;
        }
        let nice = self.settings.nice.min(self.lookahead);
        let longest = MAX_MATCH.min(self.lookahead);
        let scan = &window[self.start..];
        let mut candidate = candidate;
        loop {
            let other = &window[candidate..];
            let is_better = other[best] == scan[best]
                && other[best - 1] == scan[best - 1]
                && other[..2] == scan[..2];
            if is_better {
                let length = scan[..longest]
                    .iter()
                    .zip(other)
                    .take_while(|(left, right)| left == right)
                    .count();
                if length > best {
                    self.match_start = candidate;
                    best = length;
                    if length >= nice {
                        break;
                    }
                }
            }
            candidate = usize::from(self.previous[candidate & (self.window_size - 1)]);
            chain -= 1;
            if candidate <= limit || chain == 0 {
                break;
            }
        }
        best.min(self.lookahead)
    }

    /// `fill_window`: reads on, and forgets the older half where there is no room.
    fn fill(&mut self, input: &mut &[u8]) {
        loop {
            if self.start >= self.window_size + self.max_distance() {
                self.slide();
            }
            if input.is_empty() {
                return;
            }
            let end = self.start + self.lookahead;
            let count = input.len().min(self.window.len() - end);
            let (now, later) = input.split_at(count);
            self.window[end..end + count].copy_from_slice(now);
            *input = later;
            self.lookahead += count;
            self.insert_late();
            if self.lookahead >= MIN_LOOKAHEAD || input.is_empty() {
                return;
            }
        }
    }

    fn slide(&mut self) {
        let size = self.window_size;
        self.window.copy_within(size.., 0);
        // The last match may begin a byte before what is left, and is still told by its distance.
        self.match_start = self.match_start.wrapping_sub(size);
        self.start -= size;
        self.block_start -= size.cast_signed();
        self.insert = self.insert.min(self.start);
        let size = u16::try_from(size).expect("a window has 15 bits at most");
        for position in self.head.iter_mut().chain(&mut self.previous) {
            *position = position.saturating_sub(size);
        }
    }

    /// Begins the hash anew, and inserts strings that were too short when they came.
    fn insert_late(&mut self) {
        if self.lookahead + self.insert < MIN_MATCH {
            return;
        }
        let mut at = self.start - self.insert;
        self.hash = usize::from(self.window[at]);
        self.update_hash(self.window[at + 1]);
        while self.insert > 0 {
            self.insert_string(at);
            at += 1;
            self.insert -= 1;
            if self.lookahead + self.insert < MIN_MATCH {
                break;
            }
        }
    }

    /// Puts the string at a position into the hash table, and gives the last one before it of the same hash.
    fn insert_string(&mut self, at: usize) -> usize {
        self.update_hash(self.window[at + MIN_MATCH - 1]);
        let before = self.head[self.hash];
        self.previous[at & (self.window_size - 1)] = before;
        self.head[self.hash] = u16::try_from(at).expect("a window has 65,536 bytes at most");
        usize::from(before)
    }

    fn update_hash(&mut self, byte: u8) {
        self.hash = (self.hash << self.hash_shift ^ usize::from(byte)) & (self.head.len() - 1);
    }

    fn flush_block(&mut self, is_last: bool, out: &mut Vec<u8>) {
        let stored = usize::try_from(self.block_start)
            .ok()
            .map(|start| &self.window[start..self.start]);
        let length = self.start.cast_signed() - self.block_start;
        self.trees
            .flush_block(stored, length.unsigned_abs(), is_last, out);
        self.block_start = self.start.cast_signed();
    }

    fn max_distance(&self) -> usize {
        self.window_size - MIN_LOOKAHEAD
    }
}

const fn settings(good: usize, lazy: usize, nice: usize, chain: usize, is_fast: bool) -> Settings {
    Settings {
        good,
        lazy,
        nice,
        chain,
        is_fast,
    }
}

/// Levels 1 to 9.
const SETTINGS: [Settings; 9] = [
    settings(4, 4, 8, 4, true),
    settings(4, 5, 16, 8, true),
    settings(4, 6, 32, 32, true),
    settings(4, 4, 16, 16, false),
    settings(8, 16, 32, 32, false),
    settings(8, 16, 128, 128, false),
    settings(8, 32, 128, 256, false),
    settings(32, 128, 258, 1024, false),
    settings(32, 258, 258, 4096, false),
];

/// The shortest match that deflate can name.
const MIN_MATCH: usize = 3;

/// The longest one.
const MAX_MATCH: usize = 258;

/// So much is known of what comes before a match is looked for, unless the end is near.
const MIN_LOOKAHEAD: usize = MAX_MATCH + MIN_MATCH + 1;

/// Matches of three bytes are not worth it from farther away.
const TOO_FAR: usize = 4096;

#[cfg(test)]
mod tests;
