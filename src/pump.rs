//! The pump through which every answer reaches its client, whatever its source: a loop for all of them, and a shorter one for
//! what is known from the beginning and passes as it is.
//!
//! Time passes on purpose here and nowhere else. It knows nothing of sockets: the client is a [`Client`], so that the
//! loop runs under a paused clock in tests, and the answer comes from a [`Source`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::alarm::Alarm;
use crate::board::Watch;
use crate::call::{Piece, UpstreamError};
use crate::message::{Ending, Headers, ResponseHead};
use crate::source::{EARLY, Source, Step};

pub use crate::cue::Cut;
pub use line::{Faults, Shape, Stages};

use line::{Act, Due, Line};

mod known;
mod line;

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

    /// Lets so many more bytes of a head go out that was sent in drips. Says whether it is out.
    fn let_out(&mut self, bytes: usize) -> impl Future<Output = Result<bool, Left>> + Send;

    /// Sends what was held back because more was to follow, which does not come after all.
    fn uncork(&mut self) -> Result<(), Left> {
        Ok(())
    }

    /// Has the next head stay back until it is [let out](Self::let_out), if the client's protocol allows that.
    fn hold_back(&mut self) -> bool;

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
    /// A fault broke the answer off.
    Cut,
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

impl Upload {
    /// Of a request of which nothing is to be passed on any more.
    pub fn through() -> Self {
        Self {
            read: None,
            is_through: true,
        }
    }
}

/// Pumps one answer to its client, and the rest of the request the other way.
///
/// `request_end` is when the request was through; for a request that is still coming it moves to its end. `marks` are
/// headers of ours, put at the end of the head.
pub async fn run<C: Client>(
    client: &mut C,
    source: &mut Source,
    upload: Upload,
    request_end: Instant,
    marks: &Headers,
    stages: &mut Stages,
    tally: &mut Tally,
) -> Outcome {
    if upload.is_through
        && stages.are_none()
        && let Some(known) = source.known()
    {
        tally.request_is_through = true;
        let played = known::play(client, known, request_end, marks, tally).await;
        return played.unwrap_or(Outcome::ClientLeft);
    }
    attend(client, source, upload, request_end, marks, stages, tally).await
}

/// Pumps where something may come at any time: from the upstream, from the client, or of a fault.
async fn attend<C: Client>(
    client: &mut C,
    source: &mut Source,
    upload: Upload,
    mut request_end: Instant,
    marks: &Headers,
    stages: &mut Stages,
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
    let mut line = Line::new(stages, request_end);
    let mut burst = 0;
    let mut sleep = pin!(None);
    // A piece of the request whose time is not up, where a fault says how fast it may come.
    let mut held = None;
    loop {
        if line.gate().is_none()
            && let Some(piece) = held.take()
        {
            pieces.push_back(piece);
        }
        if !pieces.is_empty() {
            pass_on(&mut pieces, &mut up);
        }
        let next = line.next();
        let deadline = line.deadline(next);
        let may_listen = tally.request_is_through || (up.is_some() && pieces.is_empty());
        let gate = line
            .gate()
            .filter(|_| may_listen && !tally.request_is_through);
        let is_tired = (burst >= BURST || line.is_turned()) && !line.is_ahead();
        // What came of the request counts before the answer to it: a client whose request is through keeps its connection.
        let heard = if may_listen && !tally.request_is_through && gate.is_none() {
            at_once(client.hear()).await
        } else {
            None
        };
        let turn = if let Some(heard) = heard {
            Turn::Heard(heard)
        } else if !is_tired && next.is_some() && deadline.is_some_and(is_reached) {
            burst += 1;
            line.tick();
            Turn::Act(Act::Nothing)
        } else if !is_tired && line.is_due(next) {
            burst += 1;
            Turn::Act(line.play())
        } else if !is_tired
            && next.is_none()
            && let Some(step) = line.at_hand(source).await
        {
            burst += 1;
            Turn::Act(line.take(step))
        } else {
            burst = if is_tired { 0 } else { burst + 1 };
            let due = next.filter(|_| deadline.is_none() && !is_tired);
            let alarm = due.and_then(|due| line.alarm_for(due));
            tokio::select! {
                biased;
                () = reach(sleep.as_mut(), alarm.as_deref(), due.and_then(Due::moment)), if due.is_some() => {
                    Turn::Act(line.play())
                }
                step = listen(source, request_end, line.is_open(next.is_none())), if !is_tired => {
                    Turn::Act(line.take(step))
                }
                () = until(deadline), if deadline.is_some() => {
                    line.tick();
                    Turn::Act(Act::Nothing)
                }
                () = line.turned() => Turn::Lift,
                () = until(gate), if gate.is_some() => {
                    line.open_gate();
                    Turn::Act(Act::Nothing)
                }
                heard = client.hear(), if may_listen && gate.is_none() => Turn::Heard(heard),
                () = room(up.as_ref()), if up.is_some() && !pieces.is_empty() => Turn::Act(Act::Nothing),
                // Others on this thread have their turn too.
                () = tokio::task::yield_now(), if is_tired => Turn::Act(Act::Nothing),
            }
        };
        let went = match turn {
            Turn::Act(act) => line.act(act, client, source, marks, tally).await,
            Turn::Lift => line.lift(client).await.map(|()| line.unanswered()),
            Turn::Heard(Ok(Some(bytes))) => {
                line.close_gate(bytes.len());
                held = Some(Piece::Data(bytes));
                Ok(None)
            }
            Turn::Heard(Ok(None)) => {
                tally.request_is_through = true;
                request_end = Instant::now();
                line.set_request_end(request_end);
                pieces.push_back(Piece::End);
                Ok(None)
            }
            Turn::Heard(Err(Left)) => Err(Left),
        };
        if let Some(end) = went.transpose() {
            return over(end, &line, source);
        }
    }
}

