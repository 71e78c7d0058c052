"""How the official SDKs react to faults on answers that are no streams: statuses, connections, bodies.

The rows are those of the reaction table; where an SDK reacts otherwise, a note says why.
"""

from __future__ import annotations

from matrix import ANY, BACKOFF, BAD_JSON, NODE_BAD_JSON, Case, Reaction, both, fine, fixtures, raises


def gives_up(kind: str, status: int, type: str | None = None, code: str | None = None) -> Reaction:
    """Three attempts, then this."""
    return raises(kind, status, type, code, attempts=3, text="none")


LOST = raises("APIConnectionError", attempts=3, waits=BACKOFF)
TIMED_OUT = raises("APITimeoutError", attempts=3, waits=BACKOFF, seconds=(7, 60))
NODE_TIMED_OUT = raises("APIConnectionTimeoutError", attempts=3, waits=BACKOFF, seconds=(7, 60))
NODE_TORN = raises("TypeError", says="terminated")
NODE_TORN_OR_STUCK = raises("TypeError", says="terminated", may_hang=True)
NODE_UNDEFINED = raises("TypeError", says="Cannot read properties of undefined")
IN_BODY = "Node reads the body outside its retries"

CASES = [
    # Errors, as each provider says them.
    Case(
        "429", 'status = { error = "rate-limit", retry_after = "20ms" }', "create",
        gives_up("RateLimitError", 429, "requests", "rate_limit_exceeded"),
        gives_up("RateLimitError", 429, "rate_limit_error"),
    ),
    Case(
        "429-tokens", 'status = { error = "token-limit", retry_after = "20ms" }', "create",
        gives_up("RateLimitError", 429, "tokens", "rate_limit_exceeded"),
        gives_up("RateLimitError", 429, "rate_limit_error"),
    ),
    Case(
        "429-quota", 'status = { error = "quota" }', "create",
        gives_up("RateLimitError", 429, "insufficient_quota", "insufficient_quota"),
        gives_up("EnforcedSpendLimitReachedError", 429, "rate_limit_error"),
        note="a kind of RateLimitError, and retried like one",
    ),
    Case(
        "500", 'status = { error = "internal", retry_after = "20ms" }', "create",
        gives_up("InternalServerError", 500, "server_error"),
        gives_up("InternalServerError", 500, "api_error"),
    ),
    Case(
        "overloaded", 'status = { error = "overloaded", retry_after = "20ms" }', "create",
        gives_up("InternalServerError", 503, "service_unavailable_error", "server_is_overloaded"),
        gives_up("OverloadedError", 529, "overloaded_error"),
    ),
    Case(
        "504", 'status = { error = "timeout", retry_after = "20ms" }', "create",
        gives_up("InternalServerError", 504, "server_error"),
        gives_up("GatewayTimeoutError", 504, "timeout_error"),
    ),
    Case(
        "400", 'status = { error = "context-length" }', "create",
        raises("BadRequestError", 400, "invalid_request_error", "context_length_exceeded"),
        raises("BadRequestError", 400, "invalid_request_error"),
    ),
    Case(
        "401", 'status = { error = "authentication" }', "create",
        raises("AuthenticationError", 401, "invalid_request_error", "invalid_api_key"),
        raises("AuthenticationError", 401, "authentication_error"),
    ),
    Case(
        "403", 'status = { error = "permission" }', "create",
        raises("PermissionDeniedError", 403, "invalid_request_error"),
        raises("PermissionDeniedError", 403, "permission_error"),
    ),
    Case(
        "404", 'status = { error = "not-found" }', "create",
        raises("NotFoundError", 404, "invalid_request_error", "model_not_found"),
        raises("NotFoundError", 404, "not_found_error"),
    ),
    Case(
        "413", 'status = { error = "too-large" }', "create",
        raises("APIStatusError", 413, "invalid_request_error"),
        raises("ContentTooLargeError", 413, "request_too_large"),
        raises("APIError", 413, "invalid_request_error"),
    ),
    # Statuses without anything in their bodies.
    Case("402", "status = 402", "create", raises("APIStatusError", 402), raises("PaymentRequiredError", 402), raises("APIError", 402)),
    Case("408", "status = 408", "create", gives_up("APIStatusError", 408), gives_up("RequestTimeoutError", 408), gives_up("APIError", 408)),
    Case("409", "status = 409", "create", *both(gives_up("ConflictError", 409))),
    Case(
        "425", "status = 425", "create",
        *both(raises("APIStatusError", 425)),
        *both(raises("APIError", 425)),
    ),
    Case("502", "status = 502", "create", *both(gives_up("InternalServerError", 502))),
    Case("503", "status = 503", "create", gives_up("InternalServerError", 503), gives_up("ServiceUnavailableError", 503)),
    Case("529", "status = 529", "create", gives_up("InternalServerError", 529), gives_up("OverloadedError", 529)),
    # Connections.
    Case("fin-before-bytes", "empty = true", "create", *both(LOST)),
    Case("rst-before-bytes", 'cut = { after = "before-head", how = "reset" }', "create", *both(LOST)),
    Case("rst-after-head", 'cut = { after = "head", how = "reset" }', "create", *both(LOST), *both(NODE_TORN), IN_BODY),
    Case("short-body", 'cut = { after = "20B", how = "short-body" }', "create", *both(LOST), *both(NODE_TORN), IN_BODY),
    Case("bad-chunk-size", 'malformed_chunk = { after = "head" }', "create", *both(LOST), *both(NODE_TORN), IN_BODY),
    Case("garbage", 'garbage = "64B"', "create", *both(LOST)),
    Case(
        "bad-gzip", 'content_encoding = "gzip"', "create",
        *both(LOST),
        *both(NODE_TORN_OR_STUCK),
        f"{IN_BODY}, and now and then fetch (Node 20) never says that it failed",
        patience=8,
    ),
    Case("blackhole", "blackhole = true", "create", *both(TIMED_OUT), *both(NODE_TIMED_OUT), timeout=2),
    # Bodies.
    Case("html-200", "html_200 = true", "create", *both(fine(ANY, finish="str"))),
    Case(
        "invalid-json-200", "invalid_json = 1", "create",
        *both(BAD_JSON),
        *both(NODE_BAD_JSON),
    ),
    Case(
        "empty-json-200", 'status = { code = 200, headers = { content-type = "application/json" } }', "create",
        *both(BAD_JSON),
        *both(NODE_UNDEFINED),
        "Node gives `undefined` where there is no body, and the program stumbles over it",
    ),
    Case(
        "header-drip", 'slow_head = { bytes = 1, every = "10ms" }', "create",
        *both(fine(seconds=(2.0, 60))),
        *both(NODE_TIMED_OUT),
        "Node's limit is for the whole head, Python's for a read",
        timeout=2,
    ),
    Case("header-drip-node", 'slow_head = { bytes = 1, every = "10ms" }', "create", *both(fine(seconds=(2.0, 60)))),
]

outcome, test_an_answer_with_this_fault = fixtures(CASES)
