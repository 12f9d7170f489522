"""What providers report of messages: receipts merged into attempts and messages, hundreds in a few statements.

A receipt is evidence, and evidence only grows (states.md §6.1): any order, any repetition and any division into
batches ends in the same rows. First `look_up` (locks and reads), then `merge` (reckons, then writes each table once).
What we decide ourselves moves in `lifecycle`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from .. import clock
from ..bulk import delete_by_key, insert_table, rows_by_key, update_by_key
from ..domain import pricing
from ..domain.codes import hide
from ..domain.ids import new_id
from ..domain.statuses import RANK_OF_RECEIPT, STATUS_OF_RANK, MessageType, Rank, best_of
from ..models import Attempt, Message, MessageEvent, Outbox
from ..providers.base import Fault, StatusItem
from . import contacts, problems, questions

_RECEIPT_COLUMN = {status: f"{status}_at" for status in RANK_OF_RECEIPT}
_LINE = ("id", "message_id", "kind", "at", "attempt_no", "detail")


class Receipt(NamedTuple):
    """One receipt, and the account whose provider gave it."""

    account_id: str
    item: StatusItem


@dataclass(slots=True)
class AttemptNow:
    """An attempt as it stands, and as receipts change it."""

    message_id: str
    attempt_no: int
    account_id: str
    provider: str
    rank: int
    external_id: str | None
    receipt_seen: bool
    ask_at: datetime | None
    error_class: str | None
    error_code: str | None
    error_detail: str | None


@dataclass(slots=True)
class MessageNow:
    """Of a message what receipts may change, and what that depends on."""

    id: str
    type: str
    contact_id: str
    market: str
    rank: int
    status: str
    status_at: datetime
    updated_at: datetime
    external_id: str | None
    reason: str | None
    next_at: datetime | None
    error_class: str | None
    error_code: str | None
    error_detail: str | None
    category: str | None
    billable: bool | None
    currency: str
    charged_micros: int | None
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None


_OF_ATTEMPT = tuple(one.name for one in fields(AttemptNow))
_OF_MESSAGE = tuple(one.name for one in fields(MessageNow))
_attempt_values, _message_values = attrgetter(*_OF_ATTEMPT), attrgetter(*_OF_MESSAGE)


@dataclass
class Found:
    """The attempts that receipts are about, in the order of the receipts (None: unknown here), and all that must be
    known to merge them. The messages are locked."""

    attempts: list[AttemptNow | None] = field(default_factory=list)
    messages: dict[str, MessageNow] = field(default_factory=dict)
    tries: dict[str, list[AttemptNow]] = field(default_factory=dict)  # all of each message
    waiting: set[str] = field(default_factory=set)  # messages that have an outbox row
    taken: set[tuple[str, str]] = field(default_factory=set)  # (account, provider's id) that attempts own
    read: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # by the row's identity: its values as read


# --- finding ----------------------------------------------------------------------------------------------------


def look_up(receipts: Sequence[Receipt]) -> Found:
    """Find and lock what the receipts of one tenant are about, in its scope and a transaction.

    Found by our correlation id first, by the provider's message id second. Outbox rows are locked before messages,
    both in the order of their ids: every path does so.
    """
    named = [_named_by(receipt.item) for receipt in receipts]
    by_external = _by_external_id([receipt for receipt, name in zip(receipts, named, strict=True) if name is None])
    ids = {name[0] for name in named if name} | {name[0] for name in by_external.values()}
    found = _locked(sorted(ids)) if ids else Found()
    found.attempts = _matched(receipts, named, by_external, found)
    lost = [index for index, attempt in enumerate(found.attempts) if attempt is None and named[index] is not None]
    again = _by_external_id([receipts[index] for index in lost])
    if again:  # a correlation id that leads nowhere, beside a message id that we know
        found = _locked(sorted(ids | {name[0] for name in again.values()}))
        found.attempts = _matched(receipts, named, by_external | again, found)
    found.taken = _owned(receipts, found)
    _learn(receipts, found)
    return found


def _named_by(item: StatusItem) -> tuple[str, int] | None:
    message_id, _, number = (item.correlation_id or "").rpartition(".")
    if message_id and len(message_id) <= 40 and number.isascii() and number.isdigit() and len(number) < 6:
        return message_id, int(number)
    return None


def _by_external_id(receipts: Sequence[Receipt]) -> dict[tuple[str, str], tuple[str, int]]:
    """By account and provider's id: the message and number of the attempt."""
    wanted = {(receipt.account_id, receipt.item.external_id or "") for receipt in receipts if receipt.item.external_id}
    columns = ("account_id", "external_id", "message_id", "attempt_no")
    rows = rows_by_key(Attempt, columns, columns[:2], sorted(wanted))
    return {(account_id, external_id): (message_id, number) for account_id, external_id, message_id, number in rows}


