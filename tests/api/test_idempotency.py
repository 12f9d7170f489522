"""The same request under one ``Idempotency-Key``: once, and the same bytes back (test-catalogue R21, R22)."""

import threading
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.models import ConsentEvent, IdempotencyKey, Message
from wa_dashboard.services import idempotency, tenants

URL = "/api/wa/send/confirm"


def post(client: FlaskClient, tenant: ReadyTenant, body: object, key: str, **headers: str):
    return client.post(URL, json=body, headers=tenant.headers | {"Idempotency-Key": key} | headers)


def how_many(model: type) -> int:
    with all_tenants("the test counts"):
        return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_a_repetition_gets_the_same_bytes(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    first = post(client, tenant, factories.order(), "key-1")
    again = post(client, tenant, factories.order(), "key-1")

    assert first.status_code == again.status_code == 202
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.data == first.data
    assert again.content_type == first.content_type
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert how_many(Message) == 1


def test_spelling_does_not_make_another_request(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    body = factories.order(metadata={"seat": "é"})
    post(client, tenant, body, "key-1")

    respelled = dict(reversed(body.items())) | {"metadata": {"seat": "e\u0301"}}
    respelled["recipient"] = body["recipient"] | {"phone": "+40 722 123 456"}
    again = post(client, tenant, respelled, "key-1")

    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"


def test_another_body_under_the_key_is_refused_with_what_differs(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    post(client, tenant, factories.order(metadata={"a": "1"}), "key-1")

    other = post(client, tenant, factories.order("A-1002", metadata={"b/c": "1"}), "key-1")

    assert other.status_code == 422
    assert other.json["code"] == "idempotency_key_reused"
    assert other.json["differs"] == ["/metadata/a", "/metadata/b~1c", "/order_id"]
    assert how_many(Message) == 1


def test_two_messages_cancelled_under_one_key_are_two_requests(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    orders = [post(client, tenant, factories.order(f"A-{number}"), f"key-{number}") for number in range(2)]
    paths = [f"{order.json['message']['links']['self']}/cancel" for order in orders]
    headers = tenant.headers | {"Idempotency-Key": "stop"}

    first, other, again = (client.post(path, json={}, headers=headers) for path in (*paths, paths[0]))

    assert (first.status_code, first.json["status"]) == (200, "cancelled")
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    assert again.data == first.data


def test_the_same_key_for_another_call_is_refused(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    sent = post(client, tenant, factories.order(), "key-1")

    url = f"/api/wa/messages/{tenant.id}/{sent.json['message']['id']}/cancel"
    other = client.post(url, json={}, headers=tenant.headers | {"Idempotency-Key": "key-1"})

    assert other.status_code == 422
    assert other.json["code"] == "idempotency_key_reused"


def test_another_tenant_has_keys_of_its_own(
    client: FlaskClient, tenant: ReadyTenant, other_tenant: ReadyTenant
) -> None:
    for one in (tenant, other_tenant):
        factories.make_template(one)

    ids = {post(client, one, factories.order(), "key-1").json["message"]["id"] for one in (tenant, other_tenant)}

    assert len(ids) == 2


def test_a_refusal_is_remembered_and_leaves_no_effect(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant, body="Bună, {first_name}! Locul tău este {seat}, ne vedem acolo.")

    first = post(client, tenant, factories.order(), "key-1")
    again = post(client, tenant, factories.order(), "key-1")

    assert first.status_code == again.status_code == 422
    assert again.data == first.data
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content_type == "application/problem+json"
    assert how_many(Message) == how_many(ConsentEvent) == 0


@pytest.mark.parametrize("key", ["", "é", "a" * 256, "a\tb"])
def test_a_key_must_be_printable_ascii(client: FlaskClient, tenant: ReadyTenant, key: str) -> None:
    answer = post(client, tenant, factories.order(), key)

    assert answer.status_code == 400
    assert answer.json["code"] == "idempotency_key_invalid"


def test_an_unforeseen_error_leaves_nothing_behind(
    client: FlaskClient, tenant: ReadyTenant, app: Flask, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a crash in flight leaves: no key, no effect, and the next try does it."""
    from wa_dashboard import failpoints

    factories.make_template(tenant)

    def explode(key: str) -> idempotency.StoredAnswer:
        raise failpoints.Failed(key)

    once = idempotency.Once("key-1", f"POST {URL}", factories.order())
    with tenant_scope(tenant.id), pytest.raises(failpoints.Failed):
        idempotency.remember(tenant.tenant, once, lambda: explode("in flight"), lambda refusal: explode(refusal.code))
    after = post(client, tenant, factories.order(), "key-1")

    assert after.status_code == 202
    assert "Idempotency-Replayed" not in after.headers


def test_a_twin_in_flight_is_told_to_come_back(app: Flask, tenant: ReadyTenant) -> None:
    """The first holds its key while it works; PostgreSQL lets the second wait two seconds, SQLite until it is done."""
    once = idempotency.Once("key-1", f"POST {URL}", {"a": 1})
    working, done = threading.Event(), threading.Event()
    answer = idempotency.StoredAnswer(200, {}, b"{}")

    def first() -> None:
        def work() -> idempotency.StoredAnswer:
            working.set()
            done.wait(3.5)
            return answer

        with app.app_context(), tenant_scope(tenant.id):
            idempotency.remember(tenant.tenant, once, work, lambda refusal: answer)

    thread = threading.Thread(target=first)
    thread.start()
    working.wait(10)
    try:
        with tenant_scope(tenant.id):
            second = idempotency.remember(tenant.tenant, once, lambda: pytest.fail("ran twice"), lambda refusal: answer)
        outcome = "replayed" if second.replayed else "ran"
    except idempotency.Conflict as conflict:
        outcome, wait = conflict.code, conflict.retry_after
        assert wait == 1
    done.set()
    thread.join()

    assert outcome == ("idempotency_in_progress" if db.engine.dialect.name == "postgresql" else "replayed")


@pytest.mark.parametrize("with_key", [True, False])
def test_sixty_four_at_once_make_one_message(app: Flask, tenant: ReadyTenant, with_key: bool) -> None:
    factories.make_template(tenant)
    db.session.remove()
    answers: list[tuple[int, bytes]] = []
    start = threading.Barrier(16)
    headers = tenant.headers | ({"Idempotency-Key": "key-1"} if with_key else {})

    def fire() -> None:
        client = app.test_client()
        start.wait()
        for _ in range(4):
            answer = client.post(URL, json=factories.order(), headers=headers)
            answers.append((answer.status_code, answer.data))

    threads = [threading.Thread(target=fire) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 64
    statuses = {status for status, _ in answers}
    assert statuses <= {200, 202, 409}
    if with_key:
        assert len({body for status, body in answers if status == 202}) == 1
        assert 200 not in statuses
    assert how_many(Message) == 1


def test_answers_are_sealed_and_forgotten_after_three_days(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    post(client, tenant, factories.order(), "key-1")

    with all_tenants("the test looks"):
        row = db.session.scalars(select(IdempotencyKey)).one()
        assert b"A-1001" not in (row.answer_sealed or b"")
        assert "+40722123456" not in str(row.body_digests)
        assert timedelta(hours=71) < row.expires_at - clock.now() <= timedelta(hours=72)
    assert idempotency.purge() == 0
    with clock.at(clock.in_seconds(73 * 3600)):
        assert idempotency.purge() == 1
    assert how_many(IdempotencyKey) == 0


def test_refusals_about_the_caller_are_not_remembered(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    poor = tenants.create_api_key(tenant.tenant, "Reader", ["messages:read"], live=False)

    refused = post(client, tenant, factories.order(), "key-1", Authorization=f"Bearer {poor}")
    allowed = post(client, tenant, factories.order(), "key-1")

    assert refused.status_code == 403
    assert allowed.status_code == 202
    with transaction(), tenant_scope(tenant.id):
        assert how_many_in_scope() == 1


def how_many_in_scope() -> int:
    return db.session.scalar(select(func.count()).select_from(IdempotencyKey)) or 0
