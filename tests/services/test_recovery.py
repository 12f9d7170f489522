"""What dead workers leave behind, and how doubts are decided: by evidence first, by patience last."""

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.rows import make_message, put_in_outbox
from wa_dashboard import clock
from wa_dashboard.db import db, db_now, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.pace import Pace
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import Attempt, Message, Outbox, WebhookEvent
from wa_dashboard.providers.base import StatusItem
from wa_dashboard.services import contacts, lifecycle, recovery

PACE = Pace(grace=1, margin=10, hold=100, long_hold=200)


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


def doubtful(ready, template, policy, *, begun=-60.0, since=-50.0, state="uncertain", **times):
    """A message whose only attempt began ``begun`` seconds ago and got no answer."""
    with tenant_scope(ready.id), transaction():
        contact = contacts.contact_for(ready.tenant, to_e164("+40722123456"))
        kind = {"never_twice": "promo", "evidence": "reminder"}.get(policy, "order_confirm")
        status = "uncertain" if state == "uncertain" else "sending"
        message = make_message(ready, contact, type=kind, policy=policy, status=status, template=template)
        put_in_outbox(message, state=state, attempt_no=1, next_in=-1, since=since, **times)
        rank = Rank.AMBIGUOUS if state == "uncertain" else Rank.INFLIGHT
        insert_rows(Attempt, [_attempt(ready, message.id, rank, begun, seen=False)])
    return message.id


def _attempt(ready, message_id, rank, begun, *, seen):
    return {
        "tenant_id": ready.id,
        "message_id": message_id,
        "attempt_no": 1,
        "account_id": ready.account.id,
        "provider": "meta_cloud",
        "rank": int(rank),
        "started_at": db_now(begun),
        "receipt_seen": seen,
    }


def receipt_for_later_attempt(ready, template, begun):
    """Another message's receipt has come: the stream has passed everything begun before it."""
    with tenant_scope(ready.id), transaction():
        contact = contacts.contact_for(ready.tenant, to_e164("+40722000111"))
        message = make_message(ready, contact, status="delivered", template=template)
        insert_rows(Attempt, [_attempt(ready, message.id, Rank.DELIVERED, begun, seen=True)])


def unread_webhook(ready):
    with tenant_scope(ready.id), transaction():
        event = WebhookEvent(
            id=new_id("whe"),
            tenant_id=ready.id,
            account_id=ready.account.id,
            provider="meta_cloud",
            url="https://example.org",
            headers={},
            body=b"{}",
            digest=new_id("x"),
            state="new",
            received_at=clock.now(),
        )
        db.session.add(event)
        db.session.flush()


def after(ready, message_id):
    recovery.reap(PACE)
    with tenant_scope(ready.id):
        message = db.session.scalars(
            select(Message).where(Message.id == message_id), execution_options={"populate_existing": True}
        ).one()
        state = db.session.scalar(select(Outbox.state).where(Outbox.message_id == message_id))
    return message.status, state, message.possible_duplicate


@pytest.mark.parametrize("policy", ["must_deliver", "evidence", "never_twice"])
def test_without_evidence_and_within_patience_nothing_moves(tenant, template, policy):
    message_id = doubtful(tenant, template, policy)

    assert after(tenant, message_id) == ("uncertain", "uncertain", False)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("must_deliver", ("queued", "queued", False)),
        ("evidence", ("queued", "queued", False)),
        ("never_twice", ("unconfirmed", None, False)),
    ],
)
def test_receipts_that_passed_it_by_are_evidence(tenant, template, policy, expected):
    message_id = doubtful(tenant, template, policy, begun=-60)
    receipt_for_later_attempt(tenant, template, begun=-40)

    assert after(tenant, message_id) == expected


def test_receipts_within_the_margin_are_no_evidence_yet(tenant, template):
    message_id = doubtful(tenant, template, "must_deliver", begun=-60)
    receipt_for_later_attempt(tenant, template, begun=-55)

    assert after(tenant, message_id)[0] == "uncertain"


def test_unread_webhooks_may_hold_the_evidence(tenant, template):
    message_id = doubtful(tenant, template, "must_deliver", begun=-60)
    receipt_for_later_attempt(tenant, template, begun=-40)
    unread_webhook(tenant)

    assert after(tenant, message_id)[0] == "uncertain"


def test_receipts_of_another_account_are_no_evidence(tenant, other_tenant, template):
    message_id = doubtful(tenant, template, "must_deliver", begun=-60)
    receipt_for_later_attempt(other_tenant, factories.make_template(other_tenant), begun=-10)

    assert after(tenant, message_id)[0] == "uncertain"


