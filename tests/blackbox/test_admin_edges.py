"""The admin listener as a scraper, a browser, several people at once and the headers of requests meet it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time

import pytest
from conftest import clean_env
from prometheus_client.parser import text_string_to_metric_families
from test_admin import MODELS, SOON, Watched

FAULTS = """
[[route]]
name = "all"
mode = "synthesize"
upstream = "fake"
pace = "instant"
[[route.fault]]
name = "late"
latency = "5ms"
[[route.fault]]
name = "hang"
stall = { after = { events = 1 } }
when = { header = "x-rehearsal-fault" }
max_active = 2
[[route.fault]]
name = "half"
latency = "1ms"
probability = 0.5
"""


@pytest.fixture
def watched(rehearsal, tmp_path):
    return Watched(rehearsal, tmp_path, FAULTS)


def scrape(watched) -> dict:
    """What a Prometheus client reads: each family by its name, each value by its name and labels."""
    status, headers, text = watched.curl("/metrics")
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "each family once"
    return {family.name: family for family in families}


def values(family, **labels) -> list[float]:
    return [one.value for one in family.samples if labels.items() <= one.labels.items()]


def test_a_scraper_reads_the_metrics_and_their_sums_mean_something(watched):
    for _ in range(20):
        watched.get(MODELS).read()
    families = scrape(watched)
    for name, family in families.items():
        assert re.fullmatch(r"rehearsal_[a-z0-9_]+", name)
        assert family.documentation.endswith(".") or "; below zero" in family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")
            assert sample.labels.get("rule") in {None, "late", "hang", "half"}
    draws, faults = families["rehearsal_fault_draws"], families["rehearsal_faults"]
    assert values(draws, rule="late") == [20]
    assert values(faults, rule="late", verdict="injected") == [20]
    hit = sum(values(faults, rule="half"))
    assert 0 < hit < 20, "what did not hit has no outcome"
    assert values(draws, rule="half") == [20]
    timing = families["rehearsal_fault_timing_error_seconds"]
    buckets = [(one.labels["le"], one.value) for one in timing.samples if one.labels.get("rule") == "late" and "le" in one.labels]
    bounds = [float(bound) for bound, _ in buckets]
    counts = [count for _, count in buckets]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf")
    assert counts == sorted(counts) and counts[-1] >= 20, "each answer was timed"
    (total,) = [one.value for one in timing.samples if one.name.endswith("_sum") and one.labels["rule"] == "late"]
    assert abs(total) < 20 * SOON, "in seconds"


@pytest.mark.parametrize("path", ["/v1/faults/all/%ff", "/v1/faults/%ff/late", "/v1/faults/all/%ff/ttl", "/v1/faults/explain/%ff"])
def test_a_name_that_is_no_text_is_told_as_json(watched, path):
    status, headers, text = watched.curl(path, "-d", '{"on": true}')
    assert (status, headers["content-type"]) == (400, "application/json")
    assert "utf-8" in json.loads(text)["error"]["message"]


@pytest.mark.parametrize("path, body", [("kill", "[true]"), ("kill", " [true]"), ("all/late", '[false, null]'), ("all/late/ttl", '["1s"]')])
def test_a_list_is_no_order(watched, path, body):
    status, _, text = watched.curl(f"/v1/faults/{path}", "-d", body)
    assert status == 400
    assert json.loads(text)["error"]["message"].startswith("the body is a list, expected an object such as {")
    listed = json.loads(watched.fault("list", "--json"))
    assert listed["killed"] is False
    assert all(fault["on"] and fault["left_ms"] is None for fault in listed["faults"])


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_no_page_of_any_site_is_let_in(watched, method):
    """A browser asks first (`OPTIONS`), or says where the page is from; no answer lets it read."""
    for origin in ("http://evil.test", "null", watched.url):
        more = ["-I"] if method == "HEAD" else ["-X", method]
        asked = ["-H", f"Origin: {origin}", "-H", "Access-Control-Request-Method: POST", "-H", "Access-Control-Request-Headers: authorization"]
        status, headers, _ = watched.curl("/v1/faults/kill", *more, *asked)
        assert status == 403
        assert not [name for name in headers if name.startswith("access-control-")]
    assert json.loads(watched.fault("list", "--json"))["killed"] is False


def test_a_page_that_is_called_as_this_machine_is_reached_by_no_other_name(watched):
    """A name that was made to point here (DNS rebinding) is not ours, whatever the port."""
    for host in ("evil.test", f"evil.test:{watched.port}", f"127.0.0.1.nip.io:{watched.port}", f"localhost.evil.test:{watched.port}", ""):
        assert watched.curl("/v1/faults", "-H", f"Host: {host}" if host else "Host;")[0] == 421


@pytest.mark.parametrize("method, path", [("GET", "/v1/faults/kill"), ("PUT", "/v1/faults/all/late"), ("DELETE", "/v1/faults"), ("POST", "/v1/faults"), ("POST", "/healthz"), ("PATCH", "/v1/faults/all/late/ttl")])
def test_another_method_is_a_405(watched, method, path):
    status, headers, text = watched.curl(path, "-X", method)
    assert (status, headers["content-type"]) == (405, "application/json")
    assert "another method" in json.loads(text)["error"]["message"]
    assert headers["allow"]


def test_a_rule_goes_off_when_its_time_is_over_and_its_stream_goes_on(watched):
    """The time to live ends a stall in a stream that runs, without anybody asking."""
    watched.fault("on", "hang", "--ttl", "1.5s")
    started = time.monotonic()
    answer = watched_stream(watched)
    assert b"[DONE]" in answer.read()
    took = time.monotonic() - started
    assert 0.5 < took < 1.5 + SOON
    rule = watched.rule("all/hang")
    assert (rule["on"], rule["left_ms"], rule["active"]) == (False, None, 0)
    assert b"[DONE]" in watched_stream(watched).read(), "nothing hangs any more"


def watched_stream(watched):
    """A stream whose request names the fault."""
    import http.client

    connection = http.client.HTTPConnection(watched.proxy.host, watched.proxy.port, timeout=30)
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"content-type": "application/json", "x-rehearsal-fault": "hang"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()


def test_a_header_asks_for_a_fault_within_its_cap(watched):
    """Without the header nothing hangs; with it two do at once, and the third is let through."""
    assert b"[DONE]" in watched.chat("").read()
    held = [watched_stream(watched) for _ in range(2)]
    wait_for(lambda: watched.rule("all/hang")["active"] == 2)
    third = watched_stream(watched)
    assert b"[DONE]" in third.read()
    rule = watched.rule("all/hang")
    assert rule["active"] == 2 and rule["counts"]["over_cap"] == 1, rule
    watched.fault("off", "hang")
    for answer in held:
        assert b"[DONE]" in answer.read()
    assert watched.rule("all/hang")["active"] == 0


def wait_for(is_so) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_many_orders_at_once_leave_one_of_them_standing(watched):
    """Ten people switch, look and scrape while streams run: no answer is torn, and the last order counts."""
    failures: list[object] = []
    token = watched.token

    def order(number: int) -> None:
        try:
            for turn in range(10):
                on = (number + turn) % 2 == 0
                body = {"on": on, "ttl": "60s"} if on else {"on": on}
                status, _, text = watched.curl("/v1/faults/all/late", "-d", json.dumps(body), token=token)
                told = json.loads(text)
                assert status == 200 and (told["left_ms"] is None or 0 < told["left_ms"] <= 60_000), told
                assert not (told["left_ms"] and not told["on"]), "off, and for how long on"
                assert watched.curl("/metrics", token=token)[0] == 200
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    def ask() -> None:
        try:
            for _ in range(20):
                assert b"[DONE]" in watched.chat("").read()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=order, args=(number,)) for number in range(6)]
    threads += [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures
    watched.fault("off", "late")
    assert watched.rule("all/late")["on"] is False
    counts = watched.rule("all/late")["counts"]
    assert 0 < counts["injected"] <= counts["drawn"] <= 80


def test_a_folder_of_the_token_that_is_a_link_is_refused(rehearsal, tmp_path):
    """Somebody else may have put it there."""
    runtime, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    runtime.mkdir(mode=0o700)
    elsewhere.mkdir(mode=0o700)
    os.symlink(elsewhere, runtime / "rehearsal")
    config = rehearsal.file("[[route]]\nmode = 'synthesize'\nupstream = 'fake'\n")
    words = ["serve", "-c", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    done = rehearsal.run(*words, env={"XDG_RUNTIME_DIR": str(runtime)})
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "words, message",
    [
        (["list", "--admin", "https://127.0.0.1:1"], "which speaks plain HTTP and is named without a path"),
        (["list", "--admin", "127.0.0.1:1/metrics"], "which speaks plain HTTP and is named without a path"),
        (["list", "--admin", "nowhere"], "the port is missing"),
        (["list", "--admin", "127.0.0.1:1"], "there is no token for http://127.0.0.1:1"),
        (["list", "--admin", "127.0.0.1:1", "--token-file", "none"], "could not read the token: `none`: No such file or directory (os error 2)\n"),
        (["on", "x", "--ttl", "soon"], "`soon` is not a length of time"),
        (["ttl", "x"], "<TIME>"),
        (["off"], "<RULE>"),
        (["nothing"], "unrecognized subcommand"),
    ],
)
def test_wrong_use_of_the_command_ends_with_2_and_says_why(rehearsal, tmp_path, words, message):
    done = rehearsal.run("fault", *words, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("os error") <= 1, done.stderr


def test_the_command_tells_what_the_listener_says(watched):
    done = watched.fault("list", code=1, env={**watched.env, "REHEARSAL_ADMIN_TOKEN": "wrong"})
    assert "answered 401 Unauthorized: the bearer token is missing or wrong" in done
    assert "there is no rule `lat`" in watched.fault("off", "lat", code=2)
    assert "a `ttl` of zero is no time at all" in watched.fault("on", "late", "--ttl", "0s", code=1)
    done = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{watched.url}/healthz"], capture_output=True, text=True, env=clean_env(), check=True)
    assert done.stdout == "200", "a probe needs no token"
