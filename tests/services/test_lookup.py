"""Doubts about Twilio are settled by asking Twilio, even when no webhook ever comes."""

import time

import pytest
import requests
from sqlalchemy import select

from tests import factories
from wa_dashboard.db import all_tenants, db
from wa_dashboard.models import Attempt, Message
from wa_dashboard.services import delivery, engine, lookup, recovery

pytestmark = pytest.mark.parametrize("ready", ["twilio"], indirect=True)


@pytest.fixture
def faults(simulator):
    def put(**what):
        assert requests.put(f"{simulator}/_sim/faults", json={"provider": "twilio", **what}, timeout=5).ok

    yield put
    put()


def confirm_into(client, ready, faults, phone="+40700000001", **what):
    """One order whose send meets these faults, with no webhook to tell what became of it."""
    faults(webhooks_off=True, **what)
    answer = client.post("/api/wa/send/confirm", json=factories.order(phone=phone), headers=ready.headers)
    assert answer.status_code == 202, answer.json
    engine.drain(ready.account.id)
    faults(webhooks_off=True, drop_before=0, drop_after=0)
    return answer.json["message"]["id"]


def status_of(message_id):
    with all_tenants("test"):
        return db.session.scalar(select(Message.status).where(Message.id == message_id))


def accepted_sends(simulator, message_id):
    lines = requests.get(f"{simulator}/_sim/ledger", timeout=5).text
    return lines.count(message_id)


def test_what_twilio_has_is_recognised(client, ready, faults, simulator):
    message_id = confirm_into(client, ready, faults, drop_after=1.0)
    assert status_of(message_id) == "uncertain"
    time.sleep(0.3)

    decided = lookup.look_up_due(delivery.pace())

    assert decided == 1
    assert status_of(message_id) in {"accepted", "sent", "delivered", "read"}
    assert accepted_sends(simulator, message_id) == 1
    with all_tenants("test"):
        attempt = db.session.scalars(select(Attempt)).one()
    assert attempt.external_id
    assert attempt.receipt_seen is False


def test_what_twilio_does_not_have_is_sent_again_unflagged(client, ready, faults, simulator):
    message_id = confirm_into(client, ready, faults, drop_before=1.0)
    assert status_of(message_id) == "uncertain"
    time.sleep(0.3)
    assert lookup.look_up_due(delivery.pace()) == 0  # too early to believe a no
    time.sleep(1.5)

    decided = lookup.look_up_due(delivery.pace())
    engine.drain(ready.account.id)

    assert decided == 1
    assert status_of(message_id) == "accepted"
    assert accepted_sends(simulator, message_id) == 1
    with all_tenants("test"):
        message = db.session.scalars(select(Message)).one()
    assert message.possible_duplicate is False


def test_two_doubts_about_one_person_are_left_to_the_webhooks(client, ready, faults):
    first = confirm_into(client, ready, faults, drop_after=1.0)
    faults(webhooks_off=True, drop_after=1.0)
    again = client.post(
        "/api/wa/send/confirm", json=factories.order("A-2", phone="+40700000001"), headers=ready.headers
    )
    engine.drain(ready.account.id)
    time.sleep(0.3)

    assert lookup.look_up_due(delivery.pace()) == 0
    assert status_of(first) == status_of(again.json["message"]["id"]) == "uncertain"


def test_twilio_that_does_not_answer_decides_nothing(client, ready, faults):
    message_id = confirm_into(client, ready, faults, drop_after=1.0)
    faults(webhooks_off=True, refuse=True)
    time.sleep(0.3)

    assert lookup.look_up_due(delivery.pace()) == 0
    assert status_of(message_id) == "uncertain"


def test_webhook_that_comes_first_leaves_nothing_to_ask(client, ready, faults, work, until):
    message_id = confirm_into(client, ready, faults, drop_after=1.0)
    faults(webhooks_off=False)
    until(lambda: (work(), status_of(message_id))[1] in {"delivered", "read"})

    assert lookup.look_up_due(delivery.pace()) == 0
    assert not any(recovery.reap(delivery.pace()).values())
