"""Faults on the wire: the same on a live stream, on one that is being recorded, and on a replayed one."""

from __future__ import annotations

import json
import socket
import time

import pytest
import wire
from cassettes import chunk_lines, recording
from conftest import route
from rawclient import Client, ask, post_json
from upstream import answer, stream

PATH = "/v1/chat/completions"
ASK = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}'


def event(**members) -> bytes:
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", **members}).encode() + b"\n\n"


def delta(content=None, finish=None, **more) -> bytes:
    inner = {"content": content} if content is not None else {}
    return event(choices=[{"index": 0, "delta": {**more, **inner}, "finish_reason": finish}])


ROLE = delta("", role="assistant")
WORDS = [delta(word) for word in ("One", " two", " three", " grüße", " five", " six")]
FINISH = delta(finish="stop")
USAGE = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11})
DONE = b"data: [DONE]\n\n"
EVENTS = [ROLE, *WORDS, FINISH, USAGE, DONE]
ALL = b"".join(EVENTS)


@pytest.fixture(params=["live", "recorded", "replayed"])
def broken(request, rehearsal, upstream, cassette):
    """Starts a proxy with these faults, whatever the source is; `broken.asked()` says how often the upstream was asked."""

    class Broken:
        def __call__(self, faults: str, events=EVENTS, gap=0.01, top="", more="", **options):
            upstream.on(PATH, stream(events, gap, **options))
            if request.param == "replayed":
                proxy = rehearsal(config=route("record", upstream, cassette=cassette))
                assert post_json(proxy.url, PATH, ASK).end == wire.COMPLETE
                proxy.stop()
            mode = {"live": "forward", "recorded": "record", "replayed": "replay"}[request.param]
            self.asked_before = len(upstream.requests)
            config = route(mode, upstream, more + "\n" + faults, top, cassette=cassette)
            self.proxy = rehearsal(config=config)
            return self.proxy

        def asked(self):
            return len(upstream.requests) - self.asked_before

        source = request.param

    return Broken()


def fault(text: str) -> str:
    return f"[[route.fault]]\n{text}\n"


def go(proxy, timeout=10.0, body=ASK):
    return post_json(proxy.url, PATH, body, timeout=timeout)


def gaps(got):
    times = [at for at, _ in got.pieces]
    return [later - earlier for earlier, later in zip(times, times[1:])]


# Timing.


def test_a_latency_moves_the_whole_answer(broken, cassette):
    got = go(broken(fault('latency = "400ms"')))
    assert got.head.at - got.since > 0.39
    assert (got.body, got.end) == (ALL, wire.COMPLETE)
    assert got.get("x-rehearsal-fault").startswith("latency;draw=")
    if broken.source == "recorded":
        broken.proxy.stop()
        lines = chunk_lines(recording(cassette))
        assert "".join(text for _, text in lines).encode() == ALL, "the recording is clean"
        assert lines[-1][0] < 350_000, "and in the upstream's time"


def test_a_first_token_waits_and_the_head_does_not(broken):
    got = go(broken(fault('first_token = "500ms"')))
    head = got.head.at - got.since
    first = next(at for at, data in got.chunks if b"One" in data) - got.since
    assert first - head > 0.4
    assert got.body == ALL


def test_gaps_are_kept_between_events(broken):
    got = go(broken(fault('gap = "60ms"')))
    assert got.body == ALL
    assert got.chunks[-1][0] - got.chunks[0][0] > 0.06 * (len(EVENTS) - 1) - 0.01


def test_a_bandwidth_bounds_the_bytes_of_a_second(broken):
    got = go(broken(fault('bandwidth = { down = "2KiB" }')), timeout=20)
    assert got.body == ALL
    assert got.ended_at - got.head.at > len(ALL) / 2048 * 0.9


def test_a_dribble_takes_its_time(broken):
    got = go(broken(fault('dribble = { pieces = 5, over = "1s" }')))
    assert got.body == ALL
    assert got.chunks[-1][0] - got.chunks[0][0] > 0.9 or got.ended_at - got.head.at > 0.9


