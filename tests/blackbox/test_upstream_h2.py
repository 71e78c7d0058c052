"""Upstreams that speak HTTP/2: nginx with and without TLS, and a server of gRPC, whose answers end in trailers."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent import futures

import grpc
import pytest
from cassettes import recording
from nginx import Authority, Nginx
from rawclient import Client, Pattern
from rawclient import ask as ask_at

BODY = b"".join(bytes(piece) for piece in Pattern(b"h2").pieces(300_000))


def ask(proxy, *request, **more):
    return ask_at(proxy.url, *request, **more)


def md5(data):
    return hashlib.md5(data).hexdigest()


def big(size):
    return b"".join(bytes(piece) for piece in Pattern(b"big").pieces(size))


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture(params=["tls", "h2c"])
def server(request, tmp_path, closing, ca):
    """nginx with HTTP/2; `lines` are what a route to it needs."""
    where = tmp_path / "nginx"
    where.mkdir()
    pair = ca.sign("server", ["localhost"]) if request.param == "tls" else None
    made = closing(Nginx(where, pair, http2=True, lines="keepalive_requests 1000000;"))
    made.lines = f'tls = {{ ca = "{ca.file}" }}' if pair else 'http = "2"'
    (made.root / "file").write_bytes(BODY)
    return made


def at_once(count, task):
    """Does something many times at once; gives back what came of each."""
    with futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(task, range(count)))


def test_http2_is_spoken_recorded_and_replayed(rehearsal, server, cassette):
    proxy = rehearsal(config=f'[cassette]\npath = "{cassette}"\n[[route]]\nmode = "record"\nupstream = "{server.url}"\n{server.lines}\n')
    live = ask(proxy, "GET", "/file")
    assert (live.status, live.body) == (200, BODY)
    proxy.stop()
    assert server.seen()[0][:4] == ["HTTP/2.0", "GET", "/file", "200"]
    told = json.loads(recording(cassette).read_text())["recorded"]
    assert (told["protocol"], told["upstream"]) == ("h2", server.url)
    again = ask(rehearsal.replay(cassette), "GET", "/file")
    assert (again.status, again.body, again.told()) == (200, BODY, live.told())


def test_many_requests_at_once_share_one_connection(rehearsal, server):
    proxy = rehearsal.forward(server, server.lines)
    answers = at_once(32, lambda _: [ask(proxy, "GET", "/file").body == BODY for _ in range(5)])
    assert answers == [[True] * 5] * 32
    seen = server.seen(160)
    assert len(seen) == 160 and {words[0] for words in seen} == {"HTTP/2.0"}
    assert len({words[4] for words in seen}) == 1


def test_20_megabytes_pass_both_ways(rehearsal, server):
    body = big(20 << 20)
    (server.root / "big").write_bytes(body)
    proxy = rehearsal.forward(server, server.lines)
    assert md5(ask(proxy, "GET", "/big", timeout=60).body) == md5(body)
    up = ask(proxy, "PUT", "/up", body=body, timeout=60)
    assert up.status == 201
    assert md5((server.root / "up").read_bytes()) == md5(body)


def test_100_streams_of_2_megabytes_all_arrive(rehearsal, server):
    """More than fit on one connection by nginx's leave at a time."""
    body = big(2 << 20)
    (server.root / "big").write_bytes(body)
    proxy = rehearsal.forward(server, server.lines)
    ask(proxy, "GET", "/file")
    got = at_once(100, lambda _: md5(ask(proxy, "GET", "/big", timeout=120).body))
    assert got == [md5(body)] * 100
    assert proxy.memory("VmHWM") < 300 << 20


def test_more_streams_than_the_upstream_allows_find_a_place(rehearsal, tmp_path, closing):
    where = tmp_path / "narrow"
    where.mkdir()
    narrow = closing(Nginx(where, http2=True, lines="http2_max_concurrent_streams 4; keepalive_requests 1000000;"))
    (narrow.root / "file").write_bytes(BODY)
    proxy = rehearsal.forward(narrow, 'http = "2"')
    ask(proxy, "GET", "/file")
    answers = at_once(40, lambda _: [ask(proxy, "GET", "/file").status for _ in range(3)])
    assert answers == [[200] * 3] * 40


def test_a_server_that_says_goodbye_after_so_many_requests_costs_nothing(rehearsal, tmp_path, closing):
    where = tmp_path / "leaving"
    where.mkdir()
    leaving = closing(Nginx(where, http2=True, lines="keepalive_requests 7;"))
    (leaving.root / "file").write_bytes(b"hello")
    proxy = rehearsal.forward(leaving, 'http = "2"')
    answers = at_once(8, lambda _: [ask(proxy, "PUT", f"/{_}", body=b"x" * 1000).status for _ in range(40)])
    assert {status for statuses in answers for status in statuses} <= {201, 204}
    assert len({words[4] for words in leaving.seen(320)}) > 10


def test_http1_is_spoken_where_the_route_says_so(rehearsal, server):
    if "tls" not in server.lines:
        pytest.skip("nginx's plain port speaks HTTP/2 alone")
    proxy = rehearsal.forward(server, server.lines + '\nhttp = "1.1"')
    assert ask(proxy, "GET", "/file").body == BODY
    assert server.seen()[0][0] == "HTTP/1.1"


