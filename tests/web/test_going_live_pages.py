"""Going live: each point ticks itself from the database, the server refuses until all musts hold, and back again."""

import random
import re
from html import unescape

import pytest
from sqlalchemy import update

from tests import factories
from tests.support.doors import door_of, meta_facts
from tests.support.people import PASSWORD, visitor_of
from tests.support.rows import make_message, put_in_outbox
from tests.web.test_settings_pages import audited, main_of, set_tenant, tenant_of, text_of
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Message, ProviderAccount, TemplateApproval
from wa_dashboard.providers.base import provider_named
from wa_dashboard.services import account_facts, accounts, contacts, going_live, tenants

URL = "/settings/live"
MUST = ("sender", "webhook", "quality", "template", "message")


def live_account(ready, provider="meta_cloud"):
    keys = provider_named(provider).random_test_credentials(random.Random(11))
    return accounts.create_account(ready.tenant, provider, keys, live=True, getting_ready=True)


def change(ready, account, **values):
    with tenant_scope(ready.id), transaction():
        db.session.execute(update(ProviderAccount).where(ProviderAccount.id == account.id).values(**values))


def ask_facts(ready, account, **facts):
    with door_of("meta_cloud", live=True) as door, tenant_scope(ready.id):
        meta_facts(door, account, None, **facts)
        account_facts.refresh(accounts.find_account(account.id))


def approve(ready, account, status="approved"):
    template = factories.make_template(ready)
    with tenant_scope(ready.id), transaction():
        row = TemplateApproval(id=new_id("tap"), tenant_id=ready.id, template_id=template.id, account_id=account.id,
                               status=status, status_at=clock.now(), external_id="x", category="utility",
                               parameter_map={})  # fmt: skip
        db.session.add(row)


def deliver(ready, account, *, live=True):
    with tenant_scope(ready.id), transaction():
        person = contacts.contact_for(ready.tenant, to_e164("+40722000999"), first_name="Ana")
        row = make_message(ready, person, status="delivered")
        row.live, row.account_id = live, account.id


def make_ready(ready):
    account = live_account(ready)
    ask_facts(ready, account)
    change(ready, account, last_webhook_at=clock.now())
    approve(ready, account)
    deliver(ready, account)
    return account


def points(ready):
    with tenant_scope(ready.id):
        db.session.rollback()
        return {each.key: each.done for each in going_live.checklist(tenant_of(ready)).points}


def done(ready):
    return [key for key in MUST if points(ready)[key]]


def switch(owner, live, password=PASSWORD):
    return owner.post(URL, page=URL, live=live, password=password)


class TestList:
    def test_nothing_of_the_test_senders_counts(self, tenant, owner):
        deliver(tenant, tenant.account, live=False)
        factories.make_template(tenant)
        assert done(tenant) == []
        page = main_of(owner.get(URL))
        assert "Connect your number" in page
        assert ">Go live</span></button>" not in page

    def test_each_point_ticks_itself(self, tenant):
        account = live_account(tenant)
        assert done(tenant) == ["quality"]  # nothing speaks against it yet
        ask_facts(tenant, account)
        assert done(tenant) == ["sender", "quality"]
        change(tenant, account, last_webhook_at=clock.now())
        assert done(tenant) == ["sender", "webhook", "quality"]
        approve(tenant, account)
        assert done(tenant) == ["sender", "webhook", "quality", "template"]
        deliver(tenant, account)
        assert done(tenant) == list(MUST)

    @pytest.mark.parametrize("facts", [{"quality_rating": "RED"}, {"status": "RESTRICTED"}, {"status": "PENDING"},
                                       {"health_status": {"can_send_message": "BLOCKED", "entities": []}}])  # fmt: skip
    def test_a_number_that_may_not_send_or_is_blocked_by_people_is_not_fine(self, tenant, facts):
        account = make_ready(tenant)
        ask_facts(tenant, account, **facts)

        assert "quality" not in done(tenant)

    def test_keys_that_no_longer_work_untick(self, tenant):
        account = make_ready(tenant)
        with door_of("meta_cloud", live=True) as door, tenant_scope(tenant.id):
            door.answers["/"] = (401, {"error": {"message": "no", "code": 190}})
            door.answers[f"/{account.credentials['phone_number_id']}"] = door.answers["/"]
            account_facts.refresh(accounts.find_account(account.id))

        assert "sender" not in done(tenant)

    def test_somebody_else_s_progress_is_not_ours(self, tenant, other_tenant):
        make_ready(other_tenant)

        assert done(other_tenant) == list(MUST)
        assert done(tenant) == []

    def test_the_recommended_ones_tick_too(self, app, client, tenant, owner):
        before = points(tenant)
        assert (before["wording"], before["key"], before["limits"]) == (False, False, False)
        factories.make_template(tenant)
        client.post("/api/wa/send/confirm", json=factories.order(), headers=tenant.headers)
        set_tenant(tenant, rate_per_hour=100, live=True)
        tenants.create_api_key(tenant_of(tenant), "Casa de bilete", ("send:confirm",), live=True)
        after = points(tenant)
        assert (after["wording"], after["key"], after["limits"]) == (True, True, True)

    def test_a_viewer_sees_it_and_has_no_button(self, tenant, viewer):
        make_ready(tenant)
        page = main_of(viewer.get(URL))
        assert "<form" not in page
        assert "The owner of your organisation can do it." in page
        assert viewer.post(URL, page=URL, live="1", password=PASSWORD).status_code == 403

    def test_an_editor_is_not_an_owner(self, app, tenant):
        make_ready(tenant)
        editor = visitor_of(app, tenant, "editor")
        assert editor.post(URL, page=URL, live="1", password=PASSWORD).status_code == 403
        assert tenant_of(tenant).live is False


