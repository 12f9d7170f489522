"""The restore fence: a restored database believes that what was sent since its backup still waits to be sent.

A counter, the epoch, is kept in the database and outside it: in a file of the data folder, and in Redis. Whoever sends
compares them when it starts and every half minute, and moves them on. A database that is behind was restored: all
that waited in it is held until somebody who knows releases it (durability.md §3.18).
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import delete, func, select, update

from .. import clock, logs, queues
from ..bulk import among
from ..db import all_tenants, clock_of_database, db, db_now, end_read, insert_rows, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.statuses import Rank, Status
from ..domain.text import T
from ..errors import NotFound
from ..models import Attempt, InstanceFact, Message, Outbox, Schedule, Tenant
from . import accounts, audit, lifecycle

log = logs.get(__name__)

EVERY_S = 30.0
HELD = ("queued", "claimed", "sending", "uncertain")
_EPOCH, _FENCE = "epoch", "fence:"
_QUIET = {"synchronize_session": False}
_next = 0.0


@dataclass(frozen=True)
class Fence:
    """``since``: when it went up; ``why``: ``restore`` (the command) or ``behind`` (found by the epoch)."""

    tenant_id: str
    since: datetime
    why: str


@dataclass(frozen=True)
class Released:
    """What a release does, or would do: messages to be sent, to be cleared up by receipts, too late, cancelled
    because that was asked for, and reminders that are left out because they may have gone."""

    queued: int
    uncertain: int
    expired: int
    cancelled: int
    reminders_missed: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


# --- the epoch --------------------------------------------------------------------------------------------------


def guard(*, now: bool = False) -> bool:
    """Compare the database with what is known outside it, and move both on; returns whether a fence went up.

    At most every half minute, unless ``now``. Raises what means that the database is away: then nothing may be sent.
    """
    global _next
    if not now and time.monotonic() < _next:
        return False
    outside = _outside()
    with all_tenants("the installation is everybody's"), transaction():
        name, count = _inside()
        behind = outside.get(name, 0) - count
        moved = max(count, outside.get(name, 0)) + 1
        db.session.execute(
            update(InstanceFact)
            .where(InstanceFact.name == _EPOCH)
            .values(value=json.dumps({"id": name, "count": moved})),
            execution_options=_QUIET,
        )
        if behind > 0:
            _put_up("behind")
    _tell_outside(name, moved)
    _next = time.monotonic() + EVERY_S
    if behind > 0:
        log.error("database_was_restored", behind=behind, advice="python3 app.py release --tenant T --dry-run")
    return behind > 0


def _inside() -> tuple[str, int]:
    """The database's own epoch, locked; a new database gets one."""
    fresh = {"name": _EPOCH, "value": json.dumps({"id": new_id("db"), "count": 0})}
    insert_rows(InstanceFact, [fresh], once=["name"])
    row = db.session.scalars(
        select(InstanceFact).where(InstanceFact.name == _EPOCH).with_for_update(),
        execution_options={"populate_existing": True},
    ).one()
    known = json.loads(row.value)
    return str(known["id"]), int(known["count"])


def _file() -> Path:
    return accounts.settings().data_dir / "epoch.json"


def _outside() -> dict[str, int]:
    """The furthest epoch known outside, by database. What cannot be read says nothing."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(_file().read_text(encoding="utf-8"))
        found[str(known["id"])] = int(known["count"])
    with suppress(redis.RedisError, OSError, ValueError):  # one that is away or was emptied forgets; the file does not
        for raw, count in queues.client().hgetall("wa:epochs").items():
            name = str(raw, "utf-8") if isinstance(raw, bytes) else raw
            found[name] = max(found.get(name, 0), int(count))
    return found


def _tell_outside(name: str, count: int) -> None:
    """After the commit: what stands outside is never ahead of what the database has really reached."""
    path = _file()
    try:
        waiting = path.with_suffix(f".{new_id('tmp')}")
        waiting.write_text(json.dumps({"id": name, "count": count}), encoding="utf-8")
        waiting.replace(path)
    except OSError as error:
        log.warning("epoch_not_written", error=type(error).__name__)
    with suppress(redis.RedisError, OSError):
        queues.client().hset("wa:epochs", name, str(count))


# --- up and down ------------------------------------------------------------------------------------------------


def put_up(why: str = "restore") -> int:
    """Hold everything that waits, of everybody; returns how many messages."""
    with all_tenants("a restored database is everybody's"), transaction():
        return _put_up(why)


def _put_up(why: str) -> int:
    since = json.dumps({"since": clock_of_database().isoformat(), "why": why})
    for tenant_id in db.session.scalars(select(Tenant.id)).all():
        insert_rows(InstanceFact, [{"name": f"{_FENCE}{tenant_id}", "value": since}], once=["name"])
    held = db.session.scalars(
        update(Outbox)
        .where(Outbox.state.in_(HELD))
        .values(state="held", lease_token=None, lease_until=None)
        .returning(Outbox.message_id),
        execution_options=_QUIET,
    ).all()
    db.session.execute(
        update(Message)
        .where(among(Message.id, held), Message.status == Status.QUEUED)
        .values(reason="restore", next_at=None, updated_at=clock.now()),
        execution_options=_QUIET,
    )
    return len(held)


def fences() -> list[Fence]:
    """Whose messages are held."""
    rows = db.session.execute(
        select(InstanceFact.name, InstanceFact.value).where(InstanceFact.name.startswith(_FENCE))
    ).all()
    found = [(row.name.removeprefix(_FENCE), json.loads(row.value)) for row in rows]
    return [Fence(tenant_id, datetime.fromisoformat(said["since"]), said["why"]) for tenant_id, said in found]


def is_up(tenant_id: str) -> bool:
    """Are this organisation's messages held? Its reminders wait too then."""
    return db.session.scalar(select(InstanceFact.name).where(InstanceFact.name == f"{_FENCE}{tenant_id}")) is not None


