"""The baseline of Celery: prefork with two processes, a task for each message, the same work as `naive`.

Celery is no requirement of ours: measured only where somebody has installed it.
"""

import importlib
import os
import resource
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import redis

from . import naive

_BROKER = "WA_BENCH_BROKER"
_LONGEST_S = 60.0


def _application() -> Any:
    """The Celery application with its one task; the broker is named in the environment."""
    celery = importlib.import_module("celery")
    found = celery.Celery("bench", broker=os.environ[_BROKER])
    found.conf.update(task_ignore_result=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
    found.task(name="send_one", acks_late=True)(naive.send_one)
    return found


def __getattr__(name: str) -> Any:
    """``app``, for Celery's own command line; made on first use, so that this module loads without Celery."""
    if name == "app":
        globals()["app"] = _application()
        return globals()["app"]
    raise AttributeError(name)


def work(url: str, redis_url: str, far_end: str, count: int) -> dict[str, Any]:
    """``count`` tasks, done by ``celery worker --concurrency 2``; wall seconds, CPU seconds of all its processes."""
    os.environ[_BROKER] = f"redis+socket://{urlsplit(redis_url).path}?virtual_host=1"
    queue = _application()
    ids = naive.fill(url, count)
    words = ["worker", "--concurrency", "2", "--pool", "prefork", "--loglevel", "ERROR", "--without-mingle"]
    began = time.monotonic()
    for message_id in ids:
        queue.send_task("send_one", args=[message_id, url, far_end])
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "wa_dashboard.bench.celery_peer:app", *words], stdout=subprocess.DEVNULL
    )
    try:
        while _waits(url) and time.monotonic() - began < _LONGEST_S:
            time.sleep(0.2)
    finally:
        worker.terminate()
        try:
            worker.wait(15)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        redis.Redis.from_url(redis_url, db=1).flushdb()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": time.monotonic() - began, "cpu": used.ru_utime + used.ru_stime, "left": _waits(url)}


def _waits(url: str) -> int:
    """Messages that have not been sent."""
    from sqlalchemy import create_engine, func, select
    from sqlalchemy.orm import Session

    engine = create_engine(url)
    with Session(engine) as session:
        count = session.scalars(select(func.count()).where(naive.NaiveMessage.status != "sent")).one()
    engine.dispose()
    return count
