"""Messages that ended badly: each is a problem until it moves on, and what a person decides happens to it."""

import pytest
from sqlalchemy import select

from tests import factories
from tests.services.health_world import (
    approve,
    contact_of,
    far,
    make_due,
    message_of,
    outbox_of,
    queue,
    settle,
    story_of,
)
from tests.support.people import Somebody
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.causes import CAUSES, cause_of
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Status
from wa_dashboard.errors import Conflict, Invalid, NotFound
from wa_dashboard.models import AuditEntry, Problem, TemplateApproval
from wa_dashboard.providers.base import Outcome, StatusItem
from wa_dashboard.providers.port import Fault
from wa_dashboard.services import (
    consent_log,
    deciding,
    delivery,
    engine,
    holdups,
    invariants,
    lifecycle,
    problems,
    requeueing,
)
from wa_dashboard.services.deciding import Which

__all__ = ["far"]

ACCEPTED = Outcome("accepted", external_id="wamid.1")
NOT_THERE = Outcome("rejected", scope="recipient", code="131026", error_class="recipient", detail="undeliverable")
TOO_LONG = Outcome("rejected", scope="template", code="132005", error_class="template", detail="too long")


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


def rows_of(ready):
    with tenant_scope(ready.id):
        rows = db.session.scalars(select(Problem), execution_options={"populate_existing": True})
        found = {row.message_id: (row.cause, row.closed_at is not None) for row in rows}
        db.session.commit()
    return found


def unconfirm(ready, message_id):
    with tenant_scope(ready.id), transaction():
        lifecycle.move(ready.id, [message_id], Status.UNCERTAIN, "uncertain")
        lifecycle.move(ready.id, [message_id], Status.UNCONFIRMED, "unconfirmed", reason="no_receipt")
        lifecycle.drop_from_outbox([message_id])


def begun(ready, template, first=0):
    """A message whose try is under way."""
    (message_id,) = queue(ready, template, first=first)
    lane = delivery.open_lane(ready.account.id)
    with tenant_scope(ready.id):
        delivery.begin(lane, delivery.claim(lane, 1))
    return message_id


class TestRows:
    def test_a_bad_end_is_a_problem_and_a_good_one_is_not(self, tenant, template):
        no_number, fine, values = settle(tenant, template, [NOT_THERE, ACCEPTED, TOO_LONG])

        assert rows_of(tenant) == {no_number: ("not_on_whatsapp", False), values: ("values_do_not_fit", False)}
        assert message_of(fine).status == "accepted"

    def test_nobody_knows_is_a_problem_too(self, tenant, template):
        message_id = begun(tenant, template)
        unconfirm(tenant, message_id)

        assert rows_of(tenant) == {message_id: ("unconfirmed", False)}

    @pytest.mark.parametrize(("status", "left"), [("failed", 1), ("delivered", 0), ("read", 0)])
    def test_a_receipt_raises_it_and_a_late_delivery_takes_it_away(self, tenant, template, status, left):
        message_id = begun(tenant, template)
        number = message_of(message_id).attempts

        def receipt(what, error=None):
            item = StatusItem(
                key="k",
                external_id="wamid.9",
                correlation_id=f"{message_id}.{number}",
                status=what,
                at=clock.now(),
                error=error,
            )
            with tenant_scope(tenant.id), transaction():
                assert lifecycle.apply_receipt(tenant.account, item) == message_id

        receipt("failed", Fault("recipient", "131026", "undeliverable", "recipient"))
        assert rows_of(tenant) == {message_id: ("not_on_whatsapp", False)}
        receipt(status)
        assert len(rows_of(tenant)) == left

    def test_it_goes_when_the_message_is_queued_again_and_comes_back_open(self, tenant, template):
        (message_id,) = settle(tenant, template, [NOT_THERE])
        with tenant_scope(tenant.id):
            deciding.close(Somebody(tenant), Which(False, [message_id]), "told them")
            assert rows_of(tenant) == {message_id: ("not_on_whatsapp", True)}
            deciding.retry(Somebody(tenant), Which(False, [message_id]))
        assert rows_of(tenant) == {}
        with tenant_scope(tenant.id), transaction():
            lifecycle.bury(tenant.id, message_id, "variable_missing", "no value for first_name")
        assert rows_of(tenant) == {message_id: ("values_do_not_fit", False)}

    def test_every_cause_has_words_and_every_error_a_cause(self):
        assert cause_of("failed", "recipient", "no_such_code") == "not_on_whatsapp"
        assert cause_of("dead_letter", "account_stop", "190") == "key_refused"
        assert cause_of("dead_letter", "network", "timeout") == "tries_exhausted"
        assert cause_of("unconfirmed", "recipient", "131026") == "unconfirmed"
        assert cause_of("failed", "recipient_optout", "131050") == "opted_out_at_provider"
        assert cause_of("failed", None, None) == "other"
        for error_class in (
            "recipient recipient_optout recipient_defer window template account_stop throttle transient network "
            "ambiguous request admin inbound_only none"
        ).split():
            assert cause_of("failed", error_class, "x") in CAUSES


