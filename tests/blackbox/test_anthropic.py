"""The Anthropic SDKs, Python and Node, through the proxy: recorded from a mock that others wrote, replayed without it."""

from __future__ import annotations

import json

import anthropic
import pytest
from peers import GOOD_KEY, OTHER_KEY, STORY, AiMock, run_node
from sdk import play

TOOLS = [
    {
        "name": "get_weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}},
    }
]


def asking(text, **more):
    return {"model": "claude-mock-1", "max_tokens": 400, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def real(tmp_path, closing):
    return closing(AiMock(tmp_path))


def with_sdk(use):
    """A client for `play`: makes the SDK's, and closes it."""

    def client(url, key):
        with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30) as sdk:
            return use(sdk)

    return client


def test_a_message_is_the_same_again(rehearsal, tap, real, cassette):
    def use(sdk):
        return sdk.messages.create(**asking("hello")).model_dump()

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded["content"][0]["text"] == "Hello! Grüße, 你好, 👋"


def test_a_streamed_message_is_the_same_again_in_its_chunks_and_times(rehearsal, tap, real, cassette):
    def use(sdk):
        return [event.model_dump() for event in sdk.messages.create(**asking("tell a story"), stream=True)]

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    deltas = [event["delta"] for event in story.recorded if event["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == STORY * 2
    (wired,) = story.replayed_wire
    assert len(wired.answer.chunks) > 10
    assert wired.answer.body.count(b"event: ") == len(story.recorded)
    assert wired.offsets[-1] - wired.offsets[0] > 0.3, "a replay at speed 1 takes its time"


def test_the_streaming_helper_works_on_a_replay(rehearsal, tap, real, cassette):
    def use(sdk):
        with sdk.messages.stream(**asking("tell a story")) as stream:
            text = "".join(stream.text_stream)
            return text, stream.get_final_message().model_dump()

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded[0] == STORY * 2


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_tool_use_is_the_same_again(rehearsal, tap, real, cassette, streams):
    def use(sdk):
        got = sdk.messages.create(**asking("weather", tools=TOOLS), stream=streams)
        return [event.model_dump() for event in got] if streams else got.model_dump()

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert "get_weather" in json.dumps(story.recorded)


def test_an_error_is_the_same_again(rehearsal, tap, real, cassette):
    def use(sdk):
        with pytest.raises(anthropic.RateLimitError) as caught:
            sdk.messages.create(**asking("too much"))
        return caught.value.status_code, caught.value.body, caught.value.message

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded[0] == 429


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_a_key_in_either_header_is_left_out(rehearsal, tap, real, cassette, header):
    """SDKs before 1.0 send `X-Api-Key`, later ones `Authorization: Bearer`."""

    def client(url, key):
        value = {"x-api-key": key, "authorization": f"Bearer {key}"}[header]
        other = {"x-api-key": "authorization", "authorization": "x-api-key"}[header]
        with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, default_headers={header: value, other: anthropic.Omit()}) as sdk:
            return sdk.messages.create(**asking("hello")).model_dump()

    story = play(rehearsal, tap, real, cassette, client, GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded_wire[0].request.get(header)


def test_a_miss_is_told_once_and_not_retried(rehearsal, tap, cassette):
    cassette.mkdir()
    tapped = tap(rehearsal.replay(cassette))
    with anthropic.Anthropic(base_url=tapped.url, api_key="any") as sdk:
        with pytest.raises(anthropic.NotFoundError) as caught:
            sdk.messages.create(**asking("never asked"))
    assert "no recording" in str(caught.value)
    assert len(tapped.exchanges()) == 1


def test_the_node_sdk_gets_the_same_again(rehearsal, tap, real, cassette):
    story = play(rehearsal, tap, real, cassette, lambda url, key: run_node("anthropic.mjs", url, key), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded["message"]["content"][0]["text"] == "Hello! Grüße, 你好, 👋"
    assert any(block["type"] == "tool_use" for block in story.recorded["toolStream"]["content"])
    assert len(story.recorded["stream"]) > 10
    assert story.recorded["error"]["status"] == 429
    assert len(story.recorded_wire) == 5
