"""What became of the attempts: written down in one transaction a batch, never against better evidence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from .. import clock, logs
from ..db import db, db_now, transaction
from ..domain.codes import hide
from ..domain.failures import VALUES_DO_NOT_FIT
from ..domain.pace import Pace
from ..domain.statuses import MessageType, Rank, Status
from ..models import Attempt, Message, Outbox, ProviderAccount
from ..providers.base import Outcome
from . import breakers, lifecycle, media, parked, questions, standby, templates
from .standby import Routes
from .waiting import delay_contact, release_template

if TYPE_CHECKING:
    from .delivery import Begun

__all__ = ["account_seen", "doubt", "hold_account", "hold_message", "release_template", "retry", "settle"]

log = logs.get(__name__)

_FINAL_CLASSES = {"recipient", "recipient_optout", "request", "window", "inbound_only", "admin"}
_HELD_RETRY_S = 60.0
_TEMPLATE_RETRY_S = 300.0
_DEFER_S = 86_400.0  # Meta's limit of promotions to one person: not before a day (contracts.md §1.9)
_PAIR_S = 6.0  # one message to one person in so long


def settle(account: ProviderAccount, results: "Sequence[tuple[Begun, Outcome]]", pace: Pace) -> None:
    """Write down what the provider answered, or that nobody knows: all but the breaker's count (`settlement`)."""
    ordered = sorted(results, key=lambda result: result[0].message_id)  # one order of locks for everybody
    routes = Routes(account)
    with transaction():
        ids = [begun.message_id for begun, _ in ordered]
        live = {
            row.message_id: row
            for row in db.session.scalars(
                select(Outbox).where(Outbox.message_id.in_(ids)).order_by(Outbox.message_id).with_for_update(),
                execution_options={"populate_existing": True},
            )
        }
        for begun, outcome in ordered:
            row = live.get(begun.message_id)
            ours = row if row and row.state == "sending" and row.attempt_no == begun.attempt_no else None
            _settle_one(account, begun, outcome, ours, pace, routes, trial=begun.trial is not None)
        routes.write_story()


def _settle_one(
    account: ProviderAccount,
    begun: "Begun",
    outcome: Outcome,
    row: Outbox | None,
    pace: Pace,
    routes: Routes | None = None,
    *,
    trial: bool = False,
) -> None:
    """One outcome, in the batch's transaction. ``row``: its outbox row, None when it is no longer ours.

    ``routes``: the batch's ways out of a failing account; ``trial``: a failure costs the message no try.
    """
    message = db.session.scalars(
        select(Message).where(Message.id == begun.message_id).with_for_update(),
        execution_options={"populate_existing": True},
    ).one()
    if outcome.kind == "accepted":
        _accept(account, message, begun, outcome)
        return
    if message.type == MessageType.OTP:  # a complaint may repeat what it is about
        outcome = replace(outcome, detail=hide(outcome.detail))
    decided = _close_attempt(begun, _rank_of(outcome, message), outcome)
    if outcome.holds:
        hold_account(account, outcome)
    if not decided or row is None:
        return  # a receipt knew better, or the lease was over and the reaper has the row now
    if outcome.kind == "ambiguous":
        doubt(row, message, outcome.code or outcome.detail or "no_answer", pace)
    elif outcome.holds:
        retry(row, message, outcome, _HELD_RETRY_S, burn=False, reason="account_held")
    elif media.is_gone(outcome) and message.media_source_id and not row.failures:
        media.forget_file_of(message, account.id)
        retry(row, message, outcome, 0.0, burn=True, reason="retrying")
    elif outcome.kind == "throttled":
        _slow_down(account, row, message, outcome, pace)
    elif outcome.kind == "rejected":
        _refuse(account, row, message, outcome, pace)
    else:
        _not_sent(account, row, message, outcome, pace, routes or Routes(account), trial=trial)
    lifecycle.stop_if_asked(message)


def _rank_of(outcome: Outcome, message: Message) -> Rank:
    if outcome.kind == "ambiguous":
        return Rank.AMBIGUOUS
    return Rank.FAILED if _is_final(outcome, message) else Rank.NOT_SENT


