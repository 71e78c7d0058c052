"""curl through the proxy, as people type it: recorded, then replayed without the upstream."""

from __future__ import annotations

import gzip
import re

import pytest
import wire
from cassettes import same
from peers import curl
from upstream import CLOSE, answer, echo, stream
from wire import head_bytes

CHUNKS = [b'data: {"n":%d}\n\n' % number for number in range(10)]


@pytest.fixture
def both(rehearsal, upstream, cassette, tap):
    """Runs curl once while recording and once on the replay, and holds that it got the same."""

    def run(*args, codes=(0,), stdin=None):
        results = []
        for start in (lambda: rehearsal.record(upstream, cassette), lambda: (upstream.stop(), rehearsal.replay(cassette))[1]):
            proxy = start()
            tapped = tap(proxy)
            done = curl(*[arg.replace("URL", tapped.url) for arg in args], stdin=stdin)
            assert done.returncode in codes, (done.returncode, done.stderr)
            tapped.settle()
            results.append((done, tapped.exchanges()))
            tapped.close()
            proxy.stop()
        (recorded, old), (replayed, new) = results
        assert replayed.stdout == recorded.stdout
        assert len(new) == len(old) == 1
        same(new[0].answer, old[0].answer)
        return recorded, old[0], new[0]

    return run


def test_a_stream_without_buffering(both, upstream):
    upstream.on("/", stream(CHUNKS, 0.04))
    done, old, new = both("-N", "URL/")
    assert done.stdout == b"".join(CHUNKS)
    assert new.answer.boundaries == CHUNKS
    assert new.offsets[-1] - new.offsets[0] > 0.3


