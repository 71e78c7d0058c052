//! Deflate with the choices that zlib makes, so that the bytes are the same: what most servers encode with.
//!
//! The library that encodes for us is zlib-ng, which is faster and makes other bytes. RFC 1951 says how a stream is written;
//! which matches are taken, where blocks end, and how code lengths are found is left to the encoder, and what zlib 1.2 and 1.3
//! do there (levels 1 to 9, default strategy) is what this does too. Where a rule looks odd it's because it shows in the bytes.
//!
//! The matcher makes symbols of the input, a block gathers and writes them, and this file says when a block is over.

#![allow(
    clippy::indexing_slicing,
    reason = "places stay within tables that are made for all of them"
)]

mod bits;
mod effort;
mod symbol;

mod chains;
mod window;

mod matcher;

mod lengths;

mod code;
mod runs;

mod preface;

mod block;

use super::recipe::Flush;
use bits::Bits;
use block::Block;
use matcher::Matcher;

/// An encoder of one raw stream.
pub(super) struct Zlib {
    matcher: Matcher,
    block: Block,
    bits: Bits,
}

impl Zlib {
    /// At a level from 1 to 9, a window of 9 to 15 bits, and a memory level from 1 to 9; other numbers count as the nearest
    /// of these.
    pub(super) fn new(level: u8, window_bits: u8, memory: u8) -> Self {
        let memory = u32::from(memory.clamp(1, 9));
        let window_size = 1 << window_bits.clamp(9, 15);
        Self {
            matcher: Matcher::new(level, window_size, memory + 7),
            block: Block::new((1 << (memory + 6)) - 1),
            bits: Bits::default(),
        }
    }

    /// Takes bytes, and flushes behind them.
    pub(super) fn run(&mut self, bytes: &[u8], flush: Flush, out: &mut Vec<u8>) {
        self.encode(bytes, flush != Flush::None, out);
        match flush {
            Flush::None => {}
            Flush::Sync => self.mark(out),
            Flush::Full => {
                self.mark(out);
                self.matcher.forget();
            }
        }
    }

    /// Brings out what is left, and ends the stream.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.encode(b"", true, out);
        self.close(true, out);
        self.bits.fill_byte(out);
    }

    /// Makes symbols of the bytes; of all of them if it's `to_the_end`, otherwise as far as more bytes can't change them.
    fn encode(&mut self, bytes: &[u8], to_the_end: bool, out: &mut Vec<u8>) {
        let mut input = bytes;
        while let Some(symbol) = self.matcher.next(&mut input, to_the_end) {
            self.block.push(symbol);
            if self.block.is_full() {
                self.close(false, out);
            }
        }
        if to_the_end && let Some(symbol) = self.matcher.give_up_held() {
            // It's the one symbol that may fill a block without ending it: the end comes anyway.
            self.block.push(symbol);
        }
    }

    /// The mark of a flush: the block so far, then an empty one that brings the bits to a whole byte.
    fn mark(&mut self, out: &mut Vec<u8>) {
        if !self.block.is_empty() {
            self.close(false, out);
        }
        block::store(b"", false, &mut self.bits, out);
    }

    fn close(&mut self, is_last: bool, out: &mut Vec<u8>) {
        let text = self.matcher.given(self.block.span());
        self.block.write(text, is_last, &mut self.bits, out);
    }
}

#[cfg(test)]
mod tests;
