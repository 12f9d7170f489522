"""Messages that ended badly and wait for a person: one row each, kept by `lifecycle`, read by pages, API and metrics.

What a person decides about them is in `deciding`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, tuple_

from .. import clock
from ..bulk import among
from ..db import db, insert_rows
from ..domain.causes import CAUSES, ENDED_BADLY, Cause, about, cause_of
from ..domain.text import T
from ..errors import NotFound
from ..models import Contact, Heartbeat, Message, Problem, Template, Tenant
from .messages import Found
from .paging import Page, Place, page_of

COUNTED_TO = 1000  # the number in the navigation says "more" above this
CHUNK = 200


@dataclass(frozen=True)
class Group:
    """The open problems of one cause. ``oldest``: since when the first of them waits."""

    cause: str
    about: Cause
    count: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True)
class Item:
    """One problem with its message."""

    problem: Problem
    found: Found

    @property
    def message(self) -> Message:
        return self.found.message


# --- kept by lifecycle ------------------------------------------------------------------------------------------


def raise_for(tenant_id: str, message_ids: Sequence[str]) -> None:
    """These messages have just ended badly (in a transaction that holds them): each is a problem from now on.

    One that had been closed, and failed again, is open again.
    """
    if not message_ids:
        return
    rows = db.session.execute(
        select(
            Message.id, Message.live, Message.account_id, Message.status, Message.error_class, Message.error_code
        ).where(among(Message.id, message_ids))
    ).all()
    settle_for(message_ids)
    now = clock.now()
    insert_rows(
        Problem,
        [
            {
                "message_id": row.id,
                "tenant_id": tenant_id,
                "live": row.live,
                "cause": cause_of(row.status, row.error_class, row.error_code),
                "account_id": row.account_id,
                "at": now,
            }
            for row in sorted(rows)
        ],
    )


def settle_for(message_ids: Sequence[str]) -> None:
    """These messages have moved on: nobody needs to look at them any more."""
    if message_ids:
        db.session.execute(
            delete(Problem).where(among(Problem.message_id, message_ids)),
            execution_options={"synchronize_session": False},
        )


def follow(tenant_id: str, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    """What providers say changed these statuses (by message): raise what failed, settle what arrived after all."""
    raise_for(tenant_id, sorted(each for each, status in now.items() if status in ENDED_BADLY))
    settle_for(sorted(each for each, status in now.items() if was[each] in ENDED_BADLY and status not in ENDED_BADLY))


# --- reading ----------------------------------------------------------------------------------------------------


def count(tenant: Tenant, live: bool) -> int:
    """How many are open, counted to a thousand: for the navigation, which asks every minute."""
    some = select(Problem.message_id).where(*_open(tenant, live)).limit(COUNTED_TO)
    return db.session.scalar(select(func.count()).select_from(some.subquery())) or 0


def groups(tenant: Tenant, live: bool) -> list[Group]:
    """The open problems by cause, the largest group first."""
    rows = db.session.execute(
        select(Problem.cause, func.count(), func.min(Problem.at), func.max(Problem.at))
        .where(*_open(tenant, live))
        .group_by(Problem.cause)
    )
    found: dict[str, Group] = {}
    for stored, many, oldest, newest in rows:
        cause = stored if stored in CAUSES else "other"
        found[cause] = _merged(found.get(cause), Group(cause, about(cause), many, oldest, newest))
    return sorted(found.values(), key=lambda group: (-group.count, group.cause))


def _merged(one: Group | None, other: Group) -> Group:
    if one is None:
        return other
    return replace(
        one,
        count=one.count + other.count,
        oldest=min(one.oldest, other.oldest),
        newest=max(one.newest, other.newest),
    )


def listed(
    tenant: Tenant, live: bool, *, cause: str | None = None, place: Place | None = None, limit: int = 50
) -> Page[Item]:
    """A page of the open problems of a cause (None: of all), the newest first."""
    conditions = _open(tenant, live)
    if cause is not None:
        conditions.append(_of(cause))
    return _page(conditions, "at", place, limit)


def archive(tenant: Tenant, live: bool, *, place: Place | None = None, limit: int = 50) -> Page[Item]:
    """A page of those that somebody closed, the last closed first."""
    conditions = [Problem.tenant_id == tenant.id, Problem.live == live, Problem.closed_at.is_not(None)]
    return _page(conditions, "closed_at", place, limit)


def _page(conditions: list[ColumnElement[bool]], column: str, place: Place | None, limit: int) -> Page[Item]:
    descending = place is None or not place.backwards
    time = Problem.closed_at if column == "closed_at" else Problem.at
    wanted = _joined().where(*conditions)
    if place is not None:
        key, here = tuple_(time, Problem.message_id), (place.at, place.id)
        wanted = wanted.where(key < here if descending else key > here)
    order = (time.desc(), Problem.message_id.desc()) if descending else (time, Problem.message_id)
    items = _items(wanted.order_by(*order).limit(limit + 1))
    return page_of(items, limit, place, lambda item: (getattr(item.problem, column), item.problem.message_id))


def items_of(message_ids: Sequence[str]) -> list[Item]:
    """The problems of these messages, the newest first; in the tenant's scope."""
    wanted = _joined().where(among(Problem.message_id, message_ids))
    return _items(wanted.order_by(Problem.at.desc(), Problem.message_id.desc()))


