"""100 streams of 10 MB at once on one HTTP/2 connection: through `rehearsal`, through nginx, and replayed.

    cargo build --release --bin rehearsal
    python3 benches/h2_many.py

Needs nginx and h2load (Debian's nginx-light and nghttp2-client) and taskset. The server under measurement runs on core 0; the
upstream, an nginx that serves a file, and the load run on core 1. Some minutes. nginx itself now and then ends such a connection
("http2 flood detected"): these are counted as broken, and not measured.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Optional

from measure import MIB, ROOT, Server, fetch, nginx, rehearsal, started

SIZE = 10_000_000
COUNT = 100
ROW = "{:28} {:>8} {:>16} {:>8} {:>9} {:>6} {:>7}"


class Sample:
    """What one connection with its streams took."""

    def __init__(self, server: Server, window: Optional[int]):
        time.sleep(0.2)
        idle, before = server.memory("VmRSS"), server.cpu()
        argv = ["taskset", "-c", "1", "h2load", "-n", str(COUNT), "-c", "1", "-m", str(COUNT)]
        argv += ["-w", str(window), "-W", str(window)] if window else []
        begun = time.monotonic()
        done = subprocess.run([*argv, f"http://{server.address}/large"], capture_output=True, text=True, timeout=120, check=True)
        self.wall = time.monotonic() - begun
        self.cpu = server.cpu() - before
        self.grown = (server.memory("VmHWM") - idle) / MIB
        got = re.search(r"\((\d+)\) data", done.stdout)
        all_done = f"{COUNT} done, {COUNT} succeeded, 0 failed, 0 errored" in done.stdout
        self.is_whole = all_done and got is not None and int(got.group(1)) == COUNT * SIZE


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bin", type=Path, default=ROOT / "target/release/rehearsal")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--window", type=int, help="of each stream and of the connection, as a number of bits (h2load: 30)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="h2-many-") as name, started():
        measure(given, Path(name))


def measure(given: argparse.Namespace, where: Path) -> None:
    (where / "root").mkdir()
    body = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(SIZE // 32 + 1))[:SIZE]
    (where / "root" / "large").write_bytes(body)
    upstream = nginx(where / "upstream", f"location / {{ root {where}/root; }}", core=1)

    def proxy(name: str, lines: str) -> Server:
        shutil.rmtree(where / name, ignore_errors=True)
        location = f"location / {{ proxy_pass http://peer; proxy_http_version 1.1; proxy_set_header Connection ''; {lines} }}"
        return nginx(where / name, location, f"upstream peer {{ server {upstream.address}; keepalive 128; }}", http2=True)

    def ours(mode: str) -> Server:
        return rehearsal(given.bin, where, f'[[route]]\nmode = "{mode}"\nupstream = "http://{upstream.address}"\n', cassette=mode)

    recorder = ours("record")
    assert fetch(recorder, "/large") == body
    recorder.stop()
    (where / "record").rename(where / "kept")
    route = '[[route]]\nmode = "replay"\npace = "instant"\n'
    cases: list[tuple[str, Callable[[], Server]]] = [
        ("nginx, proxy_buffering off", lambda: proxy("direct", "proxy_buffering off;")),
        ("nginx, as it comes", lambda: proxy("buffered", "")),
        ("rehearsal, forward", lambda: ours("forward")),
        ("rehearsal, replay", lambda: rehearsal(given.bin, where, route, cassette="kept")),
    ]
    seen: list[list[Sample]] = [[] for _ in cases]
    broken = [0 for _ in cases]
    for _ in range(given.rounds):
        for at, (_, begin) in enumerate(cases):
            server = begin()
            sample = Sample(server, given.window)
            server.stop()
            if sample.is_whole:
                seen[at].append(sample)
            else:
                broken[at] += 1
    print(ROW.format("", "wall s", "(min to max)", "CPU s", "MiB more", "ratio", "broken"))
    base = statistics.median(sample.wall for sample in seen[0] or seen[1])
    for (name, _), samples, failed in zip(cases, seen, broken):
        if not samples:
            print(ROW.format(name, "", "", "", "", "", failed))
            continue
        walls = [sample.wall for sample in samples]
        wall, cpu = statistics.median(walls), statistics.median(sample.cpu for sample in samples)
        grown = statistics.median(sample.grown for sample in samples)
        span = f"{min(walls):.2f} to {max(walls):.2f}"
        print(ROW.format(name, f"{wall:.2f}", span, f"{cpu:.2f}", f"{grown:.1f}", f"{wall / base:.2f}", failed))
    assert not any(broken[2:]), "not all arrived through rehearsal"


if __name__ == "__main__":
    main()
