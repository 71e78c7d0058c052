"""How the `stream()` helpers of the official SDKs react, which put the events together: chat completions and messages."""

from __future__ import annotations

from matrix import ANY, EMPTY_FOR_SSE, JSON_FOR_SSE, NO_LIMIT, RESET, STALLED, TORN, WAITED, WHOLE, Case, Reaction, both, cut, fine, fixtures, raises

OPENAI_WHOLE, ANTHROPIC_WHOLE = WHOLE
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
        "h-clean-end", cut("clean-end"), "helper",
        *both(fine("cut", finish=None)),
        incomplete("OpenAIError", NO_FINISH, "cut"),
        incomplete("AnthropicError", NO_MESSAGE, "cut"),
    ),
    Case(
        "h-no-last-chunk", cut("missing-last-chunk"), "helper",
        *TORN,
        torn("OpenAIError"),
        torn("AnthropicError"),
    ),
    Case(
        "h-rst", cut("reset"), "helper",
        *RESET,
        torn("OpenAIError"),
        torn("AnthropicError"),
    ),
    Case(
        "h-no-terminator", 'cut = { after = "end", how = "missing-terminator" }', "helper",
        *WHOLE,
        node_anthropic=incomplete("AnthropicError", NO_MESSAGE, finish="end_turn"),
    ),
    Case("h-no-finish", 'drop = "finish"', "helper", *both(fine(finish=None)), incomplete("OpenAIError", NO_FINISH)),
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
        "h-json-for-sse", JSON_FOR_SSE, "helper",
        *both(raises("AssertionError")),
        raises("OpenAIError", says=NO_CHUNKS),
        raises("AnthropicError", says=NO_CHUNKS),
    ),
    Case(
        "h-empty-for-sse", EMPTY_FOR_SSE, "helper",
        *both(raises("AssertionError")),
        raises("OpenAIError", says=NO_CHUNKS),
        raises("AnthropicError", says=NO_CHUNKS),
    ),
    Case(
        "h-stall", 'stall = { after = { events = 3 }, for = "5s" }', "helper",
        *STALLED,
        *WAITED,
        NO_LIMIT,
        timeout=3,
    ),
    Case("h-duplicated", 'duplicate = "content"', "helper", *both(fine(ANY))),
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
        "tool-torn", cut("clean-end"), "helper",
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
