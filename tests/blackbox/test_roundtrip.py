"""Answers of all kinds, drawn from a seed: what a client got while recording, it gets again from the replay."""

from __future__ import annotations

import gzip
import json
import random
import zlib

import pytest
import wire
from cassettes import same
from rawclient import ask
from upstream import CLOSE
from wire import LAST_CHUNK, chunk, head_bytes

TYPES = ["text/event-stream", "application/json", "text/plain; charset=utf-8", "application/octet-stream", "image/png", "text/html; charset=latin-1", "application/x-ndjson", None]


def a_body(dice):
    kind = dice.randrange(7)
    if kind == 0:
        return b""
    if kind == 1:
        return dice.randbytes(dice.choice([1, 100, 5000, 70_000]))
    if kind == 2:
        return json.dumps({"n": dice.random(), "t": "grüße 👋" * dice.randrange(50), "l": [1, None, True]}, ensure_ascii=dice.random() < 0.5).encode()
    if kind == 3:
        return b"".join(b'event: x\ndata: {"n":%d}\n\n' % number for number in range(dice.randrange(1, 40)))
    if kind == 4:
        return "héllo wörld 你好\r\n\t\\\"".encode(dice.choice(["utf-8", "utf-16", "latin-1"]), "replace") * dice.randrange(1, 200)
    if kind == 5:
        return b"\n".join(json.dumps({"line": number}).encode() for number in range(dice.randrange(1, 30)))
    return bytes([dice.randrange(256)]) * dice.randrange(1, 3000)


def an_answer(dice):
    """The bytes of an answer, in the pieces in which they are sent, and how it ends."""
    body = a_body(dice)
    headers = []
    kind = dice.choice(TYPES)
    if kind:
        headers.append((dice.choice(["Content-Type", "content-type", "CONTENT-TYPE"]), kind))
    encoding = dice.choice([None, None, None, "gzip", "deflate", "br", "identity", "gzip"])
    if encoding:
        headers.append(("Content-Encoding", encoding))
        if encoding == "gzip" and dice.random() < 0.8:
            body = gzip.compress(body, dice.randrange(1, 10), mtime=dice.choice([0, 123456]))
        elif encoding == "deflate" and dice.random() < 0.8:
            body = zlib.compress(body, dice.randrange(1, 10))
    for number in range(dice.randrange(5)):
        headers.append((dice.choice(["X-A", "x-a", "X-B", "ETag", "Vary", "X-Empty"]), dice.choice(["", "1", "a, b", '"q"', "wörd", "x" * 500])))
    dice.shuffle(headers)
    status = dice.choice([200, 200, 200, 201, 206, 299, 302, 400, 404, 418, 429, 500, 503, 599])
    reason = dice.choice(["OK", "", "Quite So", "I'm a teapot"])
    framing = dice.choice(["chunked", "chunked", "length", "close"])
    cuts = sorted(dice.randrange(len(body) + 1) for _ in range(dice.randrange(8))) if body else []
    parts = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)]) if end > start]
    # No resets: they may overtake what was sent before them, so that no two clients get the same.
    end = dice.choice(["end"] * 6 + ["fin"])
    pieces = [head_bytes(f"HTTP/1.1 {status} {reason}", [*headers, *framed(framing, body)])]
    pieces += [chunk(part) for part in parts] if framing == "chunked" else parts
    if end == "end" and framing == "chunked":
        pieces.append(LAST_CHUNK)
    elif end != "end" and framing == "length" and len(pieces) > 1:
        pieces.pop()
    return pieces, end, framing


def framed(framing, body):
    return {"chunked": [("Transfer-Encoding", "chunked")], "length": [("Content-Length", str(len(body)))], "close": []}[framing]


@pytest.mark.parametrize("seed", range(6))
def test_what_was_recorded_is_replayed_whatever_it_was(rehearsal, upstream, cassette, seed):
    dice = random.Random(seed)
    answers = {f"/{number}": an_answer(dice) for number in range(60)}

    def handle(request, connection):
        request.read()
        pieces, end, framing = answers[request.target]
        for piece in pieces:
            connection.send(piece)
        return None if end == "end" and framing != "close" else CLOSE

    upstream.fallback = handle
    proxy = rehearsal.record(upstream, cassette)
    live = {target: ask(proxy.url, target=target) for target in answers}
    assert [one.end for one in live.values()].count(wire.COMPLETE) > 30
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    wrong = []
    for target, one in live.items():
        if one.head is None or one.status == 502:
            continue
        got = ask(proxy.url, target=target)
        try:
            same(got, one)
        except AssertionError as error:
            wrong.append(f"{target}: {answers[target][0][0]!r} ends with {answers[target][1]}: {error}")
    assert not wrong, "\n".join(wrong)
