//! Where an answer comes from: an upstream, a recording, or made up. All the same to the pump: a head, then timed chunks.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::call::{Piece, Said, UpstreamError};
use crate::cassette::{Direction, Item, ItemBody, ItemKind, Recording, SideFile};
use crate::encoding::{Encoder, EncodingError};
use crate::message::{Ending, Headers, ResponseHead};
use crate::shape::pacer::Pacer;
use crate::synth::Answer;
use crate::upstream::Exchange;
use crate::wire::frame_for_http1;

/// The source of one answer.
pub enum Source {
    /// A live one.
    Upstream(Exchange),
    /// A recorded one.
    Replay(Replay),
    /// One that was made up, whole, with its times.
    Synth(Synth),
}

/// One thing to do for the client, and when.
#[derive(Debug)]
pub struct Step {
    /// Not before this moment; `None` for at once.
    pub due: Option<Instant>,
    /// When it came, if that is known; without it, now.
    pub came: Option<Instant>,
    /// What.
    pub what: What,
}

/// What there is to do for the client.
#[derive(Debug)]
pub enum What {
    /// Send an interim head.
    Interim(ResponseHead),
    /// Send the head.
    Head(Box<ResponseHead>),
    /// Send a piece of the body; dropping the permit lets the source read on.
    Chunk(Bytes, Option<OwnedSemaphorePermit>),
    /// Send header lines after the body.
    Trailers(Headers),
    /// End as the source ended.
    End(Ending),
    /// There is no answer.
    Failed(UpstreamError),
    /// The recording can't be read on.
    Unreadable(String),
}

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

/// A made-up answer as it is played.
pub struct Synth {
    answer: Answer,
    pacer: Pacer,
    /// When the last step was due.
    said: Option<Duration>,
    position: Position,
    /// When the next step is due, from the end of the request; `None` for at once.
    due: Option<Duration>,
}

/// What there is to do, and when, from the end of the request; `None` for at once.
type Paced = (Option<Duration>, What);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Head,
    Item(usize),
    Trailers,
    Over,
}

impl Source {
    /// The next step. After an end or a failure there is none, and it stays pending. Cancel-safe.
    ///
    /// Recorded times count from `request_end`, the moment at which the request was through.
    pub async fn next(&mut self, request_end: Instant) -> Step {
        match self {
            Self::Upstream(exchange) => {
                let what = match exchange.next().await {
                    Some(Said::Interim(head)) => What::Interim(head),
                    Some(Said::Head(head) | Said::Whole(head)) => What::Head(Box::new(head)),
                    Some(Said::Chunk(chunk, permit)) => What::Chunk(chunk.bytes, permit),
                    Some(Said::Trailers(trailers)) => What::Trailers(trailers),
                    Some(Said::End(ending)) => What::End(ending),
                    Some(Said::Failed(error)) => What::Failed(error),
                    // The reader ended without a word: it can only have been stopped with the whole process.
                    None => What::End(Ending::Closed),
                };
                Step {
                    due: None,
                    came: exchange.came(),
                    what,
                }
            }
            Self::Replay(replay) => replay.next(request_end),
            Self::Synth(synth) => synth.next(request_end),
        }
    }

    /// Has the source work on while none of its steps is wanted. Never resolves. Cancel-safe.
    pub async fn go_on(&mut self) {
        match self {
            Self::Upstream(exchange) => exchange.go_on().await,
            Self::Replay(_) | Self::Synth(_) => std::future::pending().await,
        }
    }

    /// Whether the next step is due at once, so that it may leave together with the one before.
    pub fn is_ready(&self, request_end: Instant) -> bool {
        let (due, said) = match self {
            Self::Upstream(exchange) => return exchange.is_ready(),
            Self::Replay(replay) => (replay.ahead.as_ref().and_then(|(due, _)| *due), replay.said),
            Self::Synth(synth) => (synth.due, synth.said),
        };
        // What is due together leaves together, though the first of it is said a little early.
        due.is_none_or(|due| {
            said.is_some_and(|said| due <= said) || moment(request_end, due) <= Instant::now()
        })
    }

