"""Who runs on a data folder: every part holds a shared lock there, a restore wants it alone. Standard library only."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "parts.lock"


class Busy(RuntimeError):
    """``str()`` is one sentence for the operator."""


@contextmanager
def present(data_dir: Path) -> Iterator[None]:
    """For the time of the block a part of the product runs here. Children that fork share it until they end.

    Raises Busy while a restore is under way, OSError when the folder cannot be written.
    """
    with _lock(data_dir, fcntl.LOCK_SH, "A restore is under way in this data folder: start again when it has ended."):
        yield


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """For the time of the block no part runs here, and none can start. Raises Busy when one does."""
    with _lock(
        data_dir,
        fcntl.LOCK_EX,
        "Parts of the product run on this data folder: stop web, workers and scheduler (or run) first.",
    ):
        yield


@contextmanager
def _lock(data_dir: Path, kind: int, otherwise: str) -> Iterator[None]:
    file = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(otherwise) from None
        yield
    finally:
        os.close(file)
