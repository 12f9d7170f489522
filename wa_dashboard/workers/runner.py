"""The processes around RQ: a worker with its own tick beside it, a scheduler with its table of periodic jobs.

RQ's own loops run untouched in a child process, because they exit when Redis goes away (durability.md §2.1 Q10,
K6) and because the tick must go on exactly then. The parent starts them again.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence

from flask import Flask
from rq import Worker
from rq_scheduler import Scheduler

from .. import clock, logs, queues
from ..config import Settings
from ..db import db, give_up_read, is_unavailable
from ..services import checkup, epoch, media_work
from . import jobs, stop, tick

log = logs.get(__name__)

STOP_S = 12.0
MEDIA_S, MEDIA_LOOK_S = 5.0, 2  # one round of files; so often they are looked for without being asked
LINGER_S = 40.0  # < the job's time-out of 90, by more than the slowest request takes
_PR_SET_PDEATHSIG = 1  # prctl(2): the child dies with its parent, however that dies

# id → (job, seconds). rq-scheduler only wakes; each sweep is safe to run in any number (durability.md §3.12).
PERIODIC: dict[str, tuple[queues.Job, int]] = {
    "wa-tick": (queues.Job.TICK, 5),
    "wa-receipts": (queues.Job.RECEIPTS, 5),
}


def worker(app: Flask) -> int:
    """Serve wake-ups and tick until told to stop."""
    return _beside_children(app, [_serve_sending, _serve_queue, _serve_media])


def scheduler(app: Flask) -> int:
    """Keep the metronome going and tick until told to stop."""
    return _beside_children(app, [_serve_schedule])


def _beside_children(app: Flask, loops: Sequence[Callable[[Flask], None]]) -> int:
    stopping = _signals()
    stop.watch_over(os.getpid())
    if not _look_at_the_fence(app, stopping):
        return 0
    children = [_Child(app, serve) for serve in loops]
    sends = _serve_sending in loops
    pace = app.extensions["wa_pace"]

    def told_to_end() -> bool:
        if stopping:
            stop.tell()
            for child in children:
                child.end()  # it may begin to, while the sweep in hand is brought to its end here
        return bool(stopping)

    with app.app_context():
        while not told_to_end():
            for child in children:
                child.see_that_it_lives()
            if sends:
                queues.keep_drainers()
            tick.run_once(stopping=told_to_end)
            db.session.remove()
            _sleep(pace.tick, stopping)
    for child in children:
        child.wait()
    return 0


def _look_at_the_fence(app: Flask, stopping: list[int]) -> bool:
    """Before anything is sent: is this the database that we left? Waits for one that is away. False: told to end."""
    with app.app_context():
        while not stopping:
            try:
                epoch.check_in()
                return True
            except Exception as error:
                give_up_read()
                if not is_unavailable(error):
                    raise
                log.warning("waiting_for_database", error=type(error).__name__)
                _sleep(1.0, stopping)
            finally:
                db.session.remove()
    return False


def _signals() -> list[int]:
    """The signals to end, as they come."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: stopping.append(signum))
    return stopping


def _sleep(seconds: float, stopping: list[int]) -> None:
    until = time.monotonic() + seconds
    while not stopping and time.monotonic() < until:
        time.sleep(min(0.1, seconds))


class _Child:
    """RQ's loop in a process of its own."""

    def __init__(self, app: Flask, serve: Callable[[Flask], None]) -> None:
        self._app, self._serve = app, serve
        self._told = 0.0
        self._start()

    def _start(self) -> None:
        with self._app.app_context():
            db.session.remove()
            db.engine.dispose()
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_in_child, args=(self._app, self._serve, os.getpid()))
        self._process.start()

    def see_that_it_lives(self) -> None:
        if not self._process.is_alive():
            self._start()

    def end(self) -> None:
        """Let the job in hand finish. Said once only: a second time RQ kills the job (durability.md §2.1 Q8)."""
        if not self._told:
            self._told = time.monotonic()
            self._process.terminate()

    def wait(self) -> None:
        """Until it has ended, STOP_S after it was told at most."""
        self.end()
        self._process.join(max(self._told + STOP_S - time.monotonic(), 0))
        if self._process.is_alive():
            self._process.kill()
            self._process.join(1)


def _in_child(app: Flask, serve: Callable[[Flask], None], parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return
    os.setpgid(0, 0)  # Ctrl-C goes to the whole group: it is for the parent to tell us, once
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with app.app_context():
        try:
            serve(app)
        except Exception as error:  # noqa: BLE001 - Redis away: the parent starts us again
            log.warning("queue_loop_ended", error=type(error).__name__)
            time.sleep(1)


def _serve_sending(app: Flask) -> None:
    _raise_open_files()
    jobs.linger_s = LINGER_S
    _serve_queue(app, queues.SEND_QUEUE)


def _serve_media(app: Flask) -> None:
    """Fetch files as they are wanted. No jobs: a process that is there already is quicker than a fork for each, and a
    stranger's slow file server keeps nothing else waiting here."""
    settings: Settings = app.extensions["wa_settings"]
    stopping = _signals()
    connection = queues.connect(settings, patient=True)
    while not stopping:
        media_work.work_due(MEDIA_S, lambda: stopping)
        db.session.remove()
        if not stopping:
            queues.hear_media(connection, MEDIA_LOOK_S)


def _raise_open_files() -> None:
    """Every lane keeps its own connections: as many as the system allows, not as few as a shell does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve_queue(app: Flask, name: str = queues.QUEUE) -> None:
    settings: Settings = app.extensions["wa_settings"]
    connection = queues.connect(settings, patient=True)
    if advice := checkup.forgets(connection):
        log.error("queue_may_forget", advice=advice)  # nothing is lost by it, but everything waits for the tick
    queue = queues.WakeQueue(name, connection=connection)
    Worker([queue], connection=connection, job_class=queues.WakeJob, queue_class=queues.WakeQueue).work(
        logging_level="WARNING"
    )


def _serve_schedule(app: Flask) -> None:
    settings: Settings = app.extensions["wa_settings"]
    connection = queues.connect(settings, patient=True)
    metronome = Scheduler(
        queue_name=queues.QUEUE,
        connection=connection,
        interval=1,
        job_class=queues.WakeJob,
        queue_class=queues.WakeQueue,
    )
    reconcile(metronome)
    metronome.run()


def reconcile(metronome: Scheduler) -> None:
    """Make the periodic jobs exactly those of the table: K2 can lose one, an old version can leave one behind."""
    table = metronome.scheduled_jobs_key
    present = {raw.decode() for raw in metronome.connection.zrange(table, 0, -1)}  # a foreign job may not even be read
    for job_id in present - PERIODIC.keys():
        metronome.connection.zrem(table, job_id)
    for job_id, (job, seconds) in PERIODIC.items():
        if job_id not in present or not queues.WakeJob.exists(job_id, connection=metronome.connection):
            metronome.schedule(
                scheduled_time=clock.now(),
                func=str(job),
                args=[""],
                interval=seconds,
                id=job_id,
                queue_name=queues.QUEUE,
                timeout=90,
            )


def alone(app: Flask) -> int:
    """Tick and do everything in this process until told to stop: an installation without RQ."""
    stopping = _signals()
    if not _look_at_the_fence(app, stopping):
        return 0
    with app.app_context():
        while not stopping:
            tick.run_once(here=True, stopping=lambda: stopping)
            db.session.remove()
            _sleep(app.extensions["wa_pace"].tick, stopping)
    return 0
