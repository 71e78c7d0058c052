"""How long it takes from `rehearsal fault kill` until a stream that a fault holds up goes on.

    cargo build --release --bin rehearsal
    python3 benches/kill.py

Asks the admin listener as the command does, and runs the command itself besides. Some ten seconds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import selectors
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from measure import ROOT, Server, rehearsal, started

TOKEN = "0123456789abcdef0123456789abcdef"
CONFIG = """[[route]]
name = "all"
mode = "synthesize"
upstream = "fake"
pace = "instant"
[[route.fault]]
name = "hang"
stall = { after = { events = 2 } }
"""
BODY = json.dumps({"model": "m", "stream": True, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})
REQUEST = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
BOUND = 0.1


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bin", type=Path, default=ROOT / "target/release/rehearsal")
    options.add_argument("--rounds", type=int, default=50)
    options.add_argument("--streams", type=int, default=200)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-") as name, started():
        env = {"REHEARSAL_ADMIN_TOKEN": TOKEN}
        server = rehearsal(given.bin, Path(name), CONFIG, "--admin", "127.0.0.1:0", env=env)
        line = server.process.stdout.readline().decode().strip()
        assert line.startswith("admin on "), line
        admin = Admin(given.bin, line.removeprefix("admin on "))
        worst = [
            told("one stream", [freed(server, admin.kill, admin, 1) for _ in range(given.rounds)]),
            told(f"the last of {given.streams} streams", [freed(server, admin.kill, admin, given.streams) for _ in range(10)]),
            told("one stream, the whole command", [freed(server, admin.command, admin, 1) for _ in range(20)]),
        ]
        assert max(worst) <= BOUND, "a stream was held for too long"


class Admin:
    """Throws the switch, in two ways."""

    def __init__(self, program: Path, url: str):
        self.program, self.url = program, url
        self.host = url.removeprefix("http://")

    def post(self, killed: bool) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=20)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/faults/kill", json.dumps({"killed": killed}), headers)
        response = connection.getresponse()
        assert response.status == 200, (response.status, response.read())
        connection.close()

    def kill(self) -> None:
        self.post(True)

    def command(self) -> None:
        env = {**os.environ, "REHEARSAL_ADMIN_TOKEN": TOKEN}
        argv = [self.program, "fault", "kill", "--admin", self.url]
        subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True, timeout=20)

    def undo(self) -> None:
        self.post(False)


def freed(server: Server, kill, admin: Admin, count: int) -> float:
    """The seconds from the order until the last of so many streams that stood still is through."""
    selector = selectors.DefaultSelector()
    streams = []
    for _ in range(count):
        stream = socket.create_connection((server.host, server.port), timeout=20)
        stream.sendall(REQUEST.encode())
        streams.append(stream)
    for stream in streams:
        got = b""
        while got.count(b"data: ") < 2:
            got += stream.recv(65536)
        assert b"[DONE]" not in got
        selector.register(stream, selectors.EVENT_READ)
    assert not selector.select(0.05), "they stand still"
    begun = time.monotonic()
    kill()
    # What has arrived meanwhile was in time, whenever it is read: each is asked for the moment, not for the data.
    left, last = count, begun
    while left:
        ready = selector.select(20)
        assert ready, "a stream was not freed"
        last = time.monotonic()
        for key, _ in ready:
            selector.unregister(key.fileobj)
            left -= 1
    for stream in streams:
        got = b""
        while b"[DONE]" not in got:
            got += stream.recv(65536)
        stream.close()
    admin.undo()
    return last - begun


def told(what: str, times: list[float]) -> float:
    times.sort()
    middle, most = times[len(times) // 2] * 1e3, times[-1] * 1e3
    print(f"{what:32} p50 {middle:.2f} ms, max {most:.2f} ms ({len(times)} times)")
    return times[-1]


if __name__ == "__main__":
    main()
