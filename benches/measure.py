"""What the comparison scripts share: servers as processes, on a core of their own, and what they use."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")
RUNNING: list[Server] = []

CONFIG = """daemon off; worker_processes 1; pid {where}/nginx.pid; error_log {where}/error.log crit; {user}
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000000; client_body_temp_path {where}/b; proxy_temp_path {where}/p;
fastcgi_temp_path {where}/f; uwsgi_temp_path {where}/u; scgi_temp_path {where}/s; {more}
server {{ listen 127.0.0.1:{port}{flags}; client_max_body_size 0; {location} }} }}
"""


class Server:
    """A process, its address, and what it and its children use."""

    def __init__(self, process: subprocess.Popen, address: str):
        self.process, self.address = process, address
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        RUNNING.append(self)

    def pids(self) -> list[int]:
        todo, found = [self.process.pid], []
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        return found

    def cpu(self) -> float:
        """Seconds so far, to 10 ms."""
        stats = (Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.pids())
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICK

    def memory(self, field: str) -> int:
        """`VmRSS` or `VmHWM`, in bytes."""
        texts = (Path(f"/proc/{pid}/status").read_text() for pid in self.pids())
        return sum(int(re.search(rf"{field}:\s+(\d+)", text).group(1)) for text in texts) * 1024

    def stop(self) -> None:
        RUNNING.remove(self)
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def started() -> Iterator[None]:
    """Stops what was started within, however this ends."""
    try:
        yield
    finally:
        for server in list(RUNNING):
            server.stop()


def run(argv: Sequence[object], core: int = 0, env: Optional[dict[str, str]] = None, **more: object) -> subprocess.Popen:
    return subprocess.Popen(
        ["taskset", "-c", str(core), *map(str, argv)],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **more,
    )


def rehearsal(
    program: Path, where: Path, config: str, *args: str, cassette: str = "", env: Optional[dict[str, str]] = None
) -> Server:
    """`rehearsal serve` with this config, and with a cassette within `where` if that is named."""
    file = where / f"{time.monotonic_ns()}.toml"
    file.write_text((f'[cassette]\npath = "{where / cassette}"\n' if cassette else "") + config)
    argv = [program, "serve", "-c", file, "--listen", "127.0.0.1:0", *args]
    process = run(argv, env={"REHEARSAL_LOG": "warn", **(env or {})}, stdout=subprocess.PIPE)
    line = process.stdout.readline().decode()
    assert line.startswith("listening on http://"), line
    return Server(process, line.strip().removeprefix("listening on http://"))


def nginx(where: Path, location: str, more: str = "", http2: bool = False, core: int = 0) -> Server:
    where.mkdir()
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program, "nginx is missing: install Debian's nginx-light"
    # A socket that is handed on is bound to a port that nobody else can take meanwhile.
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""
        flags = " http2" if http2 else ""
        text = CONFIG.format(where=where, port=port, user=user, flags=flags, location=location, more=more)
        (where / "nginx.conf").write_text(text)
        # The variable by which a new nginx takes over the sockets of an old one.
        env = {"NGINX": f"{listener.fileno()};"}
        process = run([program, "-p", where, "-c", where / "nginx.conf"], core, env, pass_fds=[listener.fileno()])
    return Server(process, f"127.0.0.1:{port}")


def fetch(server: Server, path: str) -> bytes:
    connection = http.client.HTTPConnection(server.address, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, (response.status, body[:500])
    connection.close()
    return body