def release(tenant: Tenant, *, dry_run: bool = False, discard: bool = False, actor: str = "command") -> Released:
    """Let what is held go: what was never tried is sent, what was tried is in doubt (receipts or patience decide),
    what is too late expires; reminders due before the fence went up are left out, since they may have gone.

    ``discard``: cancel what was never tried instead of sending it. Raises NotFound without a fence.
    """
    with tenant_scope(tenant.id), transaction():
        up = next((fence for fence in fences() if fence.tenant_id == tenant.id), None)
        if up is None:
            raise NotFound(T("Nothing of this organisation is held back."), "no_fence")
        rows = _held(tenant)
        late = {row.message_id for row in rows if row.expires_at is not None and row.expires_at <= clock_of_database()}
        tried = {row.message_id for row in rows if row.attempt_no > 0 and _may_have_left(row)}
        free = [row.message_id for row in rows if row.message_id not in late | tried]
        result = Released(
            0 if discard else len(free), len(tried), len(late - tried), len(free) if discard else 0, _due(tenant, up)
        )
        if not dry_run:
            _let_go(tenant, free, tried, late - tried, discard=discard)
            _leave_out(tenant, up)
            db.session.execute(delete(InstanceFact).where(InstanceFact.name == f"{_FENCE}{tenant.id}"))
            audit.record(tenant.id, actor, "restore.released", tenant.id, **result.as_dict())
            for account_id in {row.account_id for row in rows if row.account_id}:
                queues.wake_lane(account_id)
    return result


def _held(tenant: Tenant) -> list[Outbox]:
    wanted = select(Outbox).where(Outbox.tenant_id == tenant.id, Outbox.state == "held").order_by(Outbox.message_id)
    return list(db.session.scalars(wanted.with_for_update(), execution_options={"populate_existing": True}))


def _may_have_left(row: Outbox) -> bool:
    """The last attempt the backup knew of was under way, or in doubt already."""
    rank = db.session.scalar(
        select(Attempt.rank).where(Attempt.message_id == row.message_id, Attempt.attempt_no == row.attempt_no)
    )
    return rank in (Rank.INFLIGHT, Rank.AMBIGUOUS)


def _let_go(tenant: Tenant, free: list[str], tried: set[str], late: set[str], *, discard: bool) -> None:
    if discard:
        cancelled = lifecycle.move(tenant.id, free, Status.CANCELLED, "cancelled", reason="restore", next_at=None)
        lifecycle.drop_from_outbox(cancelled)
    else:
        _set_state(free, state="queued", next_at=db_now())
        # It may have gone between the backup and the restore: whoever asks later should know.
        lifecycle.annotate(free, reason=None, possible_duplicate=True)
        lifecycle.tell(tenant.id, free, "restore_released")
    _set_state(list(tried), state="uncertain", uncertain_since=db_now(), next_at=db_now())
    db.session.execute(
        update(Attempt)
        .where(among(Attempt.message_id, tried), Attempt.rank == Rank.INFLIGHT)
        .values(rank=int(Rank.AMBIGUOUS), outcome="ambiguous", error_code="restored", ended_at=clock.now()),
        execution_options=_QUIET,
    )
    lifecycle.move(tenant.id, list(tried), Status.UNCERTAIN, "uncertain", reason="no_answer")
    expired = lifecycle.move(tenant.id, list(late), Status.EXPIRED, "expired", reason="too_late", next_at=None)
    lifecycle.drop_from_outbox(expired)


def _set_state(message_ids: list[str], **values: Any) -> None:
    db.session.execute(
        update(Outbox).where(among(Outbox.message_id, message_ids), Outbox.state == "held").values(**values),
        execution_options=_QUIET,
    )


def _overdue(tenant: Tenant, fence: Fence) -> Any:
    return (
        Schedule.tenant_id == tenant.id,
        Schedule.status == "pending",
        Schedule.send_at <= fence.since,
    )


def _due(tenant: Tenant, fence: Fence) -> int:
    return db.session.scalar(select(func.count()).select_from(Schedule).where(*_overdue(tenant, fence))) or 0


def _leave_out(tenant: Tenant, fence: Fence) -> None:
    db.session.execute(
        update(Schedule)
        .where(*_overdue(tenant, fence))
        .values(status="missed", reason="restore", updated_at=clock.now()),
        execution_options=_QUIET,
    )


def held_counts() -> Mapping[str, int]:
    """How many messages are held, by organisation."""
    with all_tenants("the doctor looks at everybody"):
        rows = db.session.execute(
            select(Outbox.tenant_id, func.count()).where(Outbox.state == "held").group_by(Outbox.tenant_id)
        ).all()
        end_read()
    return {row[0]: row[1] for row in rows}
