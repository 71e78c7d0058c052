"""Faults inside an encoded stream that comes in pieces: it is decoded as it comes, on live, recorded and replayed answers."""

from __future__ import annotations

import gzip
import json
import zlib

import brotli
import pytest
import wire
import zstandard
from cassettes import recording
from conftest import route
from rawclient import post_json
from test_faults import ALL, ASK, DONE, EVENTS, PATH, delta, fault
from upstream import SSE_HEADERS, answer, stream

GAP = 0.03


class Packer:
    """Encodes a stream so that each event can be decoded when it has come."""

    def __init__(self, encoding: str):
        self.encoding = encoding
        if encoding == "gzip":
            self.inner = zlib.compressobj(6, zlib.DEFLATED, 31)
        elif encoding == "deflate":
            self.inner = zlib.compressobj(6)
        elif encoding == "br":
            self.inner = brotli.Compressor(quality=4)
        else:
            self.inner = zstandard.ZstdCompressor().compressobj()

    def pack(self, events: list[bytes]) -> list[bytes]:
        pieces = []
        for event in events:
            if self.encoding == "br":
                pieces.append(self.inner.process(event) + self.inner.flush())
            elif self.encoding == "zstd":
                pieces.append(self.inner.compress(event) + self.inner.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            else:
                pieces.append(self.inner.compress(event) + self.inner.flush(zlib.Z_SYNC_FLUSH))
        pieces[-1] += self.inner.finish() if self.encoding == "br" else self.inner.flush()
        return pieces


def halved(pieces: list[bytes]) -> list[bytes]:
    """The same bytes, but in pieces that each end inside what can be decoded."""
    whole = b"".join(pieces)
    ends = []
    at = 0
    for piece in pieces:
        ends.append(at + len(piece) // 2)
        at += len(piece)
    return [whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)]) if start < end]


@pytest.fixture(params=["live", "recorded", "replayed"])
def packed(request, rehearsal, upstream, cassette):
    """An answer to a client that takes encoded ones, with these faults."""

    class Packed:
        source = request.param

        def __call__(self, faults: str, encoding: str = "gzip", events=EVENTS, cut=lambda pieces: pieces, timeout=20.0):
            self.pieces = cut(Packer(encoding).pack(events))
            upstream.on(PATH, stream(self.pieces, GAP, headers=[*SSE_HEADERS, ("Content-Encoding", encoding)]))
            headers = [("Accept-Encoding", "gzip, deflate, br, zstd")]
            if request.param == "replayed":
                proxy = rehearsal(config=route("record", upstream, cassette=cassette))
                assert post_json(proxy.url, PATH, ASK, headers).end == wire.COMPLETE
                proxy.stop()
            mode = {"live": "forward", "recorded": "record", "replayed": "replay"}[request.param]
            self.proxy = rehearsal(config=route(mode, upstream, faults, cassette=cassette))
            return post_json(self.proxy.url, PATH, ASK, headers, timeout=timeout)

    return Packed()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_an_event_is_dropped_from_an_encoded_stream_that_goes_on_flowing(packed, encoding):
    got = packed(fault("drop = 3"), encoding)
    assert (got.get("content-encoding"), got.get("content-length")) == (None, None)
    assert (got.body, got.end) == (b"".join([*EVENTS[:2], *EVENTS[3:]]), wire.COMPLETE)
    # Not held back: the events come over as long a time as the upstream takes for them.
    assert got.chunks[-1][0] - got.chunks[0][0] > GAP * (len(EVENTS) - 2) * 0.8
    assert len(got.chunks) >= len(EVENTS) - 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('drop = "usage"', [*EVENTS[:8], DONE]),
        ('drop = "terminator"', EVENTS[:-1]),
        ("duplicate = 2", [EVENTS[0], EVENTS[1], EVENTS[1], *EVENTS[2:]]),
        ("reorder = 2", [EVENTS[0], EVENTS[2], EVENTS[1], *EVENTS[3:]]),
    ],
)
def test_pieces_that_end_inside_events_are_edited_as_events(packed, text, expected):
    got = packed(fault(text), cut=halved)
    assert (got.body, got.end) == (b"".join(expected), wire.COMPLETE)


def test_a_stall_counts_decoded_events(packed):
    got = packed(fault('stall = { after = { events = 3 }, for = "900ms", keepalive = "comment", every = "200ms" }'))
    noise = b": keep-alive\n\n"
    assert got.body.count(noise) >= 2, "noise can be read"
    assert got.body.replace(noise, b"") == ALL
    third = next(at for at, data in got.chunks if b" two" in data)
    fourth = next(at for at, data in got.chunks if b" three" in data)
    assert fourth - third > 0.8


@pytest.mark.parametrize(("how", "end"), [("clean-end", wire.COMPLETE), ("missing-last-chunk", wire.FIN), ("reset", wire.RESET)])
def test_a_cut_counts_decoded_events(packed, how, end):
    got = packed(fault(f'cut = {{ after = {{ events = 4 }}, how = "{how}" }}'))
    assert (got.body, got.end) == (b"".join(EVENTS[:4]), end)


