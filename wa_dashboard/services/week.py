"""The numbers of the last seven days of one tenant and one mode, by SQL's GROUP BY. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import case, func, select

from .. import clock
from ..db import db
from ..domain.statuses import NOT_RECEIVED, RECEIVED, Status
from ..models import ConsentEvent, Message, Tenant

S = Status
DAYS = 7
_ON_THE_WAY = frozenset({S.QUEUED, S.SENDING, S.UNCERTAIN, S.ACCEPTED, S.SENT})
_LEFT_US = frozenset({S.ACCEPTED, S.SENT, S.DELIVERED, S.READ, S.FAILED, S.UNCONFIRMED})
_MAY_COST = frozenset({S.ACCEPTED, S.SENT, S.UNCONFIRMED})  # left, but no price was told yet


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
        delivered=_sum(cells, RECEIVED),
        read=_sum(cells, {S.READ}),
        failed=_sum(cells, NOT_RECEIVED),
        under_way=_sum(cells, _ON_THE_WAY),
        opt_outs=_opt_outs(tenant, starts[0]),
        spent_micros=sum(cell.charged + (cell.estimated if cell.status in _MAY_COST else 0) for cell in cells),
        estimated=any(cell.estimated for cell in cells if cell.status in _MAY_COST),
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
    return Day(start + timedelta(hours=12), _sum(cells, RECEIVED), _sum(cells, _ON_THE_WAY), _sum(cells, NOT_RECEIVED))


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
