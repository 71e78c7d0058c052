"""TLS listeners, with clients that others wrote."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess

import httpx
import pytest
import requests
import wire
from conftest import route
from h2peers import TLS, H2Client, certificate, https, trusting
from peers import curl
from rawclient import Pattern
from upstream import CLOSE, answer, big, echo, stream, swallow

EVENTS = [b'data: {"n":%d}\n\n' % number for number in range(10)]
LARGE = 100 * 1024 * 1024


@pytest.fixture
def cert(tmp_path):
    return certificate(tmp_path)


@pytest.fixture
def serve(rehearsal, upstream, cert):
    """Starts the proxy with both listeners."""

    def start(mode="forward", upstream=upstream, more="", top="", cassette=None):
        return rehearsal(config=route(mode, upstream, more, TLS + top, cassette))

    return start


def connect(proxy, cert, alpn="http/1.1"):
    """A raw connection."""
    context = trusting(cert)
    context.set_alpn_protocols([alpn])
    port = int(https(proxy).rsplit(":", 1)[1])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20), server_hostname="localhost")


def reader(sock):
    def fill():
        try:
            data = sock.recv(1 << 16)
        except ConnectionResetError:
            raise wire.Ended(wire.RESET) from None
        if not data:
            raise wire.Ended(wire.FIN)
        return (0.0, data)

    return wire.Reader(fill)


def test_curl_speaks_what_it_likes(serve, upstream, cert):
    upstream.on("/", answer(body=b"fine"))
    url = https(serve())
    for wanted, spoken in (("--http2", b"2"), ("--http1.1", b"1.1"), ("--http1.0", b"1.1")):
        done = curl(wanted, "--cacert", str(cert), "-w", " %{http_version} %{ssl_verify_result}", url)
        assert done.stdout == b"fine " + spoken + b" 0", done
    assert curl(url).returncode == 60, "it is the certificate of nobody whom curl knows"
    assert curl("--cacert", str(cert), url.replace("localhost", "127.0.0.1")).stdout == b"fine"


def test_recorded_over_tls_and_replayed_without(serve, rehearsal, upstream, cert, cassette):
    upstream.on("/", stream(EVENTS, 0.02))
    proxy = serve("record", cassette=cassette)
    with httpx.Client(verify=trusting(cert), http2=True, trust_env=False) as http:
        live = http.post(https(proxy), json={"a": 1}, headers={"authorization": "Bearer sk-secret-0123456789"})
    assert (live.http_version, live.content) == ("HTTP/2", b"".join(EVENTS))
    proxy.stop()
    upstream.stop()
    again = requests.post(rehearsal.replay(cassette).url, json={"a": 1}, timeout=20)
    assert again.content == live.content
    again = serve("replay", None, cassette=cassette)
    with httpx.Client(verify=trusting(cert), http2=True, trust_env=False) as http:
        got = http.post(https(again), json={"a": 1})
    assert (got.http_version, got.content) == ("HTTP/2", live.content)


def test_a_connection_is_used_again(serve, upstream, cert):
    upstream.on("/", echo)
    proxy = serve()
    with connect(proxy, cert) as sock:
        answers = reader(sock)
        for number in range(3):
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % number)
            head = answers.head()
            body = b""
            while len(body) < int(head.get("content-length")):
                body += answers.some(int(head.get("content-length")) - len(body))
            assert json.loads(body)["body"] == str(number)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_large_bodies_both_ways(serve, upstream, cert, tmp_path, version):
    pattern = Pattern()
    upstream.on("/down", big(lambda: pattern.pieces(LARGE), LARGE)).on("/up", swallow(hashlib.sha256))
    proxy = serve()
    before = proxy.memory("VmRSS")
    proxy.forget_peak()
    got = tmp_path / "got"
    done = curl(version, "--cacert", str(cert), "-o", str(got), f"{https(proxy)}/down", timeout=200)
    assert done.returncode == 0, done.stderr
    with got.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == pattern.digest(LARGE)
    done = curl(version, "--cacert", str(cert), "-T", str(got), f"{https(proxy)}/up", timeout=200)
    assert json.loads(done.stdout) == {"sha256": pattern.digest(LARGE), "size": LARGE}
    assert proxy.memory("VmHWM") - before < 48 << 20


def test_an_upgrade_passes_as_a_tunnel(serve, upstream, cert):
    def upgrade(request, connection):
        request.body_is_read = True
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        for _ in range(3):
            connection.send(connection.reader.some(100))
        return CLOSE

    upstream.on("/ws", upgrade)
    with connect(serve(), cert) as sock:
        sock.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        answers = reader(sock)
        assert answers.head().status == 101
        got = b""
        while len(got) < 5:
            got += answers.some(5 - len(got))
        assert got == b"first"
        for word in (b"one", b"two", b"six"):
            sock.sendall(word)
            assert answers.some(3) == word


@pytest.mark.parametrize(("then", "code", "said"), [("rst", 56, b"reset by peer"), ("fin", 18, b"outstanding read data")])
def test_a_break_is_a_break(serve, upstream, cert, then, code, said):
    upstream.on("/", stream(EVENTS[:3], 0.03, then=then))
    done = curl("-N", "--http1.1", "--cacert", str(cert), https(serve()))
    assert (done.returncode, done.stdout) == (code, b"".join(EVENTS[:3])), done
    assert said in done.stderr


def test_the_certificate_is_exchanged_while_it_runs(serve, upstream, cert, tmp_path):
    upstream.on("/", stream(EVENTS, 0.1))
    proxy = serve()
    url = https(proxy)
    first = tmp_path / "first.pem"
    shutil.copy(cert, first)
    open_one = subprocess.Popen(["curl", "-sN", "--noproxy", "*", "--cacert", str(first), url], stdout=subprocess.PIPE)
    assert open_one.stdout is not None and open_one.stdout.read(len(EVENTS[0])) == EVENTS[0]

    certificate(tmp_path, "new.localhost")
    assert curl("--cacert", str(cert), url).stdout == b"".join(EVENTS)
    assert curl("--cacert", str(first), url).returncode == 60
    assert open_one.stdout.read() == b"".join(EVENTS[1:]), "what was open goes on"
    open_one.wait(20)

    second = tmp_path / "second.pem"
    shutil.copy(cert, second)
    (tmp_path / "server.key").write_text("half of a ke")
    for _ in range(2):
        assert curl("--cacert", str(second), url).stdout == b"".join(EVENTS), "a broken one is not taken"
    assert proxy.stderr().count("the old one stays") == 1
    os.remove(tmp_path / "server.pem")
    assert curl("--cacert", str(second), url).returncode == 0

    certificate(tmp_path, "newest.localhost")
    assert curl("--cacert", str(cert), url).stdout == b"".join(EVENTS)


def test_a_client_without_tls_is_turned_away_and_one_that_stalls_keeps_nobody_waiting(serve, upstream, cert):
    upstream.on("/", answer(body=b"fine"))
    proxy = serve()
    url = https(proxy)
    port = int(url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stalling:
        stalling.sendall(b"\x16\x03")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while plain.recv(1000):
                pass
        assert curl("--cacert", str(cert), url).stdout == b"fine"
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(8) == 0, "a handshake is not waited for"
    assert "a client does not speak TLS with the listener for HTTPS: its URL should begin with `https://`" in proxy.stderr()


def test_a_stop_waits_for_streams_alone(serve, upstream, cert):
    upstream.on("/", stream(EVENTS, 0.1))
    proxy = serve()
    with connect(proxy, cert), connect(proxy, cert) as busy:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = reader(busy)
        answers.head()
        proxy.signal(signal.SIGTERM)
        got = b""
        with pytest.raises(wire.Ended):
            while True:
                got += answers.some(1 << 16)
        assert got.endswith(b"0\r\n\r\n") and EVENTS[-1] in got
        assert proxy.wait(8) == 0


def mistake(rehearsal, listen):
    file = rehearsal.file(f"[listen]\n{listen}\n[[route]]\nupstream = \"fake\"\nmode = \"synthesize\"\n", "bad.toml")
    results = [rehearsal.run("check", file), rehearsal.run("serve", "-c", file)]
    assert [done.returncode for done in results] == [2, 2], results
    assert results[0].stderr == results[1].stderr
    return results[0].stderr


BOTH = 'https = "127.0.0.1:0"\ntls = { cert = "server.pem", key = "server.key" }'


@pytest.mark.parametrize(
    ("listen", "broken", "place", "said"),
    [
        ('https = "127.0.0.1:0"', None, ":2:1", "`https` has no certificate to show"),
        ('tls = { cert = "server.pem", key = "server.key" }', None, ":2:1", "no listener shows this certificate"),
        (BOTH.replace("server.pem", "nowhere.pem"), None, ":3:16", "can't read"),
        (BOTH.replace("server.key", "nowhere.key"), None, ":3:36", "can't read"),
        (BOTH, ("server.pem", "hello"), ":3:16", "has no certificate in it"),
        (BOTH, ("server.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"), ":3:16", "has no certificate in it"),
        (BOTH, ("server.key", "hello"), ":3:36", "has no private key in it that can be read"),
        (BOTH, ("server.key", "other.key"), ":3:36", "does not belong to the certificate"),
        ('https = "127.0.0.1"\n' + BOTH.splitlines()[1], None, ":2:9", "the port is missing"),
    ],
)
def test_mistakes_are_shown_with_their_place(rehearsal, cert, tmp_path, listen, broken, place, said):
    certificate(tmp_path, cert="other.pem", key="other.key")
    if broken is not None:
        name, text = broken
        (tmp_path / name).write_text((tmp_path / text).read_text() if text.endswith(".key") else text)
    told = mistake(rehearsal, listen)
    assert place + ":" in told.splitlines()[0], told
    assert said in told, told


def test_a_port_in_use_is_said(rehearsal, cert, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = rehearsal.file(route("synthesize", "fake", "", TLS.replace(":0", f":{port}")))
        done = rehearsal.run("serve", "-c", file, "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert f"could not listen on 127.0.0.1:{port}" in done.stderr
