"""Errors and edits in the shape of each provider: what a client of it would see."""

from __future__ import annotations

import json

import pytest
import wire
from conftest import route
from rawclient import post_json
from upstream import answer, stream

OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
VERSION = [("anthropic-version", "2023-06-01")]
ASK = b'{"model":"m-1","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
ASK_STREAM = b'{"model":"m-1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
ASK_GEMINI = b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'

# Whether coming back helps; then the status and the type (or code) at each.
ERRORS = {
    "rate-limit": (True, (429, "requests", "rate_limit_exceeded"), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    "token-limit": (True, (429, "tokens", "rate_limit_exceeded"), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    "quota": (False, (429, "insufficient_quota", "insufficient_quota"), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    "slow-down": (True, (429, "rate_limit_error", "slow_down"), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    "overloaded": (True, (503, "service_unavailable_error", "server_is_overloaded"), (529, "overloaded_error"), (503, "UNAVAILABLE")),
    "internal": (True, (500, "server_error", None), (500, "api_error"), (500, "INTERNAL")),
    "timeout": (True, (504, "server_error", None), (504, "timeout_error"), (504, "DEADLINE_EXCEEDED")),
    "context-length": (False, (400, "invalid_request_error", "context_length_exceeded"), (400, "invalid_request_error"), (400, "INVALID_ARGUMENT")),
    "invalid-request": (False, (400, "invalid_request_error", None), (400, "invalid_request_error"), (400, "INVALID_ARGUMENT")),
    "authentication": (False, (401, "invalid_request_error", "invalid_api_key"), (401, "authentication_error"), (401, "UNAUTHENTICATED")),
    "permission": (False, (403, "invalid_request_error", None), (403, "permission_error"), (403, "PERMISSION_DENIED")),
    "not-found": (False, (404, "invalid_request_error", "model_not_found"), (404, "not_found_error"), (404, "NOT_FOUND")),
    "too-large": (False, (413, "invalid_request_error", None), (413, "request_too_large"), (400, "INVALID_ARGUMENT")),
    "content-filter": (False, (400, "invalid_request_error", "content_policy_violation"), (400, "invalid_request_error"), (400, "INVALID_ARGUMENT")),
}


def fault(text: str) -> str:
    return f"[[route.fault]]\n{text}\n"


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_said_as_each_provider_says_it(rehearsal, name):
    helps, (status, kind, code), (a_status, a_kind), (g_status, g_word) = ERRORS[name]
    proxy = rehearsal(config=route("synthesize", "fake", fault(f'status = {{ error = "{name}", retry_after = "7s" }}')))

    got = post_json(proxy.url, OPENAI, ASK)
    body = json.loads(got.body)
    assert list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}
    assert (got.status, body["error"]["type"], body["error"]["code"]) == (status, kind, code)
    assert body["error"]["message"]
    assert body["error"]["param"] == ("messages" if name == "context-length" else None)
    assert (got.get("retry-after"), got.get("retry-after-ms")) == (("7", "7000") if helps else (None, None))
    assert got.get("x-request-id").startswith("req_")
    assert got.get("content-type") == "application/json"

    got = post_json(proxy.url, ANTHROPIC, ASK, VERSION)
    body = json.loads(got.body)
    assert set(body) == {"type", "error", "request_id"} and body["type"] == "error"
    assert (got.status, body["error"]["type"]) == (a_status, a_kind)
    assert body["error"]["message"]
    assert got.get("retry-after") == ("7" if helps else None)
    assert got.get("request-id") == body["request_id"]
    details = {"error_code": "enforced_spend_limit_reached"} if name == "quota" else None
    assert body["error"].get("details") == details

    got = post_json(proxy.url, GEMINI, ASK_GEMINI)
    error = json.loads(got.body)["error"]
    assert (got.status, error["code"], error["status"]) == (g_status, g_status, g_word)
    assert error["message"]
    assert got.get("retry-after") is None, "it says so in the body"
    delays = [one["retryDelay"] for one in error.get("details", []) if one["@type"].endswith("RetryInfo")]
    assert delays == (["7s"] if helps else [])


def sse(kind: str, **members) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **members}).encode() + b"\n\n"


MESSAGE = [
    sse("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [], "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}),
    sse("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "One"}),
    sse("content_block_delta", index=0, delta={"type": "text_delta", "text": " two"}),
    sse("content_block_stop", index=0),
    sse("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}),
    sse("message_stop"),
]


@pytest.fixture
def message(rehearsal, upstream):
    """An answer of Anthropic, streamed, with these faults."""

    def make(text):
        upstream.on(ANTHROPIC, stream(MESSAGE, 0.01))
        return post_json(rehearsal.forward(upstream, fault(text)).url, ANTHROPIC, ASK_STREAM, VERSION)

    return make


@pytest.mark.parametrize(("name", "kind"), [("overloaded", "overloaded_error"), ("internal", "api_error"), ("rate-limit", "rate_limit_error")])
def test_an_error_stands_in_a_stream_of_anthropic(message, name, kind):
    got = message(f'error_event = {{ after = {{ events = 3 }}, error = "{name}" }}')
    before = b"".join(MESSAGE[:3])
    assert got.body.startswith(before)
    assert got.end == wire.COMPLETE
    frame = got.body[len(before) :]
    assert frame.startswith(b"event: error\ndata: ") and frame.count(b"\n\n") == 1
    data = json.loads(frame.split(b"data: ", 1)[1])
    assert (data["type"], data["error"]["type"], data["error"]["details"]) == ("error", kind, None)
    assert b"message_stop" not in got.body


def test_an_error_before_the_terminator_of_anthropic(message):
    got = message('error_event = { after = "before-terminator", error = "overloaded" }')
    assert got.body.startswith(b"".join(MESSAGE[:-1]) + b"event: error\n")
    assert b"message_stop" not in got.body


def test_the_event_lines_of_anthropic_are_dropped(message):
    got = message("drop_event_lines = true")
    assert got.body == b"".join(one[one.index(b"data: ") :] for one in MESSAGE)


def test_the_text_of_anthropic_is_dropped(message):
    got = message('drop = "content"')
    assert b"text_delta" not in got.body and got.body.endswith(MESSAGE[-1])


def test_the_terminator_of_anthropic_is_dropped(message):
    assert message('drop = "terminator"').body == b"".join(MESSAGE[:-1])


def chunk(delta, finish=None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


def part(text, **more):
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}, **more}]})


