"""Where a benchmark plays: a folder, a queue and a database of its own, and steps in processes of their own."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import embedded
from ..config import PROJECT, queue_socket
from .far_end import FarEnd
from .servers import clean_environ, cluster, free_port, has_postgresql, wait_until


class StepFailed(RuntimeError):
    """A step ended badly or took too long; ``str()`` holds the end of its stderr."""


@dataclass
class Stage:
    """``database``: sqlite or postgresql, for people. ``say``: one line of progress, for stderr."""

    folder: Path
    database: str
    redis_url: str
    scale: float
    rounds: int
    say: Callable[[str], None]
    make_database: Callable[[], str]
    _port: int = field(default_factory=free_port)

    def sized(self, full: int, least: int = 1) -> int:
        """``full`` at scale 1, never less than ``least``."""
        return max(least, round(full * self.scale))

    def env(self, database_url: str, **more: str) -> dict[str, str]:
        """The settings of a private installation without limits."""
        return {
            "WA_DATA_DIR": str(self.folder / "data"),
            "DATABASE_URL": database_url,
            "REDIS_URL": self.redis_url,
            "WA_PORT": str(self._port),
            "WA_SIMULATOR_PORT": str(free_port()),
            "WA_LOG_LEVEL": "error",
            "WA_RATE_PER_MINUTE": "0",
            "WA_RATE_PER_HOUR": "0",
            "WA_DEMO": "0",
            "WHATSAPP_PROVIDER": "meta_cloud",
            **more,
        }

    def migrated(self) -> str:
        """The URL of a new database with the newest schema and nothing in it."""
        url = self.make_database()
        self.step("product:migrate", env=self.env(url))
        return url

    def learn(self, url: str) -> None:
        """Let PostgreSQL look at its tables, as it does by itself within a minute of running."""
        if url.startswith("postgresql"):
            from sqlalchemy import create_engine

            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql("ANALYZE")
            engine.dispose()

    def step(
        self, where: str, *, env: Mapping[str, str] | None = None, seconds: float = 300.0, **arguments: Any
    ) -> dict[str, Any]:
        """``MODULE:FUNCTION`` of this package in a process of its own; what it returned. Raises StepFailed."""
        with self._process(where, env or {}, arguments, subprocess.PIPE) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as slow:
                raise StepFailed(f"{where} took longer than {seconds:.0f} s\n{self._last_words()}") from slow
        lines = output.decode().strip().splitlines()
        if process.returncode or not lines:
            raise StepFailed(f"{where} ended with code {process.returncode}\n{self._last_words()}")
        return dict(json.loads(lines[-1]))

    @contextmanager
    def beside(
        self, where: str, *, env: Mapping[str, str] | None = None, **arguments: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The same, running beside the block and ended with it."""
        with self._process(where, env or {}, arguments, subprocess.DEVNULL) as process:
            yield process

    @contextmanager
    def _process(
        self, where: str, env: Mapping[str, str], arguments: Mapping[str, Any], output: int
    ) -> Iterator[subprocess.Popen[bytes]]:
        words = [sys.executable, "-m", "wa_dashboard.bench", where, json.dumps(arguments)]
        with (self.folder / "steps.log").open("ab") as log:
            process = subprocess.Popen(
                words,
                cwd=PROJECT,
                env=clean_environ(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _last_words(self) -> str:
        return "\n".join((self.folder / "steps.log").read_text(errors="replace").splitlines()[-25:])

    @contextmanager
    def far_end(self) -> Iterator[FarEnd]:
        """The provider's stand-in, for the time of the block."""
        port = free_port()
        with self.beside("far_end:serve", port=port) as process:
            found = FarEnd(port, process)

            def answers() -> bool:
                with contextlib.suppress(OSError):
                    return found.sends() == 0
                return False

            wait_until(answers, 10, "the far end answers")
            yield found


@contextmanager
def stage(database: str | None, scale: float, rounds: int, say: Callable[[str], None]) -> Iterator[Stage]:
    """A stage for one run; everything it started and wrote is gone after the block.

    ``database``: ``sqlite``, ``postgresql``, a URL of a server on which new databases may be made, or None: the
    one of DATABASE_URL, else the PostgreSQL that came with the packages, else SQLite.
    """
    wanted = database or os.environ.get("DATABASE_URL") or ("postgresql" if has_postgresql() else "sqlite")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wa-bench-", ignore_cleanup_errors=True)))
        (folder / "queue").mkdir()
        stack.enter_context(embedded.running(folder / "queue"))
        redis_url = f"unix://{queue_socket(folder / 'queue')}"
        name, make = _maker(stack, wanted, folder)
        yield Stage(folder, name, redis_url, scale, rounds, say, make)


def _maker(stack: ExitStack, wanted: str, folder: Path) -> tuple[str, Callable[[], str]]:
    """The database's kind, and what makes an empty one of it."""
    if wanted.startswith("sqlite"):
        return "sqlite", lambda: f"sqlite:///{folder / f'{secrets.token_hex(4)}.db'}"
    if wanted == "postgresql":
        wanted = stack.enter_context(cluster(durable=True)).url
    if not wanted.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        raise ValueError(f"--database must be sqlite, postgresql or a URL, not {wanted.partition('://')[0]!r}.")
    return "postgresql", _Databases(stack, "postgresql+psycopg://" + wanted.partition("://")[2]).make


class _Databases:
    """New databases on a server, dropped at the end. The one that the URL names is only connected to."""

    def __init__(self, stack: ExitStack, url: str) -> None:
        from sqlalchemy import create_engine, make_url

        self._url = make_url(url)
        self._engine = create_engine(self._url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self._stack = stack
        stack.callback(self._engine.dispose)

    def make(self) -> str:
        name = f"wa_bench_{secrets.token_hex(4)}"
        self._do(f"CREATE DATABASE {name}")
        self._stack.callback(self._do, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _do(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)
