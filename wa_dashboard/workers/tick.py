"""The sweeps: all that must happen even if every wake-up is lost. Any number may run, and die, at once."""

import time
from collections.abc import Callable

from flask import current_app

from .. import logs, queues
from ..db import all_tenants, clock_of_database, db, end_read, give_up_read, is_unavailable, transaction, upsert
from ..domain.pace import Pace
from ..models import Heartbeat
from ..services import delivery, idempotency, lookup, receipts, recovery, reminders, templates

log = logs.get(__name__)

_CHORES_EVERY_S = 5.0
_PURGE_EVERY_S = 600.0
_last: dict[str, float] = {}


def run_once(*, here: bool = False) -> None:
    """One round of everything. ``here``: do the sending and the chores in this process instead of waking workers."""
    pace: Pace = current_app.extensions["wa_pace"]
    _step("reap", lambda: recovery.reap(pace))
    _step("receipts", _read_all)
    _step("parked", receipts.match_parked_due)
    _step("reminders", reminders.release_due)
    _step("lanes", lambda: _send_here() if here else delivery.wake_lanes())
    if here:
        _step("chores", chores)
        _step("receipts", _read_all)
    elif _every("chores", _CHORES_EVERY_S) and not queues.nudge(queues.Job.CHORES):
        _step("chores", chores)
    if _every("purge", _PURGE_EVERY_S):
        _step("purge", idempotency.purge)
    _step("heartbeat", lambda: beat("tick"))


def run_forever() -> None:
    """Rounds until the process is told to stop (SIGTERM raises SystemExit in `cli`)."""
    pace: Pace = current_app.extensions["wa_pace"]
    while True:
        run_once()
        db.session.remove()
        time.sleep(pace.tick)


def chores() -> None:
    """What talks to providers at length, with no transaction open."""
    _step("look_up", lambda: lookup.look_up_due(current_app.extensions["wa_pace"]))
    _step("submit", templates.submit_due)
    _step("poll", templates.poll_due)


def beat(name: str) -> None:
    """Note that this piece of periodic work is alive (database clock)."""
    with all_tenants("a heartbeat is nobody's"), transaction():
        upsert(Heartbeat, {"name": name, "at": clock_of_database()}, key=["name"], update=["at"])


def _read_all() -> None:
    while receipts.process():
        pass


def _send_here() -> None:
    for account_id in delivery.lanes_with_work():
        delivery.drain(account_id)


def _every(name: str, seconds: float) -> bool:
    now = time.monotonic()
    if now - _last.get(name, -seconds) < seconds:
        return False
    _last[name] = now
    return True


def _step(name: str, work: Callable[[], object]) -> None:
    """One sweep; its failure is logged and never stops the others."""
    try:
        work()
        end_read()
    except Exception as error:
        give_up_read()
        if is_unavailable(error):
            log.warning("sweep_without_database", sweep=name, error=type(error).__name__)
        else:
            log.exception("sweep_failed", sweep=name)
