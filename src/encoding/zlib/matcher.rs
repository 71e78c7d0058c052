//! Makes symbols of bytes: where something was before it's a match, and which one is a matter of the level.

use super::chains::Chains;
use super::effort::{Effort, Way};
use super::symbol::{LONGEST, Match, SHORTEST, Symbol};
use super::window::{ENOUGH, Window};

/// Reads bytes, gives symbols.
pub(super) struct Matcher {
    effort: Effort,
    window: Window,
    chains: Chains,
    /// The first place whose string is not in the chains yet.
    unchained: usize,
    held: Held,
}

/// What is known of the byte before the cursor and waits for what the next one brings.
#[derive(Clone, Copy, Default)]
enum Held {
    /// It's given out.
    #[default]
    Nothing,
    /// No match begins there.
    Byte,
    /// This one does.
    Match(Match),
}

impl Matcher {
    /// For a level from 1 to 9, a window of a size that is a power of two from 512 bytes to 32 KiB, and hashes of 8 to 16 bits.
    pub(super) fn new(level: u8, window_size: usize, hash_bits: u32) -> Self {
        let window = Window::new(window_size);
        let chains = Chains::new(window_size, window.reach(), hash_bits);
        Self {
            effort: Effort::of(level),
            window,
            chains,
            unchained: 0,
            held: Held::Nothing,
        }
    }

    /// The next symbol. `None` where it takes more input to know it or, if it's `to_the_end`, where all is read.
    pub(super) fn next(&mut self, input: &mut &[u8], to_the_end: bool) -> Option<Symbol> {
        loop {
            self.fill(input);
            let ahead = self.window.ahead();
            if ahead == 0 || (ahead < ENOUGH && !to_the_end) {
                return None;
            }
            self.chain(self.window.cursor() + 1);
            let symbol = match self.effort.way {
                Way::Greedy { longest_chained } => Some(self.greedy(longest_chained)),
                Way::Lazy { satisfied } => self.lazy(satisfied),
            };
            if symbol.is_some() {
                return symbol;
            }
        }
    }

    /// What is still held when nothing more comes: a match would have been given out, so it's a byte.
    pub(super) fn give_up_held(&mut self) -> Option<Symbol> {
        // The last strings have their third byte yet to come, even where a match went over them.
        let two_back = self.window.cursor().saturating_sub(2);
        self.unchained = self.unchained.min(two_back);
        match std::mem::take(&mut self.held) {
            Held::Nothing => None,
            Held::Byte | Held::Match(_) => Some(self.literal_before()),
        }
    }

    /// The last bytes that were given out as symbols, so many. `None` where they are no longer all there.
    pub(super) fn given(&self, count: usize) -> Option<&[u8]> {
        let end = match self.held {
            Held::Nothing => self.window.cursor(),
            Held::Byte | Held::Match(_) => self.window.cursor() - 1,
        };
        self.window.bytes().get(end.checked_sub(count)?..end)
    }

    /// Forgets all that came, which has to be given out.
    pub(super) fn forget(&mut self) {
        self.chains.clear();
        self.window.clear();
        self.unchained = 0;
    }

    /// Reads on where too little is ahead. Slides at the end of the input too: it shows in the last block.
    fn fill(&mut self, input: &mut &[u8]) {
        while self.window.ahead() < ENOUGH {
            if let Some(by) = self.window.slide() {
                self.chains.slide();
                self.unchained -= by;
            }
            if input.is_empty() {
                return;
            }
            self.window.take(input);
        }
    }

    /// Puts strings into the chains as far as they are known, up to a place.
    fn chain(&mut self, end: usize) {
        let bytes = self.window.bytes();
        let known = bytes.len().saturating_sub(SHORTEST_MATCH - 1);
        for place in self.unchained..end.min(known) {
            let string = [bytes[place], bytes[place + 1], bytes[place + 2]];
            self.chains.add(string, place);
            self.unchained = place + 1;
        }
    }