@pytest.mark.parametrize(
    ("policy", "since", "expected"),
    [
        ("must_deliver", -150, ("queued", "queued", True)),
        ("evidence", -150, ("uncertain", "uncertain", False)),
        ("evidence", -250, ("unconfirmed", None, False)),
        ("never_twice", -250, ("unconfirmed", None, False)),
    ],
)
def test_patience_ends_as_the_policy_says(tenant, template, policy, since, expected):
    message_id = doubtful(tenant, template, policy, begun=since - 5, since=since)

    assert after(tenant, message_id) == expected


def test_expired_message_is_not_sent_again(tenant, template):
    message_id = doubtful(tenant, template, "must_deliver", begun=-60, expires_in=-5)
    receipt_for_later_attempt(tenant, template, begun=-40)

    assert after(tenant, message_id)[0] == "unconfirmed"


def test_lost_lease_while_sending_is_a_doubt(tenant, template):
    message_id = doubtful(tenant, template, "must_deliver", state="sending", lease_in=-1)

    assert after(tenant, message_id)[:2] == ("uncertain", "uncertain")
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Attempt.rank)).one() == Rank.AMBIGUOUS


def test_lost_claim_is_free_again_at_once(tenant, template):
    with tenant_scope(tenant.id), transaction():
        contact = contacts.contact_for(tenant.tenant, to_e164("+40722123456"))
        message = make_message(tenant, contact, template=template)
        put_in_outbox(message, state="claimed", lease_in=-1)

    assert after(tenant, message.id) == ("queued", "queued", False)


def test_too_late_to_be_useful_expires(tenant, template):
    with tenant_scope(tenant.id), transaction():
        contact = contacts.contact_for(tenant.tenant, to_e164("+40722123456"))
        message = make_message(tenant, contact, template=template)
        put_in_outbox(message, expires_in=-1)

    assert after(tenant, message.id) == ("expired", None, False)


def test_clock_that_jumped_back_leaves_no_wait_of_years(tenant, template):
    with tenant_scope(tenant.id), transaction():
        contact = contacts.contact_for(tenant.tenant, to_e164("+40722123456"))
        message = make_message(tenant, contact, template=template)
        put_in_outbox(message, next_in=10_000_000)

    recovery.reap(PACE)

    with tenant_scope(tenant.id):
        due = db.session.scalar(select(Outbox.message_id).where(Outbox.next_at <= db_now()))
    assert due == message.id


def test_reaping_twice_changes_nothing(tenant, template):
    message_id = doubtful(tenant, template, "never_twice", begun=-60)
    receipt_for_later_attempt(tenant, template, begun=-40)
    first = after(tenant, message_id)

    assert after(tenant, message_id) == first
    assert not any(recovery.reap(PACE).values())


def test_unsaid_policy_of_a_row_is_never_guessed(tenant, template):
    message_id = doubtful(tenant, template, "never_twice", begun=-60)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Outbox).values(policy="something new"))
    receipt_for_later_attempt(tenant, template, begun=-40)

    assert after(tenant, message_id)[0] == "unconfirmed"


def test_failure_of_the_second_attempt_ends_a_message_whose_first_was_given_up(tenant, template):
    message_id = doubtful(tenant, template, "must_deliver", begun=-60)
    receipt_for_later_attempt(tenant, template, begun=-40)
    after(tenant, message_id)

    with tenant_scope(tenant.id), transaction():
        second = _attempt(tenant, message_id, Rank.ACCEPTED, -1, seen=False) | {"attempt_no": 2}
        insert_rows(Attempt, [second])
        failed = StatusItem(
            key="k", at=clock.now(), correlation_id=f"{message_id}.2", external_id="wamid.2", status="failed"
        )
        lifecycle.apply_receipt(tenant.account, failed)
        status = db.session.scalar(select(Message.status).where(Message.id == message_id))

    assert status == "failed"


def test_late_receipt_of_a_given_up_attempt_still_counts(tenant, template):
    message_id = doubtful(tenant, template, "never_twice", begun=-60)
    receipt_for_later_attempt(tenant, template, begun=-40)
    assert after(tenant, message_id)[0] == "unconfirmed"

    with tenant_scope(tenant.id), transaction():
        late = StatusItem(
            key="k", at=clock.now(), correlation_id=f"{message_id}.1", external_id="wamid.1", status="delivered"
        )
        lifecycle.apply_receipt(tenant.account, late)
        status = db.session.scalar(select(Message.status).where(Message.id == message_id))

    assert status == "delivered"
