//! The task that owns the upstream's side of one exchange.
//!
//! It owns the upstream so that a slow client can't bend the recorded times: it stamps each chunk when it comes,
//! hands it to the recorder, and runs at most so many bytes ahead of the client. It knows nothing of faults or
//! pacing; what it sends up is what the upstream said.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::{Error, ErrorType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::call::{BodyLength, Call, Piece, Said, UpstreamError};
use crate::conn::ConnCtl;
use crate::message::{Chunk, Ending};
use crate::plan::{CallTimeouts, Drain};
use crate::pool::{Connected, Pool};
use crate::recorder::Recorder;
use crate::wire::response_head;

/// The task that owns the upstream's side of one exchange.
pub(crate) struct Reader {
    pool: Arc<Pool>,
    call: Call,
    room: Arc<Semaphore>,
    said: mpsc::UnboundedSender<Said>,
    pieces: mpsc::Receiver<Piece>,
    recorder: Option<Recorder>,
    drains: Arc<AtomicBool>,
    /// What went out of the body, as long as it is small enough to be sent once more; `None` when it is not.
    resend: Option<Vec<Bytes>>,
    request_is_through: bool,
}

/// Says the rest of an answer whose head was read already, such as the refusal of an upgrade.
pub(crate) async fn resume(
    mut http: HttpSession,
    head: ResponseHeader,
    said: mpsc::UnboundedSender<Said>,
    ahead: usize,
    idle: Duration,
) {
    drop(said.send(Said::Head(response_head(&head))));
    let room = Arc::new(Semaphore::new(ahead));
    let start = Instant::now();
    let ending = loop {
        if http.is_body_done() {
            break Ending::Complete;
        }
        let read = tokio::select! {
            read = timeout(idle, http.read_body_bytes()) => read,
            () = said.closed() => return,
        };
        let bytes = match read {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => break Ending::Complete,
            Ok(Err(error)) => break ending_of(&error),
            Err(_) => break Ending::TimedOut,
        };
        let chunk = Chunk {
            at: start.elapsed(),
            bytes,
            held: false,
        };
        let permit = tokio::select! {
            permit = acquire(&room, Some(&chunk), ahead) => permit,
            () = said.closed() => return,
        };
        drop(said.send(Said::Chunk(chunk, permit)));
    };
    drop(said.send(Said::End(ending)));
}

/// What the upstream said last, not yet passed on: a client that has it all may ask again at once, and should find the
/// connection back in the pool and the recording made.
#[derive(Default)]
struct Rest {
    head: Option<Said>,
    chunk: Option<Chunk>,
}

