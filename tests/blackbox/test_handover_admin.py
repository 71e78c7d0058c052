"""The admin listener goes over to the next process with the others: who probes it, or asks it, notices nothing."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from pathlib import Path

import pytest
import wire
from conftest import route
from rawclient import Client, ask
from upstream import answer, endless

CONFIG = '[[route.fault]]\nname = "slow"\nlatency = "1ms"\n'


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch):
    """A folder for sockets of its own: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def admin_of(proxy) -> str:
    """Where its admin listener is."""
    proxy._wait_ready(re.compile(r"^admin on http://(.+):(\d+)$"))
    return next(line for line in proxy.lines if line.startswith("admin on ")).removeprefix("admin on ")


def after(rehearsal, old, config, *more, **options):
    """The next process, in the place of `old`."""
    return rehearsal("--listen", f"{old.host}:{old.port}", "--take-over", *more, config=config, **options)


def ended(old, timeout=20):
    """It ends by itself, and well."""
    assert old.wait(timeout) == 0, old.output()


class Probes:
    """Whoever asks whether the proxy is ready, without a pause: with a new connection each time, and with one that is kept."""

    def __init__(self, url: str):
        self.url = url
        self.is_over = threading.Event()
        self.ready = 0
        self.wrong: list[str] = []
        self.told = 0
        self.threads = [threading.Thread(target=self._run, args=(probe,), daemon=True) for probe in [self._anew, self._anew, self._kept]]
        for thread in self.threads:
            thread.start()

    def _run(self, probe) -> None:
        while not self.is_over.is_set():
            try:
                probe()
            except (wire.Ended, OSError, AssertionError) as error:
                self.wrong.append(repr(error))

    def _one(self, client: Client) -> wire.Answer:
        got = client.ask(target="/readyz")
        if (got.status, got.body) == (200, b"ready\n"):
            self.ready += 1
        else:
            self.wrong.append(f"{got.status} {got.body!r} {got.end}")
        return got

    def _anew(self) -> None:
        with Client(self.url) as client:
            self._one(client)

    def _kept(self) -> None:
        with Client(self.url) as client:
            while not self.is_over.is_set():
                if (self._one(client).get("connection") or "").lower() == "close":
                    self.told += 1
                    return
                time.sleep(0.002)

    def stop(self) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        assert self.wrong == []


def test_a_probe_never_finds_nobody(rehearsal, upstream):
    upstream.fallback = answer()
    config = route("forward", upstream, CONFIG)
    first = rehearsal("--admin", "127.0.0.1:0", config=config)
    admin = admin_of(first)
    probes = Probes(admin)
    time.sleep(0.3)
    second = after(rehearsal, first, config, "--admin", admin.removeprefix("http://"))
    assert admin_of(second) == admin
    ended(first)
    third = after(rehearsal, second, config, "--admin", "127.0.0.1:0")
    assert admin_of(third) == admin, "port 0 takes what there is"
    ended(second)
    time.sleep(0.3)
    probes.stop()
    assert probes.ready > 50
    assert probes.told == 2, "who keeps a connection is told to come back, by each process once"


def test_orders_reach_the_new_process_with_the_token_of_the_old_one(rehearsal, upstream, runtime_dir):
    upstream.on("/stream", endless(gap=0.02))
    upstream.fallback = answer()
    config = route("forward", upstream, CONFIG)
    first = rehearsal("--admin", "127.0.0.1:0", config=config)
    admin = admin_of(first)
    (file,) = (runtime_dir / "rehearsal").glob("*.token")
    token = file.read_text()
    with Client(first.url) as client:
        # The old process has something to do for as long as its grace time.
        client.request(target="/stream")
        client.reader.head()
        second = after(rehearsal, first, config, "--admin", admin.removeprefix("http://"))
        assert first.is_alive
        assert file.read_text() == token and file.stat().st_mode & 0o777 == 0o600
        # Were the old process still accepting there, it would get half of these.
        for _ in range(20):
            done = rehearsal.run("fault", "off", "slow", "--admin", admin)
            assert (done.returncode, done.stdout) == (0, "all/slow is off\n"), done.stderr
            assert ask(second.url).get("x-rehearsal-fault") is None
            assert rehearsal.run("fault", "on", "slow", "--admin", admin).returncode == 0
            assert ask(second.url).get("x-rehearsal-fault").startswith("slow;draw=")
        assert first.is_alive
    ended(first)
    assert file.read_text() == token, "the file is the second's now"
    second.stop()
    assert list((runtime_dir / "rehearsal").iterdir()) == []


def test_a_listener_that_the_next_process_does_not_want_stays_to_the_end(rehearsal, upstream):
    upstream.on("/stream", endless(gap=0.02))
    config = route("forward", upstream, CONFIG)
    first = rehearsal("--admin", "127.0.0.1:0", config=config)
    admin = admin_of(first)
    # A port of its own, and not the one that port 0 would take.
    other = rehearsal("--admin", "127.0.0.1:0", config=config)
    free = admin_of(other)
    other.stop()
    with Client(first.url) as client:
        client.request(target="/stream")
        client.reader.head()
        second = after(rehearsal, first, config, "--admin", free.removeprefix("http://"))
        assert ask(admin, target="/readyz").status == 503
        assert ask(free, target="/readyz").status == 200
        # Faults of the streams that go on there can still be ended.
        assert rehearsal.run("fault", "kill", "--admin", admin).returncode == 0
    ended(first)
    with pytest.raises(ConnectionRefusedError):
        ask(admin, target="/readyz")
    assert ask(free, target="/readyz").status == 200
    second.stop()


def test_one_that_fails_to_take_over_leaves_the_listener_and_the_token(rehearsal, upstream, runtime_dir):
    upstream.fallback = answer()
    first = rehearsal("--admin", "127.0.0.1:0", config=route("forward", upstream, CONFIG))
    admin = admin_of(first)
    place = ["--listen", f"{first.host}:{first.port}", "--admin", admin.removeprefix("http://"), "--take-over"]
    # Found after the listeners were taken.
    folder = rehearsal.where / "no-cassette"
    folder.write_text("a file")
    file = rehearsal.file(route("record", upstream, cassette=folder))
    done = rehearsal.run("serve", "-c", file, *place)
    assert done.returncode == 2, done.stderr
    assert ask(admin, target="/readyz").status == 200
    assert rehearsal.run("fault", "list", "--admin", admin).returncode == 0