    /// Whether the next step is known, though it may not be due yet.
    pub fn is_at_hand(&self) -> bool {
        match self {
            Self::Upstream(exchange) => exchange.is_ready(),
            Self::Replay(_) | Self::Synth(_) => true,
        }
    }

    /// Where the request's body goes, if the source wants it.
    pub fn body(&mut self) -> Option<mpsc::Sender<Piece>> {
        match self {
            Self::Upstream(exchange) => exchange.body(),
            Self::Replay(_) | Self::Synth(_) => None,
        }
    }

    /// Says that the client has left.
    pub fn leave(&self) {
        match self {
            Self::Upstream(exchange) => exchange.leave(),
            Self::Replay(_) | Self::Synth(_) => {}
        }
    }
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

    fn next(&mut self, request_end: Instant) -> Step {
        let paced = match self.ahead.take() {
            Some(paced) => paced,
            None => self.look(),
        };
        self.said = paced.0;
        self.ahead = Some(self.look());
        step(request_end, paced)
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

impl Synth {
    /// From the beginning, in this pace.
    pub fn new(answer: Answer, pacer: Pacer) -> Self {
        let mut synth = Self {
            answer,
            pacer,
            said: None,
            position: Position::Head,
            due: None,
        };
        synth.due = synth.pace();
        synth
    }

    fn next(&mut self, request_end: Instant) -> Step {
        let what = self.take();
        self.said = self.due;
        self.due = self.pace();
        step(request_end, (self.said, what))
    }

    /// The next step; after it the one that follows is the next.
    fn take(&mut self) -> What {
        match self.position {
            Position::Head => {
                self.position = Position::Item(0);
                What::Head(Box::new(self.answer.head.clone()))
            }
            Position::Item(index) => {
                if let Some(bytes) = self.answer.chunks.take(index) {
                    self.position = Position::Item(index + 1);
                    What::Chunk(bytes, None)
                } else {
                    self.position = Position::Over;
                    What::End(Ending::Complete)
                }
            }
            Position::Trailers | Position::Over => What::End(Ending::Complete),
        }
    }

    /// When the next step is due; to be asked once for each.
    fn pace(&mut self) -> Option<Duration> {
        let Answer {
            head,
            chunks,
            tokens,
        } = &self.answer;
        let last = || {
            let last = chunks.len().checked_sub(1);
            last.and_then(|last| chunks.at(last)).unwrap_or_default()
        };
        match self.position {
            Position::Head => {
                let body = chunks.only();
                self.pacer.head(Duration::ZERO, head, body.as_deref())
            }
            Position::Item(index) => match (chunks.at(index), tokens) {
                (Some(came), Some(tokens)) => {
                    self.pacer.counted(came, tokens.contains(&index).into())
                }
                (Some(came), None) => {
                    let bytes = chunks.get(index).unwrap_or_default();
                    self.pacer.chunk(came, &bytes)
                }
                (None, _) => self.pacer.end(last()),
            },
            Position::Trailers | Position::Over => self.pacer.end(last()),
        }
    }
}

fn step(request_end: Instant, (due, what): Paced) -> Step {
    Step {
        due: due.map(|due| moment(request_end, due)),
        // A known answer was there from the beginning, also where a fault has held its head back since.
        came: Some(request_end),
        what,
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

/// A moment so long after another; a hostile recording may name one that no clock reaches.
fn moment(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or_else(|| start + FAR)
}

/// Later than anyone waits, and still a moment: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// By how much a wait ends before its moment. The resolution of tokio's timer is 1 ms, and it rounds up twice: to its own tick
/// and to that of the system's poll, so that a wait is late by 1.1 to 1.2 ms in the median (1.x, measured). So asked, the
/// median is within 0.3 ms of the moment.
pub(crate) const EARLY: Duration = Duration::from_micros(999);

/// One read of a side file.
const SIDE_READ: usize = 256 * 1024;
