//! A recording as it is played.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Paced, Position, What};
use crate::cassette::{Direction, Item, ItemBody, ItemKind, Recording, SideFile};
use crate::encoding::{Encoder, EncodingError};
use crate::message::{Ending, ResponseHead};
use crate::shape::pacer::Pacer;
use crate::wire::frame_for_http1;

/// A recording as it is played.
pub struct Replay {
    recording: Arc<Recording>,
    pacer: Pacer,
    /// When the last step was due.
    said: Option<Duration>,
    position: Position,
    side: Option<(SideFile, File)>,
    /// Bytes of the current item that were handed out.
    taken: usize,
    /// What the items pass through that are too large to be encoded before.
    encoder: Option<Encoder>,
    /// The next step: when a step is due depends on what it is.
    ahead: Option<Paced>,
}

impl Replay {
    /// From the beginning, in this pace.
    ///
    /// # Errors
    /// If the recording has its body in a side file that can't be opened, or is not of a whole answer.
    pub fn new(recording: Arc<Recording>, pacer: Pacer) -> io::Result<Self> {
        if recording.head.status < 200 {
            let status = recording.head.status;
            return Err(io::Error::other(format!(
                "its status is {status}, which ends no answer"
            )));
        }
        let (side, encoder) = match &recording.playback {
            None => (&recording.side, None),
            Some(playback) => (&playback.side, playback.encoder.as_ref()),
        };
        let side = match side {
            Some(side) => Some((side.clone(), side.open()?)),
            None => None,
        };
        let encoder = match encoder {
            Some(again) => {
                let size = usize::try_from(recording.body_bytes()).unwrap_or(usize::MAX);
                let encoder = again.encoder(size, recording.items.len());
                Some(encoder.map_err(io::Error::other)?)
            }
            None => None,
        };
        let mut replay = Self {
            recording,
            pacer,
            position: Position::Head,
            side,
            taken: 0,
            encoder,
            ahead: None,
            said: None,
        };
        replay.ahead = Some(replay.look());
        Ok(replay)
    }

    /// When the next step is due in the recording, from the end of the request.
    fn at(&self) -> Duration {
        let items = self.items();
        let last = || items.last().map_or(Duration::ZERO, |item| item.at);
        let after_head = match self.position {
            Position::Head => Duration::ZERO,
            Position::Item(index) => items.get(index).map_or_else(last, |item| item.at),
            Position::Trailers | Position::Over => last(),
        };
        self.recording.head_after + after_head
    }

    /// What is played after the head.
    fn items(&self) -> &[Item] {
        match &self.recording.playback {
            Some(playback) => &playback.items,
            None => &self.recording.items,
        }
    }

    fn head(&self) -> ResponseHead {
        match &self.recording.playback {
            Some(playback) => playback.head.clone(),
            None => self.recording.head.clone(),
        }
    }

    /// When the next step is due, and when the last one was.
    pub(super) fn dues(&self) -> (Option<Duration>, Option<Duration>) {
        let next = self.ahead.as_ref().and_then(|(due, _)| *due);
        (next, self.said)
    }

    /// What there is to do next.
    pub(super) fn say(&mut self) -> What {
        let (due, what) = match self.ahead.take() {
            Some(paced) => paced,
            None => self.look(),
        };
        self.said = due;
        self.ahead = Some(self.look());
        what
    }

    fn look(&mut self) -> Paced {
        let mut came = self.at();
        let what = loop {
            let what = match self.position {
                Position::Head => {
                    self.position = self.item_from(0);
                    let mut head = self.head();
                    if self.recording.protocol != "http/1.1" {
                        frame_for_http1(&mut head, &self.recording.request.method);
                    }
                    What::Head(Box::new(head))
                }
                Position::Item(index) => self.item(index),
                Position::Trailers => {
                    self.position = Position::Over;
                    What::Trailers(self.recording.trailers.clone().unwrap_or_default())
                }
                Position::Over => self.end(),
            };
            // An encoder may keep a piece to itself; then the next one is due.
            match what {
                What::Chunk(bytes, _) if bytes.is_empty() => {}
                what => break what,
            }
            came = self.at();
        };
        let body = match self.recording.items.as_slice() {
            [
                Item {
                    body: ItemBody::Inline(body),
                    ..
                },
            ] => Some(body.clone()),
            _ => None,
        };
        (due(&mut self.pacer, came, &what, body.as_deref()), what)
    }

    /// The end, or what an encoder still held before it.
    fn end(&mut self) -> What {
        let ending = self.recording.ending;
        match self.encoder.take() {
            Some(encoder) if ending == Ending::Complete => encoded(encoder.finish()),
            Some(_) | None => What::End(ending),
        }
    }

    /// The first item from this one on that goes to the client as a piece of the body.
    fn item_from(&self, index: usize) -> Position {
        let is_played =
            |item: &Item| item.direction == Direction::Down && item.kind == ItemKind::Bytes;
        let rest = self.items().get(index..).unwrap_or_default();
        rest.iter()
            .position(|item| is_played(item) && !item.body.is_empty())
            .map_or_else(
                || self.after_body(),
                |skipped| Position::Item(index + skipped),
            )
    }

    fn after_body(&self) -> Position {
        if self.recording.trailers.is_some() {
            Position::Trailers
        } else {
            Position::Over
        }
    }

    fn item(&mut self, index: usize) -> What {
        match self.items().get(index).map(|item| item.body.clone()) {
            None => What::End(self.recording.ending),
            Some(ItemBody::Inline(bytes)) => {
                self.position = self.item_from(index + 1);
                What::Chunk(bytes, None)
            }
            Some(ItemBody::Side { offset, len }) => self.read_side(index, offset, len),
        }
    }

    /// A piece of an item that lies in the side file: at most [`SIDE_READ`] at a time, whatever the item claims.
    fn read_side(&mut self, index: usize, offset: u64, len: usize) -> What {
        let count = (len - self.taken).min(SIDE_READ);
        let read = match &self.side {
            Some((side, file)) => side.read_at(file, offset + self.taken as u64, count),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match read {
            Ok(bytes) => {
                self.taken += count;
                let is_through = self.taken >= len;
                if is_through {
                    self.taken = 0;
                    self.position = self.item_from(index + 1);
                }
                match &mut self.encoder {
                    None => What::Chunk(bytes, None),
                    Some(encoder) if is_through => encoded(encoder.push(&bytes)),
                    Some(encoder) => encoded(encoder.push_part(&bytes)),
                }
            }
            Err(error) => {
                self.position = Position::Over;
                What::Unreadable(format!(
                    "the body of {} can't be read on: {error}",
                    self.recording.name
                ))
            }
        }
    }
}

/// When a step of a known answer is due; `body` is its body where that is one piece.
fn due(pacer: &mut Pacer, came: Duration, what: &What, body: Option<&[u8]>) -> Option<Duration> {
    match what {
        What::Head(head) => pacer.head(came, head, body),
        What::Chunk(bytes, _) => pacer.chunk(came, bytes),
        What::Interim(_)
        | What::Trailers(_)
        | What::End(_)
        | What::Failed(_)
        | What::Unreadable(_) => pacer.end(came),
    }
}

/// What an encoder made, perhaps nothing yet.
fn encoded(result: Result<Vec<u8>, EncodingError>) -> What {
    match result {
        Ok(bytes) => What::Chunk(bytes.into(), None),
        Err(error) => What::Unreadable(format!("the body can't be encoded again: {error}")),
    }
}

/// One read of a side file.
const SIDE_READ: usize = 256 * 1024;
