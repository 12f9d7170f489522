"""A reminder that is due becomes one message, however many look and whenever they die (R33, F12)."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests import factories
from wa_dashboard import clock, failpoints
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.orders import OrderEvent
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Message, Outbox, Schedule
from wa_dashboard.services import consent_log, contacts, invariants, planning, reminders

START = datetime(2027, 4, 4, 17, tzinfo=UTC)  # 20:00 in Bucharest
EARLY = datetime(2026, 11, 23, 12, tzinfo=UTC)
DUE = datetime(2027, 4, 3, 7, tzinfo=UTC)  # D-1, 10:00


def with_template(tenant) -> None:
    factories.make_template(
        tenant,
        "reminder",
        type="reminder",
        body="Bună, {first_name}! {event_name} începe pe {event_date}, te așteptăm.",
    )


def agree(tenant, contact, status: str = "opted_in", at: datetime = EARLY) -> None:
    consent_log.record(
        tenant.tenant,
        consent_log.ConsentRequest(
            status=status,
            source="checkout",
            phone=to_e164(contact.phone),
            purposes=("reminder",),
            occurred_at=at,
            wording_id="v1",
        ),
        "test",
    )


def remind(tenant, *intervals: str, people: int = 1, starts_at: datetime = START, now: datetime = EARLY) -> None:
    event = OrderEvent("EVT-9", "Hamlet", starts_at, "Europe/Bucharest")
    with tenant_scope(tenant.id), clock.at(now), transaction():
        attendees = []
        for number in range(people):
            contact = contacts.contact_for(tenant.tenant, to_e164(f"+4072212{3456 + number}"))
            agree(tenant, contact)
            values = {"first_name": "Ana", **planning.event_values(event, "ro")}
            attendees.append(planning.Attendee(contact, "A-1", values, "ro-RO"))
        planning.plan(tenant.tenant, event, attendees, intervals=intervals, live=False)


def release(at: datetime) -> int:
    with clock.at(at):
        return reminders.release_due()


def rows(tenant) -> list[Schedule]:
    with tenant_scope(tenant.id):
        return list(
            db.session.scalars(
                select(Schedule).order_by(Schedule.send_at), execution_options={"populate_existing": True}
            )
        )


def count(tenant, model=Message) -> int:
    with tenant_scope(tenant.id):
        return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_nothing_leaves_before_its_time(tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-1")

    assert release(DUE - timedelta(seconds=1)) == 0
    assert count(tenant) == 0


def test_a_due_reminder_becomes_a_message(tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-7", "D-1")

    assert release(DUE + timedelta(seconds=2)) == 2  # D-7 was missed by days, but there is time to come

    late, row = rows(tenant)
    assert (late.status, row.status) == ("dispatched", "dispatched")
    with tenant_scope(tenant.id):
        message = db.session.scalars(select(Message).where(Message.id == row.message_id)).one()
        assert (message.type, message.purpose, message.lane, message.policy) == (
            "reminder", "reminder", "normal", "evidence",
        )  # fmt: skip
        assert (message.status, message.order_id, message.event_ref) == ("queued", "A-1", "EVT-9")
        assert message.expires_at == START
        assert message.variables["event_date"] == "4 aprilie 2027, 20:00"
        assert message.dedupe_key == f"schedule:{row.id}"
    assert count(tenant, Outbox) == 2
    assert release(DUE + timedelta(minutes=5)) == 0
    assert invariants.check()[1] is None


def test_many_at_once_make_each_message_once(app: Flask, tenant, full: bool) -> None:
    people = 400 if full else 60
    with_template(tenant)
    remind(tenant, "D-1", people=people)
    db.session.remove()
    start, broken = threading.Barrier(4), []

    def look() -> None:
        with app.app_context(), clock.at(DUE):
            start.wait()
            try:
                while reminders.release_due():
                    pass
            except Exception as error:
                broken.append(error)
            db.session.remove()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert broken == []
    assert {row.status for row in rows(tenant)} == {"dispatched"}
    assert count(tenant) == count(tenant, Outbox) == people
    assert len({row.message_id for row in rows(tenant)}) == people


def test_a_tick_that_dies_leaves_nothing_and_the_next_does_it(tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-1", people=3)
    failpoints.arm("F12=raise")
    try:
        with pytest.raises(failpoints.Failed):
            release(DUE)
    finally:
        failpoints.arm("")

    assert count(tenant) == 0
    assert {row.status for row in rows(tenant)} == {"pending"}
    assert release(DUE) == 3
    assert count(tenant) == 3


def test_the_clock_of_a_test_key_brings_the_day(client, tenant) -> None:
    """What a checkout's developer sees: an order today, its reminders when the clock says so."""
    factories.make_template(tenant)
    with_template(tenant)
    consented = factories.order(reminders=["D-7", "D-3", "D-1"])
    moved = {"X-WA-Test-Clock": "2027-03-01T10:00:00Z"}
    assert client.post("/api/wa/send/confirm", json=consented, headers=tenant.headers | moved).status_code == 202

    for day, so_far in ((28, 1), (28, 1)):
        release(datetime(2027, 3, day, 7, 1, tzinfo=UTC))
        assert sum(row.status == "dispatched" for row in rows(tenant)) == so_far
    release(datetime(2027, 4, 3, 7, 1, tzinfo=UTC))
    assert [row.status for row in rows(tenant)] == ["dispatched"] * 3
    assert count(tenant) == 4  # the confirmation and three reminders


