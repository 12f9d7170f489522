"""What ``run`` looks at before and while it starts the parts. Standard library only."""

import contextlib
import json
import os
import socket
import sqlite3
import time

from . import serve
from .config import PROJECT, Settings
from .greeting import Facts

LEAST_FREE_BYTES = 20 * 1024 * 1024
# A welcome link is good for 30 minutes; one this old is not shown again, since there must be time to use it.
WELCOME_SECONDS = 20 * 60
_WELCOME = "welcome.json"


class CannotStart(RuntimeError):
    """``str()`` is one sentence for the operator."""


def check_place(settings: Settings) -> None:
    """Raises ConfigError or OSError with what would stop the parts: the ports, the folder, the disk."""
    probe = settings.data_dir / ".writable"
    probe.write_bytes(b"x" * 4096)
    probe.unlink()
    room = os.statvfs(settings.data_dir)
    if room.f_bavail * room.f_frsize < LEAST_FREE_BYTES:
        raise CannotStart(f"The disk that holds {settings.data_dir} is full: free some space and start again.")
    serve.check_free(settings.host, settings.port, "WA_PORT")
    serve.check_free("127.0.0.1", settings.simulator_port, "WA_SIMULATOR_PORT")


def schema_is_current(settings: Settings) -> bool:
    """Whether an SQLite database has the newest migration; False for PostgreSQL, where only ``_prepare`` can tell."""
    newest = max((file.name[:4] for file in (PROJECT / "migrations" / "versions").glob("[0-9]*.py")), default="")
    return _ask(settings, "SELECT version_num FROM alembic_version") == [(newest,)]


def known_facts(settings: Settings) -> Facts | None:
    """What ``_prepare`` would answer, read without it; None when only ``_prepare`` can tell.

    Known are: a current SQLite database in which somebody has an account (then one signs in), or for which a welcome
    link was made a short while ago.
    """
    if not schema_is_current(settings):
        return None
    welcome = None
    if not _ask(settings, "SELECT 1 FROM wa_users WHERE password_hash IS NOT NULL LIMIT 1"):
        welcome = _remembered_welcome(settings)
        if welcome is None:
            return None
    demo = None
    with contextlib.suppress(OSError, ValueError):
        demo = json.loads(settings.demo_file.read_text(encoding="utf-8"))
    return {"welcome_url": welcome, "sign_in_url": f"{settings.public_url}/sign-in", "demo": demo}


def remember(settings: Settings, facts: Facts) -> None:
    """Keep a welcome link for the next start, as private as the secrets beside it."""
    path = settings.data_dir / _WELCOME
    if not facts.get("welcome_url"):
        path.unlink(missing_ok=True)
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"url": facts["welcome_url"], "public_url": settings.public_url, "made_at": time.time()}, file)


def _remembered_welcome(settings: Settings) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads((settings.data_dir / _WELCOME).read_text(encoding="utf-8"))
        if 0 <= time.time() - kept["made_at"] < WELCOME_SECONDS and kept["public_url"] == settings.public_url:
            return str(kept["url"])
    return None


def _ask(settings: Settings, question: str) -> list[tuple[object, ...]]:
    """The rows of an SQLite database; none when there is no such database or table, or it is busy."""
    path = settings.database_path
    if path is None or not path.is_file():
        return []
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as link:
            return link.execute(question).fetchall()
    except sqlite3.Error:
        return []


def web_state(host: str, port: int) -> str:
    """What ``GET /healthz`` tells within two seconds: "away", "loading" (it lives, other requests wait) or "ready"."""
    try:
        with socket.create_connection((host, port), timeout=2) as link:
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = link.recv(2048).lower()
    except OSError:
        return "away"
    if b" 200 " not in answer[:16]:
        return "away"
    return "loading" if b"x-wa-loading" in answer else "ready"


def listens(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True
