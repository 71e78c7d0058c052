"""While any fault hits the client, the recording that is made meanwhile is the one that would be made without."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import h2.events
import pytest
from cassettes import recordings
from h2peers import H2Client
from rawclient import post_json
from upstream import stream

PATH = "/v1/chat/completions"
ASK = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi " * 9000}]}).encode()


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def call(arguments, **more):
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments}, **more}]})


EVENTS = [
    chunk({"role": "assistant", "content": ""}),
    *[chunk({"content": word}) for word in ("One", " two", " grüße", " 你好", " five")],
    b"event: note\n" + chunk({"content": " six"}),
    chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]}),
    call('{"city": '),
    call('"Paris"}'),
    chunk({}, "tool_calls"),
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}\n\n',
    b"data: [DONE]\n\n",
]
ALL = b"".join(EVENTS)
GAP = 0.01

# Each kind of fault that there is, once or more. Those that answer alone are told to call the upstream all the same.
KINDS = {
    "latency": ['latency = "1s"', 'latency = "1s"\nbasis = "total"'],
    "first_token": ['first_token = "1s"'],
    "gap": ['gap = "90ms"', 'gap = { each = "90ms ± 9ms", correlation = 0.5 }'],
    "bandwidth": ['bandwidth = { down = "2KiB" }', 'bandwidth = { up = "40KiB" }'],
    "dribble": ['dribble = { pieces = 5, over = "1s" }'],
    "slow_head": ['slow_head = { bytes = 8, every = "40ms" }'],
    "slow_read": ['slow_read = "40KiB"'],
    "stall": [
        'stall = { after = { events = 3 }, for = "1s" }',
        'stall = { after = "first-tool-call", for = "1s", keepalive = "ping", every = "200ms" }',
        'stall = { after = "64B", for = "1s", keepalive = "comment", every = "200ms" }',
    ],
    "hold_open": ['hold_open = "1s"'],
    "cut": [
        f'cut = {{ after = {{ events = 3 }}, how = "{how}" }}'
        for how in ("clean-end", "missing-terminator", "missing-last-chunk", "close-framed", "short-body", "reset")
    ]
    + [
        'cut = { after = { events = 3 }, how = { h2-reset = 8 } }',
        'cut = { after = { events = 3 }, how = { goaway = 0 } }\nscope = "connection"',
        'cut = { after = "before-head", how = "reset" }\nafter_upstream = true',
    ],
    "empty": ["empty = true\nafter_upstream = true"],
    "blackhole": ["blackhole = true\nafter_upstream = true"],
    "status": ["status = 503\nafter_upstream = true", 'status = { error = "overloaded" }\nafter_upstream = true'],
    "error_event": [f'error_event = {{ after = {{ events = 3 }}, error = "internal", then = "{then}" }}' for then in ("end", "continue", "close")],
    "corrupt": ['corrupt = { after = "head", count = 9 }', 'corrupt = { after = "head", count = 9, unit = "bits" }'],
    "garbage": ['garbage = "64B"\nafter_upstream = true'],
    "malformed_chunk": ["malformed_chunk = { after = { events = 3 } }"],
    "invalid_json": ["invalid_json = 3"],
    "two_objects": ["two_objects = 3"],
    "drop": ["drop = [2, 3]", 'drop = "terminator"', 'drop = "usage"'],
    "duplicate": ["duplicate = 2"],
    "reorder": ["reorder = 2"],
    "merge": ["merge = 2"],
    "split": ["split = 2"],
    "split_utf8": ["split_utf8 = true"],
    "invalid_utf8": ["invalid_utf8 = 3"],
    "drop_event_lines": ["drop_event_lines = true"],
    "tool_args": [f'tool_args = "{wrong}"' for wrong in ("cut", "wrong-id", "wrong-index", "unknown-tool", "wrong-value")],
    "content_type": ['content_type = "text/plain"'],
    "content_encoding": ['content_encoding = "gzip"'],
    "header": ['header = { set = { x-set = "1" }, drop = ["cache-control"], duplicate = ["x-own"], huge = "9KiB" }'],
    "html_200": ["html_200 = true\nafter_upstream = true"],
    "rate_limit": ['rate_limit = { tokens = 10, per = "1s" }\nafter_upstream = true'],
}

CASES = [(f"{kind}-{number}", kind, text) for kind, texts in KINDS.items() for number, text in enumerate(texts)]

# What is no kind of fault among the keys of a rule.
NOT_A_KIND = {
    *("name", "probability", "group", "weight", "when", "enabled", "ttl", "max_active", "dry_run"),
    *("after_upstream", "allow_long_retry_after", "scope", "basis"),
}


def test_the_table_has_every_kind(rehearsal):
    schema = json.loads(rehearsal.run("schema").stdout)
    assert set(KINDS) == set(schema["$defs"]["FaultSettings"]["properties"]) - NOT_A_KIND


def route_of(name: str, upstream, more: str) -> str:
    return (
        f'[[route]]\nname = "{name}"\nmode = "record"\nupstream = "{upstream.url}"\n'
        f'match = {{ headers = {{ x-case = "{name}" }} }}\nkey = {{ headers = ["x-case"] }}\n{more}\n'
    )


def go(proxy, name: str, text: str) -> None:
    """Asks as a client, and takes whatever comes."""
    if not ("h2-reset" in text or "goaway" in text):
        post_json(proxy.url, PATH, ASK, [("x-case", name)], timeout=1 if "blackhole" in text else 20)
        return
    with H2Client(proxy.host, proxy.port) as client:
        headers = [("x-case", name), ("content-type", "application/json")]
        number = client.request(PATH, *headers, method="POST", end=False)
        client.h2.send_data(number, ASK[:10000])
        client.h2.send_data(number, ASK[10000:20000])
        client.h2.send_data(number, ASK[20000:], end_stream=True)
        client.flush()
        client.next(h2.events.StreamReset, h2.events.ConnectionTerminated)


@pytest.fixture
def recorded(rehearsal, upstream, cassette, monkeypatch):
    """What was recorded while each fault was at work, by the name of its case, and how often each fault was injected."""
    monkeypatch.setenv("REHEARSAL_ADMIN_TOKEN", "t")
    headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Own", "1"))
    upstream.fallback = stream(EVENTS, GAP, headers=headers)
    routes = [route_of("none", upstream, "")]
    routes += [route_of(name, upstream, f"[[route.fault]]\n{text}") for name, _, text in CASES]
    config = f'[cassette]\npath = "{cassette}"\n' + "\n".join(routes)
    env = {"REHEARSAL_ADMIN_TOKEN": "t"}
    proxy = rehearsal("--admin", "127.0.0.1:0", config=config, env=env)
    go(proxy, "none", "")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda case: go(proxy, case[0], case[2]), CASES))
    admin = next(line for line in proxy.lines if line.startswith("admin on ")).removeprefix("admin on ")
    faults = json.loads(rehearsal.run("fault", "list", "--json", "--admin", admin, env=env).stdout)["faults"]
    injected = {(fault["route"], fault["kind"]): fault["counts"]["injected"] for fault in faults}
    proxy.stop()
    kept: dict[str, list] = {}
    for path in recordings(cassette):
        recording = json.loads(path.read_text())
        name = dict(recording["recorded"]["request"]["headers"])["x-case"]
        kept.setdefault(name, []).append(recording)
    return kept, injected


def said(recording) -> dict:
    """What a recording holds of an answer, but for times."""
    response = dict(recording["recorded"]["response"])
    text = "".join(text for _, text, *_ in response.pop("items"))
    del response["head_us"]
    rest = {key: recording["recorded"][key] for key in ("upstream", "protocol", "ending", "redacted")}
    return {**response, **rest, "text": text, "body": recording["recorded"]["request"]["body"], "play": recording["play"]}


def times(recording) -> list[float]:
    """When the pieces came, in s after the head."""
    return [at / 1e6 for at, *_ in recording["recorded"]["response"]["items"]]


def test_a_recording_is_clean_whatever_hits_the_client(recorded, upstream):
    kept, injected = recorded
    assert {name: injected[name, kind] for name, kind, _ in CASES} == {name: 1 for name, _, _ in CASES}, "each fault was at work"
    (control,) = kept.pop("none")
    assert said(control)["text"].encode() == ALL and said(control)["ending"] == "complete"
    assert {name: len(found) for name, found in kept.items()} == {name: 1 for name, _, _ in CASES}
    unclean = {name: said(found[0]) for name, found in kept.items() if said(found[0]) != said(control)}
    assert unclean == {}
    for request in upstream.requests:
        name = request.get("x-case")
        if name == "none":
            continue
        sent = [at for at, _ in request.sent]
        came = times(kept[name][0])
        span = sent[-1] - sent[0]
        assert abs((came[-1] - came[0]) - span) < 0.4, f"{name}: sent over {span:.3f} s, recorded at {came}"