class TestReading:
    def test_groups_and_pages_are_of_one_organisation_and_mode(self, tenant, other_tenant, template):
        theirs = settle(other_tenant, factories.make_template(other_tenant), [NOT_THERE])
        mine = settle(tenant, template, [NOT_THERE, NOT_THERE, TOO_LONG])

        with tenant_scope(tenant.id):
            found = problems.groups(tenant.tenant, live=False)
            assert [(each.cause, each.count) for each in found] == [("not_on_whatsapp", 2), ("values_do_not_fit", 1)]
            assert problems.count(tenant.tenant, live=False) == 3
            assert problems.count(tenant.tenant, live=True) == 0
            page = problems.listed(tenant.tenant, False, cause="not_on_whatsapp", limit=1)
            rest = problems.listed(tenant.tenant, False, cause="not_on_whatsapp", limit=1, place=page.next)
            back = problems.listed(tenant.tenant, False, cause="not_on_whatsapp", limit=1, place=rest.prev)
        seen = [item.message.id for item in [*page.rows, *rest.rows]]
        assert sorted(seen) == sorted(mine[:2])
        assert rest.next is None
        assert [item.message.id for item in back.rows] == seen[:1]
        assert theirs[0] not in seen

    def test_what_waits_for_a_sender_or_a_template_is_counted(self, tenant, template, far):
        far.answer = far.look = (401, {"error": {"code": 190, "message": "Invalid token", "type": "OAuthException"}})
        queue(tenant, template, 3)
        with tenant_scope(tenant.id):
            assert holdups.holdups(tenant.tenant, live=False) == []
        engine.drain(tenant.account.id)
        with tenant_scope(tenant.id):
            (held,) = holdups.holdups(tenant.tenant, live=False)
        assert (held.kind, held.id, held.count) == ("account", tenant.account.id, 3)
        assert held.oldest is not None
        assert held.next_at is not None

    def test_a_paused_template_is_one_line(self, tenant, template):
        queue(tenant, template, 2)
        with tenant_scope(tenant.id), transaction():
            db.session.scalars(select(TemplateApproval)).one().status = "paused"
        engine.drain(tenant.account.id)
        with tenant_scope(tenant.id):
            (held,) = holdups.holdups(tenant.tenant, live=False)
        assert (held.kind, held.id, held.count) == ("template", template.id, 2)
        assert held.next_at > clock.now()


