"""Stands between a client that we can't look into (an SDK, curl) and the server, and keeps what passed, byte by byte."""

from __future__ import annotations

import ctypes
import dataclasses
import socket
import struct
import threading
import time

import wire
from rawclient import Where, address
from wire import Answer, Ended, Head, Reader


@dataclasses.dataclass
class Exchange:
    """A request and its answer; `since` is when the last byte of the request passed."""

    request: Head
    body: bytes
    answer: Answer
    since: float

    @property
    def method(self) -> str:
        return self.request.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.request.start.split(" ")[1]

    @property
    def offsets(self) -> list[float]:
        return wire.offsets(self.answer, self.since)


class Log:
    """One direction of one connection."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.end = wire.TIMEOUT

    def reader(self) -> Reader:
        left = iter(self.pieces)

        def fill() -> tuple[float, bytes]:
            for piece in left:
                return piece
            raise Ended(self.end)

        return Reader(fill)


class Tap:
    """Passes everything on to `target`, both ways, at once."""

    def __init__(self, target: Where):
        self.target = address(target)
        self.logs: list[tuple[Log, Log]] = []
        self.socks: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in [self.listener, *self.socks]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            up, down = Log(), Log()
            self.logs.append((up, down))
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socks.append(sock)
            for ways in ((client, server, up), (server, client, down)):
                self.threads.append(threading.Thread(target=self._pass, args=ways, daemon=True))
                self.threads[-1].start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket, log: Log) -> None:
        try:
            while data := source.recv(1 << 16):
                log.pieces.append((time.monotonic(), data))
                sink.sendall(data)
            log.end = wire.FIN
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            log.end = wire.RESET
            for sock in (source, sink):
                reset(sock)

    def settle(self, timeout: float = 10.0) -> None:
        """Waits until every answer has passed to its end.

        A client that has read all that it wants may close before the end of the answer has passed.
        """
        deadline = time.monotonic() + timeout
        for thread in self.threads:
            while thread.is_alive() and time.monotonic() < deadline:
                if all(exchange.answer.end != wire.TIMEOUT for exchange in self.exchanges()):
                    return
                thread.join(0.02)

    def exchanges(self) -> list[Exchange]:
        """All exchanges in the order of their requests."""
        found: list[Exchange] = []
        for up, down in self.logs:
            requests, answers = up.reader(), down.reader()
            while True:
                try:
                    head = requests.head()
                    body, since = _request_body(requests, head)
                except Ended:
                    break
                found.append(Exchange(head, body, answers.answer(head.start.split(" ")[0]), since))
        found.sort(key=lambda exchange: exchange.request.at)
        return found


def reset(sock: socket.socket) -> None:
    """Sends a RST now, even while another thread reads: the kernel's disconnect, which Python has no call for."""
    libc = ctypes.CDLL(None, use_errno=True)
    unspecified = struct.pack("=H14x", socket.AF_UNSPEC)
    libc.connect(sock.fileno(), unspecified, len(unspecified))


def _request_body(reader: Reader, head: Head) -> tuple[bytes, float]:
    body = Answer()
    if any("chunked" in value.lower() for value in head.all("transfer-encoding")):
        reader.chunked(body)
    else:
        left = int(head.get("content-length") or 0)
        while left:
            data = reader.some(left)
            left -= len(data)
            body.pieces.append((reader.at, data))
    return body.body, reader.at
