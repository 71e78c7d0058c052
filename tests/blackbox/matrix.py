"""Runs a table of faults against the SDKs for OpenAI and Anthropic, in Python and Node, and says what differs from the table.

All cases of a table share one proxy for each source of answers, and run at once: a fault is addressed by the header `x-case`.
The sources are `live`, a stream that a mock of the APIs sends just then, and `replayed`, a recording of such a stream.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence, Union

import pytest
from conftest import Rehearsal, Rehearse, route
from peers import FIXTURES, GOOD_KEY, AiMock, run_node
from sdk_python import play
from tap import Tap

SDKS = ("openai", "anthropic", "node-openai", "node-anthropic")
SOURCES = ("live", "replayed")

# What the mock answers: the text, and the arguments of the tool.
PROMPTS = {one["match"]["userMessage"]: one["response"] for one in FIXTURES["fixtures"] if "userMessage" in one["match"]}
PARIS = '{"city":"Paris","days":3}'

# For how long the SDKs mean to wait before the second and the third attempt, if nobody tells them.
BACKOFF = ((0.375, 0.5), (0.75, 1.0))

# Stands in a fault for the time 100 s from when it is played.
SOON = "in 100 s"

# Before the paths of Azure OpenAI, whose errors in streams of responses are other ones.
AZURE = "/openai"

# Kinds that need no answer of the upstream, so that it is not asked.
STAND_INS = re.compile(r'^(status|html_200|empty|blackhole|garbage)\b|^cut = . after = "before-head"')


class Any_:
    """Stands for anything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "anything"


ANY: Any = Any_()


@dataclasses.dataclass(frozen=True)
class Reaction:
    """What a program sees of an exchange through an SDK."""

    # `fine`, or the class of the exception.
    kind: str = "fine"
    status: Optional[int] = None
    type: Optional[str] = None
    code: Optional[str] = None
    # How often the SDK asked; each attempt says its number, from 0 on. Or these numbers.
    attempts: Union[int, list[int]] = 1
    # `whole`, `cut` (less than the whole, but its beginning), `none`, or `=` and the exact text.
    text: Any = ANY
    # Why the answer ended: what the SDK calls finish reason, stop reason or status.
    finish: Any = ANY
    # The arguments of the tool.
    tool: Any = ANY
    # What the SDK made of them by itself.
    parsed: Any = ANY
    # For how many seconds it meant to wait before each further attempt: bounds.
    waits: Optional[Sequence[tuple[float, float]]] = None
    # How long it took at least, and at most.
    seconds: tuple[float, float] = (0.0, 60.0)
    # What the exception says.
    says: str = ""
    # Whether the SDK may as well wait for ever.
    may_hang: bool = False


def fine(text: Any = "whole", **more: Any) -> Reaction:
    return Reaction(text=text, **more)


def raises(kind: str, status: Optional[int] = None, type: Optional[str] = None, code: Optional[str] = None, **more: Any) -> Reaction:
    return Reaction(kind, status, type, code, **more)


def both(reaction: Reaction) -> tuple[Reaction, Reaction]:
    """The same with the SDKs for OpenAI and for Anthropic, in Python, or in both languages."""
    return reaction, reaction


# What several tables have in common: the faults,
JSON_FOR_SSE = 'status = { code = 200, headers = { content-type = "application/json" }, body = "{}" }'
EMPTY_FOR_SSE = 'status = { code = 200, headers = { content-type = "text/event-stream" } }'
# what the SDKs make of a stream that came whole,
WHOLE = (fine(finish="stop"), fine(finish="end_turn"))
# of one in which nothing came for longer than their limit,
STALLED = (raises("APITimeoutError", text="cut"), raises("httpx2.ReadTimeout", text="cut"))
# and of one in which it came for 5 s, without such a limit,
WAITED = (fine(finish="stop", seconds=(5, 60)), fine(finish="end_turn", seconds=(5, 60)))
NO_LIMIT = "Node has no limit between events"
# of one whose connection was lost without and with a reset,
TORN = (raises("APIConnectionError", text="cut"), raises("httpx2.RemoteProtocolError", text="cut"))
RESET = (raises("APIConnectionError", text="cut"), raises("httpx2.ReadError", text="cut"))
NODE_TORN = raises("TypeError", text="cut", says="terminated")
# and of what is no JSON.
BAD_JSON = raises("json.JSONDecodeError")
NODE_BAD_JSON = raises("SyntaxError")


