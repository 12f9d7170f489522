"""The sweeps: all that must happen even if every wake-up is lost. Any number may run, and die, at once."""

import math
import time
from collections.abc import Callable

from flask import current_app

from .. import logs, queues
from ..db import all_tenants, clock_of_database, end_read, give_up_read, is_unavailable, transaction, upsert
from ..domain.pace import Pace
from ..models import Heartbeat
from ..services import (
    account_facts,
    aftermath,
    code_ends,
    engine,
    epoch,
    failover,
    idempotency,
    introductions,
    lookup,
    media_age,
    media_work,
    price_reports,
    probing,
    receipt_stream,
    receipts,
    recovery,
    reminders,
    template_review,
    templates,
)

log = logs.get(__name__)

_CHORES_EVERY_S = 5.0
_PURGE_EVERY_S = 600.0
_EPOCH_EVERY_S = 10.0
_CODES_EVERY_S = 2.0
_last: dict[str, float] = {}


def run_once(*, here: bool = False, stopping: Callable[[], object] = lambda: False) -> list[str]:
    """One round of everything; returns the names of the sweeps that failed (their reasons are in the log).

    ``here``: do the sending and the chores in this process instead of waking workers. Once ``stopping`` answers yes,
    no further sweep is begun.
    """
    pace: Pace = current_app.extensions["wa_pace"]
    sweeps: list[tuple[str, Callable[[], object]]] = [
        *([("epoch", epoch.check_in)] if _every("epoch", _EPOCH_EVERY_S) else []),
        *([("templates_anew", template_review.look_at_all)] if _every("templates_anew", math.inf) else []),
        ("left_behind", lambda: aftermath.clear_up(pace)),
        ("reap", lambda: recovery.reap(pace)),
        ("receipts", _read_all),
        ("parked", receipts.match_parked_due),
        *([("codes", code_ends.sweep)] if _every("codes", _CODES_EVERY_S) else []),
        ("reminders", reminders.release_due),
        ("relieve", lambda: failover.relieve(stopping)),
        ("lanes", lambda: _send_here(stopping) if here else engine.wake_lanes(stopping)),
    ]
    if here:
        sweeps += [*_CHORES, ("receipts", _read_all)]
    elif _every("chores", _CHORES_EVERY_S) and not queues.nudge(queues.Job.CHORES):
        sweeps += _CHORES
    if here:
        sweeps.append(("media", lambda: media_work.work_due(stopping=stopping)))
    if _every("purge", _PURGE_EVERY_S):
        sweeps += [("purge", idempotency.purge), ("old_files", media_age.erase_old)]
    sweeps.append(("heartbeat", lambda: beat("tick")))
    return _run(sweeps, stopping)


def chores() -> None:
    """What talks to providers at length, with no transaction open."""
    _run(_CHORES)


def beat(name: str) -> None:
    """Note that this piece of periodic work is alive (database clock)."""
    with all_tenants("a heartbeat is nobody's"), transaction():
        upsert(Heartbeat, {"name": name, "at": clock_of_database()}, key=["name"], update=["at"])


def _read_all() -> None:
    while receipts.process():
        pass


def _send_here(stopping: Callable[[], object]) -> None:
    engine.serve(stopping=stopping)


_CHORES: list[tuple[str, Callable[[], object]]] = [
    ("introduce", introductions.reintroduce),
    ("probe", probing.probe_due),
    ("facts", account_facts.refresh_due),
    ("receipt_streams", receipt_stream.watch),
    ("look_up", lambda: lookup.look_up_due(current_app.extensions["wa_pace"])),
    ("price_reports", price_reports.ask_due),
    ("submit", templates.submit_due),
    ("poll", templates.poll_due),
]


def _every(name: str, seconds: float) -> bool:
    now = time.monotonic()
    if now - _last.get(name, -seconds) < seconds:
        return False
    _last[name] = now
    return True


def _run(sweeps: list[tuple[str, Callable[[], object]]], stopping: Callable[[], object] = lambda: False) -> list[str]:
    return [name for name, work in sweeps if not stopping() and not _step(name, work)]


def _step(name: str, work: Callable[[], object]) -> bool:
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
        return False
    return True
