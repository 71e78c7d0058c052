"""WebSocket passes as a tunnel, with a client and a server that others wrote, over HTTP/1.1 and over TLS."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random

import pytest
from conftest import route
from h2peers import TLS, certificate, https, trusting
from upstream import CLOSE
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wire import head_bytes

INSTANT = 300
BIG = 8 << 20
PATIENCE = 60


async def echo(socket):
    async for message in socket:
        await socket.send(message)


@pytest.fixture(params=["ws", "wss"])
def talk(request, rehearsal, tmp_path, cassette):
    """Runs a client against a server with this handler, the proxy in between; gives how the server's connections ended."""

    def run(client, handler=echo, mode="forward", **options):
        ends = []

        async def serving(socket):
            try:
                await handler(socket)
            except ConnectionClosed:
                pass
            await socket.close()
            ends.append((socket.close_code, socket.close_reason))

        async def both():
            async with serve(serving, "127.0.0.1", 0, max_size=None, **options) as server:
                peer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                more, top = {}, ""
                if request.param == "wss":
                    more["ssl"], top = trusting(certificate(tmp_path)), TLS
                config = route(mode, peer, top=top, cassette=cassette if mode == "record" else None)
                proxy = await asyncio.to_thread(rehearsal, config=config)
                url = https(proxy) if request.param == "wss" else proxy.url

                def go(path="/", **options):
                    return connect(url.replace("http", "ws", 1) + path, max_size=None, proxy=None, open_timeout=30, **more, **options)

                await client(go)
            return ends

        return asyncio.run(asyncio.wait_for(both(), PATIENCE))

    return run


@pytest.mark.parametrize("mode", ["forward", "record"])
def test_what_is_said_comes_back(talk, mode):
    said = ["hello", b"\x00\xff", "", "Grüße, 你好, 👋", b"x" * 70_000, "y" * 126, random.Random(7).randbytes(BIG)]
    heard = []

    async def client(go):
        async with go(compression=None) as socket:
            for message in said:
                await socket.send(message)
                heard.append(await socket.recv())

    assert talk(client, mode=mode) == [(1000, "")]
    assert heard == said


def test_both_ways_may_be_full_at_once(talk):
    big = random.Random(7).randbytes(BIG)
    heard = []

    async def told(socket):
        _, message = await asyncio.gather(socket.send(big), socket.recv())
        heard.append(message)

    async def client(go):
        async with go(compression=None) as socket:
            await told(socket)

    talk(client, told)
    assert [message == big for message in heard] == [True, True]


def test_pings_pass_both_ways(talk):
    ponged = []

    async def handler(socket):
        await (await socket.ping(b"from the server"))
        ponged.append("server")
        await echo(socket)

    async def client(go):
        async with go(ping_interval=None) as socket:
            await (await socket.ping(b"from the client"))
            ponged.append("client")
            await socket.send("still here")
            assert await socket.recv() == "still here"

    talk(client, handler)
    assert sorted(ponged) == ["client", "server"]


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "going"), (4999, "grüße")])
def test_the_client_closes_first(talk, code, reason):
    async def client(go):
        async with go() as socket:
            await socket.close(code, reason)
            assert (socket.close_code, socket.close_reason) == (code, reason)

    assert talk(client) == [(code, reason)]


@pytest.mark.parametrize("code, reason", [(1000, ""), (1011, "failed"), (4002, "enough")])
def test_the_server_closes_first(talk, code, reason):
    async def handler(socket):
        await socket.send("last words")
        await socket.close(code, reason)

    async def client(go):
        async with go() as socket:
            assert await socket.recv() == "last words"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (code, reason)

    assert talk(client, handler) == [(code, reason)]


def test_a_refusal_passes_as_it_is(talk):
    async def client(go):
        with pytest.raises(InvalidStatus) as refused:
            async with go():
                pass
        assert (refused.value.response.status_code, refused.value.response.body) == (403, b"not you\n")

    assert talk(client, process_request=lambda socket, _: socket.respond(403, "not you\n")) == []


def exactly(reader, count):
    data = b""
    while len(data) < count:
        data += reader.some(count - len(data))
    return data


def instant(request, connection):
    """Answers 101 at once, and the first frame with it; then echoes one frame, and closes."""
    key = (request.get("sec-websocket-key") or "").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
    lines = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept)]
    connection.send(head_bytes("HTTP/1.1 101 Switching Protocols", lines) + b"\x81\x05first")
    opcode, length = exactly(connection.reader, 2)
    mask = exactly(connection.reader, 4)
    said = bytes(byte ^ mask[at % 4] for at, byte in enumerate(exactly(connection.reader, length & 0x7F)))
    connection.send(bytes([opcode, len(said)]) + said + b"\x88\x02\x03\xe8")
    # The client says goodbye too, and waits for the server to close.
    exactly(connection.reader, 8)
    return CLOSE


@pytest.mark.parametrize("at_once", [1, 10])
def test_an_instant_101_with_the_first_frame_never_tears_it_down(rehearsal, upstream, at_once):
    upstream.fallback = instant
    url = rehearsal.forward(upstream).url.replace("http", "ws", 1)

    async def one(number, turn):
        async with turn, connect(f"{url}/{number}", proxy=None, compression=None, open_timeout=30) as socket:
            heard = [await socket.recv()]
            await socket.send(f"{number}")
            heard.append(await socket.recv())
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            return [*heard, socket.close_code]

    async def all():
        turn = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(one(number, turn) for number in range(INSTANT)), return_exceptions=True)

    heard = asyncio.run(asyncio.wait_for(all(), PATIENCE))
    assert heard == [["first", str(number), 1000] for number in range(INSTANT)]
