"""A message that goes back into the queue starts afresh: what its earlier tries proved hides nothing that follows."""

import pytest
from sqlalchemy import select

from tests import factories
from tests.services.health_world import approve, far, message_of, outbox_of, settle
from tests.support.people import Somebody
from wa_dashboard import clock
from wa_dashboard.db import db, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.causes import advice_when_stuck
from wa_dashboard.domain.failures import explain
from wa_dashboard.domain.statuses import Rank, Status
from wa_dashboard.domain.story import sentence
from wa_dashboard.errors import Conflict
from wa_dashboard.models import Attempt, ProviderAccount
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import cancelling, deciding, lifecycle, problems, requeueing
from wa_dashboard.services.deciding import Which

__all__ = ["far"]

NOT_THERE = Outcome("rejected", scope="recipient", code="131026", error_class="recipient", detail="undeliverable")


@pytest.fixture
def failed(tenant):
    """A message that the provider refused for good."""
    (message_id,) = settle(tenant, factories.make_template(tenant), [NOT_THERE])
    return message_id


def test_a_second_refusal_is_seen_though_it_comes_before_the_answer(tenant, failed):
    with tenant_scope(tenant.id):
        assert requeueing.requeue(Somebody(tenant), [failed]) == {failed: None}
        with transaction():
            row = {"tenant_id": tenant.id, "message_id": failed, "attempt_no": 2, "account_id": tenant.account.id,
                   "provider": "meta_cloud", "rank": int(Rank.FAILED), "started_at": clock.now(),
                   "receipt_seen": True}  # fmt: skip
            insert_rows(Attempt, [row])
            lifecycle.project(lifecycle.lock_message(failed), clock.now())

    assert message_of(failed).status == "failed"
    assert outbox_of(failed) is None
    with tenant_scope(tenant.id):
        assert problems.problem_of(failed) is not None


def test_what_waits_again_can_be_stopped_again(tenant, failed):
    with tenant_scope(tenant.id):
        requeueing.requeue(Somebody(tenant), [failed])
        assert message_of(failed).rank == 0
        assert cancelling.cancel(tenant.tenant, failed, "user:usr_1")

    assert message_of(failed).status == "cancelled"


def test_nothing_is_queued_behind_a_sender_that_is_switched_off(tenant, failed):
    with tenant_scope(tenant.id):
        with transaction():
            account = db.session.scalars(select(ProviderAccount)).one()
            account.status = "disabled"
            db.session.flush()
        refusal = requeueing.requeue(Somebody(tenant), [failed])[failed]

    assert isinstance(refusal, Conflict)
    assert "switched off" in refusal.detail
    assert message_of(failed).status == "failed"


def test_numbers_in_a_note_are_masked(tenant, failed):
    with tenant_scope(tenant.id):
        deciding.close(Somebody(tenant), Which(False, [failed]), "told her on +40722123456")
        note = problems.problem_of(failed).closed_note

    assert "told her" in note
    assert "722123456" not in note


def test_what_may_have_arrived_goes_another_way_only_on_purpose(tenant):
    template = factories.make_template(tenant)
    (message_id,) = settle(tenant, template, [Outcome("ambiguous", "ambiguous", "no_answer", "")])
    other = factories.make_account(tenant.tenant, "twilio")
    approve(tenant, template, other)
    with tenant_scope(tenant.id), transaction():
        lifecycle.move(tenant.id, [message_id], Status.UNCONFIRMED, "unconfirmed", reason="no_receipt")
        lifecycle.drop_from_outbox([message_id])

    with tenant_scope(tenant.id):
        refused = deciding.retry(Somebody(tenant), Which(False, [message_id]), account_id=other.id)
        assert isinstance(refused.refused[message_id], Conflict)
        assert message_of(message_id).status == "unconfirmed"
        sure = deciding.retry(Somebody(tenant), Which(False, [message_id]), account_id=other.id, confirmed=True)

    assert sure.done == [message_id]
    assert message_of(message_id).possible_duplicate is True


def test_what_is_stuck_is_not_said_to_go_by_itself():
    assert "by itself" in explain("network", "network").advice
    assert "by itself" not in advice_when_stuck("network", "network")
    assert "by itself" not in sentence("dead_letter", {"error_class": "transient", "error_code": "http_503"})