class TestAgain:
    def test_a_whole_cause_goes_again_and_only_once(self, tenant, template, far):
        ids = settle(tenant, template, [NOT_THERE] * 5 + [TOO_LONG])
        with tenant_scope(tenant.id):
            decided = deciding.retry(Somebody(tenant), Which(False, cause="not_on_whatsapp"))
            assert sorted(decided.done) == sorted(ids[:5])
            again = deciding.retry(Somebody(tenant), Which(False, ids[:5]))
            assert (again.done, sorted(again.unchanged)) == ([], sorted(ids[:5]))
            audited = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "messages.requeued")).all()
            assert [sorted(entry.detail["ids"]) for entry in audited] == [sorted(ids[:5])]
        assert list(rows_of(tenant)) == ids[5:]

        make_due(tenant)
        engine.drain(tenant.account.id)
        assert {message_of(each).status for each in ids[:5]} == {"accepted"}
        assert len(far.sends) == 5
        assert invariants.check()[1] is None

    def test_chunks_are_gone_through_to_the_end(self, tenant, template, monkeypatch):
        monkeypatch.setattr(problems, "CHUNK", 2)
        monkeypatch.setattr(requeueing, "CHUNK", 2)
        ids = settle(tenant, template, [NOT_THERE] * 5)
        with tenant_scope(tenant.id):
            decided = deciding.retry(Somebody(tenant), Which(False, cause="not_on_whatsapp"))
        assert sorted(decided.done) == sorted(ids)
        assert rows_of(tenant) == {}

    def test_more_than_can_be_done_at_once_is_said(self, tenant, template, monkeypatch):
        monkeypatch.setattr(problems, "CHUNK", 2)
        monkeypatch.setattr(deciding, "MOST", 2)
        settle(tenant, template, [NOT_THERE] * 3)
        with tenant_scope(tenant.id):
            first = deciding.retry(Somebody(tenant), Which(False, cause="not_on_whatsapp"))
            assert (len(first.done), first.more) == (2, True)
            rest = deciding.retry(Somebody(tenant), Which(False, cause="not_on_whatsapp"))
            assert (len(rest.done), rest.more) == (1, False)

    def test_who_said_stop_is_refused_and_the_others_go(self, tenant, template):
        ids = settle(tenant, template, [NOT_THERE] * 2)
        with tenant_scope(tenant.id), transaction():
            no = consent_log.ConsentRequest(status="opted_out", source="staff", phone=to_e164("+40722000000"))
            consent_log.record(tenant.tenant, no, "test")
        with tenant_scope(tenant.id):
            decided = deciding.retry(Somebody(tenant), Which(False, ids))
        assert decided.done == ids[1:]
        assert decided.refused[ids[0]].code == "opted_out"
        assert message_of(ids[0]).status == "failed"
        assert rows_of(tenant) == {ids[0]: ("not_on_whatsapp", False)}

    def test_one_that_may_have_arrived_says_so(self, tenant, template):
        message_id = begun(tenant, template)
        unconfirm(tenant, message_id)
        (other,) = settle(tenant, template, [NOT_THERE], first=1)
        with tenant_scope(tenant.id):
            deciding.retry(Somebody(tenant), Which(False, [message_id, other]))
        assert message_of(message_id).possible_duplicate is True
        assert message_of(other).possible_duplicate is False

    def test_somebody_elses_are_not_there(self, tenant, other_tenant, template):
        (theirs,) = settle(other_tenant, factories.make_template(other_tenant), [NOT_THERE])
        (mine,) = settle(tenant, template, [NOT_THERE])
        with tenant_scope(tenant.id):
            for verb in (deciding.retry, deciding.close, deciding.reopen):
                with pytest.raises(NotFound):
                    verb(Somebody(tenant), Which(False, [mine, theirs]))
            with pytest.raises(NotFound):
                deciding.retry(Somebody(tenant), Which(True, [mine]))
            with pytest.raises(NotFound):
                deciding.retry(Somebody(tenant), Which(False, [mine]), account_id=other_tenant.account.id)
        assert rows_of(other_tenant) == {theirs: ("not_on_whatsapp", False)}
        assert rows_of(tenant) == {mine: ("not_on_whatsapp", False)}


