"""R1 of the catalogue: kill everything, lose nothing, send nothing twice. The ledger outside is the only judge."""

import time
from pathlib import Path

import pytest
import redis

from tests.flows.storm import installation

FAULTS = {"drop_before": 0.015, "drop_after": 0.02, "slow": 0.004, "slow_s": 4, "http_503": 0.03, "http_429": 0.015}


@pytest.mark.timeout(420)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_kill_storm_loses_nothing_and_sends_nothing_twice(
    tmp_path: Path, database: str, valkey_url: str, fresh_postgres_url: str, full: bool, capsys: pytest.CaptureFixture
) -> None:
    count, kills, flushes = (2000, 12, 2) if full else (400, 6, 1)
    url = fresh_postgres_url if database == "postgresql" else None
    queue = redis.Redis.from_url(valkey_url)
    began = time.monotonic()

    with installation(tmp_path, url, valkey_url, seed=int(time.time())) as storm:
        storm.faults(**FAULTS)
        posting = storm.post_all(count)
        storm.kill_some(kills, queue.flushall, flushes, pause=count / 400 * 1.6)
        posting.join(240)
        storm.faults()
        counts = _settled(storm)
        ledger = storm.ledger()
        invariants = storm.command("invariants")

    lost = count - len(ledger)
    twice = sum(1 for sends in ledger.values() if sends > 1)
    with capsys.disabled():
        print(
            f"\n{database}: {count} confirmations, {kills} kills, {flushes} flushes: lost {lost}, twice {twice}, "
            f"{dict(counts)}, {time.monotonic() - began:.0f} s"
        )
    assert sum(counts.values()) == count
    assert (lost, twice) == (0, 0)
    assert not set(counts) & {"queued", "sending", "uncertain", "unconfirmed", "dead_letter", "skipped", "expired"}
    assert invariants["ok"] is True


def _settled(storm):
    end = time.monotonic() + 150
    while True:
        counts = storm.counts()
        waiting = sum(counts[status] for status in ("queued", "sending", "uncertain", "accepted", "sent"))
        if not waiting or time.monotonic() > end:
            return counts
        time.sleep(2)
