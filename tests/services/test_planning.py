"""Reminders are rows: made with the order, replaced when the event moves, gone with the consent (states.md §6.3)."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tests import factories
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope
from wa_dashboard.domain.orders import OrderEvent
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.errors import Conflict, Invalid
from wa_dashboard.models import Event, Schedule
from wa_dashboard.services import contacts, planning

START = datetime(2027, 4, 4, 17, tzinfo=UTC)  # 20:00 in Bucharest
EARLY = datetime(2026, 11, 23, 12, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def event(starts_at: datetime = START, version: int = 0, **facts: object) -> OrderEvent:
    return OrderEvent("EVT-9", "Hamlet", starts_at, "Europe/Bucharest", version=version, **facts)


def plan(
    tenant, *intervals: str, now: datetime = EARLY, of: OrderEvent | None = None, phone: str = "+40722123456", **who
):
    with tenant_scope(tenant.id), clock.at(now):
        from wa_dashboard.db import transaction

        with transaction():
            contact = contacts.contact_for(tenant.tenant, to_e164(phone))
        attendee = planning.Attendee(contact, "A-1", {"first_name": "Ana"}, **who)
        return planning.plan(
            tenant.tenant, of or event(), [attendee], intervals=intervals, live=False
        )  # fmt: skip


def rows(tenant, **wanted: str) -> list[Schedule]:
    with tenant_scope(tenant.id):
        found = db.session.scalars(select(Schedule).order_by(Schedule.send_at, Schedule.created_at)).all()
        return [row for row in found if all(getattr(row, name) == value for name, value in wanted.items())]


def test_reminders_asked_for_with_an_order_become_rows(client, tenant) -> None:
    factories.make_template(tenant)

    answer = client.post(
        "/api/wa/send/confirm", json=factories.order(reminders=["D-7", "D-3", "D-1"]), headers=tenant.headers
    )

    assert answer.status_code == 202, answer.text
    assert answer.json["reminders"] == {"created": 3, "skipped": []}
    made = rows(tenant)
    assert [row.interval for row in made] == ["D-7", "D-3", "D-1"]
    assert [row.send_at for row in made] == [utc(2027, 3, 28, 7), utc(2027, 4, 1, 7), utc(2027, 4, 3, 7)]
    assert {(row.status, row.zone, row.zone_source, row.order_id) for row in made} == {
        ("pending", "Europe/Bucharest", "given", "A-1001")
    }
    assert made[0].variables == {"order_id": "A-1001", "first_name": "Ana"}  # the event is said when it is sent


def test_the_same_order_again_makes_no_second_reminder(client, tenant) -> None:
    factories.make_template(tenant)
    for _ in range(2):
        client.post("/api/wa/send/confirm", json=factories.order(reminders=["D-1"]), headers=tenant.headers)

    assert len(rows(tenant)) == 1


def test_a_rehearsal_makes_no_rows(client, tenant) -> None:
    factories.make_template(tenant)

    body = factories.order(reminders=["D-1"], dry_run=True)
    answer = client.post("/api/wa/send/confirm", json=body, headers=tenant.headers)

    assert answer.json["reminders"]["created"] == 1
    assert rows(tenant) == []


def test_an_order_that_comes_late_skips_what_is_past(client, tenant) -> None:
    factories.make_template(tenant)
    moved = tenant.headers | {"X-WA-Test-Clock": "2027-04-01T12:00:00Z"}

    body = factories.order(reminders=["D-7", "D-3", "D-1"])
    answer = client.post("/api/wa/send/confirm", json=body, headers=moved)

    assert answer.status_code == 202, answer.text
    past = [{"interval": "D-7", "reason": "past_due"}, {"interval": "D-3", "reason": "past_due"}]
    assert answer.json["reminders"] == {"created": 1, "skipped": past}
    assert [row.interval for row in rows(tenant, status="pending")] == ["D-1"]
    assert [row.reason for row in rows(tenant, status="skipped")] == ["past_due", "past_due"]


@pytest.mark.parametrize(
    ("interval", "pointer", "code"),
    [("D7", "/reminders/1", "interval_invalid"), ("H-0", "/reminders/1", "interval_invalid")],
)
def test_what_is_no_interval_is_refused_and_nothing_is_kept(client, tenant, interval, pointer, code) -> None:
    factories.make_template(tenant)

    body = factories.order(reminders=["D-1", interval])
    answer = client.post("/api/wa/send/confirm", json=body, headers=tenant.headers)

    assert answer.status_code == 422
    assert [(each["pointer"], each["code"]) for each in answer.json["errors"]] == [(pointer, code)]
    assert rows(tenant) == []


def test_repeating_a_plan_changes_nothing(tenant) -> None:
    assert plan(tenant, "D-7", "D-1").created == 2
    assert plan(tenant, "D-7", "D-1").created == 0
    assert plan(tenant, "D-1", "D-01", "D-1").created == 0

    assert [row.interval for row in rows(tenant, status="pending")] == ["D-1"]


def test_a_moved_event_replaces_what_is_pending(tenant) -> None:
    plan(tenant, "D-7", "D-1")

    moved = plan(tenant, "D-7", "D-1", of=event(START + timedelta(days=7), version=1))

    assert moved.created == 2
    assert [row.reason for row in rows(tenant, status="cancelled")] == ["superseded", "superseded"]
    assert [row.send_at for row in rows(tenant, status="pending")] == [utc(2027, 4, 4, 7), utc(2027, 4, 10, 7)]
    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Event)).one().version == 1


def test_a_moved_event_leaves_other_peoples_reminders_and_other_modes_alone(tenant) -> None:
    plan(tenant, "D-1", phone="+40722123457")
    plan(tenant, "D-1")

    plan(tenant, "D-1", of=event(START + timedelta(days=7), version=1))

    assert len(rows(tenant, status="pending")) == 2
    assert len(rows(tenant, status="cancelled")) == 1


def test_an_older_description_of_an_event_is_refused(tenant) -> None:
    plan(tenant, "D-1", of=event(START, version=3))

    with pytest.raises(Conflict) as problem:
        plan(tenant, "D-1", of=event(START + timedelta(days=1), version=2))

    assert problem.value.code == "stale_event_version"
    assert len(rows(tenant, status="pending")) == 1


def test_a_wrong_interval_is_named(tenant) -> None:
    with pytest.raises(Invalid) as problem:
        plan(tenant, "D-1", "W-1")

    assert problem.value.findings[0].pointer == "/reminders/1"


# --- clocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phone", "given", "interval", "send_at", "source"),
    [
        ("+40722123456", None, "D-1", utc(2027, 4, 3, 7), "number"),
        ("+12125550123", None, "D-1", utc(2027, 4, 3, 14), "number"),
        ("+12125550123", "Asia/Tokyo", "D-1", utc(2027, 4, 4, 1), "given"),
        ("+40722123456", None, "H-3", utc(2027, 4, 4, 14), "number"),
        ("+40722123456", None, "D+1", utc(2027, 4, 5, 7), "number"),
        ("+40722123456", None, "D-7", utc(2027, 3, 28, 7), "number"),
    ],
)
def test_everybody_is_reminded_by_their_own_clock(tenant, phone, given, interval, send_at, source) -> None:
    plan(tenant, interval, phone=phone, timezone=given)

    (row,) = rows(tenant)
    assert (row.send_at, row.zone_source, row.status) == (send_at, source, "pending")


def test_quiet_hours_move_a_reminder_out_of_the_night(tenant) -> None:
    late_show = event(utc(2027, 4, 5, 2))  # five in the morning: three hours before is 02:00

    plan(tenant, "H-3", of=late_show)

    (row,) = rows(tenant)
    assert row.send_at == utc(2027, 4, 4, 17, 59)  # 20:59, the last open minute before 21:00


def test_no_open_minute_left_is_said(tenant) -> None:
    """It is 22:30 already: the morning comes too late, and the evening is over."""
    plan(tenant, "H-3", of=event(utc(2027, 4, 5, 2)), now=utc(2027, 4, 4, 19, 30))

    (row,) = rows(tenant)
    assert (row.status, row.reason) == ("skipped", "quiet_hours")


# --- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("ro_RO", "4 aprilie 2027, 20:00"),
        ("en-GB", "4 April 2027, 20:00"),
        ("hu", "4 április 2027, 20:00"),
        ("xx", "4 April 2027, 20:00"),
        (None, "4 April 2027, 20:00"),
    ],
)
def test_the_date_is_said_where_the_event_is_in_the_readers_words(language: str | None, words: str) -> None:
    assert planning.date_in_words(START, "Europe/Bucharest", language) == words
