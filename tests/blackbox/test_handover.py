"""One process takes the place of another, and no request and no recording is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path

import httpx
import pytest
import wire
from cassettes import recordings
from conftest import route
from h2peers import TLS, certificate, https, tool, trusting
from peers import NODE
from rawclient import Client, ask
from upstream import answer, endless, stream

LOAD_S = 3.0


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch):
    """A folder for sockets of its own: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def after(rehearsal, old, config, *more, **options):
    """The next process, in the place of `old`."""
    return rehearsal("--listen", f"{old.host}:{old.port}", "--take-over", *more, config=config, **options)


def ended(old, timeout=20):
    """It ends by itself, and well."""
    assert old.wait(timeout) == 0, old.output()


class Load:
    """Clients that ask without a pause, and what became of each request."""

    def __init__(self, url, target, kept=4, fresh=2):
        self.url = url
        self.target = target
        self.is_over = threading.Event()
        self.done = []
        self.lost = []
        self.closed = 0
        self.count = 0
        self.lock = threading.Lock()
        workers = [self._keep] * kept + [self._begin_anew] * fresh
        self.threads = [threading.Thread(target=self._run, args=(worker,), daemon=True) for worker in workers]
        for thread in self.threads:
            thread.start()

    def _run(self, worker):
        try:
            worker()
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.lost.append(repr(error))

    def _next(self):
        with self.lock:
            self.count += 1
            return self.target.format(self.count)

    def _ask(self, client):
        target = self._next()
        try:
            got = client.ask(target=target)
        except (wire.Ended, OSError) as error:
            self.lost.append(f"{target}: {error!r}")
            return None
        if got.status == 200 and got.end == wire.COMPLETE:
            self.done.append(target)
        else:
            self.lost.append(f"{target}: {got.status}, {got.end}")
        return got

    def _keep(self):
        while not self.is_over.is_set():
            with Client(self.url) as client:
                while not self.is_over.is_set():
                    got = self._ask(client)
                    if got is None or (got.get("connection") or "").lower() == "close":
                        self.closed += 1
                        break
                    time.sleep(0.002)

    def _begin_anew(self):
        while not self.is_over.is_set():
            with Client(self.url) as client:
                self._ask(client)

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        assert self.lost == []
        assert len(self.done) == self.count


@pytest.mark.parametrize("mode", ["forward", "record"])
def test_two_hand_overs_under_load_lose_nothing(rehearsal, upstream, cassette, mode):
    upstream.fallback = answer(body=b"x" * 200)
    config = route(mode, upstream, cassette=cassette)
    first = rehearsal(config=config)
    load = Load(first.url, "/load/{}")
    time.sleep(LOAD_S / 3)
    second = after(rehearsal, first, config)
    assert second.url == first.url
    time.sleep(LOAD_S / 3)
    third = after(rehearsal, second, config)
    time.sleep(LOAD_S / 3)
    load.stop()
    ended(first)
    ended(second)
    assert load.closed >= 8, "each client that was kept was told, twice"
    assert len(load.done) > 100
    assert third.is_alive
    third.stop()
    if mode == "record":
        kept = [json.loads(path.read_text())["recorded"]["request"]["path"] for path in recordings(cassette)]
        assert sorted(kept) == sorted(load.done)
        listed = rehearsal.run("cassette", "list", cassette)
        assert listed.returncode == 0 and "interrupted" not in listed.stdout


