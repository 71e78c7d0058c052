//! The request of one stream, as we speak of it.

use std::net::IpAddr;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use crate::call::BodyLength;
use crate::exchange::Incoming;
use crate::fault::when::Protocol;
use crate::limits::{HeadLimits, check_request};
use crate::message::{Headers, RequestHead};
use crate::proxy::{not_a_tunnel, received, split_target};
use crate::refusal::Refused;
use crate::wire::strip_hop_by_hop;

/// Takes a request in, as HTTP/1.1 would have brought it.
///
/// # Errors
/// The answer to one that is not acceptable.
pub(super) fn incoming(
    parts: &Parts,
    has_body: bool,
    peer: Option<IpAddr>,
    limits: &HeadLimits,
) -> Result<Incoming, Refused> {
    if parts.method == Method::CONNECT {
        return Err(not_a_tunnel());
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let (path, query) = split_target(target);
    let mut head = RequestHead {
        method: parts.method.as_str().to_owned(),
        path,
        query,
        headers: headers(parts)?,
    };
    check_request(&head, limits)
        .map_err(|refusal| Refused::bad_head(refusal.status, &refusal.reason))?;
    let length = head.headers.get_str("content-length").map(str::parse);
    let body = match (has_body, length) {
        (false, _) => BodyLength::None,
        (true, Some(Ok(length))) => BodyLength::Known(length),
        (true, Some(Err(_)) | None) => BodyLength::Unknown,
    };
    strip_hop_by_hop(&mut head.headers);
    head.headers.remove("content-length");
    Ok(received(head, body, peer, Protocol::Http2))
}

/// The header lines, with `host` in front, as HTTP/1.1 has it, and with cookies put together again, which HTTP/2 may
/// split (RFC 9113, 8.2.3).
fn headers(parts: &Parts) -> Result<Headers, Refused> {
    let mut headers = Headers::new();
    if let Some(authority) = parts.uri.authority() {
        let authority = authority.as_str();
        let differs =
            |host: &http::HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if parts.headers.get_all("host").iter().any(differs) {
            return Err(Refused::bad_head(400, "`host` is not `:authority`"));
        }
        if authority.contains('@') {
            return Err(Refused::bad_head(400, "`:authority` has a user in it"));
        }
        headers.push("host", Bytes::copy_from_slice(authority.as_bytes()));
    }
    let has_host = !headers.is_empty();
    let mut cookies: Option<Vec<u8>> = None;
    for (name, value) in &parts.headers {
        match name.as_str() {
            "host" if has_host => {}
            "cookie" => match &mut cookies {
                Some(cookies) => {
                    cookies.extend_from_slice(b"; ");
                    cookies.extend_from_slice(value.as_bytes());
                }
                None => cookies = Some(value.as_bytes().to_vec()),
            },
            name => headers.push(name, Bytes::copy_from_slice(value.as_bytes())),
        }
    }
    if let Some(cookies) = cookies {
        headers.push("cookie", cookies);
    }
    Ok(headers)
}
