"""Problems: the groups, the messages of one cause, what can be done with them, and the archive."""

import re

import pytest
from sqlalchemy import select

from tests import factories
from tests.services.health_world import approve, message_of, queue, settle
from tests.services.test_problems import NOT_THERE, TOO_LONG, begun, rows_of, unconfirm
from tests.support.people import visitor_of
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.domain.causes import CAUSES
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Heartbeat, User
from wa_dashboard.services import consent_log, engine

CAUSE = "/problems/cause/not_on_whatsapp"


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


@pytest.fixture
def stuck(tenant, template):
    """Three whose number is not on WhatsApp, and one whose values do not fit."""
    return settle(tenant, template, [NOT_THERE] * 3 + [TOO_LONG])


def speak(ready, language):
    with all_tenants("test"), transaction():
        for user in db.session.scalars(select(User)):
            user.locale = language


def opted_out(ready, number="+40722000000"):
    with tenant_scope(ready.id), transaction():
        no = consent_log.ConsentRequest(status="opted_out", source="staff", phone=to_e164(number))
        consent_log.record(ready.tenant, no, "test")


class TestGroups:
    def test_cards_by_cause_the_largest_first(self, tenant, stuck, owner):
        page = owner.get("/problems").text
        assert page.index("Number is not on WhatsApp") < page.index("The values do not fit the template")
        assert "3 messages" in page
        assert "1 message<" in page
        assert page.count("Try all again") >= 2

    def test_in_romanian(self, tenant, stuck, owner):
        speak(tenant, "ro")
        page = owner.get("/problems").text
        assert "Probleme" in page
        assert "Numărul nu este pe WhatsApp" in page
        assert "Number is not" not in page
        for url in (CAUSE, "/problems/archive", f"/messages/{stuck[0]}/number", f"/messages/{stuck[0]}"):
            assert owner.get(url).status_code == 200
        assert "Schimbă numărul" in owner.get(CAUSE).text

    def test_nothing_is_stuck_and_when_that_was_last_looked_at(self, tenant, owner):
        page = owner.get("/problems").text
        assert "Nothing is stuck" in page
        assert "Nothing was checked yet" in page
        with all_tenants("test"), transaction():
            db.session.add(Heartbeat(name="tick", at=clock.now()))
        assert "Last check:" in owner.get("/problems").text

    def test_what_waits_is_said_apart(self, tenant, template, owner):
        queue(tenant, template, 2)
        with tenant_scope(tenant.id), transaction():
            tenant_approval(template).status = "paused"
        engine.drain(tenant.account.id)
        page = owner.get("/problems").text
        assert "Nothing is stuck" in page
        assert "Waiting by itself" in page
        assert "order_confirm (ro)" in page
        assert "Next automatic try:" in page

    def test_nobody_elses(self, tenant, other_tenant, owner):
        settle(other_tenant, factories.make_template(other_tenant), [NOT_THERE])
        assert "Nothing is stuck" in owner.get("/problems").text
        assert "Nothing is stuck" in owner.get(CAUSE).text
        assert visitor_of(owner.app, other_tenant).get("/problems").text.count("Number is not on WhatsApp") >= 1

    def test_a_poll_that_knows_it_all_gets_nothing(self, tenant, stuck, owner):
        url = re.search(r'hx-get="(/problems\?have=[^"]+)"', owner.get("/problems").text)[1]
        assert owner.fragment(url).status_code == 204
        owner.post("/problems/decide", page="/problems", act="close", id=stuck[0], cause="not_on_whatsapp")
        assert owner.fragment(url).text.lstrip().startswith('<div id="problem-groups"')

    def test_the_number_in_the_navigation(self, tenant, stuck, owner):
        page = owner.get("/overview").text
        assert re.search(r'id="problems-rail"[^>]*>\(4\)<', page)
        url = re.search(r'hx-get="(/problems/count\?where=rail&amp;have=4)"', page)[1].replace("&amp;", "&")
        assert owner.fragment(url).status_code == 204
        owner.post("/problems/decide", page="/problems", act="close", id=stuck[0], cause="not_on_whatsapp")
        assert ">(3)<" in owner.fragment(url).text

    def test_codes_of_the_api_keep_their_addresses(self, client, owner):
        assert owner.get("/problems/validation_failed").status_code == 200
        assert owner.get("/problems/codes").status_code == 200
        assert owner.get("/problems/").status_code == 200
        assert owner.get("/problems/cause/nonsense").status_code == 404