def _is_final(outcome: Outcome, message: Message) -> bool:
    """A no that no later try can change. A limit on promotions is one only where a day's wait is too long."""
    if outcome.kind != "rejected" or outcome.code in VALUES_DO_NOT_FIT:
        return False
    if media.is_gone(outcome) and message.media_source_id:
        return False
    deferred = outcome.error_class == "recipient_defer"
    return outcome.error_class in _FINAL_CLASSES or (deferred and not _may_defer(message))


def _may_defer(message: Message) -> bool:
    late = message.expires_at is not None and message.expires_at <= clock.in_seconds(_DEFER_S)
    return message.type != MessageType.PROMO and not late


def _slow_down(account: ProviderAccount, row: Outbox, message: Message, outcome: Outcome, pace: Pace) -> None:
    """Too fast: for one person, or for the whole sender. Costs no try and says nothing of anybody's health."""
    delay = max(outcome.retry_after or 0.0, pace.retry_delay(1))
    if outcome.scope == "pair":
        delay = max(delay, _PAIR_S)
        delay_contact(account.id, message.contact_id, delay)
    else:
        breakers.slow_down(account, outcome.code)
    retry(row, message, outcome, delay, burn=False, reason="throttled")


def _not_sent(
    account: ProviderAccount,
    row: Outbox,
    message: Message,
    outcome: Outcome,
    pace: Pace,
    routes: Routes,
    *,
    trial: bool,
) -> None:
    """Certainly not sent: at once through another account where that is possible, else here again a little later."""
    ill = breakers.concerns_provider(outcome)
    other = routes.way_out(message) if ill else None
    delay = 0.0 if other else pace.retry_delay(row.failures + 1, outcome.retry_after)
    retry(row, message, outcome, delay, burn=not (trial and ill), reason="retrying")
    if other is None and row.failures >= pace.tries:
        lifecycle.bury(
            message.tenant_id, message.id, outcome.code or "tries_exhausted", outcome.detail, outcome.error_class
        )
    elif other is not None:
        standby.switch_over(account, other, [message.id])


def _accept(account: ProviderAccount, message: Message, begun: "Begun", outcome: Outcome) -> None:
    now = clock.now()
    attempt = _attempt(begun)
    attempt.ended_at, attempt.outcome = now, "accepted"
    if outcome.external_id and not lifecycle.is_taken(attempt, outcome.external_id):
        attempt.external_id = attempt.external_id or outcome.external_id
    attempt.rank = max(attempt.rank, Rank.ACCEPTED)
    attempt.ask_at = attempt.ask_at or questions.first_question(account)
    message.external_id = message.external_id or outcome.external_id
    message.accepted_at = message.accepted_at or now
    message.updated_at = now
    account_seen(account)
    lifecycle.tell(
        message.tenant_id,
        [message.id],
        "accepted",
        at=now,
        attempt_no=begun.attempt_no,
        detail={"provider": account.provider},
    )
    db.session.flush()
    lifecycle.project(message, now)
    db.session.flush()
    if outcome.external_id:
        parked.match_parked(account.id, outcome.external_id)


def account_seen(account: ProviderAccount) -> None:
    """Note that the account has just sent, at most every few seconds (one hot row)."""
    now = clock.now()
    if account.last_sent_at is None or (now - account.last_sent_at).total_seconds() > 5:
        account.last_sent_at = now
        db.session.execute(
            update(ProviderAccount).where(ProviderAccount.id == account.id).values(last_sent_at=now),
            execution_options={"synchronize_session": False},
        )


def _attempt(begun: "Begun") -> Attempt:
    wanted = select(Attempt).where(Attempt.message_id == begun.message_id, Attempt.attempt_no == begun.attempt_no)
    return db.session.scalars(wanted.with_for_update(), execution_options={"populate_existing": True}).one()


def _close_attempt(begun: "Begun", rank: Rank, outcome: Outcome) -> bool:
    """Record the end of an attempt unless a receipt has said more. True when ours is the better knowledge."""
    attempt = _attempt(begun)
    attempt.ended_at = attempt.ended_at or clock.now()
    if attempt.rank not in (Rank.INFLIGHT, Rank.AMBIGUOUS):
        db.session.flush()
        return False
    attempt.rank, attempt.outcome = rank, outcome.kind
    attempt.error_class, attempt.error_code = outcome.error_class, outcome.code
    attempt.error_detail = logs.mask_text(outcome.detail)[:1000]
    db.session.flush()
    return True


