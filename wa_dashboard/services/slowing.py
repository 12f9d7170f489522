"""A provider that says "too fast": half the speed at once, and a tenth of it back each minute."""

from datetime import datetime

from sqlalchemy import or_, select, update

from .. import logs
from ..db import clock_of_database, db, db_now
from ..models import ProviderAccount
from .account_story import add_line

log = logs.get(__name__)

SLOWEST = 0.05


def slow_down(account: ProviderAccount) -> None:
    """The provider said "too fast": half the rate, never under a twentieth (in a transaction).

    What is left of the rate at any moment is `slowed_now`: a tenth comes back each minute. The answers
    of one burst count once.
    """
    now = clock_of_database()
    fresh = db.session.execute(
        select(ProviderAccount.slowed, ProviderAccount.slowed_at).where(ProviderAccount.id == account.id)
    ).one()
    before = slowed_now(fresh.slowed, fresh.slowed_at, now)
    after = max(SLOWEST, before / 2)
    slowed = db.session.scalar(
        update(ProviderAccount)
        .where(
            ProviderAccount.id == account.id,
            or_(ProviderAccount.slowed_at.is_(None), ProviderAccount.slowed_at < db_now(-5)),
        )
        .values(slowed=after, slowed_at=db_now())
        .returning(ProviderAccount.id),
        execution_options={"synchronize_session": False},
    )
    if slowed and before == 1.0:
        add_line(account.tenant_id, account.id, "slowed", share=after)
        log.info("account_slowed", account_id=account.id, share=after)


def slowed_now(slowed: float, slowed_at: datetime | None, now: datetime) -> float:
    """The share of the rate that is left, 0–1: a tenth comes back in each minute after ``slowed_at``."""
    if slowed_at is None:
        return 1.0
    return min(1.0, slowed + 0.1 * max((now - slowed_at).total_seconds(), 0.0) / 60)
