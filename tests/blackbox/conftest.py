"""Starts what the tests need, and ends it by its pid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence, Union

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("cassettes", "rawclient", "sdk", "upstream")

from tap import Tap  # noqa: E402
from upstream import Upstream  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

# How long a process may take to start or to stop before a test gives up.
PATIENCE = 30.0


def binary() -> str:
    """The binary under test."""
    path = os.environ.get("REHEARSAL_BIN") or str(ROOT / "target" / "debug" / "rehearsal")
    if not os.access(path, os.X_OK):
        pytest.fail(f"there is no binary at {path}: run `cargo build`, or set REHEARSAL_BIN", pytrace=False)
    return path


def clean_env(more: Optional[dict[str, str]] = None) -> dict[str, str]:
    """Our environment without what would change how the binary, or a client, behaves."""
    unwanted = re.compile(r"(?i)^(rehearsal_.*|(https?|all|no)_proxy|openai_.*|anthropic_.*|aws_.*|rust_log)$")
    env = {name: value for name, value in os.environ.items() if not unwanted.match(name)}
    env["RUST_BACKTRACE"] = "1"
    env.update(more or {})
    return env


def free_port() -> int:
    """A port on which nothing listened a moment ago."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """A process of ours that says on stdout where it listens."""

    def __init__(
        self,
        argv: Sequence[str],
        where: Path,
        ready: str,
        env: Optional[dict[str, str]] = None,
        name: str = "server",
        preexec: Optional[Callable[[], None]] = None,
    ):
        self.name = name
        self.argv = list(argv)
        where.mkdir(parents=True, exist_ok=True)
        self.err_file = where / f"{name}-{time.monotonic_ns()}.stderr"
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.is_at_end = False
        with self.err_file.open("wb") as err:
            self.process = subprocess.Popen(
                self.argv,
                cwd=where,
                env=clean_env(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                preexec_fn=preexec,
            )
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.host, self.port = self._wait_ready(re.compile(ready))
        self.url = f"http://{self.host}:{self.port}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.is_at_end = True
            self.changed.notify_all()

    def _wait_ready(self, ready: re.Pattern[str]) -> tuple[str, int]:
        def found() -> Optional[re.Match[str]]:
            return next((match for line in self.lines if (match := ready.search(line))), None)

        with self.changed:
            self.changed.wait_for(lambda: found() or self.is_at_end, PATIENCE)
        match = found()
        if match is None:
            self.kill()
            raise AssertionError(f"{' '.join(self.argv)} did not start\n{self.output()}")
        return match.group(1), int(match.group(2))

    def stdout(self) -> str:
        return "\n".join(self.lines)

    def stderr(self) -> str:
        return self.err_file.read_text("utf-8", "replace")

    def output(self) -> str:
        return (
            f"exit code: {self.process.poll()}\n---- stdout of {self.name}\n{self.stdout()[-8000:]}\n"
            f"---- stderr of {self.name}\n{self.stderr()[-16000:]}"
        )

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        code = self.process.wait(timeout)
        self.reader.join(timeout)
        return code

    def stop(self, timeout: float = PATIENCE) -> None:
        """Asks it to end, and holds it to ending well."""
        if self.is_alive:
            self.signal(signal.SIGTERM)
        code = self.wait(timeout)
        assert code == 0, f"{self.name} ended with {code} after SIGTERM\n{self.output()}"

    def kill(self) -> None:
        if self.is_alive:
            self.process.kill()
        self.wait()

    def memory(self, field: str) -> int:
        """A line of /proc/PID/status, in bytes: `VmRSS`, or `VmHWM` for the highest so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field} for {self.pid}")

    def forget_peak(self) -> None:
        """Starts `VmHWM` anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


class Rehearsal(Server):
    """The binary under test."""

    def __init__(self, args: Sequence[str], where: Path, env: Optional[dict[str, str]] = None, **more: Any):
        super().__init__([binary(), *args], where, r"^listening on http://(.+):(\d+)$", env, "rehearsal", **more)
        assert self.lines[0] == f"listening on {self.url}", f"the first line on stdout is {self.lines[0]!r}"

    def finish(self) -> None:
        """What holds at the end of every test."""
        try:
            if self.is_alive:
                self.signal(signal.SIGTERM)
                try:
                    code = self.wait(20)
                except subprocess.TimeoutExpired:
                    self.kill()
                    raise AssertionError(f"still there 20 s after SIGTERM\n{self.output()}") from None
                assert code == 0, f"ended with {code} after SIGTERM\n{self.output()}"
        finally:
            assert "panicked at" not in self.stderr(), f"a panic\n{self.output()}"


class Rehearse:
    """Starts the binary in the ways in which people do."""

    def __init__(self, where: Path):
        self.where = where
        self.all: list[Rehearsal] = []

    def __call__(
        self,
        *args: Union[str, Path],
        config: Optional[str] = None,
        env: Optional[dict[str, str]] = None,
        where: Optional[Path] = None,
        preexec: Optional[Callable[[], None]] = None,
    ) -> Rehearsal:
        """With `config`, `serve -c` of a file with that text. Listens on a free port unless `args` say otherwise."""
        words = [str(arg) for arg in args]
        if config is not None:
            words = ["serve", "-c", str(self.file(config)), *words]
        if "--listen" not in words:
            words += ["--listen", "127.0.0.1:0"]
        started = Rehearsal(words, where or self.where, env, preexec=preexec)
        self.all.append(started)
        return started

    def file(self, config: str, name: str = "rehearsal.toml") -> Path:
        path = self.where / f"{len(self.all)}-{name}"
        path.write_text(config)
        return path

    def record(self, upstream: Any, cassette: Path, *more: str, **options: Any) -> Rehearsal:
        return self("record", "--upstream", getattr(upstream, "url", upstream), "--cassette", cassette, *more, **options)

    def replay(self, cassette: Path, *more: str, **options: Any) -> Rehearsal:
        return self("replay", "--cassette", cassette, *more, **options)

    def forward(self, upstream: Any, more: str = "", top: str = "", **options: Any) -> Rehearsal:
        """One route that forwards everything; `more` are further lines of it, `top` further sections."""
        return self(config=route("forward", upstream, more, top), **options)

    def run(
        self,
        *args: Union[str, Path],
        env: Optional[dict[str, str]] = None,
        timeout: float = PATIENCE,
        where: Optional[Path] = None,
    ) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        done = subprocess.run(
            [binary(), *map(str, args)],
            cwd=where or self.where,
            env=clean_env(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            text=True,
            errors="replace",
            check=False,
        )
        assert "panicked at" not in done.stderr, done.stderr
        return done


def route(mode: str, upstream: Any = None, more: str = "", top: str = "", cassette: Optional[Path] = None) -> str:
    """A config with one route."""
    lines = [top]
    if cassette is not None:
        lines.append(f'[cassette]\npath = "{cassette}"')
    lines.append(f'[[route]]\nname = "all"\nmode = "{mode}"')
    if upstream is not None:
        lines.append(f'upstream = "{getattr(upstream, "url", upstream)}"')
    lines.append(more)
    return "\n".join(lines) + "\n"


@pytest.fixture
def rehearsal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rehearse]:
    """Starts the binary; all that a test started is ended, and must end well, after it."""
    starter = Rehearse(tmp_path)
    request.node.rehearsals = starter.all  # type: ignore[attr-defined]
    yield starter
    errors: list[str] = []
    for started in starter.all:
        try:
            started.finish()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server in the test's hand."""
    server = Upstream()
    yield server
    server.stop()
    assert not server.errors, f"a handler of the upstream failed: {server.errors!r}"


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    """Where a cassette may be made."""
    return tmp_path / "cassette"


@pytest.fixture
def tap() -> Iterator[Callable[[Any], Tap]]:
    """Makes taps in front of servers."""
    made: list[Tap] = []

    def make(target: Any) -> Tap:
        made.append(Tap(getattr(target, "url", target)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Closes at the end, and before the proxies stop, whatever it was given."""
    given: list[Any] = []

    def keep(thing: Any) -> Any:
        given.append(thing)
        return thing

    yield keep
    for thing in reversed(given):
        thing.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed:
        for number, started in enumerate(getattr(item, "rehearsals", []), 1):
            report.sections.append((f"rehearsal {number}: {' '.join(started.argv[1:])}", started.output()))
