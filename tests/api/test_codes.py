"""`POST /api/wa/send/otp` and `POST /api/wa/verify/otp`, from outside."""

import logging
from datetime import timedelta

import pytest
import requests
from sqlalchemy import select

from tests import factories
from tests.support import codes
from tests.support.codes import PHONE, ask, code_in, sealed, wrong
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.models import Code, Message
from wa_dashboard.services import lifecycle, tenants


@pytest.fixture
def shop(tenant):
    """A tenant whose codes have their template; beside it another, to whose customer with the same number a code was
    sent just before."""
    codes.make_template(tenant)
    return tenant


@pytest.fixture
def others_code(client, shop, other_tenant):
    codes.make_template(other_tenant)
    return code_in(ask(client, other_tenant, "send/otp").json["message"]["id"])


def sent(client, shop, **body):
    """Send a code; returns the answer and the code."""
    answer = ask(client, shop, "send/otp", **body)
    assert answer.status_code == 202, answer.text
    return answer, code_in(answer.json["message"]["id"])


def at(seconds):
    return (clock.now() + timedelta(seconds=seconds)).isoformat()


class TestSending:
    def test_a_code_is_accepted_as_the_most_urgent_message(self, client, shop):
        answer = ask(client, shop, "send/otp", metadata={"form": "sign-in"})

        assert answer.status_code == 202, answer.text
        found, message = answer.json["code"], answer.json["message"]
        assert (found["purpose"], found["status"], found["checks_left"]) == ("login", "live", 5)
        assert found["id"].startswith("cod_")
        assert message["type"] == message["lane"] == "otp"
        assert message["status"] == "queued"
        assert message["expires_at"] == found["expires_at"]
        assert message["price_estimate"]["category"] == "authentication"
        assert message["metadata"] == {"form": "sign-in"}
        (row,) = codes.rows()
        assert row.expires_at - row.created_at == timedelta(minutes=10)
        with tenant_scope(shop.id):
            stored = db.session.scalars(select(Message)).one()
            assert (stored.policy, stored.expires_at) == ("never_twice", row.expires_at)
            assert stored.request == {"purpose": "login"}
            assert set(stored.variables) == {"code"}

    def test_nobody_had_to_agree_before(self, client, shop):
        client.post(
            "/api/wa/optin", json={"phone": PHONE, "status": "opted_out", "source": "api"}, headers=shop.headers
        )

        answer = ask(client, shop, "send/otp")

        assert answer.status_code == 202
        assert answer.json["message"]["status"] == "queued"

    def test_the_answer_does_not_tell_whether_the_number_is_known(self, client, shop):
        known = ask(client, shop, "send/otp", at=at(-7200))
        again, new = ask(client, shop, "send/otp"), ask(client, shop, "send/otp", phone="+40722123999")

        assert known.status_code == again.status_code == new.status_code == 202
        assert again.json["code"].keys() == new.json["code"].keys()
        assert again.json["message"].keys() == new.json["message"].keys()
        assert again.json["message"]["status"] == new.json["message"]["status"]

    def test_another_within_thirty_seconds_is_too_soon_and_makes_nothing(self, client, shop, others_code):
        sent(client, shop)

        answer = ask(client, shop, "send/otp")

        assert answer.status_code == 429
        assert answer.json["code"] == "code_too_soon"
        assert 1 <= int(answer.headers["Retry-After"]) <= 30
        assert len([row for row in codes.rows() if row.tenant_id == shop.id]) == 1
        assert ask(client, shop, "send/otp", purpose="checkout").status_code == 202
        assert ask(client, shop, "send/otp", at=at(31)).status_code == 202

    def test_a_number_gets_five_an_hour(self, client, shop):
        answers = [ask(client, shop, "send/otp", purpose=f"p{number}") for number in range(6)]

        assert [answer.status_code for answer in answers] == [202] * 5 + [429]
        assert answers[5].json["code"] == "code_limit"
        assert 3500 <= int(answers[5].headers["Retry-After"]) <= 3600
        assert ask(client, shop, "send/otp", phone="+40722123999").status_code == 202
        assert ask(client, shop, "send/otp", at=at(3601)).status_code == 202

    def test_an_organisation_has_its_share_of_the_hour(self, app, client, shop, other_tenant, monkeypatch):
        from dataclasses import replace

        codes.make_template(other_tenant)
        settings = replace(app.extensions["wa_settings"], codes_per_hour=3)
        monkeypatch.setitem(app.extensions, "wa_settings", settings)
        numbers = [f"+4072212300{number}" for number in range(4)]

        answers = [ask(client, shop, "send/otp", phone=number) for number in numbers]

        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert answers[3].json["code"] == "codes_exhausted"
        assert int(answers[3].headers["Retry-After"]) > 3500
        assert ask(client, other_tenant, "send/otp").status_code == 202

    def test_a_repeated_request_is_one_code(self, client, shop):
        first = ask(client, shop, "send/otp", key="k1")
        again = ask(client, shop, "send/otp", key="k1")

        assert again.data == first.data
        assert again.headers["Idempotency-Replayed"] == "true"
        assert len(codes.rows()) == 1

    def test_a_refusal_for_haste_is_not_kept_under_a_key(self, client, shop):
        sent(client, shop)

        assert ask(client, shop, "send/otp", key="k2").status_code == 429
        assert ask(client, shop, "send/otp", key="k2", at=at(31)).status_code == 202

    def test_wrong_fields_are_named(self, client, shop):
        answer = ask(client, shop, "send/otp", phone="0722123456", purpose="Log in!", expires=5)

        assert answer.status_code == 422
        assert {error["pointer"] for error in answer.json["errors"]} == {"/phone", "/purpose", "/expires"}

    def test_without_a_template_nothing_is_made(self, client, tenant):
        answer = ask(client, tenant, "send/otp")

        assert answer.status_code == 422
        assert answer.json["code"] == "template_not_sendable"
        assert codes.rows() == []

    def test_it_needs_the_scope(self, client, shop):
        key = tenants.create_api_key(shop.tenant, "reads", ["messages:read"], live=False)

        answers = [
            client.post(f"/api/wa/{path}", json={}, headers={"Authorization": f"Bearer {key}"})
            for path in ("send/otp", "verify/otp")
        ]

        assert [answer.json["code"] for answer in answers] == ["scope_missing"] * 2


