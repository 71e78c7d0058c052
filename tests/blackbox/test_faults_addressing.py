"""To whom faults are addressed, how often they hit, and limits on rates."""

from __future__ import annotations

import datetime
import json
import time

import pytest
from conftest import route
from rawclient import ask, post_json
from upstream import answer

PATH = "/v1/chat/completions"
MODELS = "/v1/models"
SAY = {"model": "gpt-4o", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


def fault(text: str) -> str:
    return f"[[route.fault]]\n{text}\n"


@pytest.fixture
def serve(rehearsal):
    def make(*faults, top=""):
        return rehearsal(config=top + route("synthesize", "fake", 'pace = "instant"\n' + "".join(map(fault, faults))))

    return make


def statuses(proxy, count, *headers, path=MODELS):
    return [ask(proxy.url, "GET", path, headers).status for _ in range(count)]


def say(proxy, *headers, **more):
    return post_json(proxy.url, PATH, json.dumps({**SAY, **more}).encode(), headers)


# Counts.


@pytest.mark.parametrize(
    ("when", "hit"),
    [
        ("nth = 3", [3]),
        ("first = 2", [1, 2]),
        ("every = 3", [3, 6, 9]),
        ("after = 6", [7, 8, 9]),
        ("after = 4, nth = 2", [6]),
        ("after = 2, first = 3", [3, 4, 5]),
        ("after = 1, every = 3", [4, 7]),
    ],
)
def test_counts_choose_requests(serve, when, hit):
    proxy = serve(f"status = 503\nwhen = {{ {when} }}")
    got = statuses(proxy, 9)
    assert [number for number, status in enumerate(got, 1) if status == 503] == hit
    assert set(got) <= {200, 503}


def test_only_requests_that_are_addressed_are_counted(serve):
    proxy = serve(f'status = 503\nwhen = {{ path = "{MODELS}", nth = 2 }}')
    assert statuses(proxy, 1) == [200]
    assert statuses(proxy, 3, path="/v1/models/gpt-4o").count(503) == 0
    assert statuses(proxy, 2) == [503, 200]


def test_each_client_can_be_counted_by_itself(serve):
    proxy = serve('status = 503\nwhen = { nth = 2, per = "client" }')
    one, other = ("x-rehearsal-client", "one"), ("x-rehearsal-client", "other")
    got = [ask(proxy.url, "GET", MODELS, [who]).status for who in (one, other, one, other, one, other)]
    assert got == [200, 200, 503, 503, 200, 200]


def test_all_clients_are_counted_together_otherwise(serve):
    proxy = serve("status = 503\nwhen = { nth = 2 }")
    one, other = ("x-rehearsal-client", "one"), ("x-rehearsal-client", "other")
    got = [ask(proxy.url, "GET", MODELS, [who]).status for who in (one, other, one, other)]
    assert got == [200, 503, 200, 200]


# Conditions.


@pytest.mark.parametrize(
    ("wish", "fits", "others"),
    [
        ('"$.user" = "team-*"', {"user": "team-7"}, [{"user": "me"}, {}, {"user": 7}]),
        ('"$.temperature" = 1', {"temperature": 1.0}, [{"temperature": 0.5}, {"temperature": "1"}, {}]),
        ('"$.stream" = true', {"stream": True}, [{"stream": False}, {}]),
        ('"$.messages[*].content" = "*please*"', {"messages": [{"role": "user", "content": "yes please!"}]}, [{}]),
    ],
)
def test_rules_are_addressed_by_what_stands_in_the_body(serve, wish, fits, others):
    proxy = serve(f"status = 503\nwhen = {{ body = {{ {wish} }} }}")
    assert say(proxy, **fits).status == 503
    assert [say(proxy, **other).status for other in others] == [200] * len(others)


def test_rules_are_addressed_by_attempt(serve):
    proxy = serve("status = 501\nwhen = { attempt = 0 }", "status = 502\nwhen = { attempt = { from = 1, to = 2 } }")

    def at(number):
        return say(proxy, ("x-stainless-retry-count", str(number))).status

    assert [at(number) for number in range(4)] == [501, 502, 502, 200]
    assert say(proxy).status == 501, "who does not say so is at 0"


def test_a_window_opens_and_closes(serve):
    proxy = serve('status = 503\nwhen = { window = { from = "1500ms", to = "3s" } }')
    seen = []
    deadline = time.monotonic() + 10
    while seen != [200, 503, 200] and time.monotonic() < deadline:
        status = statuses(proxy, 1)[0]
        if seen[-1:] != [status]:
            seen.append(status)
        time.sleep(0.02)
    assert seen == [200, 503, 200]
    assert statuses(proxy, 3) == [200] * 3


def test_a_rule_switches_itself_off(serve):
    proxy = serve('status = 503\nttl = "2s"')
    assert statuses(proxy, 1) == [503]
    time.sleep(2.2)
    assert statuses(proxy, 1) == [200]


# Chance.


def test_a_probability_of_one_always_hits(serve):
    proxy = serve("status = 503\nprobability = 1")
    assert [ask(proxy.url, "GET", f"{MODELS}/{number}").status for number in range(30)] == [503] * 30


def test_of_a_group_that_makes_one_exactly_one_hits(serve):
    proxy = serve(
        'status = 501\ngroup = "g"\nweight = 0.5\nname = "one"',
        'header = { set = { x-other = "1" } }\ngroup = "g"\nweight = 0.5\nname = "other"',
        top="seed = 7\n",
    )
    ones = others = 0
    for number in range(40):
        got = ask(proxy.url, "GET", f"{MODELS}/{number}")
        names = [part.split(";")[0] for part in got.get("x-rehearsal-fault").split(", ")]
        assert names in (["one"], ["other"])
        assert (got.status == 501) == (names == ["one"])
        assert (got.get("x-other") == "1") == (names == ["other"])
        ones += names == ["one"]
        others += names == ["other"]
    assert ones + others == 40 and min(ones, others) >= 8


# Limits on rates.


def test_a_limit_on_requests_fills_up_again(serve):
    proxy = serve('rate_limit = { requests = 2, per = "2s" }')
    assert statuses(proxy, 3) == [200, 200, 429]
    refused = ask(proxy.url, "GET", MODELS)
    assert refused.get("retry-after") == "1"
    assert 0 < int(refused.get("retry-after-ms")) <= 1000
    time.sleep(int(refused.get("retry-after-ms")) / 1000 + 0.02)
    assert statuses(proxy, 2) == [200, 429], "who waits as long as it was told may pass, once"
    time.sleep(2.1)
    assert statuses(proxy, 3) == [200, 200, 429]


def test_each_client_has_its_own_limit_unless_it_is_shared(serve):
    for shared, expected in (("false", [200, 200, 429, 429]), ("true", [200, 429, 429, 429])):
        proxy = serve(f'rate_limit = {{ requests = 1, per = "50s", shared = {shared} }}')
        clients = [("x-rehearsal-client", name) for name in ("one", "other", "one", "other")]
        assert [ask(proxy.url, "GET", MODELS, [who]).status for who in clients] == expected


def test_a_limit_on_tokens_says_so(serve):
    proxy = serve('rate_limit = { tokens = 1000, per = "50s" }')
    first = say(proxy, max_tokens=700)
    assert first.status == 200
    assert first.get("x-ratelimit-limit-tokens") == "1000"
    assert int(first.get("x-ratelimit-remaining-tokens")) < 300
    large = say(proxy, max_tokens=5000)
    error = json.loads(large.body)["error"]
    assert (large.status, error["type"], error["code"]) == (429, "tokens", "rate_limit_exceeded")
    assert error["message"].startswith("Request too large for gpt-4o")
    assert large.get("retry-after") is None, "waiting would not help"


def test_tokens_that_were_used_are_gone(serve):
    proxy = serve('rate_limit = { tokens = 200, per = "50s" }')
    # Each is estimated high, and pays what it used once that is known.
    got = []
    while (not got or got[-1].status == 200) and len(got) < 200:
        got.append(say(proxy, max_tokens=100))
    refused = got[-1]
    assert len(got) > 1 and refused.status == 429
    assert json.loads(refused.body)["error"]["type"] == "tokens"
    assert int(refused.get("retry-after")) >= 1
    assert int(refused.get("x-ratelimit-remaining-tokens")) < 200


def test_limits_are_told_as_anthropic_tells_them(rehearsal, upstream):
    # The upstream's own are not seen.
    own = (("Content-Type", "application/json"), ("anthropic-ratelimit-requests-limit", "9999"))
    upstream.on("/v1/messages", answer(headers=own))
    proxy = rehearsal.forward(upstream, fault('rate_limit = { requests = 2, tokens = 100000, per = "40s" }'))
    version = ("anthropic-version", "2023-06-01")
    body = json.dumps(SAY).encode()
    first, second, third = (post_json(proxy.url, "/v1/messages", body, [version]) for _ in range(3))
    assert [one.status for one in (first, second, third)] == [200, 200, 429]
    for got, left in ((first, "1"), (second, "0"), (third, "0")):
        assert got.get("anthropic-ratelimit-requests-limit") == "2"
        assert got.get("anthropic-ratelimit-requests-remaining") == left
        assert got.get("anthropic-ratelimit-tokens-limit") == "100000"
        assert got.get("x-ratelimit-limit-requests") is None
    reset = third.get("anthropic-ratelimit-requests-reset")
    at = datetime.datetime.strptime(reset, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    away = (at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 30 < away <= 41
    assert 15 <= int(third.get("retry-after")) <= 20
    assert json.loads(third.body)["error"]["type"] == "rate_limit_error"
