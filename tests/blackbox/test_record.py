"""Recording: what is kept, how it is kept, and what never is."""

from __future__ import annotations

import ctypes
import ctypes.util
import gzip
import hashlib
import json
import os
import resource
import signal
import stat
import threading
import time
import zlib

import pytest
import wire
from cassettes import chunk_lines, files, holding, in_time, listed, recording, recordings, same
from conftest import route
from rawclient import Client, Pattern, ask, post_json, read_hashed
from upstream import CLOSE, answer, big, echo, echo_gzip, echo_split, endless, raw, stream

MIB = 1 << 20

CHUNKS = [b'data: {"n":%d,"text":"gr\xc3\xbc\xc3\x9fe"}\n\n' % number for number in range(10)]


# Faithful.


def test_each_chunk_is_kept_on_a_line_with_its_time(rehearsal, upstream, cassette):
    gaps = [0.02, 0.15, 0.01, 0.08, 0.03, 0.03, 0.2, 0.01, 0.05]
    upstream.on("/v1/chat", stream(CHUNKS, gaps, first_gap=0.1))
    proxy = rehearsal.record(upstream, cassette)
    got = post_json(proxy.url, "/v1/chat", b'{"stream":true}')
    assert got.boundaries == CHUNKS
    proxy.stop()
    kept = chunk_lines(recording(cassette))
    assert [text.encode() for _, text in kept] == CHUNKS
    sent = [at for at, _ in upstream.requests[0].sent]
    # Whatever the offsets count from, their differences are those of the upstream.
    in_time([(at - kept[0][0]) / 1e6 for at, _ in kept], [at - sent[0] for at in sent])
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)


def test_recording_holds_nothing_back(rehearsal, upstream, cassette):
    upstream.on("/", stream(CHUNKS, 0.04))
    proxy = rehearsal.record(upstream, cassette)
    got = ask(proxy.url)
    sent = [at for at, _ in upstream.requests[0].sent]
    in_time([at for at, _ in got.chunks], sent)


def test_a_slow_client_does_not_bend_the_recorded_times(rehearsal, upstream, cassette):
    upstream.on("/", stream([b"x" * 1000 for _ in range(20)], 0.02))
    proxy = rehearsal.record(upstream, cassette)
    with Client(proxy.url) as client:
        client.request()
        head = client.reader.head()
        time.sleep(0.8)  # Takes nothing meanwhile.
        assert client.answer(head=head).end == wire.COMPLETE
    proxy.stop()
    kept = chunk_lines(recording(cassette))
    sent = [at for at, _ in upstream.requests[0].sent]
    in_time([(at - kept[0][0]) / 1e6 for at, _ in kept], [at - sent[0] for at in sent])


def test_headers_are_kept_in_order_with_case_and_repeats(rehearsal, upstream, cassette):
    headers = (("X-Multi", "a"), ("Content-Type", "text/plain"), ("x-multi", "b"), ("ETAG", '"q"'), ("X-Odd-cASE", "c"))
    upstream.on("/", answer(headers=headers, body=b"hi", reason="All Right"))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url)
    proxy.stop()
    text = recording(cassette).read_text()
    places = [text.index(name) for name in ("X-Multi", "Content-Type", "ETAG", "X-Odd-cASE")]
    assert places == sorted(places), text
    upstream.stop()
    same(ask(rehearsal.replay(cassette).url), live)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 529])
def test_errors_of_the_upstream_are_recorded_too(rehearsal, upstream, cassette, status):
    headers = (("Content-Type", "application/json"), ("Retry-After", "7"), ("x-ratelimit-remaining-requests", "0"))
    upstream.on("/", answer(status, headers, b'{"error":{"message":"no"}}'))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url, "POST", "/", body=b"{}")
    proxy.stop()
    upstream.stop()
    replayed = ask(rehearsal.replay(cassette).url, "POST", "/", body=b"{}")
    assert replayed.status == status
    assert replayed.get("retry-after") == "7"
    same(replayed, live)


def test_a_json_body_can_be_read_and_a_binary_one_is_beside_it(rehearsal, upstream, cassette):
    image = bytes(range(256)) * 40
    upstream.on("/json", answer(body=b'{"answer":"forty-two","list":[1,2,3]}'))
    upstream.on("/image", answer(headers=(("Content-Type", "image/png"),), body=image))
    proxy = rehearsal.record(upstream, cassette)
    live = [ask(proxy.url, target=target) for target in ("/json", "/image")]
    proxy.stop()
    text = recording(cassette, "forty-two").read_text()
    assert '"answer": "forty-two"' in text or '"answer":"forty-two"' in text, f"not an object:\n{text}"
    side = [path for path in files(cassette) if path.read_bytes() == image]
    assert len(side) == 1, f"no side file holds the image: {files(cassette)}"
    assert re_hash(side[0].name), f"a side file is named by its content's hash, not {side[0].name}"
    assert side[0].name.split(".")[0] in recording(cassette, "image/png").read_text()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    for target, one in zip(("/json", "/image"), live):
        same(ask(proxy.url, target=target), one)


def re_hash(name: str) -> bool:
    stem = max(name.replace("-", ".").split("."), key=len)
    return len(stem) >= 16 and all(letter in "0123456789abcdef" for letter in stem)


def test_a_large_body_is_replayed_whole(rehearsal, upstream, cassette):
    total = 24 * MIB
    pattern = Pattern()
    upstream.on("/", big(lambda: pattern.pieces(total), total))
    proxy = rehearsal.record(upstream, cassette)
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        assert read_hashed(client.sock, total, bytes(client.reader.buffer)) == pattern.digest(total)
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url) as client:
        client.request()
        head = client.reader.head()
        assert (head.status, head.get("content-length")) == (200, str(total))
        assert read_hashed(client.sock, total, bytes(client.reader.buffer)) == pattern.digest(total)