class TestAnotherWay:
    def test_through_a_sender_that_has_the_template(self, tenant, template):
        other = factories.make_account(tenant.tenant, "twilio")
        (message_id,) = settle(tenant, template, [NOT_THERE])
        with tenant_scope(tenant.id):
            assert deciding.others_for(message_of(message_id)) == []
            refused = deciding.retry(Somebody(tenant), Which(False, [message_id]), account_id=other.id)
        assert refused.refused[message_id].code == "template_not_sendable"
        assert message_of(message_id).status == "failed"

        approve(tenant, template, other)
        with tenant_scope(tenant.id):
            assert [each.id for each in deciding.others_for(message_of(message_id))] == [other.id]
            decided = deciding.retry(Somebody(tenant), Which(False, [message_id]), account_id=other.id)
        assert decided.done == [message_id]
        found = message_of(message_id)
        assert (found.account_id, found.provider, outbox_of(message_id).account_id) == (other.id, "twilio", other.id)
        assert "switched_over" in story_of(message_id)

    def test_another_number_needs_somebodys_word(self, tenant, template, far):
        (message_id,) = settle(tenant, template, [NOT_THERE])
        phone = to_e164("0733 123 456", "RO")
        who = Somebody(tenant)
        with tenant_scope(tenant.id):
            with pytest.raises(Invalid) as refusal:
                deciding.change_number(who, message_id, phone, agreed=False)
            assert refusal.value.code == "not_opted_in"
            assert message_of(message_id).status == "failed"
            deciding.change_number(who, message_id, phone, agreed=True)
            (event,) = consent_log.history(message_of(message_id).contact_id)
            assert (event.source, event.purpose, event.status) == ("staff", "transactional", "opted_in")
            with pytest.raises(Conflict):
                deciding.change_number(who, message_id, to_e164("+40733123457"), agreed=True)
        assert message_of(message_id).to_masked == phone.masked
        assert "number_changed" in story_of(message_id)
        make_due(tenant)
        engine.drain(tenant.account.id)
        assert "40733123456" in far.sends[-1]
        assert rows_of(tenant) == {}

    def test_a_number_that_said_stop_stays_stopped(self, tenant, template):
        (message_id,) = settle(tenant, template, [NOT_THERE])
        with tenant_scope(tenant.id), transaction():
            no = consent_log.ConsentRequest(status="opted_out", source="staff", phone=to_e164("+40733123456"))
            consent_log.record(tenant.tenant, no, "test")
        before = contact_of_message(message_id)
        with tenant_scope(tenant.id), pytest.raises(Invalid) as refusal:
            deciding.change_number(Somebody(tenant), message_id, to_e164("+40733123456"), agreed=True)
        assert refusal.value.code == "opted_out"
        assert contact_of_message(message_id) == before
        assert rows_of(tenant) == {message_id: ("not_on_whatsapp", False)}

    def test_the_same_number_is_no_change(self, tenant, template):
        (message_id,) = settle(tenant, template, [NOT_THERE])
        with tenant_scope(tenant.id):
            assert contact_of(tenant).id == message_of(message_id).contact_id
            with pytest.raises(Invalid) as refusal:
                deciding.change_number(Somebody(tenant), message_id, to_e164("+40722000000"), agreed=True)
        assert refusal.value.findings[0].code == "same_number"


def contact_of_message(message_id):
    return message_of(message_id).contact_id


class TestArchive:
    def test_closing_and_opening_again(self, tenant, template):
        ids = settle(tenant, template, [NOT_THERE] * 2)
        who = Somebody(tenant)
        with tenant_scope(tenant.id):
            assert deciding.close(who, Which(False, ids[:1]), "  called her  ").done == ids[:1]
            assert deciding.close(who, Which(False, ids[:1]), "again").unchanged == ids[:1]
            page = problems.archive(tenant.tenant, live=False)
            assert [(item.message.id, item.problem.closed_note) for item in page.rows] == [(ids[0], "called her")]
            assert page.rows[0].problem.closed_by == "user:usr_1"
            assert problems.count(tenant.tenant, live=False) == 1
            assert deciding.reopen(who, Which(False, cause="not_on_whatsapp")).done == ids[:1]
            assert deciding.reopen(who, Which(False, ids)).done == []
            assert problems.count(tenant.tenant, live=False) == 2
            assert problems.archive(tenant.tenant, live=False).rows == []
            actions = db.session.scalars(select(AuditEntry.action).order_by(AuditEntry.seq)).all()
        assert [each for each in actions if each.startswith("problem.")] == ["problem.closed", "problem.reopened"]

    def test_metrics_count_what_is_open(self, client, tenant, template):
        settle(tenant, template, [NOT_THERE, NOT_THERE])
        text = client.get("/metrics").text
        assert 'wa_problems{cause="not_on_whatsapp"} 2.0' in text
        assert 'wa_problems{cause="payment"} 0.0' in text
