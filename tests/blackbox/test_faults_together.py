"""Many at once: faults that meet on one exchange, exchanges that share a connection, and clients that come in crowds."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import wire
from conftest import route
from rawclient import Client, ask, post_json
from test_faults import ALL, ASK, EVENTS, PATH, fault
from test_faults_kill import Live
from upstream import answer, endless, stream
from wire import LAST_CHUNK, chunk

THREE = b"".join(EVENTS[:3])
TYPE = [("Content-Type", "application/json")]

# Two faults; then how the answer ends, what is in its body, how long it takes at least, and how many of them were injected.
PAIRS = {
    "a silence, then the end": (
        'stall = { after = { events = 3 }, for = "500ms" }',
        'cut = { after = { events = 3 }, how = "reset" }\nwhen = { first = 1 }',
        (wire.RESET, THREE, 0.5, 2),
    ),
    "one that ends the answer, and one behind it": (
        'cut = { after = { events = 3 }, how = "clean-end" }\nwhen = { first = 1 }',
        'stall = { after = { events = 3 }, for = "9s" }',
        (wire.COMPLETE, THREE, 0, 1),
    ),
    "an event that goes, counted all the same": (
        "drop = 2",
        'cut = { after = { events = 3 }, how = "clean-end" }',
        (wire.COMPLETE, EVENTS[0] + EVENTS[2], 0, 2),
    ),
    "two delays": ('latency = "300ms"', 'latency = "400ms"', (wire.COMPLETE, ALL, 0.7, 2)),
    "a delay of nothing, and one": ('latency = "0s"', 'latency = "500ms"', (wire.COMPLETE, ALL, 0.5, 2)),
    "two silences at the end": (
        'hold_open = "300ms"',
        'stall = { after = "end", for = "300ms" }',
        (wire.COMPLETE, ALL, 0.6, 2),
    ),
    "a delay before another answer": ('latency = "500ms"', 'status = { code = 503, body = "no" }', (wire.COMPLETE, b"no", 0.5, 2)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_faults_meet_on_one_exchange(rehearsal, upstream, pair):
    one, other, (end, body, least, injected) = PAIRS[pair]
    upstream.on(PATH, stream(EVENTS, 0.01))
    live = Live(rehearsal, route("forward", upstream, fault(f'name = "one"\n{one}') + fault(f'name = "other"\n{other}')))
    got = post_json(live.url, PATH, ASK)
    assert (got.end, got.body) == (end, body)
    assert least <= got.ended_at - got.since < least + 4

    def count() -> int:
        return sum(row["counts"]["injected"] for row in json.loads(live.fault("list", "--json"))["faults"])

    live.until(lambda _: count() == injected)


def test_each_request_of_a_connection_is_late(rehearsal, upstream):
    """And each after the one before it, where they came together."""
    upstream.on("/one", answer())
    proxy = rehearsal.forward(upstream, fault('latency = "200ms"'))
    with Client(proxy.url) as client:
        for _ in range(2):
            client.request("GET", "/one")
            assert client.answer().head.at - client.sent_at > 0.19
        client.send(b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        first, second = client.answer(), client.answer()
        assert first.head.at - client.sent_at > 0.19
        assert second.head.at - first.ended_at > 0.19


@pytest.mark.parametrize("text", ["status = 503", "html_200 = true"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_who_uploads_much_gets_all_of_the_answer_in_its_place(rehearsal, upstream, text, is_chunked):
    proxy = rehearsal.forward(upstream, fault(text))
    piece, count = b"x" * (1 << 20), 16
    with Client(proxy.url) as client:
        for _ in range(2):
            if is_chunked:
                client.request("POST", PATH, [("Transfer-Encoding", "chunked")])
                for _ in range(count):
                    client.send(chunk(piece))
                client.send(LAST_CHUNK)
            else:
                client.request("POST", PATH, [("Content-Length", str(len(piece) * count))])
                for _ in range(count):
                    client.send(piece)
            got = client.answer("POST")
            assert (got.status, got.end) == (503 if "503" in text else 200, wire.COMPLETE)
    assert upstream.requests == []


def test_those_who_are_held_keep_nobody_else_waiting(rehearsal, upstream):
    upstream.on(PATH, stream(EVENTS)).on("/one", answer())
    proxy = rehearsal.forward(upstream, fault('stall = { after = { events = 2 } }\nwhen = { method = "POST" }'))
    with ExitStack() as held:
        clients = [held.enter_context(Client(proxy.url)) for _ in range(200)]
        for client in clients:
            client.request("POST", PATH, TYPE, ASK)
        for client in clients:
            client.reader.head()
        begun = time.monotonic()
        assert ask(proxy.url, target="/one").status == 200
        assert time.monotonic() - begun < 2
        threads = len(os.listdir(f"/proc/{proxy.pid}/task"))
        assert threads < 50, "none has a thread of its own"


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("status = 503\nwhen = { first = 7 }", 7),
        ("status = 503\nwhen = { every = 8 }", 6),
        ("status = 503\nwhen = { nth = 20 }", 1),
        ('rate_limit = { requests = 40, per = "90000s" }\nallow_long_retry_after = true', 8),
    ],
)
def test_a_crowd_is_counted_exactly(rehearsal, upstream, text, hit):
    upstream.on("/one", answer())
    proxy = rehearsal.forward(upstream, fault(text))
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: ask(proxy.url, target="/one").status, range(48)))
    assert sum(status != 200 for status in statuses) == hit


ENDINGS = [
    "stall = { after = { events = 2 } }",
    'stall = { after = { events = 2 }, keepalive = "comment", every = "50ms" }',
    "blackhole = true",
    'latency = "1h"',
    'hold_open = "1h"',
    'slow_head = { bytes = 1, every = "1h" }',
    'bandwidth = { down = "1B" }',
    'cut = { after = { events = 2 }, how = "reset" }',
    'cut = { after = { events = 2 }, how = "missing-last-chunk" }',
]


@pytest.mark.parametrize("text", ENDINGS)
def test_nothing_is_left_of_those_who_went(rehearsal, upstream, text):
    """Neither of the connections of the clients, nor of the endless streams that they asked for."""
    upstream.on("/endless", endless(most=60))
    proxy = rehearsal.forward(upstream, fault(text))

    def open_files() -> int:
        return len(os.listdir(f"/proc/{proxy.pid}/fd"))

    def visit(count: int) -> None:
        clients = [Client(proxy.url) for _ in range(count)]
        for client in clients:
            client.request("GET", "/endless")
        time.sleep(0.3)
        for number, client in enumerate(clients):
            client.reset() if number % 2 else client.close()

    def is_over(most: int) -> bool:
        return open_files() <= most and not upstream.open

    def until(most: int) -> None:
        deadline = time.monotonic() + 20
        while not is_over(most):
            assert time.monotonic() < deadline, f"{open_files()} files, {len(upstream.open)} connections to the upstream"
            time.sleep(0.1)

    fresh = open_files()
    visit(2)
    # What is opened once stays.
    until(fresh + 3)
    before = open_files()
    visit(40)
    until(before)
