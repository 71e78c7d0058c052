"""The admin listener: who may use it, and what is seen and switched through it while traffic runs."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Rehearsal, clean_env

FAULTS = """
[[route]]
name = "refused"
match = { path = "/v1/models" }
mode = "synthesize"
upstream = "fake"
[[route.fault]]
name = "busy"
status = 503
[[route.fault]]
name = "never"
latency = "1h"
probability = 0.0

[[route]]
name = "all"
mode = "synthesize"
upstream = "fake"
pace = "instant"
[[route.fault]]
name = "late"
latency = "5ms"
when = { query = { late = "1" } }
[[route.fault]]
name = "hang"
stall = { after = { events = 1 } }
when = { query = { hang = "1" } }
[[route.fault]]
name = "busy"
status = 500
enabled = false
"""

# How long a stream that was freed may take to end, on a machine that has other work.
SOON = 5.0


class Watched:
    """A proxy with an admin listener, and the ways in which it is asked."""

    def __init__(self, rehearsal, tmp_path: Path, config: str = FAULTS, env: dict[str, str] | None = None):
        self.runtime = tmp_path / "run"
        self.runtime.mkdir(mode=0o700)
        self.env = {"XDG_RUNTIME_DIR": str(self.runtime), **(env or {})}
        self.rehearsal = rehearsal
        self.proxy: Rehearsal = rehearsal("--admin", "127.0.0.1:0", config=config, env=self.env)
        self.proxy._wait_ready(re.compile(r"^admin on http://(.+):(\d+)$"))
        line = next(line for line in self.proxy.lines if line.startswith("admin on "))
        self.url = line.removeprefix("admin on ")
        self.port = int(self.url.rsplit(":", 1)[1])
        self.file = self.runtime / "rehearsal" / f"admin-{self.port}.token"

    @property
    def token(self) -> str:
        return self.file.read_text().strip()

    def fault(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        done = self.rehearsal.run("fault", *words, "--admin", self.url, env=self.env if env is None else env)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def rule(self, name: str) -> dict:
        faults = json.loads(self.fault("list", "--json"))["faults"]
        return next(fault for fault in faults if f"{fault['route']}/{fault['rule']}" == name)

    def curl(self, path: str, *more: str, token: str | None = None) -> tuple[int, dict[str, str], str]:
        """Status, headers with small names, body."""
        token = self.token if token is None else token
        auth = ["-H", f"Authorization: Bearer {token}"] if token else []
        done = subprocess.run(
            ["curl", "-sS", "-i", "--max-time", "20", *auth, *more, self.url + path],
            capture_output=True,
            text=True,
            env=clean_env(),
            timeout=30,
            check=True,
        )
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return int(lines[0].split()[1]), headers, body

    def get(self, path: str) -> http.client.HTTPResponse:
        """An answer of the proxy itself."""
        connection = http.client.HTTPConnection(self.proxy.host, self.proxy.port, timeout=30)
        connection.request("GET", path)
        return connection.getresponse()

    def chat(self, query: str, stream: bool = True) -> http.client.HTTPResponse:
        """The beginning of an answer of the fake model."""
        connection = http.client.HTTPConnection(self.proxy.host, self.proxy.port, timeout=30)
        body = {"model": "gpt-4o", "stream": stream, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
        connection.request("POST", "/v1/chat/completions" + query, json.dumps(body), {"content-type": "application/json"})
        return connection.getresponse()


@pytest.fixture
def watched(rehearsal, tmp_path):
    return Watched(rehearsal, tmp_path)


# Where the route `refused` is.
MODELS = "/v1/models"


def test_a_rule_is_counted_switched_off_and_on_again(watched):
    assert watched.rule("refused/busy")["counts"]["injected"] == 0
    for _ in range(3):
        answer = watched.get(MODELS)
        assert answer.status == 503
        answer.read()
    row = watched.rule("refused/busy")
    assert (row["on"], row["counts"]["drawn"], row["counts"]["injected"]) == (True, 3, 3)
    assert watched.rule("refused/never")["counts"]["drawn"] == 3
    assert watched.rule("refused/never")["counts"]["injected"] == 0
    assert watched.fault("off", "refused/busy") == "refused/busy is off\n"
    assert watched.get(MODELS).status == 200
    assert watched.rule("refused/busy")["counts"]["drawn"] == 3, "an exchange is not drawn for while it is off"
    said = watched.fault("on", "refused/busy", "--ttl", "10m")
    assert re.fullmatch(r"refused/busy is on for \S+\n", said), said
    assert watched.get(MODELS).status == 503
    assert 0 < watched.rule("refused/busy")["left_ms"] <= 600_000
    watched.fault("ttl", "refused/busy", "50ms")
    deadline = time.monotonic() + SOON
    while watched.rule("refused/busy")["on"]:
        assert time.monotonic() < deadline, "the time to live never ended"
    assert watched.get(MODELS).status == 200


def test_a_time_to_live_for_a_rule_that_is_off_is_refused(watched):
    watched.fault("off", "refused/busy")
    status, _, text = watched.curl("/v1/faults/refused/busy/ttl", "-d", '{"ttl": "5s"}')
    assert status == 409, text
    said = watched.fault("ttl", "refused/busy", "5s", code=1)
    assert "409 Conflict: the rule `busy` of the route `refused` is off" in said, said
    assert said.endswith("`rehearsal fault on refused/busy --ttl 5s`\n"), said
    assert watched.rule("refused/busy")["on"] is False
    assert watched.get(MODELS).status == 200


def test_an_order_says_that_all_faults_are_ended(watched):
    watched.fault("kill")
    for words in (["ttl", "refused/busy", "5m"], ["on", "refused/busy"]):
        said = watched.fault(*words).splitlines()
        assert said[0] == "refused/busy is off"
        assert said[1].startswith("all faults are ended; allow them again"), words
    watched.fault("kill", "--undo")
    assert watched.fault("ttl", "refused/busy", "5m").startswith("refused/busy is on for ")


def test_the_list_is_a_table(watched):
    lines = watched.fault("list").splitlines()
    assert lines[0].split() == "RULE KIND STATE ACTIVE DRAWN INJECTED NOT APPLICABLE PREVENTED OVER CAP DRY RUN".split()
    assert lines[1].split()[:4] == ["all/busy", "status", "off", "0"]
    assert len(lines) == 6
    kinds = {f"{fault['route']}/{fault['rule']}": fault["kind"] for fault in json.loads(watched.fault("list", "--json"))["faults"]}
    assert kinds == {
        "all/busy": "status",
        "all/hang": "stall",
        "all/late": "latency",
        "refused/busy": "status",
        "refused/never": "latency",
    }


def test_a_fault_of_a_listener_has_its_kind_too(rehearsal, tmp_path):
    watched = Watched(rehearsal, tmp_path, FAULTS + '[[listen.fault]]\nidle_close = "20s"\n')
    assert watched.rule("listen/idle_close")["kind"] == "idle_close"


def test_a_rule_of_one_route_needs_no_route_and_others_do(watched):
    assert watched.fault("off", "hang") == "all/hang is off\n"
    said = watched.fault("off", "busy", code=2)
    assert said == "error: `busy` could be any of `all/busy`, `refused/busy`; say which\n"
    said = watched.fault("on", "nothing", code=2)
    assert said.startswith("error: there is no rule `nothing`, expected one of `all/busy`, "), said
    assert "did you mean" not in said
    for words in (["on", "hnag"], ["off", "hnag"], ["ttl", "hnag", "1s"]):
        assert watched.fault(*words, code=2).endswith("; did you mean `hang`?\n")
    assert watched.fault("off", "refused/busi", code=2).endswith("; did you mean `refused/busy`?\n")


def test_the_kill_switch_ends_a_stall_in_a_running_stream(watched):
    answer = watched.chat("?hang=1")
    assert answer.status == 200
    assert answer.readline().startswith(b"data: ")
    # Nothing else comes by itself: the stall has no end.
    assert watched.rule("all/hang")["active"] == 1
    start = time.monotonic()
    assert "kill --undo" in watched.fault("kill")
    rest = answer.read()
    assert time.monotonic() - start < SOON
    assert rest.rstrip().endswith(b"data: [DONE]"), "the stream goes on to its own end"
    assert watched.rule("all/hang")["active"] == 0
    assert watched.get(MODELS).status == 200
    assert watched.fault("list").startswith("all faults are ended"), "the list says so"
    assert watched.fault("kill", "--undo") == "faults may happen again\n"
    assert watched.get(MODELS).status == 503


def test_a_rule_that_is_switched_off_lets_a_running_stream_go(watched):
    answer = watched.chat("?hang=1")
    answer.readline()
    start = time.monotonic()
    watched.fault("off", "hang")
    assert answer.read().rstrip().endswith(b"data: [DONE]")
    assert time.monotonic() - start < SOON


def test_a_fault_is_explained_and_drawn_again(watched):
    answer = watched.get(MODELS)
    match = re.fullmatch(r"busy;draw=([0-9a-f]{16})", answer.headers["x-rehearsal-fault"])
    assert match, answer.headers
    said = watched.fault("explain", match[1])
    assert said.startswith(f"{match[1]}: status, by the rule refused/busy\n"), said
    assert "drawn again  the same\n" in said
    told = json.loads(watched.fault("explain", match[1], "--json"))
    assert told["is_same"] is True
    assert told["again"] == {"id": match[1], "drawn": told["drawn"]}
    assert (told["request"], told["attempt"]) == ("GET /v1/models", 0)
    second = watched.get(MODELS).headers["x-rehearsal-fault"].split("draw=")[1]
    assert second != match[1]
    assert json.loads(watched.fault("explain", second, "--json"))["attempt"] == 1
    assert "no such fault" in watched.fault("explain", "0" * 16, code=1)


def test_the_token_is_in_a_file_for_its_owner_alone_and_nowhere_else(watched):
    assert stat.S_IMODE(watched.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(watched.file.parent.stat().st_mode) == 0o700
    token = watched.token
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    watched.fault("list")
    watched.curl("/v1/faults", token="wrong")
    watched.proxy.stop()
    assert not watched.file.exists(), "it goes with the proxy"
    assert token not in watched.proxy.stderr()
    assert token not in watched.proxy.stdout()


def test_only_who_has_the_token_is_answered(watched):
    for path in ("/v1/faults", "/metrics", "/v1/faults/explain/0", "/", "/v1/nothing"):
        for token in ("", "wrong", watched.token[:-1]):
            status, headers, body = watched.curl(path, token=token)
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="rehearsal"'), path
            assert json.loads(body)["error"]["message"].startswith("the bearer token is missing or wrong; it is in the file")
    assert watched.curl("/healthz", token="")[::2] == (200, "ok\n")
    assert "401" in watched.fault("list", code=1, env={**watched.env, "REHEARSAL_ADMIN_TOKEN": "wrong"})


def test_another_host_or_a_web_page_is_refused(watched):
    for host in ("evil.test", f"evil.test:{watched.port}", "127.0.0.1", f"127.0.0.1:{watched.port + 1}"):
        assert watched.curl("/v1/faults", "-H", f"Host: {host}")[0] == 421, host
        assert watched.curl("/healthz", "-H", f"Host: {host}", token="")[0] == 421, host
    assert watched.curl("/v1/faults", "-H", f"Host: localhost:{watched.port}")[0] == 200
    for origin in ("http://evil.test", watched.url, "null"):
        status, headers, body = watched.curl("/v1/faults", "-H", f"Origin: {origin}")
        assert status == 403
        assert "error" in json.loads(body)
    preflight = ("-X", "OPTIONS", "-H", "Origin: http://evil.test", "-H", "Access-Control-Request-Method: POST")
    for more in ((), preflight):
        headers = watched.curl("/v1/faults", *more)[1]
        assert not [name for name in headers if name.startswith("access-control-")]


def test_a_name_of_the_config_is_answered(rehearsal, tmp_path):
    top = '[listen]\nadmin_hosts = ["admin.test", "mapped.test:9000"]\n'
    watched = Watched(rehearsal, tmp_path, top + FAULTS)
    for host, expected in [("admin.test:1", 200), ("mapped.test:9000", 200), ("mapped.test", 421), ("evil.test", 421)]:
        assert watched.curl("/v1/faults", "-H", f"Host: {host}")[0] == expected, host
    config = rehearsal.file('[listen]\nadmin_hosts = ["admin.test", "http://x"]\n[[route]]\nupstream = "fake"\nmode = "synthesize"\n')
    done = rehearsal.run("check", config)
    assert done.returncode == 2
    assert ":2:30: `http://x` is not a host" in done.stderr, done.stderr


def test_it_says_when_the_end_is_near_and_still_takes_orders(watched):
    assert watched.curl("/readyz", token="")[0] == 200
    answer = watched.chat("?hang=1")
    assert answer.read1()
    watched.proxy.signal(signal.SIGTERM)
    end = time.monotonic() + SOON
    while (status := watched.curl("/readyz", token="")[0]) != 503:
        assert status == 200 and time.monotonic() < end
        time.sleep(0.05)
    assert watched.curl("/healthz", token="")[0] == 200
    watched.fault("kill")
    assert answer.read().endswith(b"data: [DONE]\n\n")
    assert watched.proxy.wait(SOON) == 0
    assert not watched.file.exists()


def test_mistakes_are_told_as_json(watched):
    rule = "/v1/faults/refused/busy"
    for path, body, status, message in [
        (rule, "{", 400, "the body is not what was expected"),
        (rule, "{}", 400, "missing field `on`"),
        (rule, '{"on": true, "of": 1}', 400, "unknown field `of`"),
        (rule, '{"on": true, "ttl": "soon"}', 400, "`soon` is not a length of time"),
        (rule, '{"on": false, "ttl": "1s"}', 400, "needs `on` to be true"),
        (rule + "/ttl", '{"ttl": "0s"}', 400, "zero"),
        ("/v1/faults/refused/nothing", '{"on": true}', 404, "no fault rule `nothing` on a route `refused`"),
        ("/v1/faults/explain/busy", '{"on": true}', 404, "no fault rule `busy` on a route `explain`"),
        ("/v1/nothing", "{}", 404, "nothing at this path"),
        ("/metrics", "{}", 405, "another method"),
        (rule, json.dumps({"on": "x" * 70_000}), 413, "limit"),
    ]:
        got, headers, text = watched.curl(path, "-H", "Expect:", "-d", body)
        assert got == status, (path, body[:40], got, text)
        assert headers["content-type"] == "application/json"
        assert message in json.loads(text)["error"]["message"], text
    assert watched.rule("refused/busy")["on"] is True


def test_metrics_count_what_became_of_faults(watched):
    watched.get(MODELS).read()
    for _ in range(2):
        watched.chat("?late=1", stream=False).read()
    status, headers, text = watched.curl("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = text.splitlines()
    assert 'rehearsal_faults_total{route="refused",rule="busy",verdict="injected"} 1' in lines
    assert 'rehearsal_faults_active{route="refused",rule="busy"} 0' in lines
    late = 'rehearsal_fault_timing_error_seconds_{}{{route="all",rule="late"{}}} '
    count = next(int(line.split()[-1]) for line in lines if line.startswith(late.format("count", "")))
    assert count >= 2, "each of the two answers was timed"
    assert late.format("bucket", ',le="+Inf"') + str(count) in lines
    counts = [
        int(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith('rehearsal_fault_timing_error_seconds_bucket{route="all",rule="late",le=')
    ]
    assert counts == sorted(counts) and counts[-1] == count
    assert any(re.fullmatch(r'rehearsal_build_info\{version="[^"]+"\} 1', line) for line in lines)


def test_times_of_uploads_and_of_idle_connections_are_counted_too(rehearsal, tmp_path):
    slow = '[[listen.fault]]\nname = "idle"\nidle_close = "50ms"\n' + "".join(
        f'[[route]]\nname = "{name}"\nmatch = {{ path = "/{name}/**" }}\nmode = "{mode}"\nupstream = "fake"\nstrip_prefix = "/{name}"\n'
        f'[[route.fault]]\nname = "slow"\n{kind}\n'
        for name, mode, kind in [("made", "synthesize", 'slow_read = "1KiB"'), ("live", "forward", 'bandwidth = { up = "1KiB" }')]
    )
    watched = Watched(rehearsal, tmp_path, slow)
    body = json.dumps({"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})
    for number, name in enumerate(["made", "live"], 1):
        connection = http.client.HTTPConnection(watched.proxy.host, watched.proxy.port, timeout=30)
        connection.request("POST", f"/{name}/v1/chat/completions", body, {"content-type": "application/json"})
        assert connection.getresponse().read()
        assert connection.sock.recv(1) == b"", "closed as idle"
        assert watched.rule(f"{name}/slow")["timing"]["count"] >= 1
        assert watched.rule("listen/idle")["timing"]["count"] == number


def test_a_chosen_token_is_taken_and_leaves_no_file(rehearsal, tmp_path):
    watched = Watched(rehearsal, tmp_path, env={"REHEARSAL_ADMIN_TOKEN": "a-token-of-mine"})
    assert list(watched.runtime.rglob("*.token")) == []
    assert watched.curl("/v1/faults", token="a-token-of-mine")[0] == 200
    assert "all/hang" in watched.fault("list")
    file = tmp_path / "token"
    file.write_text("a-token-of-mine\n")
    assert "all/hang" in watched.fault("list", "--token-file", str(file), env={})
    assert "a-token-of-mine" not in watched.proxy.stderr()


def test_a_folder_that_others_can_enter_is_not_used(rehearsal, tmp_path):
    folder = tmp_path / "run" / "rehearsal"
    folder.mkdir(parents=True)
    os.chmod(folder, 0o755)
    env = {"XDG_RUNTIME_DIR": str(folder.parent)}
    done = rehearsal.run("fake", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", env=env)
    assert done.returncode == 2
    assert "others have rights to it" in done.stderr


def test_an_address_that_others_reach_is_a_mistake_unless_it_is_meant(rehearsal, tmp_path):
    done = rehearsal.run("fake", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0")
    assert done.returncode == 2
    assert "`0.0.0.0:0` may be reached from other machines" in done.stderr
    config = rehearsal.file('[listen]\nadmin = "0.0.0.0:0"\n[[route]]\nupstream = "fake"\nmode = "synthesize"\n')
    done = rehearsal.run("check", config)
    assert done.returncode == 2
    assert "admin_remote = true" in done.stderr
    config.write_text(config.read_text().replace("[[route]]", "admin_remote = true\n[[route]]", 1))
    assert rehearsal.run("check", config).returncode == 0


def test_without_an_admin_listener_the_command_says_what_to_do(rehearsal, tmp_path):
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = rehearsal.run("fault", "list", "--admin", "127.0.0.1:1", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no token for http://127.0.0.1:1" in done.stderr
    done = rehearsal.run("fault", "list", "--admin", "127.0.0.1:1", env={"REHEARSAL_ADMIN_TOKEN": "x"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not ask http://127.0.0.1:1" in done.stderr


def test_a_check_of_timing_says_what_this_machine_keeps(rehearsal):
    done = rehearsal.run("check", "--timing")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[5].startswith("kept: " if done.returncode == 0 else "not kept: "), done
    assert lines[5].endswith("; expected at most 4.000 ms in 99 of 100 cases, and 0.500 ms in the middle")
    assert [line.split()[0] for line in lines[2:5]] == ["1", "50", "500"]
    for line in lines[2:5]:
        p50, p99, most = (float(word) for word in line.split()[1:])
        assert p50 <= p99 <= most
    assert rehearsal.run("check").returncode == 2


def test_a_check_of_timing_is_a_verdict_for_a_script(rehearsal):
    # Nothing keeps a microsecond, and everything a minute.
    for within, code, verdict in (("1us", 1, "not kept: "), ("1m", 0, "kept: ")):
        done = rehearsal.run("check", "--timing", "--within", within)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.splitlines()[5].startswith(verdict)
    assert rehearsal.run("check", "--within", "1s", "a.toml").returncode == 2


def test_a_delay_of_an_answer_without_a_pace_is_paid_once(rehearsal):
    config = FAULTS.replace('latency = "5ms"', 'latency = "2s"')
    watched = Watched(rehearsal, rehearsal.where, config)
    for stream in (False, True):
        start = time.monotonic()
        watched.chat("?late=1", stream=stream).read()
        took = time.monotonic() - start
        assert 1.99 <= took < 3.9, f"{took:.1f} s"
