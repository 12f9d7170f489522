"""Receipts that came before we knew their message: kept, applied as soon as it is known, given up after a week."""

from datetime import timedelta

from sqlalchemy import and_, func, select, update

from .. import clock, logs
from ..db import all_tenants, db, end_read, is_unavailable, savepoint, tenant_scope, transaction
from ..models import Attempt, ProviderAccount, WebhookItem
from . import news

log = logs.get(__name__)

PARKED_FOR = timedelta(days=7)  # the longest a provider redelivers (contracts.md §1.4)


def match_parked(account_id: str, external_id: str) -> int:
    """Apply the receipts that came for this provider id before we had stored it; returns how many fitted.

    Call it in the transaction that stores the id, in the tenant's scope. A bad receipt never harms the caller.
    """
    rows = db.session.scalars(
        select(WebhookItem)
        .where(
            WebhookItem.account_id == account_id, WebhookItem.external_id == external_id, WebhookItem.state == "parked"
        )
        .order_by(WebhookItem.at)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return 0
    account = db.session.scalars(select(ProviderAccount).where(ProviderAccount.id == account_id)).one()
    return sum(_settle(row, account) for row in rows)


def _settle(row: WebhookItem, account: ProviderAccount) -> bool:
    try:
        with savepoint():
            verdict = news.apply_parked(account, row)
            if verdict.state == "parked":
                return False
            news.record(row.id, verdict)
            return True
    except Exception as error:
        if is_unavailable(error):
            raise
        log.exception("parked_receipt_failed", item_id=row.id)
        return False


def match_parked_due(limit: int = 500) -> int:
    """Sweep over all tenants: parked receipts whose message is known by now are applied, those that waited for
    seven days become ``orphaned`` (somebody else's traffic, or a restored database). Returns how many fitted."""
    with all_tenants("parked receipts of every tenant"):
        found = db.session.execute(
            select(WebhookItem.tenant_id, WebhookItem.account_id, WebhookItem.external_id)
            .join(
                Attempt,
                and_(Attempt.account_id == WebhookItem.account_id, Attempt.external_id == WebhookItem.external_id),
            )
            .where(WebhookItem.state == "parked", WebhookItem.external_id.is_not(None))
            .distinct()
            .limit(limit)
        ).all()
        end_read()
    matched = 0
    for tenant_id, account_id, external_id in found:
        with tenant_scope(tenant_id), transaction():
            matched += match_parked(account_id, str(external_id))
    _give_up_parked()
    return matched


def _give_up_parked() -> None:
    too_old = and_(WebhookItem.state == "parked", WebhookItem.recorded_at < clock.now() - PARKED_FOR)
    with all_tenants("receipts nobody asked for"):
        if db.session.scalar(select(WebhookItem.id).where(too_old).limit(1)) is None:
            end_read()
            return
        with transaction():
            gone = db.session.scalars(
                update(WebhookItem).where(too_old).values(state="orphaned").returning(WebhookItem.id),
                execution_options={"synchronize_session": False},
            ).all()
    log.warning("receipts_orphaned", count=len(gone))


def unsettled() -> dict[str, int]:
    """How many pieces of news of everybody are in each state but ``applied``: above all ``parked`` and ``orphaned``,
    receipts of messages that we do not know. In the scope of all tenants."""
    counts = dict.fromkeys(("failed", "ignored", "orphaned", "parked", "unknown"), 0)
    found = db.session.execute(
        select(WebhookItem.state, func.count()).where(WebhookItem.state != "applied").group_by(WebhookItem.state)
    )
    return counts | dict(found.all())
