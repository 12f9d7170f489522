"""Messages whose template may not be sent from their account now: to another sender that may, else held.

They go again by themselves when the provider approves, reinstates or unpauses it (`waiting.release_template`).
"""

from collections.abc import Mapping, Sequence

from flask import current_app
from sqlalchemy import exists, func, select, update

from .. import clock
from ..db import db, db_now
from ..domain.pace import Pace
from ..domain.statuses import SENDABLE
from ..models import Attempt, Message, Outbox, ProviderAccount, TemplateApproval
from . import lifecycle, standby, template_review, waiting
from .account_story import add_line

REASON = "template_unavailable"
AGAIN_S = 300.0  # after a refusal, unless the template is released before
HELD_S = 900.0  # looked at again by then even if nobody lets them go
MORE = 2_000  # of the same template that wait behind them: held along, before each is claimed to no use


def refused(account: ProviderAccount, message_id: str) -> bool:
    """A receipt says that the template may not be sent: the message waits, and the provider is asked why.

    In a transaction, after the receipt was merged. Returns whether it waits.
    """
    pace: Pace = current_app.extensions["wa_pace"]
    template_id = db.session.scalar(select(Message.template_id).where(Message.id == message_id))
    if template_id is None:
        return False
    template_review.look_again(template_id, account.id)
    return lifecycle.wait_for_template(message_id, pace.tries, AGAIN_S)


def hold(account: ProviderAccount, message_ids: Sequence[str], why: Mapping[str, str]) -> None:
    """These, which a worker has claimed (in its transaction, their rows locked), and what waits for the same
    templates at the account. ``why``: a sentence for each."""
    if not message_ids:
        return
    rows = db.session.execute(
        select(Outbox.template_id, Outbox.message_id).where(Outbox.message_id.in_(message_ids))
    ).all()
    by_template: dict[str | None, list[str]] = {}
    for template_id, message_id in rows:
        by_template.setdefault(template_id, []).append(message_id)
    for template_id, ids in sorted(by_template.items(), key=lambda each: each[0] or ""):
        _queue(ids)
        status = _status_now(account, template_id)
        if status in SENDABLE:
            continue  # approved a moment ago: they stay due
        everything = ids + (_behind(account, template_id, ids) if template_id else [])
        gone = _hand_over(account, template_id, everything)
        left = [each for each in everything if each not in gone]
        _hold(account, left, {"detail": why[ids[0]]} | ({"template_status": status} if status else {}))


def _queue(message_ids: Sequence[str]) -> None:
    """Out of the worker's hands; nothing of them has left."""
    db.session.execute(
        update(Outbox)
        .where(Outbox.message_id.in_(message_ids))
        .values(state="queued", lease_token=None, lease_until=None),
        execution_options={"synchronize_session": False},
    )


def _behind(account: ProviderAccount, template_id: str, mine: Sequence[str]) -> list[str]:
    wanted = (
        select(Outbox.message_id)
        .where(
            Outbox.tenant_id == account.tenant_id,
            Outbox.account_id == account.id,
            Outbox.template_id == template_id,
            lifecycle.due(),
            Outbox.message_id.not_in(mine),
        )
        .order_by(Outbox.message_id)
        .limit(MORE)
        .with_for_update(skip_locked=True)
    )
    return list(db.session.scalars(wanted))


def _hand_over(account: ProviderAccount, template_id: str | None, message_ids: Sequence[str]) -> set[str]:
    """Give them to the best other sender that has this very version approved and has not tried them, if the tenant
    wants that; never what may have been sent already. Returns which went."""
    if template_id is None or not standby.wanted(account):
        return set()
    others = standby.healthy_others(account)
    approved = standby.approved_at([other.id for other in others])
    gone: set[str] = set()
    for other in others:
        if (template_id, other.id) not in approved:
            continue
        tried = exists().where(Attempt.message_id == Message.id, Attempt.account_id == other.id)
        fit = [each for each in message_ids if each not in gone]
        wanted = select(Message.id).where(Message.id.in_(fit), Message.possible_duplicate.is_(False), ~tried)
        if ids := list(db.session.scalars(wanted)):
            _switch(account, other, ids)
            gone.update(ids)
    return gone


def _switch(account: ProviderAccount, other: ProviderAccount, message_ids: list[str]) -> None:
    standby.switch_over(account, other, message_ids)
    waiting.make_due(message_ids)
    add_line(account.tenant_id, account.id, "switched_over", to=other.label, count=len(message_ids))


def _status_now(account: ProviderAccount, template_id: str | None) -> str | None:
    """What the approval is at this moment; whoever changes it waits for us, and then finds what we have held."""
    here = (TemplateApproval.template_id == template_id, TemplateApproval.account_id == account.id)
    return db.session.scalar(select(TemplateApproval.status).where(*here).with_for_update(read=True))


def _hold(account: ProviderAccount, message_ids: Sequence[str], detail: Mapping[str, str]) -> None:
    if not message_ids:
        return
    db.session.execute(
        update(Outbox)
        .where(Outbox.message_id.in_(message_ids), Outbox.state == "queued")
        .values(next_at=db_now(HELD_S)),
        execution_options={"synchronize_session": False},
    )
    new = select(Message.id).where(Message.id.in_(message_ids), func.coalesce(Message.reason, "") != REASON)
    told = list(db.session.scalars(new))
    lifecycle.annotate(message_ids, reason=REASON, reason_detail=dict(detail), next_at=clock.in_seconds(HELD_S))
    lifecycle.tell(account.tenant_id, told, REASON)
