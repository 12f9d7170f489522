"""Keys, scopes, tenants, clocks and ids of requests (test-catalogue S18)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard import clock
from wa_dashboard.api import OPEN_ENDPOINTS
from wa_dashboard.db import all_tenants, db, transaction
from wa_dashboard.models import ApiKey, Message
from wa_dashboard.services import tenants


def get(client: FlaskClient, tenant: ReadyTenant, key: str | None = None, **headers: str):
    bearer = {"Authorization": f"Bearer {key or tenant.key}"}
    return client.get(f"/api/wa/messages/{tenant.id}", headers=bearer | headers)


def change_key(key: str, **values: object) -> None:
    with all_tenants("the test changes a key"), transaction():
        db.session.execute(update(ApiKey).where(ApiKey.public_id == key.split("_")[2]).values(**values))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer wak_test_00000000_nonsense",
        "Bearer " + "a" * 9000,
        "Bearer é",
    ],
)
def test_without_a_good_key_nothing_is_told(client: FlaskClient, tenant: ReadyTenant, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = client.get(f"/api/wa/messages/{tenant.id}", headers=headers)

    assert answer.status_code == 401
    assert answer.json["code"] == "unauthenticated"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_revoked_expired_and_altered_keys_are_refused(client: FlaskClient, tenant: ReadyTenant) -> None:
    revoked, expired = (tenants.create_api_key(tenant.tenant, "x", ["messages:read"], live=False) for _ in range(2))
    change_key(revoked, revoked_at=clock.now())
    change_key(expired, expires_at=clock.now() - timedelta(seconds=1))
    altered = tenant.key[:-1] + ("a" if tenant.key[-1] != "a" else "b")

    assert get(client, tenant).status_code == 200
    assert [get(client, tenant, key).status_code for key in (revoked, expired, altered)] == [401, 401, 401]


def test_a_key_may_only_do_what_it_was_made_for(client: FlaskClient, tenant: ReadyTenant) -> None:
    key = tenants.create_api_key(tenant.tenant, "x", ["send:confirm"], live=False)

    answer = get(client, tenant, key)

    assert (answer.status_code, answer.json["code"], answer.json["scope"]) == (403, "scope_missing", "messages:read")


def test_another_tenants_path_looks_like_none(
    client: FlaskClient, tenant: ReadyTenant, other_tenant: ReadyTenant
) -> None:
    theirs = client.get(f"/api/wa/messages/{other_tenant.id}", headers=tenant.headers)
    nobodys = client.get("/api/wa/messages/ten_00000000000000000000000000", headers=tenant.headers)

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json["code"] == nobodys.json["code"] == "tenant_not_found"
    same = ("type", "title", "detail", "code")
    assert [theirs.json[name] for name in same] == [nobodys.json[name] for name in same]


def test_a_key_in_the_address_is_refused(client: FlaskClient, tenant: ReadyTenant) -> None:
    answer = client.get(f"/api/wa/messages/{tenant.id}?api_key={tenant.key}")

    assert (answer.status_code, answer.json["code"]) == (400, "key_in_query")
    assert tenant.key not in answer.text


def test_the_database_holds_no_usable_key(app: Flask, tenant: ReadyTenant) -> None:
    secret = tenant.key.split("_", 3)[3]

    with all_tenants("the test looks"):
        row = db.session.scalars(select(ApiKey)).one()

    assert secret not in str({name: value for name, value in vars(row).items() if name != "_sa_instance_state"})


def test_a_test_key_moves_its_own_clock(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    at = "2026-12-24T18:00:00+02:00"

    answer = client.post(
        "/api/wa/send/confirm", json=factories.order(), headers=tenant.headers | {"X-WA-Test-Clock": at}
    )
    later = get(client, tenant)

    assert answer.json["message"]["created_at"] == "2026-12-24T16:00:00Z"
    assert later.json["as_of"] < "2026-12-24"  # the clock of the next request stands where it was


@pytest.mark.parametrize("at", ["tomorrow", "2026-12-24T18:00:00", ""])
def test_a_clock_needs_a_time(client: FlaskClient, tenant: ReadyTenant, at: str) -> None:
    answer = get(client, tenant, **{"X-WA-Test-Clock": at})

    assert (answer.status_code, answer.json["code"]) == (400, "test_clock_refused")


def test_a_live_key_cannot_move_the_clock(app: Flask, client: FlaskClient) -> None:
    settings = app.extensions["wa_settings"]
    made = tenants.create_tenant(settings, "Live", "live@example.org", live=True)
    assert made.live_key is not None

    answer = client.get(
        f"/api/wa/messages/{made.tenant.id}",
        headers={"Authorization": f"Bearer {made.live_key}", "X-WA-Test-Clock": "2026-12-24T18:00:00Z"},
    )

    assert (answer.status_code, answer.json["code"]) == (400, "test_clock_refused")


def test_the_callers_request_id_comes_back(client: FlaskClient, tenant: ReadyTenant) -> None:
    given = get(client, tenant, **{"X-Request-Id": "checkout-42"})
    made = get(client, tenant)
    odd = get(client, tenant, **{"X-Request-Id": "<script>" * 3})

    assert given.headers["X-Request-Id"] == "checkout-42"
    assert made.headers["X-Request-Id"].startswith("req_")
    assert odd.headers["X-Request-Id"].startswith("req_")


def test_every_view_declares_its_scope(app: Flask) -> None:
    """Deny by default: a view without ``@requires`` refuses everybody, and this test names it."""
    api = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/")]
    bare = {
        rule.endpoint
        for rule in api
        if rule.endpoint not in OPEN_ENDPOINTS
        and getattr(app.view_functions[rule.endpoint], "wa_scope", None) not in tenants.SCOPES
    }

    assert len(api) > 5
    assert bare == set()
    assert {"api.webhook.receive", "api.webhook.challenge"} == OPEN_ENDPOINTS
    assert {rule.endpoint for rule in api} >= OPEN_ENDPOINTS


def test_a_key_has_its_calls_per_minute(
    app: Flask, client: FlaskClient, tenant: ReadyTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.extensions, "wa_settings", replace(app.extensions["wa_settings"], api_per_minute=40))

    first = get(client, tenant)
    assert first.headers["RateLimit-Policy"] == '"key";q=40;w=60'
    assert first.headers["RateLimit"].startswith('"key";r=39;t=')
    refused = None
    for _ in range(40):
        refused = client.get("/api/wa/messages/ten_0", headers=tenant.headers)
        if refused.status_code == 429:
            break

    assert refused is not None
    assert refused.json["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    other = tenants.create_api_key(tenant.tenant, "Other", ["messages:read"], live=False)
    assert get(client, tenant, other).status_code == 200


def test_one_context_never_shares_a_body(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    for order in ("A-1", "A-2"):
        client.post("/api/wa/send/confirm", json=factories.order(order), headers=tenant.headers)

    with all_tenants("the test counts"):
        assert sorted(db.session.scalars(select(Message.order_id))) == ["A-1", "A-2"]
