"""How the SDKs of OpenAI react to faults on responses, whose streams have an end and errors of their own."""

from __future__ import annotations

from matrix import AZURE, BAD_JSON, JSON_FOR_SSE, NODE_BAD_JSON, NODE_TORN, Case, cut, fine, fixtures, raises

DONE = fine(finish="response.completed")
NEVER_COMPLETED = "Didn't receive a `response.completed` event"
NODE_SO_FAR = "Node gives what came so far"
NO_FIRST = "response.created"
TOKENS = 'error = "token-limit"'

CASES = [
    Case(
        "r-429", 'status = { error = "token-limit", retry_after = "20ms" }', "responses",
        raises("RateLimitError", 429, "tokens", "rate_limit_exceeded", attempts=3),
    ),
    Case(
        "r-504", 'status = { error = "timeout", retry_after = "20ms" }', "responses",
        raises("InternalServerError", 504, "server_error", attempts=3),
    ),
    Case("r-bad-json", "invalid_json = 1", "responses", BAD_JSON, node_openai=NODE_BAD_JSON),
    # create(stream=True)
    Case(
        "r-nested-error", f"error_event = {{ after = {{ events = 5 }}, {TOKENS} }}", "responses-stream",
        raises("APIError", None, "tokens", "rate_limit_exceeded", text="cut"),
    ),
    Case(
        "r-flat-error", f'error_event = {{ after = {{ events = 5 }}, {TOKENS}, style = "documented" }}', "responses-stream",
        fine("cut", finish="error", code="rate_limit_exceeded"),
    ),
    Case(
        "r-failed", f"error_event = {{ after = {{ events = 5 }}, {TOKENS} }}", "responses-stream",
        fine("cut", finish="response.failed", code="rate_limit_exceeded"),
        prefix=AZURE,
    ),
    Case("r-truncated", cut("clean-end", 5), "responses-stream", fine("cut", finish=None)),
    Case("r-no-terminator", 'cut = { after = "end", how = "missing-terminator" }', "responses-stream", fine(finish=None)),
    Case(
        "r-no-last-chunk", cut("missing-last-chunk", 5), "responses-stream",
        raises("APIConnectionError", text="cut"),
        node_openai=NODE_TORN,
    ),
    Case(
        "r-rst", cut("reset", 5), "responses-stream",
        raises("APIConnectionError", text="cut"),
        node_openai=NODE_TORN,
    ),
    Case("r-no-event-lines", "drop_event_lines = true", "responses-stream", DONE),
    Case(
        "r-open-after-end", 'hold_open = "5s"', "responses-stream",
        raises("APITimeoutError", text="whole", finish="response.completed"),
        node_openai=fine(finish="response.completed", seconds=(5, 60)),
        note="without a [DONE] the end of the transfer is the end",
        timeout=3,
    ),
    Case(
        "r-stall", 'stall = { after = { events = 5 }, for = "5s" }', "responses-stream",
        raises("APITimeoutError", text="cut"),
        node_openai=fine(finish="response.completed", seconds=(5, 60)),
        timeout=3,
    ),
    Case(
        "r-json-for-sse", JSON_FOR_SSE, "responses-stream",
        fine("none", finish=None),
    ),
    # responses.stream()
    Case(
        "rh-nested-error", f"error_event = {{ after = {{ events = 5 }}, {TOKENS} }}", "responses-helper",
        raises("APIError", None, "tokens", "rate_limit_exceeded", text="cut"),
    ),
    Case(
        "rh-flat-error", f'error_event = {{ after = {{ events = 5 }}, {TOKENS}, style = "documented" }}', "responses-helper",
        raises("RuntimeError", says=NEVER_COMPLETED, text="cut", finish="error"),
        node_openai=raises("Object", None, "error", "rate_limit_exceeded", text="cut", finish="error"),
        note="Node throws the event itself",
    ),
    Case(
        "rh-failed", f"error_event = {{ after = {{ events = 5 }}, {TOKENS} }}", "responses-helper",
        raises("RuntimeError", says=NEVER_COMPLETED, text="cut", finish="response.failed"),
        node_openai=fine("none", finish="failed", code="rate_limit_exceeded"),
        note="Node gives the failed response",
        prefix=AZURE,
    ),
    Case(
        "rh-truncated", cut("clean-end", 5), "responses-helper",
        raises("RuntimeError", says=NEVER_COMPLETED, text="cut"),
        node_openai=fine("cut", finish="in_progress"),
        note=NODE_SO_FAR,
    ),
    Case(
        "rh-no-terminator", 'cut = { after = "end", how = "missing-terminator" }', "responses-helper",
        raises("RuntimeError", says=NEVER_COMPLETED, text="whole"),
        node_openai=fine(finish="in_progress"),
        note=NODE_SO_FAR,
    ),
    Case("rh-first-dropped", "drop = 1", "responses-helper", raises("RuntimeError", says=NO_FIRST), node_openai=raises("OpenAIError", says=NO_FIRST)),
    Case(
        "rh-json-for-sse", JSON_FOR_SSE, "responses-helper",
        raises("RuntimeError", says=NEVER_COMPLETED),
        node_openai=raises("OpenAIError", says="request ended without sending any events"),
    ),
    Case(
        "rh-tool-cut", 'tool_args = "cut"', "responses-helper",
        raises("json.JSONDecodeError", tool='{"city'),
        node_openai=raises("OpenAIError", says="Unterminated string", tool='{"city', finish="response.completed"),
        note="a strict tool is read by the helper itself",
        prompt="weather",
    ),
    Case("r-tool-cut", 'tool_args = "cut"', "responses-stream", fine(tool='{"city', finish="response.completed"), prompt="weather"),
]

outcome, test_a_response_with_this_fault = fixtures(CASES)
