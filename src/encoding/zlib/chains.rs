//! Finds where strings of three bytes were before: those with the same hash are chained, from young to old.

/// The strings of a window.
pub(super) struct Chains {
    /// Where the youngest string of each hash begins. Zero is none, for the first place of a window begins no match.
    youngest: Vec<u16>,
    /// How far back the next older string of the same hash is, by place modulo the window's size.
    older: Vec<u16>,
    /// How far back strings are of use.
    reach: usize,
    shift: u32,
}

impl Chains {
    /// For a window of a size that is a power of two, 32 KiB at most, with hashes of 8 to 16 bits.
    pub(super) fn new(window_size: usize, reach: usize, hash_bits: u32) -> Self {
        Self {
            youngest: vec![0; 1 << hash_bits],
            older: vec![NONE; window_size],
            reach,
            shift: hash_bits.div_ceil(3),
        }
    }

    /// Adds the string at a place.
    pub(super) fn add(&mut self, string: [u8; 3], place: usize) {
        let hash = self.hash(string);
        let place = u16::try_from(place).expect("two windows have 65,536 bytes at most");
        let before = std::mem::replace(&mut self.youngest[hash], place);
        let link = match before {
            0 => NONE,
            before => place - before,
        };
        let slot = self.slot(place.into());
        self.older[slot] = link;
    }

    /// How far back the first candidate is for the string at a place, which was added.
    pub(super) fn first(&self, place: usize) -> Option<usize> {
        let distance = usize::from(self.older[self.slot(place)]);
        (distance <= self.reach).then_some(distance)
    }

    /// How far back the next one is. It has to be nearer by a byte than the first one may be.
    pub(super) fn next(&self, place: usize, after: usize) -> Option<usize> {
        let distance = after + usize::from(self.older[self.slot(place - after)]);
        (distance < self.reach).then_some(distance)
    }

    /// Makes all places less by a window's size.
    pub(super) fn slide(&mut self) {
        let size = u16::try_from(self.older.len()).expect("a window has 32 KiB at most");
        for place in &mut self.youngest {
            *place = place.saturating_sub(size);
        }
    }

    /// Forgets all strings.
    pub(super) fn clear(&mut self) {
        self.youngest.fill(0);
    }

    fn hash(&self, string: [u8; 3]) -> usize {
        let [first, second, third] = string.map(usize::from);
        (first << (2 * self.shift) ^ second << self.shift ^ third) & (self.youngest.len() - 1)
    }

    fn slot(&self, place: usize) -> usize {
        place & (self.older.len() - 1)
    }
}

/// Farther than any reach.
const NONE: u16 = u16::MAX;