class TestChecking:
    def test_the_right_code_is_right_once(self, client, shop, others_code):
        _, code = sent(client, shop)

        answers = [ask(client, shop, "verify/otp", code=code) for _ in range(2)]

        assert answers[0].json == {"verified": True, "reason": None, "checks_left": 0}
        assert answers[1].json == {"verified": False, "reason": "used", "checks_left": 0}

    @pytest.mark.parametrize("shape", ["{} {}", "{}-{}", " {}\u00a0{} ", "{}\u2013{}"])
    def test_spaces_and_hyphens_may_stay(self, client, shop, shape):
        _, code = sent(client, shop)

        assert ask(client, shop, "verify/otp", code=shape.format(code[:3], code[3:])).json["verified"] is True

    @pytest.mark.parametrize("typed", ["12345", "1234567", "12345x", "", "١٢٣٤٥٦", "abcdef", 123456, None])
    def test_what_cannot_be_a_code_is_said_and_costs_no_check(self, client, shop, typed):
        _, code = sent(client, shop)

        answer = ask(client, shop, "verify/otp", code=typed)

        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == "/code"
        assert "12345" not in answer.text
        assert codes.rows()[0].checks == 0
        assert ask(client, shop, "verify/otp", code=code).json["verified"] is True

    def test_five_wrong_checks_are_all_there_are(self, client, shop):
        _, code = sent(client, shop)

        answers = [ask(client, shop, "verify/otp", code=wrong(code)).json for _ in range(5)]
        after = ask(client, shop, "verify/otp", code=code).json

        assert [answer["checks_left"] for answer in answers] == [4, 3, 2, 1, 0]
        assert {answer["reason"] for answer in answers} == {"wrong_code"}
        assert after == {"verified": False, "reason": "too_many_checks", "checks_left": 0}
        assert codes.rows()[0].code_hash is None

    def test_after_ten_minutes_it_is_over(self, client, shop):
        _, code = sent(client, shop)

        late = ask(client, shop, "verify/otp", code=code, at=at(601)).json
        in_time = ask(client, shop, "verify/otp", code=code, at=at(590)).json

        assert late == {"verified": False, "reason": "expired", "checks_left": 0}
        assert in_time["verified"] is True

    def test_a_newer_code_takes_the_place_of_the_older(self, client, shop):
        first, old = sent(client, shop, at=at(-40))
        _, new = sent(client, shop)
        while new == old:
            _, new = sent(client, shop, at=at(40))

        answer = ask(client, shop, "verify/otp", code=old).json

        assert (answer["verified"], answer["reason"]) == (False, "wrong_code")
        assert ask(client, shop, "verify/otp", code=new).json["verified"] is True
        assert [row.state for row in codes.rows()] == ["replaced", "used"]
        shown = client.get(first.json["message"]["links"]["self"], headers=shop.headers).json
        assert (shown["status"], shown["reason"]) == ("cancelled", "code_replaced")
        assert sealed(first.json["message"]["id"]) is None

    def test_a_code_counts_for_its_purpose_and_number_alone(self, client, shop, others_code):
        _, code = sent(client, shop)

        elsewhere = [
            ask(client, shop, "verify/otp", code=code, purpose="checkout").json,
            ask(client, shop, "verify/otp", code=code, phone="+40722123999").json,
        ]

        assert elsewhere == [{"verified": False, "reason": "no_code", "checks_left": 0}] * 2
        assert ask(client, shop, "verify/otp", code=code).json["verified"] is True

    def test_another_organisations_code_for_the_same_number_is_none(self, client, shop, other_tenant, others_code):
        before = ask(client, shop, "verify/otp", code=others_code).json
        _, code = sent(client, shop)
        if code != others_code:
            assert ask(client, shop, "verify/otp", code=others_code).json["reason"] == "wrong_code"

        assert before == {"verified": False, "reason": "no_code", "checks_left": 0}
        theirs = next(row for row in codes.rows() if row.tenant_id == other_tenant.id)
        assert (theirs.state, theirs.checks) == ("live", 0)
        assert ask(client, other_tenant, "verify/otp", code=others_code).json["verified"] is True

    def test_live_and_test_do_not_know_each_other(self, client, app):
        shop = factories.make_tenant(live=True)
        codes.make_template(shop)
        _, code = sent(client, shop)
        live = {"Authorization": f"Bearer {tenants.create_api_key(shop.tenant, 'L', tenants.SCOPES, live=True)}"}

        answer = client.post("/api/wa/verify/otp", json={"phone": PHONE, "code": code}, headers=live)

        assert answer.json == {"verified": False, "reason": "no_code", "checks_left": 0}
        assert codes.rows()[0].checks == 0
        assert ask(client, shop, "verify/otp", code=code).json["verified"] is True

    def test_no_answer_is_replayed_under_a_key(self, client, shop):
        _, code = sent(client, shop)

        no = ask(client, shop, "verify/otp", code=wrong(code), key="k")
        yes = ask(client, shop, "verify/otp", code=code, key="k")
        again = ask(client, shop, "verify/otp", code=code, key="k")

        assert [answer.json["verified"] for answer in (no, yes, again)] == [False, True, False]
        assert "Idempotency-Replayed" not in yes.headers
        assert "IdempotencyKey" not in codes.everything_stored()


