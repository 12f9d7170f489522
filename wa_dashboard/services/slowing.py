"""A provider that says "too fast": half the speed at once, and a tenth of it back each minute.

A refusal here and there is none of that: providers refuse one in a hundred at any speed, and halving for each of them
brought a sender of 80 a second to four within minutes (storms of 10,000, 1.5 % answered 429).
"""

from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update

from .. import logs
from ..db import clock_of_database, db, db_now
from ..models import Attempt, ProviderAccount
from .account_story import add_line

log = logs.get(__name__)

SLOWEST = 0.05
_BURST = timedelta(seconds=5)
_WINDOW_S = 10.0
_SHARE, _FEW = 0.05, 3  # of the answers in the window; fewer than so many say nothing while others are accepted


def slow_down(account: ProviderAccount, code: str | None) -> None:
    """The provider said "too fast" with this ``code``: half the rate, never under a twentieth (in a transaction, the
    attempt already closed), unless that is a rare exception among what it accepts.

    What is left of the rate at any moment is `slowed_now`: a tenth comes back each minute. The answers
    of one burst count once.
    """
    now = clock_of_database()
    fresh = db.session.execute(
        select(ProviderAccount.slowed, ProviderAccount.slowed_at).where(ProviderAccount.id == account.id)
    ).one()
    if (fresh.slowed_at is not None and now - fresh.slowed_at <= _BURST) or _is_exception(account, code):
        return
    before = slowed_now(fresh.slowed, fresh.slowed_at, now)
    after = max(SLOWEST, before / 2)
    slowed = db.session.scalar(
        update(ProviderAccount)
        .where(
            ProviderAccount.id == account.id,
            or_(ProviderAccount.slowed_at.is_(None), ProviderAccount.slowed_at < db_now(-_BURST.total_seconds())),
        )
        .values(slowed=after, slowed_at=db_now())
        .returning(ProviderAccount.id),
        execution_options={"synchronize_session": False},
    )
    if slowed and before == 1.0:
        add_line(account.tenant_id, account.id, "slowed", share=after)
        log.info("account_slowed", account_id=account.id, share=after)


def _is_exception(account: ProviderAccount, code: str | None) -> bool:
    counted = db.session.execute(
        select(Attempt.outcome, func.count())
        .where(
            Attempt.account_id == account.id,
            Attempt.receipt_seen.in_((False, True)),  # for ix_wa_attempts_watermark
            Attempt.started_at > db_now(-_WINDOW_S),
            or_(Attempt.outcome == "accepted", (Attempt.outcome == "throttled") & (Attempt.error_code == code)),
        )
        .group_by(Attempt.outcome)
    )
    counts = {row[0]: row[1] for row in counted}
    accepted, throttled = counts.get("accepted", 0), counts.get("throttled", 0)
    return accepted > 0 and (throttled < _FEW or throttled < _SHARE * (accepted + throttled))


def slowed_now(slowed: float, slowed_at: datetime | None, now: datetime) -> float:
    """The share of the rate that is left, 0–1: a tenth comes back in each minute after ``slowed_at``."""
    if slowed_at is None:
        return 1.0
    return min(1.0, slowed + 0.1 * max((now - slowed_at).total_seconds(), 0.0) / 60)
