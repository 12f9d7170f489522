"""One send is three short transactions with the wire between them (decisions.md D4, durability.md §3.4).

claim   these rows are mine for a while; nothing has left, so losing them costs nothing
begin   still mine, consent still there, attempt written down: only now may a request leave
settle  what became of it, unless a receipt has already told more
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import case, select, update

from .. import clock, failpoints, logs, queues
from ..db import (
    all_tenants,
    db,
    db_now,
    end_read,
    give_up_read,
    insert_rows,
    is_unavailable,
    tenant_scope,
    transaction,
)
from ..domain.consent import Refusal, Said, judge
from ..domain.ids import new_id
from ..domain.pace import Pace
from ..domain.statuses import Rank, Status
from ..models import Attempt, Message, Outbox, ProviderAccount, Tenant
from ..providers.base import Outcome, Provider, WireRequest
from . import accounts, consent_log, lifecycle, outcomes, throttle
from .outbound import CannotSend, Composed, compose
from .transport import Transport

log = logs.get(__name__)

BATCH = 100
BUDGET_S = 5.0
FORSAKEN_S = 10.0
_FLUSH_S = 0.05


@dataclass(frozen=True)
class Lane:
    """One sender of one tenant: what one drain works on."""

    tenant: Tenant
    account: ProviderAccount
    provider: Provider


@dataclass(frozen=True)
class Claimed:
    token: str
    message_ids: list[str]


@dataclass(frozen=True)
class Begun:
    """An attempt that is written down and may leave until half its lease is over."""

    message_id: str
    attempt_no: int
    request: WireRequest
    begun_at: float  # time.monotonic()


def pace() -> Pace:
    return current_app.extensions["wa_pace"]


def drain(account_id: str, budget_s: float = BUDGET_S) -> int:
    """Send what is due on one account until nothing is left or the budget is spent. Returns the requests made.

    Any number may run at once, on the same account too.
    """
    lane = _open_lane(account_id)
    if lane is None:
        return 0
    with tenant_scope(lane.tenant.id), asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(_pump(lane, budget_s))


def _loop() -> asyncio.AbstractEventLoop:
    """uvloop where its wheel exists: about a third less time per request than the standard loop (engine.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _open_lane(account_id: str) -> Lane | None:
    with all_tenants("an account's id tells whose lane it is"):
        account = db.session.scalar(select(ProviderAccount).where(ProviderAccount.id == account_id))
        if account is None or account.status != "active":
            return None
        tenant = db.session.scalars(select(Tenant).where(Tenant.id == account.tenant_id)).one()
        lane = Lane(tenant, account, accounts.provider_of(account))
        end_read()
    return lane


async def _pump(lane: Lane, budget_s: float) -> int:
    """Keep as many requests under way as settings allow; write results down every 50 ms."""
    concurrency = accounts.settings().send_concurrency
    deadline = time.monotonic() + budget_s
    under_way: dict[asyncio.Task[Outcome], Begun] = {}
    made, more = 0, True
    async with Transport(pace(), concurrency) as transport:
        while more or under_way:
            more = more and time.monotonic() < deadline
            room = min(concurrency - len(under_way), BATCH)
            if more and room > 0:
                begun = next_batch(lane, room)
                more = begun is not None
                for one in begun or ():
                    under_way[asyncio.create_task(_send(lane, transport, one))] = one
                    made += 1
            if under_way:
                done, _ = await asyncio.wait(under_way, timeout=_FLUSH_S, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    outcomes.settle(lane.account, [(under_way.pop(task), task.result()) for task in done], pace())
                    failpoints.hit("F8")
    return made


def next_batch(lane: Lane, room: int) -> list[Begun] | None:
    """Claim, ask the limiter, begin. None when there is nothing to claim or no leave to send."""
    claimed = claim(lane, room)
    if claimed is None:
        return None
    failpoints.hit("F2")
    grant = throttle.take(lane.tenant, lane.account.live, len(claimed.message_ids))
    if grant.count < len(claimed.message_ids):
        give_back(lane, claimed, claimed.message_ids[grant.count :], grant)
    allowed = claimed.message_ids[: grant.count]
    begun = begin(lane, Claimed(claimed.token, allowed)) if allowed else []
    failpoints.hit("F4")
    return begun if allowed else None


def claim(lane: Lane, room: int) -> Claimed | None:
    """Take up to ``room`` due rows for the length of a lease."""
    token = new_id("lse")
    with transaction():
        wanted = (
            select(Outbox.message_id)
            .where(Outbox.account_id == lane.account.id, lifecycle.due())
            .order_by(Outbox.priority, Outbox.next_at, Outbox.message_id)
            .limit(room)
            .with_for_update(skip_locked=True)
        )
        ids = list(db.session.scalars(wanted))
        if not ids:
            return None
        taken = db.session.scalars(
            update(Outbox)
            .where(Outbox.message_id.in_(ids), Outbox.state == "queued")
            .values(state="claimed", lease_token=token, lease_until=db_now(pace().lease))
            .returning(Outbox.message_id),
            execution_options={"synchronize_session": False},
        )
        mine = set(taken)
    return Claimed(token, [message_id for message_id in ids if message_id in mine])


def give_back(lane: Lane, claimed: Claimed, message_ids: Sequence[str], grant: throttle.Grant) -> None:
    """The limit is reached: back into the queue until it opens again. Costs no try and no worker's time."""
    with transaction():
        db.session.execute(
            update(Outbox)
            .where(Outbox.message_id.in_(message_ids), Outbox.state == "claimed", Outbox.lease_token == claimed.token)
            .values(state="queued", lease_token=None, lease_until=None, next_at=db_now(grant.wait)),
            execution_options={"synchronize_session": False},
        )
        lifecycle.annotate(
            message_ids,
            reason="throttled",
            reason_detail={"rule": grant.rule, "limit": _limit_of(lane.tenant, grant.rule)},
            next_at=clock.in_seconds(grant.wait),
        )


def _limit_of(tenant: Tenant, rule: str | None) -> int | None:
    return next((each.limit for each in throttle.rules_of(tenant) if each.name == rule), None)


def begin(lane: Lane, claimed: Claimed) -> list[Begun]:
    """Write the attempts down, for rows that are still ours and whose person still agrees. One transaction."""
    ready, broken = compose(lane.account, lane.provider, claimed.message_ids)
    if broken:
        _bury(lane, claimed, broken)
    with transaction():
        # Consent before outbox: an opt-out takes them in this order too, so neither can hold the other up.
        states = consent_log.states_of({each.contact_id for each in ready.values()}, lock=True)
        rows = db.session.execute(
            update(Outbox)
            .where(
                Outbox.message_id.in_(ready),
                Outbox.state == "claimed",
                Outbox.lease_token == claimed.token,
                Outbox.lease_until > db_now(),
            )
            .values(state="sending", attempt_no=Outbox.attempt_no + 1, lease_until=db_now(pace().lease))
            .returning(Outbox.message_id, Outbox.attempt_no),
            execution_options={"synchronize_session": False},
        ).all()
        numbers = {row.message_id: row.attempt_no for row in rows}
        refused = _refused(lane, {message_id: ready[message_id] for message_id in numbers}, states)
        _skip(lane.tenant.id, refused)
        going = {message_id: number for message_id, number in numbers.items() if message_id not in refused}
        _write_attempts(lane, going)
        failpoints.hit("F3")
    now = time.monotonic()
    return [Begun(message_id, number, ready[message_id].request, now) for message_id, number in going.items()]


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
    ids = list(numbers)
    rows = [
        {
            "tenant_id": lane.tenant.id,
            "message_id": message_id,
            "attempt_no": number,
            "account_id": lane.account.id,
            "provider": lane.account.provider,
            "rank": int(Rank.INFLIGHT),
            "started_at": db_now(),
            "receipt_seen": False,
        }
        for message_id, number in numbers.items()
    ]
    insert_rows(Attempt, rows)
    now = clock.now()
    db.session.execute(
        update(Message)
        .where(Message.id.in_(ids), Message.status == Status.QUEUED)
        .values(
            status=Status.SENDING,
            status_at=now,
            updated_at=now,
            reason=None,
            next_at=None,
            account_id=lane.account.id,
            provider=lane.account.provider,
            attempts=case(numbers, value=Message.id),
        ),
        execution_options={"synchronize_session": False},
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
        for message_id in mine:
            problem = broken[message_id]
            if problem.hold:
                outcomes.hold_message(message_id, problem.code, str(problem))
            else:
                lifecycle.bury(lane.tenant.id, message_id, problem.code, str(problem))


async def _send(lane: Lane, transport: Transport, begun: Begun) -> Outcome:
    if time.monotonic() - begun.begun_at > pace().lease / 2:
        # Frozen for too long: another may be deciding about this attempt by now. It has not left; say so.
        return Outcome("not_sent", "network", "self_fence", "the worker was stopped before sending")
    failpoints.hit("F5")
    reply = await transport.send(begun.request)
    failpoints.hit("F7")
    return lane.provider.read_send(reply)


def lanes_with_work(overdue_s: float = 0.0) -> list[str]:
    """Accounts on which something is due now, or has been due for ``overdue_s`` seconds."""
    with all_tenants("the tick serves everybody"):
        rows = db.session.execute(
            select(Outbox.account_id)
            .join(ProviderAccount, ProviderAccount.id == Outbox.account_id)
            .where(lifecycle.due(-overdue_s), ProviderAccount.status == "active")
            .group_by(Outbox.account_id)
        )
        found = [account_id for (account_id,) in rows if account_id]
        end_read()
    return found


def wake_lanes(stopping: Callable[[], object] = lambda: False) -> int:
    """Wake a worker for every lane with work. Without Redis, do a little of it here (durability.md §3.12)."""
    lanes = lanes_with_work()
    for account_id in lanes:
        if not stopping() and not queues.nudge(queues.Job.DRAIN, account_id):
            drain_safely(account_id, budget_s=2.0)
    return len(lanes)


def drain_safely(account_id: str, budget_s: float = BUDGET_S) -> None:
    """As `drain`; an account that cannot be handled (credentials that do not open) must not stop the others."""
    try:
        drain(account_id, budget_s)
    except Exception as error:
        if is_unavailable(error):
            raise
        give_up_read()
        log.exception("lane_broke", account_id=account_id)
