"""What an organiser sees first: what needs them, what comes next, and the numbers of the week. Changes nothing.

Everything is of the tenant in scope and of one mode (``live`` or test); numbers come from SQL's GROUP BY.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, case, func, select

from .. import clock
from ..db import db
from ..domain.statuses import SENDABLE, Status, TemplateStatus
from ..models import (
    ConsentEvent,
    Contact,
    Event,
    Message,
    ProviderAccount,
    Schedule,
    Template,
    TemplateApproval,
    Tenant,
    WebhookEvent,
)

S = Status
DAYS = 7
NEXT = 5
SILENT_AFTER = timedelta(hours=1)
_ON_THE_WAY = frozenset({S.QUEUED, S.SENDING, S.UNCERTAIN, S.ACCEPTED, S.SENT})
_RECEIVED = frozenset({S.DELIVERED, S.READ})
_LEFT_US = frozenset({S.ACCEPTED, S.SENT, S.DELIVERED, S.READ, S.FAILED, S.UNCONFIRMED})
_FAILED = frozenset({S.FAILED, S.UNCONFIRMED, S.DEAD_LETTER, S.EXPIRED})


# --- get started ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """Which of the five first steps are done."""

    account: bool
    template: bool
    people: bool
    test: bool
    event: bool

    @property
    def all_done(self) -> bool:
        return self.account and self.template and self.people and self.test and self.event


def started(tenant: Tenant) -> Started:
    """The first steps of the tenant, as the tables tell; nobody ticks them by hand."""
    return Started(
        account=_any(ProviderAccount.id, ProviderAccount.tenant_id == tenant.id),
        template=_any(
            TemplateApproval.id, TemplateApproval.tenant_id == tenant.id, TemplateApproval.status.in_(SENDABLE)
        ),
        people=_any(Contact.id, Contact.tenant_id == tenant.id),
        test=_any(Message.id, Message.tenant_id == tenant.id, Message.asked_by.startswith("user:")),
        event=_any(Event.id, Event.tenant_id == tenant.id),
    )


def _any(column: Any, *conditions: ColumnElement[bool]) -> bool:
    return db.session.scalar(select(column).where(*conditions).limit(1)) is not None


# --- what needs somebody ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """A sender that does not send. ``reason``: the error class or code that stopped it."""

    label: str
    reason: str | None


@dataclass(frozen=True)
class RejectedTemplate:
    """A template's newest version that a provider refused or took away. ``status`` is the approval's."""

    template_id: str
    name: str
    language: str
    status: str


@dataclass(frozen=True)
class Needs:
    """What a person should look at. ``stuck`` and ``unreadable`` are counts; ``silent`` are senders' labels."""

    held: list[Held]
    templates: list[RejectedTemplate]
    stuck: int
    silent: list[str]
    unreadable: int

    def __bool__(self) -> bool:
        return bool(self.held or self.templates or self.stuck or self.silent or self.unreadable)


def needs(tenant: Tenant, live: bool) -> Needs:
    """What waits for a person in this mode."""
    senders = list(
        db.session.scalars(
            select(ProviderAccount)
            .where(ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live)
            .order_by(ProviderAccount.priority, ProviderAccount.id)
        )
    )
    stuck = db.session.scalar(
        select(func.count())
        .select_from(Message)
        .where(Message.tenant_id == tenant.id, Message.live == live, Message.status == S.DEAD_LETTER)
    )
    unreadable = db.session.scalar(
        select(func.count())
        .select_from(WebhookEvent)
        .where(WebhookEvent.tenant_id == tenant.id, WebhookEvent.state == "quarantined")
    )
    return Needs(
        [Held(each.label, each.hold_reason) for each in senders if each.status == "held"],
        _refused_templates(tenant),
        stuck or 0,
        [each.label for each in senders if _is_silent(each)],
        unreadable or 0,
    )


def _is_silent(account: ProviderAccount) -> bool:
    """It sends, but for an hour nothing has come back: receipts would have."""
    sent, heard = account.last_sent_at, account.last_webhook_at
    if account.status != "active" or sent is None or clock.now() - sent < SILENT_AFTER:
        return False
    return heard is None or heard < sent


def _refused_templates(tenant: Tenant) -> list[RejectedTemplate]:
    bad = (TemplateStatus.REJECTED, TemplateStatus.PAUSED, TemplateStatus.DISABLED)
    newest = (
        select(Template.name, Template.language, func.max(Template.version).label("version"))
        .where(Template.tenant_id == tenant.id)
        .group_by(Template.name, Template.language)
        .subquery()
    )
    rows = db.session.execute(
        select(Template.id, Template.name, Template.language, TemplateApproval.status)
        .join(TemplateApproval, TemplateApproval.template_id == Template.id)
        .join(
            newest,
            (newest.c.name == Template.name)
            & (newest.c.language == Template.language)
            & (newest.c.version == Template.version),
        )
        .where(TemplateApproval.status.in_(bad))
        .order_by(Template.name, Template.language)
    )
    found = {row.id: RejectedTemplate(row.id, row.name, row.language, row.status) for row in rows}
    return list(found.values())


# --- what comes next --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NextSend:
    """Reminders of one event and interval (``D-3``, ``H-2``, ``D+1``): how many people, and when the first goes."""

    event: str
    starts_at: datetime
    interval: str
    people: int
    at: datetime


def next_sends(tenant: Tenant, live: bool) -> list[NextSend]:
    """The coming five, soonest first."""
    first = func.min(Schedule.send_at)
    rows = db.session.execute(
        select(Event.name, Event.starts_at, Schedule.interval, func.count(), first)
        .join(Event, Event.id == Schedule.event_id)
        .where(Schedule.tenant_id == tenant.id, Schedule.status == "pending", Schedule.live == live)
        .group_by(Event.id, Event.name, Event.starts_at, Schedule.interval)
        .order_by(first)
        .limit(NEXT)
    )
    return [NextSend(*row) for row in rows]


