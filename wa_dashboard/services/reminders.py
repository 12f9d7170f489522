"""Turning due reminders into messages. The table is the truth; a tick only looks (states.md §6.3)."""

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta

from sqlalchemy import or_, select

from .. import clock, failpoints, logs
from ..bulk import among
from ..db import all_tenants, db, end_read, is_unavailable, savepoint, tenant_scope, transaction
from ..domain.orders import OrderEvent
from ..domain.statuses import MessageType
from ..domain.timing import is_open, out_of_quiet_hours, zone_of
from ..errors import WaError
from ..models import Contact, Event, Outbox, Schedule, Template, Tenant
from . import fence, sending
from .planning import MIN_LEAD

log = logs.get(__name__)

BATCH = 100
MOST_AT_ONCE = 1000  # in one call with a moved clock
GRACE = timedelta(hours=2)  # so late is still on time
ON_TIME = timedelta(minutes=10)  # the last minute before quiet hours may be reached a little after it
AFTERWARDS = timedelta(hours=24)  # how long a word of thanks is worth sending
_FOR_ONE_INTERVAL = re.compile(r"(?:.+_)?reminder_(?:d|h|d_after_)\d+")
AGAIN = timedelta(seconds=60)  # when a template was missing


def release_due() -> int:
    """Make messages of the reminders that are due, exactly one each. Any number may run, and die, at once."""
    with all_tenants("the tick serves everybody"):
        now = clock.now()
        due = (
            Schedule.status == "pending",
            Schedule.send_at <= now,
            or_(Schedule.reason.is_(None), Schedule.updated_at <= now - AGAIN),
            Schedule.tenant_id.not_in(fence.fenced()),
        )
        nothing = db.session.scalar(select(Schedule.id).where(*due).limit(1)) is None
        end_read()
        if nothing:
            return 0
        with transaction():
            rows = db.session.scalars(
                select(Schedule)
                .where(*due)
                .order_by(Schedule.send_at, Schedule.id)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            ).all()
            for row in rows:
                with tenant_scope(row.tenant_id):
                    _release(row, now)
            failpoints.hit("F12")
        return len(rows)


def hold_overdue(tenant: Tenant, until: datetime) -> int:
    """Make messages of the reminders due by ``until`` that nobody has released, held for the operator, since they may
    have been sent before a backup was restored. In the tenant's scope; returns how many schedules were dealt with."""
    due = (Schedule.tenant_id == tenant.id, Schedule.status == "pending", Schedule.send_at <= until)
    dealt = 0
    while True:
        with transaction():
            now = clock.now()
            again = or_(Schedule.updated_at < until, Schedule.reason.is_(None))
            wanted = select(Schedule).where(*due, again).order_by(Schedule.send_at, Schedule.id).limit(BATCH)
            rows = db.session.scalars(wanted.with_for_update(skip_locked=True)).all()
            for row in rows:
                _release(row, now)
            made = [row.message_id for row in rows if row.message_id and row.status == "dispatched"]
            fence.hold(tenant.id, _in_outbox(made))
        dealt += len(rows)
        if len(rows) < BATCH:
            return dealt


def _in_outbox(message_ids: Sequence[str]) -> list[str]:
    return list(db.session.scalars(select(Outbox.message_id).where(among(Outbox.message_id, message_ids))))


def release_test(tenant: Tenant, until: datetime) -> int:
    """Let a test tenant's time run up to ``until`` (aware): its test-mode reminders due by then become messages.

    In the tenant's scope. Each is released as of its own ``send_at``, in that order, so that a jump of weeks looks
    like the weeks; one that stumbled before is tried again as of ``until``. Live reminders are never touched.
    Returns how many were looked at (decisions.md D8).
    """
    due = (
        Schedule.tenant_id == tenant.id,
        Schedule.live.is_(False),
        Schedule.status == "pending",
        Schedule.send_at <= until,
    )
    first = select(Schedule).where(*due).order_by(Schedule.send_at, Schedule.id).limit(MOST_AT_ONCE)
    if db.session.scalar(select(Schedule.id).where(*due).limit(1)) is None:
        end_read()
        return 0
    with transaction():
        rows = db.session.scalars(first.with_for_update(skip_locked=True)).all()
        for row in rows:
            moment = row.send_at if row.reason is None else until
            with clock.at(moment):
                _release(row, moment)
    return len(rows)


