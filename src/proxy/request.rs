//! A request as we speak of it, from HTTP/1, and what that has in common with HTTP/2.

use std::net::IpAddr;

use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession;

use crate::call::BodyLength;
use crate::client::identify;
use crate::conn::ConnCtl;
use crate::exchange::Incoming;
use crate::fault::when::Protocol;
use crate::limits::{HeadLimits, check_head, check_line};
use crate::message::{Headers, RequestHead, is_ours};
use crate::refusal::Refused;
use crate::wire::{headers_of, strip_hop_by_hop};

/// Takes a request in whose head was read.
///
/// # Errors
/// The answer to one that is not acceptable.
pub(super) fn incoming(
    session: &ServerSession,
    ctl: &ConnCtl,
    limits: &HeadLimits,
) -> Result<Incoming, Refused> {
    let raw = session
        .as_http1()
        .map(HttpSession::get_headers_raw_bytes)
        .unwrap_or_default();
    let checked =
        check_head(&raw, limits).and_then(|()| check_line(ctl.take_line().as_deref(), &raw));
    if let Err(refusal) = checked {
        return Err(Refused::bad_head(refusal.status, &refusal.reason));
    }
    translate(session)
}

/// The request in our words.
fn translate(session: &ServerSession) -> Result<Incoming, Refused> {
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

/// Why pingora could not read a head, without the bytes of it that pingora puts into its messages.
pub(super) fn unparsable(error: &pingora::Error) -> Refused {
    let context = error
        .context
        .as_ref()
        .map_or("", |context| context.as_str());
    let known = UNPARSABLE
        .iter()
        .find(|(said, ..)| context.starts_with(said));
    if let Some((_, status, reason)) = known {
        return Refused::bad_head(*status, reason);
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

/// What pingora says of a head, and what we say instead, with which status.
const UNPARSABLE: [(&str, u16, &str); 11] = [
    (
        "Request header larger",
        431,
        "the head of the request is larger than 1 MiB",
    ),
    (
        "invalid uri",
        414,
        "the URL is longer than 65,534 bytes, or is not one",
    ),
    ("negative Content-Length", 400, NO_LENGTH),
    ("invalid Content-Length", 400, NO_LENGTH),
    ("Content-Length", 400, NO_LENGTH),
    (
        "HTTP/1.0 requests cannot include Transfer-Encoding",
        400,
        "`Transfer-Encoding` is no part of HTTP/1.0",
    ),
    (
        "non-chunked final Transfer-Encoding",
        400,
        "`Transfer-Encoding` is something else than `chunked`, once",
    ),
    (
        "multiple Host header fields",
        400,
        "more than one `Host` is given",
    ),
    (
        "userinfo in",
        400,
        "a user or a password stands before the host",
    ),
    (
        "Host header differs",
        400,
        "`Host` and the request line name different hosts",
    ),
    (
        "ambiguous",
        400,
        "the request line does not say clearly which host is asked",
    ),
];

const NO_LENGTH: &str =
    "`Content-Length` is not a whole number, or is given twice with different values";

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
        let is_ours = is_ours(name);
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
