"""``run`` as a person starts it: real processes, real signals, real endings."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.servers import DOOR, app_process, clean_environ, free_port, wait_until
from wa_dashboard import readiness, serve
from wa_dashboard.config import ConfigError, Settings, queue_socket, start_sentence

PATIENCE = 60.0  # other tests may share the machine


@pytest.fixture
def place(tmp_path) -> dict[str, str]:
    return {
        "WA_DATA_DIR": str(tmp_path / "a folder"),
        "WA_PORT": str(free_port()),
        "WA_SIMULATOR_PORT": str(free_port()),
    }


def _processes(place: dict[str, str]) -> dict[int, str]:
    """Every process that was started with this place's environment: pid → command line."""
    folder = place["WA_DATA_DIR"]
    socket = queue_socket(Path(folder))
    mark = f"WA_DATA_DIR={folder}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            # The queue writes its title over its environment; the title names its socket.
            if mark in (process / "environ").read_bytes().split(b"\0") or f"unixsocket:{socket}" in words:
                found[int(process.name)] = words
        except OSError:
            continue
    return {pid: words for pid, words in found.items() if words}


def _pid_of(place: dict[str, str], word: str) -> int:
    return min(pid for pid, words in _processes(place).items() if words.endswith(f" {word}"))


def _status(place: dict[str, str], path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place['WA_PORT']}{path}", timeout=20) as answer:
            return int(answer.status)
    except OSError:
        return 0


def _ready(log: Path) -> dict | None:
    """The one object that ``run --json`` prints among the log lines."""
    for line in log.read_text().splitlines():
        if '"sign_in_url"' in line:
            return json.loads(line)
    return None


def _parts(place: dict[str, str]) -> set[str]:
    return {words.rsplit(" ", 1)[-1] for words in _processes(place).values()}


def _everything_runs(place: dict[str, str]) -> bool:
    return {"web", "worker", "scheduler", "simulator"} <= _parts(place) and any(
        "valkey" in words for words in _processes(place).values()
    )


def test_one_command_starts_everything_and_ctrl_c_stops_everything(place, tmp_path):
    log = tmp_path / "first.log"
    with app_process("run", "--json", env=place, log=log) as run:
        wait_until(lambda: _ready(log) is not None, PATIENCE, f"ready: {log.read_text()[-500:]}")
        facts = _ready(log)
        assert facts["url"] == f"http://127.0.0.1:{place['WA_PORT']}"
        assert "/welcome/" in facts["welcome_url"]
        assert facts["demo"]["api_key"].startswith("wak_test_")
        wait_until(lambda: _everything_runs(place), PATIENCE, "all parts")
        assert _status(place, facts["welcome_url"].removeprefix(facts["url"])) == 200
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.wait(20) == 0
        assert time.monotonic() - began < 15
    assert _processes(place) == {}

    # Again: the same link, since nobody used it; nothing is prepared; SIGTERM this time.
    log = tmp_path / "second.log"
    with app_process("run", "--json", env=place, log=log) as run:
        wait_until(lambda: _ready(log) is not None, PATIENCE, "ready again")
        assert _ready(log)["welcome_url"] == facts["welcome_url"]
        assert _ready(log)["demo"] == facts["demo"]
        assert "Preparing" not in log.read_text()
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 0
    assert _processes(place) == {}
    private = ("secrets.env", "welcome.json", "demo.json")
    assert {(Path(place["WA_DATA_DIR"]) / name).stat().st_mode & 0o777 for name in private} == {0o600}


def test_what_is_killed_comes_back_and_nothing_outlives_the_supervisor(place, tmp_path):
    log = tmp_path / "run.log"
    with app_process("run", "--json", env={**place, "WA_DEMO": "0"}, log=log) as run:
        wait_until(lambda: _ready(log) is not None, PATIENCE, "ready")
        wait_until(lambda: _everything_runs(place), PATIENCE, "all parts")
        for part in ("worker", "web"):
            killed = _pid_of(place, part)
            os.kill(killed, signal.SIGKILL)
            wait_until(
                lambda killed=killed, part=part: killed not in _processes(place) and part in _parts(place),
                PATIENCE,
                f"{part} again",
            )
        wait_until(lambda: _status(place, "/healthz") == 200, PATIENCE, "the web again, on the same port")
        assert "SIGKILL" in log.read_text()
        run.kill()
        run.wait()
        wait_until(lambda: _processes(place) == {}, 15, "an end of all parts")


# --- one sentence each ------------------------------------------------------------------------------------------------