def test_json_that_is_written_oddly_keeps_its_bytes(rehearsal, upstream, cassette):
    odd = [
        b'{"a" :1,  "b":[ ]}\n',
        b'{"a":1.0,"b":1e3,"c":-0.0,"d":12345678901234567890123}',
        b'{"a":1,"a":2}',
        '{"a":"\\u00e9é\\/"}'.encode(),
        b'{"a":"\\ud800"}',
        b"[1,2",
        b"\xef\xbb\xbf{}",
        b"null",
        b'""',
        b"",
        b'{"deep":' + b"[" * 200 + b"]" * 200 + b"}",
    ]
    for number, body in enumerate(odd):
        upstream.on(f"/{number}", answer(body=body))
    proxy = rehearsal.record(upstream, cassette)
    live = [ask(proxy.url, target=f"/{number}") for number in range(len(odd))]
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    for number, body in enumerate(odd):
        got = ask(proxy.url, target=f"/{number}")
        assert got.body == body
        same(got, live[number])


def test_a_compressed_answer_is_replayed_in_its_bytes(rehearsal, upstream, cassette):
    packed = gzip.compress(b'{"answer":"forty-two"}' * 3, 9, mtime=1234567)
    headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("ETag", '"e"'))
    upstream.on("/", answer(headers=headers, body=packed))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url, headers=[("Accept-Encoding", "gzip")])
    proxy.stop()
    upstream.stop()
    replayed = ask(rehearsal.replay(cassette).url, headers=[("Accept-Encoding", "gzip")])
    assert replayed.body == packed
    same(replayed, live)


def test_a_compressed_stream_is_replayed_in_its_bytes(rehearsal, upstream, cassette):
    packer = gzip.zlib.compressobj(6, gzip.zlib.DEFLATED, 31)
    pieces = [packer.compress(b"data: %d\n\n" % number) + packer.flush(gzip.zlib.Z_SYNC_FLUSH) for number in range(5)]
    pieces.append(packer.flush())
    upstream.on("/", stream(pieces, 0.03, headers=(("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip"))))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url)
    assert live.boundaries == pieces
    proxy.stop()
    upstream.stop()
    same(ask(rehearsal.replay(cassette).url), live)


def test_a_broken_compressed_body_is_kept_as_it_came(rehearsal, upstream, cassette):
    body = gzip.compress(b"x" * 1000)[:-9] + b"rubbish"
    upstream.on("/", answer(headers=(("Content-Encoding", "gzip"),), body=body))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url)
    proxy.stop()
    upstream.stop()
    same(ask(rehearsal.replay(cassette).url), live)


@pytest.mark.parametrize(
    ("then", "end"),
    [("end", wire.COMPLETE), ("fin", wire.FIN), ("rst", wire.RESET), ("fin-in-chunk", wire.FIN)],
)
def test_how_a_stream_ended_is_kept_and_replayed(rehearsal, upstream, cassette, then, end):
    upstream.on("/", stream(CHUNKS[:4], 0.03, then=then))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url)
    assert live.end == end
    proxy.stop()
    upstream.stop()
    replayed = ask(rehearsal.replay(cassette).url)
    assert replayed.body == live.body
    assert replayed.end == end


