//! The application that pingora runs: one HTTP session in, one exchange, and what becomes of the connection.
//!
//! It stands on pingora's `HttpServerApp` and not on `HttpProxy`: the pump owns every answer, so the phases of
//! `HttpProxy` would cost time and memory for nothing, and it logs raw heads.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::ErrorType;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession as SessionV1;
use pingora::server::ShutdownWatch;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::board::Verdict;
use crate::call::BodyLength;
use crate::client::identify;
use crate::conn::{Conn, ConnCtl, ctl_of};
use crate::exchange::{Flow, Incoming, Report, pass, serve};
use crate::fault::when::Protocol;
use crate::limits::{check_head, check_line};
use crate::message::{Headers, RequestHead, ResponseHead};
use crate::origin::Origin;
use crate::plan::{Plan, Route};
use crate::pump::{Client, Cut, Left, Outcome};
use crate::refusal::Refused;
use crate::tunnel::{self, Upgrade};
use crate::wire::{headers_of, response_header, strip_hop_by_hop};

/// Serves every HTTP session of every listener.
pub struct Proxy {
    flow: Flow,
    /// Whether each connection ends with its next answer.
    is_leaving: AtomicBool,
}

impl Proxy {
    /// On this flow.
    pub fn new(flow: Flow) -> Self {
        Self {
            flow,
            is_leaving: AtomicBool::new(false),
        }
    }

    /// Has each connection end with its next answer, and say so.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// What all exchanges share.
    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }
}

/// How far a server is on the way to its end, for its connections to see.
#[derive(Clone)]
pub(crate) struct Stages {
    /// Whether each connection ends with what it carries now, or carries next.
    pub(crate) is_leaving: watch::Receiver<bool>,
    /// Whether connections that carry nothing are closed. Comes with the first or later.
    pub(crate) is_closing: watch::Receiver<bool>,
}

#[async_trait]
impl HttpServerApp for Proxy {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let plan = self.flow.state.plan();
        let mut stopping = shutdown.clone();
        let ctl = ctl_of(
            session
                .digest()
                .and_then(|digest| digest.proxy_digest.as_deref()),
        )
        .unwrap_or_default();
        let hasty = ctl
            .idle_close()
            .filter(|(after, live)| *after < plan.keepalive && live.is_on());
        let patience = hasty.map_or(plan.keepalive, |(after, _)| *after);
        let read = tokio::select! {
            biased;
            read = timeout(patience, session.read_request()) => {
                let Ok(read) = read else {
                    if let Some((_, live)) = hasty {
                        live.count(Verdict::Injected);
                    }
                    return None;
                };
                read
            }
            // The sender lives as long as the server runs.
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return None,
        };
        match read {
            Ok(true) if ctl.is_tired() => return None,
            Ok(true) => {}
            Err(error) if matches!(error.etype(), ErrorType::InvalidHTTPHeader) => {
                refuse_head(session, &ctl, &unparsable(&error)).await;
                return None;
            }
            Ok(false) | Err(_) => return None,
        }
        let raw = session
            .as_http1()
            .map(SessionV1::get_headers_raw_bytes)
            .unwrap_or_default();
        let checked = check_head(&raw, &plan.head_limits)
            .and_then(|()| check_line(ctl.take_line().as_deref(), &raw));
        if let Err(refusal) = checked {
            tracing::info!(status = refusal.status, reason = %refusal.reason, "refused a request");
            refuse_head(
                session,
                &ctl,
                &Refused::bad_head(refusal.status, &refusal.reason),
            )
            .await;
            return None;
        }
        let incoming = match incoming(&session) {
            Ok(incoming) => incoming,
            Err(refused) => {
                refuse_head(session, &ctl, &refused).await;
                return None;
            }
        };
        if self.is_leaving.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(plan.keepalive.as_secs().max(1)));
        }
        session.set_read_timeout(Some(plan.request_timeout));
        session.set_write_timeout(Some(plan.write_timeout));
        session.set_pipelining_enabled(true);
        let log = LogLine::of(&incoming.head, &plan);
        if wants_tunnel(&session, &incoming)
            && let Some(upstream) = tunnel::upstream_of(&plan, &incoming.head)
        {
            // On the heap for its time, and not in the state of every connection.
            let upgrade = self.upgrade(session, &ctl, &plan, upstream, &incoming, &log);
            return Box::pin(upgrade).await;
        }
        let started = Instant::now();
        let mut client = Http1Client::new(session, &ctl);
        let report = serve(&self.flow, &mut client, incoming).await;
        log.write(&report, started.elapsed());
        finish(client, &report).await
    }
}