def _joined() -> Select[Problem, Message, Contact, Template]:
    return (
        select(Problem, Message, Contact, Template)
        .join(Message, Message.id == Problem.message_id)
        .join(Contact, Contact.id == Message.contact_id)
        .outerjoin(Template, Template.id == Message.template_id)
    )


def _items(wanted: Select[Problem, Message, Contact, Template]) -> list[Item]:
    rows = db.session.execute(wanted, execution_options={"populate_existing": True})
    return [Item(problem, Found(message, contact, template)) for problem, message, contact, template in rows]


def problem_of(message_id: str) -> Problem | None:
    """The problem of a message, open or closed; None when there is none. In the tenant's scope."""
    return db.session.scalar(
        select(Problem).where(Problem.message_id == message_id), execution_options={"populate_existing": True}
    )


def chosen(tenant: Tenant, message_ids: Sequence[str], *, live: bool) -> list[str]:
    """The same ids, once each, if all of them are messages of the tenant and mode. Raises NotFound."""
    wanted = list(dict.fromkeys(message_ids))
    known = set(
        db.session.scalars(
            select(Message.id).where(Message.tenant_id == tenant.id, Message.live == live, among(Message.id, wanted))
        )
    )
    if set(wanted) - known:
        raise NotFound(T("There is no message with this id."))
    return wanted


def chunks_of(tenant: Tenant, live: bool, cause: str, *, closed: bool = False) -> Iterator[list[str]]:
    """The message ids of a cause, in chunks, each read when it is its turn; none comes twice."""
    conditions = [Problem.tenant_id == tenant.id, Problem.live == live, _of(cause)]
    conditions.append(Problem.closed_at.is_not(None) if closed else Problem.closed_at.is_(None))
    last = ""
    while True:
        wanted = select(Problem.message_id).where(*conditions, Problem.message_id > last)
        some = list(db.session.scalars(wanted.order_by(Problem.message_id).limit(CHUNK)))
        if some:
            yield some
            last = some[-1]
        if len(some) < CHUNK:
            return


def totals() -> dict[str, int]:
    """How many are open by cause, over all tenants and modes; for metrics."""
    rows = db.session.execute(
        select(Problem.cause, func.count()).where(Problem.closed_at.is_(None)).group_by(Problem.cause)
    )
    return {row[0]: row[1] for row in rows}


def last_check() -> datetime | None:
    """When the sweeps last looked at everything; None before they ever did."""
    return db.session.scalar(select(Heartbeat.at).where(Heartbeat.name == "tick"))


def _open(tenant: Tenant, live: bool) -> list[ColumnElement[bool]]:
    return [Problem.tenant_id == tenant.id, Problem.live == live, Problem.closed_at.is_(None)]


def _of(cause: str) -> ColumnElement[bool]:
    """Rows of a cause. What an older version called by a name that is none today is among ``other``."""
    here = Problem.cause == cause
    return or_(here, Problem.cause.not_in(CAUSES)) if cause == "other" else here
