"""Messages that wait for something they are not to blame for: an account, a template.

Parked rows are out of the way of the drain until they are let go; both happen in chunks, so that a queue of any
length holds nobody up. Every step may run in any number at once and be killed in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update

from .. import queues
from ..bulk import among
from ..db import db, db_now, transaction
from ..models import Message, Outbox, ProviderAccount
from . import lifecycle

CHUNK = 500
PARKED_S = 900.0  # looked at again by then even if nobody lets them go
FIRST = 50  # so many are let go while an account is still being tried
FOR_THE_ACCOUNT = ("breaker_open", "account_held", "account_disabled")


def park(account: ProviderAccount, reason: str, detail: Mapping[str, Any] | None = None, *conditions: Any) -> int:
    """Say why they wait, of a chunk of the account's due rows; returns how many. Opens its own transaction.

    In the tenant's scope. ``reason`` is one of FOR_THE_ACCOUNT; ``detail`` goes to the messages' reason_detail;
    ``conditions`` on outbox rows narrow it down.
    """
    with transaction():
        ids = due_rows(account.id, *conditions)
        if ids:
            _reschedule(ids, PARKED_S)
            lifecycle.annotate(ids, reason=reason, reason_detail=dict(detail or {}), next_at=None)
    return len(ids)


def let_go(account: ProviderAccount, most: int | None = None) -> int:
    """The account sends again: what was parked for it is due now, at once or only ``most`` of it, best first."""
    freed = 0
    while most is None or freed < most:
        with transaction():
            ids = _parked(account.id, min(CHUNK, CHUNK if most is None else most - freed))
            if ids:
                make_due(ids)
                queues.wake_lane(account.id)
        freed += len(ids)
        if not ids:
            break
    return freed


def release_template(template_id: str, account_id: str) -> int:
    """The template is approved there again: what was held for it is due now. Joins the transaction that says so."""
    freed = 0
    with transaction():
        while ids := _waiting_for_template(template_id, account_id):
            make_due(ids)
            freed += len(ids)
        if freed:
            queues.wake_lane(account_id)
    return freed


def _waiting_for_template(template_id: str, account_id: str) -> list[str]:
    wanted = (
        select(Outbox.message_id)
        .join(Message, Message.id == Outbox.message_id)
        .where(
            Outbox.template_id == template_id,
            Outbox.account_id == account_id,
            Outbox.state == "queued",
            Message.reason == "template_unavailable",
        )
        .order_by(Outbox.message_id)
        .limit(CHUNK * 10)
        .with_for_update(of=Outbox, skip_locked=True)
    )
    return list(db.session.scalars(wanted))


def due_rows(account_id: str, *conditions: Any) -> list[str]:
    """A chunk of the account's rows that could be claimed now, locked, best first."""
    wanted = (
        select(Outbox.message_id)
        .where(Outbox.account_id == account_id, lifecycle.due(), *conditions)
        .order_by(Outbox.priority, Outbox.next_at, Outbox.message_id)
        .limit(CHUNK)
        .with_for_update(skip_locked=True)
    )
    return list(db.session.scalars(wanted))


def _parked(account_id: str, most: int) -> list[str]:
    wanted = (
        select(Outbox.message_id)
        .join(Message, Message.id == Outbox.message_id)
        .where(
            Outbox.account_id == account_id,
            Outbox.state == "queued",
            Outbox.next_at > db_now(),
            Message.reason.in_(FOR_THE_ACCOUNT),
        )
        .order_by(Outbox.priority, Outbox.next_at, Outbox.message_id)
        .limit(most)
        .with_for_update(of=Outbox, skip_locked=True)
    )
    return list(db.session.scalars(wanted))


def make_due(message_ids: Sequence[str]) -> None:
    """These, which wait in the queue, wait for nothing any more (in a transaction)."""
    _reschedule(message_ids, 0.0)
    lifecycle.annotate(message_ids, reason=None, reason_detail={}, next_at=None)


def _reschedule(message_ids: Sequence[str], seconds: float) -> None:
    db.session.execute(
        update(Outbox)
        .where(among(Outbox.message_id, message_ids), Outbox.state == "queued")
        .values(next_at=db_now(seconds)),
        execution_options={"synchronize_session": False},
    )


def delay_contact(account_id: str, contact_id: str, seconds: float) -> None:
    """The provider wants a pause between messages to one person: nothing else for them meanwhile (in a transaction)."""
    db.session.execute(
        update(Outbox)
        .where(
            Outbox.contact_id == contact_id,
            Outbox.account_id == account_id,
            Outbox.state == "queued",
            Outbox.next_at < db_now(seconds),
        )
        .values(next_at=db_now(seconds)),
        execution_options={"synchronize_session": False},
    )