def test_a_short_body_is_replayed_as_short(rehearsal, upstream, cassette):
    upstream.on("/", raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nshort", "fin"))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url)
    proxy.stop()
    upstream.stop()
    replayed = ask(rehearsal.replay(cassette).url)
    assert (replayed.get("content-length"), replayed.body, replayed.end) == ("100", b"short", live.end)


def test_an_upstream_that_was_not_there_is_not_recorded(rehearsal, upstream, cassette):
    upstream.stop()
    proxy = rehearsal.record(upstream, cassette)
    assert ask(proxy.url).status == 502
    proxy.stop()
    assert recordings(cassette) == []


def test_requests_are_kept_with_what_they_asked(rehearsal, upstream, cassette):
    upstream.on("/v1/chat", answer())
    proxy = rehearsal.record(upstream, cassette)
    post_json(proxy.url, "/v1/chat?b=2&a=1", b'{"messages":[{"content":"what is it?"}]}', [("X-Team", "blue")])
    proxy.stop()
    text = recording(cassette).read_text()
    for part in ("POST", "/v1/chat", "what is it?"):
        assert part in text
    assert "v1-chat" in recording(cassette).name


def test_a_recording_does_not_depend_on_the_clock(rehearsal, upstream, tmp_path):
    """Recorded twice, the files differ in times only: diffs stay small."""
    upstream.on("/v1/a", answer(body=b'{"a":1}'))
    texts = []
    for name in ("one", "two"):
        proxy = rehearsal.record(upstream, tmp_path / name)
        ask(proxy.url, target="/v1/a", headers=[("Host", "api.example")])
        proxy.stop()
        path = recording(tmp_path / name)
        texts.append((path.name, path.read_text().splitlines()))
    assert texts[0][0] == texts[1][0], "the name of a recording is stable"
    differing = [pair for pair in zip(texts[0][1], texts[1][1]) if pair[0] != pair[1]]
    assert len(texts[0][1]) == len(texts[1][1])
    assert len(differing) <= 3, differing


def test_files_are_for_their_owner_only(rehearsal, upstream, cassette):
    upstream.on("/json", answer()).on("/bin", answer(headers=(("Content-Type", "image/png"),), body=bytes(range(256)) * 30))
    upstream.on("/slow", endless())
    old = os.umask(0)
    try:
        proxy = rehearsal.record(upstream, cassette)
        for target in ("/json", "/bin"):
            ask(proxy.url, target=target)
        with Client(proxy.url) as client:
            client.request(target="/slow")
            client.reader.head()
            client.reader.more()
            wide(cassette)
            proxy.kill()
    finally:
        os.umask(old)
    wide(cassette)
    rehearsal.run("cassette", "list", cassette)
    rehearsal.replay(cassette).stop()
    wide(cassette)


def wide(cassette):
    found = {str(path): oct(stat.S_IMODE(path.stat().st_mode)) for path in files(cassette) if stat.S_IMODE(path.stat().st_mode) != 0o600}
    assert not found


# Policies.


def versions(upstream, *bodies):
    """Answers each request with the next body."""
    left = list(bodies)

    def handle(request, connection):
        return answer(body=left.pop(0))(request, connection)

    upstream.on("/", handle)


def a_run(rehearsal, upstream, cassette, policy, count):
    more = f'record = "{policy}"' if policy else ""
    proxy = rehearsal(config=route("record", upstream, more, cassette=cassette))
    got = [ask(proxy.url).body for _ in range(count)]
    proxy.stop()
    return got


def replayed(rehearsal, cassette, count):
    proxy = rehearsal.replay(cassette)
    got = [ask(proxy.url).body for _ in range(count)]
    proxy.stop()
    return got


def test_replace_starts_a_new_sequence_in_each_run(rehearsal, upstream, cassette):
    versions(upstream, b'"1a"', b'"1b"', b'"1c"', b'"2a"', b'"2b"')
    assert a_run(rehearsal, upstream, cassette, "replace", 3) == [b'"1a"', b'"1b"', b'"1c"']
    assert replayed(rehearsal, cassette, 4) == [b'"1a"', b'"1b"', b'"1c"', b'"1c"']
    a_run(rehearsal, upstream, cassette, "replace", 2)
    assert replayed(rehearsal, cassette, 3) == [b'"2a"', b'"2b"', b'"2b"']
    assert len(recordings(cassette)) == 2


def test_replace_is_the_default(rehearsal, upstream, cassette):
    versions(upstream, b'"1"', b'"2"')
    a_run(rehearsal, upstream, cassette, None, 1)
    a_run(rehearsal, upstream, cassette, None, 1)
    assert replayed(rehearsal, cassette, 2) == [b'"2"', b'"2"']


def test_append_goes_on_with_the_sequence(rehearsal, upstream, cassette):
    versions(upstream, b'"1a"', b'"1b"', b'"2a"')
    a_run(rehearsal, upstream, cassette, "append", 2)
    a_run(rehearsal, upstream, cassette, "append", 1)
    assert replayed(rehearsal, cassette, 4) == [b'"1a"', b'"1b"', b'"2a"', b'"2a"']


def test_once_keeps_what_is_there(rehearsal, upstream, cassette):
    versions(upstream, b'"1a"', b'"2a"', b'"2b"')
    a_run(rehearsal, upstream, cassette, "once", 1)
    before = {path: path.read_bytes() for path in recordings(cassette)}
    a_run(rehearsal, upstream, cassette, "once", 2)
    assert replayed(rehearsal, cassette, 2) == [b'"1a"', b'"1a"']
    assert {path: path.read_bytes() for path in recordings(cassette)} == before


def test_what_is_recorded_again_stays_until_the_new_one_is_complete(rehearsal, upstream, cassette):
    versions(upstream, b'"old"')
    a_run(rehearsal, upstream, cassette, "replace", 1)
    upstream.on("/", endless())
    proxy = rehearsal.record(upstream, cassette)
    with Client(proxy.url) as client:
        client.request()
        client.reader.head()
        client.reader.more()
        proxy.kill()
    assert replayed(rehearsal, cassette, 1) == [b'"old"']


def test_what_was_not_asked_again_stays(rehearsal, upstream, cassette):
    upstream.on("/a", answer(body=b'"a"')).on("/b", answer(body=b'"b"'))
    for target in ("/a", "/b"):
        proxy = rehearsal.record(upstream, cassette)
        ask(proxy.url, target=target)
        proxy.stop()
    proxy = rehearsal.replay(cassette)
    assert [ask(proxy.url, target=target).body for target in ("/a", "/b")] == [b'"a"', b'"b"']


def test_a_second_writer_is_refused(rehearsal, upstream, cassette):
    upstream.on("/", answer())
    first = rehearsal.record(upstream, cassette)
    done = rehearsal.run("record", "--upstream", upstream.url, "--cassette", cassette, "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert str(cassette) in lines[0] or cassette.name in lines[0]
    assert ask(first.url).status == 200
    first.stop()
    rehearsal.record(upstream, cassette).stop()


def test_a_lock_does_not_survive_its_owner(rehearsal, upstream, cassette):
    rehearsal.record(upstream, cassette).kill()
    rehearsal.record(upstream, cassette).stop()


def test_many_at_once_are_all_kept(rehearsal, upstream, cassette):
    upstream.fallback = lambda request, connection: answer(body=json.dumps(request.target).encode())(request, connection)
    proxy = rehearsal.record(upstream, cassette)

    def one(number):
        for turn in range(15):
            assert ask(proxy.url, target=f"/{number}/{turn}").status == 200

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.stop()
    upstream.stop()
    assert len(recordings(cassette)) == 120
    proxy = rehearsal.replay(cassette)
    for number in range(8):
        for turn in range(15):
            assert json.loads(ask(proxy.url, target=f"/{number}/{turn}").body) == f"/{number}/{turn}"


# Crashes.

MOMENTS = ["before the head", "after the head", "in the stream", "after the end", "under load"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_loses_nothing_that_was_committed(rehearsal, upstream, cassette, moment):
    def hang(request, connection):
        request.read()
        connection.wait_gone(30)
        return CLOSE

    for number in range(5):
        upstream.on(f"/done/{number}", stream([b"data: %d-%d\n\n" % (number, index) for index in range(4)], 0.005))
    upstream.on("/hang", hang).on("/endless", endless(b"data: unfinished\n\n", gap=0.005))
    upstream.on("/large", answer(headers=(("Content-Type", "image/png"),), body=bytes(range(256)) * 4000))
    proxy = rehearsal.record(upstream, cassette)
    live = {f"/done/{number}": ask(proxy.url, target=f"/done/{number}") for number in range(5)}
    live["/large"] = ask(proxy.url, target="/large")
    wait_committed(rehearsal, cassette, len(live))

    clients = []
    if moment == "before the head":
        clients.append(Client(proxy.url))
        clients[0].request(target="/hang")
        upstream.wait(lambda: upstream.seen("/hang"))
    elif moment in ("after the head", "in the stream"):
        clients.append(Client(proxy.url))
        clients[0].request(target="/endless")
        clients[0].reader.head()
        for _ in range(20 if moment == "in the stream" else 0):
            clients[0].reader.more()
    elif moment == "after the end":
        # Just ended: it may be there or not, but if it is there it is whole.
        upstream.on("/last", stream(CHUNKS, 0.001))
        assert ask(proxy.url, target="/last").end == wire.COMPLETE
    else:
        for number in range(6):
            clients.append(Client(proxy.url))
            clients[-1].request(target="/endless")
        for client in clients:
            client.reader.head()
            client.reader.more()
    proxy.kill()
    for client in clients:
        client.close()
    upstream.stop()

    done = rehearsal.run("cassette", "list", cassette)
    assert done.returncode in (0, 1), done.stderr
    for target in live:
        assert target.strip("/") in done.stdout or target.strip("/").replace("/", "-") in done.stdout, done.stdout
    if moment == "in the stream":
        lines = [line for line in listed(done) if "endless" in line]
        assert len(lines) == 1 and "interrupted" in lines[0].lower(), done.stdout

    proxy = rehearsal.replay(cassette)
    for target, one in live.items():
        same(ask(proxy.url, target=target), one)
    for target in ("/hang", "/endless"):
        assert ask(proxy.url, target=target).status == 404, "an unfinished recording was replayed unasked"
    if moment == "after the end":
        got = ask(proxy.url, target="/last")
        assert got.status == 404 or (got.body, got.end) == (b"".join(CHUNKS), wire.COMPLETE)


@pytest.mark.parametrize("count", [1, 10, 40, 150])
def test_a_kill_in_a_storm_leaves_whole_recordings_or_none(rehearsal, upstream, cassette, count):
    """Killed after so many answers, with six clients at work: what is listed is whole, and nothing is anything else."""

    def told(request, connection):
        tag = request.target.encode()
        return stream([b"%s is %d;" % (tag, number) for number in range(5)], 0.001)(request, connection)

    upstream.fallback = told
    proxy = rehearsal.record(upstream, cassette)
    done = []
    enough = threading.Event()

    def work(name):
        for turn in range(200):
            if enough.is_set():
                return
            target = f"/{name}/{turn}"
            try:
                got = ask(proxy.url, target=target, timeout=5)
            except OSError:
                return
            if got.head is not None and got.end == wire.COMPLETE:
                done.append((target, got))
                if len(done) >= count:
                    enough.set()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    proxy.kill()
    for thread in threads:
        thread.join()
    upstream.stop()
    listing = rehearsal.run("cassette", "list", cassette)
    assert listing.returncode in (0, 1), listing.stderr
    whole = [line for line in listed(listing) if "interrupted" not in line.lower()]
    replayed = 0
    proxy = rehearsal.replay(cassette)
    for target, live in done:
        got = ask(proxy.url, target=target)
        assert got.status in (200, 404), (target, got.body)
        if got.status == 200:
            same(got, live)
            replayed += 1
    # The last ones may have been answered and not yet committed; none can be replayed that is not listed.
    assert replayed <= len(whole)
    proxy.stop()
    # A second look after the repair says the same.
    again = rehearsal.run("cassette", "list", cassette)
    assert len([line for line in listed(again) if "interrupted" not in line.lower()]) == len(whole)


def wait_committed(rehearsal, cassette, count):
    """Until as many recordings are listed as finished. What is committed is finished, and listed."""
    deadline = time.monotonic() + 15
    while True:
        done = rehearsal.run("cassette", "list", cassette)
        if len([line for line in listed(done) if "interrupted" not in line.lower()]) >= count:
            return
        assert time.monotonic() < deadline, f"{count} recordings were not listed 15 s after their end:\n{done.stdout}\n{done.stderr}"


def test_an_interrupted_recording_is_a_readable_prefix(rehearsal, upstream, cassette):
    upstream.on("/endless", endless(b"data: the beginning\n\n", gap=0.01))
    proxy = rehearsal.record(upstream, cassette)
    with Client(proxy.url) as client:
        client.request(target="/endless")
        client.reader.head()
        deadline = time.monotonic() + 15
        while not any(b"the beginning" in path.read_bytes() for path in files(cassette)):
            client.reader.more()
            assert time.monotonic() < deadline, "nothing of an open stream reaches the disk"
        proxy.kill()
    listing = rehearsal.run("cassette", "list", cassette)
    assert "interrupted" in listing.stdout.lower()
    # Recording goes on in the same cassette, and the prefix becomes a file that can be read.
    rehearsal.record(upstream, cassette).stop()
    shown = rehearsal.run("cassette", "show", cassette)
    texts = [path.read_text("utf-8", "replace") for path in files(cassette)]
    assert any("the beginning" in text for text in texts), "the prefix is gone"
    assert "interrupted" in rehearsal.run("cassette", "list", cassette).stdout.lower()
    assert shown.returncode == 0
    proxy = rehearsal.replay(cassette)
    assert ask(proxy.url, target="/endless").status == 404


def test_a_torn_file_of_a_crash_is_no_obstacle(rehearsal, upstream, cassette):
    """As after a power cut: the last bytes of what was being written are missing, or are rubbish."""
    upstream.on("/a", answer(body=b'"a"')).on("/endless", endless())
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/a")
    wait_committed(rehearsal, cassette, 1)
    with Client(proxy.url) as client:
        client.request(target="/endless")
        client.reader.head()
        for _ in range(5):
            client.reader.more()
        proxy.kill()
    journals = [path for path in files(cassette) if "journal" in path.name.lower()]
    assert journals, files(cassette)
    whole = journals[0].read_bytes()
    for torn in (whole[:-1], whole[:-7], whole + b"\x00" * 100, whole + b'{"half":', whole + b"\xff\xfe\n"):
        journals[0].write_bytes(torn)
        done = rehearsal.run("cassette", "list", cassette)
        assert done.returncode in (0, 1), (done.stdout, done.stderr)
        assert any("/a" in line or "-a-" in line for line in listed(done)), done.stdout
        proxy = rehearsal.replay(cassette)
        assert ask(proxy.url, target="/a").body == b'"a"'
        proxy.stop()
        if not journals[0].exists():
            break
    proxy = rehearsal.record(upstream, cassette)
    assert ask(proxy.url, target="/a").status == 200
    proxy.stop()


def test_a_stop_in_the_middle_of_a_stream_marks_it_interrupted(rehearsal, upstream, cassette):
    upstream.on("/endless", endless())
    proxy = rehearsal(config=route("record", upstream, top='[listen]\ngrace = "200ms"', cassette=cassette))
    with Client(proxy.url) as client:
        client.request(target="/endless")
        client.reader.head()
        client.reader.more()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(15) == 0
    assert ask(rehearsal.replay(cassette).url, target="/endless").status == 404


# Disks.


def warned(proxy):
    """A loud warning: a line of the log at warn or error."""
    return [line for line in proxy.stderr().splitlines() if "WARN" in line or "ERROR" in line]


def traffic_goes_on(proxy, upstream, pattern, total):
    with Client(proxy.url) as client:
        client.request(target="/big")
        head = client.reader.head()
        assert head.status == 200
        assert read_hashed(client.sock, total, bytes(client.reader.buffer)) == pattern.digest(total)
    for number in range(5):
        assert ask(proxy.url, target=f"/after/{number}").body == b'"fine"'
    assert proxy.is_alive
    assert warned(proxy), f"no warning\n{proxy.output()}"


def test_a_file_that_may_not_grow_stops_the_recording_and_not_the_traffic(rehearsal, upstream, cassette):
    total = 8 * MIB
    pattern = Pattern()
    upstream.on("/big", big(lambda: pattern.pieces(total), total)).fallback = answer(body=b'"fine"')

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))

    proxy = rehearsal.record(upstream, cassette, preexec=small_files)
    traffic_goes_on(proxy, upstream, pattern, total)


def mount(where, options):
    """A tiny disk of memory; whether that was permitted."""
    where.mkdir()
    libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
    return libc.mount(b"tmpfs", str(where).encode(), b"tmpfs", 0, options.encode()) == 0


def unmount(where):
    libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
    libc.umount2(str(where).encode(), 2)


def test_a_full_disk_stops_the_recording_and_not_the_traffic(rehearsal, upstream, tmp_path):
    total = 8 * MIB
    pattern = Pattern()
    upstream.on("/big", big(lambda: pattern.pieces(total), total)).fallback = answer(body=b'"fine"')
    disk = tmp_path / "disk"
    is_mounted = mount(disk, "size=256k,mode=700")
    limit = None
    if not is_mounted:
        # Not permitted here: a limit on the size of files gives the same error at the same place.
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, 256 * 1024))

    try:
        proxy = rehearsal.record(upstream, disk / "cassette", preexec=limit)
        ask(proxy.url, target="/before")
        wait_committed(rehearsal, disk / "cassette", 1)
        traffic_goes_on(proxy, upstream, pattern, total)
        if is_mounted:
            assert any("space" in line.lower() or "full" in line.lower() for line in warned(proxy)), proxy.stderr()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(20) in (0, 1)
        rehearsal.all.remove(proxy)
        # What was committed before is still there.
        assert ask(rehearsal.replay(disk / "cassette").url, target="/before").body == b'"fine"'
        rehearsal.all.pop().stop()
    finally:
        if is_mounted:
            unmount(disk)


