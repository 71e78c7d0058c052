"""What a request through `rehearsal` costs in CPU, and what memory it takes, beside pingora alone.

    cargo build --release --bin rehearsal --bench baseline
    python3 benches/compare.py

Needs nginx, wrk and taskset. The server is pinned to core 0, the load to core 1. Takes some three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")
STARTED: list[subprocess.Popen] = []

NGINX = """daemon off; worker_processes 1; pid {where}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {where}/b; proxy_temp_path {where}/p;
fastcgi_temp_path {where}/f; uwsgi_temp_path {where}/u; scgi_temp_path {where}/s;
server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }} }}
"""
POST = 'wrk.method = "POST"\nwrk.body = [[{"model":"m","messages":[{"role":"user","content":"hello"}]}]]\nwrk.headers["Content-Type"] = "application/json"\n'
ONCE = 'record = "once"\n'
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


def start(argv: Sequence[object], env: Optional[dict[str, str]] = None, core: int = 0, ready: bool = True) -> tuple[subprocess.Popen, str]:
    """A server, and the address that it says."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *map(str, argv)],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    STARTED.append(process)
    if not ready:
        return process, ""
    line = process.stdout.readline().decode()
    found = re.search(r"http://(\S+)", line)
    assert found, f"{argv[0]} said {line!r}"
    return process, found.group(1)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu(pid: int) -> tuple[float, float]:
    """Seconds of CPU so far: on the way of requests, and of the thread that writes recordings."""
    used = [0.0, 0.0]
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        user, system = fields.split()[11:13]
        used[name == "cassette"] += (int(user) + int(system)) / TICK
    return used[0], used[1]


def rss(pid: int) -> int:
    """KiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


def load(process: subprocess.Popen, addr: str, connections: int, seconds: int, script: Optional[Path]) -> tuple[float, float]:
    """Microseconds of the server's CPU for a request, and for making its recording."""
    argv = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    argv += ["-s", str(script)] if script else []
    before = cpu(process.pid)
    done = subprocess.run([*argv, f"http://{addr}/x"], capture_output=True, text=True, timeout=seconds + 30, check=True)
    used = [now - then for now, then in zip(cpu(process.pid), before)]
    count = int(re.search(r"(\d+) requests in", done.stdout).group(1))
    assert count and "Non-2xx" not in done.stdout, done.stdout
    return used[0] * 1e6 / count, used[1] * 1e6 / count


