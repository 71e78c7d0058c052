//! Upgraded connections (WebSocket and others): after the heads, bytes pass both ways untouched.
//!
//! Driven by ourselves and not by pingora's duplex, which tears the tunnel down when the upstream answers 101 at once
//! (pingora issue 946).

use bytes::{Bytes, BytesMut};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

use crate::call::UpstreamError;
use crate::conn::Conn;
use crate::exchange::{Flow, Incoming};
use crate::message::{Headers, RequestHead};
use crate::mode::Mode;
use crate::origin::Origin;
use crate::plan::{Plan, Route, Target};
use crate::pool::Goal;
use crate::upstream::Exchange;

/// What became of an upgrade request.
pub(crate) enum Upgrade {
    /// The upstream agreed; what follows on both connections is theirs.
    Accepted(Box<HttpSession>, Box<ResponseHeader>),
    /// It did not; this is its ordinary answer.
    Refused(Result<Exchange, UpstreamError>),
}

/// The upstream to which an upgrade request goes, if its route lets requests through.
pub(crate) fn upstream_of<'a>(
    plan: &'a Plan,
    head: &RequestHead,
) -> Option<(&'a Route, &'a Origin)> {
    let (_, route) = plan.route(head)?;
    match (&route.target, route.mode) {
        (Some(Target::Origin(origin)), Mode::Forward | Mode::Record) => Some((route, origin)),
        _ => None,
    }
}

/// Passes an upgrade request on.
pub(crate) async fn ask(
    flow: &Flow,
    plan: &Plan,
    (route, origin): (&Route, &Origin),
    header: &RequestHeader,
    incoming: &Incoming,
) -> Upgrade {
    let head = route.outgoing(&incoming.head, origin);
    let goal = Goal {
        origin,
        link: &route.link,
        window: 0,
        timeout: plan.call_timeouts.connect,
    };
    match connect(flow, plan, goal, header, &head).await {
        Ok((http, head)) if head.status == 101 => Upgrade::Accepted(Box::new(http), Box::new(head)),
        Ok((http, head)) => Upgrade::Refused(Ok(flow.upstreams.resume(
            http,
            head,
            plan.ahead,
            plan.call_timeouts.idle,
        ))),
        Err(error) => Upgrade::Refused(Err(error)),
    }
}

/// Lets bytes pass both ways until both are at their end.
pub(crate) async fn join(mut session: ServerSession, http: HttpSession, head: &ResponseHeader) {
    // Nothing was written yet, so that pingora takes the connection for one that can be used again, and hands it over.
    session.set_keepalive(Some(60));
    session.set_pipelining_enabled(true);
    let Ok(Some(reusable)) = session.finish().await else {
        return;
    };
    let (mut client, early) = reusable.into_parts();
    if let Err(error) = splice(&mut client, http, head, early).await {
        tracing::debug!(%error, "a tunnel ended");
    }
    // The client may be gone already.
    AsyncWriteExt::shutdown(&mut client).await.ok();
}

/// Sends the upgrade request and reads the final head.
async fn connect(
    flow: &Flow,
    plan: &Plan,
    goal: Goal<'_>,
    header: &RequestHeader,
    head: &RequestHead,
) -> Result<(HttpSession, ResponseHeader), UpstreamError> {
    let origin = goal.origin;
    let failed = |reason: &str| UpstreamError::Unsendable {
        origin: origin.to_string(),
        reason: reason.to_owned(),
    };
    let conn = flow.upstreams.pool().connect_http1(goal).await?;
    let mut http = HttpSession::new(Box::new(conn));
    let path = format!("{}{}", origin.base_path, head.target());
    let mut request = RequestHeader::build(head.method.as_str(), path.as_bytes(), None)
        .map_err(|error| failed(error.etype().as_str()))?;
    let mut headers: Headers = head.headers.clone();
    for name in ["connection", "upgrade"] {
        for value in header.headers.get_all(name) {
            headers.push(name, Bytes::copy_from_slice(value.as_bytes()));
        }
    }
    for (name, value) in headers.iter() {
        request
            .append_header(name.to_owned(), value.as_ref())
            .map_err(|error| failed(error.etype().as_str()))?;
    }
    http.write_request_header(Box::new(request))
        .await
        .map_err(|_| UpstreamError::Closed {
            origin: origin.to_string(),
        })?;
    let answered = async {
        loop {
            match http.read_response_task().await {
                Ok(HttpTask::Header(head, _))
                    if head.status == 101 || !head.status.is_informational() =>
                {
                    return Ok(*head);
                }
                Ok(HttpTask::Header(..)) => {}
                _ => {
                    return Err(UpstreamError::Closed {
                        origin: origin.to_string(),
                    });
                }
            }
        }
    };
    let after = plan.call_timeouts.first_byte;
    let head = timeout(after, answered).await.unwrap_or_else(|_| {
        Err(UpstreamError::FirstByteTimedOut {
            origin: origin.to_string(),
            after,
        })
    })?;
    Ok((http, head))
}

/// Joins both connections until both ways are at their end.
async fn splice(
    client: &mut Stream,
    mut http: HttpSession,
    head: &ResponseHeader,
    early: Option<BytesMut>,
) -> std::io::Result<()> {
    let mut wire = wire_head(head);
    // What the upstream sent together with its head is in the session's buffer, and comes without waiting.
    let first = tokio::select! {
        biased;
        first = http.read_body_bytes() => first.ok().flatten(),
        () = std::future::ready(()) => None,
    };
    wire.extend_from_slice(&first.unwrap_or_default());
    client.write_all(&wire).await?;
    client.flush().await?;
    let mut upstream = http.into_inner();
    for stream in [&*client, &upstream] {
        if let Some(conn) = stream.as_any().downcast_ref::<Conn>() {
            let ctl = conn.ctl();
            ctl.forgive_writes(false);
            ctl.be_patient();
        }
    }
    if let Some(early) = early {
        upstream.write_all(&early).await?;
        upstream.flush().await?;
    }
    copy_bidirectional(client, &mut upstream).await.map(|_| ())
}

fn wire_head(head: &ResponseHeader) -> BytesMut {
    let reason = head.get_reason_phrase().unwrap_or_default();
    let mut wire =
        BytesMut::from(format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).as_bytes());
    for (name, value) in head.case_header_iter() {
        for part in [name.as_slice(), b": ", value.as_bytes(), b"\r\n"] {
            wire.extend_from_slice(part);
        }
    }
    wire.extend_from_slice(b"\r\n");
    wire
}
