"""Paces on every source and every kind of stream, as a client that reads single chunks sees them.

Lower bounds are strict, upper ones generous: a busy machine is late, but never early.
"""

from __future__ import annotations

import concurrent.futures
import json
import statistics
import zlib

import pytest
import wire
from conftest import route
from rawclient import post_json
from upstream import answer, stream

ASK = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
SSE = [("Content-Type", "text/event-stream")]
COUNT = 12
TTFT, GAP = 0.2, 0.03
PACE = 'pace = { tokens = { ttft = "200ms", gap = "30ms" } }'

# How late a busy machine may be, and how early a client may believe a chunk to be: it measures from its own last write.
LATE = 5.0
EARLY = 0.005


def data(value) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def zipped(pieces: list[bytes]) -> list[bytes]:
    """In gzip, one piece for each of these."""
    packer = zlib.compressobj(wbits=31)
    out = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*out[:-1], out[-1] + packer.flush()]


CHAT = [data({"choices": [{"index": 0, "delta": {"content": f" {index}"}}]}) for index in range(COUNT)]
STREAMS = {
    "chat": ("/v1/chat/completions", CHAT, SSE),
    "messages": (
        "/v1/messages",
        [
            b"event: content_block_delta\n"
            + data({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" {index}"}})
            for index in range(COUNT)
        ],
        SSE,
    ),
    "responses": (
        "/v1/responses",
        [
            b"event: response.output_text.delta\n" + data({"type": "response.output_text.delta", "delta": f" {index}"})
            for index in range(COUNT)
        ],
        SSE,
    ),
    "gemini": (
        "/v1beta/models/g:streamGenerateContent?alt=sse",
        [data({"candidates": [{"content": {"parts": [{"text": f" {index}"}]}}]}) for index in range(COUNT)],
        SSE,
    ),
    "unknown events": ("/ticks", [data(index) for index in range(COUNT)], SSE),
    "gzip": ("/v1/chat/completions", zipped(CHAT), [*SSE, ("Content-Encoding", "gzip")]),
    "lines": ("/lines", [b'{"a":%d}\n' % index for index in range(COUNT)], [("Content-Type", "application/x-ndjson")]),
    "text": ("/text", [b"word%d " % index for index in range(COUNT)], [("Content-Type", "text/plain")]),
}


@pytest.fixture(params=["live", "recorded", "replayed"])
def paced(request, rehearsal, upstream, cassette):
    """Asks a proxy with this pace for a stream, whatever the source is."""

    def ask(kind: str, pace: str, gap: float = 0.0) -> wire.Answer:
        path, pieces, headers = STREAMS[kind]
        upstream.on(path.split("?")[0], stream(pieces, gap, headers=headers))
        if request.param == "replayed":
            recorder = rehearsal(config=route("record", upstream, cassette=cassette))
            post_json(recorder.url, path, ASK)
            recorder.stop()
        mode = {"live": "forward", "recorded": "record", "replayed": "replay"}[request.param]
        proxy = rehearsal(config=route(mode, upstream, pace, cassette=cassette))
        got = post_json(proxy.url, path, ASK)
        assert (got.end, got.body) == (wire.COMPLETE, b"".join(pieces))
        return got

    ask.source = request.param  # type: ignore[attr-defined]
    return ask


def times(got: wire.Answer) -> list[float]:
    return [at - got.since for at, _ in got.chunks]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", STREAMS)
def test_tokens_are_paced_whatever_the_source_and_the_stream(paced, kind):
    got = times(paced(kind, PACE))
    assert len(got) == COUNT, "each token goes by itself"
    for index, at in enumerate(got):
        assert at >= TTFT + index * GAP - EARLY, f"token {index} is early"
    assert got[-1] < TTFT + (COUNT - 1) * GAP + LATE


def test_a_pace_of_tokens_does_not_drift(rehearsal):
    """A token that went late does not move the next. Sleeps one after the other would add a millisecond each: 300 in all."""
    fake = rehearsal("fake", "--ttft", "0s", "--gap", "3ms")
    asked = json.dumps({**json.loads(ASK), "min_tokens": 300}).encode()
    got = post_json(fake.url, "/v1/chat/completions", asked)
    of_text = [at - got.since for at, chunk in got.chunks if b'"content":"' in chunk and b'"content":""' not in chunk]
    assert len(of_text) == 300
    lateness = [at - index * 0.003 for index, at in enumerate(of_text)]
    assert min(lateness) >= -EARLY
    # A machine may stumble, but not over each of the last hundred.
    assert min(lateness[200:]) < 0.1


def test_a_live_answer_goes_no_earlier_than_it_came(paced):
    """A replayed one goes when the pace says."""
    got = times(paced("chat", 'pace = { tokens = { ttft = "0s", gap = "1ms" } }', 0.03))
    if paced.source == "replayed":
        assert got[-1] < (COUNT - 1) * 0.03 + LATE
        assert got[-1] >= (COUNT - 1) * 0.001 - EARLY
    else:
        for index, at in enumerate(got):
            assert at >= index * 0.03 - EARLY