@pytest.mark.parametrize("leaves", [False, True])
def test_a_slow_head_ends_when_its_client_sends_nothing_more(broken, leaves):
    proxy = broken(fault('slow_head = { bytes = 1, every = "20ms" }'))
    with Client(proxy.url) as client:
        client.request("POST", PATH, [("Content-Type", "application/json")], ASK)
        assert client.sock.recv(1) == b"H"
        if not leaves:
            client.half_close()
            rest = b""
            client.sock.settimeout(10)
            while data := client.sock.recv(1 << 16):
                rest += data
            assert rest.startswith(b"TTP/1.1 200") and rest.endswith(b"0\r\n\r\n")
    deadline = time.monotonic() + 10
    while "outcome=" not in proxy.stderr().rpartition("exchange method=POST")[2] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "outcome=" in proxy.stderr().rpartition("exchange method=POST")[2], "the exchange is over"


def test_a_slow_head_comes_in_pieces(broken):
    proxy = broken(fault('slow_head = { bytes = 16, every = "20ms" }'))
    with Client(proxy.url) as client:
        client.request("POST", PATH, [("Content-Type", "application/json")], ASK)
        begun = time.monotonic()
        first = client.sock.recv(4096)
        assert len(first) <= 64, "the head came at once"
        client.reader = wire.Reader(client._fill)
        rest = first
        while b"\r\n\r\n" not in rest:
            rest += client.sock.recv(4096)
        assert time.monotonic() - begun > 0.1
        while DONE not in rest:
            rest += client.sock.recv(65536)


def test_an_upload_is_read_slowly(broken):
    proxy = broken(fault('slow_read = "256KiB"'))
    body = json.dumps({"messages": ["x" * 400_000]}).encode()
    begun = time.monotonic()
    if broken.source == "replayed":
        assert post_json(proxy.url, PATH, body).status == 404
        assert time.monotonic() - begun > 0.8
        return
    got = post_json(proxy.url, PATH, body)
    assert got.body == ALL
    # The client's socket holds some of it, but not all.
    assert got.ended_at - begun > 0.5


@pytest.mark.parametrize(("keepalive", "noise"), [("none", 0), ("comment", 2), ("ping", 2)])
def test_a_stall_holds_the_stream_and_noise_hides_it(broken, keepalive, noise):
    text = f'stall = {{ after = {{ events = 3 }}, for = "700ms", keepalive = "{keepalive}", every = "150ms" }}'
    got = go(broken(fault(text)))
    assert got.body.count(b": keep-alive\n\n") >= noise
    assert got.body.replace(b": keep-alive\n\n", b"") == ALL
    third = next(at for at, data in got.chunks if b" two" in data)
    fourth = next(at for at, data in got.chunks if b" three" in data)
    assert fourth - third > 0.6


@pytest.mark.parametrize(
    ("after", "before"),
    [('"first-token"', b"One"), ('"before-terminator"', b"[DONE]"), ('"64B"', None), ('"20ms"', None), ('"end"', None)],
)
def test_a_stall_can_be_anywhere(broken, after, before):
    got = go(broken(fault(f'stall = {{ after = {after}, for = "600ms" }}')))
    assert got.body == ALL
    assert got.ended_at - got.since > 0.55
    if before:
        at = next(at for at, data in got.chunks if before in data)
        assert at - got.since > 0.55


def test_a_connection_is_held_open_after_all_was_said(broken):
    got = go(broken(fault('hold_open = "600ms"')))
    assert got.body == ALL
    assert got.ended_at - got.chunks[-1][0] > 0.5


# Ending.


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ('"clean-end"', wire.COMPLETE),
        ('"missing-last-chunk"', wire.FIN),
        ('"close-framed"', wire.COMPLETE),
        ('"short-body"', wire.FIN),
        ('"reset"', wire.RESET),
    ],
)
def test_a_cut_ends_the_stream_in_its_way(broken, how, end):
    got = go(broken(fault(f"cut = {{ after = {{ events = 3 }}, how = {how} }}")))
    assert got.body == b"".join(EVENTS[:3])
    assert got.end == end
    if how == '"close-framed"':
        assert got.framing == "close"
    if how == '"short-body"':
        assert int(got.get("content-length")) > len(got.body)
    broken.proxy.stop()
    assert ("outcome=cut" in broken.proxy.stderr()) == (how != '"clean-end"')
    assert "ttfb_ms=" in broken.proxy.stderr()


def test_a_terminator_is_left_out(broken):
    got = go(broken(fault('cut = { after = "end", how = "missing-terminator" }')))
    assert (got.body, got.end) == (ALL[: -len(DONE)], wire.COMPLETE)


