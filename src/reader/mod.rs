//! The task that owns the upstream's side of one exchange.
//!
//! It owns the upstream so that a slow client can't bend the recorded times: it stamps each chunk when it comes,
//! hands it to the recorder, and runs at most so many bytes ahead of the client. It knows nothing of faults or
//! pacing; what it sends up is what the upstream said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::call::{Call, Piece, Said, UpstreamError};
use crate::message::{Chunk, Ending, Headers, ResponseHead};
use crate::pool::{Connected, Goal, Pool};
use crate::recorder::Recorder;

use talk::{Drained, Talk};

pub(crate) use h1::resume;

mod h1;
mod h2;
mod talk;

/// The task that owns the upstream's side of one exchange.
pub(crate) struct Reader {
    pool: Arc<Pool>,
    call: Call,
    room: Arc<Semaphore>,
    /// How many bytes of the answer may wait for the client in all of `room`.
    ahead: usize,
    said: mpsc::UnboundedSender<Said>,
    pieces: mpsc::Receiver<Piece>,
    recorder: Option<Recorder>,
    drains: Arc<AtomicBool>,
    /// What went out of the body, as long as it is small enough to be sent once more; `None` when it is not.
    resend: Option<Vec<Bytes>>,
    request_is_through: bool,
}

/// What the upstream said last, not yet passed on: a client that has it all may ask again at once, and should find the
/// connection back in the pool and the recording made.
#[derive(Default)]
struct Rest {
    head: Option<ResponseHead>,
    chunk: Option<Chunk>,
    trailers: Option<Headers>,
}

/// How one try went.
enum Tried {
    /// The answer came, to the end or not.
    Ended(Ending, Rest),
    /// There is no answer.
    Failed(UpstreamError),
    /// The client left, and nobody wants the rest.
    Abandoned,
    /// The request was not looked at, such as on a pooled connection that was dead before it said anything. It may go once
    /// more on another; if not, this is why.
    Stale(UpstreamError),
    /// The upstream said goodbye and that it has not looked at the request, which may happen again on the next connection.
    Unseen(UpstreamError),
}

impl Tried {
    /// There is no answer, and the request may go once more if it was not looked at.
    fn failed(error: UpstreamError, is_stale: bool) -> Self {
        if is_stale {
            Self::Stale(error)
        } else {
            Self::Failed(error)
        }
    }
}

impl Reader {
    /// Makes ready to call; `drains` says, once nobody listens any more, whether the recorder still does.
    pub(crate) fn new(
        pool: Arc<Pool>,
        call: Call,
        said: mpsc::UnboundedSender<Said>,
        pieces: mpsc::Receiver<Piece>,
        recorder: Option<Recorder>,
        drains: Arc<AtomicBool>,
    ) -> Self {
        Self {
            room: Arc::new(Semaphore::new(call.ahead)),
            ahead: call.ahead,
            resend: Some(Vec::new()),
            request_is_through: !call.body.is_some(),
            pool,
            call,
            said,
            pieces,
            recorder,
            drains,
        }
    }

    /// Calls, and says all that the upstream says.
    pub(crate) async fn run(mut self) {
        let mut pooled = true;
        let mut unseen = 0;
        let tried = loop {
            match self.attempt(pooled).await {
                Tried::Stale(_) if pooled => pooled = false,
                Tried::Unseen(_) if unseen < UNSEEN_MAX => unseen += 1,
                Tried::Stale(error) | Tried::Unseen(error) => break Tried::Failed(error),
                tried => break tried,
            }
        };
        let recorder = self.recorder.take();
        match tried {
            Tried::Ended(ending, rest) => {
                if let Some(recorder) = recorder {
                    recorder.finish(ending);
                }
                // Nobody listens any more where the client has left.
                if let Some(head) = rest.head {
                    drop(self.said.send(Said::Whole(head)));
                    return;
                }
                self.say_rest(rest).await;
                drop(self.said.send(Said::End(ending)));
            }
            Tried::Failed(error) | Tried::Stale(error) | Tried::Unseen(error) => {
                // Without an answer there is no recording: the recorder is dropped.
                drop(self.said.send(Said::Failed(error)));
            }
            Tried::Abandoned => {
                if let Some(recorder) = recorder {
                    recorder.finish(Ending::ClientLeft);
                }
            }
        }
    }

    async fn say_rest(&self, rest: Rest) {
        if let Some(chunk) = rest.chunk {
            tokio::select! {
                permit = acquire(&self.room, Some(&chunk), self.ahead) => {
                    drop(self.said.send(Said::Chunk(chunk.clone(), permit)));
                }
                () = self.said.closed() => {}
            }
        }
        if let Some(trailers) = rest.trailers {
            drop(self.said.send(Said::Trailers(trailers)));
        }
    }

    async fn attempt(&mut self, pooled: bool) -> Tried {
        let goal = Goal {
            origin: &self.call.origin,
            link: &self.call.link,
            window: h2::window(self.call.ahead),
            timeout: self.call.timeouts.connect,
        };
        let connected = tokio::select! {
            connected = self.pool.connect(goal, pooled) => connected,
            () = self.said.closed() => return Tried::Abandoned,
        };
        match connected {
            Ok(Connected::Http1(http1)) => self.attempt_http1(*http1).await,
            Ok(Connected::Http2(lease)) => self.attempt_http2(lease).await,
            Err(error) => Tried::Failed(error),
        }
    }

    /// Nobody listens any more: the rest is read for the recorder, or not at all.
    fn client_left(&self, talk: &mut Talk) -> Option<Tried> {
        if !self.drains.load(Ordering::Relaxed)
            || self.recorder.is_none()
            || !self.request_is_through
        {
            return Some(Tried::Abandoned);
        }
        talk.waiting = None;
        talk.drained = Some(Drained::start(self.call.drain));
        None
    }