BEGIN = chunk({"role": "assistant", "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]})
PARTS = [part('{"city": '), part('"Paris", '), part('"days": 34}')]
CALL = [BEGIN, *PARTS, chunk({}, "tool_calls"), b"data: [DONE]\n\n"]


@pytest.fixture
def called(rehearsal, upstream):
    """What a client makes of a streamed call of a tool under this fault: (ids, indexes, names, arguments)."""

    def make(wrong):
        upstream.on(OPENAI, stream(CALL, 0.01))
        got = post_json(rehearsal.forward(upstream, fault(f'tool_args = "{wrong}"')).url, OPENAI, ASK_STREAM)
        assert got.end == wire.COMPLETE
        assert got.body.endswith(b"".join(CALL[-2:])), "the end is as it was"
        frames = [json.loads(line[6:]) for line in got.body.decode().split("\n\n") if line.startswith("data: {")]
        calls = [call for frame in frames for call in frame["choices"][0]["delta"].get("tool_calls", [])]
        return (
            [call["id"] for call in calls if "id" in call],
            [call["index"] for call in calls],
            [call["function"]["name"] for call in calls if "name" in call["function"]],
            "".join(call["function"]["arguments"] for call in calls),
        )

    return make


WHOLE = '{"city": "Paris", "days": 34}'


def test_arguments_of_a_tool_end_in_the_middle(called):
    ids, indexes, names, arguments = called("cut")
    assert (ids, set(indexes), names) == (["call_1"], {0}, ["get_weather"])
    assert arguments and WHOLE.startswith(arguments) and arguments != WHOLE


def test_a_call_of_a_tool_has_another_id(called):
    ids, indexes, names, arguments = called("wrong-id")
    assert (set(indexes), names, arguments) == ({0}, ["get_weather"], WHOLE)
    assert len(ids) == 1 and ids != ["call_1"]


def test_a_call_of_a_tool_goes_on_under_another_index(called):
    ids, indexes, names, arguments = called("wrong-index")
    assert (ids, indexes, names, arguments) == (["call_1"], [0, 1, 1, 1], ["get_weather"], WHOLE)


def test_a_tool_is_called_that_nobody_has(called):
    ids, indexes, names, arguments = called("unknown-tool")
    assert (ids, set(indexes), arguments) == (["call_1"], {0}, WHOLE)
    assert len(names) == 1 and names != ["get_weather"]


def test_arguments_of_a_tool_have_other_values(called):
    ids, indexes, names, arguments = called("wrong-value")
    assert (ids, set(indexes), names) == (["call_1"], {0}, ["get_weather"])
    assert arguments != WHOLE
    got = json.loads(arguments)
    assert list(got) == ["city", "days"]
    assert isinstance(got["city"], str) and isinstance(got["days"], int)
    assert got["city"] != "Paris" and got["days"] != 34


AZURE = "/openai/deployments/d-1/chat/completions?api-version=2024-10-21"
STREAM_GEMINI = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"


def test_the_gateway_of_azure_has_codes_that_are_texts(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", fault('status = { error = "token-limit", retry_after = "7s" }')))
    got = post_json(proxy.url, AZURE, ASK, [("api-key", "k")])
    error = json.loads(got.body)["error"]
    assert (got.status, set(error), error["code"]) == (429, {"code", "message"}, "429")
    assert "under Azure OpenAI API version 2024-10-21 have exceeded token rate limit" in error["message"]
    assert "Please retry after 7 seconds." in error["message"]
    assert (got.get("retry-after"), got.get("retry-after-ms")) == ("7", "7000")
    assert got.get("x-ratelimit-remaining-tokens") == "0"
    assert got.get("apim-request-id")


def test_an_error_of_azure_stands_in_its_stream(rehearsal, upstream):
    events = [b'data: {"choices":[{"index":0,"delta":{"content":"One"}}]}\n\n', b"data: [DONE]\n\n"]
    upstream.on(AZURE.split("?")[0], stream(events))
    proxy = rehearsal.forward(upstream, fault('error_event = { after = { events = 1 }, error = "content-filter" }'))
    got = post_json(proxy.url, AZURE, ASK_STREAM)
    error = json.loads(got.body.removeprefix(events[0]).removeprefix(b"data: "))["error"]
    assert (error["code"], error["status"], error["param"]) == ("content_filter", 400, "prompt")


def test_a_stream_of_gemini_that_is_refused_is_a_list_unless_events_are_asked_for(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", fault('status = { error = "overloaded" }')))
    (only,) = json.loads(post_json(proxy.url, STREAM_GEMINI, ASK_GEMINI).body)
    assert only["error"]["status"] == "UNAVAILABLE"
    assert json.loads(post_json(proxy.url, f"{STREAM_GEMINI}?alt=sse", ASK_GEMINI).body) == only


def test_an_error_stands_in_a_stream_of_gemini(rehearsal, upstream):
    event = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"One"}]},"index":0}]}\r\n\r\n'
    upstream.on(STREAM_GEMINI, stream([event, event, event]))
    proxy = rehearsal.forward(upstream, fault('error_event = { after = { events = 2 }, error = "overloaded" }'))
    got = post_json(proxy.url, f"{STREAM_GEMINI}?alt=sse", ASK_GEMINI)
    assert (got.status, got.end) == (200, wire.COMPLETE)
    assert got.body.startswith(event * 2)
    error = json.loads(got.body.removeprefix(event * 2).removeprefix(b"data: "))["error"]
    assert (error["code"], error["status"]) == (503, "UNAVAILABLE")


def test_the_json_of_a_plain_body_is_broken(rehearsal, upstream):
    text = json.dumps({"id": "c1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}).encode()
    upstream.on(OPENAI, answer(body=text))
    got = post_json(rehearsal.forward(upstream, fault("invalid_json = 1")).url, OPENAI, ASK)
    assert (got.status, got.end, got.get("content-type")) == (200, wire.COMPLETE, "application/json")
    assert got.body
    with pytest.raises(ValueError):
        json.loads(got.body)
