"""Waking whoever should look. Nothing that matters is in Redis: a wake-up carries a lane's name and no more.

A wake-up may be lost, doubled or late; the tick finds the same work in the database (decisions.md D3).
"""

import time
from enum import StrEnum
from typing import Any

import redis
from flask import current_app
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from . import logs
from .config import Settings
from .db import on_commit

log = logs.get(__name__)

QUEUE = "wa"
PATIENCE_S = 0.25  # the most a caller may ever wait for Redis
_FULL = 64  # so many wake-ups waiting say enough
_QUIET_S = 60.0
_AWAY_S = 2.0

_last_warning = 0.0
_away_until = 0.0


class Job(StrEnum):
    """The functions a worker may run, and no others."""

    DRAIN = "wa_dashboard.workers.jobs.drain"
    RECEIPTS = "wa_dashboard.workers.jobs.read_receipts"
    CHORES = "wa_dashboard.workers.jobs.chores"
    TICK = "wa_dashboard.workers.jobs.tick"


class ForeignJob(ValueError):
    """A job in Redis that we did not write: it is not run (durability.md §0.7)."""


class WakeJob(RqJob):
    """An RQ job in JSON whose function must be one of ours: write access to Redis is not code execution here."""

    def __init__(self, id: str | None = None, connection: Any = None, **_: Any) -> None:  # noqa: A002
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> RqJob:
        kwargs["serializer"] = JSONSerializer
        return super().create(*args, **kwargs)

    # Redis may also name functions to call when a job ends; ours have none, so whatever stands there is not ours.
    success_callback = failure_callback = stopped_callback = None

    def _execute(self) -> Any:
        if self.func_name not in set(Job):
            raise ForeignJob("not one of our jobs")
        return super()._execute()


class WakeQueue(Queue):
    job_class = WakeJob

    def __init__(self, name: str = QUEUE, connection: Any = None, **kwargs: Any) -> None:
        kwargs["serializer"] = JSONSerializer
        kwargs["job_class"] = WakeJob
        super().__init__(name, connection=connection, **kwargs)


def connect(settings: Settings, *, patient: bool = False) -> redis.Redis:
    """A client. Impatient ones (web) give up after a quarter second and never retry; workers wait longer."""
    if patient:
        return redis.Redis.from_url(settings.redis_url, health_check_interval=30, socket_connect_timeout=3)
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )


def client() -> redis.Redis:
    """This process's impatient client."""
    app = current_app
    if "wa_redis" not in app.extensions:
        app.extensions["wa_redis"] = connect(app.extensions["wa_settings"])
    return app.extensions["wa_redis"]


def wake_lane(account_id: str) -> None:
    """After the commit: somebody should send what is due on this account."""
    on_commit(lambda: _push(Job.DRAIN, account_id))


def wake_receipts() -> None:
    """After the commit: somebody should read the new webhooks."""
    on_commit(lambda: _push(Job.RECEIPTS, ""))


def wake_chores() -> None:
    """After the commit: somebody should do the slow chores (template submissions and look-ups)."""
    on_commit(lambda: _push(Job.CHORES, ""))


def nudge(job: Job, lane: str = "") -> bool:
    """Enqueue now, outside any transaction. False when Redis did not take it."""
    return _push(job, lane)


def _push(job: Job, lane: str) -> bool:
    """Never raises, never takes longer than PATIENCE_S, and asks a Redis that is away only every two seconds."""
    global _away_until
    if time.monotonic() < _away_until:
        return False
    try:
        connection = client()
        flag = f"wa:awake:{job.name.lower()}:{lane}"
        if not connection.set(flag, "1", nx=True, px=1500):
            return True
        queue = WakeQueue(connection=connection)
        if connection.llen(queue.key) < _FULL:
            queue.enqueue(str(job), lane, ttl=60, result_ttl=0, failure_ttl=600, job_timeout=90)
        return True
    except (redis.RedisError, OSError) as error:
        _away_until = time.monotonic() + _AWAY_S
        _warn(error)
        return False


def awake(job: Job, lane: str) -> None:
    """A worker has begun to look: from now on new work needs a new wake-up."""
    try:
        client().delete(f"wa:awake:{job.name.lower()}:{lane}")
    except (redis.RedisError, OSError) as error:
        _warn(error)


def _warn(error: Exception) -> None:
    global _last_warning
    if time.monotonic() - _last_warning > _QUIET_S:
        _last_warning = time.monotonic()
        log.warning("queue_away", error=type(error).__name__, advice="the tick finds the work in the database")