def test_a_reset_before_the_head_calls_no_upstream(broken):
    got = go(broken(fault('cut = { after = "before-head", how = "reset" }')))
    assert (got.head, got.end) == (None, wire.RESET)
    assert broken.asked() == 0
    broken.proxy.stop()
    assert "outcome=cut" in broken.proxy.stderr()
    assert "ttfb_ms" not in broken.proxy.stderr(), "no byte was sent"


def test_an_empty_answer_is_a_fin(broken):
    got = go(broken(fault("empty = true")))
    assert (got.head, got.end) == (None, wire.FIN)
    assert broken.asked() == 0


def test_a_blackhole_never_answers(broken):
    got = go(broken(fault("blackhole = true")), timeout=1.0)
    assert (got.head, got.end) == (None, wire.TIMEOUT)
    assert broken.asked() == 0


# Content.


def test_a_status_takes_the_place_of_the_answer(broken):
    got = go(broken(fault('status = { code = 418, headers = { x-a = "b" }, body = "tea" }')))
    assert (got.status, got.get("x-a"), got.body) == (418, "b", b"tea")
    assert got.get("x-rehearsal-source") == "fault"
    assert broken.asked() == 0


def test_a_status_after_the_upstream_costs_a_call(broken):
    got = go(broken(fault("status = 503\nafter_upstream = true")))
    assert got.status == 503
    assert broken.asked() == (0 if broken.source == "replayed" else 1)


def test_an_error_of_the_provider_has_its_shape(broken):
    got = go(broken(fault('status = { error = "rate-limit", retry_after = "2s" }')))
    assert got.status == 429
    assert got.get("retry-after") == "2"
    error = json.loads(got.body)["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert got.get("x-ratelimit-remaining-requests") == "0"


@pytest.mark.parametrize(("then", "end", "rest"), [("end", wire.COMPLETE, False), ("continue", wire.COMPLETE, True), ("close", wire.FIN, False)])
def test_an_error_stands_in_the_stream(broken, then, end, rest):
    got = go(broken(fault(f'error_event = {{ after = {{ events = 2 }}, error = "internal", then = "{then}" }}')))
    assert got.end == end
    assert got.body.startswith(b"".join(EVENTS[:2]) + b'data: {"error":')
    assert got.body.endswith(DONE) == rest


def test_bytes_are_flipped(broken):
    got = go(broken(fault('corrupt = { after = "head", count = 3, unit = "bytes" }')))
    assert len(got.body) == len(ALL)
    assert sum(one != other for one, other in zip(got.body, ALL)) == 3


def test_garbage_is_no_http(broken):
    got = go(broken(fault('garbage = "64B"')))
    assert got.head is None or got.end == wire.MALFORMED
    assert broken.asked() == 0


def test_a_malformed_chunk_breaks_the_framing(broken):
    got = go(broken(fault("malformed_chunk = { after = { events = 2 } }")))
    assert (got.body, got.end) == (b"".join(EVENTS[:2]), wire.MALFORMED)


def broken_json(data: bytes) -> bool:
    try:
        json.loads(data.removeprefix(b"data: "))
    except ValueError:
        return True
    return False


def test_json_is_broken_in_one_event(broken):
    got = go(broken(fault("invalid_json = 3")))
    events = got.body.split(b"\n\n")[:-1]
    assert [broken_json(one) for one in events] == [False, False, True, *[False] * 6, True]  # `[DONE]` is no JSON


def test_two_objects_stand_in_one_line(broken):
    got = go(broken(fault("two_objects = 3")))
    line = got.body.split(b"\n\n")[2]
    assert line.removeprefix(b"data: ").count(b'"id"') == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop = 3", [*EVENTS[:2], *EVENTS[3:]]),
        ("drop = [2, 4]", [EVENTS[0], EVENTS[2], *EVENTS[4:]]),
        ('drop = "usage"', [*EVENTS[:8], DONE]),
        ('drop = "finish"', [*EVENTS[:7], USAGE, DONE]),
        ('drop = "role"', EVENTS[1:]),
        ('drop = "terminator"', EVENTS[:-1]),
        ("drop = { from = 2, count = 3 }", [EVENTS[0], *EVENTS[4:]]),
        ("duplicate = 2", [EVENTS[0], EVENTS[1], EVENTS[1], *EVENTS[2:]]),
        ("reorder = 2", [EVENTS[0], EVENTS[2], EVENTS[1], *EVENTS[3:]]),
    ],
)
def test_events_are_dropped_doubled_and_late(broken, text, expected):
    got = go(broken(fault(text)))
    assert got.body == b"".join(expected)
    assert got.end == wire.COMPLETE


