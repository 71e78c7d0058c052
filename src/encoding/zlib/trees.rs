//! Blocks and their codes as zlib makes them (`trees.c`): the symbols are gathered here, and written when the block is full.
//!
//! An altered version of parts of zlib; its notice stands in `zlib.rs`.

use super::code::{
    BASE_DISTANCES, BASE_LENGTHS, END_BLOCK, EXTRA_DISTANCES, EXTRA_LENGTHS, Kind, LENGTH_CODES,
    LITERALS, Tree,
};
use super::{MAX_MATCH, MIN_MATCH};

/// The symbols of the current block, and the bits that fill no byte yet.
pub(super) struct Trees {
    /// Literals, with a distance of 0, and lengths.
    symbols: Vec<(u16, u8)>,
    /// A block is full with so many.
    limit: usize,
    literals: Tree,
    distances: Tree,
    lengths: Tree,
    bits: u64,
    bit_count: u32,
}

impl Trees {
    pub(super) fn new(limit: usize) -> Self {
        let mut trees = Self {
            symbols: Vec::new(),
            limit,
            literals: Tree::new(Kind::Literals),
            distances: Tree::new(Kind::Distances),
            lengths: Tree::new(Kind::Lengths),
            bits: 0,
            bit_count: 0,
        };
        trees.begin_block();
        trees
    }

    pub(super) fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Notes a literal; says whether the block is full.
    pub(super) fn literal(&mut self, byte: u8) -> bool {
        self.symbols.push((0, byte));
        self.literals.frequencies[usize::from(byte)] += 1;
        self.symbols.len() == self.limit
    }

    /// Notes a match, of 3 to 258 bytes from up to 32 KiB before; says whether the block is full.
    pub(super) fn reference(&mut self, distance: usize, length: usize) -> bool {
        let length = u8::try_from(length - MIN_MATCH).expect("a match has 258 bytes at most");
        let distance = u16::try_from(distance).expect("a window has 32 KiB at most");
        self.symbols.push((distance, length));
        self.literals.frequencies[LITERALS + 1 + length_code(length)] += 1;
        self.distances.frequencies[distance_code(distance)] += 1;
        self.symbols.len() == self.limit
    }

    fn begin_block(&mut self) {
        for tree in [&mut self.literals, &mut self.distances, &mut self.lengths] {
            tree.frequencies.fill(0);
        }
        self.literals.frequencies[END_BLOCK] = 1;
        self.symbols.clear();
    }

    /// Writes the block in the shortest of the three ways; `stored` are its bytes, if they are still there.
    pub(super) fn flush_block(
        &mut self,
        stored: Option<&[u8]>,
        stored_length: usize,
        is_last: bool,
        out: &mut Vec<u8>,
    ) {
        // Making a code for an alphabet of one symbol takes off what it adds, so the sums may pass below nothing.
        let (literal_own, literal_fixed) = self.literals.build();
        let (distance_own, distance_fixed) = self.distances.build();
        let (last_length, length_bits) = self.build_lengths();
        let own = literal_own + distance_own + length_bits;
        let fixed = literal_fixed + distance_fixed;
        let in_bytes = |bits: isize| (bits + 3 + 7).unsigned_abs() >> 3;
        let fixed = in_bytes(fixed);
        let best = in_bytes(own).min(fixed);
        match stored {
            Some(bytes) if stored_length + 4 <= best && u16::try_from(bytes.len()).is_ok() => {
                self.stored_block(bytes, is_last, out);
            }
            _ if fixed == best => {
                self.send(2 + u64::from(is_last), 3, out);
                self.send_symbols(true, out);
            }
            _ => {
                self.send(4 + u64::from(is_last), 3, out);
                self.send_codes(last_length, out);
                self.send_symbols(false, out);
            }
        }
        self.begin_block();
        if is_last {
            self.pad(out);
        }
    }

