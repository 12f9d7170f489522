"""What was left lying: dead workers' leases, unknown outcomes, messages that came too late (durability.md §3.6, §3.12).

Every step is safe to run in any number at once and to be killed in.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select, update

from .. import clock, failpoints, logs
from ..db import all_tenants, clock_of_database, db, db_now, end_read, tenant_scope, transaction
from ..domain.pace import Pace
from ..domain.statuses import Policy, Rank, Status
from ..models import Attempt, Message, Outbox, WebhookEvent
from . import lifecycle, outcomes, receipt_stream

log = logs.get(__name__)

_MOST = 500
_STRETCH = 3  # times the patience while no receipt at all comes back (states.md §6.1.1)
_LONGEST_WAIT_S = 2 * 86_400.0  # of anything that is queued


def reap(pace: Pace) -> dict[str, int]:
    """One pass over everything. Returns how many rows each step dealt with."""
    counts = {
        "reclaimed": _free_claims(),
        "doubted": _doubt_lost_sends(pace),
        "resolved": _resolve_doubts(pace),
        "expired": _expire(),
        "clamped": _clamp(pace),
    }
    if any(counts.values()):
        log.info("reaped", **counts)
    return counts


def _free_claims() -> int:
    """A claim whose worker is gone: nothing had left, so back into the queue at once."""
    with all_tenants("the reaper serves everybody"):
        over = (Outbox.state == "claimed", Outbox.lease_until < db_now())
        if not _any(*over):
            return 0
        with transaction():
            ids = _some(*over)
            freed = db.session.scalars(
                update(Outbox)
                .where(Outbox.message_id.in_(ids), *over)
                .values(state="queued", lease_token=None, lease_until=None)
                .returning(Outbox.message_id),
                execution_options={"synchronize_session": False},
            )
            return len(freed.all())


def _doubt_lost_sends(pace: Pace) -> int:
    """An attempt whose worker is gone: it may have left, so nobody knows."""
    with all_tenants("the reaper serves everybody"):
        over = (Outbox.state == "sending", Outbox.lease_until < db_now())
        if not _any(*over):
            return 0
        with transaction():
            rows = _rows(_some(*over), *over)
            for row in rows:
                with tenant_scope(row.tenant_id):
                    _close_as_lost(row)
                    outcomes.doubt(row, _message(row.message_id), "lease_expired", pace)
            failpoints.hit("F13")
            return len(rows)


def _close_as_lost(row: Outbox) -> None:
    db.session.execute(
        update(Attempt)
        .where(
            Attempt.message_id == row.message_id,
            Attempt.attempt_no == row.attempt_no,
            Attempt.rank == Rank.INFLIGHT,
        )
        .values(rank=int(Rank.AMBIGUOUS), outcome="ambiguous", error_code="lease_expired", ended_at=clock.now()),
        execution_options={"synchronize_session": False},
    )


def _resolve_doubts(pace: Pace) -> int:
    """Decide what may be decided: by evidence first, by patience last."""
    with all_tenants("the reaper serves everybody"):
        asked = (Outbox.state == "uncertain", Outbox.next_at < db_now())
        if not _any(*asked):
            return 0
        with transaction():
            rows = _rows(_some(*asked), *asked)
            now = clock_of_database()
            marks = {account_id: _watermark(account_id) for account_id in {row.account_id for row in rows}}
            resolved = 0
            for row in rows:
                with tenant_scope(row.tenant_id):
                    resolved += _resolve(row, marks[row.account_id], now, pace)
            return resolved


def _watermark(account_id: str | None) -> datetime | None:
    """Receipts have been seen for attempts begun as late as this, and every webhook so far has been read.

    None while webhooks of the account wait to be read: what they say may be the very evidence.
    """
    backlog = select(WebhookEvent.id).where(WebhookEvent.account_id == account_id, WebhookEvent.state == "new").limit(1)
    if db.session.scalar(backlog) is not None:
        return None
    return db.session.scalar(
        select(func.max(Attempt.started_at)).where(Attempt.account_id == account_id, Attempt.receipt_seen.is_(True))
    )


def _resolve(row: Outbox, watermark: datetime | None, now: datetime, pace: Pace) -> bool:
    started = db.session.scalars(
        select(Attempt.started_at).where(Attempt.message_id == row.message_id, Attempt.attempt_no == row.attempt_no)
    ).one()
    passed = watermark is not None and (watermark - started).total_seconds() > pace.margin
    since = row.uncertain_since or started
    if row.policy == Policy.NEVER_TWICE and row.expires_at is not None and row.expires_at <= now:
        decide(row, evidence=passed, pace=pace)  # a code whose time is over: no evidence would change anything
        return True
    patience = pace.hold if row.policy == Policy.MUST_DELIVER else pace.long_hold
    waited = (now - since).total_seconds()
    if not passed and waited <= patience:
        return False
    if not passed and waited <= patience * _STRETCH and receipt_stream.is_dead(row.account_id, since):
        _say_silent(row)
        return False
    decide(row, evidence=passed, pace=pace)
    return True


def _say_silent(row: Outbox) -> None:
    """Nothing at all comes back from this account: that this one's receipt is missing says nothing yet."""
    message = _message(row.message_id)
    if message.reason != "receipts_stopped":
        lifecycle.annotate([row.message_id], reason="receipts_stopped")
        lifecycle.tell(row.tenant_id, [row.message_id], "waits_for_receipts", attempt_no=row.attempt_no)


