"""Waking whoever should look. Nothing that matters is in Redis: a wake-up carries a lane's name and no more.

A wake-up may be lost, doubled or late; the tick finds the same work in the database (decisions.md D3).
"""

import asyncio
import time
from contextlib import suppress
from enum import StrEnum
from typing import Any, Self

import redis
import redis.asyncio
from flask import current_app
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, Worker
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from . import failpoints, logs
from .config import Settings
from .db import on_commit

log = logs.get(__name__)

QUEUE = "wa"
SEND_QUEUE = "wa-send"  # apart, since a worker that sends stays with it for long
PATIENCE_S = 0.25  # the most a caller may ever wait for Redis
_FULL = 64  # so many wake-ups waiting say enough
_QUIET_S = 60.0
_AWAY_S = 2.0

_WAKES, _DRAINERS, _FILES = "wa:wakes", "wa:drainers", "wa:files"
_ALIVE_MS = 3000  # a drainer that has not said so for longer is gone

# KEYS: flag, wakes, drainers. ARGV: lane, alive (ms). 2: somebody will look anyway; 1: said to one who lingers;
# 0: nobody is there.
_WAKE = """
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', 1500) then return 2 end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[2])
if redis.call('ZCARD', KEYS[3]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1]); redis.call('LTRIM', KEYS[2], -1000, -1); redis.call('PEXPIRE', KEYS[2], 60000)
return 1
"""
_HERE = """
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1]); redis.call('PEXPIRE', KEYS[1], 60000)
"""

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
    on_commit(lambda: _wake_sender(account_id))


def _wake_sender(account_id: str) -> None:
    failpoints.hit("F1")
    _push(Job.DRAIN, account_id)


def wake_receipts() -> None:
    """After the commit: somebody should read the new webhooks."""
    on_commit(lambda: _push(Job.RECEIPTS, ""))


def wake_chores() -> None:
    """After the commit: somebody should do the slow chores (template submissions and look-ups)."""
    on_commit(lambda: _push(Job.CHORES, ""))


def wake_media() -> None:
    """After the commit: somebody should fetch the files that messages wait for."""
    on_commit(_wake_fetchers)


def _wake_fetchers() -> None:
    """As `_push`, to whoever listens with `hear_media`: these processes live on, so no job is made for them."""
    global _away_until
    if time.monotonic() < _away_until:
        return
    try:
        with client().pipeline(transaction=False) as talk:
            talk.rpush(_FILES, "1")
            talk.ltrim(_FILES, -_FULL, -1)
            talk.pexpire(_FILES, 60_000)
            talk.execute()
    except (redis.RedisError, OSError) as error:
        _away_until = time.monotonic() + _AWAY_S
        _warn(error)


def hear_media(connection: redis.Redis, seconds: int) -> bool:
    """Wait until files are wanted, or so many seconds; a Redis that is away is silence."""
    try:
        return connection.blpop([_FILES], timeout=seconds) is not None
    except (redis.RedisError, OSError) as error:
        _warn(error)
        time.sleep(seconds)
        return False


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
        if job is Job.DRAIN:
            if not connection.eval(_WAKE, 3, _flag(job, lane), _WAKES, _DRAINERS, lane, _ALIVE_MS):
                _enqueue(connection, job, lane)
        elif connection.set(_flag(job, lane), "1", nx=True, px=1500):
            _enqueue(connection, job, lane)
        return True
    except (redis.RedisError, OSError) as error:
        _away_until = time.monotonic() + _AWAY_S
        _warn(error)
        return False


def _flag(job: Job, lane: str) -> str:
    return f"wa:awake:{job.name.lower()}:{lane}"


def _enqueue(connection: redis.Redis, job: Job, lane: str) -> None:
    queue = WakeQueue(SEND_QUEUE if job is Job.DRAIN else QUEUE, connection=connection)
    if connection.llen(queue.key) < _FULL:
        queue.enqueue(str(job), lane, ttl=60, result_ttl=0, failure_ttl=600, job_timeout=90)


def keep_drainers() -> None:
    """See that every worker that can send lingers, ready within milliseconds. Never raises."""
    try:
        connection = client()
        queue = WakeQueue(SEND_QUEUE, connection=connection)
        seconds, micros = connection.time()
        alive = connection.zcount(_DRAINERS, seconds * 1000 + micros // 1000 - _ALIVE_MS, "+inf")
        missing = Worker.count(connection=connection, queue=queue) - int(alive) - connection.llen(queue.key)
        for _ in range(missing):
            _enqueue(connection, Job.DRAIN, "")
    except (redis.RedisError, OSError) as error:
        _warn(error)


class Ears:
    """Wake-ups of lanes, for a drainer that lingers. An async context manager; a Redis that is away is silence."""

    def __init__(self, name: str) -> None:
        self._name = name
        settings: Settings = current_app.extensions["wa_settings"]
        self._client = redis.asyncio.Redis.from_url(
            settings.redis_url, socket_timeout=5, socket_connect_timeout=PATIENCE_S, retry=AsyncRetry(NoBackoff(), 0)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(redis.RedisError, OSError):  # else it is forgotten by itself
            await self._client.zrem(_DRAINERS, self._name)
        await self._client.aclose()

    async def next(self) -> str | None:
        """The next lane somebody woke; None after a second without any."""
        try:
            await self._client.eval(_HERE, 1, _DRAINERS, self._name)
            heard = await self._client.blpop([_WAKES], timeout=1)
            if heard is None:
                return None
            lane = heard[1] if isinstance(heard[1], str) else heard[1].decode()
            await self._client.delete(_flag(Job.DRAIN, lane))
            return lane
        except (redis.RedisError, OSError) as error:
            _warn(error)
            await asyncio.sleep(1)
            return None


def awake(job: Job, lane: str) -> None:
    """A worker has begun to look: from now on new work needs a new wake-up."""
    try:
        client().delete(_flag(job, lane))
    except (redis.RedisError, OSError) as error:
        _warn(error)


def _warn(error: Exception) -> None:
    global _last_warning
    if time.monotonic() - _last_warning > _QUIET_S:
        _last_warning = time.monotonic()
        log.warning("queue_away", error=type(error).__name__, advice="the tick finds the work in the database")
