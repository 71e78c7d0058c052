//! Writes bits into bytes, the lowest first. Knows nothing of what they mean.

/// The bits that wait until there are enough for whole bytes.
#[derive(Default)]
pub(super) struct Bits {
    waiting: u64,
    /// How many wait, below 32 between calls.
    count: u32,
}

impl Bits {
    /// Adds the lowest bits of a value that has no others; 32 of them at most.
    pub(super) fn put(&mut self, value: u32, width: u32, out: &mut Vec<u8>) {
        self.waiting |= u64::from(value) << self.count;
        self.count += width;
        if self.count >= u32::BITS {
            let [first, second, third, fourth, ..] = self.waiting.to_le_bytes();
            out.extend_from_slice(&[first, second, third, fourth]);
            self.waiting >>= u32::BITS;
            self.count -= u32::BITS;
        }
    }

    /// Fills the last byte up with zeros, so that all that was put is in `out`.
    pub(super) fn fill_byte(&mut self, out: &mut Vec<u8>) {
        let bytes = self.waiting.to_le_bytes();
        out.extend(bytes.iter().take(self.count.div_ceil(8) as usize));
        *self = Self::default();
    }
}
