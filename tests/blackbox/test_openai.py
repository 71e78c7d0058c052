"""The OpenAI SDKs, Python and Node, through the proxy: recorded from a mock that others wrote, replayed without it."""

from __future__ import annotations

import json

import openai
import pytest
from peers import GOOD_KEY, OTHER_KEY, STORY, AiMock, run_node
from sdk import play

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}},
        },
    }
]


def user(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def real(tmp_path, closing):
    return closing(AiMock(tmp_path))


def with_sdk(use):
    """A client for `play`: makes the SDK's, and closes it."""

    def client(url, key):
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30) as sdk:
            return use(sdk)

    return client


def test_a_chat_is_the_same_again(rehearsal, tap, real, cassette):
    def use(sdk):
        return sdk.chat.completions.create(model="gpt-4o", messages=user("hello")).model_dump()

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded["choices"][0]["message"]["content"] == "Hello! Grüße, 你好, 👋"


def test_a_streamed_chat_is_the_same_again_in_its_chunks_and_times(rehearsal, tap, real, cassette):
    def use(sdk):
        stream = sdk.chat.completions.create(
            model="gpt-4o", messages=user("tell a story"), stream=True, stream_options={"include_usage": True}
        )
        return [chunk.model_dump() for chunk in stream]

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    text = "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in story.recorded if chunk["choices"])
    assert text == STORY * 2
    (wired,) = story.replayed_wire
    assert len(wired.answer.chunks) > 10
    assert wired.answer.body.endswith(b"data: [DONE]\n\n")
    assert wired.offsets[-1] - wired.offsets[0] > 0.3, "a replay at speed 1 takes its time"


def test_the_streaming_helper_works_on_a_replay(rehearsal, tap, real, cassette):
    def use(sdk):
        with sdk.chat.completions.stream(model="gpt-4o", messages=user("tell a story")) as stream:
            events = [event.type for event in stream]
            return events, stream.get_final_completion().choices[0].message.content

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded[1] == STORY * 2


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_tool_calls_are_the_same_again(rehearsal, tap, real, cassette, streams):
    def use(sdk):
        got = sdk.chat.completions.create(model="gpt-4o", messages=user("weather"), tools=TOOLS, stream=streams)
        return [chunk.model_dump() for chunk in got] if streams else got.model_dump()

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert "get_weather" in json.dumps(story.recorded)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings_are_the_same_again(rehearsal, tap, real, cassette, encoding):
    def use(sdk):
        more = {"encoding_format": encoding} if encoding else {}
        return sdk.embeddings.create(model="text-embedding-3-small", input="embed me", **more).model_dump()

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded["data"][0]["embedding"]


def test_an_error_is_the_same_again(rehearsal, tap, real, cassette):
    def use(sdk):
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.chat.completions.create(model="gpt-4o", messages=user("too much"))
        return caught.value.status_code, caught.value.body, caught.value.message

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded[0] == 429


def test_a_whole_conversation_is_the_same_again(rehearsal, tap, real, cassette):
    """Several requests on one connection, the same one twice among them."""

    def use(sdk):
        told = []
        for text in ("hello", "weather", "hello", "tell a story"):
            told.append(sdk.chat.completions.create(model="gpt-4o", messages=user(text)).model_dump())
        return told

    story = play(rehearsal, tap, real, cassette, with_sdk(use), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded[0]["id"] != story.recorded[2]["id"], "the mock gives each answer its own id, so order is seen"


def test_a_miss_is_told_once_and_not_retried(rehearsal, tap, cassette):
    """A 5xx would be tried three times, and its cause be hidden."""
    cassette.mkdir()
    tapped = tap(rehearsal.replay(cassette))
    with openai.OpenAI(base_url=f"{tapped.url}/v1", api_key="any") as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            sdk.chat.completions.create(model="gpt-4o", messages=user("never asked"))
    assert "no recording" in caught.value.message
    assert len(tapped.exchanges()) == 1


def test_an_upstream_that_breaks_in_a_stream_is_an_error_of_the_sdk(rehearsal, upstream):
    """Never a short answer that looks whole."""
    from upstream import stream

    piece = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {**piece, "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}
    pieces = [b"data: " + json.dumps(delta).encode() + b"\n\n"] * 3
    for how in ("fin", "rst"):
        upstream.on("/v1/chat/completions", stream(pieces, 0.02, then=how))
        proxy = rehearsal.forward(upstream)
        with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0) as sdk:
            with pytest.raises(Exception, match="(?i)peer closed|incomplete|reset|connection|disconnected"):
                list(sdk.chat.completions.create(model="m", messages=user("x"), stream=True))


def test_the_embedded_default_satisfies_the_strict_sdk(rehearsal, tmp_path):
    """`_strict_response_validation` checks each answer and each chunk against the SDK's types."""
    proxy = rehearsal("serve", where=tmp_path)
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0, _strict_response_validation=True) as sdk:
        for _ in range(2):
            whole = sdk.chat.completions.create(model="gpt-4o", messages=user("hi"))
            assert whole.choices[0].message.content
            assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
            stream = sdk.chat.completions.create(model="gpt-4o", messages=user("hi"), stream=True, stream_options={"include_usage": True})
            chunks = list(stream)
            assert chunks[0].choices[0].delta.role == "assistant"
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
            assert chunks[-1].usage.completion_tokens > 0


def test_the_node_sdk_gets_the_same_again(rehearsal, tap, real, cassette):
    story = play(rehearsal, tap, real, cassette, lambda url, key: run_node("openai.mjs", url, key), GOOD_KEY, OTHER_KEY)
    assert story.replayed == story.recorded
    assert story.recorded["chat"]["choices"][0]["message"]["content"] == "Hello! Grüße, 你好, 👋"
    assert story.recorded["tools"]["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert len(story.recorded["stream"]) > 10
    assert story.recorded["error"]["status"] == 429
    assert len(story.recorded_wire) == 6
