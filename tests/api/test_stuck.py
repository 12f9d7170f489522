"""Problems over the API: what waits for a decision, and the decisions."""

import pytest

from tests import factories
from tests.services.health_world import approve, message_of, queue, settle
from tests.services.test_problems import NOT_THERE, TOO_LONG, rows_of
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.services import consent_log, engine, tenants


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


@pytest.fixture
def stuck(tenant, template):
    return settle(tenant, template, [NOT_THERE] * 3 + [TOO_LONG])


@pytest.fixture
def ask(client, tenant):
    def ask(method, path, body=None, headers=None):
        url = f"/api/wa/problems/{tenant.id}{path}"
        return client.open(url, method=method, json=body, headers=tenant.headers | (headers or {}))

    return ask


def test_groups_in_the_callers_language(ask, stuck):
    answer = ask("GET", "").json
    assert [(group["cause"], group["count"]) for group in answer["data"]] == [
        ("not_on_whatsapp", 3),
        ("values_do_not_fit", 1),
    ]
    assert answer["data"][0]["title"] == "Number is not on WhatsApp"
    assert answer["waiting"] == []
    romanian = ask("GET", "", headers={"Accept-Language": "ro"}).json
    assert romanian["data"][0]["title"] == "Numărul nu este pe WhatsApp"


def test_what_waits_by_itself_is_told_apart(ask, tenant, template):
    ids = queue(tenant, template, 2)
    with tenant_scope(tenant.id), transaction():
        from tests.web.test_problem_pages import tenant_approval

        tenant_approval(template).status = "paused"
        db.session.flush()
    engine.drain(tenant.account.id)
    (held,) = ask("GET", "").json["waiting"]
    assert (held["kind"], held["id"], held["count"]) == ("template", template.id, len(ids))
    assert held["next_at"]


def test_items_page_by_page_with_masked_numbers(client, tenant, stuck):
    key = tenants.create_api_key(tenant.tenant, "reader", ("messages:read",), live=False)
    headers = {"Authorization": f"Bearer {key}"}
    seen, cursor = [], ""
    while cursor is not None:
        url = f"/api/wa/problems/{tenant.id}?cause=not_on_whatsapp&limit=2{cursor and f'&cursor={cursor}'}"
        answer = client.get(url, headers=headers)
        assert answer.status_code == 200
        assert "+40722000" not in answer.text
        seen += [item["message"]["id"] for item in answer.json["data"]]
        assert all("•" in item["message"]["to"] for item in answer.json["data"])
        assert {item["error"]["code"] for item in answer.json["data"]} == {"131026"}
        cursor = answer.json["page"]["next"]
    assert sorted(seen) == sorted(stuck[:3])


@pytest.mark.parametrize("query", ["?cause=nonsense", "?color=red"])
def test_a_filter_that_is_none(ask, query):
    answer = ask("GET", query)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_filter")


def test_retry_is_safe_to_repeat(ask, stuck):
    again = {"Idempotency-Key": "one"}
    first = ask("POST", "/retry", {"message_ids": stuck[:1]}, again)
    assert (first.status_code, first.json["done"]) == (200, stuck[:1])
    repeated = ask("POST", "/retry", {"message_ids": stuck[:1]}, again)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert repeated.json == first.json
    other = ask("POST", "/retry", {"message_ids": stuck[:1]}).json
    assert (other["done"], other["unchanged"]) == ([], stuck[:1])


def test_a_whole_cause_and_who_may_not_be_written_to(ask, tenant, stuck):
    with tenant_scope(tenant.id), transaction():
        no = consent_log.ConsentRequest(status="opted_out", source="staff", phone=to_e164("+40722000000"))
        consent_log.record(tenant.tenant, no, "test")
    answer = ask("POST", "/retry", {"cause": "not_on_whatsapp"}).json
    assert sorted(answer["done"]) == sorted(stuck[1:3])
    assert [(each["message_id"], each["code"]) for each in answer["refused"]] == [(stuck[0], "opted_out")]
    assert answer["more"] is False


