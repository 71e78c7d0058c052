//! What of an answer passed after its head.

use std::time::Duration;

use bytes::Bytes;

use crate::message::Headers;

/// What passed after the head.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// From the moment the head had come to the moment that it was read.
    pub at: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// What it is.
    pub kind: ItemKind,
    /// Its bytes. Empty for trailers only, or for an empty frame.
    pub body: ItemBody,
    /// Whether the reader had stopped for a slow client, so that `at` may be late.
    pub held: bool,
}

/// Which way an item went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Up,
    /// From the upstream to the client.
    #[default]
    Down,
}

/// What an item is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ItemKind {
    /// A piece of a body.
    #[default]
    Bytes,
    /// A message with bounds of its own, such as a frame of a WebSocket or a message of gRPC.
    Frame {
        /// What sort of frame, such as `text`, `binary`, `ping` or `message`.
        sort: String,
    },
    /// Header lines after a body.
    Trailers(Headers),
}

/// Where the bytes of an item are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemBody {
    /// Here.
    Inline(Bytes),
    /// In the side file. `offset + len <= side.len`
    Side {
        /// From the beginning of the file.
        offset: u64,
        /// How many.
        len: usize,
    },
}

impl ItemBody {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Side { len, .. } => *len,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
