"""Puts the Python SDKs of OpenAI and Anthropic through one request each, and tells what came of it.

`node/matrix.mjs` does the same with those for Node. Both take the same asks and tell the same members.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from typing import Any

import anthropic
import openai
from anthropic import _base_client as anthropic_base
from openai import _base_client as openai_base
from peers import GOOD_KEY

TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "number"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": TOOL, "strict": True}}
MESSAGES_TOOL = {"name": "get_weather", "input_schema": TOOL}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": TOOL, "strict": True}


class Naps:
    """The module `time` as the SDKs see it: notes how long they mean to sleep, and lets those in a hurry sleep less."""

    def __init__(self) -> None:
        self.of_thread = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        waits = getattr(self.of_thread, "waits", None)
        if waits is not None:
            waits.append(seconds)
        time.sleep(min(seconds, 0.01) if getattr(self.of_thread, "is_in_a_hurry", False) else seconds)


NAPS = Naps()
for module in (openai_base, anthropic_base):
    module.time = NAPS  # type: ignore[attr-defined, assignment]


def play(url: str, ask: dict[str, Any]) -> dict[str, Any]:
    """One request, with all that the SDK does for it."""
    seen: dict[str, Any] = {
        "kind": "fine",
        "status": None,
        "type": None,
        "code": None,
        "text": "",
        "finish": None,
        "tool": None,
        "events": 0,
        "attempts": [],
        "waits": [],
        "marks": [],
    }
    library: Any = openai if ask["sdk"] == "openai" else anthropic
    NAPS.of_thread.waits = seen["waits"]
    NAPS.of_thread.is_in_a_hurry = ask["hurry"]
    begun = time.monotonic()
    with client_of(library, url, ask, seen) as client:
        for turn in range(ask["times"]):
            if turn:
                time.sleep(ask["pause"])
            try:
                WAYS[ask["sdk"], ask["way"]](client, ask["prompt"], seen)
            except Exception as error:  # noqa: BLE001 - which one is what is asked
                tell(library, error, seen)
    seen["seconds"] = time.monotonic() - begun
    return seen


def client_of(library: Any, url: str, ask: dict[str, Any], seen: dict[str, Any]) -> Any:
    def on_request(request: Any) -> None:
        # The number of the attempt, as the SDK says it itself.
        seen["attempts"].append(int(request.headers["x-stainless-retry-count"]))

    def on_answer(response: Any) -> None:
        seen["marks"].append(response.headers.get("x-rehearsal-fault"))

    # Certificates are not needed here, and take longer to load than all the rest.
    http = library.DefaultHttpxClient(event_hooks={"request": [on_request], "response": [on_answer]}, verify=False)
    options = {
        "api_key": GOOD_KEY,
        "max_retries": 2,
        "timeout": ask["timeout"],
        "http_client": http,
        "default_headers": {"x-case": ask["name"], "x-rehearsal-client": ask["client"]},
    }
    if library is openai:
        if ask["prefix"]:
            options["default_headers"]["api-key"] = GOOD_KEY
        return openai.OpenAI(base_url=f"{url}{ask['prefix']}/v1", **options)
    return anthropic.Anthropic(base_url=url + ask["prefix"], **options)


def tell(library: Any, error: Exception, seen: dict[str, Any]) -> None:
    """What a program sees of an error. Of those that are not the SDK's own it is said whose they are."""
    package = type(error).__module__.split(".")[0]
    is_own = package in (library.__name__, "builtins")
    seen["kind"] = type(error).__name__ if is_own else f"{package}.{type(error).__name__}"
    seen["status"] = getattr(error, "status_code", None)
    seen["type"] = getattr(error, "type", None)
    seen["code"] = getattr(error, "code", None)
    seen["says"] = str(error)[:200]


