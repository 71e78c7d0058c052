//! HTTP/2 towards clients: our own loop over the streams of one connection, each of them one exchange in a task of its
//! own.
//!
//! No exchange waits for another: each stream has its own window in both directions, and the window of the connection
//! has room for all of them. What a client does to one stream, or an upstream to its answer, is seen on that stream
//! alone. What concerns the connection as a whole (GOAWAY, a TCP reset) is an [`Order`] to the loop.

use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::cassette::Claim;
use crate::conn::{Conn, ConnCtl};
use crate::exchange::serve;
use crate::plan::Plan;
use crate::proxy::{LogLine, Proxy, Stages};
use crate::pump::Outcome;

use client::{H2Client, Order, What};

mod client;
mod request;

/// Serves a connection whose client begins with the preface of HTTP/2, to its end.
pub(crate) async fn serve_connection(
    conn: Conn,
    peer: Option<IpAddr>,
    proxy: &Arc<Proxy>,
    mut stages: Stages,
) {
    let plan = proxy.flow().state.plan();
    let ctl = conn.ctl();
    // A socket that is closed with unread bytes is reset, and what was said last (GOAWAY, with the reason) would be lost.
    ctl.linger();
    let handshake = builder(&plan).handshake(conn);
    let connection = tokio::select! {
        biased;
        shaken = timeout(plan.keepalive, handshake) => match shaken {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a client did not begin HTTP/2");
                return;
            }
            Err(_) => return,
        },
        // The sender lives as long as the server runs.
        _ = stages.is_closing.wait_for(|is_closing| *is_closing) => return,
    };
    let claim = proxy.flow().claim();
    let exchange =
        |(request, respond), orders| exchange(Arc::clone(proxy), peer, request, respond, orders);
    Serving::new(connection, ctl, &plan, claim, exchange)
        .run(stages.is_leaving)
        .await;
}

fn builder(plan: &Plan) -> Builder {
    let window = STREAM_WINDOW.saturating_mul(plan.streams).min(WINDOW_MAX);
    // The library answers what is larger with a bare 431; up to there we say what is wrong. HTTP/2 counts 32 bytes more
    // for each header.
    let list = plan
        .head_limits
        .head
        .as_usize()
        .saturating_mul(2)
        .saturating_add(plan.head_limits.headers.saturating_mul(64));
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window.max(STREAM_WINDOW))
        .max_concurrent_streams(plan.streams)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// One connection while it is served.
struct Serving<F> {
    connection: Connection<Conn, Bytes>,
    ctl: Arc<ConnCtl>,
    /// Serves a stream.
    exchange: F,
    orders: mpsc::UnboundedSender<Order>,
    ordered: mpsc::UnboundedReceiver<Order>,
    /// Orders that wait until what was written before them is on its way.
    waiting: Vec<Order>,
    exchanges: JoinSet<()>,
    /// Since when no exchange runs.
    quiet_since: Instant,
    /// When a connection that is still without one is closed.
    tired_at: Instant,
    keepalive: Duration,
    write_timeout: Duration,
    /// Whether the server was ordered to stop.
    is_stopping: bool,
    /// Whether the client was asked to open no more streams.
    is_leaving: bool,
    /// Whether the connection ends without regard to its streams.
    is_over: bool,
    /// Held until the client knows that it can't open more streams, each of which may be recorded.
    claim: Option<Claim>,
}

/// A stream that the client opened.
type Stream = (Request<RecvStream>, SendResponse<Bytes>);

/// The next one; `None` when the connection is over.
type Opened = Option<Result<Stream, h2::Error>>;

