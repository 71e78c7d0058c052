"""What is told of faults: the header of the answer, the line in the log, the counters and `explain` say the same."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rawclient import ask, post_json
from test_faults import ALL, ASK, EVENTS, PATH, fault
from upstream import stream

ENV = {"REHEARSAL_ADMIN_TOKEN": "t"}


@pytest.fixture
def told(rehearsal, upstream):
    """Starts a proxy with these faults; `counts()` are those of each rule, `explain(id)` what is said of a fault."""

    class Told:
        def __call__(self, faults: str, gap=0.01):
            upstream.on(PATH, stream(EVENTS, gap))
            config = f'seed = 9\n[[route]]\nname = "chat"\nmode = "forward"\nupstream = "{upstream.url}"\n{faults}'
            self.proxy = rehearsal("--admin", "127.0.0.1:0", config=config, env=ENV)
            return self.proxy

        def ask_admin(self, *words):
            admin = next(line for line in self.proxy.lines if line.startswith("admin on ")).removeprefix("admin on ")
            return json.loads(rehearsal.run("fault", *words, "--json", "--admin", admin, env=ENV).stdout)

        def counts(self):
            """When nothing changes any more: an exchange is counted a moment after its client has the answer."""
            before = None
            for _ in range(50):
                counts = {rule["rule"]: rule["counts"] for rule in self.ask_admin("list")["faults"]}
                if counts == before:
                    return counts
                before = counts
                time.sleep(0.2)
            raise AssertionError(f"still changing: {before}")

    return Told()


RULES = (
    fault('name = "late"\nlatency = "5ms"\nprobability = 0.5')
    + fault('name = "one"\nstatus = 500\ngroup = "g"\nweight = 0.3')
    + fault('name = "two"\nstatus = 503\ngroup = "g"\nweight = 0.3')
    + fault('name = "short"\ncut = { after = { events = 3 }, how = "clean-end" }\nprobability = 0.5')
)


def test_header_log_counters_and_explanation_agree(told):
    proxy = told(RULES)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: post_json(proxy.url, f"{PATH}?n={n}", ASK), range(40)))
    labels = [label for got in answers for label in got.all("x-rehearsal-fault")]
    assert len(set(labels)) == len(labels) > 30
    counts = told.counts()
    for rule, draw in (label.split(";draw=") for label in labels):
        said = told.ask_admin("explain", draw)
        assert (said["rule"], said["id"], said["is_same"]) == (rule, draw, True), said
        assert said["again"]["drawn"] == said["drawn"]
    for rule, status in (("one", 500), ("two", 503)):
        hit = [got for got in answers if got.status == status]
        assert counts[rule]["injected"] == len(hit) > 0
        assert counts[rule]["drawn"] == 40
    cut = [got for got in answers if got.status == 200 and got.body != ALL]
    assert counts["short"]["injected"] == len(cut) > 0
    named = sum(label.startswith("short;") for label in labels)
    assert counts["short"]["not_applicable"] == named - len(cut), "where another answer stood in its place"
    proxy.stop()
    logged = [name for line in re.findall(r" faults=(\S+)", proxy.stderr()) for name in line.split(",")]
    assert sorted(logged) == sorted(labels)


def test_what_is_over_the_cap_or_only_dry_is_counted_as_such(told):
    proxy = told(
        fault('name = "one"\nstall = { after = { events = 1 }, for = "1s" }\nmax_active = 1')
        + fault('name = "dry"\nstatus = 503\ndry_run = true')
    )
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post_json(proxy.url, PATH, ASK), range(4)))
    assert [got.body for got in answers] == [ALL] * 4
    assert sum(bool(got.all("x-rehearsal-fault")) for got in answers) == 1
    counts = told.counts()
    assert [counts["one"][name] for name in ("drawn", "injected", "over_cap")] == [4, 1, 3]
    assert [counts["dry"][name] for name in ("drawn", "injected", "dry_run")] == [4, 0, 4]


def test_the_end_of_its_time_ends_a_fault_in_a_running_stream(told):
    proxy = told(fault('stall = { after = { events = 2 } }\nttl = "6s"'))
    got = post_json(proxy.url, PATH, ASK, timeout=30)
    assert got.body == ALL
    assert not post_json(proxy.url, PATH, ASK).all("x-rehearsal-fault")
    assert told.counts()["stall"]["drawn"] == 1


def test_nothing_that_is_told_holds_the_key_of_a_client(told):
    """Though chance and counts go by it."""
    key = "sk-SECRET-0123456789abcdef"
    proxy = told(fault('name = "late"\nlatency = "1ms"\nwhen = { first = 9, per = "client" }') + fault('rate_limit = { requests = 9, per = "50s" }'))
    said = []
    for headers in ([("Authorization", f"Bearer {key}")], [("X-Api-Key", key)]):
        for path in (PATH, f"{PATH}?key={key}"):
            got = post_json(proxy.url, path, ASK, headers)
            assert got.body == ALL
            (label,) = got.all("x-rehearsal-fault")
            said.append(label + json.dumps(told.ask_admin("explain", label.split(";draw=")[1])))
    said.append(json.dumps(told.ask_admin("list")))
    admin = next(line for line in proxy.lines if line.startswith("admin on ")).removeprefix("admin on ")
    metrics = ask(admin, target="/metrics", headers=[("Authorization", "Bearer t")])
    assert metrics.status == 200
    proxy.stop()
    assert key not in "".join([*said, metrics.body.decode(), proxy.stdout(), proxy.stderr()])
