"""What ``run`` looks at before and while it starts the parts. Standard library only."""

import contextlib
import json
import os
import socket
import sqlite3

from . import serve
from .config import PROJECT, Settings
from .greeting import Facts

LEAST_FREE_BYTES = 20 * 1024 * 1024


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


def known_facts(settings: Settings) -> Facts | None:
    """What ``_prepare`` would answer, read without it: only when an SQLite database has the newest schema and an
    account already; None in every other case."""
    path = settings.database_path
    if path is None or not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as link:
            revision = link.execute("SELECT version_num FROM alembic_version").fetchall()
            somebody = link.execute("SELECT 1 FROM wa_users WHERE password_hash IS NOT NULL LIMIT 1").fetchone()
    except sqlite3.Error:
        return None
    newest = max((file.name[:4] for file in (PROJECT / "migrations" / "versions").glob("[0-9]*.py")), default="")
    if not somebody or revision != [(newest,)]:
        return None
    demo = None
    with contextlib.suppress(OSError, ValueError):
        demo = json.loads(settings.demo_file.read_text(encoding="utf-8"))
    return {"welcome_url": None, "sign_in_url": settings.public_url, "demo": demo}


def answers_health(host: str, port: int) -> bool:
    """Whether ``GET /healthz`` is answered with 200 within two seconds."""
    try:
        with socket.create_connection((host, port), timeout=2) as link:
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in link.recv(64)
    except OSError:
        return False


def listens(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True
