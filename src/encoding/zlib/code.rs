//! Codes of RFC 1951, section 3.2.2: lengths make them, and nothing else.

use super::bits::Bits;
use super::lengths::code_lengths;
use super::symbol::Name;

/// How long the word of each letter of an alphabet is; 0 where it has none.
pub(super) struct Lengths(Vec<u8>);

/// A word for each letter that has one.
pub(super) struct Code {
    words: Vec<Word>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    /// The first bit is the lowest.
    bits: u16,
    length: u8,
}

impl Lengths {
    /// The best for letters that come so often, none longer than a limit of 15 or less.
    pub(super) fn fitting(counts: &[u32], limit: u8) -> Self {
        Self(code_lengths(counts, limit))
    }

    /// Of literals and lengths in the code that every decoder knows; section 3.2.6.
    pub(super) fn of_known_literals() -> Self {
        let mut lengths = vec![8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        Self(lengths)
    }

    /// Of distances there.
    pub(super) fn of_known_distances() -> Self {
        Self(vec![5; 30])
    }

    /// All of them, in the order of letters; the last one is not 0.
    pub(super) fn all(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn of(&self, letter: u16) -> u8 {
        let length = self.0.get(usize::from(letter));
        length.copied().unwrap_or_default()
    }

    /// How many bits so many of each letter take.
    pub(super) fn cost(&self, counts: &[u32]) -> usize {
        let cost = |(length, count): (&u8, &u32)| usize::from(*length) * *count as usize;
        self.0.iter().zip(counts).map(cost).sum()
    }

    /// The code that these lengths make.
    pub(super) fn code(&self) -> Code {
        // Words of a length are numbered, and begin behind all that are shorter.
        let mut counts = [0_u16; LONGEST_WORD + 1];
        for length in self.0.iter().filter(|length| **length > 0) {
            counts[usize::from(*length)] += 1;
        }
        let mut next = [0_u16; LONGEST_WORD + 1];
        for length in 1..=LONGEST_WORD {
            next[length] = (next[length - 1] + counts[length - 1]) << 1;
        }
        let word = |length: &u8| {
            let number = &mut next[usize::from(*length)];
            let bits = number
                .reverse_bits()
                .checked_shr(u16::BITS - u32::from(*length));
            *number = number.wrapping_add(1);
            Word {
                bits: bits.unwrap_or_default(),
                length: *length,
            }
        };
        Code {
            words: self.0.iter().map(word).collect(),
        }
    }
}

impl Code {
    /// Writes a letter that has a word.
    pub(super) fn put(&self, letter: u16, bits: &mut Bits, out: &mut Vec<u8>) {
        let word = self.words[usize::from(letter)];
        bits.put(word.bits.into(), word.length.into(), out);
    }

    /// Writes a letter and what it leaves open.
    pub(super) fn put_name(&self, name: Name, bits: &mut Bits, out: &mut Vec<u8>) {
        self.put(name.letter, bits, out);
        bits.put(name.extra.into(), name.width, out);
    }
}

const LONGEST_WORD: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_example_of_the_rfc() {
        let lengths = Lengths(vec![3, 3, 3, 3, 3, 2, 4, 4]);
        let words: Vec<u16> = lengths.code().words.iter().map(|word| word.bits).collect();
        let expected = [0b010, 0b110, 0b001, 0b101, 0b011, 0b00, 0b0111, 0b1111];
        assert_eq!(words, expected);
    }

    #[test]
    fn letters_without_a_word_take_none() {
        let code = Lengths(vec![0, 1, 0, 2, 2]).code();
        let word = |bits, length| Word { bits, length };
        let (none, words) = (word(0, 0), [word(0, 1), word(0b01, 2), word(0b11, 2)]);
        assert_eq!(code.words, [none, words[0], none, words[1], words[2]]);
    }
}
