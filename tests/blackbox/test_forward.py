"""Forwarding: what the pump does with live exchanges, seen from both ends of the wire."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import statistics
import threading
import time

import pytest
import wire
from conftest import route
from rawclient import Client, Pattern, Sender, ask, read_hashed
from upstream import CLOSE, Upstream, answer, big, echo, endless, raw, stream, swallow
from wire import LAST_CHUNK, chunk, head_bytes

MIB = 1 << 20


@pytest.fixture(params=["forward", "record"])
def proxy(request, rehearsal, upstream, cassette):
    """Both ways in which an upstream is called live: they must look the same to everybody."""
    if request.param == "forward":
        return rehearsal.forward(upstream)
    return rehearsal.record(upstream, cassette)


# Heads.


def test_an_answer_passes_as_it_is(proxy, upstream):
    headers = (
        ("X-Multi", "a"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("x-multi", "b"),
        ("Set-Cookie", "a=1; Path=/"),
        ("ETag", '"abc"'),
        ("Set-Cookie", "b=2"),
        ("X-Empty", ""),
        ("Content-Length", "5"),
    )
    upstream.on("/", answer(207, headers, b"hello", reason="Quite Fine"))
    got = ask(proxy.url)
    assert (got.status, got.head.reason, got.body, got.end) == (207, "Quite Fine", b"hello", wire.COMPLETE)
    assert by_first(got.told()) == by_first(headers)
    assert got.head.version == "HTTP/1.1"


def by_first(headers):
    """Names in the order and the case of their first occurrence, each with its values in order."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), (name, []))[1].append(value)
    return list(found.values())


def test_a_request_passes_as_it_is(proxy, upstream):
    upstream.fallback = echo
    sent = [
        ("X-Multi", "a"),
        ("Content-Type", "application/x-thing"),
        ("x-multi", "b"),
        ("X-CaSe", "Kept"),
        ("Accept-Encoding", "gzip, br"),
    ]
    body = bytes(range(256))
    ask(proxy.url, "PATCH", "/a%2Fb?x=%20&&y=a+b", sent, body)
    request = upstream.requests[0]
    assert (request.method, request.target, request.version) == ("PATCH", "/a%2Fb?x=%20&&y=a+b", "HTTP/1.1")
    assert request.body == body
    assert request.all("host") == [f"127.0.0.1:{upstream.port}"]
    seen = [(name, value) for name, value in request.headers if name.lower() in {name.lower() for name, _ in sent}]
    assert by_first(seen) == by_first(sent)


def test_what_concerns_one_connection_goes_no_further(proxy, upstream):
    reply = b"HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nhi"
    upstream.on("/", raw(reply))
    sent = [("Connection", "X-Mine, keep-alive"), ("X-Mine", "1"), ("Keep-Alive", "1"), ("TE", "gzip"), ("Proxy-Connection", "x")]
    got = ask(proxy.url, headers=[*sent, ("X-Rehearsal-Source", "me"), ("X-Kept", "1")])
    request = upstream.requests[0]
    for name in ("x-mine", "keep-alive", "te", "proxy-connection", "x-rehearsal-source"):
        assert request.get(name) is None, name
    assert request.get("x-kept") == "1"
    assert (got.get("x-private"), got.get("keep-alive"), got.get("x-kept")) == (None, None, "2")


def test_a_large_head_of_the_upstream_passes(proxy, upstream):
    headers = [("Content-Type", "text/plain")] + [(f"X-Large-{number}", str(number) * 3000) for number in range(8)]
    upstream.on("/", answer(headers=headers, body=b"hi"))
    got = ask(proxy.url)
    assert got.get("X-Large-7") == "7" * 3000
    assert got.body == b"hi"


def test_a_slow_head_is_waited_for(proxy, upstream):
    upstream.on("/", raw(b"HTTP/1.1 200 OK\r\nX-Slow: yes\r\nContent-Length: 2\r\n\r\nhi", gap=0.005, size=1))
    got = ask(proxy.url)
    assert (got.status, got.get("x-slow"), got.body) == (200, "yes", b"hi")


def test_non_ascii_header_values_pass(proxy, upstream):
    upstream.on("/", raw("HTTP/1.1 200 OK\r\nX-Name: café\r\nContent-Length: 0\r\n\r\n".encode("latin-1")))
    got = ask(proxy.url, headers=[("X-Name", "naïve")])
    assert got.get("x-name") == "café"
    assert upstream.requests[0].get("x-name") == "naïve"


# Bodies, and answers without one.


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_pieces_pass_at_once_in_each_framing(proxy, upstream, framing):
    """The trap of every buffering proxy: pieces that wait for the next one, or for the end."""
    pieces = [b"piece %03d;" % number for number in range(12)]
    upstream.on("/", stream(pieces, 0.04, framing=framing))
    got = ask(proxy.url)
    assert (got.body, got.end) == (b"".join(pieces), wire.COMPLETE)
    sent = [at for at, _ in upstream.requests[0].sent]
    assert len(got.pieces) > len(pieces) / 2, "pieces were put together"
    # A piece that waits for the next one comes 40 ms late.
    delays = [min(came - went for came, _ in got.pieces if came >= went) for went in sent]
    assert statistics.median(delays) < 0.03, delays


