"""Asking a provider what it has: evidence in both directions where the provider can be asked (Twilio).

Looks at a doubt soon after it arose, in the hope of an answer, and again when its patience is over: what the
provider does not list by then was never created (states.md §6.1.1).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update

from .. import clock, logs
from ..db import all_tenants, clock_of_database, db, db_now, end_read, tenant_scope, transaction
from ..domain.pace import Pace
from ..models import Attempt, Contact, Outbox, ProviderAccount
from ..providers.base import ProviderError, SentRecord, StatusItem, all_providers
from . import accounts, lifecycle, recovery

log = logs.get(__name__)

BATCH = 50
_SKEW = timedelta(seconds=5)  # the provider's clock, in whole seconds, against the database's


@dataclass(frozen=True)
class _Doubt:
    """One attempt nobody knows the end of."""

    tenant_id: str
    message_id: str
    attempt_no: int
    account: ProviderAccount
    phone: str
    contact_id: str
    started_at: datetime
    age_s: float


def look_up_due(pace: Pace) -> int:
    """Ask about the doubts whose turn it is; returns how many were decided. No transaction is open meanwhile."""
    decided = 0
    for doubt in _due(pace):
        with tenant_scope(doubt.tenant_id):
            try:
                since = doubt.started_at - _SKEW
                records = accounts.provider_of(doubt.account).find_sent(doubt.phone, since)
            except ProviderError as problem:
                log.info("look_up_failed", message_id=doubt.message_id, kind=problem.outcome.kind)
                continue
            finally:
                _note_asked(doubt)
            decided += _decide(doubt, records, pace)
    return decided


def _due(pace: Pace) -> list[_Doubt]:
    able = [name for name, kind in all_providers().items() if kind.can_look_up]
    with all_tenants("the look-up serves everybody"):
        now = clock_of_database()
        wanted = (
            select(Outbox, ProviderAccount, Contact, Attempt.started_at)
            .join(ProviderAccount, ProviderAccount.id == Outbox.account_id)
            .join(Contact, Contact.id == Outbox.contact_id)
            .join(
                Attempt,
                (Attempt.message_id == Outbox.message_id) & (Attempt.attempt_no == Outbox.attempt_no),
            )
            .where(
                Outbox.state == "uncertain",
                ProviderAccount.provider.in_(able),
                Outbox.uncertain_since <= db_now(-pace.look_first),
                or_(Outbox.asked_at.is_(None), Outbox.asked_at <= db_now(-pace.look_again)),
            )
            .order_by(Outbox.asked_at.nulls_first(), Outbox.message_id)
            .limit(BATCH)
        )
        found = [
            _Doubt(
                row.tenant_id,
                row.message_id,
                row.attempt_no,
                account,
                contact.phone,
                contact.id,
                started_at,
                (now - started_at).total_seconds(),
            )
            for row, account, contact, started_at in db.session.execute(wanted)
        ]
        end_read()
    return found


def _note_asked(doubt: _Doubt) -> None:
    with transaction():
        db.session.execute(
            update(Outbox).where(Outbox.message_id == doubt.message_id).values(asked_at=db_now()),
            execution_options={"synchronize_session": False},
        )


def _decide(doubt: _Doubt, records: list[SentRecord], pace: Pace) -> bool:
    with transaction():
        lifecycle.lock_message(doubt.message_id)
        row = db.session.scalar(
            select(Outbox).where(
                Outbox.message_id == doubt.message_id,
                Outbox.state == "uncertain",
                Outbox.attempt_no == doubt.attempt_no,
            ),
            execution_options={"populate_existing": True},
        )
        if row is None or _others_in_doubt(doubt):
            return False
        strangers = _strangers(doubt, records)
        if strangers:
            _recognise(doubt, min(strangers, key=lambda record: record.at))
            return True
        if doubt.age_s < pace.look_last:
            return False
        recovery.decide(row, evidence=True, pace=pace, asked=True)
        return True


def _others_in_doubt(doubt: _Doubt) -> bool:
    """With two doubts about one person nobody can tell whose message a stranger in the list is."""
    wanted = (
        select(func.count())
        .select_from(Outbox)
        .where(
            Outbox.account_id == doubt.account.id,
            Outbox.contact_id == doubt.contact_id,
            Outbox.state.in_(("uncertain", "sending")),
        )
    )
    return (db.session.scalar(wanted) or 0) > 1


def _strangers(doubt: _Doubt, records: list[SentRecord]) -> list[SentRecord]:
    """What the provider has for this person since the attempt began, and none of our attempts owns."""
    ids = [record.external_id for record in records]
    owned = set(
        db.session.scalars(
            select(Attempt.external_id).where(Attempt.account_id == doubt.account.id, Attempt.external_id.in_(ids))
        )
    )
    return [record for record in records if record.external_id not in owned]


def _recognise(doubt: _Doubt, record: SentRecord) -> None:
    status = record.status if record.status in ("sent", "delivered", "read", "failed") else "accepted"
    lifecycle.tell(doubt.tenant_id, [doubt.message_id], "looked_up", attempt_no=doubt.attempt_no)
    lifecycle.apply_receipt(
        doubt.account,
        StatusItem(
            key=f"lookup:{record.external_id}",
            at=max(record.at, doubt.started_at) if status == "accepted" else clock.now(),
            correlation_id=f"{doubt.message_id}.{doubt.attempt_no}",
            external_id=record.external_id,
            status=status,  # type: ignore[arg-type]
            error=record.fault,
        ),
        heard=False,
    )
