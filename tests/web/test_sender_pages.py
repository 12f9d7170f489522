"""One sender whole: the form of its provider's class, the result of a test, its webhook, its news; who sees what."""

import logging
import random
import re
from html import unescape

import pytest
from sqlalchemy import select

from tests import factories
from tests.support.doors import door_of, meta_facts
from tests.support.people import PASSWORD
from tests.web.test_settings_pages import account_of, audited, change, main_of, order_of, set_tenant, text_of
from wa_dashboard import clock
from wa_dashboard.db import db, insert_rows, tenant_scope, transaction
from wa_dashboard.models import AccountEvent, ProviderAccount
from wa_dashboard.providers.base import all_providers, provider_named
from wa_dashboard.services import accounts

NEW = "/settings/providers/new"


def page_of(ready):
    return f"/settings/providers/{ready.account.id}"


def keys_for(provider, seed=7):
    return provider_named(provider).random_test_credentials(random.Random(seed))


class TestForm:
    @pytest.mark.parametrize("name", sorted(all_providers()))
    def test_every_field_of_the_class_says_where_to_find_it(self, tenant, owner, name):
        page = unescape(owner.get(f"{NEW}?provider={name}&mode=live").text)

        for each in provider_named(name).credentials:
            assert f'name="{each.name}"' in page
            assert each.where in page
            kind = re.search(rf'<input type="(\w+)"[^>]*name="{each.name}"', page)[1]
            assert (kind == "password") is each.secret

    def test_twilio_says_which_fields_stand_for_each_other(self, tenant, owner):
        words = text_of(owner.get(f"{NEW}?provider=twilio&mode=live").text)

        assert "Fill in WhatsApp sender or Messaging service SID." in words
        assert "API key SID and API key secret go together" in words

    @pytest.mark.parametrize("name", sorted(all_providers()))
    def test_wrong_input_keeps_all_but_the_secrets(self, tenant, owner, name):
        kind = provider_named(name)
        given = keys_for(name) | {each.name: "+1" for each in kind.credentials if each.phone}
        answer = owner.post(NEW, page=NEW, provider=name, mode="live", password=PASSWORD, **given)

        assert answer.status_code == 422
        page = unescape(answer.text)
        for each in kind.credentials:
            if each.name in given:
                assert (given[each.name] in page) is not each.secret
        assert order_of(tenant, live=True) == []

    def test_what_can_be_made_up_need_not_be_typed(self, tenant, owner):
        given = keys_for("meta_cloud")
        del given["verify_token"]
        with door_of("meta_cloud", live=True):
            answer = owner.post(NEW, page=NEW, provider="meta_cloud", mode="live", password=PASSWORD, **given)

        assert answer.status_code == 303
        assert len(order_of(tenant, live=True)[0].credentials["verify_token"]) >= 24

    def test_a_live_one_is_tested_asked_and_shown_before_going_live(self, tenant, owner):
        given = keys_for("meta_cloud")
        with door_of("meta_cloud", live=True) as door:
            door.answers[f"/{given['phone_number_id']}"] = (200, {
                "id": given["phone_number_id"], "display_phone_number": given["display_phone_number"],
                "verified_name": "Teatrul Mic", "quality_rating": "YELLOW", "status": "CONNECTED",
                "whatsapp_business_manager_messaging_limit": "TIER_250"})  # fmt: skip
            answer = owner.post(NEW, page=NEW, provider="meta_cloud", mode="live", password=PASSWORD, **given)

        words = text_of(main_of(owner.get(answer.location)))
        for said in ("is added", "Teatrul Mic", "up to 250 new people a day", "medium"):
            assert said in words, said
        assert order_of(tenant) != []
        assert "Live: reach people" in text_of(owner.get("/settings/providers").text)


