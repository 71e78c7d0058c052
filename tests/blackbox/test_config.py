"""The configuration: its mistakes, its schema, and what each part of it does over the wire."""

from __future__ import annotations

import json
import re
import tomllib

import jsonschema
import pytest
import wire
from conftest import ROOT, route
from rawclient import ask, post_json
from upstream import Upstream, answer, echo

MISTAKES = """\
listn = 7

[listen]
http = "nowhere"

[timeouts]
connect = "soon"

[[route]]
name = "chat"
match = { method = "POST", path = "v1" }
upstream = "ftp://127.0.0.1"
mode = "reply"
on_mis = "record"

[[route]]
name = "rest"
upstream = "http://127.0.0.1:9"
mode = "forward"
set_headers = { authorization = { env = "NO_SUCH_VARIABLE_HERE" } }
pace = { recorded = { speed = -1.0 } }

[limits]
head = "many"
"""


def test_all_mistakes_are_told_at_once_each_with_its_line_and_a_caret(rehearsal):
    file = rehearsal.file(MISTAKES)
    done = rehearsal.run("check", file)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = MISTAKES.splitlines()
    wrong = {
        "listn": "listen",
        "nowhere": "",
        "soon": "",
        '"v1"': "/",
        "ftp://": "http",
        "reply": "replay",
        "on_mis": "on_miss",
        "NO_SUCH_VARIABLE_HERE": "",
        "-1.0": "",
        '"many"': "",
    }
    report = done.stderr
    for word, hint in wrong.items():
        number = next(index for index, line in enumerate(lines, 1) if word in line)
        assert re.search(rf"(?m)(^|[^\d]){number}([^\d]|$)", report), f"line {number} ({word}) is not named:\n{report}"
        quoted = report.find(lines[number - 1].strip())
        assert quoted >= 0, f"line {number} is not shown:\n{report}"
        after = report[quoted:].splitlines()[1]
        assert "^" in after, f"no caret below line {number}:\n{report}"
        assert hint in report
    assert report.count("^") >= len(wrong)
    assert "expected" in report


def test_serve_shows_the_same_mistakes_and_starts_nothing(rehearsal):
    file = rehearsal.file(MISTAKES)
    checked = rehearsal.run("check", file)
    served = rehearsal.run("serve", "-c", file)
    assert (served.returncode, served.stdout) == (2, "")
    assert served.stderr == checked.stderr


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("seed = \n", 1),
        ("\n\n[[route]\n", 3),
        ('[[route]]\nname = "a"\nname = "b"\n', 3),
        ('[[route]]\nmode = ["replay"]\n', 2),
    ],
)
def test_a_mistake_of_syntax_is_shown_where_it_is(rehearsal, config, line):
    done = rehearsal.run("check", rehearsal.file(config))
    assert done.returncode == 2
    assert re.search(rf"[^\d]{line}([^\d]|$)", done.stderr), done.stderr
    assert "^" in done.stderr


def test_a_right_file_is_said_to_be_right(rehearsal):
    done = rehearsal.run("check", rehearsal.file(route("forward", "http://127.0.0.1:9")))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_route_that_is_never_reached_is_reported(rehearsal):
    config = route("forward", "http://127.0.0.1:9") + '[[route]]\nname = "never"\nmode = "replay"\n'
    done = rehearsal.run("check", rehearsal.file(config))
    assert "never" in done.stderr + done.stdout
    assert "all" in done.stderr + done.stdout


def test_a_literal_secret_is_refused_and_not_repeated(rehearsal):
    more = 'set_headers = { authorization = "Bearer sk-live-0123456789abcdef0123456789abcdef" }'
    done = rehearsal.run("check", rehearsal.file(route("forward", "http://127.0.0.1:9", more)))
    assert done.returncode == 2
    assert "env" in done.stderr, "what to write instead is not said"
    assert "0123456789abcdef0123456789abcdef" not in done.stdout + done.stderr


def test_a_config_that_is_no_toml_repeats_no_secret_of_it(rehearsal):
    text = '[[route]]\nset_headers = { authorization = "Bearer sk-live-fedcba98765432100123456789" \n'
    done = rehearsal.run("check", rehearsal.file(text))
    assert done.returncode == 2
    assert "fedcba98765432100123456789" not in done.stdout + done.stderr


