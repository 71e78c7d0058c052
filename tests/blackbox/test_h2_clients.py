"""HTTP/2 by prior knowledge, with clients that others wrote: curl, nghttp, h2load, httpx."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import threading
import time

import h2.events
import httpx
import pytest
from cassettes import in_time
from conftest import route
from h2peers import H2Client, tool
from peers import curl
from rawclient import Pattern
from upstream import answer, big, echo, endless, stream, swallow

EVENTS = [b'data: {"n":%d}\n\n' % number for number in range(10)]
LARGE = 100 * 1024 * 1024
CURL_H2_STREAM = 92


def client(**more):
    return httpx.Client(http1=False, http2=True, timeout=30, trust_env=False, **more)


def test_recorded_over_http2_and_replayed_over_both(rehearsal, upstream, cassette):
    upstream.on("/v1/chat", stream(EVENTS, 0.03))
    ask = ["-N", "-H", "Content-Type: application/json", "-d", '{"a":1}', "-w", "\n%{http_version} %{http_code}"]
    proxy = rehearsal.record(upstream, cassette)
    live = curl("--http2-prior-knowledge", *ask, f"{proxy.url}/v1/chat")
    assert live.stdout == b"".join(EVENTS) + b"\n2 200"
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    again = curl("--http2-prior-knowledge", *ask, f"{proxy.url}/v1/chat")
    assert again.stdout == live.stdout
    older = curl("--http1.1", *ask, f"{proxy.url}/v1/chat")
    assert older.stdout == b"".join(EVENTS) + b"\n1.1 200"


def test_recorded_over_http1_and_replayed_over_http2(rehearsal, upstream, cassette):
    upstream.on("/", answer(headers=(("X-CaSe", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), body=b"hello"))
    proxy = rehearsal.record(upstream, cassette)
    assert curl(proxy.url).stdout == b"hello"
    proxy.stop()
    upstream.stop()
    with client() as http:
        again = http.get(rehearsal.replay(cassette).url)
    assert (again.http_version, again.status_code, again.content) == ("HTTP/2", 200, b"hello")
    assert again.headers["x-case"] == "1"
    assert again.headers["x-rehearsal-source"] == "replay"
    assert len(again.headers.get_list("set-cookie")) == 2


def test_the_upstream_gets_what_http1_would_have_brought(rehearsal, upstream):
    upstream.on("/a%20b", echo)
    proxy = rehearsal.forward(upstream)
    with client() as http:
        told = http.put(f"{proxy.url}/a%20b?x=%2f&y", content=b"body", headers=[("cookie", "a=1"), ("cookie", "b=2"), ("X-Rehearsal-Client", "me"), ("te", "trailers")]).json()
    assert (told["method"], told["target"], told["body"]) == ("PUT", "/a%20b?x=%2f&y", "body")
    names = [name.lower() for name, _ in told["headers"]]
    assert "te" not in names and "x-rehearsal-client" not in names
    assert not any(name.startswith(":") for name in names)
    lines = dict((name.lower(), value) for name, value in told["headers"])
    assert lines["host"] == upstream.url.removeprefix("http://")
    assert lines["cookie"] == "a=1; b=2"
    assert lines["content-length"] == "4"


def test_a_body_of_unknown_length_goes_up(rehearsal, upstream):
    upstream.on("/", echo)
    proxy = rehearsal.forward(upstream)
    with client() as http:
        told = http.post(proxy.url, content=iter([b"one ", b"two ", b"three"])).json()
    assert told["body"] == "one two three"
    assert dict((name.lower(), value) for name, value in told["headers"])["transfer-encoding"] == "chunked"


def test_events_come_one_by_one_and_in_time(rehearsal, upstream, cassette):
    upstream.on("/", stream(EVENTS, 0.08))
    proxy = rehearsal.record(upstream, cassette)

    def listen(proxy):
        with client() as http, http.stream("GET", proxy.url) as got:
            start = time.monotonic()
            pieces = [(time.monotonic() - start, piece) for piece in got.iter_raw()]
        assert [piece for _, piece in pieces] == EVENTS
        return [at for at, _ in pieces]

    live = listen(proxy)
    sent = [at for at, _ in upstream.requests[0].sent]
    in_time(live, [at - sent[0] for at in sent])
    proxy.stop()
    upstream.stop()
    in_time(listen(rehearsal.replay(cassette)), live)


@pytest.mark.parametrize("mode", ["forward", "record"])
def test_a_large_body_comes_down_whole_and_is_not_held_in_memory(rehearsal, upstream, cassette, tmp_path, mode):
    pattern = Pattern()
    upstream.on("/", big(lambda: pattern.pieces(LARGE), LARGE))
    proxy = rehearsal(config=route(mode, upstream, cassette=cassette))
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    done = curl("--http2-prior-knowledge", "-o", str(tmp_path / "got"), proxy.url, timeout=120)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "got").open("rb") as got:
        assert hashlib.file_digest(got, "sha256").hexdigest() == pattern.digest(LARGE)
    assert proxy.memory("VmHWM") - before < 48 << 20


def test_a_large_body_goes_up_whole_and_is_not_held_in_memory(rehearsal, upstream, tmp_path):
    pattern = Pattern()
    upstream.on("/up", swallow(hashlib.sha256))
    with (tmp_path / "body").open("wb") as body:
        for piece in pattern.pieces(LARGE):
            body.write(piece)
    proxy = rehearsal.forward(upstream)
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    done = curl("--http2-prior-knowledge", "-T", str(tmp_path / "body"), f"{proxy.url}/up", timeout=120)
    assert json.loads(done.stdout) == {"sha256": pattern.digest(LARGE), "size": LARGE}
    assert proxy.memory("VmHWM") - before < 48 << 20


def test_a_hundred_streams_at_once_all_arrive(rehearsal, upstream):
    size = 1 << 20
    pattern = Pattern()
    upstream.on("/", big(lambda: pattern.pieces(size), size))
    proxy = rehearsal.forward(upstream)
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    done = tool("h2load", "-n", "100", "-c", "1", "-m", "100", f"{proxy.url}/", timeout=120)
    assert "100 done, 100 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout
    got = re.search(r"\((\d+)\) total.*\((\d+)\) data", done.stdout)
    assert got and int(got.group(2)) == 100 * size, done.stdout
    # Each may have 1 MiB read ahead of its client, and one window.
    assert proxy.memory("VmHWM") - before < 200 << 20


def test_many_short_exchanges(rehearsal, upstream, cassette):
    upstream.on("/", answer(body=b"x" * 1000))
    proxy = rehearsal.record(upstream, cassette)
    assert curl(proxy.url).stdout == b"x" * 1000
    proxy.stop()
    proxy = rehearsal.replay(cassette, "--instant")
    done = tool("h2load", "-n", "5000", "-c", "5", "-m", "20", f"{proxy.url}/", timeout=120)
    assert "5000 done, 5000 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout


def test_a_stream_that_the_client_resets_touches_no_other(rehearsal, upstream):
    upstream.on("/endless", endless(gap=0.01)).on("/events", stream(EVENTS, 0.05))
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port) as conn:
        streams = [conn.request("/events") for _ in range(3)]
        leaving = conn.request("/endless")
        assert conn.head(leaving)[":status"] == "200"
        conn.next(h2.events.DataReceived, stream=leaving)
        conn.reset(leaving)
        [request] = upstream.seen("/endless")
        upstream.wait(request.left.is_set, what="the end of the call that nobody waits for")
        for number in streams:
            assert conn.body(number) == b"".join(EVENTS)
        assert conn.body(conn.request("/events")) == b"".join(EVENTS), "the connection goes on"


def test_a_client_that_leaves_one_of_several_with_httpx(rehearsal, upstream):
    upstream.on("/endless", endless(gap=0.01)).on("/events", stream(EVENTS, 0.05))
    proxy = rehearsal.forward(upstream)
    bodies = []
    with client(limits=httpx.Limits(max_connections=1)) as http:
        threads = [threading.Thread(target=lambda: bodies.append(http.get(f"{proxy.url}/events").content)) for _ in range(3)]
        for thread in threads:
            thread.start()
        with http.stream("GET", f"{proxy.url}/endless") as got:
            next(got.iter_raw())
        for thread in threads:
            thread.join(30)
    assert bodies == [b"".join(EVENTS)] * 3
    [request] = upstream.seen("/endless")
    upstream.wait(request.left.is_set)


@pytest.mark.parametrize(("then", "code"), [("fin", "INTERNAL_ERROR"), ("rst", "CANCEL")])
def test_an_answer_that_breaks_off_resets_its_stream_alone(rehearsal, upstream, cassette, then, code):
    upstream.on("/broken", stream(EVENTS[:4], 0.02, then=then)).on("/events", stream(EVENTS, 0.05))
    proxy = rehearsal.record(upstream, cassette)

    def see(proxy):
        with H2Client(proxy.host, proxy.port) as conn:
            sibling, broken = conn.request("/events"), conn.request("/broken")
            body = b""
            while isinstance(event := conn.next(h2.events.DataReceived, h2.events.StreamReset, stream=broken), h2.events.DataReceived):
                body += event.data
            assert body == b"".join(EVENTS[:4])
            assert event.error_code.name == code
            assert conn.body(sibling) == b"".join(EVENTS)

    see(proxy)
    assert curl("--http2-prior-knowledge", f"{proxy.url}/broken").returncode == CURL_H2_STREAM
    proxy.stop()
    upstream.stop()
    see(rehearsal.replay(cassette))


def test_a_window_that_stays_shut_holds_back_its_stream_alone(rehearsal, upstream):
    size = 8 << 20
    pattern = Pattern()
    sent = []

    def large(request, connection):
        sent.append(request)
        return big(lambda: pattern.pieces(size), size)(request, connection)

    upstream.on("/large", large).on("/events", stream(EVENTS, 0.01))
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port, window=1000) as conn:
        conn.give(None, 1 << 20)
        held = conn.request("/large")
        assert conn.head(held)[":status"] == "200"
        got = 0
        while got < 1000:
            got += len(conn.next(h2.events.DataReceived, stream=held).data)
        assert got == 1000
        other = conn.request("/events")
        assert conn.body(other) == b"".join(EVENTS)
        assert not [event for event in conn.events if getattr(event, "stream_id", None) == held], "the window was respected"
        conn.give(held, 500)
        while got < 1500:
            got += len(conn.next(h2.events.DataReceived, stream=held).data)
        assert got == 1500


def test_uploads_that_nobody_reads_hold_back_no_other(rehearsal, upstream):
    stuck = threading.Event()

    def wait(request, connection):
        stuck.wait(30)
        request.read()
        return answer(body=b"late")(request, connection)

    upstream.on("/stuck", wait).on("/", echo)
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port) as conn:
        held = [conn.request("/stuck", method="POST", end=False) for _ in range(5)]
        for number in held:
            # As much as may be sent, until the proxy has taken no more for a while.
            quiet = 0
            while quiet < 300:
                conn.sock.setblocking(False)
                try:
                    conn.take(conn.sock.recv(1 << 16))
                except BlockingIOError:
                    pass
                conn.sock.settimeout(20)
                room = min(conn.h2.local_flow_control_window(number), conn.h2.max_outbound_frame_size)
                if room == 0:
                    quiet += 1
                    time.sleep(0.001)
                    continue
                quiet = 0
                conn.h2.send_data(number, b"x" * room)
                conn.flush()
        free = conn.request("/", method="POST", end=False)
        conn.h2.send_data(free, b"still here", end_stream=True)
        conn.flush()
        assert json.loads(conn.body(free))["body"] == "still here"
        stuck.set()


@pytest.mark.parametrize(
    ("args", "status", "reason"),
    [
        (["--path-as-is", "URL/a/../b"], 400, "`..` segment"),
        (["URL/a%00b"], 400, "`%00`"),
        (["URL/" + "x" * 17_000], 414, "`limits.url` allows 16KiB"),
        (["-H", "X-Long: " + "y" * 20_000, "URL/"], 431, "`limits.head` allows 18KiB"),
        ([word for number in range(210) for word in ("-H", f"X-{number}: 1")] + ["URL/"], 431, "`limits.headers` allows 200"),
    ],
)
def test_heads_that_are_refused(rehearsal, upstream, args, status, reason):
    # curl sends no heads of more than 64 KiB, which is the limit that is usual here.
    proxy = rehearsal.forward(upstream, top='[limits]\nhead = "18KiB"')
    done = curl("--http2-prior-knowledge", "-w", "\n%{http_code}", *[arg.replace("URL", proxy.url) for arg in args])
    body, code = done.stdout.decode().rsplit("\n", 1)
    assert int(code) == status, done
    assert reason in json.loads(body)["error"]["message"]
    assert upstream.connections == 0


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        ({"authority": "a.test", "more": [("host", "b.test")]}, "400", "`host` is not `:authority`"),
        ({"authority": "me@a.test"}, "400", "has a user in it"),
        ({"more": [("content-length", "3"), ("content-length", "4")], "end": False}, "400", "twice"),
    ],
)
def test_heads_that_can_be_read_in_two_ways_are_refused(rehearsal, upstream, head, status, reason):
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port) as conn:
        number = conn.request("/", *head.pop("more", []), method="POST", **head)
        event = conn.next(h2.events.ResponseReceived, h2.events.StreamReset)
        if isinstance(event, h2.events.ResponseReceived):
            assert dict(event.headers)[":status"] == status
            assert reason in json.loads(conn.body(number))["error"]["message"]
        assert upstream.connections == 0


def test_a_header_that_belongs_to_one_connection_ends_its_stream_alone(rehearsal, upstream):
    upstream.on("/", answer(body=b"fine"))
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port) as conn:
        wrong = conn.request("/", ("transfer-encoding", "chunked"))
        assert conn.next(h2.events.StreamReset, stream=wrong).error_code.name == "PROTOCOL_ERROR"
        assert conn.body(conn.request("/")) == b"fine"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(rehearsal, upstream, status):
    upstream.on("/", answer(status, (("ETag", '"x"'),), b""))
    proxy = rehearsal.forward(upstream)
    with client() as http:
        for _ in range(2):
            got = http.get(proxy.url)
            assert (got.status_code, got.content, got.headers["etag"]) == (status, b"", '"x"')


def test_a_head_request_keeps_the_length(rehearsal, upstream):
    upstream.on("/", answer(headers=(("Content-Length", "4321"),)))
    proxy = rehearsal.forward(upstream)
    done = curl("--http2-prior-knowledge", "-I", proxy.url)
    assert b"content-length: 4321" in done.stdout, done


def test_interim_heads_come_through(rehearsal, upstream):
    def hints(request, connection):
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        return answer(body=b"done")(request, connection)

    upstream.on("/", hints)
    done = curl("--http2-prior-knowledge", "-i", rehearsal.forward(upstream).url)
    assert done.stdout.startswith(b"HTTP/2 103"), done
    assert b"link: </a.css>" in done.stdout and done.stdout.endswith(b"done")


def test_an_early_answer_to_an_upload_is_heard(rehearsal, upstream):
    def refuse(request, connection):
        request.body_is_read = True
        request.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        connection.fin()
        connection.wait_gone(20)
        return "close"

    upstream.on("/", refuse)
    proxy = rehearsal.forward(upstream)
    done = curl("--http2-prior-knowledge", "-T", "-", "-w", "%{http_code}", f"{proxy.url}/", stdin=b"x" * 5_000_000)
    assert done.stdout == b"no413", done


def test_the_limit_on_streams_is_told_and_held(rehearsal, upstream):
    upstream.on("/", stream(EVENTS, 0.02))
    proxy = rehearsal.forward(upstream, top="[limits]\nstreams = 7")
    told = tool("nghttp", "-nv", f"{proxy.url}/")
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):7" in told.stdout, told.stdout
    done = tool("h2load", "-n", "50", "-c", "1", "-m", "7", f"{proxy.url}/")
    assert "50 succeeded" in done.stdout, done.stdout
    with H2Client(proxy.host, proxy.port) as conn:
        conn.h2.remote_settings.max_concurrent_streams = 1000
        conn.h2.remote_settings.acknowledge()
        streams = [conn.request("/") for _ in range(9)]
        for number in streams[7:]:
            assert conn.next(h2.events.StreamReset, stream=number).error_code.name == "REFUSED_STREAM"
        for number in streams[:7]:
            assert conn.body(number) == b"".join(EVENTS)


def test_nghttp_gets_every_event_in_a_frame_of_its_own(rehearsal, upstream):
    upstream.on("/", stream(EVENTS, 0.03))
    told = tool("nghttp", "-nv", f"{rehearsal.forward(upstream).url}/")
    lengths = [int(length) for length in re.findall(r"recv DATA frame <length=(\d+)", told.stdout)]
    assert lengths == [len(event) for event in EVENTS] + [0], told.stdout


def test_a_stop_lets_streams_go_on_to_their_end(rehearsal, upstream):
    upstream.on("/", stream(EVENTS, 0.1))
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port) as conn, H2Client(proxy.host, proxy.port) as idle:
        number = conn.request("/")
        conn.next(h2.events.DataReceived, stream=number)
        proxy.signal(signal.SIGTERM)
        body = EVENTS[0] + conn.body(number)
        assert body == b"".join(EVENTS)
        assert idle.next(h2.events.ConnectionTerminated).error_code == 0
        conn.next(h2.events.ConnectionTerminated)
    assert proxy.wait(15) == 0


def test_a_connection_without_a_request_is_closed_in_the_end(rehearsal, upstream):
    upstream.on("/", answer(body=b"fine"))
    proxy = rehearsal.forward(upstream, top='[timeouts]\nkeepalive = "1s"')
    with H2Client(proxy.host, proxy.port) as conn:
        assert conn.body(conn.request("/")) == b"fine"
        assert conn.next(h2.events.ConnectionTerminated).error_code == 0


def test_what_is_not_http2_after_the_preface_ends_with_a_goaway(rehearsal, upstream):
    upstream.on("/", answer(body=b"fine"))
    proxy = rehearsal.forward(upstream)
    with H2Client(proxy.host, proxy.port) as conn:
        # DATA on stream 0.
        conn.sock.sendall(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
        assert conn.next(h2.events.ConnectionTerminated).error_code != 0
    assert curl(proxy.url).stdout == b"fine"
