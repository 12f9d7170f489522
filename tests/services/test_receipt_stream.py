"""Silence is evidence only while receipts come at all: holds stretch while they do not, and somebody is told."""

import pytest
from sqlalchemy import update

from tests import factories
from tests.services.health_world import account_story, message_of, outbox_of, queue, story_of
from wa_dashboard.db import db, db_now, insert_rows, tenant_scope, transaction
from wa_dashboard.domain import story
from wa_dashboard.domain.pace import Pace
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import Attempt, Message, Outbox, ProviderAccount
from wa_dashboard.services import breakers, receipt_stream, recovery

PACE = Pace(grace=1, margin=10, hold=100, long_hold=200)


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


def doubtful(ready, template, since):
    """An order whose only attempt, so many seconds ago, got no answer."""
    (message_id,) = queue(ready, template)
    with tenant_scope(ready.id), transaction():
        db.session.execute(
            update(Outbox)
            .where(Outbox.message_id == message_id)
            .values(state="uncertain", attempt_no=1, next_at=db_now(-1), uncertain_since=db_now(since))
        )
        db.session.execute(update(Message).where(Message.id == message_id).values(status="uncertain"))
        attempt(ready, message_id, Rank.AMBIGUOUS, since - 5)
    return message_id


def attempt(ready, message_id, rank, begun, *, seen=False):
    row = {
        "tenant_id": ready.id,
        "message_id": message_id,
        "attempt_no": 1,
        "account_id": ready.account.id,
        "provider": "meta_cloud",
        "rank": int(rank),
        "started_at": db_now(begun),
        "receipt_seen": seen,
        "outcome": "accepted" if rank >= Rank.ACCEPTED else "ambiguous",
    }
    insert_rows(Attempt, [row])


def accepted(ready, template, begun, number=1, *, seen=False):
    """Another message that the provider took then."""
    (message_id,) = queue(ready, template, first=number)
    with tenant_scope(ready.id), transaction():
        attempt(ready, message_id, Rank.ACCEPTED, begun, seen=seen)
        db.session.execute(
            update(ProviderAccount).where(ProviderAccount.id == ready.account.id).values(last_sent_at=db_now(begun))
        )


def heard(ready, ago):
    with tenant_scope(ready.id), transaction():
        db.session.execute(
            update(ProviderAccount).where(ProviderAccount.id == ready.account.id).values(last_receipt_at=db_now(ago))
        )


@pytest.mark.parametrize(("since", "waits"), [(-150, True), (-290, True), (-310, False)])
def test_patience_is_three_times_as_long_while_no_receipt_comes(tenant, template, since, waits):
    message_id = doubtful(tenant, template, since)
    accepted(tenant, template, since + 50)

    recovery.reap(PACE)
    recovery.reap(PACE)

    message = message_of(message_id)
    assert message.status == ("uncertain" if waits else "queued")
    assert story_of(message_id).count("waits_for_receipts") == (1 if waits else 0)
    assert message.possible_duplicate is not waits
    if waits:
        assert message.reason == "receipts_stopped"
        assert outbox_of(message_id).state == "uncertain"


def test_with_receipts_of_others_patience_is_as_always(tenant, other_tenant, template):
    theirs = factories.make_template(other_tenant)
    message_id, silent = doubtful(tenant, template, -150), doubtful(other_tenant, theirs, -150)
    accepted(tenant, template, -100)
    accepted(other_tenant, theirs, -100)
    heard(tenant, -90)

    recovery.reap(PACE)

    assert (message_of(message_id).status, message_of(message_id).possible_duplicate) == ("queued", True)
    assert message_of(silent).status == "uncertain"


def test_with_nothing_sent_since_there_is_nothing_to_hear(tenant, template):
    message_id = doubtful(tenant, template, -150)
    accepted(tenant, template, -200)

    recovery.reap(PACE)

    assert message_of(message_id).status == "queued"


def test_receipts_that_come_late_still_decide(tenant, template):
    """R5 in small: they were held up for long, then they all come; nothing is sent twice."""
    message_id = doubtful(tenant, template, -150)
    accepted(tenant, template, -100)
    recovery.reap(PACE)
    assert message_of(message_id).status == "uncertain"

    from wa_dashboard import clock
    from wa_dashboard.providers.base import StatusItem
    from wa_dashboard.services import lifecycle

    with tenant_scope(tenant.id), transaction():
        late = StatusItem(
            key="k", at=clock.now(), correlation_id=f"{message_id}.1", external_id="wamid.1", status="delivered"
        )
        lifecycle.apply_receipt(tenant.account, late)
    recovery.reap(PACE)

    assert (message_of(message_id).status, message_of(message_id).possible_duplicate) == ("delivered", False)


def test_silence_is_noticed_told_once_and_its_end_too(tenant, other_tenant, template):
    accepted(other_tenant, factories.make_template(other_tenant), -400, seen=True)
    accepted(tenant, template, -200)
    assert receipt_stream.watch() == 0

    accepted(tenant, template, -400, number=2)
    assert health(tenant) == ("degraded", True)
    assert health(other_tenant) == ("healthy", False)
    assert receipt_stream.watch() == 1
    assert receipt_stream.watch() == 0
    assert account_story(tenant.account) == ["receipts_stopped"]
    assert account_story(other_tenant.account) == []

    heard(tenant, -1)
    assert receipt_stream.watch() == 1
    assert receipt_stream.watch() == 0
    assert account_story(tenant.account) == ["receipts_stopped", "receipts_back"]
    assert health(tenant) == ("healthy", False)


def health(ready):
    with tenant_scope(ready.id):
        (found,) = breakers.health_of(ready.tenant, live=False)
        db.session.commit()
    return found.state, found.receipts_stopped


def test_an_account_that_never_sent_is_not_silent(tenant, template):
    queue(tenant, template)

    assert receipt_stream.watch() == 0
    assert health(tenant) == ("healthy", False)


def test_every_turn_of_a_doubt_has_its_own_words():
    said = {
        story.sentence("uncertain", {"reason": "no_answer"}),
        story.sentence("uncertain", {"reason": "lease_expired"}),
        story.sentence("waits_for_receipts", {}),
        story.sentence("looked_up", {}),
        story.sentence("sent_again", {"reason": "no_receipt"}),
        story.sentence("sent_again", {"reason": "not_listed"}),
        story.sentence("sent_again", {"reason": "hold_over"}),
        story.sentence("unconfirmed", {}),
    }

    assert len(said) == 8
    assert all(" " in sentence for sentence in said)
