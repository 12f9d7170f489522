"""What a process remembers for a moment must not outlive its truth: keys, templates, organisations (house.md)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard import clock, remembered
from wa_dashboard.db import (
    TenantScopeMissing,
    WriteOutsideTransaction,
    all_tenants,
    db,
    is_postgresql,
    tenant_scope,
    transaction,
)
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import ApiKey, IdempotencyKey, Message, Outbox, Template, TemplateApproval, Tenant
from wa_dashboard.services import accepting, contacts, tenants
from wa_dashboard.services.template_choice import REMEMBERED_S
from wa_dashboard.services.tenants import KEYS_REMEMBERED_S

URL = "/api/wa/send/confirm"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass for what is remembered."""
    passed = 0.0
    real = remembered.monotonic

    def wait(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(remembered, "monotonic", lambda: real() + passed)
    return wait


def confirm(client: FlaskClient, tenant: ReadyTenant, number: int):
    return client.post(URL, json=factories.order(f"A-{number}"), headers=tenant.headers)


def elsewhere(statement: str, **values: object) -> None:
    """Another process changes a row: nothing in this one is told."""
    with db.engine.begin() as connection:
        if is_postgresql():
            connection.exec_driver_sql("SELECT set_config('app.tenant', '*', true)")
        marks = {name: f"%({name})s" if is_postgresql() else f":{name}" for name in values}
        connection.exec_driver_sql(statement.format(**marks), values)


def test_a_key_revoked_here_stops_at_once(client: FlaskClient, tenant: ReadyTenant, other_tenant: ReadyTenant) -> None:
    for one in (tenant, other_tenant):
        factories.make_template(one)
        assert confirm(client, one, 1).status_code == 202

    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(ApiKey).values(revoked_at=clock.now()))

    assert confirm(client, tenant, 2).status_code == 401
    assert confirm(client, other_tenant, 2).status_code == 202


def test_a_key_revoked_elsewhere_stops_within_seconds(
    client: FlaskClient, tenant: ReadyTenant, later: Callable[[float], None]
) -> None:
    factories.make_template(tenant)
    assert confirm(client, tenant, 1).status_code == 202
    db.session.remove()
    elsewhere("UPDATE wa_api_keys SET revoked_at = created_at WHERE tenant_id = {id}", id=tenant.id)

    later(KEYS_REMEMBERED_S)

    assert KEYS_REMEMBERED_S <= 10
    assert confirm(client, tenant, 2).status_code == 401


def test_a_remembered_key_expires_on_time(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(ApiKey).values(expires_at=clock.in_seconds(60)))
    assert confirm(client, tenant, 1).status_code == 202

    with clock.at(clock.now() + timedelta(seconds=61)):
        refused = confirm(client, tenant, 2)

    assert refused.status_code == 401


def test_a_wrong_key_is_not_remembered_as_good_or_bad(app: Flask, client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    assert confirm(client, tenant, 1).status_code == 202
    headers = {"Authorization": f"Bearer {tenant.key[:-1]}{'a' if tenant.key[-1] != 'a' else 'b'}"}

    assert client.post(URL, json=factories.order("A-2"), headers=headers).status_code == 401
    assert confirm(client, tenant, 2).status_code == 202


def test_what_the_organisation_changes_counts_at_once(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)
    order = {name: value for name, value in factories.order("A-1").items() if name != "consent"}
    before = client.post(URL, json=order, headers=tenant.headers)

    with transaction():
        db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(contract_basis=True))
    after = client.post(URL, json=order | {"order_id": "A-2"}, headers=tenant.headers)

    assert (before.json["message"]["status"], after.json["message"]["status"]) == ("skipped", "queued")


def test_a_template_paused_here_is_not_used_any_more(client: FlaskClient, tenant: ReadyTenant) -> None:
    first = factories.make_template(tenant)
    second = factories.make_template(tenant, version=2, body="Bună, {first_name}! Comanda {order_id} e aici, da.")
    assert confirm(client, tenant, 1).json["message"]["template"]["version"] == 2

    with tenant_scope(tenant.id), transaction():
        row = db.session.scalars(select(TemplateApproval).where(TemplateApproval.template_id == second.id)).one()
        row.status = "paused"
    used = confirm(client, tenant, 2).json["message"]["template"]["version"]
    with tenant_scope(tenant.id), transaction():
        db.session.execute(
            update(TemplateApproval).where(TemplateApproval.template_id == first.id).values(status="paused")
        )
    refused = confirm(client, tenant, 3)

    assert used == 1
    assert (refused.status_code, refused.json["code"]) == (422, "template_not_sendable")


def test_a_template_paused_elsewhere_is_not_used_within_seconds(
    client: FlaskClient, tenant: ReadyTenant, later: Callable[[float], None]
) -> None:
    factories.make_template(tenant)
    assert confirm(client, tenant, 1).status_code == 202
    db.session.remove()
    elsewhere("UPDATE wa_template_approvals SET status = 'paused' WHERE tenant_id = {id}", id=tenant.id)

    later(REMEMBERED_S)

    assert REMEMBERED_S <= 2
    assert confirm(client, tenant, 2).status_code == 422


