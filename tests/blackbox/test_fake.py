"""What `rehearsal fake` makes of requests, as the OpenAI SDK and a raw client see it."""

from __future__ import annotations

import json

import openai
import pytest
from conftest import route
from rawclient import ask, post_json

PATH = "/v1/chat/completions"
USER = [{"role": "user", "content": "a b c"}]
SAID = "You said: “a b c” This is a made-up answer from rehearsal."


@pytest.fixture
def fake(rehearsal):
    return rehearsal("fake", "--ttft", "0s", "--gap", "1ms")


@pytest.fixture
def sdk(fake, closing) -> openai.OpenAI:
    return closing(openai.OpenAI(base_url=f"{fake.url}/v1", api_key="any", max_retries=0, timeout=60))


def streamed(sdk: openai.OpenAI, **more) -> tuple[dict[int, str], dict[int, str]]:
    """The text and the reason of each choice."""
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for chunk in sdk.chat.completions.create(model="m", stream=True, **{"messages": USER, **more}):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    return texts, reasons


@pytest.mark.parametrize(
    "more, said, reason",
    [
        ({}, SAID, "stop"),
        ({"stop": "made-up"}, SAID.split("made-up")[0], "stop"),
        ({"stop": ["nowhere", " b"]}, SAID.split(" b")[0], "stop"),
        ({"max_tokens": 3}, "You said: “a", "length"),
        ({"max_completion_tokens": 3, "max_tokens": 5}, "You said: “a", "length"),
        ({"max_tokens": 3, "stop": "made-up"}, "You said: “a", "length"),
        ({"max_tokens": 3, "stop": "said"}, "You ", "stop"),
    ],
)
@pytest.mark.parametrize("n", [None, 1, 3])
def test_an_answer_ends_where_it_is_asked_to(sdk, more, said, reason, n):
    if n is not None:
        more = {**more, "n": n}
    whole = sdk.chat.completions.create(model="m", messages=USER, **more)
    assert [choice.message.content for choice in whole.choices] == [said] * (n or 1)
    assert {choice.finish_reason for choice in whole.choices} == {reason}
    assert streamed(sdk, **more) == ({index: said for index in range(n or 1)}, {index: reason for index in range(n or 1)})


def test_usage_is_told_where_it_is_asked_for(sdk):
    def usages(**more):
        chunks = list(sdk.chat.completions.create(model="m", messages=USER, stream=True, max_tokens=3, **more))
        return [(bool(chunk.choices), chunk.usage and chunk.usage.total_tokens) for chunk in chunks if not chunk.choices or chunk.usage]

    assert usages() == []
    assert usages(stream_options={"include_usage": True}) == [(False, 6)]
    assert usages(stream_options={"include_usage": True}, n=2) == [(False, 9)]


