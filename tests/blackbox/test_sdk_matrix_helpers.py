"""How the `stream()` helpers of the official SDKs react, which put the events together: chat completions and messages."""

from __future__ import annotations

from matrix import ANY, Case, Reaction, fine, fixtures, raises

OPENAI_WHOLE, ANTHROPIC_WHOLE = fine(finish="stop"), fine(finish="end_turn")
PAR = '{"city":"Par'
NO_FINISH = "missing finish_reason for choice 0"
NO_MESSAGE = "stream ended without producing a Message"
NO_CHUNKS = "request ended without sending any chunks"


def torn(kind: str) -> Reaction:
    """Node says it with an error of its own."""
    return raises(kind, text="cut", says="terminated")


def incomplete(kind: str, says: str, text: str = "whole", finish: str | None = None, **more: object) -> Reaction:
    """Node's helpers want all of an answer."""
    return raises(kind, text=text, says=says, finish=finish, **more)



CASES = [
    Case(
        "h-clean-end", 'cut = { after = { events = 3 }, how = "clean-end" }', "helper",
        fine("cut", finish=None),
        fine("cut", finish=None),
        incomplete("OpenAIError", NO_FINISH, "cut"),
        incomplete("AnthropicError", NO_MESSAGE, "cut"),
    ),
    Case(
        "h-no-last-chunk", 'cut = { after = { events = 3 }, how = "missing-last-chunk" }', "helper",
        raises("APIConnectionError", text="cut"),
        raises("httpx2.RemoteProtocolError", text="cut"),
        torn("OpenAIError"),
        torn("AnthropicError"),
    ),
    Case(
        "h-rst", 'cut = { after = { events = 3 }, how = "reset" }', "helper",
        raises("APIConnectionError", text="cut"),
        raises("httpx2.ReadError", text="cut"),
        torn("OpenAIError"),
        torn("AnthropicError"),
    ),
    Case(
        "h-no-terminator", 'cut = { after = "end", how = "missing-terminator" }', "helper",
        OPENAI_WHOLE,
        ANTHROPIC_WHOLE,
        node_anthropic=incomplete("AnthropicError", NO_MESSAGE, finish="end_turn"),
    ),
    Case("h-no-finish", 'drop = "finish"', "helper", fine(finish=None), fine(finish=None), incomplete("OpenAIError", NO_FINISH)),
    Case(
        "h-first-dropped", "drop = 1", "helper",
        OPENAI_WHOLE,
        raises("AssertionError", text="none"),
        incomplete("OpenAIError", "missing role for choice 0", finish="stop"),
        incomplete("AnthropicError", NO_CHUNKS, finish="end_turn"),
    ),
    Case(
        "h-no-event-lines", "drop_event_lines = true", "helper",
        OPENAI_WHOLE,
        raises("AssertionError", text="none"),
        node_anthropic=raises("AnthropicError", says=NO_CHUNKS),
        nothing_for="openai node-openai",
    ),
    Case(
        "h-error-event", 'error_event = { after = { events = 3 }, error = "overloaded" }', "helper",
        raises("APIError", None, "service_unavailable_error", "server_is_overloaded", text="cut"),
        raises("APIStatusError", 200, "overloaded_error", text="cut"),
        node_anthropic=raises("APIError", None, "overloaded_error", text="cut"),
    ),
    Case(
        "h-json-for-sse", 'status = { code = 200, headers = { content-type = "application/json" }, body = "{}" }', "helper",
        raises("AssertionError"),
        raises("AssertionError"),
        raises("OpenAIError", says=NO_CHUNKS),
        raises("AnthropicError", says=NO_CHUNKS),
    ),
    Case(
        "h-empty-for-sse", 'status = { code = 200, headers = { content-type = "text/event-stream" } }', "helper",
        raises("AssertionError"),
        raises("AssertionError"),
        raises("OpenAIError", says=NO_CHUNKS),
        raises("AnthropicError", says=NO_CHUNKS),
    ),
    Case(
        "h-stall", 'stall = { after = { events = 3 }, for = "5s" }', "helper",
        raises("APITimeoutError", text="cut"),
        raises("httpx2.ReadTimeout", text="cut"),
        fine(finish="stop", seconds=(5, 60)),
        fine(finish="end_turn", seconds=(5, 60)),
        "Node has no limit between events",
        timeout=3,
    ),
    Case("h-duplicated", 'duplicate = "content"', "helper", fine(ANY), fine(ANY)),
    # Calls of tools, of which `{"city":"Par` is all that comes. The helpers of OpenAI read what a strict tool gets by themselves.
    Case(
        "tool-part", "drop = [4, 5]", "helper",
        raises("json.JSONDecodeError", says="Unterminated string"),
        fine(tool="{}", finish="tool_use"),
        raises("OpenAIError", tool=PAR, finish="tool_calls", says="Unterminated string"),
        prompt="weather",
    ),
    Case("tool-part-raw", "drop = [4, 5]", "stream", fine(tool=PAR, finish="tool_calls"), fine(tool=PAR, finish="tool_use"), prompt="weather"),
    Case(
        "tool-torn", 'cut = { after = { events = 3 }, how = "clean-end" }', "helper",
        raises("json.JSONDecodeError"),
        fine(tool="{}", finish=None),
        incomplete("OpenAIError", NO_FINISH, tool=PAR),
        incomplete("AnthropicError", NO_MESSAGE, tool=PAR),
        prompt="weather",
    ),
    Case(
        "tool-cut", 'tool_args = "cut"', "helper",
        raises("json.JSONDecodeError"),
        fine(tool="{}", finish="tool_use"),
        raises("OpenAIError", tool='{"city', finish="tool_calls"),
        prompt="weather",
    ),
    Case(
        "tool-cut-raw", 'tool_args = "cut"', "stream",
        fine(tool='{"city', finish="tool_calls"),
        fine(tool='{"city', finish="tool_use"),
        prompt="weather",
    ),
    Case(
        "tool-cut-whole", 'tool_args = "cut"', "create",
        fine(tool=PAR, parsed=None, finish="tool_calls"),
        fine(tool="{}", finish="tool_use"),
        prompt="weather",
    ),
]

outcome, test_a_helper_with_this_fault = fixtures(CASES)
