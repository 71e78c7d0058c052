"""Where writes are cut: by unit, dialect and line end, however the upstream cut its own, and never a byte that changes."""

from __future__ import annotations

import json
import random
import zlib

import brotli
import pytest
import wire
import zstandard
from conftest import route
from rawclient import post_json
from upstream import stream

ASK = b'{"model":"m","stream":true}'
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
TEXTS = [
    *["Once", " upon", " a", " time", ",", f" {FAMILY}", " said", ":", " “", "Hé", "llo", ".", "”", " ", "  New", "\n"],
    *["你好", "。", "世界", "！", " 3", ".", "14", "..", ".", " bye", "!"],
]
# The cut falls on the end of the event in which the unit ends.
WORDS = ["Once", " upon", " a", " time,", f" {FAMILY}", " said:", " “Héllo.”", "   New", "\n你好", "。", "世界", "！", " 3.14...", " bye!"]
SENTENCES = [f"Once upon a time, {FAMILY} said: “Héllo.”", "   New\n", "你好。", "世界！", " 3.14...", " bye!"]

PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/g:streamGenerateContent?alt=sse",
    "responses": "/v1/responses",
}


def event(dialect: str, text: str) -> bytes:
    name, members = {
        "openai": (None, {"choices": [{"index": 0, "delta": {"content": text}}]}),
        "anthropic": ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        "gemini": (None, {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]}),
        "responses": ("response.output_text.delta", {"type": "response.output_text.delta", "delta": text}),
    }[dialect]
    line = f"event: {name}\n" if name else ""
    return (line + "data: " + json.dumps(members, ensure_ascii=False) + "\n\n").encode()


def text_of(dialect: str, chunk: bytes) -> str:
    """The text that a chunk of whole events adds."""
    said = []
    for line in chunk.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        members = json.loads(line[6:])
        said.append(
            {
                "openai": lambda: members["choices"][0]["delta"].get("content", ""),
                "anthropic": lambda: members["delta"]["text"],
                "gemini": lambda: members["candidates"][0]["content"]["parts"][0]["text"],
                "responses": lambda: members["delta"],
            }[dialect]()
        )
    return "".join(said)


def in_pieces(events: list[bytes], how: str) -> list[bytes]:
    whole = b"".join(events)
    if how == "one piece":
        return [whole]
    if how == "events":
        return events
    size = {"threes": lambda: 3, "any": random.Random(7).choice}
    pieces, at = [], 0
    while at < len(whole):
        step = size["threes"]() if how == "threes" else size["any"]([1, 2, 5, 40, 90, 400])
        pieces.append(whole[at : at + step])
        at += step
    return pieces


@pytest.fixture
def rechunked(rehearsal, upstream):
    """Asks for these pieces through a proxy that cuts so."""
    proxies: dict[str, str] = {}

    def ask(rechunk: str, path: str, pieces: list[bytes], headers=(("Content-Type", "text/event-stream"),), gap=0.0) -> wire.Answer:
        upstream.on(path.split("?")[0], stream(pieces, gap, headers=headers))
        if rechunk not in proxies:
            proxies[rechunk] = rehearsal(config=route("forward", upstream, f"rechunk = {rechunk}")).url
        got = post_json(proxies[rechunk], path, ASK, [("Accept-Encoding", "gzip, br, zstd")])
        assert (got.end, got.body) == (wire.COMPLETE, b"".join(pieces)), "the bytes never change"
        return got

    return ask


def cut_between(got: wire.Answer, events: list[bytes]) -> None:
    ends, at = set(), 0
    for one in events:
        at += len(one)
        ends.add(at)
    at = 0
    for chunk in got.boundaries:
        at += len(chunk)
        assert at in ends, f"a cut at {at} is inside an event"


