"""Upstreams behind TLS: nginx and moto, certificates of all sorts, and what is said where they don't fit."""

from __future__ import annotations

import hashlib
import json
import ssl
import sys
from datetime import timedelta

import boto3
import pytest
from botocore.client import Config
from cassettes import recording
from conftest import Server, route
from nginx import DAY, Authority, Nginx
from rawclient import Client, Pattern
from rawclient import ask as ask_at

BODY = b"".join(bytes(piece) for piece in Pattern(b"tls").pieces(300_000))


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def serve(tmp_path, closing, ca):
    """Starts nginx behind TLS with a certificate for these names."""

    def make(*names, authority=ca, name="server", start=-DAY, end=10 * DAY, **more):
        pair = authority.sign(name, names or ("localhost",), start, end)
        where = tmp_path / f"nginx-{name}"
        where.mkdir()
        server = closing(Nginx(where, pair, **more))
        (server.root / "file").write_bytes(BODY)
        return server

    return make


def ask(proxy, *request, **more):
    return ask_at(proxy.url, *request, **more)


def message(answer):
    assert answer.status == 502, answer
    return json.loads(answer.body)["error"]["message"]


def tls(**settings):
    words = ", ".join(f'{key} = "{value}"' for key, value in settings.items())
    return f"tls = {{ {words} }}"


def test_a_ca_of_ones_own_is_added_and_connections_are_kept(rehearsal, serve, ca):
    server = serve("localhost", "127.0.0.1")
    proxy = rehearsal.forward(server, tls(ca=ca.file))
    with Client(proxy.url) as client:
        for _ in range(5):
            answer = client.ask("GET", "/file")
            assert (answer.status, answer.body) == (200, BODY)
    seen = server.seen(5)
    assert [words[0] for words in seen] == ["HTTP/1.1"] * 5
    assert len({words[4] for words in seen}) == 1, "all over one connection"
    by_address = rehearsal.forward(server.url.replace("localhost", "127.0.0.1"), tls(ca=ca.file))
    assert ask(by_address, "GET", "/file").body == BODY


