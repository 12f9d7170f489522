"""Reading posts within one transaction: which items they hold, whose they are, what is new, and how each post ends."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import select, update

from .. import logs
from ..db import db, is_unavailable, savepoint, tenant_scope
from ..models import ProviderAccount, WebhookEvent, WebhookItem
from ..providers.base import (
    AccountItem,
    InboundItem,
    Item,
    PreferenceItem,
    StatusItem,
    WebhookMalformed,
    WebhookRequest,
)
from . import news, receipt_batches
from .news import Known, Verdict
from .routing import Whose

log = logs.get(__name__)

TRIES = 5
LARGE = 100  # items: a post of more is not parsed again for each of its slices
Keyed = tuple[Item, str]  # with its `news.key_of`


class _Task(NamedTuple):
    """One item to deal with, the name of its row, and what an earlier reading left of that."""

    event: WebhookEvent
    item: Item
    account: ProviderAccount | None
    key: str
    before: Known | None

    @property
    def alone(self) -> bool:
        """These lock the tenant's hash chain, which everybody else locks before any message: they go first or wait
        for the next transaction."""
        kinds = InboundItem | PreferenceItem | AccountItem
        return isinstance(self.item, kinds) or news.tells_of_opt_out(self.item)

    @property
    def is_plain(self) -> bool:
        """A receipt nobody has dealt with yet, and of its message alone."""
        new = isinstance(self.item, StatusItem) and self.account is not None and self.before is None
        return new and not news.needs_care(self.item)


class _Named(NamedTuple):
    """An item, whose it is, and the name of its row."""

    item: Item
    account: ProviderAccount | None
    account_id: str
    key: str


class Reading:
    """What one transaction does: opens posts, deals with their items, closes the posts that are complete.

    ``parsed`` is kept from one transaction to the next, so that a large post is not parsed for each of its slices.
    """

    def __init__(self, again: frozenset[str], parsed: dict[str, list[Keyed]], *, replaying: bool = False) -> None:
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
        waiting = list(events)
        while waiting and len(self._tasks) < most:
            read: list[tuple[WebhookEvent, list[_Named]]] = []
            while waiting and sum(len(items) for _, items in read) < most:
                event = waiting.pop(0)
                items = self._read(event)
                if items is not None:
                    read.append((event, items))
            known = news.known({(one.account_id, one.key) for _, items in read for one in items})
            for event, items in read:
                for task in self._new_tasks(event, items, known):
                    mixed = bool(self._tasks) and (task.alone or self._tasks[0].alone)
                    if len(self._tasks) >= most or (mixed and not self._replaying):
                        return
                    self._tasks.append(task)
                self._whole.append(event)

    def run(self, stop_at: float) -> list[str]:
        """Deal with the tasks until ``stop_at`` (monotonic), at least one; returns the posts that came to an end."""
        # Organisers in one order: whoever locks messages of several does so.
        tasks = sorted(self._tasks, key=lambda task: (not task.alone, task.event.tenant_id))
        left = Counter(task.event.id for task in tasks)
        for tenant_id, group in groupby(tasks, key=lambda task: task.event.tenant_id):
            with tenant_scope(tenant_id):
                for task, verdict in _dealt_with(list(group), stop_at):
                    self._note(task.event, verdict)
                    left[task.event.id] -= 1
            if time.monotonic() > stop_at:
                break
        self._end([event for event in self._whole if not left[event.id]])
        return self._ended

    def _end(self, complete: Sequence[WebhookEvent]) -> None:
        """Close posts of which every item is dealt with: those in doubt singly, the others together."""
        well = [event.id for event in complete if event.id not in self._doubtful]
        if well:
            db.session.execute(
                update(WebhookEvent).where(WebhookEvent.id.in_(well)).values(state="done", error=None),
                execution_options={"synchronize_session": False},
            )
        for event in complete:
            if event.id in self._doubtful:
                with tenant_scope(event.tenant_id):
                    _judge(event)
            self._ended.append(event.id)

    def _note(self, event: WebhookEvent, verdict: Verdict) -> None:
        self.counts[verdict.state] += 1
        if verdict.state not in ("applied", "parked"):
            self._doubtful.add(event.id)

    def _read(self, event: WebhookEvent) -> "list[_Named] | None":
        """The post's items with their owners; None when it came to an end because it cannot be read."""
        try:
            items = self._items(event)
            owners = self.whose.owners(event, [item for item, _ in items])
        except WebhookMalformed as error:
            _close(event, "quarantined", error.reason)
        except Exception as error:  # noqa: BLE001 - whatever a post does, the others are read
            _raise_if_away(error)
            _fail(event, news.in_words(error))
        else:
            return [
                _Named(item, owner, owner.id if owner else event.account_id, key)
                for (item, key), owner in zip(items, owners, strict=True)
            ]
        self._ended.append(event.id)
        return None

    def _items(self, event: WebhookEvent) -> list[Keyed]:
        items = self._parsed.get(event.id)
        if items is None:
            parsed = self.whose.provider(event.account_id).parse_webhook(_as_it_came(event))
            items = [(item, news.key_of(item)) for item in parsed]
            if len(items) > LARGE:
                self._parsed.clear()
                self._parsed[event.id] = items
        return items

    def _new_tasks(
        self, event: WebhookEvent, items: "Sequence[_Named]", known: dict[tuple[str, str], Known]
    ) -> list[_Task]:
        """Those not dealt with yet, each once: a provider may repeat itself within one post."""
        tasks: dict[tuple[str, str], _Task] = {}
        for item, account, account_id, key in items:
            before = known.get((account_id, key))
            is_open = before is None or (
                before.state in self._again and (self._replaying or before.tried != event.tries)
            )
            if is_open and (account_id, key) not in tasks:
                tasks[account_id, key] = _Task(event, item, account, key, before)
            else:
                self.counts["repeated"] += 1
                self._doubtful.add(event.id)
        return list(tasks.values())


def _as_it_came(event: WebhookEvent) -> WebhookRequest:
    return WebhookRequest("POST", event.url, event.headers, event.body, received_at=event.received_at)


def _dealt_with(tasks: Sequence[_Task], stop_at: float) -> Iterator[tuple[_Task, Verdict]]:
    """Deal with items of one organiser until ``stop_at``: new receipts together, what remains one by one."""
    together = [task for task in tasks if task.is_plain]
    if len(together) < len(tasks):
        news.lock_messages([task.item for task in tasks if not task.alone])
    yield from _together(together, stop_at)
    for task in tasks:
        if not task.is_plain:
            yield task, _take(task)
            if time.monotonic() > stop_at:
                return


def _together(tasks: Sequence[_Task], stop_at: float) -> Iterator[tuple[_Task, Verdict]]:
    """If something is wrong with one of them, by halves: whatever it holds, its neighbours go on."""
    if len(tasks) < 2:
        yield from ((task, _take(task)) for task in tasks)
        return
    try:
        with savepoint():
            verdicts = receipt_batches.apply([(task.event, task.account, task.item, task.key) for task in tasks])  # type: ignore[misc]
    except Exception as error:  # noqa: BLE001 - the halves will tell whose fault it is
        _raise_if_away(error)
        log.info("webhook_items_by_halves", items=len(tasks), error=news.in_words(error))
        half = len(tasks) // 2
        yield from _together(tasks[:half], stop_at)
        if time.monotonic() <= stop_at:
            yield from _together(tasks[half:], stop_at)
    else:
        yield from zip(tasks, verdicts, strict=True)


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
