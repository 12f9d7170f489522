"""R1, R3, R4, R5 of the catalogue: kill everything, lose nothing, send nothing twice. The ledger outside judges."""

import threading
import time
from pathlib import Path

import pytest
import redis

from tests.flows import judge
from tests.flows.storm import Storm, installation
from tests.support.servers import cluster

FAULTS = {"drop_before": 0.015, "drop_after": 0.02, "slow": 0.004, "slow_s": 4, "http_503": 0.03, "http_429": 0.015}
FULL = [pytest.mark.full, pytest.mark.timeout(900)]


def rage(storm, queue, orders, promotions, kills, flushes, pause):
    """Orders over the API and promotions, both while processes die and the queue forgets everything."""
    made = []
    storm.faults(**FAULTS)
    posting = storm.post_all(orders)
    portions = max(2, kills // 5)
    feeding = threading.Thread(
        target=lambda: made.append(judge.add_promotions(storm, promotions, portions, pause * kills / portions / 2)),
        daemon=True,
    )
    feeding.start()
    storm.kill_some(kills, queue.flushall, flushes, pause=pause)
    posting.join(400)
    feeding.join(100)
    assert made == [promotions]
    assert len(storm.posted) == orders
    storm.faults()


def say(capsys, what, began, found):
    with capsys.disabled():
        print(f"\n{what}: {found}, {time.monotonic() - began:.0f} s")


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    ("database", "provider", "size"),
    [
        ("sqlite", "twilio", (160, 80, 6, 1)),
        ("postgresql", "meta_cloud", (160, 80, 6, 1)),
        pytest.param("sqlite", "meta_cloud", (1500, 1500, 24, 3), marks=FULL, id="R2"),
        pytest.param("postgresql", "meta_cloud", (5000, 5000, 50, 5), marks=FULL, id="R1"),
    ],
)
def test_kill_storm_loses_nothing_and_sends_nothing_twice(
    tmp_path: Path,
    database: str,
    provider: str,
    size: tuple[int, int, int, int],
    valkey_url: str,
    fresh_postgres_url: str,
    capsys: pytest.CaptureFixture,
) -> None:
    orders, promotions, kills, flushes = size
    url = fresh_postgres_url if database == "postgresql" else None
    queue = redis.Redis.from_url(valkey_url)
    began = time.monotonic()

    with installation(tmp_path, url, valkey_url, int(time.time()), provider, Storm) as storm:
        rage(storm, queue, orders, promotions, kills, flushes, pause=1.5)
        orders += judge.settled(storm, 220)
        found = judge.verdict(storm)
        invariants = storm.command("invariants")

    say(capsys, f"{database}, {provider}: {kills} kills, {flushes} flushes", began, found)
    assert found.messages == {"must_deliver": orders, "never_twice": promotions}
    assert (found.lost, dict(found.twice)) == (0, {})
    assert (found.unconfirmed_but_sent, found.unsent_but_unsaid) == (0, 0)
    assert set(found.statuses) <= {"delivered", "read", "failed", "unconfirmed"}
    assert invariants["ok"] is True


@pytest.mark.full
@pytest.mark.timeout(600)
def test_database_that_crashes_loses_nothing_and_sends_nothing_twice(
    tmp_path: Path, valkey_url: str, capsys: pytest.CaptureFixture
) -> None:
    """R3: PostgreSQL dies and comes back, in the middle of everything."""
    orders, crashes, began = 600, 3, time.monotonic()
    with cluster() as database, installation(tmp_path, database.url, valkey_url, 1, "meta_cloud", Storm) as storm:
        storm.faults(**FAULTS)
        posting = storm.post_all(orders)
        feeding = threading.Thread(target=lambda: judge.add_promotions(storm, 400, 8, 2.0), daemon=True)
        feeding.start()
        for _ in range(crashes):
            time.sleep(4)
            database.crash()
        storm.kill_some(3, lambda: None, 0, pause=3)
        posting.join(240)
        feeding.join(60)
        storm.faults()
        orders += judge.settled(storm, 220)
        found = judge.verdict(storm)
        invariants = storm.command("invariants")

    say(capsys, f"R3: {crashes} database crashes", began, found)
    assert found.messages["must_deliver"] == orders
    assert (found.lost, dict(found.twice), found.unconfirmed_but_sent, found.unsent_but_unsaid) == (0, {}, 0, 0)
    assert invariants["ok"] is True


class Impatient(Storm):
    """Its patience ends within the test."""

    def __init__(self, *how: object) -> None:
        super().__init__(*how)
        self.env["WA_PACE"] = self.env["WA_PACE"].replace("hold=120,long_hold=180", "hold=15,long_hold=20")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_without_any_receipt_only_what_must_be_delivered_may_come_twice(
    tmp_path: Path, valkey_url: str, fresh_postgres_url: str, capsys: pytest.CaptureFixture
) -> None:
    """R4."""
    queue, began = redis.Redis.from_url(valkey_url), time.monotonic()
    with installation(tmp_path, fresh_postgres_url, valkey_url, 4, "meta_cloud", Impatient) as storm:
        storm.faults(webhooks_off=True)
        rage_without_receipts(storm, queue, 600, 600, 12, 2)
        judge.settled(storm, 200, receipts=False)
        found = judge.verdict(storm)
        invariants = storm.command("invariants")

    say(capsys, "R4: no webhooks", began, found)
    assert found.messages == {"must_deliver": 600, "never_twice": 600}
    assert found.lost == 0
    assert found.twice["never_twice"] == 0
    assert found.twice["must_deliver"] <= found.ambiguous
    assert found.unsent_but_unsaid == 0
    assert set(found.statuses) <= {"accepted", "unconfirmed"}
    assert invariants["ok"] is True


@pytest.mark.full
@pytest.mark.timeout(600)
def test_receipts_that_come_late_all_at_once_are_waited_for(
    tmp_path: Path, valkey_url: str, fresh_postgres_url: str, capsys: pytest.CaptureFixture
) -> None:
    """R5: what is in doubt meanwhile is not sent again, and everything is known after the release."""
    queue, began = redis.Redis.from_url(valkey_url), time.monotonic()
    with installation(tmp_path, fresh_postgres_url, valkey_url, 5, "meta_cloud", Storm) as storm:
        rage_without_receipts(storm, queue, 600, 600, 12, 2)
        time.sleep(20)
        doubts = storm.counts()["uncertain"]
        storm.faults()
        orders = 600 + judge.settled(storm, 240)
        found = judge.verdict(storm)
        invariants = storm.command("invariants")

    say(capsys, f"R5: webhooks held back, {doubts} doubts meanwhile", began, found)
    assert doubts > 0
    assert found.messages == {"must_deliver": orders, "never_twice": 600}
    assert (found.lost, dict(found.twice), found.unconfirmed_but_sent, found.unsent_but_unsaid) == (0, {}, 0, 0)
    assert set(found.statuses) <= {"delivered", "read", "failed", "unconfirmed"}
    assert invariants["ok"] is True


def rage_without_receipts(storm, queue, orders, promotions, kills, flushes):
    """`rage`, but no webhook gets out, then or afterwards."""
    calm = storm.faults

    def keep_off(**what):
        calm(**{**dict.fromkeys(FAULTS, 0.0), "slow_s": 4, **what, "webhooks_off": True})

    storm.faults = keep_off
    try:
        rage(storm, queue, orders, promotions, kills, flushes, pause=1.5)
    finally:
        storm.faults = calm