def test_http11_with_headers_shown(rehearsal, upstream, cassette):
    upstream.on("/", answer(headers=(("X-CaSe", "Kept"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), body=b"hi\n"))
    proxy = rehearsal.record(upstream, cassette)
    live = curl("--http1.1", "-i", proxy.url)
    proxy.stop()
    upstream.stop()
    again = curl("--http1.1", "-i", rehearsal.replay(cassette).url)

    def shown(done):
        return [line for line in done.stdout.decode().splitlines() if not re.match(r"(?i)(date|connection|x-rehearsal-\w+|set-cookie):", line)]

    assert shown(again) == shown(live)
    assert "X-CaSe: Kept" in shown(again)
    assert "Set-Cookie: a=1" in live.stdout.decode(), "the client's own copy is not touched"


def test_data_of_a_form(both, upstream):
    upstream.on("/", echo)
    done, old, _ = both("-d", "name=value & more", "-d", "b=2", "URL/?q=1")
    assert old.request.get("content-type") == "application/x-www-form-urlencoded"
    assert b"name=value & more&b=2" in done.stdout


def test_json_data(both, upstream):
    upstream.on("/", echo)
    both("-H", "Content-Type: application/json", "-d", '{"b":1,"a":[2]}', "URL/")


def test_a_multipart_form_whose_boundary_differs_each_time(both, upstream, tmp_path):
    upstream.on("/", answer(body=b'"got it"'))
    (tmp_path / "photo.bin").write_bytes(bytes(range(256)) * 10)
    _, old, new = both("-F", "name=value", "-F", f"file=@{tmp_path / 'photo.bin'};type=image/png", "URL/")
    assert old.request.get("content-type") != new.request.get("content-type")


def test_a_chunked_upload_from_a_pipe(both, upstream):
    def size(request, connection):
        return answer(body=b"%d" % len(request.read()))(request, connection)

    upstream.on("/up", size)
    done, old, _ = both("-T", "-", "URL/up", stdin=b"x" * 300_000)
    assert old.request.get("transfer-encoding") == "chunked"
    assert done.stdout == b"300000"


def test_a_file_upload(both, upstream, tmp_path):
    (tmp_path / "file").write_bytes(b"y" * 100_000)
    upstream.on("/file", lambda request, connection: answer(201, body=b"%d" % len(request.read()))(request, connection))
    assert both("-T", str(tmp_path / "file"), "URL/file")[0].stdout == b"100000"


def test_a_head_request(both, upstream):
    upstream.on("/", answer(headers=(("Content-Length", "4321"), ("ETag", '"x"'))))
    _, _, new = both("-I", "--output", "/dev/null", "URL/")
    assert new.answer.get("content-length") == "4321"


def test_a_large_post_that_expects_100_continue(both, upstream):
    """curl waits a second for the 100; a proxy that answers it is not waited for."""

    def handle(request, connection):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return answer(body=b"%d" % len(request.read()))(request, connection)

    upstream.on("/", handle)
    done, old, new = both("-H", "Expect: 100-continue", "--data-binary", "@-", "URL/", stdin=b"z" * 2_000_000)
    assert done.stdout == b"2000000"
    for exchange in (old, new):
        assert [head.status for head in exchange.answer.interim] == [100]
        assert exchange.since - exchange.request.at < 0.9, "curl gave up waiting"


def test_an_expectation_that_is_refused(rehearsal, upstream):
    def refuse(request, connection):
        request.body_is_read = True
        connection.send(head_bytes("HTTP/1.1 417 Expectation Failed", [("Content-Length", "2"), ("Connection", "close")]) + b"no")
        return CLOSE

    upstream.on("/", refuse)
    proxy = rehearsal.forward(upstream)
    done = curl("-H", "Expect: 100-continue", "-d", "hello", "-w", "%{http_code}", "--expect100-timeout", "10", proxy.url)
    # curl tries again without the expectation, and gets the same.
    assert done.stdout.endswith(b"417"), (done.stdout, done.stderr)


def test_a_compressed_answer(both, upstream):
    packed = gzip.compress(b'{"answer":"forty-two"}', mtime=7)
    upstream.on("/", answer(headers=(("Content-Type", "application/json"), ("Content-Encoding", "gzip")), body=packed))
    done, _, new = both("--compressed", "URL/")
    assert done.stdout == b'{"answer":"forty-two"}'
    assert new.answer.body == packed


def test_a_redirect_is_followed_into_the_cassette(rehearsal, upstream, cassette):
    upstream.on("/from", answer(302, (("Location", "/to"),), b"")).on("/to", answer(body=b"arrived"))
    proxy = rehearsal.record(upstream, cassette)
    assert curl("-L", f"{proxy.url}/from").stdout == b"arrived"
    proxy.stop()
    upstream.stop()
    assert curl("-L", f"{rehearsal.replay(cassette).url}/from").stdout == b"arrived"


@pytest.mark.parametrize(("then", "code"), [("fin", 18), ("rst", 56)])
def test_a_break_is_a_break_on_the_replay_too(both, upstream, then, code):
    upstream.on("/", stream(CHUNKS[:4], 0.02, then=then))
    done, old, new = both("-N", "URL/", codes=(code,))
    assert done.stdout == b"".join(CHUNKS[:4])
    assert new.answer.end == old.answer.end == {"fin": wire.FIN, "rst": wire.RESET}[then]


def test_a_range_is_its_own_recording(rehearsal, upstream, cassette):
    """Chosen headers make it so."""
    from conftest import route

    def part(request, connection):
        if request.get("range"):
            return answer(206, (("Content-Range", "bytes 0-3/10"),), b"0123")(request, connection)
        return answer(body=b"0123456789")(request, connection)

    upstream.on("/", part)
    more = 'key = { headers = ["range"] }'
    proxy = rehearsal(config=route("record", upstream, more, cassette=cassette))
    assert curl(proxy.url).stdout == b"0123456789"
    assert curl("-r", "0-3", proxy.url).stdout == b"0123"
    proxy.stop()
    upstream.stop()
    proxy = rehearsal(config=route("replay", None, more, cassette=cassette))
    assert curl("-r", "0-3", proxy.url).stdout == b"0123"
    assert curl(proxy.url).stdout == b"0123456789"
