"""Redis only wakes: our functions and no others, quickly or not at all, and never an error (decisions.md D3)."""

import asyncio
import importlib
import inspect
import json
import pickle
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from rq import Queue, SimpleWorker, Worker
from rq.job import Job as RqJob
from rq_scheduler import Scheduler

from wa_dashboard import queues
from wa_dashboard.db import db, transaction
from wa_dashboard.factory import create_app
from wa_dashboard.workers import jobs, runner


@pytest.fixture
def redis(sqlite_app: Flask) -> Iterator:
    """A patient connection to an empty Redis, inside the application's context."""
    with sqlite_app.app_context():
        connection = queues.connect(sqlite_app.extensions["wa_settings"], patient=True)
        connection.flushdb()
        queues._away_until = 0.0
        yield connection
        db.session.remove()


def work_off(redis) -> None:
    """What the worker process does until its queue is empty, here without a fork."""
    both = [queues.WakeQueue(name, connection=redis) for name in (queues.SEND_QUEUE, queues.QUEUE)]
    SimpleWorker(both, connection=redis, job_class=queues.WakeJob, queue_class=queues.WakeQueue).work(
        burst=True, logging_level="CRITICAL"
    )


# --- names ------------------------------------------------------------------------------------------------------


def test_every_job_is_a_function_that_takes_a_lane() -> None:
    for job in queues.Job:
        module, _, name = job.value.rpartition(".")
        function = getattr(importlib.import_module(module), name)
        assert module == jobs.__name__
        assert len(inspect.signature(function).parameters) == 1
    public = {name for name, value in vars(jobs).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert public == {job.value.rpartition(".")[2] for job in queues.Job}


def test_a_wake_up_is_run(redis, monkeypatch: pytest.MonkeyPatch) -> None:
    drained = []
    monkeypatch.setattr("wa_dashboard.services.engine.serve", lambda *_, **how: drained.append(how["linger"]))

    assert queues.nudge(queues.Job.DRAIN, "acc_1")
    work_off(redis)

    assert drained == [False]


# --- foreign jobs (S17) -----------------------------------------------------------------------------------------


def plant(redis, marker, *, as_pickle: bool, function: str = "os.system", **more: str) -> str:
    """What somebody with write access to Redis could leave there: a job of stock RQ."""
    call = (function, None, [f"touch {marker}"], {})
    data = pickle.dumps(call) if as_pickle else json.dumps(call).encode()
    job_id = f"planted-{'pickle' if as_pickle else 'json'}"
    fields = {
        "created_at": "2026-11-23T10:00:00.000000Z",
        "enqueued_at": "2026-11-23T10:00:00.000000Z",
        "data": zlib.compress(data),
        "origin": queues.QUEUE,
        "status": "queued",
        "timeout": "60",
        **more,
    }
    redis.hset(f"rq:job:{job_id}", mapping=fields)
    redis.rpush(f"rq:queue:{queues.QUEUE}", job_id)
    return job_id


@pytest.mark.parametrize("as_pickle", [True, False], ids=["pickle", "JSON"])
def test_a_planted_job_is_not_executed(redis, tmp_path, as_pickle: bool) -> None:
    marker = tmp_path / "executed"
    plant(redis, marker, as_pickle=as_pickle)

    work_off(redis)

    assert not marker.exists()
    assert redis.llen(f"rq:queue:{queues.QUEUE}") == 0


def test_the_planted_job_would_be_executed_by_stock_rq(redis, tmp_path) -> None:
    """Else the test above could not fail."""
    marker = tmp_path / "executed"
    plant(redis, marker, as_pickle=True)

    SimpleWorker([Queue(queues.QUEUE, connection=redis)], connection=redis).work(burst=True, logging_level="CRITICAL")

    assert marker.exists()


CALLED: list[str] = []


def called(*_: object) -> None:
    CALLED.append("called")


@pytest.mark.parametrize("function", [queues.Job.DRAIN.value, "os.system"])
def test_planted_callbacks_are_not_called(redis, tmp_path, function: str) -> None:
    CALLED.clear()
    ours = f"{__name__}.called"
    plant(
        redis,
        tmp_path / "executed",
        as_pickle=False,
        function=function,
        success_callback_name=ours,
        failure_callback_name=ours,
        stopped_callback_name=ours,
    )

    work_off(redis)

    assert CALLED == []


def test_our_jobs_are_json(redis) -> None:
    queues.nudge(queues.Job.DRAIN, "acc_1")

    (job_id,) = redis.lrange(f"rq:queue:{queues.SEND_QUEUE}", 0, -1)
    raw = zlib.decompress(redis.hget(f"rq:job:{job_id.decode()}", "data"))
    assert json.loads(raw) == [queues.Job.DRAIN.value, None, ["acc_1"], {}]
    assert redis.ttl(f"rq:job:{job_id.decode()}") <= 60 or RqJob.exists(job_id.decode(), connection=redis)


# --- wake-ups ---------------------------------------------------------------------------------------------------


def length(redis) -> int:
    return redis.llen(f"rq:queue:{queues.SEND_QUEUE}")


def test_one_who_lingers_hears_of_each_lane_once(redis) -> None:
    async def listen() -> list[str | None]:
        async with queues.Ears("jrn_1") as ears:
            assert await ears.next() is None  # from now on it is known that somebody listens
            for _ in range(3):
                queues.nudge(queues.Job.DRAIN, "acc_1")
            queues.nudge(queues.Job.DRAIN, "acc_2")
            heard = [await ears.next(), await ears.next()]
            queues.nudge(queues.Job.DRAIN, "acc_1")
            return [*heard, await ears.next()]

    assert asyncio.run(listen()) == ["acc_1", "acc_2", "acc_1"]
    assert length(redis) == 0
    queues.nudge(queues.Job.DRAIN, "acc_3")
    assert length(redis) == 1  # it has left, so a job is needed again


def test_every_worker_that_can_send_is_kept_lingering(redis) -> None:
    queue = queues.WakeQueue(queues.SEND_QUEUE, connection=redis)
    workers = [Worker([queue], connection=redis, name=f"w{number}") for number in range(2)]
    for worker in workers:
        worker.register_birth()

    queues.keep_drainers()
    queues.keep_drainers()

    assert length(redis) == 2


def test_a_thousand_wishes_are_one_wake_up(redis) -> None:
    for _ in range(1000):
        assert queues.nudge(queues.Job.DRAIN, "acc_1")

    assert length(redis) == 1


def test_once_a_worker_looks_new_work_needs_a_new_wake_up(redis) -> None:
    queues.nudge(queues.Job.DRAIN, "acc_1")
    queues.awake(queues.Job.DRAIN, "acc_1")
    queues.nudge(queues.Job.DRAIN, "acc_1")
    queues.nudge(queues.Job.DRAIN, "acc_2")

    assert length(redis) == 3


def test_the_list_stays_short_when_nobody_works(redis) -> None:
    for number in range(500):
        queues.nudge(queues.Job.DRAIN, f"acc_{number}")

    assert length(redis) <= queues._FULL


def test_a_wake_up_comes_after_the_commit_and_not_after_a_rollback(redis) -> None:
    with transaction():
        queues.wake_lane("acc_1")
        assert length(redis) == 0
    assert length(redis) == 1

    with pytest.raises(RuntimeError), transaction():
        queues.wake_lane("acc_2")
        raise RuntimeError
    assert length(redis) == 1


@pytest.fixture(params=["refused", "silent"])
def away(request: pytest.FixtureRequest, sqlite_app: Flask) -> Iterator[Flask]:
    """The application with a Redis that is not there, or takes the call and never says a word."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        if request.param == "silent":
            door.listen(64)
        url = f"redis://127.0.0.1:{door.getsockname()[1]}/0"
        app = create_app(replace(sqlite_app.extensions["wa_settings"], redis_url=url))
        with app.app_context():
            queues._away_until = 0.0
            yield app
            db.session.remove()
            db.engine.dispose()
    queues._away_until = 0.0


def seconds_of_a_wake_up() -> float:
    begun = time.monotonic()
    assert queues.nudge(queues.Job.DRAIN, "acc_1") is False
    return time.monotonic() - begun


def test_without_redis_a_wake_up_is_quick_and_quiet(away: Flask) -> None:
    first = []
    for _ in range(3):  # the best of three: the machine may be busy with other tests
        queues._away_until = 0.0
        first.append(seconds_of_a_wake_up())
    assert min(first) < 0.3

    assert min(seconds_of_a_wake_up() for _ in range(20)) < 0.01  # for two seconds it is not asked again
    with transaction():
        queues.wake_lane("acc_1")
        queues.wake_receipts()
        queues.wake_chores()
    queues.awake(queues.Job.DRAIN, "acc_1")


# --- the table of periodic jobs ---------------------------------------------------------------------------------


def metronome(redis) -> Scheduler:
    return Scheduler(
        queue_name=queues.QUEUE, connection=redis, job_class=queues.WakeJob, queue_class=queues.WakeQueue
    )  # fmt: skip


def table(redis) -> set[str]:
    return {raw.decode() for raw in redis.zrange(Scheduler.scheduled_jobs_key, 0, -1)}


def test_the_table_is_made_and_stays(redis) -> None:
    for _ in range(3):
        runner.reconcile(metronome(redis))

    assert table(redis) == set(runner.PERIODIC)
    for job in metronome(redis).get_jobs():
        assert job.func_name == str(runner.PERIODIC[job.id][0])
        assert job.meta["interval"] == runner.PERIODIC[job.id][1]
        assert job.timeout == 90


@pytest.mark.parametrize("lost", ["the place", "the job"])
def test_a_lost_job_comes_back(redis, lost: str) -> None:
    runner.reconcile(metronome(redis))
    if lost == "the place":
        redis.zrem(Scheduler.scheduled_jobs_key, "wa-tick")
    else:
        redis.delete("rq:job:wa-tick")

    runner.reconcile(metronome(redis))

    assert table(redis) == set(runner.PERIODIC)
    assert {job.id for job in metronome(redis).get_jobs()} == set(runner.PERIODIC)


@pytest.mark.parametrize("as_pickle", [True, False], ids=["pickle", "JSON"])
def test_a_foreign_job_is_removed(redis, tmp_path, as_pickle: bool) -> None:
    job_id = plant(redis, tmp_path / "executed", as_pickle=as_pickle)
    if as_pickle:
        redis.hset(f"rq:job:{job_id}", "meta", pickle.dumps({"interval": 1}))
    redis.zadd(Scheduler.scheduled_jobs_key, {job_id: 1, "gone": 2})

    runner.reconcile(metronome(redis))

    assert table(redis) == set(runner.PERIODIC)


def test_a_periodic_job_is_queued_for_our_worker(redis) -> None:
    runner.reconcile(metronome(redis))
    beat = metronome(redis)

    beat.enqueue_jobs()

    queue = queues.WakeQueue(connection=redis)
    assert {job.func_name for job in queue.jobs} == {str(job) for job, _ in runner.PERIODIC.values()}
    assert table(redis) == set(runner.PERIODIC)  # and comes again


def test_rqs_own_loops_are_not_changed() -> None:
    """durability.md §0.7: what differs is the job class alone."""
    assert not [each for each in Worker.__subclasses__() if each.__module__.startswith("wa_dashboard")]
    assert not Scheduler.__subclasses__()