def test_the_head_does_not_wait_for_the_body(proxy, upstream):
    upstream.on("/", stream([b"late"], first_gap=0.5))
    got = ask(proxy.url)
    assert got.chunks[0][0] - got.head.at > 0.4


def test_chunks_keep_their_boundaries(proxy, upstream):
    chunks = [b"x" * size for size in (1, 10, 1000, 3, 8000, 2)]
    upstream.on("/", stream(chunks, 0.02))
    assert ask(proxy.url).boundaries == chunks


def test_a_compressed_body_is_not_touched(proxy, upstream):
    packed = gzip.compress(b'{"a":1}' * 100)
    upstream.on("/", answer(headers=(("Content-Type", "application/json"), ("Content-Encoding", "gzip")), body=packed))
    got = ask(proxy.url, headers=[("Accept-Encoding", "gzip")])
    assert (got.body, got.get("content-encoding"), got.get("content-length")) == (packed, "gzip", str(len(packed)))


def test_a_head_request_gets_the_length_and_no_body(proxy, upstream):
    upstream.on("/", answer(headers=(("Content-Length", "12345"), ("ETag", '"x"'))))
    with Client(proxy.url) as client:
        for _ in range(2):
            got = client.ask("HEAD")
            assert (got.status, got.get("content-length"), got.body, got.end) == (200, "12345", b"", wire.COMPLETE)
        upstream.on("/", answer(body=b"hello"))
        assert client.ask().body == b"hello"


def test_a_head_request_to_a_chunked_resource_ends(proxy, upstream):
    upstream.on("/", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
    with Client(proxy.url, timeout=5) as client:
        assert client.ask("HEAD").status == 200
        upstream.on("/", answer(body=b"hello"))
        assert client.ask().body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_leaves_the_connection_usable(proxy, upstream, status):
    upstream.on("/", answer(status, (("ETag", '"x"'),)))
    with Client(proxy.url, timeout=5) as client:
        for _ in range(3):
            got = client.ask()
            assert (got.status, got.get("etag"), got.body, got.end) == (status, '"x"', b"", wire.COMPLETE)
            assert got.get("transfer-encoding") is None


def test_a_304_may_tell_the_length_of_what_it_does_not_send(proxy, upstream):
    upstream.on("/", answer(304, (("Content-Length", "99"),)))
    with Client(proxy.url, timeout=5) as client:
        assert client.ask().status == 304
        upstream.on("/", answer(body=b"hello"))
        assert client.ask().body == b"hello"


def test_an_empty_body_passes_in_each_framing(proxy, upstream):
    upstream.on("/length", answer(headers=(("Content-Length", "0"),), body=b""))
    upstream.on("/chunked", stream([]))
    with Client(proxy.url, timeout=5) as client:
        for target in ("/length", "/chunked", "/length"):
            got = client.ask(target=target)
            assert (got.status, got.body, got.end) == (200, b"", wire.COMPLETE)


def test_trailers_do_not_break_the_body(proxy, upstream):
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunk(b"hello") + b"0\r\nX-Sum: 1\r\n\r\n"
    upstream.on("/", raw(reply))
    with Client(proxy.url, timeout=5) as client:
        for _ in range(2):
            got = client.ask()
            assert (got.body, got.end) == (b"hello", wire.COMPLETE)


def test_chunk_extensions_do_not_break_the_body(proxy, upstream):
    upstream.on("/", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"))
    got = ask(proxy.url)
    assert (got.body, got.end) == (b"hello", wire.COMPLETE)


def test_an_http10_upstream_is_understood(proxy, upstream):
    upstream.on("/", raw(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold but good", "fin"))
    got = ask(proxy.url)
    assert (got.status, got.body, got.end) == (200, b"old but good", wire.COMPLETE)


# Uploads.


def test_a_chunked_upload_arrives_whole(proxy, upstream):
    upstream.on("/", echo)
    pieces = [b"a" * 10, b"b" * 70_000, b"c"]
    body = b"".join(map(chunk, pieces)) + LAST_CHUNK
    with Client(proxy.url) as client:
        for _ in range(2):
            got = client.ask("POST", "/", [("Transfer-Encoding", "chunked")], body)
            assert json.loads(got.body)["body"].encode() == b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000, 5 * MIB])
def test_an_upload_of_any_size_arrives_whole(proxy, upstream, size):
    """65,537 bytes is where bodies that pingora has buffered are lost."""
    upstream.on("/", swallow(hashlib.sha256))
    body = b"".join(Pattern().pieces(size))
    with Client(proxy.url) as client:
        got = client.ask("POST", "/", body=body)
    assert json.loads(got.body) == {"sha256": hashlib.sha256(body).hexdigest(), "size": size}


def test_an_upload_is_not_held_back_on_a_forward_route(rehearsal, upstream):
    """The upstream gets the beginning while the client still has the rest."""
    came = threading.Event()

    def first(request, connection):
        pieces = request.pieces()
        assert next(pieces)
        came.set()
        rest = sum(map(len, pieces))
        request.body = b""
        return answer(body=b"%d" % rest)(request, connection)

    upstream.on("/", first)
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url) as client:
        client.request("POST", "/", [("Content-Length", "10")])
        client.send(b"abc")
        assert came.wait(5), "the upstream saw nothing of the body"
        client.send(b"defghij")
        assert client.answer().status == 200


@pytest.mark.parametrize("size", [20 * MIB, 200 * MIB])
def test_an_upload_that_is_too_large_to_be_recorded_still_arrives(rehearsal, upstream, cassette, size):
    """A limit on recording never touches the traffic, nor the memory."""
    pattern = Pattern()
    upstream.on("/", swallow(hashlib.sha256)).on("/small", answer())
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/small")
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    with Client(proxy.url, timeout=60) as client:
        client.request("POST", "/", [("Content-Length", str(size))])
        sender = Sender(client.sock, pattern.pieces(size))
        got = json.loads(client.answer("POST").body)
        sender.join()
    grown = proxy.memory("VmHWM") - before
    assert got == {"sha256": pattern.digest(size), "size": size}
    assert grown < 32 * MIB, f"{grown / MIB:.1f} MiB more"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_upload_that_is_cut_is_cut_for_the_upstream_too(proxy, upstream, framing, how):
    """Above all, half an upload must never look like a whole one."""
    ends = []

    def handle(request, connection):
        size = 0
        try:
            for piece in request.pieces():
                size += len(piece)
        except wire.Ended as ended:
            ends.append(ended.how)
            return CLOSE
        ends.append("whole")
        return answer()(request, connection)

    upstream.on("/", handle).on("/good", answer(body=b"good"))
    client = Client(proxy.url)
    if framing == "length":
        client.request("POST", "/", [("Content-Length", "100000")])
        client.send(b"x" * 50_000)
    else:
        client.request("POST", "/", [("Transfer-Encoding", "chunked")])
        client.send(chunk(b"x" * 50_000))
    getattr(client, how)()
    # A proxy that reads the body first has told the upstream nothing at all, which is as good.
    assert ask(proxy.url, target="/good").body == b"good"
    upstream.wait(lambda: not upstream.seen("/") or ends, 5, "the end of the upload")
    assert "whole" not in ends
    assert proxy.is_alive


def test_a_get_may_have_a_body(proxy, upstream):
    upstream.on("/", echo)
    got = json.loads(ask(proxy.url, "GET", "/", body=b"a search").body)
    assert (got["method"], got["body"]) == ("GET", "a search")


def test_expect_continue_is_answered_before_the_body(proxy, upstream):
    def handle(request, connection):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return echo(request, connection)

    upstream.on("/", handle)
    with Client(proxy.url, timeout=5) as client:
        client.request("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")])
        interim = client.reader.head()
        assert interim.status == 100
        client.send(b"hello")
        got = client.answer("POST")
        assert json.loads(got.body)["body"] == "hello"
        # The next one on the same connection is not confused by it.
        assert json.loads(client.ask("POST", "/", body=b"again").body)["body"] == "again"