def test_paths_start_at_the_folder_of_the_config(rehearsal, serve, ca, tmp_path):
    server = serve()
    (tmp_path / "team-ca.pem").write_bytes(ca.file.read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = rehearsal.file(route("forward", server, 'tls = { ca = "team-ca.pem" }'))
    proxy = rehearsal("serve", "-c", str(file), where=elsewhere)
    assert ask(proxy, "GET", "/file").body == BODY


def test_record_takes_a_ca_from_a_flag_and_from_the_environment(rehearsal, serve, ca, cassette):
    server = serve()
    proxy = rehearsal.record(server, cassette, "--ca", str(ca.file))
    assert ask(proxy, "GET", "/file").body == BODY
    proxy.stop()
    told = json.loads(recording(cassette).read_text())["recorded"]
    assert (told["protocol"], told["upstream"]) == ("http/1.1", server.url)
    again = rehearsal.replay(cassette)
    assert ask(again, "GET", "/file").body == BODY
    by_env = rehearsal.record(server, cassette, env={"REHEARSAL_CA": str(ca.file)})
    assert ask(by_env, "GET", "/file").status == 200


def test_an_unknown_ca_is_named_with_what_to_do(rehearsal, serve, ca):
    proxy = rehearsal.forward(serve())
    said = message(ask(proxy, "GET", "/file"))
    assert "its certificate is from an issuer that is not trusted" in said
    assert "`tls.ca`" in said and "`--ca`" in said
    proxy.stop()
    assert "its certificate is from an issuer that is not trusted" in proxy.stderr()


def test_a_wrong_name_is_named_and_can_be_set(rehearsal, serve, ca):
    server = serve("api.test")
    said = message(ask(rehearsal.forward(server, tls(ca=ca.file)), "GET", "/file"))
    assert "its certificate is for api.test, not for localhost" in said
    for settings in ({"server_name": "api.test"}, {"verify": "no-hostname"}):
        proxy = rehearsal.forward(server, tls(ca=ca.file, **settings))
        assert ask(proxy, "GET", "/file").body == BODY


def test_an_expired_certificate_is_named(rehearsal, serve, ca):
    server = serve("localhost", start=timedelta(days=-30), end=timedelta(days=-3))
    said = message(ask(rehearsal.forward(server, tls(ca=ca.file)), "GET", "/file"))
    assert "its certificate expired on 20" in said


def test_nothing_is_verified_only_when_asked_in_so_many_words(rehearsal, serve, ca):
    server = serve("api.test", start=timedelta(days=-30), end=timedelta(days=-3))
    proxy = rehearsal.forward(server, tls(verify="danger-none"))
    assert ask(proxy, "GET", "/file").body == BODY
    proxy.stop()
    assert "route `all`: its upstream's certificate is not verified at all" in proxy.stderr()
    quiet = rehearsal.forward(server, tls(ca=ca.file))
    quiet.stop()
    assert "not verified" not in quiet.stderr()


def test_a_client_certificate_is_shown(rehearsal, serve, ca):
    server = serve(lines=f"ssl_client_certificate {ca.file}; ssl_verify_client on;")
    cert, key = ca.sign("team-client")
    proxy = rehearsal.forward(server, tls(ca=ca.file, client_cert=cert, client_key=key))
    assert ask(proxy, "GET", "/file").body == BODY
    assert "CN=team-client" in server.seen()[0][5]
    # nginx lets the handshake pass and refuses in HTTP; the answer passes as it is.
    without = ask(rehearsal.forward(server, tls(ca=ca.file)), "GET", "/file")
    assert without.status == 400 and b"No required SSL certificate" in without.body


def test_a_server_that_requires_a_client_certificate_in_the_handshake_is_named(rehearsal, tmp_path, closing, ca):
    pair = ca.sign("strict", ["localhost"])
    program = (
        "import http.server, ssl, sys\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n"
        "context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=sys.argv[1])\n"
        "context.load_cert_chain(sys.argv[2], sys.argv[3])\n"
        "context.verify_mode = ssl.CERT_REQUIRED\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        "print(f'on 127.0.0.1:{server.server_port}', flush=True)\n"
        "server.serve_forever()\n"
    )
    argv = [sys.executable, "-c", program, str(ca.file), str(pair[0]), str(pair[1])]
    server = Server(argv, tmp_path, r"on ([\d.]+):(\d+)", None, "strict")
    try:
        url = f"https://localhost:{server.port}"
        said = message(ask(rehearsal.forward(url, tls(ca=ca.file)), "GET", "/"))
        assert "it requires a client certificate, `tls.client_cert` and `tls.client_key`" in said
        cert, key = ca.sign("team-client")
        proxy = rehearsal.forward(url, tls(ca=ca.file, client_cert=cert, client_key=key))
        assert ask(proxy, "GET", "/").status == 200
    finally:
        server.kill()


def test_plain_http_and_silence_are_named(rehearsal, tmp_path, closing):
    where = tmp_path / "plain"
    where.mkdir()
    plain = closing(Nginx(where))
    said = message(ask(rehearsal.forward(plain.url.replace("http:", "https:")), "GET", "/"))
    assert "it does not answer in TLS; if it speaks plain HTTP, its URL begins with `http://`" in said


def test_20_megabytes_pass_both_ways(rehearsal, serve, ca):
    server = serve()
    big = b"".join(bytes(piece) for piece in Pattern(b"20").pieces(20 << 20))
    (server.root / "big").write_bytes(big)
    proxy = rehearsal.forward(server, tls(ca=ca.file))
    down = ask(proxy, "GET", "/big", timeout=60)
    assert hashlib.md5(down.body).hexdigest() == hashlib.md5(big).hexdigest()
    up = ask(proxy, "PUT", "/up", body=big, timeout=60)
    assert up.status == 201
    assert hashlib.md5((server.root / "up").read_bytes()).hexdigest() == hashlib.md5(big).hexdigest()


def test_boto3_records_from_moto_behind_tls_and_replays(rehearsal, tmp_path, ca, cassette):
    pair = ca.sign("moto", ["localhost"])
    program = (
        "import ssl, sys\n"
        "from werkzeug.serving import make_server\n"
        "from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app\n"
        "app = DomainDispatcherApplication(create_backend_app)\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "context.load_cert_chain(sys.argv[1], sys.argv[2])\n"
        "server = make_server('127.0.0.1', 0, app, threaded=True, ssl_context=context)\n"
        "print(f'listening on http://127.0.0.1:{server.server_port}', flush=True)\n"
        "server.serve_forever()\n"
    )
    argv = [sys.executable, "-c", program, str(pair[0]), str(pair[1])]
    moto = Server(argv, tmp_path, r"listening on http://([\d.]+):(\d+)", None, "moto-tls")

    def use(url):
        s3 = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="AKIARECORDING0000001",
            aws_secret_access_key="record/secret+00000000000000000000000001",
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        s3.create_bucket(Bucket="box")
        tag = s3.put_object(Bucket="box", Key="k", Body=BODY)["ETag"]
        got = s3.get_object(Bucket="box", Key="k")["Body"].read()
        listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket="box")["Contents"]]
        s3.close()
        return tag, got, listed

    try:
        proxy = rehearsal.record(f"https://localhost:{moto.port}", cassette, "--ca", str(ca.file))
        live = use(proxy.url)
        proxy.stop()
    finally:
        moto.kill()
    assert live[0].strip('"') == hashlib.md5(BODY).hexdigest() and live[1] == BODY
    assert use(rehearsal.replay(cassette).url) == live


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('tls = { ca = "gone.pem" }', "can't read `"),
        ('tls = { ca = "text.pem" }', "there is no certificate in `"),
        ('tls = { client_cert = "ca.pem" }', "there is no private key in `"),
        ('tls = { client_key = "ca.pem" }', "a key without its certificate has no effect"),
        ('tls = { verify = "none" }', "`none` is not one of the choices"),
        ('tls = { server_name = "a b" }', "`a b` is not a name that a certificate can be for"),
        ('http = "3"', "`3` is not one of the choices"),
    ],
)
def test_mistakes_in_the_settings_are_shown_with_their_place(rehearsal, tmp_path, ca, lines, what):
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "ca.pem").write_bytes(ca.file.read_bytes())
    file = rehearsal.file(route("forward", "https://api.test", lines))
    done = rehearsal.run("check", str(file))
    assert done.returncode == 2
    assert what in done.stderr, done.stderr
    number = 1 + file.read_text().splitlines().index(lines)
    assert f"{file}:{number}:" in done.stderr


