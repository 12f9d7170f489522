"""A template that may not be sent: its messages wait with the reason or go another way, and flow again."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.services.health_world import (
    account_story,
    approve,
    attempts_of,
    far,
    make_due,
    message_of,
    outbox_of,
    queue,
    standby_far,
    story_of,
)
from tests.support.rows import make_message, put_in_outbox
from tests.support.webhooks import Speaker
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.domain.story import why_waiting
from wa_dashboard.models import ConsentEvent, Contact, Message, OptIn, ProviderAccount, TemplateApproval, TemplateEvent
from wa_dashboard.providers.base import TemplateStatusItem
from wa_dashboard.services import delivery, engine, outbound, receipts, standby, template_review, templates

__all__ = ["far", "standby_far"]

STOPPED = (400, {"error": {"code": 131050, "message": "User stopped marketing messages", "type": "OAuthException"}})


@pytest.fixture
def template(tenant, other_tenant):
    """Somebody else has a template with the same id at the provider, whose message waits too."""
    theirs = factories.make_template(other_tenant, external_id="7001")
    (foreign,) = queue(other_tenant, theirs)
    yield factories.make_template(tenant, external_id="7001")
    assert (message_of(foreign).status, message_of(foreign).reason) == ("queued", None)


def says(ready, status, seconds=0.0, **more):
    at = clock.now().replace(microsecond=0) + timedelta(seconds=seconds)
    values = {"key": f"{at}{status}", "at": at, "external_id": "7001", "name": None, "language": None}
    item = TemplateStatusItem(**(values | {"change": "status", "status": status} | more))
    with tenant_scope(ready.id), transaction():
        assert templates.apply_news(ready.account, item)


def approval_of(template):
    with all_tenants("test"):
        wanted = select(TemplateApproval).where(TemplateApproval.template_id == template.id)
        return db.session.scalars(wanted, execution_options={"populate_existing": True}).first()


# --- held, and flowing again --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "word"), [("paused", "paused"), ("disabled", "disabled"), ("locked", "locked")])
def test_what_waits_is_held_with_the_reason_and_flows_when_it_is_given_back(tenant, template, far, status, word):
    ids = queue(tenant, template, 30)
    says(tenant, status, 5)

    engine.drain(tenant.account.id)

    assert far.sends == []
    assert {(message_of(each).status, message_of(each).reason) for each in ids} == {("queued", "template_unavailable")}
    assert {outbox_of(each).failures for each in ids} == {0}
    assert story_of(ids[0]).count("template_unavailable") == 1
    detail = message_of(ids[-1]).reason_detail
    assert detail["template_status"] == status
    assert word in why_waiting("template_unavailable", detail)

    says(tenant, "approved", 10)
    engine.drain(tenant.account.id)

    assert len(far.sends) == 30
    assert {message_of(each).status for each in ids} == {"accepted"}


def test_what_is_held_is_not_claimed_again_and_again(tenant, template, far):
    ids = queue(tenant, template, 120)
    says(tenant, "paused", 5)
    engine.drain(tenant.account.id, budget_s=1)

    with all_tenants("test"):
        soon = select(Message.id).where(Message.id.in_(ids), Message.next_at <= clock.in_seconds(800))
        assert db.session.scalars(soon).all() == []
    assert {story_of(each).count("template_unavailable") for each in ids} == {1}


def test_another_sender_that_may_send_it_takes_what_has_never_left(tenant, template, far, standby_far):
    second = factories.make_account(tenant.tenant, "twilio")
    approve(tenant, template, second)
    ids = queue(tenant, template, 3)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Message).where(Message.id == ids[0]).values(possible_duplicate=True))
    says(tenant, "paused", 5)

    engine.drain(tenant.account.id)
    engine.drain(second.id)

    assert (far.sends, len(standby_far.sends)) == ([], 2)
    assert [message_of(each).status for each in ids] == ["queued", "accepted", "accepted"]
    assert message_of(ids[0]).reason == "template_unavailable"
    assert [attempt.account_id for attempt in attempts_of(ids[1])] == [second.id]
    assert "switched_over" in account_story(tenant.account)
    with tenant_scope(tenant.id):
        assert standby.approved_at([tenant.account.id, second.id]) == {(template.id, second.id)}


def test_a_tenant_that_wants_no_switch_keeps_them(far, standby_far):
    ready = factories.make_tenant(failover=False)
    template = factories.make_template(ready, external_id="7001")
    approve(ready, template, factories.make_account(ready.tenant, "twilio"))
    (message_id,) = queue(ready, template)
    says(ready, "paused", 5)

    engine.drain(ready.account.id)

    assert (message_of(message_id).reason, standby_far.sends) == ("template_unavailable", [])


def test_approved_while_a_worker_was_about_to_hold_it_it_goes_at_once(tenant, template, far):
    (message_id,) = queue(tenant, template)
    says(tenant, "paused", 5)
    lane = delivery.open_lane(tenant.account.id)
    with tenant_scope(tenant.id):
        claimed = delivery.claim(lane, 10)
        material = outbound.gather(lane.account, claimed.attempts)
    says(tenant, "approved", 10)
    with tenant_scope(tenant.id):
        assert delivery.begin(lane, claimed, material) == []

    engine.drain(tenant.account.id)

    assert message_of(message_id).status == "accepted"


@pytest.mark.parametrize(("code", "again"), [("63041", True), ("63040", True), ("63028", False)])
def test_a_receipt_that_tells_of_the_template_puts_the_message_back_and_asks(client, code, again, standby_far):
    ready = factories.make_tenant(provider="twilio")
    template = factories.make_template(
        ready, parameter_map={"first_name": "1", "order_id": "2", "event_name": "3"}, external_id="HX" + "a" * 32
    )
    (message_id,) = queue(ready, template)
    engine.drain(ready.account.id)
    assert message_of(message_id).status == "accepted"

    with tenant_scope(ready.id), transaction():
        db.session.execute(update(ProviderAccount).values(last_webhook_at=clock.now()))
    failed = {"MessageSid": message_of(message_id).external_id, "MessageStatus": "failed", "ErrorCode": code}
    Speaker(ready.account).form(failed, f"?mid={message_id}.1").to(client)
    while receipts.process():
        pass

    message, row = message_of(message_id), approval_of(template)
    expected = ("queued", "template_unavailable") if again else ("failed", None)
    assert (message.status, message.reason) == expected
    assert (row.next_check_at is not None) is again
    if again:
        make_due(ready)
        engine.drain(ready.account.id)
        assert [attempt.attempt_no for attempt in attempts_of(message_id)] == [1, 2]


# --- what is asked ------------------------------------------------------------------------------------------------


def later(ready, template, seconds=3000):
    with tenant_scope(ready.id), transaction():
        mine = TemplateApproval.template_id == template.id
        db.session.execute(update(TemplateApproval).where(mine).values(next_check_at=db_now(seconds)))


def is_due(template):
    with all_tenants("test"):
        mine = (TemplateApproval.template_id == template.id, TemplateApproval.next_check_at <= db_now())
        return db.session.scalar(select(TemplateApproval.id).where(*mine)) is not None


def test_at_the_start_everything_in_review_is_asked_about(tenant, other_tenant):
    pending = factories.make_template(tenant, "one", status="pending")
    theirs = factories.make_template(other_tenant, "two", status="in_appeal")
    approved = factories.make_template(tenant, "three")
    for ready, template in ((tenant, pending), (other_tenant, theirs), (tenant, approved)):
        later(ready, template)

    assert template_review.look_at_all() == 2

    assert [is_due(each) for each in (pending, theirs, approved)] == [True, True, False]


def test_after_a_silence_all_templates_of_that_account_are_asked_about(client, tenant, other_tenant):
    mine, theirs = factories.make_template(tenant), factories.make_template(other_tenant)
    speaker = Speaker(tenant.account)

    def hears(minutes_of_silence):
        later(tenant, mine)
        later(other_tenant, theirs)
        with all_tenants("test"), transaction():
            heard = clock.now() - timedelta(minutes=minutes_of_silence)
            db.session.execute(update(ProviderAccount).values(last_webhook_at=heard))
        speaker.inbound("Bună", external_id=f"wamid.{minutes_of_silence}").to(client)
        while receipts.process():
            pass
        return [is_due(each) for each in (mine, theirs)]

    assert hears(3) == [False, False]
    assert hears(15) == [True, False]


def test_the_story_keeps_the_raw_words_the_reason_and_the_advice(tenant, template):
    says(tenant, "rejected", 5, raw={"event": "REJECTED"}, reason="TAG_CONTENT_MISMATCH", recommendation="Use samples.")

    assert approval_of(template).rejected_reason == "TAG_CONTENT_MISMATCH"
    with tenant_scope(tenant.id):
        (event,) = db.session.scalars(select(TemplateEvent)).all()
    assert (event.status, event.source) == ("rejected", "webhook")
    assert event.detail == {"raw": "REJECTED", "reason": "TAG_CONTENT_MISMATCH", "advice": "Use samples."}


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 0, 1, 0)])
def test_the_newest_quality_counts_in_whatever_order_it_comes(tenant, template, order):
    told = [(-20, "red"), (-10, "green")]
    for index in order:
        says(tenant, None, told[index][0], change="quality", quality=told[index][1])

    assert approval_of(template).quality == "green"


# --- people who stopped promotions at WhatsApp --------------------------------------------------------------------


def marketing_of(ready):
    with tenant_scope(ready.id):
        rows = db.session.execute(select(OptIn.contact_id, OptIn.status).where(OptIn.purpose == "marketing"))
        return {row.contact_id: row.status for row in rows}


def test_a_refused_promotion_is_an_opt_out_and_the_next_is_left_out(tenant, far):
    promo = factories.make_template(tenant, "promo", type="promo")
    first, other = queue(tenant, promo, 2, type="promo", policy="never_twice")
    person = message_of(first).contact_id
    far.answer = STOPPED
    engine.drain(tenant.account.id)

    assert message_of(first).status == "failed"
    assert set(marketing_of(tenant).values()) == {"opted_out"}
    assert person in marketing_of(tenant)
    with tenant_scope(tenant.id):
        events = db.session.scalars(select(ConsentEvent).where(ConsentEvent.status == "opted_out")).all()
    assert {event.source for event in events} == {"meta_preference"}
    assert {event.source_ref for event in events} == {first, other}

    far.answer = None
    sent = len(far.sends)
    (again,) = queue_for(tenant, promo, person)
    engine.drain(tenant.account.id)
    assert (message_of(again).status, len(far.sends)) == ("skipped", sent)


def queue_for(ready, template, contact_id):
    with tenant_scope(ready.id), transaction():
        contact = db.session.scalars(select(Contact).where(Contact.id == contact_id)).one()
        message = make_message(ready, contact, template=template, type="promo", policy="never_twice")
        put_in_outbox(message)
    return [message.id]


@pytest.mark.parametrize("times", [1, 3])
def test_a_receipt_that_says_so_counts_once_among_other_receipts(client, tenant, other_tenant, far, times):
    promo = factories.make_template(tenant, "promo", type="promo")
    ids = queue(tenant, promo, 4, type="promo", policy="never_twice")
    engine.drain(tenant.account.id)
    speaker = Speaker(tenant.account)
    items = [speaker.status("sent", f"{each}.1", message_of(each).external_id) for each in ids]
    refused = speaker.status("failed", f"{ids[0]}.1", message_of(ids[0]).external_id, clock.now())
    refused["errors"] = [{"code": 131050, "title": "stopped"}]
    for _ in range(times):
        speaker.json(speaker.envelope(statuses=[*items, refused, items[0]])).to(client)
        while receipts.process():
            pass

    states = marketing_of(tenant)
    assert states[message_of(ids[0]).contact_id] == "opted_out"
    assert sorted(states.values()) == ["opted_in"] * 3 + ["opted_out"]
    assert [message_of(each).status for each in ids] == ["failed", "sent", "sent", "sent"]
    assert marketing_of(other_tenant) == {}
    with tenant_scope(tenant.id):
        assert len(db.session.scalars(select(ConsentEvent).where(ConsentEvent.status == "opted_out")).all()) == 1


def test_a_stop_without_a_number_finds_the_person_by_the_id_that_a_receipt_told(client, tenant, other_tenant, far):
    template = factories.make_template(tenant)
    (message_id,) = queue(tenant, template)
    engine.drain(tenant.account.id)
    (foreign,) = queue(other_tenant, factories.make_template(other_tenant))
    with tenant_scope(other_tenant.id), transaction():
        db.session.execute(update(Contact).values(provider_user_id="RO.1234567890"))
    speaker = Speaker(tenant.account)
    told = speaker.status("delivered", f"{message_id}.1", message_of(message_id).external_id)
    speaker.json(speaker.envelope(statuses=[told | {"recipient_user_id": "RO.1234567890"}])).to(client)
    while receipts.process():
        pass

    stop = {"user_id": "RO.1234567890", "category": "marketing_messages", "value": "stop"}
    stop |= {"timestamp": int(clock.now().timestamp())}
    speaker.json(speaker.envelope("user_preferences", user_preferences=[stop])).to(client)
    while receipts.process():
        pass

    assert marketing_of(tenant) == {message_of(message_id).contact_id: "opted_out"}
    assert marketing_of(other_tenant) == {message_of(foreign).contact_id: "opted_in"}


def test_a_preference_with_both_names_ties_them_together(client, tenant, far):
    (message_id,) = queue(tenant, factories.make_template(tenant))
    speaker = Speaker(tenant.account)
    both = {"wa_id": "40722000000", "user_id": "RO.77", "category": "marketing_messages"}
    for value, who in (("stop", both), ("resume", {**both, "wa_id": None})):
        at = int(clock.now().timestamp()) + (value == "resume")
        said = {key: one for key, one in who.items() if one} | {"value": value, "timestamp": at}
        speaker.json(speaker.envelope("user_preferences", user_preferences=[said])).to(client)
        while receipts.process():
            pass

    with tenant_scope(tenant.id):
        person = db.session.scalars(select(Contact)).one()
    assert (person.id, person.provider_user_id) == (message_of(message_id).contact_id, "RO.77")
    assert marketing_of(tenant) == {person.id: "opted_in"}


def test_a_new_user_id_is_learnt_from_whatsapps_own_message(client, tenant, other_tenant, far):
    (message_id,) = queue(tenant, factories.make_template(tenant))
    queue(other_tenant, factories.make_template(other_tenant))
    system = {"type": "user_changed_user_id", "wa_id": "40722000000", "user_id": "RO.99", "body": "…"}
    said = {"from": "40722000000", "id": "wamid.S", "timestamp": str(int(clock.now().timestamp())), "type": "system"}
    speaker = Speaker(tenant.account)
    speaker.json(speaker.envelope(messages=[said | {"system": system}])).to(client)
    while receipts.process():
        pass

    with all_tenants("test"):
        known = dict(db.session.execute(select(Contact.id, Contact.provider_user_id)).all())
    assert known.pop(message_of(message_id).contact_id) == "RO.99"
    assert set(known.values()) == {None}
