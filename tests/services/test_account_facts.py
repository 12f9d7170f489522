"""What providers tell of accounts is asked for, believed, kept, and never lets one broken account stop the others."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.doors import door_of, meta_facts
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.errors import Conflict
from wa_dashboard.models import AccountEvent, AuditEntry, ProviderAccount
from wa_dashboard.services import account_facts, accounts, senders


def row_of(ready, account_id=None):
    with tenant_scope(ready.id):
        db.session.rollback()
        wanted = select(ProviderAccount).where(ProviderAccount.id == (account_id or ready.account.id))
        return db.session.scalars(wanted).one()


def change(ready, **values):
    with tenant_scope(ready.id), transaction():
        db.session.execute(update(ProviderAccount).where(ProviderAccount.id == ready.account.id).values(**values))


def refreshed(ready):
    with tenant_scope(ready.id):
        return account_facts.refresh(accounts.find_account(ready.account.id))


def events(ready):
    with tenant_scope(ready.id):
        db.session.rollback()
        return list(db.session.scalars(select(AccountEvent.kind).order_by(AccountEvent.at, AccountEvent.id)))


class TestAsking:
    def test_every_provider_tells_in_the_simulator(self, ready):
        facts = refreshed(ready)

        assert facts.fine
        assert row_of(ready).checked_at is not None
        if ready.account.provider == "meta_cloud":
            told = facts.told
            assert (told.number, told.tier, told.rate, told.review) == (ready.account.sender, 2000, 80, "approved")
            assert (told.webhook, told.subscribed) == ("ours", True)
            assert row_of(ready).quality == "green"
        elif ready.account.provider == "dialog360":
            assert (facts.told.webhook, facts.told.webhook_proof, facts.told.account_webhook) == ("ours", True, "ours")
        else:
            assert (facts.told.state, facts.told.balance, facts.told.currency) == ("active", 100_000_000, "USD")

    def test_no_secret_and_no_stranger_s_address_is_kept(self, tenant):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, "https://other.example.org/hook?token=their-secret")
            facts = refreshed(tenant)
        kept = json.dumps(row_of(tenant).facts)

        assert (facts.told.webhook, facts.told.webhook_host) == ("other", "other.example.org")
        assert "their-secret" not in kept
        keys = tenant.account.credentials
        assert [name for name in ("access_token", "app_secret", "verify_token") if keys[name] in kept] == []

    def test_a_part_these_keys_may_not_read_is_named(self, tenant):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            waba = tenant.account.credentials["waba_id"]
            denied = {"error": {"message": "no permission", "type": "OAuthException", "code": 200}}
            door.answers[f"/{waba}"] = door.answers[f"GET /{waba}/subscribed_apps"] = (403, denied)
            facts = refreshed(tenant)

        assert facts.fine
        assert facts.told.hidden == ("account", "subscriptions")
        assert facts.told.webhook == "none"

    def test_refused_keys_are_said_and_what_was_known_stays(self, tenant):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            refreshed(tenant)
            door.answers.clear()
            expired = {"error": {"message": "Error validating access token", "type": "OAuthException", "code": 190}}
            door.answers[f"/{tenant.account.credentials['phone_number_id']}"] = (401, expired)
            facts = refreshed(tenant)

        assert not facts.fine
        assert facts.problem
        assert facts.advice
        assert facts.told.name == "Teatrul Mic"

    def test_due_accounts_are_asked_once_an_hour_and_new_ones_at_once(self, tenant):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            assert account_facts.refresh_due() == 1
            asked = len(door.seen)
            assert account_facts.refresh_due() == 0
            assert len(door.seen) == asked
            change(tenant, checked_at=clock.now() - timedelta(minutes=61))
            assert account_facts.refresh_due() == 1

    def test_a_broken_account_does_not_stop_the_others(self, tenant, other_tenant):
        change(other_tenant, credentials_sealed=b"no longer readable")
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            assert account_facts.refresh_due() == 1

        assert account_facts.facts_of(row_of(tenant)).fine
        assert account_facts.facts_of(row_of(other_tenant)).problem
        assert row_of(other_tenant).checked_at is not None

    def test_switched_off_ones_are_left_alone(self, tenant):
        change(tenant, status="disabled")
        with door_of("meta_cloud") as door:
            account_facts.refresh_due()

            assert door.seen == []


class TestBelieving:
    def live(self, ready):
        change(ready, live=True)
        ready.account.live = True

    def test_limits_follow_the_provider_until_a_person_sets_them(self, tenant):
        self.live(tenant)
        with door_of("meta_cloud", live=True) as door:
            meta_facts(door, tenant.account, None)
            refreshed(tenant)
            assert (row_of(tenant).tier_limit, row_of(tenant).rate_per_second) == (2000, 80)

            meta_facts(door, tenant.account, None, whatsapp_business_manager_messaging_limit="TIER_10K")
            refreshed(tenant)
            assert row_of(tenant).tier_limit == 10_000

            with tenant_scope(tenant.id):
                senders.set_sender_limits("user:usr_1", tenant.account.id, rate_per_second=80, tier_limit=500)
            meta_facts(door, tenant.account, None, throughput={"level": "HIGH"},
                       whatsapp_business_manager_messaging_limit="TIER_UNLIMITED")  # fmt: skip
            facts = refreshed(tenant)

        assert (row_of(tenant).tier_limit, row_of(tenant).rate_per_second) == (500, 1000)
        assert facts.by_hand == ("tier_limit",)
        assert facts.told.tier == 0
        assert events(tenant) == ["tier"]

    def test_a_person_may_leave_it_to_the_provider_again(self, tenant):
        self.live(tenant)
        change(tenant, tier_limit=250, rate_per_second=5)
        with door_of("meta_cloud", live=True) as door:
            meta_facts(door, tenant.account, None)
            assert refreshed(tenant).by_hand == ("tier_limit", "rate_per_second")
            with tenant_scope(tenant.id):
                senders.set_sender_limits("user:usr_1", tenant.account.id, rate_per_second=0, tier_limit=2000)
            assert refreshed(tenant).by_hand == ()
            meta_facts(door, tenant.account, None, whatsapp_business_manager_messaging_limit="TIER_10K")
            refreshed(tenant)

        assert (row_of(tenant).tier_limit, row_of(tenant).rate_per_second) == (10_000, 80)

    def test_a_limit_set_before_we_first_asked_stays(self, tenant):
        self.live(tenant)
        change(tenant, tier_limit=250)
        with door_of("meta_cloud", live=True) as door:
            meta_facts(door, tenant.account, None)
            facts = refreshed(tenant)

        assert row_of(tenant).tier_limit == 250
        assert facts.by_hand == ("tier_limit",)

    def test_what_is_simulated_is_bound_by_nothing(self, tenant):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            refreshed(tenant)

        assert (row_of(tenant).tier_limit, row_of(tenant).rate_per_second) == (0, 0)
        assert row_of(tenant).quality == "green"

    def test_a_quality_that_falls_stands_in_the_story(self, tenant):
        with door_of("meta_cloud") as door:
            meta_facts(door, tenant.account, None)
            refreshed(tenant)
            meta_facts(door, tenant.account, None, quality_rating="RED")
            refreshed(tenant)
            meta_facts(door, tenant.account, None, quality_rating="UNKNOWN")
            refreshed(tenant)

        assert row_of(tenant).quality == "red"
        assert events(tenant) == ["quality"]


class TestWebhook:
    @pytest.fixture
    def number(self, app):
        return factories.make_tenant(provider="dialog360")

    def doors(self, door, number, url, **headers):
        door.answers["GET /v1/configs/webhook"] = (200, {"url": url, "headers": headers})
        door.answers["POST /v1/configs/webhook"] = (200, {})
        door.answers["POST /waba_webhook"] = (200, {})
        door.answers["GET /waba_webhook"] = (403, {"meta": {"success": False, "http_code": 403}})

    @pytest.mark.parametrize("found", ["", "https://old.example.org{path}", "ours without the secret"])
    def test_one_that_360dialog_has_lost_is_set_again(self, number, found):
        ours = accounts.webhook_url(number.account)
        path = ours.partition("/api/")[2]
        url = ours if found.startswith("ours") else found.format(path=f"/api/{path}")
        with door_of("dialog360") as door:
            self.doors(door, number, url, Authorization="Basic x")
            refreshed(number)
            sent = [body for body in door.bodies if body]

        assert sent[0]["url"] == ours
        assert sent[0]["headers"] == {"X-WA-Webhook-Secret": number.account.credentials["webhook_secret"]}
        assert events(number) == ["webhook_set_again"]

    def test_one_that_leads_to_another_program_is_left_to_a_person(self, number):
        with door_of("dialog360") as door:
            self.doors(door, number, "https://other.example.org/hook")
            facts = refreshed(number)

            assert [line for line in door.seen if line.startswith("POST")] == []
        assert facts.told.webhook == "other"
        assert events(number) == []

    def test_a_person_has_it_registered_and_it_is_audited(self, tenant):
        with door_of("meta_cloud") as door, tenant_scope(tenant.id):
            meta_facts(door, tenant.account, accounts.webhook_url(tenant.account))
            said = account_facts.register_webhook("user:usr_1", tenant.account.id)
            audited = db.session.scalars(select(AuditEntry.action)).all()

        assert "Meta now reports" in said
        assert "account.webhook_registered" in audited
        assert events(tenant) == ["webhook_registered"]

    def test_a_refusal_is_said_in_words(self, tenant):
        with door_of("meta_cloud") as door, tenant_scope(tenant.id):
            waba = tenant.account.credentials["waba_id"]
            no = {"error": {"message": "(#2200) Callback verification failed", "code": 2200}}
            door.answers[f"POST /{waba}/subscribed_apps"] = (400, no)
            with pytest.raises(Conflict) as problem:
                account_facts.register_webhook("user:usr_1", tenant.account.id)

        assert str(problem.value.detail)
        assert "2200" not in problem.value.detail

    def test_twilio_wants_it_entered_by_hand(self, app):
        made = factories.make_tenant(provider="twilio")
        with tenant_scope(made.id), pytest.raises(Conflict) as problem:
            account_facts.register_webhook("user:usr_1", made.account.id)

        assert "by hand" in problem.value.detail