def test_a_disk_that_becomes_read_only_stops_the_recording_and_not_the_traffic(rehearsal, upstream, tmp_path):
    upstream.fallback = answer(body=b'"fine"')
    disk = tmp_path / "disk"
    is_mounted = mount(disk, "size=1m,mode=700")
    cassette = disk / "cassette"
    try:
        proxy = rehearsal.record(upstream, cassette)
        ask(proxy.url, target="/before")
        wait_committed(rehearsal, cassette, 1)
        if is_mounted:
            # MS_REMOUNT | MS_RDONLY is refused while a file is open for writing, so the disk is filled to the last byte,
            # and the directory taken away.
            with (disk / "filler").open("wb", buffering=0) as filler:
                try:
                    while filler.write(b"x" * 512):
                        pass
                except OSError:
                    pass
        else:
            for path in sorted(cassette.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            cassette.rmdir()
        for number in range(40):
            assert ask(proxy.url, target=f"/after/{number}", headers=[("X", "y" * 200)]).body == b'"fine"'
        assert proxy.is_alive
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(20) in (0, 1)
        rehearsal.all.remove(proxy)
        assert warned(proxy), proxy.output()
    finally:
        if is_mounted:
            unmount(disk)


def test_a_read_only_disk_refuses_to_record_and_replays(rehearsal, upstream, tmp_path):
    upstream.on("/", answer(body=b'"kept"'))
    disk = tmp_path / "disk"
    is_mounted = mount(disk, "size=4m,mode=700")
    try:
        proxy = rehearsal.record(upstream, disk / "cassette")
        ask(proxy.url)
        proxy.stop()
        if is_mounted:
            libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
            assert libc.mount(b"tmpfs", str(disk).encode(), b"tmpfs", 32 | 1, None) == 0, os.strerror(ctypes.get_errno())
            done = rehearsal.run("record", "--upstream", upstream.url, "--cassette", disk / "cassette", "--listen", "127.0.0.1:0")
            assert done.returncode == 2, done.stderr
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert ask(rehearsal.replay(disk / "cassette").url).body == b'"kept"'
        rehearsal.all.pop().stop()
    finally:
        if is_mounted:
            unmount(disk)


# Secrets.

SECRETS = {
    "Authorization": "Bearer sk-authorization-1a2b3c4d5e6f7a8b",
    "Proxy-Authorization": "Basic cHJveHk6cHJveHktc2VjcmV0LTEyMzQ=",
    "Cookie": "session=cookie-secret-99887766; theme=dark",
    "X-Api-Key": "x-api-key-secret-5566778899",
    "api-key": "azure-api-key-secret-aabbccdd",
    "X-Goog-Api-Key": "goog-api-key-secret-eeff0011",
}

# What must be found nowhere: each secret without its scheme, too.
HIDDEN = [
    "sk-authorization-1a2b3c4d5e6f7a8b",
    "cHJveHk6cHJveHktc2VjcmV0LTEyMzQ=",
    "cookie-secret-99887766",
    "x-api-key-secret-5566778899",
    "azure-api-key-secret-aabbccdd",
    "goog-api-key-secret-eeff0011",
    "query-secret-22334455",
    "token-secret-66778899",
    "answer-cookie-secret-13579",
]

TARGET = "?key=query-secret-22334455&access_token=token-secret-66778899&page=2"


def echoes(upstream):
    def cookies(request, connection):
        headers = (("Content-Type", "application/json"), ("Set-Cookie", "sid=answer-cookie-secret-13579; HttpOnly"))
        return answer(headers=headers, body=b'{"fine":true}')(request, connection)

    def location(request, connection):
        return answer(302, (("Location", f"http://127.0.0.1/next{request.target}"),), b"")(request, connection)

    upstream.on("/echo", echo).on("/gzip", echo_gzip).on("/cookies", cookies).on("/location", location)
    upstream.on("/bytes", echo_split(1)).on("/sevens", echo_split(7, 0.002)).on("/plain", echo_split(100_000))
    upstream.on("/error", lambda request, connection: answer(401, body=f"bad key {request.get('x-api-key')}".encode())(request, connection))


ECHOES = ["/echo", "/gzip", "/cookies", "/location", "/bytes", "/sevens", "/plain", "/error"]


@pytest.mark.parametrize("target", ECHOES)
@pytest.mark.parametrize("log", ["info", "trace"])
def test_a_secret_of_a_request_is_nowhere_on_disk_nor_in_the_log(rehearsal, upstream, cassette, target, log):
    echoes(upstream)
    proxy = rehearsal.record(upstream, cassette, env={"REHEARSAL_LOG": log})
    body = b'{"say":"hello"}'
    live = ask(proxy.url, "POST", target + TARGET, [*SECRETS.items(), ("Content-Type", "application/json")], body)
    direct = ask(upstream.url, "POST", target + TARGET, [*SECRETS.items(), ("Content-Type", "application/json")], body)
    assert live.status == direct.status
    if target in ("/plain", "/error"):
        assert b"x-api-key-secret-5566778899" in live.body, "the client's own copy is not touched"
    assert holding(cassette, HIDDEN, proxy.stdout(), proxy.stderr()) == []
    proxy.stop()
    assert holding(cassette, HIDDEN, proxy.stdout(), proxy.stderr()) == []
    texts = "".join(path.read_text("utf-8", "replace") for path in files(cassette))
    assert "[redacted:" in texts


@pytest.mark.parametrize("target", ECHOES)
def test_what_was_recorded_with_one_key_replays_with_another(rehearsal, upstream, cassette, target):
    echoes(upstream)
    proxy = rehearsal.record(upstream, cassette)
    body = b'{"say":"hello"}'
    live = ask(proxy.url, "POST", target + TARGET, [*SECRETS.items(), ("Content-Type", "application/json")], body)
    proxy.stop()
    upstream.stop()
    others = [(name, "Bearer another-1" if name == "Authorization" else "another-2") for name in SECRETS]
    proxy = rehearsal.replay(cassette)
    wants = target + "?page=2&access_token=another-3&key=another-4"
    got = ask(proxy.url, "POST", wants, [*others, ("Content-Type", "application/json")], body)
    assert (got.status, got.end) == (live.status, wire.COMPLETE), got.body
    for secret in HIDDEN:
        assert secret not in got.head.raw.decode("latin-1")
        assert secret.encode() not in got.body
    without = ask(proxy.url, "POST", target + "?page=2&access_token=a&key=b", [("Content-Type", "application/json")], body)
    assert without.status == live.status, "and with none"


def test_a_redacted_body_is_still_well_formed(rehearsal, upstream, cassette):
    """Its length is made anew, digests of what it no longer is are gone, and JSON is still JSON."""

    def digested(request, connection):
        text = json.dumps({"you": request.get("x-api-key"), "more": "text"}).encode()
        digest = hashlib.sha256(text).hexdigest()
        headers = (("Content-Type", "application/json"), ("ETag", '"kept"'), ("Content-MD5", digest), ("Digest", f"sha-256={digest}"))
        return answer(headers=headers, body=text)(request, connection)

    upstream.on("/", digested).on("/gzip", echo_gzip)
    proxy = rehearsal.record(upstream, cassette)
    headers = [("X-Api-Key", "x-api-key-secret-5566778899")]
    ask(proxy.url, headers=headers)
    ask(proxy.url, target="/gzip", headers=headers)
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    with Client(proxy.url) as client:
        got = client.ask()
        assert (got.status, got.end, got.framing) == (200, wire.COMPLETE, "length")
        told = json.loads(got.body)
        assert told["you"].startswith("[redacted:") and told["more"] == "text"
        assert got.get("content-md5") is None and got.get("digest") is None
        packed = client.ask(target="/gzip")
        assert packed.end == wire.COMPLETE
        told = gzip.decompress(packed.body) if packed.get("content-encoding") == "gzip" else packed.body
        assert json.loads(told)["headers"] and b"[redacted:" in told


def test_the_journal_of_an_open_stream_holds_no_secret(rehearsal, upstream, cassette):
    """A kill at any byte of an echoed secret leaves none of it but what could be anything."""
    secret = "sk-authorization-1a2b3c4d5e6f7a8b"

    def slowly(request, connection):
        text = f"you said {request.get('authorization')} and more; ".encode() * 50
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        return stream(pieces, 0.002, headers=(("Content-Type", "text/plain"),), then="stay")(request, connection)

    upstream.on("/", slowly)
    for length in (12, 200, 1500):
        proxy = rehearsal.record(upstream, cassette)
        with Client(proxy.url) as client:
            client.request(headers=[("Authorization", f"Bearer {secret}")])
            client.reader.head()
            while len(client.reader.buffer) < length:
                client.reader.more()
            proxy.kill()
        assert holding(cassette, [secret, secret[:20]], proxy.stdout(), proxy.stderr()) == []


def test_a_key_put_in_by_the_proxy_is_redacted_like_any_other(rehearsal, upstream, cassette):
    upstream.on("/", echo)
    more = 'set_headers = { authorization = { env = "TEAM_KEY" }, x-team-token = { env = "TEAM_TOKEN" } }'
    secrets = ["of-the-team-8d7f6e5c4b3a", "token-of-the-team-1029384756"]
    env = {"TEAM_KEY": f"Bearer {secrets[0]}", "TEAM_TOKEN": secrets[1], "REHEARSAL_LOG": "trace"}
    proxy = rehearsal(config=route("record", upstream, more, cassette=cassette), env=env)
    got = ask(proxy.url)
    assert secrets[0].encode() in got.body
    proxy.stop()
    assert holding(cassette, secrets, proxy.stdout(), proxy.stderr()) == []


def test_a_secret_that_is_written_otherwise_in_the_answer_is_found(rehearsal, upstream, cassette):
    """Percent-encoded in the URL and plain in the answer; with escapes of JSON."""
    upstream.on("/", lambda request, connection: answer(body=b'{"a":"abc/def+ghi=jkl0123","b":"abc\\/def+ghi=jkl0123"}')(request, connection))
    proxy = rehearsal.record(upstream, cassette)
    ask(proxy.url, target="/?key=abc%2Fdef%2Bghi%3Djkl0123")
    proxy.stop()
    assert holding(cassette, ["abc/def+ghi=jkl0123", "abc%2Fdef%2Bghi%3Djkl0123", "abc\\/def+ghi=jkl0123"], proxy.stderr()) == []


def test_a_basic_password_is_not_kept_in_any_form(rehearsal, upstream, cassette):
    upstream.on("/", lambda request, connection: answer(body=b'{"hello":"someone with hunter2-hunter2"}')(request, connection))
    proxy = rehearsal.record(upstream, cassette)
    # someone:hunter2-hunter2
    ask(proxy.url, headers=[("Authorization", "Basic c29tZW9uZTpodW50ZXIyLWh1bnRlcjI=")])
    proxy.stop()
    assert holding(cassette, ["c29tZW9uZTpodW50ZXIyLWh1bnRlcjI", "hunter2-hunter2"], proxy.stderr()) == []


SECRET = "sk-authorization-1a2b3c4d5e6f7a8b"


def zipped(text, kind):
    """The text in an encoding, and the name of that."""
    if kind == "gzip in parts":
        return "gzip", gzip.compress(text[:20]) + gzip.compress(text[20:])
    if kind == "gzip, cut":
        return "gzip", gzip.compress(text + os.urandom(5000))[:-2000]
    if kind == "gzip, large":
        return "gzip", gzip.compress(text + bytes(80 * MIB), 1)
    if kind == "gzip, with rubbish behind":
        return "gzip", gzip.compress(text) + b"rubbish"
    if kind == "gzip twice":
        return "gzip, gzip", gzip.compress(gzip.compress(text))
    if kind == "deflate":
        return "deflate", zlib.compress(text)
    if kind == "raw deflate":
        packer = zlib.compressobj(wbits=-15)
        return "deflate", packer.compress(text) + packer.flush()
    if kind == "GZIP":
        return "GZIP", gzip.compress(text)
    if kind == "x-gzip":
        return "x-gzip", gzip.compress(text)
    assert kind == "identity"
    return "identity", text


KINDS = ["gzip in parts", "gzip, cut", "gzip, large", "gzip, with rubbish behind", "gzip twice", "deflate", "raw deflate", "GZIP", "x-gzip", "identity"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1000], ids=["whole", "chunked"])
def test_a_secret_in_an_encoded_body_is_not_kept(rehearsal, upstream, cassette, kind, size):
    """What can't be decoded, or not wholly, must not be kept as it came: nobody knows what is in it."""

    def handle(request, connection):
        name, body = zipped(f"you said {request.get('authorization')} to me; ".encode() * 3, kind)
        headers = (("Content-Type", "text/plain"), ("Content-Encoding", name))
        if size:
            return stream([body[at : at + size] for at in range(0, len(body), size)], headers=headers)(request, connection)
        return answer(headers=headers, body=body)(request, connection)

    upstream.on("/", handle)
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url, headers=[("Authorization", f"Bearer {SECRET}")])
    assert (live.status, live.end) == (200, wire.COMPLETE)
    proxy.stop()
    assert SECRET.encode() in opened(live.body), "the test itself: the answer holds it"
    found = [path.name for path in files(cassette) if SECRET.encode() in opened(path.read_bytes())]
    assert found == []
    assert holding(cassette, [SECRET], proxy.stderr()) == []


