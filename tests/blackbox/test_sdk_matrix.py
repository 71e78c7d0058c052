"""How the official SDKs react to each fault, in replayed answers and in live streams of a mock that others wrote.

One table of cases. A fault is chosen with a header, so that one proxy serves all cases of a source.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import anthropic
import openai
import pytest
from conftest import route
from peers import GOOD_KEY, AiMock, run_node

SDKS = ("python-openai", "python-anthropic", "node-openai", "node-anthropic")


@dataclasses.dataclass(frozen=True)
class Case:
    """A fault, and per SDK, in the order of `SDKS`, what comes of it and after how many attempts."""

    name: str
    fault: str
    streams: bool
    kinds: tuple[str, str, str, str]
    attempts: int = 1
    # Where the SDKs differ from each other.
    attempts_by: Optional[tuple[int, int, int, int]] = None
    # Whether the text is `whole`, `cut` (less than the whole, maybe none), or anything (None).
    text: Optional[str] = None
    note: str = ""


CASES: list[Case] = [
    Case("status-429", 'status = { code = 429, headers = { "retry-after-ms" = "20" }, body = "{}" }', False, ("RateLimitError", "RateLimitError", "RateLimitError", "RateLimitError"), 3),
    Case("status-500", 'status = { code = 500, headers = { "retry-after-ms" = "20" }, body = "{}" }', False, ("InternalServerError", "InternalServerError", "InternalServerError", "InternalServerError"), 3),
    Case("status-409", 'status = { code = 409, headers = { "retry-after-ms" = "20" }, body = "{}" }', False, ("ConflictError", "ConflictError", "ConflictError", "ConflictError"), 3),
    Case("status-408", 'status = { code = 408, headers = { "retry-after-ms" = "20" } }', False, ("APIStatusError", "RequestTimeoutError", "APIError", "RequestTimeoutError"), 3),
    Case("status-503", 'status = { code = 503, headers = { "retry-after-ms" = "20" } }', False, ("InternalServerError", "ServiceUnavailableError", "InternalServerError", "ServiceUnavailableError"), 3),
    Case("status-529", 'status = { code = 529, headers = { "retry-after-ms" = "20" } }', False, ("InternalServerError", "OverloadedError", "InternalServerError", "OverloadedError"), 3),
    Case("status-402", 'status = { code = 402 }', False, ("APIStatusError", "PaymentRequiredError", "APIError", "PaymentRequiredError")),
    Case("status-413", 'status = { code = 413 }', False, ("APIStatusError", "ContentTooLargeError", "APIError", "ContentTooLargeError")),
    Case("should-not-retry", 'status = { code = 429, headers = { "x-should-retry" = "false" } }', False, ("RateLimitError", "RateLimitError", "RateLimitError", "RateLimitError")),
    Case("should-retry", 'status = { code = 400, headers = { "x-should-retry" = "true", "retry-after-ms" = "20" } }', False, ("BadRequestError", "BadRequestError", "BadRequestError", "BadRequestError"), 3),
    Case("empty", 'empty = true', False, ("APIConnectionError", "APIConnectionError", "APIConnectionError", "APIConnectionError"), 3),
    Case("reset-before", 'cut = { after = "before-head", how = "reset" }', False, ("APIConnectionError", "APIConnectionError", "APIConnectionError", "APIConnectionError"), 3),
    Case("reset-head", 'cut = { after = "head", how = "reset" }', False, ("APIConnectionError", "APIConnectionError", "TypeError", "TypeError"), attempts_by=(3, 3, 1, 1), note="Node reads the body outside its retries"),
    Case("short-body", 'cut = { after = "20B", how = "short-body" }', False, ("APIConnectionError", "APIConnectionError", "TypeError", "TypeError"), attempts_by=(3, 3, 1, 1), note="Node reads the body outside its retries"),
    Case("bad-chunk", 'malformed_chunk = { after = "head" }', False, ("APIConnectionError", "APIConnectionError", "TypeError", "TypeError"), attempts_by=(3, 3, 1, 1), note="Node reads the body outside its retries"),
    Case("garbage", 'garbage = "64B"', False, ("APIConnectionError", "APIConnectionError", "APIConnectionError", "APIConnectionError"), 3),
    Case("bad-gzip", 'content_encoding = "gzip"', False, ("APIConnectionError", "APIConnectionError", "TypeError", "TypeError"), attempts_by=(3, 3, 1, 1), note="Node reads the body outside its retries"),
    Case("blackhole", 'blackhole = true', False, ("APITimeoutError", "APITimeoutError", "APIConnectionTimeoutError", "APIConnectionTimeoutError"), 3),
    Case("html", 'html_200 = true', False, ("fine", "fine", "fine", "fine")),
    Case("slow-head", 'slow_head = { bytes = 8, every = "10ms" }', False, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("bad-json", 'invalid_json = 1', False, ("JSONDecodeError", "JSONDecodeError", "SyntaxError", "SyntaxError")),
    Case("s-no-last-chunk", 'cut = { after = { events = 2 }, how = "missing-last-chunk" }', True, ("APIConnectionError", "RemoteProtocolError", "TypeError", "TypeError"), text="cut"),
    Case("s-reset", 'cut = { after = { events = 2 }, how = "reset" }', True, ("APIConnectionError", "ReadError", "TypeError", "TypeError"), text="cut"),
    Case("s-clean-end", 'cut = { after = { events = 2 }, how = "clean-end" }', True, ("fine", "fine", "fine", "fine"), text="cut"),
    Case("s-close-framed", 'cut = { after = { events = 2 }, how = "close-framed" }', True, ("fine", "fine", "fine", "fine"), text="cut"),
    Case("s-no-terminator", 'cut = { after = "end", how = "missing-terminator" }', True, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("s-error", 'error_event = { after = { events = 2 }, error = "overloaded" }', True, ("APIError", "APIStatusError", "APIError", "APIError")),
    Case("s-bad-json", 'invalid_json = 3', True, ("JSONDecodeError", "JSONDecodeError", "SyntaxError", "SyntaxError")),
    Case("s-two-objects", 'two_objects = 3', True, ("JSONDecodeError", "JSONDecodeError", "SyntaxError", "SyntaxError")),
    Case("s-bad-utf8", 'invalid_utf8 = 3', True, ("UnicodeDecodeError", "UnicodeDecodeError", "fine", "fine"), note="Node replaces the byte"),
    Case("s-split-utf8", 'split_utf8 = true', True, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("s-text-plain", 'content_type = "text/plain"', True, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("s-twice", 'duplicate = 3', True, ("fine", "fine", "fine", "fine")),
    Case("s-order", 'reorder = 3', True, ("fine", "fine", "fine", "fine")),
    Case("s-no-first", 'drop = 1', True, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("s-no-finish", 'drop = "finish"', True, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("s-stall", 'stall = { after = { events = 2 }, for = "8s" }', True, ("APITimeoutError", "ReadTimeout", "fine", "fine"), note="Node has no time limit between events"),
    Case("s-masked", 'stall = { after = { events = 2 }, for = "5s", keepalive = "ping", every = "300ms" }', True, ("fine", "fine", "fine", "fine"), text="whole"),
    Case("s-empty-body", 'status = { code = 200, headers = { "content-type" = "application/json" }, body = "{}" }', True, ("fine", "fine", "fine", "fine"), text="cut"),
]


def faults() -> str:
    """The faults of all cases; each hits the requests that name it."""
    return "\n".join(
        f'[[route.fault]]\nname = "{case.name}"\n{case.fault}\nwhen = {{ headers = {{ x-case = "{case.name}" }} }}' for case in CASES
    )


def python(url: str, sdk: str, case: Case) -> dict[str, Any]:
    """One case with a Python SDK, as `node/matrix.mjs` does it."""
    seen: dict[str, Any] = {"kind": "fine", "status": None, "text": "", "attempts": 0}
    library: Any = openai if sdk == "openai" else anthropic

    def count(request: Any) -> None:
        # The number of the last attempt, which the SDK says itself.
        seen["attempts"] = int(request.headers["x-stainless-retry-count"]) + 1

    http = library.DefaultHttpxClient(event_hooks={"request": [count]})
    options = {
        "api_key": GOOD_KEY,
        "max_retries": 2,
        "timeout": 3,
        "http_client": http,
        "default_headers": {"x-case": case.name},
    }
    messages: Any = [{"role": "user", "content": "hello"}]
    try:
        if sdk == "openai":
            with openai.OpenAI(base_url=f"{url}/v1", **options) as client:
                got: Any = client.chat.completions.create(model="gpt-4o", messages=messages, stream=case.streams)
                if case.streams:
                    for chunk in got:
                        seen["text"] += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                else:
                    seen["text"] = got if isinstance(got, str) else got.choices[0].message.content
        else:
            with anthropic.Anthropic(base_url=url, **options) as client:
                got = client.messages.create(model="claude-mock-1", max_tokens=400, messages=messages, stream=case.streams)
                if case.streams:
                    for event in got:
                        seen["text"] += getattr(getattr(event, "delta", None), "text", None) or ""
                else:
                    seen["text"] = got if isinstance(got, str) else got.content[0].text
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        seen["kind"] = type(error).__name__
        seen["status"] = getattr(error, "status_code", None)
    return seen


def reactions(url: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What every SDK does in every case, and where there is no fault."""
    cases = [*CASES, Case("none", "", True, ("fine",) * 4)]
    asked = [{"sdk": sdk, "fault": case.name, "streams": case.streams} for sdk in ("openai", "anthropic") for case in cases]
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    with ThreadPoolExecutor(8) as pool:
        import json

        node = pool.submit(run_node, "matrix.mjs", url, GOOD_KEY, json.dumps(asked))
        waiting = {
            (f"python-{sdk}", case.name): pool.submit(python, url, sdk, case) for sdk in ("openai", "anthropic") for case in cases
        }
        for key, future in waiting.items():
            seen[key] = future.result()
        for one, got in zip(asked, node.result()):
            seen[f"node-{one['sdk']}", one["fault"]] = got
    return seen


