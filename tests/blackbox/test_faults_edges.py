"""Faults at awkward places: at the very end, on answers of one piece, beside each other, and what they leave of a connection."""

from __future__ import annotations

import json
import time

import pytest
import wire
from conftest import route
from rawclient import Client, post_json
from test_faults import ALL, ASK, DONE, EVENTS, PATH, broken, fault, go  # noqa: F401 - `broken` is a fixture
from upstream import answer, stream

JSON = json.dumps({"id": "c1", "object": "chat.completion", "choices": [{"message": {"content": "Hello"}}]}).encode()
TYPE = (("Content-Type", "application/json"),)


@pytest.mark.parametrize("text", ['slow_read = "1KiB"', 'bandwidth = { up = "1KiB" }'])
@pytest.mark.parametrize("mode", ["forward", "record"])
def test_an_upload_of_one_piece_takes_its_time_and_leaves_the_connection_open(rehearsal, upstream, cassette, text, mode):
    upstream.on("/one", answer(headers=TYPE, body=JSON))
    proxy = rehearsal(config=route(mode, upstream, fault(text), cassette=cassette if mode == "record" else None))
    body = b"x" * 512
    with Client(proxy.url) as client:
        begun = time.monotonic()
        assert client.ask("POST", "/one", body=body).body == JSON
        assert time.monotonic() - begun > 0.45, "512 bytes at 1,024 a second"
        assert client.ask("POST", "/one", body=b"x").body == JSON, "on the same connection"


def test_an_answer_that_ends_with_its_connection_says_so(broken, upstream):  # noqa: F811
    proxy = broken(fault('cut = { after = { events = 3 }, how = "close-framed" }'))
    with Client(proxy.url) as client:
        got = client.ask("POST", PATH, TYPE, ASK)
        assert (got.framing, got.end, got.body) == ("close", wire.COMPLETE, b"".join(EVENTS[:3]))
        assert got.get("connection") == "close"
        assert client.end() == wire.FIN


def test_a_live_answer_that_ends_with_its_connection_says_so(rehearsal, upstream):
    upstream.on("/closed", stream([b"abc"], framing="close")).on("/none", answer(204))
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url) as client:
        assert client.ask("GET", "/none").status == 204
        assert client.ask("HEAD", "/closed").status == 200, "there is no body that could end with the connection"
        got = client.ask("GET", "/closed")
        assert (got.framing, got.body, got.get("connection")) == ("close", b"abc", "close")


def test_a_dribble_divides_a_body_of_one_chunk_too(broken):  # noqa: F811
    proxy = broken(fault('dribble = { pieces = 5, over = "800ms" }'), events=[ALL])
    got = go(proxy)
    assert got.body == ALL
    assert len(got.chunks) == 5
    assert got.chunks[-1][0] - got.chunks[0][0] > 0.75
    assert max(len(data) for _, data in got.chunks) < len(ALL) / 4


def test_a_silence_at_the_end_is_seen_on_an_answer_with_a_length(rehearsal, upstream):
    upstream.on("/one", answer(headers=TYPE, body=JSON))
    proxy = rehearsal.forward(upstream, fault('stall = { after = "end", for = "600ms" }'))
    with Client(proxy.url) as client:
        got = client.ask("GET", "/one")
        assert (got.body, got.end) == (JSON, wire.COMPLETE)
        assert got.ended_at - client.sent_at > 0.55


def test_noise_hides_a_silence_at_the_end(broken):  # noqa: F811
    proxy = broken(fault('stall = { after = "end", for = "700ms", keepalive = "comment", every = "200ms" }'))
    assert go(proxy).body == ALL + b": keep-alive\n\n" * 3


def test_an_error_can_come_behind_the_terminator(broken):  # noqa: F811
    got = go(broken(fault('error_event = { after = "end", error = "internal" }')))
    assert got.body.startswith(ALL)
    assert json.loads(got.body[len(ALL) :].removeprefix(b"data: "))["error"]["type"] == "server_error"