def opened(data):
    """All that can be got out of it: packed things wherever they begin, and what is packed in them."""
    found = data
    for _ in range(2):
        layer = b""
        for bits, marks in ((31, (b"\x1f\x8b\x08",)), (15, (b"\x78\x9c",))):
            for mark in marks:
                at = found.find(mark)
                while at >= 0:
                    try:
                        layer += zlib.decompressobj(bits).decompress(found[at:], 1 * MIB)
                    except zlib.error:
                        pass
                    at = found.find(mark, at + 1)
        try:
            layer += zlib.decompressobj(-15).decompress(found, 1 * MIB)
        except zlib.error:
            pass
        found += layer
    return found


@pytest.mark.parametrize(
    "line",
    [f"Set-Cookie: a=b; Path=/{SECRET}", f"Link: </x?key={SECRET}>; rel=next", f"X-Mine: {SECRET.upper()}{SECRET}", f"X-{SECRET}: yes", ""],
    ids=["a cookie's path", "a link", "beside another", "a name", "the reason"],
)
def test_a_secret_in_odd_places_of_an_answer_is_not_kept(rehearsal, upstream, cassette, line):
    reason = "No" if line else f"bad key {SECRET}"
    upstream.on("/", raw(f"HTTP/1.1 401 {reason}\r\n{line or 'X-A: b'}\r\nContent-Length: 2\r\n\r\nno".encode()))
    proxy = rehearsal.record(upstream, cassette, env={"REHEARSAL_LOG": "trace"})
    live = ask(proxy.url, headers=[("Authorization", f"Bearer {SECRET}")])
    assert live.head.reason == reason
    proxy.stop()
    assert holding(cassette, [SECRET], proxy.stdout(), proxy.stderr()) == []
    assert ask(rehearsal.replay(cassette).url).status == 401


