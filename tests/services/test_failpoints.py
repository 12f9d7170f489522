"""Killed (SIGKILL) at every named place, and what follows (durability.md §3.20). F11 and F15 come with campaigns and
top-ups; F2, F4 and F6 have their own stories in test_aftermath.py."""

import time
from datetime import datetime

import pytest
from sqlalchemy import func, select, update

from tests import factories
from tests.support import children, queued
from tests.support.webhooks import Speaker, under_way
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.models import Attempt, Message, Outbox, Schedule, WebhookEvent
from wa_dashboard.services import aftermath, engine, invariants, receipts, recovery, reminders

DUE = datetime.fromisoformat("2027-04-03T08:00:00+00:00")


@pytest.fixture
def pace(app):
    return app.extensions["wa_pace"]


def column(statement):
    with all_tenants("a test looks"):
        found = list(db.session.scalars(statement))
        db.session.rollback()
    return found


def statuses():
    return sorted(str(status) for status in column(select(Message.status)))


def waiting(count=4):
    ready = factories.make_tenant()
    return ready, queued.queue(ready, factories.make_template(ready), queued.people(ready, count))


def finish(far_end, count, pace):
    """Everything is sent in the end, nothing twice."""
    for _ in range(40):
        aftermath.clear_up(pace)
        recovery.reap(pace)
        engine.serve(2.0)
        if set(statuses()) == {"accepted"}:
            break
        time.sleep(0.1)
    arrived = far_end.message_ids()
    assert set(statuses()) == {"accepted"}
    assert len(arrived) == len(set(arrived)) == count
    assert invariants.check()[1] is None


def test_f1_after_the_orders_commit_before_the_wake_up(app, client, far_end, pace):
    ready = factories.make_tenant()
    factories.make_template(ready)

    def post():
        app.test_client().post("/api/wa/send/confirm", json=factories.order(), headers=ready.headers)

    children.killed(app, post, "F1=kill")
    assert statuses() == ["queued"]
    again = client.post("/api/wa/send/confirm", json=factories.order(), headers=ready.headers)

    assert again.status_code == 200
    finish(far_end, 1, pace)


@pytest.mark.parametrize("point", ["F3", "F5"])
def test_f3_f5_nothing_has_left(app, far_end, pace, point):
    waiting()

    children.killed(app, lambda: engine.serve(5.0), f"{point}=kill")

    assert far_end.message_ids() == []
    finish(far_end, 4, pace)


@pytest.mark.parametrize("point", ["F7", "F7b"])
def test_f7_answered_and_not_written_down(app, far_end, pace, point):
    """F7: between the answer and the journal it is a doubt; F7b: the journal has it, the database not."""
    waiting(1)
    children.killed(app, lambda: engine.serve(5.0), f"{point}=kill")
    assert column(select(Outbox.state)) == ["sending"]

    aftermath.clear_up(pace)

    assert len(far_end.message_ids()) == 1
    assert statuses() == (["uncertain"] if point == "F7" else ["accepted"])
    engine.serve(1.0)
    assert len(far_end.message_ids()) == 1


def test_f8_settled_and_gone(app, far_end, pace):
    waiting()

    children.killed(app, lambda: engine.serve(5.0), "F8=kill")

    finish(far_end, 4, pace)


def test_f9_a_webhook_is_kept_before_it_is_acknowledged(app, client, tenant):
    message = under_way(tenant)
    speak = Speaker(tenant.account)

    children.killed(app, lambda: speak.receipt("read", f"{message.id}.1", "wamid.1").to(app.test_client()), "F9=kill")
    assert column(select(WebhookEvent.state)) == ["new"]
    speak.receipt("read", f"{message.id}.1", "wamid.1").to(client)  # the provider repeats what was not acknowledged

    assert column(select(WebhookEvent.state)) == ["new"]
    receipts.process()
    assert statuses() == ["read"]


def test_f10_a_reading_that_dies_is_read_again(app, client, tenant):
    message = under_way(tenant)
    Speaker(tenant.account).receipt("read", f"{message.id}.1", "wamid.1").to(client)

    children.killed(app, receipts.process, "F10=kill")
    assert column(select(WebhookEvent.state)) == ["new"]

    assert receipts.process() == 1
    assert statuses() == ["read"]


def test_f12_a_release_that_dies_is_done_again_once(app, client, tenant):
    for name in ("order_confirm", "reminder"):
        factories.make_template(tenant, name=name, type=name)
    order = factories.order(reminders=["D-1"])
    assert client.post("/api/wa/send/confirm", json=order, headers=tenant.headers).status_code == 202

    def release():
        with clock.at(DUE):
            return reminders.release_due()

    children.killed(app, release, "F12=kill")
    assert column(select(Schedule.status)) == ["pending"]

    assert release() == 1
    assert column(select(Schedule.status)) == ["dispatched"]
    assert sorted(column(select(Message.type))) == ["order_confirm", "reminder"]


def test_f13_a_reaper_that_dies_leaves_it_to_the_next(app, far_end, pace):
    ready, ids = waiting()
    far_end.latency = 30.0
    children.killed(app, lambda: engine.serve(5.0), "F6=kill@2")
    with tenant_scope(ready.id), transaction():
        past = clock.in_seconds(-3600)
        db.session.execute(update(Outbox).where(Outbox.state == "sending").values(lease_until=past))
    before = sorted(column(select(Outbox.state)))

    children.killed(app, lambda: recovery.reap(pace), "F13=kill")
    assert sorted(column(select(Outbox.state))) == before

    assert recovery.reap(pace)["doubted"] == before.count("sending")
    assert set(column(select(Outbox.state).where(Outbox.message_id.in_(ids)))) <= {"uncertain", "queued"}
    assert column(select(func.count()).select_from(Attempt)) == [before.count("sending")]


def test_f14_an_opt_out_that_was_not_acknowledged_holds(app, client, tenant):
    factories.make_template(tenant)
    assert client.post("/api/wa/send/confirm", json=factories.order(), headers=tenant.headers).status_code == 202
    body = {
        "phone": factories.order()["recipient"]["phone"],
        "status": "opted_out",
        "purposes": ["transactional"],
        "source": "settings_page",
        "occurred_at": clock.now().isoformat(),
    }

    def say(with_client):
        return with_client.post("/api/wa/optin", json=body, headers=tenant.headers)

    children.killed(app, lambda: say(app.test_client()), "F14=kill")

    assert statuses() == ["cancelled"]
    assert say(client).status_code in (200, 201)
    assert statuses() == ["cancelled"]
