//! Pieces that wait to be written together.

use bytes::{Bytes, BytesMut};

/// Pieces that are written as one.
#[derive(Debug, Default)]
pub(super) struct Held {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Held {
    pub(super) fn add(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds all of it to `out`, as one; nothing where nothing is held.
    pub(super) fn release(&mut self, out: &mut Vec<Bytes>) {
        if self.pieces.len() > 1 {
            let mut whole = BytesMut::with_capacity(self.bytes);
            for piece in self.pieces.drain(..) {
                whole.extend_from_slice(&piece);
            }
            out.push(whole.freeze());
        } else if let Some(piece) = self.pieces.pop()
            && !piece.is_empty()
        {
            out.push(piece);
        }
        self.bytes = 0;
    }
}
