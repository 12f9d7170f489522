"""The audit: append-only, dense, and broken visibly by whoever changes it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, select, update

from wa_dashboard.db import TenantScopeMissing, db, end_read, tenant_scope, transaction
from wa_dashboard.models import AuditEntry, ChainHead
from wa_dashboard.services import audit


@pytest.fixture
def lines(tenant):
    """Five lines of the tenant's audit, after those its making has left."""
    with tenant_scope(tenant.id):
        for number in range(5):
            audit.record(tenant.id, "user:usr_1", "thing.done", f"thing_{number}", number=number, why="două vorbe")
        assert audit.verify(tenant.id) is None
        yield list(db.session.scalars(select(AuditEntry.seq).order_by(AuditEntry.seq)))


def tamper(statement):
    with transaction():
        db.session.execute(statement, execution_options={"synchronize_session": False})


def test_lines_are_dense_and_hold_what_was_said(tenant, lines):
    assert lines == list(range(1, len(lines) + 1))
    last = db.session.scalars(select(AuditEntry).where(AuditEntry.seq == lines[-1])).one()
    assert (last.actor, last.action, last.subject) == ("user:usr_1", "thing.done", "thing_4")
    assert last.detail == {"number": 4, "why": "două vorbe"}


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "user:usr_2"},
        {"action": "thing.undone"},
        {"subject": "x"},
        {"detail": {"number": 99}},
        {"hash": "0" * 64},
    ],
)
def test_a_changed_line_is_named(tenant, lines, change):
    tamper(update(AuditEntry).where(AuditEntry.seq == lines[-3]).values(**change))
    broken = audit.verify(tenant.id)
    assert (broken.seq, broken.why) == (lines[-3], "changed")


def test_a_missing_line_is_named(tenant, lines):
    tamper(delete(AuditEntry).where(AuditEntry.seq == lines[-2]))
    assert audit.verify(tenant.id)[1:] == (lines[-2], "missing")


def test_a_cut_off_tail_is_named(tenant, lines):
    tamper(delete(AuditEntry).where(AuditEntry.seq >= lines[-2]))
    assert audit.verify(tenant.id)[1:] == (lines[-2], "missing")


def test_two_lines_in_each_others_place_are_named(tenant, lines):
    first, second = lines[-2:]
    for old, new in ((first, -1), (second, first), (-1, second)):
        tamper(update(AuditEntry).where(AuditEntry.seq == old).values(seq=new))
    assert audit.verify(tenant.id).seq == first


def test_a_line_beyond_the_end_is_named(tenant, lines):
    tamper(update(ChainHead).where(ChainHead.chain == "audit").values(seq=lines[-2]))
    assert audit.verify(tenant.id) is not None
    previous = db.session.scalar(select(AuditEntry.hash).where(AuditEntry.seq == lines[-2]))
    tamper(update(ChainHead).where(ChainHead.chain == "audit").values(hash=previous))
    assert audit.verify(tenant.id)[1:] == (lines[-1], "surplus")


def test_a_chain_cannot_be_forged_without_the_key(app, tenant, lines):
    key = app.config["SECRET_KEY"]
    app.config["SECRET_KEY"] = "somebody else's key"
    try:
        audit.record(tenant.id, "user:usr_1", "forged", "x")
    finally:
        app.config["SECRET_KEY"] = key
    assert audit.verify(tenant.id)[1:] == (lines[-1] + 1, "changed")


def test_an_undone_act_leaves_no_line(tenant, lines):
    with pytest.raises(ZeroDivisionError), transaction():
        audit.record(tenant.id, "user:usr_1", "thing.done", "x")
        raise ZeroDivisionError
    assert audit.verify(tenant.id) is None
    assert db.session.scalar(select(AuditEntry.seq).order_by(AuditEntry.seq.desc())) == lines[-1]


def test_many_writers_make_one_dense_chain(app, tenant, lines):
    def write(number):
        with app.app_context(), tenant_scope(tenant.id):
            audit.record(tenant.id, "user:usr_1", "race", f"x{number}")

    end_read()
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(16)))
    assert audit.verify(tenant.id) is None
    assert len(db.session.scalars(select(AuditEntry.seq)).all()) == len(lines) + 16


def test_tenants_have_chains_of_their_own(tenant, other_tenant, lines):
    with pytest.raises(TenantScopeMissing):
        audit.record(other_tenant.id, "user:usr_1", "thing.done", "x")
    assert audit.verify(other_tenant.id) is None  # nothing of theirs is visible from here
    assert audit.verify(tenant.id) is None