@pytest.mark.parametrize(
    "messages, said",
    [
        ([{"role": "system", "content": "be brief"}, *USER], SAID),
        ([{"role": "developer", "content": "be brief"}, *USER], SAID),
        ([*USER, {"role": "assistant", "content": "x"}, {"role": "tool", "content": "y", "tool_call_id": "1"}], SAID),
        ([{"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "c"}]}], SAID),
        ([{"role": "system", "content": "only"}], "There was no text to answer, and this is a made-up answer from rehearsal."),
        ([{"role": "user", "content": "grüße 你好 \U0001f642"}], "You said: “grüße 你好 \U0001f642” This is a made-up answer from rehearsal."),
    ],
)
def test_every_role_is_taken_and_the_last_words_of_the_user_come_back(sdk, messages, said):
    assert sdk.chat.completions.create(model="m", messages=messages).choices[0].message.content == said
    assert streamed(sdk, messages=messages)[0] == {0: said}


def test_tools_may_be_offered_but_not_demanded(sdk):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    assert sdk.chat.completions.create(model="m", messages=USER, tools=tools).choices[0].message.content == SAID
    with pytest.raises(openai.BadRequestError, match="the built-in backend calls no tools"):
        sdk.chat.completions.create(model="m", messages=USER, tools=tools, tool_choice="required")


@pytest.mark.parametrize(
    "more, message",
    [
        ({"max_tokens": 0}, "Invalid value for 'max_tokens': expected a whole number of at least 1."),
        ({"max_tokens": 1.5}, "Invalid value for 'max_tokens': expected a whole number of at least 1."),
        ({"min_tokens": -1}, "Invalid value for 'min_tokens': expected a whole number of at least 0."),
        ({"min_tokens": 20_001}, "Invalid value for 'min_tokens': the built-in backend makes up at most 20000 tokens."),
        ({"n": 0}, "Invalid value for 'n': expected a whole number of at least 1."),
        ({"n": 129}, "Invalid value for 'n': expected at most 128 choices."),
        ({"stop": [1]}, "Invalid value for 'stop': expected a text that is not empty, or up to 4 of them."),
        ({"stream": "yes"}, "Invalid value for 'stream': expected a boolean."),
        ({"model": None}, "Invalid value for 'model': you must provide a model parameter, a string."),
        ({"messages": []}, "Invalid value for 'messages': expected an array with at least one message."),
        ({"messages": ["hi"]}, "Invalid value for 'messages': expected each message to be an object with a role."),
    ],
)
def test_a_wrong_wish_is_refused_as_the_api_does_it(fake, more, message):
    got = post_json(fake.url, PATH, json.dumps({"model": "m", "messages": USER, **more}).encode())
    assert got.status == 400
    error = json.loads(got.body)["error"]
    assert (error["message"], error["type"], error["param"]) == (message, "invalid_request_error", next(iter(more)))


@pytest.mark.parametrize("body", [b"", b"{", b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}', b"\xff"])
def test_what_is_no_json_is_refused(fake, body):
    got = post_json(fake.url, PATH, body)
    assert got.status == 400
    assert json.loads(got.body)["error"]["message"].startswith("We could not parse the JSON body of your request")


def test_no_wish_for_tokens_is_the_wish_for_none(fake):
    """Load generators send `min_tokens: 0` beside `ignore_eos`."""
    asked = {"model": "m", "messages": USER, "min_tokens": 0}
    for more, count in (({}, 12), ({"ignore_eos": True, "max_tokens": 30}, 30)):
        got = post_json(fake.url, PATH, json.dumps({**asked, **more}).encode())
        assert (got.status, json.loads(got.body)["usage"]["completion_tokens"]) == (200, count)


def test_a_large_prompt_is_read_whole_and_not_said_back_whole(fake):
    body = {"model": "m", "messages": [{"role": "user", "content": "word " * 400_000}]}
    got = json.loads(post_json(fake.url, PATH, json.dumps(body).encode(), timeout=60).body)
    assert got["usage"]["prompt_tokens"] == 400_000
    assert len(got["choices"][0]["message"]["content"].split()) < 60


def test_other_paths_and_methods_are_refused_with_what_there_is(fake):
    for method, path, status in [
        ("POST", "/v1/completions", 404),
        ("GET", "/", 404),
        ("GET", PATH, 405),
        ("DELETE", "/v1/models/m", 405),
        ("OPTIONS", PATH, 405),
    ]:
        got = ask(fake.url, method, path)
        assert got.status == status, (method, path)
        assert json.loads(got.body)["error"]["message"]
    assert ask(fake.url, "HEAD", "/v1/models").status == 200


@pytest.mark.parametrize("mode", ["synthesize", "forward", "record"])
def test_a_route_to_the_fake_may_have_a_prefix_of_its_own(rehearsal, cassette, mode):
    """As in the README's example: what is stripped for an upstream is stripped for the built-in one."""
    more = 'match = { path = "/fake/**" }\nstrip_prefix = "/fake"'
    proxy = rehearsal(config=route(mode, "fake", more, cassette=cassette))
    got = post_json(proxy.url, f"/fake{PATH}", json.dumps({"model": "m", "messages": USER}).encode())
    assert (got.status, json.loads(got.body)["choices"][0]["message"]["content"]) == (200, SAID)
    missing = post_json(proxy.url, "/fake/v1/nothing", b"{}")
    assert missing.status == 404 and "POST /v1/nothing" in json.loads(missing.body)["error"]["message"]
