//! What is kept of an encoded answer: its decoded body and how to encode it again, or beside that the bytes as they came.
//!
//! Works on the writer's thread when an answer has come to its end, and bounds what it costs: trials of encoders are bounded in
//! [`search`], and where they fail again and again few are made.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tracing::warn;

use crate::cassette::encoded::{
    Again, Encoded, Flaw, WireChunk, hash_of, inline, noted, pack, view_of,
};
use crate::cassette::item::{Item, ItemBody};
use crate::cassette::wire::{Tag, Unpacked};
use crate::encoding::{Decoder, Recipe, Sample, search};
use crate::message::{Ending, ResponseHead};
use crate::sanitize::redact::fix_length;

/// What is kept of an answer, beside its items.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The head that fits.
    pub(crate) head: ResponseHead,
    /// What stands in the recording of the encoding.
    pub(crate) encoded: Option<Encoded>,
    /// The bytes as they came, for a side file beside the items.
    pub(crate) wire: Option<Bytes>,
    /// The bytes as they came, to be kept instead of the items.
    pub(crate) body: Option<Came>,
}

/// A body as it came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) bytes: Bytes,
    pub(crate) chunks: Vec<(Duration, usize, bool)>,
}

/// An encoded answer whose items were decoded and redacted.
#[derive(Debug)]
pub(crate) struct Coding<'a> {
    /// The value of `content-encoding`.
    pub(crate) name: String,
    pub(crate) upstream: &'a str,
    pub(crate) items: &'a [Item],
    pub(crate) ending: Ending,
}

impl Settled {
    /// An answer without an encoding.
    pub(crate) fn plain(head: ResponseHead) -> Self {
        Self {
            head,
            encoded: None,
            wire: None,
            body: None,
        }
    }

    /// An answer that claims an encoding, of which nothing could be decoded.
    pub(crate) fn undecoded(head: ResponseHead, name: String, why: String) -> Self {
        let encoded = Some(Encoded::named(name, Some(Flaw::Undecoded(why))));
        Self {
            encoded,
            ..Self::plain(head)
        }
    }
}

impl Encoded {
    /// One of which only this is known.
    fn named(name: String, flaw: Option<Flaw>) -> Self {
        Self {
            name,
            again: None,
            flaw,
            wire: None,
            chunks: Vec::new(),
            tail_at: None,
            of: None,
            gives: None,
        }
    }
}

