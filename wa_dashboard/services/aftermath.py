"""What a sending process left behind when it was killed, told by its journal (journal.py): long before its leases end.

What never left goes back into the queue at once, what was answered is settled, and only what was really under way is
in doubt.
"""

from collections.abc import Iterable
from itertools import groupby

from sqlalchemy import select, update

from .. import clock, logs
from ..db import all_tenants, db, end_read, tenant_scope, transaction
from ..domain.pace import Pace
from ..domain.statuses import Rank
from ..models import Attempt, Message, Outbox, ProviderAccount
from ..providers.base import Outcome, WireRequest
from . import accounts, journal, outcomes, settlement
from .delivery import Begun

log = logs.get(__name__)

NEVER_LEFT = Outcome("not_sent", "network", "never_left", "the worker ended before it was this message's turn")
_AFRESH = {"populate_existing": True}


def clear_up(pace: Pace) -> int:
    """Deal with what dead processes of this machine left; returns how many messages that was."""
    dealt = 0
    for found in journal.of_the_dead(accounts.settings().data_dir / "journal"):
        held = _held_by(found)
        for (tenant_id, account_id), rows in groupby(held, key=lambda row: (row.tenant_id, row.account_id)):
            with tenant_scope(tenant_id):
                dealt += _settle(found, account_id, list(rows), pace)
        if held:
            log.info("left_behind", journal=found.name, messages=len(held), whole=found.whole)
    return dealt


def _held_by(found: journal.Found) -> list[Outbox]:
    with all_tenants("a process serves everybody"):
        wanted = select(Outbox).where(
            Outbox.state.in_(("claimed", "sending")), Outbox.lease_token.startswith(f"{found.name}:", autoescape=True)
        )
        rows = db.session.scalars(
            wanted.order_by(Outbox.tenant_id, Outbox.account_id, Outbox.message_id), execution_options=_AFRESH
        ).all()
        end_read()
    return list(rows)


def _settle(found: journal.Found, account_id: str | None, rows: Iterable[Outbox], pace: Pace) -> int:
    sending = [row for row in rows if row.state == "sending"]
    claimed = [row.message_id for row in rows if row.state == "claimed"]
    heard = {row.message_id: outcome for row in sending if (outcome := found.heard.get(_name(row)))}
    unsure = [row for row in sending if row.message_id not in heard]
    if heard:
        account = db.session.scalars(select(ProviderAccount).where(ProviderAccount.id == account_id)).one()
        answers = [(_begun(row), heard[row.message_id]) for row in sending if row.message_id in heard]
        end_read()
        settlement.settle(account, answers, pace)
    with transaction():
        db.session.execute(
            update(Outbox)
            .where(
                Outbox.message_id.in_(claimed),
                Outbox.state == "claimed",
                Outbox.lease_token.startswith(f"{found.name}:", autoescape=True),
            )
            .values(state="queued", lease_token=None, lease_until=None),
            execution_options={"synchronize_session": False},
        )
        for row in unsure:
            _decide(found, row, pace)
    return len(sending) + len(claimed)


def _name(row: Outbox) -> str:
    return f"{row.message_id}.{row.attempt_no}"


def _begun(row: Outbox) -> Begun:
    return Begun(row.message_id, row.attempt_no, WireRequest("", "", {}), 0.0)


def _decide(found: journal.Found, seen: Outbox, pace: Pace) -> None:
    message = db.session.scalars(
        select(Message).where(Message.id == seen.message_id).with_for_update(), execution_options=_AFRESH
    ).one()
    row = db.session.scalar(
        select(Outbox).where(
            Outbox.message_id == seen.message_id, Outbox.state == "sending", Outbox.attempt_no == seen.attempt_no
        ),
        execution_options=_AFRESH,
    )
    if row is None:
        return  # a receipt, or the reaper, was faster
    never_left = found.whole and _name(row) not in found.begun
    rank, word = (Rank.NOT_SENT, NEVER_LEFT.code) if never_left else (Rank.AMBIGUOUS, "worker_ended")
    db.session.execute(
        update(Attempt)
        .where(
            Attempt.message_id == row.message_id, Attempt.attempt_no == row.attempt_no, Attempt.rank == Rank.INFLIGHT
        )
        .values(
            rank=int(rank),
            outcome="not_sent" if never_left else "ambiguous",
            error_code=word,
            ended_at=clock.now(),
        ),
        execution_options={"synchronize_session": False},
    )
    if never_left:
        outcomes.retry(row, message, NEVER_LEFT, 0.0, burn=False, reason="never_left")
    else:
        outcomes.doubt(row, message, "lease_expired", pace)
