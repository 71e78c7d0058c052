//! Between our words for heads and pingora's.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::call::{BodyLength, Call};
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

/// The header lines of HTTP/2.
pub(crate) fn http2_headers(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes())))
        .collect()
}

/// The head of an answer over HTTP/2.
pub(crate) fn http2_head(status: StatusCode, headers: &HeaderMap) -> ResponseHead {
    ResponseHead {
        status: status.as_u16(),
        reason: None,
        headers: http2_headers(headers),
    }
}

/// Says how the body ends where HTTP/2 needed no words for it: other clients do.
pub(crate) fn frame_for_http1(head: &mut ResponseHead, method: &str) {
    let has_body = !matches!(head.status, ..200 | 204 | 304) && method != "HEAD";
    if has_body
        && !head.headers.contains("content-length")
        && !head.headers.contains("transfer-encoding")
    {
        head.headers.push("transfer-encoding", "chunked");
    }
}

/// A request as it goes out over HTTP/2: `Host` becomes `:authority`.
///
/// # Errors
/// What can't be sent, in words.
pub(crate) fn http2_request(call: &Call) -> Result<Request<()>, String> {
    let (origin, head) = (&call.origin, &call.head);
    let authority = head
        .headers
        .get("host")
        .map_or_else(|| Bytes::from(origin.authority()), Bytes::copy_from_slice);
    let target = format!("{}{}", origin.base_path, head.target());
    let uri = Uri::builder()
        .scheme(if origin.is_tls { "https" } else { "http" })
        .authority(&authority[..])
        .path_and_query(target)
        .build()
        .map_err(|error| format!("its host or its path can't be sent: {error}"))?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = head
        .method
        .parse()
        .map_err(|_| format!("its method `{}` can't be sent", head.method))?;
    let headers = request.headers_mut();
    for (name, value) in head.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("its header `{name}` can't be sent"))?;
        if is_framing(&name) || name == http::header::HOST {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(value.clone())
            .map_err(|_| format!("the value of its header `{name}` can't be sent"))?;
        headers.append(name, value);
    }
    if let BodyLength::Known(length) = call.body {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Takes out what concerns one connection only (RFC 9110, 7.6.1), but for `te: trailers`, without which some servers of
/// HTTP/2 refuse a request. `Transfer-Encoding` stays: it says how the body is
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
    let takes_trailers = headers
        .get_all("te")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if takes_trailers {
        headers.set("te", "trailers");
    }
    headers.retain(|name, _| {
        let name = name.to_ascii_lowercase();
        (!HOP_BY_HOP.contains(&name.as_str()) || (name == "te" && takes_trailers))
            && !named.contains(&name)
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
