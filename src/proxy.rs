//! Connections of clients that speak HTTP/1: one of pingora's sessions after the other, an exchange for each, and what becomes
//! of the connection.
//!
//! It stands on pingora's sessions and not on `HttpProxy`: the pump owns every answer, so the phases of `HttpProxy` would cost
//! time and memory for nothing, and it logs raw heads.

use std::sync::atomic::{AtomicBool, Ordering};

use pingora::ErrorType;
use pingora::apps::HttpPersistentSettings;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::server::ShutdownWatch;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::board::Verdict;
use crate::conn::{Conn, ConnCtl};
use crate::exchange::{Flow, Incoming, Report, pass, serve};
use crate::origin::Origin;
use crate::plan::{Plan, Route};
use crate::refusal::Refused;
use crate::tunnel::{self, Upgrade};
use crate::wire::response_header;

use client::Http1Client;
use request::{incoming, unparsable};

pub(crate) use log::LogLine;
pub(crate) use request::{not_a_tunnel, received, split_target};

mod client;
mod log;
mod request;

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

/// What becomes of a connection after a request.
enum Next {
    /// Another request may come.
    Request,
    /// A tunnel to the upstream, which agreed with this head.
    Tunnel(Box<HttpSession>, Box<ResponseHeader>),
    /// It is over.
    Nothing,
}

impl Proxy {
    /// Serves the requests of a connection, one after the other.
    ///
    /// As the loop of pingora's `HttpServerApp` does for HTTP/1 (0.9.1), but within one future: there each of several has its
    /// own place on the heap, and every event of every stream passes through all of them.
    pub(crate) async fn serve_http1(&self, conn: Box<Conn>, shutdown: &ShutdownWatch) {
        let ctl = conn.ctl();
        ctl.keep_line(b"");
        let mut session = ServerSession::new_http1(conn);
        session.set_keepalive(Some(KEEPALIVE));
        loop {
            match self.serve_request(&mut session, &ctl, shutdown).await {
                Next::Request => {}
                Next::Tunnel(http, head) => {
                    return Box::pin(tunnel::join(session, *http, &head)).await;
                }
                Next::Nothing => return,
            }
            let settings = HttpPersistentSettings::for_session(&session);
            let Ok(Some(reusable)) = session.finish().await else {
                return;
            };
            let (stream, pipelined) = reusable.into_parts();
            ctl.keep_line(pipelined.as_deref().unwrap_or_default());
            session = ServerSession::new_http1(stream);
            settings.apply_to_session(&mut session);
            if let Some(pipelined) = pipelined {
                session.set_pipelined_prefix(pipelined);
            }
        }
    }

    /// Serves the next request of a connection.
    async fn serve_request(
        &self,
        session: &mut ServerSession,
        ctl: &ConnCtl,
        shutdown: &ShutdownWatch,
    ) -> Next {
        let plan = self.flow.state.plan();
        let Some(incoming) = next_request(session, ctl, &plan, shutdown).await else {
            return Next::Nothing;
        };
        self.settle(session, &plan);
        let log = LogLine::of(&incoming.head, &plan);
        if wants_tunnel(session, &incoming)
            && let Some(upstream) = tunnel::upstream_of(&plan, &incoming.head)
        {
            // On the heap for its time, and not in the state of every connection.
            let upgrade = self.upgrade(session, ctl, &plan, upstream, &incoming, &log);
            return Box::pin(upgrade).await;
        }
        let started = Instant::now();
        let mut client = Http1Client::new(session, ctl, plan.write_timeout);
        let report = serve(&self.flow, &mut client, incoming).await;
        log.write(&report, started.elapsed());
        next_after(&report, client).await
    }
}

impl Proxy {
    /// What holds for the session from its request on.
    fn settle(&self, session: &mut ServerSession, plan: &Plan) {
        if self.is_leaving.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(plan.keepalive.as_secs().max(1)));
        }
        session.set_read_timeout(Some(plan.request_timeout));
        session.set_pipelining_enabled(true);
    }

    /// Asks the upstream for the upgrade that a client wants: a tunnel, or an answer like any other.
    async fn upgrade(
        &self,
        session: &mut ServerSession,
        ctl: &ConnCtl,
        plan: &Plan,
        upstream: (&Route, &Origin),
        incoming: &Incoming,
        log: &LogLine,
    ) -> Next {
        let started = Instant::now();
        let header = session.req_header().clone();
        match tunnel::ask(&self.flow, plan, upstream, &header, incoming).await {
            Upgrade::Accepted(http, head) => {
                log.write_upgrade(&upstream.0.name);
                Next::Tunnel(http, head)
            }
            Upgrade::Refused(answer) => {
                let mut client = Http1Client::new(session, ctl, plan.write_timeout);
                let report = pass(&mut client, upstream.0, answer).await;
                log.write(&report, started.elapsed());
                next_after(&report, client).await
            }
        }
    }
}

/// What becomes of the connection after an exchange.
async fn next_after(report: &Report, client: Http1Client<'_>) -> Next {
    if client.may_go_on(report).await {
        Next::Request
    } else {
        Next::Nothing
    }
}

/// Waits for the next request of a connection; `None` if the connection is to be closed, because none comes or because what
/// came is not acceptable, which is then answered.
async fn next_request(
    session: &mut ServerSession,
    ctl: &ConnCtl,
    plan: &Plan,
    shutdown: &ShutdownWatch,
) -> Option<Incoming> {
    let mut stopping = shutdown.clone();
    let hasty = ctl
        .idle_close()
        .filter(|(after, live)| *after < plan.keepalive && live.is_on());
    let until = Instant::now() + hasty.map_or(plan.keepalive, |(after, _)| *after);
    let read = tokio::select! {
        biased;
        read = timeout_at(until, session.read_request()) => {
            let Ok(read) = read else {
                if let Some((_, live)) = hasty {
                    live.count(Verdict::Injected);
                    live.timed(until, Instant::now());
                }
                return None;
            };
            read
        }
        // The sender lives as long as the server runs.
        _ = stopping.wait_for(|is_stopping| *is_stopping) => return None,
    };
    let incoming = match read {
        Ok(true) if ctl.is_tired() => return None,
        Ok(true) => incoming(session, ctl, &plan.head_limits),
        Err(error) if matches!(error.etype(), ErrorType::InvalidHTTPHeader) => {
            Err(unparsable(&error))
        }
        Ok(false) | Err(_) => return None,
    };
    match incoming {
        Ok(incoming) => Some(incoming),
        Err(refused) => {
            tracing::info!(
                status = refused.status(),
                reason = refused.message(),
                "refused a request"
            );
            refuse_head(session, ctl, &refused).await;
            None
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

/// Answers a request whose head is not acceptable, and closes: what follows it can't be told apart.
async fn refuse_head(session: &mut ServerSession, ctl: &ConnCtl, refused: &Refused) {
    session.set_keepalive(None);
    let answer = refused.answer();
    let header = response_header(&answer.head, false);
    let body = answer.chunks.only().unwrap_or_default();
    ctl.linger();
    // A client that is gone does not need the answer.
    drop(session.write_error_response(header, body).await);
    session.shutdown().await;
}

/// For how many seconds a connection stays open between requests, until the plan of its first one says it: as pingora has it.
const KEEPALIVE: u64 = 60;
