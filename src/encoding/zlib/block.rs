//! Gathers symbols and writes them as a block, in the shortest of the three ways that RFC 1951 has.

use super::bits::Bits;
use super::code::Lengths;
use super::preface::Preface;
use super::symbol::{DISTANCE_LETTERS, END, LETTERS, Symbol};

/// The symbols since the last block.
pub(super) struct Block {
    symbols: Vec<Symbol>,
    most: usize,
    span: usize,
    /// Of the codes that every decoder knows.
    known: BothLengths,
}

/// How often each letter comes in a block.
struct Census {
    literals: [u32; LETTERS as usize],
    distances: [u32; DISTANCE_LETTERS as usize],
    /// Bits that come with the letters, whatever the code.
    extra: usize,
}

/// What makes the two codes that a block is written in.
struct BothLengths {
    literals: Lengths,
    distances: Lengths,
}

impl Block {
    /// Of so many symbols at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            symbols: Vec::with_capacity(most),
            most,
            span: 0,
            known: BothLengths {
                literals: Lengths::of_known_literals(),
                distances: Lengths::of_known_distances(),
            },
        }
    }

    pub(super) fn push(&mut self, symbol: Symbol) {
        self.span += symbol.span();
        self.symbols.push(symbol);
    }

    pub(super) fn is_full(&self) -> bool {
        self.symbols.len() >= self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// How many bytes the symbols stand for.
    pub(super) fn span(&self) -> usize {
        self.span
    }

    /// Writes the block and begins another. `text` is what the symbols stand for, if it's known.
    pub(super) fn write(
        &mut self,
        text: Option<&[u8]>,
        is_last: bool,
        bits: &mut Bits,
        out: &mut Vec<u8>,
    ) {
        let census = Census::of(&self.symbols);
        let own = BothLengths::fitting(&census);
        let preface = Preface::of(own.literals.all(), own.distances.all());
        let known_size = bytes(census.cost(&self.known));
        let own_size = bytes(census.cost(&own) + preface.cost());
        // What counts are whole bytes, and where they are as many, the simpler way.
        let coded_size = known_size.min(own_size);
        if let Some(text) = text.filter(|text| text.len() + STORED_PREFACE <= coded_size) {
            store(text, is_last, bits, out);
        } else if known_size <= own_size {
            bits.put(kind(KNOWN, is_last), KIND_WIDTH, out);
            self.known.put(&self.symbols, bits, out);
        } else {
            bits.put(kind(OWN, is_last), KIND_WIDTH, out);
            preface.put(bits, out);
            own.put(&self.symbols, bits, out);
        }
        self.symbols.clear();
        self.span = 0;
    }
}

/// Writes a block of bytes as they are, up to 65,535 of them, and comes to a whole byte.
pub(super) fn store(text: &[u8], is_last: bool, bits: &mut Bits, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("a block of text lies within two windows");
    bits.put(kind(STORED, is_last), KIND_WIDTH, out);
    bits.fill_byte(out);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(text);
}

impl Census {
    /// Of a block with these symbols and its end.
    fn of(symbols: &[Symbol]) -> Self {
        let mut census = Self {
            literals: [0; LETTERS as usize],
            distances: [0; DISTANCE_LETTERS as usize],
            extra: 0,
        };
        census.literals[usize::from(END)] = 1;
        for symbol in symbols {
            match symbol {
                Symbol::Literal(byte) => census.literals[usize::from(*byte)] += 1,
                Symbol::Match(found) => {
                    let (length, distance) = (found.length_name(), found.distance_name());
                    census.literals[usize::from(length.letter)] += 1;
                    census.distances[usize::from(distance.letter)] += 1;
                    census.extra += (length.width + distance.width) as usize;
                }
            }
        }
        census
    }

    /// How many bits the block takes in codes of these lengths.
    fn cost(&self, lengths: &BothLengths) -> usize {
        lengths.literals.cost(&self.literals) + lengths.distances.cost(&self.distances) + self.extra
    }
}

impl BothLengths {
    /// The best for a block.
    fn fitting(census: &Census) -> Self {
        Self {
            literals: Lengths::fitting(&census.literals, LONGEST_WORD),
            distances: Lengths::fitting(&census.distances, LONGEST_WORD),
        }
    }

    /// Writes symbols and the end of their block.
    fn put(&self, symbols: &[Symbol], bits: &mut Bits, out: &mut Vec<u8>) {
        let (literals, distances) = (self.literals.code(), self.distances.code());
        for symbol in symbols {
            match symbol {
                Symbol::Literal(byte) => literals.put(u16::from(*byte), bits, out),
                Symbol::Match(found) => {
                    literals.put_name(found.length_name(), bits, out);
                    distances.put_name(found.distance_name(), bits, out);
                }
            }
        }
        literals.put(END, bits, out);
    }
}

/// How many whole bytes hold a block of so many bits and what stands before it.
fn bytes(bits: usize) -> usize {
    (bits + KIND_WIDTH as usize).div_ceil(8)
}

/// What stands before a block: whether it's the last, and in which way it's written.
fn kind(way: u32, is_last: bool) -> u32 {
    way << 1 | u32::from(is_last)
}

const KIND_WIDTH: u32 = 3;

/// The ways, of section 3.2.3.
const STORED: u32 = 0;
const KNOWN: u32 = 1;
const OWN: u32 = 2;

/// Before stored bytes their count stands twice.
const STORED_PREFACE: usize = 4;

const LONGEST_WORD: u8 = 15;
