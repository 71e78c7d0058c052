//! What stands before a block with codes of its own, so that a decoder knows them; RFC 1951, section 3.2.7.

use super::bits::Bits;
use super::code::Lengths;
use super::runs::runs;
use super::symbol::Name;

/// The lengths of two codes, written in a third.
pub(super) struct Preface {
    literals: usize,
    distances: usize,
    names: Vec<Name>,
    third: Lengths,
    /// How many lengths of the third are told.
    told: usize,
}

impl Preface {
    /// Of the lengths of a code for literals and one for distances.
    pub(super) fn of(literals: &[u8], distances: &[u8]) -> Self {
        // zlib tells no run that goes over from one to the other.
        let mut names = runs(literals);
        names.extend(runs(distances));
        let mut counts = [0; ORDER.len()];
        for name in &names {
            counts[usize::from(name.letter)] += 1;
        }
        let third = Lengths::fitting(&counts, LONGEST_WORD);
        let last = ORDER.iter().rposition(|letter| third.of(*letter) > 0);
        Self {
            literals: literals.len(),
            distances: distances.len(),
            names,
            third,
            told: last.map_or(0, |last| last + 1).max(FEWEST_TOLD),
        }
    }

    /// How many bits it takes.
    pub(super) fn cost(&self) -> usize {
        let name = |name: &Name| u32::from(self.third.of(name.letter)) + name.width;
        let names: u32 = self.names.iter().map(name).sum();
        (LITERALS_WIDTH + DISTANCES_WIDTH + TOLD_WIDTH + names) as usize
            + self.told * LENGTH_WIDTH as usize
    }

    pub(super) fn put(&self, bits: &mut Bits, out: &mut Vec<u8>) {
        for (count, fewest, width) in [
            (self.literals, FEWEST_LITERALS, LITERALS_WIDTH),
            (self.distances, FEWEST_DISTANCES, DISTANCES_WIDTH),
            (self.told, FEWEST_TOLD, TOLD_WIDTH),
        ] {
            let more = u32::try_from(count - fewest).expect("an alphabet has 286 letters at most");
            bits.put(more, width, out);
        }
        for letter in &ORDER[..self.told] {
            bits.put(self.third.of(*letter).into(), LENGTH_WIDTH, out);
        }
        let code = self.third.code();
        for name in &self.names {
            code.put_name(*name, bits, out);
        }
    }
}

/// The order in which the lengths of the third code are told: those that are seldom there come last and are left out.
const ORDER: [u16; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// The longest word of the third code.
const LONGEST_WORD: u8 = 7;

/// How many bits tell one of its lengths.
const LENGTH_WIDTH: u32 = 3;

/// How many bits tell how many lengths there are, beyond the fewest that there may be.
const LITERALS_WIDTH: u32 = 5;
const DISTANCES_WIDTH: u32 = 5;
const TOLD_WIDTH: u32 = 4;

const FEWEST_LITERALS: usize = 257;
const FEWEST_DISTANCES: usize = 1;
const FEWEST_TOLD: usize = 4;
