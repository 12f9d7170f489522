"""Copies of the database in one file, and putting one back: behind the restore fence, so that nothing is sent twice."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
from datetime import timedelta
from pathlib import Path

from sqlalchemy import make_url, select

from .. import db as database
from ..config import Settings
from ..db import all_tenants, clock_of_database, db, end_read, give_up_read
from ..domain.text import T
from ..errors import Conflict, Invalid
from ..models import Heartbeat
from . import checkup, fence

_ALIVE = timedelta(seconds=15)


def backup(settings: Settings, target: Path) -> str:
    """Write a consistent copy to ``target`` (0600), which must not exist; returns its SHA-256.

    SQLite by its online backup; PostgreSQL by ``pg_dump`` in its custom format. Raises Invalid when it cannot.
    """
    if target.exists():
        raise Invalid(T("%(path)s exists already: choose another name.", path=str(target)), "file_exists")
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    source = settings.database_path
    if source is not None:
        with sqlite3.connect(source) as connection, sqlite3.connect(target) as copy:
            connection.backup(copy)
        connection.close()
        copy.close()
    else:
        # Row security holds for the owner too: without being told to respect it, pg_dump refuses.
        _run(settings, "pg_dump", "--format=custom", "--enable-row-security", f"--file={target}")
    return _digest(target)


def restore(settings: Settings, source: Path) -> dict[str, object]:
    """Put ``source`` in the place of the database, and everything that waits in it behind the fence.

    Raises Conflict while parts of the product run; Invalid when the file is none of ours, or of a newer schema.
    """
    if not source.is_file():
        raise Invalid(T("%(path)s is not a file.", path=str(source)), "file_unreadable")
    _refuse_while_running()
    if settings.database_path is not None:
        _restore_sqlite(settings.database_path, source)
    else:
        db.session.remove()
        db.engine.dispose()
        _run(settings, "pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", str(source))
    revision = database.schema_revision()
    if revision is None or revision > checkup.newest_migration():
        raise Invalid(T("The copy is of the schema %(revision)s, which this version does not know.",
                        revision=str(revision)), "schema_unknown")  # fmt: skip
    return {"schema": revision, "held": fence.put_up()}


def _refuse_while_running() -> None:
    try:
        with all_tenants("a heartbeat is nobody's"):
            last = db.session.scalar(select(Heartbeat.at).where(Heartbeat.name == "tick"))
            running = last is not None and clock_of_database() - last < _ALIVE
            end_read()
    except Exception:  # noqa: BLE001 - a database without tables, or none at all: that is why one restores
        give_up_read()
        return
    if running:
        raise Conflict(T("Parts of the product are running: stop them, wait a quarter of a minute, and try again."),
                       "still_running")  # fmt: skip


def _restore_sqlite(place: Path, source: Path) -> None:
    copy = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    try:
        sound = copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        ours = copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()[0]
    except sqlite3.DatabaseError:
        sound, ours = False, 0
    finally:
        copy.close()
    if not sound or not ours:
        raise Invalid(T("%(path)s is not a sound copy of a database of ours.", path=str(source)), "copy_unsound")
    db.session.remove()
    db.engine.dispose()
    waiting = place.with_suffix(".restoring")
    shutil.copyfile(source, waiting)
    waiting.chmod(0o600)
    for leftover in ("-wal", "-shm"):
        Path(f"{place}{leftover}").unlink(missing_ok=True)
    waiting.replace(place)


def _run(settings: Settings, program: str, *words: str) -> None:
    """A PostgreSQL client program on the database; the password goes by the environment, not the command line."""
    found = shutil.which(program)
    if found is None:
        raise Invalid(T("%(program)s is not on PATH: install PostgreSQL's client programs.", program=program),
                      "program_missing")  # fmt: skip
    url = make_url(settings.database_url)
    parts = {"PGHOST": url.host or url.query.get("host"), "PGPORT": url.port, "PGUSER": url.username,
             "PGPASSWORD": url.password, "PGDATABASE": url.database,
             "PGOPTIONS": f"-c app.tenant={database.ALL_TENANTS}"}  # fmt: skip
    env = {**os.environ, **{name: str(value) for name, value in parts.items() if value}}
    target = [f"--dbname={url.database}"] if program == "pg_restore" else []
    done = subprocess.run(  # noqa: S603 - a program of PATH, arguments as a list
        [found, *words[:-1], *target, words[-1]], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        detail = (done.stderr.strip().splitlines() or [""])[-1][:300]
        raise Invalid(T("%(program)s failed: %(why)s", program=program, why=detail), "program_failed")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
