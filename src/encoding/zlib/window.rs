//! The bytes that matches may come from, and those that are known ahead.
//!
//! It holds two windows at most and slides on by one. When it does is zlib's way, because it shows: the first byte that it
//! holds can't begin a match, and what it no longer holds can't be stored.

/// The bytes around the place where the encoder stands.
pub(super) struct Window {
    bytes: Vec<u8>,
    cursor: usize,
    size: usize,
}

impl Window {
    /// Of so many bytes; 512 at least.
    pub(super) fn new(size: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(2 * size),
            cursor: 0,
            size,
        }
    }

    /// All bytes that it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the encoder stands in these.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// How many bytes are known from there.
    pub(super) fn ahead(&self) -> usize {
        self.bytes.len() - self.cursor
    }

    /// How far back matches may be.
    pub(super) fn reach(&self) -> usize {
        self.size - ENOUGH
    }

    pub(super) fn step(&mut self, count: usize) {
        self.cursor += count;
    }

    /// Makes room by a window, so that all places become less by that much; `None` where it's not time to.
    ///
    /// Between two slides the cursor goes on by a window, so one is always enough.
    pub(super) fn slide(&mut self) -> Option<usize> {
        if self.cursor < self.size + self.reach() {
            return None;
        }
        self.bytes.drain(..self.size);
        self.cursor -= self.size;
        Some(self.size)
    }

    /// Takes as much input as there is room for.
    pub(super) fn take(&mut self, input: &mut &[u8]) {
        let room = 2 * self.size - self.bytes.len();
        let (now, later) = input.split_at(room.min(input.len()));
        self.bytes.extend_from_slice(now);
        *input = later;
    }

    /// Begins anew, with nothing known.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.cursor = 0;
    }
}

/// So many bytes ahead are enough for any choice: the longest match, the shortest one after it, and one more.
pub(super) const ENOUGH: usize = 262;
