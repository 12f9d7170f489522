"""The money alarm: templates whose category a provider will change, or has just changed, and what that costs.

Reads only; the change itself, and the new estimates of what waits, are `category_change`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select

from .. import clock
from ..db import db
from ..domain import pricing
from ..domain.consent import day_in_words
from ..domain.statuses import MessageType, TemplateStatus
from ..domain.text import T
from ..errors import Invalid
from ..models import Contact, Message, ProviderAccount, Schedule, Template, TemplateApproval, TemplateEvent, Tenant
from . import accounts, category_change, reminders, template_choice

RECENT = timedelta(days=7)  # so long a change that happened is told
_OVERDUE = timedelta(days=2)
_WORDS = {
    "utility": T("utility"),
    "marketing": T("marketing"),
    "authentication": T("authentication"),
}
_Markets = Counter[str]  # how many messages by country


@dataclass(frozen=True)
class Announced:
    """One template at one account. ``at``: when the category changes or changed (aware UTC), None for a day nobody
    named; ``waiting``: messages queued and reminders planned; ``difference_micros``: what these cost more (less, if
    negative) in the new category, all together, in micro-units of ``currency``."""

    template: Template
    account: ProviderAccount
    old: str
    new: str
    at: datetime | None
    waiting: int
    difference_micros: int
    currency: str
    sentence: T


@dataclass(frozen=True)
class _Change:
    approval: TemplateApproval
    template: Template
    account: ProviderAccount
    old: str
    new: str
    at: datetime | None
    impending: bool


def announced(tenant: Tenant, live: bool) -> list[Announced]:
    """Changes to come and those of the last seven days, in this mode, the dearest first; in the tenant's scope."""
    changes = [change for row in _rows(tenant, live) if (change := _change(*row)) is not None]
    if not changes:
        return []
    planned: Mapping[tuple[str, str], _Markets] = {}
    if any(change.template.type == MessageType.REMINDER for change in changes):
        planned = _planned(tenant, live)
    found = [_of(tenant, change, planned) for change in changes]
    return sorted(found, key=lambda each: (-each.difference_micros, each.template.name, each.account.id))


def _rows(tenant: Tenant, live: bool) -> Sequence[tuple[TemplateApproval, Template, ProviderAccount]]:
    wanted = (
        select(TemplateApproval, Template, ProviderAccount)
        .join(Template, Template.id == TemplateApproval.template_id)
        .join(ProviderAccount, ProviderAccount.id == TemplateApproval.account_id)
        .where(
            TemplateApproval.tenant_id == tenant.id,
            ProviderAccount.live == live,
            ProviderAccount.status != "disabled",
            TemplateApproval.status != TemplateStatus.DELETED,
            or_(TemplateApproval.announced_category.is_not(None), TemplateApproval.previous_category.is_not(None)),
        )
        .execution_options(populate_existing=True)
    )
    return [(row, template, account) for row, template, account in db.session.execute(wanted)]


def _change(row: TemplateApproval, template: Template, account: ProviderAccount) -> _Change | None:
    now, present = clock.now(), row.category or template.category
    if row.announced_category and (row.announced_at is None or row.announced_at > now - _OVERDUE):
        return _Change(row, template, account, present, row.announced_category, row.announced_at, True)
    changed = _changed_at(row) if row.previous_category else None
    if changed is None or changed < now - RECENT:
        return None
    return _Change(row, template, account, str(row.previous_category), present, changed, False)


def _changed_at(row: TemplateApproval) -> datetime | None:
    """When the category became what it is."""
    events = db.session.execute(
        select(TemplateEvent.at, TemplateEvent.detail)
        .where(TemplateEvent.tenant_id == row.tenant_id, TemplateEvent.approval_id == row.id)
        .order_by(TemplateEvent.at.desc(), TemplateEvent.id.desc())
    )
    return next((at for at, detail in events if "category" in detail), None)


def _of(tenant: Tenant, change: _Change, planned: Mapping[tuple[str, str], _Markets]) -> Announced:
    markets = _queued(change.approval) + planned.get((change.template.id, change.account.id), Counter())
    difference, currency = _difference(markets, change.old, change.new)
    count = markets.total()
    return Announced(
        change.template, change.account, change.old, change.new, change.at, count, difference,
        currency or tenant.currency, _sentence(tenant, change, count),
    )  # fmt: skip


def _queued(row: TemplateApproval) -> _Markets:
    waiting = Message.id.in_(category_change.waiting(row))
    found = db.session.execute(select(Message.market, func.count()).where(waiting).group_by(Message.market))
    return Counter({str(market): int(number) for market, number in found})


def _planned(tenant: Tenant, live: bool) -> dict[tuple[str, str], _Markets]:
    """Reminders that are to come, by the template and account that they would use now, and by country."""
    rows = db.session.execute(
        select(Schedule.interval, Schedule.language, Contact.market, func.count())
        .join(Contact, Contact.id == Schedule.contact_id)
        .where(Schedule.tenant_id == tenant.id, Schedule.live == live, Schedule.status == "pending")
        .group_by(Schedule.interval, Schedule.language, Contact.market)
    ).all()
    ids = [account.id for account in accounts.accounts_of(tenant, live)]
    chosen: dict[tuple[str, str | None], tuple[str, str] | None] = {}
    found: dict[tuple[str, str], _Markets] = {}
    for interval, language, market, number in rows:
        if (interval, language) not in chosen:
            chosen[interval, language] = _would_use(tenant, live, ids, interval, language)
        use = chosen[interval, language]
        if use is not None:
            found.setdefault(use, Counter())[market] += number
    return found


def _would_use(
    tenant: Tenant, live: bool, account_ids: Sequence[str], interval: str, language: str | None
) -> tuple[str, str] | None:
    name, languages = reminders.template_for(interval), reminders.languages_for(language, tenant)
    try:
        choice = template_choice.choose(tenant, MessageType.REMINDER, live, account_ids, name, languages)
    except Invalid:
        return None  # it waits for a template, whose price nobody knows yet
    return choice.template.id, choice.approval.account_id


def _difference(markets: _Markets, old: str, new: str) -> tuple[int, str | None]:
    now, total, currency = clock.now(), 0, None
    for market, number in markets.items():
        before, after = pricing.price_of(market, old, now), pricing.price_of(market, new, now)
        if before is not None and after is not None:
            total += (after.micros - before.micros) * number
            currency = after.currency
    return total, currency


def _sentence(tenant: Tenant, change: _Change, count: int) -> T:
    named = {
        "name": change.template.name,
        "language": change.template.language,
        "account": change.account.label,
        "old": _WORDS.get(change.old, change.old),
        "new": _WORDS.get(change.new, change.new),
    }
    day = day_in_words(change.at, tenant.timezone) if change.at else None
    if not change.impending:
        said = T("Since %(day)s the template “%(name)s” (%(language)s) counts as %(new)s instead of %(old)s at "
                 "%(account)s.", day=day, **named)  # fmt: skip
    elif day is not None:
        said = T("From %(day)s the template “%(name)s” (%(language)s) will count as %(new)s instead of %(old)s at "
                 "%(account)s.", day=day, **named)  # fmt: skip
    else:
        said = T("Soon the template “%(name)s” (%(language)s) will count as %(new)s instead of %(old)s at "
                 "%(account)s.", **named)  # fmt: skip
    if not count:
        return said
    waits = T("Messages that wait or are planned: %(count)s.", count=count)
    return T("%(first)s %(second)s", first=said, second=waits)
