"""What must always be true of the rows, whatever was killed (durability.md §3.16, states.md §6.1.2)."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, func, select

from ..db import all_tenants, db, db_now, end_read, tenant_scope
from ..domain.causes import ENDED_BADLY
from ..domain.statuses import WAITING, Rank, Status
from ..models import Attempt, Contact, Message, MessageEvent, Outbox, Problem, Tenant
from . import chains, consent_log

Rule = tuple[str, Callable[[], Select[Any]]]


def check() -> tuple[list[str], str | None]:
    """(names of the rules checked, the first violation in words or None)."""
    checked: list[str] = []
    with all_tenants("invariants hold for everybody"):
        for name, violations in _RULES:
            checked.append(name)
            row = db.session.execute(violations().limit(1)).first()
            if row is not None:
                return checked, f"{name}: {row[0]}"
        end_read()
        tenants = list(db.session.scalars(select(Tenant.id)))
    for tenant_id in tenants:
        with tenant_scope(tenant_id):
            violation = _check_tenant(tenant_id)
        if violation:
            return [*checked, "chains and consent"], violation
    return [*checked, "consent and audit chains unbroken", "consent state equals its history"], None


def _check_tenant(tenant_id: str) -> str | None:
    for name, verify in (("consent", chains.verify_consent), ("audit", chains.verify_audit)):
        broken = verify(tenant_id)
        if broken is not None:
            return f"{name} chain of {tenant_id}: {broken}"
    for contact_id in db.session.scalars(select(Contact.id)):
        states = consent_log.states_of([contact_id])[contact_id]
        history = consent_log.recompute(contact_id)
        if {p: (s.status, s.at) for p, s in states.items()} != {p: (s.status, s.at) for p, s in history.items()}:
            return f"consent state differs from its history: {contact_id}"
    end_read()
    return None


def _sparse_attempts() -> Select[Any]:
    return (
        select(Attempt.message_id)
        .group_by(Attempt.message_id)
        .having((func.max(Attempt.attempt_no) != func.count()) | (func.min(Attempt.attempt_no) != 1))
    )


def _two_in_flight() -> Select[Any]:
    in_flight = select(Attempt.message_id).where(Attempt.rank == Rank.INFLIGHT)
    return in_flight.group_by(Attempt.message_id).having(func.count() > 1)


def _queued_but_sent() -> Select[Any]:
    return (
        select(Outbox.message_id)
        .join(Attempt, Attempt.message_id == Outbox.message_id)
        .where(
            Outbox.state.in_(("queued", "claimed", "held")),
            Attempt.rank.in_((Rank.INFLIGHT, Rank.ACCEPTED, Rank.SENT, Rank.DELIVERED, Rank.READ)),
        )
    )


def _waiting_without_outbox() -> Select[Any]:
    return (
        select(Message.id)
        .outerjoin(Outbox, Outbox.message_id == Message.id)
        .where(Message.status.in_(WAITING), Outbox.message_id.is_(None))
    )


def _outbox_of_settled() -> Select[Any]:
    return (
        select(Outbox.message_id).join(Message, Message.id == Outbox.message_id).where(Message.status.not_in(WAITING))
    )


def _ended_here_but_accepted() -> Select[Any]:
    ours = (Status.SKIPPED, Status.CANCELLED, Status.EXPIRED)
    return (
        select(Message.id)
        .join(Attempt, Attempt.message_id == Message.id)
        .where(Message.status.in_(ours), Attempt.rank >= Rank.ACCEPTED)
    )


def _stale_leases() -> Select[Any]:
    return select(Outbox.message_id).where(Outbox.state.in_(("claimed", "sending")), Outbox.lease_until < db_now(-90))


def _without_story() -> Select[Any]:
    return (
        select(Message.id)
        .outerjoin(MessageEvent, MessageEvent.message_id == Message.id)
        .where(MessageEvent.id.is_(None))
    )


def _delivered_without_proof() -> Select[Any]:
    proof = select(Attempt.message_id).where(Attempt.rank >= Rank.DELIVERED)
    return select(Message.id).where(Message.status.in_((Status.DELIVERED, Status.READ)), Message.id.not_in(proof))


def _rank_behind_status() -> Select[Any]:
    best = select(Attempt.message_id, func.max(Attempt.rank).label("best")).group_by(Attempt.message_id).subquery()
    return (
        select(Message.id)
        .join(best, best.c.message_id == Message.id)
        .where(best.c.best >= Rank.DELIVERED, Message.rank != best.c.best)
    )


def _ended_badly_unseen() -> Select[Any]:
    return (
        select(Message.id)
        .outerjoin(Problem, Problem.message_id == Message.id)
        .where(Message.status.in_(ENDED_BADLY), Problem.message_id.is_(None))
    )


def _problem_of_nothing() -> Select[Any]:
    return (
        select(Problem.message_id)
        .join(Message, Message.id == Problem.message_id)
        .where(Message.status.not_in(ENDED_BADLY))
    )


_RULES: list[Rule] = [
    ("attempts are numbered 1..n without a gap", _sparse_attempts),
    ("at most one attempt of a message is in flight", _two_in_flight),
    ("nothing waits to be sent that may have been sent", _queued_but_sent),
    ("every waiting message is in the outbox", _waiting_without_outbox),
    ("the outbox holds waiting messages only", _outbox_of_settled),
    ("skipped, cancelled and expired messages were never accepted", _ended_here_but_accepted),
    ("no lease is older than 90 seconds", _stale_leases),
    ("every message has a story", _without_story),
    ("delivered means that an attempt was delivered", _delivered_without_proof),
    ("a message says the best its attempts prove", _rank_behind_status),
    ("what ended badly is a problem", _ended_badly_unseen),
    ("a problem is of a message that ended badly", _problem_of_nothing),
]