def test_a_client_that_leaves_frees_the_stream(rehearsal, server):
    body = big(64 << 20)
    (server.root / "big").write_bytes(body)
    proxy = rehearsal.forward(server, server.lines)
    for _ in range(5):
        with Client(proxy.url) as client:
            client.request("GET", "/big")
            client.reader.head()
    assert ask(proxy, "GET", "/file").body == BODY
    seen = server.seen(6)
    assert len({words[4] for words in seen}) == 1, seen


def message(text):
    """As gRPC frames it: not compressed, and its length."""
    return b"\0" + len(text).to_bytes(4, "big") + text


class Greeter(grpc.GenericRpcHandler):
    """Says hello, once or many times; fails where it is asked to."""

    def service(self, details):
        def say(request, context):
            if request == b"fail":
                context.abort(grpc.StatusCode.NOT_FOUND, "nobody of this name")
            context.set_trailing_metadata((("x-greeter", "1"),))
            return b"hello " + request

        def stream(request, context):
            for number in range(5):
                yield b"%d %s" % (number, request)

        def chat(requests, context):
            for request in requests:
                yield b"hello " + request

        return {
            "/greeter/Say": grpc.unary_unary_rpc_method_handler(say),
            "/greeter/Stream": grpc.unary_stream_rpc_method_handler(stream),
            "/greeter/Chat": grpc.stream_stream_rpc_method_handler(chat),
        }.get(details.method)


@pytest.fixture
def greeter():
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Greeter(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None)


HEADERS = [("Content-Type", "application/grpc"), ("TE", "trailers")]


def test_an_answer_of_grpc_is_recorded_with_its_trailers(rehearsal, greeter, cassette):
    """Asked over HTTP/1.1, which loses the trailers to the client, but not to the recording."""
    lines = f'[cassette]\npath = "{cassette}"\n[[route]]\nmode = "record"\nhttp = "2"\nupstream = "{greeter}"\n'
    proxy = rehearsal(config=lines)
    said = ask(proxy, "POST", "/greeter/Say", HEADERS, message(b"you"))
    assert (said.status, said.body) == (200, message(b"hello you"))
    proxy.stop()
    told = json.loads(recording(cassette).read_text())["recorded"]
    assert told["protocol"] == "h2"
    assert ["te", "trailers"] in [[name.lower(), value] for name, value in told["request"]["headers"]]
    trailers = {name: value for name, value in told["trailers"]}
    assert (trailers["grpc-status"], trailers["x-greeter"]) == ("0", "1")


def test_a_failure_of_grpc_passes(rehearsal, greeter, cassette):
    lines = f'[cassette]\npath = "{cassette}"\n[[route]]\nmode = "record"\nhttp = "2"\nupstream = "{greeter}"\n'
    proxy = rehearsal(config=lines)
    said = ask(proxy, "POST", "/greeter/Say", HEADERS, message(b"fail"))
    assert (said.status, said.body) == (200, b"")
    proxy.stop()
    told = json.loads(recording(cassette).read_text())["recorded"]
    lines = told["response"]["headers"] + told.get("trailers", [])
    assert ["grpc-status", "5"] in lines


def calls(url):
    """What a client of gRPC sees of the greeter."""
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        say, call = channel.unary_unary("/greeter/Say").with_call(b"you", timeout=20)
        told = [say, [tuple(pair) for pair in call.trailing_metadata()]]
        told.append(list(channel.unary_stream("/greeter/Stream")(b"x", timeout=20)))
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/greeter/Say")(b"fail", timeout=20)
        told += [failed.value.code(), failed.value.details()]
        return told


EXPECTED = [
    b"hello you",
    [("x-greeter", "1")],
    [b"%d x" % number for number in range(5)],
    grpc.StatusCode.NOT_FOUND,
    "nobody of this name",
]


def test_grpc_passes_is_recorded_and_replayed(rehearsal, greeter, cassette):
    """A client and a server of gRPC, HTTP/2 on both sides."""
    lines = f'[cassette]\npath = "{cassette}"\n[[route]]\nmode = "MODE"\nhttp = "2"\nupstream = "{greeter}"\n'
    forward = rehearsal(config=lines.replace("MODE", "forward"))
    assert calls(forward.url) == EXPECTED
    record = rehearsal(config=lines.replace("MODE", "record"))
    assert calls(record.url) == EXPECTED
    record.stop()
    assert calls(rehearsal.replay(cassette).url) == EXPECTED


def test_both_ways_of_a_grpc_chat_are_open_at_once(rehearsal, greeter):
    proxy = rehearsal.forward(greeter, 'http = "2"')
    answered = threading.Semaphore(0)

    def requests():
        for number in range(3):
            yield b"%d" % number
            # The next is said only when this one was answered.
            assert answered.acquire(timeout=20)

    with grpc.insecure_channel(proxy.url.removeprefix("http://")) as channel:
        got = []
        for said in channel.stream_stream("/greeter/Chat")(requests(), timeout=60):
            got.append(said)
            answered.release()
    assert got == [b"hello 0", b"hello 1", b"hello 2"]
