//! How a recorded body goes over the wire that is shown decoded, and what is played of it.

use std::time::Duration;

use bytes::Bytes;

use crate::cassette::format::micros;
use crate::cassette::item::{Direction, Item, ItemBody, ItemKind};
use crate::cassette::side::SideFile;
use crate::encoding::{Encoder, EncodingError, Flush, Packed, Recipe};
use crate::message::{Ending, ResponseHead};

/// The encoding that an answer came in: the items of its recording say what it decodes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The value of its `content-encoding`.
    pub name: String,
    /// How to encode it again. `None` where it was not found out.
    pub again: Option<Recipe>,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
    /// The bytes as they came, where encoding again would give others.
    pub wire: Option<SideFile>,
    /// When they came. Empty where that follows from the items.
    pub chunks: Vec<WireChunk>,
    /// When the end of the encoding came, if it came after the last item.
    pub tail_at: Option<Duration>,
    /// The hash of the items that all this is about; when a person edits them, it is about others.
    pub of: Option<String>,
    /// The hash of what encoding again gives.
    pub gives: Option<String>,
}

/// Why an encoded body is not what it claims, in the words of the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing of it could be decoded: the items are as they came.
    Undecoded(String),
    /// The items go up to where it could be decoded.
    Broken(String),
}

/// Encoded bytes that came at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireChunk {
    /// From the head.
    pub at: Duration,
    /// How many bytes. Above 0.
    pub len: u64,
    /// As of an item.
    pub held: bool,
}

/// What is played of a recording whose items are decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    /// With a length that fits.
    pub head: ResponseHead,
    /// As they go over the wire, unless there is an encoder.
    pub items: Vec<Item>,
    /// Where the bytes of `ItemBody::Side` are.
    pub side: Option<SideFile>,
    /// What the items pass through while they are played: those that are too large to be encoded before.
    pub encoder: Option<Again>,
}

/// How to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// As it was.
    Recipe(Recipe),
    /// As it's called.
    Name(String),
}

impl Again {
    /// An encoder for a body of so many bytes, in so many pieces.
    ///
    /// # Errors
    ///
    /// Where the encoding is unknown.
    pub fn encoder(&self, size: usize, pieces: usize) -> Result<Encoder, EncodingError> {
        match self {
            Self::Recipe(recipe) => Encoder::new(recipe, size),
            // Each piece is to arrive in its time.
            Self::Name(name) if pieces > 1 => Encoder::by_name(name, Flush::Sync),
            Self::Name(name) => Encoder::by_name(name, Flush::None),
        }
    }
}

impl Playback {
    /// How many bytes it holds in memory.
    pub(crate) fn held(&self) -> usize {
        let inline = |item: &Item| match &item.body {
            ItemBody::Inline(bytes) => bytes.len(),
            ItemBody::Side { .. } => 0,
        };
        self.items.iter().map(inline).sum()
    }
}

impl Encoded {
    /// How the items are encoded under this name, which a person may have changed.
    pub(crate) fn again_as(&self, name: &str) -> Again {
        match &self.again {
            Some(recipe) if recipe.makes(name) => Again::Recipe(recipe.clone()),
            Some(_) | None => Again::Name(name.to_owned()),
        }
    }

    /// The encoded body in chunks: those that are noted, if the items are those that they are about, or those that follow
    /// from the items.
    pub(crate) fn lay_out(&self, items: &[Item], packed: &Packed, are_same: bool) -> Vec<Item> {
        let noted: u64 = self.chunks.iter().map(|chunk| chunk.len).sum();
        let is_flushed = !packed.pieces.is_empty();
        if !self.chunks.is_empty() && ((are_same && noted == packed.len() as u64) || !is_flushed) {
            return spread(&packed.concat().into(), &self.chunks);
        }
        let mut laid = layout(items, packed, self.tail_at);
        laid.retain(|item| !item.body.is_empty());
        laid
    }
}