impl Proxy {
    async fn upgrade(
        &self,
        session: ServerSession,
        ctl: &ConnCtl,
        plan: &Plan,
        upstream: (&Route, &Origin),
        incoming: &Incoming,
        log: &LogLine,
    ) -> Option<ReusedHttpStream> {
        let started = Instant::now();
        let header = session.req_header().clone();
        match tunnel::ask(&self.flow, plan, upstream, &header, incoming).await {
            Upgrade::Accepted(http, head) => {
                log.write_upgrade(&upstream.0.name);
                tunnel::join(session, *http, &head).await;
                None
            }
            Upgrade::Refused(answer) => {
                let mut client = Http1Client::new(session, ctl);
                let report = pass(&mut client, upstream.0, answer).await;
                log.write(&report, started.elapsed());
                finish(client, &report).await
            }
        }
    }
}

/// Whether a request asks for an upgrade that a tunnel can carry. One to HTTP/2 is left alone, as any server may do: the
/// request is then an ordinary one.
fn wants_tunnel(session: &ServerSession, incoming: &Incoming) -> bool {
    let is_http2 =
        |value: &http::HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"h2c");
    session.is_upgrade_req()
        && !incoming.body.is_some()
        && !session
            .req_header()
            .headers
            .get_all(http::header::UPGRADE)
            .iter()
            .any(is_http2)
}

/// What becomes of the client's connection.
async fn finish(client: Http1Client<'_>, report: &Report) -> Option<ReusedHttpStream> {
    let Http1Client {
        mut session,
        ctl,
        is_cut,
        ..
    } = client;
    match report.outcome {
        Outcome::Completed | Outcome::NoAnswer(_) if !is_cut => {}
        _ => return None,
    }
    if !report.tally.request_is_through {
        // The client may still be sending; it must get to read our answer all the same.
        ctl.linger();
        session.shutdown().await;
        return None;
    }
    let mut settings = HttpPersistentSettings::for_session(&session);
    let (stream, pipelined) = session.finish().await.ok().flatten()?.into_parts();
    ctl.keep_line(pipelined.as_deref().unwrap_or_default());
    if let Some(pipelined) = pipelined {
        settings.set_pipelined_prefix(pipelined);
    }
    Some(ReusedHttpStream::new(stream, Some(settings)))
}

