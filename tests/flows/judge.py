"""What a storm came to: the database's rows against the provider's ledger, which no process of ours can reach."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from tests.factories import ReadyTenant
from tests.support import queued
from wa_dashboard.bench.storm import Installation
from wa_dashboard.config import Settings
from wa_dashboard.db import all_tenants, clock_of_database, db, tenant_scope
from wa_dashboard.factory import create_app
from wa_dashboard.models import Attempt, Message, Outbox, ProviderAccount, Template
from wa_dashboard.services import tenants

_OPEN = ("queued", "sending", "uncertain")
_UNDER_WAY = ("accepted", "sent")


@contextmanager
def inside(storm: Installation) -> Iterator[None]:
    """The storm's own application in this process: a neighbour of those that are killed."""
    app = create_app(Settings.from_env(storm.env))
    with app.app_context():
        try:
            yield
        finally:
            db.session.remove()
            db.engine.dispose()


def add_promotions(storm: Installation, count: int, portions: int = 1, pause: float = 0.0) -> int:
    """Queue promotions to people who want them: there is no call for them yet. Returns how many are surely there."""
    made = 0
    for number in range(portions):
        wanted = count * (number + 1) // portions - count * number // portions
        try:
            with inside(storm):
                tenant = tenants.find_tenant(storm.tenant)
                with tenant_scope(tenant.id):
                    account = db.session.scalars(select(ProviderAccount)).one()
                    template = db.session.scalars(select(Template).where(Template.name == "promo")).one()
                ready = ReadyTenant(tenant, account, "", "")
                made += len(queued.queue(ready, template, queued.people(ready, wanted, first=made), "promo"))
        except OperationalError:
            pass  # the database has just crashed: these are not counted, whether they are there or not
        time.sleep(pause)
    return made


@dataclass(frozen=True)
class Verdict:
    """``twice``: how many came more than once, by policy; ``ambiguous``: attempts nobody knew the end of."""

    statuses: Counter
    messages: Counter
    lost: int
    twice: Counter
    ambiguous: int
    unconfirmed_but_sent: int
    unsent_but_unsaid: int

    def __str__(self) -> str:
        return (
            f"{dict(self.messages)}: lost {self.lost}, twice {dict(self.twice)} of {self.ambiguous} in doubt, "
            f"unconfirmed though sent {self.unconfirmed_but_sent}, unsent and unsaid {self.unsent_but_unsaid}, "
            f"{dict(self.statuses)}"
        )


def verdict(storm: Installation) -> Verdict:
    """The ledger against the rows."""
    ledger = storm.ledger()
    with inside(storm), all_tenants("a judge sees everything"):
        rows = db.session.execute(select(Message.id, Message.policy, Message.status)).all()
        ambiguous = db.session.scalar(
            select(func.count()).select_from(Attempt).where(Attempt.outcome == "ambiguous")
        )
        db.session.rollback()
    unsent = [row for row in rows if row.id not in ledger]
    return Verdict(
        statuses=Counter(str(row.status) for row in rows),
        messages=Counter(row.policy for row in rows),
        lost=sum(row.policy == "must_deliver" for row in unsent),
        twice=Counter(row.policy for row in rows if ledger[row.id] > 1),
        ambiguous=ambiguous or 0,
        unconfirmed_but_sent=sum(row.status == "unconfirmed" and row.id in ledger for row in rows),
        unsent_but_unsaid=sum(row.policy != "must_deliver" and row.status != "unconfirmed" for row in unsent),
    )


def settled(storm: Installation, seconds: float, *, receipts: bool = True, next_order: int = 1_000_000) -> int:
    """Wait until nothing waits. A few orders keep coming, as they do: their receipts move the watermark.

    Without ``receipts`` what was accepted stays so. Returns how many orders came.
    """
    extra, end = 0, time.monotonic() + seconds
    wanted = _OPEN + (_UNDER_WAY if receipts else ())
    while True:
        with inside(storm), all_tenants("a judge sees everything"):
            found = Counter(
                dict(db.session.execute(select(Message.status, func.count()).group_by(Message.status)).all())
            )
            db.session.rollback()
        if not sum(found[status] for status in wanted) or time.monotonic() > end:
            return extra
        if receipts and found["uncertain"]:
            storm.post(next_order + extra)
            extra += 1
        time.sleep(1.5)


def stuck(storm: Installation, lease: float) -> int:
    """Rows whose lease has been over for longer than another lease."""
    with inside(storm), all_tenants("a judge sees everything"):
        leases = db.session.scalars(select(Outbox.lease_until).where(Outbox.state.in_(("claimed", "sending")))).all()
        now = clock_of_database()
        db.session.rollback()
    return sum((now - until).total_seconds() > lease for until in leases if until)
