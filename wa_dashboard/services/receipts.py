"""Reading the webhooks that `intake` kept: each piece of news once, in any order, however often it comes.

A post is read in slices of a fraction of a second, so that on SQLite nobody waits long for the writer. A row per
piece of news (`WebhookItem`) says what is done, which makes a slice, a crash and a replay the same thing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TypeVar

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.exc import OperationalError

from .. import clock, failpoints, logs
from ..db import all_tenants, db, end_read, transaction
from ..models import WebhookEvent
from .parked import match_parked, match_parked_due
from .reading import TRIES, Keyed, Reading

__all__ = ["TRIES", "match_parked", "match_parked_due", "process", "replay"]

log = logs.get(__name__)

# Seconds after the arrival before a post that failed is tried the 2nd, 3rd, 4th, 5th time.
WAITS_S = (2, 10, 30, 60)
# One transaction: so many posts of so many bytes together, so many items, and about so many seconds.
MOST_POSTS, MOST_BYTES = 500, 1 << 20
LEAST_TASKS, FIRST_TASKS, MOST_TASKS = 100, 500, 1000
SLICE_S = 0.15
_RETRIED = frozenset({"failed"})
_REPLAYED = frozenset({"failed", "unknown", "ignored", "parked", "orphaned"})

R = TypeVar("R")


def process(limit: int = 200) -> int:
    """Read new webhooks of all tenants, oldest first; returns how many were finished or failed one try.

    Any number of processes may do this at once. Raises only what means that the database is away.
    """
    handled, most = 0, FIRST_TASKS
    tried: set[str] = set()
    parsed: dict[str, list[Keyed]] = {}
    while handled < limit and (posts := _how_many_fit(tried)):
        wanted = min(posts, limit - handled)
        began = time.monotonic()
        picked, ended = _patiently(lambda wanted=wanted, most=most: _batch(wanted, most, tried, parsed))  # type: ignore[misc]
        if not picked:
            break
        # As many items as lately fitted into one slice, so that nobody waits long for SQLite's writer.
        took = time.monotonic() - began
        most = (
            max(LEAST_TASKS, most // 2) if took > SLICE_S else min(MOST_TASKS, most * 2) if took < SLICE_S / 2 else most
        )
        handled += ended
    return handled


def _batch(posts: int, most: int, tried: set[str], parsed: dict[str, list[Keyed]]) -> tuple[int, int]:
    """One transaction over a few posts and ``most`` items: how many were picked up, how many came to an end."""
    with all_tenants("whoever reads webhooks reads everybody's"), transaction():
        events = db.session.scalars(
            _due(tried).order_by(WebhookEvent.received_at).limit(posts).with_for_update(skip_locked=True),
            execution_options={"populate_existing": True},
        ).all()
        reading = Reading(_RETRIED, parsed)
        reading.open(events, most)
        ended = reading.run(time.monotonic() + SLICE_S)
        reading.whose.note_signs_of_life()
        failpoints.hit("F10")
    tried.update(ended)
    return len(events), len(ended)


def _due(tried: set[str]) -> Select[WebhookEvent]:
    now = clock.now()
    waited = [
        and_(WebhookEvent.tries == number, WebhookEvent.received_at <= now - timedelta(seconds=seconds))
        for number, seconds in enumerate(WAITS_S, 1)
    ]
    is_due = or_(WebhookEvent.tries == 0, *waited)
    return select(WebhookEvent).where(WebhookEvent.state == "new", is_due, WebhookEvent.id.not_in(tried))


def _how_many_fit(tried: set[str]) -> int:
    """How many of the posts that are due to read at once. Asked without a lock: looking must not cost SQLite's writer
    anything."""
    with all_tenants("a look, nothing more"):
        size = func.length(WebhookEvent.body)
        sizes = db.session.scalars(
            _due(tried).with_only_columns(size).order_by(WebhookEvent.received_at).limit(MOST_POSTS)
        ).all()
        end_read()
    fitting = sum(total <= MOST_BYTES for total in accumulate(sizes))
    return max(fitting, min(1, len(sizes)))


def _patiently(work: Callable[[], R]) -> R:
    """Once more when two of us wait for each other's rows: the database ends one of the two."""
    for wait in (0.02, 0.1):
        try:
            return work()
        except OperationalError as error:
            log.info("webhooks_once_more", error=type(error.orig).__name__)
            time.sleep(wait)
    return work()


# --- replay -----------------------------------------------------------------------------------------------------


class _OnlyLooking(Exception):
    """Ends the transaction of a dry run."""


def replay(
    since: datetime | None = None, event_id: str | None = None, provider: str | None = None, *, dry_run: bool = False
) -> dict[str, int]:
    """Read stored webhooks again: all that came at or after ``since`` (aware), or one, of one provider or of any.

    What was applied stays applied and is counted as ``repeated``; what failed, was parked, ignored or not
    understood gets another chance. Returns counts by item state, and ``events``, ``quarantined``. A dry run counts
    the same and changes nothing.
    """
    counts: Counter[str] = Counter(events=0, quarantined=0)
    for found in _stored(since, event_id, provider):
        counts.update(_patiently(lambda found=found: _reread(found, dry_run)))  # type: ignore[misc]
    return dict(counts)


def _stored(since: datetime | None, event_id: str | None, provider: str | None) -> Iterator[str]:
    """The ids of the wanted posts, oldest first, as they stand now."""
    wanted = [WebhookEvent.id == event_id] if event_id else []
    wanted += [WebhookEvent.received_at >= since] if since else []
    wanted += [WebhookEvent.provider == provider] if provider else []
    with all_tenants("a replay goes over everybody's webhooks"):
        ids = db.session.scalars(
            select(WebhookEvent.id).where(*wanted).order_by(WebhookEvent.received_at, WebhookEvent.id)
        ).all()
        end_read()
    yield from ids


def _reread(event_id: str, dry_run: bool) -> Counter[str]:
    counts: Counter[str] = Counter(events=1)
    try:
        with all_tenants("a replay goes over everybody's webhooks"), transaction():
            event = db.session.scalars(
                select(WebhookEvent)
                .where(WebhookEvent.id == event_id)
                .with_for_update()
                .execution_options(populate_existing=True)
            ).one()
            event.tries = 0
            reading = Reading(_REPLAYED, {}, replaying=True)
            reading.open([event], float("inf"))
            reading.run(float("inf"))
            counts.update(reading.counts)
            counts["quarantined"] += event.state == "quarantined"
            if dry_run:
                raise _OnlyLooking  # noqa: TRY301 - the rollback is the point
    except _OnlyLooking:
        pass
    return counts
