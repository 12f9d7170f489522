"""R38: twenty orders a second for half an hour while something dies now and then. ``SOAK_MINUTES`` changes how long."""

import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.flows import judge
from tests.flows.storm import Storm, installation
from wa_dashboard.bench.storm import PACE, session_of
from wa_dashboard.domain.pace import Pace

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
RATE = 20.0
FAULTS = {"drop_before": 0.003, "drop_after": 0.004, "http_503": 0.006, "http_429": 0.003}
NEVER_KILLED = ("web", "scheduler1")


class Customers:
    """Orders at a steady rate, each posted until it is answered."""

    def __init__(self, storm: Storm) -> None:
        self._storm, self.posted, self.wrong = storm, 0, []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._order, daemon=True) for _ in range(8)]

    def __enter__(self) -> "Customers":
        self._next_at = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    def _order(self) -> None:
        while not self._over.is_set():
            with self._lock:
                number, self.posted = self.posted, self.posted + 1
                self._next_at = max(self._next_at + 1 / RATE, time.monotonic() - 5)
                wait = self._next_at - time.monotonic()
            self._over.wait(max(wait, 0))
            try:
                self._storm.post(number)
            except AssertionError as error:
                self.wrong.append(str(error))


def memory_of(storm: Storm) -> int:
    """Resident bytes of those that live through all of it, with their children."""
    pids = [pid for name in NEVER_KILLED for pid in session_of(storm.processes[name].process.pid)]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.full
@pytest.mark.timeout(int(MINUTES * 60) + 600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_half_an_hour_of_orders_leaves_nothing_behind(
    tmp_path: Path, database: str, valkey_url: str, fresh_postgres_url: str, capsys: pytest.CaptureFixture
) -> None:
    url = fresh_postgres_url if database == "postgresql" else None
    lease, dice = Pace.parse(PACE).lease, random.Random(38)
    memory = []
    with installation(tmp_path, url, valkey_url, 38, "meta_cloud", Storm) as storm:
        storm.faults(**FAULTS)
        with Customers(storm) as customers:
            end = time.monotonic() + MINUTES * 60
            while time.monotonic() < end:
                time.sleep(min(60.0, MINUTES * 10))
                name = dice.choice([name for name in storm.processes if name not in (*NEVER_KILLED, "simulator")])
                storm.processes[name].kill()
                storm.processes[name].start()
                assert storm.command("invariants")["ok"] is True
                assert judge.stuck(storm, lease) == 0
                memory.append(memory_of(storm))
        storm.faults()
        orders = customers.posted + judge.settled(storm, 240)
        found = judge.verdict(storm)
        invariants = storm.command("invariants")

    warm = max(memory[: max(1, len(memory) // 6)])
    growth = memory[-1] / warm - 1
    with capsys.disabled():
        print(f"\nR38: {database}, {MINUTES:g} minutes: {found}; memory {warm >> 20} MB, then {growth:+.1%}")
    assert customers.wrong == []
    assert found.messages == {"must_deliver": orders}
    assert (found.lost, dict(found.twice)) == (0, {})
    assert invariants["ok"] is True
    assert growth < 0.10
