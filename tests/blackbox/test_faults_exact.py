"""Faults whose exact meaning is easily missed: from what a latency counts, which way a bandwidth works, where a stall begins."""

from __future__ import annotations

import json
import time

import pytest
import wire
from cassettes import chunk_lines, recording
from conftest import route
from rawclient import post_json
from test_faults import ALL, ASK, DONE, EVENTS, FINISH, PATH, broken, delta, event, fault, go  # noqa: F401
from upstream import stream

# How late a machine with other work to do may be.
SLACK = 0.6


def late(seconds: float):
    """A stream whose head comes so late."""
    inner = stream(EVENTS, 0.01)

    def handle(request, connection):
        request.read()
        time.sleep(seconds)
        return inner(request, connection)

    return handle


@pytest.fixture(params=["live", "recorded", "replayed"])
def delayed(request, rehearsal, upstream, cassette):
    """How long a client waits for the head of an answer that takes 1 s by itself, with this latency."""

    def make(latency: str, basis: str) -> float:
        upstream.on(PATH, late(1.0))
        if request.param == "replayed":
            proxy = rehearsal(config=route("record", upstream, cassette=cassette))
            assert post_json(proxy.url, PATH, ASK).end == wire.COMPLETE
            proxy.stop()
        mode = {"live": "forward", "recorded": "record", "replayed": "replay"}[request.param]
        faults = fault(f'latency = "{latency}"\nbasis = "{basis}"')
        got = go(rehearsal(config=route(mode, upstream, faults, cassette=cassette)))
        assert (got.body, got.end) == (ALL, wire.COMPLETE)
        assert got.get("x-rehearsal-fault").startswith("latency;draw=")
        return got.head.at - got.since

    return make


@pytest.mark.parametrize(
    ("latency", "basis", "expected"),
    [
        ("700ms", "add", 1.7),
        ("2s", "total", 2.0),
        ("800ms", "total", 1.0),
    ],
)
def test_a_latency_counts_from_what_it_says(delayed, latency, basis, expected):
    took = delayed(latency, basis)
    assert expected - 0.01 <= took < expected + SLACK


@pytest.mark.parametrize(("latency", "expected"), [("100ms", 0.1), ("1700ms", 1.7)])
def test_a_latency_takes_the_place_of_the_recorded_time(rehearsal, upstream, cassette, latency, expected):
    upstream.on(PATH, late(1.0))
    proxy = rehearsal(config=route("record", upstream, cassette=cassette))
    assert go(proxy).end == wire.COMPLETE
    proxy.stop()
    got = go(rehearsal(config=route("replay", None, fault(f'latency = "{latency}"\nbasis = "replace"'), cassette=cassette)))
    assert got.body == ALL
    assert expected - 0.01 <= got.head.at - got.since < expected + SLACK


def test_a_live_answer_has_no_recorded_time_to_take_the_place_of(rehearsal, upstream):
    file = rehearsal.file(route("forward", upstream, fault('latency = "1s"\nbasis = "replace"')))
    done = rehearsal.run("check", file)
    assert done.returncode == 2
    assert '`basis = "replace"` is for recorded answers, and those of mode `forward` come from the upstream' in done.stderr


def test_a_bandwidth_of_the_upload_leaves_the_answer_alone(rehearsal, upstream):
    """One MiB at 512 KiB/s takes 2 s to be read, of which the sockets on the way may hide some; the answer takes none."""
    came = []

    def handle(request, connection):
        for piece in request.pieces():
            came.append((time.monotonic(), len(piece)))
        request.body = b""
        return stream(EVENTS)(request, connection)

    upstream.on(PATH, handle)
    body = json.dumps({"messages": ["x" * (1 << 20)]}).encode()

    def once(text: str):
        came.clear()
        proxy = rehearsal.forward(upstream, text)
        begun = time.monotonic()
        got = go(proxy, body=body, timeout=20)
        assert got.body == ALL
        return came[-1][0] - begun, got.ended_at - came[-1][0], got

    up, rest, got = once(fault('bandwidth = { up = "512KiB" }'))
    assert got.get("x-rehearsal-fault").startswith("bandwidth;draw=")
    assert 1.7 < up < 2.0 + SLACK
    assert rest < SLACK, "the answer is not slowed"
    # Fine enough that nothing comes in one lump: in each half second a fourth of it, and never more than a third.
    begun = came[0][0]
    for start in (0.0, 0.5, 1.0):
        window = sum(size for at, size in came if start <= at - begun < start + 0.5)
        assert window < len(body) * 0.45, f"{window} bytes came between {start} and {start + 0.5} s"
    up, _, got = once(fault('bandwidth = { down = "1MiB" }'))
    assert up < 1.5, "what bounds the answer leaves the upload alone"


