"""What an organiser sees first: the first steps, what needs them, what comes next. Changes nothing.

Everything is of one tenant and one mode (``live`` or test). The numbers of the week are in `week`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select

from .. import clock
from ..db import db
from ..domain.statuses import SENDABLE, TemplateStatus
from ..models import (
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
from . import category_watch, fence, problems
from .breakers import AccountHealth
from .category_watch import Announced

NEXT = 5
STOPPED = ("open", "locked")
SILENT_AFTER = timedelta(hours=1)


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
class RejectedTemplate:
    """A template's newest version that a provider refused or took away. ``status`` is the approval's."""

    template_id: str
    name: str
    language: str
    status: str


@dataclass(frozen=True)
class Needs:
    """What a person should look at. ``senders``: those that do not send, or whose receipts stopped; ``stuck`` (open
    problems), ``unreadable`` and ``held`` (since a restore) are counts; ``categories``: templates whose price
    changes."""

    senders: list[AccountHealth]
    templates: list[RejectedTemplate]
    stuck: int
    silent: list[AccountHealth]
    unreadable: int
    held: int = 0
    categories: list[Announced] = field(default_factory=list)


def needs(tenant: Tenant, live: bool, senders: Sequence[AccountHealth]) -> Needs:
    """What waits for a person in this mode, whose ``senders`` are as `breakers.health_of` gives them."""
    unreadable = db.session.scalar(
        select(func.count())
        .select_from(WebhookEvent)
        .where(WebhookEvent.tenant_id == tenant.id, WebhookEvent.state == "quarantined")
    )
    return Needs(
        [each for each in senders if each.state in STOPPED],
        _refused_templates(tenant),
        problems.count(tenant, live),
        [each for each in senders if each.state not in (*STOPPED, "disabled") and _is_silent(each)],
        unreadable or 0,
        fence.waiting(tenant.id, live),
        category_watch.announced(tenant, live),
    )


def _is_silent(health: AccountHealth) -> bool:
    """It sends, but its receipts have stopped, or for an hour nothing at all has come back."""
    sent, heard = health.account.last_sent_at, health.account.last_webhook_at
    if health.receipts_stopped:
        return True
    if sent is None or clock.now() - sent < SILENT_AFTER:
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
    return {(str(name), str(language)): at for name, language, at in rows}