def in_test_time(client, tenant, at: str) -> list[dict]:
    answer = client.get(f"/api/wa/messages/{tenant.id}?type=reminder", headers=tenant.headers | {"X-WA-Test-Clock": at})
    assert answer.status_code == 200, answer.text
    return answer.json["data"]


def test_a_request_with_a_moved_clock_brings_the_reminders_of_the_time_between(client, tenant, other_tenant) -> None:
    """decisions.md D8: a test tenant sees D-7 … D-1 within seconds, with nothing but its test key."""
    factories.make_template(tenant)
    with_template(tenant)
    body = factories.order(reminders=["D-7", "D-3", "D-1"])
    assert client.post("/api/wa/send/confirm", json=body, headers=tenant.headers).status_code == 202
    with_template(other_tenant)
    remind(other_tenant, "D-7")

    assert in_test_time(client, tenant, "2027-03-28T09:59:00+03:00") == []
    (first,) = in_test_time(client, tenant, "2027-03-28T10:00:00+03:00")
    all_of_them = in_test_time(client, tenant, "2027-04-04T12:00:00+03:00")
    again = in_test_time(client, tenant, "2027-04-04T12:00:00+03:00")

    times = ["2027-04-03T07:00:00Z", "2027-04-01T07:00:00Z", "2027-03-28T07:00:00Z"]
    assert [each["timeline"]["created"] for each in all_of_them] == times  # each as of its own time
    assert again == all_of_them
    assert again[-1]["id"] == first["id"]
    assert {row.status for row in rows(tenant)} == {"dispatched"}
    assert [row.status for row in rows(other_tenant)] == ["pending"]  # nobody else's time moved


