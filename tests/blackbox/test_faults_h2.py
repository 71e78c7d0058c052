"""Faults on HTTP/2: they take one stream, and never its neighbours, unless the whole connection is meant."""

from __future__ import annotations

import time

import h2.events
import pytest
from h2peers import H2Client
from upstream import stream

EVENTS = [b'data: {"n":%d}\n\n' % number for number in range(8)]
ALL = b"".join(EVENTS)


@pytest.fixture
def connect(rehearsal, upstream, closing):
    """A connection to a proxy that has these faults on `/broken`, and none on `/whole`."""

    def make(text: str, gap=0.04):
        for path in ("/broken", "/whole"):
            upstream.on(path, stream(EVENTS, gap))
        faults = f'[[route.fault]]\n{text}\nwhen = {{ path = "/broken" }}\n'
        proxy = rehearsal.forward(upstream, faults)
        conn = H2Client(proxy.host, proxy.port)
        closing(conn.sock)
        return conn

    return make


def ends(conn, kind):
    """The broken stream ends in this way, and its sibling is whole, and so is what comes on the connection later; gives what
    came of the broken one, and its end."""
    sibling, broken = conn.request("/whole"), conn.request("/broken")
    body, end = conn.ending(broken)
    assert isinstance(end, kind)
    assert conn.body(sibling) == ALL
    assert conn.body(conn.request("/whole")) == ALL, "the connection goes on"
    return body, end


@pytest.mark.parametrize("code", [2, 7, 8, 11])
def test_a_stream_is_reset_with_the_code_and_its_sibling_goes_on(connect, code):
    conn = connect(f"cut = {{ after = {{ events = 3 }}, how = {{ h2-reset = {code} }} }}")
    body, end = ends(conn, h2.events.StreamReset)
    assert (body, int(end.error_code)) == (b"".join(EVENTS[:3]), code)


def test_a_reset_without_a_scope_takes_its_stream_alone(connect):
    conn = connect('cut = { after = { events = 2 }, how = "reset" }')
    body, _ = ends(conn, h2.events.StreamReset)
    assert body == b"".join(EVENTS[:2])


def test_a_reset_before_the_head_takes_its_stream_alone(connect, upstream):
    conn = connect('cut = { after = "before-head", how = "reset" }')
    body, _ = ends(conn, h2.events.StreamReset)
    assert body == b""
    assert upstream.seen("/broken") == [], "the one that was reset was not passed on"


def test_a_reset_of_the_connection_takes_all_of_its_streams(connect):
    conn = connect('scope = "connection"\ncut = { after = { events = 2 }, how = "reset" }')
    conn.request("/whole")
    conn.request("/broken")
    with pytest.raises(ConnectionResetError):
        while conn.sock.recv(1 << 16):
            pass
        raise AssertionError("a FIN")


def test_a_goaway_has_the_code(connect):
    conn = connect('scope = "connection"\ncut = { after = { events = 3 }, how = { goaway = 11 } }')
    conn.request("/broken")
    assert int(conn.next(h2.events.ConnectionTerminated).error_code) == 11


def held_back(conn):
    """Asks for the broken stream, and for its sibling, which is through before it; gives the time before, and the broken one."""
    begun = time.monotonic()
    broken, sibling = conn.request("/broken"), conn.request("/whole")
    assert conn.body(sibling) == ALL
    assert time.monotonic() - begun < 1.2, "the sibling waited too"
    return begun, broken


def test_a_latency_holds_one_stream_back(connect):
    conn = connect('latency = "1500ms"', gap=0.0)
    begun, broken = held_back(conn)
    head = conn.head(broken)
    assert time.monotonic() - begun > 1.49
    assert head["x-rehearsal-fault"].startswith("latency;draw=")
    assert conn.body(broken) == ALL


def test_a_stall_holds_one_stream_back(connect):
    conn = connect('stall = { after = { events = 2 }, for = "1500ms" }', gap=0.0)
    begun, broken = held_back(conn)
    assert conn.body(broken) == ALL
    assert time.monotonic() - begun > 1.49


def test_a_clean_end_ends_the_stream_as_if_it_were_whole(connect):
    conn = connect('cut = { after = { events = 4 }, how = "clean-end" }')
    body, _ = ends(conn, h2.events.StreamEnded)
    assert body == b"".join(EVENTS[:4])


def test_a_status_takes_the_place_of_one_answer(connect):
    conn = connect('status = { code = 418, headers = { x-a = "b" }, body = "tea" }')
    sibling, broken = conn.request("/whole"), conn.request("/broken")
    head = conn.head(broken)
    assert (head[":status"], head["x-a"], conn.body(broken)) == ("418", "b", b"tea")
    assert conn.body(sibling) == ALL


def test_a_blackhole_answers_one_stream_never(connect):
    conn = connect("blackhole = true")
    broken, sibling = conn.request("/broken"), conn.request("/whole")
    assert conn.body(sibling) == ALL
    conn.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        conn.ending(broken)
    conn.sock.settimeout(20)
    assert conn.body(conn.request("/whole")) == ALL


@pytest.mark.parametrize(
    "text",
    [
        'slow_head = { bytes = 1, every = "20ms" }',
        "malformed_chunk = { after = { events = 2 } }",
        'cut = { after = { events = 2 }, how = "missing-last-chunk" }',
        'cut = { after = { events = 2 }, how = "close-framed" }',
        'garbage = "64B"',
        "empty = true",
    ],
)
def test_what_http2_does_not_have_leaves_the_answer_whole(connect, text):
    conn = connect(text, gap=0.0)
    broken = conn.request("/broken")
    head = conn.head(broken)
    assert head[":status"] == "200"
    assert "x-rehearsal-fault" not in head, "what did not happen is not told"
    assert conn.body(broken) == ALL
