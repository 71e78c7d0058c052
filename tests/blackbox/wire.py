"""Reads HTTP/1 answers from timestamped pieces, and forgets nothing: times, boundaries, case, order, how it ended.

Where the pieces come from is the caller's matter: a socket (`rawclient`) or the log of a tap (`tap`).
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Iterable, Optional, Sequence

COMPLETE = "complete"  # as the framing says
FIN = "fin"  # the sender closed
RESET = "reset"  # the sender reset the connection
TIMEOUT = "timeout"  # nothing came for too long
MALFORMED = "malformed"  # the framing can't be read


class Ended(Exception):
    """No further piece will come."""

    def __init__(self, how: str, at: float = 0.0):
        super().__init__(how)
        self.how = how
        self.at = at


@dataclasses.dataclass
class Head:
    """A head as it came, and when its last byte came."""

    raw: bytes
    at: float
    start: str
    headers: list[tuple[str, str]]

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1])

    @property
    def reason(self) -> str:
        return (self.start.split(" ", 2) + [""])[2]

    @property
    def version(self) -> str:
        return self.start.split(" ", 1)[0]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> Optional[str]:
        values = self.all(name)
        return values[0] if values else None


@dataclasses.dataclass
class Answer:
    """An answer, with what came before it and how it ended."""

    head: Optional[Head] = None
    interim: list[Head] = dataclasses.field(default_factory=list)
    # What each read brought of the body, framing taken off.
    pieces: list[tuple[float, bytes]] = dataclasses.field(default_factory=list)
    # The chunks of a chunked body, each with the time of its last byte.
    chunks: list[tuple[float, bytes]] = dataclasses.field(default_factory=list)
    trailers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    end: str = COMPLETE
    ended_at: float = 0.0
    framing: str = "none"

    @property
    def status(self) -> int:
        assert self.head is not None, f"no answer came: {self.end}"
        return self.head.status

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def get(self, name: str) -> Optional[str]:
        assert self.head is not None, f"no answer came: {self.end}"
        return self.head.get(name)

    def all(self, name: str) -> list[str]:
        assert self.head is not None, f"no answer came: {self.end}"
        return self.head.all(name)

    @property
    def boundaries(self) -> list[bytes]:
        return [data for _, data in self.chunks]

    def whole_at(self, parts: Sequence[bytes]) -> list[float]:
        """When each of these parts of the body had come whole, however many reads brought them."""
        times, size, come = [], 0, 0
        pieces = iter(self.pieces)
        for part in parts:
            size += len(part)
            while come < size:
                at, data = next(pieces)
                come += len(data)
            times.append(at)
        return times

    def told(self) -> list[tuple[str, str]]:
        """The headers that a replay must give back: all but those that it may not."""
        assert self.head is not None, f"no answer came: {self.end}"
        return [
            (name, value)
            for name, value in self.head.headers
            if name.lower() not in NOT_REPLAYED and not name.lower().startswith("x-rehearsal-")
        ]


NOT_REPLAYED = {"date", "connection", "keep-alive"}


class Reader:
    """Reads from `fill`, which gives `(time, bytes)` or raises `Ended`."""

    def __init__(self, fill: Callable[[], tuple[float, bytes]]):
        self.fill = fill
        self.buffer = bytearray()
        self.at = 0.0

    def more(self) -> None:
        self.at, data = self.fill()
        self.buffer += data

    def line(self) -> bytes:
        start = 0
        while True:
            end = self.buffer.find(b"\n", start)
            if end >= 0:
                line = bytes(self.buffer[: end + 1])
                del self.buffer[: end + 1]
                return line
            start = len(self.buffer)
            self.more()

    def some(self, most: int) -> bytes:
        if not self.buffer:
            self.more()
        data = bytes(self.buffer[:most])
        del self.buffer[:most]
        return data

    def head(self) -> Head:
        raw = b""
        while True:
            line = self.line()
            raw += line
            if line in (b"\r\n", b"\n") and raw.strip():
                break
        lines = raw.decode("latin-1").split("\r\n")
        headers = []
        for text in lines[1:]:
            if text:
                name, _, value = text.partition(":")
                headers.append((name, value.strip()))
        return Head(raw, self.at, lines[0], headers)

    def answer(self, method: str = "GET", head: Optional[Head] = None) -> Answer:
        """The next answer, or the rest of the one whose head was read already."""
        answer = Answer(head)
        try:
            while answer.head is None:
                head = self.head()
                if 100 <= head.status < 200 and head.status != 101:
                    answer.interim.append(head)
                    continue
                answer.head = head
            self.body(method, answer)
        except Ended as ended:
            answer.ended_at = ended.at
            closed_well = answer.framing == "close" and ended.how == FIN
            answer.end = COMPLETE if closed_well else ended.how
        except ValueError:
            answer.end = MALFORMED
        answer.ended_at = answer.ended_at or self.at
        return answer

    def body(self, method: str, answer: Answer) -> None:
        head = answer.head
        assert head is not None
        if method == "HEAD" or head.status in (101, 204, 304) or (method == "CONNECT" and head.status == 200):
            return
        if any("chunked" in value.lower() for value in head.all("transfer-encoding")):
            answer.framing = "chunked"
            self.chunked(answer)
        elif head.get("content-length") is not None:
            answer.framing = "length"
            left = int(head.get("content-length") or "0")
            while left:
                data = self.some(left)
                left -= len(data)
                answer.pieces.append((self.at, data))
        else:
            answer.framing = "close"
            while True:
                data = self.some(1 << 30)
                answer.pieces.append((self.at, data))

    def chunked(self, answer: Answer) -> None:
        while True:
            size = int(self.line().split(b";")[0].strip(), 16)
            if size == 0:
                break
            parts = []
            left = size
            while left:
                data = self.some(left)
                left -= len(data)
                parts.append(data)
                answer.pieces.append((self.at, data))
            answer.chunks.append((self.at, b"".join(parts)))
            if self.line() != b"\r\n":
                raise ValueError("a chunk does not end with CRLF")
        while (line := self.line()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            answer.trailers.append((name, value.strip()))


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def head_bytes(start: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A head, exactly as given."""
    lines = [start] + [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def offsets(answer: Answer, since: float) -> list[float]:
    """When each chunk came, in seconds after `since`."""
    return [at - since for at, _ in answer.chunks]