@pytest.mark.parametrize("source", ["replayed", "live"])
def test_every_sdk_reacts_as_the_table_says(rehearsal, tmp_path, closing, cassette, source):
    mock = closing(AiMock(tmp_path, latency_ms=5))
    if source == "live":
        proxy = rehearsal.forward(mock, faults())
    else:
        recorder = rehearsal.record(mock, cassette)
        for sdk in ("openai", "anthropic"):
            for streams in (False, True):
                python(recorder.url, sdk, Case("none", "", streams, ("fine",) * 4))
        recorder.stop()
        proxy = rehearsal(config=route("replay", None, faults(), cassette=cassette))
    seen = reactions(proxy.url)
    whole = {sdk: seen[sdk, "none"] for sdk in SDKS}
    assert {sdk: (got["kind"], got["attempts"], bool(got["text"])) for sdk, got in whole.items()} == {
        sdk: ("fine", 1, True) for sdk in SDKS
    }
    wrong = []
    for case in CASES:
        for at, sdk in enumerate(SDKS):
            got = seen[sdk, case.name]
            expected = (case.kinds[at], case.attempts_by[at] if case.attempts_by else case.attempts)
            if (got["kind"], got["attempts"]) != expected:
                wrong.append(f"{sdk}, {case.name}: {got}, and not {expected}")
            if case.text == "whole" and got["text"] != whole[sdk]["text"]:
                wrong.append(f"{sdk}, {case.name}: {got['text']!r} is not the whole text")
            if case.text == "cut" and len(got["text"]) >= len(whole[sdk]["text"]):
                wrong.append(f"{sdk}, {case.name}: {got['text']!r} is not cut")
    assert not wrong, "\n".join(wrong)
