use super::*;

fn check(head: &str) -> Result<(), (u16, String)> {
    let limits = HeadLimits {
        head: ByteSize::kib(1),
        url: ByteSize(64),
        headers: 4,
    };
    check_head(head.as_bytes(), &limits).map_err(|refusal| (refusal.status, refusal.reason))
}

#[test]
fn ordinary_heads_pass() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/x?a=%00&b=.. HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
        "GET /a..b/...%2e HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\n\r\n",
    ] {
        assert_eq!(check(head), Ok(()), "{head:?}");
    }
}

#[test]
fn heads_that_can_be_read_in_two_ways_are_refused() {
    for (head, reason) in [
        (
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "a line of the head ends with a bare LF",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
            "the head has a bare CR in it",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
            "the head has a NUL byte in it",
        ),
        (
            "GET  / HTTP/1.1\r\n\r\n",
            "the request line is not a method, a target and a version, one space apart",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "a header is folded over two lines",
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
            "a header's name has a byte in it that is not allowed, such as a space before the colon",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both `Content-Length` and `Transfer-Encoding` are given",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "`Content-Length` is given twice with different values",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
            "`Content-Length` is not a whole number",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
            "`Content-Length` is not a whole number",
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "`Transfer-Encoding` is something else than `chunked`, once",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "more than one `Host` is given",
        ),
        (
            "GET bad HTTP/1.1\r\n\r\n",
            "the URL is neither a path, nor absolute",
        ),
        (
            "GET /a/../b HTTP/1.1\r\n\r\n",
            "the path has a `..` segment in it",
        ),
        (
            "GET /a/%2e%2E/b HTTP/1.1\r\n\r\n",
            "the path has a `..` segment in it",
        ),
        ("GET /a%00 HTTP/1.1\r\n\r\n", "the path has `%00` in it"),
        (
            "GET /caf\u{e9} HTTP/1.1\r\n\r\n",
            "the URL has bytes in it that must be percent-encoded",
        ),
    ] {
        assert_eq!(check(head), Err((400, reason.to_owned())), "{head:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_with_the_limit_by_name() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64));
    assert_eq!(
        check(&long),
        Err((
            414,
            "the URL has 65 bytes, `limits.url` allows 64B".to_owned()
        ))
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5));
    assert_eq!(
        check(&many),
        Err((
            431,
            "the head has 5 headers, `limits.headers` allows 4".to_owned()
        ))
    );
    let large = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(1024));
    assert_eq!(
        check(&large),
        Err((
            431,
            "the head has 1047 bytes, `limits.head` allows 1KiB".to_owned()
        ))
    );
}
