//! A client that speaks HTTP/1 through pingora's session.
//!
//! Does for the pump what this protocol can: writes heads, bodies and ends, breaks off, and hears the rest of the request.
//! Knows when a client that has sent a FIN has left and when it only has no more to say.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use tokio::time::{Instant, timeout};

use crate::conn::{Conn, ConnCtl};
use crate::exchange::Report;
use crate::message::{Headers, ResponseHead};
use crate::pump::{Client, Cut, Left, Outcome, at_once};
use crate::wire::response_header;

/// A client that speaks HTTP/1 through pingora's session.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, not one state"
)]
pub(super) struct Http1Client<'a> {
    session: &'a mut ServerSession,
    ctl: &'a ConnCtl,
    /// How long a write may take.
    patience: Duration,
    is_http10: bool,
    /// When the request was through.
    request_end: Option<Instant>,
    has_head: bool,
    /// Whether the answer goes on to the end of the connection.
    ends_with_connection: bool,
    /// Whether the client has said that no request follows.
    is_half_closed: bool,
    /// Whether it was asked, by an interim head, if it is still there.
    is_asked: bool,
    /// Whether the answer was broken off.
    is_cut: bool,
    /// What was heard while nobody listened: the next pieces of the request, or its end.
    heard: VecDeque<Heard>,
}

/// What was heard of a request.
enum Heard {
    Piece(Bytes),
    End,
}

impl<'a> Http1Client<'a> {
    /// On this session, whose connection listens to `ctl`; a write may take as long as `patience`.
    pub(super) fn new(
        session: &'a mut ServerSession,
        ctl: &'a ConnCtl,
        patience: Duration,
    ) -> Self {
        let is_http10 = session.req_header().version == http::Version::HTTP_10;
        Self {
            session,
            ctl,
            patience,
            is_http10,
            request_end: None,
            has_head: false,
            ends_with_connection: false,
            is_half_closed: false,
            is_asked: false,
            is_cut: false,
            heard: VecDeque::new(),
        }
    }

    /// Whether another request may come on the connection.
    pub(super) async fn may_go_on(self, report: &Report) -> bool {
        match report.outcome {
            Outcome::Completed | Outcome::NoAnswer(_) if !self.is_cut => {}
            _ => return false,
        }
        if !report.tally.request_is_through {
            // The client may still be sending; it must get to read our answer all the same.
            self.ctl.linger();
            self.session.shutdown().await;
            return false;
        }
        true
    }

    /// The client sent a FIN: it has left, or it has said all and still listens. Before the answer has begun, an interim
    /// head (`100 Continue`, which every client skips) tells: a socket that is closed answers it with a reset.
    async fn ask_whether_left(&mut self) -> Left {
        if self.has_head {
            // The next write tells. In a silence, a client that has left is not waited for.
            return timeout(HALF_CLOSE, self.wait_until_broken())
                .await
                .unwrap_or(Left);
        }
        if self.is_http10 {
            // It knows no interim heads; nobody leaves right after asking.
            if self
                .request_end
                .is_some_and(|end| end.elapsed() > HALF_CLOSE_HTTP10)
            {
                return Left;
            }
        } else if !self.is_asked {
            self.is_asked = true;
            let head = ResponseHead {
                status: 100,
                reason: None,
                headers: Headers::new(),
            };
            if self.interim(&head).await.is_err() {
                return Left;
            }
        }
        self.wait_until_broken().await
    }

    /// Resolves when the client's socket reports an error.
    async fn wait_until_broken(&self) -> Left {
        match self
            .session
            .stream()
            .and_then(|stream| stream.as_any().downcast_ref::<Conn>())
        {
            Some(conn) => {
                conn.broken().await;
                Left
            }
            None => std::future::pending().await,
        }
    }
}