@pytest.mark.parametrize("speed, factor", [("0.5", 2.0), ("1", 1.0), ("2.0", 0.5)])
def test_recorded_times_are_played_at_a_speed(rehearsal, upstream, cassette, speed, factor):
    upstream.on("/v1/chat/completions", stream(CHAT, 0.04, headers=SSE))
    recorder = rehearsal(config=route("record", upstream, cassette=cassette))
    post_json(recorder.url, "/v1/chat/completions", ASK)
    recorder.stop()
    replay = rehearsal(config=route("replay", None, f"pace = {{ recorded = {{ speed = {speed} }} }}", cassette=cassette))
    got = times(post_json(replay.url, "/v1/chat/completions", ASK))
    # The recording has what the reader saw: a few ms beside what the upstream meant.
    for index, at in enumerate(got):
        assert index * 0.04 * factor - 0.02 <= at < index * 0.04 * factor + LATE


def test_an_instant_replay_waits_for_nothing(rehearsal, upstream, cassette):
    upstream.on("/v1/chat/completions", stream(CHAT, 0.5, headers=SSE))
    recorder = rehearsal(config=route("record", upstream, cassette=cassette))
    post_json(recorder.url, "/v1/chat/completions", ASK)
    recorder.stop()
    replay = rehearsal.replay(cassette, "--instant")
    assert times(post_json(replay.url, "/v1/chat/completions", ASK))[-1] < (COUNT - 1) * 0.5 / 2


def test_what_is_no_stream_has_the_time_of_its_tokens_or_none(rehearsal, upstream, cassette):
    """As a recording: known to its end, so it comes when its last token would have."""
    whole = json.dumps({"choices": [], "usage": {"completion_tokens": 11}}).encode()
    upstream.on("/v1/chat/completions", answer(body=whole))
    upstream.on("/v1/models", answer(body=b'{"data":[]}'))
    upstream.on("/v1/embeddings", stream([b'{"data":', b"[]}"], 0.0, headers=[("Content-Type", "application/json")]))
    recorder = rehearsal(config=route("record", upstream, cassette=cassette))
    paths = ["/v1/chat/completions", "/v1/models", "/v1/embeddings"]
    for path in paths:
        post_json(recorder.url, path, ASK)
    recorder.stop()
    slow = 'pace = { tokens = { ttft = "2s", gap = "100ms" } }'
    replay = rehearsal(config=route("replay", None, slow, cassette=cassette))
    took = {path: times_to_end(post_json(replay.url, path, ASK)) for path in paths}
    assert took["/v1/chat/completions"] >= 2 + 10 * 0.1 - EARLY
    assert took["/v1/models"] < 1.8 and took["/v1/embeddings"] < 1.8, "what has no tokens does not wait for one"


def times_to_end(got: wire.Answer) -> float:
    assert got.end == wire.COMPLETE
    return got.ended_at - got.since  # type: ignore[attr-defined]


# To the first token and between two, mean and standard deviation in ms: from a report on simulating these models.
PROFILES = {
    "default": (200, 40, 12, 2.5),
    "gpt-4": (800, 150, 35, 8),
    "gpt-4-turbo": (400, 80, 20, 5),
    "gpt-4o": (250, 50, 15, 3),
    "gpt-4o-mini": (180, 35, 10, 2),
    "gpt-oss-120b": (600, 120, 28, 6),
    "gpt-oss-20b": (300, 60, 15, 3),
    "deepseek-r1": (700, 140, 30, 7),
    "claude-opus": (850, 170, 38, 8.5),
    "claude-sonnet": (450, 90, 22, 5),
    "claude-haiku": (220, 45, 12, 2.5),
    "llama-3.1-8b": (140, 28, 7.5, 1.5),
    "llama-3.1-70b": (480, 95, 23, 5),
    "mixtral-8x7b": (380, 75, 18, 4),
}


def test_every_profile_has_the_times_of_its_model(rehearsal):
    """Eight streams of forty tokens each, of all models at once: means within what chance allows, and later for a busy machine."""
    routes = [
        f'[[route]]\nname = "{name}"\nmatch = {{ path = "/{name}/**" }}\nstrip_prefix = "/{name}"\n'
        f'mode = "synthesize"\nupstream = "fake"\npace = {{ profile = "{name}" }}\n'
        for name in PROFILES
    ]
    proxy = rehearsal(config="\n".join(routes))

    def ask(name: str, turn: int) -> tuple[float, float]:
        asked = {"model": "m", "stream": True, "min_tokens": 40, "max_tokens": 40, "messages": [{"role": "user", "content": f"{turn}"}]}
        got = post_json(proxy.url, f"/{name}/v1/chat/completions", json.dumps(asked).encode(), timeout=60)
        of_text = [at - got.since for at, chunk in got.chunks if b'"content":"' in chunk and b'"content":""' not in chunk]
        assert len(of_text) == 40
        return of_text[0] * 1000, (of_text[-1] - of_text[0]) / 39 * 1000

    count = 8
    with concurrent.futures.ThreadPoolExecutor(len(PROFILES)) as pool:
        asked = {name: [pool.submit(ask, name, turn) for turn in range(count)] for name in PROFILES}
    for name, (ttft, ttft_sd, gap, gap_sd) in PROFILES.items():
        seen = [one.result() for one in asked[name]]
        first = statistics.mean(first for first, _ in seen)
        between = statistics.mean(between for _, between in seen)
        # Five standard deviations of a mean. A client that is late to see the first token makes the gaps seem shorter.
        assert ttft - 5 * ttft_sd / count**0.5 <= first <= ttft + 5 * ttft_sd / count**0.5 + 500, (name, first)
        assert gap * 0.8 <= between <= gap * 1.5 + 20, (name, between)
        assert len({round(first) for first, _ in seen}) > 1, f"{name} draws"
