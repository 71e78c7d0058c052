"""Rate limits as Anthropic tells them: which headers there are, what they say, and when there is nothing to wait for."""

from __future__ import annotations

import datetime
import json
import time

import anthropic
import pytest
from conftest import route
from rawclient import post_json
from test_faults import fault
from upstream import answer

PATH = "/v1/messages"
VERSION = ("anthropic-version", "2023-06-01")
PREFIX = "anthropic-ratelimit-"
# What goes in and what comes out is told beside both together.
KINDS = ("tokens", "input-tokens", "output-tokens")
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


def say(proxy, max_tokens=100, client="one"):
    body = {"model": "claude-x", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hi"}]}
    return post_json(proxy.url, PATH, json.dumps(body).encode(), [VERSION, ("x-api-key", client)])


def told(got) -> dict[str, str]:
    """What the answer says of limits."""
    return {name.lower().removeprefix(PREFIX): value for name, value in got.head.headers if name.lower().startswith(PREFIX)}


def away(reset: str) -> float:
    """How long until then, in s; exact to a second."""
    at = datetime.datetime.strptime(reset, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    return (at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@pytest.fixture
def serve(rehearsal, upstream):
    """A proxy whose upstream answers as Anthropic does, with a limit."""

    def make(limit: str, headers=()):
        lines = (("Content-Type", "application/json"), *headers)
        upstream.on(PATH, answer(headers=lines, body=json.dumps(MESSAGE).encode()))
        return rehearsal.forward(upstream, fault(f"rate_limit = {{ {limit} }}"))

    return make


def test_only_limits_that_there_are_are_told(serve):
    requests = told(say(serve('requests = 5, per = "50s"')))
    assert set(requests) == {"requests-limit", "requests-remaining", "requests-reset"}
    assert (requests["requests-limit"], requests["requests-remaining"]) == ("5", "4")
    tokens = told(say(serve('tokens = 5000, per = "50s"')))
    assert set(tokens) == {f"{kind}-{what}" for kind in KINDS for what in ("limit", "remaining", "reset")}
    both = told(say(serve('requests = 5, tokens = 5000, per = "50s"')))
    assert set(both) == {*requests, *tokens}


def test_a_reset_is_the_moment_at_which_all_is_there_again(serve):
    proxy = serve('requests = 5, per = "50s"')
    for used in (1, 2, 3):
        # One comes back every 10 s.
        assert 10 * used - 3 < away(told(say(proxy))["requests-reset"]) <= 10 * used + 1.5


def test_what_the_upstream_says_of_its_own_limits_is_replaced_where_ours_is_told(serve):
    own = ((PREFIX + "requests-limit", "9999"), (PREFIX + "requests-remaining", "9998"), (PREFIX + "tokens-limit", "77"))
    found = told(say(serve('requests = 5, per = "50s"', own)))
    assert (found["requests-limit"], found["requests-remaining"]) == ("5", "4")
    assert found["tokens-limit"] == "77", "we have no limit on tokens"


def test_a_refusal_says_when_to_come_back_in_seconds(serve):
    proxy = serve('requests = 2, per = "40s"')
    assert [say(proxy).status for _ in range(2)] == [200, 200]
    got = say(proxy)
    assert got.status == 429
    body = json.loads(got.body)
    assert (body["type"], body["error"]["type"]) == ("error", "rate_limit_error")
    assert "rate limit of 2 requests per minute" in body["error"]["message"]
    assert body["request_id"] == got.get("request-id")
    assert 15 <= int(got.get("retry-after")) <= 20
    assert got.get("retry-after-ms") is None, "Anthropic has no such header"
    assert told(got)["requests-remaining"] == "0"
    assert got.get("x-rehearsal-source") == "fault"


def test_who_waits_as_long_as_told_may_pass(serve):
    proxy = serve('requests = 1, per = "1s"')
    assert say(proxy).status == 200
    refused = say(proxy)
    assert (refused.status, refused.get("retry-after")) == (429, "1")
    time.sleep(1.01)
    assert say(proxy).status == 200


def test_tokens_are_settled_with_what_the_answer_used(serve):
    proxy = serve('tokens = 1000, per = "60s"')
    first, second = say(proxy, max_tokens=800), say(proxy, max_tokens=800)
    # Charged with all that it may use when it was asked, and then with 15.
    assert int(told(first)["tokens-remaining"]) < 200
    assert second.status == 200, "it used far less"
    assert 150 < int(told(second)["tokens-remaining"]) < 200
    # Twice 15, and a quarter of the bytes of this request and its one token.
    assert 930 < int(told(say(proxy, max_tokens=1))["tokens-remaining"]) < 970


def test_a_request_larger_than_the_limit_is_refused_for_good(serve):
    got = say(serve('tokens = 1000, per = "50s"'), max_tokens=5000)
    assert (got.status, json.loads(got.body)["error"]["type"]) == (429, "rate_limit_error")
    assert got.get("retry-after") is None, "waiting would not help"
    assert told(got)["tokens-remaining"] == "1000", "and it costs nothing"


def test_each_key_has_a_limit_of_its_own(serve):
    proxy = serve('requests = 1, per = "50s"')
    assert [say(proxy, client=client).status for client in ("one", "other", "one", "other")] == [200, 200, 429, 429]


def test_no_credit_left_has_no_moment_to_come_back_at(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", fault('status = { error = "quota" }')))
    got = say(proxy)
    error = json.loads(got.body)["error"]
    assert (got.status, error["type"]) == (429, "rate_limit_error")
    assert error["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert got.get("retry-after") is None


def test_a_wait_of_more_than_a_minute_must_be_meant(rehearsal):
    long = 'status = { error = "rate-limit", retry_after = "61s" }'
    done = rehearsal.run("check", rehearsal.file(route("synthesize", "fake", fault(long))))
    assert done.returncode == 2 and "allow_long_retry_after" in done.stderr
    proxy = rehearsal(config=route("synthesize", "fake", fault(f"{long}\nallow_long_retry_after = true")))
    assert say(proxy).get("retry-after") == "61"


def ask_sdk(proxy, **more):
    """Asks as the SDK does, without trying again, and gives its answer with the headers."""
    with anthropic.Anthropic(base_url=proxy.url, api_key="one", max_retries=0, timeout=30) as sdk:
        message = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}], **more}
        return sdk.messages.with_raw_response.create(**message)


def test_the_sdk_sees_what_is_left_of_tokens_both_ways_in_answers_and_refusals(serve, upstream):
    proxy = serve('tokens = 1000, per = "50s"')
    used = {**MESSAGE, "usage": {"input_tokens": 300, "output_tokens": 200}}
    upstream.on(PATH, answer(headers=(("Content-Type", "application/json"),), body=json.dumps(used).encode()))
    answered = ask_sdk(proxy, max_tokens=900)
    assert answered.parse().content[0].text == "Hi"
    # Settled with 500 when it was answered; 20 a second come back.
    with pytest.raises(anthropic.RateLimitError) as refused:
        ask_sdk(proxy, max_tokens=900)
    assert refused.value.response.headers["retry-after"].isdigit()
    for headers in (answered.headers, refused.value.response.headers):
        for what in ("limit", "remaining", "reset"):
            assert len({headers[f"{PREFIX}{kind}-{what}"] for kind in KINDS}) == 1, "one limit for all"
        assert headers[PREFIX + "input-tokens-limit"] == "1000"
        assert away(headers[PREFIX + "output-tokens-reset"]) <= 51
    assert int(answered.headers[PREFIX + "input-tokens-remaining"]) <= 100
    assert 500 <= int(refused.value.response.headers[PREFIX + "output-tokens-remaining"]) < 900


def test_a_made_up_limit_of_tokens_is_told_to_the_sdk_both_ways_too(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", fault('status = { error = "token-limit", retry_after = "7s" }')))
    with pytest.raises(anthropic.RateLimitError) as refused:
        ask_sdk(proxy, max_tokens=5)
    headers = refused.value.response.headers
    assert headers["retry-after"] == "7"
    for kind in KINDS:
        assert headers[f"{PREFIX}{kind}-remaining"] == "0"
        assert 0 < away(headers[f"{PREFIX}{kind}-reset"]) <= 8