def test_a_secret_that_the_request_carries_twice_is_not_kept_in_either_place(rehearsal, upstream, cassette):
    """In a header and in the body, the path, another header or parameter."""
    upstream.fallback = answer()
    proxy = rehearsal.record(upstream, cassette, env={"REHEARSAL_LOG": "trace"})
    headers = [("Authorization", f"Bearer {SECRET}"), ("X-Copy", SECRET), ("Content-Type", "application/json")]
    live = ask(proxy.url, "POST", f"/keys/{SECRET}/use?copy={SECRET}", headers, json.dumps({"key": SECRET, "n": 1}).encode())
    assert live.status == 200
    assert SECRET in upstream.requests[0].target and SECRET.encode() in upstream.requests[0].body, "what goes up is not touched"
    proxy.stop()
    assert holding(cassette, [SECRET], proxy.stdout(), proxy.stderr()) == []


@pytest.mark.parametrize(
    "name",
    ["key", "KEY", "%6bey", "api_key", "apikey", "api-key", "x-api-key", "x-goog-api-key", "authorization", "access_token", "token", "auth_token"]
    + ["sig", "signature", "X-Amz-Signature", "X-Amz-Security-Token", "client_secret", "secret", "password"],
)
def test_a_secret_in_the_query_is_not_kept(rehearsal, upstream, cassette, name):
    """`?key=` and the like: what is a secret as a header is one as a parameter too."""
    upstream.fallback = answer()
    proxy = rehearsal.record(upstream, cassette, env={"REHEARSAL_LOG": "trace"})
    ask(proxy.url, target=f"/list?page=1&{name}=first-{SECRET}&{name}={SECRET}")
    proxy.stop()
    assert holding(cassette, [SECRET], proxy.stdout(), proxy.stderr()) == []
    assert ask(rehearsal.replay(cassette).url, target=f"/list?page=1&{name}=other&{name}=another").status == 200