def test_tls_without_tls_is_a_mistake(rehearsal, tmp_path):
    file = rehearsal.file(route("forward", "http://api.test", 'tls = { verify = "danger-none" }'))
    done = rehearsal.run("check", str(file))
    assert done.returncode == 2
    assert "`tls` has no effect, because the upstream `http://api.test` is not `https://`" in done.stderr


def test_a_websocket_behind_tls_passes(rehearsal, tmp_path, ca):
    """The tunnel speaks TLS too: the upgrade is accepted, and bytes pass both ways."""
    import socket
    import threading

    pair = ca.sign("ws", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, pair))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        tcp, _ = listener.accept()
        with context.wrap_socket(tcp, server_side=True) as conn:
            head = b""
            while b"\r\n\r\n" not in head:
                head += conn.recv(4096)
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello")
            while data := conn.recv(65536):
                conn.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    proxy = rehearsal.forward(f"https://localhost:{listener.getsockname()[1]}", tls(ca=ca.file))
    with socket.create_connection((proxy.host, proxy.port), 20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        got = b""
        while not got.endswith(b"hello"):
            got += client.recv(4096)
        assert got.startswith(b"HTTP/1.1 101")
        client.sendall(BODY)
        client.shutdown(socket.SHUT_WR)
        echoed = b""
        while data := client.recv(65536):
            echoed += data
        assert echoed == BODY
    thread.join(10)
    listener.close()