def tenant_approval(template):
    from wa_dashboard.models import TemplateApproval

    return db.session.scalars(select(TemplateApproval).where(TemplateApproval.template_id == template.id)).one()


class TestDeciding:
    def test_chosen_ones_go_again(self, tenant, stuck, owner):
        answer = owner.post("/problems/decide", page=CAUSE, act="retry", cause="not_on_whatsapp", id=stuck[0])
        assert (answer.status_code, answer.location) == (303, CAUSE)
        assert "In the queue again: 1." in owner.get(CAUSE).text
        assert message_of(stuck[0]).status == "queued"
        assert message_of(stuck[1]).status == "failed"

    def test_all_of_a_cause_go_again(self, tenant, stuck, owner):
        answer = owner.post("/problems/decide", page=CAUSE, act="retry", cause="not_on_whatsapp", all="1")
        assert (answer.status_code, answer.location) == (303, "/problems")
        assert {message_of(each).status for each in stuck[:3]} == {"queued"}
        assert message_of(stuck[3]).status == "dead_letter"

    def test_a_refusal_stands_beside_its_message(self, tenant, stuck, owner):
        opted_out(tenant)
        answer = owner.post("/problems/decide", page=CAUSE, act="retry", cause="not_on_whatsapp", all="1")
        assert answer.status_code == 422
        assert "There is a problem" in answer.text
        assert f'id="no-{stuck[0]}"' in answer.text
        assert answer.text.count("The person has asked not to be written to.") == 1
        assert message_of(stuck[1]).status == "queued"

    def test_nothing_chosen_is_said(self, tenant, stuck, owner):
        answer = owner.post("/problems/decide", page=CAUSE, act="retry", cause="not_on_whatsapp")
        assert answer.status_code == 303
        assert "Choose at least one message." in owner.get(CAUSE).text
        assert len(rows_of(tenant)) == 4

    @pytest.mark.parametrize("act", ["", "drop", "through"])
    def test_nonsense_changes_nothing(self, tenant, stuck, owner, act):
        assert owner.post("/problems/decide", page=CAUSE, act=act, id=stuck[0]).status_code in (303, 404)
        assert len(rows_of(tenant)) == 4

    def test_closing_with_a_note_and_opening_again(self, tenant, stuck, owner):
        owner.post("/problems/decide", page=CAUSE, act="close", cause="not_on_whatsapp", id=stuck[0],
                   note="<b>Sunat</b>")  # fmt: skip
        archive = owner.get("/problems/archive").text
        assert "&lt;b&gt;Sunat&lt;/b&gt;" in archive
        assert stuck[0] in archive
        assert stuck[0] not in owner.get(CAUSE).text
        assert "see the archive" in owner.get(f"/messages/{stuck[0]}").text
        owner.post("/problems/decide", page="/problems/archive", act="reopen", id=stuck[0])
        assert stuck[0] in owner.get(CAUSE).text
        assert "The archive is empty" in owner.get("/problems/archive").text

    def test_through_another_sender(self, tenant, template, stuck, owner):
        assert "Send through it" not in owner.get(CAUSE).text
        other = factories.make_account(tenant.tenant, "twilio")
        assert "Send through it" in owner.get(CAUSE).text
        assert "Send through another sender" not in owner.get(f"/messages/{stuck[0]}").text
        refused = owner.post("/problems/decide", page=CAUSE, act="through", cause="not_on_whatsapp", id=stuck[0],
                             account=other.id)  # fmt: skip
        assert refused.status_code == 422
        assert "The template is not approved at" in refused.text
        approve(tenant, template, other)
        owner.post("/problems/decide", page=CAUSE, act="through", cause="not_on_whatsapp", id=stuck[0],
                   account=other.id)  # fmt: skip
        assert (message_of(stuck[0]).status, message_of(stuck[0]).account_id) == ("queued", other.id)
        page = owner.get(f"/messages/{stuck[1]}").text
        assert "Send through another sender" in page
        owner.post(f"/messages/{stuck[1]}/through", page=f"/messages/{stuck[1]}", account=other.id)
        assert (message_of(stuck[1]).status, message_of(stuck[1]).account_id) == ("queued", other.id)

    def test_what_may_arrive_twice_says_so_first(self, tenant, template, owner):
        message_id = begun(tenant, template)
        unconfirm(tenant, message_id)
        page = owner.get("/problems/cause/unconfirmed").text
        assert "the person may get the message twice" in page
        owner.post("/problems/decide", page="/problems", act="retry", cause="unconfirmed", id=message_id)
        assert message_of(message_id).possible_duplicate is True

    def test_pages_meet_without_a_gap(self, tenant, template, owner, monkeypatch):
        from wa_dashboard.web import problems as page_of_problems

        monkeypatch.setattr(page_of_problems, "PER_PAGE", 2)
        ids = settle(tenant, template, [NOT_THERE] * 5)
        seen, url = [], CAUSE
        while url:
            text = owner.get(url).text
            seen += re.findall(r'name="id" value="(msg_\w+)"', text)
            older = re.search(r'rel="next" href="([^"]+)"', text)
            url = older[1].replace("&amp;", "&") if older else None
        assert sorted(seen) == sorted(ids)

    def test_a_viewer_looks_and_decides_nothing(self, tenant, stuck, viewer):
        for url in ("/problems", CAUSE, "/problems/archive"):
            page = viewer.get(url)
            assert page.status_code == 200
            assert 'name="act"' not in page.text
        answer = viewer.post("/problems/decide", page="/overview", act="retry", id=stuck[0])
        assert answer.status_code == 403
        assert viewer.get(f"/messages/{stuck[0]}/number").status_code == 403
        assert len(rows_of(tenant)) == 4

    @pytest.mark.parametrize("cause", sorted(CAUSES))
    def test_every_cause_has_its_page(self, tenant, owner, cause):
        assert owner.get(f"/problems/cause/{cause}").status_code == 200