def _refusal(place: dict[str, str], *words: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, DOOR, *words], env=clean_environ({**place, **env}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith(".\n")
    assert _processes(place) == {}
    return done.stderr.strip()


@pytest.mark.parametrize(
    ("command", "variable"), [("run", "WA_PORT"), ("run", "WA_SIMULATOR_PORT"), ("web", "WA_PORT")]
)
def test_a_taken_port_is_one_sentence(place, command, variable):
    with socket.create_server(("127.0.0.1", int(place[variable]))):
        assert _refusal(place, command).startswith(f"{variable} {place[variable]} is taken:")


def test_an_address_that_is_not_ours_is_one_sentence(place):
    sentence = _refusal(
        place, "web", WA_HOST="192.0.2.1", WA_SECRET_KEY="x" * 32,
        WA_ENCRYPTION_KEYS="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    )  # fmt: skip
    assert sentence == "WA_HOST 192.0.2.1 is not an address of this machine."


@pytest.mark.parametrize("command", ["run", "web", "simulator"])
def test_a_wrong_value_or_a_stray_word_is_one_sentence(place, command):
    assert _refusal(place, command, WA_LOG_LEVEL="loud").startswith("WA_LOG_LEVEL must be one of")
    assert "takes no arguments, not --prot 9" in _refusal(place, command, "--prot", "9")


@pytest.mark.parametrize(("variable", "value"), [("WA_FAILPOINTS", "F1=explode"), ("WA_PACE", "leese=1")])
def test_what_only_the_application_can_judge_is_one_sentence_too(place, variable, value):
    assert _refusal(place, "web", **{variable: value}).startswith(variable)


def test_a_data_folder_that_cannot_be_made_is_one_sentence(place, tmp_path):
    (tmp_path / "file").touch()
    sentence = _refusal(place, "run", WA_DATA_DIR=str(tmp_path / "file" / "x"))
    assert str(tmp_path / "file") in sentence


def test_a_data_folder_that_is_not_writable_is_one_sentence(tmp_path):
    for number in (13, 30):
        sentence = start_sentence(OSError(number, os.strerror(number), "/srv/wa"))
        assert sentence.startswith("/srv/wa: ")
        assert "WA_DATA_DIR" in sentence


def test_a_full_disk_is_one_sentence(place, monkeypatch):
    settings = Settings.from_env(place)
    room = os.statvfs(settings.data_dir)
    fields = {name: getattr(room, name) for name in ("f_frsize", "f_blocks")}
    full = type("Room", (), {**fields, "f_bavail": 0})()
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(readiness.CannotStart, match=r"^The disk that holds .* is full: .*\.$"):
        readiness.check_place(settings)
    assert start_sentence(OSError(28, "No space left on device")) == "the disk is full."


# --- the web part -----------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_told_from_an_address_that_is_not_ours():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^WA_PORT {port} is taken"):
            serve.check_free("127.0.0.1", port, "WA_PORT")
    serve.check_free("127.0.0.1", port, "WA_PORT")
    with pytest.raises(ConfigError, match=r"^WA_HOST "):
        serve.check_free("192.0.2.1", port, "WA_PORT")


def test_requests_wait_at_the_gate_until_the_application_is_loaded():
    import threading

    go = threading.Event()

    def load():
        go.wait(10)

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"real " + environ["PATH_INFO"].encode()]

        return application

    gate = serve.Gate(load)

    def ask(path: str) -> tuple[list, bytes]:
        seen: list = []
        body = b"".join(gate({"PATH_INFO": path}, lambda *head: seen.append(head)))
        return seen, body

    seen, body = ask("/healthz")
    assert seen[0][0] == "200 OK"
    assert ("X-WA-Loading", "1") in seen[0][1]
    assert json.loads(body) == {"status": "ok"}
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(ask("/page")[1]))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    go.set()
    waiting.join(10)
    assert answers == [b"real /page"]
    assert ask("/healthz")[1] == b"real /healthz"


def test_the_web_part_stops_on_sigterm_and_finishes_what_it_answers(place, tmp_path):
    with app_process("web", env=place, log=tmp_path / "web.log") as web:
        wait_until(lambda: _status(place, "/healthz") == 200, PATIENCE, "healthz")
        began = time.monotonic()
        web.send_signal(signal.SIGTERM)
        assert web.wait(15) == 0
        assert time.monotonic() - began < 10
    assert _processes(place) == {}


# --- what is known without asking the database's own code ------------------------------------------------------------


def test_facts_are_known_only_of_a_current_database(tmp_path):
    import sqlite3

    settings = Settings.from_env({"WA_DATA_DIR": str(tmp_path / "d")})
    assert readiness.known_facts(settings) is None
    newest = max(path.name[:4] for path in (DOOR.parent / "migrations" / "versions").glob("[0-9]*.py"))
    with sqlite3.connect(settings.database_path) as link:
        link.execute("CREATE TABLE alembic_version (version_num TEXT)")
        link.execute("CREATE TABLE wa_users (password_hash TEXT)")
        link.execute("INSERT INTO alembic_version VALUES ('0000')")
    assert not readiness.schema_is_current(settings)
    with sqlite3.connect(settings.database_path) as link:
        link.execute("UPDATE alembic_version SET version_num = ?", (newest,))
        link.execute("INSERT INTO wa_users VALUES (NULL)")
    link.close()
    assert readiness.schema_is_current(settings)
    assert readiness.known_facts(settings) is None  # nobody has an account and no link is known
    facts = {"welcome_url": "http://h/welcome/x", "sign_in_url": "http://h", "demo": None}
    readiness.remember(settings, facts)
    assert readiness.known_facts(settings)["welcome_url"] == "http://h/welcome/x"
    with sqlite3.connect(settings.database_path) as link:
        link.execute("UPDATE wa_users SET password_hash = 'x'")
    link.close()
    assert readiness.known_facts(settings)["welcome_url"] is None
    readiness.remember(settings, {**facts, "welcome_url": None})
    assert not (settings.data_dir / "welcome.json").exists()


def test_an_old_welcome_link_is_not_shown_again(tmp_path, monkeypatch):
    settings = Settings.from_env({"WA_DATA_DIR": str(tmp_path / "d")})
    readiness.remember(settings, {"welcome_url": "http://h/welcome/x"})
    assert readiness._remembered_welcome(settings) == "http://h/welcome/x"
    later = time.time() + readiness.WELCOME_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert readiness._remembered_welcome(settings) is None
