"""How long faults last: the kill switch frees whatever they hold, and one that has ended makes room for the next."""

from __future__ import annotations

import json
import threading
import time

import pytest
import wire
from conftest import route
from rawclient import Client, ask, post_json
from test_faults import ALL, ASK, EVENTS, PATH, fault
from upstream import stream

TOKEN = {"REHEARSAL_ADMIN_TOKEN": "t"}

# How long a stream that was freed may take to its end, on a machine with other work. What is exact is tested under a paused
# clock.
SOON = 5.0

# Each would hold its client for longer than any test lasts.
HOLDING = {
    "latency": 'latency = "1h"',
    "first-token": 'first_token = "1h"',
    "gap": 'gap = "1h"',
    "bandwidth-down": 'bandwidth = { down = "1B" }',
    "bandwidth-up": 'bandwidth = { up = "1B" }',
    "dribble": 'dribble = { pieces = 3, over = "9h" }',
    "slow-head": 'slow_head = { bytes = 1, every = "1h" }',
    "bandwidth-up-whole": 'bandwidth = { up = "1B" }',
    "slow-read": 'slow_read = "1B"',
    "slow-read-whole": 'slow_read = "1B"',
    "stall": "stall = { after = { events = 2 } }",
    "stall-with-noise": 'stall = { after = { events = 2 }, for = "1h", keepalive = "comment", every = "100ms" }',
    "hold-open": 'hold_open = "forever"',
}
SWALLOWING = {"blackhole": "blackhole = true"}