def test_through_another_account(ask, tenant, template, stuck):
    other = factories.make_account(tenant.tenant, "twilio")
    body = {"message_ids": stuck[:1], "account": other.id}
    assert ask("POST", "/retry", body).json["refused"][0]["code"] == "template_not_sendable"
    approve(tenant, template, other)
    assert ask("POST", "/retry", body).json["done"] == stuck[:1]
    assert message_of(stuck[0]).account_id == other.id
    assert ask("POST", "/retry", {**body, "account": "acc_none"}).status_code == 404


def test_close_and_reopen(ask, tenant, stuck):
    assert ask("POST", "/close", {"message_ids": stuck[:2], "note": "told them"}).json["done"]
    assert [group["count"] for group in ask("GET", "").json["data"]] == [1, 1]
    assert sum(closed for _, closed in rows_of(tenant).values()) == 2
    assert sorted(ask("POST", "/reopen", {"cause": "not_on_whatsapp"}).json["done"]) == sorted(stuck[:2])
    assert sum(closed for _, closed in rows_of(tenant).values()) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message_ids": []},
        {"message_ids": ["msg_1"], "cause": "payment"},
        {"cause": "nonsense"},
        {"message_ids": ["msg_1"], "color": 1},
        {"message_ids": ["m"] * 1001},
    ],
)
def test_bodies_that_are_wrong(ask, stuck, tenant, body):
    for path in ("/retry", "/close", "/reopen"):
        answer = ask("POST", path, body)
        assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert len(rows_of(tenant)) == 4


def test_ids_of_others_and_of_the_other_mode_are_not_there(ask, client, tenant, other_tenant, stuck):
    (theirs,) = settle(other_tenant, factories.make_template(other_tenant), [NOT_THERE])
    for path in ("/retry", "/close", "/reopen"):
        assert ask("POST", path, {"message_ids": [stuck[0], theirs]}).status_code == 404
    assert rows_of(other_tenant) == {theirs: ("not_on_whatsapp", False)}
    assert message_of(stuck[0]).status == "failed"
    with transaction():
        tenants.find_tenant(tenant.id).live = True
        db.session.flush()
    live_key = tenants.create_api_key(tenants.find_tenant(tenant.id), "live", tenants.SCOPES, live=True)
    headers = {"Authorization": f"Bearer {live_key}"}
    url = f"/api/wa/problems/{tenant.id}"
    assert client.post(f"{url}/retry", json={"message_ids": stuck[:1]}, headers=headers).status_code == 404
    assert client.post(f"{url}/close", json={"cause": "not_on_whatsapp"}, headers=headers).json["done"] == []
    assert client.get(url, headers=headers).json["data"] == []
    one = f"/api/wa/messages/{tenant.id}/{stuck[0]}/retry"
    assert client.post(one, json={}, headers=headers).status_code == 404


def test_scopes(client, tenant, stuck):
    key = tenants.create_api_key(tenant.tenant, "reader", ("messages:read",), live=False)
    headers = {"Authorization": f"Bearer {key}"}
    for path in ("retry", "close", "reopen"):
        answer = client.post(f"/api/wa/problems/{tenant.id}/{path}", json={"cause": "payment"}, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (403, "scope_missing")
    assert client.get(f"/api/wa/problems/{tenant.id}", headers=headers).status_code == 200


def test_one_message_again(client, tenant, stuck):
    url = f"/api/wa/messages/{tenant.id}/{stuck[0]}/retry"
    answer = client.post(url, json={}, headers=tenant.headers)
    assert (answer.status_code, answer.json["status"]) == (200, "queued")
    again = client.post(url, json={}, headers=tenant.headers)
    assert (again.status_code, again.json["code"]) == (409, "state_conflict")