@pytest.mark.parametrize(
    "name",
    ["xi-api-key", "X-Shopify-Access-Token", "DD-API-KEY", "x_api_key", "X-RapidAPI-Key", "x-webhook-secret", "X-Figma-Token"],
)
def test_a_secret_in_a_header_that_some_vendor_made_up_is_not_kept(rehearsal, upstream, cassette, name):
    upstream.on("/", echo)
    proxy = rehearsal.record(upstream, cassette, env={"REHEARSAL_LOG": "trace"})
    ask(proxy.url, headers=[(name, SECRET)])
    proxy.stop()
    assert holding(cassette, [SECRET], proxy.stdout(), proxy.stderr()) == []
    assert ask(rehearsal.replay(cassette).url, headers=[(name, "another")]).status == 200


def test_what_stands_for_a_secret_is_one_wherever_a_client_sends_it(rehearsal, upstream, cassette):
    """A client of a replay gets `[redacted:access_token]`, and goes on with that."""
    form = ("Content-Type", "application/x-www-form-urlencoded")
    token = json.dumps({"access_token": SECRET, "refresh_token": "again-" + SECRET}).encode()
    upstream.on("/token", answer(body=token)).on("/file", answer()).on("/refresh", answer())

    def work(proxy):
        given = json.loads(ask(proxy.url, "POST", "/token").body)
        key, again = given["access_token"], given["refresh_token"].encode()
        return [
            ask(proxy.url, target="/file", headers=[("Authorization", f"Bearer {key}")]).status,
            ask(proxy.url, target=f"/file?sig={key}").status,
            ask(proxy.url, "POST", "/refresh", [form], b"grant_type=refresh_token&refresh_token=" + again).status,
            ask(proxy.url, "POST", "/refresh", [form], b"token=" + again).status,
            post_json(proxy.url, "/refresh", b'{"password":"%s"}' % again).status,
        ]

    recorder = rehearsal.record(upstream, cassette)
    assert work(recorder) == [200] * 5
    recorder.stop()
    assert holding(cassette, [SECRET]) == []
    assert work(rehearsal.replay(cassette)) == [200] * 5


def test_a_short_secret_does_not_tear_up_the_answer(rehearsal, upstream, cassette):
    """`Cookie: a=1` is no reason to replace every `1`."""
    upstream.on("/", answer(body=b'{"count":111,"a":"1 or 11"}'))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url, headers=[("Cookie", "a=1; theme=or"), ("X-Api-Key", "1")])
    proxy.stop()
    upstream.stop()
    assert ask(rehearsal.replay(cassette).url).body == live.body