class TestTwice:
    def add(self, owner, name, given, mode="live"):
        with door_of(name, live=mode == "live"):
            return owner.post(NEW, page=NEW, provider=name, mode=mode, password=PASSWORD, **given)

    @pytest.mark.parametrize("name", sorted(all_providers()))
    def test_the_same_sender_is_refused_at_its_field(self, tenant, owner, name):
        given = keys_for(name)
        assert self.add(owner, name, given).status_code == 303
        again = self.add(owner, name, given)

        assert again.status_code == 422
        assert "It is connected here already, as" in unescape(again.text)
        assert f'id="{provider_named(name).account_field}-error"' in again.text
        assert len(order_of(tenant, live=True)) == 1

    def test_one_number_works_at_one_provider(self, tenant, owner):
        number = "+40312345678"
        assert self.add(owner, "twilio", keys_for("twilio") | {"from": number}).status_code == 303
        given = keys_for("dialog360") | {"phone_number": "+40 312 345 678"}
        refused = self.add(owner, "dialog360", given)
        assert refused.status_code == 422
        assert "A number works at one provider at a time" in unescape(refused.text)

        with tenant_scope(tenant.id), transaction():
            db.session.scalars(select(ProviderAccount).where(ProviderAccount.live)).one().status = "disabled"
        assert self.add(owner, "dialog360", given).status_code == 303

    def test_one_twilio_account_may_have_two_senders(self, tenant, owner):
        given = keys_for("twilio")
        assert self.add(owner, "twilio", given).status_code == 303
        assert self.add(owner, "twilio", given | {"from": "+40312345679"}).status_code == 303

    def test_somebody_else_s_sender_is_nobody_s_business(self, tenant, other_tenant, owner):
        given = keys_for("dialog360")
        accounts.create_account(other_tenant.tenant, "dialog360", given, live=True, getting_ready=True)

        assert self.add(owner, "dialog360", given).status_code == 303


class TestPage:
    def test_the_result_of_the_test_is_lines_with_what_to_do(self, tenant, owner):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None, quality_rating="RED", name_status="DECLINED", subscribed=[],
                       account_review_status="REJECTED", status="RESTRICTED")  # fmt: skip
            answer = owner.post(f"{page_of(tenant)}/test", page=page_of(tenant), back="page")
        assert answer.location.endswith(page_of(tenant))
        words = text_of(main_of(owner.get(page_of(tenant))))

        for said in ("accepts these credentials", "Quality: low", "was not accepted", "No app is subscribed",
                     "may not start conversations", "does not know our address", "Register it for me",
                     "asked", "Nothing has come from"):  # fmt: skip
            assert said in words, said

    def test_all_is_well(self, tenant, owner):
        change(tenant, last_webhook_at=clock.now())
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, accounts.webhook_url(tenant.account))
            owner.post(f"{page_of(tenant)}/test", page=page_of(tenant), back="page")
        page = main_of(owner.get(page_of(tenant)))
        checks = page.split('id="checks"')[1].split("</section>")[0]

        assert '<li class="good">' in checks
        assert '<li class="bad">' not in checks
        assert '<li class="warn">' not in checks
        for said in ("Teatrul Mic", "up to 2,000 new people a day", "reports to the address below"):
            assert said in text_of(page), said

    def test_a_number_that_is_not_the_one_written_here(self, tenant, owner):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None, display_phone_number="+40 31 999 9999")
            owner.post(f"{page_of(tenant)}/test", page=page_of(tenant), back="page")

        assert "is +40319999999, here stands" in text_of(owner.get(page_of(tenant)).text)

    def test_the_webhook_is_registered_by_a_button_where_the_api_allows(self, tenant, owner):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, accounts.webhook_url(tenant.account))
            answer = owner.post(f"{page_of(tenant)}/webhook", page=page_of(tenant))
            assert any("subscribed_apps" in line and line.startswith("POST") for line in door.seen)
        assert answer.status_code == 303
        page = main_of(owner.get(page_of(tenant)))
        assert "Meta now reports to" in page
        assert accounts.webhook_url(tenant.account) in page
        assert audited(tenant, "account.webhook_registered")

        twilio = factories.make_account(tenant.tenant, "twilio")
        other = main_of(owner.get(f"/settings/providers/{twilio.id}"))
        assert "Register it for me" not in other.split('id="webhook"')[1].split("</section>")[0]
        assert "Webhook URL for incoming messages" in other

    def test_news_is_told_and_kinds_nobody_knows_are_shown_as_they_came(self, tenant, owner):
        rows = [
            ("news", {"topic": "number", "event": "FLAGGED"}),
            ("unknown_news", {"why": "field 'moon' is new to us", "raw": {"phase": "<b>full</b>"}}),
            ("quality", {"was": "green", "now": "red"}),
        ]
        with tenant_scope(tenant.id), transaction():
            for number, (kind, detail) in enumerate(rows):
                row = {"id": f"ace_{number}", "tenant_id": tenant.id, "account_id": tenant.account.id, "kind": kind,
                       "at": clock.now(), "detail": detail}  # fmt: skip
                insert_rows(AccountEvent, [row])
        raw = owner.get(page_of(tenant)).text
        page = main_of(owner.get(page_of(tenant)))
        news, story = page.split('id="news"')[1].split('id="story"')

        assert "phase" in news
        assert "<b>full</b>" not in raw
        assert "Quality was high, now low" in story
        assert "phase" not in story

    def test_limits_set_by_hand_are_told_apart(self, tenant, owner):
        change(tenant, live=True, tier_limit=300)
        set_tenant(tenant, live=True)
        with door_of("meta_cloud", live=True) as door:
            meta_facts(door, tenant.account, None)
            owner.post(f"{page_of(tenant)}/test", page=page_of(tenant), back="page")

        assert "set by hand; the provider says 2,000" in text_of(owner.get(page_of(tenant)).text)

    def test_in_romanian(self, tenant, owner):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            owner.post(f"{page_of(tenant)}/test", page=page_of(tenant), back="page")
        page = owner.get(page_of(tenant), headers={"Accept-Language": "ro"})
        owner.post("/language", page=page_of(tenant), language="ro")
        words = text_of(main_of(owner.get(page_of(tenant))))

        assert page.status_code == 200
        for said in ("până la 2.000 de oameni noi pe zi", "Noutăți de la furnizor", "Înregistrează-l pentru mine"):
            assert said in words, said


