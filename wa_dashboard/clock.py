"""Business time. Everything that asks "what time is it" asks here, so that a test can answer.

Leases and limits do not: they use the clocks of the database and of Redis (decisions.md D8).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

_moved_to: ContextVar[datetime | None] = ContextVar("moved_to", default=None)


def now() -> datetime:
    """The present instant as aware UTC, or the one a test or a test-mode request has chosen."""
    return _moved_to.get() or datetime.now(UTC)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    """Let ``now()`` answer ``instant`` (aware) inside the block, in this thread or task only."""
    if instant.tzinfo is None:
        raise ValueError("the clock takes aware datetimes only")
    token = _moved_to.set(instant.astimezone(UTC))
    try:
        yield
    finally:
        _moved_to.reset(token)


def in_seconds(seconds: float) -> datetime:
    """The instant that many seconds from now."""
    return now() + timedelta(seconds=seconds)
