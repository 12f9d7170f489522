"""Steps of `schedule` on the product."""

import time
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from .. import clock
from ..db import db, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.orders import OrderEvent
from ..models import Contact, Event, Schedule, Tenant
from .product import people, product

_INTERVALS = ("D-7", "D-3", "D-1")
_VALUES = {"first_name": "Ana", "event_name": "Hamlet"}


def round_of(tenant_id: str, number: int, attendees: int) -> dict[str, Any]:
    """Reminders per second: planned in bulk, written one by one through the ORM, released once due."""
    from ..services import planning, reminders

    with product():
        with tenant_scope(tenant_id):
            tenant = db.session.scalars(select(Tenant).where(Tenant.id == tenant_id)).one()
            persons = people(tenant_id, attendees)
            event = _show(f"EVT-{number}")
            who = [planning.Attendee(each, f"A-{index}", _VALUES, "ro") for index, each in enumerate(persons)]
            began = time.monotonic()
            planned = planning.plan(tenant, event, who, intervals=_INTERVALS, live=False)
            bulk = planned.created / (time.monotonic() - began)
            one_by_one = _through_orm(tenant_id, number, persons[: max(10, attendees // 10)])
            due = _make_due(f"EVT-{number}", min(attendees, 500))
        began = time.monotonic()
        released = 0
        while some := reminders.release_due():
            released += some
        seconds = time.monotonic() - began
    return {"planned": bulk, "orm": one_by_one, "released": released / seconds, "due": due, "created": planned.created}


def _show(ref: str) -> OrderEvent:
    return OrderEvent(ref, "Hamlet", clock.now() + timedelta(days=30), "Europe/Bucharest", version=1)


def _through_orm(tenant_id: str, number: int, persons: list[Contact]) -> float:
    """The baseline: an object and a commit for each reminder, its time worked out beforehand."""
    now = clock.now()
    with transaction():
        event = Event(id=new_id("evn"), tenant_id=tenant_id, ref=f"ORM-{number}", name="Hamlet")
        event.starts_at, event.timezone, event.created_at = now + timedelta(days=30), "Europe/Bucharest", now
        db.session.add(event)
    began, made = time.monotonic(), 0
    for person in persons:
        for interval in _INTERVALS:
            row = Schedule(
                id=new_id("sch"),
                tenant_id=tenant_id,
                event_id=event.id,
                contact_id=person.id,
                live=False,
                interval=interval,
                natural_key=f"orm:{number}:{person.id}:{interval}",
                send_at=event.starts_at - timedelta(days=int(interval[2:])),
                zone="Europe/Bucharest",
                zone_source="event",
                status="pending",
                created_at=now,
                updated_at=now,
            )
            row.variables = _VALUES
            with transaction():
                db.session.add(row)
            made += 1
    return made / (time.monotonic() - began)


def _make_due(ref: str, count: int) -> int:
    """Let ``count`` of the planned reminders be due now."""
    with transaction():
        mine = select(Schedule.id).join(Event, Event.id == Schedule.event_id).where(Event.ref == ref)
        ids = list(db.session.scalars(mine.where(Schedule.status == "pending").limit(count)))
        for start in range(0, len(ids), 500):
            db.session.execute(
                update(Schedule)
                .where(Schedule.id.in_(ids[start : start + 500]))
                .values(send_at=clock.now() - timedelta(seconds=1)),
                execution_options={"synchronize_session": False},
            )
    return len(ids)