def _locked(ids: Sequence[str]) -> Found:
    keys = [(message_id,) for message_id in ids]
    found = Found(waiting={row[0] for row in rows_by_key(Outbox, ("message_id",), ("message_id",), keys, lock=True)})
    for row in rows_by_key(Message, _OF_MESSAGE, ("id",), keys, lock=True):
        message = found.messages[row[0]] = MessageNow(*row)
        found.tries[row[0]] = []
        found.read[id(message)] = tuple(row)
    for row in rows_by_key(Attempt, _OF_ATTEMPT, ("message_id",), keys):
        attempt = AttemptNow(*row)
        found.tries[row[0]].append(attempt)
        found.read[id(attempt)] = tuple(row)
    return found


def _matched(
    receipts: Sequence[Receipt],
    named: Sequence[tuple[str, int] | None],
    by_external: dict[tuple[str, str], tuple[str, int]],
    found: Found,
) -> list[AttemptNow | None]:
    attempts = {(one.message_id, one.attempt_no): one for tries in found.tries.values() for one in tries}
    matched = []
    for (account_id, item), name in zip(receipts, named, strict=True):
        attempt = attempts.get(name) if name else None
        if attempt is None or attempt.account_id != account_id:
            other = by_external.get((account_id, item.external_id)) if item.external_id else None
            attempt = attempts.get(other) if other else None
        matched.append(attempt)
    return matched


def _owned(receipts: Sequence[Receipt], found: Found) -> set[tuple[str, str]]:
    """A provider's id belongs to one attempt: which of those that might be written down are somebody's already."""
    new = [
        receipt
        for receipt, attempt in zip(receipts, found.attempts, strict=True)
        if attempt is not None and attempt.external_id is None
    ]
    return set(_by_external_id(new))


def _learn(receipts: Sequence[Receipt], found: Found) -> None:
    """A receipt may name nothing but an id that one before it brings."""
    brought: dict[tuple[str, str], AttemptNow] = {}
    named: set[int] = set()
    for index, ((account_id, item), attempt) in enumerate(zip(receipts, found.attempts, strict=True)):
        name = (account_id, item.external_id or "")
        if attempt is None:
            found.attempts[index] = brought.get(name)
        elif item.external_id and attempt.external_id is None and id(attempt) not in named and name not in found.taken:
            named.add(id(attempt))
            brought.setdefault(name, attempt)


# --- reckoning --------------------------------------------------------------------------------------------------


def merge(
    receipts: Sequence[Receipt], found: Found, tenant_id: str, chosen: Iterable[int], *, heard: bool = True
) -> None:
    """Merge those receipts whose index is ``chosen`` and whose attempt was found, in their order.

    Not ``heard``: we asked for it, so it says nothing of whether webhooks arrive (the watermark).
    """
    now = clock.now()
    was = {message.id: message.status for message in found.messages.values()}
    lines, shown, people = [], set(), dict[str, str]()
    for index in chosen:
        attempt, item = found.attempts[index], receipts[index].item
        if attempt is None:
            continue
        message = found.messages[attempt.message_id]
        if item.error is not None and message.type == MessageType.OTP:  # a complaint may repeat what it is about
            item = replace(item, error=item.error._replace(detail=hide(item.error.detail)))
        if item.recipient_user_id:
            people[message.contact_id] = item.recipient_user_id
        _merge_attempt(attempt, item, heard, found.taken)
        if _note_time(message, item):
            lines.append(_line(attempt, item))
        message.external_id = message.external_id or item.external_id
        _price(message, attempt, item)
        if show(message, [one.rank for one in found.tries[message.id]], item.at, item):
            shown.add(message.id)
        message.updated_at = now
    _update(Attempt, ("message_id", "attempt_no"), [one for tries in found.tries.values() for one in tries], found)
    _update(Message, ("id",), found.messages.values(), found)
    insert_table(MessageEvent, _LINE, lines, tenant_id=tenant_id, recorded_at=now)
    delete_by_key(Outbox, "message_id", sorted(shown & found.waiting))
    contacts.keep_user_ids(people.items())
    problems.follow(tenant_id, was, {message_id: found.messages[message_id].status for message_id in shown})


