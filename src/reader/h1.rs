//! One try over HTTP/1.1.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::{Error, ErrorType};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Reader, Rest, Talk, Tried, acquire};
use crate::call::{BodyLength, Call, Piece, Said, UpstreamError};
use crate::conn::ConnCtl;
use crate::message::{Chunk, Ending};
use crate::pool::Http1;
use crate::wire::response_head;

impl Reader {
    /// Tries on this connection.
    pub(super) async fn attempt_http1(&mut self, http1: Http1) -> Tried {
        let Http1 {
            conn,
            key,
            is_reused,
        } = http1;
        let ctl = conn.ctl();
        let mut http = HttpSession::new(Box::new(conn));
        let header = match request_header(&self.call) {
            Ok(header) => header,
            Err(reason) => {
                return Tried::Failed(UpstreamError::Unsendable {
                    origin: self.origin(),
                    reason,
                });
            }
        };
        if self.send_start(&mut http, header).await.is_err() {
            let error = UpstreamError::Closed {
                origin: self.origin(),
            };
            return Tried::failed(error, is_reused);
        }
        let tried = self.converse(&mut http, &ctl, is_reused).await;
        if matches!(tried, Tried::Ended(Ending::Complete, _))
            && self.request_is_through
            && http
                .resp_header()
                .is_some_and(|head| self.has_clear_end(head))
        {
            self.pool.release(http, &key).await;
        }
        tried
    }

    /// Whether the upstream has certainly said all. For a `HEAD` request an answer without a length is taken by some servers for
    /// one that ends with the connection, and its body is sent all the same: it would be read as the next answer.
    fn has_clear_end(&self, head: &ResponseHeader) -> bool {
        self.call.head.method != "HEAD"
            || matches!(head.status.as_u16(), 204 | 304)
            || head.headers.contains_key(CONTENT_LENGTH)
            || head.headers.contains_key(TRANSFER_ENCODING)
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
                permit = acquire(&self.room, talk.waiting.as_ref(), self.ahead), if talk.waiting.is_some() => {
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
                () = &mut timer => self.timed_out(&mut talk, ctl.is_drained()),
            };
            if let Some(over) = over {
                return over;
            }
            talk.keep_time(timer.as_mut());
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
            Some(Piece::Data(bytes)) => {
                self.keep_piece(&bytes);
                // The connection forgives: an upstream that answers early and closes must still be read.
                drop(http.write_body(&bytes).await);
            }
            Some(Piece::End) => {
                // A failed write shows when the answer is read.
                drop(http.finish_body().await);
                self.end_request(talk);
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
                let head = response_head(&head);
                match head.status {
                    // An upgrade that nobody asked for.
                    101 => {
                        let origin = self.origin();
                        return Some(Tried::Failed(UpstreamError::Malformed { origin }));
                    }
                    ..200 => drop(self.said.send(Said::Interim(head))),
                    _ => {
                        self.take_head(talk, &head);
                        self.pass_head(head, is_end, &mut rest);
                    }
                }
                is_end
            }
            HttpTask::Body(bytes, is_end) => {
                if let Some(over) = self.take_bytes(talk, bytes, is_end, &mut rest) {
                    return Some(over);
                }
                is_end
            }
            // Pingora does not read trailers of HTTP/1.1 (0.9.1).
            HttpTask::Done | HttpTask::Trailer(_) => true,
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {
                return Some(Tried::Ended(Ending::Malformed, rest));
            }
        };
        (is_end && talk.head_at.is_some()).then_some(Tried::Ended(Ending::Complete, rest))
    }

    fn broken(&self, error: &Error, talk: &Talk, is_reused: bool) -> Tried {
        let ending = ending_of(error);
        if talk.head_at.is_some() {
            return Tried::Ended(ending, Rest::default());
        }
        let origin = self.origin();
        // With TLS 1.3 a server may refuse a client after the handshake.
        if let Some(reason) =
            io_error(error).filter(|error| error.kind() == io::ErrorKind::InvalidData)
        {
            let reason = reason.to_string();
            return Tried::Failed(UpstreamError::Connect { origin, reason });
        }
        let may_go_again = is_reused && self.may_be_stale(talk);
        let failed = match ending {
            Ending::Closed => UpstreamError::Closed { origin },
            Ending::Reset => UpstreamError::Reset { origin },
            _ => return Tried::Failed(UpstreamError::Malformed { origin }),
        };
        Tried::failed(failed, may_go_again)
    }
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
        // It would ask for trailers, which nobody here reads.
        if name.eq_ignore_ascii_case("te") {
            continue;
        }
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
        ErrorType::ReadError => match io_error(error).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionReset) => Ending::Reset,
            _ => Ending::Closed,
        },
        ErrorType::ReadTimedout => Ending::TimedOut,
        _ => Ending::Malformed,
    }
}

fn io_error(error: &Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.root_cause());
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}
