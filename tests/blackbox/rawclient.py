"""A client that sends exact bytes and sees exactly what comes back, and when."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from typing import Iterable, Optional, Union

import wire
from wire import Answer, Ended, Reader

Headers = Iterable[tuple[str, str]]
Where = Union[int, str, tuple[str, int]]


def address(where: Where) -> tuple[str, int]:
    """A port, `http://HOST:PORT…` or a pair, as a pair."""
    if isinstance(where, int):
        return ("127.0.0.1", where)
    if isinstance(where, tuple):
        return where
    host, _, port = where.split("://")[-1].split("/")[0].rpartition(":")
    return (host, int(port))


class Client:
    """One connection."""

    def __init__(self, where: Where, timeout: float = 20.0, source: Optional[str] = None):
        self.address = address(where)
        self.sock = socket.create_connection(self.address, timeout, source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(self._fill)
        self.sent_at = 0.0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self) -> tuple[float, bytes]:
        try:
            data = self.sock.recv(1 << 16)
        except (socket.timeout, TimeoutError):
            raise Ended(wire.TIMEOUT, time.monotonic()) from None
        except ConnectionError:
            raise Ended(wire.RESET, time.monotonic()) from None
        if not data:
            raise Ended(wire.FIN, time.monotonic())
        return (time.monotonic(), data)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.sent_at = time.monotonic()

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Headers = (),
        body: Optional[bytes] = None,
        version: str = "HTTP/1.1",
    ) -> None:
        """Sends a request; `Host` and `Content-Length` are put in where they are not given."""
        given = list(headers)
        names = {name.lower() for name, _ in given}
        lines = []
        if "host" not in names and version != "HTTP/1.0":
            lines.append(("Host", f"{self.address[0]}:{self.address[1]}"))
        lines += given
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            lines.append(("Content-Length", str(len(body))))
        self.send(wire.head_bytes(f"{method} {target} {version}", lines) + (body or b""))

    def answer(self, method: str = "GET", timeout: Optional[float] = None, head: Optional[wire.Head] = None) -> Answer:
        if timeout is not None:
            self.sock.settimeout(timeout)
        return self.reader.answer(method, head)

    def ask(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Headers = (),
        body: Optional[bytes] = None,
        version: str = "HTTP/1.1",
    ) -> Answer:
        self.request(method, target, headers, body, version)
        return self.answer(method)

    def end(self, timeout: float = 10.0) -> str:
        """Reads to the end of the connection, and says how it came."""
        self.sock.settimeout(timeout)
        try:
            while True:
                self.reader.more()
        except Ended as ended:
            return ended.how

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leaves with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def ask(
    where: Where,
    method: str = "GET",
    target: str = "/",
    headers: Headers = (),
    body: Optional[bytes] = None,
    version: str = "HTTP/1.1",
    timeout: float = 20.0,
    source: Optional[str] = None,
) -> Answer:
    """One request on a connection of its own. `answer.since` is when its last byte was sent."""
    with Client(where, timeout, source) as client:
        answer = client.ask(method, target, headers, body, version)
        answer.since = client.sent_at  # type: ignore[attr-defined]
        return answer


def post_json(where: Where, target: str, body: bytes, headers: Headers = (), **more: object) -> Answer:
    return ask(where, "POST", target, [("Content-Type", "application/json"), *headers], body, **more)  # type: ignore[arg-type]


class Pattern:
    """Bytes of any length that are cheap to make and differ everywhere: windows of a random block."""

    STEP = 1 << 20

    def __init__(self, seed: bytes = b"rehearsal"):
        block = hashlib.shake_256(seed).digest(self.STEP)
        self.block = memoryview(block + block)

    def pieces(self, total: int) -> Iterable[memoryview]:
        at = 0
        turn = 0
        while at < total:
            start = (turn * 7919) % self.STEP
            size = min(self.STEP, total - at)
            yield self.block[start : start + size]
            at += size
            turn += 1

    def digest(self, total: int) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces(total):
            digest.update(piece)
        return digest.hexdigest()


def read_hashed(sock: socket.socket, total: int, start: bytes = b"") -> str:
    """Reads exactly `total` bytes, of which `start` came already, and gives their SHA-256."""
    digest = hashlib.sha256(start)
    left = total - len(start)
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    while left:
        size = sock.recv_into(view, min(left, len(buffer)))
        if not size:
            raise AssertionError(f"the connection ended with {left} bytes missing")
        digest.update(view[:size])
        left -= size
    return digest.hexdigest()


class Sender:
    """Sends in its own thread, so that the caller can read meanwhile. Remembers how it went."""

    def __init__(self, sock: socket.socket, pieces: Iterable[Union[bytes, memoryview]]):
        self.error: Optional[BaseException] = None
        self.sent = 0
        self.sock = sock
        self.pieces = pieces
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for piece in self.pieces:
                self.sock.sendall(piece)
                self.sent += len(piece)
        except (OSError, ValueError) as error:
            self.error = error

    def join(self, timeout: float = 30.0) -> None:
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the upload did not end"
