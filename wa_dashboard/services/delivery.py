"""One send is three short transactions with the wire between them (decisions.md D4, durability.md §3.4).

claim   these rows are mine for a while; nothing has left, so losing them costs nothing
begin   still mine, consent still there, attempt written down: only now may a request leave
settle  what became of it, unless a receipt has already told more (settlement.py)

Each over a batch. What runs them, over all lanes at once, is engine.py.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from flask import current_app
from sqlalchemy import or_, select, update
from sqlalchemy.exc import OperationalError

from .. import clock, failpoints, logs
from ..bulk import among, insert_table, lies_among
from ..db import all_tenants, clock_of_database, db, db_now, end_read, tenant_scope, transaction
from ..domain.consent import Refusal, Said, judge
from ..domain.ids import new_id
from ..domain.pace import Pace
from ..domain.statuses import PRIORITY, Rank, Status
from ..models import Attempt, Message, Outbox, ProviderAccount, Tenant
from ..providers.base import Provider, WireRequest
from . import accounts, breakers, consent_log, lifecycle, media, outcomes, template_holds, throttle
from .outbound import CannotSend, Composed, Material, compose, gather

log = logs.get(__name__)

_FLOOR = 10  # with so many rows comes one that is less urgent
_LEAST_URGENT = max(PRIORITY.values())
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class Lane:
    """One sender of one tenant: what one claim works on."""

    tenant: Tenant
    account: ProviderAccount
    provider: Provider


@dataclass(frozen=True)
class Claimed:
    """Rows that are ours under ``token``, most urgent first. ``trial``: under this token of a half-open breaker."""

    token: str
    asks: list[throttle.Ask]
    trial: str | None = None

    @property
    def message_ids(self) -> list[str]:
        return [ask.message_id for ask in self.asks]

    @property
    def attempts(self) -> dict[str, int]:
        """The number of each one's next attempt."""
        return {ask.message_id: ask.attempt_no for ask in self.asks}


@dataclass(frozen=True)
class Begun:
    """An attempt that is written down and may leave until half its lease is over. ``trial``: see `Claimed`."""

    message_id: str
    attempt_no: int
    request: WireRequest
    begun_at: float  # time.monotonic()
    urgent: bool = False
    trial: str | None = None


@dataclass(frozen=True)
class Batch:
    """What one round of a lane came to. ``claimed`` rows; those ``begun`` may leave; ``wait`` says until when the
    limits let no more of that urgency through (seconds, None: they do)."""

    claimed: int
    begun: list[Begun]
    wait: float | None = None


def pace() -> Pace:
    return current_app.extensions["wa_pace"]


def open_lane(account_id: str) -> Lane | None:
    """The lane as it is configured now, None when nothing may leave through it."""
    with all_tenants("an account's id tells whose lane it is"):
        account = db.session.scalar(
            select(ProviderAccount).where(ProviderAccount.id == account_id),
            execution_options={"populate_existing": True},
        )
        if account is None or account.status != "active":
            end_read()
            return None
        tenant = db.session.scalars(
            select(Tenant).where(Tenant.id == account.tenant_id), execution_options={"populate_existing": True}
        ).one()
        lane = Lane(tenant, account, accounts.provider_of(account))
        end_read()
    return lane


def next_batch(
    lane: Lane,
    room: int,
    *,
    urgent_only: bool = False,
    floor: bool = True,
    holder: str = "",
    beforehand: Callable[[], object] | None = None,
) -> Batch:
    """Claim, ask the limits, begin. In no transaction; opens the tenant's scope itself.

    ``beforehand`` is done in the claim's transaction: settling the batch before costs no commit of its own. A claim
    alone does not wait for the disk: to lose it costs nothing.
    """
    with tenant_scope(lane.tenant.id):
        with transaction(durable=beforehand is not None):
            if beforehand is not None:
                beforehand()
            claimed = claim(lane, room, urgent_only=urgent_only, floor=floor, holder=holder)
            if claimed is None:
                return Batch(0, [])
            material = gather(lane.account, claimed.attempts)
        failpoints.hit("F2")
        leaves = throttle.take(lane.tenant, lane.account, claimed.asks)
        refused = {ask.message_id: leave for ask, leave in zip(claimed.asks, leaves, strict=True) if leave.rule}
        if refused:
            give_back(lane, claimed, refused)
        allowed = [ask for ask in claimed.asks if ask.message_id not in refused]
        begun = begin(lane, Claimed(claimed.token, allowed, claimed.trial), material) if allowed else []
        if claimed.trial and not begun:
            end_trial(lane, claimed.trial)
        failpoints.hit("F4")
    waits = [leave.wait for leave in refused.values() if leave.rule != "pair"]
    return Batch(len(claimed.asks), begun, min(waits, default=None))


