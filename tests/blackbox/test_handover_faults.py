"""How faults stand goes over to the next process: the kill switch, what was switched by hand, times that run, and what was counted."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path

import pytest
from conftest import route
from rawclient import ask
from test_faults import fault
from test_handover_admin import admin_of, after, ended
from upstream import answer

RULES = [
    fault('name = "slow"\nlatency = "1ms"'),
    fault('name = "odd"\nheader = { set = { x-odd = "1" } }\nenabled = false'),
    fault('name = "brief"\nheader = { set = { x-brief = "1" } }\nttl = "1h"'),
]


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch):
    """A folder for sockets of its own: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def first(rehearsal, upstream):
    """A process with some rules, and an admin listener."""
    upstream.fallback = answer()
    return rehearsal("--admin", "127.0.0.1:0", config=route("forward", upstream, "\n".join(RULES)))


def order(rehearsal, admin, *words):
    done = rehearsal.run("fault", *words, "--admin", admin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rules(rehearsal, admin) -> dict[str, dict]:
    """How each rule stands, by its name."""
    listed = json.loads(order(rehearsal, admin, "list", "--json"))
    return {rule["rule"]: rule for rule in listed["faults"]}


def injected(rehearsal, admin, times) -> dict[str, dict]:
    """How the rules stand when `slow` hit so often: it is counted when the exchange is over, which its client need not wait for."""
    give_up = time.monotonic() + 20
    while (now := rules(rehearsal, admin))["slow"]["counts"]["injected"] < times:
        assert time.monotonic() < give_up, now
    return now


def faults(got) -> list[str]:
    """The names of the rules that hit."""
    return [value.split(";")[0] for name, value in got.head.headers if name.lower() == "x-rehearsal-fault"]


def test_a_killed_process_is_succeeded_by_a_killed_one(rehearsal, upstream, first):
    admin = admin_of(first)
    assert faults(ask(first.url)) == ["slow", "brief"]
    order(rehearsal, admin, "kill")
    config = route("forward", upstream, "\n".join([*RULES, fault('name = "new"\nlatency = "1ms"')]))
    second = after(rehearsal, first, config, "--admin", admin.removeprefix("http://"))
    ended(first)
    for _ in range(3):
        assert faults(ask(second.url)) == [], "rules that are new are ended too"
    assert "all faults are ended by the kill switch, as in the process before" in second.output()
    # And in the one after that, until somebody says otherwise.
    third = after(rehearsal, second, config, "--admin", admin.removeprefix("http://"))
    ended(second)
    assert faults(ask(third.url)) == []
    order(rehearsal, admin, "kill", "--undo")
    assert faults(ask(third.url)) == ["slow", "brief", "new"]


def test_switches_and_times_go_on_and_what_is_no_more_is_named(rehearsal, upstream, first):
    admin = admin_of(first)
    order(rehearsal, admin, "off", "slow")
    order(rehearsal, admin, "on", "odd", "--ttl", "1h")
    order(rehearsal, admin, "ttl", "brief", "6s")
    begun = time.monotonic()
    before = rules(rehearsal, admin)
    # `slow` is gone, and somebody had switched it.
    second = after(rehearsal, first, route("forward", upstream, "\n".join(RULES[1:])), "--admin", admin.removeprefix("http://"))
    ended(first)
    now = rules(rehearsal, admin)
    assert now["odd"]["on"] and 0 < now["odd"]["left_ms"] <= before["odd"]["left_ms"]
    if time.monotonic() - begun < 5:
        assert faults(ask(second.url)) == ["odd", "brief"]
    log = second.output()
    assert "not taken over: there is no such rule any more" in log and "all/slow off" in log
    assert "all/odd on for" in log and "all/brief as configured for" in log
    time.sleep(max(0.0, begun + 6.2 - time.monotonic()))
    assert faults(ask(second.url)) == ["odd"], "its time ran on"


def test_counters_do_not_fall_back(rehearsal, upstream, first):
    admin = admin_of(first)
    for _ in range(5):
        ask(first.url)
    before = injected(rehearsal, admin, 5)
    assert before["slow"]["timing"]["count"] >= 5
    second = after(rehearsal, first, route("forward", upstream, "\n".join(RULES)), "--admin", admin.removeprefix("http://"))
    ended(first)
    now = rules(rehearsal, admin)
    for name in before:
        assert [now[name][what] for what in ("counts", "timing")] == [before[name][what] for what in ("counts", "timing")]
    for _ in range(2):
        ask(second.url)
    slow = injected(rehearsal, admin, 7)["slow"]
    assert slow["counts"]["drawn"] == 7
    assert slow["timing"]["count"] * 5 == before["slow"]["timing"]["count"] * 7


def test_a_successor_of_an_earlier_version_is_served_as_it_expects(rehearsal, first, runtime_dir):
    """It says what the first version says, and would take anything else for a mistake."""
    (place,) = (runtime_dir / "rehearsal").glob("*.sock")
    with socket.socket(socket.AF_UNIX) as old:
        old.settimeout(20)
        old.connect(str(place))
        hello, listeners, _, _ = socket.recv_fds(old, 64 * 1024, 16)
        assert json.loads(hello)["version"] == 1 and len(listeners) == 2
        old.sendall(b"ready 1 http admin\n")
        assert old.recv(64) == b"yours\n"
    for listener in listeners:
        socket.close(listener)
    ended(first)
    assert "the next process can't take over how faults stand" in first.output()