def test_expect_continue_is_answered_where_the_upstream_does_not_know_it(proxy, upstream):
    """Many servers just wait for the body."""
    upstream.on("/", echo)
    with Client(proxy.url, timeout=8) as client:
        client.request("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")])
        # A client waits a while for the 100 and then sends anyway.
        client.sock.settimeout(1.5)
        try:
            assert client.reader.head().status == 100
        except wire.Ended as ended:
            assert ended.how == wire.TIMEOUT
        client.sock.settimeout(8)
        client.send(b"hello")
        assert json.loads(client.answer("POST").body)["body"] == "hello"


@pytest.mark.parametrize("status", [417, 413, 401])
def test_a_refused_expectation_reaches_the_client_without_a_body_sent(rehearsal, upstream, status):
    def refuse(request, connection):
        request.body_is_read = True
        body = b'{"error":"no"}'
        head = [("Content-Length", str(len(body))), ("Connection", "close")]
        connection.send(head_bytes(f"HTTP/1.1 {status} No", head) + body)
        return CLOSE

    upstream.on("/", refuse)
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=5) as client:
        client.request("POST", "/", [("Expect", "100-continue"), ("Content-Length", str(MIB))])
        got = client.answer("POST")
    assert [head.status for head in got.interim] == [], "the client was asked to send what nobody wants"
    assert (got.status, got.body) == (status, b'{"error":"no"}')


def test_early_hints_pass_before_the_answer(proxy, upstream):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

    def handle(request, connection):
        connection.send(hints)
        connection.send(hints.replace(b"a.css", b"b.css"))
        time.sleep(0.3)
        return answer(body=b"done")(request, connection)

    upstream.on("/", handle)
    got = ask(proxy.url)
    assert [head.status for head in got.interim] == [103, 103]
    assert got.interim[0].get("link") == "</a.css>; rel=preload"
    assert got.head.at - got.interim[0].at > 0.2, "hints that come with the answer are no hints"
    assert (got.status, got.body) == (200, b"done")


