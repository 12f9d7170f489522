"""The fence after a restore: what a backup says is still to be sent was perhaps sent since, so nothing of it leaves.

Going up it holds every message that is not over, of every organiser, and makes the reminders wait. It comes down one
organiser at a time (`release`). What is ordered after it went up goes out as always (durability.md §3.18).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import case, delete, func, select, update

from .. import clock, logs
from ..bulk import among
from ..db import all_tenants, db, db_now, end_read, tenant_scope, transaction, upsert
from ..domain.statuses import Rank, Status
from ..models import Attempt, Heartbeat, InstanceFact, Outbox, Schedule, Tenant
from . import lifecycle

log = logs.get(__name__)

REASON = "restore"
BACKED_UP = "backed_up_at"
_FENCE = "fence:"
_AT_ONCE = 500
_LIVE_STATES = ("queued", "claimed", "sending", "uncertain")
_QUIET = {"synchronize_session": False}
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Fence:
    """One organiser's. ``since``: when it went up; ``backup_at``: the last moment the restored rows know of, None if
    they do not say. ``held`` messages and overdue ``reminders`` wait."""

    tenant_id: str
    since: datetime
    backup_at: datetime | None
    cause: str
    held: int
    reminders: int


def put_up(cause: str) -> list[Fence]:
    """Hold everything. ``cause``: ``restore``, or ``database_behind`` when we found out by ourselves.

    One transaction, joined if one is open. Organisers for whom nothing waits get no fence.
    """
    with all_tenants("a restore concerns everybody"), transaction():
        backup_at = _last_sign_of_life()
        tenants = list(db.session.scalars(select(Tenant.id).order_by(Tenant.id)))
        found = []
        for tenant_id in tenants:
            with tenant_scope(tenant_id):
                held, reminders = _hold(tenant_id), _overdue(tenant_id, clock.now())
                if held or reminders:
                    found.append(Fence(tenant_id, clock.now(), backup_at, cause, held, reminders))
        for fence in found:
            _write(fence)
    log.error(
        "restore_fence_up",
        cause=cause,
        backup_at=backup_at and backup_at.isoformat(),
        held=sum(fence.held for fence in found),
        reminders=sum(fence.reminders for fence in found),
        advice="nothing of it is sent: python3 app.py doctor names the organisers, release --tenant T lets one go",
    )
    return found


def _last_sign_of_life() -> datetime | None:
    """When the rows were last at work: the sweeps write it every few seconds, a backup before it begins."""
    beat = db.session.scalar(select(Heartbeat.at).where(Heartbeat.name == "tick"))
    return max(filter(None, (beat, last_backup())), default=None)


def _hold(tenant_id: str) -> int:
    rows = db.session.execute(
        select(Outbox.message_id, Outbox.state)
        .where(Outbox.tenant_id == tenant_id, Outbox.state.in_(_LIVE_STATES))
        .order_by(Outbox.message_id)
        .with_for_update()
    ).all()
    for chunk in in_chunks(rows):
        ids = [row.message_id for row in chunk]
        _close_attempts([row.message_id for row in chunk if row.state == "sending"])
        hold(tenant_id, ids, [row.message_id for row in chunk if row.state in ("sending", "uncertain")])
    return len(rows)


def hold(tenant_id: str, message_ids: Sequence[str], in_doubt: Sequence[str] = ()) -> None:
    """These outbox rows of the tenant in scope wait for the operator. ``in_doubt``: an attempt of theirs had begun."""
    db.session.execute(
        update(Outbox)
        .where(among(Outbox.message_id, message_ids))
        .values(
            state="held",
            lease_token=None,
            lease_until=None,
            asked_at=None,
            uncertain_since=case(
                (among(Outbox.message_id, in_doubt), func.coalesce(Outbox.uncertain_since, db_now())), else_=None
            ),
        ),
        execution_options=_QUIET,
    )
    lifecycle.move(tenant_id, in_doubt, Status.QUEUED, "restored", reason=REASON, next_at=None)
    plain = sorted(set(message_ids) - set(in_doubt))
    lifecycle.annotate(plain, reason=REASON, reason_detail={}, next_at=None)
    lifecycle.tell(tenant_id, plain, "restored")


def _close_attempts(message_ids: Sequence[str]) -> None:
    """What was on the wire when the backup was made: nobody is left to hear the answer."""
    if message_ids:
        db.session.execute(
            update(Attempt)
            .where(among(Attempt.message_id, message_ids), Attempt.rank == Rank.INFLIGHT)
            .values(rank=int(Rank.AMBIGUOUS), outcome="ambiguous", error_code=REASON, ended_at=clock.now()),
            execution_options=_QUIET,
        )


def in_chunks(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    """The things, so many at once as one statement takes."""
    for start in range(0, len(things), _AT_ONCE):
        yield things[start : start + _AT_ONCE]


def _overdue(tenant_id: str, until: datetime) -> int:
    overdue = (Schedule.tenant_id == tenant_id, Schedule.status == "pending", Schedule.send_at <= until)
    return db.session.scalar(select(func.count()).select_from(Schedule).where(*overdue)) or 0


# --- what is known of it ----------------------------------------------------------------------------------------


def _write(fence: Fence) -> None:
    told = {
        "since": fence.since.isoformat(),
        "backup_at": fence.backup_at.isoformat() if fence.backup_at else None,
        "cause": fence.cause,
    }
    upsert(
        InstanceFact, {"name": f"{_FENCE}{fence.tenant_id}", "value": json.dumps(told)}, key=["name"], update=["value"]
    )


def fenced() -> list[str]:
    """The organisers whose fence is up: their reminders wait."""
    names = db.session.scalars(select(InstanceFact.name).where(InstanceFact.name.startswith(_FENCE)))
    return sorted(name.removeprefix(_FENCE) for name in names)


def state() -> list[Fence]:
    """Every fence that is up, with what waits behind it. Empty: nothing is held."""
    with all_tenants("fences are the operator's"):
        tenants = fenced()
        end_read()
    found = []
    for tenant_id in tenants:
        with tenant_scope(tenant_id):
            found.append(of(tenant_id))
            end_read()
    return [fence for fence in found if fence is not None]


def of(tenant_id: str) -> Fence | None:
    """The fence of the tenant in scope, None when none is up."""
    told = db.session.scalar(select(InstanceFact.value).where(InstanceFact.name == f"{_FENCE}{tenant_id}"))
    if told is None:
        return None
    facts = json.loads(told)
    since = datetime.fromisoformat(facts["since"])
    backup_at = datetime.fromisoformat(facts["backup_at"]) if facts["backup_at"] else None
    return Fence(tenant_id, since, backup_at, facts["cause"], waiting(tenant_id), _overdue(tenant_id, since))


def waiting(tenant_id: str, live: bool | None = None) -> int:
    """How many messages of the tenant in scope are held, in one mode or (None) in both."""
    held = [Outbox.tenant_id == tenant_id, Outbox.state == "held"]
    if live is not None:
        held.append(Outbox.live == live)
    return db.session.scalar(select(func.count()).select_from(Outbox).where(*held)) or 0


def take_down(tenant_id: str) -> None:
    """All of the tenant in scope is let go: its reminders go on. In a transaction."""
    db.session.execute(
        delete(InstanceFact).where(InstanceFact.name == f"{_FENCE}{tenant_id}"), execution_options=_QUIET
    )


def note_backup() -> datetime:
    """Write down when a backup begins, so that its restore knows; returns that moment."""
    now = clock.now()
    with all_tenants("a backup is the operator's"), transaction():
        upsert(InstanceFact, {"name": BACKED_UP, "value": now.isoformat()}, key=["name"], update=["value"])
    return now


def last_backup() -> datetime | None:
    """When a backup last began, None if never."""
    told = db.session.scalar(select(InstanceFact.value).where(InstanceFact.name == BACKED_UP))
    return datetime.fromisoformat(told) if told else None
