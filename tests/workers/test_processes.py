"""Workers and schedulers as real processes, killed and stopped as operators and machines do it (R8, R13, R14)."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests import factories
from tests.flows.storm import Installation, session_of
from tests.support.houses import empty_beside
from tests.support.servers import wait_until
from wa_dashboard import embedded
from wa_dashboard.config import queue_socket

PATIENCE = 45.0  # other tests may share the machine


class House(Installation):
    """A web process, the simulator and a Redis of its own; each test starts the workers it is about."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.redis_folder = folder / "redis"
        self.redis_folder.mkdir(parents=True)
        url = f"unix://{quote(str(queue_socket(self.redis_folder)))}"
        super().__init__(folder, database_url, url, seed=1, provider="meta_cloud")
        self.env["WA_LOG_LEVEL"] = "info"
        self.posted_so_far = 0

    def start(self) -> None:
        self.start_redis()
        self.begin("simulator", "simulator")
        wait_until(lambda: self._answers(f"{self.sim}/_sim/state"), PATIENCE, "the simulator answers")
        self.command("upgrade")
        made = self.command("tenant-create", "Casa", "--email", "casa@example.org")
        self.tenant, self.key = made["tenant_id"], made["api_keys"]["test"]
        self.headers = {"Authorization": f"Bearer {self.key}"}
        self.begin("web", "web")
        wait_until(lambda: self._answers(f"{self.url}/healthz"), PATIENCE, "the web answers")
        for template in self.templates:
            self._make_template(template)

    def start_redis(self) -> None:
        self.redis = embedded.start(self.redis_folder)
        wait_until(lambda: embedded.answers(queue_socket(self.redis_folder)), PATIENCE, "Redis answers")

    def kill_redis(self) -> None:
        """Killed, and everything it knew is gone."""
        self.redis.kill()
        self.redis.wait()
        shutil.rmtree(self.redis_folder / "queue")

    def order(self, count: int) -> None:
        for number in range(self.posted_so_far, self.posted_so_far + count):
            self.post(number)
        self.posted_so_far += count

    def sent(self) -> int:
        """How many different messages the provider has accepted, none of them twice."""
        ledger = self.ledger()
        assert set(ledger.values()) <= {1}
        return len(ledger)

    def all_sent(self) -> bool:
        return self.sent() == self.posted_so_far

    def end(self, *names: str) -> None:
        for name in names:
            self.processes.pop(name).stop()

    def stop(self) -> None:
        super().stop()
        self.redis.kill()
        self.redis.wait()


# On PostgreSQL with --full only: the kill storm runs real processes on both in every run.
@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    url = empty_beside(request.getfixturevalue("postgres_url"), "wa_house") if request.param == "postgresql" else None
    made = House(tmp_path_factory.mktemp("house"), url)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_a_worker_alone_delivers_what_was_ordered_before_and_meanwhile(house: House) -> None:
    house.order(3)
    house.begin("worker", "worker")
    house.order(3)

    wait_until(house.all_sent, PATIENCE, "everything is sent")
    wait_until(lambda: set(house.counts()) <= {"delivered", "read", "failed"}, PATIENCE, "every receipt is read")
    house.end("worker")


def test_sixty_four_identical_orders_at_once_are_one_message(house: House, full: bool) -> None:
    for _ in range(10 if full else 3):
        number = house.posted_so_far
        house.posted_so_far += 1
        body = house_order(number)
        headers = house.headers | {"Idempotency-Key": f"at-once-{number}"}
        start = threading.Barrier(64)

        def fire(_: int, body=body, headers=headers, start=start) -> requests.Response:
            start.wait()
            return requests.post(f"{house.url}/api/wa/send/confirm", json=body, headers=headers, timeout=60)

        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(fire, range(64)))

        assert {answer.status_code for answer in answers} <= {202, 409}
        given = {answer.content for answer in answers if answer.status_code == 202}
        assert len(given) == 1
        again = requests.post(f"{house.url}/api/wa/send/confirm", json=body, headers=headers, timeout=10)
        assert (again.status_code, again.content) == (202, given.pop())
        url = f"{house.url}/api/wa/messages/{house.tenant}?order_id=S-{number}"
        assert len(requests.get(url, headers=house.headers, timeout=10).json()["data"]) == 1


