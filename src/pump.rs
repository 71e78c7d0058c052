//! The one loop through which every answer reaches its client, whatever its source.
//!
//! Time passes on purpose here and nowhere else. It knows nothing of sockets: the client is a [`Client`], so that the
//! loop runs under a paused clock in tests, and the answer comes from a [`Source`].

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::call::{Piece, UpstreamError};
use crate::message::{Ending, Headers, ResponseHead};
use crate::source::{HALF_TICK, Source, What};

/// The writing side of an exchange, and what is still to be read of the request.
pub trait Client: Send {
    /// Sends an interim head (1xx), if the client's protocol has them.
    fn interim(&mut self, head: &ResponseHead) -> impl Future<Output = Result<(), Left>> + Send;

    /// Sends the head of the answer. `more`: a write follows at once, so that both may leave together.
    fn head(
        &mut self,
        head: &ResponseHead,
        more: bool,
    ) -> impl Future<Output = Result<(), Left>> + Send;

    /// Sends a piece of the body, as one chunk. `more` as above.
    fn write(&mut self, bytes: Bytes, more: bool) -> impl Future<Output = Result<(), Left>> + Send;

    /// Sends header lines after the body, if the client's protocol can carry them; [`Self::end`] follows.
    fn trailers(&mut self, trailers: &Headers) -> impl Future<Output = Result<(), Left>> + Send;

    /// Ends the answer as its framing demands.
    fn end(&mut self) -> impl Future<Output = Result<(), Left>> + Send;

    /// Breaks the answer off.
    fn cut(&mut self, how: Cut) -> impl Future<Output = ()> + Send;

    /// The next piece of the request's body, `None` at its end; asked again after that, it resolves only when the
    /// client has left. Cancel-safe.
    fn hear(&mut self) -> impl Future<Output = Result<Option<Bytes>, Left>> + Send;
}

/// The client is gone, or broke its request off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left;

/// How an answer is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The connection is closed before the end of the framing.
    Close,
    /// The connection is reset.
    Reset,
}

/// What became of an exchange, as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer went through to its end.
    Completed,
    /// The upstream broke its answer off, and so did we.
    UpstreamFailed(Ending),
    /// There is no answer, and nothing was written to the client.
    NoAnswer(UpstreamError),
    /// The recording could not be read on; the answer was broken off.
    SourceFailed(String),
    /// The client left before the end.
    ClientLeft,
}

/// What was seen of one exchange.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The status that the client got.
    pub status: Option<u16>,
    /// From the end of the request to the first byte of the head written.
    pub first_byte: Option<Duration>,
    /// Body bytes written to the client.
    pub bytes: u64,
    /// Chunks written to the client.
    pub chunks: u64,
    /// Whether the request was read to its end.
    pub request_is_through: bool,
}

/// What is known of the request when the pump starts.
#[derive(Debug, Default)]
pub struct Upload {
    /// What was already read of its body.
    pub read: Option<Bytes>,
    /// Whether that is all.
    pub is_through: bool,
}

/// Pumps one answer to its client, and the rest of the request the other way.
///
/// `request_end` is when the request was through; for a request that is still coming it moves to its end. `marks` are
/// headers of ours, put at the end of the head.
pub async fn run<C: Client>(
    client: &mut C,
    source: &mut Source,
    upload: Upload,
    mut request_end: Instant,
    marks: &Headers,
    tally: &mut Tally,
) -> Outcome {
    let mut up = source.body();
    let mut pieces = VecDeque::new();
    let mut read = upload.read.unwrap_or_default();
    while !read.is_empty() {
        pieces.push_back(Piece::Data(read.split_to(read.len().min(PIECE))));
    }
    tally.request_is_through = upload.is_through;
    if upload.is_through {
        pieces.push_back(Piece::End);
    }
    loop {
        let is_listening = tally.request_is_through || (up.is_some() && pieces.is_empty());
        let step = tokio::select! {
            step = source.next(request_end) => step,
            heard = client.hear(), if is_listening => {
                match heard {
                    Ok(Some(bytes)) => pieces.push_back(Piece::Data(bytes)),
                    Ok(None) => {
                        tally.request_is_through = true;
                        request_end = Instant::now();
                        pieces.push_back(Piece::End);
                    }
                    Err(Left) => {
                        source.leave();
                        return Outcome::ClientLeft;
                    }
                }
                continue;
            }
            permit = reserve(up.clone()), if up.is_some() && !pieces.is_empty() => {
                match (permit, pieces.pop_front()) {
                    (Some(permit), Some(piece)) => {
                        let is_last = matches!(piece, Piece::End);
                        drop(permit.send(piece));
                        if is_last {
                            up = None;
                        }
                    }
                    // Nobody takes the rest of the request any more; what the upstream said last is yet to come.
                    _ => up = None,
                }
                continue;
            }
        };
        let went = match wait(client, step.due, tally.request_is_through).await {
            Ok(()) => apply(client, step.what, source, request_end, marks, tally).await,
            Err(Left) => Err(Left),
        };
        match went {
            Ok(None) => {}
            Ok(Some(outcome)) => return outcome,
            Err(Left) => {
                source.leave();
                return Outcome::ClientLeft;
            }
        }
    }
}

/// Waits for the moment at which a step is due, or for the client to leave.
async fn wait<C: Client>(
    client: &mut C,
    due: Option<Instant>,
    request_is_through: bool,
) -> Result<(), Left> {
    let Some(due) = due else { return Ok(()) };
    // The clock goes on in whole milliseconds and is late by half of one on average.
    let due = due.checked_sub(HALF_TICK).unwrap_or(due);
    if due <= Instant::now() {
        return Ok(());
    }
    tokio::select! {
        () = sleep_until(due) => Ok(()),
        _ = client.hear(), if request_is_through => Err(Left),
    }
}

/// Does one step; says the outcome if it was the last.
async fn apply<C: Client>(
    client: &mut C,
    what: What,
    source: &Source,
    request_end: Instant,
    marks: &Headers,
    tally: &mut Tally,
) -> Result<Option<Outcome>, Left> {
    match what {
        What::Interim(head) => client.interim(&head).await?,
        What::Head(mut head) => {
            for (name, value) in marks.iter() {
                head.headers.push(name, value.clone());
            }
            tally.status = Some(head.status);
            client.head(&head, source.is_ready(request_end)).await?;
            tally.first_byte = Some(Instant::now().saturating_duration_since(request_end));
        }
        What::Chunk(bytes, _room) => {
            tally.bytes += bytes.len() as u64;
            tally.chunks += 1;
            client.write(bytes, source.is_ready(request_end)).await?;
        }
        What::Trailers(trailers) => client.trailers(&trailers).await?,
        What::End(Ending::Complete) => {
            client.end().await?;
            return Ok(Some(Outcome::Completed));
        }
        What::End(ending) => {
            client
                .cut(if ending == Ending::Reset {
                    Cut::Reset
                } else {
                    Cut::Close
                })
                .await;
            return Ok(Some(Outcome::UpstreamFailed(ending)));
        }
        What::Failed(error) => return Ok(Some(Outcome::NoAnswer(error))),
        What::Unreadable(reason) => {
            client.cut(Cut::Close).await;
            return Ok(Some(Outcome::SourceFailed(reason)));
        }
    }
    Ok(None)
}

async fn reserve(up: Option<mpsc::Sender<Piece>>) -> Option<mpsc::OwnedPermit<Piece>> {
    up?.reserve_owned().await.ok()
}

/// The pieces in which a body goes up that was read before.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests;
