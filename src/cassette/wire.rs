//! The answer's body on its way through the redactor: decoded where it is encoded, with the bytes as they came held back
//! in memory until it is certain that they hide nothing.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::encoding::{Decoder, EncodingError};
use crate::message::{Ending, ResponseHead};
use crate::sanitize::redact::{Redacted, StreamRedactor, fix_length};

/// When a chunk came, and whether it was held.
pub(crate) type Tag = (Duration, bool);

/// A piece that may be written.
pub(crate) type Clean = (Tag, Redacted<Bytes>);

/// A body that is coming.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Redacted, as it came otherwise.
    head: ResponseHead,
    redactor: StreamRedactor<Tag>,
    /// One that has seen nothing yet.
    fresh: StreamRedactor<Tag>,
    encoded: Option<Encoded>,
    /// Why a body that claims an encoding is not decoded.
    undecoded: Option<String>,
    /// How many bytes came, and how many of them are left after redaction.
    came: u64,
    left: u64,
}

struct Encoded {
    decoder: Option<Decoder>,
    /// As they came. `None` when they became too many to hold.
    chunks: Option<Vec<(Tag, Bytes)>>,
    last: Tag,
    held: usize,
    came: usize,
    decoded: usize,
    flaw: Option<String>,
    is_beyond_limit: bool,
}

/// A body that came to its end.
pub(crate) struct Ended {
    /// What was still held.
    pub(crate) pieces: Vec<Clean>,
    /// The rules that fired.
    pub(crate) applied: Vec<String>,
    /// The head that fits what is kept; that of a decoded body is still as it came.
    pub(crate) head: ResponseHead,
    /// What became of the encoding. `None` where there is none, or nothing came.
    pub(crate) coded: Option<Coded>,
}

/// What became of a body that claims an encoding.
#[derive(Debug)]
pub(crate) enum Coded {
    /// The pieces are as they came, for this reason.
    Undecoded(String),
    /// The pieces are decoded.
    Decoded(Unpacked),
}

/// A body that was decoded.
pub(crate) struct Unpacked {
    /// As it came, whole. Not redacted; `None` where it became too large to hold.
    pub(crate) chunks: Option<Vec<(Tag, Bytes)>>,
    /// Whether the bytes as they came are free of secrets, decoded and as they are, and may be written.
    pub(crate) is_clean: bool,
    /// Why it could not be decoded to its end.
    pub(crate) flaw: Option<String>,
    /// Whether it decodes to more than may be.
    pub(crate) is_beyond_limit: bool,
}

impl Wire {
    /// The body that follows this head, which is redacted already.
    pub(crate) fn new(
        head: ResponseHead,
        redactor: StreamRedactor<Tag>,
        fresh: StreamRedactor<Tag>,
    ) -> Self {
        let encoding = head.headers.get_str("content-encoding").unwrap_or_default();
        let (encoded, undecoded) = match Decoder::new(encoding, DECODED_LIMIT) {
            Ok(decoder) if !decoder.is_identity() => (Some(Encoded::new(decoder)), None),
            Ok(_) => (None, None),
            // What can't be decoded is searched as it is.
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            head,
            redactor,
            fresh,
            encoded,
            undecoded,
            came: 0,
            left: 0,
        }
    }

    /// Whether the pieces are decoded ones.
    pub(crate) fn is_encoded(&self) -> bool {
        self.encoded.is_some()
    }

    /// How many bytes are held in memory.
    pub(crate) fn held(&self) -> usize {
        self.encoded.as_ref().map_or(0, |encoded| encoded.held)
    }

    /// Takes a chunk and gives what may be written.
    pub(crate) fn push(&mut self, tag: Tag, bytes: &Bytes) -> Vec<Clean> {
        self.came += bytes.len() as u64;
        let pieces = match &mut self.encoded {
            None => self.redactor.push(tag, bytes),
            Some(encoded) => {
                let mut pieces = Vec::new();
                let redactor = &mut self.redactor;
                let step = encoded.push(tag, bytes, |decoded| {
                    pieces.extend(redactor.push(tag, decoded));
                });
                if let Step::NotEncoded(chunks, why) = step {
                    self.encoded = None;
                    self.undecoded = Some(why);
                    for (tag, bytes) in &chunks {
                        pieces.extend(self.redactor.push(*tag, bytes));
                    }
                }
                pieces
            }
        };
        self.left += length_of(&pieces);
        pieces
    }

    /// There is no more.
    pub(crate) fn finish(mut self, ending: Ending) -> Ended {
        let mut pieces = Vec::new();
        let mut unpacked = None;
        if let Some(mut encoded) = self.encoded.take() {
            match encoded.decoder.take().map(Decoder::finish) {
                Some(Ok(rest)) => pieces = self.redactor.push(encoded.last, &rest),
                Some(Err(error)) => encoded.flaw = Some(error.to_string()),
                None => {}
            }
            pieces.extend(self.redactor.finish());
            unpacked = Some(encoded.unpacked(&self.redactor, self.fresh));
        } else {
            pieces = self.redactor.finish();
            self.left += length_of(&pieces);
            if self.redactor.changed() {
                let length = self.fitting_length(ending);
                fix_length(&mut self.head, length);
            }
        }
        let coded = match (unpacked, self.undecoded) {
            // Where nothing came, as after HEAD, the head speaks of a body that others would get.
            _ if self.came == 0 => None,
            (Some(unpacked), _) => Some(Coded::Decoded(unpacked)),
            (None, why) => why.map(Coded::Undecoded),
        };
        Ended {
            applied: self.redactor.applied(),
            pieces,
            head: self.head,
            coded,
        }
    }

