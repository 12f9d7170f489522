"""Reading the webhooks that `intake` kept: each piece of news once, in any order, however often it comes.

A post is read in slices of a fraction of a second, so that on SQLite nobody waits long for the writer. A row per
piece of news (`WebhookItem`) says what is done, which makes a slice, a crash and a replay the same thing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TypeVar

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.exc import OperationalError

from .. import clock, failpoints, logs
from ..db import all_tenants, db, end_read, is_unavailable, savepoint, tenant_scope, transaction
from ..models import ProviderAccount, WebhookEvent, WebhookItem
from ..providers.base import AccountItem, InboundItem, Item, PreferenceItem, WebhookMalformed, WebhookRequest
from . import news
from .news import Known, Verdict
from .parked import match_parked, match_parked_due
from .routing import Whose

__all__ = ["match_parked", "match_parked_due", "process", "replay"]

log = logs.get(__name__)

TRIES = 5
# Seconds after the arrival before a post that failed is tried the 2nd, 3rd, 4th, 5th time.
WAITS_S = (2, 10, 30, 60)
FIRST_BATCH, BATCH = 10, 50
SLICE_S = 0.15
MOST_TASKS = 200
_RETRIED = frozenset({"failed"})
_REPLAYED = frozenset({"failed", "unknown", "ignored", "parked", "orphaned"})

R = TypeVar("R")


def process(limit: int = 200) -> int:
    """Read new webhooks of all tenants, oldest first; returns how many were finished or failed one try.

    Any number of processes may do this at once. Raises only what means that the database is away.
    """
    handled = 0
    tried: set[str] = set()
    parsed: dict[str, list[Item]] = {}
    size = FIRST_BATCH
    while handled < limit and _is_anything_due(tried):
        wanted = min(size, limit - handled)
        picked, ended = _patiently(lambda wanted=wanted: _batch(wanted, tried, parsed))  # type: ignore[misc]
        if not picked:
            break
        # No more posts are opened than were lately dealt with in one slice.
        size = min(BATCH, size * 2) if ended == picked else max(1, ended)
        handled += ended
    return handled


def _batch(size: int, tried: set[str], parsed: dict[str, list[Item]]) -> tuple[int, int]:
    """One transaction over a few posts: how many were picked up, how many came to an end."""
    with all_tenants("whoever reads webhooks reads everybody's"), transaction():
        events = db.session.scalars(
            _due(tried).order_by(WebhookEvent.received_at).limit(size).with_for_update(skip_locked=True),
            execution_options={"populate_existing": True},
        ).all()
        reading = _Reading(_RETRIED, parsed)
        reading.open(events, MOST_TASKS)
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


def _is_anything_due(tried: set[str]) -> bool:
    """Asked without a lock: looking must not cost SQLite's writer anything."""
    with all_tenants("a look, nothing more"):
        found = bool(db.session.scalar(select(_due(tried).exists())))
        end_read()
    return found


def _patiently(work: Callable[[], R]) -> R:
    """Once more when two of us wait for each other's rows: the database ends one of the two."""
    for wait in (0.02, 0.1):
        try:
            return work()
        except OperationalError as error:
            log.info("webhooks_once_more", error=type(error.orig).__name__)
            time.sleep(wait)
    return work()


# --- posts and their items --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """One item to deal with, and the row an earlier reading left of it."""

    event: WebhookEvent
    item: Item
    account: ProviderAccount | None
    before: Known | None

    @property
    def alone(self) -> bool:
        """These lock the tenant's hash chain, which everybody else locks before any message: they go first or wait
        for the next transaction."""
        return isinstance(self.item, InboundItem | PreferenceItem | AccountItem)


