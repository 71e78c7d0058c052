//! One try over HTTP/2.
//!
//! A stream's window is half of what may wait for a client, and only what has found room in the other half is given back
//! to it: however slow the client, no more comes.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::{Reader, Rest, Talk, Tried, acquire};
use crate::call::{Piece, Said, UpstreamError};
use crate::message::{Ending, ResponseHead};
use crate::pool::Lease;
use crate::wire::{frame_for_http1, http2_head, http2_headers, http2_request};

use answer::{Answer, Heard};

mod answer;

/// How many bytes an upstream may send that nobody took yet.
pub(super) fn window(ahead: usize) -> u32 {
    u32::try_from(ahead / 2).map_or(WINDOW_MAX, |window| window.min(WINDOW_MAX))
}

/// The request's body on its way.
struct Upload {
    stream: SendStream<Bytes>,
    /// What waits for the upstream's window.
    pending: Bytes,
    /// Whether the body ends after what is pending.
    ends: bool,
    /// Whether nothing can be sent any more: it is over, or the upstream does not want more.
    is_over: bool,
}

impl Upload {
    fn is_idle(&self) -> bool {
        self.is_over || (self.pending.is_empty() && !self.ends)
    }

    fn send(&mut self, bytes: Bytes) {
        if !self.is_over {
            self.pending = bytes;
        }
    }

    /// Sends what the window allows, once it allows something. A failure shows in the answer. Cancel-safe.
    async fn push(&mut self) {
        if !self.pending.is_empty() {
            self.stream.reserve_capacity(self.pending.len());
            while self.stream.capacity() == 0 {
                match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return self.give_up(),
                }
            }
            let count = self.stream.capacity().min(self.pending.len());
            let bytes = self.pending.split_to(count);
            if self.stream.send_data(bytes, false).is_err() {
                return self.give_up();
            }
        }
        if self.pending.is_empty() && self.ends {
            self.is_over = true;
            // As above.
            drop(self.stream.send_data(Bytes::new(), true));
        }
    }

    fn give_up(&mut self) {
        self.is_over = true;
        self.pending = Bytes::new();
    }
}

impl Reader {
    /// Tries on this connection.
    pub(super) async fn attempt_http2(&mut self, mut lease: Lease) -> Tried {
        self.ahead = self.call.ahead.saturating_sub(self.call.ahead / 2).max(1);
        self.room = Arc::new(Semaphore::new(self.ahead));
        let request = match http2_request(&self.call) {
            Ok(request) => request,
            Err(reason) => {
                return Tried::Failed(UpstreamError::Unsendable {
                    origin: self.origin(),
                    reason,
                });
            }
        };
        let has_body = self.call.body.is_some();
        let (answer, stream) = match lease.requests().send_request(request, !has_body) {
            Ok(sent) => sent,
            Err(error) => return self.unsent(&error, &lease),
        };
        let mut upload = Upload {
            stream,
            pending: self.resend.iter().flatten().flatten().copied().collect(),
            ends: has_body && self.request_is_through,
            is_over: !has_body,
        };
        let mut answer = Answer::new(answer);
        let tried = self.talk_http2(&mut answer, &mut upload, &lease).await;
        if !matches!(tried, Tried::Ended(Ending::Complete, _)) || !upload.is_over {
            upload.stream.send_reset(Reason::CANCEL);
        }
        tried
    }

    /// The exchange itself, both ways at once.
    async fn talk_http2(
        &mut self,
        answer: &mut Answer,
        upload: &mut Upload,
        lease: &Lease,
    ) -> Tried {
        let mut talk = Talk::start(self.call.timeouts, self.request_is_through);
        let timer = sleep_until(talk.deadline());
        tokio::pin!(timer);
        loop {
            let over = tokio::select! {
                biased;
                () = self.said.closed(), if talk.drained.is_none() => {
                    answer.release(talk.waiting_bytes());
                    self.client_left(&mut talk)
                }
                permit = acquire(&self.room, talk.waiting.as_ref(), self.ahead), if talk.waiting.is_some() => {
                    answer.release(talk.waiting_bytes());
                    self.pass_waiting(&mut talk, permit);
                    None
                }
                piece = self.pieces.recv(), if !self.request_is_through && upload.is_idle() => {
                    self.take_piece_http2(upload, &mut talk, piece)
                }
                () = upload.push(), if !upload.is_idle() => {
                    talk.last = Instant::now();
                    None
                }
                heard = answer.next(), if talk.waiting.is_none() => {
                    talk.last = Instant::now();
                    match heard {
                        Ok(heard) => {
                            lease.heard();
                            talk.has_heard = true;
                            let over = self.take_heard(answer, &mut talk, heard);
                            if over.is_none() && let Some(recorder) = &self.recorder {
                                recorder.catch_up().await;
                            }
                            over
                        }
                        Err(error) => Some(self.broken_http2(&error, &talk, answer, lease)),
                    }
                }
                () = &mut timer => self.timed_out(&mut talk, upload.is_idle()),
            };
            if let Some(over) = over {
                return over;
            }
            talk.keep_time(timer.as_mut());
        }
    }