def _release(row: Schedule, now: datetime) -> None:
    event = db.session.scalars(select(Event).where(Event.id == row.event_id)).one()
    row.updated_at = now
    if _too_late(row, event, now):
        row.status, row.reason = "missed", "too_late"
        log.warning("reminder_missed", schedule_id=row.id)
        return
    try:
        with savepoint():
            if _put_off(row, event, now):
                return
            sent = _send(row, event)
    except WaError as problem:
        row.reason = problem.code[:32]  # stays pending: it goes out when the template is there
        return
    except Exception as error:
        if is_unavailable(error):
            raise
        row.reason = "broken"  # one row that cannot be handled must not stop all others
        log.exception("reminder_broke", schedule_id=row.id)
        return
    row.status, row.message_id = "dispatched", sent.message.id
    row.reason = sent.refusal.reason[:32] if sent.refusal else None


def _too_late(row: Schedule, event: Event, now: datetime) -> bool:
    if _afterwards(row):
        return now > row.send_at + AFTERWARDS
    return now > event.starts_at - MIN_LEAD and now > row.send_at + GRACE


def _afterwards(row: Schedule) -> bool:
    return row.interval.startswith("D+")


def _put_off(row: Schedule, event: Event, now: datetime) -> bool:
    """After an outage it may be night where the person is: then in the morning, or not at all."""
    if now <= row.send_at + ON_TIME:
        return False
    tenant, contact = _tenant_and_contact(row)
    given = row.zone if row.zone_source == "given" else None
    zones = zone_of(given, contact.phone, event.timezone, tenant.timezone, event.starts_at).candidates
    quiet = time.fromisoformat(tenant.quiet_from), time.fromisoformat(tenant.quiet_to)
    if is_open(now, zones, *quiet):
        return False
    latest = row.send_at + AFTERWARDS if _afterwards(row) else event.starts_at - MIN_LEAD
    morning = out_of_quiet_hours(now, latest, zones, *quiet)
    if morning is None or morning <= now:
        row.status, row.reason = "missed", "quiet_hours"
        log.warning("reminder_missed", schedule_id=row.id)
    else:
        row.send_at = morning
    return True


def _tenant_and_contact(row: Schedule) -> tuple[Tenant, Contact]:
    tenant = db.session.scalars(select(Tenant).where(Tenant.id == row.tenant_id)).one()
    return tenant, db.session.scalars(select(Contact).where(Contact.id == row.contact_id)).one()


def _send(row: Schedule, event: Event) -> sending.Sent:
    tenant, contact = _tenant_and_contact(row)
    ends = clock.now() + AFTERWARDS if _afterwards(row) else event.starts_at
    wish = sending.Wish(
        type=MessageType.REMINDER,
        dedupe_key=f"schedule:{row.id}",
        contact=contact,
        live=row.live,
        languages=languages_for(row.language, tenant),
        values=row.variables or {},
        asked_by=f"schedule:{row.id}",
        template_name=template_for(row.interval),
        order_id=row.order_id,
        event=_facts(event),
        expires_at=max(ends, clock.now() + timedelta(minutes=5)),
    )
    return sending.accept(tenant, wish)


def _facts(event: Event) -> OrderEvent:
    return OrderEvent(event.ref, event.name, event.starts_at, event.timezone, event.ends_at, event.venue or {})


def template_for(interval: str) -> str:
    """The template that says how long there still is: ``reminder_d7`` for ``D-7``, else the newest of a pack, such as
    ``concert_reminder_d7``. Without one, a reminder that is not written for another interval, the newest first:
    nobody may read "tomorrow" a week before."""
    own = f"reminder_{interval.lower().replace('-', '').replace('+', '_after_')}"
    wanted = select(Template.name).where(Template.type == MessageType.REMINDER)
    names = list(db.session.scalars(wanted.order_by(Template.created_at.desc())))
    if own in names:
        return own
    if (of_a_pack := next((name for name in names if name.endswith(f"_{own}")), None)) is not None:
        return of_a_pack
    return next((name for name in names if not _FOR_ONE_INTERVAL.fullmatch(name)), own)


def languages_for(language: str | None, tenant: Tenant) -> Sequence[str]:
    """The languages to try for a reminder planned in this one, best first."""
    chain: list[str] = []
    for locale in (language, tenant.locale):
        if locale:
            chain += [locale, locale.split("_")[0]]
    return list(dict.fromkeys(chain))
