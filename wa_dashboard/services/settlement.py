"""The third transaction of a send: what the answers say, written down for a whole batch (durability.md §3.4).

What was accepted, nearly everything, goes in a handful of statements; every other answer is a case of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from .. import clock, failpoints
from ..bulk import among, rows_by_key, update_by_key
from ..db import db, savepoint, transaction
from ..domain.pace import Pace
from ..domain.statuses import Rank
from ..models import Attempt, Message, Outbox, ProviderAccount, WebhookItem
from ..providers.base import Outcome
from . import breakers, lifecycle, opt_outs, outcomes, parked, questions

if TYPE_CHECKING:
    from .delivery import Begun


def settle(account: ProviderAccount, results: "Sequence[tuple[Begun, Outcome]]", pace: Pace) -> None:
    """Write down what the provider answered, or that nobody knows. One transaction, in the tenant's scope."""
    if not results:
        return
    accepted = [(begun, outcome) for begun, outcome in results if outcome.kind == "accepted"]
    others = [(begun, outcome) for begun, outcome in results if outcome.kind != "accepted"]
    stopped = [begun.message_id for begun, outcome in others if outcome.error_class == opt_outs.CLASS]
    with transaction():
        if stopped:  # consent's locks come before those of messages
            opt_outs.record(account, stopped, clock.now())
        _lock([begun.message_id for begun, _ in results])
        others += _accept_all(account, accepted)
        if others:
            outcomes.settle(account, others, pace)
        for trial in {begun.trial for begun, _ in results}:
            breakers.note(account, [outcome for begun, outcome in results if begun.trial == trial], trial)
        failpoints.hit("F7b")


def _lock(message_ids: Sequence[str]) -> None:
    """Their outbox rows before anything else of theirs, all in one order: an opt-out or a cancellation that comes at
    the same moment takes them so too, and neither ends the other (`lifecycle.lock_message`)."""
    rows_by_key(Outbox, ("message_id",), ("message_id",), [(each,) for each in sorted(message_ids)], lock=True)


def _accept_all(account: ProviderAccount, accepted: "Sequence[tuple[Begun, Outcome]]") -> "list[tuple[Begun, Outcome]]":
    """Returns those that are not as simple as that."""
    if not accepted:
        return []
    try:
        with savepoint():
            return _accept_simple(account, accepted)
    except IntegrityError:  # the provider gave one id twice: each for itself then
        return list(accepted)


def _accept_simple(
    account: ProviderAccount, accepted: "Sequence[tuple[Begun, Outcome]]"
) -> "list[tuple[Begun, Outcome]]":
    firsts = [begun.message_id for begun, _ in accepted if begun.attempt_no == 1]
    unknown = db.session.scalars(
        select(Message.id).where(among(Message.id, firsts), Message.rank == 0).order_by(Message.id).with_for_update()
    )
    open_ones = set(
        db.session.scalars(
            select(Attempt.message_id)
            .where(among(Attempt.message_id, unknown), Attempt.attempt_no == 1, Attempt.rank < Rank.ACCEPTED)
            .with_for_update()
        )
    )
    _show(account, [pair for pair in accepted if pair[0].attempt_no == 1 and pair[0].message_id in open_ones])
    # A receipt was faster, or it is not the only attempt: these are cases of their own.
    return [pair for pair in accepted if pair[0].attempt_no != 1 or pair[0].message_id not in open_ones]


def _show(account: ProviderAccount, pairs: "Sequence[tuple[Begun, Outcome]]") -> None:
    """The attempts and messages are accepted: they say so, their story does, and nothing is left to do for us."""
    if not pairs:
        return
    now = clock.now()
    ids = [begun.message_id for begun, _ in pairs]
    external_ids = [outcome.external_id for _, outcome in pairs]
    known = (int(Rank.ACCEPTED), "accepted", now, questions.first_question(account))
    update_by_key(
        Attempt,
        ("message_id", "attempt_no"),
        ("external_id", "rank", "outcome", "ended_at", "ask_at"),
        [(begun.message_id, begun.attempt_no, outcome.external_id, *known) for begun, outcome in pairs],
    )
    lifecycle.show_accepted(ids, external_ids, now)
    lifecycle.tell(account.tenant_id, ids, "accepted", at=now, attempt_no=1, detail={"provider": account.provider})
    outcomes.account_seen(account)
    for external_id in _parked(account, [each for each in external_ids if each]):
        parked.match_parked(account.id, external_id)


def _parked(account: ProviderAccount, external_ids: Sequence[str]) -> Sequence[str]:
    """Those whose receipts came before we knew the id."""
    wanted = select(WebhookItem.external_id).where(
        WebhookItem.account_id == account.id,
        WebhookItem.state == "parked",
        among(WebhookItem.external_id, external_ids),
    )
    return [external_id for external_id in db.session.scalars(wanted.distinct()) if external_id]