def messages(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def chat(client: Any, prompt: str, seen: dict[str, Any], streams: bool = False) -> None:
    tools = {"tools": [CHAT_TOOL]} if prompt == "weather" else {}
    got = client.chat.completions.create(model="gpt-4o", messages=messages(prompt), stream=streams, **tools)
    if not streams:
        chat_whole(got, seen)
        return
    for chunk in got:
        seen["events"] += 1
        for choice in chunk.choices:
            seen["text"] += choice.delta.content or ""
            seen["finish"] = choice.finish_reason or seen["finish"]
            for call in choice.delta.tool_calls or []:
                seen["tool"] = (seen["tool"] or "") + (call.function.arguments or "")


def chat_whole(got: Any, seen: dict[str, Any]) -> None:
    if isinstance(got, str):
        seen["text"], seen["finish"] = got, "str"
        return
    choice = got.choices[0]
    seen["text"], seen["finish"] = choice.message.content or "", choice.finish_reason
    for call in choice.message.tool_calls or []:
        seen["tool"] = call.function.arguments
        seen["parsed"] = getattr(call.function, "parsed_arguments", None)


def chat_helper(client: Any, prompt: str, seen: dict[str, Any]) -> None:
    tools = {"tools": [CHAT_TOOL]} if prompt == "weather" else {}
    with client.chat.completions.stream(model="gpt-4o", messages=messages(prompt), **tools) as stream:
        for event in stream:
            if event.type == "chunk":
                seen["events"] += 1
            if event.type == "content.delta":
                seen["text"] += event.delta
        chat_whole(stream.get_final_completion(), seen)


def message(client: Any, prompt: str, seen: dict[str, Any], streams: bool = False) -> None:
    tools = {"tools": [MESSAGES_TOOL]} if prompt == "weather" else {}
    got = client.messages.create(model="claude-mock-1", max_tokens=400, messages=messages(prompt), stream=streams, **tools)
    if not streams:
        message_whole(got, seen)
        return
    for event in got:
        seen["events"] += 1
        delta = getattr(event, "delta", None)
        seen["text"] += getattr(delta, "text", None) or ""
        seen["finish"] = getattr(delta, "stop_reason", None) or seen["finish"]
        if getattr(delta, "partial_json", None) is not None:
            seen["tool"] = (seen["tool"] or "") + delta.partial_json


def message_whole(got: Any, seen: dict[str, Any]) -> None:
    if isinstance(got, str):
        seen["text"], seen["finish"] = got, "str"
        return
    seen["text"] = "".join(block.text for block in got.content if block.type == "text")
    seen["finish"] = got.stop_reason
    for block in got.content:
        if block.type == "tool_use":
            seen["tool"] = json.dumps(block.input, separators=(",", ":"))


def message_helper(client: Any, prompt: str, seen: dict[str, Any]) -> None:
    tools = {"tools": [MESSAGES_TOOL]} if prompt == "weather" else {}
    with client.messages.stream(model="claude-mock-1", max_tokens=400, messages=messages(prompt), **tools) as stream:
        for event in stream:
            seen["events"] += 1
            if event.type == "text":
                seen["text"] += event.text
        message_whole(stream.get_final_message(), seen)


def response(client: Any, prompt: str, seen: dict[str, Any], streams: bool = False) -> None:
    tools = {"tools": [RESPONSES_TOOL]} if prompt == "weather" else {}
    got = client.responses.create(model="gpt-4o", input=prompt, stream=streams, **tools)
    if not streams:
        response_whole(got, seen)
        return
    for event in got:
        response_event(event, seen)


def response_event(event: Any, seen: dict[str, Any]) -> None:
    """The finish is the last event that ends a response or says why there is none."""
    seen["events"] += 1
    if event.type == "response.output_text.delta":
        seen["text"] += event.delta
    elif event.type == "response.function_call_arguments.done":
        seen["tool"] = event.arguments
    elif event.type in ("response.completed", "response.failed", "error"):
        seen["finish"] = event.type
        failed = event.response.error if event.type == "response.failed" else event
        seen["code"] = getattr(failed, "code", None)


def response_whole(got: Any, seen: dict[str, Any]) -> None:
    if isinstance(got, str):
        seen["text"], seen["finish"] = got, "str"
        return
    seen["text"], seen["finish"] = got.output_text, got.status
    for item in got.output:
        if item.type == "function_call":
            seen["tool"] = item.arguments
            seen["parsed"] = getattr(item, "parsed_arguments", None)


def response_helper(client: Any, prompt: str, seen: dict[str, Any]) -> None:
    tools = {"tools": [RESPONSES_TOOL]} if prompt == "weather" else {}
    with client.responses.stream(model="gpt-4o", input=prompt, **tools) as stream:
        for event in stream:
            response_event(event, seen)
        response_whole(stream.get_final_response(), seen)


# What a program can call, of each SDK.
WAYS: dict[tuple[str, str], Any] = {
    ("openai", "create"): chat,
    ("openai", "stream"): functools.partial(chat, streams=True),
    ("openai", "helper"): chat_helper,
    ("openai", "responses"): response,
    ("openai", "responses-stream"): functools.partial(response, streams=True),
    ("openai", "responses-helper"): response_helper,
    ("anthropic", "create"): message,
    ("anthropic", "stream"): functools.partial(message, streams=True),
    ("anthropic", "helper"): message_helper,
}
