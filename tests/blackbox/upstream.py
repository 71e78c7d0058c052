"""The API behind the proxy, in our hand down to the byte: it can do all that real servers do, and misbehave exactly.

A handler gets the request's head and the connection, reads what it wants, sends what it wants, and returns `CLOSE` to end
the connection. A thread per connection; the test and the upstream share one clock.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import socket
import struct
import threading
import time
from typing import Callable, Iterable, Iterator, Optional, Sequence, Union

from wire import LAST_CHUNK, Ended, FIN, RESET, Reader, chunk, head_bytes

CLOSE = "close"

Handler = Callable[["Request", "Connection"], Optional[str]]
Headers = Sequence[tuple[str, str]]


class Connection:
    """The upstream's side of one connection."""

    def __init__(self, sock: socket.socket, number: int, server: "Upstream"):
        self.sock = sock
        self.number = number
        self.server = server
        self.reader = Reader(self._fill)
        # Requests whose head was read on this connection.
        self.served = 0
        self.is_closed = False

    def _fill(self) -> tuple[float, bytes]:
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            raise Ended(RESET) from None
        if not data:
            raise Ended(FIN)
        return (time.monotonic(), data)

    def send(self, data: Union[bytes, memoryview]) -> float:
        """Sends, and says when."""
        at = time.monotonic()
        self.sock.sendall(data)
        return at

    def fin(self) -> None:
        """Ends the sending side."""
        self.sock.shutdown(socket.SHUT_WR)

    def rst(self) -> None:
        """Resets the connection now."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_closed = True
        self.sock.close()

    def wait_gone(self, timeout: float = 10.0) -> bool:
        """Whether the other side closes or resets within the time; what it still sends is dropped."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(1 << 16):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            if not self.is_closed:
                self.sock.settimeout(None)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            try:
                # Wakes a thread that reads, which a close alone does not.
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.sock.close()


