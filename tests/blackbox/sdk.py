"""The story that every real client is put through: record, stop the real thing, replay with other credentials, compare."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Callable

from cassettes import holding, in_time, same
from tap import Exchange, Tap


@dataclasses.dataclass
class Story:
    """What was seen on both occasions."""

    recorded: Any
    replayed: Any
    recorded_wire: list[Exchange]
    replayed_wire: list[Exchange]


def play(
    rehearsal: Any,
    tap: Callable[[Any], Tap],
    real: Any,
    cassette: Path,
    client: Callable[[str, str], Any],
    key: str,
    other_key: str,
) -> Story:
    """Runs `client(url, key)` while recording, ends the real server, and runs it again with another key.

    Holds on the way: what went over the wire is the same, streams in time too, and no key is on the disk.
    """
    proxy = rehearsal.record(real, cassette)
    tapped = tap(proxy)
    recorded = client(tapped.url, key)
    tapped.settle()
    recorded_wire = tapped.exchanges()
    tapped.close()
    proxy.stop()
    assert holding(cassette, [key], proxy.stdout(), proxy.stderr()) == []
    real.close()

    proxy = rehearsal.replay(cassette)
    tapped = tap(proxy)
    replayed = client(tapped.url, other_key)
    tapped.settle()
    replayed_wire = tapped.exchanges()
    tapped.close()
    proxy.stop()
    same_on_the_wire(recorded_wire, replayed_wire)
    return Story(recorded, replayed, recorded_wire, replayed_wire)


def same_on_the_wire(recorded: list[Exchange], replayed: list[Exchange]) -> None:
    """Status, headers, bytes and boundaries of every answer; of streams the times as well."""
    assert len(replayed) == len(recorded)
    for new, old in zip(replayed, recorded):
        assert (new.method, new.target.split("?")[0]) == (old.method, old.target.split("?")[0])
        same(new.answer, old.answer)
        if len(old.answer.chunks) > 3:
            in_time(new.offsets, old.offsets)