/// How one try went.
enum Tried {
    /// The answer came, to the end or not.
    Ended(Ending, Rest),
    /// There is no answer.
    Failed(UpstreamError),
    /// The client left, and nobody wants the rest.
    Abandoned,
    /// A pooled connection was dead before it said anything; another one may work.
    Stale,
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
            resend: Some(Vec::new()),
            request_is_through: false,
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
        let tried = loop {
            match self.attempt(pooled).await {
                Tried::Stale => pooled = false,
                tried => break tried,
            }
        };
        let recorder = self.recorder.take();
        match tried {
            Tried::Ended(ending, rest) => {
                if let Some(recorder) = recorder {
                    recorder.finish(ending);
                }
                self.say_rest(rest).await;
                // Nobody listens any more where the client has left.
                drop(self.said.send(Said::End(ending)));
            }
            Tried::Failed(error) => {
                // Without an answer there is no recording: the recorder is dropped.
                drop(self.said.send(Said::Failed(error)));
            }
            Tried::Abandoned => {
                if let Some(recorder) = recorder {
                    recorder.finish(Ending::ClientLeft);
                }
            }
            Tried::Stale => {}
        }
    }

    async fn say_rest(&self, rest: Rest) {
        if let Some(head) = rest.head {
            drop(self.said.send(head));
        }
        if let Some(chunk) = rest.chunk {
            tokio::select! {
                permit = acquire(&self.room, Some(&chunk), self.call.ahead) => {
                    drop(self.said.send(Said::Chunk(chunk.clone(), permit)));
                }
                () = self.said.closed() => {}
            }
        }
    }

    async fn attempt(&mut self, pooled: bool) -> Tried {
        let connected = tokio::select! {
            connected = self.pool.connect(&self.call.origin, self.call.timeouts.connect, pooled) => connected,
            () = self.said.closed() => return Tried::Abandoned,
        };
        let Connected {
            conn,
            peer,
            is_reused,
        } = match connected {
            Ok(connected) => connected,
            Err(error) => return Tried::Failed(error),
        };
        let ctl = conn.ctl();
        let mut http = HttpSession::new(Box::new(conn));
        let header = match request_header(&self.call) {
            Ok(header) => header,
            Err(reason) => {
                return Tried::Failed(UpstreamError::Unsendable {
                    origin: self.call.origin.to_string(),
                    reason,
                });
            }
        };
        let tried = match self.send_start(&mut http, header).await {
            Ok(()) => self.converse(&mut http, &ctl, is_reused).await,
            Err(_) if is_reused => return Tried::Stale,
            Err(_) => {
                return Tried::Failed(UpstreamError::Closed {
                    origin: self.call.origin.to_string(),
                });
            }
        };
        if matches!(tried, Tried::Ended(Ending::Complete, _)) && self.request_is_through {
            self.pool.release(http, &peer).await;
        }
        tried
    }

    /// The head, and what of the body went out on a connection that turned out to be dead.
    async fn send_start(
        &self,
        http: &mut HttpSession,
        header: Box<RequestHeader>,
    ) -> pingora::Result<()> {
        http.write_request_header(header).await?;
        for piece in self.resend.iter().flatten() {
            http.write_body(piece).await?;
        }
        if self.request_is_through {
            http.finish_body().await?;
        }
        Ok(())
    }

    /// The exchange itself, both ways at once.
    async fn converse(&mut self, http: &mut HttpSession, ctl: &ConnCtl, is_reused: bool) -> Tried {
        let mut talk = Talk::start(self.call.timeouts, self.request_is_through);
        let timer = sleep_until(talk.deadline());
        tokio::pin!(timer);
        loop {
            let has_room = ctl.has_room();
            let over = tokio::select! {
                biased;
                () = self.said.closed(), if talk.drained.is_none() => self.client_left(&mut talk),
                permit = acquire(&self.room, talk.waiting.as_ref(), self.call.ahead), if talk.waiting.is_some() => {
                    self.pass_waiting(&mut talk, permit);
                    None
                }
                piece = self.pieces.recv(), if !self.request_is_through && has_room => {
                    self.take_piece(http, &mut talk, piece).await
                }
                () = ctl.drained(), if !self.request_is_through && !has_room => {
                    talk.last = Instant::now();
                    None
                }
                task = http.read_response_task(), if talk.waiting.is_none() => {
                    talk.last = Instant::now();
                    match task {
                        Ok(task) => {
                            talk.has_heard = true;
                            let over = self.take_task(&mut talk, task);
                            if over.is_none() && let Some(recorder) = &self.recorder {
                                recorder.catch_up().await;
                            }
                            over
                        }
                        Err(error) => Some(self.broken(&error, &talk, is_reused)),
                    }
                }
                () = &mut timer => self.timed_out(&mut talk, ctl),
            };
            if let Some(over) = over {
                return over;
            }
            // Moving a timer costs more than letting it fire early once in a while.
            let deadline = talk.deadline();
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
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

    async fn take_piece(
        &mut self,
        http: &mut HttpSession,
        talk: &mut Talk,
        piece: Option<Piece>,
    ) -> Option<Tried> {
        talk.last = Instant::now();
        match piece {
            Some(Piece::Data(bytes)) => self.send_piece(http, bytes).await,
            Some(Piece::End) => {
                self.request_is_through = true;
                // A failed write shows when the answer is read.
                drop(http.finish_body().await);
                talk.request_end = Some(Instant::now());
            }
            None => return Some(Tried::Abandoned),
        }
        None
    }

    /// Something of the answer came.
    fn take_task(&mut self, talk: &mut Talk, task: HttpTask) -> Option<Tried> {
        let mut rest = Rest::default();
        let is_end = match task {
            HttpTask::Header(head, is_end) => {
                match self.take_head(talk, &head) {
                    Some(said) if is_end && talk.head_at.is_some() => rest.head = Some(said),
                    Some(said) => drop(self.said.send(said)),
                    None => {
                        let origin = self.call.origin.to_string();
                        return Some(Tried::Failed(UpstreamError::Malformed { origin }));
                    }
                }
                is_end
            }
            HttpTask::Body(bytes, is_end) => {
                if let Some(chunk) = talk.stamp(bytes) {
                    if let Some(recorder) = &mut self.recorder {
                        recorder.chunk(&chunk);
                    }
                    match &mut talk.drained {
                        Some(drained) if drained.bytes < chunk.bytes.len() => {
                            return Some(Tried::Abandoned);
                        }
                        Some(drained) => drained.bytes -= chunk.bytes.len(),
                        None if is_end => rest.chunk = Some(chunk),
                        None => talk.waiting = self.pass(chunk),
                    }
                }
                is_end
            }
            HttpTask::Done | HttpTask::Trailer(_) => true,
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {
                return Some(Tried::Ended(Ending::Malformed, rest));
            }
        };
        (is_end && talk.head_at.is_some()).then_some(Tried::Ended(Ending::Complete, rest))
    }

    /// An interim head or the head of the answer. `None` for an upgrade that nobody asked for.
    fn take_head(&mut self, talk: &mut Talk, head: &ResponseHeader) -> Option<Said> {
        let head = response_head(head);
        match head.status {
            101 => None,
            ..200 => Some(Said::Interim(head)),
            _ => {
                talk.head_at = Some(talk.last);
                if let Some(recorder) = &mut self.recorder {
                    let after = talk.request_end.map_or(Duration::ZERO, |end| {
                        talk.last.saturating_duration_since(end)
                    });
                    recorder.head(&head, after);
                }
                Some(Said::Head(head))
            }
        }
    }

    fn timed_out(&self, talk: &mut Talk, ctl: &ConnCtl) -> Option<Tried> {
        let is_uploading = talk.head_at.is_none() && !self.request_is_through;
        if talk.waiting.is_some() || (is_uploading && ctl.is_drained()) {
            // It is the client who takes its time.
            talk.last = Instant::now();
            return None;
        }
        if talk.deadline() > Instant::now() {
            return None;
        }
        let origin = self.call.origin.to_string();
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

    async fn send_piece(&mut self, http: &mut HttpSession, bytes: Bytes) {
        if let Some(recorder) = &mut self.recorder {
            recorder.request_body(&bytes);
        }
        if let Some(pieces) = &mut self.resend {
            if pieces.iter().map(Bytes::len).sum::<usize>() + bytes.len() <= RESEND_MAX {
                pieces.push(bytes.clone());
            } else {
                self.resend = None;
            }
        }
        // The connection forgives: an upstream that answers early and closes must still be read.
        drop(http.write_body(&bytes).await);
    }

    /// Sends a chunk up if there is room for it, otherwise gives it back to wait.
    fn pass(&self, chunk: Chunk) -> Option<Chunk> {
        match Arc::clone(&self.room).try_acquire_many_owned(permits(&chunk, self.call.ahead)) {
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

    fn broken(&self, error: &Error, talk: &Talk, is_reused: bool) -> Tried {
        let ending = ending_of(error);
        if talk.head_at.is_some() {
            return Tried::Ended(ending, Rest::default());
        }
        let origin = self.call.origin.to_string();
        match ending {
            Ending::Closed | Ending::Reset if is_reused && self.may_be_stale(talk) => Tried::Stale,
            Ending::Closed => Tried::Failed(UpstreamError::Closed { origin }),
            Ending::Reset => Tried::Failed(UpstreamError::Reset { origin }),
            _ => Tried::Failed(UpstreamError::Malformed { origin }),
        }
    }
}

/// Where one try stands.
struct Talk {
    timeouts: CallTimeouts,
    /// When something passed last, either way.
    last: Instant,
    /// When the request was through.
    request_end: Option<Instant>,
    head_at: Option<Instant>,
    /// When the try began.
    since: Instant,
    /// Whether the upstream said anything.
    has_heard: bool,
    /// A chunk for which the client has made no room yet; nothing is read while there is one.
    waiting: Option<Chunk>,
    /// Whether the next chunk may have come while nothing was read.
    was_held: bool,
    /// Set once the client has left.
    drained: Option<Drained>,
}

/// What is left to read when the client has gone.
struct Drained {
    until: Instant,
    bytes: usize,
}

impl Talk {
    fn start(timeouts: CallTimeouts, request_is_through: bool) -> Self {
        let now = Instant::now();
        Self {
            timeouts,
            last: now,
            request_end: request_is_through.then_some(now),
            head_at: None,
            since: now,
            has_heard: false,
            waiting: None,
            was_held: false,
            drained: None,
        }
    }

    fn deadline(&self) -> Instant {
        match (&self.drained, self.head_at, self.request_end) {
            (Some(drained), ..) => drained.until,
            (None, None, Some(end)) => end + self.timeouts.first_byte,
            (None, ..) => self.last + self.timeouts.idle,
        }
    }

    fn stamp(&mut self, bytes: Option<Bytes>) -> Option<Chunk> {
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
        let at = self.last.saturating_duration_since(self.head_at?);
        Some(Chunk {
            at,
            bytes,
            held: std::mem::take(&mut self.was_held),
        })
    }
}

impl Drained {
    fn start(drain: Drain) -> Self {
        Self {
            until: Instant::now() + drain.time,
            bytes: drain.bytes,
        }
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

fn request_header(call: &Call) -> Result<Box<RequestHeader>, String> {
    let path = format!("{}{}", call.origin.base_path, call.head.target());
    let shorten = |error: Box<Error>| error.etype().as_str().to_owned();
    let mut header = RequestHeader::build(
        call.head.method.as_str(),
        path.as_bytes(),
        Some(call.head.headers.len() + 1),
    )
    .map_err(shorten)?;
    for (name, value) in call.head.headers.iter() {
        header
            .append_header(name.to_owned(), value.as_ref())
            .map_err(shorten)?;
    }
    match call.body {
        BodyLength::None => {}
        BodyLength::Known(length) => header
            .insert_header("Content-Length", length.to_string())
            .map_err(shorten)?,
        BodyLength::Unknown => header
            .insert_header("Transfer-Encoding", "chunked")
            .map_err(shorten)?,
    }
    Ok(Box::new(header))
}

/// How an answer ended, from what pingora says of the failed read.
fn ending_of(error: &Error) -> Ending {
    match error.etype() {
        // `PREMATURE_BODY_END` in pingora 0.9.1: fewer bytes than `Content-Length` says.
        ErrorType::ConnectionClosed | ErrorType::Custom("PrematureBodyEnd") => Ending::Closed,
        ErrorType::ReadError => match io_kind(error) {
            Some(io::ErrorKind::ConnectionReset) => Ending::Reset,
            _ => Ending::Closed,
        },
        ErrorType::ReadTimedout => Ending::TimedOut,
        _ => Ending::Malformed,
    }
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.root_cause());
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// How much of a request's body is kept to be sent once more: pingora's retry buffer (`BODY_BUF_LIMIT`, 0.9.1).
const RESEND_MAX: usize = 64 * 1024;

/// What a chunk on its way takes in memory beside its bytes, about.
const CHUNK_COST: usize = 256;

/// How soon a connection from the pool fails if it was dead before the request reached it.
const STALE_WITHIN: Duration = Duration::from_millis(200);
