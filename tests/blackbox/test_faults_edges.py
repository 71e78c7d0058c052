"""Faults at awkward places: at the very end, on answers of one piece, beside each other, and what they leave of a connection."""

from __future__ import annotations

import json
import time

import pytest
import wire
from conftest import route
from rawclient import Client
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
