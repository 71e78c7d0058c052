//! Between our words for heads and pingora's.

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::message::{Headers, ResponseHead};

/// A macro and not a function, because the type of pingora's names can't be named (0.9.1).
macro_rules! lines {
    ($lines:expr) => {
        $lines
            .map(|(name, value)| {
                let name = String::from_utf8_lossy(name.as_slice()).into_owned();
                (name, Bytes::copy_from_slice(value.as_bytes()))
            })
            .collect::<Headers>()
    };
}

/// The header lines of a request, in order of first occurrence, with their case.
pub(crate) fn headers_of(header: &RequestHeader) -> Headers {
    lines!(header.case_header_iter())
}

/// The head of an answer, without what concerns one connection only.
pub(crate) fn response_head(head: &ResponseHeader) -> ResponseHead {
    let mut headers = lines!(head.case_header_iter());
    strip_hop_by_hop(&mut headers);
    let reason = head
        .get_reason_phrase()
        .filter(|reason| Some(*reason) != head.status.canonical_reason());
    ResponseHead {
        status: head.status.as_u16(),
        reason: reason.map(str::to_owned),
        headers,
    }
}

/// An answer's head as pingora speaks of it. `Transfer-Encoding` is left out for HTTP/1.0, which does not know it.
pub(crate) fn response_header(head: &ResponseHead, is_http10: bool) -> ResponseHeader {
    let mut header = match ResponseHeader::build(head.status, Some(head.headers.len() + 2)) {
        Ok(header) => header,
        Err(_) => ResponseHeader::build(502, None).expect("502 is a status"),
    };
    if header.set_reason_phrase(head.reason.as_deref()).is_err() {
        tracing::warn!("left out a reason phrase that can't be sent");
    }
    // A head that names both, such as one edited by hand, can be read in two ways.
    let has_length = !head.headers.contains("transfer-encoding");
    for (name, value) in head.headers.iter() {
        if !has_length && name.eq_ignore_ascii_case("content-length") {
            continue;
        }
        if is_http10 && name.eq_ignore_ascii_case("transfer-encoding") {
            continue;
        }
        if header
            .append_header(name.to_owned(), value.as_ref())
            .is_err()
        {
            tracing::warn!(name, "left out a header that can't be sent");
        }
    }
    header
}

/// Takes out what concerns one connection only (RFC 9110, 7.6.1). `Transfer-Encoding` stays: it says how the body is
/// framed, and the writer on the other side decides anew.
pub(crate) fn strip_hop_by_hop(headers: &mut Headers) {
    let named: Vec<String> = headers
        .get_all("connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .filter(|name| {
            !matches!(
                name.as_str(),
                "" | "close" | "keep-alive" | "content-length" | "transfer-encoding"
            )
        })
        .collect();
    headers.retain(|name, _| {
        let name = name.to_ascii_lowercase();
        !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(&name)
    });
}

const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
];
