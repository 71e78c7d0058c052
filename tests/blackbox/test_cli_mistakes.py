"""What is given to the command line by mistake: said with where it came from, and what to do."""

from __future__ import annotations

import socket

import pytest
from conftest import free_port, route
from rawclient import ask


def error_of(done):
    assert (done.returncode, done.stdout) == (2, ""), (done.returncode, done.stdout, done.stderr)
    assert "panicked" not in done.stderr
    return done.stderr


def test_a_port_in_use_says_how_to_name_another(rehearsal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        error = error_of(rehearsal.run("fake", "--listen", at))
        assert "`--listen` or `http` in `[listen]`" in error and "`--take-over`" in error
        error = error_of(rehearsal.run("fake", "--listen", "127.0.0.1:0", "--admin", at))
        assert "`--admin` or `admin` in `[listen]`" in error and "`--take-over`" not in error


@pytest.mark.parametrize("command", ["fake", "serve"])
def test_flags_that_want_one_place_are_told(rehearsal, command):
    at = f"127.0.0.1:{free_port()}"
    error = error_of(rehearsal.run(command, "--listen", at, "--admin", at))
    assert f"`--admin` can't listen at {at}: `--listen` listens at {at}" in error


def test_a_flag_that_wants_the_place_of_the_config_is_told(rehearsal):
    port = free_port()
    file = rehearsal.file(f'[listen]\nadmin = "127.0.0.1:{port}"\n' + route("synthesize", "fake"))
    error = error_of(rehearsal.run("serve", "-c", file, "--listen", f"127.0.0.1:{port}"))
    assert f"{file}:2:9: `admin` can't listen at 127.0.0.1:{port}: `--listen` listens at" in error


def test_a_flag_mends_what_the_config_says_of_the_same(rehearsal):
    port = free_port()
    file = rehearsal.file(f'[listen]\nhttp = "127.0.0.1:{port}"\nadmin = "127.0.0.1:{port}"\n' + route("synthesize", "fake"))
    assert rehearsal.run("check", file).returncode == 2
    proxy = rehearsal("serve", "-c", file, "--admin", "127.0.0.1:0")
    assert ask(proxy.url, target="/v1/models").status == 200


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--upstream", "http://user:hunter2@host"], {}),
        (["--upstream", "http://user:hunter2@host/?a=1"], {}),
        (["--upstream", "user:hunter2@host"], {}),
        ([], {"REHEARSAL_UPSTREAM": "http://user:hunter2@host"}),
    ],
)
def test_a_password_in_an_upstream_is_refused_and_not_repeated(rehearsal, cassette, words, variables):
    error = error_of(rehearsal.run("record", "--cassette", cassette, *words, env=variables))
    assert "a user or a password does not belong into an upstream" in error
    assert "hunter2" not in error


def test_a_wrong_value_in_a_variable_names_the_variable(rehearsal):
    error = error_of(rehearsal.run("fake", env={"REHEARSAL_LISTEN": "nowhere"}))
    assert "`nowhere` is not an address" in error and "REHEARSAL_LISTEN" in error
    assert "variable" not in error_of(rehearsal.run("fake", "--listen", "nowhere", env={"REHEARSAL_LISTEN": "nowhere"}))


def test_an_empty_variable_is_none(rehearsal, cassette, tmp_path):
    empty = dict.fromkeys(["REHEARSAL_CONFIG", "REHEARSAL_ADMIN", "REHEARSAL_LOG", "REHEARSAL_UPSTREAM"], "")
    proxy = rehearsal("serve", env=empty, where=tmp_path)
    assert ask(proxy.url, target="/v1/models").status == 200
    error = error_of(rehearsal.run("record", "--cassette", cassette, env=empty))
    assert "--upstream" in error and "not provided" in error


def test_a_log_that_can_not_be_is_told_and_the_usual_one_is_kept(rehearsal):
    proxy = rehearsal("fake", "--listen", "127.0.0.1:0", env={"REHEARSAL_LOG": "[[["})
    proxy.stop()
    assert "REHEARSAL_LOG is passed over" in proxy.stderr() and "INFO" in proxy.stderr()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--upstream", "https://host", "--ca", "none.pem"], "--ca: can't read `none.pem`"),
        (["--upstream", "http://host", "--ca", "none.pem"], "--ca: `tls` has no effect"),
    ],
)
def test_what_a_flag_says_is_held_against_the_flag(rehearsal, cassette, words, named):
    assert named in error_of(rehearsal.run("record", "--cassette", cassette, "--listen", "127.0.0.1:0", *words))
    assert not cassette.exists()


@pytest.mark.parametrize("words", [["cassette", "list"], ["cassette", "show"], ["cassette", "fit"], ["replay", "--cassette"], ["record", "--upstream", "fake", "--listen", "127.0.0.1:0", "--cassette"]])
def test_a_file_is_no_cassette(rehearsal, tmp_path, words):
    file = tmp_path / "recording.json"
    file.write_text("{}")
    assert error_of(rehearsal.run(*words, file)) == f"error: the cassette {file} is a file, expected a directory with recordings\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ttft", "-5s"], "`-5s` is not a length of time"),
        (["--gap", "10000h"], "`10000h` is too long a time, expected at most 365 days"),
        (["--seed", "-1"], "expected a whole number from 0 to 18446744073709551615"),
        (["--seed", "many"], "expected a whole number from 0 to 18446744073709551615"),
        (["--listen", "http://127.0.0.1:8080"], "a scheme or a path does not belong to it"),
        (["--listen", "8080"], "the host is missing"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(rehearsal, words, said):
    error = error_of(rehearsal.run("fake", *words))
    assert said in error and words[0] in error and len(error.splitlines()) == 1


def test_a_check_of_timing_wants_some_time(rehearsal):
    error = error_of(rehearsal.run("check", "--timing", "--within", "0s"))
    assert "expected some time such as `10ms`" in error
