"""The database's clock jumps, by hours or years: nothing waits for ever, and nothing under way is touched early."""

import pytest
from sqlalchemy import select

from tests.support.rows import make_message, put_in_outbox
from wa_dashboard.db import all_tenants, clock_of_database, db, tenant_scope, transaction
from wa_dashboard.domain.pace import Pace
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import Attempt, Outbox
from wa_dashboard.services import contacts, delivery, lifecycle, recovery

PACE = Pace(lease=6, grace=1, margin=10, hold=100, long_hold=200)
YEAR = 365 * 86_400.0


def row(ready, state, *, next_in=0.0, begun=None, **times):
    """A message in the middle of its life, whose times are so far from the database's now."""
    status = {"queued": "queued", "claimed": "queued", "sending": "sending", "uncertain": "uncertain"}[state]
    with tenant_scope(ready.id), transaction():
        contact = contacts.contact_for(ready.tenant, to_e164("+40722123456"))
        message = make_message(ready, contact, status=status)
        put_in_outbox(message, state=state, attempt_no=1 if begun else 0, next_in=next_in, **times)
        lifecycle.tell(ready.id, [message.id], "asked")
        if begun:
            db.session.add(
                Attempt(
                    tenant_id=ready.id,
                    message_id=message.id,
                    attempt_no=1,
                    account_id=ready.account.id,
                    provider="meta_cloud",
                    rank=int(Rank.INFLIGHT if state == "sending" else Rank.AMBIGUOUS),
                    started_at=clock_of_database(),
                )
            )
    return message.id


def look(message_id):
    """(state, seconds until it is due, seconds its lease lasts)."""
    with all_tenants("test"):
        found = db.session.execute(
            select(Outbox.state, Outbox.next_at, Outbox.lease_until).where(Outbox.message_id == message_id)
        ).one()
        now = clock_of_database()
        db.session.rollback()
    lease = (found.lease_until - now).total_seconds() if found.lease_until else None
    return found.state, (found.next_at - now).total_seconds(), lease


@pytest.mark.parametrize("state", ["queued", "uncertain"])
def test_what_waits_for_a_far_future_is_due_now(tenant, state):
    far = row(tenant, state, next_in=YEAR, begun=state == "uncertain", **({"since": 0} if state == "uncertain" else {}))
    soon = row(tenant, "queued", next_in=86_400)

    counts = recovery.reap(PACE)

    assert counts["clamped"] == 1
    assert look(far)[1] < 1
    assert look(soon)[1] > 86_000  # a promotion's day of waiting is no absurdity


@pytest.mark.parametrize("state", ["claimed", "sending"])
def test_a_lease_into_a_far_future_becomes_an_ordinary_one(tenant, state):
    message_id = row(tenant, state, lease_in=YEAR, begun=state == "sending")

    assert recovery.reap(PACE)["clamped"] == 1

    found, _, lease = look(message_id)
    assert found == state  # its worker may live: it keeps what a lease gives it
    assert 0 < lease <= PACE.lease + 1
    assert recovery.reap(PACE)["clamped"] == 0


def test_a_jump_forward_frees_claims_and_doubts_what_was_under_way(tenant):
    claimed, sending = row(tenant, "claimed", lease_in=-YEAR), row(tenant, "sending", lease_in=-YEAR, begun=True)

    counts = recovery.reap(PACE)

    assert (counts["reclaimed"], counts["doubted"]) == (1, 1)
    assert look(claimed)[0] == "queued"
    assert look(sending)[0] == "uncertain"


def test_what_was_due_in_a_far_past_is_due(tenant):
    row(tenant, "queued", next_in=-YEAR)

    assert delivery.lanes_with_work() == [tenant.account.id]