class TestSilence:
    def test_the_code_is_in_no_answer_and_no_row_but_the_sealed_one(self, client, shop, others_code, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        answer, code = sent(client, shop, key="once", metadata={"form": "x"})
        message_id = answer.json["message"]["id"]
        texts = [
            answer.text,
            ask(client, shop, "verify/otp", code=wrong(code), key="once-more").text,
            client.get(f"/api/wa/messages/{shop.id}/{message_id}", headers=shop.headers).text,
            client.get(f"/api/wa/messages/{shop.id}?include=attempts,events,cost", headers=shop.headers).text,
            client.get(f"/api/wa/messages/{shop.id}", headers=shop.headers | {"Accept": "text/csv"}).text,
        ]

        stored, spoken = codes.everything_stored(), caplog.text + "".join(capfd.readouterr())
        assert message_id in stored  # what the dump would show of a column that is not sealed
        assert texts[2].count("••••••") == 1
        assert [text for text in texts if code in text] == []
        assert code not in stored
        assert code not in spoken
        assert ask(client, shop, "verify/otp", code=code).json["verified"] is True
        assert code not in codes.everything_stored()
        assert code not in caplog.text

    def test_nothing_of_it_is_left_once_it_is_used(self, client, shop):
        answer, code = sent(client, shop)

        ask(client, shop, "verify/otp", code=code)

        assert sealed(answer.json["message"]["id"]) is None
        assert codes.rows()[0].code_hash is None

    def test_a_code_that_failed_is_not_sent_again(self, client, shop):
        answer, _ = sent(client, shop)
        message_id = answer.json["message"]["id"]
        with tenant_scope(shop.id), transaction():
            lifecycle.bury(shop.id, message_id, "131026", "not on WhatsApp")

        again = client.post(f"/api/wa/messages/{shop.id}/{message_id}/retry", json={}, headers=shop.headers)

        assert again.status_code == 409
        assert again.json["detail"] == "A code is never sent again. Ask for a new one."


def test_through_each_provider_the_phone_shows_it_and_nothing_of_ours_does(
    client, ready, work, until, simulator, base_settings, caplog
):
    from wa_dashboard.services import template_submission

    caplog.set_level(logging.DEBUG)
    template_submission.approve_now(ready.tenant, "otp_code", "ro")
    phone = "+40700000001"
    answer = ask(client, ready, "send/otp", phone=phone)
    assert answer.status_code == 202, answer.text
    message_id = answer.json["message"]["id"]

    def is_erased():
        work()
        with all_tenants("a test looks"):
            status = db.session.scalar(select(Message.status).where(Message.id == message_id))
        return status == "read" and sealed(message_id) is None

    until(is_erased)
    shown = requests.get(f"{simulator}/_sim/phone", params={"to": phone}, timeout=5).json()["messages"]
    text = next(row["text"] for row in reversed(shown) if "verification code" in row["text"])
    code = "".join(letter for letter in text if letter.isdigit())
    assert ask(client, ready, "verify/otp", phone=phone, code=code).json["verified"] is True
    page = client.get(f"/api/wa/messages/{ready.id}/{message_id}", headers=ready.headers)
    assert "code_used" in {event["kind"] for event in page.json["events"]}
    assert "•••••• este codul" in page.json["preview"]["text"].replace("*", "")
    assert code not in page.text
    assert code not in codes.everything_stored()
    assert code not in caplog.text
    assert code not in (base_settings.data_dir / "simulator.log").read_text(encoding="utf-8")


def test_rows_of_codes_belong_to_their_organisation(client, shop, other_tenant, others_code):
    sent(client, shop)

    with tenant_scope(shop.id):
        assert [row.tenant_id for row in db.session.scalars(select(Code))] == [shop.id]
