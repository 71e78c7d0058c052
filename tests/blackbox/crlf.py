"""Passes on what a server says, with the line ends that some servers put in event streams: CRLF."""

from __future__ import annotations

import http.client
import re
from typing import Any, Optional

from upstream import Connection, Request, Upstream, answer, stream


class Crlf(Upstream):
    """In front of a server that ends lines with LF."""

    def __init__(self, real: Any):
        super().__init__()
        self.real = real
        self.fallback = self.pass_on

    def pass_on(self, request: Request, connection: Connection) -> Optional[str]:
        skipped = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
        headers = {name: value for name, value in request.headers if name.lower() not in skipped}
        asked = http.client.HTTPConnection(self.real.host, self.real.port, timeout=30)
        asked.request(request.method, request.target, request.read(), headers)
        got = asked.getresponse()
        body = got.read()
        asked.close()
        kind = got.headers["content-type"]
        if kind != "text/event-stream":
            return answer(got.status, [("Content-Type", kind)], body)(request, connection)
        events = re.findall(rb".*?\n\n", body, re.DOTALL)
        return stream([event.replace(b"\n", b"\r\n") for event in events], 0.005)(request, connection)
