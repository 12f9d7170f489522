"""Claim, begin, settle: who may send, what is written down before anything leaves, what an answer may change."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.rows import make_message, put_in_outbox
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import Attempt, Message, Outbox, ProviderAccount
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import consent_log, contacts, delivery, engine, settlement
from wa_dashboard.services.delivery import Lane


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


def say(ready, phone, status, purposes=("transactional",)):
    request = consent_log.ConsentRequest(
        status=status, source="checkout", phone=to_e164(phone), purposes=purposes, wording_id="v1"
    )
    return consent_log.record(ready.tenant, request, "test").contact


def queue(ready, template, count=1, phone="+4072200{:04d}"):
    ids = []
    with tenant_scope(ready.id), transaction():
        for number in range(count):
            contact = say(ready, phone.format(number), "opted_in")
            message = make_message(ready, contact, template=template)
            put_in_outbox(message)
            ids.append(message.id)
    return ids


def lane_of(ready):
    lane = delivery.open_lane(ready.account.id)
    assert isinstance(lane, Lane)
    return lane


def row(model, message_id):
    key = Message.id if model is Message else model.message_id
    return db.session.scalars(
        select(model).where(key == message_id), execution_options={"populate_existing": True}
    ).one()


def test_many_workers_claim_each_message_once(app, tenant, template):
    ids = queue(tenant, template, count=40)

    def claim(_):
        with app.app_context():
            lane = lane_of(tenant)
            with tenant_scope(tenant.id):
                claimed = delivery.claim(lane, 7)
            db.session.remove()
            return claimed.message_ids if claimed else []

    with ThreadPoolExecutor(8) as pool:
        claimed = [message_id for batch in pool.map(claim, range(12)) for message_id in batch]

    assert sorted(claimed) == sorted(ids)


def test_begin_writes_the_attempt_down_before_anything_leaves(tenant, template):
    (message_id,) = queue(tenant, template)
    lane = lane_of(tenant)

    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 10))
        attempt = row(Attempt, message_id)
        status = row(Message, message_id).status

    assert [one.message_id for one in begun] == [message_id]
    assert (attempt.attempt_no, attempt.rank) == (1, Rank.INFLIGHT)
    assert status == "sending"
    assert f"{message_id}.1".encode() in begun[0].request.body


def test_lost_lease_cannot_begin(tenant, template):
    (message_id,) = queue(tenant, template)
    lane = lane_of(tenant)

    with tenant_scope(tenant.id):
        claimed = delivery.claim(lane, 10)
        with transaction():
            db.session.execute(update(Outbox).values(lease_token="somebody else"))
        begun = delivery.begin(lane, claimed)
        attempts = db.session.scalars(select(Attempt)).all()

    assert begun == []
    assert attempts == []
    assert message_id


def test_opt_out_between_claim_and_begin_stops_the_send(tenant, template):
    (message_id,) = queue(tenant, template)
    lane = lane_of(tenant)

    with tenant_scope(tenant.id):
        claimed = delivery.claim(lane, 10)
        said = consent_log.record(
            tenant.tenant,
            consent_log.ConsentRequest(status="opted_out", source="staff", phone=to_e164("+40722000000")),
            "test",
        )
        begun = delivery.begin(lane, claimed)
        message = row(Message, message_id)

    assert begun == []
    assert said.cancelled_messages == 1
    assert (message.status, message.reason) == ("cancelled", "opted_out")


def test_person_who_never_agreed_is_left_out_with_the_reason(tenant, template):
    with tenant_scope(tenant.id), transaction():
        contact = contacts.contact_for(tenant.tenant, to_e164("+40722999999"))
        message = make_message(tenant, contact, template=template)
        put_in_outbox(message)
    lane = lane_of(tenant)

    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 10))
        kept = row(Message, message.id)
        outbox = db.session.scalars(select(Outbox)).all()

    assert begun == []
    assert (kept.status, kept.reason) == ("skipped", "not_opted_in")
    assert outbox == []


def test_poisoned_message_is_buried_and_the_others_go(tenant, template):
    good, bad = queue(tenant, template, count=2)
    with tenant_scope(tenant.id), transaction():
        row(Message, bad).variables_sealed = b"not a ciphertext of ours"
        db.session.flush()
    lane = lane_of(tenant)

    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 10))
        message = row(Message, bad)

    assert [one.message_id for one in begun] == [good]
    assert message.status == "dead_letter"


def test_template_that_was_paused_holds_the_message_without_burning_tries(tenant):
    paused = factories.make_template(tenant, status="paused")
    (message_id,) = queue(tenant, paused)
    lane = lane_of(tenant)

    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 10))
        message, outbox = row(Message, message_id), row(Outbox, message_id)

    assert begun == []
    assert (message.status, message.reason) == ("queued", "template_unavailable")
    assert (outbox.state, outbox.failures) == ("queued", 0)


def begin_one(ready, template):
    (message_id,) = queue(ready, template)
    lane = lane_of(ready)
    with tenant_scope(ready.id):
        (begun,) = delivery.begin(lane, delivery.claim(lane, 10))
    return lane, message_id, begun


def settle(ready, lane, begun, outcome):
    with tenant_scope(ready.id):
        settlement.settle(lane.account, [(begun, outcome)], delivery.pace())
        return row(Message, begun.message_id)


def test_accepted_message_leaves_the_outbox(tenant, template):
    lane, _, begun = begin_one(tenant, template)

    message = settle(tenant, lane, begun, Outcome("accepted", external_id="wamid.1"))

    assert (message.status, message.external_id) == ("accepted", "wamid.1")
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Outbox)).all() == []


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "failures"),
    [
        (Outcome("not_sent", "network", None, "refused"), "queued", "retrying", 1),
        (Outcome("not_sent", "transient", "131016", "busy"), "queued", "retrying", 1),
        (Outcome("throttled", "throttle", "130429", "slow down", scope="sender"), "queued", "throttled", 0),
        (Outcome("rejected", "account_stop", "190", "token", scope="account"), "queued", "account_held", 0),
        (Outcome("rejected", "template", "132015", "paused", scope="template"), "queued", "template_unavailable", 0),
        (Outcome("ambiguous", "ambiguous", None, "ReadTimeout"), "uncertain", "no_answer", 0),
    ],
)
def test_answer_that_is_not_final_keeps_the_message(tenant, template, outcome, status, reason, failures):
    lane, message_id, begun = begin_one(tenant, template)

    message = settle(tenant, lane, begun, outcome)

    assert (message.status, message.reason) == (status, reason)
    with tenant_scope(tenant.id):
        assert row(Outbox, message_id).failures == failures


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome("rejected", "recipient", "131026", "not on WhatsApp", scope="recipient"), "failed"),
        (Outcome("rejected", "request", "131009", "bad value"), "failed"),
        (Outcome("rejected", "template", "132000", "parameters", scope="template"), "dead_letter"),
    ],
)
def test_final_no_ends_the_message(tenant, template, outcome, status):
    lane, _, begun = begin_one(tenant, template)

    message = settle(tenant, lane, begun, outcome)

    assert (message.status, message.error_code) == (status, outcome.code)
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Outbox)).all() == []


def test_trouble_of_the_account_stops_the_account(tenant, template):
    lane, _, begun = begin_one(tenant, template)

    settle(tenant, lane, begun, Outcome("rejected", "account_stop", "131042", "payment", scope="account"))

    with tenant_scope(tenant.id):
        account = db.session.scalars(select(ProviderAccount), execution_options={"populate_existing": True}).one()
    assert (account.status, account.hold_reason) == ("held", "account_stop:131042")
    assert engine.drain(tenant.account.id) == 0


def test_tries_run_out_into_the_dead_letters(tenant, template):
    lane, _, begun = begin_one(tenant, template)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Outbox).values(failures=delivery.pace().tries - 1))

    message = settle(tenant, lane, begun, Outcome("not_sent", "network", None, "refused"))

    assert message.status == "dead_letter"


def test_late_answer_never_overrules_a_receipt(tenant, template):
    lane, message_id, begun = begin_one(tenant, template)
    with tenant_scope(tenant.id), transaction():
        attempt = row(Attempt, message_id)
        attempt.rank, attempt.receipt_seen = Rank.DELIVERED, True
        db.session.flush()

    message = settle(tenant, lane, begun, Outcome("ambiguous", "ambiguous", None, "ReadTimeout"))

    with tenant_scope(tenant.id):
        assert row(Attempt, message_id).rank == Rank.DELIVERED
    assert message.status == "sending"  # the receipt's own transaction moves it


def test_worker_that_slept_through_half_its_lease_does_not_send(simulator, tenant, template, monkeypatch):
    queue(tenant, template)
    slept = delivery.pace().lease
    begin = delivery.begin

    def begin_and_sleep(*how):
        return [replace(one, begun_at=time.monotonic() - slept) for one in begin(*how)]

    monkeypatch.setattr(delivery, "begin", begin_and_sleep)
    engine.drain(tenant.account.id)

    with tenant_scope(tenant.id):
        (attempt,) = db.session.scalars(select(Attempt)).all()
        (message,) = db.session.scalars(select(Message)).all()
    assert (attempt.outcome, attempt.error_code, message.status) == ("not_sent", "self_fence", "queued")


def test_clock_is_the_databases(tenant, template):
    queue(tenant, template)
    lane = lane_of(tenant)

    with clock.at(clock.in_seconds(-86400)), tenant_scope(tenant.id):
        assert delivery.claim(lane, 10) is not None