    /// Takes the match at the cursor if there is one.
    fn greedy(&mut self, longest_chained: usize) -> Symbol {
        let Some(found) = self.search(SHORTEST_MATCH - 1) else {
            self.window.step(1);
            return self.literal_before();
        };
        let length = usize::from(found.length);
        self.window.step(length);
        let end = self.window.cursor();
        if length <= longest_chained && self.window.ahead() >= SHORTEST_MATCH {
            self.chain(end);
        } else {
            self.unchained = end;
        }
        Symbol::Match(found)
    }

    /// Takes the match that is held if there is none at the cursor that is longer. `None` at the first byte that is held.
    fn lazy(&mut self, satisfied: usize) -> Option<Symbol> {
        let held = std::mem::take(&mut self.held);
        let before = match held {
            Held::Nothing | Held::Byte => SHORTEST_MATCH - 1,
            Held::Match(held) => usize::from(held.length),
        };
        let found = if before < satisfied {
            self.search(before).filter(|found| {
                // Three literals cost less.
                found.length > SHORTEST || usize::from(found.distance) <= FAR_FOR_SHORTEST
            })
        } else {
            None
        };
        let symbol = match (held, found) {
            (Held::Match(held), None) => {
                self.window.step(usize::from(held.length) - 1);
                self.chain(self.window.cursor());
                return Some(Symbol::Match(held));
            }
            (Held::Nothing, _) => None,
            (Held::Byte | Held::Match(_), _) => Some(self.literal_before()),
        };
        self.held = found.map_or(Held::Byte, Held::Match);
        self.window.step(1);
        symbol
    }

    fn literal_before(&self) -> Symbol {
        Symbol::Literal(self.window.bytes()[self.window.cursor() - 1])
    }

    /// The best match at the cursor that is longer than so many bytes: the longest, and of these the nearest.
    fn search(&self, longer_than: usize) -> Option<Match> {
        let (bytes, cursor) = (self.window.bytes(), self.window.cursor());
        let longest = self.window.ahead().min(LONGEST.into());
        if longer_than >= longest {
            return None;
        }
        let mut candidate = Some(self.chains.first(cursor)?);
        let here = &bytes[cursor..cursor + longest];
        let enough = self.effort.nice.min(longest);
        let mut tries = if longer_than >= self.effort.good {
            self.effort.tries / 4
        } else {
            self.effort.tries
        };
        let (mut length, mut found) = (longer_than, None);
        while let Some(distance) = candidate
            && tries > 0
        {
            tries -= 1;
            candidate = self.chains.next(cursor, distance);
            let there = &bytes[cursor - distance..][..longest];
            // Most can be told by the bytes that would make it longer.
            if there[length] != here[length] || there[length - 1] != here[length - 1] {
                continue;
            }
            let shared = shared(there, here);
            if shared > length {
                (length, found) = (shared, Some(distance));
                if shared >= enough {
                    break;
                }
            }
        }
        Some(Match {
            length: u16::try_from(length).ok()?,
            distance: u16::try_from(found?).ok()?,
        })
    }
}

/// How many bytes at the beginning are the same.
fn shared(left: &[u8], right: &[u8]) -> usize {
    const WORD: usize = 8;
    let (left_words, left_rest) = left.as_chunks::<WORD>();
    let (right_words, right_rest) = right.as_chunks::<WORD>();
    for (at, (left, right)) in left_words.iter().zip(right_words).enumerate() {
        let differ = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if differ != 0 {
            return at * WORD + (differ.trailing_zeros() / u8::BITS) as usize;
        }
    }
    let rest = left_rest.iter().zip(right_rest);
    left_words.len() * WORD + rest.take_while(|(left, right)| left == right).count()
}

const SHORTEST_MATCH: usize = SHORTEST as usize;

/// From farther away the shortest match is not worth it.
const FAR_FOR_SHORTEST: usize = 4096;
