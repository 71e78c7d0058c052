"""Encoded answers, made by encoders that others wrote: shown decoded in the recording, and replayed in their bytes."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import time
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard
from cassettes import chunk_lines, edit, files, holding, in_time, recording, same
from conftest import clean_env, free_port
from peers import curl
from rawclient import Client, ask
from upstream import answer, stream

JSON = ("Content-Type", "application/json")
SSE = ("Content-Type", "text/event-stream")
SECRET = "sk-authorization-1a2b3c4d5e6f7a8b"

TEXT = json.dumps({"answer": "forty-two", "words": ["so", "long", "and", "thanks"] * 40}, separators=(",", ":")).encode()


def raw_deflate(text, level=6):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(text) + packer.flush()


def zstd_streamed(text, level=3):
    packer = zstandard.ZstdCompressor(level, write_checksum=True).compressobj()
    return packer.compress(text) + packer.flush()


ENCODERS = {
    "gzip": ("gzip", lambda text: gzip.compress(text, mtime=1234567)),
    "gzip-1": ("gzip", lambda text: gzip.compress(text, 1, mtime=0)),
    "gzip-6": ("x-gzip", lambda text: gzip.compress(text, 6, mtime=0)),
    "deflate": ("deflate", zlib.compress),
    "deflate-9": ("deflate", lambda text: zlib.compress(text, 9)),
    "raw deflate": ("deflate", raw_deflate),
    "br-11": ("br", brotli.compress),
    "br-5": ("br", lambda text: brotli.compress(text, quality=5, lgwin=18)),
    "zstd": ("zstd", lambda text: zstandard.ZstdCompressor().compress(text)),
    "zstd-9": ("zstd", lambda text: zstandard.ZstdCompressor(9).compress(text)),
    "zstd, streamed": ("zstd", zstd_streamed),
}


def decoded(name, data):
    if "gzip" in name:
        return gzip.decompress(data)
    if name == "deflate":
        try:
            return zlib.decompress(data)
        except zlib.error:
            return zlib.decompress(data, -15)
    if name == "br":
        return brotli.decompress(data)
    assert name == "zstd"
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def sides(cassette):
    return [path for path in files(cassette) if path.parent.name == "bodies"]


def response(cassette):
    return json.loads(recording(cassette).read_text())["recorded"]["response"]


def recorded(rehearsal, upstream, cassette, handler, **options):
    """What a client got while it was recorded."""
    upstream.on("/", handler)
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url, **options)
    proxy.stop()
    return live


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_body_is_shown_decoded_and_replayed_in_its_bytes(rehearsal, upstream, cassette, kind):
    name, encode = ENCODERS[kind]
    packed = encode(TEXT)
    live = recorded(rehearsal, upstream, cassette, answer(headers=(JSON, ("Content-Encoding", name), ("ETag", '"e"')), body=packed))
    told = response(cassette)
    assert told["body"]["json"] == json.loads(TEXT)
    assert told["encoding"]["name"] == name and "again" in told["encoding"], told["encoding"]
    assert sides(cassette) == [], "it was found out how it was encoded"
    replayed = ask(rehearsal.replay(cassette).url)
    assert replayed.body == packed
    same(replayed, live)


@pytest.mark.parametrize("kind", ["gzip", "br-5", "zstd"])
def test_a_body_that_comes_in_pieces_is_replayed_in_those(rehearsal, upstream, cassette, kind):
    name, encode = ENCODERS[kind]
    packed = encode(TEXT)
    pieces = [packed[:7], packed[7:40], packed[40:]]
    live = recorded(rehearsal, upstream, cassette, stream(pieces, 0.05, headers=(JSON, ("Content-Encoding", name))))
    assert live.boundaries == pieces
    assert response(cassette)["body"]["json"] == json.loads(TEXT)
    same(ask(rehearsal.replay(cassette).url), live)


def test_what_cannot_be_made_again_is_kept_beside_what_is_shown(rehearsal, upstream, cassette):
    packed = gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:])
    live = recorded(rehearsal, upstream, cassette, answer(headers=(JSON, ("Content-Encoding", "gzip")), body=packed))
    told = response(cassette)
    assert told["body"]["json"] == json.loads(TEXT)
    assert [path.read_bytes() for path in sides(cassette)] == [packed]
    assert told["encoding"]["wire"] == {"file": f"bodies/{sides(cassette)[0].name}", "len": len(packed)}
    same(ask(rehearsal.replay(cassette).url), live)


@pytest.mark.parametrize("is_odd", [False, True], ids=["found-out", "kept-aside"])
@pytest.mark.parametrize("kind", ["gzip", "deflate", "br-11", "zstd"])
def test_an_edited_body_is_encoded_again(rehearsal, upstream, cassette, kind, is_odd):
    name, encode = ENCODERS[kind]
    packed = encode(TEXT)
    if is_odd:
        packed = {"gzip": gzip.compress(b"") + packed, "deflate": stored(TEXT), "br": fumbled(TEXT), "zstd": two_frames(TEXT)}[name]
    recorded(rehearsal, upstream, cassette, answer(headers=(JSON, ("Content-Encoding", name)), body=packed))
    assert bool(sides(cassette)) == is_odd
    edit(recording(cassette), '"forty-two"', '"something quite different"')
    got = ask(rehearsal.replay(cassette).url)
    assert got.get("content-encoding") == name
    assert got.get("content-length") == str(len(got.body))
    assert json.loads(decoded(name, got.body)) == {**json.loads(TEXT), "answer": "something quite different"}


def stored(text):
    return zlib.compress(text, 0)


def fumbled(text):
    packer = brotli.Compressor(quality=3)
    return packer.process(text[:10]) + packer.flush() + packer.process(text[10:]) + packer.finish()


def two_frames(text):
    packer = zstandard.ZstdCompressor()
    return packer.compress(text[:50]) + packer.compress(text[50:])


def test_a_name_that_nobody_knows_is_served_without_an_encoding(rehearsal, upstream, cassette):
    recorded(rehearsal, upstream, cassette, answer(headers=(JSON, ("Content-Encoding", "gzip")), body=gzip.compress(TEXT)))
    edit(recording(cassette), '["Content-Encoding", "gzip"]', '["Content-Encoding", "rot13"]')
    proxy = rehearsal.replay(cassette)
    got = ask(proxy.url)
    assert (got.body, got.get("content-encoding")) == (TEXT, None)
    assert "without its content-encoding: unknown content encoding `rot13`" in proxy.stderr()


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_secret_in_an_encoded_body_is_gone_and_the_body_still_encoded(rehearsal, upstream, cassette, kind):
    name, encode = ENCODERS[kind]

    def handle(request, connection):
        text = json.dumps({"you": f"said {SECRET}", "more": "text " * 100}).encode()
        headers = (JSON, ("Content-Encoding", name), ("Content-MD5", "x"), ("ETag", '"kept"'))
        return answer(headers=headers, body=encode(text))(request, connection)

    live = recorded(rehearsal, upstream, cassette, handle, headers=[("Authorization", f"Bearer {SECRET}")])
    assert SECRET.encode() in decoded(name, live.body)
    assert holding(cassette, [SECRET]) == []
    assert sides(cassette) == []
    got = ask(rehearsal.replay(cassette).url)
    assert got.get("content-encoding") == name and got.get("content-md5") is None and got.get("etag") == '"kept"'
    assert got.get("content-length") == str(len(got.body))
    assert json.loads(decoded(name, got.body))["you"] == "said [redacted:authorization]"


def test_a_secret_in_a_large_encoded_body_is_gone_and_the_body_still_encoded(rehearsal, upstream, cassette):
    lines = [f"{number} you said {SECRET if number % 1000 == 0 else 'nothing'}\n" for number in range(120_000)]
    packed = gzip.compress("".join(lines).encode())
    live = recorded(
        rehearsal, upstream, cassette, answer(headers=(("Content-Type", "text/plain"), ("Content-Encoding", "gzip")), body=packed),
        headers=[("Authorization", f"Bearer {SECRET}")],
    )
    assert live.body == packed
    assert holding(cassette, [SECRET]) == []
    got = ask(rehearsal.replay(cassette).url)
    assert got.get("content-encoding") == "gzip"
    assert gzip.decompress(got.body).decode() == "".join(lines).replace(SECRET, "[redacted:authorization]")


def test_a_secret_in_the_name_of_a_packed_file_is_not_kept(rehearsal, upstream, cassette):
    """gzip tells the name of the file in its header, and it's not encoded there."""
    import io

    out = io.BytesIO()
    with gzip.GzipFile(f"{SECRET}.txt", "wb", fileobj=out, mtime=0) as writer:
        writer.write(b"harmless")
    live = recorded(
        rehearsal, upstream, cassette, answer(headers=(JSON, ("Content-Encoding", "gzip")), body=out.getvalue()),
        headers=[("Authorization", f"Bearer {SECRET}")],
    )
    assert SECRET.encode() in live.body
    assert holding(cassette, [SECRET]) == []
    assert gzip.decompress(ask(rehearsal.replay(cassette).url).body) == b"harmless"