def _merge_attempt(attempt: AttemptNow, item: StatusItem, heard: bool, taken: set[tuple[str, str]]) -> None:
    attempt.receipt_seen = attempt.receipt_seen or heard
    if item.external_id and attempt.external_id is None and (attempt.account_id, item.external_id) not in taken:
        attempt.external_id = item.external_id
        taken.add((attempt.account_id, item.external_id))  # a second claim is kept in the story, not in the key
    rank = RANK_OF_RECEIPT[item.status]
    if attempt.rank < Rank.ACCEPTED and attempt.ask_at is None:
        attempt.ask_at = questions.first_question_of(attempt.provider)
    attempt.rank = max(attempt.rank, int(rank))
    if rank is Rank.FAILED and item.error is not None:
        attempt.error_class = item.error.error_class
        attempt.error_code, attempt.error_detail = item.error.code, item.error.detail


def _note_time(message: MessageNow, item: StatusItem) -> bool:
    """Keep the earliest time of each kind of receipt; True for the first of its kind."""
    column = _RECEIPT_COLUMN[item.status]
    known: datetime | None = getattr(message, column)
    if known is None or item.at < known:
        setattr(message, column, item.at)
    return known is None


def _line(attempt: AttemptNow, item: StatusItem) -> tuple[Any, ...]:
    category = item.pricing.category if item.pricing is not None else None
    detail = _detail(attempt.provider, item.error, category)
    return new_id("evt"), attempt.message_id, item.status, item.at, attempt.attempt_no, detail


@lru_cache(256)  # the same object for many lines is written as JSON once
def _detail(provider: str, error: Fault | None, category: str | None) -> dict[str, Any]:
    detail: dict[str, Any] = {"provider": provider}
    if error is not None:
        detail |= {"error_class": error.error_class, "error_code": error.code, "text": error.detail}
    if category:
        detail["category"] = category
    return detail


def _price(message: MessageNow, attempt: AttemptNow, item: StatusItem) -> None:
    """What a delivered message costs, in the category the provider billed: any receipt may be the one that says it
    (contracts.md §1.5), so the first that does decides, whatever order they come in (decisions.md D18)."""
    told = item.pricing is not None and message.billable is None
    if item.pricing is not None and told:
        message.category = item.pricing.category or message.category
        message.billable = item.pricing.billable
    if attempt.rank < Rank.DELIVERED or (message.charged_micros is not None and not told):
        return
    price = pricing.price_of(message.market, message.category or "utility", item.at)
    if price is not None:
        message.currency = price.currency
        message.charged_micros = 0 if message.billable is False else price.micros


def show(message: Message | MessageNow, ranks: Iterable[int], at: datetime, item: StatusItem | None = None) -> bool:
    """Let the message say what its attempts, taken together, prove (states.md §6.1). False: it says so already."""
    best = best_of(ranks)
    if best < Rank.ACCEPTED or best == message.rank:
        return False
    message.rank, message.status, message.status_at = int(best), STATUS_OF_RANK[best], at
    message.reason, message.next_at = None, None
    if best is Rank.FAILED and item is not None and item.error is not None:
        message.error_class, message.error_code = item.error.error_class, item.error.code
        message.error_detail = item.error.detail
    elif best is not Rank.FAILED:
        message.error_class = message.error_code = message.error_detail = None
    return True


# --- writing ----------------------------------------------------------------------------------------------------


def _update(
    model: type[Attempt | Message], key: Sequence[str], rows: Iterable[AttemptNow | MessageNow], found: Found
) -> None:
    """Write the rows that changed: once, and only the columns in which any of them changed."""
    names, values_of = (_OF_ATTEMPT, _attempt_values) if model is Attempt else (_OF_MESSAGE, _message_values)
    pairs = [(found.read[id(row)], values_of(row)) for row in rows]
    pairs = [(old, new) for old, new in pairs if old != new]
    if not pairs:
        return
    was, now = (zip(*values, strict=True) for values in zip(*pairs, strict=True))
    changed = [name for name, before, after in zip(names, was, now, strict=True) if before != after]
    pick = itemgetter(*(names.index(name) for name in (*key, *changed)))
    update_by_key(model, key, changed, sorted(pick(new) for _, new in pairs))