def test_a_short_body_is_short_even_where_its_place_never_comes(rehearsal, upstream):
    upstream.on("/one", answer(headers=TYPE, body=JSON))
    proxy = rehearsal.forward(upstream, fault('cut = { after = { events = 9 }, how = "short-body" }'))
    with Client(proxy.url) as client:
        got = client.ask("GET", "/one")
        assert (got.body, got.end, got.get("content-length")) == (JSON, wire.FIN, str(len(JSON) + 1))
    proxy.stop()
    assert "outcome=cut" in proxy.stderr()


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_can_have_no_body_has_no_length(rehearsal, upstream, status):
    proxy = rehearsal.forward(upstream, fault(f"status = {status}"))
    with Client(proxy.url) as client:
        for _ in range(2):
            got = client.ask("GET", "/")
            assert (got.status, got.end, got.get("content-length")) == (status, wire.COMPLETE, None)


def test_a_window_opens_again(rehearsal, upstream):
    upstream.on("/one", answer(headers=TYPE, body=JSON))
    proxy = rehearsal.forward(upstream, fault('status = 503\nwhen = { window = { to = "1s", every = "2s" } }'))
    seen = []
    begun = time.monotonic()
    while time.monotonic() - begun < 6:
        with Client(proxy.url) as client:
            status = client.ask("GET", "/one").status
        if not seen or seen[-1] != status:
            seen.append(status)
        time.sleep(0.05)
    # Whenever it is that we begin to look, it changes at least four times in three turns.
    assert len(seen) >= 5 and set(seen) == {200, 503}, seen


def test_a_recording_of_another_route_is_told_as_such(rehearsal, upstream, cassette):
    upstream.on("/one", answer(headers=TYPE, body=JSON))
    top = f'[cassette]\npath = "{cassette}"\n'
    end = f'mode = "{{}}"\nupstream = "{upstream.url}"\n'
    proxy = rehearsal(config=top + "[[route]]\n" + end.format("record"))
    with Client(proxy.url) as client:
        assert client.ask("GET", "/one").status == 200
    proxy.stop()
    special = '[[route]]\nname = "special"\nmatch = { headers = { x-special = "1" } }\n' + end.format("replay")
    proxy = rehearsal(config=top + special + "[[route]]\n" + end.format("replay"))
    with Client(proxy.url) as client:
        assert client.ask("GET", "/one").status == 200
        missed = client.ask("GET", "/one", [("x-special", "1")])
    assert missed.status == 404
    assert "which is the same request to another route" in json.loads(missed.body)["error"]["message"]


# A fault that answers alone, before an upstream that may cost money.

BEFORE_SOURCE = [
    "status = 503",
    "empty = true",
    'garbage = "64B"',
    "html_200 = true",
    'rate_limit = { requests = 1, per = "1h" }\nallow_long_retry_after = true',
    'cut = { after = "before-head", how = "reset" }',
    "blackhole = true",
]


@pytest.mark.parametrize("kind", BEFORE_SOURCE, ids=lambda kind: kind.split(" ")[0])
@pytest.mark.parametrize("mode", ["forward", "record"])
def test_the_upstream_is_not_asked_by_what_a_fault_answers_alone(rehearsal, upstream, cassette, mode, kind):
    upstream.on(PATH, stream(EVENTS, 0))
    proxy = rehearsal(config=route(mode, upstream, fault(kind), cassette=cassette))
    is_limit = kind.startswith("rate_limit")
    for number in range(3):
        got = post_json(proxy.url, PATH, ASK, timeout=1 if kind.startswith("blackhole") else 20)
        assert (got.body == ALL) == (is_limit and number == 0)
    assert len(upstream.requests) == int(is_limit), "one is within the limit"


def test_events_are_edited_in_a_stream_that_claims_to_be_something_else(broken):  # noqa: F811
    got = go(broken(fault('content_type = "text/plain"') + fault("drop = 2")))
    assert got.get("content-type") == "text/plain"
    assert got.body == b"".join([EVENTS[0], *EVENTS[2:]])
