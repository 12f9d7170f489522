"""Real servers for tests, private to the run: those of the benchmarks, and the PostgreSQL that CI may name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wa_dashboard.bench.servers import DOOR, NOBODY, Cluster, app_process, clean_environ, cluster, free_port, wait_until

__all__ = [
    "DOOR", "NOBODY", "Cluster", "app_process", "clean_environ", "cluster", "free_port", "postgres", "wait_until",
]  # fmt: skip


@contextmanager
def postgres() -> Iterator[str]:
    """A URL of an empty database whose owner ``wa_app`` is no superuser, so that row security binds it."""
    if url := os.environ.get("WA_TEST_DATABASE_URL"):
        yield url.replace("postgres://", "postgresql+psycopg://").replace("postgresql://", "postgresql+psycopg://")
        return
    with cluster() as server:
        yield server.url