    /// The length that a redacted body claims: what is left, and as much more as was claimed and never came.
    fn fitting_length(&self, ending: Ending) -> Option<u64> {
        if ending == Ending::Complete {
            return Some(self.left);
        }
        let claimed: u64 = self
            .head
            .headers
            .get_str("content-length")?
            .trim()
            .parse()
            .ok()?;
        Some(claimed.saturating_sub(self.came).saturating_add(self.left))
    }
}

/// What a chunk of an encoded body turned out to be.
enum Step {
    /// What it means was handed over, if there was anything.
    Taken,
    /// The head lied: all that came so far, and how it shows.
    NotEncoded(Vec<(Tag, Bytes)>, String),
}

impl Encoded {
    fn new(decoder: Decoder) -> Self {
        Self {
            decoder: Some(decoder),
            chunks: Some(Vec::new()),
            last: Tag::default(),
            held: 0,
            came: 0,
            decoded: 0,
            flaw: None,
            is_beyond_limit: false,
        }
    }

    /// Hands over what a chunk decodes to: all at once where it's little, for a few bytes can stand for very many.
    fn push(&mut self, tag: Tag, bytes: &Bytes, mut take: impl FnMut(&[u8])) -> Step {
        self.hold(tag, bytes);
        let Some(decoder) = &mut self.decoder else {
            return Step::Taken;
        };
        let mut ready = Vec::new();
        for piece in bytes.chunks(DECODED_AT_ONCE) {
            self.came += piece.len();
            let result = decoder.push(piece).and_then(|decoded| {
                self.decoded += decoded.len();
                ready.extend(decoded);
                if is_bomb(self.came, self.decoded) {
                    Err(EncodingError::TooLarge(self.decoded))
                } else {
                    Ok(())
                }
            });
            if let Err(error) = result {
                take(&ready);
                return self.fail(&error);
            }
            if ready.len() > HANDED_AT_ONCE {
                take(&ready);
                ready.clear();
            }
        }
        take(&ready);
        Step::Taken
    }

    fn hold(&mut self, tag: Tag, bytes: &Bytes) {
        self.last = tag;
        if let Some(chunks) = &mut self.chunks {
            self.held += bytes.len();
            chunks.push((tag, bytes.clone()));
        }
        let count = self.chunks.as_ref().map_or(0, Vec::len);
        if self.held > WIRE_LIMIT || count > MAX_WIRE_CHUNKS {
            self.chunks = None;
            self.held = 0;
        }
    }

    fn fail(&mut self, error: &EncodingError) -> Step {
        self.decoder = None;
        self.is_beyond_limit = matches!(error, EncodingError::TooLarge(_));
        match self.chunks.take() {
            Some(chunks) if self.decoded == 0 && !self.is_beyond_limit => {
                Step::NotEncoded(chunks, error.to_string())
            }
            chunks => {
                self.flaw = Some(error.to_string());
                self.chunks = chunks;
                Step::Taken
            }
        }
    }

    /// What came of it, once the redactor has seen all that it decodes to.
    fn unpacked(self, redactor: &StreamRedactor<Tag>, mut fresh: StreamRedactor<Tag>) -> Unpacked {
        let mut is_clean = !redactor.changed() && !self.is_beyond_limit;
        // Names in headers, comments and rubbish behind the end are not decoded, and may show something too.
        if is_clean && let Some(chunks) = &self.chunks {
            for (tag, bytes) in chunks {
                fresh.push(*tag, bytes);
            }
            fresh.finish();
            is_clean = !fresh.changed();
        }
        Unpacked {
            is_clean: is_clean && self.chunks.is_some(),
            chunks: self.chunks,
            flaw: self.flaw,
            is_beyond_limit: self.is_beyond_limit,
        }
    }
}

/// Whether a few bytes decode to so many that nothing is meant by them.
fn is_bomb(came: usize, decoded: usize) -> bool {
    decoded > BOMB_FROM && decoded / BOMB_RATIO > came
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What came is not redacted.
        f.debug_struct("Encoded")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What came is not redacted.
        f.debug_struct("Unpacked")
            .field("is_clean", &self.is_clean)
            .field("flaw", &self.flaw)
            .finish_non_exhaustive()
    }
}

fn length_of(pieces: &[Clean]) -> u64 {
    pieces
        .iter()
        .map(|(_, bytes)| bytes.get().len() as u64)
        .sum()
}

/// 8 MiB of an encoded body are held at most; a larger one is kept decoded.
const WIRE_LIMIT: usize = 8 * 1024 * 1024;

/// Their times and lengths stand in one line of the journal.
const MAX_WIRE_CHUNKS: usize = 100_000;

/// How much is decoded at once; deflate makes at most 1,032 bytes of one (RFC 1951).
const DECODED_AT_ONCE: usize = 2 * 1024;

/// How much of what one chunk decodes to is handed over at once: 256 KiB.
const HANDED_AT_ONCE: usize = 256 * 1024;

/// 1 GiB: what an encoded body may decode to.
const DECODED_LIMIT: usize = 1024 * 1024 * 1024;

/// From 128 MiB on
const BOMB_FROM: usize = 128 * 1024 * 1024;

/// a body that decodes to 256 times its size is a bomb. Text comes to 10 or 20 times.
const BOMB_RATIO: usize = 256;