@pytest.mark.parametrize("closes", [False, True], ids=["stays", "closes"])
def test_an_early_answer_reaches_a_client_that_still_sends(rehearsal, upstream, closes):
    body = b'{"error":"too large"}'

    def refuse(request, connection):
        request.body_is_read = True
        head = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        head += [("Connection", "close")] if closes else []
        connection.send(head_bytes("HTTP/1.1 413 Too Large", head) + body)
        if closes:
            connection.fin()
        connection.wait_gone(20)
        return CLOSE

    upstream.on("/", refuse)
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=15) as client:
        client.request("POST", "/", [("Content-Length", str(64 * MIB))])
        sender = Sender(client.sock, Pattern().pieces(64 * MIB))
        got = client.answer("POST")
        assert (got.status, got.body) == (413, body)
        client.close()
        sender.join()
    assert ask(proxy.url, target="/other").status == 404


def test_an_answer_may_stream_while_the_upload_goes_on(rehearsal, upstream):
    def duplex(request, connection):
        connection.send(head_bytes("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]))
        for piece in request.pieces():
            connection.send(chunk(piece.upper()))
        connection.send(LAST_CHUNK)
        request.body = b""

    upstream.on("/", duplex)
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=5) as client:
        client.request("POST", "/", [("Transfer-Encoding", "chunked")])
        client.send(chunk(b"one"))
        head = client.reader.head()
        assert head.status == 200
        while b"ONE" not in client.reader.buffer:
            client.reader.more()
        client.send(chunk(b"two") + LAST_CHUNK)
        got = client.answer("POST", head=head)
        assert (got.body, got.end) == (b"ONETWO", wire.COMPLETE)


# Clients.


def test_an_http10_client_gets_a_body_that_it_can_read(proxy, upstream):
    upstream.on("/", stream([b"one ", b"two ", b"three"], 0.01))
    with Client(proxy.url) as client:
        got = client.ask(version="HTTP/1.0")
        assert got.framing in ("close", "length")
        assert (got.status, got.body, got.end) == (200, b"one two three", wire.COMPLETE)
        assert client.end() == wire.FIN


def test_an_http10_client_sees_that_a_body_was_cut(proxy, upstream):
    """Without chunks only a reset can say it."""
    upstream.on("/", stream([b"one ", b"two "], 0.01, then="rst"))
    got = ask(proxy.url, version="HTTP/1.0")
    assert got.end == wire.RESET


def test_a_half_closed_client_gets_its_whole_answer(proxy, upstream):
    pieces = [b"data: %d\n\n" % number for number in range(8)]
    upstream.on("/", stream(pieces, 0.03, first_gap=0.1))
    with Client(proxy.url) as client:
        client.request()
        client.half_close()
        got = client.answer()
        assert (got.status, got.body, got.end) == (200, b"".join(pieces), wire.COMPLETE)
        assert client.end() == wire.FIN


def test_a_client_that_asks_for_it_gets_its_connection_closed(proxy, upstream):
    upstream.on("/", answer(body=b"hi"))
    with Client(proxy.url) as client:
        assert client.ask(headers=[("Connection", "close")]).body == b"hi"
        assert client.end() == wire.FIN


def test_many_requests_share_one_connection_of_a_client(proxy, upstream):
    upstream.on("/", echo)
    with Client(proxy.url) as client:
        for number in range(20):
            got = client.ask("POST", "/", body=b"%d" % number)
            assert json.loads(got.body)["body"] == str(number)


def test_pipelined_requests_are_answered_in_their_order(proxy, upstream):
    for number in range(3):
        upstream.on(f"/{number}", answer(body=b"%d" % number))
    with Client(proxy.url, timeout=5) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3)))
        got = [client.answer() for _ in range(3)]
    assert got[0].body == b"0"
    # Closing instead of answering all is allowed; mixing them up is not.
    assert [one.body for one in got if one.head] in ([b"0"], [b"0", b"1"], [b"0", b"1", b"2"])
    for one in got:
        assert one.head or one.end in (wire.FIN, wire.RESET), "a request was swallowed without a word"


def test_a_request_that_comes_byte_by_byte_is_understood(proxy, upstream):
    upstream.on("/", echo)
    with Client(proxy.url) as client:
        for byte in b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc":
            client.send(bytes([byte]))
        assert json.loads(client.answer().body)["body"] == "abc"


def test_a_short_request_is_answered_at_once(proxy, upstream):
    """18 bytes, fewer than the preface of HTTP/2."""
    upstream.on("/", answer(body=b"hi"))
    with Client(proxy.url, timeout=5) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.answer().status in (200, 400)


def test_a_client_that_leaves_ends_a_forwarded_stream(rehearsal, upstream):
    upstream.on("/", endless(gap=0.01))
    proxy = rehearsal.forward(upstream)
    for how in ("close", "reset"):
        count = len(upstream.requests)
        client = Client(proxy.url)
        client.request()
        client.reader.head()
        client.reader.more()
        getattr(client, how)()
        request = upstream.requests[count]
        upstream.wait(lambda: request.left.is_set(), 5, "the end of the stream at the upstream")