impl<F, E> Serving<F>
where
    F: Fn(Stream, mpsc::UnboundedSender<Order>) -> E,
    E: Future<Output = ()> + Send + 'static,
{
    fn new(
        connection: Connection<Conn, Bytes>,
        ctl: Arc<ConnCtl>,
        plan: &Plan,
        claim: Option<Claim>,
        exchange: F,
    ) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            connection,
            ctl,
            exchange,
            orders,
            ordered,
            waiting: Vec::new(),
            exchanges: JoinSet::new(),
            quiet_since: now,
            tired_at: now + plan.keepalive,
            keepalive: plan.keepalive,
            write_timeout: plan.write_timeout,
            is_stopping: false,
            is_leaving: false,
            is_over: false,
            claim,
        }
    }

    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            let is_quiet = self.exchanges.is_empty();
            let awaits_written = !self.waiting.is_empty() || self.wants_to_leave();
            let next = tokio::select! {
                step = step(&mut self.connection, &self.ctl, awaits_written) => match step {
                    Some(opened) => self.open(opened),
                    None => self.carry_out(),
                },
                // Both ends of the channel are ours.
                Some(order) = self.ordered.recv() => {
                    self.waiting.push(order);
                    ControlFlow::Continue(())
                }
                Some(_) = self.exchanges.join_next() => {
                    self.be_quiet();
                    ControlFlow::Continue(())
                }
                _ = stopping.wait_for(|is_stopping| *is_stopping), if !self.is_stopping => {
                    self.is_stopping = true;
                    ControlFlow::Continue(())
                }
                () = sleep_until(self.tired_at), if is_quiet => self.tire(),
            };
            if next.is_break() {
                break;
            }
        }
        // With it the exchanges learn that their client has left.
        drop(self.connection);
        drop(self.claim);
        while self.exchanges.join_next().await.is_some() {}
    }

    /// Whether the client is to be told that we stop. Some clients take GOAWAY for the end of their open streams, so it
    /// comes behind the last of them, or when the client opens another.
    fn wants_to_leave(&self) -> bool {
        self.is_stopping && !self.is_leaving && self.exchanges.is_empty()
    }

    fn be_quiet(&mut self) {
        let patience = if self.is_leaving || self.is_over {
            FAREWELL
        } else {
            self.keepalive
        };
        self.quiet_since = Instant::now();
        self.tired_at = self.quiet_since + patience;
    }

    fn open(&mut self, opened: Opened) -> ControlFlow<()> {
        match opened {
            Some(Ok(stream)) => {
                self.exchanges
                    .spawn((self.exchange)(stream, self.orders.clone()));
                if self.is_stopping && !self.is_leaving {
                    self.leave();
                }
                ControlFlow::Continue(())
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "an HTTP/2 connection broke");
                ControlFlow::Break(())
            }
            None => ControlFlow::Break(()),
        }
    }

    /// Does what was to be done once all is written.
    fn carry_out(&mut self) -> ControlFlow<()> {
        for mut order in self.waiting.drain(..) {
            match order.what {
                What::Reset(reason) => order.answer.reset(reason),
                What::GoAway(reason) => {
                    self.is_over = true;
                    self.connection.abrupt_shutdown(reason);
                }
                What::ResetConnection => {
                    self.ctl.reset();
                    return ControlFlow::Break(());
                }
            }
            // An exchange that was ended from outside waits no more.
            order.done.send(()).ok();
        }
        if self.wants_to_leave() {
            self.leave();
        }
        ControlFlow::Continue(())
    }

    /// Has the client open no more streams; those that are open go on.
    fn leave(&mut self) {
        self.is_leaving = true;
        self.connection.graceful_shutdown();
        self.claim = None;
        self.be_quiet();
    }

    /// No exchange has run for as long as is waited.
    fn tire(&mut self) -> ControlFlow<()> {
        let has_streams = self.connection.has_streams();
        if has_streams && self.quiet_since.elapsed() < self.write_timeout {
            // What was answered last is still on its way.
            self.tired_at = Instant::now() + FAREWELL;
        } else if self.is_over {
            return ControlFlow::Break(());
        } else if self.is_leaving || has_streams {
            // It was told, and neither answers nor goes, or it takes nothing.
            self.is_over = true;
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
            self.tired_at = Instant::now() + FAREWELL;
        } else {
            self.leave();
        }
        ControlFlow::Continue(())
    }
}

/// Drives the connection to the next stream, or, if that `is_awaited`, until all is written: `None`.
async fn step(
    connection: &mut Connection<Conn, Bytes>,
    ctl: &ConnCtl,
    is_awaited: bool,
) -> Option<Opened> {
    let accept = connection.accept();
    tokio::pin!(accept);
    poll_fn(|cx| match accept.as_mut().poll(cx) {
        Poll::Ready(opened) => Poll::Ready(Some(opened)),
        // The library is given bytes only when there is room for them, so that only the socket can hold them up.
        Poll::Pending if is_awaited && ctl.is_drained() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// One stream.
async fn exchange(
    proxy: Arc<Proxy>,
    peer: Option<IpAddr>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let flow = proxy.flow();
    let plan = flow.state.plan();
    let (parts, body) = request.into_parts();
    let incoming = request::incoming(&parts, !body.is_end_stream(), peer, &plan.head_limits);
    let is_head = parts.method == http::Method::HEAD;
    let mut client = H2Client::new(body, respond, is_head, &plan, orders);
    match incoming {
        Ok(incoming) => {
            let log = LogLine::of(&incoming.head, &plan);
            let started = Instant::now();
            let report = serve(flow, &mut client, incoming).await;
            log.write(&report, started.elapsed());
            if report.outcome != Outcome::ClientLeft {
                client.linger().await;
            }
        }
        Err(refused) => {
            tracing::info!(
                status = refused.status(),
                reason = refused.message(),
                "refused a request"
            );
            // A client that is gone does not need the answer.
            if client.refuse(&refused).await.is_ok() {
                client.linger().await;
            }
        }
    }
}

/// What a client may send on one stream before it is read, in bytes. As much again waits in the connection for each
/// stream, so that one that is not read stops no other.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The largest window (RFC 9113, 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What may wait on one stream for the socket, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How long a client without an open stream has to go, once it was told to.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