HOW = ["one piece", "events", "threes", "any"]


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("rechunk, expected", [('"word"', WORDS), ('"sentence"', SENTENCES), ('"token"', TEXTS), ('"event"', TEXTS)])
def test_cuts_fall_after_units_of_decoded_text(rechunked, dialect, rechunk, expected):
    events = [event(dialect, text) for text in TEXTS]
    for how in HOW:
        got = rechunked(rechunk, PATHS[dialect], in_pieces(events, how))
        assert [text_of(dialect, chunk) for chunk in got.boundaries] == expected, how


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("rechunk", ['"event"', '"word"', "{ bytes = 1 }", "{ bytes = 300 }", "{ adaptive = {} }"])
def test_no_cut_is_inside_an_event_whatever_its_line_ends(rechunked, line_end, rechunk):
    tool = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    others = [{"role": "assistant", "content": ""}, {"tool_calls": [tool]}, {"tool_calls": [{**tool, "function": {"arguments": '{"a": 1}'}}]}, {}]
    events = [event("openai", text) for text in TEXTS]
    events += [b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n" for delta in others]
    events += [b": ping\n\n", b"event: x\nid: 7\nretry: 10\ndata: {\ndata: }\n\n", b"data: [DONE]\n\n"]
    events = [one.replace(b"\n", line_end.encode()) for one in events]
    for how in HOW:
        cut_between(rechunked(rechunk, PATHS["openai"], in_pieces(events, how)), events)


def test_events_go_together_until_they_have_so_many_bytes(rechunked):
    events = [event("openai", text) for text in TEXTS]
    for size in (1, 100, 300, 65_536):
        *full, last = rechunked(f"{{ bytes = {size} }}", PATHS["openai"], in_pieces(events, "any")).boundaries
        assert all(len(chunk) >= size for chunk in full)
        assert all(len(chunk) - len(chunk.split(b"\n\n")[-2]) - 2 < size for chunk in full), "no more events than are needed"
        assert len(full) + 1 == {1: len(events)}.get(size, len(full) + 1)


def test_what_comes_slowly_is_not_held_for_the_rest_of_its_unit(rechunked):
    """A second of silence ends the wait: text that never becomes a sentence is seen all the same."""
    events = [event("openai", text) for text in ("One", " two", " three")]
    got = rechunked('"sentence"', PATHS["openai"], events, gap=[0.0, 2.5])
    assert [text_of("openai", chunk) for chunk in got.boundaries] == ["One two", " three"]
    first = got.chunks[0][0] - got.since
    assert 0.99 <= first < 2.5


def test_an_event_beyond_all_bounds_is_cut_between_characters(rechunked):
    events = [event("openai", text) for text in ("One", "xy" + "你" * 150_000, " end")]
    for rechunk in ('"event"', '"word"', "{ bytes = 1 }", "{ adaptive = {} }"):
        for chunk in rechunked(rechunk, PATHS["openai"], in_pieces(events, "one piece")).boundaries:
            chunk.decode()


def test_an_event_that_never_ends_is_passed_on_at_the_end(rechunked):
    events = [event("openai", " one"), b'data: {"half']
    got = rechunked('"sentence"', PATHS["openai"], in_pieces(events, "any"))
    assert got.boundaries == events


PLAIN = "".join(TEXTS).encode()


@pytest.mark.parametrize("how", ["one piece", "threes", "any"])
@pytest.mark.parametrize(
    "rechunk, expected",
    [
        ('"word"', ["Once", " upon", " a", " time,", f" {FAMILY}", " said:", " “Héllo.”", "   New", "\n你", "好", "。", "世", "界", "！", " 3.14...", " bye!"]),
        ('"sentence"', SENTENCES),
    ],
)
def test_plain_text_is_cut_at_units(rechunked, how, rechunk, expected):
    got = rechunked(rechunk, "/text", in_pieces([PLAIN], how), [("Content-Type", "text/plain; charset=utf-8")])
    assert [chunk.decode() for chunk in got.boundaries] == expected


@pytest.mark.parametrize("rechunk", ['"token"', "{ bytes = 1 }", "{ bytes = 2 }", "{ bytes = 50 }", "{ adaptive = { min = 2 } }"])
def test_plain_text_is_cut_between_characters(rechunked, rechunk):
    for how in ("one piece", "threes", "any"):
        got = rechunked(rechunk, "/text", in_pieces([PLAIN], how), [("Content-Type", "text/plain")])
        for chunk in got.boundaries:
            chunk.decode()


@pytest.mark.parametrize("rechunk", ['"word"', '"token"', '"event"', "{ adaptive = {} }"])
def test_what_is_no_text_goes_as_it_came(rechunked, rechunk):
    pieces = [b"caf\xe9 one two", b"\xff\x00 three", bytes(range(256))]
    got = rechunked(rechunk, "/bytes", pieces, [("Content-Type", "application/octet-stream")], gap=0.05)
    assert got.boundaries == pieces


def encoded(encoding: str, pieces: list[bytes]) -> list[bytes]:
    """One encoded piece for each of these, which can be decoded as soon as it is there."""
    if encoding == "gzip":
        packer = zlib.compressobj(wbits=31)
        return [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces] + [packer.flush()]
    if encoding == "br":
        brotler = brotli.Compressor()
        return [brotler.process(piece) + brotler.flush() for piece in pieces] + [brotler.finish()]
    zstd = zstandard.ZstdCompressor().compressobj()
    return [zstd.compress(piece) + zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for piece in pieces] + [zstd.flush()]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("rechunk", ['"word"', '"sentence"', '"token"', '"event"', "{ adaptive = {} }"])
def test_an_encoded_stream_goes_as_it_came(rechunked, encoding, rechunk):
    pieces = encoded(encoding, [event("openai", text) for text in TEXTS])
    headers = [("Content-Type", "text/event-stream"), ("Content-Encoding", encoding)]
    got = rechunked(rechunk, PATHS["openai"], pieces, headers, gap=0.02)
    assert got.get("content-encoding") == encoding
    assert got.boundaries == pieces


@pytest.mark.parametrize("rechunk", ['"word"', '"sentence"', '"token"', "{ adaptive = { min = 3 } }"])
def test_encoded_bytes_that_look_like_text_are_no_text(rechunked, rechunk):
    pieces = [b"ab", b"cd ef. gh", b"ij"]
    got = rechunked(rechunk, "/text", pieces, [("Content-Type", "text/plain"), ("Content-Encoding", "br")], gap=0.02)
    assert got.boundaries == pieces


def test_an_adaptive_chunk_has_the_tokens_of_its_target(rechunked):
    """Tokens 10 ms apart and a target of 50 ms: the first goes alone, then about five together, and none is lost or late."""
    texts = [f" {index}" for index in range(60)]
    got = rechunked("{ adaptive = { target = \"50ms\" } }", PATHS["openai"], [event("openai", text) for text in texts], gap=0.01)
    said = [text_of("openai", chunk).split() for chunk in got.boundaries]
    assert said[0] == ["0"], "the first is never held"
    assert len(said) <= 45, "tokens go together"
    assert max(len(one) for one in said) <= 15
    assert max(len(one) for one in said) >= 3


def test_an_adaptive_chunk_is_not_held_by_a_stall(rechunked):
    """Row by count or by deadline: what is held goes after the target though nothing more comes."""
    texts = [f" {index}" for index in range(24)]
    events = [event("openai", text) for text in texts]
    gaps = [0.02] * 22 + [2.0]
    got = rechunked("{ adaptive = { target = \"100ms\" } }", PATHS["openai"], events, gap=gaps)
    at = 0
    for when, chunk in got.chunks:
        at += len(text_of("openai", chunk).split())
        if at == 23:
            assert when - got.since < 22 * 0.02 + 1.5, "what was held waited for the end of the stall"
            return
    raise AssertionError("what was held before the stall went with what came after it")


def test_events_without_text_take_along_what_is_held(rechunked):
    events = [event("openai", "One"), event("openai", " two"), b": ping\n\n", event("openai", " three"), b"data: [DONE]\n\n"]
    got = rechunked('"sentence"', PATHS["openai"], events)
    assert got.boundaries == [b"".join(events[:3]), b"".join(events[3:])]