def test_a_run_goes_on_in_the_next_process(rehearsal, upstream, cassette):
    """`replace` begins a sequence anew with each run, not with each process of one."""
    bodies = iter(range(1000))
    upstream.fallback = lambda request, connection: answer(body=b"%d" % next(bodies))(request, connection)
    config = route("record", upstream, cassette=cassette)
    first = rehearsal(config=config)
    for _ in range(3):
        ask(first.url)
    second = after(rehearsal, first, config)
    ask(second.url)
    ended(first)
    ask(second.url)
    second.stop()
    with_replay = rehearsal.replay(cassette)
    assert [ask(with_replay.url).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("at_once", [1, 10])
def test_clients_of_http2_lose_nothing(rehearsal, upstream, at_once):
    """Node opens a new connection when it is told to; h2load and httpx give up instead."""
    upstream.fallback = answer(body=b"x" * 200)
    config = route("forward", upstream)
    first = rehearsal(config=config)
    count = 300 * at_once
    result = []
    words = ["node", str(NODE / "h2many.mjs"), first.url, str(count), str(at_once)]
    load = threading.Thread(target=lambda: result.append(tool(*words)))
    load.start()
    upstream.wait(lambda: len(upstream.requests) > count / 5)
    second = after(rehearsal, first, config)
    upstream.wait(lambda: len(upstream.requests) > count / 5 * 3)
    after(rehearsal, second, config)
    load.join(60)
    told = json.loads(result[0].stdout)
    assert (told["ok"], told["failures"]) == (count, []), result[0].stderr
    # The load may be through before the second hand-over is.
    assert 1 <= told["connections"] <= 3
    assert len(upstream.requests) == count, "none was asked twice"
    ended(first)
    ended(second)


def test_the_listener_with_tls_is_handed_over_too(rehearsal, upstream, tmp_path):
    upstream.fallback = answer(body=b"x" * 200)
    cert = certificate(tmp_path)
    first = rehearsal(config=route("forward", upstream, top=TLS))
    at = https(first)
    port = at.rsplit(":", 1)[1]
    config = route("forward", upstream, top=TLS.replace(":0", f":{port}"))
    with httpx.Client(verify=trusting(cert), timeout=30, trust_env=False) as kept:
        assert kept.get(at).status_code == 200
        second = after(rehearsal, first, config)
        told = kept.get(at)
        assert (told.status_code, told.headers["connection"]) == (200, "close")
        again = kept.get(at)
        assert (again.status_code, again.headers.get("connection")) != (200, "close")
    assert https(second) == at
    ended(first)


def test_a_stream_in_the_old_process_goes_on_to_its_end(rehearsal, upstream):
    pieces = [b"data: %d\n\n" % number for number in range(40)]
    upstream.on("/stream", stream(pieces, 0.1))
    upstream.on("/", answer())
    config = route("forward", upstream)
    first = rehearsal(config=config)
    with Client(first.url) as client:
        client.request(target="/stream")
        head = client.reader.head()
        second = after(rehearsal, first, config)
        assert ask(second.url).status == 200
        assert first.is_alive
        got = client.answer(head=head)
        assert (got.body, got.end) == (b"".join(pieces), wire.COMPLETE)
    ended(first)


def test_a_stream_beyond_the_grace_time_is_cut_as_at_any_stop(rehearsal, upstream):
    upstream.on("/stream", endless(gap=0.02))
    config = route("forward", upstream, top='[listen]\ngrace = "1s"')
    first = rehearsal(config=config)
    with Client(first.url) as client:
        client.request(target="/stream")
        client.reader.head()
        started = time.monotonic()
        after(rehearsal, first, config)
        ended(first)
        assert 0.9 < time.monotonic() - started < 8
        assert client.end() in (wire.FIN, wire.RESET)


def test_what_is_recorded_on_both_sides_meanwhile_is_kept(rehearsal, upstream, cassette):
    """A long recording in the old process keeps the new one's waiting, not its clients."""
    pieces = [b"data: %d\n\n" % number for number in range(40)]
    upstream.on("/stream", stream(pieces, 0.1))
    upstream.fallback = answer(body=b"x" * 200)
    config = route("record", upstream, cassette=cassette)
    first = rehearsal(config=config)
    with Client(first.url) as client:
        client.request(target="/stream")
        head = client.reader.head()
        second = after(rehearsal, first, config)
        started = time.monotonic()
        assert [ask(second.url, target=f"/new/{number}").status for number in range(50)] == [200] * 50
        assert time.monotonic() - started < 3
        assert first.is_alive
        got = client.answer(head=head)
        assert got.body == b"".join(pieces)
    ended(first)
    second.stop()
    kept = [json.loads(path.read_text())["recorded"]["request"]["path"] for path in recordings(cassette)]
    assert sorted(kept) == sorted(["/stream", *(f"/new/{number}" for number in range(50))])


def test_a_chain_of_hand_overs_writes_in_turn(rehearsal, upstream, cassette):
    """Each waits for the one before it, which waits itself."""
    pieces = [b"data: %d\n\n" % number for number in range(30)]
    upstream.on("/stream", stream(pieces, 0.1))
    upstream.fallback = answer()
    config = route("record", upstream, cassette=cassette)
    chain = [rehearsal(config=config)]
    with Client(chain[0].url) as client:
        client.request(target="/stream")
        head = client.reader.head()
        for number in range(4):
            chain.append(after(rehearsal, chain[-1], config))
            assert ask(chain[-1].url, target=f"/new/{number}").status == 200
        assert client.answer(head=head).end == wire.COMPLETE
    for old in chain[:-1]:
        ended(old)
    chain[-1].stop()
    kept = [json.loads(path.read_text())["recorded"]["request"]["path"] for path in recordings(cassette)]
    assert sorted(kept) == ["/new/0", "/new/1", "/new/2", "/new/3", "/stream"]


def test_the_cassette_is_let_go_of_before_the_old_process_ends(rehearsal, upstream, cassette):
    upstream.on("/stream", endless(gap=0.05))
    upstream.on("/", answer())
    config = (
        f'[listen]\ngrace = "25s"\n[cassette]\npath = "{cassette}"\n'
        f'[[route]]\nmatch = {{ path = "/stream" }}\nmode = "forward"\nupstream = "{upstream.url}"\n'
        f'[[route]]\nmode = "record"\nupstream = "{upstream.url}"\n'
    )
    first = rehearsal(config=config)
    with Client(first.url) as client:
        client.request(target="/stream")
        client.reader.head()
        second = after(rehearsal, first, config)
        assert ask(second.url).status == 200
        wait_until(lambda: recordings(cassette))
        assert first.is_alive, "its stream goes on"
        client.reader.more()
    ended(first)


def wait_until(is_so, timeout=20):
    end = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_client_that_is_idle_gets_its_next_answer_and_is_told(rehearsal, upstream):
    upstream.fallback = answer()
    config = route("forward", upstream)
    first = rehearsal(config=config)
    with Client(first.url) as kept, Client(first.url) as silent, Client(first.url) as idle:
        assert kept.ask().get("connection") != "close"
        assert idle.ask().status == 200
        second = after(rehearsal, first, config)
        told = kept.ask()
        assert (told.status, told.get("connection")) == (200, "close")
        assert kept.end() == wire.FIN
        assert silent.ask().status == 200, "it was accepted by the old process and had said nothing yet"
        assert idle.end() == wire.FIN, "the courtesy is over"
    ended(first)
    assert ask(second.url).status == 200


@pytest.mark.parametrize(
    "wrong",
    ["mode = ", '[[route]]\nmode = "reply"', '[listen]\nhttps = "127.0.0.1:0"\ntls = { cert = "no.pem", key = "no.key" }'],
)
def test_a_config_that_is_wrong_leaves_the_old_process_serving(rehearsal, upstream, wrong):
    upstream.fallback = answer()
    config = route("forward", upstream)
    first = rehearsal(config=config)
    file = rehearsal.file(wrong, "wrong.toml")
    with Client(first.url) as kept:
        kept.ask()
        done = rehearsal.run("serve", "-c", file, "--listen", f"{first.host}:{first.port}", "--take-over")
        assert done.returncode == 2, done.stderr
        assert kept.ask().get("connection") != "close"
    assert first.is_alive
    second = after(rehearsal, first, config)
    assert ask(second.url).status == 200
    ended(first)


def test_one_that_dies_before_it_is_ready_leaves_the_old_process_serving(rehearsal, upstream, runtime_dir):
    upstream.fallback = answer()
    config = route("forward", upstream)
    first = rehearsal(config=config)
    (path,) = (runtime_dir / "rehearsal").glob("*.sock")
    with socket.socket(socket.AF_UNIX) as candidate:
        candidate.connect(str(path))
        hello, fds, _, _ = socket.recv_fds(candidate, 65536, 8)
        assert len(fds) == 1 and json.loads(hello)["listeners"] == ["http"]
        for fd in fds:
            os.close(fd)
    with Client(first.url) as client:
        assert client.ask().get("connection") != "close"
    second = after(rehearsal, first, config)
    assert ask(second.url).status == 200
    ended(first)


def test_a_cassette_that_a_third_process_records_into_is_refused(rehearsal, upstream, cassette, tmp_path):
    upstream.fallback = answer()
    first = rehearsal(config=route("record", upstream, cassette=cassette))
    other = tmp_path / "other"
    rehearsal.record(upstream, other)
    file = rehearsal.file(route("record", upstream, cassette=other))
    done = rehearsal.run("serve", "-c", file, "--listen", f"{first.host}:{first.port}", "--take-over")
    assert done.returncode == 2 and "another process records into it" in done.stderr, done.stderr
    assert ask(first.url).status == 200


def test_nobody_there_is_an_error_that_names_the_socket(rehearsal, upstream, runtime_dir):
    file = rehearsal.file(route("forward", upstream))
    done = rehearsal.run("serve", "-c", file, "--listen", "127.0.0.1:9", "--take-over")
    assert done.returncode == 2
    path = runtime_dir / "rehearsal" / "127.0.0.1-9.sock"
    assert done.stderr == f"error: could not take over: no running process offers its listeners at `{path}`: No such file or directory (os error 2)\n"
    done = rehearsal.run("serve", "-c", file, "--listen", "127.0.0.1:0", "--take-over")
    assert done.returncode == 2 and "name the port" in done.stderr


def test_the_socket_is_for_its_owner_alone(rehearsal, upstream, runtime_dir):
    first = rehearsal.forward(upstream)
    (path,) = (runtime_dir / "rehearsal").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    first.stop()
    assert list(path.parent.iterdir()) == []


def test_a_socket_of_ones_own_choice(rehearsal, upstream, runtime_dir):
    upstream.fallback = answer()
    at = runtime_dir / "mine" / "next.sock"
    config = route("forward", upstream, top=f'[listen]\nhandover = "{at}"')
    first = rehearsal(config=config)
    assert at.is_socket()
    second = rehearsal("--take-over", config=config)
    assert second.url == first.url, "port 0 takes what there is"
    ended(first)
    assert at.is_socket(), "it is the second's now"
    file = rehearsal.file(config)
    done = rehearsal.run("serve", "-c", file, "--listen", "127.0.0.1:0")
    assert done.returncode == 2 and "already" in done.stderr, done.stderr


def test_replay_and_record_take_over_from_each_other(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b"hello")
    first = rehearsal.record(upstream, cassette)
    assert ask(first.url).body == b"hello"
    place = ["--listen", f"{first.host}:{first.port}", "--take-over"]
    second = rehearsal.replay(cassette, *place)
    # What was recorded last may still be on its way to the disk.
    deadline = time.monotonic() + 20
    while ask(second.url).get("x-rehearsal-source") != "replay":
        assert time.monotonic() < deadline, "the recording never came"
        time.sleep(0.1)
    third = rehearsal.record(upstream, cassette, *place)
    assert ask(third.url).get("x-rehearsal-source") == "record"
    ended(first)
    ended(second)


def test_signals_after_a_hand_over(rehearsal, upstream):
    upstream.on("/stream", endless(gap=0.02))
    config = route("forward", upstream)
    first = rehearsal(config=config)
    with Client(first.url) as client:
        client.request(target="/stream")
        client.reader.head()
        after(rehearsal, first, config)
        client.reader.more()
        first.signal(signal.SIGTERM)
        assert first.wait(5) == 130
    rehearsal.all.remove(first)