class Live:
    """A proxy with an admin listener, and what its rules count."""

    def __init__(self, rehearsal, config: str):
        self.rehearsal = rehearsal
        self.proxy = rehearsal("--admin", "127.0.0.1:0", config=config, env=TOKEN)
        self.url = self.proxy.url
        self.wait_lines()

    def wait_lines(self) -> None:
        with self.proxy.changed:
            self.proxy.changed.wait_for(lambda: any(line.startswith("admin on ") for line in self.proxy.lines), 10)
        self.admin = next(line for line in self.proxy.lines if line.startswith("admin on ")).removeprefix("admin on ")

    def fault(self, *words: str) -> str:
        done = self.rehearsal.run("fault", *words, "--admin", self.admin, env=TOKEN)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rules(self) -> dict[str, dict]:
        return {row["route"]: row for row in json.loads(self.fault("list", "--json"))["faults"]}

    def until(self, is_so, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not is_so(rules := self.rules()):
            assert time.monotonic() < deadline, rules
            time.sleep(0.05)


def route_of(name: str, mode: str, upstream, more: str) -> str:
    return (
        f'[[route]]\nname = "{name}"\nmode = "{mode}"\nupstream = "{upstream.url}"\n'
        f'match = {{ path = "/{name}/**" }}\nstrip_prefix = "/{name}"\n{more}\n'
    )


@pytest.mark.parametrize("order", [["kill"], ["off", "each"]])
def test_all_that_faults_hold_is_freed_at_once(rehearsal, upstream, cassette, order):
    upstream.on(PATH, stream(EVENTS, 0.01))
    table = {**HOLDING, **SWALLOWING}

    def mode(name: str) -> str:
        # To record a request its whole body is read first.
        return "record" if name.endswith("-whole") else "forward"

    config = "\n".join(route_of(name, mode(name), upstream, fault(text)) for name, text in table.items())
    live = Live(rehearsal, f'[cassette]\npath = "{cassette}"\n{config}')
    answers: dict[str, wire.Answer] = {}

    def one(name: str) -> None:
        # More than one read brings, so that a slow upload has to wait.
        body = json.dumps({"model": "gpt-4o", "stream": True, "messages": ["x" * 300_000]}).encode()
        answers[name] = post_json(live.url, f"/{name}{PATH}", body if name.startswith(("bandwidth-up", "slow-read")) else ASK, timeout=60)

    threads = {name: threading.Thread(target=one, args=(name,), daemon=True) for name in table}
    for thread in threads.values():
        thread.start()
    live.until(lambda rules: all(rules[name]["active"] == 1 for name in table))
    # Those that end do so in the first moments, if at all.
    time.sleep(0.5)
    assert answers == {}, "each of them holds"
    begun = time.monotonic()
    if order == ["kill"]:
        live.fault("kill")
    else:
        for name in table:
            live.fault("off", f"{name}/{live.rules()[name]['rule']}")
    for name, thread in threads.items():
        thread.join(SOON + 20 * (order != ["kill"]))
        assert not thread.is_alive(), f"{name} still holds"
    took = time.monotonic() - begun
    noise = b": keep-alive\n\n"
    for name in HOLDING:
        got = answers[name]
        assert (got.body.replace(noise, b""), got.end) == (ALL, wire.COMPLETE), f"{name} goes on to its own end"
    assert (answers["blackhole"].body, answers["blackhole"].end) == (ALL, wire.COMPLETE), "it goes to the upstream after all"
    if order == ["kill"]:
        assert took < SOON
    live.until(lambda rules: all(rules[name]["active"] == 0 for name in table))


@pytest.mark.parametrize("text", ['latency = "50ms"', 'slow_head = { bytes = 64, every = "1ms" }', 'header = { set = { x-set = "1" } }'])
def test_a_fault_makes_room_for_the_next_when_it_has_ended_and_not_its_stream(rehearsal, upstream, text):
    upstream.on(PATH, stream(EVENTS, 0.2))
    proxy = rehearsal.forward(upstream, fault(f"{text}\nmax_active = 1"))
    headers = [("Content-Type", "application/json")]
    with Client(proxy.url) as first:
        first.request("POST", PATH, headers, ASK)
        head = first.reader.head()
        assert head.get("x-rehearsal-fault")
        # The first one's stream goes on for 2 s.
        second = post_json(proxy.url, PATH, ASK)
        assert second.get("x-rehearsal-fault"), "the first one's fault has ended"
        assert first.answer("POST", head=head).body == ALL


@pytest.mark.parametrize("text", ['gap = "150ms"', 'bandwidth = { down = "1KiB" }', "stall = { after = { events = 2 } }"])
def test_a_fault_that_lasts_takes_the_room_as_long_as_it_does(rehearsal, upstream, text):
    upstream.on(PATH, stream(EVENTS, 0.01))
    proxy = rehearsal.forward(upstream, fault(f"{text}\nmax_active = 1"))
    with Client(proxy.url) as first:
        first.request("POST", PATH, [("Content-Type", "application/json")], ASK)
        first.reader.head()
        second = post_json(proxy.url, PATH, ASK)
        assert second.get("x-rehearsal-fault") is None
        assert second.body == ALL


def test_a_fault_that_the_client_did_not_wait_for_is_prevented(rehearsal, upstream):
    upstream.on(PATH, stream(EVENTS, 0.3))
    live = Live(rehearsal, route("forward", upstream, fault('cut = { after = { events = 9 }, how = "reset" }')))
    with Client(live.url) as client:
        client.request("POST", PATH, [("Content-Type", "application/json")], ASK)
        client.reader.head()
        client.reader.more()
    live.until(lambda rules: rules["all"]["active"] == 0)
    counts = live.rules()["all"]["counts"]
    assert (counts["drawn"], counts["injected"], counts["prevented"]) == (1, 0, 1)


def test_a_fault_that_is_killed_before_its_place_is_prevented(rehearsal, upstream, cassette):
    """On a replay too, where what comes next is known long before."""
    upstream.on(PATH, stream(EVENTS, [0.01] * 4 + [3.0] + [0.01] * 4))
    recorder = rehearsal(config=route("record", upstream, cassette=cassette))
    assert post_json(recorder.url, PATH, ASK).body == ALL
    recorder.stop()
    for mode in ("forward", "replay"):
        live = Live(rehearsal, route(mode, upstream, fault('cut = { after = "2s", how = "reset" }'), cassette=cassette))
        with Client(live.url) as client:
            client.request("POST", PATH, [("Content-Type", "application/json")], ASK)
            head = client.reader.head()
            live.until(lambda rules: rules["all"]["active"] == 1)
            live.fault("kill")
            got = client.answer("POST", head=head)
        assert (got.body, got.end) == (ALL, wire.COMPLETE), mode
        counts = live.rules()["all"]["counts"]
        assert (counts["injected"], counts["prevented"]) == (0, 1), mode


@pytest.mark.parametrize("mode", ["forward", "replay"])
def test_a_cut_at_a_time_is_neither_early_nor_late(rehearsal, upstream, cassette, mode):
    """The next piece of a recording is known long before it is due; the cut must not come with it."""
    upstream.on(PATH, stream(EVENTS, [0.01] * 4 + [2.0] + [0.01] * 4))
    recorder = rehearsal(config=route("record", upstream, cassette=cassette))
    assert post_json(recorder.url, PATH, ASK).body == ALL
    recorder.stop()
    got = post_json(
        rehearsal(config=route(mode, upstream, fault('cut = { after = "1s", how = "reset" }'), cassette=cassette)).url, PATH, ASK
    )
    assert (got.body, got.end) == (b"".join(EVENTS[:5]), wire.RESET)
    assert 0.99 < got.ended_at - got.head.at < 1.8


def test_a_swallowed_connection_is_let_go_by_the_kill_switch(rehearsal):
    live = Live(rehearsal, route("synthesize", "fake", "", "[[listen.fault]]\nblackhole = true\n"))
    with Client(live.url) as client:
        client.request("GET", "/v1/models")
        live.until(lambda rules: rules["listen"]["active"] == 1)
        begun = time.monotonic()
        live.fault("kill")
        assert client.end() in (wire.FIN, wire.RESET)
        assert time.monotonic() - begun < SOON
    assert ask(live.url, "GET", "/v1/models").status == 200


def test_a_closed_listener_opens_again_by_the_kill_switch(rehearsal):
    live = Live(rehearsal, route("synthesize", "fake", "", "[[listen.fault]]\nrefuse = true\n"))
    with pytest.raises((OSError, AssertionError)):
        assert ask(live.url, "GET", "/v1/models").status == 200
    live.fault("kill")
    deadline = time.monotonic() + SOON
    while True:
        try:
            assert ask(live.url, "GET", "/v1/models").status == 200
            return
        except (OSError, AssertionError):
            assert time.monotonic() < deadline, "it stays closed"
            time.sleep(0.02)