def end_trial(lane: Lane, trial: str) -> None:
    """All of the trial is settled, or nothing of it left: its token goes back."""
    with tenant_scope(lane.tenant.id), transaction():
        breakers.note(lane.account, [], trial)


# --- claim ------------------------------------------------------------------------------------------------------


def claim(lane: Lane, room: int, *, urgent_only: bool = False, floor: bool = True, holder: str = "") -> Claimed | None:
    """Take up to ``room`` due rows for the length of a lease, the most urgent first.

    When they fill it, a tenth more of what is less urgent comes along (``floor``), so that nothing waits for ever
    behind a stream of orders, not even where ``urgent_only`` is wanted because the lane is full.
    ``holder`` names the journal of the process, so that others can tell when it is gone.
    """
    token = f"{holder}:{new_id('lse')[4:]}"[-64:]
    with transaction():
        leave = breakers.leave(lane.account.id, room)
        if leave.count == 0:
            return None
        asks = _claim(lane, leave.count, token, urgent_only=urgent_only)
        full = len(asks) == room and leave.token is None
        if full and floor and asks[-1].priority < _LEAST_URGENT:
            asks += _claim(lane, max(1, room // _FLOOR), token, below=asks[-1].priority)
        if leave.token and not asks:
            breakers.note(lane.account, [], leave.token)
    return Claimed(token, asks, leave.token) if asks else None


def _claim(
    lane: Lane, room: int, token: str, *, urgent_only: bool = False, below: int | None = None
) -> list[throttle.Ask]:
    wanted = select(Outbox.message_id).where(Outbox.account_id == lane.account.id, lifecycle.due())
    if urgent_only:
        wanted = wanted.where(Outbox.priority <= throttle.RESERVED)
    if below is not None:
        wanted = wanted.where(Outbox.priority > below)
    wanted = wanted.order_by(Outbox.priority, Outbox.next_at, Outbox.message_id).limit(room)
    found = db.session.execute(
        update(Outbox)
        .where(lies_among(Outbox, wanted.with_for_update(skip_locked=True)))
        .values(state="claimed", lease_token=token, lease_until=db_now(pace().lease))
        .returning(Outbox.message_id, Outbox.attempt_no, Outbox.contact_id, Outbox.priority, Outbox.next_at),
        execution_options=_QUIET,
    ).all()
    rows = sorted(found, key=lambda row: (row.priority, row.next_at, row.message_id))
    return [throttle.Ask(row.message_id, row.attempt_no + 1, row.contact_id, row.priority) for row in rows]


def give_back(lane: Lane, claimed: Claimed, refused: dict[str, throttle.Leave]) -> None:
    """A limit is reached: back into the queue until it opens again. Costs no try and no worker's time."""
    with transaction():
        ordered = sorted(refused.items(), key=lambda item: (item[1].rule or "", item[1].wait))
        for (rule, wait), group in groupby(ordered, key=lambda item: (item[1].rule, round(item[1].wait, 1))):
            ids = [message_id for message_id, _ in group]
            db.session.execute(
                update(Outbox)
                .where(Outbox.message_id.in_(ids), Outbox.state == "claimed", Outbox.lease_token == claimed.token)
                .values(state="queued", lease_token=None, lease_until=None, next_at=db_now(wait + 0.05)),
                execution_options=_QUIET,
            )
            limit = throttle.limit_of(lane.tenant, lane.account, rule or "")
            lifecycle.annotate(
                ids,
                reason="throttled",
                reason_detail={"rule": rule, "limit": limit},
                next_at=clock.in_seconds(wait),
            )


# --- begin ------------------------------------------------------------------------------------------------------


def begin(lane: Lane, claimed: Claimed, material: Material | None = None) -> list[Begun]:
    """Write the attempts down, for rows that are still ours and whose person still agrees. One transaction.

    ``material``: what was read for more rows than these; if None it is read now.
    """
    if material is None:
        material = gather(lane.account, claimed.attempts)
        end_read()
    ready, broken = compose(lane.account, lane.provider, material.of(claimed.message_ids))
    if broken:
        _bury(lane, claimed, broken)
    try:
        numbers = _begin(lane, claimed, ready)
    except OperationalError as error:  # the database ended one of two that waited for each other: nothing has left
        log.info("begin_once_more", error=type(error.orig).__name__)
        numbers = _begin(lane, claimed, ready)
    now = time.monotonic()
    urgent = {ask.message_id for ask in claimed.asks if ask.priority <= throttle.RESERVED}
    return [
        Begun(message_id, numbers[message_id], ready[message_id].request, now, message_id in urgent, claimed.trial)
        for message_id in claimed.message_ids
        if message_id in numbers
    ]


def _begin(lane: Lane, claimed: Claimed, ready: dict[str, Composed]) -> dict[str, int]:
    """The number of each attempt that may leave, by message."""
    with transaction():
        # Consent before outbox: an opt-out takes them in this order too, so neither can hold the other up.
        states = consent_log.states_of({each.contact_id for each in ready.values()}, lock=True)
        rows = db.session.execute(
            update(Outbox)
            .where(
                among(Outbox.message_id, ready),
                Outbox.state == "claimed",
                Outbox.lease_token == claimed.token,
                Outbox.lease_until > db_now(),
            )
            .values(state="sending", attempt_no=Outbox.attempt_no + 1, lease_until=db_now(pace().lease))
            .returning(Outbox.message_id, Outbox.attempt_no),
            execution_options=_QUIET,
        ).all()
        numbers = {row.message_id: row.attempt_no for row in rows}
        refused = _refused(lane, {message_id: ready[message_id] for message_id in numbers}, states)
        _skip(lane.tenant.id, refused)
        going = {message_id: number for message_id, number in numbers.items() if message_id not in refused}
        _write_attempts(lane, going)
        failpoints.hit("F3")
    return going


def _refused(lane: Lane, going: dict[str, Composed], states: dict[str, dict[str, Said]]) -> dict[str, Refusal]:
    found = {}
    for message_id, each in going.items():
        refusal = judge(states[each.contact_id], each.purpose, contract_basis=lane.tenant.contract_basis)
        if refusal is not None:
            found[message_id] = consent_log.explained(each.contact_id, refusal)
    return found


def _skip(tenant_id: str, refused: dict[str, Refusal]) -> None:
    for message_id, refusal in refused.items():
        lifecycle.move(
            tenant_id,
            [message_id],
            Status.SKIPPED,
            "skipped",
            reason=refusal.reason,
            reason_detail=dict(refusal.detail),
            next_at=None,
        )
        lifecycle.drop_from_outbox([message_id])


def _write_attempts(lane: Lane, numbers: dict[str, int]) -> None:
    if not numbers:
        return
    insert_table(
        Attempt,
        ("message_id", "attempt_no"),
        list(numbers.items()),
        tenant_id=lane.tenant.id,
        account_id=lane.account.id,
        provider=lane.account.provider,
        rank=int(Rank.INFLIGHT),
        started_at=clock_of_database(),
        receipt_seen=False,
    )
    now = clock.now()
    number = select(Outbox.attempt_no).where(Outbox.message_id == Message.id).scalar_subquery()
    db.session.execute(
        update(Message)
        .where(among(Message.id, numbers), Message.status == Status.QUEUED)
        .values(
            status=Status.SENDING,
            status_at=now,
            updated_at=now,
            reason=None,
            next_at=None,
            account_id=lane.account.id,
            provider=lane.account.provider,
            attempts=number,
        ),
        execution_options=_QUIET,
    )


def _bury(lane: Lane, claimed: Claimed, broken: dict[str, CannotSend]) -> None:
    """These can never be sent as they are: nothing left, and no retry would help."""
    with transaction():
        mine = set(
            db.session.scalars(
                select(Outbox.message_id)
                .where(Outbox.message_id.in_(broken), Outbox.lease_token == claimed.token)
                .with_for_update()
            )
        )
        without = sorted(each for each in mine if broken[each].code == media.PENDING)
        if without:
            media.wait_on(without, lane.account.id, uploads=lane.provider.uploads_media)
        held = [message_id for message_id in mine if broken[message_id].code == template_holds.REASON]
        template_holds.hold(lane.account, held, {each: str(broken[each]) for each in held})
        for message_id in mine.difference(without, held):
            problem = broken[message_id]
            if problem.hold:
                outcomes.hold_message(message_id, problem.code, str(problem))
            else:
                lifecycle.bury(lane.tenant.id, message_id, problem.code, str(problem))


def lanes_with_work(overdue_s: float = 0.0) -> list[str]:
    """Accounts on which something is due now, or has been due for ``overdue_s`` seconds.

    Looks into the index once for each account and urgency, however much waits.
    """
    with all_tenants("the tick serves everybody"):
        waits = (
            select(Outbox.message_id)
            .where(
                Outbox.tenant_id == ProviderAccount.tenant_id,
                Outbox.account_id == ProviderAccount.id,
                lifecycle.due(-overdue_s),
            )
            .correlate(ProviderAccount)
        )
        by_urgency = [waits.where(Outbox.priority == priority).exists() for priority in sorted(PRIORITY.values())]
        found = list(
            db.session.scalars(select(ProviderAccount.id).where(ProviderAccount.status == "active", or_(*by_urgency)))
        )
        end_read()
    return found
