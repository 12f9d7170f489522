"""A message's life: the one place where its status changes, each change with its line in the story.

What we decide moves by `domain.statuses.MOVES`; what a provider reports is merged by rank (`evidence`), so that any
order and any repetition of receipts ends in the same state (states.md §6.1).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select, update

from .. import clock
from ..bulk import delete_by_key, insert_table, update_by_key
from ..db import db, db_moment, db_now, insert_rows
from ..domain.causes import ENDED_BADLY
from ..domain.ids import new_id
from ..domain.statuses import PRIORITY, Lane, MessageType, Rank, Status, sources_of
from ..logs import mask_text
from ..models import Attempt, Message, MessageEvent, Outbox, ProviderAccount
from ..providers.base import StatusItem
from . import evidence, problems


def _has_not_left(row: Any) -> bool:
    """Nothing of it is under way or in doubt; a row that is held may be either."""
    return row.state in ("queued", "claimed") or (row.state == "held" and row.uncertain_since is None)


def tell(
    tenant_id: str,
    message_ids: Sequence[str],
    kind: str,
    *,
    at: datetime | None = None,
    attempt_no: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add a line to each message's story; ``detail`` as JSON."""
    now = clock.now()
    insert_table(
        MessageEvent,
        ("id", "message_id"),
        [(new_id("evt"), message_id) for message_id in message_ids],
        tenant_id=tenant_id,
        kind=kind,
        at=at or now,
        recorded_at=now,
        attempt_no=attempt_no,
        detail=dict(detail or {}),
    )


def move(tenant_id: str, message_ids: Sequence[str], to: Status, kind: str, **values: Any) -> list[str]:
    """Decide: those of the messages that may go to ``to`` go there, with ``values``; returns which did."""
    if not message_ids:
        return []
    now = clock.now()
    moved = list(
        db.session.scalars(
            update(Message)
            .where(Message.id.in_(message_ids), Message.status.in_(sources_of(to)))
            .values(status=to, status_at=now, updated_at=now, **values)
            .returning(Message.id),
            execution_options={"synchronize_session": False},
        )
    )
    detail = {key: value for key, value in values.items() if key in ("reason", "error_code") and value}
    tell(tenant_id, moved, kind, detail=detail)
    if to in ENDED_BADLY:
        problems.raise_for(tenant_id, moved)
    elif to == Status.QUEUED:
        problems.settle_for(moved)
    return moved


def annotate(message_ids: Sequence[str], **values: Any) -> None:
    """Change what is said of messages (reason, next_at, account) without moving them."""
    if message_ids:
        db.session.execute(
            update(Message).where(Message.id.in_(message_ids)).values(updated_at=clock.now(), **values),
            execution_options={"synchronize_session": False},
        )


def show_accepted(message_ids: Sequence[str], external_ids: Sequence[str | None], now: datetime) -> None:
    """Messages of which nothing was known yet were accepted under these ids of the provider. They are locked."""
    known: dict[str, Any] = {
        "status": Status.ACCEPTED,
        "status_at": now,
        "updated_at": now,
        "rank": int(Rank.ACCEPTED),
        "accepted_at": now,
    }
    gone = dict.fromkeys(("reason", "next_at", "error_class", "error_code", "error_detail"))
    same = {**known, **gone}
    update_by_key(
        Message,
        ("id",),
        ("external_id", *same),
        [(*pair, *same.values()) for pair in zip(message_ids, external_ids, strict=True)],
    )
    drop_from_outbox(message_ids)


def put_in_outbox(message: Message, life_s: float | None, *, after_s: float = 0.0) -> None:
    """The message, whose account is chosen, is ours to send after ``after_s`` seconds, at once if 0, and for ``life_s``
    seconds (None: without end)."""
    times = {"next_at": db_now(after_s), "expires_at": db_now(life_s) if life_s is not None else None}
    insert_rows(Outbox, [outbox_row(message) | times], once=["message_id"])


def outbox_row(message: Message) -> dict[str, Any]:
    """What the outbox holds of a message that is to be sent, but for the times."""
    return {
        "message_id": message.id,
        "tenant_id": message.tenant_id,
        "contact_id": message.contact_id,
        "purpose": message.purpose,
        "account_id": message.account_id,
        "template_id": message.template_id,
        "live": message.live,
        "priority": PRIORITY[Lane(message.lane)],
        "policy": message.policy,
        "state": "queued",
        "attempt_no": message.attempts,
        "failures": 0,
    }


def drop_from_outbox(message_ids: Collection[str]) -> None:
    """The messages need no further work of ours."""
    delete_by_key(Outbox, "message_id", list(message_ids))


def bury(tenant_id: str, message_id: str, code: str, detail: str, error_class: str | None = None) -> None:
    """Our tries ran out, or none could help: into the dead letters, with the reason, for a person to decide."""
    values = {"error_code": code[:32], "error_class": error_class, "error_detail": mask_text(detail)[:1000]}
    move(
        tenant_id,
        [message_id],
        Status.DEAD_LETTER,
        "dead_letter",
        reason=error_class or code[:64],
        next_at=None,
        **values,
    )
    drop_from_outbox([message_id])