/// The chunks that follow from the items: each in its time, and the end with the last one or at its own.
fn layout(items: &[Item], packed: &Packed, tail_at: Option<Duration>) -> Vec<Item> {
    let mut laid: Vec<Item> = Vec::new();
    for (item, piece) in items.iter().zip(&packed.pieces) {
        laid.push(piece_of(item.at, item.held, piece.clone().into()));
    }
    if packed.tail.is_empty() {
        return laid;
    }
    let tail = Bytes::from(packed.tail.clone());
    match (tail_at, laid.last_mut()) {
        (None, Some(last)) => {
            if let ItemBody::Inline(bytes) = &last.body {
                last.body = ItemBody::Inline([bytes.clone(), tail].concat().into());
            }
        }
        (at, last) => {
            let first = items.first();
            let own = last.map_or_else(
                || first.map(|item| (item.at, item.held)).unwrap_or_default(),
                |last| (last.at, false),
            );
            laid.push(match at {
                Some(at) => piece_of(at.max(own.0), false, tail),
                None => piece_of(own.0, own.1, tail),
            });
        }
    }
    laid
}

/// How chunks that came are noted: not at all where they follow from the items, by the time of the last one, or each.
pub(crate) fn noted(
    items: &[Item],
    packed: &Packed,
    came: &[WireChunk],
) -> (Vec<WireChunk>, Option<Duration>) {
    let follows = |tail_at| {
        let laid = layout(items, packed, tail_at);
        let laid = laid.iter().filter(|item| !item.body.is_empty());
        laid.map(|item| (item.at, item.body.len() as u64, item.held))
            .eq(came.iter().map(|chunk| (chunk.at, chunk.len, chunk.held)))
    };
    let last = came.last().map(|chunk| chunk.at);
    if follows(None) {
        (Vec::new(), None)
    } else if last.is_some() && follows(last) {
        (Vec::new(), last)
    } else {
        (came.to_vec(), None)
    }
}

/// Encodes the items of a body that ended so.
pub(crate) fn pack(items: &[Item], again: &Again, ending: Ending) -> Result<Packed, EncodingError> {
    let pieces = inline(items);
    let size = pieces.iter().map(Bytes::len).sum();
    again
        .encoder(size, pieces.len())?
        .pack(&pieces, ending == Ending::Complete)
}

/// The bytes of items that stand in the recording itself.
pub(crate) fn inline(items: &[Item]) -> Vec<Bytes> {
    let bytes = |item: &Item| match &item.body {
        ItemBody::Inline(bytes) => Some(bytes.clone()),
        ItemBody::Side { .. } => None,
    };
    items.iter().filter_map(bytes).collect()
}

/// Cuts a body that may have another length than it had: the last chunk takes what is left, and chunks without bytes fall
/// away.
pub(crate) fn spread(bytes: &Bytes, chunks: &[WireChunk]) -> Vec<Item> {
    const AT_ONCE: &[WireChunk] = &[WireChunk {
        at: Duration::ZERO,
        len: 0,
        held: false,
    }];
    let chunks = if chunks.is_empty() { AT_ONCE } else { chunks };
    let mut items = Vec::with_capacity(chunks.len());
    let mut rest = bytes.clone();
    for (index, chunk) in chunks.iter().enumerate() {
        let is_last = index + 1 == chunks.len();
        let len = match usize::try_from(chunk.len) {
            Ok(len) if !is_last => len.min(rest.len()),
            _ => rest.len(),
        };
        if len > 0 {
            items.push(piece_of(chunk.at, chunk.held, rest.split_to(len)));
        }
    }
    items
}

pub(crate) fn piece_of(at: Duration, held: bool, bytes: Bytes) -> Item {
    Item {
        at,
        direction: Direction::Down,
        kind: ItemKind::Bytes,
        body: ItemBody::Inline(bytes),
        held,
    }
}

/// The hash of what the items say, and when. `None` where they are not all bytes of the answer that stand here.
pub(crate) fn view_of(items: &[Item]) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    for item in items {
        let ItemBody::Inline(bytes) = &item.body else {
            return None;
        };
        if item.direction != Direction::Down || item.kind != ItemKind::Bytes {
            return None;
        }
        hasher.update(&micros(item.at).to_le_bytes());
        hasher.update(&[u8::from(item.held)]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    Some(hex(&hasher.finalize()))
}

/// The hash of encoded bytes.
pub(crate) fn hash_of(bytes: &[u8]) -> String {
    hex(&blake3::hash(bytes))
}

fn hex(hash: &blake3::Hash) -> String {
    let mut text = hash.to_hex().to_string();
    text.truncate(32);
    text
}

#[cfg(test)]
mod tests;
