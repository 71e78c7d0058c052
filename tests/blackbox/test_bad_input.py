"""Bad input: a clear error, no panic, nothing read as a second request, no file outside the cassette."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import time

import pytest
import wire
from cassettes import edit, files, recording, recordings, same
from conftest import route
from rawclient import Client, ask, post_json
from upstream import answer, echo, stream

GET = b"GET /ok HTTP/1.1\r\nHost: a\r\n"

# What came after it in the same bytes must never be taken for a request of its own.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

AMBIGUOUS = {
    "a length and chunks": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n00000",
    "a list of lengths": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n00000",
    "a signed length": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n00000",
    "a negative length": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a hexadecimal length": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n00000",
    "an empty length": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
    "a huge length": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
    "an unknown coding": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "identity": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    "two codings": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a length with a space before the colon": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n00000",
    "bare LF": b"GET /bad HTTP/1.1\nHost: a\n\n",
    "bare LF in a header": b"GET /bad HTTP/1.1\r\nHost: a\r\nX: b\nContent-Length: 5\r\n\r\n",
    "bare LF at the end": b"GET /bad HTTP/1.1\r\nHost: a\r\n\n",
    "bare CR": b"GET /bad HTTP/1.1\r\nHost: a\r\nX: b\rContent-Length: 5\r\n\r\n",
    "a folded header": b"GET /bad HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "a folded length": b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\n00000",
    "a folded first header": b"GET /bad HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n",
    "NUL in a header": b"GET /bad HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n",
    "NUL in a name": b"GET /bad HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    "no colon": b"GET /bad HTTP/1.1\r\nHost: a\r\nwhat\r\n\r\n",
    "an empty name": b"GET /bad HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "two hosts": b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a target with a space": b"GET /bad thing HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /bad\r\nHost: a\r\n\r\n",
    "an unknown version": b"GET /bad HTTP/9.9\r\nHost: a\r\n\r\n",
    "a lower-case version": b"GET /bad http/1.1\r\nHost: a\r\n\r\n",
    "no slash": b"GET bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method of garbage": b"G\x01T /bad HTTP/1.1\r\nHost: a\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(60)) + b"\r\n\r\n",
    "parent folders": b"GET /bad/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "encoded parent folders": b"GET /bad/%2e%2E/%2e./etc HTTP/1.1\r\nHost: a\r\n\r\n",
    "encoded slashes to parent folders": b"GET /bad%2f..%2f..%2fetc HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the path": b"GET /bad%00.json HTTP/1.1\r\nHost: a\r\n\r\n",
    "non-UTF-8 in the path": b"GET /bad\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.fixture(params=["forward", "record", "replay"])
def proxy(request, rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"fine"')
    if request.param == "forward":
        return rehearsal.forward(upstream)
    if request.param == "record":
        return rehearsal.record(upstream, cassette)
    recorder = rehearsal.record(upstream, cassette)
    assert ask(recorder.url, target="/ok").status == 200
    recorder.stop()
    upstream.requests.clear()
    return rehearsal.replay(cassette)


def still_serves(proxy):
    assert proxy.is_alive
    got = ask(proxy.url, target="/ok")
    assert (got.status, got.body) == (200, b'"fine"')
    assert "panicked" not in proxy.stderr()


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_that_can_be_read_in_two_ways_is_refused(proxy, upstream, name):
    with Client(proxy.url, timeout=6) as client:
        client.send(AMBIGUOUS[name] + SMUGGLED)
        got = client.answer()
        if got.head is None:
            assert got.end in (wire.FIN, wire.RESET), f"neither answered nor closed: {got.end}"
        else:
            assert got.status in (400, 501, 505), (got.status, got.body)
            if got.get("content-type") == "application/json":
                assert len(json.loads(got.body)["error"]["message"]) > 10, "the reason is not said"
            assert client.end(6) in (wire.FIN, wire.RESET), "the connection goes on, though nobody knows where the next request begins"
            assert b"smuggled" not in client.reader.buffer and b"HTTP/1.1 200" not in client.reader.buffer
    still_serves(proxy)
    assert upstream.seen("/smuggled") == []
    assert [request.target for request in upstream.requests if request.target != "/ok"] == []


def test_chunks_in_http10_hide_no_second_request(rehearsal, upstream):
    """HTTP/1.0 knows no chunks (RFC 9112, 6.1): the connection must end here, whatever is answered."""
    upstream.fallback = answer(body=b'"fine"')
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=6) as client:
        client.send(b"POST /bad HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED)
        client.answer()
        assert client.end(6) in (wire.FIN, wire.RESET)
    assert upstream.seen("/smuggled") == []
    still_serves(proxy)


@pytest.mark.parametrize(
    "name",
    ["a length and chunks", "two lengths", "a signed length", "identity", "chunked not last", "bare LF", "a folded header", "bare CR", "two hosts", "parent folders", "NUL in the path", "NUL in a header"],
)
def test_the_reason_is_told_where_the_request_can_be_answered(rehearsal, upstream, name):
    """The issue asks for a 400 with the reason; only what pingora answers itself may just be closed."""
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=6) as client:
        client.send(AMBIGUOUS[name])
        got = client.answer()
    assert got.head is not None, f"closed without a word: {got.end}"
    assert got.status == 400
    assert "not acceptable" not in json.loads(got.body)["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"ZZ\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        b"5 ; x\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"[:24] + b"\x00\x00",
        b"5;" + b"a" * 200_000 + b"\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["a size that is none", "a negative size", "bare LF", "a missing end", "a size beyond counting", "rubbish after", "a long extension"],
)
def test_a_broken_chunked_upload_is_refused_or_cut(proxy, upstream, body):
    with Client(proxy.url, timeout=6) as client:
        client.send(b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            client.send(body)
            client.half_close()
        except OSError:
            pass
        got = client.answer()
        assert got.head is None or got.status >= 400 or got.body == b'"fine"'
    still_serves(proxy)
    assert upstream.seen("/smuggled") == []


def test_a_body_that_ends_early_is_no_request(proxy, upstream):
    with Client(proxy.url, timeout=6) as client:
        client.send(b"POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nshort")
        client.half_close()
        got = client.answer()
        assert got.head is None or got.status >= 400
    still_serves(proxy)


@pytest.mark.parametrize("size", [64 * 1024, 300 * 1024])
def test_a_url_that_is_too_long_is_a_414(proxy, upstream, size):
    got = ask(proxy.url, target="/" + "a" * size)
    assert got.status in (414, 431)
    assert json.loads(got.body)["error"]["message"]
    still_serves(proxy)
    assert not [request for request in upstream.requests if len(request.target) > 1000]


@pytest.mark.parametrize("kind", ["one large header", "many headers", "no end"])
def test_a_head_that_is_too_large_is_a_431(proxy, upstream, kind):
    with Client(proxy.url, timeout=10) as client:
        try:
            if kind == "one large header":
                client.send(GET + b"X: " + b"a" * (200 * 1024) + b"\r\n\r\n")
            elif kind == "many headers":
                client.send(GET + b"".join(b"X-%d: b\r\n" % number for number in range(5000)) + b"\r\n")
            else:
                for _ in range(64):
                    client.send(b"X-A: " + b"a" * 65_536)
        except OSError:
            pass
        got = client.answer()
        assert got.head is None or got.status in (400, 431)
        if kind == "one large header":
            assert got.head is not None and got.status == 431
            assert json.loads(got.body)["error"]["message"]
    still_serves(proxy)


def test_a_client_that_says_nothing_costs_nothing(proxy):
    clients = [Client(proxy.url) for _ in range(50)]
    try:
        for client in clients[:25]:
            client.send(b"GET /o")
        still_serves(proxy)
    finally:
        for client in clients:
            client.close()


def test_a_client_that_never_ends_its_head_is_let_go(rehearsal, upstream):
    proxy = rehearsal.forward(upstream, top='[timeouts]\nrequest = "500ms"\nkeepalive = "500ms"')
    with Client(proxy.url, timeout=10) as client:
        client.send(b"GET /o")
        got = client.answer()
        assert got.head is None or got.status in (400, 408)
        assert got.end != wire.TIMEOUT


def test_the_preface_of_http2_is_refused_or_spoken(rehearsal, upstream):
    upstream.fallback = answer(body=b'"fine"')
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=6) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        try:
            client.reader.more()
        except wire.Ended as ended:
            assert ended.how in (wire.FIN, wire.RESET)
    still_serves(proxy)


@pytest.mark.parametrize("target", ["*", "http://127.0.0.1:1/elsewhere", "127.0.0.1:1"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
def test_odd_targets_reach_no_other_server(rehearsal, upstream, target, method):
    upstream.fallback = answer(body=b'"fine"')
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=6) as client:
        client.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got = client.answer(method)
        assert got.head is None or 200 <= got.status < 600
    still_serves(proxy)


def test_a_path_that_names_a_folder_is_only_a_name(rehearsal, upstream, cassette, tmp_path):
    """Names of recordings are made of paths; none leads out of the cassette."""
    upstream.fallback = answer(body=b'"fine"')
    before = {path for path in tmp_path.rglob("*") if cassette not in path.parents}
    proxy = rehearsal.record(upstream, cassette)
    targets = ["/a%2fb", "/a%5cb", "/~root", "/con", "/-rf", "/.hidden", "/a:b|c", "/%0a%0d", "/" + "long" * 200, "/%F0%9F%91%8B", "//double", "/;x", "/$(id)", "/%25%32%65"]
    for target in targets:
        assert ask(proxy.url, target=target).status == 200, target
    proxy.stop()
    upstream.stop()
    after = {path for path in tmp_path.rglob("*") if cassette not in path.parents and path != cassette}
    assert {path.name for path in after - before} <= {name.name for name in after if name.name.endswith((".stderr", ".toml"))}
    assert len(recordings(cassette)) == len(targets)
    for path in recordings(cassette):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name) and len(path.name) < 200, path.name
    proxy = rehearsal.replay(cassette)
    for target in targets:
        assert ask(proxy.url, target=target).status == 200, target


# Hostile cassettes.


def taped(rehearsal, upstream, cassette):
    """A good recording, one with chunks, and one with a side file."""
    upstream.on("/good", answer(body=b'"fine"')).on("/ok", answer(body=b'"fine"'))
    upstream.on("/chunks", stream([b"data: a\n\n", b"data: b\n\n"], 0.01))
    upstream.on("/side", answer(headers=(("Content-Type", "image/png"),), body=bytes(range(256)) * 40))
    proxy = rehearsal.record(upstream, cassette)
    for target in ("/good", "/ok", "/chunks", "/side"):
        assert ask(proxy.url, target=target).status == 200
    proxy.stop()
    upstream.stop()


def side_name(cassette):
    """How the recording speaks of its side file."""
    content = bytes(range(256)) * 40
    (side,) = [path for path in files(cassette) if path.read_bytes() == content]
    text = recording(cassette, "image/png").read_text()
    for name in (str(side.relative_to(cassette)), side.name, side.stem):
        if name in text:
            return side, name
    raise AssertionError(f"{side} is not named in:\n{text}")


def survives(rehearsal, cassette, target):
    """The rest serves, the broken one does not, and is named."""
    listing = rehearsal.run("cassette", "list", cassette)
    assert listing.returncode in (0, 1)
    proxy = rehearsal.replay(cassette)
    still_serves(proxy)
    got = ask(proxy.url, target=target)
    assert got.head is None or got.status in (404, 500, 502) or got.end != wire.COMPLETE, (got.status, got.body[:200])
    still_serves(proxy)
    proxy.stop()
    return got, proxy.stderr() + listing.stdout + listing.stderr


@pytest.mark.parametrize("path", ["../outside", "../../../../../../etc/passwd", "/etc/passwd", "a/../../outside", "..\\outside", ""])
def test_a_recording_that_claims_a_file_outside_the_cassette_is_refused(rehearsal, upstream, cassette, path):
    taped(rehearsal, upstream, cassette)
    (cassette.parent / "outside").write_text("secret of the machine")
    name = side_name(cassette)[1]
    which = recording(cassette, "image/png")
    edit(which, name, path.replace("\\", "\\\\"))
    got, log = survives(rehearsal, cassette, "/side")
    assert b"secret of the machine" not in got.body and b"root:" not in got.body
    assert which.name in log or which.stem in log or which.stem in got.body.decode("latin-1"), log


def test_a_side_file_that_is_a_symlink_is_refused(rehearsal, upstream, cassette):
    taped(rehearsal, upstream, cassette)
    outside = cassette.parent / "outside"
    outside.write_text("secret of the machine")
    side = side_name(cassette)[0]
    side.unlink()
    side.symlink_to(outside)
    got, _ = survives(rehearsal, cassette, "/side")
    assert b"secret of the machine" not in got.body


def test_a_recording_that_is_a_symlink_is_refused(rehearsal, upstream, cassette, tmp_path):
    taped(rehearsal, upstream, cassette)
    which = recording(cassette, "data: a")
    elsewhere = tmp_path / "elsewhere.json"
    which.rename(elsewhere)
    which.symlink_to(elsewhere)
    _, log = survives(rehearsal, cassette, "/chunks")
    assert which.name in log


def test_recording_does_not_write_through_a_symlink(rehearsal, upstream, cassette, tmp_path):
    upstream.fallback = answer(body=b'"new"')
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/x")
    proxy.stop()
    which = recording(cassette)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    which.unlink()
    which.symlink_to(victim)
    proxy = rehearsal.record(upstream, cassette)
    assert ask(proxy.url, target="/x").body == b'"new"'
    proxy.signal(15)
    proxy.wait()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket"])
def test_what_is_no_file_is_passed_over(rehearsal, upstream, cassette, kind):
    taped(rehearsal, upstream, cassette)
    odd = recording(cassette, "data: a").with_name("GET-odd-0123abcd.json")
    keep = None
    if kind == "directory":
        odd.mkdir()
    elif kind == "fifo":
        os.mkfifo(odd)
    else:
        keep = socket.socket(socket.AF_UNIX)
        here = os.open(odd.parent, os.O_RDONLY)
        keep.bind(f"/proc/self/fd/{here}/{odd.name}")
        os.close(here)
    try:
        proxy = rehearsal.replay(cassette)
        still_serves(proxy)
        rehearsal.run("cassette", "list", cassette)
    finally:
        if keep:
            keep.close()


HOSTILE = {
    "deep arrays": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a huge number": b'{"version": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"version": 1e999999999}',
    "an empty file": b"",
    "not JSON": b"\x00\x01\x02\xff" * 100,
    "a lone surrogate": b'{"version": 1, "recorded": "\\ud800"}',
    "another shape": b'[1, 2, "three"]',
    "a string": b'"just text"',
    "no end": b'{"version": 1, "recorded": {"status": 200',
    "a version that is text": b'{"version": "one"}',
    "a long line": b'{"version": 1, "' + b"a" * 5_000_000 + b'": 1}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_and_the_rest_serves(rehearsal, upstream, cassette, name):
    taped(rehearsal, upstream, cassette)
    odd = recording(cassette, "data: a").with_name("GET-odd-0123abcd.json")
    odd.write_bytes(HOSTILE[name])
    _, log = survives(rehearsal, cassette, "/odd")
    assert odd.name in log, f"{odd.name} is not named"


def test_a_deep_body_inside_a_good_recording_does_no_harm(rehearsal, upstream, cassette):
    taped(rehearsal, upstream, cassette)
    which = recording(cassette, "data: a")
    edit(which, '"data: a\\n\\n"', "[" * 50_000 + "]" * 50_000)
    _, log = survives(rehearsal, cassette, "/chunks")
    assert which.name in log


def test_members_that_come_twice_are_refused(rehearsal, upstream, cassette):
    taped(rehearsal, upstream, cassette)
    which = recording(cassette, "data: a")
    text = which.read_text()
    status = re.search(r'"status"\s*:\s*200,?', text).group(0).rstrip(",")
    which.write_text(text.replace(status, f'{status}, "status": 500', 1))
    _, log = survives(rehearsal, cassette, "/chunks")
    assert which.name in log


@pytest.mark.parametrize("number", ["-1", "1e400", "99999999999999999999", "1.5", '"soon"', "null"])
def test_times_that_are_none_are_refused(rehearsal, upstream, cassette, number):
    taped(rehearsal, upstream, cassette)
    which = recording(cassette, "data: a")
    which.write_text(re.sub(r"(?m)^(\s*\[)\d+(, *\"data: b)", rf"\g<1>{number}\g<2>", which.read_text()))
    assert number in which.read_text()
    _, log = survives(rehearsal, cassette, "/chunks")
    assert which.name in log


@pytest.mark.parametrize("number", ["18446744073709551615", "3600000000000"])
def test_a_time_that_is_far_away_is_waited_for_or_refused_but_ends_nothing(rehearsal, upstream, cassette, number):
    taped(rehearsal, upstream, cassette)
    which = recording(cassette, "data: a")
    which.write_text(re.sub(r"(?m)^(\s*\[)\d+(, *\"data: b)", rf"\g<1>{number}\g<2>", which.read_text()))
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url, timeout=2) as client:
        client.request(target="/chunks")
        client.answer()
        still_serves(proxy)
    assert ask(rehearsal.replay(cassette, "--instant").url, target="/chunks").head is not None


@pytest.mark.parametrize("status", ["0", "99", "1000", "-200", "70000", "101"])
def test_a_status_that_is_none_is_refused(rehearsal, upstream, cassette, status):
    taped(rehearsal, upstream, cassette)
    which = recording(cassette, "data: a")
    which.write_text(re.sub(r'("status"\s*:\s*)200', rf"\g<1>{status}", which.read_text()))
    survives(rehearsal, cassette, "/chunks")


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Evil", "a\\r\\nX-Injected: yes"), ("X-Evil\\r\\nX-Injected", "yes"), ("X Evil", "b"), ("", "b"), ("X-Evil", "nul\\u0000")],
)
def test_a_header_that_would_split_the_answer_is_refused(rehearsal, upstream, cassette, name, value):
    upstream.on("/ok", answer(body=b'"fine"')).on("/evil", answer(headers=(("X-Mood", "calm"),)))
    proxy = rehearsal.record(upstream, cassette)
    for target in ("/ok", "/evil"):
        ask(proxy.url, target=target)
    proxy.stop()
    which = recording(cassette, "X-Mood")
    edit(which, "X-Mood", name)
    edit(which, "calm", value)
    proxy = rehearsal.replay(cassette)
    got = ask(proxy.url, target="/evil")
    assert got.head is None or (got.get("x-injected") is None and b"\x00" not in got.head.raw)
    still_serves(proxy)


def test_framing_headers_in_a_recording_do_not_break_the_framing(rehearsal, upstream, cassette):
    """Edited by hand, or by somebody else: the client must still know where the answer ends."""
    upstream.on("/ok", answer(body=b'"fine"')).on("/evil", answer(headers=(("X-Mood", "calm"),), body=b'"tiny"'))
    proxy = rehearsal.record(upstream, cassette)
    for target in ("/ok", "/evil"):
        ask(proxy.url, target=target)
    proxy.stop()
    original = recording(cassette, "X-Mood").read_text()
    which = recording(cassette, "X-Mood")
    for name, value in (("Transfer-Encoding", "chunked"), ("Content-Length", "9999"), ("Transfer-Encoding", "gzip")):
        which.write_text(original.replace("X-Mood", name).replace("calm", value))
        proxy = rehearsal.replay(cassette)
        with Client(proxy.url, timeout=3) as client:
            got = client.ask(target="/evil")
            assert got.head is None or got.end != wire.TIMEOUT
            if got.head and got.end == wire.COMPLETE and got.status == 200:
                assert got.body == b'"tiny"'
                assert not (got.get("transfer-encoding") and got.get("content-length"))
        still_serves(proxy)
        proxy.stop()


def test_a_side_file_that_claims_to_be_1_gib_takes_no_memory(rehearsal, upstream, cassette):
    taped(rehearsal, upstream, cassette)
    side = side_name(cassette)[0]
    with side.open("r+b") as file:
        file.truncate(1 << 30)
    which = recording(cassette, "image/png")
    text = which.read_text().replace("10240", str(1 << 30))
    which.write_text(text)
    proxy = rehearsal.replay(cassette)
    still_serves(proxy)
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    with Client(proxy.url, timeout=10) as client:
        client.request(target="/side")
        try:
            client.reader.head()
        except wire.Ended:
            pass
    assert proxy.memory("VmHWM") - before < 128 << 20
    still_serves(proxy)


def test_a_compressed_bomb_takes_no_memory(rehearsal, upstream, cassette):
    """512 MiB of zeros in 512 KiB: decoded for the recording, and by no more than a limit."""
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(512)) + packer.flush()
    upstream.on("/bomb", answer(headers=(("Content-Type", "application/json"), ("Content-Encoding", "gzip")), body=bomb))
    upstream.on("/ok", answer(body=b'"fine"'))
    proxy = rehearsal.record(upstream, cassette)
    still_serves(proxy)
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    live = ask(proxy.url, target="/bomb")
    assert live.body == bomb
    deadline = time.monotonic() + 10
    while not any("bomb" in path.name for path in recordings(cassette)) and time.monotonic() < deadline:
        still_serves(proxy)
    assert proxy.memory("VmHWM") - before < 192 << 20
    proxy.stop()
    upstream.stop()
    got = ask(rehearsal.replay(cassette).url, target="/bomb")
    assert got.status == 404 or got.body == bomb


def test_a_hostile_request_body_does_no_harm(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"fine"')
    hostile = [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a":' + b"9" * 100_000 + b"}",
        b'{"a":1,"a":2}',
        b'{"a":1e999999}',
        b'{"a":"\\ud800"}',
        b"\xff\xfe{}",
        b"{",
        b"",
    ]
    proxy = rehearsal.record(upstream, cassette)
    for body in hostile:
        assert post_json(proxy.url, "/x", body).status == 200
    kinds = [
        ("multipart/form-data; boundary=", b"--x"),
        ("multipart/form-data; boundary=x", b"--x\r\n" * 10_000),
        ("multipart/form-data", b"--x--"),
        ("application/x-www-form-urlencoded", b"&&=&=%%%zz&" * 1000),
        ("application/json; charset=utf-16", '{"a":1}'.encode("utf-16")),
    ]
    for kind, body in kinds:
        assert ask(proxy.url, "POST", "/y", [("Content-Type", kind)], body).status == 200
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    for body in hostile:
        assert post_json(proxy.url, "/x", body).status == 200, body[:40]
    for kind, body in kinds:
        assert ask(proxy.url, "POST", "/y", [("Content-Type", kind)], body).status == 200, kind
    # A member that comes twice is another request than either alone.
    assert post_json(proxy.url, "/x", b'{"a":3}').status == 404


# What is said of it in the log.


def test_a_head_that_can_not_be_read_is_in_the_log_with_its_reason(rehearsal, upstream):
    proxy = rehearsal.forward(upstream)
    for head in (b"BR{EW /x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"):
        with Client(proxy.url, timeout=6) as client:
            client.send(head)
            client.answer()
    proxy.stop()
    lines = [line for line in proxy.stderr().splitlines() if "refused a request" in line]
    assert len(lines) == 3, lines
    for line, reason in zip(lines, ("is not HTTP/1.1", "more than one `Host`", "CONNECT is not served")):
        assert reason in line


def test_tls_where_none_is_spoken_is_told_in_the_log(rehearsal, upstream):
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url, timeout=6) as client:
        client.send(b"\x16\x03\x01\x00\x05hello" + bytes(300))
        client.answer()
    proxy.stop()
    assert "a client speaks TLS with the listener for plain HTTP: its URL should begin with `http://`" in proxy.stderr()


def test_an_upstream_that_speaks_something_else_is_told_with_what_it_may_be(rehearsal):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        proxy = rehearsal.forward(f"http://127.0.0.1:{port}")
        with Client(proxy.url, timeout=6) as client:
            client.request(target="/x")
            taken, _ = server.accept()
            with taken:
                taken.recv(1 << 16)
                taken.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
                got = client.answer()
    message = json.loads(got.body)["error"]["message"]
    assert got.status == 502
    assert message.startswith(f"http://127.0.0.1:{port} answered with something that is not HTTP/1.1; if it speaks TLS"), message
