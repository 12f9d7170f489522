"""What the terminal and a collector get to see of the parts' logs."""

import json
import os

import pytest

from wa_dashboard import logtail
from wa_dashboard.logtail import LogTail


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "web.log"
    path.write_text('{"event": "of yesterday", "level": "error"}\n')
    return path


def _tail(log, *, terminal: bool, level: str = "info") -> LogTail:
    tail = LogTail(log.parent, level)
    tail._terminal = terminal
    tail.follow(log)
    return tail


def _append(log, *lines: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def test_a_terminal_sees_warnings_and_last_words_only(log, capsys):
    tail = _tail(log, terminal=True)
    _append(
        log,
        '{"event": "request", "level": "info"}\n',
        '{"event": "account_paused", "level": "warning", "account_id": "acc_1", "timestamp": "t"}\n',
        "WA_PORT 8000 is taken.\n",
    )
    tail.pass_on()
    tail.pass_on()
    assert capsys.readouterr().err.splitlines() == [
        "  web: warning: account_paused account_id=acc_1",
        "  web: WA_PORT 8000 is taken.",
    ]


def test_a_terminal_that_asked_for_debug_sees_everything(log, capsys):
    tail = _tail(log, terminal=True, level="debug")
    _append(log, '{"event": "request", "level": "debug"}\n')
    tail.pass_on()
    assert "request" in capsys.readouterr().err


def test_a_collector_gets_every_line_as_json_once_it_is_whole(log, capsys):
    tail = _tail(log, terminal=False)
    _append(log, '{"event": "one", "level": "info"}\n{"event": "tw')
    tail.pass_on()
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["one"]
    _append(log, 'o", "level": "info"}\nTraceback: Ș\n')
    tail.pass_on()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["two", "Traceback: Ș"]
    assert lines[1]["logger"] == "web"


def test_a_log_that_grows_is_cut_and_one_copy_kept(log, capsys, monkeypatch):
    monkeypatch.setattr(logtail, "ROTATE_BYTES", 1000)
    tail = _tail(log, terminal=True)
    with log.open("ab") as part:  # as a part holds it: appending
        part.write(b"x" * 1000 + b"\n")
        part.flush()
        tail.pass_on()
        assert log.stat().st_size == 0
        assert (log.parent / "web.log.1").stat().st_size > 1000
        part.write(b"after\n")
        part.flush()
        capsys.readouterr()
        tail.pass_on()
    assert capsys.readouterr().err == "  web: after\n"


def test_a_big_log_is_cut_at_the_start(log, monkeypatch):
    monkeypatch.setattr(logtail, "ROTATE_BYTES", 10)
    LogTail(log.parent, "info")
    assert log.stat().st_size == 0
    assert sorted(os.listdir(log.parent)) == ["web.log", "web.log.1"]


def test_a_log_that_vanishes_is_no_reason_to_stop(log):
    tail = _tail(log, terminal=True)
    log.unlink()
    tail.pass_on()
