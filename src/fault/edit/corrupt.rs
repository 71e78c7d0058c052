//! Edits on bytes that mean nothing: flipped, made up, or divided where they should not be.

use bytes::{Bytes, BytesMut};

use crate::fault::kind::Unit;

/// Flips bits or bytes of a body that comes in pieces: so many in all, at distances that are drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupter {
    left: u32,
    unit: Unit,
    /// How many bytes pass before the next flip. `None`: not drawn yet.
    skip: Option<u64>,
}

impl Corrupter {
    /// For so many flips, from the first byte that it is given.
    pub fn new(count: u32, unit: Unit) -> Self {
        Self {
            left: count,
            unit,
            skip: None,
        }
    }

    /// The piece with its flips. `draw` gives 64 bits of chance. Each flip is at most `SPREAD` bytes after the one before,
    /// and at another byte; so a body must be so long times the count to have room for all for sure.
    pub fn push(&mut self, piece: Bytes, draw: &mut dyn FnMut() -> u64) -> Bytes {
        let length = piece.len() as u64;
        let mut at = 0;
        let mut made: Option<BytesMut> = None;
        while self.left > 0 {
            let skip = *self.skip.get_or_insert_with(|| draw() % SPREAD);
            if at + skip >= length {
                self.skip = Some(at + skip - length);
                break;
            }
            at += skip;
            let made = made.get_or_insert_with(|| BytesMut::from(&piece[..]));
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| made.get_mut(at)) {
                *byte = flip(*byte, self.unit, draw());
            }
            at += 1;
            self.left -= 1;
            self.skip = None;
        }
        made.map_or(piece, BytesMut::freeze)
    }

    /// How many flips have not come yet.
    pub fn left(&self) -> u32 {
        self.left
    }
}

/// The most bytes between two flips.
pub const SPREAD: u64 = 64;

/// Another byte than this one; with one bit changed, or with at least one.
fn flip(byte: u8, unit: Unit, chance: u64) -> u8 {
    match unit {
        Unit::Bits => byte ^ (1 << (chance % 8)),
        Unit::Bytes => byte ^ u8::try_from(1 + chance % 255).unwrap_or(1),
    }
}

/// So many bytes that no client takes for HTTP: the first has its highest bit, which no version of it begins with.
pub fn garbage(count: u32, draw: &mut dyn FnMut() -> u64) -> Bytes {
    let length = usize::try_from(count).unwrap_or(usize::MAX);
    let mut made = Vec::new();
    while made.len() < length {
        let eight = draw().to_le_bytes();
        made.extend_from_slice(&eight[..eight.len().min(length - made.len())]);
    }
    if let Some(first) = made.first_mut() {
        *first |= 0x80;
    }
    made.into()
}

/// The places inside the characters of more than one byte: after the first byte of each.
pub fn inside_characters(piece: &[u8]) -> Vec<usize> {
    piece
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] >= 0xc2 && pair[1] & 0xc0 == 0x80)
        .map(|(at, _)| at + 1)
        .collect()
}

/// A piece in pieces that end inside its characters. One piece where it has none of more than one byte.
pub fn split_utf8(piece: &Bytes) -> Vec<Bytes> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for at in inside_characters(piece) {
        pieces.push(piece.slice(start..at));
        start = at;
    }
    pieces.push(piece.slice(start..));
    pieces
}
