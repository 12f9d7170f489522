"""A template's category at a provider, which decides what its messages cost: requested, current, announced.

Whatever the provider says of it is a line in the story; a change reckons the estimates of all that waits anew, in one
statement for each country, and is never silent (`category_watch` tells what it costs).
"""

from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, update

from .. import clock, logs
from ..db import db
from ..domain import pricing
from ..models import Message, Outbox, Template, TemplateApproval
from .template_story import said_since, tell

log = logs.get(__name__)

WAITING = ("queued", "claimed", "held")  # outbox states of what has not left
_LATE = timedelta(days=2)  # an announcement that has not come true by then was withdrawn


def change(row: TemplateApproval, category: str | None, source: str, at: datetime) -> bool:
    """The provider says that this is its category, as of ``at``; True for a new one (in a transaction; row locked).

    The first word of a provider is compared with what was asked for. Older news than we have changes nothing.
    """
    if not category or category == row.category or said_since(row, at, "category") is not None:
        return False
    was = row.category or _requested(row)
    row.category = category
    if category == was:
        return False
    row.previous_category, row.announced_category, row.announced_at = was, None, None
    count, more, currency = reprice(row)
    tell(row, source, at, category=category, was=was, repriced=count, more_micros=more, currency=currency)
    log.warning("template_category_changed", approval_id=row.id, was=was, category=category, repriced=count)
    return True


def announce(
    row: TemplateApproval, category: str | None, effective_at: datetime | None, source: str, at: datetime
) -> None:
    """The provider will change the category to this one, at ``effective_at`` if it says when."""
    if not category or said_since(row, at, "category", "announced") is not None:
        return
    if category == row.category:
        row.announced_category, row.announced_at = None, None  # it stays as it is
    elif (category, effective_at) != (row.announced_category, row.announced_at):
        row.announced_category, row.announced_at = category, effective_at or row.announced_at
        when = effective_at.isoformat() if effective_at else None
        tell(row, source, at, announced=category, effective_at=when)
        log.warning("template_category_announced", approval_id=row.id, category=category, effective_at=when)


def announced_by_poll(row: TemplateApproval, category: str | None, begun: datetime) -> None:
    """A poll tells what will come, too, without the day; when it does not, long after the day, it will not come."""
    if category and category != row.announced_category:
        announce(row, category, None, "poll", begun)
    elif category is None and row.announced_at is not None and row.announced_at < begun - _LATE:
        row.announced_category, row.announced_at = None, None


def reprice(row: TemplateApproval) -> tuple[int, int, str | None]:
    """Reckon the estimates of what waits for this template at this account in its present category.

    Returns how many, how many micro-units more (or less, if negative) they cost together, and in which currency.
    What is being looked after by somebody at this moment is left to the receipts, which price it in any case.
    """
    now = clock.now()
    count, more, currency = 0, 0, None
    for market, number, before in _by_market(row):
        price = pricing.price_of(market, str(row.category), now)
        values = {"category": row.category, "estimate_micros": price.micros if price else None, "updated_at": now}
        db.session.execute(
            update(Message)
            .where(Message.id.in_(waiting(row).with_for_update(skip_locked=True)), Message.market == market,
                   Message.category.is_not(None))
            .values(**values, **({"currency": price.currency} if price else {})),
            execution_options={"synchronize_session": False},
        )  # fmt: skip
        count += number
        more += price.micros * number - before if price else 0
        currency = price.currency if price else currency
    return count, more, currency


def waiting(row: TemplateApproval) -> Select[str]:
    """The ids of the messages of this template that wait at this account."""
    return select(Outbox.message_id).where(
        Outbox.tenant_id == row.tenant_id,
        Outbox.account_id == row.account_id,
        Outbox.template_id == row.template_id,
        Outbox.state.in_(WAITING),
    )


def _by_market(row: TemplateApproval) -> list[tuple[str, int, int]]:
    """(country, how many of those that have a price, what they were to cost together)."""
    found = db.session.execute(
        select(Message.market, func.count(), func.sum(Message.estimate_micros))
        .where(Message.id.in_(waiting(row)), Message.category.is_not(None))
        .group_by(Message.market)
    )
    return [(market, number, int(before or 0)) for market, number, before in found]


def _requested(row: TemplateApproval) -> str:
    return db.session.scalars(select(Template.category).where(Template.id == row.template_id)).one()
