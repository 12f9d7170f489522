"""What became of messages a provider took, asked where it can be asked (Twilio): nobody waits for a lost callback.

Each message is asked about once after a quarter of an hour, which also tells its price, and twice more if it is not
over by then or has no price yet. What comes back settles like a receipt (contracts.md §2.4, §2.7).
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import func, select, update

from .. import clock, logs
from ..bulk import lies_among
from ..db import all_tenants, clock_of_database, db, db_now, end_read, tenant_scope, transaction
from ..domain.pace import Pace
from ..domain.statuses import RANK_OF_RECEIPT, Rank
from ..models import Attempt, Message, ProviderAccount
from ..providers.base import Provider, ProviderError, SentRecord, StatusItem
from . import accounts, lifecycle, news

log = logs.get(__name__)

BATCH = 50  # requests for one account in one pass, one after another
SECONDS = 10.0  # of one account in one pass
LEASE_S = 120.0
AFTER_TROUBLE_S = 60.0
_ACCOUNTS = 200
_OVER = (Rank.FAILED, Rank.DELIVERED, Rank.READ)
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class _Question:
    """One attempt to ask about; ``lease`` (database clock) proves that it is still ours."""

    message_id: str
    attempt_no: int
    external_id: str | None
    lease: datetime
    age_s: float


def ask_due() -> int:
    """Ask about what is due, account by account; any number of these may run at once. Returns how many were asked.

    No transaction is open meanwhile, and an account that is out of order never stops the others.
    """
    with all_tenants("messages of every organisation are asked about"):
        due = db.session.execute(
            select(Attempt.tenant_id, Attempt.account_id)
            .where(Attempt.ask_at.is_not(None), Attempt.ask_at <= db_now())
            .group_by(Attempt.tenant_id, Attempt.account_id)
            .order_by(func.min(Attempt.ask_at))
            .limit(_ACCOUNTS)
        ).all()
        end_read()
    asked = 0
    for tenant_id, account_id in due:
        with tenant_scope(tenant_id):
            try:
                asked += _ask_about(account_id)
            except Exception:
                log.exception("price_reports_broke", account_id=account_id)
                _put_off(account_id, AFTER_TROUBLE_S)
    return asked


def _ask_about(account_id: str) -> int:
    account = accounts.find_account(account_id)
    end_read()
    if account.status == "disabled":
        _put_off(account_id, 3600.0)
        return 0
    provider = accounts.provider_of(account)
    until, asked = time.monotonic() + SECONDS, 0
    for question in _claim(account_id):
        if time.monotonic() > until:
            break  # the rest is due again when the lease is over
        try:
            record = _look(provider, question)
        except ProviderError as problem:
            log.info("price_report_failed", account_id=account_id, code=problem.outcome.code)
            _put_off(account_id, max(AFTER_TROUBLE_S, problem.outcome.retry_after or 0.0))
            break
        _settle(account, question, record)
        asked += 1
    return asked


def _look(provider: Provider, question: _Question) -> SentRecord | None:
    return provider.fetch_message(question.external_id) if question.external_id else None


def _claim(account_id: str) -> list[_Question]:
    """Take a batch for the length of a lease, the longest due first."""
    wanted = (
        select(Attempt.message_id)
        .where(Attempt.account_id == account_id, Attempt.ask_at <= db_now())
        .order_by(Attempt.ask_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    with transaction():
        rows = db.session.execute(
            update(Attempt)
            .where(lies_among(Attempt, wanted))
            .values(ask_at=db_now(LEASE_S))
            .returning(Attempt.message_id, Attempt.attempt_no, Attempt.external_id, Attempt.ask_at, Attempt.started_at),
            execution_options=_QUIET,
        ).all()
        now = clock_of_database()
    return [
        _Question(message_id, number, external_id, lease, (now - started_at).total_seconds())
        for message_id, number, external_id, lease, started_at in rows
        if lease is not None
    ]


def _put_off(account_id: str, seconds: float) -> None:
    """Everything of this account that is due, or was claimed just now, waits so long."""
    with transaction():
        db.session.execute(
            update(Attempt)
            .where(Attempt.account_id == account_id, Attempt.ask_at <= db_now(LEASE_S))
            .values(ask_at=db_now(seconds)),
            execution_options=_QUIET,
        )


def _settle(account: ProviderAccount, question: _Question, record: SentRecord | None) -> None:
    """Write down what the provider says, in one transaction, unless somebody else has meanwhile."""
    with transaction():
        if record is not None:
            _merge(account, question, record)
        again = _again(question, record)
        ours = db.session.scalar(
            update(Attempt)
            .where(
                Attempt.message_id == question.message_id,
                Attempt.attempt_no == question.attempt_no,
                Attempt.ask_at == question.lease,
            )
            .values(ask_at=clock_of_database() + timedelta(seconds=again) if again is not None else None)
            .returning(Attempt.message_id),
            execution_options=_QUIET,
        )
        if ours and again is None and record is not None and record.price_micros is not None:
            _keep_price(question, record)


def _again(question: _Question, record: SentRecord | None) -> float | None:
    """Seconds until the next question; None when it is over and has its price, or there is nothing to hope for."""
    if record is None or (_is_over(record) and record.price_micros is not None):
        return None
    pace: Pace = current_app.extensions["wa_pace"]
    return pace.ask_after(question.age_s)


def _is_over(record: SentRecord) -> bool:
    return RANK_OF_RECEIPT[record.status] in _OVER


def _merge(account: ProviderAccount, question: _Question, record: SentRecord) -> None:
    """Like a receipt, but only if it says more than all receipts so far."""
    known = db.session.scalar(
        select(Attempt.rank).where(Attempt.message_id == question.message_id, Attempt.attempt_no == question.attempt_no)
    )
    end = RANK_OF_RECEIPT[record.status]
    if known is None or end <= known:
        return
    now = clock.now()
    item = StatusItem(
        key=f"asked:{record.external_id}:{record.status}",
        at=min(record.changed_at or now, now),
        correlation_id=f"{question.message_id}.{question.attempt_no}",
        external_id=record.external_id,
        status=record.status,  # type: ignore[arg-type]
        error=record.fault,
    )
    if news.merge(account, item, heard=False) is not None:
        lifecycle.tell(account.tenant_id, [question.message_id], "looked_up", attempt_no=question.attempt_no)


def _keep_price(question: _Question, record: SentRecord) -> None:
    """Added up, should a message have gone out twice: this attempt's is told once."""
    db.session.execute(
        update(Message)
        .where(Message.id == question.message_id)
        .values(
            reported_micros=func.coalesce(Message.reported_micros, 0) + record.price_micros,
            reported_currency=record.price_currency,
            updated_at=clock.now(),
        ),
        execution_options=_QUIET,
    )