def decide(row: Outbox, *, evidence: bool, pace: Pace, asked: bool = False) -> None:
    """End a doubt as its policy says: ``evidence`` that it was never sent, or merely no more patience.

    ``asked``: the evidence is the provider's own list. In a transaction that holds the row, in its tenant's scope.
    """
    message = _message(row.message_id)
    _close_doubt(row)
    again = row.policy == Policy.MUST_DELIVER or (row.policy == Policy.EVIDENCE and evidence)
    late = row.expires_at is not None and row.expires_at <= clock_of_database()
    if again and not message.cancel_requested and row.attempt_no < pace.tries and not late:
        _send_again(row, message, by_evidence=evidence, asked=asked)
    else:
        _give_up(row, message)


def _close_doubt(row: Outbox) -> None:
    """The attempt no longer counts as perhaps under way; a receipt that comes all the same outranks this."""
    db.session.execute(
        update(Attempt)
        .where(
            Attempt.message_id == row.message_id,
            Attempt.attempt_no == row.attempt_no,
            Attempt.rank == Rank.AMBIGUOUS,
        )
        .values(rank=int(Rank.NOT_SENT)),
        execution_options={"synchronize_session": False},
    )


def _send_again(row: Outbox, message: Message, *, by_evidence: bool, asked: bool) -> None:
    """The receipts have passed it by (it was not sent), or the hold is over (it may go twice, and says so)."""
    row.state, row.uncertain_since, row.asked_at = "queued", None, None
    message.possible_duplicate = message.possible_duplicate or not by_evidence
    db.session.flush()
    lifecycle.move(
        row.tenant_id,
        [row.message_id],
        Status.QUEUED,
        "sent_again",
        reason="not_listed" if asked else "no_receipt" if by_evidence else "hold_over",
        next_at=clock.now(),
    )


def _give_up(row: Outbox, message: Message) -> None:
    lifecycle.move(
        row.tenant_id, [row.message_id], Status.UNCONFIRMED, "unconfirmed", reason="no_receipt", next_at=None
    )
    lifecycle.drop_from_outbox([message.id])


def _expire() -> int:
    """Too late to be of use, and nothing has left."""
    with all_tenants("the reaper serves everybody"):
        late = (Outbox.state == "queued", Outbox.expires_at <= db_now())
        if not _any(*late):
            return 0
        with transaction():
            rows = _rows(_some(*late), *late)
            for row in rows:
                with tenant_scope(row.tenant_id):
                    lifecycle.move(
                        row.tenant_id, [row.message_id], Status.EXPIRED, "expired", reason="too_late", next_at=None
                    )
                    lifecycle.drop_from_outbox([row.message_id])
            return len(rows)


def _clamp(pace: Pace) -> int:
    """A clock that jumped back leaves leases and waits in a far future: nothing of ours ever waits so long."""
    with all_tenants("the reaper serves everybody"):
        longest_wait = max(pace.cap, _LONGEST_WAIT_S)
        waits = ("queued", "uncertain")
        absurd = or_(
            Outbox.lease_until > db_now(pace.lease * 2),
            Outbox.state.in_(waits) & (Outbox.next_at > db_now(longest_wait)),
        )
        if not _any(absurd):
            return 0
        with transaction():
            ids = list(db.session.scalars(select(Outbox.message_id).where(absurd).limit(_MOST)))
            db.session.execute(
                update(Outbox)
                .where(Outbox.message_id.in_(ids), Outbox.lease_until > db_now(pace.lease * 2))
                .values(lease_until=db_now(pace.lease)),
                execution_options={"synchronize_session": False},
            )
            db.session.execute(
                update(Outbox)
                .where(Outbox.message_id.in_(ids), Outbox.state.in_(waits), Outbox.next_at > db_now(longest_wait))
                .values(next_at=db_now()),
                execution_options={"synchronize_session": False},
            )
            return len(ids)


def _any(*conditions: object) -> bool:
    found = db.session.scalar(select(Outbox.message_id).where(*conditions).limit(1)) is not None  # type: ignore[arg-type]
    end_read()
    return found


def _some(*conditions: object) -> Sequence[str]:
    wanted = select(Outbox.message_id).where(*conditions)  # type: ignore[arg-type]
    return db.session.scalars(wanted.order_by(Outbox.message_id).limit(_MOST).with_for_update(skip_locked=True)).all()


def _rows(message_ids: Sequence[str], *conditions: object) -> list[Outbox]:
    wanted = select(Outbox).where(Outbox.message_id.in_(message_ids), *conditions)  # type: ignore[arg-type]
    return list(db.session.scalars(wanted.order_by(Outbox.message_id), execution_options={"populate_existing": True}))


def _message(message_id: str) -> Message:
    wanted = select(Message).where(Message.id == message_id).with_for_update()
    return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()
