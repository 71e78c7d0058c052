"""Replaying: the same again, in bytes and in time, and a clear word where there is nothing to replay."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
import wire
from cassettes import chunk_lines, edit, files, in_time, recording, recordings, same, walk
from conftest import route
from rawclient import Client, ask, post_json
from upstream import answer, echo, raw, stream

CHUNKS = [b'data: {"n":%d}\n\n' % number for number in range(12)]
GAPS = [0.03, 0.03, 0.2, 0.01, 0.01, 0.1, 0.05, 0.05, 0.02, 0.08, 0.04]


def record(rehearsal, upstream, cassette, *asks, more="", **options):
    """Records these requests, each the arguments of `ask`; then the upstream is gone."""
    proxy = rehearsal(config=route("record", upstream, more, cassette=cassette), **options)
    answers = [ask(proxy.url, *words) for words in asks]
    proxy.stop()
    upstream.stop()
    return answers


def replay(rehearsal, cassette, more="", upstream=None, **options):
    return rehearsal(config=route("replay", upstream, more, cassette=cassette), **options)


JSON = [("Content-Type", "application/json")]


# The same again.


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_stream_is_replayed_in_its_chunks_and_at_its_times(rehearsal, upstream, cassette, framing):
    upstream.on("/", stream(CHUNKS, GAPS, first_gap=0.15, framing=framing))
    (live,) = record(rehearsal, upstream, cassette, ())
    proxy = rehearsal.replay(cassette)
    for _ in range(2):
        got = ask(proxy.url)
        same(got, live)
        in_time([at - got.since for at in got.whole_at(CHUNKS)], [at - live.since for at in live.whole_at(CHUNKS)])
        in_time([got.head.at - got.since], [live.head.at - live.since])


def test_the_recorded_times_are_kept_in_a_long_stream(rehearsal, upstream, cassette):
    """100 chunks at 10 ms: no drift."""
    upstream.on("/", stream([b"data: %d\n\n" % number for number in range(100)], 0.01))
    record(rehearsal, upstream, cassette, ())
    kept = [at / 1e6 for at, _ in chunk_lines(recording(cassette))]
    got = ask(rehearsal.replay(cassette).url)
    came = [at - got.chunks[0][0] for at, _ in got.chunks]
    in_time(came, [at - kept[0] for at in kept])
    total = kept[-1] - kept[0]
    assert abs(came[-1] - total) < 0.2 * total


@pytest.mark.parametrize("speed", [0.5, 4, 20])
def test_a_speed_divides_the_times(rehearsal, upstream, cassette, speed):
    upstream.on("/", stream(CHUNKS, GAPS, first_gap=0.1))
    (live,) = record(rehearsal, upstream, cassette, ())
    got = ask(rehearsal.replay(cassette, "--speed", str(speed)).url)
    same(got, live)
    in_time([at - got.since for at, _ in got.chunks], [(at - live.since) / speed for at, _ in live.chunks])


def test_instant_does_not_wait(rehearsal, upstream, cassette):
    upstream.on("/", stream(CHUNKS, GAPS, first_gap=0.5))
    (live,) = record(rehearsal, upstream, cassette, ())
    got = ask(rehearsal.replay(cassette, "--instant").url)
    same(got, live)
    assert got.ended_at - got.since < 0.5


@pytest.mark.parametrize(("pace", "speed"), [('"instant"', None), ('"recorded"', 1), ("{ recorded = { speed = 5.0 } }", 5)])
def test_a_route_has_its_own_pace(rehearsal, upstream, cassette, pace, speed):
    upstream.on("/", stream(CHUNKS, GAPS, first_gap=0.1))
    (live,) = record(rehearsal, upstream, cassette, ())
    got = ask(replay(rehearsal, cassette, f"pace = {pace}").url)
    same(got, live)
    if speed:
        in_time([at - got.since for at, _ in got.chunks], [(at - live.since) / speed for at, _ in live.chunks])
    else:
        assert got.ended_at - got.since < 0.5


def test_times_count_from_the_end_of_the_request(rehearsal, upstream, cassette):
    upstream.on("/", stream(CHUNKS[:3], 0.05, first_gap=0.3))
    (live,) = record(rehearsal, upstream, cassette, ("POST", "/", (), b"0123456789"))
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url) as client:
        client.request("POST", "/", [("Content-Length", "10")])
        for piece in (b"01234", b"56789"):
            time.sleep(0.2)
            client.send(piece)
        got = client.answer("POST")
        in_time([at - client.sent_at for at, _ in got.chunks], [at - live.since for at, _ in live.chunks])


def test_streams_replayed_at_the_same_time_keep_their_times(rehearsal, upstream, cassette):
    upstream.on("/", stream(CHUNKS, GAPS))
    (live,) = record(rehearsal, upstream, cassette, ())
    proxy = rehearsal.replay(cassette)
    got = []
    threads = [threading.Thread(target=lambda: got.append(ask(proxy.url))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    for one in got:
        same(one, live)
        in_time([at - one.since for at, _ in one.chunks], [at - live.since for at, _ in live.chunks])


def test_answers_without_a_body_are_replayed(rehearsal, upstream, cassette):
    upstream.on("/head", answer(headers=(("Content-Length", "77"), ("ETag", '"x"'))))
    upstream.on("/204", answer(204, ())).on("/304", answer(304, (("ETag", '"y"'),)))
    asks = [("HEAD", "/head"), ("GET", "/204"), ("GET", "/304")]
    live = record(rehearsal, upstream, cassette, *asks)
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url, timeout=5) as client:
        for words, one in zip(asks * 2, live * 2):
            same(client.ask(*words), one)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_an_encoding_of_nothing_is_kept(rehearsal, upstream, cassette, encoding):
    """`HEAD` tells how `GET` would be encoded, and so does a 304; an empty body can be encoded too."""
    headers = (("Content-Encoding", encoding), ("Vary", "Accept-Encoding"), ("Content-Type", "application/json"))
    upstream.on("/head", answer(headers=(*headers, ("Content-Length", "77")))).on("/304", answer(304, headers))
    upstream.on("/chunked", stream([], headers=headers)).on("/empty", answer(headers=headers, body=b""))
    asks = [("HEAD", "/head"), ("GET", "/304"), ("GET", "/chunked"), ("GET", "/empty")]
    live = record(rehearsal, upstream, cassette, *asks)
    proxy = rehearsal.replay(cassette)
    for words, one in zip(asks, live):
        assert one.get("content-encoding") == encoding
        same(ask(proxy.url, *words), one)


def test_a_body_that_never_began_is_broken_on_the_replay_too(rehearsal, upstream, cassette):
    upstream.on("/", raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n", "fin"))
    upstream.on("/gzip", raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n", "fin"))
    asks = [("GET", "/"), ("GET", "/gzip")]
    live = record(rehearsal, upstream, cassette, *asks)
    assert [one.end for one in live] == [wire.FIN, wire.FIN]
    proxy = rehearsal.replay(cassette)
    for words, one in zip(asks, live):
        same(ask(proxy.url, *words), one)


def test_the_date_is_of_today_and_the_rest_of_then(rehearsal, upstream, cassette):
    headers = (("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "then/1.0"))
    upstream.on("/", answer(headers=headers))
    record(rehearsal, upstream, cassette, ())
    got = ask(rehearsal.replay(cassette).url)
    assert (got.get("last-modified"), got.get("server")) == ("Mon, 01 Jan 2001 00:00:00 GMT", "then/1.0")
    assert got.get("date") != "Mon, 01 Jan 2001 00:00:00 GMT"


def test_a_replay_works_for_clients_of_http10_and_half_closed_ones(rehearsal, upstream, cassette):
    upstream.on("/", stream(CHUNKS, 0.005))
    record(rehearsal, upstream, cassette, ())
    proxy = rehearsal.replay(cassette)
    old = ask(proxy.url, version="HTTP/1.0")
    assert (old.body, old.end) == (b"".join(CHUNKS), wire.COMPLETE)
    with Client(proxy.url) as client:
        client.request()
        client.half_close()
        assert client.answer().body == b"".join(CHUNKS)


def test_a_client_that_leaves_a_replay_leaves_the_proxy_well(rehearsal, upstream, cassette):
    upstream.on("/", stream(CHUNKS, GAPS))
    record(rehearsal, upstream, cassette, ())
    proxy = rehearsal.replay(cassette)
    for how in ("close", "reset"):
        client = Client(proxy.url)
        client.request()
        client.reader.head()
        getattr(client, how)()
    assert ask(proxy.url).end == wire.COMPLETE


def test_expect_continue_is_answered_while_replaying(rehearsal, upstream, cassette):
    upstream.on("/", answer(body=b'"yes"'))
    record(rehearsal, upstream, cassette, ("POST", "/", (), b"hello"))
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url, timeout=5) as client:
        client.request("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")])
        assert client.reader.head().status == 100
        client.send(b"hello")
        assert client.answer("POST").body == b'"yes"'


def test_an_answer_says_that_it_is_replayed_and_from_which_recording(rehearsal, upstream, cassette):
    upstream.on("/v1/a", answer())
    record(rehearsal, upstream, cassette, ("GET", "/v1/a"))
    got = ask(rehearsal.replay(cassette).url, target="/v1/a")
    assert got.get("x-rehearsal-source") == "replay"
    assert got.get("x-rehearsal-recording").removesuffix(".json") == recording(cassette).stem


def test_replaying_writes_nothing(rehearsal, upstream, cassette):
    upstream.on("/", answer())
    record(rehearsal, upstream, cassette, ())
    before = {path: path.read_bytes() for path in files(cassette) if "lock" not in path.name}
    proxy = rehearsal.replay(cassette)
    ask(proxy.url)
    ask(proxy.url, target="/miss")
    proxy.stop()
    assert {path: path.read_bytes() for path in files(cassette) if "lock" not in path.name} == before


# Sequences.


def sequence(rehearsal, upstream, cassette, count=3):
    left = list(range(count))
    upstream.on("/", lambda request, connection: answer(body=b"%d" % left.pop(0))(request, connection))
    record(rehearsal, upstream, cassette, *[("POST", "/", (), b"same")] * count)


@pytest.mark.parametrize(
    ("exhausted", "expected"),
    [(None, b"012222"), ("last", b"012222"), ("loop", b"012012"), ("refuse", b"012---")],
)
def test_a_sequence_is_replayed_in_its_order(rehearsal, upstream, cassette, exhausted, expected):
    sequence(rehearsal, upstream, cassette)
    proxy = replay(rehearsal, cassette, f'exhausted = "{exhausted}"' if exhausted else "")
    got = [ask(proxy.url, "POST", "/", body=b"same") for _ in range(6)]
    assert b"".join(one.body if one.status == 200 else b"-" for one in got) == expected
    if exhausted == "refuse":
        assert (got[-1].status, got[-1].get("x-should-retry")) == (404, "false")
        assert "3" in json.loads(got[-1].body)["error"]["message"]


def test_sequences_of_different_requests_do_not_share_a_place(rehearsal, upstream, cassette):
    left = {"/a": iter("01"), "/b": iter("xy")}
    handle = lambda request, connection: answer(body=next(left[request.path]).encode())(request, connection)  # noqa: E731
    upstream.on("/a", handle).on("/b", handle)
    record(rehearsal, upstream, cassette, ("GET", "/a"), ("GET", "/b"), ("GET", "/a"), ("GET", "/b"))
    proxy = rehearsal.replay(cassette)
    assert [ask(proxy.url, target=target).body for target in ("/a", "/a", "/b", "/b")] == [b"0", b"1", b"x", b"y"]


def test_all_share_one_place_unless_asked_otherwise(rehearsal, upstream, cassette):
    sequence(rehearsal, upstream, cassette)
    proxy = replay(rehearsal, cassette)
    sources = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    assert [ask(proxy.url, "POST", "/", client_headers(source), b"same", source=source).body for source in sources] == [b"0", b"1", b"2"]


def client_headers(source):
    return [("Authorization", f"Bearer key-of-{source}"), ("User-Agent", f"agent-{source}")]


def test_each_client_has_its_own_place_when_asked(rehearsal, upstream, cassette):
    sequence(rehearsal, upstream, cassette)
    proxy = replay(rehearsal, cassette, "per_client = true")
    got = {}
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2", "127.0.0.1"):
        body = ask(proxy.url, "POST", "/", client_headers(source), b"same", source=source).body
        got.setdefault(source, []).append(body)
    assert got == {"127.0.0.1": [b"0", b"1", b"2"], "127.0.0.2": [b"0", b"1"]}


def test_a_sequence_under_load_gives_each_answer_once(rehearsal, upstream, cassette):
    """Races in a peer gave gaps and duplicates."""
    sequence(rehearsal, upstream, cassette, 40)
    proxy = replay(rehearsal, cassette, 'exhausted = "refuse"')
    got = []

    def some():
        with Client(proxy.url) as client:
            for _ in range(5):
                got.append(client.ask("POST", "/", body=b"same").body)

    threads = [threading.Thread(target=some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, got)) == list(range(40))


# Misses.


def test_refuse_opens_no_socket_to_the_upstream(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"live"')
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/hit")
    proxy.stop()
    count = upstream.connections
    for more in ("", 'on_miss = "refuse"', 'exhausted = "refuse"'):
        proxy = replay(rehearsal, cassette, more, upstream=upstream)
        assert [ask(proxy.url, target="/hit").status for _ in range(2)] in ([200, 200], [200, 404])
        assert ask(proxy.url, "POST", "/miss", body=b"x").status == 404
        with Client(proxy.url) as client:
            client.request(target="/ws", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
            assert client.answer().status == 404
        proxy.stop()
    assert upstream.connections == count


def test_an_upgrade_opens_no_socket_to_the_upstream_either(rehearsal, upstream, cassette):
    proxy = rehearsal(config=route("replay", upstream, cassette=cassette))
    got = ask(proxy.url, headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
    assert got.status == 404
    assert upstream.connections == 0


def test_forward_asks_the_upstream_and_keeps_nothing(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"live"')
    cassette.mkdir()
    proxy = replay(rehearsal, cassette, 'on_miss = "forward"', upstream=upstream)
    for _ in range(2):
        assert ask(proxy.url, "POST", "/", body=b"x" * 100_000).body == b'"live"'
    assert [len(request.body) for request in upstream.requests] == [100_000] * 2
    proxy.stop()
    assert recordings(cassette) == []


def test_record_asks_the_upstream_once(rehearsal, upstream, cassette):
    """A body beyond 64 KiB, which pingora loses when it was read before it is forwarded."""
    upstream.fallback = stream(CHUNKS, 0.02)
    proxy = replay(rehearsal, cassette, 'on_miss = "record"', upstream=upstream)
    body = b"x" * 200_000
    live = ask(proxy.url, "POST", "/", body=body)
    assert upstream.requests[0].body == body
    again = ask(proxy.url, "POST", "/", body=body)
    same(again, live)
    assert len(upstream.requests) == 1
    proxy.stop()
    upstream.stop()
    same(ask(rehearsal.replay(cassette).url, "POST", "/", body=body), live)


def test_synthesize_makes_an_answer_up(rehearsal, upstream, cassette):
    cassette.mkdir()
    proxy = replay(rehearsal, cassette, 'on_miss = "synthesize"')
    got = post_json(proxy.url, "/v1/chat/completions", b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    assert json.loads(got.body)["object"] == "chat.completion"
    assert upstream.connections == 0


def asked(content, **more):
    value = {"model": "gpt-4o", "user": "one", "messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": content}]}
    return json.dumps({**value, **more}).encode()


def test_a_miss_is_a_404_that_sdks_do_not_retry(rehearsal, cassette):
    cassette.mkdir()
    got = ask(rehearsal.replay(cassette).url, target="/nothing")
    assert (got.status, got.get("x-should-retry")) == (404, "false")
    assert got.get("content-type").startswith("application/json")
    message = json.loads(got.body)["error"]["message"]
    assert "/nothing" in message and "GET" in message


def stem_of(value):
    return str(value).removesuffix(".json")


def test_a_miss_names_the_nearest_recordings_and_what_differs(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"yes"')
    record(
        rehearsal,
        upstream,
        cassette,
        ("POST", "/v1/chat", JSON, asked("what is the time?")),
        ("POST", "/v1/chat", JSON, asked("tell me a story", temperature=0.5, tools=[{"name": "x"}])),
        ("GET", "/v1/models"),
    )
    proxy = rehearsal.replay(cassette)
    got = post_json(proxy.url, "/v1/chat", asked("what is the date?"))
    assert got.status == 404
    text = got.body.decode()
    near = recording(cassette, "what is the time?").stem
    assert near in text
    far = recording(cassette, "tell me a story").stem
    assert far not in text or text.index(near) < text.index(far), "the nearest comes first"
    told = [value for _, value in walk(json.loads(text)) if isinstance(value, str)]
    assert any(re.search(r"\$(\.|\[')messages'?\]?\[1\](\.|\[')content", value) for value in told), text
    assert any("what is the time?" in value for value in told), "what was recorded is not shown"
    about = [value for _, value in walk(json.loads(text)) if isinstance(value, dict) and near in map(stem_of, value.values())]
    assert len(about) == 1, "the nearest recording is not a part of its own"
    assert "be short" not in json.dumps(about), "what does not differ is shown"


def ignore_lines(got):
    """Lines to paste into `key = { … }`, wherever in the body they stand."""
    told = [value for _, value in walk(json.loads(got.body)) if isinstance(value, str)]
    lines = [match for value in told for match in re.findall(r"((?:ignore|ignore_query)\s*=\s*\[[^\n]*\])", value)]
    assert lines, f"no line to paste in:\n{got.body.decode()}"
    return lines


@pytest.mark.parametrize(
    ("recorded", "wanted"),
    [
        (asked("hi", user="one"), asked("hi", user="two")),
        (asked("hi", metadata={"a": [1, 2, {"b": 3}]}), asked("hi", metadata={"a": [1, 2, {"b": 4}]})),
        (asked("hi"), asked("hi", seed=17)),
        (asked("hi", seed=17), asked("hi")),
        (b'{"odd key":1,"a.b":2,"it\'s":3}', b'{"odd key":2,"a.b":3,"it\'s":4}'),
        (b"[1,2,3]", b"[1,2,4]"),
    ],
    ids=["a member", "a deep member", "a new member", "a missing member", "odd names", "an element"],
)
def test_the_ignore_line_of_a_miss_makes_it_a_hit_when_pasted(rehearsal, upstream, cassette, recorded, wanted):
    upstream.fallback = answer(body=b'"yes"')
    record(rehearsal, upstream, cassette, ("POST", "/v1/chat", JSON, recorded))
    missed = post_json(rehearsal.replay(cassette).url, "/v1/chat", wanted)
    assert missed.status == 404
    line = ignore_lines(missed)[0]
    proxy = replay(rehearsal, cassette, f"key = {{ {line} }}")
    got = post_json(proxy.url, "/v1/chat", wanted)
    assert (got.status, got.body) == (200, b'"yes"'), (line, got.body)


def test_the_ignore_line_for_a_query_makes_it_a_hit_when_pasted(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"yes"')
    record(rehearsal, upstream, cassette, ("GET", "/list?page=1&t=111"))
    missed = ask(rehearsal.replay(cassette).url, target="/list?page=1&t=222")
    assert missed.status == 404
    line = ignore_lines(missed)[0]
    assert ask(replay(rehearsal, cassette, f"key = {{ {line} }}").url, target="/list?page=1&t=222").body == b'"yes"'


def test_a_recording_that_no_route_matches_is_told_as_such(rehearsal, upstream, cassette):
    """What was recorded without the header by which the route is chosen."""
    upstream.on("/one", answer())
    recorder = rehearsal.record(upstream, cassette)
    assert ask(recorder.url, target="/one").status == 200
    recorder.stop()
    top = f'[cassette]\npath = "{cassette}"\n[[route]]\nmode = "replay"\n'
    proxy = rehearsal(config=top + 'match = { headers = { x-team = "search" } }\n')
    assert "0 recordings can be replayed" in proxy.stdout()
    got = ask(proxy.url, target="/one", headers=[("x-team", "search")])
    assert got.status == 404
    name = recording(cassette).name
    assert f"the nearest is {name}, whose request no route matches" in json.loads(got.body)["error"]["message"]


def test_a_miss_shows_no_secret(rehearsal, upstream, cassette):
    upstream.fallback = answer()
    record(rehearsal, upstream, cassette, ("GET", "/list?page=1&key=recorded-secret-1234", [("Authorization", "Bearer recorded-secret-1234")]))
    proxy = rehearsal.replay(cassette)
    got = ask(proxy.url, target="/list?page=2&key=wanted-secret-5678", headers=[("Authorization", "Bearer wanted-secret-5678")])
    assert got.status == 404
    assert b"wanted-secret-5678" not in got.body
    assert b"recorded-secret-1234" not in got.body
    proxy.stop()
    assert "wanted-secret-5678" not in proxy.stderr() + proxy.stdout()


def test_a_miss_on_a_large_cassette_is_quick(rehearsal, upstream, cassette):
    upstream.fallback = answer()
    record(rehearsal, upstream, cassette, *[("POST", f"/v1/{number % 5}", JSON, asked(f"question {number}")) for number in range(300)])
    proxy = rehearsal.replay(cassette)
    started = time.monotonic()
    for number in range(10):
        assert post_json(proxy.url, f"/v1/{number % 5}", asked("another question")).status == 404
    assert time.monotonic() - started < 3


# What makes two requests the same.


@pytest.mark.parametrize(
    ("recorded", "wanted", "is_same"),
    [
        (("POST", "/", JSON, b'{"a":1,"b":{"c":2,"d":3}}'), ("POST", "/", JSON, b'{ "b":{"d":3,"c":2},\n "a":1 }'), True),
        (("POST", "/", JSON, b'{"a":[1,2]}'), ("POST", "/", JSON, b'{"a":[2,1]}'), False),
        (("POST", "/", JSON, b'{"a":"\\u00e9\\/"}'), ("POST", "/", JSON, '{"a":"é/"}'.encode()), True),
        (("POST", "/", JSON, b'{"a":1}'), ("POST", "/", JSON, b'{"a":"1"}'), False),
        (("POST", "/", JSON, b'{"a":null}'), ("POST", "/", JSON, b"{}"), False),
        (("POST", "/", JSON, b'{"a":9007199254740993}'), ("POST", "/", JSON, b'{"a":9007199254740992}'), False),
        (("GET", "/?b=2&a=1"), ("GET", "/?a=1&b=2"), True),
        (("GET", "/?a=%7e"), ("GET", "/?a=~"), True),
        (("GET", "/?a=1&a=2"), ("GET", "/?a=2&a=1"), False),
        (("GET", "/?a=1"), ("GET", "/?a=2"), False),
        (("GET", "/a"), ("GET", "/a/"), False),
        (("GET", "/a"), ("GET", "/A"), False),
        (("GET", "/a"), ("DELETE", "/a"), False),
        (("GET", "/a", [("User-Agent", "one"), ("X-Any", "1")]), ("GET", "/a", [("User-Agent", "two"), ("Accept", "x")]), True),
        (("POST", "/", (), b"x"), ("POST", "/", (), b""), False),
        (("POST", "/", (), b"\x00\xff\x01"), ("POST", "/", (), b"\x00\xff\x02"), False),
        (("POST", "/", (), b"plain text"), ("POST", "/", [("Transfer-Encoding", "chunked")], b"5\r\nplain\r\n5\r\n text\r\n0\r\n\r\n"), True),
    ],
    ids=[
        "member order", "element order", "escapes", "kinds", "null", "large numbers", "query order", "query escapes", "repeated query",
        "query value", "trailing slash", "case", "method", "other headers", "no body", "binary", "framing",
    ],
)  # fmt: skip
def test_what_is_the_same_request(rehearsal, upstream, cassette, recorded, wanted, is_same):
    upstream.fallback = answer(body=b'"yes"')
    record(rehearsal, upstream, cassette, recorded)
    proxy = rehearsal.replay(cassette)
    assert ask(proxy.url, *recorded).status == 200
    got = ask(proxy.url, *wanted)
    assert got.status == (200 if is_same else 404), got.body


FORM = [("Content-Type", "application/x-www-form-urlencoded")]


@pytest.mark.parametrize(
    ("body", "is_same"),
    [(b"a=1&b=two+words", True), (b"b=two+words&a=1", True), (b"b=two%20words&a=1", True), (b"a=1&b=other", False), (b"a=1", False)],
)
def test_forms_are_the_same_in_any_order(rehearsal, upstream, cassette, body, is_same):
    upstream.fallback = answer()
    record(rehearsal, upstream, cassette, ("POST", "/", FORM, b"a=1&b=two+words"))
    proxy = rehearsal.replay(cassette)
    assert ask(proxy.url, "POST", "/", FORM, b"a=1&b=two+words").status == 200
    assert ask(proxy.url, "POST", "/", FORM, body).status == (200 if is_same else 404)


def multipart(boundary, text=b"hello", data=b"\x00\xffbinary", name="file.bin"):
    body = b""
    for head, content in (
        (b'Content-Disposition: form-data; name="text"', text),
        (b'Content-Disposition: form-data; name="file"; filename="%s"\r\nContent-Type: application/octet-stream' % name.encode(), data),
    ):
        body += b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"
    return [("Content-Type", f"multipart/form-data; boundary={boundary.decode()}")], body + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    ("other", "is_same"),
    [({}, True), ({"text": b"bye"}, False), ({"data": b"\x00\xfebinary"}, False), ({"name": "other.bin"}, False)],
)
def test_multipart_bodies_are_the_same_whatever_their_boundary(rehearsal, upstream, cassette, other, is_same):
    upstream.fallback = answer()
    record(rehearsal, upstream, cassette, ("POST", "/", *multipart(b"----one-1111")))
    proxy = rehearsal.replay(cassette)
    assert ask(proxy.url, "POST", "/", *multipart(b"----one-1111")).status == 200
    got = ask(proxy.url, "POST", "/", *multipart(b"=_two_22222", **other))
    assert got.status == (200 if is_same else 404), got.body


def test_chosen_headers_are_part_of_the_key(rehearsal, upstream, cassette):
    upstream.fallback = echo
    more = 'key = { headers = ["X-Team"] }'
    live = record(rehearsal, upstream, cassette, *[("GET", "/", [("X-Team", team)]) for team in ("blue", "red")], more=more)
    proxy = replay(rehearsal, cassette, more)
    for team, one in zip(("blue", "red"), live):
        assert ask(proxy.url, headers=[("x-team", team)]).body == one.body
    assert ask(proxy.url, headers=[("X-Team", "green")]).status == 404
    assert ask(proxy.url).status == 404


@pytest.mark.parametrize(
    ("paths", "one", "other", "is_same"),
    [
        ('["$.user"]', b'{"user":1,"q":1}', b'{"user":2,"q":1}', True),
        ('["$.user"]', b'{"user":1,"q":1}', b'{"q":1}', True),
        ('["$.user"]', b'{"user":1,"q":1}', b'{"user":1,"q":2}', False),
        ('["$.messages[*].id"]', b'{"messages":[{"id":1,"t":"a"},{"id":2}]}', b'{"messages":[{"id":8,"t":"a"},{"id":9}]}', True),
        ('["$..timestamp"]', b'{"a":{"timestamp":1},"timestamp":2}', b'{"a":{"timestamp":3},"timestamp":4}', True),
        ("[\"$.messages[?@.role=='system']\"]", b'{"messages":[{"role":"system","c":1},{"role":"user"}]}', b'{"messages":[{"role":"user"}]}', True),
        ("[\"$['odd key']\"]", b'{"odd key":1}', b'{"odd key":2}', True),
        ('["$.list[-1]", "$.list[0]"]', b'{"list":[1,2,3]}', b'{"list":[7,2,9]}', True),
    ],
)
def test_ignored_paths_are_not_part_of_the_key(rehearsal, upstream, cassette, paths, one, other, is_same):
    upstream.fallback = answer()
    more = f"key = {{ ignore = {paths} }}"
    record(rehearsal, upstream, cassette, ("POST", "/", JSON, one), more=more)
    proxy = replay(rehearsal, cassette, more)
    assert post_json(proxy.url, "/", one).status == 200
    got = post_json(proxy.url, "/", other)
    assert got.status == (200 if is_same else 404), got.body


def test_ignored_query_parameters_are_not_part_of_the_key(rehearsal, upstream, cassette):
    upstream.fallback = answer()
    more = 'key = { ignore_query = ["t", "trace"] }'
    record(rehearsal, upstream, cassette, ("GET", "/?t=1&a=1"), more=more)
    proxy = replay(rehearsal, cassette, more)
    assert ask(proxy.url, target="/?a=1&trace=x&t=2").status == 200
    assert ask(proxy.url, target="/?a=1").status == 200
    assert ask(proxy.url, target="/?a=2&t=1").status == 404


def test_a_rule_added_later_holds_for_what_was_recorded_before(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"yes"')
    record(rehearsal, upstream, cassette, ("POST", "/", JSON, b'{"user":1,"q":1}'))
    assert post_json(replay(rehearsal, cassette).url, "/", b'{"user":2,"q":1}').status == 404
    assert post_json(replay(rehearsal, cassette, 'key = { ignore = ["$.user"] }').url, "/", b'{"user":2,"q":1}').status == 200


def test_a_body_over_the_limit_is_refused_by_name(rehearsal, upstream, cassette):
    upstream.fallback = answer()
    more = 'key = { body_limit = "1KiB", over_limit = "refuse" }'
    record(rehearsal, upstream, cassette, ("POST", "/", (), b"x" * 1000), more=more)
    proxy = replay(rehearsal, cassette, more)
    assert ask(proxy.url, "POST", "/", body=b"x" * 1000).status == 200
    with Client(proxy.url) as client:
        got = client.ask("POST", "/", body=b"x" * 5000)
        assert 400 <= got.status < 500
        assert got.get("x-should-retry") == "false"
        assert "body_limit" in json.loads(got.body)["error"]["message"]


def test_a_body_over_the_limit_may_be_left_out_of_the_key(rehearsal, upstream, cassette):
    upstream.fallback = lambda request, connection: answer(body=b"%d" % len(request.read()))(request, connection)
    more = 'key = { body_limit = "1KiB", over_limit = "head-only" }'
    (live,) = record(rehearsal, upstream, cassette, ("POST", "/", (), b"x" * 500_000), more=more)
    assert live.body == b"500000", "the upstream got the whole body all the same"
    proxy = replay(rehearsal, cassette, more)
    same(ask(proxy.url, "POST", "/", body=b"y" * 400_000), live)
    assert ask(proxy.url, "POST", "/", body=b"short").status == 404


# By hand.


def test_a_recording_may_be_edited_by_hand(rehearsal, upstream, cassette):
    upstream.on("/json", answer(body=b'{"answer":"forty-one","more":[1,2]}'))
    upstream.on("/sse", stream([b'data: {"t":"hello"}\n\n', b'data: {"t":"there"}\n\n'], 0.01))
    upstream.on("/text", answer(headers=(("Content-Type", "text/plain"),), body=b"plain words"))
    record(rehearsal, upstream, cassette, ("GET", "/json"), ("GET", "/sse"), ("GET", "/text"))
    edit(recording(cassette, "forty-one"), "forty-one", "forty-two, and longer than before")
    edit(recording(cassette, "there"), "there", "everybody")
    edit(recording(cassette, "plain words"), "plain words", "other, longer words")
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url, timeout=5) as client:
        got = client.ask(target="/json")
        assert json.loads(got.body) == {"answer": "forty-two, and longer than before", "more": [1, 2]}
        assert got.end == wire.COMPLETE
        assert client.ask(target="/sse").boundaries[1] == b'data: {"t":"everybody"}\n\n'
        assert client.ask(target="/text").body == b"other, longer words"


def test_an_edited_status_header_and_time_are_replayed(rehearsal, upstream, cassette):
    upstream.on("/", stream([b"data: a\n\n", b"data: b\n\n"], 0.01, headers=(("X-Mood", "calm"),)))
    record(rehearsal, upstream, cassette, ())
    path = recording(cassette)
    edit(path, "calm", "excited")
    edit(path, '"status": 200', '"status": 418')
    at = chunk_lines(path)[1][0]
    edit(path, f"[{at},", f"[{at + 300_000},")
    got = ask(rehearsal.replay(cassette).url)
    assert (got.status, got.get("x-mood")) == (418, "excited")
    assert got.chunks[1][0] - got.chunks[0][0] > 0.28


def test_an_edited_question_is_what_is_matched(rehearsal, upstream, cassette):
    upstream.fallback = answer(body=b'"yes"')
    record(rehearsal, upstream, cassette, ("POST", "/", JSON, b'{"q":"old question"}'))
    edit(recording(cassette), "old question", "new question")
    proxy = rehearsal.replay(cassette)
    assert post_json(proxy.url, "/", b'{"q":"new question"}').status == 200
    assert post_json(proxy.url, "/", b'{"q":"old question"}').status == 404


def test_a_file_that_was_renamed_or_removed_changes_nothing_else(rehearsal, upstream, cassette):
    upstream.fallback = echo
    live = record(rehearsal, upstream, cassette, ("GET", "/a"), ("GET", "/b"), ("GET", "/c"))
    recording(cassette, '"/a"').rename(recording(cassette, '"/a"').with_name("GET-my-own-name.json"))
    recording(cassette, '"/b"').unlink()
    proxy = rehearsal.replay(cassette)
    same(ask(proxy.url, target="/a"), live[0])
    assert ask(proxy.url, target="/b").status == 404
    same(ask(proxy.url, target="/c"), live[2])


def test_broken_files_are_named_with_their_line_and_the_rest_serves(rehearsal, upstream, cassette):
    upstream.fallback = echo
    live = record(rehearsal, upstream, cassette, ("GET", "/good"), ("GET", "/bad"), ("GET", "/typo"))
    bad, typo = recording(cassette, '"/bad"'), recording(cassette, '"/typo"')
    lines = bad.read_text().splitlines()
    lines[3] = lines[3] + " rubbish"
    bad.write_text("\n".join(lines))
    edit(typo, '"status"', '"statuss"')
    number = next(index for index, line in enumerate(typo.read_text().splitlines(), 1) if "statuss" in line)
    proxy = rehearsal.replay(cassette)
    same(ask(proxy.url, target="/good"), live[0])
    for target in ("/bad", "/typo"):
        assert ask(proxy.url, target=target).status == 404
    proxy.stop()
    log = proxy.stderr() + proxy.stdout()
    for path, line in ((bad, "[45]"), (typo, f"({number}|{number + 1})")):
        told = [text for text in log.splitlines() if path.name in text]
        assert told, f"{path.name} is not named:\n{log}"
        assert any(re.search(rf"{re.escape(path.name)}.*[^\d]{line}([^\d]|$)", text) for text in told), f"no line:\n{log}"
    done = rehearsal.run("cassette", "list", cassette)
    assert done.returncode == 1, "something fell short"
    assert bad.name in done.stdout + done.stderr and typo.name in done.stdout + done.stderr


def test_a_newer_file_is_refused_clearly(rehearsal, upstream, cassette):
    upstream.fallback = echo
    live = record(rehearsal, upstream, cassette, ("GET", "/old"), ("GET", "/new"))
    path = recording(cassette, '"/new"')
    text = path.read_text()
    assert re.search(r'"version"\s*:\s*1\b', text), text
    path.write_text(re.sub(r'("version"\s*:\s*)1\b', r"\g<1>999", text, count=1))
    proxy = rehearsal.replay(cassette)
    same(ask(proxy.url, target="/old"), live[0])
    assert ask(proxy.url, target="/new").status == 404
    proxy.stop()
    told = [line for line in proxy.stderr().splitlines() if path.name in line]
    assert told and "999" in told[0] and "version" in told[0], proxy.stderr()


def test_a_cassette_may_be_copied_and_checked_in(rehearsal, upstream, cassette, tmp_path):
    """Readable files only: the journal and the lock are not needed."""
    upstream.on("/", stream(CHUNKS, 0.005)).on("/bin", answer(headers=(("Content-Type", "image/png"),), body=bytes(range(256)) * 30))
    live = record(rehearsal, upstream, cassette, (), ("GET", "/bin"))
    copy = tmp_path / "copy"
    for path in files(cassette):
        if "journal" in path.name or "lock" in path.name:
            continue
        target = copy / path.relative_to(cassette)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    proxy = rehearsal.replay(copy)
    same(ask(proxy.url), live[0])
    same(ask(proxy.url, target="/bin"), live[1])