def house_order(number: int) -> dict[str, object]:
    order = factories.order(f"S-{number}", phone=f"+4070000{number:04d}")
    return {name: order[name] for name in ("order_id", "recipient", "consent")}


def test_a_worker_that_is_told_to_stop_leaves_no_doubt(house: House, full: bool) -> None:
    house.faults(latency_ms=150)
    for _ in range(10 if full else 1):
        house.begin("worker", "worker")
        worker = house.processes["worker"].process
        before = house.sent()
        house.order(40)
        wait_until(lambda before=before: house.sent() > before, PATIENCE, "the worker sends")

        begun = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        assert time.monotonic() - begun < 15
        assert session_of(worker.pid) == []

        assert not set(house.counts()) & {"sending", "uncertain"}
    house.faults()
    house.begin("worker", "worker")
    wait_until(house.all_sent, PATIENCE, "everything is sent once")
    house.end("worker")


def test_redis_may_die_and_come_back_empty(house: House) -> None:
    house.begin("worker", "worker")
    worker = house.processes["worker"].process
    house.order(1)
    wait_until(house.all_sent, PATIENCE, "the worker works")

    house.kill_redis()
    begun = time.monotonic()
    house.order(5)
    assert time.monotonic() - begun < 10
    wait_until(house.all_sent, PATIENCE, "everything is sent without Redis")

    house.start_redis()
    house.order(5)
    wait_until(house.all_sent, PATIENCE, "everything is sent with an empty Redis")
    assert worker.poll() is None
    house.end("worker")


def test_two_schedulers_and_a_worker_do_everything_once(house: House) -> None:
    for name, word in (("scheduler1", "scheduler"), ("scheduler2", "scheduler"), ("worker", "worker")):
        house.begin(name, word)

    house.order(10)

    wait_until(house.all_sent, PATIENCE, "everything is sent once")
    wait_until(lambda: b"wa-tick" in table_of(house), PATIENCE, "the periodic jobs are planned")
    assert all(house.processes[name].process.poll() is None for name in ("scheduler1", "scheduler2", "worker"))
    house.end("scheduler1", "scheduler2", "worker")
    assert house.all_sent()


def table_of(house: House) -> bytes:
    import redis

    return b" ".join(redis.Redis.from_url(house.env["REDIS_URL"]).zrange("rq:scheduler:scheduled_jobs", 0, -1))


@pytest.mark.parametrize("word", ["worker", "scheduler"])
def test_no_child_outlives_its_parent(house: House, word: str) -> None:
    house.begin(word, word)
    parent = house.processes[word].process
    wait_until(lambda: len(session_of(parent.pid)) >= 2, PATIENCE, "the child runs")

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()

    wait_until(lambda: session_of(parent.pid) == [], 15, "the child has ended too")
    house.end(word)


def test_the_tick_alone_delivers_and_stops_at_once(house: House) -> None:
    house.begin("tick", "tick")
    tick = house.processes["tick"].process
    house.order(3)
    wait_until(house.all_sent, PATIENCE, "everything is sent")

    begun = time.monotonic()
    tick.send_signal(signal.SIGTERM)
    assert tick.wait(20) == 0
    assert time.monotonic() - begun < 15
    house.end("tick")


def test_readiness_follows_the_sweeps(house: House) -> None:
    house.begin("scheduler", "scheduler")
    wait_until(lambda: house._answers(f"{house.url}/readyz"), PATIENCE, "the sweeps have run")
    house.end("scheduler")

    answer = requests.get(f"{house.url}/readyz", timeout=5)
    assert answer.json()["parts"] == {"database": "ok", "schema": "ok", "tick": "ok", "queue": "ok"}


def test_no_number_and_no_secret_stands_in_any_log(house: House) -> None:
    """After everything above: what all the processes have written (S24)."""
    secret = house.key.rpartition("_")[2]
    token = (house.folder / "data" / "secrets.env").read_text(encoding="utf-8").split("WA_SECRET_KEY=")[1].split()[0]
    written = {path.name: path.read_text(encoding="utf-8") for path in house.folder.glob("*.log")}

    assert "web.log" in written
    assert any(written.values())
    for name, text in written.items():
        assert not re.search(r"4070000\d{4}", text), name
        assert secret not in text, name
        assert token not in text, name
        assert not re.search(r"EAA\w{10,}", text), name
