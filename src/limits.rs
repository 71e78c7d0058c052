//! What of a request is refused before it costs: heads that are too large, and heads that two servers could read in
//! two ways (request smuggling).
//!
//! Looks at the head as it came over the wire, because the HTTP parser mends some of it before anyone else sees it.

use crate::message::RequestHead;
use crate::units::ByteSize;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Request line and headers together.
    pub head: ByteSize,
    /// The request target.
    pub url: ByteSize,
    /// How many header lines.
    pub headers: usize,
}

/// Why a request is refused, and the status to say it with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// 400, 414 or 431.
    pub status: u16,
    /// What is wrong with it, for the client's developer.
    pub reason: String,
}

/// Looks at an HTTP/1 head, from the request line to the empty line.
///
/// # Errors
/// What is wrong with it.
pub fn check_head(raw: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    check_size(raw.len(), limits)?;
    check_line_ends(raw)?;
    let mut lines = raw
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    check_request_line(lines.next().unwrap_or_default(), limits)?;
    let mut framing = Framing::default();
    let mut count = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        count += 1;
        check_header_line(line, &mut framing)?;
    }
    check_count(count, limits)?;
    framing.check()
}

/// Looks at the head of an HTTP/2 request, which has no lines that could be read in two ways. Its size is that of the
/// same head in HTTP/1.
///
/// # Errors
/// What is wrong with it.
pub fn check_request(head: &RequestHead, limits: &HeadLimits) -> Result<(), Refusal> {
    let target = head.target();
    let fields: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.len() + ": \r\n".len() + value.len())
        .sum();
    let line = head.method.len() + target.len() + "  HTTP/1.1\r\n\r\n".len();
    check_size(line + fields, limits)?;
    check_target(head.method.as_bytes(), target.as_bytes(), limits)?;
    let mut framing = Framing::default();
    for (name, value) in head.headers.iter() {
        check_header(name.as_bytes(), value, &mut framing)?;
    }
    check_count(head.headers.len(), limits)?;
    framing.check()
}

fn check_size(bytes: usize, limits: &HeadLimits) -> Result<(), Refusal> {
    if bytes > limits.head.as_usize() {
        return refuse(
            431,
            format!(
                "the head has {bytes} bytes, `limits.head` allows {}",
                limits.head
            ),
        );
    }
    Ok(())
}

fn check_count(count: usize, limits: &HeadLimits) -> Result<(), Refusal> {
    if count > limits.headers {
        return refuse(
            431,
            format!(
                "the head has {count} headers, `limits.headers` allows {}",
                limits.headers
            ),
        );
    }
    Ok(())
}

/// Holds the request line as it came against the one in the head, which the parser may have mended: it escapes blanks and
/// quotes in the target.
///
/// # Errors
/// That the line was mended.
pub fn check_line(came: Option<&[u8]>, raw: &[u8]) -> Result<(), Refusal> {
    match came {
        // An empty line before the request is allowed (RFC 9112, 2.2) and was skipped.
        Some(came) if !raw.starts_with(came) && !came.trim_ascii().is_empty() => {
            refuse(400, NOT_A_LINE)
        }
        _ => Ok(()),
    }
}

/// What the header lines say of the body's framing, and of the host.
#[derive(Default)]
struct Framing<'a> {
    length: Option<&'a [u8]>,
    is_chunked: bool,
    hosts: usize,
}

impl Framing<'_> {
    fn check(&self) -> Result<(), Refusal> {
        if self.length.is_some() && self.is_chunked {
            return refuse(
                400,
                "both `Content-Length` and `Transfer-Encoding` are given",
            );
        }
        if self.hosts > 1 {
            return refuse(400, "more than one `Host` is given");
        }
        Ok(())
    }
}

fn check_line_ends(raw: &[u8]) -> Result<(), Refusal> {
    let mut before = 0;
    for (index, byte) in raw.iter().enumerate() {
        match byte {
            b'\n' if before != b'\r' => {
                return refuse(400, "a line of the head ends with a bare LF");
            }
            b'\r' if raw.get(index + 1) != Some(&b'\n') => {
                return refuse(400, "the head has a bare CR in it");
            }
            0 => return refuse(400, "the head has a NUL byte in it"),
            _ => {}
        }
        before = *byte;
    }
    Ok(())
}

fn check_request_line(line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(_version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return refuse(400, NOT_A_LINE);
    };
    check_target(method, target, limits)
}

fn check_target(method: &[u8], target: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    if target.len() > limits.url.as_usize() {
        return refuse(
            414,
            format!(
                "the URL has {} bytes, `limits.url` allows {}",
                target.len(),
                limits.url
            ),
        );
    }
    if target.iter().any(|byte| !byte.is_ascii_graphic()) {
        return refuse(400, "the URL has bytes in it that must be percent-encoded");
    }
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    let decoded: Vec<u8> = percent_encoding::percent_decode(path).collect();
    if decoded.contains(&0) {
        return refuse(400, "the path has `%00` in it");
    }
    if decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| segment == b"..")
    {
        return refuse(400, "the path has a `..` segment in it");
    }
    let is_path = target.starts_with(b"/")
        || target == b"*"
        || target.windows(3).any(|window| window == b"://");
    if !is_path && method != b"CONNECT" {
        return refuse(400, "the URL is neither a path, nor absolute");
    }
    if target.contains(&b'#') {
        return refuse(400, "the URL has a fragment in it");
    }
    Ok(())
}

fn check_header_line<'a>(line: &'a [u8], framing: &mut Framing<'a>) -> Result<(), Refusal> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return refuse(400, "a header is folded over two lines");
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return refuse(400, "a header line has no colon");
    };
    let (name, value) = line.split_at(colon);
    check_header(
        name,
        value.get(1..).unwrap_or_default().trim_ascii(),
        framing,
    )
}

fn check_header<'a>(
    name: &[u8],
    value: &'a [u8],
    framing: &mut Framing<'a>,
) -> Result<(), Refusal> {
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return refuse(
            400,
            "a header's name has a byte in it that is not allowed, such as a space before the colon",
        );
    }
    if value
        .iter()
        .any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f)
    {
        return refuse(400, "a header's value has a control character in it");
    }
    if name.eq_ignore_ascii_case(b"content-length") {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) || value.len() > 19 {
            return refuse(400, "`Content-Length` is not a whole number");
        }
        if framing.length.is_some_and(|length| length != value) {
            return refuse(400, "`Content-Length` is given twice with different values");
        }
        framing.length = Some(value);
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if framing.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return refuse(
                400,
                "`Transfer-Encoding` is something else than `chunked`, once",
            );
        }
        framing.is_chunked = true;
    } else if name.eq_ignore_ascii_case(b"host") {
        framing.hosts += 1;
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn refuse(status: u16, reason: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal {
        status,
        reason: reason.into(),
    })
}

const NOT_A_LINE: &str =
    "the request line is not a method, a target and a version, one space apart";

#[cfg(test)]
mod tests;
