//! The units in which faults see a body: events where they need them, otherwise pieces as they came.

use bytes::{Bytes, BytesMut};

use crate::dialect::{Dialect, Part};
use crate::encoding::Decoder;
use crate::frames::sse::{SseEvent, SseSplitter};

/// A piece of a body that faults count and change as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// As they came, or decoded.
    pub(super) bytes: Bytes,
    /// What it is about, if it is a whole event.
    pub(super) part: Option<Part>,
    /// Whether it counts as an event.
    pub(super) is_event: bool,
    /// Whether it is all of a body that is no stream.
    pub(super) is_whole: bool,
}

/// What faults want of a body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// A stream in its events.
    pub(super) events: bool,
    /// JSON as a whole, up to 1 MiB.
    pub(super) whole: bool,
}

/// The body is not what its encoding claims, or a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenEncoding;

/// Takes a body apart.
#[derive(Debug)]
pub(super) struct Units {
    events: Option<SseSplitter>,
    /// The body so far, where it is wanted as a whole.
    whole: Option<BytesMut>,
    dialect: Dialect,
    decoder: Option<Decoder>,
}

impl Units {
    /// For a body. `content-encoding` must be gone from what the client gets where it is decoded.
    pub(super) fn new(dialect: Dialect, wishes: Wishes, encoding: Option<&str>) -> Self {
        Self {
            whole: wishes.whole.then(BytesMut::new),
            events: wishes.events.then(|| SseSplitter::new(MAX_EVENT)),
            dialect,
            decoder: encoding
                .and_then(|encoding| Decoder::new(encoding, usize::MAX).ok())
                .map(|decoder| decoder.at_once(MAX_DECODED)),
        }
    }

    /// What can be told apart now.
    ///
    /// # Errors
    /// If the body is not what its encoding claims.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<Vec<Unit>, BrokenEncoding> {
        let bytes = match &mut self.decoder {
            Some(decoder) => decoder.push(&bytes).map_err(|_| BrokenEncoding)?.into(),
            None => bytes,
        };
        Ok(self.split(bytes))
    }

    /// What was held.
    ///
    /// # Errors
    /// If the encoding ends too early.
    pub(super) fn finish(&mut self) -> Result<Vec<Unit>, BrokenEncoding> {
        let mut units = match self.decoder.take() {
            Some(decoder) => {
                let rest = decoder.finish().map_err(|_| BrokenEncoding)?;
                self.split(rest.into())
            }
            None => Vec::new(),
        };
        if let Some(frame) = self.events.as_mut().and_then(SseSplitter::finish) {
            units.push(Unit {
                bytes: frame.bytes,
                part: None,
                is_event: false,
                is_whole: false,
            });
        }
        if let Some(whole) = self.whole.take().filter(|whole| !whole.is_empty()) {
            units.push(Unit {
                bytes: whole.freeze(),
                part: None,
                is_event: true,
                is_whole: true,
            });
        }
        Ok(units)
    }

    /// Whether events are told apart.
    pub(super) fn has_events(&self) -> bool {
        self.events.is_some()
    }

    fn split(&mut self, bytes: Bytes) -> Vec<Unit> {
        if let Some(whole) = &mut self.whole {
            whole.extend_from_slice(&bytes);
            if whole.len() <= MAX_EVENT {
                return Vec::new();
            }
            let bytes = self.whole.take().unwrap_or_default().freeze();
            return vec![Unit {
                bytes,
                part: None,
                is_event: true,
                is_whole: false,
            }];
        }
        match &mut self.events {
            Some(splitter) => splitter
                .push(&bytes)
                .into_iter()
                .map(|frame| {
                    let part = frame
                        .is_complete
                        .then(|| self.dialect.meaning(&SseEvent::parse(&frame.bytes)).part);
                    Unit {
                        part,
                        is_event: part.is_some_and(|part| part != Part::KeepAlive),
                        is_whole: false,
                        bytes: frame.bytes,
                    }
                })
                .collect(),
            None if bytes.is_empty() => Vec::new(),
            None => vec![Unit {
                bytes,
                part: None,
                is_event: true,
                is_whole: false,
            }],
        }
    }
}

/// An event larger than this passes in pieces that no fault sees as one.
const MAX_EVENT: usize = 1024 * 1024;

/// No piece of an encoded body may stand for more: 64 MiB, a thousand times what is read at once.
const MAX_DECODED: usize = 64 * 1024 * 1024;