@pytest.mark.parametrize("moment", ["before the head", "between chunks"])
def test_a_client_that_leaves_in_a_silence_ends_the_upstream_too(rehearsal, upstream, moment):
    gone = threading.Event()

    def silent(request, connection):
        request.read()
        if moment == "between chunks":
            connection.send(head_bytes("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunk(b"one"))
        if connection.wait_gone(15):
            gone.set()
        return CLOSE

    upstream.on("/", silent)
    proxy = rehearsal.forward(upstream)
    client = Client(proxy.url)
    client.request()
    if moment == "between chunks":
        client.reader.head()
    upstream.wait(lambda: upstream.requests)
    client.close()
    assert gone.wait(5), "the upstream still waits for a client that has left"


def test_a_recorded_stream_goes_on_when_its_client_leaves(rehearsal, upstream, cassette):
    chunks = [b"data: %d\n\n" % number for number in range(20)]
    upstream.on("/", stream(chunks, 0.03))
    proxy = rehearsal.record(upstream, cassette)
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        client.reader.more()
    request = upstream.requests[0]
    upstream.wait(lambda: request.done.is_set())
    assert b"".join(data for _, data in request.sent) == b"".join(chunks)
    proxy.stop()
    upstream.stop()
    replayed = ask(rehearsal.replay(cassette, "--instant").url)
    assert (replayed.boundaries, replayed.end) == (chunks, wire.COMPLETE)


def test_a_recorded_flood_is_not_drained_for_ever(rehearsal, upstream, cassette):
    """4 MiB at most: then the upstream is let go."""
    upstream.on("/", endless(b"x" * 65_536, gap=0.001))
    proxy = rehearsal.record(upstream, cassette)
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
    request = upstream.requests[0]
    upstream.wait(lambda: request.left.is_set(), 20, "the end of the drain")
    # What the kernel holds between the two is not read.
    assert sum(len(data) for _, data in request.sent) < 40 * MIB


def test_a_recorded_stream_is_drained_for_a_time_only(rehearsal, upstream, cassette):
    upstream.on("/", endless(gap=0.02))
    proxy = rehearsal(config=route("record", upstream, top='[timeouts]\ndrain = "500ms"', cassette=cassette))
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
    left_at = time.monotonic()
    request = upstream.requests[0]
    upstream.wait(lambda: request.left.is_set(), 10, "the end of the drain")
    assert 0.3 < time.monotonic() - left_at < 5
    proxy.stop()
    assert ask(rehearsal.replay(cassette).url).status == 404, "what is not whole is not replayed"


# The upstream's connections.


def test_connections_to_the_upstream_are_pooled(proxy, upstream):
    upstream.on("/", echo)
    for number in range(12):
        assert json.loads(ask(proxy.url, "POST", "/", body=b"%d" % number).body)["body"] == str(number)
    assert upstream.connections == 1


def test_a_connection_is_not_pooled_when_the_upstream_says_so(proxy, upstream):
    upstream.on("/", answer(headers=(("Connection", "close"),), body=b"hi", verdict=CLOSE))
    for _ in range(3):
        assert ask(proxy.url).body == b"hi"
    assert upstream.connections == 3


def test_a_connection_is_not_pooled_after_a_head_answer_that_may_have_a_body_behind_it(proxy, upstream):
    def unsized(request, connection):
        if request.method == "GET":
            return answer(body=b"hi")(request, connection)
        request.send(b"HTTP/1.1 200 OK\r\n\r\n")
        return None

    upstream.on("/sized", answer(body=b"hi")).on("/unsized", unsized)
    with Client(proxy.url) as client:
        assert client.ask("HEAD", "/sized").get("content-length") == "2"
        assert client.ask("HEAD", "/unsized").status == 200
        assert upstream.connections == 1
        assert client.ask("GET", "/unsized").body == b"hi"
    assert upstream.connections == 2


def test_streams_at_the_same_time_do_not_mix(proxy, upstream):
    def tagged(request, connection):
        tag = request.target.encode()
        return stream([b"%s %d;" % (tag, number) for number in range(20)], 0.01)(request, connection)

    upstream.fallback = tagged
    results: dict[int, bytes] = {}

    def one(number):
        results[number] = ask(proxy.url, target=f"/{number}").body

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(16):
        assert results[number] == b"".join(b"/%d %d;" % (number, index) for index in range(20))


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pooled_connection_that_is_dead_when_reused_is_retried_once(rehearsal, upstream, how, method):
    """The upstream closes its idle connection at the moment in which the next request comes."""

    def stale(request, connection):
        if connection.served > 1:
            request.body_is_read = True
            getattr(connection, how)()
            return CLOSE
        return echo(request, connection)

    upstream.on("/", stale)
    proxy = rehearsal.forward(upstream)
    body = b"x" if method == "POST" else None
    for _ in range(4):
        assert ask(proxy.url, method, "/", body=body).status == 200
    assert upstream.connections >= 2


def test_a_pooled_connection_that_was_closed_while_idle_is_not_used(rehearsal, upstream):
    upstream.on("/", lambda request, connection: echo(request, connection) or CLOSE)
    proxy = rehearsal.forward(upstream)
    for number in range(5):
        assert json.loads(ask(proxy.url, "POST", "/", body=b"%d" % number).body)["body"] == str(number)
        upstream.wait(lambda: not upstream.open)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_fresh_connection_that_dies_is_not_retried(proxy, upstream, how):
    def die(request, connection):
        request.read()
        getattr(connection, how)()
        return CLOSE

    upstream.on("/", die)
    got = ask(proxy.url, "POST", "/", body=b"x")
    told_why(got, 502)
    assert len(upstream.requests) == 1


# What goes wrong.


def told_why(got, status):
    """An answer of ours, which says what happened in a body that SDKs show."""
    assert (got.status, got.end) == (status, wire.COMPLETE)
    assert got.get("content-type").startswith("application/json")
    message = json.loads(got.body)["error"]["message"]
    assert message
    return message


def test_a_refused_connection_is_a_502(rehearsal, cassette, upstream):
    upstream.stop()
    for proxy in (rehearsal.forward(upstream), rehearsal.record(upstream, cassette)):
        message = told_why(ask(proxy.url), 502)
        assert f"127.0.0.1:{upstream.port}" in message
        assert "refused" in message.lower()


def test_an_upstream_that_speaks_no_http_is_a_502(proxy, upstream):
    upstream.on("/", raw(b"220 mail.example ESMTP\r\n", "fin"))
    told_why(ask(proxy.url), 502)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Endless: " + b"a" * (3 * MIB),
    ],
    ids=["two lengths", "a length that is none", "a status that is none", "a line that is none", "a head without end"],
)
def test_an_upstream_with_a_broken_head_is_a_502_and_nothing_worse(proxy, upstream, head):
    upstream.on("/", raw(head, "fin"))
    upstream.on("/good", answer(body=b"good"))
    got = ask(proxy.url)
    assert got.head is None or got.status == 502 or got.end != wire.COMPLETE
    assert ask(proxy.url, target="/good").body == b"good"