EVENTS = [b'data: {"n":%d,"text":"%s"}\n\n' % (number, b"word " * number) for number in range(8)]


def packers():
    def of_zlib(wbits):
        packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
        return (lambda piece: packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)), packer.flush

    def of_brotli():
        packer = brotli.Compressor(quality=5)
        return (lambda piece: packer.process(piece) + packer.flush()), packer.finish

    def of_zstd():
        packer = zstandard.ZstdCompressor().compressobj()
        flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return (lambda piece: packer.compress(piece) + packer.flush(flush)), packer.flush

    return {"gzip": lambda: of_zlib(31), "deflate": lambda: of_zlib(15), "br": of_brotli, "zstd": of_zstd}


def unpacker(name):
    if name == "br":
        return brotli.Decompressor().process
    if name == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    return zlib.decompressobj(47 if name == "gzip" else 15).decompress


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_each_event_of_an_encoded_stream_is_shown_and_replayed_in_its_time(rehearsal, upstream, cassette, name):
    pack, finish = packers()[name]()
    pieces = [pack(event) for event in EVENTS] + [finish()]
    live = recorded(rehearsal, upstream, cassette, stream(pieces, 0.08, headers=(SSE, ("Content-Encoding", name))))
    assert live.boundaries == pieces
    shown = chunk_lines(recording(cassette))
    assert [text.encode() for _, text in shown] == EVENTS
    assert sides(cassette) == []
    started = time.monotonic()
    replayed = ask(rehearsal.replay(cassette).url)
    assert time.monotonic() - started > 0.5
    same(replayed, live)
    unpack = unpacker(name)
    assert [unpack(piece) for piece in replayed.boundaries[: len(EVENTS)]] == EVENTS, "each can be read when it comes"


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_an_edited_event_arrives_encoded_and_alone(rehearsal, upstream, cassette, name):
    pack, finish = packers()[name]()
    pieces = [pack(event) for event in EVENTS] + [finish()]
    recorded(rehearsal, upstream, cassette, stream(pieces, 0.05, headers=(SSE, ("Content-Encoding", name))))
    edit(recording(cassette), '\\"n\\":3', '\\"n\\":\\"three\\"')
    got = ask(rehearsal.replay(cassette).url)
    unpack = unpacker(name)
    expected = [event.replace(b'"n":3', b'"n":"three"') for event in EVENTS]
    assert [unpack(piece) for piece in got.boundaries[: len(EVENTS)]] == expected


