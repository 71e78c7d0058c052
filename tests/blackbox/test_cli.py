"""The command line: what it prints, how it starts, how it ends."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import time

import pytest
import wire
from conftest import binary, clean_env, free_port, route
from rawclient import Client, ask, post_json
from upstream import answer, endless, stream

COMMANDS = {
    (): ["serve", "record", "replay", "check", "schema", "cassette"],
    ("serve",): ["--config", "--listen"],
    ("record",): ["--upstream", "--cassette", "--listen"],
    ("replay",): ["--cassette", "--listen", "--speed", "--instant"],
    ("check",): ["FILE"],
    ("schema",): ["JSON Schema"],
    ("cassette",): ["list", "show"],
    ("cassette", "list"): ["DIR"],
    ("cassette", "show"): ["DIR", "NAME"],
}


def refused(done, code=2):
    """Ended with the code, and said why in one line on stderr alone."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, f"expected one clear line on stderr, got:\n{done.stderr}"
    assert done.stdout == "", f"expected nothing on stdout, got:\n{done.stdout}"
    return lines[0]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "rehearsal")
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_all_that_a_command_takes(rehearsal, words, flag):
    done = rehearsal.run(*words, flag)
    assert (done.returncode, done.stderr) == (0, "")
    for word in COMMANDS[words]:
        assert word in done.stdout, f"{word} is not in:\n{done.stdout}"
    assert "\x1b" not in done.stdout, "colours in a pipe"
    for line in done.stdout.splitlines():
        assert len(line) <= 120, f"too wide for a person's terminal: {line!r}"


def test_the_version_is_that_of_the_package(rehearsal):
    done = rehearsal.run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"rehearsal \d+\.\d+\.\d+\S*\n", done.stdout), done.stdout


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["perform"],
        ["serve", "--no-such-flag"],
        ["record"],
        ["record", "--cassette", "x"],
        ["replay"],
        ["check"],
        ["cassette"],
        ["cassette", "list"],
        ["replay", "--cassette", "x", "--speed", "2", "--instant"],
        ["replay", "--cassette", "x", "--speed", "0"],
        ["replay", "--cassette", "x", "--speed", "-1"],
        ["replay", "--cassette", "x", "--speed", "nan"],
        ["replay", "--cassette", "x", "--speed", "fast"],
        ["serve", "--listen", "nowhere"],
        ["serve", "--listen", "127.0.0.1:99999"],
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_2_and_says_why(rehearsal, words):
    done = rehearsal.run(*words)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["serve", "record", "replay"])
def test_a_port_in_use_is_one_line_and_exit_2(rehearsal, cassette, command):
    cassette.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = {
            "serve": ["serve"],
            "record": ["record", "--upstream", "http://127.0.0.1:1", "--cassette", cassette],
            "replay": ["replay", "--cassette", cassette],
        }[command]
        line = refused(rehearsal.run(*words, "--listen", f"127.0.0.1:{port}"))
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line.lower()


def test_a_process_is_not_its_own_upstream(rehearsal, cassette):
    """One request would come back to it until no file descriptor is left."""
    port = free_port()
    words = ["--cassette", cassette, "--listen", f"127.0.0.1:{port}"]
    line = refused(rehearsal.run("record", "--upstream", f"http://localhost:{port}/v1", *words))
    assert f"http://localhost:{port}/v1" in line and f"127.0.0.1:{port}" in line
    assert not cassette.exists(), "something was half started"


@pytest.mark.parametrize(
    "url", ["", "not a url", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "127.0.0.1:80", "http://a b/", "http://u:p@127.0.0.1/"]
)
def test_a_bad_url_is_one_line_and_exit_2(rehearsal, cassette, url):
    line = refused(rehearsal.run("record", "--upstream", url, "--cassette", cassette, "--listen", "127.0.0.1:0"))
    assert "upstream" in line.lower() or "url" in line.lower()
    assert not cassette.exists(), "something was half started"


@pytest.mark.parametrize("kind", ["missing", "directory", "not text"])
@pytest.mark.parametrize("command", ["serve", "check"])
def test_an_unreadable_config_is_one_line_and_exit_2(rehearsal, tmp_path, command, kind):
    path = tmp_path / "odd.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "not text":
        path.write_bytes(b"seed = \xff\xfe\n")
    words = ["serve", "-c", path, "--listen", "127.0.0.1:0"] if command == "serve" else ["check", path]
    assert "odd.toml" in refused(rehearsal.run(*words))