@dataclasses.dataclass
class Request:
    """The head of a request as it came, and what was done with it."""

    raw: bytes
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    connection: Connection
    body: Optional[bytes] = None
    # When each piece of the answer was sent.
    sent: list[tuple[float, bytes]] = dataclasses.field(default_factory=list)
    # Set by handlers that watch: the other side went away.
    left: threading.Event = dataclasses.field(default_factory=threading.Event)
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    body_is_read: bool = False

    @property
    def path(self) -> str:
        return self.target.split("?")[0]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> Optional[str]:
        values = self.all(name)
        return values[0] if values else None

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes."""
        self.body_is_read = True
        reader = self.connection.reader
        if "chunked" in (self.get("transfer-encoding") or "").lower():
            while size := int(reader.line().split(b";")[0], 16):
                while size:
                    data = reader.some(size)
                    size -= len(data)
                    yield data
                assert reader.line() == b"\r\n"
            while reader.line() != b"\r\n":
                pass
        else:
            left = int(self.get("content-length") or 0)
            while left:
                data = reader.some(left)
                left -= len(data)
                yield data

    def read(self) -> bytes:
        """The whole body."""
        if self.body is None:
            self.body = b"".join(self.pieces())
        return self.body

    def send(self, data: bytes) -> None:
        self.sent.append((self.connection.send(data), data))


class Upstream:
    """A server on a free port of the loopback."""

    def __init__(self, backlog: int = 128):
        self.handlers: dict[str, Handler] = {}
        self.fallback: Handler = answer(404, body=b'{"error":"no handler"}')
        self.requests: list[Request] = []
        self.connections = 0
        self.open: list[Connection] = []
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_stopped = False
        self.errors: list[BaseException] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def on(self, path: str, handler: Handler) -> "Upstream":
        self.handlers[path] = handler
        return self

    def stop(self) -> None:
        """Afterwards connections are refused, and the open ones are closed."""
        if self.is_stopped:
            return
        self.is_stopped = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in list(self.open):
            connection.close()

    def wait(self, is_so: Callable[[], object], timeout: float = 10.0, what: str = "the awaited state") -> None:
        """Waits until something is so; looked at whenever a connection or a request changes."""
        with self.changed:
            came = self.changed.wait_for(lambda: bool(is_so()), timeout)
        assert came, f"{what} did not come within {timeout} s"

    def seen(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                self.connections += 1
                connection = Connection(sock, self.connections, self)
                self.open.append(connection)
                self.changed.notify_all()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            while not connection.is_closed:
                head = connection.reader.head()
                method, target, version = (head.start.split(" ") + ["", ""])[:3]
                request = Request(head.raw, method, target, version, head.headers, connection)
                connection.served += 1
                with self.changed:
                    self.requests.append(request)
                    self.changed.notify_all()
                handler = self.handlers.get(request.path, self.fallback)
                try:
                    verdict = handler(request, connection)
                finally:
                    request.done.set()
                    self.notify()
                if verdict == CLOSE or (request.get("connection") or "").lower() == "close":
                    return
                if not request.body_is_read:
                    request.read()
        except (Ended, OSError):
            pass
        except Exception as error:  # noqa: BLE001 - shown by the fixture
            if not connection.is_closed:
                self.errors.append(error)
        finally:
            connection.close()
            with self.changed:
                self.open.remove(connection)
                self.changed.notify_all()


# Handlers.


def answer(
    status: int = 200,
    headers: Headers = (("Content-Type", "application/json"),),
    body: bytes = b"{}",
    reason: str = "Whatever",
    verdict: Optional[str] = None,
) -> Handler:
    """A whole answer with `Content-Length`; without a body where there can be none."""

    def handle(request: Request, _: Connection) -> Optional[str]:
        request.read()
        lines = list(headers)
        has_body = status not in (204, 304)
        if has_body and not any(name.lower() == "content-length" for name, _ in lines):
            lines.append(("Content-Length", str(len(body))))
        payload = body if has_body and request.method != "HEAD" else b""
        request.send(head_bytes(f"HTTP/1.1 {status} {reason}", lines) + payload)
        return verdict

    return handle


def raw(data: bytes, then: str = "keep", gap: float = 0.0, size: int = 0, read: bool = True) -> Handler:
    """Exact bytes, `size` at a time with `gap` seconds between; then `keep`, `fin` or `rst`."""

    def handle(request: Request, connection: Connection) -> Optional[str]:
        if read:
            request.read()
        for at in range(0, len(data), size or max(1, len(data))):
            if at and gap:
                time.sleep(gap)
            request.send(data[at : at + size] if size else data)
        if then == "rst":
            connection.rst()
        return None if then == "keep" else CLOSE

    return handle


SSE_HEADERS = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))


def stream(
    chunks: Sequence[bytes],
    gap: Union[float, Sequence[float]] = 0.0,
    status: int = 200,
    headers: Headers = SSE_HEADERS,
    then: str = "end",
    first_gap: float = 0.0,
    framing: str = "chunked",
) -> Handler:
    """A stream: `gap` seconds before each chunk but the first, on absolute deadlines.

    `then` says how it ends: `end` well, `fin` or `rst` without a terminator, `fin-in-chunk` in the middle of a chunk,
    `bad-size` with a chunk size that is none, `stay` not at all until the other side goes.
    `framing` is `chunked`, `length` or `close`.
    """
    gaps = [first_gap] + (list(gap) if not isinstance(gap, (int, float)) else [gap] * (len(chunks) - 1))

    def handle(request: Request, connection: Connection) -> Optional[str]:
        request.read()
        lines = list(headers)
        if framing == "chunked":
            lines.append(("Transfer-Encoding", "chunked"))
        elif framing == "length":
            lines.append(("Content-Length", str(sum(map(len, chunks)))))
        try:
            due = connection.send(head_bytes(f"HTTP/1.1 {status} OK", lines))
            for data, before in zip(chunks, gaps):
                due += before
                time.sleep(max(0.0, due - time.monotonic()))
                at = connection.send(chunk(data) if framing == "chunked" else data)
                request.sent.append((at, data))
                connection.server.notify()
            if then == "end":
                if framing == "chunked":
                    connection.send(LAST_CHUNK)
                return CLOSE if framing == "close" else None
            if then == "fin-in-chunk":
                connection.send(b"40\r\nhalf of it")
            elif then == "bad-size":
                connection.send(b"ZZ\r\nwhat\r\n")
            elif then == "rst":
                connection.rst()
            elif then == "stay":
                if connection.wait_gone(30):
                    request.left.set()
        except OSError:
            request.left.set()
            raise
        finally:
            connection.server.notify()
        return CLOSE

    return handle


def endless(piece: bytes = b"data: tick\n\n", gap: float = 0.02, most: float = 30.0, headers: Headers = SSE_HEADERS) -> Handler:
    """A stream without an end; `request.left` is set when nobody reads it any more."""

    def handle(request: Request, connection: Connection) -> Optional[str]:
        request.read()
        end = time.monotonic() + most
        try:
            connection.send(head_bytes("HTTP/1.1 200 OK", [*headers, ("Transfer-Encoding", "chunked")]))
            while time.monotonic() < end:
                request.sent.append((connection.send(chunk(piece)), piece))
                connection.server.notify()
                time.sleep(gap)
        except OSError:
            request.left.set()
        finally:
            connection.server.notify()
        return CLOSE

    return handle


def echo(request: Request, _: Connection) -> Optional[str]:
    """Tells what it got: every header of the request back as `X-Echo-…`, and all of it in a JSON body."""
    body = request.read()
    told = {
        "method": request.method,
        "target": request.target,
        "headers": [[name, value] for name, value in request.headers],
        "body": body.decode("latin-1"),
    }
    text = json.dumps(told).encode()
    skipped = {"connection", "content-length", "transfer-encoding", "host", "expect"}
    lines = [(f"X-Echo-{name}", value) for name, value in request.headers if name.lower() not in skipped]
    lines += [("X-Echo-Target", request.target), ("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    request.send(head_bytes("HTTP/1.1 200 OK", lines) + (b"" if request.method == "HEAD" else text))
    return None


def echo_split(size: int, gap: float = 0.0) -> Handler:
    """The same as a stream of text, `size` bytes a chunk."""

    def handle(request: Request, connection: Connection) -> Optional[str]:
        body = request.read()
        text = b"".join(f"{name}: {value}\n".encode("latin-1") for name, value in request.headers)
        text += request.target.encode("latin-1") + b"\n" + body
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        return stream(pieces, gap, headers=(("Content-Type", "text/plain"),))(request, connection)

    return handle


def echo_gzip(request: Request, connection: Connection) -> Optional[str]:
    """The same, compressed."""
    body = request.read()
    text = json.dumps({"headers": [list(pair) for pair in request.headers], "body": body.decode("latin-1")})
    headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
    return answer(headers=headers, body=gzip.compress(text.encode(), mtime=0))(request, connection)


def big(pieces: Callable[[], Iterable[memoryview]], total: int) -> Handler:
    """A body that is too large to be kept."""

    def handle(request: Request, connection: Connection) -> Optional[str]:
        request.read()
        headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(total))]
        connection.send(head_bytes("HTTP/1.1 200 OK", headers))
        sent = 0
        for piece in pieces():
            connection.send(piece)
            sent += len(piece)
            request.sent[:] = [(time.monotonic(), b""), (float(sent), b"")]
        return None

    return handle


def swallow(digest: Callable[[], "object"]) -> Handler:
    """Reads a large body without keeping it, and answers its digest and size."""

    def handle(request: Request, connection: Connection) -> Optional[str]:
        state = digest()
        size = 0
        for piece in request.pieces():
            state.update(piece)  # type: ignore[attr-defined]
            size += len(piece)
        request.body = b""
        text = json.dumps({"sha256": state.hexdigest(), "size": size}).encode()  # type: ignore[attr-defined]
        return answer(body=text)(request, connection)

    return handle
