"""The fence after a restore: when it goes up, what it holds, and how an organiser's messages are let go."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from tests.services.test_reminders import DUE, START, count, remind, rows, with_template
from tests.support.rows import make_message, put_in_outbox
from wa_dashboard import clock, queues
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction, upsert
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import Attempt, Heartbeat, InstanceFact, Message, MessageEvent, Outbox
from wa_dashboard.services import (
    cancelling,
    checkup,
    contacts,
    epoch,
    fence,
    invariants,
    lifecycle,
    overview,
    release,
    reminders,
)
from wa_dashboard.services.release import Wish
from wa_dashboard.workers import tick


@pytest.fixture(autouse=True)
def folder(app, tmp_path, monkeypatch):
    """Each test remembers in a folder of its own."""
    monkeypatch.setattr(epoch, "_file", lambda: tmp_path / epoch.FILE)
    return tmp_path / epoch.FILE


def fact():
    with all_tenants("test"):
        told = db.session.scalar(select(InstanceFact.value).where(InstanceFact.name == "instance"))
    return json.loads(told) if told else None


def go_back(number):
    """What a backup restored by hand does to the row."""
    with all_tenants("test"), transaction():
        told = fact() | {"number": number}
        db.session.execute(
            update(InstanceFact).where(InstanceFact.name == "instance").values(value=json.dumps(told)),
            execution_options={"synchronize_session": False},
        )


# --- finding out ------------------------------------------------------------------------------------------------


def test_starts_count_on_and_are_remembered_outside(app, folder):
    assert [epoch.check_in() for _ in range(3)] == [False, False, False]

    assert fact()["number"] == 3
    assert json.loads(folder.read_text()) == {fact()["name"]: 3}
    assert queues.client().get(f"wa:epoch:{fact()['name']}") == b"3"


@pytest.mark.parametrize("remembers", ["the file", "Redis"])
def test_a_database_that_is_behind_puts_the_fence_up(tenant, other_tenant, folder, remembers):
    waiting(tenant), waiting(other_tenant)
    for _ in range(3):
        epoch.check_in()
    before = fact()["name"]
    folder.unlink() if remembers == "Redis" else queues.client().flushdb()
    go_back(2)

    assert epoch.check_in() is True

    assert fact() == {"name": fact()["name"], "number": 1}
    assert fact()["name"] != before
    assert {up.tenant_id: (up.held, up.cause) for up in fence.state()} == {
        tenant.id: (1, "database_behind"),
        other_tenant.id: (1, "database_behind"),
    }
    assert epoch.check_in() is False


def test_nothing_that_is_no_restore_raises_an_alarm(tenant, folder):
    waiting(tenant)
    epoch.check_in()

    folder.unlink()  # a second machine, or a new data folder
    assert epoch.check_in() is False
    queues.client().flushdb()  # the embedded queue began anew
    assert epoch.check_in() is False
    folder.write_text("{damaged")
    assert epoch.check_in() is False
    with all_tenants("test"), transaction():  # another database, empty, with the old folder
        db.session.execute(delete(InstanceFact))
    assert epoch.check_in() is False
    assert fence.state() == []
    assert len(json.loads(folder.read_text())) == 2


def test_a_restore_of_the_same_backup_is_noticed_again(tenant, folder):
    for _ in range(4):
        epoch.check_in()
    old = fact()
    go_back(1)
    assert epoch.check_in() is True
    waiting(tenant)

    with all_tenants("test"), transaction():
        told = json.dumps(old | {"number": 1})
        db.session.execute(update(InstanceFact).where(InstanceFact.name == "instance").values(value=told))

    assert epoch.check_in() is True


# --- going up ---------------------------------------------------------------------------------------------------


def waiting(made, state="queued", *, policy="must_deliver", attempt=None, phone="+40722123456", **times):
    """A message of the tenant with its outbox row; ``attempt``: the rank of its only one."""
    status = {"queued": "queued", "claimed": "queued", "sending": "sending", "uncertain": "uncertain"}[state]
    with tenant_scope(made.id), transaction():
        contact = contacts.contact_for(made.tenant, to_e164(phone))
        message = make_message(made, contact, status=status, policy=policy)
        if state in ("claimed", "sending"):
            times["lease_in"] = 20
        if state == "uncertain":
            times["since"] = -5
        put_in_outbox(message, state=state, attempt_no=1 if attempt else 0, **times)
        lifecycle.tell(made.id, [message.id], "asked")
        if attempt:
            db.session.add(
                Attempt(tenant_id=made.id, message_id=message.id, attempt_no=1, account_id=made.account.id,
                        provider=made.account.provider, rank=int(attempt), started_at=clock.now())
            )  # fmt: skip
    return message.id


def look(message_id):
    with all_tenants("test"):
        status = db.session.scalar(select(Message.status).where(Message.id == message_id))
        state = db.session.scalar(select(Outbox.state).where(Outbox.message_id == message_id))
        db.session.rollback()
    return status, state


def kinds(message_id):
    with all_tenants("test"):
        wanted = select(MessageEvent.kind).where(MessageEvent.message_id == message_id)
        return list(db.session.scalars(wanted.order_by(MessageEvent.recorded_at, MessageEvent.id)))


def test_everything_that_is_not_over_is_held(tenant, work):
    ids = [
        waiting(tenant),
        waiting(tenant, "claimed"),
        waiting(tenant, "sending", attempt=Rank.INFLIGHT),
        waiting(tenant, "uncertain", attempt=Rank.AMBIGUOUS),
    ]

    fence.put_up("restore")
    work()

    assert [look(message_id) for message_id in ids] == [("queued", "held")] * 4
    assert [kinds(message_id)[-1] for message_id in ids] == ["restored"] * 4
    assert invariants.check()[1] is None
    with tenant_scope(tenant.id):
        up = fence.of(tenant.id)
        reasons = set(db.session.scalars(select(Message.reason)))
        assert overview.needs(tenant.tenant, False, []).held == 4
        assert overview.needs(tenant.tenant, True, []).held == 0
    assert (up.held, reasons) == (4, {"restore"})


def test_the_doctor_names_who_waits(tenant, other_tenant, app):
    waiting(tenant)
    fence.put_up("restore")

    found = checkup._fence(app.extensions["wa_settings"])

    assert [check.ok for check in found] == [False]
    assert tenant.id in found[0].sentence
    assert other_tenant.id not in found[0].sentence


def test_what_is_held_can_be_cancelled_and_what_is_in_doubt_only_noted(tenant):
    plain, doubt = waiting(tenant), waiting(tenant, "uncertain", attempt=Rank.AMBIGUOUS)
    fence.put_up("restore")

    with tenant_scope(tenant.id):
        assert cancelling.cancel(tenant.tenant, plain, "key:k", live=False) is True
        assert cancelling.cancel(tenant.tenant, doubt, "key:k", live=False) is False

    assert look(plain) == ("cancelled", None)
    release.release(tenant.tenant, Wish())
    assert look(doubt) == ("unconfirmed", None)


# --- coming down ------------------------------------------------------------------------------------------------


def test_one_organiser_is_let_go_and_the_other_waits_on(tenant, other_tenant):
    mine, theirs = waiting(tenant), waiting(other_tenant)
    fence.put_up("restore")

    counts = release.release(tenant.tenant, Wish())

    assert (counts["held"], counts["unknown"]) == (1, 1)
    assert look(mine) == ("queued", "queued")
    assert look(theirs) == ("queued", "held")
    assert [up.tenant_id for up in fence.state()] == [other_tenant.id]
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Message)).one().possible_duplicate is True
    assert release.release(tenant.tenant, Wish())["held"] == 0


def test_counting_lets_nothing_go(tenant):
    message_id = waiting(tenant)
    fence.put_up("restore")

    counts = release.release(tenant.tenant, Wish(), dry_run=True)

    assert counts["unknown"] == 1
    assert look(message_id) == ("queued", "held")
    assert len(fence.state()) == 1


def test_what_nobody_can_tell_may_be_left(tenant):
    message_id = waiting(tenant)
    fence.put_up("restore")

    release.release(tenant.tenant, Wish(leave_unknown=True))

    assert look(message_id) == ("unconfirmed", None)
    assert invariants.check()[1] is None


def test_what_is_too_late_expires(tenant):
    message_id = waiting(tenant, expires_in=-1)
    fence.put_up("restore")

    assert release.release(tenant.tenant, Wish())["expired"] == 1
    assert look(message_id) == ("expired", None)


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        ("must_deliver", ("queued", "queued")),
        ("evidence", ("unconfirmed", None)),
        ("never_twice", ("unconfirmed", None)),
    ],
)
def test_an_attempt_that_had_begun_ends_as_its_policy_says(tenant, policy, ends):
    message_id = waiting(tenant, "sending", policy=policy, attempt=Rank.INFLIGHT)
    fence.put_up("restore")

    assert release.release(tenant.tenant, Wish())["in_doubt"] == 1

    assert look(message_id) == ends
    assert invariants.check()[1] is None


def test_a_campaign_is_let_go_alone(tenant):
    ours, other = waiting(tenant), waiting(tenant)
    with tenant_scope(tenant.id), transaction():
        db.session.scalars(select(Message).where(Message.id == ours)).one().meta = {"campaign": "spring"}
    fence.put_up("restore")

    counts = release.release(tenant.tenant, Wish(campaign="spring"))

    assert counts["held"] == 1
    assert look(ours) == ("queued", "queued")
    assert look(other) == ("queued", "held")
    assert len(fence.state()) == 1
    with pytest.raises(Exception, match="Nothing of this campaign"):
        release.release(tenant.tenant, Wish(campaign="spring"))


def test_reminders_that_were_due_wait_until_they_are_released(tenant):
    with_template(tenant)
    remind(tenant, "D-1", "H-3", people=2)
    with clock.at(DUE + timedelta(minutes=5)):
        fence.put_up("restore")

        assert reminders.release_due() == 0
        assert count(tenant) == 0
        counts = release.release(tenant.tenant, Wish())

    assert (counts["reminders"], counts["held"], counts["unknown"]) == (2, 2, 2)
    assert [row.status for row in rows(tenant)] == ["dispatched", "dispatched", "pending", "pending"]
    assert count(tenant) == count(tenant, Outbox) == 2
    assert fence.state() == []
    with clock.at(START - timedelta(hours=2, minutes=55)):
        assert reminders.release_due() == 2


def test_the_backup_knows_its_moment_by_the_last_beat(tenant):
    waiting(tenant)
    tick.beat("tick")
    with all_tenants("test"):
        at = db.session.scalar(select(Heartbeat.at))

    assert fence.put_up("restore")[0].backup_at == at


def test_the_backup_knows_its_moment_by_itself(tenant):
    waiting(tenant)
    with all_tenants("test"), transaction():
        upsert(Heartbeat, {"name": "tick", "at": clock.now() - timedelta(days=3)}, key=["name"], update=["at"])
    made = fence.note_backup()

    assert fence.put_up("restore")[0].backup_at == made
