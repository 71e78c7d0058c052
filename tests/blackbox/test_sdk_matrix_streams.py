"""How the official SDKs react to faults inside streams that a program reads event by event (`create` with `stream=True`)."""

from __future__ import annotations

from crlf import Crlf
from matrix import (
    BAD_JSON,
    EMPTY_FOR_SSE,
    JSON_FOR_SSE,
    NODE_BAD_JSON,
    NODE_TORN,
    NO_LIMIT,
    RESET,
    STALLED,
    TORN,
    WAITED,
    WHOLE,
    Case,
    both,
    cut,
    fine,
    fixtures,
    raises,
)

NODE_NO_STATUS = "Node's error has no status: it came in an answer that was 200"
STALL = 'after = { events = 3 }, for = "5s"'

CASES = [
    # Ends.
    Case(
        "no-last-chunk", cut("missing-last-chunk"), "stream",
        *TORN,
        *both(NODE_TORN),
    ),
    Case(
        "rst", cut("reset"), "stream",
        *RESET,
        *both(NODE_TORN),
    ),
    Case("clean-end", cut("clean-end"), "stream", *both(fine("cut", finish=None))),
    Case("close-framed", cut("close-framed"), "stream", *both(fine("cut", finish=None))),
    Case("half-event", 'cut = { after = "700B", how = "clean-end" }', "stream", *both(fine("cut", finish=None))),
    Case("no-terminator", 'cut = { after = "end", how = "missing-terminator" }', "stream", *WHOLE),
    Case("no-finish", 'drop = "finish"', "stream", *both(fine(finish=None))),
    # Errors.
    Case(
        "error-event", 'error_event = { after = { events = 3 }, error = "internal" }', "stream",
        raises("APIError", None, "server_error", text="cut"),
        raises("APIStatusError", 200, "api_error", text="cut"),
        node_anthropic=raises("APIError", None, "api_error", text="cut"),
        note=NODE_NO_STATUS,
    ),
    Case(
        "error-event-overloaded", 'error_event = { after = { events = 3 }, error = "overloaded" }', "stream",
        raises("APIError", None, "service_unavailable_error", "server_is_overloaded", text="cut"),
        raises("APIStatusError", 200, "overloaded_error", text="cut"),
        node_anthropic=raises("APIError", None, "overloaded_error", text="cut"),
        note=NODE_NO_STATUS,
    ),
    Case(
        "error-event-done", 'error_event = { after = { events = 3 }, error = "internal", style = "terminated" }', "stream",
        raises("APIError", None, "server_error", text="cut"),
        raises("APIStatusError", 200, "api_error", text="cut"),
        node_anthropic=raises("APIError", None, "api_error", text="cut"),
        note=NODE_NO_STATUS,
    ),
    # What can't be read.
    Case("bad-json", "invalid_json = 3", "stream", *both(BAD_JSON), *both(NODE_BAD_JSON)),
    Case("two-objects", "two_objects = 3", "stream", *both(BAD_JSON), *both(NODE_BAD_JSON)),
    Case(
        "invalid-utf8", 'invalid_utf8 = "content"', "stream",
        *both(raises("UnicodeDecodeError")),
        *both(fine("=Hello! Grüße�, 你好, 👋�")),
        "Node puts a sign in the place of the byte",
        prompt="hello",
    ),
    # What looks odd and is fine.
    Case("split-utf8", "split_utf8 = true", "stream", *WHOLE, prompt="hello"),
    Case("text-plain", 'content_type = "text/plain"', "stream", *WHOLE),
    Case(
        "byte-by-byte", 'bandwidth = { down = "399B" }', "stream",
        fine(finish="stop", seconds=(1.5, 60)),
        fine(finish="end_turn", seconds=(1.5, 60)),
        note="a refill of 5 ms is one byte",
        prompt="hello",
    ),
    # Events at the wrong place.
    Case(
        "duplicated", 'duplicate = "content"', "stream",
        *both(fine("=Hello! GrüßeHello! Grüße, 你好, 👋, 你好, 👋")),
        prompt="hello",
    ),
    Case("reordered-chat", "reorder = 2", "stream", fine("=, 你好, 👋Hello! Grüße", finish="stop"), prompt="hello"),
    Case("reordered-messages", "reorder = 3", "stream", anthropic=fine("=, 你好, 👋Hello! Grüße", finish="end_turn"), prompt="hello"),
    Case("first-dropped", "drop = 1", "stream", *WHOLE),
    Case("no-event-lines", "drop_event_lines = true", "stream", WHOLE[0], fine("none", finish=None), nothing_for="openai node-openai"),
    # Silence.
    Case(
        "stall", f"stall = {{ {STALL} }}", "stream",
        *STALLED,
        *WAITED,
        NO_LIMIT,
        timeout=3,
    ),
    Case(
        "stall-comment", f'stall = {{ {STALL}, keepalive = "comment", every = "300ms" }}', "stream",
        *WAITED,
        timeout=3,
    ),
    Case(
        "stall-ping", f'stall = {{ {STALL}, keepalive = "ping", every = "300ms" }}', "stream",
        *WAITED,
        timeout=3,
    ),
    Case(
        "open-after-end", 'hold_open = "5s"', "stream",
        fine(finish="stop", seconds=(0, 4.8)),
        raises("httpx2.ReadTimeout", text="whole", finish="end_turn"),
        *WAITED,
        "Node reads on to the end of the transfer, and has no limit between events",
        timeout=3,
    ),
    # Other answers, which the SDK takes for streams without events.
    Case(
        "json-for-sse", JSON_FOR_SSE, "stream",
        *both(fine("none", finish=None)),
    ),
    Case(
        "empty-for-sse", EMPTY_FOR_SSE, "stream",
        *both(fine("none", finish=None)),
    ),
]

outcome, test_a_stream_with_this_fault = fixtures(CASES)

# From a server that ends its lines with CRLF. The faults find the events all the same.
CRLF_CASES = [
    Case("crlf", "split_utf8 = true", "stream", *WHOLE, prompt="hello"),
    Case("crlf-no-finish", 'drop = "finish"', "stream", *both(fine(finish=None))),
    Case("crlf-clean-end", cut("clean-end"), "stream", *both(fine("cut", finish=None))),
    Case("crlf-bad-json", "invalid_json = 3", "stream", *both(BAD_JSON), *both(NODE_BAD_JSON)),
    Case("crlf-no-event-lines", "drop_event_lines = true", "stream", anthropic=fine("none", finish=None)),
]

crlf_outcome, test_a_stream_with_crlf_and_this_fault = fixtures(CRLF_CASES, "crlf_outcome", Crlf)