def test_an_unwritable_cassette_is_one_line_and_exit_2(rehearsal, tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "cassette"
    line = refused(rehearsal.run("record", "--upstream", "http://127.0.0.1:1", "--cassette", path, "--listen", "127.0.0.1:0"))
    assert "cassette" in line


def test_a_cassette_in_proc_is_one_line_and_exit_2(rehearsal):
    """Nobody, root included, can make a directory there."""
    words = ["--upstream", "http://127.0.0.1:1", "--cassette", "/proc/rehearsal", "--listen", "127.0.0.1:0"]
    assert "/proc/rehearsal" in refused(rehearsal.run("record", *words))


def test_the_first_line_says_where_it_listens(rehearsal, upstream, cassette):
    upstream.on("/", answer(body=b'{"a":1}'))
    proxy = rehearsal.record(upstream, cassette)
    assert proxy.lines[0] == f"listening on http://127.0.0.1:{proxy.port}"
    assert proxy.port > 0
    assert ask(proxy.url).body == b'{"a":1}'
    proxy.stop()


def test_listening_on_an_ipv6_address_works(rehearsal, upstream, cassette):
    upstream.on("/", answer())
    proxy = rehearsal("record", "--upstream", upstream.url, "--cassette", cassette, "--listen", "[::1]:0")
    assert proxy.lines[0].startswith("listening on http://[::1]:")
    assert ask(("::1", proxy.port)).status == 200


def test_stdout_and_stderr_hold_no_colours_in_a_pipe(rehearsal, upstream, cassette):
    upstream.on("/", answer())
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url)
    proxy.stop()
    assert "\x1b" not in proxy.stdout() + proxy.stderr()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("mode", ["forward", "record", "replay"])
def test_a_signal_lets_open_streams_end(rehearsal, upstream, cassette, number, mode):
    chunks = [b"data: %d\n\n" % index for index in range(12)]
    upstream.on("/", stream(chunks, 0.05))
    if mode == "forward":
        proxy = rehearsal.forward(upstream)
    else:
        proxy = rehearsal.record(upstream, cassette)
        if mode == "replay":
            assert ask(proxy.url).end == wire.COMPLETE
            proxy.stop()
            proxy = rehearsal.replay(cassette)
    with Client(proxy.url) as client:
        client.request()
        head = client.reader.head()
        while b"data: 1\n" not in client.reader.buffer:
            client.reader.more()
        proxy.signal(number)
        got = client.answer(head=head)
    assert got.end == wire.COMPLETE
    assert got.body == b"".join(chunks)
    assert proxy.wait(10) == 0


def test_an_idle_connection_does_not_hold_up_the_end(rehearsal, upstream):
    upstream.on("/", answer())
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url) as client:
        assert client.ask().status == 200
        started = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
        assert time.monotonic() - started < 5
        assert client.end() in (wire.FIN, wire.RESET)


def test_a_stopping_proxy_takes_no_new_connection(rehearsal, upstream):
    upstream.on("/", endless(gap=0.02))
    proxy = rehearsal.forward(upstream, top='[listen]\ngrace = "20s"')
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        proxy.signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while True:
            assert time.monotonic() < deadline, "new connections are still answered 5 s after SIGTERM"
            try:
                if ask(proxy.url, target="/other", timeout=1).head is None:
                    break
            except OSError:
                break
            client.reader.more()
        # The open stream goes on.
        client.reader.buffer.clear()
        client.reader.more()
        proxy.signal(signal.SIGTERM)
        proxy.wait(5)


def test_a_second_signal_ends_at_once(rehearsal, upstream):
    upstream.on("/", endless(gap=0.02))
    proxy = rehearsal.forward(upstream)
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        proxy.signal(signal.SIGTERM)
        # Two pieces that were sent after the first signal show that the stream was not ended by it.
        count = len(upstream.requests[0].sent)
        upstream.wait(lambda: len(upstream.requests[0].sent) > count + 3)
        client.reader.more()
        assert proxy.is_alive
        started = time.monotonic()
        proxy.signal(signal.SIGTERM)
        proxy.wait(5)
        assert time.monotonic() - started < 1
        assert client.end() in (wire.FIN, wire.RESET)


def test_after_the_grace_time_it_ends_with_0(rehearsal, upstream):
    upstream.on("/", endless(gap=0.02))
    proxy = rehearsal.forward(upstream, top='[listen]\ngrace = "500ms"')
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        started = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
        took = time.monotonic() - started
    assert 0.4 < took < 3, took