def cut(how: str, events: int = 3) -> str:
    """The fault that breaks a stream off after so many events."""
    return f'cut = {{ after = {{ events = {events} }}, how = "{how}" }}'


@dataclasses.dataclass(frozen=True)
class Case:
    """A fault, how a program asks, and what it sees with each SDK."""

    name: str
    # The kind of fault, as it is written in the config; none where it is empty.
    fault: str
    # `create`, `stream` (create with `stream=True`), `helper` (`.stream()`), and the same of responses.
    way: str
    openai: Optional[Reaction] = None
    anthropic: Optional[Reaction] = None
    # Where Node differs from Python.
    node_openai: Optional[Reaction] = None
    node_anthropic: Optional[Reaction] = None
    # Why something differs.
    note: str = ""
    prompt: str = "tell a story"
    # Of the SDK, in seconds.
    timeout: float = 30.0
    # How often it is done, on one client, and how many seconds lie between.
    times: int = 1
    pause: float = 0.0
    # After how many seconds it counts as hung (Node).
    patience: float = 45.0
    # Whether the SDK waits a moment only, whatever it means to wait.
    hurry: bool = False
    # Before the path.
    prefix: str = ""
    # More conditions; each lets the fault hit one exchange of a case.
    when: str = ""
    # The SDKs in whose streams the fault finds nothing to do.
    nothing_for: str = ""

    def expected(self) -> Iterator[tuple[str, Reaction]]:
        """What each SDK does that takes part."""
        if self.openai:
            yield "openai", self.openai
            yield "node-openai", self.node_openai or self.openai
        if self.anthropic:
            yield "anthropic", self.anthropic
            yield "node-anthropic", self.node_anthropic or self.anthropic

    def rule(self) -> str:
        if not self.fault:
            return ""
        more = f", {self.when}" if self.when else ""
        fault = self.fault.replace(SOON, email.utils.formatdate(time.time() + 100, usegmt=True))
        return f'[[route.fault]]\nname = "{self.name}"\n{fault}\nwhen = {{ headers = {{ x-case = "{self.name}" }}{more} }}\n'

    def ask(self, url: str, sdk: str) -> dict[str, Any]:
        members = ("way", "name", "prompt", "timeout", "times", "pause", "patience", "hurry", "prefix")
        return {"url": url, "sdk": sdk.removeprefix("node-"), "client": sdk, **{name: getattr(self, name) for name in members}}

    def asks_upstream(self) -> bool:
        return not STAND_INS.match(self.fault)


def text_of(prompt: str) -> str:
    return PROMPTS[prompt].get("content", "")


def baselines(cases: Iterable[Case]) -> list[Case]:
    """The same without a fault, once for each thing that is asked."""
    made: dict[tuple[str, str, str], Case] = {}
    for case in cases:
        key = (case.way, case.prompt, case.prefix)
        name = "no-fault-" + "-".join(part.strip("/") for part in key if part)
        have = made.get(key)
        whole = fine(tool=PARIS if case.prompt == "weather" else None)
        made[key] = Case(
            name,
            "",
            case.way,
            whole if case.openai or have and have.openai else None,
            whole if case.anthropic or have and have.anthropic else None,
            prompt=case.prompt,
            prefix=case.prefix,
        )
    return list(made.values())


class Outcome:
    """What every SDK did in every case, from every source."""

    def __init__(self) -> None:
        # By source, SDK and the name of the case.
        self.seen: dict[tuple[str, str, str], dict[str, Any]] = {}
        # By SDK and name of the case: the numbers of the attempts that came to the upstream, in order.
        self.asked: dict[tuple[str, str], list[int]] = {}
        # By source and name of the case: in how many exchanges the proxy says that the fault was injected.
        self.injected: dict[tuple[str, str], int] = {}

    def check(self, source: str, case: Case) -> list[str]:
        """What differs from the table."""
        wrong: list[str] = []
        # In how many exchanges the fault has to be injected.
        total = 0
        for sdk, expected in case.expected():
            seen = self.seen[source, sdk, case.name]
            total += injections(case, sdk, seen)
            found = list(differences(seen, expected, case))
            if source == "live":
                asked = self.asked.get((sdk, case.name), [])
                # Where a fault stands in for the upstream, it is asked only in the exchanges that the fault does not hit.
                awaited = seen["attempts"] if case.asks_upstream() else unhit(case, seen["attempts"])
                if asked != awaited:
                    found.append(f"the upstream saw the attempts {asked}, and not {awaited}")
            wrong += [f"{sdk}: {what}" for what in found]
            if found:
                wrong.append(f"    of {seen}")
        injected = self.injected.get((source, case.name), 0)
        if injected != total:
            wrong.append(f"the fault was injected into {injected} of {total} exchanges")
        return wrong