    /// Writes bytes as they are, up to 65,535.
    pub(super) fn stored_block(&mut self, bytes: &[u8], is_last: bool, out: &mut Vec<u8>) {
        self.send(u64::from(is_last), 3, out);
        self.pad(out);
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(bytes);
    }

    /// Fills the current byte.
    pub(super) fn pad(&mut self, out: &mut Vec<u8>) {
        while self.bit_count > 0 {
            out.push((self.bits & 0xff) as u8);
            self.bits >>= 8;
            self.bit_count = self.bit_count.saturating_sub(8);
        }
        self.bits = 0;
    }

    fn send(&mut self, value: u64, count: u32, out: &mut Vec<u8>) {
        self.bits |= value << self.bit_count;
        self.bit_count += count;
        while self.bit_count >= 8 {
            out.push((self.bits & 0xff) as u8);
            self.bits >>= 8;
            self.bit_count -= 8;
        }
    }

    /// Makes the code for the lengths of the other two; gives the last of its lengths that is sent, and the bits all that takes.
    fn build_lengths(&mut self) -> (usize, isize) {
        for (symbol, _, _) in self.runs() {
            self.lengths.frequencies[symbol] += 1;
        }
        let (bits, _) = self.lengths.build();
        let last = (3..LENGTH_CODES)
            .rev()
            .find(|rank| self.lengths.lengths[LENGTH_ORDER[*rank]] != 0)
            .unwrap_or(2);
        (last, bits + 3 * (last.cast_signed() + 1) + 5 + 5 + 4)
    }

    /// The lengths of both codes in runs: symbols with extra bits.
    fn runs(&self) -> Vec<(usize, u64, u32)> {
        let mut runs = self.literals.runs();
        runs.extend(self.distances.runs());
        runs
    }

    fn send_codes(&mut self, last_length: usize, out: &mut Vec<u8>) {
        self.send((self.literals.max + 1 - 257) as u64, 5, out);
        self.send(self.distances.max as u64, 5, out);
        self.send((last_length + 1 - 4) as u64, 4, out);
        for rank in LENGTH_ORDER.iter().take(last_length + 1) {
            self.send(u64::from(self.lengths.lengths[*rank]), 3, out);
        }
        for (symbol, extra, count) in self.runs() {
            let (code, length) = self.lengths.code(symbol);
            self.send(code, length, out);
            self.send(extra, count, out);
        }
    }

    fn send_symbols(&mut self, is_fixed: bool, out: &mut Vec<u8>) {
        let code = |tree: &Tree, symbol| {
            if is_fixed {
                tree.kind.fixed_code(symbol)
            } else {
                tree.code(symbol)
            }
        };
        let symbols = std::mem::take(&mut self.symbols);
        for &(distance, byte) in &symbols {
            if distance == 0 {
                let (bits, count) = code(&self.literals, usize::from(byte));
                self.send(bits, count, out);
                continue;
            }
            let length = length_code(byte);
            let (bits, count) = code(&self.literals, LITERALS + 1 + length);
            self.send(bits, count, out);
            let extra = u64::from(byte) - u64::from(BASE_LENGTHS[length]);
            self.send(extra, u32::from(EXTRA_LENGTHS[length]), out);
            let place = distance_code(distance);
            let (bits, count) = code(&self.distances, place);
            self.send(bits, count, out);
            let extra = u64::from(distance - 1) - u64::from(BASE_DISTANCES[place]);
            self.send(extra, u32::from(EXTRA_DISTANCES[place]), out);
        }
        self.symbols = symbols;
        let (bits, count) = code(&self.literals, END_BLOCK);
        self.send(bits, count, out);
    }
}

/// By a length less 3.
fn length_code(length: u8) -> usize {
    if usize::from(length) == MAX_MATCH - MIN_MATCH {
        return 28;
    }
    BASE_LENGTHS[..28].partition_point(|base| *base <= length) - 1
}

fn distance_code(distance: u16) -> usize {
    BASE_DISTANCES.partition_point(|base| *base < distance) - 1
}

const LENGTH_ORDER: [usize; LENGTH_CODES] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
