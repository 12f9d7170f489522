"""The breaker of an account: nothing leaves while the far end is out of order, and one at a time tries whether it is.

Only what concerns the provider's health counts: never a person's number, a template, a throttle or a worker that
died. While all is well there is no row and nothing is written. Transitions take the account's row before the
breaker's, everybody in this order. Times are the database's clock (states.md §6.6, durability.md §3.10).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import or_, select, update

from .. import clock, logs, queues
from ..db import clock_of_database, db, db_now, insert_rows, transaction
from ..domain.ids import new_id
from ..domain.pace import Pace
from ..models import Breaker, Outbox, ProviderAccount
from ..providers.base import Outcome, StatusItem
from ..providers.verdict import outcome_of
from .account_health import AccountHealth, health_of
from .account_story import add_line
from .breaker_evidence import TRICKLE_S, WINDOW_S, concerns_provider, of_the_last
from .slowing import slow_down

__all__ = [
    "AccountHealth", "Leave", "close_quiet", "concerns_provider", "free", "health_of", "heard", "holds_token", "leave",
    "lock", "look_failed", "note", "recover", "slow_down", "take_look",
]  # fmt: skip

log = logs.get(__name__)

FAILURES, REQUESTS, SHARE = 5, 10, 0.5
LADDER = (1, 2, 4, 8)
LOOK_S = 45.0  # longer than any answer to a look may take


@dataclass(frozen=True)
class Leave:
    """So many may be claimed now. ``token``: a trial, to be given to `note`. ``retry_at``: looked at again then."""

    count: int
    token: str | None = None
    retry_at: datetime | None = None


def leave(account_id: str, wanted: int) -> Leave:
    """Ask before claiming (inside a transaction, in the tenant's scope). One read while all is well.

    In a half-open breaker one holder at a time gets a few, and a token: it must end in `note`, with no outcomes when
    nothing was sent after all.
    """
    here = Breaker.account_id == account_id
    row = db.session.execute(select(Breaker.state, Breaker.retry_at).where(here)).first()
    if row is None or row.state == "closed":
        return Leave(wanted)
    if row.state != "half_open" or wanted <= 0:
        return Leave(0, None, row.retry_at)
    token = new_id("prb")
    step = db.session.scalar(
        update(Breaker)
        .where(here, Breaker.state == "half_open", free())
        .values(probe_token=token, probe_until=db_now(_pace().lease + 10))
        .returning(Breaker.step),
        execution_options={"synchronize_session": False},
    )
    return Leave(min(wanted, step), token) if step else Leave(0)


def note(account: ProviderAccount, outcomes: Sequence[Outcome], token: str | None) -> None:
    """Count what a batch came to (in the transaction that settles it). Nothing is read or written while all is well.

    With the ``token`` of a trial: one failure opens again, enough successes let more through or close. No outcomes:
    the token goes back.
    """
    failed = [outcome for outcome in outcomes if concerns_provider(outcome)]
    if token is not None:
        _note_trial(account, outcomes, failed, token)
    elif failed:
        _count(account, failed[-1])


def _note_trial(account: ProviderAccount, outcomes: Sequence[Outcome], failed: list[Outcome], token: str) -> None:
    row = _locked(Breaker.account_id == account.id, Breaker.probe_token == token)
    if row is None:
        return  # its time was over, or the account was locked meanwhile
    passed = sum(_passed(outcome) for outcome in outcomes)
    if row.state != "half_open":
        row.probe_token = row.probe_until = None
    elif failed:
        _open(account, row, {"failed": len(failed), "requests": len(outcomes), **_last(failed[-1])})
        return
    elif not outcomes:
        row.probe_token = row.probe_until = None
    elif passed:
        _climb(account, row, passed)
    db.session.flush()


def _passed(outcome: Outcome) -> bool:
    """The far end took it, or said a clear no: it works."""
    return outcome.kind in ("accepted", "rejected") and outcome.holds is None


def _climb(account: ProviderAccount, row: Breaker, passed: int) -> None:
    """Through this step, the next; through the last, closed."""
    so_far = int(row.evidence.get("passed", 0)) + passed
    if so_far < row.step:
        row.evidence = {**row.evidence, "passed": so_far}
        return
    row.probe_token = row.probe_until = None
    if row.step >= LADDER[-1]:
        _close(account, row)
    else:
        row.step, row.changed_at = row.step * 2, clock_of_database()
        row.evidence = {key: value for key, value in row.evidence.items() if key != "passed"}
    queues.wake_lane(account.id)


def _count(account: ProviderAccount, last: Outcome) -> None:
    row = _locked(Breaker.account_id == account.id)
    if row is not None and row.state != "closed":
        return
    seen = of_the_last(account, WINDOW_S)
    if seen.failed < FAILURES or seen.requests < REQUESTS or seen.failed < seen.requests * SHARE:
        seen = of_the_last(account, TRICKLE_S)
        if seen.failed < FAILURES or seen.failed < seen.requests or seen.span_s < 2 * WINDOW_S:
            return
    row = row or _new(account)
    if row.state == "closed":
        row.opened, row.down_since = 0, None
        evidence = {"failed": seen.failed, "requests": seen.requests, "seconds": int(seen.seconds)}
        _open(account, row, evidence | _last(last))


def _last(outcome: Outcome) -> dict[str, Any]:
    return {"class": outcome.error_class, "code": outcome.code, "detail": logs.mask_text(outcome.detail)[:200]}


# --- transitions ------------------------------------------------------------------------------------------------


def _open(account: ProviderAccount, row: Breaker, evidence: dict[str, Any]) -> None:
    now = clock_of_database()
    row.down_since = row.down_since or now
    wait = _wait((now - row.down_since).total_seconds())
    row.state, row.changed_at, row.opened, row.step = "open", now, row.opened + 1, 0
    row.reason, row.evidence = f"{evidence.get('class')}:{evidence.get('code')}"[:64], evidence
    row.probe_token = row.probe_until = None
    db.session.flush()
    _look_in(row, wait)
    add_line(row.tenant_id, account.id, "opened", **evidence, again_in=round(wait))
    queues.wake_chores()
    log.warning("breaker_opened", account_id=account.id, opened=row.opened, **evidence)


def _close(account: ProviderAccount, row: Breaker) -> None:
    """All is well. The row stays until what it held up has been let go (`failover.relieve`)."""
    now = clock_of_database()
    down = int((now - row.down_since).total_seconds()) if row.down_since else None
    row.state, row.changed_at, row.step, row.reason = "closed", now, 0, None
    row.probe_token = row.probe_until = row.retry_at = row.down_since = None
    row.evidence = {}
    db.session.flush()
    add_line(row.tenant_id, account.id, "closed", down_s=down)
    log.info("breaker_closed", account_id=account.id, down_s=down)


def lock(account: ProviderAccount, outcome: Outcome) -> bool:
    """The account itself is refused: hold it, until a look at it or a person finds that it works again.

    Inside a transaction. False when it was locked already. A spam limit is not looked at before a quarter of an hour.
    """
    reason = f"{outcome.error_class}:{outcome.code}"[:64]
    db.session.execute(
        update(ProviderAccount)
        .where(ProviderAccount.id == account.id, ProviderAccount.status == "active")
        .values(status="held", hold_reason=reason),
        execution_options={"synchronize_session": False},
    )
    row = _locked(Breaker.account_id == account.id) or _new(account)
    if row.state == "locked":
        return False
    now = clock_of_database()
    looks = int(row.evidence.get("looks", 0)) + 1 if row.state == "half_open" else 0
    row.down_since = row.down_since or now
    row.state, row.changed_at, row.reason, row.step = "locked", now, reason, 0
    row.probe_token = row.probe_until = None
    first = 60 if outcome.code == "131048" else 4  # times the pace of looks: a quarter of an hour, a minute
    row.evidence = {**_last(outcome), "looks": looks, "first": first}
    db.session.flush()
    wait = _wait_locked(row)
    _look_in(row, wait)
    add_line(row.tenant_id, account.id, "held", reason=reason, **_last(outcome), again_in=round(wait))
    log.error("account_held", account_id=account.id, reason=reason, detail=logs.mask_text(outcome.detail)[:300])
    queues.wake_chores()
    return True


def heard(account: ProviderAccount, item: StatusItem) -> bool:
    """A receipt that says the account itself is refused (a missing payment is told so, after each message): hold it
    after the first. News of more than an hour ago says nothing of now. In a transaction."""
    if item.status != "failed" or item.error is None or item.at < clock.in_seconds(-3600):
        return False
    outcome = outcome_of(item.error)
    return outcome.holds is not None and lock(account, outcome)


def recover(account: ProviderAccount, by: str = "look") -> bool:
    """The far end accepts the account again: let one message through (inside a transaction). False: it was well.

    ``by``: ``look`` (we asked by ourselves), ``person``, ``provider``.
    """
    released = db.session.scalar(
        update(ProviderAccount)
        .where(ProviderAccount.id == account.id, ProviderAccount.status == "held")
        .values(status="active", hold_reason=None, hold_until=None)
        .returning(ProviderAccount.id),
        execution_options={"synchronize_session": False},
    )
    row = _locked(Breaker.account_id == account.id)
    if row is None and released:
        row = _new(account)
    if row is None or (row.state in ("closed", "half_open") and not released):
        return False
    row.state, row.step, row.changed_at, row.retry_at = "half_open", LADDER[0], clock_of_database(), None
    row.probe_token = row.probe_until = None
    row.evidence = {key: value for key, value in row.evidence.items() if key != "passed"}
    db.session.flush()
    add_line(row.tenant_id, account.id, "half_open", by=by, was_held=bool(released))
    log.info("breaker_half_open", account_id=account.id, by=by)
    queues.wake_lane(account.id)
    return True


def close_quiet() -> int:
    """Nothing waits for a half-open account for a while: nothing more can be tried, so it counts as well again."""
    due = (Outbox.state == "queued", Outbox.next_at <= db_now())
    waits = select(Outbox.message_id).where(Outbox.account_id == Breaker.account_id, *due).exists()
    with transaction():
        rows = db.session.scalars(
            select(Breaker)
            .where(Breaker.state == "half_open", Breaker.changed_at < db_now(-4 * _pace().probe), free(), ~waits)
            .with_for_update(skip_locked=True)
        ).all()
        for row in rows:
            account = db.session.scalars(select(ProviderAccount).where(ProviderAccount.id == row.account_id)).one()
            _close(account, row)
    return len(rows)


# --- looks ------------------------------------------------------------------------------------------------------


def take_look(account_id: str) -> str | None:
    """Be the one who looks at an account whose time has come: a token, None when another does. In a transaction."""
    token = new_id("prb")
    return db.session.scalar(
        update(Breaker)
        .where(
            Breaker.account_id == account_id,
            Breaker.state.in_(("open", "locked")),
            Breaker.retry_at <= db_now(),
            free(),
        )
        .values(probe_token=token, probe_until=db_now(LOOK_S))
        .returning(Breaker.probe_token),
        execution_options={"synchronize_session": False},
    )


def holds_token(account: ProviderAccount, token: str) -> bool:
    """Is it still our turn to say what the look found?"""
    mine = select(Breaker.account_id).where(Breaker.account_id == account.id, Breaker.probe_token == token)
    return db.session.scalar(mine) is not None


def look_failed(account: ProviderAccount, outcome: Outcome, token: str) -> None:
    """Still out of order, or refused: look again later (in a transaction)."""
    if outcome.holds and lock(account, outcome):
        return
    row = _locked(Breaker.account_id == account.id, Breaker.probe_token == token)
    if row is None:
        return
    row.probe_token = row.probe_until = None
    if row.state == "locked":
        row.evidence = {**row.evidence, "looks": int(row.evidence.get("looks", 0)) + 1}
        wait = _wait_locked(row)
    else:
        now = clock_of_database()
        wait = _wait((now - (row.down_since or now)).total_seconds())
    db.session.flush()
    _look_in(row, wait)


def _wait(age_s: float) -> float:
    """Seconds until the next look: a third of the outage so far, so that looking costs little and the end is found
    within a third of its length (docs/decisions/0015)."""
    unit = _pace().probe
    return min(40 * unit, max(unit, age_s / 3)) * random.uniform(0.9, 1.1)


def _wait_locked(row: Breaker) -> float:
    unit = _pace().probe
    return min(60 * unit, float(row.evidence.get("first", 4)) * unit * 2 ** int(row.evidence.get("looks", 0)))


def _look_in(row: Breaker, seconds: float) -> None:
    db.session.execute(
        update(Breaker).where(Breaker.account_id == row.account_id).values(retry_at=db_now(seconds)),
        execution_options={"synchronize_session": False},
    )


# --- rows -------------------------------------------------------------------------------------------------------


def free() -> Any:
    """The condition that nobody holds the token, or that whoever held it is gone."""
    return or_(Breaker.probe_token.is_(None), Breaker.probe_until < db_now())


def _locked(*conditions: Any) -> Breaker | None:
    return db.session.scalar(
        select(Breaker).where(*conditions).with_for_update(), execution_options={"populate_existing": True}
    )


def _new(account: ProviderAccount) -> Breaker:
    """The account's row, made now unless another was faster; locked."""
    row = {
        "account_id": account.id,
        "tenant_id": account.tenant_id,
        "state": "closed",
        "evidence": {},
        "changed_at": db_now(),
        "opened": 0,
        "step": 0,
    }
    insert_rows(Breaker, [row], once=["account_id"])
    found = _locked(Breaker.account_id == account.id)
    if found is None:
        raise RuntimeError("the breaker's row went away under the lock")
    return found


def _pace() -> Pace:
    pace: Pace = current_app.extensions["wa_pace"]
    return pace
