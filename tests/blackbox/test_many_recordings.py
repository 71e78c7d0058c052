"""Thousands of recordings: a start that tells how far it came, edits that are seen while serving, a miss that stays cheap."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import route
from rawclient import ask, post_json
from upstream import answer

COUNT = 3000


def text(path: str, said: str, method: str = "GET", body: object = None) -> str:
    """A recording's file, as a script of a user would make it."""
    request: dict[str, object] = {"method": method, "path": path, "headers": [["Host", "api.test"]]}
    if body is not None:
        request["body"] = {"json": body}
    recorded = {
        "at": "2026-01-31T12:00:00Z",
        "upstream": "http://127.0.0.1:9000",
        "protocol": "http/1.1",
        "request": request,
        "response": {"status": 200, "head_us": 5, "headers": [], "items": [[1, said]]},
        "ending": "complete",
    }
    return json.dumps({"version": 1, "recorded": recorded}, indent=1)


def write(cassette: Path, count: int = COUNT) -> None:
    cassette.mkdir()
    for index in range(count):
        (cassette / f"item-{index:05}.json").write_text(text(f"/items/{index}", f"item {index}"))


def said(url: str, path: str) -> tuple[int, bytes]:
    got = ask(url, target=path)
    return got.status, got.body


def until(url: str, path: str, wanted: tuple[int, bytes], patience: float = 30.0) -> None:
    """What others change is seen within a moment; a slow machine has more of them."""
    end = time.monotonic() + patience
    while (got := said(url, path)) != wanted:
        assert time.monotonic() < end, f"{path} still says {got}, not {wanted}"
        time.sleep(0.05)


def reason(url: str, path: str) -> dict:
    got = ask(url, target=path)
    assert got.status == 404, got.body
    return json.loads(got.body)


def test_thousands_are_replayed_and_counted(rehearsal, cassette):
    write(cassette)
    proxy = rehearsal.replay(cassette)
    assert f"{COUNT} recordings can be replayed" in proxy.stdout()
    for index in range(0, COUNT, 97):
        assert said(proxy.url, f"/items/{index}") == (200, b"item %d" % index)


def test_additions_edits_and_removals_are_seen_while_serving(rehearsal, cassette):
    write(cassette)
    proxy = rehearsal.replay(cassette)
    assert said(proxy.url, "/items/7") == (200, b"item 7")
    file = cassette / "item-00007.json"
    file.write_text(text("/items/7", "edited in place"))
    until(proxy.url, "/items/7", (200, b"edited in place"))
    # As most editors and git do: a new file put in the place of the old one.
    swap = cassette / ".item-00007.json.swp"
    swap.write_text(text("/items/7", "put in place"))
    swap.rename(file)
    until(proxy.url, "/items/7", (200, b"put in place"))
    (cassette / "new.json").write_text(text("/new", "new"))
    until(proxy.url, "/new", (200, b"new"))
    (cassette / "item-00008.json").unlink()
    end = time.monotonic() + 30
    while reason(proxy.url, "/items/8")["error"]["code"] != "no_recording":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert said(proxy.url, "/items/9") == (200, b"item 9"), "the rest serves"


def test_a_mistake_is_told_once_with_its_line_and_is_mended(rehearsal, cassette):
    write(cassette, 10)
    proxy = rehearsal.replay(cassette)
    assert said(proxy.url, "/items/7") == (200, b"item 7")
    file = cassette / "item-00007.json"
    good = file.read_text()
    file.write_text(good.replace('"status": 200', '"status": "200"'))
    line = 1 + good[: good.index('"status"')].count("\n")
    end = time.monotonic() + 30
    while said(proxy.url, "/items/7")[0] == 200:
        assert time.monotonic() < end, "the edit is not seen"
        time.sleep(0.05)
    told = reason(proxy.url, "/items/7")["error"]
    assert told["code"] == "unreadable_recording"
    assert f"item-00007.json:{line}: " in told["message"]
    end = time.monotonic() + 30
    while f"item-00007.json:{line}: " not in proxy.stderr():
        assert time.monotonic() < end
        time.sleep(0.05)
    # Touched, and still wrong in the same way.
    os.utime(file)
    file.write_text(file.read_text())
    (cassette / "marker.json").write_text(text("/marker", "seen"))
    until(proxy.url, "/marker", (200, b"seen"))
    warnings = re.findall(r"WARN.*item-00007\.json:\d+: .*refused until it's mended", proxy.stderr())
    assert len(warnings) == 1, proxy.stderr()
    file.write_text(good.replace("item 7", "mended"))
    until(proxy.url, "/items/7", (200, b"mended"))


