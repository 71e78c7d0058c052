"""What the tests know of a cassette on disk, which is little: JSON files that a person can read, and side files."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import zlib
from pathlib import Path
from typing import Any, Iterator, Sequence

from wire import Answer

# "One chunk per line with its offset": `[12345, "data: …"]`.
CHUNK_LINE = re.compile(r'^\s*\[\s*(\d+)\s*,\s*("(?:[^"\\]|\\.)*")', re.M)


def files(cassette: Path) -> list[Path]:
    return sorted(path for path in cassette.rglob("*") if path.is_file() and not path.is_symlink())


def recordings(cassette: Path) -> list[Path]:
    """The files of recordings: named by method, path and hash."""
    return [path for path in files(cassette) if re.match(r"^[A-Z]+-.*\.json$|^[A-Z]+-[0-9a-f]+\.json$", path.name)]


def recording(cassette: Path, like: str = "") -> Path:
    """The one whose text holds `like`."""
    found = [path for path in recordings(cassette) if like in path.read_text("utf-8", "replace")]
    assert len(found) == 1, f"expected one recording with {like!r} in it, found {found} in {files(cassette)}"
    return found[0]


def chunk_lines(path: Path) -> list[tuple[int, str]]:
    """The chunks that stand each on a line of their own, with their offsets in µs."""
    return [(int(at), json.loads(text)) for at, text in CHUNK_LINE.findall(path.read_text())]


def edit(path: Path, old: str, new: str) -> None:
    """Changes a file as a person would, in an editor."""
    text = path.read_text()
    assert text.count(old) >= 1, f"{old!r} is not in {path.name}:\n{text}"
    path.write_text(text.replace(old, new))


def walk(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value inside a JSON value, with the way to it."""
    yield way, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*way, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, (*way, index))


def holding(cassette: Path, secrets: Sequence[str], *texts: str) -> list[str]:
    """Where a secret is found: in names of files, in files (packed ones too), in the texts given (logs)."""
    found = []
    for path in sorted(cassette.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        views = {"": data, "unpacked ": unpacked(data)}
        for secret in secrets:
            if secret in str(path.relative_to(cassette)):
                found.append(f"{secret} in the name of {path}")
            for view, content in views.items():
                if secret.encode() in content:
                    at = content.find(secret.encode())
                    found.append(f"{secret} in {view}{path.name}: …{content[max(0, at - 60) : at + 60]!r}…")
    for text in texts:
        for secret in secrets:
            if secret in text:
                at = text.find(secret)
                found.append(f"{secret} in the log: …{text[max(0, at - 80) : at + 80]}…")
    return found


def unpacked(data: bytes) -> bytes:
    """What gzip members in it hold, wherever they begin."""
    result = b""
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        try:
            result += zlib.decompressobj(31).decompress(data[at:])
        except (zlib.error, gzip.BadGzipFile):
            pass
        at = data.find(b"\x1f\x8b\x08", at + 1)
    return result


def same(replayed: Answer, recorded: Answer, boundaries: bool = True) -> None:
    """What a replay owes: status, headers, bytes, boundaries, and the way it ended."""
    assert replayed.status == recorded.status
    assert replayed.head.reason == recorded.head.reason  # type: ignore[union-attr]
    assert replayed.told() == recorded.told()
    assert replayed.body == recorded.body
    assert replayed.framing == recorded.framing
    if boundaries:
        assert replayed.boundaries == recorded.boundaries
    assert replayed.end == recorded.end


def in_time(got: Sequence[float], due: Sequence[float], shift: float = 0.3, spread: float = 0.3) -> None:
    """Each moment near its due one: all together moved by at most `shift`, and from that each by at most `spread`.

    Generous, because the machine is shared; the strict measure is the bench's. The live times of a client hold what it
    took to connect to the upstream, the recorded ones do not: hence the shift. A wrong pace shows in the middle: half of
    all moments have to keep their distances to 50 ms.
    """
    assert len(got) == len(due)
    off = [one - other for one, other in zip(got, due)]
    told = [f"{other * 1000:.1f}: {(one - other) * 1000:+.1f} ms" for one, other in zip(got, due)]
    moved = sorted(off)[len(off) // 2]
    rest = sorted(abs(one - moved) for one in off)
    assert abs(moved) < shift, f"all moved by {moved * 1000:+.1f} ms: {told}"
    assert rest[-1] < spread, f"some are out of their place: {told}"
    assert rest[len(rest) // 2] < 0.05, f"most are out of their place: {told}"


def listed(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines of `cassette list` that are recordings."""
    return [line for line in done.stdout.splitlines() if re.search(r"\b(GET|POST|PUT|HEAD|DELETE|PATCH)\b", line)]