def test_an_error_stands_readable_in_an_encoded_stream(packed):
    got = packed(fault('error_event = { after = { events = 2 }, error = "internal", then = "end" }'))
    head, error = got.body[: len(EVENTS[0] + EVENTS[1])], got.body[len(EVENTS[0] + EVENTS[1]) :]
    assert head == EVENTS[0] + EVENTS[1]
    assert json.loads(error.split(b"\n\n")[0].removeprefix(b"data: "))["error"]["type"] == "server_error"


def test_json_is_broken_inside_an_encoded_stream(packed):
    got = packed(fault("invalid_json = 3"))
    events = got.body.split(b"\n\n")
    assert [one + b"\n\n" for at, one in enumerate(events[:-1]) if at != 2] == [one for at, one in enumerate(EVENTS) if at != 2]
    with pytest.raises(ValueError):
        json.loads(events[2].removeprefix(b"data: "))


def test_a_first_token_is_found_in_an_encoded_stream(packed):
    got = packed(fault('first_token = "900ms"'))
    assert got.body == ALL
    assert got.head.at - got.since < 0.6
    assert next(at for at, data in got.chunks if b"One" in data) - got.since > 0.85


def test_a_body_that_was_encoded_is_corrupted_where_it_can_be_read(packed):
    got = packed(fault('corrupt = { after = { events = 2 }, count = 3, unit = "bits" }'))
    assert len(got.body) == len(ALL)
    assert sum((one ^ other).bit_count() for one, other in zip(got.body, ALL)) == 3


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_fault_that_looks_at_no_event_leaves_the_encoding_alone(packed, encoding):
    got = packed(fault('latency = "300ms"') + fault('stall = { after = "200ms", for = "300ms" }'), encoding)
    assert got.get("content-encoding") == encoding
    assert (got.body, got.end) == (b"".join(packed.pieces), wire.COMPLETE)
    assert got.head.at - got.since > 0.29


def test_the_recording_keeps_the_encoding_that_the_client_did_not_get(rehearsal, upstream, cassette):
    pieces = Packer("gzip").pack(EVENTS)
    upstream.on(PATH, stream(pieces, GAP, headers=[*SSE_HEADERS, ("Content-Encoding", "gzip")]))
    takes = [("Accept-Encoding", "gzip")]
    proxy = rehearsal(config=route("record", upstream, fault("drop = 3"), cassette=cassette))
    assert post_json(proxy.url, PATH, ASK, takes).get("content-encoding") is None
    proxy.stop()
    headers = dict(json.loads(recording(cassette).read_text())["recorded"]["response"]["headers"])
    assert headers["Content-Encoding"] == "gzip"
    got = post_json(rehearsal.replay(cassette, "--instant").url, PATH, ASK, takes)
    assert got.body == b"".join(pieces)
    assert gzip.decompress(got.body) == ALL


def test_an_encoding_that_breaks_off_ends_the_answer_as_broken(rehearsal, upstream):
    pieces = Packer("gzip").pack([*EVENTS[:3], delta("never read")])[:3]
    upstream.on(PATH, stream([*pieces, b"\xff" * 64], GAP, headers=[*SSE_HEADERS, ("Content-Encoding", "gzip")]))
    got = post_json(rehearsal.forward(upstream, fault("duplicate = 1")).url, PATH, ASK)
    assert got.body == EVENTS[0] + b"".join(EVENTS[:3]), "all that could be read"
    assert got.end in (wire.FIN, wire.RESET), "and no proper end"


@pytest.mark.parametrize("text", ["drop = 2", 'stall = { after = { events = 2 }, for = "1h" }', 'error_event = { after = "end", error = "internal" }'])
def test_an_encoding_that_nobody_knows_is_passed_on_with_its_name(rehearsal, upstream, text):
    packed = b"\x1f\x9d" + bytes(range(256))
    upstream.on(PATH, answer(headers=(*SSE_HEADERS, ("Content-Encoding", "compress")), body=packed))
    got = post_json(rehearsal.forward(upstream, fault(text)).url, PATH, ASK)
    assert (got.get("content-encoding"), got.body, got.end) == ("compress", packed, wire.COMPLETE)


@pytest.mark.parametrize("text", ["drop = 2", 'corrupt = { after = "head", count = 1 }'])
def test_a_few_bytes_that_stand_for_very_many_end_the_answer_and_take_little_memory(rehearsal, upstream, text):
    bomb = brotli.Compressor(quality=5)
    packed = b"".join(bomb.process(b"a" * (1 << 20)) for _ in range(600)) + bomb.finish()
    assert len(packed) < 4096
    upstream.on(PATH, answer(headers=(*SSE_HEADERS, ("Content-Encoding", "br")), body=packed))
    proxy = rehearsal.forward(upstream, fault(text))
    before = proxy.memory("VmRSS")
    got = post_json(proxy.url, PATH, ASK)
    assert got.status == 200 and got.end != wire.COMPLETE
    assert proxy.memory("VmHWM") - before < 300 << 20
