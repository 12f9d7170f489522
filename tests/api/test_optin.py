"""`POST /api/wa/optin`, from outside."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests import factories
from wa_dashboard.db import db, tenant_scope
from wa_dashboard.models import ConsentEvent, Contact
from wa_dashboard.services import consent, tenants

ANA = "+40722123456"
YES = {
    "phone": ANA,
    "status": "opted_in",
    "purposes": ["marketing"],
    "source": "settings_page",
    "wording_id": "wa-promo-v2",
    "occurred_at": "2026-11-20T18:00:00+02:00",
    "source_ref": "profile-881",
    "double_opt_in": False,
    "evidence": {"ip": "203.0.113.7", "form_url": "https://shop.example/settings"},
    "actor": {"type": "customer"},
}
NO = {"phone": ANA, "status": "opted_out", "source": "settings_page"}


@pytest.fixture
def post(client, tenant):
    def send(body, key=None, **headers):
        found = {"Authorization": f"Bearer {key or tenant.key}", **headers}
        return client.post("/api/wa/optin", json=body, headers=found)

    return send


def key_with(tenant, *scopes):
    return tenants.create_api_key(tenant.tenant, "narrow", scopes, live=False)


def event_count(tenant):
    with tenant_scope(tenant.id):
        return db.session.scalar(select(func.count()).select_from(ConsentEvent))


def without(*names, **changes):
    return {name: value for name, value in (YES | changes).items() if name not in names}


def test_an_opt_in_as_the_paper_says_it(post, tenant):
    answer = post(YES)
    assert answer.status_code == 200, answer.text
    body = answer.json
    (event,) = body.pop("events")
    assert event.pop("id").startswith("cev_")
    chain = event.pop("chain")
    assert (chain["seq"], len(chain["hash"])) == (1, 64)
    assert event == {"purpose": "marketing", "applied": True, "changed": True, "duplicate": False}
    assert body.pop("contact").startswith("con_")
    assert body == {
        "phone": ANA,
        "state": {"transactional": "unknown", "reminder": "unknown", "marketing": "opted_in", "otp": "implied"},
        "cancelled": {"messages": 0, "schedules": 0},
    }
    with tenant_scope(tenant.id):
        stored = db.session.scalars(select(ConsentEvent)).one()
    assert stored.occurred_at == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert stored.actor["type"] == "customer"
    assert stored.actor["by"].startswith("key:")
    assert stored.evidence == YES["evidence"]


def test_the_number_is_masked_without_the_scope(post, tenant):
    answer = post(YES, key=key_with(tenant, "consent:write"))
    assert answer.json["phone"] == "+40••••••456"
    assert ANA[3:9] not in answer.text


def test_another_key_may_not_write_consent(post, tenant):
    answer = post(YES, key=key_with(tenant, "send:confirm"))
    assert (answer.status_code, answer.json["code"]) == (403, "scope_missing")
    assert event_count(tenant) == 0


def test_an_opt_out_stops_what_was_queued_and_says_how_much(post, client, tenant):
    factories.make_template(tenant)
    sent = client.post("/api/wa/send/confirm", json=factories.order(), headers=tenant.headers)
    assert sent.json["message"]["status"] == "queued", sent.text
    answer = post(NO)
    assert answer.json["state"] == {
        "transactional": "opted_out", "reminder": "opted_out", "marketing": "opted_out", "otp": "implied",
    }  # fmt: skip
    assert answer.json["cancelled"] == {"messages": 1, "schedules": 0}
    shown = client.get(sent.json["message"]["links"]["self"], headers=tenant.headers)
    assert shown.json["status"] == "cancelled", shown.text
    again = client.post("/api/wa/send/confirm", json=factories.order("A-1002", consent=None), headers=tenant.headers)
    assert (again.status_code, again.json["message"]["status"]) == (200, "skipped")
    assert again.json["message"]["skip_reason"] == "opted_out"


def test_a_repetition_answers_the_same_and_adds_nothing(post, tenant):
    first, again = post(YES).json, post(YES).json
    assert again["events"][0].pop("duplicate") is True
    assert first["events"][0].pop("duplicate") is False
    assert again == first
    assert event_count(tenant) == 1


def test_an_idempotency_key_gives_the_same_bytes(post, tenant):
    first = post(NO, **{"Idempotency-Key": "k-1"})
    again = post(NO, **{"Idempotency-Key": "k-1"})
    assert (again.data, again.headers["Idempotency-Replayed"]) == (first.data, "true")
    assert event_count(tenant) == 3


def test_late_news_are_history(post):
    post(NO)
    answer = post(YES | {"occurred_at": "2020-01-01T00:00:00Z"})
    assert answer.json["events"][0]["applied"] is False
    assert answer.json["state"]["marketing"] == "opted_out"


def test_the_same_instant_is_a_no(post):
    post(NO | {"occurred_at": YES["occurred_at"]})
    assert post(YES).json["state"]["marketing"] == "opted_out"


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (without("purposes"), "/purposes", "purposes_missing"),
        (without(purposes=[]), "/purposes", "too_few"),
        (without(purposes=["marketing", "otp"]), "/purposes/1", "not_one_of"),
        (without("phone"), "/phone", "missing_field"),
        (without(phone="0722123456"), "/phone", "phone_missing_plus"),
        (without(phone="+4072"), "/phone", "phone_too_short"),
        (without(status="yes"), "/status", "not_one_of"),
        (without("source"), "/source", "missing_field"),
        (without(source="gossip"), "/source", "not_one_of"),
        (without(occurred_at="2026-11-20T18:00:00"), "/occurred_at", "time_needs_offset"),
        (without(occurred_at="9999-12-31T23:59:59-14:00"), "/occurred_at", None),
        (without(occurred_at="0001-01-01T00:00:00+14:00"), "/occurred_at", None),
        (without(occurred_at="1999-12-31T23:59:59Z"), "/occurred_at", "occurred_at_too_old"),
        (without("wording_id", "evidence"), "/wording_id", "proof_missing"),
        (without(double_opt_in=True), "/double_opt_in", "not_available"),
        (without(evidence={"x": "y" * 5000}), "/evidence", "too_long"),
        (without(purpose="marketing"), "/purpose", "unknown_field"),
        (without(actor={"type": "Robot!"}), "/actor/type", "wrong_format"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_nothing(post, tenant, body, pointer, code):
    answer = post(body)
    assert answer.status_code == 422, answer.text
    (finding,) = answer.json["errors"]
    assert finding["pointer"] == pointer
    if code:
        assert finding["code"] == code
    assert event_count(tenant) == 0


def test_a_typo_and_a_missing_plus_come_with_a_guess(post):
    typo = post(without("purposes", purpose=["marketing"])).json["errors"]
    assert "purposes" in [finding.get("did_you_mean") for finding in typo]
    assert post(without(phone="0722123456")).json["errors"][0]["guess"] == ANA


def test_five_minutes_ahead_is_too_far(post):
    ahead = datetime.now(UTC) + timedelta(minutes=6)
    answer = post(YES | {"occurred_at": ahead.isoformat()})
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (422, "occurred_at_in_future")
    assert post(YES | {"occurred_at": (ahead - timedelta(minutes=2)).isoformat()}).status_code == 200


def test_a_batch_takes_the_good_and_names_the_bad(post, tenant):
    items = [YES, without("purposes", phone="+40733987654"), NO, "nonsense", YES | {"phone": "0722"}]
    answer = post({"items": items})
    assert answer.status_code == 200, answer.text
    results = answer.json["results"]
    assert [result["ok"] for result in results] == [True, False, True, False, False]
    assert results[2]["state"]["marketing"] == "opted_out"
    pointers = [result["error"]["errors"][0]["pointer"] for result in results if not result["ok"]]
    assert pointers == ["/items/1/purposes", "/items/3", "/items/4/phone"]
    assert results[1]["error"]["code"] == "validation_failed"
    assert event_count(tenant) == 4
    with tenant_scope(tenant.id):
        assert consent.verify(tenant.id) is None
        assert db.session.scalar(select(func.count()).select_from(Contact)) == 1


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"items": []}, "/items", "too_few"),
        ({"items": [NO] * 1001}, "/items", "too_many"),
        ({"items": {}}, "/items", "wrong_type"),
        ({"items": [NO], "phone": ANA}, "/phone", "unknown_field"),
    ],
)
def test_a_batch_that_is_none(post, tenant, body, pointer, code):
    answer = post(body)
    assert answer.status_code == 422
    assert [(finding["pointer"], finding["code"]) for finding in answer.json["errors"]] == [(pointer, code)]
    assert event_count(tenant) == 0


def test_a_thousand_at_once(post, tenant):
    items = [NO | {"phone": f"+40722{number:06}"} for number in range(1000)]
    results = post({"items": items}).json["results"]
    assert all(result["ok"] for result in results)
    assert event_count(tenant) == 3000
    with tenant_scope(tenant.id):
        assert consent.verify(tenant.id) is None


def test_one_tenants_opt_out_is_not_anothers(post, client, tenant, other_tenant):
    theirs = client.post("/api/wa/optin", json=YES, headers=other_tenant.headers)
    assert theirs.json["state"]["marketing"] == "opted_in"
    mine = post(NO)
    assert mine.json["contact"] != theirs.json["contact"]
    again = client.post("/api/wa/optin", json=YES, headers=other_tenant.headers)
    assert again.json["state"]["marketing"] == "opted_in"
    assert event_count(other_tenant) == 1