def test_a_connection_that_is_never_made_is_a_504(rehearsal, closing):
    server = closing(socket.create_server(("127.0.0.1", 0), backlog=0))
    port = server.getsockname()[1]
    try:
        while True:
            closing(socket.create_connection(("127.0.0.1", port), 0.3))
    except TimeoutError:
        pass
    proxy = rehearsal.forward(f"http://127.0.0.1:{port}", top='[timeouts]\nconnect = "400ms"')
    started = time.monotonic()
    message = told_why(ask(proxy.url), 504)
    assert 0.3 < time.monotonic() - started < 3
    assert "connect" in message


def test_a_head_that_never_comes_is_a_504(rehearsal, upstream):
    left = threading.Event()

    def silent(request, connection):
        request.read()
        if connection.wait_gone(15):
            left.set()
        return CLOSE

    upstream.on("/", silent)
    proxy = rehearsal.forward(upstream, top='[timeouts]\nfirst_byte = "400ms"')
    started = time.monotonic()
    message = told_why(ask(proxy.url, "POST", "/", body=b"x"), 504)
    assert 0.3 < time.monotonic() - started < 3
    assert "400ms" in message or "first_byte" in message
    assert left.wait(5), "the upstream was not let go"


def test_a_slow_upload_does_not_count_as_a_slow_upstream(rehearsal, upstream):
    upstream.on("/", echo)
    proxy = rehearsal.forward(upstream, top='[timeouts]\nfirst_byte = "400ms"')
    with Client(proxy.url) as client:
        client.request("POST", "/", [("Content-Length", "8")])
        for _ in range(8):
            time.sleep(0.1)
            client.send(b"x")
        assert client.answer("POST").status == 200


def test_a_silence_in_a_stream_that_is_too_long_breaks_it(rehearsal, upstream):
    upstream.on("/", stream([b"one", b"two"], 0.1, then="stay"))
    proxy = rehearsal.forward(upstream, top='[timeouts]\nidle = "500ms"')
    got = ask(proxy.url)
    assert got.body == b"onetwo"
    assert got.end in (wire.FIN, wire.RESET), "a broken stream must never end cleanly"
    assert 0.4 < got.ended_at - got.chunks[-1][0] < 3
    upstream.wait(lambda: upstream.requests[0].left.is_set())


def test_a_client_that_takes_nothing_for_too_long_is_cut_off(rehearsal, upstream):
    upstream.on("/", endless(bytes(256 * 1024)))
    proxy = rehearsal.forward(upstream, top='[timeouts]\nwrite = "500ms"')
    with Client(proxy.url) as client:
        client.request("GET", "/")
        upstream.wait(lambda: upstream.requests and upstream.requests[0].left.is_set())


