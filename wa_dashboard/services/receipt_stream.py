"""Whether receipts still come for an account: silence is evidence only while they do (states.md §6.1.1)."""

from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import func, or_, select

from .. import logs
from ..db import all_tenants, clock_of_database, db, end_read, tenant_scope, transaction
from ..domain.pace import Pace
from ..domain.statuses import Rank
from ..models import AccountEvent, Attempt, ProviderAccount
from . import account_story

log = logs.get(__name__)

STOPPED, BACK = "receipts_stopped", "receipts_back"
_LOOK_BACK = timedelta(days=7)


def stopped(account: ProviderAccount) -> bool:
    """Something was accepted longer ago than ``silence`` (WA_PACE), and no receipt has come since. Reads only."""
    pace: Pace = current_app.extensions["wa_pace"]
    now = clock_of_database()
    edge = now - timedelta(seconds=pace.silence)
    heard = max(account.last_receipt_at or now - _LOOK_BACK, now - _LOOK_BACK)
    if account.last_sent_at is None or heard >= edge:
        return False
    accepted = select(Attempt.message_id).where(
        Attempt.account_id == account.id,
        Attempt.receipt_seen.is_(False),
        Attempt.started_at > heard,
        Attempt.started_at <= edge,
        Attempt.rank >= Rank.ACCEPTED,
    )
    return db.session.scalar(accepted.limit(1)) is not None and not _seen_since(account.id, heard)


def is_dead(account_id: str | None, since: datetime) -> bool:
    """Messages were accepted after ``since``, and no receipt at all has come after it: silence proves nothing."""
    last = db.session.scalar(select(ProviderAccount.last_receipt_at).where(ProviderAccount.id == account_id))
    if account_id is None or (last is not None and last >= since) or _seen_since(account_id, since):
        return False
    accepted = select(Attempt.message_id).where(
        Attempt.account_id == account_id,
        Attempt.receipt_seen.is_(False),
        Attempt.started_at > since,
        Attempt.rank >= Rank.ACCEPTED,
    )
    return db.session.scalar(accepted.limit(1)) is not None


def _seen_since(account_id: str, since: datetime) -> bool:
    wanted = select(Attempt.message_id).where(
        Attempt.account_id == account_id, Attempt.receipt_seen.is_(True), Attempt.started_at > since
    )
    return db.session.scalar(wanted.limit(1)) is not None


def watch() -> int:
    """Note in the accounts' stories where receipts have stopped, and where they are back. Returns how many changed."""
    with all_tenants("the receipts of every account are watched"):
        now = clock_of_database()
        told = _last_told()
        candidates = db.session.scalars(
            select(ProviderAccount).where(
                or_(
                    ProviderAccount.id.in_([account_id for account_id, kind in told.items() if kind == STOPPED]),
                    ProviderAccount.last_sent_at > now - _LOOK_BACK,
                )
            )
        ).all()
        changed = [
            (account, is_stopped)
            for account in candidates
            if (is_stopped := stopped(account)) != (told.get(account.id) == STOPPED)
        ]
        end_read()
    return sum(_tell(account, is_stopped) for account, is_stopped in changed)


def _last_told() -> dict[str, str]:
    """By account, the last line of its story about receipts."""
    newest = (
        select(AccountEvent.account_id, func.max(AccountEvent.id).label("id"))
        .where(AccountEvent.kind.in_((STOPPED, BACK)))
        .group_by(AccountEvent.account_id)
        .subquery()
    )
    rows = db.session.execute(
        select(AccountEvent.account_id, AccountEvent.kind).join(newest, newest.c.id == AccountEvent.id)
    )
    return {row.account_id: row.kind for row in rows}


def _tell(account: ProviderAccount, is_stopped: bool) -> bool:
    kind = STOPPED if is_stopped else BACK
    with tenant_scope(account.tenant_id), transaction():
        db.session.execute(
            select(ProviderAccount.id).where(ProviderAccount.id == account.id).with_for_update(key_share=True)
        )
        last = account_story.newest(account.id, (STOPPED, BACK), 1)
        if (last[0].kind if last else BACK) == kind:
            return False  # another process was faster
        account_story.add_line(account.tenant_id, account.id, kind)
    if is_stopped:
        log.error("receipts_stopped", account_id=account.id, advice="is the webhook address still set at the provider?")
    else:
        log.info("receipts_back", account_id=account.id)
    return True
