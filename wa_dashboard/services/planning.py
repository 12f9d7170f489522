"""Planning reminders: events, and one row in `wa_schedules` for each person and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime
from sqlalchemy import select, update

from .. import clock
from ..db import db, insert_rows, transaction
from ..domain.ids import new_id
from ..domain.orders import OrderEvent
from ..domain.text import T
from ..domain.timing import BadInterval, Interval, out_of_quiet_hours, zone_of
from ..errors import Conflict, invalid
from ..models import Contact, Event, Schedule, Tenant

MIN_LEAD = timedelta(hours=2)


@dataclass(frozen=True)
class Attendee:
    """Somebody who will come: the person, the order, what the templates may say, the language and zone if known."""

    contact: Contact
    order_id: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    locale: str | None = None
    timezone: str | None = None


@dataclass(frozen=True)
class Planned:
    """How many reminders were made, and which were not: ``[{"interval", "reason"}]``."""

    created: int
    skipped: list[dict[str, str]]


def plan(
    tenant: Tenant,
    event: OrderEvent,
    attendees: Sequence[Attendee],
    *,
    intervals: Sequence[str],
    live: bool,
) -> Planned:
    """Make the reminders that are still to come. Safe to repeat; another start time replaces what is pending.

    Raises Invalid for an interval that is none, Conflict ``stale_event_version`` for an older event than is known.
    """
    parsed = [_interval(index, text) for index, text in enumerate(intervals)]
    with transaction():
        row = keep_event(tenant, event)
        created, skipped = 0, []
        for attendee in attendees:
            rows = []
            for interval in parsed:
                planned = _schedule(tenant, row, attendee, interval, live)
                rows.append(planned)
                if planned["status"] == "skipped":
                    skipped.append({"interval": interval.text, "reason": planned["reason"]})
            _supersede(row, attendee, live, [planned["natural_key"] for planned in rows])
            made = set(insert_rows(Schedule, rows, once=["tenant_id", "natural_key"]))
            created += sum(1 for planned in rows if planned["id"] in made and planned["status"] == "pending")
    return Planned(created, skipped)


def keep_event(tenant: Tenant, event: OrderEvent) -> Event:
    """The event as the checkout last described it. Raises Conflict when a newer version is known."""
    facts = {
        "version": event.version,
        "name": event.name,
        "starts_at": event.starts_at,
        "ends_at": event.ends_at,
        "timezone": event.timezone,
        "venue": dict(event.venue) or None,
    }
    new = {"id": new_id("evn"), "tenant_id": tenant.id, "ref": event.ref, "created_at": clock.now(), **facts}
    insert_rows(Event, [new], once=["tenant_id", "ref"])
    row = db.session.scalars(select(Event).where(Event.ref == event.ref).with_for_update()).one()
    if row.version > event.version:
        detail = T("Version %(known)s of this event is known already.", known=row.version)
        raise Conflict(detail, "stale_event_version", extra={"known_version": row.version})
    for name, value in facts.items():
        setattr(row, name, value)
    db.session.flush()
    return row


def _interval(index: int, text: str) -> Interval:
    try:
        return Interval.parse(text)
    except BadInterval as error:
        detail = T("%(text)s is not an interval: write D-7, H-3 or D+1.", text=text[:20])
        raise invalid(f"/reminders/{index}", "interval_invalid", detail) from error


def _schedule(tenant: Tenant, event: Event, attendee: Attendee, interval: Interval, live: bool) -> dict[str, Any]:
    now = clock.now()
    given = attendee.timezone or attendee.contact.timezone
    zone = zone_of(given, attendee.contact.phone, event.timezone, tenant.timezone, event.starts_at)
    wanted = interval.instant(event.starts_at, zone.name, time.fromisoformat(tenant.reminder_hour))
    latest = max(event.starts_at - MIN_LEAD, wanted) if interval.days > 0 else event.starts_at - MIN_LEAD
    if interval.hours:
        latest = max(latest, wanted)
    quiet = time.fromisoformat(tenant.quiet_from), time.fromisoformat(tenant.quiet_to)
    send_at = out_of_quiet_hours(wanted, latest, zone.candidates, *quiet)
    reason = "past_due" if wanted <= now else "quiet_hours" if send_at is None or send_at <= now else None
    schedule_id = new_id("sch")
    language = (attendee.locale or attendee.contact.locale or "").replace("-", "_") or None
    return {
        "id": schedule_id,
        "tenant_id": tenant.id,
        "event_id": event.id,
        "contact_id": attendee.contact.id,
        "order_id": attendee.order_id,
        "live": live,
        "interval": interval.text,
        "natural_key": _natural_key(event, attendee, interval, live),
        "send_at": send_at or wanted,
        "zone": zone.name,
        "zone_source": zone.source,
        "status": "skipped" if reason else "pending",
        "reason": reason,
        "language": language,
        "created_at": now,
        "updated_at": now,
        "variables_sealed": Schedule.variables.seal(Schedule, tenant.id, schedule_id, dict(attendee.values)),
    }


def _natural_key(event: Event, attendee: Attendee, interval: Interval, live: bool) -> str:
    """One reminder per person, interval and start: an event that moves is a new reason to be reminded."""
    mode = "live" if live else "test"
    return f"{mode}:{event.ref}:{attendee.contact.id}:{interval.text}:{event.starts_at.isoformat()}"


def _supersede(event: Event, attendee: Attendee, live: bool, keep: Sequence[str]) -> None:
    db.session.execute(
        update(Schedule)
        .where(
            Schedule.event_id == event.id,
            Schedule.contact_id == attendee.contact.id,
            Schedule.live == live,
            Schedule.status == "pending",
            Schedule.natural_key.not_in(keep),
        )
        .values(status="cancelled", reason="superseded", updated_at=clock.now()),
        execution_options={"synchronize_session": False},
    )


def event_values(event: OrderEvent, language: str | None) -> dict[str, str]:
    """The standard variables of an event: ``event_name``, ``event_date`` (local, in words), ``venue_name``."""
    values = {"event_name": event.name, "event_date": date_in_words(event.starts_at, event.timezone, language)}
    if event.venue.get("name"):
        values["venue_name"] = event.venue["name"]
    return values


def date_in_words(instant: datetime, zone: str, language: str | None) -> str:
    """``4 aprilie 2027, 20:00``: the wall clock where the event is, in the reader's language."""

    try:
        locale = Locale.parse((language or "en").replace("-", "_").split("_")[0])
    except (UnknownLocaleError, ValueError):
        locale = Locale("en")
    return format_datetime(instant.astimezone(ZoneInfo(zone)), "d MMMM yyyy, HH:mm", locale=locale)