FULL = """\
seed = 7

[listen]
http = "127.0.0.1:0"

[[listen.fault]]
idle_close = "5s"
peer = "10.0.0.0/8"

[cassette]
path = "CASSETTE"

[timeouts]
connect = "1s"
first_byte = "30s"
idle = "20s"

[limits]
head = "16KiB"
url = "8KiB"

[[route]]
name = "chat"
match = { method = "POST", path = "/openai/v1/chat/completions" }
upstream = "http://127.0.0.1:9"
mode = "replay"
on_miss = "record"
key = { ignore = ["$.user", "$.metadata"], ignore_query = ["trace"], headers = ["x-team"], body_limit = "8MiB", over_limit = "refuse" }
set_headers = { authorization = { env = "TEAM_KEY" } }
remove_headers = ["cookie"]
strip_prefix = "/openai"
add_prefix = "/api"
exhausted = "loop"
per_client = true
record = "append"
pace = { recorded = { speed = 2.0 } }

[[route.fault]]
latency = { lognormal = { median = "200ms", p99 = "2s" }, max = "10s" }
basis = "total"
probability = 0.1
when = { client = "ci-*", body = { "$.stream" = true, "$.n" = 1 }, attempt = { from = 1 }, ramp = { to = 0.5, over = "1m" } }

[[route.fault]]
gap = { each = "15ms ± 3ms", correlation = 0.3 }

[[route.fault]]
stall = { after = { events = 12 }, for = "3s", keepalive = "comment", every = "300ms" }
when = { nth = 3 }

[[route.fault]]
status = { error = "rate-limit", retry_after = "2s" }
group = "busy"
weight = 0.3

[[route.fault]]
cut = { after = "4KiB", how = { h2-reset = 8 } }
group = "busy"
weight = 0.3

[[route]]
name = "rest"
mode = "replay"
on_miss = "refuse"
pace = "instant"
"""


