"""How much memory one body of 200 MiB takes on its way through `rehearsal`, above all while it is recorded.

    cargo build --release --bin rehearsal
    python3 benches/large.py

Needs curl and taskset, and half a gigabyte in the folder for temporary files. What was recorded is replayed and compared.
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from measure import MIB, ROOT, Server, rehearsal, started

SIZE = 200 * MIB
PIECE = bytes(range(256)) * 4096
EVENT = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"rehearse "}}]}\n\n'
EVENTS = EVENT * (MIB // len(EVENT))
ROW = "{:8} {:28} {:>7} {:>10} {:>10} {:>10}"


class Peer:
    """An upstream that sends large bodies, and throws those away that it gets. One connection, one exchange."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            got = connection.recv(65536)
            if not got:
                return
            head += got
        head, _, body = head.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        target = head.split(b" ", 2)[1]
        left = int(lines.get(b"content-length", 0)) - len(body)
        if left > 0 and lines.get(b"expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        buffer = bytearray(MIB)
        while left > 0:
            left -= connection.recv_into(buffer) or left
        if target == b"/bytes":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % SIZE)
            for _ in range(SIZE // MIB):
                connection.sendall(PIECE)
        elif target == b"/events":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
            for _ in range(SIZE // MIB):
                connection.sendall(b"%x\r\n%s\r\n" % (len(EVENTS), EVENTS))
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        connection.close()


def curl(server: Server, path: str, *more: str) -> tuple[float, str]:
    """The seconds that it took, and the hash of what came."""
    begun = time.monotonic()
    argv = ["taskset", "-c", "1", "curl", "-sSf", "--max-time", "120", *more, f"http://{server.address}{path}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        digest = hashlib.sha256()
        while piece := process.stdout.read(MIB):
            digest.update(piece)
    assert process.returncode == 0, (path, process.returncode)
    return time.monotonic() - begun, digest.hexdigest()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bin", type=Path, default=ROOT / "target/release/rehearsal")
    given = options.parse_args()
    print(ROW.format("", "", "s", "idle MiB", "peak MiB", "MiB more"))
    with tempfile.TemporaryDirectory(prefix="large-") as name, started():
        where, peer = Path(name), Peer()
        with (where / "upload").open("wb") as upload:
            for _ in range(SIZE // MIB):
                upload.write(PIECE)
        put = ("-T", str(where / "upload"), "-H", "Expect:")
        cases = [
            ("200 MiB down", "/bytes", ()),
            ("200 MiB down, HTTP/2", "/bytes", ("--http2-prior-knowledge",)),
            ("200 MiB of events", "/events", ()),
            ("200 MiB up", "/up", put),
            ("200 MiB up, HTTP/2", "/up", (*put, "--http2-prior-knowledge")),
        ]
        for mode in ("forward", "record"):
            for number, (what, path, more) in enumerate(cases):
                measure(given.bin, where, peer, mode, f"{mode}{number}", what, path, more)


def measure(program: Path, where: Path, peer: Peer, mode: str, cassette: str, what: str, path: str, more: tuple[str, ...]) -> None:
    config = f'[[route]]\nmode = "{mode}"\nupstream = "http://{peer.address}"\n'
    server = rehearsal(program, where, config, cassette=cassette)
    # Something small first: what is made once is no part of what a body takes.
    curl(server, "/small")
    time.sleep(0.5)
    idle = server.memory("VmRSS")
    took, sent = curl(server, path, *more)
    if mode == "record":
        wait_for(where / cassette, 2)
    peak = server.memory("VmHWM")
    server.stop()
    print(ROW.format(mode, what, f"{took:.2f}", f"{idle / MIB:.1f}", f"{peak / MIB:.1f}", f"{(peak - idle) / MIB:.1f}"), flush=True)
    # A request of this size is beyond what identifies one, and is refused in replay.
    if mode == "record" and path != "/up":
        route = '[[route]]\nmode = "replay"\npace = "instant"\n'
        server = rehearsal(program, where, route, cassette=cassette)
        assert curl(server, path, *more)[1] == sent, "the replay is not what was recorded"
        server.stop()


def wait_for(cassette: Path, count: int) -> None:
    """Until so many recordings have files: making them is a part of recording."""
    end = time.monotonic() + 60
    while len(list(cassette.glob("*.json"))) < count:
        assert time.monotonic() < end, sorted(cassette.iterdir())
        time.sleep(0.1)


if __name__ == "__main__":
    main()
