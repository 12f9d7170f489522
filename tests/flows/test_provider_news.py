"""What a provider says later, or says nowhere at all, is found, believed and acted on: through the simulator."""

import pytest
import requests
from sqlalchemy import select, update

from tests import factories
from wa_dashboard.db import all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.models import Attempt, Message, Template, TemplateApproval
from wa_dashboard.services import account_news, category_watch, receipts, templates

KEYS = ("phone_number_id", "account_sid", "phone_number")


@pytest.fixture
def faults(simulator):
    def put(provider, **what):
        assert requests.put(f"{simulator}/_sim/faults", json={"provider": provider, **what}, timeout=5).ok

    yield put
    for provider in ("meta_cloud", "twilio", "dialog360"):
        put(provider)


@pytest.fixture
def event(simulator, ready):
    """Something happens to the order template at the provider."""

    def happen(what, name="order_confirm", **more):
        own = next(ready.account.credentials[key] for key in KEYS if key in ready.account.credentials)
        wanted = {"provider": ready.account.provider, "account": own, "name": name, "language": "ro", "event": what}
        answer = requests.post(f"{simulator}/_sim/templates", json=wanted | more, timeout=5)
        assert answer.status_code == 200, answer.text

    return happen


def confirm(client, ready, order_id="A-1", phone="+40700000001"):
    answer = client.post("/api/wa/send/confirm", json=factories.order(order_id, phone=phone), headers=ready.headers)
    assert answer.status_code == 202, answer.json
    return answer.json["message"]["id"]


def message_of(message_id):
    with all_tenants("test"):
        wanted = select(Message).where(Message.id == message_id)
        return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def approval(ready, name="order_confirm"):
    with tenant_scope(ready.id):
        wanted = select(TemplateApproval).join(Template, Template.id == TemplateApproval.template_id)
        wanted = wanted.where(Template.name == name, Template.language == "ro")
        return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def hear(ready, *, poll=True):
    """The news that came; Twilio, which tells none, is asked."""
    while receipts.process():
        pass
    if poll and ready.account.provider == "twilio":
        with tenant_scope(ready.id):
            templates.look_again(approval(ready).template_id, ready.account.id)
        templates.poll_due()


def test_a_lost_webhook_about_a_template_costs_one_poll(ready, faults, event):
    faults(ready.account.provider, webhooks_off=True)
    event("PAUSED")
    with all_tenants("test"), transaction():
        db.session.execute(update(TemplateApproval).values(next_check_at=db_now(-1)))

    templates.poll_due()

    assert approval(ready).status == "paused"


def test_a_paused_template_holds_its_messages_until_it_is_given_back(client, ready, event, work, until):
    message_id = confirm(client, ready)
    event("PAUSED")
    until(lambda: (hear(ready), approval(ready).status)[1] == "paused")

    work()

    message = message_of(message_id)
    assert (message.status, message.reason, message.attempts) == ("queued", "template_unavailable", 0)
    event("REINSTATED")  # an APPROVED in the second of the first one would be the very same post
    until(lambda: (hear(ready), approval(ready).status)[1] == "approved")
    until(lambda: (work(), message_of(message_id).status)[1] in ("delivered", "read"))
    assert message_of(message_id).attempts == 1


def test_a_template_that_becomes_marketing_makes_what_waits_dearer_and_says_so(client, ready, event, until):
    message_id = confirm(client, ready)
    before = message_of(message_id).estimate_micros
    event("CATEGORY", category="MARKETING")

    until(lambda: (hear(ready), approval(ready).category)[1] == "marketing")

    message = message_of(message_id)
    assert message.category == "marketing"
    assert message.estimate_micros > before
    with tenant_scope(ready.id):
        (found,) = category_watch.announced(ready.tenant, False)
        assert account_news.news_of(ready.account.id) == []
    assert (found.waiting, found.difference_micros) == (1, message.estimate_micros - before)
    event("CATEGORY", category="UTILITY")
    until(lambda: (hear(ready), approval(ready).category)[1] == "utility")
    assert message_of(message_id).estimate_micros == before


@pytest.mark.parametrize("ready", ["twilio"], indirect=True)
def test_a_message_whose_callbacks_are_lost_is_delivered_and_priced_all_the_same(client, ready, faults, work, until):
    faults("twilio", webhooks_off=True)
    message_id = confirm(client, ready)
    until(lambda: (work(), message_of(message_id).status)[1] == "accepted")

    def ask():
        with all_tenants("test"), transaction():
            db.session.execute(update(Attempt).where(Attempt.ask_at.is_not(None)).values(ask_at=db_now(-1)))
        work()
        return message_of(message_id)

    until(lambda: ask().reported_micros is not None)

    message = message_of(message_id)
    assert message.status in ("delivered", "read")
    assert (message.reported_micros, message.reported_currency) == (5000, "USD")