class TestSwitch:
    def test_refused_with_what_is_missing(self, tenant, owner):
        account = live_account(tenant)
        ask_facts(tenant, account)
        answer = switch(owner, "1")
        assert answer.status_code == 422
        words = text_of(unescape(answer.text))
        assert "Not yet. Still missing:" in words
        assert "A test message has arrived on a real phone" in words
        assert tenant_of(tenant).live is False
        assert audited(tenant, "tenant.live") == []

    def test_live_when_all_musts_hold_and_back_again(self, tenant, owner, client):
        make_ready(tenant)
        assert "Ready" in text_of(main_of(owner.get(URL)))
        wrong = switch(owner, "1", "not my password")
        assert wrong.status_code == 422
        assert tenant_of(tenant).live is False

        assert switch(owner, "1").status_code == 303
        assert tenant_of(tenant).live is True
        page = owner.get("/overview").text
        assert "nobody receives anything" not in page
        assert switch(owner, "1").status_code == 303  # a double tap changes nothing more

        key = tenants.create_api_key(tenant_of(tenant), "Live", ("messages:read",), live=True)
        read = {"headers": {"Authorization": f"Bearer {key}"}}
        assert client.get(f"/api/wa/messages/{tenant.id}", **read).status_code == 200
        assert switch(owner, "0").status_code == 303
        assert tenant_of(tenant).live is False
        refused = client.get(f"/api/wa/messages/{tenant.id}", **read)
        assert refused.status_code == 403
        assert "tenant_in_test_mode" in refused.text
        assert client.get(f"/api/wa/messages/{tenant.id}", headers=tenant.headers).status_code == 200
        assert [(actor[:5], detail) for actor, _, detail in audited(tenant, "tenant.live")] == [
            ("user:", {"before": False, "after": True}), ("user:", {"before": True, "after": False})
        ]  # fmt: skip

    def test_going_back_says_what_still_goes_out(self, tenant, owner):
        make_ready(tenant)
        switch(owner, "1")
        with tenant_scope(tenant.id), transaction():
            person = contacts.contact_for(tenant.tenant, to_e164("+40722000998"), first_name="Ion")
            message = make_message(tenant, person)
            message.live = True
            put_in_outbox(message, next_in=600)

        assert "messages that wait: 1, reminders planned: 0" in text_of(main_of(owner.get(URL)))


class TestGettingReady:
    def test_the_texts_are_sent_to_the_live_sender_and_only_there(self, tenant, owner):
        assert "No live sender is connected." in text_of(
            main_of(owner.get(owner.post(f"{URL}/templates", page=URL).location))
        )
        account = live_account(tenant)
        answer = owner.post(f"{URL}/templates", page=URL)
        assert answer.status_code == 303
        with tenant_scope(tenant.id):
            db.session.rollback()
            rows = db.session.query(TemplateApproval.account_id).distinct().all()
        assert [row[0] for row in rows] == [account.id]
        assert "sent there for approval" in text_of(main_of(owner.get(URL)))

    def test_one_real_test_message_before_going_live(self, tenant, owner):
        account = live_account(tenant)
        approve(tenant, account)
        page = owner.get("/send-test?mode=live").text
        assert 'name="mode" value="live"' in page
        token = re.search(r'name="token" value="([^"]+)"', page)[1]
        form = {"phone": "+40722123456", "first_name": "Ana", "token": token, "mode": "live"}
        assert owner.post("/send-test", page="/send-test?mode=live", **form).status_code == 422  # not said: it is mine
        answer = owner.post("/send-test", page="/send-test?mode=live", mine="1", **form)
        assert answer.status_code == 303
        with tenant_scope(tenant.id):
            db.session.rollback()
            sent = db.session.query(Message).one()
            assert (sent.live, sent.account_id) == (True, account.id)
        assert owner.get(answer.location).status_code == 200

    def test_without_a_live_sender_it_stays_a_test(self, tenant, owner):
        assert 'name="mode"' not in owner.get("/send-test?mode=live").text