def test_without_a_config_it_serves_the_embedded_default(rehearsal, tmp_path):
    """The curl lines that it prints work as they are, and what they got is replayed after a restart."""
    home = tmp_path / "home"
    home.mkdir()
    proxy = rehearsal("serve", where=home)
    lines = curl_lines(proxy)
    assert len(lines) == 2, f"expected two curl lines to try:\n{proxy.output()}"
    first = [run_curl(line) for line in lines]
    assert any(b"data: [DONE]" in out for out in first), "one of them streams"
    proxy.stop()
    recordings = list((home / "cassettes" / "default").rglob("*.json"))
    assert len(recordings) == 2, recordings

    again = rehearsal("serve", where=home)
    assert [run_curl(line) for line in curl_lines(again)] == first


def curl_lines(proxy):
    text = proxy.stdout().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if re.match(r"\s*\$?\s*curl\b", line)]


def run_curl(line):
    words = shlex.split(line.lstrip("$ "))
    done = subprocess.run([*words, "--silent", "--show-error", "--fail", "--max-time", "30"], capture_output=True, env=clean_env(), check=False)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    # Where the line asks for the head (`-i`), it is not compared: it says where the answer comes from.
    return done.stdout.split(b"\r\n\r\n", 1)[-1]


def test_the_embedded_default_says_where_an_answer_comes_from(rehearsal, tmp_path):
    proxy = rehearsal("serve", where=tmp_path)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    made = post_json(proxy.url, "/v1/chat/completions", body)
    replayed = post_json(proxy.url, "/v1/chat/completions", body)
    assert (made.status, replayed.status) == (200, 200)
    assert made.get("x-rehearsal-source") != "replay"
    assert replayed.get("x-rehearsal-source") == "replay"
    assert replayed.body == made.body


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(rehearsal, upstream):
    upstream.on("/", answer())
    in_file, in_env = free_port(), free_port()
    config = route("forward", upstream, top=f'[listen]\nhttp = "127.0.0.1:{in_file}"')
    file = rehearsal.file(config)

    def start(*words, env=None):
        process = subprocess.Popen(
            [binary(), "serve", "-c", str(file), *words], env=clean_env(env), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            return process.stdout.readline().decode().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            process.stdout.close()

    env = {"REHEARSAL_LISTEN": f"127.0.0.1:{in_env}"}
    assert start() == f"listening on http://127.0.0.1:{in_file}"
    assert start(env=env) == f"listening on http://127.0.0.1:{in_env}"
    assert start("--listen", "127.0.0.1:0", env=env) not in (
        f"listening on http://127.0.0.1:{in_env}",
        f"listening on http://127.0.0.1:{in_file}",
    )


def test_a_cassette_can_be_listed_and_shown(rehearsal, upstream, cassette):
    upstream.on("/v1/models", answer(body=b'{"models":["one"]}'))
    upstream.on("/v1/chat", stream([b"data: hello\n\n", b"data: there\n\n"], 0.01))
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/v1/models")
    post_json(proxy.url, "/v1/chat", b'{"question":"which?"}')
    proxy.stop()

    listed = rehearsal.run("cassette", "list", cassette)
    assert (listed.returncode, listed.stderr) == (0, "")
    lines = [line for line in listed.stdout.splitlines() if "/v1/" in line or "v1-" in line]
    assert len(lines) == 2, listed.stdout
    assert any("GET" in line and "200" in line for line in lines), listed.stdout
    assert any("POST" in line for line in lines), listed.stdout

    shown = rehearsal.run("cassette", "show", cassette)
    assert shown.returncode == 0
    names = sorted(path.name for path in cassette.rglob("*.json") if "v1-" in path.name)
    assert len(names) == 2, names
    for name in names:
        one = rehearsal.run("cassette", "show", cassette, name.removesuffix(".json"))
        full = rehearsal.run("cassette", "show", cassette, name)
        assert one.returncode == 0 or full.returncode == 0, (one.stderr, full.stderr)
        text = one.stdout + full.stdout
        if name.startswith("POST"):
            assert "data: hello" in text and "which?" in text, text
        else:
            assert "models" in text


def test_a_recording_that_is_not_there_is_an_error_by_name(rehearsal, upstream, cassette):
    upstream.on("/", answer())
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url)
    proxy.stop()
    done = rehearsal.run("cassette", "show", cassette, "GET-nothing-00000000")
    assert done.returncode in (1, 2)
    assert "GET-nothing-00000000" in done.stderr


@pytest.mark.parametrize("command", ["list", "show"])
def test_a_cassette_that_is_not_there_is_one_line_and_exit_2(rehearsal, tmp_path, command):
    assert "nowhere" in refused(rehearsal.run("cassette", command, tmp_path / "nowhere"))


def test_a_reader_that_has_seen_enough_is_no_error(rehearsal):
    """`rehearsal schema | head -1`."""
    process = subprocess.Popen([binary(), "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_env())
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), stderr) == (0, b"")