    /// The client made room for the chunk that waited.
    fn pass_waiting(&self, talk: &mut Talk, permit: Option<OwnedSemaphorePermit>) {
        if let Some(chunk) = talk.waiting.take() {
            talk.last = Instant::now();
            talk.was_held = true;
            drop(self.said.send(Said::Chunk(chunk, permit)));
        }
    }

    /// The head of the answer came: `head` is what it said, the client's may say more.
    fn take_head(&mut self, talk: &mut Talk, head: &ResponseHead) {
        talk.head_at = Some(talk.last);
        if let Some(recorder) = &mut self.recorder {
            let after = talk.request_end.map_or(Duration::ZERO, |end| {
                talk.last.saturating_duration_since(end)
            });
            recorder.head(head, after);
        }
    }

    /// Passes a head on; where nothing follows it, it waits for the end of all.
    fn pass_head(&self, head: ResponseHead, is_end: bool, rest: &mut Rest) {
        if is_end {
            rest.head = Some(head);
        } else {
            drop(self.said.send(Said::Head(head)));
        }
    }

    /// Some of the body came. Says so if the client has left and has no use for as much.
    fn take_bytes(
        &mut self,
        talk: &mut Talk,
        bytes: Option<Bytes>,
        is_end: bool,
        rest: &mut Rest,
    ) -> Option<Tried> {
        let chunk = talk.stamp(bytes)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.chunk(&chunk);
        }
        match &mut talk.drained {
            Some(drained) if drained.bytes < chunk.bytes.len() => return Some(Tried::Abandoned),
            Some(drained) => drained.bytes -= chunk.bytes.len(),
            None if is_end => rest.chunk = Some(chunk),
            None => talk.waiting = self.pass(chunk),
        }
        None
    }

    /// The deadline may be over; `is_drained`: nothing of the request waits for the upstream.
    fn timed_out(&self, talk: &mut Talk, is_drained: bool) -> Option<Tried> {
        let is_uploading = talk.head_at.is_none() && !self.request_is_through;
        if talk.waiting.is_some() || (is_uploading && is_drained) {
            // It is the client who takes its time.
            talk.last = Instant::now();
            return None;
        }
        if talk.deadline() > Instant::now() {
            return None;
        }
        let origin = self.origin();
        Some(match (&talk.drained, talk.head_at) {
            (Some(_), _) => Tried::Abandoned,
            (None, Some(_)) => Tried::Ended(Ending::TimedOut, Rest::default()),
            (None, None) if self.request_is_through => {
                Tried::Failed(UpstreamError::FirstByteTimedOut {
                    origin,
                    after: talk.timeouts.first_byte,
                })
            }
            (None, None) => Tried::Failed(UpstreamError::SendTimedOut {
                origin,
                after: talk.timeouts.idle,
            }),
        })
    }

    /// Keeps a piece of the body that goes out.
    fn keep_piece(&mut self, bytes: &Bytes) {
        if let Some(recorder) = &mut self.recorder {
            recorder.request_body(bytes);
        }
        if let Some(pieces) = &mut self.resend {
            if pieces.iter().map(Bytes::len).sum::<usize>() + bytes.len() <= RESEND_MAX {
                pieces.push(bytes.clone());
            } else {
                self.resend = None;
            }
        }
    }

    /// The whole request went out.
    fn end_request(&mut self, talk: &mut Talk) {
        self.request_is_through = true;
        talk.request_end = Some(Instant::now());
    }

    /// Sends a chunk up if there is room for it, otherwise gives it back to wait.
    fn pass(&self, chunk: Chunk) -> Option<Chunk> {
        match Arc::clone(&self.room).try_acquire_many_owned(permits(&chunk, self.ahead)) {
            Ok(permit) => {
                drop(self.said.send(Said::Chunk(chunk, Some(permit))));
                None
            }
            Err(_) => Some(chunk),
        }
    }

    /// Whether a connection from the pool was dead before this request, so that it may be sent once more. A request that
    /// must not be done twice is taken for lost only when the connection fails at once.
    fn may_be_stale(&self, talk: &Talk) -> bool {
        let is_idempotent = matches!(
            self.call.head.method.as_str(),
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        );
        self.resend.is_some()
            && !talk.has_heard
            && (is_idempotent || talk.since.elapsed() < STALE_WITHIN)
    }

    fn origin(&self) -> String {
        self.call.origin.to_string()
    }
}

/// Waits until there is room for this chunk; `None` only if the semaphore is closed, which nobody does.
async fn acquire(
    room: &Arc<Semaphore>,
    chunk: Option<&Chunk>,
    ahead: usize,
) -> Option<OwnedSemaphorePermit> {
    let count = chunk.map_or(0, |chunk| permits(chunk, ahead));
    Arc::clone(room).acquire_many_owned(count).await.ok()
}

/// A chunk larger than all the room may go when all the room is free.
fn permits(chunk: &Chunk, ahead: usize) -> u32 {
    u32::try_from((chunk.bytes.len() + CHUNK_COST).min(ahead)).unwrap_or(u32::MAX)
}

/// How much of a request's body is kept to be sent once more: pingora's retry buffer (`BODY_BUF_LIMIT`, 0.9.1).
const RESEND_MAX: usize = 64 * 1024;

/// How often a request goes once more that met a connection which was about to end.
const UNSEEN_MAX: usize = 3;

/// What a chunk on its way takes in memory beside its bytes, about.
const CHUNK_COST: usize = 256;

/// How soon a connection from the pool fails if it was dead before the request reached it.
const STALE_WITHIN: Duration = Duration::from_millis(200);