def test_events_are_merged_and_split(broken):
    got = go(broken(fault("merge = 2")))
    assert got.body == ALL
    assert EVENTS[1] + EVENTS[2] in got.boundaries


def test_an_event_is_split(broken):
    got = go(broken(fault("split = 2")))
    assert got.body == ALL
    assert len(got.boundaries) == len(EVENTS) + 1


def test_writes_end_inside_characters(broken):
    word = "data: grüße\n\n".encode()
    got = go(broken(fault("split_utf8 = true"), events=[word, DONE]))
    assert got.body == word + DONE
    assert got.boundaries[0] == word[: word.index("ü".encode()) + 1]


def test_a_byte_is_no_utf8(broken):
    got = go(broken(fault("invalid_utf8 = 3")))
    with pytest.raises(UnicodeDecodeError):
        got.body.decode()


def test_event_lines_are_dropped(broken):
    events = [b"event: a\ndata: {}\n\n", b"event: b\ndata: {}\n\n"]
    got = go(broken(fault("drop_event_lines = true"), events=events))
    assert got.body == b"data: {}\n\ndata: {}\n\n"


def test_headers_are_changed(broken):
    text = (
        fault('content_type = "text/plain"')
        + fault('header = { set = { x-set = "1" }, drop = ["cache-control"], duplicate = ["x-set"], huge = "9KiB" }')
    )
    got = go(broken(text))
    assert got.get("content-type") == "text/plain"
    assert got.all("x-set") == ["1", "1"]
    assert len(got.get("x-rehearsal-huge")) == 9 * 1024
    assert got.body == ALL


def test_an_encoding_is_claimed_that_is_not_there(broken):
    got = go(broken(fault('content_encoding = "gzip"')))
    assert (got.get("content-encoding"), got.body) == ("gzip", ALL)


def test_a_gateway_answers_with_a_page(broken):
    got = go(broken(fault("html_200 = true")))
    assert got.status == 200
    assert got.get("content-type").startswith("text/html")
    assert broken.asked() == 0


def test_a_rate_limit_refuses_as_the_provider_does(broken):
    proxy = broken(fault('rate_limit = { requests = 2, per = "1h" }\nallow_long_retry_after = true'))
    first, second, third = (go(proxy) for _ in range(3))
    assert [one.status for one in (first, second, third)] == [200, 200, 429]
    assert first.get("x-ratelimit-limit-requests") == "2"
    assert second.get("x-ratelimit-remaining-requests") == "0"
    assert third.get("x-ratelimit-remaining-requests") == "0"
    assert json.loads(third.body)["error"]["code"] == "rate_limit_exceeded"


# Addressing, chance, audit.


def test_the_first_requests_fail_and_then_it_works(broken):
    proxy = broken(fault("status = 503\nwhen = { first = 2 }"))
    assert [go(proxy).status for _ in range(4)] == [503, 503, 200, 200]


def test_rules_are_addressed_by_client_model_and_header(rehearsal):
    faults = (
        fault('name = "by-client"\nstatus = 501\nwhen = { client = "ci-*" }')
        + fault('name = "by-model"\nstatus = 502\nwhen = { model = "bad-*" }')
        + fault('name = "by-name"\nstatus = 504\nwhen = { header = "x-rehearsal-fault" }')
    )
    proxy = rehearsal(config=route("synthesize", "fake", faults + ""))
    plain = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}

    def status(body=plain, *headers):
        return post_json(proxy.url, PATH, json.dumps(body).encode(), headers).status

    assert status() == 200
    assert status(plain, ("x-rehearsal-client", "ci-7")) == 501
    assert status({**plain, "model": "bad-1"}) == 502
    assert status(plain, ("x-rehearsal-fault", "by-name")) == 504
    assert status(plain, ("x-rehearsal-fault", "nobody")) == 200


def test_the_same_seed_draws_the_same_in_any_order(rehearsal):
    config = "seed = 11\n" + route("synthesize", "fake", 'pace = "instant"\n' + fault("status = 503\nprobability = 0.5"))
    paths = [f"/v1/models/{number}" for number in range(40)]

    def run(order):
        proxy = rehearsal(config=config)
        found = {path: ask(proxy.url, "GET", path).get("x-rehearsal-fault") for path in order}
        proxy.stop()
        return found

    one, other = run(paths), run(list(reversed(paths)))
    assert one == other
    assert 8 < sum(value is not None for value in one.values()) < 32


