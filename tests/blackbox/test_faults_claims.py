"""A fault that is counted as injected was seen by the client; one that found nothing to do left the answer as it was."""

from __future__ import annotations

import gzip
import json

import pytest
import wire
from rawclient import Client
from test_faults import ASK, EVENTS
from test_faults_kill import Live
from upstream import SSE_HEADERS, answer, raw, stream
from wire import head_bytes

TYPE = (("Content-Type", "application/json"), ("X-Own", "1"))
PACKED = (*TYPE, ("Content-Encoding", "gzip"))
JSON = json.dumps({"id": "c1", "object": "chat.completion", "choices": [{"message": {"content": "Hello"}}]}).encode()

# How each is asked for, and what the upstream says.
ANSWERS = {
    "head": ("HEAD", answer(headers=PACKED, body=gzip.compress(JSON, mtime=0))),
    "head-of-stream": ("HEAD", raw(head_bytes("HTTP/1.1 200 OK", [*SSE_HEADERS, ("Transfer-Encoding", "chunked")]))),
    "no-content": ("POST", answer(204, headers=())),
    "not-modified": ("GET", answer(304, headers=(("ETag", '"a"'),))),
    "json": ("POST", answer(headers=TYPE, body=JSON)),
    "packed-json": ("POST", answer(headers=PACKED, body=gzip.compress(JSON, mtime=0))),
    "chunked-json": ("POST", stream([JSON], headers=TYPE)),
    "empty": ("POST", answer(headers=TYPE, body=b"")),
    "closed": ("POST", stream(EVENTS, framing="close")),
}
BODILESS = ("head", "head-of-stream", "no-content", "not-modified")

# In a body, or behind it.
IN_BODIES = [
    *(f'stall = {{ after = {place}, for = "1h" }}' for place in ('"head"', '"1B"', '"before-terminator"', '"end"', '"1ms"')),
    'stall = { after = "end", for = "1h", keepalive = "comment" }',
    'hold_open = "1h"',
    *(
        f'cut = {{ after = "head", how = "{how}" }}'
        for how in ("clean-end", "missing-last-chunk", "close-framed", "short-body", "reset")
    ),
    'cut = { after = "end", how = "reset" }',
    'cut = { after = "end", how = "missing-terminator" }',
    'malformed_chunk = { after = "head" }',
    'error_event = { after = "head", error = "internal" }',
    'corrupt = { after = "head", count = 1 }',
    "invalid_json = 1",
    "split = 1",
    "drop = 1",
]
# In streams of events alone.
IN_STREAMS = [
    'first_token = "1h"',
    'gap = "1h"',
    'error_event = { after = "end", error = "internal" }',
    *(f"{kind} = 1" for kind in ("two_objects", "drop", "duplicate", "reorder", "merge", "split", "invalid_utf8")),
    "drop_event_lines = true",
    'cut = { after = "end", how = "missing-terminator" }',
    'stall = { after = "first-token", for = "1h" }',
]
# In heads that are not so already.
IN_HEADS = [
    'content_type = "application/json"',
    'content_encoding = "gzip"',
    'header = { set = { x-own = "1" }, drop = ["x-none"], duplicate = ["x-none"] }',
]

NOTHING_TO_DO = [
    *((name, text) for text in IN_BODIES for name in BODILESS),
    *((name, text) for text in IN_STREAMS for name in ("json", "packed-json")),
    *(("packed-json", text) for text in IN_HEADS),
    ("chunked-json", 'cut = { after = "before-terminator", how = "clean-end" }'),
]

# What is seen all the same of a body whose length is known: how the answer ends, and its body.
SEEN = {
    ("json", 'stall = { after = { events = 1 }, for = "forever" }'): (wire.TIMEOUT, JSON),
    ("json", f'stall = {{ after = "{len(JSON)}B", for = "forever" }}'): (wire.TIMEOUT, JSON),
    ("json", 'cut = { after = { events = 1 }, how = "reset" }'): (wire.RESET, JSON),
    ("json", f'cut = {{ after = "{len(JSON)}B", how = "reset" }}'): (wire.RESET, JSON),
    ("json", 'cut = { after = "end", how = "reset" }'): (wire.RESET, JSON),
    ("empty", 'stall = { after = "head", for = "forever" }'): (wire.TIMEOUT, b""),
    ("empty", 'cut = { after = "head", how = "reset" }'): (wire.RESET, b""),
    # And of one that ends with its connection.
    ("closed", "malformed_chunk = { after = { events = 2 } }"): (wire.MALFORMED, b"".join(EVENTS[:2])),
    ("closed", 'cut = { after = { events = 2 }, how = "missing-last-chunk" }'): (wire.FIN, b"".join(EVENTS[:2])),
}


@pytest.fixture
def serve(rehearsal, upstream):
    """A proxy with a route for each fault, by its number; and before them one without a fault."""

    def make(faults) -> Live:
        for name, (_, handle) in ANSWERS.items():
            upstream.on(f"/{name}", handle)
        texts = {"none": ""}
        texts.update({str(number): f"[[route.fault]]\n{text}" for number, text in enumerate(faults)})
        return Live(
            rehearsal,
            "\n".join(
                f'[[route]]\nname = "{name}"\nmode = "forward"\nupstream = "{upstream.url}"\n'
                f'match = {{ headers = {{ x-case = "{name}" }} }}\n{text}'
                for name, text in texts.items()
            ),
        )

    return make


def go(client: Client, name: str, case: str) -> wire.Answer:
    method = ANSWERS[name][0]
    client.request(method, f"/{name}", [("x-case", case), ("Content-Type", "application/json")], ASK if method == "POST" else None)
    return client.answer(method)


def told(got: wire.Answer):
    return (got.head.start, got.told(), got.body, got.boundaries, got.end)


def counts(live: Live) -> dict[str, tuple[int, int]]:
    live.until(lambda rules: all(row["active"] == 0 for row in rules.values()))
    return {name: (row["counts"]["injected"], row["counts"]["not_applicable"]) for name, row in live.rules().items()}


def test_what_finds_nothing_to_do_leaves_the_answer_as_it_is_and_claims_nothing(serve):
    live = serve([text for _, text in NOTHING_TO_DO])
    wrong = []
    for number, (name, text) in enumerate(NOTHING_TO_DO):
        with Client(live.url, timeout=10) as client:
            got = go(client, name, str(number))
            again = go(client, name, "none")
        if got.head is None or again.head is None or told(got) != told(again):
            wrong.append(f"{name}: {text}: {got} is not {again}")
    assert not wrong, "\n".join(wrong)
    found = counts(live)
    claims = [(*NOTHING_TO_DO[int(name)], count) for name, count in found.items() if count != (0, 1)]
    assert claims == []


def test_what_is_done_behind_the_last_byte_is_seen(serve):
    live = serve([text for _, text in SEEN])
    seen = {}
    for number, case in enumerate(SEEN):
        with Client(live.url, timeout=1 if "forever" in case[1] else 20) as client:
            got = go(client, case[0], str(number))
            seen[case] = (got.end, got.body)
    assert seen == SEEN
    assert counts(live) == {str(number): (1, 0) for number in range(len(SEEN))}


def test_a_corruption_of_nothing_is_a_mistake(rehearsal):
    done = rehearsal.run("check", rehearsal.file('[[route]]\nmode = "synthesize"\nupstream = "fake"\n[[route.fault]]\ncorrupt = { after = "end" }\n'))
    assert done.returncode == 2 and "at the end nothing is left to corrupt" in done.stderr
