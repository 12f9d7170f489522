"""What each provider's answers about a number and its account come to; every request is one the provider documents."""

import json
import random

import pytest

from wa_dashboard.domain.account_facts import AccountFacts, checks, tier_of
from wa_dashboard.providers import hook_address, meta_facts, twilio_facts
from wa_dashboard.providers.base import ProviderError, provider_named

from .far_end import far_end, http, script

OURS = "https://wa.example.org/api/wa/webhook/abc"


def account(name, url):
    kind = provider_named(name)
    return kind(kind.random_test_credentials(random.Random(5)), dict.fromkeys(kind.official_urls, url))


def ok(data, status=200):
    return http(status, json.dumps(data).encode())


def asked(raw):
    return raw.split(b" ")[1].decode()


class TestMeta:
    def test_three_questions_and_what_they_come_to(self):
        number = {
            "id": "1", "display_phone_number": "+40 31 123 4567", "verified_name": "Teatrul Mic",
            "quality_rating": "YELLOW", "throughput": {"level": "HIGH"}, "status": "CONNECTED",
            "name_status": "PENDING_REVIEW", "whatsapp_business_manager_messaging_limit": "TIER_100K",
            "health_status": {"can_send_message": "LIMITED", "entities": [
                {"entity_type": "BUSINESS", "can_send_message": "LIMITED", "errors": [
                    {"error_code": 141010, "error_description": "The business has not passed verification."}]}]},
            "webhook_configuration": {"application": "https://app.example.org", "whatsapp_business_account": OURS},
        }  # fmt: skip
        waba = {"id": "2", "name": "Teatrul Mic SRL", "currency": "RON", "account_review_status": "PENDING"}
        with script([ok(number), ok(waba), ok({"data": []})]) as (url, seen):
            provider = account("meta_cloud", url)
            found = provider.facts(OURS)

        assert found == AccountFacts(
            number="+40311234567", name="Teatrul Mic", name_state="pending_review", quality="yellow", tier=100_000,
            rate=1000, state="connected", sending="limited", reasons=("The business has not passed verification.",),
            review="pending", business="Teatrul Mic SRL", currency="RON", webhook="ours", subscribed=False,
        )  # fmt: skip
        keys = provider.keys
        fields = [asked(raw).partition("?")[0].removeprefix("/v24.0/") for raw in seen]
        assert fields == [keys["phone_number_id"], keys["waba_id"], f"{keys['waba_id']}/subscribed_apps"]
        assert "whatsapp_business_manager_messaging_limit" in asked(seen[0])

    @pytest.mark.parametrize("data", [{}, {"quality_rating": 7, "throughput": "no", "health_status": []},
                                      {"webhook_configuration": "x", "whatsapp_business_manager_messaging_limit": None},
                                      [], None])  # fmt: skip
    def test_nonsense_is_nothing_told(self, data):
        assert meta_facts.of_number(data, OURS).kept().keys() <= {"quality"}

    def test_a_provider_that_is_away_is_no_missing_permission(self):
        with script([ok({"id": "1"}), http(503, b"<html>")]) as (url, _), pytest.raises(ProviderError):
            account("meta_cloud", url).facts(OURS)

    @pytest.mark.parametrize(("word", "people"), [("TIER_50", 50), ("TIER_250", 250), ("TIER_1K", 1000),
                                                  ("tier_2k", 2000), ("TIER_10K", 10_000), ("TIER_UNLIMITED", 0),
                                                  ("4000", 4000), ("TIER_NEW", None), ("", None)])  # fmt: skip
    def test_tiers(self, word, people):
        assert tier_of(word) == people


class TestTwilio:
    def test_state_kind_and_balance_without_the_token(self):
        told = {"sid": "AC1", "status": "active", "type": "Trial", "friendly_name": "Teatrul", "auth_token": "planted"}
        answers = [ok({"messages": []}), ok(told), ok({"balance": "-0.50", "currency": "USD", "account_sid": "AC1"})]
        with script(answers) as (url, seen):
            found = account("twilio", url).facts(OURS)

        assert (found.state, found.kind, found.business) == ("active", "trial", "Teatrul")
        assert (found.balance, found.currency) == (-500_000, "USD")
        assert "planted" not in json.dumps(found.kept())
        assert [asked(raw).rpartition("/")[2].partition("?")[0] for raw in seen][0::2] == [
            "Messages.json",
            "Balance.json",
        ]
        warned = {each.key for each in checks(found, "", "Twilio", 0) if each.sign == "warn"}
        assert warned == {"trial", "balance"}

    def test_a_key_that_may_only_send(self):
        no = ok({"code": 20003, "message": "Authenticate", "status": 401}, 401)
        with script([ok({"messages": []}), no, no]) as (url, _):
            assert account("twilio", url).facts(OURS).hidden == ("account", "balance")

    def test_a_child_account_has_no_balance(self):
        assert twilio_facts.with_balance(AccountFacts(), {"balance": None}).balance is None

    def test_refused_keys(self):
        no = ok({"code": 20003, "message": "Authenticate", "status": 401}, 401)
        with far_end(no) as (url, _), pytest.raises(ProviderError) as problem:
            account("twilio", url).facts(OURS)
        assert problem.value.outcome.error_class == "account_stop"


class TestAddress:
    @pytest.mark.parametrize(("registered", "whose"), [
        (OURS, ("ours", None)), (OURS + "/", ("ours", None)), (OURS + "#rc=5", ("ours", None)), ("", ("none", None)),
        (None, ("none", None)), ("https://old.example.org/api/wa/webhook/abc", ("moved", "old.example.org")),
        ("https://user:secret@crm.example.org/h?key=1", ("other", "crm.example.org")),
    ])  # fmt: skip
    def test_whose_it_is(self, registered, whose):
        assert hook_address.whose(registered, OURS) == whose
