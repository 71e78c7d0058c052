//! What is played of a recording that is shown decoded: encoded again, or as it came.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::cassette::encoded::{Encoded, Playback, WireChunk, hash_of, pack, piece_of, view_of};
use crate::cassette::format::has_body;
use crate::cassette::item::{Item, ItemBody};
use crate::cassette::recording::Recording;
use crate::encoding::{Encoder, EncodingError, Flush};
use crate::message::ResponseHead;

impl Playback {
    /// What is played of this recording. `None` where that is what stands in it.
    pub(crate) fn of(recording: &Recording) -> Option<Arc<Self>> {
        let encoded = recording.decoded_from()?;
        let playback = Self::encoded(recording, encoded).unwrap_or_else(|error| {
            warn!(
                recording = recording.name,
                "it is served without its content-encoding: {error}"
            );
            Self::identity(recording)
        });
        Some(Arc::new(playback))
    }

    fn encoded(recording: &Recording, encoded: &Encoded) -> Result<Self, EncodingError> {
        let name = recording.head.headers.get_str("content-encoding");
        let name = name.unwrap_or_default();
        if Encoder::by_name(name, Flush::None)?.is_identity() {
            return Ok(Self::identity(recording));
        }
        let is_same = name == encoded.name;
        let is_edited = encoded.of.is_some() && encoded.of != view_of(&recording.items);
        if is_same
            && !is_edited
            && let Some(wire) = &encoded.wire
        {
            return Ok(Self {
                head: recording.head.clone(),
                items: wire_items(&encoded.chunks),
                side: Some(wire.clone()),
                encoder: None,
            });
        }
        let again = encoded.again_as(name);
        if recording.side.is_some() {
            let mut head = recording.head.clone();
            head.headers.remove("content-length");
            let size = usize::try_from(recording.body_bytes()).unwrap_or(usize::MAX);
            // Now is the time to find out whether it can be done.
            again.encoder(size, recording.items.len())?;
            return Ok(Self {
                head,
                items: recording.items.clone(),
                side: recording.side.clone(),
                encoder: Some(again),
            });
        }
        let packed = pack(&recording.items, &again, recording.ending)?;
        if is_same && !is_edited && encoded.gives.is_some() {
            let gives = Some(hash_of(&packed.concat()));
            if gives != encoded.gives {
                warn!(
                    recording = recording.name,
                    "encoding it again gives other bytes than those that were recorded, as another version of the encoder does"
                );
            }
        }
        let items = encoded.lay_out(&recording.items, &packed, !is_edited);
        Ok(Self {
            head: fitting(recording, packed.len() as u64),
            items,
            side: None,
            encoder: None,
        })
    }

    /// The items as they are.
    fn identity(recording: &Recording) -> Self {
        let mut head = fitting(recording, recording.body_bytes());
        head.headers.remove("content-encoding");
        Self {
            head,
            items: recording.items.clone(),
            side: recording.side.clone(),
            encoder: None,
        }
    }
}

/// Encoded chunks as items, in a side file.
fn wire_items(chunks: &[WireChunk]) -> Vec<Item> {
    let mut offset = 0;
    let mut items = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let len = usize::try_from(chunk.len).unwrap_or(usize::MAX);
        items.push(Item {
            body: ItemBody::Side { offset, len },
            ..piece_of(chunk.at, chunk.held, Bytes::new())
        });
        offset = offset.saturating_add(chunk.len);
    }
    items
}

/// The head with the length that its body has, where it claims one and all of it came.
fn fitting(recording: &Recording, length: u64) -> ResponseHead {
    let mut head = recording.head.clone();
    if has_body(recording) && head.headers.contains("content-length") {
        head.headers.set("content-length", length.to_string());
    }
    head
}