def unhit(case: Case, attempts: list[int]) -> list[int]:
    """The attempts that the fault leaves alone."""
    if not case.when:
        return []
    hit = case.times - 1
    return attempts[:hit] + attempts[hit + 1 :]


def injections(case: Case, sdk: str, seen: dict[str, Any]) -> int:
    """Into how many exchanges of this SDK the fault has to be injected."""
    if not case.fault or sdk in case.nothing_for.split():
        return 0
    return 1 if case.when else len(seen["attempts"])


def differences(seen: dict[str, Any], expected: Reaction, case: Case) -> Iterator[str]:
    if expected.may_hang and seen["kind"] == "hung":
        return
    for name in ("kind", "status", "type", "code", "finish", "tool"):
        if seen[name] != getattr(expected, name):
            yield f"{name} is {seen[name]!r}, and not {getattr(expected, name)!r}"
    if "parsed" in seen and seen["parsed"] != expected.parsed:
        yield f"parsed is {seen['parsed']!r}, and not {expected.parsed!r}"
    attempts = list(range(expected.attempts)) if isinstance(expected.attempts, int) else expected.attempts
    if seen["attempts"] != attempts:
        yield f"the attempts are {seen['attempts']}, and not {attempts}"
    marks = {(mark or "").split(";")[0] for mark in seen["marks"]}
    if not case.when and not marks <= {case.name if case.fault else ""}:
        yield f"the answers name the faults {marks}"
    whole = text_of(case.prompt)
    if not text_fits(seen["text"], expected.text, whole):
        yield f"the text is {seen['text']!r}, and not {expected.text!r} of {whole!r}"
    if expected.says not in seen.get("says", ""):
        yield f"it says {seen.get('says')!r}, and not {expected.says!r}"
    if expected.waits is not None:
        fits = len(seen["waits"]) == len(expected.waits)
        if not fits or any(not low <= wait <= high for wait, (low, high) in zip(seen["waits"], expected.waits)):
            yield f"it waited for {seen['waits']}, and not {expected.waits}"
    if not expected.seconds[0] <= seen["seconds"] <= expected.seconds[1]:
        yield f"it took {seen['seconds']:.2f} s, and not {expected.seconds}"


def text_fits(text: str, expected: Any, whole: str) -> bool:
    if expected is ANY:
        return True
    if expected == "whole":
        return text == whole
    if expected == "cut":
        return text != whole and whole.startswith(text) and text != ""
    if expected == "none":
        return text == ""
    return text == expected.removeprefix("=")


def run(where: Path, cases: Sequence[Case], before: Optional[Callable[[AiMock], Any]] = None) -> Outcome:
    """Plays all cases with all SDKs from all sources, at once. `before` may put a server in front of the mock."""
    outcome = Outcome()
    everything = [*cases, *baselines(cases)]
    starter = Rehearse(where)
    mock = AiMock(where / "mock", latency_ms=5, is_patient=True)
    # Closed in turn at the end, whatever happens.
    closing = contextlib.ExitStack()
    closing.callback(mock.close)
    try:
        upstream = before(mock) if before else mock
        if upstream is not mock:
            closing.callback(upstream.stop)
        behind = Tap(upstream.url)
        closing.callback(behind.close)
        cassette = where / "cassette"
        recorder = starter(config=config("record", upstream, [], cassette))
        play_all({"recorded": recorder}, baselines(cases), where)
        recorder.stop()
        proxies = {
            "live": admitted(starter, where, config("forward", behind, cases)),
            "replayed": admitted(starter, where, config("replay", None, cases, cassette)),
        }
        outcome.seen = play_all(proxies, everything, where)
        for source, proxy in proxies.items():
            for name, count in injected(starter, where, proxy).items():
                outcome.injected[source, name] = count
        note_asked(behind, outcome)
        for proxy in proxies.values():
            proxy.finish()
    finally:
        for proxy in starter.all:
            proxy.kill()
        closing.close()
    return outcome