def test_silences_below_the_limit_are_nothing(rehearsal, upstream):
    upstream.on("/", stream([b"a", b"b", b"c", b"d"], 0.3))
    proxy = rehearsal.forward(upstream, top='[timeouts]\nidle = "1s"\nfirst_byte = "1s"')
    got = ask(proxy.url)
    assert (got.boundaries, got.end) == ([b"a", b"b", b"c", b"d"], wire.COMPLETE)


@pytest.mark.parametrize(
    ("then", "end"),
    [("fin", wire.FIN), ("rst", wire.RESET), ("fin-in-chunk", wire.FIN)],
)
def test_an_upstream_that_dies_in_a_stream_breaks_it_in_the_same_way(proxy, upstream, then, end):
    upstream.on("/", stream([b"one", b"two", b"three"], 0.05, then=then))
    got = ask(proxy.url)
    assert got.status == 200
    assert got.body.startswith(b"onetwothree")
    assert got.end == end


def test_a_chunk_size_that_is_none_breaks_the_stream(proxy, upstream):
    upstream.on("/", stream([b"one", b"two"], 0.05, then="bad-size"))
    got = ask(proxy.url)
    assert got.body.startswith(b"onetwo")
    assert got.end in (wire.FIN, wire.RESET), "a broken stream must never end cleanly"


@pytest.mark.parametrize(("then", "end"), [("fin", wire.FIN), ("rst", wire.RESET)])
def test_a_body_that_is_shorter_than_told_stays_so(proxy, upstream, then, end):
    def short(request, connection):
        request.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        time.sleep(0.05)
        connection.send(b"short")
        time.sleep(0.05)
        if then == "rst":
            connection.rst()
        return CLOSE

    upstream.on("/", short)
    got = ask(proxy.url)
    assert (got.status, got.get("content-length"), got.body, got.end) == (200, "100", b"short", end)


def test_a_reset_of_a_body_that_ends_with_the_connection_is_a_reset(proxy, upstream):
    upstream.on("/", stream([b"one", b"two"], 0.05, then="rst", framing="close"))
    got = ask(proxy.url)
    assert got.body == b"onetwo"
    assert got.end == wire.RESET, "only a reset can say that it is not all"


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"],
    ids=["a length", "no body", "chunks"],
)
def test_bytes_after_the_end_of_an_answer_are_nobodys(rehearsal, upstream, first):
    """An upstream that says too much must not have it taken for the answer to somebody else's request."""
    upstream.on("/", raw(first + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    upstream.on("/good", answer(body=b"good"))
    proxy = rehearsal.forward(upstream)
    for _ in range(3):
        assert ask(proxy.url).body in (b"hi", b"")
        assert ask(proxy.url, target="/good").body == b"good"


# Tunnels.

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "echo"))


def tunnel(greeting: bytes = b"", gap: float = 0.0):
    """Echoes raw bytes after the switch, until the other side has said its last."""

    def handle(request, connection):
        time.sleep(gap)
        connection.send(SWITCH + greeting)
        while True:
            try:
                connection.send(connection.reader.some(1 << 16))
            except wire.Ended as ended:
                if ended.how == wire.FIN:
                    connection.send(b"bye")
                return CLOSE

    return handle


def test_an_upgrade_becomes_a_tunnel_both_ways(rehearsal, upstream):
    upstream.on("/ws", tunnel(gap=0.05))
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=8) as client:
        client.request(target="/ws", headers=UPGRADE)
        head = client.reader.head()
        assert (head.status, head.get("upgrade").lower()) == (101, "echo")
        assert "upgrade" in head.get("connection").lower()
        for text in (b"\x00\xff raw", b"GET / HTTP/1.1\r\n\r\n", b"x" * 200_000):
            sender = Sender(client.sock, [text])
            got = b""
            while len(got) < len(text):
                got += client.reader.some(len(text) - len(got))
            sender.join()
            assert got == text
        client.half_close()
        rest = b""
        try:
            while True:
                rest += client.reader.some(100)
        except wire.Ended as ended:
            assert ended.how == wire.FIN
        assert rest == b"bye"
    assert upstream.requests[0].get("upgrade") == "echo"


def test_an_instant_switch_is_not_torn_down(rehearsal, upstream):
    """A 101 with the first bytes right behind it: pingora loses one in four of these (its bug 946)."""
    upstream.on("/ws", tunnel(b"hello"))
    proxy = rehearsal.forward(upstream)
    for _ in range(60):
        with Client(proxy.url, timeout=8) as client:
            client.request(target="/ws", headers=UPGRADE)
            assert client.reader.head().status == 101
            assert exactly(client, 5) == b"hello"
            client.send(b"ping")
            assert exactly(client, 4) == b"ping"


def exactly(client, size):
    got = b""
    while len(got) < size:
        got += client.reader.some(size - len(got))
    return got


def test_bytes_sent_with_the_upgrade_reach_the_other_side(rehearsal, upstream):
    upstream.on("/ws", tunnel())
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=8) as client:
        client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        assert client.reader.head().status == 101
        assert exactly(client, 5) == b"early"