def test_the_schema_takes_what_check_takes(rehearsal, cassette):
    done = rehearsal.run("schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    text = FULL.replace("CASSETTE", str(cassette))
    checked = rehearsal.run("check", rehearsal.file(text), env={"TEAM_KEY": "x"})
    assert checked.returncode == 0, checked.stderr
    validator(schema).validate(tomllib.loads(text))
    for wrong in (
        {"listn": 1},
        {"route": [{"mode": "reply"}]},
        {"route": [{"on_mis": "record"}]},
        {"route": [{"match": {"pathh": "/"}}]},
        {"route": [{"exhausted": "never"}]},
        {"route": [{"fault": [{"latensy": "1s"}]}]},
        {"route": [{"fault": [{"latency": {"gauss": {}}}]}]},
        {"route": [{"fault": [{"cut": {"after": "soon", "how": "reset"}}]}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator(schema).validate(wrong)


def test_the_examples_in_the_readme_are_right(rehearsal, tmp_path):
    readme = (ROOT / "README.md").read_text()
    examples = re.findall(r"^```toml\n(.*?)^```", readme, re.M | re.S)
    assert examples, "README shows no config"
    schema = json.loads(rehearsal.run("schema").stdout)
    validator = jsonschema.validators.validator_for(schema)
    for text in examples:
        env = {name: "x" for name in re.findall(r'env\s*=\s*"(\w+)"', text)}
        for name in re.findall(r'file\s*=\s*"([^"]+)"', text):
            (tmp_path / name).write_text("x")
        done = rehearsal.run("check", rehearsal.file(text), env=env)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        validator(schema).validate(tomllib.loads(text))


# What routes do.


def test_the_first_route_that_matches_is_taken(rehearsal, upstream):
    other = Upstream()
    try:
        upstream.on("/v1/a", answer(body=b'"first"')).on("/v1/b", answer(body=b'"first"'))
        other.on("/v1/a", answer(body=b'"second"')).on("/v1/b", answer(body=b'"second"')).on("/x", answer(body=b'"second"'))
        proxy = rehearsal(
            config=f"""
[[route]]
name = "posts"
match = {{ method = "POST", path = "/v1/a" }}
upstream = "{upstream.url}"
mode = "forward"

[[route]]
name = "rest"
upstream = "{other.url}"
mode = "forward"
"""
        )
        assert ask(proxy.url, "POST", "/v1/a", body=b"x").body == b'"first"'
        assert ask(proxy.url, "GET", "/v1/a").body == b'"second"'
        assert ask(proxy.url, "POST", "/v1/b", body=b"x").body == b'"second"'
        assert ask(proxy.url, "GET", "/x").body == b'"second"'
        assert len(upstream.requests) == 1
    finally:
        other.stop()


def test_a_request_without_a_route_is_told_so(rehearsal, upstream):
    config = f'[[route]]\nname = "a"\nmatch = {{ path = "/a" }}\nupstream = "{upstream.url}"\nmode = "forward"\n'
    proxy = rehearsal(config=config)
    got = ask(proxy.url, target="/b")
    assert got.status == 404
    assert got.get("x-should-retry") == "false"
    assert "route" in json.loads(got.body)["error"]["message"]
    assert upstream.connections == 0


@pytest.mark.parametrize(
    ("rewrite", "asked", "seen"),
    [
        ('strip_prefix = "/openai"', "/openai/v1/x?q=1", "/v1/x?q=1"),
        ('strip_prefix = "/openai"', "/other/v1", "/other/v1"),
        ('strip_prefix = "/openai"', "/openai", "/"),
        ('strip_prefix = "/openai"', "/openaix/v1", "/openaix/v1"),
        ('add_prefix = "/base"', "/v1", "/base/v1"),
        ('strip_prefix = "/a"\nadd_prefix = "/b"', "/a/c", "/b/c"),
        ("", "/a%2Fb/%E4%BD%A0?x=%20&&y=a+b&z", "/a%2Fb/%E4%BD%A0?x=%20&&y=a+b&z"),
    ],
)
def test_a_path_is_rewritten_on_its_way_to_the_upstream(rehearsal, upstream, rewrite, asked, seen):
    upstream.fallback = echo
    proxy = rehearsal.forward(upstream, rewrite)
    assert json.loads(ask(proxy.url, target=asked).body)["target"] == seen


def test_an_upstream_may_have_a_path(rehearsal, upstream, cassette):
    upstream.fallback = echo
    proxy = rehearsal("record", "--upstream", f"{upstream.url}/base", "--cassette", cassette)
    assert json.loads(ask(proxy.url, target="/v1?x=1").body)["target"] == "/base/v1?x=1"


def test_headers_are_set_from_the_environment_and_from_files_and_removed(rehearsal, upstream, tmp_path):
    upstream.fallback = echo
    (tmp_path / "token").write_text("from-a-file\n")
    more = """
set_headers = { authorization = { env = "TEAM_KEY" }, x-token = { file = "token" } }
remove_headers = ["x-unwanted", "cookie"]
"""
    proxy = rehearsal.forward(upstream, more, env={"TEAM_KEY": "Bearer of-the-team"})
    sent = [("Authorization", "Bearer mine"), ("X-Unwanted", "1"), ("x-unwanted", "2"), ("Cookie", "a=b"), ("X-Kept", "yes")]
    ask(proxy.url, headers=sent)
    request = upstream.requests[0]
    assert request.all("authorization") == ["Bearer of-the-team"]
    assert request.all("x-token") == ["from-a-file"]
    assert request.all("x-unwanted") == request.all("cookie") == []
    assert request.all("x-kept") == ["yes"]


def test_what_a_header_is_set_to_is_in_no_log(rehearsal, upstream):
    upstream.fallback = answer()
    more = 'set_headers = { authorization = { env = "TEAM_KEY" } }'
    proxy = rehearsal.forward(upstream, more, env={"TEAM_KEY": "Bearer of-the-team-8d7f", "REHEARSAL_LOG": "trace"})
    assert ask(proxy.url).status == 200
    proxy.stop()
    assert "of-the-team-8d7f" not in proxy.stdout() + proxy.stderr()


def test_limits_are_those_of_the_config(rehearsal, upstream):
    upstream.fallback = answer()
    proxy = rehearsal.forward(upstream, top='[limits]\nhead = "2KiB"\nurl = "256B"')
    assert ask(proxy.url, target="/" + "a" * 200).status == 200
    long = ask(proxy.url, target="/" + "a" * 400)
    assert long.status == 414
    assert "limits.url" in json.loads(long.body)["error"]["message"]
    assert ask(proxy.url, headers=[("X", "a" * 1500)]).status == 200
    large = ask(proxy.url, headers=[("X", "a" * 4000)])
    assert large.status == 431
    assert "limits.head" in json.loads(large.body)["error"]["message"]
    assert len(upstream.requests) == 2


def test_an_opaque_route_adds_no_headers_of_ours(rehearsal, upstream):
    upstream.on("/", answer(headers=(("X-A", "1"),), body=b"hi"))
    plain = ask(rehearsal.forward(upstream).url)
    assert plain.get("x-rehearsal-source")
    opaque = ask(rehearsal.forward(upstream, "opaque = true").url)
    assert not [name for name, _ in opaque.head.headers if name.lower().startswith("x-rehearsal")]


def test_of_two_rehearsals_in_a_row_each_says_its_own(rehearsal, tmp_path):
    slow = '[[route.fault]]\nname = "NAME"\nlatency = "1ms"\n'
    behind = rehearsal(config=route("synthesize", more=slow.replace("NAME", "behind")))
    before = rehearsal(config=route("record", behind, slow.replace("NAME", "before"), cassette=tmp_path / "taken"))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    got = post_json(before.url, "/v1/chat/completions", body)
    assert got.all("x-rehearsal-source") == ["record"]
    assert [fault.split(";")[0] for fault in got.all("x-rehearsal-fault")] == ["behind", "before"]
    before.stop()
    again = post_json(rehearsal.replay(tmp_path / "taken").url, "/v1/chat/completions", body)
    assert (again.body, again.all("x-rehearsal-source")) == (got.body, ["replay"])
    assert again.all("x-rehearsal-fault") == []


def test_a_synthesizing_route_answers_a_chat_without_an_upstream(rehearsal):
    proxy = rehearsal(config=route("synthesize"))
    ask_chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    plain = post_json(proxy.url, "/v1/chat/completions", json.dumps(ask_chat).encode())
    assert json.loads(plain.body)["object"] == "chat.completion"
    streamed = post_json(proxy.url, "/v1/chat/completions", json.dumps({**ask_chat, "stream": True}).encode())
    assert streamed.get("content-type").startswith("text/event-stream")
    assert streamed.end == wire.COMPLETE
    assert streamed.body.endswith(b"data: [DONE]\n\n")