class TestNumber:
    def test_another_number_is_confirmed_by_somebody(self, tenant, stuck, owner):
        url = f"/messages/{stuck[0]}/number"
        assert "RO" in owner.get(url).text
        missing = owner.post(url, page=url, phone="0733 123 456")
        assert missing.status_code == 422
        assert "Confirm that the person with this number agreed" in missing.text
        assert 'value="0733 123 456"' in missing.text
        wrong = owner.post(url, page=url, phone="12", agreed="1")
        assert wrong.status_code == 422
        assert 'id="phone-error"' in wrong.text
        assert message_of(stuck[0]).status == "failed"

        answer = owner.post(url, page=url, phone="0733 123 456", agreed="1")
        assert (answer.status_code, answer.location) == (303, f"/messages/{stuck[0]}")
        page = owner.get(answer.location).text
        assert "It is on its way to the new number." in page
        assert "The number was changed by hand" in page
        assert message_of(stuck[0]).to_masked.endswith("456")
        assert owner.get(url).status_code == 303

    def test_a_number_that_wants_nothing(self, tenant, stuck, owner):
        opted_out(tenant, "+40733123456")
        url = f"/messages/{stuck[0]}/number"
        answer = owner.post(url, page=url, phone="0733 123 456", agreed="1")
        assert answer.status_code == 422
        assert "asked not to be written to" in answer.text
        assert message_of(stuck[0]).status == "failed"

    def test_the_message_leads_to_its_problem(self, tenant, stuck, owner):
        page = owner.get(f"/messages/{stuck[0]}").text
        assert f'href="{CAUSE}"' in page
        assert f'href="/messages/{stuck[0]}/number"' in page
