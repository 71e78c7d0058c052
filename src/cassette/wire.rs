//! The answer's body on its way through the redactor: decoded where it is encoded, with the bytes as they came held back
//! in memory until it is certain that they hide nothing.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tracing::warn;

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
    /// How many bytes came, and how many of them are left after redaction.
    came: u64,
    left: u64,
}

struct Encoded {
    decoder: Option<Decoder>,
    /// As they came. `None` when they became too many to hold.
    chunks: Option<Vec<(Tag, Bytes)>>,
    held: usize,
    has_decoded: bool,
    is_broken: bool,
    is_beyond_limit: bool,
}

/// A body that came to its end.
pub(crate) struct Ended {
    /// What was still held.
    pub(crate) pieces: Vec<Clean>,
    /// The rules that fired.
    pub(crate) applied: Vec<String>,
    /// The head that fits what is kept.
    pub(crate) head: ResponseHead,
    /// The bytes as they came, where they are to be kept instead of the pieces.
    pub(crate) verdict: Option<Verdict>,
    /// Whether it decodes to more than may be.
    pub(crate) is_beyond_limit: bool,
}

/// An encoded body that hides nothing.
pub(crate) struct Verdict {
    pub(crate) bytes: Bytes,
    pub(crate) chunks: Vec<(Duration, usize, bool)>,
}

impl Wire {
    /// The body that follows this head, which is redacted already.
    pub(crate) fn new(
        head: ResponseHead,
        redactor: StreamRedactor<Tag>,
        fresh: StreamRedactor<Tag>,
    ) -> Self {
        let encoding = head.headers.get_str("content-encoding").unwrap_or_default();
        let encoded = match Decoder::new(encoding, DECODED_LIMIT) {
            Ok(decoder) if !decoder.is_identity() => Some(Encoded {
                decoder: Some(decoder),
                chunks: Some(Vec::new()),
                held: 0,
                has_decoded: false,
                is_broken: false,
                is_beyond_limit: false,
            }),
            // What can't be decoded is searched as it is.
            Ok(_) | Err(_) => None,
        };
        Self {
            head,
            redactor,
            fresh,
            encoded,
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
                if let Step::NotEncoded(chunks) = step {
                    self.encoded = None;
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
        let mut verdict = None;
        let mut is_beyond_limit = false;
        if let Some(mut encoded) = self.encoded.take() {
            let tag = encoded.last_tag();
            match encoded.decoder.take().map(Decoder::finish) {
                Some(Ok(rest)) => pieces = self.redactor.push(tag, &rest),
                Some(Err(_)) => encoded.is_broken = true,
                None => {}
            }
            pieces.extend(self.redactor.finish());
            is_beyond_limit = encoded.is_beyond_limit;
            let is_broken = encoded.is_broken;
            if !self.redactor.changed() && !is_beyond_limit {
                verdict = encoded.verdict(self.fresh);
            }
            self.left += length_of(&pieces);
            // Where nothing came, as after HEAD, the head speaks of a body that others would get.
            if verdict.is_none() && self.came > 0 {
                if is_broken {
                    warn!(
                        "an answer whose encoding is broken is recorded up to where it could be read"
                    );
                }
                self.head.headers.remove("content-encoding");
                let length = (ending == Ending::Complete).then_some(self.left);
                fix_length(&mut self.head, length);
            }
        } else {
            pieces = self.redactor.finish();
            self.left += length_of(&pieces);
            if self.redactor.changed() {
                let length = self.fitting_length(ending);
                fix_length(&mut self.head, length);
            }
        }
        Ended {
            applied: self.redactor.applied(),
            pieces,
            head: self.head,
            verdict,
            is_beyond_limit,
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
    /// The head lied: all that came so far.
    NotEncoded(Vec<(Tag, Bytes)>),
}

impl Encoded {
    /// Hands over what a chunk decodes to, little by little: a few bytes can stand for very many.
    fn push(&mut self, tag: Tag, bytes: &Bytes, mut take: impl FnMut(&[u8])) -> Step {
        if let Some(chunks) = &mut self.chunks {
            self.held += bytes.len();
            chunks.push((tag, bytes.clone()));
        }
        let count = self.chunks.as_ref().map_or(0, Vec::len);
        if self.held > WIRE_LIMIT || count > MAX_WIRE_CHUNKS {
            self.chunks = None;
            self.held = 0;
        }
        let Some(decoder) = &mut self.decoder else {
            return Step::Taken;
        };
        let mut has_taken = false;
        for piece in bytes.chunks(DECODED_AT_ONCE) {
            match decoder.push(piece) {
                Ok(decoded) if decoded.is_empty() => {}
                Ok(decoded) => {
                    self.has_decoded = true;
                    has_taken = true;
                    take(&decoded);
                }
                Err(error) => return self.fail(&error),
            }
        }
        if !has_taken {
            // Its time is kept all the same.
            take(&[]);
        }
        Step::Taken
    }

    fn fail(&mut self, error: &EncodingError) -> Step {
        self.decoder = None;
        self.is_broken = true;
        self.is_beyond_limit = matches!(error, EncodingError::TooLarge(_));
        match self.chunks.take() {
            Some(chunks) if !self.has_decoded && !self.is_beyond_limit => Step::NotEncoded(chunks),
            chunks => {
                self.chunks = chunks;
                Step::Taken
            }
        }
    }

    fn last_tag(&self) -> Tag {
        let last = self.chunks.as_ref().and_then(|chunks| chunks.last());
        last.map(|(tag, _)| *tag).unwrap_or_default()
    }

    /// The bytes as they came, if they are all there, and show nothing where they could not be decoded.
    fn verdict(self, mut redactor: StreamRedactor<Tag>) -> Option<Verdict> {
        let chunks = self.chunks?;
        if self.is_broken {
            for (tag, bytes) in &chunks {
                redactor.push(*tag, bytes);
            }
            redactor.finish();
            if redactor.changed() {
                return None;
            }
        }
        let mut whole = BytesMut::new();
        let mut lengths = Vec::with_capacity(chunks.len());
        for ((at, held), bytes) in chunks {
            whole.extend_from_slice(&bytes);
            lengths.push((at, bytes.len(), held));
        }
        (!whole.is_empty()).then(|| Verdict {
            bytes: whole.freeze(),
            chunks: lengths,
        })
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What came is not redacted.
        f.debug_struct("Encoded")
            .field("held", &self.held)
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

/// 1 GiB: what an encoded body may decode to.
const DECODED_LIMIT: usize = 1024 * 1024 * 1024;