/// A client that speaks HTTP/1 through pingora's session.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, not one state"
)]
struct Http1Client<'a> {
    session: ServerSession,
    ctl: &'a ConnCtl,
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
    fn new(session: ServerSession, ctl: &'a ConnCtl) -> Self {
        let is_http10 = session.req_header().version == http::Version::HTTP_10;
        Self {
            session,
            ctl,
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
        let written = self.session.write_response_header(Box::new(header)).await;
        self.session
            .set_close_on_response_before_downstream_finish(true);
        written.map_err(|_| Left)
    }

    async fn head(&mut self, head: &ResponseHead, more: bool) -> Result<(), Left> {
        self.ctl.cork(more);
        self.has_head = true;
        let header = response_header(head, self.is_http10);
        self.ends_with_connection = !header.headers.contains_key(http::header::CONTENT_LENGTH)
            && !header.headers.contains_key(http::header::TRANSFER_ENCODING);
        self.session
            .write_response_header(Box::new(header))
            .await
            .map_err(|_| Left)
    }

    async fn write(&mut self, bytes: Bytes, more: bool) -> Result<(), Left> {
        self.ctl.cork(more);
        self.session
            .write_response_body(bytes, false)
            .await
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
        self.write_held().await?;
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
        match self.session.finish_body().await {
            Ok(()) => Ok(()),
            // Fewer bytes than the head promised: the client must not take it for the end.
            Err(error)
                if !matches!(
                    error.etype(),
                    ErrorType::WriteError | ErrorType::WriteTimedout
                ) =>
            {
                self.cut(Cut::Close).await;
                Ok(())
            }
            Err(_) => Err(Left),
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
    async fn write_held(&mut self) -> Result<(), Left> {
        self.ctl.be_deaf(true);
        let result = loop {
            let heard = tokio::select! {
                biased;
                heard = self.listen() => heard,
                () = std::future::ready(()) => break Ok(()),
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
        if self.is_half_closed {
            return Err(self.ask_whether_left().await);
        }
        match self.session.read_body_or_idle(true).await {
            Err(error) if matches!(error.etype(), ErrorType::ConnectionClosed) => {
                self.is_half_closed = true;
                Err(self.ask_whether_left().await)
            }
            _ => Err(Left),
        }
    }
}

/// The one line that is logged of an exchange. Never a body, a query or a secret.
pub(crate) struct LogLine {
    method: String,
    path: String,
}

impl LogLine {
    pub(crate) fn of(head: &RequestHead, plan: &Plan) -> Self {
        let path = if tracing::enabled!(tracing::Level::INFO) {
            plan.redact.path(head).into_inner()
        } else {
            String::new()
        };
        Self {
            method: head.method.clone(),
            path,
        }
    }

    fn write_upgrade(&self, route: &str) {
        tracing::info!(method = %self.method, path = %self.path, route, source = "tunnel", status = 101, "upgrade");
    }

    pub(crate) fn write(&self, report: &Report, took: Duration) {
        let tally = &report.tally;
        let outcome = match &report.outcome {
            Outcome::Completed => "completed".to_owned(),
            Outcome::UpstreamFailed(ending) => format!("upstream-failed ({ending})"),
            Outcome::NoAnswer(error) => format!("upstream-failed ({error})"),
            Outcome::SourceFailed(reason) => format!("source-failed ({reason})"),
            Outcome::Cut => "cut".to_owned(),
            Outcome::ClientLeft => "client-left".to_owned(),
        };
        tracing::info!(
            method = %self.method,
            path = %self.path,
            route = %report.route,
            source = report.source,
            recording = report.recording.as_deref().unwrap_or("-"),
            status = tally.status.unwrap_or(0),
            ttfb_ms = millis(tally.first_byte.unwrap_or(took)),
            took_ms = millis(took),
            chunks = tally.chunks,
            bytes = tally.bytes,
            outcome = %outcome,
            faults = %report.faults.join(","),
            "exchange"
        );
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Answers a request whose head is not acceptable, and closes: what follows it can't be told apart.
async fn refuse_head(mut session: ServerSession, ctl: &ConnCtl, refused: &Refused) {
    session.set_keepalive(None);
    let answer = refused.answer();
    let header = response_header(&answer.head, false);
    let body = answer
        .chunks
        .into_iter()
        .next()
        .map(|(_, bytes)| bytes)
        .unwrap_or_default();
    ctl.linger();
    // A client that is gone does not need the answer.
    drop(session.write_error_response(header, body).await);
    session.shutdown().await;
}

/// Why pingora could not read a head, without the bytes of it that pingora puts into its messages.
fn unparsable(error: &pingora::Error) -> Refused {
    if error
        .context
        .as_ref()
        .is_some_and(|context| context.as_str().starts_with("Request header larger"))
    {
        return Refused::bad_head(431, "the head of the request is larger than 1 MiB");
    }
    let context = error
        .context
        .as_ref()
        .map_or("", |context| context.as_str());
    if context.starts_with("invalid uri") {
        return Refused::bad_head(414, "the URL is longer than 65,534 bytes, or is not one");
    }
    if context.contains("Content-Length") {
        return Refused::bad_head(
            400,
            "`Content-Length` is not a whole number, or is given twice with different values",
        );
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> =
        error.cause.as_deref().map(|cause| cause as _);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<httparse::Error>() {
            return Refused::bad_head(
                400,
                &format!("the head of the request is not HTTP/1.1: {error}"),
            );
        }
        cause = error.source();
    }
    Refused::bad_head(400, "the head of the request is not acceptable as HTTP/1.1")
}

/// The request as we speak of it.
fn incoming(session: &ServerSession) -> Result<Incoming, Refused> {
    let header = session.req_header();
    if header.method == http::Method::CONNECT {
        return Err(not_a_tunnel());
    }
    let target = std::str::from_utf8(header.raw_path())
        .map_err(|_| Refused::bad_head(400, "the URL is not UTF-8"))?;
    let (path, query) = split_target(target);
    let mut headers = headers_of(header);
    let body = if headers.contains("transfer-encoding") {
        BodyLength::Unknown
    } else {
        match headers.get_str("content-length").map(str::parse) {
            None => BodyLength::None,
            Some(Ok(length)) => BodyLength::Known(length),
            Some(Err(_)) => {
                return Err(Refused::bad_head(
                    400,
                    "`Content-Length` is not a whole number",
                ));
            }
        }
    };
    strip_hop_by_hop(&mut headers);
    headers.retain(|name, _| {
        !name.eq_ignore_ascii_case("content-length")
            && !name.eq_ignore_ascii_case("transfer-encoding")
    });
    let head = RequestHead {
        method: header.method.as_str().to_owned(),
        path,
        query,
        headers,
    };
    let peer = session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map(std::net::SocketAddr::ip);
    Ok(received(head, body, peer, Protocol::Http1))
}

/// A request whose head is acceptable. Headers of ours are for us alone: neither keyed, nor recorded, nor passed on.
pub(crate) fn received(
    mut head: RequestHead,
    body: BodyLength,
    peer: Option<IpAddr>,
    protocol: Protocol,
) -> Incoming {
    let client = identify(&head, peer);
    let mut ours = Headers::new();
    head.headers.retain(|name, value| {
        let is_ours = name
            .get(..OURS.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(OURS));
        if is_ours {
            ours.push(name, value.clone());
        }
        !is_ours
    });
    Incoming {
        head,
        body,
        client,
        ours,
        protocol,
    }
}

/// CONNECT asks for a tunnel.
pub(crate) fn not_a_tunnel() -> Refused {
    Refused::bad_head(
        405,
        "CONNECT is not served: point the client's base URL here instead",
    )
}

/// Path and query of a request target; the scheme and host of an absolute one are left out.
pub(crate) fn split_target(target: &str) -> (String, Option<String>) {
    let relative = match target.split_once("://") {
        Some((scheme, rest))
            if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") =>
        {
            rest.find(['/', '?']).map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    match relative.split_once('?') {
        Some((path, query)) => (
            if path.is_empty() { "/" } else { path }.to_owned(),
            Some(query.to_owned()),
        ),
        None => (relative.to_owned(), None),
    }
}

/// How the headers begin that are meant for us.
const OURS: &str = "x-rehearsal-";

/// How soon after its request the FIN of an HTTP/1.0 client is taken for "no more requests" and not for leaving.
const HALF_CLOSE_HTTP10: Duration = Duration::from_millis(500);

/// How long a silence within an answer may be once the client has sent its FIN.
const HALF_CLOSE: Duration = Duration::from_secs(2);
