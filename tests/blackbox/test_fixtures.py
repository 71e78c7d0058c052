"""The tests' own tools, straight against each other and without the proxy: what they claim to do, they do."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import time

import pytest
import wire
from peers import GOOD_KEY, OTHER_KEY, AiMock, Moto, curl, run_node
from rawclient import Client, Pattern, Sender, ask, read_hashed
from upstream import CLOSE, Upstream, answer, big, echo, echo_gzip, endless, raw, stream, swallow


def test_an_answer_keeps_its_case_its_order_and_its_repeated_headers(upstream):
    headers = (("X-Multi", "a"), ("x-multi", "b"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    upstream.on("/", answer(headers=headers, body=b"hi", reason="Fine"))
    got = ask(upstream.port)
    assert (got.status, got.head.reason, got.body, got.end) == (200, "Fine", b"hi", wire.COMPLETE)
    assert got.head.headers == [*headers, ("Content-Length", "2")]


def test_a_stream_comes_in_its_chunks_at_its_times(upstream):
    chunks = [b"data: %d\n\n" % number for number in range(6)]
    upstream.on("/", stream(chunks, 0.03))
    got = ask(upstream.port)
    assert got.boundaries == chunks
    sent = [at for at, _ in upstream.requests[0].sent]
    assert all(0 <= came - went < 0.5 for (came, _), went in zip(got.chunks, sent))
    assert 0.12 < got.chunks[-1][0] - got.chunks[0][0] < 2


@pytest.mark.parametrize(
    ("then", "end"),
    [("end", wire.COMPLETE), ("fin", wire.FIN), ("rst", wire.RESET), ("fin-in-chunk", wire.FIN), ("bad-size", wire.MALFORMED)],
)
def test_a_stream_ends_in_the_way_asked_for(upstream, then, end):
    upstream.on("/", stream([b"one", b"two"], 0.02, then=then))
    got = ask(upstream.port)
    assert got.end == end
    assert got.body.startswith(b"one")


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_body_is_read_in_each_framing(upstream, framing):
    upstream.on("/", stream([b"one", b"two"], 0.01, framing=framing))
    got = ask(upstream.port)
    assert (got.body, got.end, got.framing) == (b"onetwo", wire.COMPLETE, framing)


def test_a_short_body_is_seen_as_short(upstream):
    upstream.on("/", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "fin"))
    got = ask(upstream.port)
    assert (got.body, got.end) == (b"short", wire.FIN)


def test_interim_answers_are_kept_apart(upstream):
    upstream.on("/", raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No\r\n\r\n"))
    got = ask(upstream.port)
    assert ([head.status for head in got.interim], got.status) == ([103], 204)


def test_a_connection_is_reused_and_counted(upstream):
    upstream.on("/", answer())
    with Client(upstream.port) as client:
        for _ in range(3):
            assert client.ask().status == 200
    assert (upstream.connections, len(upstream.requests)) == (1, 3)


def test_an_upload_is_echoed_whatever_its_framing(upstream):
    upstream.on("/", echo)
    plain = ask(upstream.port, "POST", "/?x=1", [("X-Key", "secret")], b"body")
    assert json.loads(plain.body)["body"] == "body"
    assert plain.get("X-Echo-X-Key") == "secret"
    body = wire.chunk(b"bo") + wire.chunk(b"dy") + wire.LAST_CHUNK
    chunked = ask(upstream.port, "POST", "/", [("Transfer-Encoding", "chunked")], body)
    assert json.loads(chunked.body)["body"] == "body"


def test_a_compressed_echo_can_be_unpacked(upstream):
    upstream.on("/", echo_gzip)
    got = ask(upstream.port, headers=[("X-Key", "secret")])
    assert ["X-Key", "secret"] in json.loads(gzip.decompress(got.body))["headers"]


def test_a_client_that_left_is_noticed(upstream):
    upstream.on("/", endless())
    with Client(upstream.port) as client:
        client.request()
        upstream.wait(lambda: upstream.requests and upstream.requests[0].sent)
    upstream.wait(lambda: upstream.requests[0].left.is_set())


def test_a_stopped_upstream_refuses_connections(upstream):
    upstream.on("/", answer())
    with Client(upstream.port) as client:
        assert client.ask().status == 200
        upstream.stop()
        assert client.end() in (wire.FIN, wire.RESET)
    with pytest.raises(ConnectionRefusedError):
        Client(upstream.port)


def test_a_stale_connection_closes_just_when_reused(upstream):
    def once(request, connection):
        if connection.served > 1:
            connection.fin()
            return CLOSE
        return answer()(request, connection)

    upstream.on("/", once)
    with Client(upstream.port) as client:
        assert client.ask().status == 200
        assert client.ask().end == wire.FIN


def test_large_bodies_go_both_ways_and_are_the_same(upstream):
    total = 48 << 20
    pattern = Pattern()
    upstream.on("/down", big(lambda: pattern.pieces(total), total))
    upstream.on("/up", swallow(hashlib.sha256))
    with Client(upstream.port) as client:
        client.request(target="/down")
        head = client.reader.head()
        assert head.get("content-length") == str(total)
        assert read_hashed(client.sock, total, bytes(client.reader.buffer)) == pattern.digest(total)
    with Client(upstream.port) as client:
        client.request("POST", "/up", [("Content-Length", str(total))])
        sender = Sender(client.sock, pattern.pieces(total))
        assert json.loads(client.answer().body) == {"sha256": pattern.digest(total), "size": total}
        sender.join()


def test_a_full_backlog_answers_nothing(closing):
    server = closing(socket.create_server(("127.0.0.1", 0), backlog=0))
    port = server.getsockname()[1]
    filler = []
    with pytest.raises(TimeoutError):
        for _ in range(8):
            filler.append(closing(socket.create_connection(("127.0.0.1", port), 0.5)))


def test_a_tap_sees_what_passes(upstream, tap):
    upstream.on("/", stream([b"data: a\n\n", b"data: b\n\n"], 0.03))
    upstream.on("/echo", echo)
    tapped = tap(upstream)
    with Client(tapped.url) as client:
        streamed = client.ask()
        client.ask("POST", "/echo", body=b"hello")
    one, two = tapped.exchanges()
    assert one.answer.boundaries == streamed.boundaries
    assert one.offsets[1] - one.offsets[0] > 0.02
    assert (two.method, two.target, two.body) == ("POST", "/echo", b"hello")


@pytest.mark.parametrize(("then", "end"), [("fin", wire.FIN), ("rst", wire.RESET)])
def test_a_tap_passes_a_break_on(upstream, tap, then, end):
    upstream.on("/", stream([b"one", b"two"], 0.02, then=then))
    tapped = tap(upstream)
    assert ask(tapped.url).end == end
    (seen,) = tapped.exchanges()
    assert (seen.answer.boundaries, seen.answer.end) == ([b"one", b"two"], end)


def test_the_llm_mock_streams_in_chunks_with_pauses_and_asks_for_the_key(tmp_path, closing):
    mock = closing(AiMock(tmp_path))
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "tell a story"}]}).encode()
    headers = [("Content-Type", "application/json")]
    got = ask(mock.url, "POST", "/v1/chat/completions", [*headers, ("Authorization", f"Bearer {GOOD_KEY}")], body)
    assert (got.status, got.framing) == (200, "chunked")
    assert len(got.chunks) > 8
    assert got.chunks[-1][0] - got.chunks[0][0] > 0.2
    refused = ask(mock.url, "POST", "/v1/chat/completions", [*headers, ("Authorization", f"Bearer {OTHER_KEY}")], body)
    assert refused.status == 401


@pytest.mark.parametrize("script", ["openai.mjs", "anthropic.mjs"])
def test_the_node_sdks_work_with_the_mock(tmp_path, closing, script):
    mock = closing(AiMock(tmp_path, latency_ms=1))
    told = run_node(script, mock.url, GOOD_KEY)
    assert told["error"]["status"] == 429
    assert len(told["stream"]) > 8


def test_the_s3_mock_keeps_what_it_is_given(tmp_path, closing):
    import boto3

    mock = closing(Moto(tmp_path))
    s3 = boto3.client("s3", endpoint_url=mock.url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    s3.create_bucket(Bucket="box")
    s3.put_object(Bucket="box", Key="k", Body=bytes(range(256)))
    assert s3.get_object(Bucket="box", Key="k")["Body"].read() == bytes(range(256))


def test_curl_is_here(upstream):
    upstream.on("/", answer(body=b"hello"))
    done = curl(upstream.url + "/")
    assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr


def test_the_clock_is_fine_enough():
    """Times below a millisecond can be told apart."""
    one = time.monotonic()
    while (two := time.monotonic()) == one:
        pass
    assert two - one < 0.05