class _Reading:
    """What one transaction does: opens posts, deals with their items, closes the posts that are complete.

    ``parsed`` is kept from one transaction to the next, so that a large post is not parsed for each of its slices.
    """

    def __init__(self, again: frozenset[str], parsed: dict[str, list[Item]], *, replaying: bool = False) -> None:
        self.whose = Whose()
        self.counts: Counter[str] = Counter()
        self._again = again
        self._parsed = parsed
        self._replaying = replaying
        self._tasks: list[_Task] = []
        self._whole: list[WebhookEvent] = []
        self._ended: list[str] = []
        self._doubtful: set[str] = set()  # not simply all new and all well

    def open(self, events: Sequence[WebhookEvent], most: float) -> None:
        """Collect the tasks of the posts, in order, as far as they fit into one transaction."""
        for event in events:
            for task in self._todo(event):
                full = len(self._tasks) >= most
                mixed = bool(self._tasks) and (task.alone or self._tasks[0].alone)
                if full or (mixed and not self._replaying):
                    return
                self._tasks.append(task)
            if event.id not in self._ended:
                self._whole.append(event)

    def run(self, stop_at: float) -> list[str]:
        """Deal with the tasks until ``stop_at`` (monotonic), at least one; returns the posts that came to an end."""
        tasks = sorted(self._tasks, key=lambda task: not task.alone)
        news.lock_messages([task.item for task in tasks])
        left = Counter(task.event.id for task in tasks)
        for tenant_id, group in groupby(tasks, key=lambda task: task.event.tenant_id):
            with tenant_scope(tenant_id):
                for task in group:
                    self._note(task.event, _take(task))
                    left[task.event.id] -= 1
                    if time.monotonic() > stop_at:
                        break
            if time.monotonic() > stop_at:
                break
        complete = [event for event in self._whole if not left[event.id]]
        for tenant_id, events in groupby(complete, key=lambda event: event.tenant_id):
            with tenant_scope(tenant_id):
                for event in events:
                    self._judge(event)
        return self._ended

    def _note(self, event: WebhookEvent, verdict: Verdict) -> None:
        self.counts[verdict.state] += 1
        if verdict.state not in ("applied", "parked"):
            self._doubtful.add(event.id)

    def _judge(self, event: WebhookEvent) -> None:
        if event.id in self._doubtful:
            _judge(event)
        else:
            _close(event, "done", None)
        self._ended.append(event.id)

    def _todo(self, event: WebhookEvent) -> list[_Task]:
        try:
            items = self._items(event)
            owners = self.whose.owners(event, items)
            accounts = {event.account_id, *(account.id for account in owners if account)}
            known = news.known(accounts, items)
        except WebhookMalformed as error:
            _close(event, "quarantined", error.reason)
        except Exception as error:  # noqa: BLE001 - whatever a post does, the others are read
            _raise_if_away(error)
            _fail(event, news.in_words(error))
        else:
            return self._new_tasks(event, zip(items, owners, strict=True), known)
        self._ended.append(event.id)
        return []

    def _items(self, event: WebhookEvent) -> list[Item]:
        items = self._parsed.get(event.id)
        if items is None:
            items = self.whose.provider(event.account_id).parse_webhook(_as_it_came(event))
            if len(items) > MOST_TASKS:
                self._parsed.clear()
                self._parsed[event.id] = items
        return items

    def _new_tasks(
        self,
        event: WebhookEvent,
        items: Iterable[tuple[Item, ProviderAccount | None]],
        known: dict[tuple[str, str], Known],
    ) -> list[_Task]:
        """Those not dealt with yet, each once: a provider may repeat itself within one post."""
        tasks: dict[tuple[str, str], _Task] = {}
        for item, account in items:
            name = (account.id if account else event.account_id, news.key_of(item))
            before = known.get(name)
            is_open = before is None or (
                before.state in self._again and (self._replaying or before.tried != event.tries)
            )
            if is_open and name not in tasks:
                tasks[name] = _Task(event, item, account, before)
            else:
                self.counts["repeated"] += 1
                self._doubtful.add(event.id)
        return list(tasks.values())


def _as_it_came(event: WebhookEvent) -> WebhookRequest:
    return WebhookRequest("POST", event.url, event.headers, event.body, received_at=event.received_at)


def _take(task: _Task) -> Verdict:
    """Deal with one item; whatever it holds, its neighbours go on."""
    try:
        with savepoint():
            item_id = news.claim(task.event, task.account, task.item, task.before)
            if item_id is None:
                return Verdict("repeated")
            verdict = news.apply(task.account, task.item, task.event.received_at)
            news.record(item_id, verdict)
            return verdict
    except Exception as error:
        _raise_if_away(error)
        log.exception("webhook_item_failed", event_id=task.event.id, kind=news.kind_of(task.item))
        verdict = Verdict("failed", why=news.in_words(error), detail={"try": task.event.tries})
    with savepoint():
        item_id = news.claim(task.event, task.account, task.item, task.before)
        if item_id is not None:
            news.record(item_id, verdict)
    return verdict


def _judge(event: WebhookEvent) -> None:
    """Close the post: quarantined if one of its items should be looked at, tried again while one fails."""
    left = db.session.execute(
        select(WebhookItem.state, WebhookItem.detail).where(
            WebhookItem.event_id == event.id, WebhookItem.state.in_(("failed", "unknown", "ignored"))
        )
    ).all()
    failed = [detail for state, detail in left if state == "failed"]
    suspect = [detail for _, detail in left if detail.get("suspect")]
    if failed:
        _fail(event, f"{len(failed)} failed, such as: {failed[0].get('why')}")
    elif suspect:
        _close(event, "quarantined", f"{len(suspect)} suspect, such as: {suspect[0].get('why')}")
    else:
        _close(event, "done", None)


def _fail(event: WebhookEvent, why: str) -> None:
    event.tries += 1
    if event.tries >= TRIES:
        _close(event, "quarantined", why)
    else:
        event.error = why
        db.session.flush()
        log.warning("webhook_try_failed", event_id=event.id, tries=event.tries, why=why)


def _close(event: WebhookEvent, state: str, why: str | None) -> None:
    event.state, event.error = state, why
    db.session.flush()  # before the next tenant's scope begins
    if state == "quarantined":
        log.warning("webhook_quarantined", event_id=event.id, account_id=event.account_id, why=why)


def _raise_if_away(error: Exception) -> None:
    """A database that is away says nothing about the webhook: no try is counted, the batch is rolled back."""
    if is_unavailable(error):
        raise error


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
            reading = _Reading(_REPLAYED, {}, replaying=True)
            reading.open([event], float("inf"))
            reading.run(float("inf"))
            counts.update(reading.counts)
            counts["quarantined"] += event.state == "quarantined"
            if dry_run:
                raise _OnlyLooking  # noqa: TRY301 - the rollback is the point
    except _OnlyLooking:
        pass
    return counts
