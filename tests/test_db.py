"""The session that knows its tenant: what it shows, what it refuses, and what PostgreSQL refuses even without it."""

import threading

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import aliased

from tests import factories
from wa_dashboard.db import (
    TenantScopeMissing,
    WriteOutsideTransaction,
    all_tenants,
    db,
    insert_rows,
    is_postgresql,
    on_commit,
    tenant_scope,
    transaction,
)
from wa_dashboard.domain.ids import new_id
from wa_dashboard.models import Contact, Template


def names_in(scope):
    with scope:
        return set(db.session.scalars(select(Template.name)))


def test_each_tenant_sees_its_own_rows_only(tenant, other_tenant):
    factories.make_template(tenant, name="mine")
    factories.make_template(other_tenant, name="theirs")

    assert names_in(tenant_scope(tenant.id)) == {"mine"}
    assert names_in(tenant_scope(other_tenant.id)) == {"theirs"}
    assert names_in(all_tenants("test")) == {"mine", "theirs"}


def test_updates_and_aliases_are_filtered_too(tenant, other_tenant):
    factories.make_template(tenant, name="mine")
    factories.make_template(other_tenant, name="theirs")

    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Template).values(footer="changed"))
        twin = aliased(Template)
        pairs = db.session.execute(
            select(Template.name, twin.name).join(twin, twin.language == Template.language)
        ).all()

    assert {tuple(pair) for pair in pairs} == {("mine", "mine")}
    with all_tenants("test"):
        footers = dict(db.session.execute(select(Template.name, Template.footer)).all())
    assert footers["mine"] == "changed"
    assert footers["theirs"] != "changed"


def test_forgetting_to_say_whose_rows_is_loud(tenant):
    with pytest.raises(TenantScopeMissing):
        db.session.scalars(select(Template)).all()
    with pytest.raises(TenantScopeMissing), tenant_scope(tenant.id):
        db.session.execute(text("SELECT * FROM wa_templates"))
    with pytest.raises(TenantScopeMissing), tenant_scope(tenant.id):
        db.session.execute(select(Template.__table__))


def test_rows_cannot_be_written_for_another_tenant(tenant, other_tenant):
    row = {"id": new_id("con"), "phone_index": "x", "phone_masked": "x", "market": "RO", "tenant_id": other_tenant.id}

    with pytest.raises(TenantScopeMissing), tenant_scope(tenant.id), transaction():
        insert_rows(Contact, [row])
    with pytest.raises(TenantScopeMissing), tenant_scope(tenant.id), transaction():
        db.session.add(Contact(**row))
        db.session.flush()
    with pytest.raises(TenantScopeMissing), tenant_scope(tenant.id), transaction():
        db.session.execute(insert(Contact).values(row))


def test_one_tenants_work_never_nests_in_anothers(tenant, other_tenant):
    with tenant_scope(tenant.id), pytest.raises(TenantScopeMissing), tenant_scope(other_tenant.id):
        pass
    with tenant_scope(tenant.id), pytest.raises(TenantScopeMissing), all_tenants("escape"):
        pass


def test_changes_outside_a_transaction_are_refused(tenant):
    template = factories.make_template(tenant)

    with tenant_scope(tenant.id), pytest.raises(WriteOutsideTransaction):
        db.session.execute(update(Template).values(footer="no"))
    with tenant_scope(tenant.id):
        row = db.session.scalars(select(Template).where(Template.id == template.id)).one()
        row.footer = "no"
        with pytest.raises(WriteOutsideTransaction):
            db.session.flush()
        db.session.rollback()


def test_after_commit_work_runs_after_a_commit_only(app):
    done = []

    with transaction():
        on_commit(lambda: done.append("kept"))
        assert done == []
    with pytest.raises(RuntimeError), transaction():
        on_commit(lambda: done.append("lost"))
        raise RuntimeError

    assert done == ["kept"]


def test_postgresql_itself_hides_rows_from_plain_sql(tenant, other_tenant):
    if not is_postgresql():
        return  # SQLite has no such wall, as the README says
    factories.make_template(tenant, name="mine")
    factories.make_template(other_tenant, name="theirs")

    with db.engine.connect() as raw:
        unset = raw.exec_driver_sql("SELECT count(*) FROM wa_templates").scalar()
        raw.exec_driver_sql("SELECT set_config('app.tenant', %s, true)", (tenant.id,))
        mine = raw.exec_driver_sql("SELECT name FROM wa_templates").scalars().all()
        changed = raw.exec_driver_sql("UPDATE wa_templates SET footer = 'x' WHERE name = 'theirs'").rowcount
        raw.rollback()
        after = raw.exec_driver_sql("SELECT count(*) FROM wa_templates").scalar()

    assert (unset, mine, changed, after) == (0, ["mine"], 0, 0)


def test_two_threads_may_work_for_two_tenants(app, tenant, other_tenant):
    factories.make_template(tenant, name="mine")
    factories.make_template(other_tenant, name="theirs")
    seen = {}
    gate = threading.Barrier(2)

    def look(ready):
        with app.app_context(), tenant_scope(ready.id):
            gate.wait(5)
            seen[ready.id] = set(db.session.scalars(select(Template.name)))
            db.session.remove()

    threads = [threading.Thread(target=look, args=(each,)) for each in (tenant, other_tenant)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == {tenant.id: {"mine"}, other_tenant.id: {"theirs"}}


def test_only_what_may_be_lost_does_not_wait_for_the_disk(tenant):
    question = "SHOW synchronous_commit" if is_postgresql() else "PRAGMA synchronous"
    usual, quick = ("on", "off") if is_postgresql() else (2, 1)

    def patience(**how):
        with tenant_scope(tenant.id), transaction(**how):
            return db.session.connection().exec_driver_sql(question).scalar_one()

    assert [patience(), patience(durable=False), patience(durable=False), patience()] == [usual, quick, quick, usual]
    with tenant_scope(tenant.id), transaction(), transaction(durable=False):
        assert db.session.connection().exec_driver_sql(question).scalar_one() == usual