impl Client for Http1Client<'_> {
    async fn interim(&mut self, head: &ResponseHead) -> Result<(), Left> {
        if self.is_http10 {
            return Ok(());
        }
        self.ctl.cork(false);
        // Pingora takes every head before the end of the request for an early answer, after which it closes.
        self.session
            .set_close_on_response_before_downstream_finish(false);
        let header = response_header(head, false);
        let written = {
            let written = pin!(self.session.write_response_header(Box::new(header)));
            within(self.patience, written).await
        };
        self.session
            .set_close_on_response_before_downstream_finish(true);
        written.ok_or(Left)?.map_err(|_| Left)
    }

    async fn head(&mut self, head: &ResponseHead, more: bool) -> Result<(), Left> {
        self.ctl.cork(more);
        self.has_head = true;
        let header = response_header(head, self.is_http10);
        self.ends_with_connection = !header.headers.contains_key(http::header::CONTENT_LENGTH)
            && !header.headers.contains_key(http::header::TRANSFER_ENCODING);
        let is_without_body = matches!(head.status, 100..200 | 204 | 304)
            || self.session.req_header().method == http::Method::HEAD;
        if self.ends_with_connection && !is_without_body {
            // Says `Connection: close`, which is what will happen.
            self.session.set_keepalive(None);
        }
        let written = pin!(self.session.write_response_header(Box::new(header)));
        within(self.patience, written)
            .await
            .ok_or(Left)?
            .map_err(|_| Left)
    }

    async fn write(&mut self, bytes: Bytes, more: bool) -> Result<(), Left> {
        self.ctl.cork(more);
        let written = pin!(self.session.write_response_body(bytes, false));
        within(self.patience, written)
            .await
            .ok_or(Left)?
            .map_err(|_| Left)
    }

    /// It goes out when the client is listened to, which is next.
    fn uncork(&mut self) -> Result<(), Left> {
        self.ctl.cork(false);
        Ok(())
    }

    fn hold_back(&mut self) -> bool {
        self.ctl.allow(0);
        true
    }

    async fn let_out(&mut self, bytes: usize) -> Result<bool, Left> {
        if self.is_half_closed {
            // A connection writes what it holds while it is read, and this one is not read any more: the rest of the head
            // goes with what is written next, and that tells whether the client still listens.
            self.ctl.allow_all();
            return Ok(true);
        }
        if bytes == usize::MAX {
            self.ctl.allow_all();
        } else {
            self.ctl.allow(bytes);
        }
        if !self.write_held().await? {
            // As above: once the next request has begun to come, nobody reads either.
            self.ctl.allow_all();
            return Ok(true);
        }
        let is_out = self.ctl.is_drained();
        if is_out {
            self.ctl.allow_all();
        }
        Ok(is_out)
    }

    /// Pingora does not write trailers of HTTP/1.1 (0.9.1), so they end here.
    async fn trailers(&mut self, _: &Headers) -> Result<(), Left> {
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Left> {
        self.ctl.cork(false);
        let ended = {
            let ended = pin!(self.session.finish_body());
            within(self.patience, ended).await
        };
        match ended.ok_or(Left)? {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.etype(), ErrorType::WriteError) => Err(Left),
            // Fewer bytes than the head promised: the client must not take it for the end.
            Err(_) => {
                self.cut(Cut::Close).await;
                Ok(())
            }
        }
    }

    async fn cut(&mut self, how: Cut) {
        self.is_cut = true;
        self.ctl.allow_all();
        match how {
            // Where the end of the connection is the end of the answer, only a reset shows that it is not.
            Cut::Close if self.has_head && self.ends_with_connection => self.ctl.reset(),
            Cut::Close | Cut::Fin => {}
            Cut::Reset | Cut::ResetConnection | Cut::H2Reset(_) | Cut::GoAway(_) => {
                self.ctl.reset();
            }
            Cut::Garbage(bytes) => self.ctl.say_last(bytes),
        }
        self.session.shutdown().await;
    }

    async fn hear(&mut self) -> Result<Option<Bytes>, Left> {
        match self.heard.pop_front() {
            Some(Heard::Piece(bytes)) => Ok(Some(bytes)),
            Some(Heard::End) => Ok(None),
            None => self.listen().await,
        }
    }
}

impl Http1Client<'_> {
    /// Has the connection write what it may. It does so while it is read, and is not read as long as the upstream has not taken
    /// what was read before; so it is read without taking anything from the client.
    /// Says whether it was read at all.
    async fn write_held(&mut self) -> Result<bool, Left> {
        self.ctl.be_deaf(true);
        let result = loop {
            let heard = tokio::select! {
                biased;
                heard = self.listen() => heard,
                () = std::future::ready(()) => break Ok(self.ctl.was_polled()),
            };
            match heard {
                // What the session itself had read already, which is little.
                Ok(heard) => self.heard.push_back(heard.map_or(Heard::End, Heard::Piece)),
                Err(Left) => break Err(Left),
            }
        };
        self.ctl.be_deaf(false);
        result
    }

    /// The next piece of the request's body as it comes, `None` at its end; after that it resolves when the client has left.
    async fn listen(&mut self) -> Result<Option<Bytes>, Left> {
        if self.request_end.is_none() {
            loop {
                if self.session.is_body_done() {
                    self.request_end = Some(Instant::now());
                    return Ok(None);
                }
                match self.session.read_request_body().await {
                    Ok(Some(bytes)) if bytes.is_empty() => {}
                    Ok(Some(bytes)) => return Ok(Some(bytes)),
                    Ok(None) => {}
                    Err(_) => return Err(Left),
                }
            }
        }
        // On the heap, as it is seldom, and not in the state of every wait.
        if self.is_half_closed {
            return Err(Box::pin(self.ask_whether_left()).await);
        }
        match self.session.read_body_or_idle(true).await {
            Err(error) if matches!(error.etype(), ErrorType::ConnectionClosed) => {
                self.is_half_closed = true;
                Err(Box::pin(self.ask_whether_left()).await)
            }
            _ => Err(Left),
        }
    }
}

/// What a work brings that takes no longer than this. What is done at once needs no timer.
/// Pinned by the caller, because to move a write costs more than to begin it.
async fn within<T>(limit: Duration, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    if let Some(done) = at_once(work.as_mut()).await {
        return Some(done);
    }
    // On the heap, as it is seldom, and not in the state of every write.
    Box::pin(timeout(limit, work)).await.ok()
}

/// How soon after its request the FIN of an HTTP/1.0 client is taken for "no more requests" and not for leaving.
const HALF_CLOSE_HTTP10: Duration = Duration::from_millis(500);

/// How long a silence within an answer may be once the client has sent its FIN.
const HALF_CLOSE: Duration = Duration::from_secs(2);
