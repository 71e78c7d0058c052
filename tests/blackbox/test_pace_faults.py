"""A pace and a fault on one route: what the fault adds is added to the pace, whatever the source."""

from __future__ import annotations

import json

import pytest
import wire
from conftest import route
from rawclient import post_json
from upstream import stream

PATH = "/v1/chat/completions"
ASK = json.dumps({"model": "m", "stream": True, "min_tokens": 12, "max_tokens": 12, "messages": [{"role": "user", "content": "hi"}]}).encode()
PACE = 'pace = { tokens = { ttft = "300ms", gap = "30ms" } }'
COUNT = 12
LATE = 5.0
EARLY = 0.005


def delta(**members) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": members, "finish_reason": None}]}).encode() + b"\n\n"


EVENTS = [delta(role="assistant", content=""), *[delta(content=f" {index}") for index in range(COUNT)], b"data: [DONE]\n\n"]


@pytest.fixture(params=["live", "live h2", "recorded", "replayed", "made up"])
def paced(request, rehearsal, upstream, cassette):
    """When each token of a paced answer came, with this fault."""

    def ask(fault: str, more: str = "") -> list[float]:
        upstream.on(PATH, stream(EVENTS, 0.0))
        if request.param == "replayed":
            recorder = rehearsal(config=route("record", upstream, cassette=cassette))
            post_json(recorder.url, PATH, ASK)
            recorder.stop()
        mode = {"recorded": "record", "replayed": "replay", "made up": "synthesize"}.get(request.param, "forward")
        target = "fake" if mode == "synthesize" else upstream
        if request.param == "live h2":
            # Our own fake speaks HTTP/2 to those who begin with it.
            target = rehearsal("fake", "--ttft", "0s", "--gap", "0s")
            more += '\nhttp = "2"'
        proxy = rehearsal(config=route(mode, target, f"{PACE}\n{more}\n[[route.fault]]\n{fault}", cassette=cassette))
        got = post_json(proxy.url, PATH, ASK)
        assert (got.status, got.end) == (200, wire.COMPLETE), got
        assert got.get("x-rehearsal-fault")
        at = [when - got.since for when, chunk in got.chunks for _ in range(tokens_in(chunk))]
        assert len(at) == COUNT
        return at

    return ask


def tokens_in(chunk: bytes) -> int:
    return sum(1 for line in chunk.splitlines() if line.startswith(b"data: {") and content(line))


def content(line: bytes) -> bool:
    choices = json.loads(line[6:])["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


def no_earlier(at: list[float], expected: list[float]) -> None:
    for index, (when, due) in enumerate(zip(at, expected)):
        assert due - EARLY <= when < due + LATE, f"token {index} at {when:.3f}, due {due:.3f}"


@pytest.mark.parametrize("fault", ['latency = "400ms"', 'first_token = "400ms"'])
def test_a_delay_is_added_to_the_pace(paced, fault):
    at = paced(fault)
    no_earlier(at, [0.7 + 0.03 * index for index in range(COUNT)])


def test_a_gap_takes_the_place_of_a_shorter_one(paced):
    at = paced('gap = "80ms"')
    no_earlier(at, [0.3 + 0.08 * index for index in range(COUNT)])


def test_what_came_in_a_stall_follows_it_at_once(paced):
    at = paced('stall = { after = { events = 3 }, for = "1s" }')
    assert all(when >= 1.3 - EARLY for when in at[2:]), at
    assert at[-1] < 1.4 + LATE


def test_chunks_are_still_cut_behind_the_fault(paced):
    at = paced('latency = "400ms"', 'rechunk = { adaptive = { target = "100ms" } }')
    no_earlier(at, [0.7 + 0.03 * index for index in range(COUNT)])
