//! What a request's body says, under the framing and the encodings that clients put around it.

use std::borrow::Cow;

use crate::encoding;
use crate::message::RequestHead;

/// The body without aws-chunked framing and without content encodings, up to `limit` bytes.
///
/// Chunk signatures make each request unique, and compressors differ from client to client; what is said is the same.
/// Where something cannot be taken off, the body stays as it is. So a body which was already decoded stays too.
pub(crate) fn payload<'a>(head: &RequestHead, body: &'a [u8], limit: usize) -> Cow<'a, [u8]> {
    let listed = head.headers.get_str("content-encoding").unwrap_or_default();
    let is_aws_chunked = listed
        .split(',')
        .any(|name| name.trim().eq_ignore_ascii_case("aws-chunked"))
        || head
            .headers
            .get_str("x-amz-content-sha256")
            .is_some_and(|value| value.starts_with("STREAMING-"));
    let mut said = Cow::Borrowed(body);
    if is_aws_chunked && let Some(content) = aws_chunked(body) {
        said = Cow::Owned(content);
    }
    let rest: Vec<_> = listed
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    if !rest.is_empty()
        && let Ok(decoded) = encoding::decode(&rest.join(","), &said, limit)
    {
        said = Cow::Owned(decoded);
    }
    said
}

/// `HEX[;chunk-signature=…]CRLF bytes CRLF … 0[;…]CRLF trailers`, without signatures and trailers.
fn aws_chunked(body: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let mut rest = body;
    loop {
        let end = memchr::memmem::find(rest.get(..rest.len().min(MAX_CHUNK_LINE))?, b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = line.split(';').next()?.trim();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// Size, extension and a signature of 64 digits, with room to spare.
const MAX_CHUNK_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_chunks_lose_their_signatures_and_trailers() {
        let body = b"5;chunk-signature=0123abcd\r\nhello\r\n6;chunk-signature=ff\r\n world\r\n0;chunk-signature=aa\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        assert_eq!(aws_chunked(body).unwrap(), b"hello world");
        assert_eq!(aws_chunked(b"0\r\n\r\n").unwrap(), b"");
        for broken in [
            &b""[..],
            b"5\r\nhell",
            b"5\r\nhelloXX0\r\n",
            b"zz\r\n",
            b"\r\n",
            b"ffffffffffffffffff\r\n",
            b"7fffffffffffffff\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(aws_chunked(broken), None);
        }
    }
}