def test_a_stream_cut_within_blocks_is_replayed_in_its_chunks(rehearsal, upstream, cassette):
    packed = gzip.compress(b"".join(EVENTS))
    pieces = [packed[at : at + 9] for at in range(0, len(packed), 9)]
    live = recorded(rehearsal, upstream, cassette, stream(pieces, 0.01, headers=(SSE, ("Content-Encoding", "gzip"))))
    assert live.boundaries == pieces
    assert b"".join(text.encode() for _, text in chunk_lines(recording(cassette))) == b"".join(EVENTS)
    same(ask(rehearsal.replay(cassette).url), live)


def test_a_secret_in_an_encoded_stream_is_gone_and_events_come_in_their_time(rehearsal, upstream, cassette):
    pack, finish = packers()["gzip"]()
    events = [*EVENTS[:3], f"data: you said {SECRET}\n\n".encode(), *EVENTS[3:]]
    pieces = [pack(event) for event in events] + [finish()]
    upstream.on("/", stream(pieces, 0.08, headers=(SSE, ("Content-Encoding", "gzip"))))
    proxy = rehearsal.record(upstream, cassette)
    live = ask(proxy.url, headers=[("Authorization", f"Bearer {SECRET}")])
    proxy.stop()
    assert holding(cassette, [SECRET]) == []
    got = ask(rehearsal.replay(cassette).url)
    unpack = unpacker("gzip")
    told = [unpack(piece) for piece in got.boundaries]
    assert [piece for piece in told if piece] == [event.replace(SECRET.encode(), b"[redacted:authorization]") for event in events]
    began = [at for at, _ in live.chunks][: len(events)]
    again = [at for at, _ in got.chunks][: len(events)]
    in_time([at - again[0] for at in again], [at - began[0] for at in began])


BROKEN = {
    "cut": ("gzip", gzip.compress(TEXT)[:-30]),
    "wrong magic": ("gzip", b"PK\x03\x04 no gzip at all" * 3),
    "text": ("gzip", b'{"plain":"text"}'),
    "unknown": ("x-own", bytes(range(256))),
    "wrong checksum": ("gzip", gzip.compress(TEXT)[:-8] + b"12345678"),
    "rubbish behind": ("zstd", zstandard.ZstdCompressor().compress(TEXT) + b"rubbish"),
    "br, cut": ("br", brotli.compress(TEXT)[:-4]),
    "deflate, one byte": ("deflate", b"\x78"),
    "bomb": ("gzip", gzip.compress(bytes(20 << 20))),
}


