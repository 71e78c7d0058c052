//! Huffman codes as zlib makes them of frequencies (`build_tree` of `trees.c`): which of several best ones, and how it's told.
//!
//! An altered version of parts of zlib; its notice stands in `zlib.rs`.

/// An alphabet with its frequencies and the code that is made of them.
pub(super) struct Tree {
    pub(super) kind: Kind,
    pub(super) frequencies: [u32; HEAP_SIZE],
    codes: [u16; HEAP_SIZE],
    pub(super) lengths: [u8; HEAP_SIZE],
    /// The largest symbol that occurs.
    pub(super) max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Literals,
    Distances,
    Lengths,
}

impl Tree {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            frequencies: [0; HEAP_SIZE],
            codes: [0; HEAP_SIZE],
            lengths: [0; HEAP_SIZE],
            max: 0,
        }
    }

    pub(super) fn code(&self, symbol: usize) -> (u64, u32) {
        (
            u64::from(self.codes[symbol]),
            u32::from(self.lengths[symbol]),
        )
    }

    /// Makes the code of the frequencies. Gives how many bits the symbols take in it, and in the fixed code.
    pub(super) fn build(&mut self) -> (isize, isize) {
        let mut sums = (0, 0);
        let elements = self.kind.elements();
        let mut heap = Heap::new();
        let mut max = None;
        for symbol in 0..elements {
            if self.frequencies[symbol] == 0 {
                self.lengths[symbol] = 0;
            } else {
                heap.push(symbol);
                max = Some(symbol);
            }
        }
        // A code has two symbols at least.
        while heap.length < 2 {
            let symbol = match max {
                Some(max) if max >= 2 => 0,
                before => {
                    let next = before.map_or(0, |max| max + 1);
                    max = Some(next);
                    next
                }
            };
            heap.push(symbol);
            self.frequencies[symbol] = 1;
            sums.0 -= 1;
            if self.kind != Kind::Lengths {
                sums.1 -= signed(self.kind.fixed_code(symbol).1);
            }
        }
        self.max = max.unwrap_or_default();
        for at in (1..=heap.length / 2).rev() {
            heap.sift_down(at, &self.frequencies);
        }
        let mut parents = [0; HEAP_SIZE];
        let mut node = elements;
        loop {
            let first = heap.pop(&self.frequencies);
            let second = heap.items[1];
            heap.done -= 2;
            heap.items[heap.done + 1] = first;
            heap.items[heap.done] = second;
            self.frequencies[node] = self.frequencies[first] + self.frequencies[second];
            heap.depths[node] = heap.depths[first].max(heap.depths[second]) + 1;
            parents[first] = node;
            parents[second] = node;
            heap.items[1] = node;
            node += 1;
            heap.sift_down(1, &self.frequencies);
            if heap.length < 2 {
                break;
            }
        }
        heap.done -= 1;
        heap.items[heap.done] = heap.items[1];
        self.assign_lengths(&heap, &parents, &mut sums);
        sums
    }

    /// `gen_bitlen` and `gen_codes`.
    fn assign_lengths(&mut self, heap: &Heap, parents: &[usize], sums: &mut (isize, isize)) {
        let longest = self.kind.longest();
        let mut counts = [0_u16; MAX_BITS + 1];
        let mut overflow = 0_i32;
        self.lengths[heap.items[heap.done]] = 0;
        for &symbol in &heap.items[heap.done + 1..] {
            let mut bits = self.lengths[parents[symbol]] + 1;
            if usize::from(bits) > longest {
                bits = longest as u8;
                overflow += 1;
            }
            self.lengths[symbol] = bits;
            if symbol > self.max {
                continue;
            }
            counts[usize::from(bits)] += 1;
            let extra = self.kind.extra(symbol);
            let frequency = self.frequencies[symbol];
            sums.0 += signed(frequency * (u32::from(bits) + extra));
            if self.kind != Kind::Lengths {
                let fixed = self.kind.fixed_code(symbol).1;
                sums.1 += signed(frequency * (fixed + extra));
            }
        }
        if overflow > 0 {
            self.shorten(heap, &mut counts, overflow, sums);
        }
        let mut next = [0_u16; MAX_BITS + 1];
        let mut code = 0_u16;
        for bits in 1..=MAX_BITS {
            code = (code + counts[bits - 1]) << 1;
            next[bits] = code;
        }
        for symbol in 0..=self.max {
            let length = usize::from(self.lengths[symbol]);
            if length > 0 {
                self.codes[symbol] = reverse(next[length], length);
                next[length] += 1;
            }
        }
    }

    /// Moves leaves about until no code is too long.
    fn shorten(
        &mut self,
        heap: &Heap,
        counts: &mut [u16; MAX_BITS + 1],
        mut overflow: i32,
        sums: &mut (isize, isize),
    ) {
        let longest = self.kind.longest();
        while overflow > 0 {
            let mut bits = longest - 1;
            while counts[bits] == 0 {
                bits -= 1;
            }
            counts[bits] -= 1;
            counts[bits + 1] += 2;
            counts[longest] -= 1;
            overflow -= 2;
        }
        let mut leaves = heap.items[heap.done..].iter().rev();
        for bits in (1..=longest).rev() {
            let mut left = counts[bits];
            while left > 0 {
                let Some(&symbol) = leaves.next() else { return };
                if symbol > self.max {
                    continue;
                }
                let have = usize::from(self.lengths[symbol]);
                if have != bits {
                    let more = bits.cast_signed() - have.cast_signed();
                    sums.0 += more * signed(self.frequencies[symbol]);
                    self.lengths[symbol] = bits as u8;
                }
                left -= 1;
            }
        }
    }

    /// The lengths in runs: `scan_tree` and `send_tree`.
    pub(super) fn runs(&self) -> Vec<(usize, u64, u32)> {
        let mut runs = Vec::new();
        let mut before = None;
        let mut count = 0_usize;
        let length = |symbol: usize| (symbol <= self.max).then(|| self.lengths[symbol]);
        let bounds = |before: Option<u8>, next: Option<u8>| match next {
            Some(0) => (138, 3),
            next if next.is_some() && next == before => (6, 3),
            _ => (7, 4),
        };
        let (mut most, mut least) = bounds(None, length(0));
        for symbol in 0..=self.max {
            let (current, next) = (self.lengths[symbol], length(symbol + 1));
            count += 1;
            if count < most && Some(current) == next {
                continue;
            }
            let place = usize::from(current);
            if count < least {
                runs.extend(std::iter::repeat_n((place, 0, 0), count));
            } else if current != 0 {
                if before != Some(current) {
                    runs.push((place, 0, 0));
                    count -= 1;
                }
                runs.push((REPEAT, (count - 3) as u64, 2));
            } else if count <= 10 {
                runs.push((ZEROS, (count - 3) as u64, 3));
            } else {
                runs.push((MANY_ZEROS, (count - 11) as u64, 7));
            }
            count = 0;
            before = Some(current);
            (most, least) = bounds(before, next);
        }
        runs
    }
}