class TestWho:
    def test_another_organisation_s_sender_is_not_there(self, tenant, other_tenant, owner):
        assert owner.get(page_of(tenant)).status_code == 200
        assert owner.get(page_of(other_tenant)).status_code == 404
        for verb in ("webhook", "test", "switch"):
            answer = owner.post(f"{page_of(other_tenant)}/{verb}", page="/settings/providers", on="0")
            assert answer.status_code == 404
        assert account_of(other_tenant).status == "active"

    def test_a_viewer_sees_and_changes_nothing(self, tenant, viewer):
        page = viewer.get(page_of(tenant))
        assert page.status_code == 200
        assert "<form" not in main_of(page)
        assert viewer.post(f"{page_of(tenant)}/webhook", page="/overview").status_code == 403
        assert viewer.post(NEW, page="/overview", provider="twilio").status_code == 403

    def test_forms_want_the_token_of_their_page(self, tenant, owner):
        with owner.app.app_context():
            for verb in ("webhook", "test"):
                assert owner.client.post(f"{page_of(tenant)}/{verb}").status_code in (400, 403)

    def test_no_secret_leaves_by_any_page_or_log(self, tenant, owner, caplog):
        caplog.set_level(logging.DEBUG)
        planted = "EAAJBplantedsecretplantedsecret" + "x" * 20
        given = keys_for("meta_cloud") | {"access_token": planted, "app_secret": "plantedappsecret00000000000000"}
        secrets = (planted, given["app_secret"], given["verify_token"])
        no = {"error": {"message": f"Bad token {planted}", "type": "OAuthException", "code": 190}}
        with door_of("meta_cloud", live=True) as door:
            door.answers["/"] = door.answers[f"/{given['phone_number_id']}"] = (401, no)
            form = {"provider": "meta_cloud", "mode": "live", **given}
            answers = [owner.post(NEW, page=NEW, password=word, **form) for word in ("wrong one", PASSWORD)]
            account = order_of(tenant, live=True)[0]
            url = f"/settings/providers/{account.id}"
            answers.append(owner.post(f"{url}/test", page=url, back="page"))
            answers.append(owner.post(f"{url}/webhook", page=url))
            answers.append(owner.post(f"{url}/keys", page=url, password=PASSWORD, **given))
        answers += [owner.get(f"{url}{end}") for end in ("", "/keys", "/off")]
        answers += [owner.get(f"/settings/{end}") for end in ("providers", "live", "limits", "failover")]
        answers.append(owner.get("/connect"))

        assert account.credentials["access_token"] == planted
        for answer in answers:
            assert [secret for secret in secrets if secret in answer.text] == []
        kept = [*(str(each.detail) for each in _events(tenant)), str(account_of(tenant, account.id).facts)]
        assert [secret for secret in secrets if secret in caplog.text + "".join(kept)] == []


def _events(ready):
    with tenant_scope(ready.id):
        return list(db.session.scalars(select(AccountEvent)))
