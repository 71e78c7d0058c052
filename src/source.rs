//! Where an answer comes from: an upstream, a recording, or made up. All the same to the pump: a head, then timed chunks.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::call::{Piece, Said, UpstreamError};
use crate::message::{Ending, Headers, ResponseHead};
use crate::upstream::Exchange;

pub use replay::Replay;
pub use synth::Synth;

mod replay;
mod synth;

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
            Self::Replay(replay) => Known::Replay(replay).next(request_end),
            Self::Synth(synth) => Known::Synth(synth).next(request_end),
        }
    }

    /// The source, if its answer is known from the beginning.
    pub(crate) fn known(&mut self) -> Option<Known<'_>> {
        match self {
            Self::Upstream(_) => None,
            Self::Replay(replay) => Some(Known::Replay(replay)),
            Self::Synth(synth) => Some(Known::Synth(synth)),
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
        let dues = match self {
            Self::Upstream(exchange) => return exchange.is_ready(),
            Self::Replay(replay) => replay.dues(),
            Self::Synth(synth) => synth.dues(),
        };
        is_due(dues, request_end, Instant::now())
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

/// A source whose answer is known from the beginning.
pub(crate) enum Known<'a> {
    Replay(&'a mut Replay),
    Synth(&'a mut Synth),
}

impl Known<'_> {
    /// When the next step is due; `None` for at once.
    pub(crate) fn due(&self, request_end: Instant) -> Option<Instant> {
        let (due, _) = self.dues();
        due.map(|due| moment(request_end, due))
    }

    /// Whether the next step is due by now, so that it may leave together with the one before.
    pub(crate) fn is_due(&self, request_end: Instant, now: Instant) -> bool {
        is_due(self.dues(), request_end, now)
    }

    /// What there is to do next. After an end there is only the end.
    pub(crate) fn say(&mut self) -> What {
        match self {
            Self::Replay(replay) => replay.say(),
            Self::Synth(synth) => synth.say(),
        }
    }

    fn next(&mut self, request_end: Instant) -> Step {
        Step {
            due: self.due(request_end),
            // It was there from the beginning, also where a fault has held its head back since.
            came: Some(request_end),
            what: self.say(),
        }
    }

    /// When the next step is due, and when the last one was.
    fn dues(&self) -> (Option<Duration>, Option<Duration>) {
        match self {
            Self::Replay(replay) => replay.dues(),
            Self::Synth(synth) => synth.dues(),
        }
    }
}

/// Whether what is next leaves with what was last. What is due together does, though the first of it is said a little early.
fn is_due(
    (due, said): (Option<Duration>, Option<Duration>),
    request_end: Instant,
    now: Instant,
) -> bool {
    due.is_none_or(|due| said.is_some_and(|said| due <= said) || moment(request_end, due) <= now)
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