def test_a_bandwidth_bounds_an_upload_of_every_source(broken):  # noqa: F811
    proxy = broken(fault('bandwidth = { up = "256KiB" }'))
    body = json.dumps({"messages": ["x" * 400_000]}).encode()
    begun = time.monotonic()
    got = go(proxy, body=body)
    took = time.monotonic() - begun
    if broken.source == "replayed":
        assert got.status == 404
    else:
        assert got.body == ALL
    assert 1.3 < took < 1.6 + SLACK


CALL = [
    delta("", role="assistant"),
    delta("Let me see"),
    delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city":"Paris"}'}}]),
    delta(finish="tool_calls"),
    DONE,
]


def test_a_stall_begins_at_the_first_tool_call(broken):  # noqa: F811
    got = go(broken(fault('stall = { after = "first-tool-call", for = "700ms" }'), events=CALL))
    assert got.body == b"".join(CALL)
    at = [next(at for at, data in got.chunks if one in data) - got.since for one in CALL]
    assert at[1] < SLACK, "what comes before goes at once"
    assert at[2] - at[1] > 0.65
    assert at[5] - at[2] < SLACK, "and the rest follows"


def test_a_stall_before_a_tool_call_that_never_comes_is_not_applicable(broken):  # noqa: F811
    proxy = broken(fault('stall = { after = "first-tool-call", for = "9s" }'))
    begun = time.monotonic()
    assert go(proxy).body == ALL
    assert time.monotonic() - begun < 5


def test_a_stall_for_ever_lasts_until_the_client_leaves(broken):  # noqa: F811
    got = go(broken(fault("stall = { after = { events = 3 } }")), timeout=1.0)
    assert (got.body, got.end) == (b"".join(EVENTS[:3]), wire.TIMEOUT)


def bits(one: bytes, other: bytes) -> list[int]:
    """At each byte that differs, how many of its bits do."""
    return [(left ^ right).bit_count() for left, right in zip(one, other) if left != right]


def test_bits_are_flipped_one_at_a_time(broken):  # noqa: F811
    got = go(broken(fault('corrupt = { after = "head", count = 7, unit = "bits" }')))
    assert len(got.body) == len(ALL)
    assert bits(got.body, ALL) == [1] * 7


def test_flips_begin_where_they_are_told_to(broken):  # noqa: F811
    got = go(broken(fault('corrupt = { after = { events = 4 }, count = 3, unit = "bits" }')))
    whole = len(b"".join(EVENTS[:4]))
    assert got.body[:whole] == ALL[:whole]
    assert bits(got.body, ALL) == [1] * 3


def test_the_same_seed_flips_the_same_bits(rehearsal, upstream):
    upstream.on(PATH, stream(EVENTS))
    text = fault('corrupt = { after = "head", count = 5, unit = "bits" }')
    one, other, third = (go(rehearsal.forward(upstream, text, top=f"seed = {seed}\n")).body for seed in (1, 1, 2))
    assert one == other != third


def test_gaps_that_resemble_each_other_come_in_runs(rehearsal, upstream):
    """With a correlation of 0.95 neighbours differ by far less than strangers do; without one they don't."""
    events = [event(choices=[{"index": 0, "delta": {"content": str(number)}, "finish_reason": None}]) for number in range(120)]
    upstream.on(PATH, stream([*events, FINISH, DONE]))

    def likeness(correlation: float) -> float:
        text = fault(f'gap = {{ each = {{ uniform = {{ min = "1ms", max = "60ms" }} }}, correlation = {correlation} }}')
        got = go(rehearsal.forward(upstream, text, top="seed = 3\n"), timeout=30)
        # Where chunks were late and came together, their order still tells.
        times = [at for at, data in got.chunks for _ in range(data.count(b"\n\n"))][:120]
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        mean = sum(gaps) / len(gaps)
        near = sum((a - mean) * (b - mean) for a, b in zip(gaps, gaps[1:]))
        return near / sum((gap - mean) ** 2 for gap in gaps)

    assert likeness(0.95) > 0.6
    assert abs(likeness(0.0)) < 0.35


def test_a_recording_of_a_late_answer_has_its_own_time(rehearsal, upstream, cassette):
    upstream.on(PATH, late(0.2))
    proxy = rehearsal(config=route("record", upstream, fault('latency = "2s"\nbasis = "total"'), cassette=cassette))
    got = go(proxy)
    assert got.head.at - got.since > 1.99
    proxy.stop()
    path = recording(cassette)
    head = json.loads(path.read_text())["recorded"]["response"]["head_us"] / 1e6
    assert 0.19 < head < 0.2 + SLACK
    assert chunk_lines(path)[-1][0] / 1e6 < 0.1 + SLACK
