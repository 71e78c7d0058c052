"""A fault that answers by itself and is ended while it waits: the exchange goes on as if it had never been."""

from __future__ import annotations

import json
import threading
import time

import pytest
import wire
from rawclient import post_json
from test_faults import fault
from test_faults_kill import Live, route_of
from upstream import answer

PATH = "/v1/chat/completions"
ASK = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).encode()
BODY = b'{"object":"chat.completion","choices":[]}'
SLOW = fault('name = "slow"\nlatency = "1h"')
# Behind a latency, or holding by themselves.
ALONE = {
    "status": SLOW + fault('name = "alone"\nstatus = 503'),
    "error": SLOW + fault('name = "alone"\nstatus = { error = "rate-limit" }'),
    "page": SLOW + fault('name = "alone"\nhtml_200 = true'),
    "empty": SLOW + fault('name = "alone"\nempty = true'),
    "cut": SLOW + fault('name = "alone"\ncut = { after = "before-head", how = "reset" }'),
    "limit": SLOW + fault('name = "alone"\nrate_limit = { tokens = 5, per = "1s" }'),
    "blackhole": fault('name = "alone"\nblackhole = true'),
    "late": SLOW + fault('name = "alone"\nstatus = 503\nafter_upstream = true'),
}


class Waiting:
    """Requests that faults hold, one on each route."""

    def __init__(self, live: Live, names, body=ASK):
        self.live = live
        self.answers: dict[str, wire.Answer] = {}
        self.threads = [threading.Thread(target=self._ask, args=(name, body), daemon=True) for name in names]
        for thread in self.threads:
            thread.start()

    def _ask(self, name, body):
        try:
            self.answers[name] = post_json(self.live.url, f"/{name}{PATH}", body, timeout=60)
        except wire.Ended as ended:
            self.answers[name] = ended

    def held(self) -> None:
        self.live.until(lambda _: all(rule["active"] == 1 for rule in self.rules()))
        time.sleep(0.3)
        assert self.answers == {}

    def rules(self):
        return [row for row in json.loads(self.live.fault("list", "--json"))["faults"]]

    def done(self) -> dict[str, wire.Answer]:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), self.answers
        return self.answers


def is_real(got) -> bool:
    return (got.status, got.body, got.end) == (200, BODY, wire.COMPLETE)


@pytest.fixture
def live(rehearsal, upstream):
    upstream.on(PATH, answer(headers=(("Content-Type", "application/json"),), body=BODY))

    def make(table, mode="forward", more="") -> Live:
        routes = "\n".join(route_of(name, mode, upstream, more + text) for name, text in table.items())
        return Live(rehearsal, routes)

    return make


def test_after_a_kill_the_upstream_answers(live, upstream):
    waiting = Waiting(live(ALONE), ALONE)
    waiting.held()
    assert len(upstream.requests) == 1, "of all of them only `late` asked it"
    waiting.live.fault("kill")
    for name, got in waiting.done().items():
        assert is_real(got), f"{name}: {got}"
    assert len(upstream.requests) == len(ALONE)
    assert all(request.body == ASK for request in upstream.requests)
    waiting.live.until(lambda _: all(rule["active"] == 0 for rule in waiting.rules()))
    for rule in waiting.rules():
        if rule["rule"] == "alone" and rule["route"] != "blackhole":
            assert (rule["counts"]["prevented"], rule["counts"]["injected"]) == (1, 0), rule


def test_a_time_to_live_lets_the_upstream_answer_too(live):
    table = {"status": fault('name = "alone"\nstatus = 503') + SLOW, "blackhole": ALONE["blackhole"]}
    waiting = Waiting(live(table), table)
    waiting.held()
    for name in table:
        waiting.live.fault("ttl", f"{name}/alone", "300ms")
    waiting.live.fault("off", "status/slow")
    for name, got in waiting.done().items():
        # The latency may be gone a moment before the time is over: then the status is there.
        assert is_real(got) or (name == "status" and got.status == 503), f"{name}: {got}"


def test_only_the_answer_is_ended_and_the_latency_goes_on(live):
    table = {"status": ALONE["status"].replace('"1h"', '"3s"')}
    begun = time.monotonic()
    waiting = Waiting(live(table), table)
    waiting.live.until(lambda _: all(rule["active"] == 1 for rule in waiting.rules()))
    waiting.live.fault("off", "status/alone")
    got = waiting.done()["status"]
    assert is_real(got), got
    assert time.monotonic() - begun > 2.9


def test_what_was_recorded_or_made_up_is_the_answer_after_a_kill(rehearsal, upstream, cassette, live):
    upstream.on(PATH, answer(headers=(("Content-Type", "application/json"),), body=BODY))
    top = f'[cassette]\npath = "{cassette}"\n'
    recorder = rehearsal(config=top + route_of("replay", "record", upstream, ""))
    assert post_json(recorder.url, f"/replay{PATH}", ASK).status == 200
    recorder.stop()
    config = top + route_of("replay", "replay", upstream, ALONE["status"])
    config += route_of("made", "synthesize", upstream, ALONE["status"]).replace(upstream.url, "fake")
    waiting = Waiting(Live(rehearsal, config), ["replay", "made"])
    waiting.held()
    waiting.live.fault("kill")
    answers = waiting.done()
    assert is_real(answers["replay"]) and answers["replay"].get("x-rehearsal-source") == "replay"
    made = answers["made"]
    # As it is made up where there are no faults.
    plain = post_json(waiting.live.url, f"/made{PATH}", ASK)
    assert plain.get("x-rehearsal-source") == made.get("x-rehearsal-source") == "synthesize"
    assert (made.status, made.end, json.loads(made.body).keys()) == (plain.status, wire.COMPLETE, json.loads(plain.body).keys())
    assert len(upstream.requests) == 1


def test_a_request_that_is_too_large_to_be_kept_is_cut_off(live):
    table = {"status": ALONE["status"]}
    waiting = Waiting(live(table, more='key = { body_limit = "1KiB" }\n'), table, b"x" * 5000)
    waiting.held()
    waiting.live.fault("kill")
    got = waiting.done()["status"]
    assert getattr(got, "head", None) is None, got