/// A heap of symbols by frequency, and behind it, from the end, those that left it.
struct Heap {
    /// From 1 on.
    items: [usize; HEAP_SIZE],
    length: usize,
    done: usize,
    depths: [u8; HEAP_SIZE],
}

impl Heap {
    fn new() -> Self {
        Self {
            items: [0; HEAP_SIZE],
            length: 0,
            done: HEAP_SIZE,
            depths: [0; HEAP_SIZE],
        }
    }

    fn push(&mut self, symbol: usize) {
        self.length += 1;
        self.items[self.length] = symbol;
        self.depths[symbol] = 0;
    }

    fn pop(&mut self, frequencies: &[u32]) -> usize {
        let first = self.items[1];
        self.items[1] = self.items[self.length];
        self.length -= 1;
        self.sift_down(1, frequencies);
        first
    }

    fn sift_down(&mut self, mut at: usize, frequencies: &[u32]) {
        let depths = &self.depths;
        let is_smaller = |left: usize, right: usize| {
            (frequencies[left], depths[left]) <= (frequencies[right], depths[right])
        };
        let moved = self.items[at];
        let mut child = at * 2;
        while child <= self.length {
            if child < self.length && is_smaller(self.items[child + 1], self.items[child]) {
                child += 1;
            }
            if is_smaller(moved, self.items[child]) {
                break;
            }
            self.items[at] = self.items[child];
            at = child;
            child *= 2;
        }
        self.items[at] = moved;
    }
}

impl Kind {
    fn elements(self) -> usize {
        match self {
            Self::Literals => LITERALS + 1 + 29,
            Self::Distances => 30,
            Self::Lengths => LENGTH_CODES,
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::Literals | Self::Distances => MAX_BITS,
            Self::Lengths => 7,
        }
    }

    fn extra(self, symbol: usize) -> u32 {
        let extra = match self {
            Self::Literals => symbol
                .checked_sub(LITERALS + 1)
                .map_or(0, |place| EXTRA_LENGTHS[place]),
            Self::Distances => EXTRA_DISTANCES[symbol],
            Self::Lengths => match symbol {
                REPEAT => 2,
                ZEROS => 3,
                MANY_ZEROS => 7,
                _ => 0,
            },
        };
        u32::from(extra)
    }

    /// RFC 1951, section 3.2.6.
    pub(super) fn fixed_code(self, symbol: usize) -> (u64, u32) {
        let (base, first, length) = match (self, symbol) {
            (Self::Distances, _) => (0, 0, 5),
            (_, ..144) => (0x30, 0, 8),
            (_, 144..256) => (0x190, 144, 9),
            (_, 256..280) => (0, 256, 7),
            (_, 280..) => (0xc0, 280, 8),
        };
        let code = (base + symbol - first) as u16;
        (u64::from(reverse(code, length)), length as u32)
    }
}

fn signed(bits: u32) -> isize {
    bits as isize
}

/// The lowest so many bits in the other order.
fn reverse(code: u16, length: usize) -> u16 {
    code.reverse_bits() >> (16 - length)
}

pub(super) const LITERALS: usize = 256;
pub(super) const END_BLOCK: usize = 256;
const MAX_BITS: usize = 15;
const HEAP_SIZE: usize = 2 * 286 + 1;
pub(super) const LENGTH_CODES: usize = 19;

/// Symbols of the code of lengths: the last one again, and zeros.
const REPEAT: usize = 16;
const ZEROS: usize = 17;
const MANY_ZEROS: usize = 18;

/// Less 3; the last one stands for itself.
pub(super) const BASE_LENGTHS: [u8; 29] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128,
    160, 192, 224, 255,
];
pub(super) const EXTRA_LENGTHS: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];

/// Less 1.
pub(super) const BASE_DISTANCES: [u16; 30] = [
    0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536,
    2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576,
];
pub(super) const EXTRA_DISTANCES: [u8; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];
