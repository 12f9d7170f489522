"""The loop that sends: every lane with work at once, in one process, each with its own connections (engine.md §3.5).

A lane is one sender of one tenant. Lanes take turns of at most a fifth of a second's work; a far end that hangs holds
up its own lane only. Any number of engines may run at once, on the same lanes too. The database is spoken with in a
thread of its own, one step after the other, so that the wire is served while it works.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from .. import failpoints, logs, queues
from ..db import give_up_read, is_unavailable, on_commit, tenant_scope
from ..providers.base import Outcome, WireReply
from . import accounts, delivery, settlement
from .delivery import Begun, Lane
from .journal import Journal
from .transport import Transport

log = logs.get(__name__)

BUDGET_S = 5.0
MOST_ROWS = 200  # in one claim: what a cancellation or an opt-out may come too late for, and how long others wait
_TURN_S = 0.2  # of a lane's own rate is claimed at once
_FLUSH_S = 0.05
_REOPEN_S = 1.0  # so old may a lane's settings be
_LOOK_BUSY_S, _LOOK_IDLE_S = 0.25, 1.0  # how often lanes with work are looked for, besides being woken
_FORGET_S = 30.0  # a lane with nothing to do keeps its connections so long
_PATIENCE_S = 30.0  # so long answers wait for a database that is away
_PAUSE_S, _BROKEN_S = 0.5, 10.0  # a lane rests when the database is away, or it cannot be handled
_URGENT_S = 0.1  # a lane that is full looks so often for what must not wait

P = ParamSpec("P")
R = TypeVar("R")


def drain(account_id: str, budget_s: float = BUDGET_S) -> int:
    """Send what is due on one account until nothing is left or the budget is spent. Returns the requests made."""
    return _run(budget_s, only=account_id)


def serve(budget_s: float = BUDGET_S, *, linger: bool = False, stopping: Callable[[], object] = lambda: False) -> int:
    """Send what is due on every account. Returns the requests made.

    ``linger``: stay for the whole budget and answer wake-ups within milliseconds, instead of ending when all is sent.
    """
    return _run(budget_s, linger=linger, stopping=stopping)


def _run(budget_s: float, **options: Any) -> int:
    with (
        Journal(accounts.settings().data_dir / "journal") as journal,
        _Clerk() as clerk,
        asyncio.Runner(loop_factory=_loop) as runner,
    ):
        return runner.run(_Engine(journal, clerk, budget_s, **options).run())


def _loop() -> asyncio.AbstractEventLoop:
    """uvloop where its wheel exists: about a third less time per request than the standard loop (engine.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Clerk:
    """Does what needs the database, one step at a time, with the session of whoever started the engine."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "wa-clerk")

    def __enter__(self) -> "_Clerk":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def does(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``step`` returns or raises."""
        context = copy_context()
        return await asyncio.wrap_future(self._thread.submit(lambda: context.run(step, *args, **kwargs)))


class _Engine:
    def __init__(
        self,
        journal: Journal,
        clerk: _Clerk,
        budget_s: float,
        *,
        only: str | None = None,
        linger: bool = False,
        stopping: Callable[[], object] = lambda: False,
    ) -> None:
        self._journal, self._clerk = journal, clerk
        self._only, self._linger, self._stopping = only, linger, stopping
        self._until = time.monotonic() + budget_s
        self._lanes: dict[str, _LaneAtWork] = {}
        self._look_at = 0.0
        self._made = 0
        self._news = asyncio.Event()

    async def run(self) -> int:
        ears = asyncio.create_task(self._listen()) if self._linger else None
        try:
            while await self._round():
                pass
        finally:
            if ears is not None:
                await _end(ears)
            self._made += sum(lane.end() for lane in self._lanes.values())
        return self._made

    async def _round(self) -> bool:
        """One turn of every lane; False when there is nothing left to do here."""
        now = time.monotonic()
        if now > self._until + _PATIENCE_S:
            raise TimeoutError("the database did not come back: the journal tells what was heard")
        self._news.clear()
        if not self._ending():
            await self._look()
        moved = False
        for lane in list(self._lanes.values()):
            moved = await lane.turn(ending=self._ending()) or moved
            await asyncio.sleep(0)
        busy = any(lane.busy for lane in self._lanes.values())
        if not busy and not moved and (not self._linger or self._ending()):
            return False
        if not moved:
            await self._rest(busy)
        return True

    def _ending(self) -> bool:
        return bool(self._stopping()) or time.monotonic() >= self._until

    async def _rest(self, busy: bool) -> None:
        """Until an answer or a wake-up comes, or it is time to look."""
        try:
            async with asyncio.timeout(_FLUSH_S if busy else _LOOK_BUSY_S):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        """Find the lanes with work."""
        now = time.monotonic()
        if now < self._look_at:
            return
        try:
            found = await self._clerk.does(delivery.lanes_with_work)
        except Exception as error:
            if not is_unavailable(error) or not (self._linger or self._lanes):
                raise
            await self._clerk.does(give_up_read)
            found = []
        self._look_at = now + (_LOOK_BUSY_S if found else _LOOK_IDLE_S)
        for account_id, lane in list(self._lanes.items()):
            if lane.forgotten:
                self._made += self._lanes.pop(account_id).end()
        for account_id in found if self._only is None else [self._only]:
            self._wake(account_id)

    def _wake(self, account_id: str) -> None:
        lane = self._lanes.get(account_id)
        if lane is None:
            lane = self._lanes[account_id] = _LaneAtWork(account_id, self._journal, self._clerk, self._news)
        lane.wake()

    async def _listen(self) -> None:
        """Answer wake-ups for as long as we linger."""
        async with queues.Ears(self._journal.name) as ears:
            while True:
                account_id = await ears.next()
                if account_id and (self._only is None or account_id == self._only):
                    self._wake(account_id)
                    self._news.set()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel until it is over. Once is not enough: the Redis client sometimes takes a cancellation for a time-out of
    its own, and a drain that hears for ever but sends no more keeps all others from being started (storms, R1)."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.2)


class _LaneAtWork:
    """One lane in one engine: what is under way, and how much may be taken on."""

    def __init__(self, account_id: str, journal: Journal, clerk: _Clerk, news: asyncio.Event) -> None:
        self._account_id, self._journal, self._clerk, self._news = account_id, journal, clerk, news
        self._connections = accounts.settings().send_concurrency
        self._lane: Lane | None = None
        self._known: Lane | None = None  # as it was last open: what is under way is settled through it
        self._opened_at = 0.0
        self._transport = Transport(delivery.pace(), self._connections)
        self.awake = True
        self._made = 0
        self._moved_at, self._rests_until = time.monotonic(), 0.0
        self._under_way = 0
        self._answers: list[tuple[Begun, Outcome]] = []
        self._first_answer_at = 0.0
        self._apart = False  # the last attempt to settle and claim together has failed
        self._trial: str | None = None  # nothing else may leave before it is decided
        self._not_before = 0.0  # what is not urgent waits so long, says a limit
        self._urgent_at = 0.0
        self._rate = 100.0  # answers a second, as of late
        self._counted, self._counted_since = 0, time.monotonic()

    @property
    def busy(self) -> bool:
        return bool(self._under_way or self._answers)

    @property
    def forgotten(self) -> bool:
        return not self.busy and not self.awake and time.monotonic() - self._moved_at > _FORGET_S

    def wake(self) -> None:
        """There is something new, perhaps something urgent."""
        self.awake, self._urgent_at = True, 0.0

    def end(self) -> int:
        """Close its connections; returns the requests it made."""
        self._transport.close()
        return self._made

    async def turn(self, *, ending: bool) -> bool:
        """Settle what is ripe, take on what there is room for. True when something moved."""
        if time.monotonic() < self._rests_until:
            return False
        try:
            moved = (not ending and await self._take_on()) or await self._settle()
        except Exception as error:  # one lane that cannot be handled must not stop the others
            await self._clerk.does(give_up_read)
            away = is_unavailable(error)
            self._rests_until = time.monotonic() + (_PAUSE_S if away else _BROKEN_S)
            if not away:
                self.awake = False
                log.exception("lane_broke", account_id=self._account_id)
            return False
        if moved:
            self._moved_at = time.monotonic()
        return moved

    # --- taking on

    async def _take_on(self) -> bool:
        if not self.awake or self._trial is not None:
            return False
        now = time.monotonic()
        room = self._room()
        limited = now < self._not_before
        urgent_only = room <= 0 or limited
        if urgent_only and (now < self._urgent_at or self._is_crowded()):
            return False
        lane = await self._open()
        if lane is None:
            self.awake = False
            return False
        self._urgent_at = now + _URGENT_S
        self.awake = urgent_only  # unless it is woken meanwhile, or something is found
        ripe = [] if self._apart else self._answers[: MOST_ROWS * 2]
        self._apart = bool(ripe)  # should it fail together, then each for itself
        try:
            batch = await self._claim(lane, MOST_ROWS // 4 if urgent_only else room, ripe, urgent_only, not limited)
        except Exception:
            self.awake = True
            raise
        self._apart = False
        for begun in batch.begun:
            self._trial = begun.trial
            self._start(lane, begun)
        if batch.wait is not None:
            self._not_before = now + min(batch.wait, 5.0)
        self.awake = self.awake or bool(batch.claimed)
        return bool(batch.begun or ripe)

    async def _claim(
        self, lane: Lane, wanted: int, ripe: list[tuple[Begun, Outcome]], urgent_only: bool, floor: bool
    ) -> delivery.Batch:
        """The next batch, with ``ripe`` settled in the claim's transaction: they are settled once that commits,
        whatever becomes of the claim afterwards."""
        settled = []

        def settle() -> None:
            settlement.settle(lane.account, ripe, delivery.pace())
            on_commit(lambda: settled.append(True))

        try:
            return await self._clerk.does(
                delivery.next_batch,
                lane,
                wanted,
                urgent_only=urgent_only,
                floor=floor,
                holder=self._journal.name,
                beforehand=settle,
            )
        finally:
            if settled:
                self._settled(ripe)

    def _is_crowded(self) -> bool:
        """Even what is urgent would only wait here: a quarter more than there is room for is under way."""
        return self._under_way > 1.25 * (self._connections + min(self._rate * _TURN_S, MOST_ROWS * 2))

    def _room(self) -> int:
        """How many more: the connections and a fifth of a second's work, in claims that are worth their commits.

        While the far end waits for us, its rate says nothing: then as many as the connections take at once, twice.
        """
        ahead = min(int(self._rate * _TURN_S), MOST_ROWS * 2)
        if not self._under_way:
            return min(max(ahead, 2 * self._connections), MOST_ROWS)
        room = min(self._connections + ahead - self._under_way, MOST_ROWS)
        return room if room >= min(MOST_ROWS * 3 // 4, (self._connections + ahead) // 2) else 0

    async def _open(self) -> Lane | None:
        if time.monotonic() - self._opened_at > _REOPEN_S:
            self._lane = await self._clerk.does(delivery.open_lane, self._account_id)
            self._opened_at = time.monotonic()
            self._known = self._lane or self._known
        return self._lane

    # --- on the wire

    def _start(self, lane: Lane, begun: Begun) -> None:
        self._under_way += 1
        self._made += 1
        answer = self._transport.start(begun.request, lambda: self._may_leave(begun), urgent=begun.urgent)
        answer.add_done_callback(lambda future: self._answered(lane, begun, future.result()))

    def _may_leave(self, begun: Begun) -> str | None:
        """The last moment: frozen for too long, another may be deciding about this attempt by now."""
        if time.monotonic() - begun.begun_at > delivery.pace().lease / 2:
            return SELF_FENCE
        try:
            failpoints.hit("F5")
            self._journal.begin(begun.message_id, begun.attempt_no)
        except (OSError, failpoints.Failed):
            return SELF_FENCE
        return None

    def _answered(self, lane: Lane, begun: Begun, reply: WireReply) -> None:
        try:
            failpoints.hit("F7")
            outcome = read(lane, reply)
        except Exception as error:
            log.exception("answer_unreadable", message_id=begun.message_id)
            outcome = Outcome("ambiguous", "ambiguous", "unreadable", type(error).__name__, scope="provider")
        self._journal.heard(begun.message_id, begun.attempt_no, outcome)
        self._under_way -= 1
        self._answers.append((begun, outcome))
        if len(self._answers) == 1:
            self._first_answer_at = time.monotonic()
        if not self._under_way or len(self._answers) >= MOST_ROWS:
            self._news.set()

    # --- settling

    async def _settle(self) -> bool:
        ripe = len(self._answers) >= MOST_ROWS or not self._under_way
        if not self._answers or not (ripe or time.monotonic() - self._first_answer_at > _FLUSH_S):
            return False
        lane = self._known
        assert lane is not None  # noqa: S101 - something left through it
        answers = self._answers[: MOST_ROWS * 2]
        await self._clerk.does(_write_down, lane, answers)
        self._settled(answers)
        if self._trial is not None and not self.busy:
            await self._clerk.does(delivery.end_trial, lane, self._trial)
            self._trial = None
        self.wake()
        return True

    def _settled(self, answers: list[tuple[Begun, Outcome]]) -> None:
        if answers:
            del self._answers[: len(answers)]
            self._first_answer_at = time.monotonic()
            failpoints.hit("F8")
            self._count(len(answers))

    def _count(self, answers: int) -> None:
        self._counted += answers
        span = time.monotonic() - self._counted_since
        if span > _TURN_S:
            self._rate += 0.5 * (self._counted / span - self._rate)
            self._counted, self._counted_since = 0, time.monotonic()


def _write_down(lane: Lane, answers: list[tuple[Begun, Outcome]]) -> None:
    """All together; if that fails by a mistake of ours, each for itself, so that one cannot keep the others back."""
    with tenant_scope(lane.tenant.id):
        _settle_all(lane, answers)


def _settle_all(lane: Lane, answers: list[tuple[Begun, Outcome]]) -> None:
    try:
        settlement.settle(lane.account, answers, delivery.pace())
        return
    except Exception as error:
        give_up_read()
        if is_unavailable(error):
            raise
        log.exception("settle_failed", answers=len(answers))
    for answer in answers:
        try:
            settlement.settle(lane.account, [answer], delivery.pace())
        except Exception as error:
            give_up_read()
            if is_unavailable(error):
                raise
            # Its lease ends, and then it is a doubt, decided by evidence.
            log.exception("answer_lost", message_id=answer[0].message_id)


SELF_FENCE = "the worker was stopped before sending"


def read(lane: Lane, reply: WireReply) -> Outcome:
    """What an answer means, or that the request never left because we did not let it."""
    if reply.error == SELF_FENCE:
        return Outcome("not_sent", "network", "self_fence", SELF_FENCE)
    return lane.provider.read_send(reply)


def wake_lanes(stopping: Callable[[], object] = lambda: False) -> int:
    """Wake a worker for every lane with work. Without Redis, do a little of it here (durability.md §3.12)."""
    lanes = delivery.lanes_with_work()
    away = False
    for account_id in lanes:
        away = away or not queues.nudge(queues.Job.DRAIN, account_id)
    if away and not stopping():
        serve(2.0, stopping=stopping)
    return len(lanes)