def doubt(row: Outbox, message: Message, why: str, pace: Pace) -> None:
    """Nobody knows whether it was sent: wait for evidence, send nothing meanwhile."""
    row.state, row.lease_token, row.lease_until = "uncertain", None, None
    db.session.flush()
    _touch(row, pace.grace, since=True)
    lifecycle.move(
        message.tenant_id,
        [message.id],
        Status.UNCERTAIN,
        "uncertain",
        reason="lease_expired" if why == "lease_expired" else "no_answer",
        error_detail=why[:1000],
    )


def retry(row: Outbox, message: Message, outcome: Outcome, delay: float, *, burn: bool, reason: str) -> None:
    """It certainly was not sent: again after ``delay`` seconds. ``burn``: this counts as one of its tries."""
    row.state, row.lease_token, row.lease_until = "queued", None, None
    row.failures += 1 if burn else 0
    db.session.flush()
    _touch(row, delay)
    lifecycle.move(
        message.tenant_id,
        [message.id],
        Status.QUEUED,
        reason,
        reason=reason,
        reason_detail={"failures": row.failures},
        next_at=clock.in_seconds(delay),
        error_class=outcome.error_class,
        error_code=outcome.code,
        error_detail=logs.mask_text(outcome.detail)[:1000],
    )


def _touch(row: Outbox, seconds: float, *, since: bool = False) -> None:
    values = {"next_at": db_now(seconds)} | ({"uncertain_since": db_now()} if since else {})
    db.session.execute(
        update(Outbox).where(Outbox.message_id == row.message_id).values(**values),
        execution_options={"synchronize_session": False},
    )


def _refuse(account: ProviderAccount, row: Outbox, message: Message, outcome: Outcome, pace: Pace) -> None:
    if outcome.error_class == "template" and message.template_id:
        templates.look_again(message.template_id, account.id)
    if outcome.code in VALUES_DO_NOT_FIT:
        _bury(message, outcome)
    elif outcome.error_class == "template":
        delay = max(_TEMPLATE_RETRY_S, pace.retry_delay(1))
        retry(row, message, outcome, delay, burn=False, reason="template_unavailable")
    elif outcome.error_class == "recipient_defer" and message.type == MessageType.PROMO:
        _bury(message, outcome)
    elif _is_final(outcome, message):
        _fail(message, outcome)
    elif outcome.error_class == "recipient_defer":
        retry(row, message, outcome, _DEFER_S, burn=True, reason="recipient_defer")
        if row.failures >= pace.tries:
            _bury(message, outcome)
    else:
        _bury(message, outcome)


def _bury(message: Message, outcome: Outcome) -> None:
    lifecycle.bury(message.tenant_id, message.id, outcome.code or "refused", outcome.detail, outcome.error_class)


def _fail(message: Message, outcome: Outcome) -> None:
    message.rank, message.failed_at = Rank.FAILED, clock.now()
    db.session.flush()
    lifecycle.move(
        message.tenant_id,
        [message.id],
        Status.FAILED,
        "failed",
        reason=outcome.error_class,
        next_at=None,
        error_class=outcome.error_class,
        error_code=outcome.code,
        error_detail=logs.mask_text(outcome.detail)[:1000],
    )
    lifecycle.drop_from_outbox([message.id])


def hold_message(message_id: str, reason: str, detail: str) -> None:
    """Nothing is wrong with the message: back into the queue, to be looked at again in a while."""
    db.session.execute(
        update(Outbox)
        .where(Outbox.message_id == message_id)
        .values(state="queued", lease_token=None, lease_until=None, next_at=db_now(_HELD_RETRY_S)),
        execution_options={"synchronize_session": False},
    )
    next_at = clock.in_seconds(_HELD_RETRY_S)
    lifecycle.annotate([message_id], reason=reason, reason_detail={"detail": detail}, next_at=next_at)


def hold_account(account: ProviderAccount, outcome: Outcome) -> None:
    """The trouble is the account's, not the messages': stop it, keep them, tell its owner (durability.md P7)."""
    breakers.lock(account, outcome)