impl Coding<'_> {
    /// Decides what is kept.
    pub(crate) fn settle(
        self,
        unpacked: Unpacked,
        head: ResponseHead,
        hunches: &mut Hunches,
    ) -> Settled {
        let Unpacked {
            chunks,
            is_clean,
            flaw,
            is_beyond_limit,
        } = unpacked;
        if is_beyond_limit {
            // Nobody knows what is in it, so neither its bytes nor what they stand for are kept.
            return Settled {
                encoded: flaw.map(|why| Encoded::named(self.name, Some(Flaw::Undecoded(why)))),
                body: Some(came(&[])),
                ..Settled::plain(head)
            };
        }
        // Chunks of which nothing is left are not shown.
        let items = self.items.iter().filter(|item| !item.body.is_empty());
        let items: Vec<Item> = items.cloned().collect();
        let is_inline = items
            .iter()
            .all(|item| matches!(item.body, ItemBody::Inline(_)));
        match chunks {
            Some(chunks) if is_clean && is_inline => {
                self.exact(&items, &chunks, flaw, head, hunches)
            }
            Some(chunks) if is_clean => Settled {
                encoded: flaw.map(|why| Encoded::named(self.name, Some(Flaw::Undecoded(why)))),
                body: Some(came(&chunks)),
                ..Settled::plain(head)
            },
            chunks => self.changed(&items, chunks, is_inline, flaw, head, hunches),
        }
    }

    /// Nothing was taken out: what is played must be what came.
    fn exact(
        self,
        items: &[Item],
        chunks: &[(Tag, Bytes)],
        flaw: Option<String>,
        head: ResponseHead,
        hunches: &mut Hunches,
    ) -> Settled {
        let whole = came(chunks).bytes;
        let came: Vec<WireChunk> = chunks.iter().map(wire_chunk).collect();
        let pieces = inline(items);
        let sample = Sample {
            content_encoding: &self.name,
            pieces: &pieces,
            wire: &whole,
            is_whole: self.ending == Ending::Complete,
        };
        let again = match &flaw {
            Some(_) if sample.is_whole => None,
            _ => hunches.search(self.upstream, &sample),
        };
        let mut encoded = Encoded {
            of: view_of(items),
            ..Encoded::named(self.name, flaw.map(Flaw::Broken))
        };
        let packed = again.as_ref().and_then(|recipe| {
            let packed = pack(items, &Again::Recipe(recipe.clone()), self.ending).ok()?;
            (packed.concat() == whole.as_ref()).then_some(packed)
        });
        if let Some(packed) = packed {
            (encoded.chunks, encoded.tail_at) = noted(items, &packed, &came);
            encoded.again = again;
            encoded.gives = Some(hash_of(&whole));
            return Settled {
                encoded: Some(encoded),
                ..Settled::plain(head)
            };
        }
        encoded.chunks = came;
        Settled {
            encoded: Some(encoded),
            wire: Some(whole),
            ..Settled::plain(head)
        }
    }

    /// Secrets were taken out, or there was too much to hold: encoded again it's another body.
    fn changed(
        self,
        items: &[Item],
        chunks: Option<Vec<(Tag, Bytes)>>,
        is_inline: bool,
        flaw: Option<String>,
        mut head: ResponseHead,
        hunches: &mut Hunches,
    ) -> Settled {
        let again = chunks.and_then(|chunks| self.search(&chunks, hunches));
        let way = match &again {
            Some(recipe) => Again::Recipe(recipe.clone()),
            None => Again::Name(self.name.clone()),
        };
        let mut length = None;
        if is_inline && self.ending == Ending::Complete {
            match pack(items, &way, self.ending) {
                Ok(packed) => length = Some(packed.len() as u64),
                Err(error) => {
                    warn!("an answer is recorded without its content-encoding: {error}");
                    head.headers.remove("content-encoding");
                    let left = items.iter().map(|item| item.body.len() as u64).sum();
                    fix_length(&mut head, Some(left));
                    return Settled::plain(head);
                }
            }
        }
        fix_length(&mut head, length);
        let encoded = Encoded {
            again,
            ..Encoded::named(self.name, flaw.map(Flaw::Broken))
        };
        Settled {
            encoded: Some(encoded),
            ..Settled::plain(head)
        }
    }

    /// How a body was encoded that is not kept as it came.
    fn search(&self, chunks: &[(Tag, Bytes)], hunches: &mut Hunches) -> Option<Recipe> {
        let mut decoder = Decoder::new(&self.name, SEARCH_LIMIT).ok()?;
        let mut pieces = Vec::with_capacity(chunks.len());
        for (_, bytes) in chunks {
            pieces.push(decoder.push(bytes).ok()?);
        }
        let is_whole = self.ending == Ending::Complete;
        if is_whole {
            pieces.push(decoder.finish().ok()?);
        }
        pieces.retain(|piece| !piece.is_empty());
        let sample = Sample {
            content_encoding: &self.name,
            pieces: &pieces,
            wire: &came(chunks).bytes,
            is_whole,
        };
        hunches.search(self.upstream, &sample)
    }
}

fn came(chunks: &[(Tag, Bytes)]) -> Came {
    let mut whole = BytesMut::new();
    let mut lengths = Vec::with_capacity(chunks.len());
    for ((at, held), bytes) in chunks {
        whole.extend_from_slice(bytes);
        lengths.push((*at, bytes.len(), *held));
    }
    Came {
        bytes: whole.freeze(),
        chunks: lengths,
    }
}

fn wire_chunk(((at, held), bytes): &(Tag, Bytes)) -> WireChunk {
    WireChunk {
        at: *at,
        len: bytes.len() as u64,
        held: *held,
    }
}

/// How upstreams were found to encode: they seldom change their ways.
#[derive(Debug, Default)]
pub(crate) struct Hunches {
    by_upstream: HashMap<(String, String), Hunch>,
}

#[derive(Debug, Default)]
struct Hunch {
    recipe: Option<Recipe>,
    /// How many times in a row nothing was found.
    misses: u32,
}

impl Hunches {
    fn search<P: AsRef<[u8]>>(&mut self, upstream: &str, sample: &Sample<'_, P>) -> Option<Recipe> {
        if self.by_upstream.len() >= MAX_HUNCHES {
            self.by_upstream.clear();
        }
        let of = (upstream.to_owned(), sample.content_encoding.to_owned());
        let hunch = self.by_upstream.entry(of).or_default();
        if hunch.misses >= PATIENCE && !hunch.misses.is_multiple_of(SELDOM) {
            hunch.misses = hunch.misses.saturating_add(1);
            return None;
        }
        let found = search(sample, hunch.recipe.as_ref());
        match &found {
            Some(recipe) => {
                hunch.recipe = Some(recipe.clone());
                hunch.misses = 0;
            }
            None => hunch.misses = hunch.misses.saturating_add(1),
        }
        found
    }
}

/// What is decoded to find out how it was encoded; as much as is tried.
const SEARCH_LIMIT: usize = 1024 * 1024;

/// After so many failures in a row
const PATIENCE: u32 = 16;

/// one body in so many is tried.
const SELDOM: u32 = 16;

/// More upstreams than anybody records.
const MAX_HUNCHES: usize = 256;