def test_a_refused_upgrade_is_an_ordinary_answer(rehearsal, upstream):
    upstream.on("/ws", answer(426, body=b"no")).on("/", answer(body=b"hi"))
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=8) as client:
        got = client.ask(target="/ws", headers=UPGRADE)
        assert (got.status, got.body) == (426, b"no")
        assert client.ask().body == b"hi"


def test_a_tunnel_that_the_upstream_resets_is_closed(rehearsal, upstream):
    def handle(_, connection):
        connection.send(SWITCH)
        connection.reader.some(1)
        connection.rst()
        return CLOSE

    upstream.on("/ws", handle)
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=8) as client:
        client.request(target="/ws", headers=UPGRADE)
        assert client.reader.head().status == 101
        client.send(b"x")
        assert client.end(5) in (wire.FIN, wire.RESET)


# Size.

GIB = 1 << 30


def test_a_download_of_1_gib_takes_little_memory(rehearsal, upstream):
    pattern = Pattern()
    upstream.on("/", big(lambda: pattern.pieces(GIB), GIB)).on("/small", answer())
    proxy = rehearsal.forward(upstream)
    ask(proxy.url, target="/small")
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    with Client(proxy.url) as client:
        client.request()
        head = client.reader.head()
        assert head.get("content-length") == str(GIB)
        assert read_hashed(client.sock, GIB, bytes(client.reader.buffer)) == pattern.digest(GIB)
    grown = proxy.memory("VmHWM") - before
    assert grown < 32 * MIB, f"{grown / MIB:.1f} MiB more"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_of_1_gib_takes_little_memory(rehearsal, upstream, framing):
    total = GIB if framing == "length" else GIB // 4
    pattern = Pattern()
    upstream.on("/", swallow(hashlib.sha256)).on("/small", answer())
    proxy = rehearsal.forward(upstream)
    ask(proxy.url, target="/small")
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    with Client(proxy.url, timeout=60) as client:
        if framing == "length":
            client.request("POST", "/", [("Content-Length", str(total))])
            sender = Sender(client.sock, pattern.pieces(total))
        else:
            client.request("POST", "/", [("Transfer-Encoding", "chunked")])
            sender = Sender(client.sock, chunked(pattern.pieces(total)))
        got = json.loads(client.answer("POST").body)
        sender.join()
    grown = proxy.memory("VmHWM") - before
    assert got == {"sha256": pattern.digest(total), "size": total}
    assert grown < 32 * MIB, f"{grown / MIB:.1f} MiB more"


def chunked(pieces):
    for piece in pieces:
        yield b"%x\r\n" % len(piece)
        yield piece
        yield b"\r\n"
    yield LAST_CHUNK


def test_recording_a_large_body_takes_little_memory(rehearsal, upstream, cassette):
    total = 192 * MIB
    pattern = Pattern()
    upstream.on("/", big(lambda: pattern.pieces(total), total)).on("/small", answer())
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/small")
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        assert read_hashed(client.sock, total, bytes(client.reader.buffer)) == pattern.digest(total)
    grown = proxy.memory("VmHWM") - before
    assert grown < 32 * MIB, f"{grown / MIB:.1f} MiB more"


@pytest.mark.parametrize("mode", ["forward", "record"])
def test_a_client_that_does_not_read_holds_the_upstream_back(rehearsal, upstream, cassette, mode):
    total = 96 * MIB
    pattern = Pattern()
    upstream.on("/", big(lambda: pattern.pieces(total), total)).on("/small", answer())
    proxy = rehearsal.forward(upstream) if mode == "forward" else rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/small")
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    with Client(proxy.url) as client:
        client.request()
        head = client.reader.head()
        request = upstream.seen("/")[0]

        def sent():
            return request.sent[1][0] if len(request.sent) > 1 else 0

        # Until nothing moves any more.
        last, still = -1.0, 0
        while still < 10:
            time.sleep(0.05)
            now = sent()
            still = still + 1 if now == last else 0
            last = now
        assert sent() < 48 * MIB, "the upstream was read although nobody takes it"
        assert head.get("content-length") == str(total)
        assert read_hashed(client.sock, total, bytes(client.reader.buffer)) == pattern.digest(total)
    grown = proxy.memory("VmHWM") - before
    assert grown < 32 * MIB, f"{grown / MIB:.1f} MiB more"


def test_two_upstreams_are_told_apart(rehearsal, upstream):
    other = Upstream()
    try:
        upstream.fallback = answer(body=b"one")
        other.fallback = answer(body=b"two")
        config = ""
        for name, server in (("one", upstream), ("two", other)):
            config += f'[[route]]\nname = "{name}"\nmatch = {{ path = "/{name}" }}\nupstream = "{server.url}"\nmode = "forward"\n'
        proxy = rehearsal(config=config)
        with Client(proxy.url) as client:
            for _ in range(3):
                assert client.ask(target="/one").body == b"one"
                assert client.ask(target="/two").body == b"two"
        assert (upstream.connections, other.connections) == (1, 1)
    finally:
        other.stop()
