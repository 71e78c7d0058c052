"""Clients of HTTP/2 and TLS, and certificates for them."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path
from typing import Any, Optional

import h2.config
import h2.connection
import h2.events
import h2.settings
import socket

from conftest import PATIENCE, Rehearsal, clean_env

TLS = '[listen]\nhttps = "127.0.0.1:0"\ntls = { cert = "server.pem", key = "server.key" }\n'


def certificate(folder: Path, name: str = "localhost", cert: str = "server.pem", key: str = "server.key") -> Path:
    """Makes a certificate that is its own authority, for 127.0.0.1 too."""
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        + ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-keyout", str(folder / key), "-out", str(folder / cert)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / cert


def https(proxy: Rehearsal) -> str:
    """The URL of its listener with TLS, by the name in the certificate."""

    def found() -> Optional[re.Match[str]]:
        return next((match for line in proxy.lines if (match := re.match(r"^listening on https://127\.0\.0\.1:(\d+)$", line))), None)

    with proxy.changed:
        proxy.changed.wait_for(found, PATIENCE)
    match = found()
    assert match is not None, proxy.output()
    assert proxy.lines.index(match.group(0)) == 1, "it is the second line"
    return f"https://localhost:{match.group(1)}"


def trusting(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cert))


def tool(*args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """nghttp or h2load; they end by themselves."""
    return subprocess.run(
        args, env=clean_env(), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )


class H2Client:
    """A connection of HTTP/2 that shows each frame as it comes, and does nothing by itself but to acknowledge settings."""

    def __init__(self, host: str, port: int, window: Optional[int] = None):
        self.sock = socket.create_connection((host, port), timeout=20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Nothing is checked of what we send, so that it can be wrong.
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.events: list[Any] = []
        self.buffer = b""
        self.is_told_to_go = False
        self.flush()
        self.next(h2.events.SettingsAcknowledged)
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            self.flush()
            self.next(h2.events.SettingsAcknowledged)

    def __enter__(self) -> "H2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def request(self, path: str, *more: tuple[str, str], method: str = "GET", authority: str = "localhost", end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
        self.h2.send_headers(stream, [*pseudo, *more], end_stream=end)
        self.flush()
        return stream

    def reset(self, stream: int, code: int = 8) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()

    def give(self, stream: Optional[int], count: int) -> None:
        """Opens the window of a stream and of the connection."""
        self.h2.increment_flow_control_window(count)
        if stream is not None:
            self.h2.increment_flow_control_window(count, stream)
        self.flush()

    def next(self, *kinds: type, stream: Optional[int] = None) -> Any:
        """The next event of these kinds, on this stream; others of other streams are kept."""
        while True:
            for at, event in enumerate(self.events):
                if isinstance(event, kinds) and (stream is None or getattr(event, "stream_id", None) == stream):
                    return self.events.pop(at)
            data = self.sock.recv(1 << 16)
            assert data, f"the connection ended, and what had come was {self.events}"
            self.take(data)

    def take(self, data: bytes) -> None:
        """A frame at a time. After GOAWAY the library takes nothing more; what still comes is a PING to be answered."""
        self.buffer += data
        while len(self.buffer) >= 9 and len(self.buffer) >= (size := 9 + int.from_bytes(self.buffer[:3], "big")):
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            if not self.is_told_to_go:
                came = self.h2.receive_data(frame)
                self.events += came
                self.is_told_to_go = any(isinstance(event, h2.events.ConnectionTerminated) for event in came)
            elif frame[3] == 6:
                self.sock.sendall(frame[:4] + b"\x01" + frame[5:])
        if not self.is_told_to_go:
            self.flush()

    def head(self, stream: int) -> dict[str, str]:
        return dict(self.next(h2.events.ResponseReceived, stream=stream).headers)

    def body(self, stream: int) -> bytes:
        """The body to its end."""
        body, end = self.ending(stream)
        assert isinstance(end, h2.events.StreamEnded), f"{end} after {len(body)} bytes"
        return body

    def ending(self, stream: int) -> tuple[bytes, Any]:
        """The body as far as it comes, and the event that ends its stream."""
        body = b""
        while True:
            event = self.next(h2.events.DataReceived, h2.events.StreamEnded, h2.events.StreamReset, stream=stream)
            if not isinstance(event, h2.events.DataReceived):
                return body, event
            body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            self.flush()
