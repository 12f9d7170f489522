"""What machines do to processes: freeze them, orphan their children, fill the disk, let the far end hang.

R11, R13, R30, R32 and R35 of the catalogue. R8 and R14 are in test_processes.py. The simulator's ledger judges.
"""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from tests.flows.storm import session_of
from tests.support.houses import PATIENCE, OpenHouse, as_found, open_house
from tests.support.servers import wait_until

LEASE = 3.0
PACE = f"lease={LEASE:.0f},connect=0.5,read=1,grace=0.5,margin=1,hold=60,long_hold=60,base=0.2,cap=1,tick=0.3"


# On PostgreSQL with --full only: the kill storm and the failpoints run real processes on both in every run.
@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def open_one(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey_url: str
) -> Iterator[OpenHouse]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with open_house(tmp_path_factory.mktemp("house"), valkey_url, url, PACE) as made:
        yield made


@pytest.fixture
def house(open_one: OpenHouse) -> Iterator[OpenHouse]:
    with as_found(open_one) as found:
        yield found


@pytest.mark.timeout(300)
def test_a_worker_that_was_frozen_longer_than_its_lease_sends_nothing_twice(house: OpenHouse, full: bool) -> None:
    """R11. Frozen in the middle of sending; another takes over; then the first one wakes."""
    house.faults(latency_ms=300)
    house.env["WA_SEND_CONCURRENCY"] = "4"
    for _ in range(10 if full else 1):
        house.begin("frozen", "worker")
        house.order(30)
        wait_until(lambda: house.states()["sending"] > 0, PATIENCE, "it sends")
        everybody = session_of(house.processes["frozen"].process.pid)
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        house.begin("other", "worker")
        time.sleep(LEASE * 2)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not house.states()["sending"] and not house.states()["queued"], PATIENCE, "all have gone")
        for name in ("frozen", "other"):
            house.processes.pop(name).stop()
    house.faults()
    house.begin("worker", "worker")
    house.settle()


@pytest.mark.timeout(300)
def test_children_that_survive_their_parent_send_nothing_twice(house: OpenHouse, full: bool) -> None:
    """R13. RQ's own process is killed; the job it had forked lives on, beside a new worker."""
    house.faults(latency_ms=150)
    for _ in range(20 if full else 2):
        house.begin("worker", "worker")
        house.order(20)
        wait_until(lambda: house.states()["sending"] > 0, PATIENCE, "it sends")
        house.processes["worker"].kill(only_parent=True)
    house.faults()
    house.begin("worker", "worker")
    house.settle()


@pytest.mark.timeout(300)
def test_a_far_end_that_hangs_does_not_hold_up_the_web(house: OpenHouse, full: bool) -> None:
    """R32. Every request hangs; the connections to the database are free meanwhile, and the web serves."""
    seconds = 10 if full else 4
    house.env["WA_PACE"] = PACE.replace("read=1", f"read={seconds}").replace(f"lease={LEASE:.0f}", "lease=30")
    house.faults(slow=1.0, slow_s=seconds)
    for name in ("worker1", "worker2"):
        house.begin(name, "worker")
    house.order(64)
    wait_until(lambda: house.states()["sending"] >= 40, PATIENCE, "the wire is full")

    times: list[float] = []
    errors: list[object] = []

    def look() -> None:
        end = time.monotonic() + seconds * 0.8
        while time.monotonic() < end:
            begun = time.monotonic()
            url = f"{house.url}/api/wa/messages/{house.tenant}?limit=20"
            answer = requests.get(url, headers=house.headers, timeout=30)
            times.append(time.monotonic() - begun)
            errors.extend([answer.status_code] if answer.status_code != 200 else [])

    readers = [threading.Thread(target=look) for _ in range(8)]
    for reader in readers:
        reader.start()
    house.order(5)
    for reader in readers:
        reader.join()

    assert errors == []
    assert len(times) > 20
    assert sorted(times)[int(len(times) * 0.95)] < 2.0  # other tests may share the machine; 0.5 on one of its own
    house.faults()
    house.settle()


@pytest.mark.timeout(300)
def test_a_full_disk_refuses_orders_sends_nothing_unnoted_and_passes(house: OpenHouse) -> None:
    """R30. No file of the processes may grow beyond what the database has; then it may again, and all goes on."""
    if "DATABASE_URL" in house.env:
        pytest.skip("PostgreSQL's files are another process's")
    house.begin("tick", "tick")
    house.order(3)
    wait_until(house.finished, PATIENCE, "all is well before")
    before = len(house.wanted)
    fill_disk(house, "web", "tick")

    accepted, refused = 0, 0
    for number in range(1000, 1400):
        answer = house.ask("send/confirm", house.body(number), f"full-{number}")
        assert answer is not None
        if answer.status_code == 202:
            accepted += 1
            house.wanted.add(answer.json()["message"]["id"])
            continue
        assert answer.status_code == 503, answer.text
        refused += 1
        if refused > 5:
            break

    assert refused > 5
    assert house.sql("SELECT count(*) FROM wa_messages") == [(before + accepted,)]  # what was said yes to, no more
    time.sleep(3)
    attempts = {message_id for (message_id,) in house.sql("SELECT message_id FROM wa_attempts")}
    assert set(house.ledger()) <= attempts

    fill_disk(house, "web", "tick", full=False)
    house.order()
    house.settle()


def fill_disk(house: OpenHouse, *names: str, full: bool = True) -> None:
    """Writing beyond the size of the database's largest file fails in these parts; or does no more."""
    largest = max(path.stat().st_size for path in (house.folder / "data").glob("wa.db*"))
    limit = largest + 20_000 if full else resource.RLIM_INFINITY
    for name in names:
        for pid in session_of(house.processes[name].process.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@pytest.mark.timeout(240)
def test_one_message_that_cannot_be_made_stops_no_other(house: OpenHouse, full: bool) -> None:
    """R35. Its variables cannot be opened, another's template is gone: they end with a reason, all others go out."""
    size = 200 if full else 20
    ordered = house.order(size)
    poisoned = ordered[:: size // 3][:3]
    listed = ", ".join(f"'{message_id}'" for message_id in poisoned)
    rubbish = "'\\x00ff'" if "DATABASE_URL" in house.env else "x'00ff'"
    house.sql(f"UPDATE wa_messages SET variables_sealed = {rubbish} WHERE id IN ({listed})")
    house.wanted -= set(poisoned)
    house.begin("tick", "tick")

    house.settle()
    assert sorted(house.ids_with("dead_letter")) == sorted(poisoned)