def test_a_choice_undone_is_not_remembered(client: FlaskClient, tenant: ReadyTenant) -> None:
    """What a transaction that fails has seen of its own changes is nobody's truth."""
    factories.make_template(tenant)
    assert confirm(client, tenant, 1).status_code == 202

    with pytest.raises(ZeroDivisionError), tenant_scope(tenant.id), transaction():
        db.session.execute(update(TemplateApproval).values(status="paused"))
        _ = 1 // 0

    assert confirm(client, tenant, 2).status_code == 202


def test_the_outbox_knows_the_template(client: FlaskClient, tenant: ReadyTenant) -> None:
    template = factories.make_template(tenant)

    confirm(client, tenant, 1)

    with tenant_scope(tenant.id):
        row = db.session.scalars(select(Outbox)).one()
        message = db.session.scalars(select(Message)).one()
        assert row.template_id == message.template_id == template.id
        assert (row.account_id, row.state, row.attempt_no) == (tenant.account.id, "queued", 0)
        assert row.expires_at is not None
        assert timedelta(hours=23) < row.expires_at - row.next_at <= timedelta(hours=24, seconds=1)


def test_two_organisations_with_the_same_names_stay_apart(
    client: FlaskClient, tenant: ReadyTenant, other_tenant: ReadyTenant
) -> None:
    """The same key name, order, number and template name: each gets its own template, person and message."""
    bodies = {tenant.id: "Bună, {first_name}! Unu: {order_id} e aici.", other_tenant.id: "Doi, {order_id}, e aici."}
    used = {}
    for one in (tenant, other_tenant):
        factories.make_template(one, body=bodies[one.id])
    for one in (tenant, other_tenant, tenant, other_tenant):
        headers = one.headers | {"Idempotency-Key": "same"}
        answer = client.post(URL, json=factories.order(), headers=headers)
        used.setdefault(one.id, set()).add(answer.json["message"]["id"])

    assert all(len(ids) == 1 for ids in used.values())
    with all_tenants("the test looks"):
        for one in (tenant, other_tenant):
            message = db.session.scalars(select(Message).where(Message.tenant_id == one.id)).one()
            assert used[one.id] == {message.id}
            template = db.session.scalars(select(Template).where(Template.id == message.template_id)).one()
            assert (template.tenant_id, template.body) == (one.id, bodies[one.id])
            assert message.account_id == one.account.id
        assert db.session.scalar(select(func.count()).select_from(IdempotencyKey)) == 2


def test_a_copy_may_be_read_in_another_thread(app: Flask, tenant: ReadyTenant) -> None:
    caller = tenants.authenticate(tenant.key)
    again = tenants.authenticate(tenant.key)

    assert again is caller
    assert caller.tenant not in db.session
    assert caller.tenant.index_pepper == tenant.tenant.index_pepper


def test_the_limit_holds_though_most_calls_are_counted_here(
    app: Flask, client: FlaskClient, tenant: ReadyTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.extensions, "wa_settings", replace(app.extensions["wa_settings"], api_per_minute=240))
    left, passed = [], 0

    for _ in range(260):
        answer = client.get("/api/wa/messages/ten_0", headers=tenant.headers)
        if answer.status_code == 429:
            break
        passed += 1
        left.append(int(answer.headers["RateLimit"].split("r=")[1].split(";")[0]))

    assert passed == 240
    assert left == list(range(239, -1, -1))


def test_prepared_statements_know_one_organisation_and_change_nothing_by_the_way(
    app: Flask, tenant: ReadyTenant, other_tenant: ReadyTenant
) -> None:
    index = contacts.index_of(tenant.tenant, "+40722123456")

    with pytest.raises(TenantScopeMissing):
        accepting.look(tenant.tenant, "", index)
    with all_tenants("the test tries"), pytest.raises(TenantScopeMissing):
        accepting.look(tenant.tenant, "", index)
    with tenant_scope(other_tenant.id), pytest.raises(TenantScopeMissing):
        accepting.look(tenant.tenant, "", index)
    with tenant_scope(tenant.id), pytest.raises(WriteOutsideTransaction):
        accepting.new_contact(tenant.tenant, to_e164("+40722123456"), index, {})
    with tenant_scope(tenant.id):
        assert accepting.look(tenant.tenant, "", index).contact is None


def test_a_person_of_another_organisation_is_unknown_here(
    client: FlaskClient, tenant: ReadyTenant, other_tenant: ReadyTenant
) -> None:
    factories.make_template(other_tenant)
    assert confirm(client, other_tenant, 1).status_code == 202
    theirs = contacts.index_of(other_tenant.tenant, "+40722123456")

    with tenant_scope(tenant.id):
        assert accepting.look(tenant.tenant, "", theirs).contact is None
    with tenant_scope(other_tenant.id):
        assert accepting.look(other_tenant.tenant, "", theirs).contact is not None
