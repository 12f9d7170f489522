"""`POST /api/wa/send/confirm`, from outside."""

import pytest
from flask.testing import FlaskClient

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard.services import tenants


def post(client: FlaskClient, tenant: ReadyTenant, body: object, **headers: str):
    return client.post("/api/wa/send/confirm", json=body, headers=tenant.headers | headers)


def test_an_order_is_accepted_and_queued(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    answer = post(client, tenant, factories.order())

    assert answer.status_code == 202, answer.text
    message = answer.json["message"]
    assert answer.json["duplicate"] is False
    assert message["status"] == "queued"
    assert message["lane"] == "high"
    assert message["order_id"] == "A-1001"
    assert message["template"]["name"] == "order_confirm"
    assert message["template"]["version"] == 1
    assert message["price_estimate"]["market"] == "RO"
    assert message["links"]["self"] == f"/api/wa/messages/{tenant.id}/{message['id']}"
    assert answer.json["consent"]["changed"] is True


def test_the_same_order_again_is_the_same_message(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    first = post(client, tenant, factories.order())

    again = post(client, tenant, factories.order(variables={"event_date": "azi"}))

    assert again.status_code == 200
    assert again.json["duplicate"] is True
    assert again.json["message"]["id"] == first.json["message"]["id"]
    assert again.json["content_differs"] == ["/variables/event_date"]
    assert "consent" not in again.json
    assert messages_of(client, tenant) == [first.json["message"]["id"]]


def test_an_order_is_sent_again_only_on_purpose_and_five_times(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    post(client, tenant, factories.order())

    answers = [post(client, tenant, factories.order(resend={"reason": "lost phone"})) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [202] * 5 + [422]
    assert [answer.json["message"]["resend_no"] for answer in answers[:5]] == [1, 2, 3, 4, 5]
    assert answers[5].json["errors"][0]["code"] == "resend_limit"
    assert len(messages_of(client, tenant)) == 6


def test_a_person_without_consent_is_an_outcome_not_an_error(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    answer = post(client, tenant, factories.order(consent=None))

    assert answer.status_code == 200
    assert answer.json["message"]["status"] == "skipped"
    assert answer.json["message"]["skip_reason"] == "not_opted_in"
    assert answer.json["message"]["skip_detail"] == "has not agreed to messages about orders"


def test_strict_turns_a_skip_into_a_refusal_and_stores_nothing(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    answer = post(client, tenant, factories.order(consent=None, strict=True))

    assert answer.status_code == 422
    assert answer.json["code"] == "not_opted_in"
    assert messages_of(client, tenant) == []


def test_a_dry_run_shows_the_message_and_stores_nothing(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    answer = post(client, tenant, factories.order(dry_run=True), **{"Idempotency-Key": "k1"})
    afterwards = post(client, tenant, factories.order(), **{"Idempotency-Key": "k1"})

    assert answer.status_code == 200, answer.text
    assert answer.json["would_send"] is True
    assert answer.json["lint"]["ok"] is True
    assert answer.json["preview"]["text"] == "Bună, Ana! Comanda A-1001 pentru Hamlet este confirmată. Mulțumim."
    assert answer.json["message"]["id"] is None
    assert afterwards.status_code == 202


def test_wrong_fields_are_named_with_what_to_do(client: FlaskClient, tenant: ReadyTenant) -> None:
    body = factories.order(phone="0722123456", expires_at="2026-11-23T18:00", consnt={}, variables={"seat": 12})

    answer = post(client, tenant, body)

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "validation_failed"
    assert answer.json["detail"] == "4 fields need attention."
    assert {error["pointer"]: error["code"] for error in answer.json["errors"]} == {
        "/recipient/phone": "phone_missing_plus",
        "/expires_at": "time_needs_offset",
        "/consnt": "unknown_field",
        "/variables/seat": "wrong_type",
    }
    by_pointer = {error["pointer"]: error for error in answer.json["errors"]}
    assert by_pointer["/consnt"]["did_you_mean"] == "consent"
    assert by_pointer["/recipient/phone"]["guess"] == "+40722123456"


def test_a_missing_variable_is_named(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant, body="Bună, {first_name}! Locul tău este {seat}, ne vedem acolo.")

    answer = post(client, tenant, factories.order())

    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [
        ("/variables/seat", "variable_missing")
    ]


def test_without_an_approved_template_nothing_is_stored(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant, status="pending")

    answer = post(client, tenant, factories.order())

    assert answer.status_code == 422
    assert answer.json["code"] == "template_not_sendable"
    assert messages_of(client, tenant) == []


def test_reminders_come_with_the_order(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    clock = {"X-WA-Test-Clock": "2027-03-01T12:00:00Z"}
    answer = post(client, tenant, factories.order(reminders=["D-7", "D-3", "D-1"]), **clock)

    assert answer.status_code == 202, answer.text
    assert answer.json["reminders"] == {"created": 3, "skipped": []}


def test_numbers_are_hidden_without_the_scope_for_them(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    key = tenants.create_api_key(tenant.tenant, "Checkout", ["send:confirm"], live=False)

    hidden = post(client, tenant, factories.order(), Authorization=f"Bearer {key}")
    shown = post(client, tenant, factories.order())

    assert hidden.json["message"]["to"] == "+40••••••456"
    assert shown.json["message"]["to"] == "+40722123456"


def messages_of(client: FlaskClient, tenant: ReadyTenant) -> list[str]:
    answer = client.get(f"/api/wa/messages/{tenant.id}", headers=tenant.headers)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in reversed(answer.json["data"])]


@pytest.mark.parametrize(
    ("locale", "why", "date"),
    [
        ("ro-RO", ["ro is the recipient's language.", "No approved template in: ro_RO."], "4 aprilie 2027, 20:00"),
        ("en-GB", ["en is the recipient's language.", "No approved template in: en_GB."], "4 April 2027, 20:00"),
        ("de-DE", ["ro is your organisation's language.", "No approved template in: de_DE, de."], "4 aprilie 2027"),
        (None, ["ro is your organisation's language."], "4 aprilie 2027, 20:00"),
    ],
)
def test_the_answer_says_whose_language_was_chosen_and_the_date_is_in_it(
    client: FlaskClient, tenant: ReadyTenant, locale: str | None, why: list[str], date: str
) -> None:
    for language in ("ro", "en"):
        factories.make_template(tenant, language=language, body="{event_name}: {event_date}. {first_name}.")
    body = factories.order(dry_run=True)
    body["recipient"].pop("locale", None)
    body["recipient"] |= {"locale": locale} if locale else {}

    answer = post(client, tenant, body)

    assert answer.json["message"]["template"]["why"] == why
    assert date in answer.json["preview"]["text"]


def test_a_language_asked_for_is_said_to_be(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    answer = post(client, tenant, factories.order(template={"language": "ro"}))

    assert answer.json["message"]["template"]["why"] == ["ro is the language you asked for."]


def test_a_dry_run_tells_what_is_wrong_with_the_template(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant, body="{first_name}, comanda {order_id} este confirmată. Mulțumim.")

    lint = post(client, tenant, factories.order(dry_run=True)).json["lint"]

    assert lint["ok"] is False
    assert "T005" in [finding["rule"] for finding in lint["findings"]]
