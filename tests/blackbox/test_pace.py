"""`rehearsal fake` and paces by token: never earlier than the schedule, with the right bytes, as curl and the OpenAI SDK see it.

Lower bounds are strict, upper ones generous: a busy machine is late, but never early.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from pathlib import Path

import openai
import pytest
from conftest import clean_env, route

# How late a busy machine may be.
LATE = 5.0


def body(text: str = "hello", **more) -> dict:
    return {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": text}], **more}


def curl(url: str, asked: dict, *more: str) -> bytes:
    done = subprocess.run(
        ["curl", "-sSN", "--noproxy", "*", "--max-time", "60", *more, f"{url}/v1/chat/completions"]
        + ["-H", "content-type: application/json", "-d", json.dumps(asked)],
        env=clean_env(),
        capture_output=True,
        check=True,
    )
    return done.stdout


def events(answer: bytes) -> list[dict]:
    assert answer.endswith(b"data: [DONE]\n\n")
    lines = answer.decode().removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines[:-1]]


def tokens(answer: bytes) -> list[str]:
    deltas = [event["choices"][0]["delta"].get("content") for event in events(answer) if event["choices"]]
    return [delta for delta in deltas if delta]


@pytest.fixture
def sdk(closing):
    def make(url: str) -> openai.OpenAI:
        return closing(openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60))

    return make


def timed(client: openai.OpenAI, **more) -> tuple[list[float], list[str]]:
    """When each token came, from before the request on."""
    start = time.monotonic()
    times, texts = [], []
    for chunk in client.chat.completions.create(**body(), **more):
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.monotonic() - start)
            texts.append(chunk.choices[0].delta.content)
    return times, texts


def test_200_tokens_at_15_ms_take_as_long_as_asked(rehearsal):
    fake = rehearsal("fake", "--ttft", "100ms", "--gap", "15ms")
    start = time.monotonic()
    answer = curl(fake.url, body(ignore_eos=True, max_tokens=200, stream_options={"include_usage": True}))
    took = time.monotonic() - start
    assert len(tokens(answer)) == 200
    assert 0.1 + 199 * 0.015 <= took < 0.1 + 199 * 0.015 + LATE
    last = events(answer)[-1]
    assert last["usage"]["completion_tokens"] == 200


def test_no_token_is_early_and_the_role_does_not_wait(rehearsal, sdk):
    fake = rehearsal("fake", "--ttft", "300ms", "--gap", "20ms")
    client = sdk(fake.url)
    start = time.monotonic()
    seen = []
    for chunk in client.chat.completions.create(**body("one two three")):
        seen.append((time.monotonic() - start, chunk.choices[0]))
    (role_at, role), *rest = seen
    assert role.delta.role == "assistant"
    assert role_at < rest[0][0]
    given = [(at, choice) for at, choice in rest if choice.delta.content]
    for index, (at, _) in enumerate(given):
        assert at >= 0.3 + index * 0.02 - 0.002
    assert rest[-1][1].finish_reason == "stop"
    assert "".join(choice.delta.content for _, choice in given).startswith("You said: “one two three”")


def test_each_token_is_a_chunk_of_its_own(rehearsal, tap):
    tapped = tap(rehearsal("fake", "--ttft", "50ms", "--gap", "10ms"))
    answer = curl(tapped.url, body())
    tapped.settle()
    (seen,) = tapped.exchanges()
    assert seen.answer.body == answer, seen.answer
    of_text = [chunk for chunk in seen.answer.boundaries if b'"content":"' in chunk and b'"content":""' not in chunk]
    assert len(of_text) == len(tokens(answer))


def test_a_stream_says_the_same_as_a_whole_answer_in_the_same_time(rehearsal, sdk):
    fake = rehearsal("fake", "--ttft", "200ms", "--gap", "20ms")
    client = sdk(fake.url)
    start = time.monotonic()
    whole = client.chat.completions.create(**{**body("a b c"), "stream": False})
    took = time.monotonic() - start
    count = whole.usage.completion_tokens
    assert 0.2 + (count - 1) * 0.02 <= took < 0.2 + count * 0.02 + LATE
    streamed = tokens(curl(fake.url, body("a b c")))
    assert "".join(streamed) == whole.choices[0].message.content
    assert len(streamed) == count


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_is_honoured(rehearsal, sdk, name):
    fake = rehearsal("fake", "--ttft", "0s", "--gap", "1ms")
    client = sdk(fake.url)
    stream = client.chat.completions.create(**body(stream_options={"include_usage": True}, **{name: 5}))
    chunks = list(stream)
    texts = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(texts) == 5
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 5


def test_a_profile_has_the_times_of_its_model(rehearsal, sdk):
    """gpt-4o: 250 ms ± 50 ms to the first token, then 15 ms ± 3 ms."""
    fake = rehearsal("fake", "--profile", "gpt-4o")
    client = sdk(fake.url)
    timed(client)
    runs = [timed(client, extra_body={"min_tokens": 20})[0] for _ in range(8)]
    firsts = [times[0] for times in runs]
    # Six standard deviations of the mean of eight, and what a busy machine adds.
    assert 0.25 - 6 * 0.05 / 8**0.5 <= statistics.median(firsts) < 0.25 + 6 * 0.05 / 8**0.5 + 1
    assert len(set(round(first, 3) for first in firsts)) > 1, "each answer has a time of its own"
    per_token = [(times[-1] - times[0]) / (len(times) - 1) for times in runs]
    assert 0.012 <= statistics.median(per_token) < 0.1


def test_the_same_seed_draws_the_same_times_and_the_texts_stay(rehearsal, sdk):
    def firsts(*args: str) -> list[float]:
        fake = rehearsal("fake", "--ttft", "300ms ± 100ms", "--gap", "0s", *args)
        client = sdk(fake.url)
        curl(fake.url, body("warm"))
        return [timed(client)[0][0] for _ in range(5)]

    seven, again = firsts("--seed", "7"), firsts("--seed", "7")
    others = [firsts("--seed", str(seed)) for seed in (8, 9)]

    # Lateness only adds: the smaller of two runs is near to what was drawn.
    def apart(left: list[float], right: list[float]) -> float:
        return statistics.median(abs(one - other) for one, other in zip(left, right))

    assert apart(seven, again) < min(apart(seven, other) for other in others)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--profile", "gpt-0"], "there is no latency profile `gpt-0`"),
        (["--ttft", "soon"], "`soon` is not a length of time"),
        (["--gap", "12"], "`12` is not a length of time"),
    ],
)
def test_wrong_times_are_refused(rehearsal, args, message):
    done = rehearsal.run("fake", "--listen", "127.0.0.1:0", *args)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_route_paces_what_it_replays_by_tokens(rehearsal, upstream, cassette):
    """Recorded without any pause, replayed at the pace of the route, with the same bytes."""
    from upstream import stream

    pieces = [
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": f" {index}"}}]}).encode() + b"\n\n"
        for index in range(20)
    ] + [b"data: [DONE]\n\n"]
    upstream.on("/v1/chat/completions", stream(pieces, 0.0))
    recorder = rehearsal.record(upstream, cassette)
    recorded = curl(recorder.url, body())
    recorder.stop()
    pace = 'pace = { tokens = { ttft = "200ms", gap = "20ms" } }'
    replay = rehearsal(config=route("replay", None, pace, cassette=cassette))
    start = time.monotonic()
    assert curl(replay.url, body()) == recorded
    assert 0.2 + 19 * 0.02 <= time.monotonic() - start < 0.2 + 19 * 0.02 + LATE


def test_times_are_fitted_to_a_cassette_and_paced_by(rehearsal, cassette, tmp_path):
    """From recording to fit to fake: the line that `fit` prints is a line of a route."""
    fast = rehearsal("fake", "--ttft", "120ms", "--gap", "30ms")
    recorder = rehearsal.record(fast, cassette)
    for text in ("a", "b", "c"):
        curl(recorder.url, body(text))
    recorder.stop()

    printed = rehearsal.run("cassette", "fit", cassette)
    assert printed.returncode == 0, printed.stderr
    comment, line = printed.stdout.splitlines()
    assert comment.startswith("# 3 streams with ") and "gpt-4o (3)" in comment
    by_line = rehearsal(config=route("synthesize", "fake", line))

    file = tmp_path / "profile.json"
    printed = rehearsal.run("cassette", "fit", cassette, "--out", "profile.json", "--model", "gpt-4o", where=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert json.loads(file.read_text())["version"] == 1
    assert printed.stdout.splitlines()[1] == 'pace = { fitted = "profile.json" }'
    by_file = rehearsal(config=route("synthesize", "fake", printed.stdout))

    for fitted in (by_line, by_file):
        start = time.monotonic()
        count = len(tokens(curl(fitted.url, body("d"))))
        took = time.monotonic() - start
        # Reads that came late shorten the next gap, so the mean is what holds.
        assert (0.12 + (count - 1) * 0.03) * 0.8 <= took < 0.12 + count * 0.03 + LATE

    none = rehearsal.run("cassette", "fit", cassette, "--model", "gpt-0")
    assert none.returncode == 1
    assert "has no event stream of model `gpt-0`" in none.stderr and "gpt-4o (3)" in none.stderr


def test_a_missing_file_of_fitted_times_is_a_mistake_in_the_config(rehearsal, tmp_path):
    file = rehearsal.file(route("synthesize", "fake", 'pace = { fitted = "none.json" }'))
    done = rehearsal.run("check", file)
    assert done.returncode == 2
    assert "could not read the fitted times in none.json" in done.stdout + done.stderr


def test_the_fake_records_nothing(rehearsal, tmp_path):
    fake = rehearsal("fake", "--ttft", "0s", "--gap", "0s", where=tmp_path)
    curl(fake.url, body())
    assert [path for path in Path(tmp_path).iterdir() if path.is_dir()] == []


def test_a_fit_stays_a_comment_and_a_line_whatever_a_client_called_its_model(rehearsal, cassette):
    fast = rehearsal("fake", "--ttft", "10ms", "--gap", "1ms")
    recorder = rehearsal.record(fast, cassette)
    name = "x\n[[route]]\r\x1b[31m" + "y" * 500
    curl(recorder.url, {**body("a"), "model": name})
    recorder.stop()
    printed = rehearsal.run("cassette", "fit", cassette)
    assert printed.returncode == 0, printed.stderr
    comment, line = printed.stdout.splitlines()
    assert comment.startswith("# 1 stream with ") and line.startswith("pace = ") and "\x1b" not in printed.stdout
    assert "x\\n[[route]]\\r\\u{1b}[31my" in comment and "…" in comment
    assert rehearsal.run("check", rehearsal.file(route("synthesize", "fake", printed.stdout))).returncode == 0
    none = rehearsal.run("cassette", "fit", cassette, "--model", "gpt-0")
    assert none.returncode == 1 and "\x1b" not in none.stderr and len(none.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "pace, message",
    [
        ("{}", "a pace that says nothing"),
        ('{ profile = "gpt-4", fitted = "a.json" }', "two paces in one"),
        ('"fast"', "`fast` is not one of the choices"),
        ("{ recorded = { speed = 0 } }", "speed 0 is out of range"),
        ("{ recorded = { speed = nan } }", "speed NaN is out of range"),
        ('{ tokens = { ttft = "1s" } }', "missing key `gap`"),
        ('{ tokens = { ttft = "1s", gap = "12" } }', "`12` is not a length of time"),
        ('{ profile = "gpt-5" }', "there is no latency profile `gpt-5`"),
        ('{ tokens = { ttft = { uniform = { min = "2s", max = "1s" } }, gap = "1ms" } }', "the smallest time 2s is above the largest, 1s"),
        ('{ tokens = { ttft = { lognormal = { median = "1s" } }, gap = "1ms" } }', "a lognormal with neither `sigma` nor `p99`"),
    ],
)
def test_a_wrong_pace_is_a_mistake_in_its_line(rehearsal, pace, message):
    done = rehearsal.run("check", rehearsal.file(route("synthesize", "fake", f"pace = {pace}")))
    assert done.returncode == 2
    assert message in done.stderr and f"pace = {pace}" in done.stderr, done.stderr
