"""How each account is doing, for pages, the API, the doctor and metrics. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from ..db import clock_of_database, db
from ..domain import health
from ..domain.text import T
from ..models import AccountEvent, Breaker, Outbox, ProviderAccount, Tenant
from ..providers.base import explain
from . import receipt_stream
from .slowing import slowed_now


@dataclass(frozen=True)
class AccountHealth:
    """One account as people see it.

    ``state``: healthy, degraded, open, half_open, locked or disabled; ``word`` and ``sentence`` say so in words (None:
    nothing to say). ``reason`` is ``class:code`` of what stopped it. ``retry_at``: looked at again then by itself.
    ``waiting`` and ``uncertain`` count messages. ``events``: its last lines, newest first. Times: aware UTC.
    """

    account: ProviderAccount
    state: str
    word: T
    sentence: T | None
    reason: str | None
    retry_at: datetime | None
    down_since: datetime | None
    waiting: int
    uncertain: int
    last_receipt_at: datetime | None
    receipts_stopped: bool
    events: list[AccountEvent]


def health_of(tenant: Tenant, live: bool) -> list[AccountHealth]:
    """The health of the tenant's accounts of one mode, in the order in which they are preferred; in its scope."""
    rows = db.session.execute(
        select(ProviderAccount, Breaker)
        .outerjoin(Breaker, Breaker.account_id == ProviderAccount.id)
        .where(ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live)
        .order_by(ProviderAccount.priority, ProviderAccount.id),
        execution_options={"populate_existing": True},
    ).all()
    counts = _counts([account.id for account, _ in rows])
    now = clock_of_database()
    return [_of(account, breaker, counts, now) for account, breaker in rows]


def state_of(account: ProviderAccount, breaker: Breaker | None) -> str:
    """``disabled``, ``locked``, ``open``, ``half_open`` or ``closed``."""
    if account.status != "active":
        return "disabled" if account.status == "disabled" else "locked"
    return breaker.state if breaker is not None else "closed"


def states() -> dict[str, int]:
    """How many accounts there are in each state of the breaker; for metrics, over all tenants."""
    found = dict.fromkeys(("closed", "open", "half_open", "locked"), 0)
    rows = db.session.execute(
        select(ProviderAccount.status, Breaker.state, func.count())
        .outerjoin(Breaker, Breaker.account_id == ProviderAccount.id)
        .where(ProviderAccount.status != "disabled")
        .group_by(ProviderAccount.status, Breaker.state)
    )
    for status, state, count in rows:
        found["locked" if status == "held" else state or "closed"] += count
    return found


def oldest_doubt_s() -> float:
    """How long the oldest message nobody knows the end of has been waiting, in seconds; 0.0 when there is none."""
    wanted = select(func.min(Outbox.uncertain_since)).where(Outbox.state == "uncertain")
    oldest = db.session.scalar(wanted)
    return max((clock_of_database() - oldest).total_seconds(), 0.0) if oldest else 0.0


def _counts(account_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    rows = db.session.execute(
        select(Outbox.account_id, Outbox.state, func.count())
        .where(Outbox.account_id.in_(account_ids))
        .group_by(Outbox.account_id, Outbox.state)
    )
    return {(str(account_id), state): count for account_id, state, count in rows}


def _of(
    account: ProviderAccount, breaker: Breaker | None, counts: dict[tuple[str, str], int], now: datetime
) -> AccountHealth:
    state = state_of(account, breaker)
    silent = receipt_stream.stopped(account)
    slow = slowed_now(account.slowed, account.slowed_at, now) < 1.0
    if state == "closed":
        state = "degraded" if silent or slow else "healthy"
    away = state in ("open", "locked", "half_open")
    reason = (account.hold_reason or (breaker.reason if breaker else None)) if away else None
    wanted = select(AccountEvent).where(AccountEvent.account_id == account.id)
    newest_first = wanted.order_by(AccountEvent.at.desc(), AccountEvent.id.desc()).limit(20)
    return AccountHealth(
        account=account,
        state=state,
        word=health.WORDS[state],
        sentence=_sentence(account, state, reason, silent=silent),
        reason=reason,
        retry_at=breaker.retry_at if breaker is not None and state in ("open", "locked") else None,
        down_since=breaker.down_since if breaker is not None and away else None,
        waiting=counts.get((account.id, "queued"), 0),
        uncertain=counts.get((account.id, "uncertain"), 0),
        last_receipt_at=account.last_receipt_at,
        receipts_stopped=silent,
        events=list(db.session.scalars(newest_first)),
    )


def _sentence(account: ProviderAccount, state: str, reason: str | None, *, silent: bool) -> T | None:
    if state == "degraded":
        return health.SILENT if silent else health.SLOWED
    if state == "locked" and reason:
        error_class, _, code = reason.partition(":")
        found = explain(account.provider, code or None, error_class)
        return T("%(why)s %(advice)s", why=found.reason, advice=found.advice)
    return health.SENTENCES.get(state)