def test_a_dry_run_and_a_probability_of_zero_do_nothing(broken):
    got = go(broken(fault("status = 503\ndry_run = true") + fault('latency = "9s"\nprobability = 0')))
    assert (got.status, got.body) == (200, ALL)
    assert got.get("x-rehearsal-fault") is None


def test_at_most_so_many_at_once(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", fault("blackhole = true\nmax_active = 1")))
    with Client(proxy.url, timeout=1) as first:
        first.request("GET", "/v1/models")
        assert first.answer().end == wire.TIMEOUT
        assert ask(proxy.url, "GET", "/v1/models").status == 200


def test_an_opaque_route_does_not_tell(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", "opaque = true\n" + fault("status = 503")))
    got = ask(proxy.url, "GET", "/v1/models")
    assert (got.status, got.get("x-rehearsal-fault")) == (503, None)


def test_an_encoded_stream_is_decoded_for_its_events(rehearsal, upstream):
    import gzip

    packed = gzip.compress(ALL)
    upstream.on(PATH, answer(headers=(("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip")), body=packed))
    proxy = rehearsal.forward(upstream, fault("drop = 2"))
    got = go(proxy)
    assert got.get("content-encoding") is None
    assert got.body == b"".join([EVENTS[0], *EVENTS[2:]])


# Listeners.


def test_a_listener_refuses_for_a_time(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", "", '[[listen.fault]]\nrefuse = true\nttl = "6s"'))
    refused = 0
    deadline = time.monotonic() + 5
    while not refused:
        assert time.monotonic() < deadline, "nobody was refused"
        try:
            # The first ones may come before the listener is closed, and are reset.
            socket.create_connection((proxy.host, proxy.port), 5).close()
        except ConnectionResetError:
            pass
        except ConnectionRefusedError:
            refused += 1
    deadline = time.monotonic() + 20
    while True:
        try:
            assert ask(proxy.url, "GET", "/v1/models").status == 200
            return
        except (ConnectionError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_every_second_connection_is_reset(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", "", "[[listen.fault]]\nrefuse = true\nevery = 2"))

    def one():
        try:
            return ask(proxy.url, "GET", "/v1/models").end
        except OSError:
            return wire.RESET

    assert [one() for _ in range(4)] == [wire.COMPLETE, wire.RESET, wire.COMPLETE, wire.RESET]


def test_an_idle_connection_is_closed_soon(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", "", '[[listen.fault]]\nidle_close = "300ms"'))
    with Client(proxy.url) as client:
        assert client.ask("GET", "/v1/models").status == 200
        begun = time.monotonic()
        assert client.end() == wire.FIN
        assert time.monotonic() - begun > 0.2


def test_a_connection_is_closed_when_it_is_used_again(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", "", "[[listen.fault]]\nclose_on_reuse = true"))
    with Client(proxy.url) as client:
        assert client.ask("GET", "/v1/models").status == 200
        client.request("GET", "/v1/models")
        assert client.end() in (wire.FIN, wire.RESET)


def test_a_connection_is_swallowed(rehearsal):
    proxy = rehearsal(config=route("synthesize", "fake", "", "[[listen.fault]]\nblackhole = true\nnth = 1"))
    assert ask(proxy.url, "GET", "/v1/models", timeout=1).end == wire.TIMEOUT
    assert ask(proxy.url, "GET", "/v1/models").status == 200


# Shapes.


@pytest.mark.parametrize("rechunk", ['"event"', '"word"', '"sentence"', "{ bytes = 400 }", '{ adaptive = { target = "100ms" } }'])
def test_rechunking_moves_boundaries_and_no_bytes(broken, rechunk):
    got = go(broken("", more=f"rechunk = {rechunk}"))
    assert (got.body, got.end) == (ALL, wire.COMPLETE)
    for chunk in got.boundaries:
        assert chunk.endswith(b"\n\n"), "cuts fall between events"


def test_one_piece_is_cut_into_its_events(broken):
    got = go(broken("", events=[ALL], more='rechunk = "event"'))
    assert got.boundaries == EVENTS


def test_a_live_stream_is_paced_by_token(broken):
    got = go(broken("", gap=0.0, more='pace = { tokens = { ttft = "300ms", gap = "50ms" } }'))
    assert got.body == ALL
    times = [at for at, data in got.chunks if any(word in data for word in WORDS)]
    assert times[0] - got.since > 0.28
    assert got.chunks[-1][0] - got.since > 0.28 + 5 * 0.05 - 0.02