# --- the week ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """One day of the chart. ``at`` is its noon, aware; the counts are messages asked for on that day."""

    at: datetime
    received: int
    under_way: int
    failed: int

    @property
    def total(self) -> int:
        return self.received + self.under_way + self.failed


@dataclass(frozen=True)
class Week:
    """The last seven days, today included. Shares are from 0 to 1, None without a ground; money is micro-units.

    ``delivered_share`` is of those that left, ``read_share`` of those delivered. ``estimated``: part of ``spent``
    is not yet the provider's price. ``sent_before``: how many left in the seven days before. ``newest_change``:
    when anything last moved.
    """

    sent: int
    delivered: int
    read: int
    failed: int
    under_way: int
    opt_outs: int
    spent_micros: int
    estimated: bool
    currency: str
    sent_before: int
    newest_change: datetime | None
    days: list[Day]

    @property
    def delivered_share(self) -> float | None:
        return self.delivered / self.sent if self.sent else None

    @property
    def read_share(self) -> float | None:
        return self.read / self.delivered if self.delivered else None

    @property
    def growth(self) -> float | None:
        """Change of ``sent`` against the week before, as a share; None when there was nothing before."""
        return self.sent / self.sent_before - 1 if self.sent_before else None


@dataclass(frozen=True)
class _Cell:
    day: int
    status: str
    count: int
    charged: int
    estimated: int
    changed: datetime


def week(tenant: Tenant, live: bool) -> Week:
    """The numbers of the last seven days of the tenant's calendar."""
    starts = day_starts(clock.now(), tenant.timezone)
    cells = _cells(tenant, live, starts)
    return Week(
        sent=_sum(cells, _LEFT_US),
        delivered=_sum(cells, _RECEIVED),
        read=_sum(cells, {S.READ}),
        failed=_sum(cells, _FAILED),
        under_way=_sum(cells, _ON_THE_WAY),
        opt_outs=_opt_outs(tenant, starts[0]),
        spent_micros=sum(cell.charged + cell.estimated for cell in cells if cell.status in _LEFT_US),
        estimated=any(cell.estimated for cell in cells if cell.status in _LEFT_US),
        currency=tenant.currency,
        sent_before=_sent_between(tenant, live, starts[0] - timedelta(days=DAYS), starts[0]),
        newest_change=max((cell.changed for cell in cells), default=None),
        days=[_day(start, [cell for cell in cells if cell.day == number]) for number, start in enumerate(starts)],
    )


def day_starts(now: datetime, zone: str) -> list[datetime]:
    """Midnight of each of the last seven days in the IANA ``zone``, oldest first, as aware UTC."""
    place = ZoneInfo(zone)
    today = now.astimezone(place).date()
    dates = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    return [datetime.combine(date, time(), place).astimezone(now.tzinfo) for date in dates]


def _cells(tenant: Tenant, live: bool, starts: Sequence[datetime]) -> list[_Cell]:
    which = case(
        *((Message.created_at >= start, number) for number, start in reversed(list(enumerate(starts)))), else_=-1
    )
    unknown_price = case((Message.charged_micros.is_(None), func.coalesce(Message.estimate_micros, 0)), else_=0)
    rows = db.session.execute(
        select(
            which.label("day"),
            Message.status,
            func.count(),
            func.coalesce(func.sum(Message.charged_micros), 0),
            func.coalesce(func.sum(unknown_price), 0),
            func.max(Message.updated_at),
        )
        .where(Message.tenant_id == tenant.id, Message.live == live, Message.created_at >= starts[0])
        .group_by("day", Message.status)
    )
    return [_Cell(day, status, count, int(paid), int(guess), at) for day, status, count, paid, guess, at in rows]


def _sum(cells: Sequence[_Cell], statuses: frozenset[Status] | set[Status]) -> int:
    return sum(cell.count for cell in cells if cell.status in statuses)


def _day(start: datetime, cells: Sequence[_Cell]) -> Day:
    return Day(start + timedelta(hours=12), _sum(cells, _RECEIVED), _sum(cells, _ON_THE_WAY), _sum(cells, _FAILED))


def _sent_between(tenant: Tenant, live: bool, since: datetime, until: datetime) -> int:
    number = db.session.scalar(
        select(func.count())
        .select_from(Message)
        .where(
            Message.tenant_id == tenant.id,
            Message.live == live,
            Message.created_at >= since,
            Message.created_at < until,
            Message.status.in_(_LEFT_US),
        )
    )
    return number or 0


def _opt_outs(tenant: Tenant, since: datetime) -> int:
    number = db.session.scalar(
        select(func.count(ConsentEvent.contact_id.distinct())).where(
            ConsentEvent.tenant_id == tenant.id,
            ConsentEvent.status == "opted_out",
            ConsentEvent.changed.is_(True),
            ConsentEvent.recorded_at >= since,
        )
    )
    return number or 0


# --- templates --------------------------------------------------------------------------------------------------


def last_used(tenant: Tenant) -> dict[tuple[str, str], datetime]:
    """When each (name, language) was last used, within thirty days."""
    rows = db.session.execute(
        select(Message.template_name, Message.language, func.max(Message.created_at))
        .where(
            Message.tenant_id == tenant.id,
            Message.created_at >= clock.now() - timedelta(days=30),
            Message.template_name.is_not(None),
        )
        .group_by(Message.template_name, Message.language)
    )
    return {(name, language): at for name, language, at in rows}