def test_no_moved_clock_reaches_what_is_meant_for_people(client, tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-1")
    with tenant_scope(tenant.id), transaction():
        rows(tenant)[0].live = True

    assert in_test_time(client, tenant, "2027-04-04T12:00:00+03:00") == []
    assert [row.status for row in rows(tenant)] == ["pending"]


def test_an_unmoved_clock_releases_nothing_in_a_request(client, tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-1")
    with clock.at(DUE):
        client.get(f"/api/wa/messages/{tenant.id}", headers=tenant.headers)

    assert [row.status for row in rows(tenant)] == ["pending"]


def test_a_reminder_that_stumbled_is_tried_again_by_the_next_moved_clock(client, tenant) -> None:
    remind(tenant, "D-1")
    assert in_test_time(client, tenant, "2027-04-03T10:00:00+03:00") == []
    assert [row.reason for row in rows(tenant)] == ["template_not_sendable"]
    with_template(tenant)

    (message,) = in_test_time(client, tenant, "2027-04-03T10:00:00+03:00")
    assert message["status"] == "queued"


# --- why not ----------------------------------------------------------------------------------------------------


def test_an_opt_out_cancels_what_was_planned(tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-7", "D-1")
    with tenant_scope(tenant.id), transaction():
        contact = contacts.contact_for(tenant.tenant, to_e164("+40722123456"))
        agree(tenant, contact, "opted_out", EARLY + timedelta(hours=1))

    assert {row.status for row in rows(tenant)} == {"cancelled"}
    assert release(DUE) == 0
    assert count(tenant) == 0


def test_somebody_who_never_agreed_is_left_out_with_the_reason(tenant) -> None:
    with_template(tenant)
    event = OrderEvent("EVT-9", "Hamlet", START, "Europe/Bucharest")
    with tenant_scope(tenant.id), clock.at(EARLY), transaction():
        contact = contacts.contact_for(tenant.tenant, to_e164("+40722123456"))
        values = {"first_name": "Ana", **planning.event_values(event, "ro")}
        who = planning.Attendee(contact, "A-1", values, "ro")
        planning.plan(tenant.tenant, event, [who], intervals=["D-1"], live=False)

    release(DUE)

    (row,) = rows(tenant)
    assert row.status == "dispatched"
    assert row.reason
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Message.status)).one() == "skipped"
    assert count(tenant, Outbox) == 0


def test_a_missing_template_keeps_it_pending(tenant) -> None:
    remind(tenant, "D-1")

    release(DUE)
    (row,) = rows(tenant)
    assert (row.status, row.reason) == ("pending", "template_not_sendable")
    assert release(DUE + timedelta(seconds=30)) == 0  # not asked again at every tick

    with_template(tenant)
    release(DUE + timedelta(seconds=61))
    (row,) = rows(tenant)
    assert (row.status, row.reason) == ("dispatched", None)


def test_one_that_cannot_be_handled_does_not_stop_the_others(tenant, caplog: pytest.LogCaptureFixture) -> None:
    with_template(tenant)
    remind(tenant, "D-1", people=3)
    with tenant_scope(tenant.id), transaction():
        broken = db.session.scalars(select(Schedule)).first()
        broken.variables_sealed = b"moved here from another row"

    release(DUE)

    assert sorted(row.status for row in rows(tenant)) == ["dispatched", "dispatched", "pending"]
    assert [row.reason for row in rows(tenant) if row.id == broken.id] == ["broken"]
    assert "reminder_broke" in caplog.text


@pytest.mark.parametrize(
    ("interval", "at", "status", "reason"),
    [
        ("D-1", START - timedelta(hours=1), "missed", "too_late"),
        ("D-1", START - timedelta(hours=3), "dispatched", None),
        ("H-1", START - timedelta(minutes=50), "dispatched", None),
        ("D+1", datetime(2027, 4, 6, 6, tzinfo=UTC), "dispatched", None),
        ("D+1", datetime(2027, 4, 6, 8, tzinfo=UTC), "missed", "too_late"),
    ],
    ids=["an hour before", "three hours before", "on time", "the day after", "two days after"],
)
def test_after_an_outage_what_still_helps_goes_out(tenant, interval, at, status, reason) -> None:
    with_template(tenant)
    remind(tenant, interval)

    release(at)

    (row,) = rows(tenant)
    assert (row.status, row.reason) == (status, reason)
    assert count(tenant) == (status == "dispatched")


def test_after_an_outage_nobody_is_woken_at_night(tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-1")

    release(datetime(2027, 4, 3, 20, tzinfo=UTC))  # 23:00

    (row,) = rows(tenant)
    assert (row.status, row.send_at) == ("pending", datetime(2027, 4, 4, 5, tzinfo=UTC))  # 08:00
    assert count(tenant) == 0
    release(row.send_at)
    assert [row.status for row in rows(tenant)] == ["dispatched"]


def test_a_night_that_ends_too_late_is_the_end(tenant) -> None:
    with_template(tenant)
    remind(tenant, "D-1", starts_at=datetime(2027, 4, 4, 5, tzinfo=UTC))  # 08:00

    release(datetime(2027, 4, 3, 19, tzinfo=UTC))  # 22:00 the evening before

    (row,) = rows(tenant)
    assert (row.status, row.reason) == ("missed", "quiet_hours")


def test_the_last_minute_before_the_night_may_be_reached_a_little_late(tenant) -> None:
    with_template(tenant)
    remind(tenant, "H-3", starts_at=datetime(2027, 4, 5, 2, tzinfo=UTC))

    release(datetime(2027, 4, 4, 18, 0, 5, tzinfo=UTC))  # five seconds after 21:00; it was due at 20:59

    assert [row.status for row in rows(tenant)] == ["dispatched"]


# --- changes of clocks (R33) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts_at", "due"),
    [
        (datetime(2027, 3, 29, 17, tzinfo=UTC), datetime(2027, 3, 28, 7, tzinfo=UTC)),
        (datetime(2027, 11, 1, 18, tzinfo=UTC), datetime(2027, 10, 31, 8, tzinfo=UTC)),
    ],
    ids=["spring", "autumn"],
)
def test_on_the_day_the_clocks_change_each_goes_out_once_and_on_time(tenant, starts_at, due) -> None:
    with_template(tenant)
    remind(tenant, "D-1", starts_at=starts_at)
    moment, dispatched = due - timedelta(hours=9), []

    while moment <= due + timedelta(hours=9):
        if release(moment):
            dispatched.append(moment)
        moment += timedelta(minutes=30)

    assert dispatched == [due]
    assert count(tenant) == 1


def test_each_interval_speaks_with_its_own_template(tenant: factories.ReadyTenant) -> None:
    for name in ("reminder_d7", "reminder_d3", "reminder_d1"):
        factories.make_template(tenant, name, type="reminder", body="Bună, {first_name}! Ne vedem la {event_name}.")
    remind(tenant, "D-7", "D-3", "D-1")

    for at in (START - timedelta(days=7), START - timedelta(days=3), START - timedelta(days=1)):
        release(at)

    with tenant_scope(tenant.id):
        names = list(db.session.scalars(select(Message.template_name).order_by(Message.created_at)))
    assert names == ["reminder_d7", "reminder_d3", "reminder_d1"]


def test_text_for_another_day_is_never_used(tenant: factories.ReadyTenant) -> None:
    factories.make_template(tenant, "reminder_d1", type="reminder", body="Bună, {first_name}! Mâine, la {event_name}.")
    remind(tenant, "D-7")

    release(START - timedelta(days=7))

    with tenant_scope(tenant.id):
        assert db.session.scalar(select(func.count()).select_from(Message)) == 0
        row = db.session.scalars(select(Schedule)).one()
    assert (row.status, row.reason) == ("pending", "template_not_sendable")
