"""Servers and clients that others wrote: the mock that stands for the LLM APIs, the one that stands for S3, Node, curl."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional, Sequence

from conftest import Server, clean_env

HERE = Path(__file__).resolve().parent
NODE = HERE / "node"

# What the mock takes as a valid key, so that an answer proves that the key came through.
GOOD_KEY = "sk-live-4f9a8c7e6d5b4a3928170615"
OTHER_KEY = "sk-other-00112233445566778899aabb"

STORY = "Once upon a time a proxy remembered every byte and every pause of what it had heard, and told it again. "

FIXTURES = {
    "fixtures": [
        {"match": {"userMessage": "tell a story"}, "response": {"content": STORY * 2}},
        {"match": {"userMessage": "weather"}, "response": {"toolCalls": [{"name": "get_weather", "arguments": '{"city":"Paris","days":3}'}]}},
        {"match": {"userMessage": "hello"}, "response": {"content": "Hello! Grüße, 你好, 👋"}},
        {"match": {"inputText": "embed me"}, "response": {"embedding": [0.125, -0.25, 0.5, 1.0]}},
        {"match": {"userMessage": "too much"}, "response": {"error": {"message": "Slow down", "type": "rate_limit_error"}, "status": 429}},
    ]
}


class AiMock(Server):
    """`@copilotkit/aimock` as the real API: 30 ms between the chunks of a stream. A patient one keeps idle connections."""

    def __init__(self, where: Path, latency_ms: int = 30, is_patient: bool = False):
        where.mkdir(parents=True, exist_ok=True)
        fixtures = where / "aimock.json"
        fixtures.write_text(json.dumps(FIXTURES))
        cli = NODE / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
        preload = ["--require", str(NODE / "patient.cjs")] if is_patient else []
        argv = ["node", *preload, str(cli), "--port", "0", "--fixtures", str(fixtures), "--latency", str(latency_ms)]
        argv += ["--chunk-size", "12", "--strict"]
        super().__init__(argv, where, r"listening on http://([\d.]+):(\d+)", {"AIMOCK_API_KEYS": GOOD_KEY}, "aimock")

    def close(self) -> None:
        self.kill()


class Moto(Server):
    """`moto` in server mode as S3. It tells where it listens on stderr."""

    def __init__(self, where: Path):
        program = (
            "import sys, threading\n"
            "from werkzeug.serving import make_server\n"
            "from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app\n"
            "app = DomainDispatcherApplication(create_backend_app)\n"
            "server = make_server('127.0.0.1', 0, app, threaded=True)\n"
            "print(f'listening on http://127.0.0.1:{server.server_port}', flush=True)\n"
            "server.serve_forever()\n"
        )
        super().__init__([sys.executable, "-c", program], where, r"listening on http://([\d.]+):(\d+)", None, "moto")

    def close(self) -> None:
        self.kill()


def run_node(script: str, *args: str, env: Optional[dict[str, str]] = None) -> Any:
    """Runs a script of `node/`; its last line on stdout is JSON."""
    done = subprocess.run(
        ["node", script, *args],
        cwd=NODE,
        env=clean_env(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def curl(*args: str, stdin: Optional[bytes] = None, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    """Runs curl; errors are told, progress is not."""
    words: Sequence[str] = ["curl", "--silent", "--show-error", "--max-time", str(timeout), "--noproxy", "*", *args]
    return subprocess.run(
        words,
        env=clean_env(),
        input=stdin if stdin is not None else None,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout + 10,
        check=False,
    )
