"""An upstream that answers before it has read the request, and reads no more of it: faults on the answer go their way all the same."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from test_faults import fault

UPLOAD = 16 * 1024 * 1024
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nearly"


@pytest.fixture
def deaf():
    """Answers after the head of a request, and never reads its body. Gives where it is."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            connection.sendall(ANSWER)
            is_over.wait(60)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    is_over.set()
    listener.close()
    thread.join(10)


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_head_in_drips_does_not_wait_with_the_upload(rehearsal, deaf, framing):
    proxy = rehearsal.forward(deaf, fault('slow_head = { bytes = 4, every = "20ms" }'))
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
        how = f"content-length: {UPLOAD}" if framing == "content-length" else "transfer-encoding: chunked"
        client.sendall(f"POST / HTTP/1.1\r\nhost: {proxy.host}\r\n{how}\r\n\r\n".encode())
        size = b"" if framing == "content-length" else b"%X\r\n" % UPLOAD
        piece = b"x" * 65536

        def send() -> None:
            # All that fits, until nobody takes any more.
            try:
                client.sendall(size)
                for _ in range(UPLOAD // len(piece)):
                    client.sendall(piece)
            except OSError:
                pass

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        got, begun, pieces = b"", time.monotonic(), 0
        while b"early" not in got:
            part = client.recv(65536)
            assert part, got
            got += part
            pieces += 1
        took = time.monotonic() - begun
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert pieces > 10, "it came in drips"
        # As long as its drips take.
        assert took < 10, took
        client.shutdown(socket.SHUT_RDWR)
        sender.join(20)
        assert not sender.is_alive()


def test_a_head_in_drips_is_not_stopped_by_the_next_request(rehearsal):
    route = '[[route]]\nmode = "synthesize"\nupstream = "fake"\n'
    proxy = rehearsal(config=route + fault('slow_head = { bytes = 4, every = "50ms" }'))
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
        request = f"GET /v1/models HTTP/1.1\r\nhost: {proxy.host}\r\n\r\n".encode()
        client.sendall(request)
        time.sleep(0.2)
        client.sendall(request)
        got = b""
        while got.count(b'"object":"list"') < 2:
            part = client.recv(65536)
            assert part, got
            got += part
