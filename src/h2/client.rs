//! A client on one stream of HTTP/2.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::message::{Headers, ResponseHead};
use crate::plan::Plan;
use crate::pump::{Client, Cut, Left};
use crate::refusal::Refused;

/// What the connection is to do for one stream, once all that was written before is on its way.
pub(super) struct Order {
    pub(super) what: What,
    /// Kept until then, because a stream that nobody holds is reset.
    pub(super) answer: Answering,
    /// Told when it was done.
    pub(super) done: oneshot::Sender<()>,
}

pub(super) enum What {
    /// `RST_STREAM`.
    Reset(Reason),
    /// GOAWAY, and the end of the connection.
    GoAway(Reason),
    /// A TCP RST.
    ResetConnection,
}

/// How far the answer is.
pub(super) enum Answering {
    /// Its head is still to come.
    Owed(SendResponse<Bytes>),
    /// Its body is on its way.
    Begun(SendStream<Bytes>),
    /// It is through, or was broken off.
    Over,
}

impl Answering {
    /// Breaks it off.
    pub(super) fn reset(&mut self, reason: Reason) {
        match self {
            Self::Owed(respond) => respond.send_reset(reason),
            Self::Begun(stream) => stream.send_reset(reason),
            Self::Over => {}
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Over)
    }
}

/// A client on one stream.
pub(super) struct H2Client {
    request: RecvStream,
    request_is_through: bool,
    answer: Answering,
    /// A head that waits for what follows at once: where that is the end, both are one frame. Clients of gRPC take a head
    /// with a status for the end only then.
    held: Option<Response<()>>,
    /// Whether the answer was broken off.
    is_cut: bool,
    is_head_request: bool,
    /// How many bytes of the body the head has promised and are still to come.
    promised: Option<u64>,
    request_timeout: Duration,
    write_timeout: Duration,
    orders: mpsc::UnboundedSender<Order>,
}

impl H2Client {
    pub(super) fn new(
        request: RecvStream,
        respond: SendResponse<Bytes>,
        is_head_request: bool,
        plan: &Plan,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Self {
        Self {
            request,
            request_is_through: false,
            answer: Answering::Owed(respond),
            held: None,
            is_cut: false,
            is_head_request,
            promised: None,
            request_timeout: plan.request_timeout,
            write_timeout: plan.write_timeout,
            orders,
        }
    }

    /// Sends the head that waits, if one does.
    fn begin(&mut self, is_end: bool) -> Result<(), Left> {
        let Some(head) = self.held.take() else {
            return Ok(());
        };
        let Answering::Owed(respond) = &mut self.answer else {
            return Err(Left);
        };
        let stream = respond.send_response(head, is_end).map_err(|_| Left)?;
        self.answer = if is_end {
            Answering::Over
        } else {
            Answering::Begun(stream)
        };
        Ok(())
    }

    /// Answers a request whose head is not acceptable.
    pub(super) async fn refuse(&mut self, refused: &Refused) -> Result<(), Left> {
        let answer = refused.answer();
        self.head(&answer.head, true).await?;
        for (_, bytes) in answer.chunks.iter() {
            self.write(bytes, false).await?;
        }
        self.end().await
    }

    /// Reads what a client still sends that has its answer: many do not look at an answer before they have sent all.
    pub(super) async fn linger(&mut self) {
        if self.request_is_through || self.is_cut {
            return;
        }
        let rest = async { while let Ok(Ok(Some(_))) = timeout(LINGER, self.hear()).await {} };
        // A client that goes on for ever is told to stop by a reset, without an error.
        timeout(LINGER_IN_ALL, rest).await.ok();
    }

    /// Fewer bytes than the head promised: the client must not take it for the end.
    fn is_short(&self) -> bool {
        (self.held.is_some() || matches!(self.answer, Answering::Begun(_)))
            && self.promised.is_some_and(|left| left > 0)
    }

    async fn order(&mut self, what: What) {
        let (done, is_done) = oneshot::channel();
        let answer = self.answer.take();
        // Where the connection is gone nothing is left to do.
        if self.orders.send(Order { what, answer, done }).is_ok() {
            is_done.await.ok();
        }
    }
}

impl Client for H2Client {
    async fn interim(&mut self, head: &ResponseHead) -> Result<(), Left> {
        let Answering::Owed(respond) = &mut self.answer else {
            return Ok(());
        };
        respond.send_informational(response(head)).map_err(|_| Left)
    }

    async fn head(&mut self, head: &ResponseHead, more: bool) -> Result<(), Left> {
        let response = response(head);
        let has_no_body = self.is_head_request || matches!(head.status, 204 | 304);
        if !has_no_body {
            self.promised = response
                .headers()
                .get(http::header::CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok()?.parse().ok());
        }
        self.held = Some(response);
        if more && !has_no_body {
            return Ok(());
        }
        self.begin(has_no_body)
    }

