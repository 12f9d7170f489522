"""One lane while the engine works on it: what is under way, what is settled, and how much may be taken on."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from .. import failpoints, logs
from ..db import give_up_read, is_unavailable, on_commit, tenant_scope
from ..providers.base import Outcome, WireReply
from . import accounts, delivery, settlement
from .delivery import Begun, Lane
from .journal import Journal
from .transport import Transport

log = logs.get(__name__)

MOST_ROWS = 200  # in one claim: what a cancellation or an opt-out may come too late for, and how long others wait
_TURN_S = 0.2  # of a lane's own rate is claimed at once
FLUSH_S = 0.05  # so long an answer waits for others to be settled with
_REOPEN_S = 1.0  # so old may a lane's settings be
_FORGET_S = 30.0  # a lane with nothing to do keeps its connections so long
_PAUSE_S, _BROKEN_S = 0.5, 10.0  # a lane rests when the database is away, or it cannot be handled
_URGENT_S = 0.1  # a lane that is full looks so often for what must not wait
_HURRY_S = 0.03  # and one that is woken so often, in a small claim of its own

P = ParamSpec("P")
R = TypeVar("R")


class Clerk:
    """Does what needs the database, one step at a time, with the session of whoever started the engine."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "wa-clerk")

    def __enter__(self) -> "Clerk":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def does(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``step`` returns or raises."""
        context = copy_context()
        return await asyncio.wrap_future(self._thread.submit(lambda: context.run(step, *args, **kwargs)))


class LaneAtWork:
    """One lane in one engine: what is under way, and how much may be taken on."""

    def __init__(self, account_id: str, journal: Journal, clerk: Clerk, news: asyncio.Event) -> None:
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
        self._woken, self._hurried_at = False, 0.0  # something came: perhaps it must not wait for a whole batch
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
        self.awake, self._woken = True, True

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
        hurry = self._woken and self.busy and now - self._hurried_at > _HURRY_S
        urgent_only = room <= 0 or limited or hurry
        if urgent_only and ((now < self._urgent_at and not hurry) or self._is_crowded()):
            return False
        lane = await self._open()
        if lane is None:
            self.awake = False
            return False
        self._urgent_at, self._woken = now + _URGENT_S, False
        self._hurried_at = now if hurry else self._hurried_at
        self.awake = urgent_only  # unless it is woken meanwhile, or something is found
        ripe = [] if self._apart or hurry else self._answers[: MOST_ROWS * 2]
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
                beforehand=settle if ripe else None,
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
        if not self._answers or not (ripe or time.monotonic() - self._first_answer_at > FLUSH_S):
            return False
        lane = self._known
        assert lane is not None  # noqa: S101 - something left through it
        answers = self._answers[: MOST_ROWS * 2]
        await self._clerk.does(_write_down, lane, answers)
        self._settled(answers)
        if self._trial is not None and not self.busy:
            await self._clerk.does(delivery.end_trial, lane, self._trial)
            self._trial = None
        self.awake = True
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
