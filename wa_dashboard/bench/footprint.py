"""Memory of each part, and how long starts take, beside a bare Flask application with SQLAlchemy."""

import contextlib
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from .gates import judged
from .servers import DOOR, app_process, clean_environ, free_port, wait_until
from .stage import Stage
from .storm import session_of

_BARE = (
    "import flask, flask_sqlalchemy, sqlalchemy\n"
    "app = flask.Flask('bare'); app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite://'\n"
    "db = flask_sqlalchemy.SQLAlchemy(app)\n"
    "with app.app_context(): db.session.execute(sqlalchemy.text('SELECT 1'))\n"
)
_SHOW_RSS = "import pathlib; print(pathlib.Path('/proc/self/smaps_rollup').read_text())"


def run(stage: Stage) -> dict[str, Any]:
    """Starts in rounds; memory once. Memory is read from /proc and left out where there is none."""
    env = stage.env(stage.migrated())
    starts = [_starts(env) for _ in range(stage.rounds)]
    words = {
        "python": "python that does nothing",
        "bare": "bare Flask with SQLAlchemy, imported",
        "product": "the whole application, made",
        "help": "python3 app.py --help",
    }
    figures = [
        {"what": what, "unit": "s", "value": round(median(row[name] for row in starts), 3)}
        for name, what in words.items()
    ]
    ratios = [judged("cli_of_bare", [row["help"] / row["bare"] for row in starts])]
    run_s = _second_run(stage, env)
    figures.append({"what": "python3 app.py, second start, to the first page", "unit": "s", "value": round(run_s, 2)})
    notes = []
    if Path("/proc/self/smaps_rollup").exists():
        memory = _memory(stage, env)
        figures += [{"what": f"{name}, memory (PSS)", "unit": "MB", "value": mb} for name, mb in memory["pss"].items()]
        ratios.append(judged("web_rss_of_bare", [memory["web_rss"] / memory["bare_rss"]]))
    else:
        notes.append("memory is not measured here: there is no /proc")
    for each in figures:
        stage.say(f"  {each['what']}: {each['value']} {each['unit']}")
    return {"figures": figures, "ratios": ratios, "notes": notes}


def _starts(env: dict[str, str]) -> dict[str, float]:
    create = "from wa_dashboard.factory import create_app; create_app()"
    return {
        "python": _seconds(env, "-c", "pass"),
        "bare": _seconds(env, "-c", _BARE),
        "product": _seconds(env, "-c", create),
        "help": _seconds(env, str(DOOR), "--help"),
    }


def _seconds(env: dict[str, str], *words: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        env=clean_environ(env),
        cwd=DOOR.parent,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    return time.perf_counter() - began


def _second_run(stage: Stage, env: dict[str, str]) -> float:
    """Seconds from the command to the first 200, when everything has been prepared by an earlier start."""
    url, own = "", {}
    seconds = 0.0
    for _ in range(2):
        ports = {"WA_PORT": str(free_port()), "WA_SIMULATOR_PORT": str(free_port())}
        own = {**env, **ports, "WA_DATA_DIR": str(stage.folder / "whole"), "WA_DEMO": "1"}
        url = f"http://127.0.0.1:{ports['WA_PORT']}/sign-in"
        began = time.perf_counter()
        with app_process("run", env=own, log=stage.folder / "run.log", patience=20):
            wait_until(partial(_is_there, url), 60, "the first page")
            seconds = time.perf_counter() - began
    return seconds


def _is_there(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
        return bool(answer.status == 200)
    return False


def _memory(stage: Stage, env: dict[str, str]) -> dict[str, Any]:
    """PSS of each part with all its processes, and RSS of the web's largest process beside a bare application's."""
    bare = subprocess.run(
        [sys.executable, "-c", _BARE + _SHOW_RSS], env=clean_environ(env), check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = {"pss": {}, "bare_rss": _megabytes(bare.stdout, "Rss")}
    for name in ("web", "worker", "scheduler"):
        with app_process(name, env=env, log=stage.folder / f"{name}.log") as process:
            if name == "web":
                wait_until(lambda: _is_there(f"http://127.0.0.1:{env['WA_PORT']}/sign-in"), 30, "the web answers")
            else:
                wait_until(partial(_has_children, process.pid), 30, f"{name} is up")
                time.sleep(3)
            sheets = [_sheet(pid) for pid in session_of(process.pid)]
            found["pss"][name] = round(sum(_megabytes(sheet, "Pss") for sheet in sheets), 1)
            if name == "web":
                found["web_rss"] = max(_megabytes(sheet, "Rss") for sheet in sheets)
    return found


def _has_children(leader: int) -> bool:
    return len(session_of(leader)) > 1


def _sheet(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return ""


def _megabytes(sheet: str, name: str) -> float:
    """proc(5): ``Pss:  1234 kB``."""
    line = next((line for line in sheet.splitlines() if line.startswith(f"{name}:")), "x 0 kB")
    return int(line.split()[1]) / 1024