def test_broken_encodings_are_recorded_as_they_came_and_end_nothing(rehearsal, upstream, cassette):
    for number, (name, body) in enumerate(BROKEN.values()):
        upstream.on(f"/{number}", answer(headers=(JSON, ("Content-Encoding", name)), body=body))
    proxy = rehearsal.record(upstream, cassette)
    live = [ask(proxy.url, target=f"/{number}") for number in range(len(BROKEN))]
    proxy.stop()
    assert "recording stopped" not in proxy.stderr()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    for number, (kind, one) in enumerate(zip(BROKEN, live)):
        got = ask(proxy.url, target=f"/{number}")
        assert got.body == BROKEN[kind][1], kind
        same(got, one)
    # What can't be shown is counted as it came.
    for line in rehearsal.run("cassette", "list", str(cassette), "--json").stdout.splitlines():
        entry = json.loads(line)
        assert entry["bytes"] > 0 and entry["chunks"] > 0, line


def test_what_is_wrong_with_an_encoding_is_noted(rehearsal, upstream, cassette):
    recorded(rehearsal, upstream, cassette, answer(headers=(JSON, ("Content-Encoding", "gzip")), body=gzip.compress(TEXT)[:-5]))
    assert response(cassette)["encoding"]["broken"] == "the body is not valid gzip"
    assert "forty-two" in recording(cassette).read_text()


def test_curl_gets_what_it_got(rehearsal, upstream, cassette):
    upstream.on("/", answer(headers=(JSON, ("Content-Encoding", "gzip")), body=gzip.compress(TEXT)))
    proxy = rehearsal.record(upstream, cassette)
    assert curl("--compressed", proxy.url).stdout == TEXT
    proxy.stop()
    upstream.stop()
    proxy = rehearsal.replay(cassette)
    assert curl("--compressed", proxy.url).stdout == TEXT
    assert curl(proxy.url).stdout == gzip.compress(TEXT) or gzip.decompress(curl(proxy.url).stdout) == TEXT


def test_a_large_encoded_body_is_replayed_from_its_file_in_little_memory(rehearsal, upstream, cassette):
    import random

    dice = random.Random(7)
    packed = gzip.compress(dice.randbytes(6 << 20), 1)
    live = recorded(rehearsal, upstream, cassette, answer(headers=(("Content-Type", "application/octet-stream"), ("Content-Encoding", "gzip")), body=packed))
    assert live.body == packed
    assert [path.read_bytes() == packed for path in sides(cassette)] == [True]
    proxy = rehearsal.replay(cassette)
    ask(proxy.url, target="/none")
    proxy.forget_peak()
    before = proxy.memory("VmRSS")
    same(ask(proxy.url), live, boundaries=False)
    assert proxy.memory("VmHWM") - before < 4 << 20


class Nginx:
    """nginx with `gzip on` in front of a folder."""

    def __init__(self, where: Path, level: int):
        self.port = free_port()
        where.mkdir()
        (where / "www").mkdir()
        config = where / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {where}/pid; error_log {where}/error.log;\n"
            "events {}\n"
            "http {\n"
            f"  access_log off; client_body_temp_path {where}/a; proxy_temp_path {where}/b; fastcgi_temp_path {where}/c;\n"
            f"  uwsgi_temp_path {where}/d; scgi_temp_path {where}/e;\n"
            "  types { application/json json; text/html html; }\n"
            f"  gzip on; gzip_comp_level {level}; gzip_min_length 1; gzip_types application/json;\n"
            f"  server {{ listen 127.0.0.1:{self.port}; root {where}/www; }}\n"
            "}\n"
        )
        self.www = where / "www"
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(where), "-e", str(where / "error.log")], env=clean_env())
        for _ in range(300):
            try:
                Client(self.port).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("nginx did not start")

    def close(self):
        self.process.terminate()
        self.process.wait(20)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("level", [1, 6])
def test_what_nginx_packs_is_shown_and_replayed_in_its_bytes(rehearsal, closing, tmp_path, cassette, level):
    nginx = closing(Nginx(tmp_path / "nginx", level))
    bodies = {"small": json.dumps({"a": ["b", 1] * 20}), "large": json.dumps([{"n": number, "t": f"text {number % 7}"} for number in range(9000)])}
    for name, text in bodies.items():
        (nginx.www / f"{name}.json").write_text(text)
    headers = [("Accept-Encoding", "gzip")]
    proxy = rehearsal.record(nginx, cassette)
    live = {name: ask(proxy.url, target=f"/{name}.json", headers=headers) for name in bodies}
    proxy.stop()
    proxy = rehearsal.replay(cassette)
    for name, text in bodies.items():
        assert live[name].get("content-encoding") == "gzip"
        told = json.loads(recording(cassette, f'"/{name}.json"').read_text())["recorded"]["response"]
        assert "again" in told["encoding"], told["encoding"]
        assert gzip.decompress(live[name].body).decode() == text
        same(ask(proxy.url, target=f"/{name}.json", headers=headers), live[name])
    assert sides(cassette) == []
