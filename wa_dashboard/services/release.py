"""Letting an organiser's messages go after a restore: what had left is recognised, the rest leaves (R31).

Providers that can be asked are asked first. What nobody can tell is counted and, unless it is not to be risked, goes
out marked as a possible duplicate; an attempt that had begun before the backup ends as its policy says.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import or_, select

from .. import clock, queues
from ..db import clock_of_database, db, end_read, tenant_scope, transaction
from ..domain.statuses import Status
from ..domain.text import T
from ..errors import NotFound
from ..models import Message, Outbox, Tenant
from . import audit, fence, lifecycle, reconciling, recovery, reminders
from .reconciling import Told

_AFRESH = {"populate_existing": True}


@dataclass(frozen=True)
class Wish:
    """What the operator asks for. ``campaign``: only its messages. ``leave_unknown``: what nobody can tell is not
    sent. ``without_asking``: what a provider gives no answer about is let go as well."""

    campaign: str | None = None
    leave_unknown: bool = False
    without_asking: bool = False


def release(tenant: Tenant, wish: Wish, *, dry_run: bool = False) -> dict[str, int]:
    """Let them go; with ``dry_run`` only count. In no scope and no transaction; may be repeated, and killed.

    Counts: ``held`` messages and ``reminders`` that waited; of the messages ``already_sent``, ``unsent`` (certainly;
    they go), ``unknown`` (they go as possible duplicates, or with ``leave_unknown`` not), ``in_doubt`` (an attempt had
    begun), ``expired``, ``cancelled``, and ``unasked`` (they stay). Raises NotFound for a campaign with none.
    """
    with tenant_scope(tenant.id):
        up = fence.of(tenant.id)
        end_read()
        if up is not None and not wish.campaign and not dry_run:
            reminders.hold_overdue(tenant, up.since)
        ids = _held(tenant, wish.campaign)
        if wish.campaign and not ids:
            raise NotFound(T("Nothing of this campaign is held."))
        counts: Counter[str] = Counter(held=len(ids), reminders=up.reminders if up and not wish.campaign else 0)
        for chunk in fence.in_chunks(ids):
            told = reconciling.ask(chunk, up.backup_at if up else None)
            counts += _look(chunk, told, wish) if dry_run else _let_go(tenant, chunk, told, wish)
        if not dry_run and (up is not None or ids):
            _note(tenant, wish, counts)
    return {name: counts[name] for name in COUNTS}


COUNTS = (
    "held",
    "reminders",
    "already_sent",
    "unsent",
    "unknown",
    "in_doubt",
    "expired",
    "cancelled",
    "unasked",
)


def _held(tenant: Tenant, campaign: str | None) -> list[str]:
    wanted = select(Outbox.message_id).where(Outbox.tenant_id == tenant.id, Outbox.state == "held")
    if campaign:
        named = or_(Message.asked_by == f"campaign:{campaign}", Message.meta["campaign"].as_string() == campaign)
        wanted = wanted.join(Message, Message.id == Outbox.message_id).where(named)
    found = list(db.session.scalars(wanted.order_by(Outbox.message_id)))
    end_read()
    return found


def _fate(row: Outbox, message: Message, told: Told, wish: Wish) -> str:
    """Which of the counts a message belongs to."""
    if row.message_id in told.sent:
        return "already_sent"
    if row.message_id in told.silent and not wish.without_asking:
        return "unasked"
    if row.uncertain_since is not None:
        return "in_doubt"
    if message.cancel_requested:
        return "cancelled"
    if row.expires_at is not None and row.expires_at <= clock_of_database():
        return "expired"
    return "unsent" if row.message_id in told.unsent else "unknown"


def _look(message_ids: Sequence[str], told: Told, wish: Wish) -> Counter[str]:
    wanted = select(Outbox, Message).join(Message, Message.id == Outbox.message_id)
    rows = db.session.execute(wanted.where(Outbox.message_id.in_(message_ids))).all()
    found = Counter(_fate(row, message, told, wish) for row, message in rows)
    end_read()
    return found


def _let_go(tenant: Tenant, message_ids: Sequence[str], told: Told, wish: Wish) -> Counter[str]:
    counts: Counter[str] = Counter()
    with transaction():
        rows = db.session.scalars(
            select(Outbox)
            .where(Outbox.message_id.in_(message_ids), Outbox.state == "held")
            .order_by(Outbox.message_id)
            .with_for_update(),
            execution_options=_AFRESH,
        ).all()
        for row in rows:
            fate = _fate(row, lifecycle.lock_message(row.message_id), told, wish)
            counts[fate] += 1
            _do(fate, tenant, row, told, wish)
        for account_id in {row.account_id for row in rows if row.account_id}:
            queues.wake_lane(account_id)
    return counts


def _do(fate: str, tenant: Tenant, row: Outbox, told: Told, wish: Wish) -> None:
    message_id = row.message_id
    if fate == "already_sent":
        reconciling.note_sent(row, *told.sent[message_id])
    elif fate == "in_doubt":
        _decide(tenant, row, evidence=message_id in told.unsent)
    elif fate in ("expired", "cancelled"):
        _end(tenant, row, late=fate == "expired")
    elif fate == "unsent":
        _queue(tenant, row, "released")
    elif fate == "unknown" and wish.leave_unknown:
        lifecycle.move(tenant.id, [message_id], Status.UNCERTAIN, "in_doubt_again", next_at=None)
        lifecycle.move(tenant.id, [message_id], Status.UNCONFIRMED, "not_risked", reason=fence.REASON, next_at=None)
        lifecycle.drop_from_outbox([message_id])
    elif fate == "unknown":
        _queue(tenant, row, "released_unasked", possible_duplicate=True)


def _queue(tenant: Tenant, row: Outbox, kind: str, **more: bool) -> None:
    row.state, row.next_at = "queued", clock_of_database()
    db.session.flush()
    lifecycle.annotate([row.message_id], reason=None, reason_detail={}, next_at=clock.now(), **more)
    lifecycle.tell(tenant.id, [row.message_id], kind)


def _end(tenant: Tenant, row: Outbox, *, late: bool) -> None:
    """Too late to be of use, or called back while it was held."""
    if late:
        lifecycle.move(tenant.id, [row.message_id], Status.EXPIRED, "expired", reason="too_late", next_at=None)
    else:
        lifecycle.move(tenant.id, [row.message_id], Status.CANCELLED, "cancelled", next_at=None)
    lifecycle.drop_from_outbox([row.message_id])


def _decide(tenant: Tenant, row: Outbox, *, evidence: bool) -> None:
    """An attempt had begun when the backup was made. Its receipts came and went: waiting for them would prove nothing,
    so it ends at once as its policy says."""
    row.state, row.next_at = "uncertain", clock_of_database()
    db.session.flush()
    lifecycle.move(tenant.id, [row.message_id], Status.UNCERTAIN, "in_doubt_again", reason=None, next_at=None)
    recovery.decide(row, evidence=evidence, pace=current_app.extensions["wa_pace"], asked=evidence)


def _note(tenant: Tenant, wish: Wish, counts: Counter[str]) -> None:
    with transaction():
        up = fence.of(tenant.id)
        if up is not None and not up.held and (not wish.campaign or not up.reminders):
            fence.take_down(tenant.id)
        told = {name: counts[name] for name in COUNTS if counts[name]}
        audit.record(tenant.id, "command", "fence.released", tenant.id, campaign=wish.campaign, **told)