def cancel_waiting(
    tenant_id: str,
    reason: str,
    *,
    contact_id: str | None = None,
    purposes: Collection[str] = (),
    message_ids: Collection[str] = (),
) -> int:
    """Cancel what has not left yet, and mark what is under way (it cannot be called back). Returns how many stopped.

    A row that a worker has claimed is taken out of its hands: its begin transaction finds nothing to send.
    """
    which = [Outbox.tenant_id == tenant_id]
    if contact_id is not None:
        which += [Outbox.contact_id == contact_id, Outbox.purpose.in_(purposes)]
    else:
        which.append(Outbox.message_id.in_(message_ids))
    rows = db.session.execute(
        select(Outbox.message_id, Outbox.state, Outbox.uncertain_since)
        .where(*which)
        .order_by(Outbox.message_id)
        .with_for_update()
    ).all()
    waiting = [row.message_id for row in rows if _has_not_left(row)]
    stopped = move(tenant_id, waiting, Status.CANCELLED, "cancelled", reason=reason, next_at=None)
    drop_from_outbox(stopped)
    _note_wish(tenant_id, [row.message_id for row in rows if not _has_not_left(row)], reason)
    return len(stopped)


def _note_wish(tenant_id: str, message_ids: Sequence[str], reason: str) -> None:
    """These are under way: should they come back unsent, they are stopped then (`stop_if_asked`)."""
    noted = db.session.scalars(
        update(Message)
        .where(Message.id.in_(message_ids), Message.cancel_requested.is_(False))
        .values(cancel_requested=True, updated_at=clock.now())
        .returning(Message.id),
        execution_options={"synchronize_session": False},
    )
    tell(tenant_id, list(noted), "cancel_requested", detail={"reason": reason})


def stop_if_asked(message: Message) -> None:
    """It waits in the queue again, though somebody called it back while it was under way: stop it now."""
    if not message.cancel_requested:
        return
    wishes = (
        select(MessageEvent.detail)
        .where(
            MessageEvent.tenant_id == message.tenant_id,
            MessageEvent.message_id == message.id,
            MessageEvent.kind == "cancel_requested",
        )
        .order_by(MessageEvent.recorded_at.desc())
        .limit(1)
    )
    said = db.session.scalar(wishes) or {}
    cancel_waiting(message.tenant_id, said.get("reason", "cancelled_by_user"), message_ids=[message.id])


# --- what providers report --------------------------------------------------------------------------------------


def apply_receipt(account: ProviderAccount, item: StatusItem, *, heard: bool = True) -> str | None:
    """Merge one receipt of this account (inside a transaction). Returns the message's id, None if it is unknown here.

    Found by our correlation id first, by the provider's message id second. Harmless to repeat. Not ``heard``: we
    asked for it, so it says nothing of whether webhooks arrive (the watermark).
    """
    receipts = [evidence.Receipt(account.id, item)]
    found = evidence.look_up(receipts)
    evidence.merge(receipts, found, account.tenant_id, [0], heard=heard)
    attempt = found.attempts[0]
    return attempt.message_id if attempt else None


def wait_for_account(message_id: str) -> bool:
    """A receipt says that the account was refused, not the message: back into the queue, to go when the account is
    mended, if it is not too late and nobody has called it back. The receipt is merged; returns whether it waits."""
    return _wait_again(message_id, "account_held", 0.0)


def wait_for_template(message_id: str, most: int, after_s: float) -> bool:
    """As `wait_for_account`, for a template that may not be sent now; not after ``most`` tries, and not before
    ``after_s`` seconds unless the template is approved again."""
    return lock_message(message_id).attempts < most and _wait_again(message_id, "template_unavailable", after_s)


def _wait_again(message_id: str, reason: str, after_s: float) -> bool:
    message = lock_message(message_id)
    life = (message.expires_at - clock.now()).total_seconds() if message.expires_at else None
    if message.status != Status.FAILED or message.cancel_requested or (life is not None and life <= 0):
        return False
    if message.type == MessageType.OTP and message.variables_sealed is None:  # the code has ended: nothing to send
        return False
    next_at = clock.in_seconds(after_s)
    waits = move(message.tenant_id, [message_id], Status.QUEUED, reason, reason=reason, next_at=next_at)
    put_in_outbox(message, life, after_s=after_s)
    return bool(waits)


def lock_message(message_id: str) -> Message:
    """The message, locked until the commit, its outbox row first: every path takes them in this order."""
    db.session.execute(select(Outbox.message_id).where(Outbox.message_id == message_id).with_for_update())
    wanted = select(Message).where(Message.id == message_id).with_for_update()
    return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def is_taken(attempt: Attempt, external_id: str) -> bool:
    """A provider's id belongs to one attempt; a second claim is kept in the story, not in the key."""
    return (
        db.session.scalar(
            select(Attempt.message_id).where(
                Attempt.account_id == attempt.account_id, Attempt.external_id == external_id
            )
        )
        is not None
    )


def project(message: Message, at: datetime) -> None:
    """Let the message say what its attempts, taken together, prove (states.md §6.1). It must be locked."""
    was = message.status
    ranks = db.session.scalars(select(Attempt.rank).where(Attempt.message_id == message.id)).all()
    if evidence.show(message, ranks, at):
        db.session.flush()
        drop_from_outbox([message.id])
        problems.follow(message.tenant_id, {message.id: was}, {message.id: message.status})


# --- waiting and leases -----------------------------------------------------------------------------------------


def due(seconds: float = 0.0) -> Any:
    """The condition of an outbox row that may be claimed now (database clock)."""
    return and_(
        Outbox.state == "queued",
        Outbox.next_at <= db_moment(seconds),
        or_(Outbox.expires_at.is_(None), Outbox.expires_at > db_moment()),
    )
