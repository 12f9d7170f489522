"""`GET /api/wa/messages/{tenantId}`: filters, pages, the story, CSV."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.models import Attempt, Contact, Message, MessageEvent
from wa_dashboard.services import tenants

NOT_DELIVERED = (
    "Not delivered. The number is not on WhatsApp, or its phone could not be reached. "
    "Check the number with the buyer, and send the tickets by e-mail meanwhile."
)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def three(client: FlaskClient, tenant: ReadyTenant) -> list[str]:
    """Three orders of three people, a minute apart; ids oldest first."""
    factories.make_template(tenant)
    ids = []
    for number in range(3):
        body = factories.order(f"A-{number}", f"+4072212345{number}", metadata={"n": str(number)})
        at = {"X-WA-Test-Clock": (NOW + timedelta(minutes=number)).isoformat()}
        body["consent"]["occurred_at"] = "2026-11-01T12:00:00Z"
        answer = client.post("/api/wa/send/confirm", json=body, headers=tenant.headers | at)
        assert answer.status_code == 202, answer.text
        ids.append(answer.json["message"]["id"])
    return ids


def change(tenant: ReadyTenant, message_id: str, **values: object) -> None:
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Message).where(Message.id == message_id).values(**values))


def get(client: FlaskClient, tenant: ReadyTenant, query: str = "", **headers: str):
    return client.get(f"/api/wa/messages/{tenant.id}{query}", headers=tenant.headers | headers)


def ids_of(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json["data"]]


def test_newest_first_with_every_member(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    answer = get(client, tenant)

    assert ids_of(answer) == three[::-1]
    assert answer.json["page"] == {"next": None, "prev": None, "limit": 50}
    item = answer.json["data"][0]
    assert item | {"status_at": "", "updated_at": "", "account": ""} == {
        "id": three[2],
        "type": "order_confirm",
        "status": "queued",
        "status_at": "",
        "to": "+40722123452",
        "market": "RO",
        "template": {"name": "order_confirm", "language": "ro", "version": 1},
        "order_id": "A-2",
        "event_ref": "EVT-9",
        "campaign_id": None,
        "provider": "meta_cloud",
        "account": "",
        "external_id": None,
        "attempts": 0,
        "possible_duplicate": False,
        "cost": {
            "estimate": item["cost"]["estimate"],
            "charged": None,
            "currency": "EUR",
            "category": "utility",
            "billable": None,
            "reported": None,
            "reported_currency": None,
        },
        "timeline": {
            "created": "2026-11-20T12:02:00Z",
            "accepted": None,
            "sent": None,
            "delivered": None,
            "read": None,
            "failed": None,
        },
        "error": None,
        "metadata": {"n": "2"},
        "live": False,
        "lane": "high",
        "resend_no": 0,
        "expires_at": "2026-11-21T12:02:00Z",
        "updated_at": "",
        "hold_reason": None,
        "next_at": None,
        "links": {"self": item["links"]["self"]},
    }


def test_pages_go_both_ways(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    newest, middle, oldest = three[::-1]

    first = get(client, tenant, "?limit=1")
    second = get(client, tenant, f"?limit=1&cursor={first.json['page']['next']}")
    third = get(client, tenant, f"?limit=1&cursor={second.json['page']['next']}")
    back = get(client, tenant, f"?limit=1&cursor={third.json['page']['prev']}")
    front = get(client, tenant, f"?limit=1&cursor={back.json['page']['prev']}")

    assert [ids_of(page) for page in (first, second, third, back, front)] == [
        [newest], [middle], [oldest], [middle], [newest]
    ]  # fmt: skip
    assert third.json["page"]["next"] is None
    assert first.json["page"]["prev"] is None
    assert front.json["page"]["prev"] is None
    assert 'rel="next"' in first.headers["Link"]


def test_rows_of_one_instant_are_neither_lost_nor_doubled(
    client: FlaskClient, tenant: ReadyTenant, three: list[str]
) -> None:
    for message_id in three:
        change(tenant, message_id, created_at=NOW)

    seen, query = [], "?limit=1"
    while query:
        page = get(client, tenant, query)
        seen += ids_of(page)
        cursor = page.json["page"]["next"]
        query = f"?limit=1&cursor={cursor}" if cursor else ""

    assert seen == sorted(three, reverse=True)


def test_a_cursor_belongs_to_its_filters_and_its_tenant(
    client: FlaskClient, tenant: ReadyTenant, other_tenant: ReadyTenant, three: list[str]
) -> None:
    cursor = get(client, tenant, "?limit=1&type=order_confirm").json["page"]["next"]
    tampered = ("A" if cursor[5] != "A" else "B").join((cursor[:5], cursor[6:]))

    other_filter = get(client, tenant, f"?limit=1&type=promo&cursor={cursor}")
    other_limit = get(client, tenant, f"?limit=2&type=order_confirm&cursor={cursor}")
    elsewhere = get(client, other_tenant, f"?limit=1&type=order_confirm&cursor={cursor}")
    broken = [get(client, tenant, f"?type=order_confirm&cursor={text}") for text in (tampered, "x", "é", "a" * 5000)]

    assert (other_filter.status_code, other_filter.json["code"]) == (400, "cursor_mismatch")
    assert (elsewhere.status_code, elsewhere.json["code"]) == (400, "cursor_mismatch")
    assert [(answer.status_code, answer.json["code"]) for answer in broken] == [(400, "cursor_mismatch")] * 4
    assert ids_of(other_limit) == three[1::-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?status=queued", [2, 1]),
        ("?status=failed,queued", [2, 1, 0]),
        ("?status=read", []),
        ("?type=order_confirm&template=order_confirm&language=ro&provider=meta_cloud&market=RO", [2, 1, 0]),
        ("?template=reminder", []),
        ("?market=MD", []),
        ("?order_id=A-0,A-2", [2, 0]),
        ("?event_ref=EVT-9", [2, 1, 0]),
        ("?event_ref=EVT-8", []),
        ("?phone=%2B40722123451", [1]),
        ("?phone=+40722123451", [1]),
        ("?phone=%2B40722123459", []),
        ("?error_code=131026", [0]),
        ("?has=error", [0]),
        ("?has=cost,duplicate_suspected", [2]),
        ("?campaign_id=cmp_1", []),
        ("?created_from=2026-11-20T12:01:00Z", [2, 1]),
        ("?created_to=2026-11-20T12:01:00Z", [0]),
        ("?created_from=2026-11-20T14:01:00%2B02:00&created_to=2026-11-20T12:02:00Z", [1]),
        ("?skip_reason=opted_out", []),
        ("?status=", [2, 1, 0]),
    ],
)
def test_filters(client: FlaskClient, tenant: ReadyTenant, three: list[str], query: str, found: list[int]) -> None:
    change(tenant, three[0], status="failed", error_code="131026", error_class="recipient")
    change(tenant, three[2], possible_duplicate=True)

    assert ids_of(get(client, tenant, query)) == [three[number] for number in found]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("?stauts=queued", "?stauts", "unknown_filter"),
        ("?status=quued", "?status", "not_one_of"),
        ("?limit=0", "?limit", "wrong_value"),
        ("?limit=1000000000", "?limit", "wrong_value"),
        ("?limit=%D9%A1", "?limit", "wrong_value"),
        ("?phone=0722123456", "?phone", "phone_missing_plus"),
        ("?created_from=yesterday", "?created_from", "not_a_time"),
        ("?created_from=2026-13-40T12:00:00Z", "?created_from", "not_a_time"),
        ("?created_from=0001-01-01T00:00:00%2B14:00", "?created_from", "not_a_time"),
        ("?include=everything", "?include", "not_one_of"),
    ],
)
def test_a_wrong_filter_is_named(client: FlaskClient, tenant: ReadyTenant, query: str, pointer: str, code: str) -> None:
    answer = get(client, tenant, query)

    assert (answer.status_code, answer.json["code"]) == (400, "bad_filter")
    assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [(pointer, code)]


def test_changes_come_oldest_first(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    for message_id, minutes in zip(three, (5, 3, 1), strict=True):
        change(tenant, message_id, updated_at=NOW + timedelta(hours=1, minutes=minutes))

    first = get(client, tenant, "?updated_since=2026-11-20T13:02:00Z&limit=1")
    second = get(client, tenant, f"?updated_since=2026-11-20T13:02:00Z&limit=1&cursor={first.json['page']['next']}")

    assert (ids_of(first), ids_of(second)) == ([three[1]], [three[0]])
    assert second.json["page"]["next"] is None


def test_count_and_other_company_on_request(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    plain = get(client, tenant)
    full = get(client, tenant, "?include=count,events,attempts,cost&status=queued")

    assert "count" not in plain.json
    assert "events" not in plain.json["data"][0]
    assert full.json["count"] == 3
    assert full.json["data"][0]["events"][0]["kind"] == "asked"
    assert full.json["data"][0]["attempts_made"] == []


def test_numbers_need_a_scope(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    key = tenants.create_api_key(tenant.tenant, "Reader", ["messages:read"], live=False)

    answer = get(client, tenant, "?limit=1", Authorization=f"Bearer {key}")
    table = get(client, tenant, Authorization=f"Bearer {key}", Accept="text/csv")

    assert answer.json["data"][0]["to"] == "+40••••••452"
    assert "+40722" not in answer.text
    assert "722123" not in table.text


def test_csv_holds_everything_and_no_formula(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    change(tenant, three[0], order_id='=HYPERLINK("http://evil")', event_ref="@SUM(A1)", external_id="-1\r\n=2")
    change(tenant, three[1], order_id="\t=1", event_ref="+1")

    answer = get(client, tenant, "?limit=1", Accept="text/csv")

    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(answer.text[1:], newline="")))
    assert [row["id"] for row in rows] == three[::-1]
    assert rows[0]["to"] == "'+40722123452"
    assert rows[2]["order_id"] == '\'=HYPERLINK("http://evil")'
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())


def test_the_story_in_words(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    tell_a_failure(tenant, three[0])

    answer = client.get(f"/api/wa/messages/{tenant.id}/{three[0]}", headers=tenant.headers)
    romanian = client.get(
        f"/api/wa/messages/{tenant.id}/{three[0]}", headers=tenant.headers | {"Accept-Language": "ro-RO"}
    )

    assert answer.status_code == 200
    assert answer.json["preview"]["text"] == "Bună, Ana! Comanda A-0 pentru Hamlet este confirmată. Mulțumim."
    assert [(event["kind"], event["text"]) for event in answer.json["events"]] == [
        ("asked", "Asked for by your ticketing system"),
        ("attempt", "Try 1, through Meta"),
        ("accepted", "Meta took it"),
        ("sent", "Sent by WhatsApp"),
        (
            "failed",
            NOT_DELIVERED,
        ),
    ]
    assert answer.json["error"]["code"] == "131026"
    assert answer.json["error"]["advice"].startswith("Check the number")
    assert answer.json["attempts_made"][0]["number"] == 1
    assert [event["kind"] for event in romanian.json["events"]] == [event["kind"] for event in answer.json["events"]]


def tell_a_failure(tenant: ReadyTenant, message_id: str) -> None:
    """The provider took it at .5 s, and its receipts, in whole seconds, seem to come before that."""
    at = NOW + timedelta(seconds=10)
    change(tenant, message_id, status="failed", error_code="131026", error_class="recipient", attempts=1)
    with tenant_scope(tenant.id), transaction():
        db.session.add(
            Attempt(
                tenant_id=tenant.id,
                message_id=message_id,
                attempt_no=1,
                account_id=tenant.account.id,
                provider="meta_cloud",
                rank=40,
                started_at=at,
            )
        )
        told = [
            ("accepted", at + timedelta(milliseconds=500), {"provider": "meta_cloud"}),
            ("failed", at + timedelta(seconds=1), {"error_class": "recipient", "error_code": "131026"}),
            ("sent", at, {}),
        ]
        for number, (kind, moment, detail) in enumerate(told):
            event = MessageEvent(
                id=f"evt_{message_id}_{number}",
                tenant_id=tenant.id,
                message_id=message_id,
                kind=kind,
                at=moment,
                recorded_at=at + timedelta(seconds=number),
                attempt_no=1,
                detail=detail,
            )
            db.session.add(event)


def test_a_waiting_message_can_be_cancelled_once(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    url = f"/api/wa/messages/{tenant.id}/{three[0]}/cancel"
    key = {"Idempotency-Key": "stop-1"}

    first = client.post(url, json={}, headers=tenant.headers | key)
    replay = client.post(url, json={}, headers=tenant.headers | key)
    again = client.post(url, json={}, headers=tenant.headers)

    assert (first.status_code, first.json["status"], first.json["reason"]) == (200, "cancelled", "cancelled_by_api")
    assert replay.data == first.data
    assert again.status_code == 200


def test_what_is_over_cannot_be_cancelled(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    change(tenant, three[0], status="delivered", rank=50)

    answer = client.post(f"/api/wa/messages/{tenant.id}/{three[0]}/cancel", json={}, headers=tenant.headers)

    assert (answer.status_code, answer.json["code"], answer.json["current_state"]) == (
        409,
        "state_conflict",
        "delivered",
    )


def test_a_test_key_does_not_see_live_messages(client: FlaskClient, tenant: ReadyTenant, three: list[str]) -> None:
    change(tenant, three[0], live=True)

    assert ids_of(get(client, tenant)) == three[:0:-1]
    assert client.get(f"/api/wa/messages/{tenant.id}/{three[0]}", headers=tenant.headers).status_code == 404


def test_a_person_searches_by_what_they_have(tenant: ReadyTenant, three: list[str], client: FlaskClient) -> None:
    from wa_dashboard.services import messages
    from wa_dashboard.services.messages import Filters

    change(tenant, three[1], external_id="wamid.X1")
    with tenant_scope(tenant.id), transaction():
        contact = db.session.query(Contact).filter(Contact.phone_masked.endswith("452")).one()
        contact.first_name = "Ștefania 100%"

    def found(q: str) -> list[str]:
        with tenant_scope(tenant.id):
            return [row.message.id for row in messages.search(tenant.tenant, Filters(q=q)).rows]

    assert found("0722 123 450") == [three[0]]
    assert found("+40722123450") == [three[0]]
    assert found("450") == [three[0]]
    assert found("wamid.X1") == [three[1]]
    assert found(three[2]) == [three[2]]
    assert found("a-1") == [three[1]]
    assert found("tefania") == [three[2]]
    assert found("100%") == [three[2]]
    assert found("%") == [three[2]]
    assert found("  ") == three[::-1]
    assert found("nobody") == []
    with tenant_scope(tenant.id):
        sums = messages.totals(tenant.tenant, Filters())
    assert (sums.count, sums.failed, sums.cost_micros) == (3, 0, 0)
