"""How the official SDKs react to faults inside streams that a program reads event by event (`create` with `stream=True`)."""

from __future__ import annotations

from crlf import Crlf
from matrix import Case, fine, fixtures, raises

NODE_TORN = raises("TypeError", text="cut", says="terminated")
BAD_JSON = raises("json.JSONDecodeError")
NODE_BAD_JSON = raises("SyntaxError")
NODE_NO_STATUS = "Node's error has no status: it came in an answer that was 200"
AT_END = {"openai": fine(finish="stop"), "anthropic": fine(finish="end_turn")}
ALL = (AT_END["openai"], AT_END["anthropic"])
STALL = 'after = { events = 3 }, for = "5s"'

CASES = [
    # Ends.
    Case(
        "no-last-chunk", 'cut = { after = { events = 3 }, how = "missing-last-chunk" }', "stream",
        raises("APIConnectionError", text="cut"),
        raises("httpx2.RemoteProtocolError", text="cut"),
        NODE_TORN,
        NODE_TORN,
    ),
    Case(
        "rst", 'cut = { after = { events = 3 }, how = "reset" }', "stream",
        raises("APIConnectionError", text="cut"),
        raises("httpx2.ReadError", text="cut"),
        NODE_TORN,
        NODE_TORN,
    ),
    Case("clean-end", 'cut = { after = { events = 3 }, how = "clean-end" }', "stream", fine("cut", finish=None), fine("cut", finish=None)),
    Case("close-framed", 'cut = { after = { events = 3 }, how = "close-framed" }', "stream", fine("cut", finish=None), fine("cut", finish=None)),
    Case("half-event", 'cut = { after = "700B", how = "clean-end" }', "stream", fine("cut", finish=None), fine("cut", finish=None)),
    Case("no-terminator", 'cut = { after = "end", how = "missing-terminator" }', "stream", *ALL),
    Case("no-finish", 'drop = "finish"', "stream", fine(finish=None), fine(finish=None)),
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
    Case("bad-json", "invalid_json = 3", "stream", BAD_JSON, BAD_JSON, NODE_BAD_JSON, NODE_BAD_JSON),
    Case("two-objects", "two_objects = 3", "stream", BAD_JSON, BAD_JSON, NODE_BAD_JSON, NODE_BAD_JSON),
    Case(
        "invalid-utf8", 'invalid_utf8 = "content"', "stream",
        raises("UnicodeDecodeError"),
        raises("UnicodeDecodeError"),
        fine("=Hello! Grüße�, 你好, 👋�"),
        fine("=Hello! Grüße�, 你好, 👋�"),
        "Node puts a sign in the place of the byte",
        prompt="hello",
    ),
    # What looks odd and is fine.
    Case("split-utf8", "split_utf8 = true", "stream", *ALL, prompt="hello"),
    Case("text-plain", 'content_type = "text/plain"', "stream", *ALL),
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
        fine("=Hello! GrüßeHello! Grüße, 你好, 👋, 你好, 👋"),
        fine("=Hello! GrüßeHello! Grüße, 你好, 👋, 你好, 👋"),
        prompt="hello",
    ),
    Case("reordered-chat", "reorder = 2", "stream", fine("=, 你好, 👋Hello! Grüße", finish="stop"), prompt="hello"),
    Case("reordered-messages", "reorder = 3", "stream", anthropic=fine("=, 你好, 👋Hello! Grüße", finish="end_turn"), prompt="hello"),
    Case("first-dropped", "drop = 1", "stream", *ALL),
    Case("no-event-lines", "drop_event_lines = true", "stream", AT_END["openai"], fine("none", finish=None), nothing_for="openai node-openai"),
    # Silence.
    Case(
        "stall", f"stall = {{ {STALL} }}", "stream",
        raises("APITimeoutError", text="cut"),
        raises("httpx2.ReadTimeout", text="cut"),
        fine(finish="stop", seconds=(5, 60)),
        fine(finish="end_turn", seconds=(5, 60)),
        "Node has no limit between events",
        timeout=3,
    ),
    Case(
        "stall-comment", f'stall = {{ {STALL}, keepalive = "comment", every = "300ms" }}', "stream",
        fine(finish="stop", seconds=(5, 60)),
        fine(finish="end_turn", seconds=(5, 60)),
        timeout=3,
    ),
    Case(
        "stall-ping", f'stall = {{ {STALL}, keepalive = "ping", every = "300ms" }}', "stream",
        fine(finish="stop", seconds=(5, 60)),
        fine(finish="end_turn", seconds=(5, 60)),
        timeout=3,
    ),
    Case(
        "open-after-end", 'hold_open = "5s"', "stream",
        fine(finish="stop", seconds=(0, 4.8)),
        raises("httpx2.ReadTimeout", text="whole", finish="end_turn"),
        fine(finish="stop", seconds=(5, 60)),
        fine(finish="end_turn", seconds=(5, 60)),
        "Node reads on to the end of the transfer, and has no limit between events",
        timeout=3,
    ),
    # Other answers, which the SDK takes for streams without events.
    Case(
        "json-for-sse", 'status = { code = 200, headers = { content-type = "application/json" }, body = "{}" }', "stream",
        fine("none", finish=None),
        fine("none", finish=None),
    ),
    Case(
        "empty-for-sse", 'status = { code = 200, headers = { content-type = "text/event-stream" } }', "stream",
        fine("none", finish=None),
        fine("none", finish=None),
    ),
]

outcome, test_a_stream_with_this_fault = fixtures(CASES)

# From a server that ends its lines with CRLF. The faults find the events all the same.
CRLF_CASES = [
    Case("crlf", "split_utf8 = true", "stream", *ALL, prompt="hello"),
    Case("crlf-no-finish", 'drop = "finish"', "stream", fine(finish=None), fine(finish=None)),
    Case("crlf-clean-end", 'cut = { after = { events = 3 }, how = "clean-end" }', "stream", fine("cut", finish=None), fine("cut", finish=None)),
    Case("crlf-bad-json", "invalid_json = 3", "stream", BAD_JSON, BAD_JSON, NODE_BAD_JSON, NODE_BAD_JSON),
    Case("crlf-no-event-lines", "drop_event_lines = true", "stream", anthropic=fine("none", finish=None)),
]

crlf_outcome, test_a_stream_with_crlf_and_this_fault = fixtures(CRLF_CASES, "crlf_outcome", Crlf)
