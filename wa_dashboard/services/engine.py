"""The loop that sends: every lane with work at once, in one process, each with its own connections (engine.md §3.5).

A lane is one sender of one tenant. Lanes take turns of at most a fifth of a second's work; a far end that hangs holds
up its own lane only. Any number of engines may run at once, on the same lanes too. The database is spoken with in a
thread of its own, one step after the other, so that the wire is served while it works.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from .. import logs, queues
from ..db import give_up_read, is_unavailable
from . import accounts, delivery
from .journal import Journal
from .lane import FLUSH_S, Clerk, LaneAtWork

log = logs.get(__name__)

BUDGET_S = 5.0
_LOOK_BUSY_S, _LOOK_IDLE_S = 0.25, 1.0  # how often lanes with work are looked for, besides being woken
_PATIENCE_S = 30.0  # so long answers wait for a database that is away


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
        Clerk() as clerk,
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


class _Engine:
    def __init__(
        self,
        journal: Journal,
        clerk: Clerk,
        budget_s: float,
        *,
        only: str | None = None,
        linger: bool = False,
        stopping: Callable[[], object] = lambda: False,
    ) -> None:
        self._journal, self._clerk = journal, clerk
        self._only, self._linger, self._stopping = only, linger, stopping
        self._until = time.monotonic() + budget_s
        self._lanes: dict[str, LaneAtWork] = {}
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
            async with asyncio.timeout(FLUSH_S if busy else _LOOK_BUSY_S):
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
            lane = self._lanes[account_id] = LaneAtWork(account_id, self._journal, self._clerk, self._news)
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


def wake_lanes(stopping: Callable[[], object] = lambda: False) -> int:
    """Wake a worker for every lane with work. Without Redis, do a little of it here (durability.md §3.12)."""
    lanes = delivery.lanes_with_work()
    away = False
    for account_id in lanes:
        away = away or not queues.nudge(queues.Job.DRAIN, account_id)
    if away and not stopping():
        serve(2.0, stopping=stopping)
    return len(lanes)