def ask(addr: str, method: str = "GET", body: Optional[bytes] = None) -> None:
    connection = http.client.HTTPConnection(addr, timeout=20)
    connection.request(method, "/x", body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    assert response.status == 200 and len(response.read()) == 1024, response.status
    connection.close()


async def streams(start_one, count: int) -> int:
    """The RSS with so many open streams that said one event and wait."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def wait(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"9\r\ndata: 1\n\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0, backlog=2048)
    process, addr = await asyncio.to_thread(start_one, "127.0.0.1:%d" % server.sockets[0].getsockname()[1])
    host, port = addr.rsplit(":", 1)
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"data: 1\n\n"), 20)
        writers.append(writer)
    size = rss(process.pid)
    for writer in writers:
        writer.close()
    server.close()
    await asyncio.to_thread(stop, process)
    return size


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bin", type=Path, default=ROOT / "target/release/rehearsal")
    options.add_argument("--baseline", type=Path, help="the newest of target/release/deps/baseline-* unless given")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--streams", type=int, default=1000, help="0: no measuring of memory")
    options.add_argument("--only", default="", help="a pattern of the cases to run")
    given = options.parse_args()
    made = [path for path in (ROOT / "target/release/deps").glob("baseline-*") if not path.suffix]
    baseline = given.baseline or max(made, key=lambda path: path.stat().st_mtime)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    where = Path(tempfile.mkdtemp(prefix="compare-"))
    try:
        measure(given, baseline, where)
    finally:
        for process in STARTED:
            if process.poll() is None:
                stop(process)
        shutil.rmtree(where, ignore_errors=True)


def measure(given: argparse.Namespace, baseline: Path, where: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (where / "nginx.conf").write_text(NGINX.format(where=where, port=port, body="x" * 1024))
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    start([nginx, "-p", where, "-c", where / "nginx.conf"], core=1, ready=False)
    peer = f"127.0.0.1:{port}"
    for _ in range(100):
        try:
            ask(peer)
            break
        except OSError:
            time.sleep(0.05)
    _, chunks = start([baseline, "chunks", "100"], core=1)
    post = where / "post.lua"
    post.write_text(POST)

    def ours(mode: str, more: str = "", cassette: str = "", upstream: str = peer, level: str = "warn"):
        name = f"{time.monotonic_ns()}.toml"
        head = f'[cassette]\npath = "{where / cassette}"\n' if cassette else ""
        line = "" if mode == "replay" else f'upstream = "http://{upstream}"\n'
        (where / name).write_text(f'{head}[[route]]\nname = "all"\nmode = "{mode}"\n{line}{more}')
        argv = [given.bin, "serve", "-c", where / name, "--listen", "127.0.0.1:0"]
        return start(argv, {"REHEARSAL_LOG": level} if level else {})

    for cassette, method, body in (("path", "GET", None), ("json", "POST", BODY)):
        process, addr = ours("record", cassette=cassette)
        ask(addr, method, body)
        stop(process)

    fault = '[[route.fault]]\nlatency = "0s"\n'
    cases = [
        ("baseline static c16", lambda: start([baseline, "static"]), 16, None, None),
        ("replay by path c16", lambda: ours("replay", cassette="path"), 16, None, 0),
        ("replay by JSON body c16", lambda: ours("replay", cassette="json"), 16, post, 0),
        ("baseline forward c16", lambda: start([baseline, "forward", peer]), 16, None, None),
        ("forward c16, warn", lambda: ours("forward"), 16, None, 3),
        ("forward c16, default log", lambda: ours("forward", level=""), 16, None, 3),
        ("forward c16, idle fault", lambda: ours("forward", fault), 16, None, 3),
        ("record c16", lambda: ours("record", cassette=f"r{time.monotonic_ns()}"), 16, None, 3),
        ("record c16, once", lambda: ours("record", ONCE, cassette=f"r{time.monotonic_ns()}"), 16, None, 3),
        ("baseline forward c64", lambda: start([baseline, "forward", peer]), 64, None, None),
        ("forward c64, warn", lambda: ours("forward"), 64, None, 9),
        ("forward c64, default log", lambda: ours("forward", level=""), 64, None, 9),
        ("baseline 100 chunks c16", lambda: start([baseline, "forward", chunks]), 16, None, None),
        ("forward 100 chunks c16", lambda: ours("forward", upstream=chunks), 16, None, 12),
        ("record 100 chunks c16", lambda: ours("record", cassette=f"r{time.monotonic_ns()}", upstream=chunks), 16, None, 13),
        ("record 100 chunks c16, once", lambda: ours("record", ONCE, cassette=f"r{time.monotonic_ns()}", upstream=chunks), 16, None, 13),
    ]
    wanted = [bool(re.search(given.only, name)) for name, *_ in cases]
    wanted = [want or any(other[4] == at and yes for other, yes in zip(cases, wanted)) for at, want in enumerate(wanted)]
    seen: list[list[float]] = [[] for _ in cases]
    making: list[list[float]] = [[] for _ in cases]
    for _ in range(given.rounds):
        for at, (_, begin, connections, script, _) in enumerate(cases):
            if not wanted[at]:
                continue
            process, addr = begin()
            way, writer = load(process, addr, connections, given.seconds, script)
            seen[at].append(way)
            making[at].append(writer)
            stop(process)
    print(f"{'':28} {'µs CPU':>8} {'min':>8} {'max':>8} {'ratio':>6} {'µs for the recording':>22} {'ratio of both':>14}")
    for (name, *_, base), values, writing in zip(cases, seen, making):
        if not values:
            continue
        middle = statistics.median(values)
        against = None if base is None else statistics.median(seen[base])
        ratio = "" if against is None else f"{middle / against:.2f}"
        writer = statistics.median(writing)
        more = f" {writer:22.1f} {(middle + writer) / against:14.2f}" if against and writer else ""
        print(f"{name:28} {middle:8.1f} {min(values):8.1f} {max(values):8.1f} {ratio:>6}{more}")
    for name, begin in () if not given.streams else (
        ("baseline", lambda upstream: start([baseline, "forward", upstream])),
        ("rehearsal", lambda upstream: ours("forward", upstream=upstream)),
    ):
        process, _ = begin(peer)
        time.sleep(0.5)
        idle = rss(process.pid)
        stop(process)
        print(f"RSS of {name}: {idle} KiB idle, {asyncio.run(streams(begin, given.streams))} KiB with {given.streams} streams")


if __name__ == "__main__":
    main()