    fn take_piece_http2(
        &mut self,
        upload: &mut Upload,
        talk: &mut Talk,
        piece: Option<Piece>,
    ) -> Option<Tried> {
        talk.last = Instant::now();
        match piece {
            Some(Piece::Data(bytes)) => {
                self.keep_piece(&bytes);
                upload.send(bytes);
            }
            Some(Piece::End) => {
                upload.ends = true;
                self.end_request(talk);
            }
            None => return Some(Tried::Abandoned),
        }
        None
    }

    /// Something of the answer came.
    fn take_heard(&mut self, answer: &mut Answer, talk: &mut Talk, heard: Heard) -> Option<Tried> {
        let mut rest = Rest::default();
        let is_end = match heard {
            Heard::Interim(head) => {
                let head = http2_head(head.status(), head.headers());
                drop(self.said.send(Said::Interim(head)));
                false
            }
            Heard::Head(head, is_end) => {
                let head = self.take_head_http2(talk, http2_head(head.status, &head.headers));
                self.pass_head(head, is_end, &mut rest);
                is_end
            }
            Heard::Data(bytes, is_end) => {
                let count = bytes.len();
                if let Some(over) = self.take_bytes(talk, Some(bytes), is_end, &mut rest) {
                    return Some(over);
                }
                if talk.waiting.is_none() {
                    answer.release(count);
                }
                is_end
            }
            Heard::Trailers(trailers) => {
                let trailers = http2_headers(&trailers);
                if let Some(recorder) = &mut self.recorder {
                    recorder.trailers(&trailers);
                }
                rest.trailers = Some(trailers);
                true
            }
            Heard::End => true,
        };
        is_end.then_some(Tried::Ended(Ending::Complete, rest))
    }

    /// The head for the client.
    fn take_head_http2(&mut self, talk: &mut Talk, mut head: ResponseHead) -> ResponseHead {
        if let Some(recorder) = &mut self.recorder {
            recorder.protocol("h2");
        }
        self.take_head(talk, &head);
        frame_for_http1(&mut head, &self.call.head.method);
        head
    }

    /// The request could not even begin.
    fn unsent(&self, error: &h2::Error, lease: &Lease) -> Tried {
        lease.close();
        let origin = self.origin();
        if error.is_io() || error.is_go_away() || error.is_reset() {
            Tried::Unseen(UpstreamError::Closed { origin })
        } else {
            let reason = error.to_string();
            Tried::Failed(UpstreamError::Unsendable { origin, reason })
        }
    }

    fn broken_http2(
        &self,
        error: &h2::Error,
        talk: &Talk,
        answer: &Answer,
        lease: &Lease,
    ) -> Tried {
        let is_refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        // With a GOAWAY the upstream says which requests it will not look at: those get it as their error.
        let is_unseen = error.is_remote() && error.is_go_away();
        if !error.is_reset() {
            lease.close();
        }
        if talk.head_at.is_some() {
            let is_all = error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
            let ending = if answer.is_all_there() || (is_all && error.is_reset()) {
                Ending::Complete
            } else {
                ending_of(error)
            };
            return Tried::Ended(ending, Rest::default());
        }
        let failed = self.failure(error);
        let is_gone = matches!(
            failed,
            UpstreamError::Closed { .. } | UpstreamError::Reset { .. }
        );
        let was_dead = is_gone && lease.is_reused() && self.may_be_stale(talk);
        let may_go_again = self.resend.is_some();
        if is_unseen && may_go_again {
            Tried::Unseen(failed)
        } else {
            Tried::failed(failed, (is_refused && may_go_again) || was_dead)
        }
    }

    /// Why there is no answer.
    fn failure(&self, error: &h2::Error) -> UpstreamError {
        let origin = self.origin();
        if let Some(error) = error.get_io() {
            // With TLS 1.3 a server may refuse a client after the handshake.
            return match error.kind() {
                io::ErrorKind::InvalidData => UpstreamError::Connect {
                    origin,
                    reason: error.to_string(),
                },
                io::ErrorKind::ConnectionReset => UpstreamError::Reset { origin },
                _ => UpstreamError::Closed { origin },
            };
        }
        match error.reason() {
            Some(reason) if error.is_remote() && error.is_reset() => UpstreamError::StreamReset {
                origin,
                code: format!("{reason:?}"),
            },
            _ if error.is_remote() => UpstreamError::Closed { origin },
            _ => UpstreamError::NotHttp2 {
                origin,
                reason: error.to_string(),
            },
        }
    }
}

/// How an answer ended that had begun.
fn ending_of(error: &h2::Error) -> Ending {
    match error.get_io().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionReset) => Ending::Reset,
        Some(io::ErrorKind::InvalidData) => Ending::Malformed,
        Some(_) => Ending::Closed,
        None if error.is_remote() && error.is_reset() => Ending::Reset,
        None if error.is_remote() => Ending::Closed,
        None => Ending::Malformed,
    }
}

/// The largest window of HTTP/2 (RFC 9113, 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;