def config(mode: str, upstream: Any, cases: Sequence[Case], cassette: Optional[Path] = None) -> str:
    """One route for all, and before it one for those that ask as at Azure."""
    own, azure = ("".join(case.rule() for case in cases if bool(case.prefix) == is_azure) for is_azure in (False, True))
    before = f'[[route]]\nname = "azure"\nmode = "{mode}"\nmatch = {{ path = "{AZURE}/**" }}\nstrip_prefix = "{AZURE}"\n'
    if upstream is not None:
        before += f'upstream = "{upstream.url}"\n'
    whole = route(mode, upstream, own, "", cassette)
    at = whole.index("[[route]]")
    return whole[:at] + before + azure + whole[at:]


def admitted(starter: Rehearse, where: Path, text: str) -> Rehearsal:
    """A proxy with an admin listener."""
    runtime = where / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    proxy = starter("--admin", "127.0.0.1:0", config=text, env={"XDG_RUNTIME_DIR": str(runtime)})
    proxy._wait_ready(re.compile(r"^admin on http://(.+):(\d+)$"))
    return proxy


def injected(starter: Rehearse, where: Path, proxy: Rehearsal) -> dict[str, int]:
    """Of each rule, into how many exchanges its fault was injected, as the proxy says itself."""
    admin = next(line for line in proxy.lines if line.startswith("admin on ")).removeprefix("admin on ")
    done = starter.run("fault", "list", "--json", "--admin", admin, env={"XDG_RUNTIME_DIR": str(where / "run")})
    assert done.returncode == 0, done.stderr
    return {fault["rule"]: fault["counts"]["injected"] for fault in json.loads(done.stdout)["faults"]}


def play_all(proxies: dict[str, Rehearsal], cases: Sequence[Case], where: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    keys = [(source, sdk, case) for source in proxies for case in cases for sdk, _ in case.expected()]
    # Those that take long come first.
    keys.sort(key=lambda key: key[2].timeout)
    return ask_all({(source, sdk, case.name): case.ask(proxies[source].url, sdk) for source, sdk, case in keys}, where)


def ask_all(asks: dict[tuple[str, str, str], dict[str, Any]], where: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What comes of each of these, all at once. The second part of a key is the SDK."""
    ours = {key: ask for key, ask in asks.items() if not key[1].startswith("node-")}
    theirs = {key: ask for key, ask in asks.items() if key not in ours}
    file = where / "asks.json"
    file.write_text(json.dumps(list(theirs.values())))
    with ThreadPoolExecutor(32) as pool:
        node = pool.submit(run_node, "matrix.mjs", GOOD_KEY, str(file))
        waiting = {key: pool.submit(play, ask["url"], ask) for key, ask in ours.items()}
        seen = {key: future.result() for key, future in waiting.items()}
        seen.update(zip(theirs, node.result()))
    return seen


def note_asked(behind: Tap, outcome: Outcome) -> None:
    for exchange in behind.exchanges():
        head = exchange.request
        assert not head.get("idempotency-key"), "no SDK sends that"
        sdk = "anthropic" if head.get("anthropic-version") else "openai"
        if head.get("x-stainless-lang") == "js":
            sdk = f"node-{sdk}"
        numbers = outcome.asked.setdefault((sdk, head.get("x-case") or ""), [])
        numbers.append(int(head.get("x-stainless-retry-count") or 0))
        numbers.sort()


def fixtures(cases: Sequence[Case], name: str = "outcome", before: Optional[Callable[[AiMock], Any]] = None) -> tuple[Any, Any]:
    """The fixture, of this name, that plays a table once for a test file, and the test of each case of it."""

    @pytest.fixture(scope="module", name=name)
    def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
        return run(tmp_path_factory.mktemp("matrix"), cases, before)

    @pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])
    @pytest.mark.parametrize("source", SOURCES)
    def test(request: pytest.FixtureRequest, source: str, case: Case) -> None:
        outcome: Outcome = request.getfixturevalue(name)
        same = next(one for one in baselines(cases) if (one.way, one.prompt, one.prefix) == (case.way, case.prompt, case.prefix))
        wrong = outcome.check(source, same) + outcome.check(source, case)
        assert not wrong, f"{case.note}\n" + "\n".join(wrong)

    return outcome, test
