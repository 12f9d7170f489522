"""Messages that wait for a sender or a template, counted: nobody has failed them yet, and they go on by themselves."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from .. import clock
from ..db import clock_of_database, db
from ..domain.statuses import SENDABLE
from ..domain.text import T
from ..models import Message, Outbox, ProviderAccount, Template, TemplateApproval, Tenant
from . import breakers
from .breakers import AccountHealth

MOST = 10_000  # no more rows are looked at; a count of so many means "at least"
_STOPPED = ("open", "locked", "half_open", "disabled")


@dataclass(frozen=True)
class Holdup:
    """``kind``: ``account`` or ``template``, and its ``id``; ``count`` messages wait, the first since ``oldest``.

    ``next_at``: the next automatic try, None when it is not known.
    """

    kind: str
    id: str
    title: T
    sentence: T
    count: int
    oldest: datetime | None
    next_at: datetime | None


def holdups(tenant: Tenant, live: bool) -> list[Holdup]:
    """What waits in this mode, the most first; in the tenant's scope."""
    health = [each for each in breakers.health_of(tenant, live) if each.state in _STOPPED and each.waiting]
    found = [_of_account(each) for each in health] + _of_templates(tenant, live)
    return sorted(found, key=lambda each: -each.count)


def _of_account(health: AccountHealth) -> Holdup:
    account = health.account
    some = (
        select(Message.created_at)
        .join(Outbox, Outbox.message_id == Message.id)
        .where(Outbox.account_id == account.id, Outbox.state == "queued")
        .limit(MOST)
        .subquery()
    )
    oldest = db.session.scalar(select(func.min(some.c.created_at)))
    return Holdup(
        "account",
        account.id,
        T("%(label)s does not send now", label=account.label),
        health.sentence or health.word,
        health.waiting,
        oldest,
        health.retry_at,
    )


def _of_templates(tenant: Tenant, live: bool) -> list[Holdup]:
    doubtful = _not_everywhere(tenant, live)
    if not doubtful:
        return []
    some = (
        select(Outbox.template_id, Outbox.next_at, Message.created_at)
        .join(Message, Message.id == Outbox.message_id)
        .where(
            Outbox.tenant_id == tenant.id,
            Outbox.live == live,
            Outbox.state == "queued",
            Outbox.template_id.in_(doubtful),
            Message.reason == "template_unavailable",
        )
        .limit(MOST)
        .subquery()
    )
    number = func.count()
    rows = db.session.execute(
        select(some.c.template_id, number, func.min(some.c.created_at), func.min(some.c.next_at)).group_by(
            some.c.template_id
        )
    )
    now, database_now = clock.now(), clock_of_database()
    return [
        Holdup(
            "template",
            template_id,
            T("The template “%(name)s” is not available", name=doubtful[template_id]),
            T("It is not approved at the provider at the moment; the messages go out once it is."),
            many,
            oldest,
            now + max(next_at - database_now, database_now - database_now),
        )
        for template_id, many, oldest, next_at in rows
    ]


def _not_everywhere(tenant: Tenant, live: bool) -> dict[str, str]:
    """Name and language of the templates that some sender of the mode may not send now."""
    accounts = db.session.scalar(
        select(func.count())
        .select_from(ProviderAccount)
        .where(ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live)
    )
    good = (
        select(TemplateApproval.template_id, func.count().label("many"))
        .join(ProviderAccount, ProviderAccount.id == TemplateApproval.account_id)
        .where(
            TemplateApproval.tenant_id == tenant.id,
            TemplateApproval.status.in_(SENDABLE),
            ProviderAccount.live == live,
        )
        .group_by(TemplateApproval.template_id)
        .subquery()
    )
    rows = db.session.execute(
        select(Template.id, Template.name, Template.language)
        .outerjoin(good, good.c.template_id == Template.id)
        .where(Template.tenant_id == tenant.id, func.coalesce(good.c.many, 0) < (accounts or 0))
    )
    return {row.id: f"{row.name} ({row.language})" for row in rows}