/// What a turn of the loop brought.
enum Turn {
    /// Something to do for the client.
    Act(Act),
    /// A fault may have been switched off.
    Lift,
    /// The client was heard.
    Heard(Result<Option<Bytes>, Left>),
}

/// How an answer ended.
fn over(end: Result<Outcome, Left>, line: &Line<'_>, source: &Source) -> Outcome {
    let Ok(outcome) = end else {
        source.leave();
        return Outcome::ClientLeft;
    };
    if line.is_over() {
        // A recording holds what the upstream said, and not what a fault let through.
        source.leave();
    }
    outcome
}

/// What the source says next, if that is wanted now; it works on in any case.
async fn listen(source: &mut Source, request_end: Instant, is_wanted: bool) -> Step {
    if !is_wanted {
        source.go_on().await;
    }
    source.next(request_end).await
}

/// What a future has ready.
pub(crate) async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        ready = future => Some(ready),
        () = std::future::ready(()) => None,
    }
}

/// Passes on what there is room for.
fn pass_on(pieces: &mut VecDeque<Piece>, up: &mut Option<mpsc::Sender<Piece>>) {
    while let Some((sender, piece)) = up.as_ref().zip(pieces.pop_front()) {
        let is_last = matches!(piece, Piece::End);
        match sender.try_send(piece) {
            Ok(()) if is_last => *up = None,
            Ok(()) => {}
            Err(TrySendError::Full(piece)) => {
                pieces.push_front(piece);
                return;
            }
            // Nobody takes the rest of the request any more; what the upstream said last is yet to come.
            Err(TrySendError::Closed(_)) => *up = None,
        }
    }
}

/// Resolves when there is room for a piece, or nobody takes any more.
async fn room(up: Option<&mpsc::Sender<Piece>>) {
    match up {
        // Whether there is room is seen when it is used.
        Some(up) => drop(up.reserve().await),
        None => std::future::pending().await,
    }
}

/// Rests until then, or until a fault may have been switched off: `false`.
pub(crate) async fn rest_until(due: Instant, watch: &mut Watch) -> bool {
    tokio::select! {
        () = until(Some(due)) => true,
        () = watch.turned() => false,
    }
}

/// Waits for a moment, as [`until`] does, and exactly where there is an alarm. There is one sleep for all waits: to move it
/// costs less than to make a new one.
async fn reach(mut sleep: Pin<&mut Option<Sleep>>, alarm: Option<&Alarm>, due: Option<Instant>) {
    let Some(due) = due else { return };
    let early = if alarm.is_some() { NEAR } else { EARLY };
    let until = due.checked_sub(early).unwrap_or(due);
    if until > Instant::now() {
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) if sleep.deadline() == until => {}
            Some(sleep) => sleep.reset(until),
            None => sleep.set(Some(sleep_until(until))),
        }
        if let Some(sleep) = sleep.as_pin_mut() {
            sleep.await;
        }
    }
    if let Some(alarm) = alarm {
        alarm.reach(due).await;
    }
}

/// Waits for a moment; none is at once.
pub(crate) async fn until(due: Option<Instant>) {
    let Some(due) = due else { return };
    let due = due.checked_sub(EARLY).unwrap_or(due);
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

/// Whether a wait for this moment would be over.
fn is_reached(moment: Instant) -> bool {
    moment <= Instant::now() + EARLY
}

/// How long before its moment a wait is left to the alarm: a sleep is late by up to 2 ms.
const NEAR: Duration = Duration::from_millis(3);

/// How many steps of the answer go before all else, until for one turn all else goes before them: to set up a wait for all
/// costs more than a step.
const BURST: u32 = 16;

/// The pieces in which a body goes up that was read before.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests;