    async fn write(&mut self, mut bytes: Bytes, _more: bool) -> Result<(), Left> {
        self.begin(false)?;
        let stream = match &mut self.answer {
            Answering::Owed(_) => return Err(Left),
            Answering::Begun(stream) => stream,
            // An answer that has no body.
            Answering::Over => return Ok(()),
        };
        if let Some(left) = &mut self.promised {
            // More would make all of it invalid.
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let room = timeout(self.write_timeout, poll_fn(|cx| stream.poll_capacity(cx))).await;
            let Ok(Some(Ok(room))) = room else {
                return Err(Left);
            };
            let part = bytes.split_to(room.min(bytes.len()));
            if !part.is_empty() {
                stream.send_data(part, false).map_err(|_| Left)?;
            }
        }
        Ok(())
    }

    fn uncork(&mut self) -> Result<(), Left> {
        self.begin(false)
    }

    fn hold_back(&mut self) -> bool {
        false
    }

    async fn let_out(&mut self, _: usize) -> Result<bool, Left> {
        Ok(true)
    }

    async fn trailers(&mut self, trailers: &Headers) -> Result<(), Left> {
        self.begin(false)?;
        if self.is_short() {
            return Ok(());
        }
        match self.answer.take() {
            Answering::Owed(_) => Err(Left),
            Answering::Begun(mut stream) => {
                stream.send_trailers(header_map(trailers)).map_err(|_| Left)
            }
            Answering::Over => Ok(()),
        }
    }

    async fn end(&mut self) -> Result<(), Left> {
        if self.is_short() {
            self.cut(Cut::Close).await;
            return Ok(());
        }
        self.begin(true)?;
        match self.answer.take() {
            Answering::Owed(_) => Err(Left),
            Answering::Begun(mut stream) => stream.send_data(Bytes::new(), true).map_err(|_| Left),
            Answering::Over => Ok(()),
        }
    }

    async fn cut(&mut self, how: Cut) {
        let what = match how {
            Cut::Fin => {
                if let Answering::Begun(mut stream) = self.answer.take() {
                    // A stream that is gone needs no end.
                    drop(stream.send_data(Bytes::new(), true));
                }
                return;
            }
            Cut::Close | Cut::Garbage(_) => What::Reset(Reason::INTERNAL_ERROR),
            Cut::Reset => What::Reset(Reason::CANCEL),
            Cut::H2Reset(code) => What::Reset(code.into()),
            Cut::GoAway(code) => What::GoAway(code.into()),
            Cut::ResetConnection => What::ResetConnection,
        };
        self.is_cut = true;
        // What was said before the break is seen before it; a client that is gone does not care.
        self.begin(false).ok();
        self.order(what).await;
    }

    async fn hear(&mut self) -> Result<Option<Bytes>, Left> {
        while !self.request_is_through {
            match timeout(self.request_timeout, self.request.data()).await {
                Ok(Some(Ok(bytes))) => {
                    self.request
                        .flow_control()
                        .release_capacity(bytes.len())
                        .map_err(|_| Left)?;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None) => {
                    self.request_is_through = true;
                    return Ok(None);
                }
                Ok(Some(Err(_))) | Err(_) => return Err(Left),
            }
        }
        let reset = poll_fn(|cx| match &mut self.answer {
            Answering::Owed(respond) => respond.poll_reset(cx),
            Answering::Begun(stream) => stream.poll_reset(cx),
            Answering::Over => Poll::Pending,
        });
        // It tells the reason, or that the connection is gone.
        drop(reset.await);
        Err(Left)
    }
}

/// A head as the library speaks of it, without what HTTP/2 does not know.
fn response(head: &ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = header_map(&head.headers);
    response
}

/// Header lines without those that HTTP/2 forbids (RFC 9113, 8.2.2). A length beside a transfer encoding does not count.
fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    let has_length = !headers.contains("transfer-encoding");
    for (name, value) in headers.iter() {
        let lower = name.to_ascii_lowercase();
        if CONNECTION_HEADERS.contains(&lower.as_str())
            || (!has_length && lower == "content-length")
        {
            continue;
        }
        let line = HeaderName::from_bytes(lower.as_bytes())
            .ok()
            .zip(HeaderValue::from_bytes(value).ok());
        let is_sent = line.is_some_and(|(name, value)| map.try_append(name, value).is_ok());
        if !is_sent {
            tracing::warn!(name, "left out a header that can't be sent");
        }
    }
    map
}

/// How long a client that has its answer may send nothing of its request.
const LINGER: Duration = Duration::from_secs(2);

/// How long it may go on sending.
const LINGER_IN_ALL: Duration = Duration::from_secs(30);

const CONNECTION_HEADERS: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];