def test_another_branch_of_git_is_picked_up(rehearsal, cassette):
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    write(cassette, 2000)

    def git(*words: str) -> None:
        name = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", *name, *words], cwd=cassette, check=True, capture_output=True)

    git("init", "-q", "-b", "one")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "two")
    for index in range(0, 2000, 2):
        (cassette / f"item-{index:05}.json").write_text(text(f"/items/{index}", f"other {index}"))
    for index in range(1, 2000, 4):
        (cassette / f"item-{index:05}.json").unlink()
    git("add", "-A")
    git("commit", "-qm", "two")
    git("checkout", "-q", "one")
    proxy = rehearsal.replay(cassette)
    assert said(proxy.url, "/items/1998") == (200, b"item 1998")
    git("checkout", "-q", "two")
    for index in (0, 1000, 1998):
        until(proxy.url, f"/items/{index}", (200, b"other %d" % index))
    end = time.monotonic() + 30
    while reason(proxy.url, "/items/1997")["error"]["code"] != "no_recording":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert said(proxy.url, "/items/3") == (200, b"item 3")
    git("checkout", "-q", "one")
    for index in (0, 1997, 1998):
        until(proxy.url, f"/items/{index}", (200, b"item %d" % index))


def test_while_recording_edits_by_hand_are_seen_and_own_recordings_are_not_taken_for_such(rehearsal, upstream, cassette):
    upstream.on("/live", answer(body=b"live"))
    write(cassette, 10)
    config = route("replay", upstream, 'on_miss = "record"', cassette=cassette)
    proxy = rehearsal(config=config)
    assert said(proxy.url, "/live") == (200, b"live")
    assert said(proxy.url, "/live") == (200, b"live")
    (cassette / "item-00003.json").write_text(text("/items/3", "by hand"))
    until(proxy.url, "/items/3", (200, b"by hand"))
    end = time.monotonic() + 30
    while not (changes := re.findall(r"changed=(\d+) removed=(\d+) broken=(\d+)", proxy.stderr())):
        assert time.monotonic() < end, "the edit is not seen"
        time.sleep(0.05)
    assert changes == [("1", "0", "0")], proxy.stderr()
    assert len(upstream.requests) == 1


def test_a_replay_sees_what_another_process_records_meanwhile(rehearsal, upstream, cassette):
    upstream.on("/live", answer(body=b"live"))
    recorder = rehearsal.record(upstream, cassette)
    player = rehearsal.replay(cassette)
    assert said(player.url, "/live")[0] == 404
    assert said(recorder.url, "/live") == (200, b"live")
    until(player.url, "/live", (200, b"live"))


def test_a_long_start_tells_how_far_it_came(rehearsal, cassette, tmp_path):
    """Slowed down by being stopped in between, so that any machine takes more than a second for it."""
    write(cassette, 8000)
    with (tmp_path / "stderr").open("wb") as stderr, (tmp_path / "stdout").open("wb") as stdout:
        from conftest import binary, clean_env

        process = subprocess.Popen(
            [binary(), "replay", "--cassette", str(cassette), "--listen", "127.0.0.1:0"],
            env=clean_env(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        try:
            end = time.monotonic() + 60
            while b"listening on" not in (tmp_path / "stdout").read_bytes():
                assert process.poll() is None and time.monotonic() < end
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.15)
                process.send_signal(signal.SIGCONT)
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            assert process.wait(30) == 0
    told = (tmp_path / "stderr").read_text()
    lines = re.findall(rf"reading {re.escape(str(cassette))}: (\d+) of 8000 recordings", told)
    assert lines, told
    counts = [int(count) for count in lines]
    assert counts == sorted(counts) and counts[-1] == 8000, counts
    assert (tmp_path / "stdout").read_text().startswith("listening on"), "data alone on stdout"


def test_a_short_start_tells_nothing_of_the_kind(rehearsal, cassette):
    write(cassette, 10)
    assert "reading" not in rehearsal.replay(cassette).stderr()


def test_a_miss_reads_at_most_32_files_and_names_the_nearest(rehearsal, cassette):
    """Counted by the system calls, if they can be traced."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace")
    cassette.mkdir()

    def question(index: int, more: str = "") -> dict[str, str]:
        digest = hashlib.sha256(str(index).encode()).hexdigest()
        names = " or ".join(digest[at : at + 8] for at in range(0, 40, 8))
        return {"model": "m", "question": f"What is known of {names}{more}?"}

    for index in range(COUNT):
        asked = question(index)
        (cassette / f"q-{index:05}.json").write_text(text("/ask", f"a {index}", "POST", asked))
    proxy = rehearsal.replay(cassette)
    trace = cassette.parent / "trace"
    tracer = subprocess.Popen(
        [strace, "-f", "-p", str(proxy.pid), "-e", "trace=openat,open", "-o", str(trace)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracer.stderr is not None
        if "attached" not in (said_first := tracer.stderr.readline()):
            pytest.skip(f"can't trace: {said_first}")
        got = post_json(proxy.url, "/ask", json.dumps(question(77, " in short")).encode())
        assert got.status == 404
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
    opened = re.findall(r'"[^"]*/(q-\d+\.json)"', trace.read_text())
    assert 1 <= len(opened) <= 32, opened
    nearest = json.loads(got.body)["rehearsal"]["nearest"]
    assert nearest[0]["recording"] == "q-00077.json"
