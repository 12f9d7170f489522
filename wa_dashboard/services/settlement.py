"""The third transaction of a send: what the answers say, written down for a whole batch (durability.md §3.4).

What was accepted, nearly everything, goes in a handful of statements; every other answer is a case of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, String, case, func, select, update
from sqlalchemy.exc import IntegrityError

from .. import clock, failpoints
from ..db import db, listed, savepoint, transaction
from ..domain.pace import Pace
from ..domain.statuses import Rank
from ..models import Attempt, Message, ProviderAccount, WebhookItem
from ..providers.base import Outcome
from . import lifecycle, outcomes, parked

if TYPE_CHECKING:
    from .delivery import Begun

_QUIET = {"synchronize_session": False}


def settle(account: ProviderAccount, results: "Sequence[tuple[Begun, Outcome]]", pace: Pace) -> None:
    """Write down what the provider answered, or that nobody knows. One transaction, in the tenant's scope."""
    accepted = [(begun, outcome) for begun, outcome in results if outcome.kind == "accepted"]
    others = [(begun, outcome) for begun, outcome in results if outcome.kind != "accepted"]
    with transaction():
        others += _accept_all(account, accepted)
        outcomes.settle(account, others, pace)
        failpoints.hit("F7b")


def _accept_all(
    account: ProviderAccount, accepted: "Sequence[tuple[Begun, Outcome]]"
) -> "list[tuple[Begun, Outcome]]":
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
    first_tries = {begun.message_id: (begun, outcome) for begun, outcome in accepted if begun.attempt_no == 1}
    others = [pair for pair in accepted if pair[0].attempt_no != 1]
    rows = db.session.execute(
        select(Message.id, Message.rank).where(Message.id.in_(first_tries)).order_by(Message.id).with_for_update()
    )
    ranks = {row.id: row.rank for row in rows}
    best = _close_attempts([pair for message_id, pair in first_tries.items() if message_id in ranks])
    simple = []
    for message_id, pair in first_tries.items():
        if ranks.get(message_id) == 0 and best.get(message_id) == Rank.ACCEPTED:
            simple.append(pair)
        else:
            others.append(pair)  # a receipt was faster, or it is not the only attempt
    _show(account, simple)
    return others


def _close_attempts(pairs: "Sequence[tuple[Begun, Outcome]]") -> dict[str, int]:
    """The attempts' ranks afterwards, by message."""
    if not pairs:
        return {}
    answers = _answers(pairs)
    rows = db.session.execute(
        update(Attempt)
        .where(Attempt.message_id == answers.c.message_id, Attempt.attempt_no == answers.c.attempt_no)
        .values(
            ended_at=clock.now(),
            outcome="accepted",
            external_id=func.coalesce(Attempt.external_id, answers.c.external_id),
            rank=case((Attempt.rank < Rank.ACCEPTED, int(Rank.ACCEPTED)), else_=Attempt.rank),
        )
        .returning(Attempt.message_id, Attempt.rank),
        execution_options=_QUIET,
    )
    return {row.message_id: row.rank for row in rows}


def _answers(pairs: "Sequence[tuple[Begun, Outcome]]") -> Any:
    return listed(
        "answers",
        message_id=(String(), [begun.message_id for begun, _ in pairs]),
        attempt_no=(Integer(), [begun.attempt_no for begun, _ in pairs]),
        external_id=(String(), [outcome.external_id for _, outcome in pairs]),
    )


def _show(account: ProviderAccount, pairs: "Sequence[tuple[Begun, Outcome]]") -> None:
    """The messages are accepted: they say so, their story does, and nothing is left to do for us."""
    if not pairs:
        return
    now = clock.now()
    answers = _answers(pairs)
    ids = [begun.message_id for begun, _ in pairs]
    lifecycle.show_accepted(answers, now)
    lifecycle.drop_from_outbox(ids)
    lifecycle.tell(account.tenant_id, ids, "accepted", at=now, attempt_no=1, detail={"provider": account.provider})
    outcomes.account_seen(account)
    for external_id in _parked(account, [outcome.external_id for _, outcome in pairs if outcome.external_id]):
        parked.match_parked(account.id, external_id)


def _parked(account: ProviderAccount, external_ids: Sequence[str]) -> Sequence[str]:
    """Those whose receipts came before we knew the id."""
    wanted = select(WebhookItem.external_id).where(
        WebhookItem.account_id == account.id, WebhookItem.state == "parked", WebhookItem.external_id.in_(external_ids)
    )
    return [external_id for external_id in db.session.scalars(wanted.distinct()) if external_id]
