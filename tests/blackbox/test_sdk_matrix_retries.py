"""When the official SDKs try again, how often, and after what time; and what a kept connection that ends costs them."""

from __future__ import annotations

import pytest
from conftest import route
from matrix import BACKOFF, SDKS, SOON, Case, Outcome, Reaction, ask_all, both, fine, fixtures, note_asked, raises
from peers import AiMock
from tap import Tap


def busy(**headers: str) -> str:
    """A 429 without a body, with these headers."""
    lines = ", ".join(f'"{name.replace("_", "-")}" = "{value}"' for name, value in headers.items())
    return f"status = {{ code = 429, headers = {{ {lines} }} }}"


def limited(*waits: tuple[float, float]) -> Reaction:
    return raises("RateLimitError", 429, attempts=len(waits) + 1, waits=waits)


def exactly(seconds: float) -> tuple[tuple[float, float], ...]:
    return ((seconds, seconds),) * 2


CASES = [
    Case("backoff", busy(), "create", *both(limited(*BACKOFF))),
    Case("retry-after", busy(retry_after="3"), "create", *both(limited(*exactly(3))), hurry=True),
    Case("retry-after-float", busy(retry_after="0.25"), "create", *both(limited(*exactly(0.25)))),
    Case(
        "retry-after-ms", busy(retry_after_ms="50", retry_after="7"), "create",
        *both(limited(*exactly(0.05))),
        note="the finer one wins",
    ),
    Case(
        "retry-after-date", f"{busy(retry_after=SOON)}\nallow_long_retry_after = true", "create",
        *both(limited((30, 101), (30, 101))), hurry=True,
    ),
    Case(
        "retry-after-61", f"{busy(retry_after='61')}\nallow_long_retry_after = true", "create",
        *both(limited(*exactly(61))),
        hurry=True,
    ),
    Case(
        "retry-after-121", f"{busy(retry_after='121')}\nallow_long_retry_after = true", "create",
        limited(),
        *both(limited(*exactly(121))),
        note="OpenAI's for Python gives up above 120 s",
        hurry=True,
    ),
    Case("x-should-retry-false", busy(x_should_retry="false"), "create", *both(limited())),
    Case(
        "x-should-retry-true", 'status = { code = 400, headers = { x-should-retry = "true", retry-after-ms = "20" } }', "create",
        *both(raises("BadRequestError", 400, attempts=3, waits=exactly(0.02))),
    ),
    Case(
        "stream-429", busy(retry_after_ms="20"), "stream",
        *both(limited(*exactly(0.02))),
        note="before the head a stream is retried like the rest",
    ),
    # Only the first attempt: the second one is fine.
    Case(
        "once", busy(retry_after_ms="20"), "create",
        *both(fine(attempts=2, waits=((0.02, 0.02),))),
        when="attempt = 0",
    ),
    Case(
        "rst-once", 'cut = { after = "before-head", how = "reset" }', "create",
        *both(fine(attempts=2, waits=BACKOFF[:1])),
        when="attempt = 0",
    ),
    # The connection of the first request ends when the second one comes on it.
    Case(
        "rst-on-reuse", 'cut = { after = "before-head", how = "reset" }', "create",
        *both(fine(attempts=[0, 0, 1], waits=BACKOFF[:1])),
        times=2, when='nth = 2, per = "client"',
    ),
]

outcome, test_a_retry_with_this_fault = fixtures(CASES)

# What ends a connection between two requests: the fault, the seconds between them, and the attempts of both.
KEPT = {
    "close-on-reuse": ("close_on_reuse = true", 0.0, [0, 0, 1]),
    # The SDKs see that it is closed before they ask, and open another.
    "idle-close": ('idle_close = "100ms"', 0.6, [0, 0]),
}


@pytest.mark.parametrize("name", KEPT)
def test_the_end_of_a_kept_connection_costs_a_retry_at_most(rehearsal, tmp_path, closing, cassette, name):
    fault, pause, attempts = KEPT[name]
    case = Case(name, "", "create", fine(), fine(), times=2, pause=pause)
    mock = closing(AiMock(tmp_path / "mock", latency_ms=5, is_patient=True))
    behind = closing(Tap(mock.url))
    recorder = rehearsal.record(mock, cassette)
    ask_all({("recorded", sdk, name): {**case.ask(recorder.url, sdk), "times": 1} for sdk in SDKS}, tmp_path)
    recorder.stop()
    # A proxy for each, so that no two share a connection.
    top = f"[[listen.fault]]\n{fault}\n"
    asks = {}
    for sdk in SDKS:
        proxies = {"live": rehearsal.forward(behind, top=top), "replayed": rehearsal(config=route("replay", None, "", top, cassette))}
        asks.update({(source, sdk, name): case.ask(proxy.url, sdk) for source, proxy in proxies.items()})
    seen = ask_all(asks, tmp_path)
    told = {key: (got["kind"], bool(got["text"]), got["attempts"]) for key, got in seen.items()}
    assert told == {key: ("fine", True, attempts) for key in asks}
    waits = [got["waits"] for got in seen.values()]
    assert all(len(some) == len(attempts) - 2 and all(BACKOFF[0][0] <= wait <= BACKOFF[0][1] for wait in some) for some in waits), waits
    outcome = Outcome()
    note_asked(behind, outcome)
    # The second request was not read on the connection that ended, so the upstream saw its retry only.
    assert outcome.asked == {(sdk, name): attempts[:1] + attempts[-1:] for sdk in SDKS}
