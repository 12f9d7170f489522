"""R31 of the catalogue: a backup is restored, and what had been sent since is not sent again. Real processes."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.storm import Installation
from tests.support.servers import DOOR, clean_environ, wait_until

PATIENCE = 60.0
WAITING = {"queued", "sending", "uncertain"}


class House(Installation):
    """A web, a simulator, and a tick that is there only when something may leave."""

    parts = {"web": "web"}

    def order(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.post(number)

    def begin_sending(self) -> None:
        self.begin("tick", "tick")

    def end_sending(self) -> None:
        self.processes.pop("tick").stop()

    def end_all(self) -> None:
        for name in [name for name in self.processes if name != "simulator"]:
            self.processes.pop(name).stop()

    def begin_all(self) -> None:
        self.begin("web", "web")
        wait_until(lambda: self._answers(f"{self.url}/healthz"), PATIENCE, "the web answers")
        self.begin_sending()

    def wait_for(self, sent: int) -> None:
        wait_until(lambda: len(self.ledger()) >= sent, PATIENCE, f"{sent} are sent")

    def refused(self, *words: str) -> str:
        """A command that must fail; what it said on stderr."""
        done = subprocess.run(
            [sys.executable, str(DOOR), *words], env=clean_environ(self.env), capture_output=True, text=True
        )
        assert done.returncode == 1, done.stdout
        return done.stderr

    def twice(self) -> list[str]:
        return [message_id for message_id, sends in self.ledger().items() if sends > 1]

    def settled(self) -> bool:
        return not set(self.counts()) & WAITING

    @property
    def data(self) -> Path:
        return self.folder / "data"


@pytest.fixture(params=["sqlite-twilio", "postgresql-meta_cloud"])
def house(request: pytest.FixtureRequest, tmp_path: Path, valkey_url: str) -> Iterator[House]:
    yield from _house(request, tmp_path, valkey_url, *request.param.split("-"))


@pytest.fixture
def sqlite_house(request: pytest.FixtureRequest, tmp_path: Path, valkey_url: str) -> Iterator[House]:
    yield from _house(request, tmp_path, valkey_url, "sqlite", "meta_cloud")


def _house(request, folder, valkey_url, database, provider):
    url = request.getfixturevalue("fresh_postgres_url") if database == "postgresql" else None
    made = House(folder, url, valkey_url, seed=1, provider=provider)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(240)
def test_a_restored_backup_sends_nothing_until_it_is_released(house: House, full: bool) -> None:
    size = 50 if full else 12
    backup = house.folder / "backup"
    house.order(0, size)
    house.begin_sending()
    house.wait_for(size)
    wait_until(house.settled, PATIENCE, "the first ones are done")
    house.end_sending()
    house.order(size, size * 2)

    made = house.command("backup", str(backup))
    house.begin_sending()
    house.wait_for(size * 2)
    house.end_sending()
    gone = set(house.ledger())

    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert made["sha256"] in (house.folder / "backup.sha256").read_text()
    assert "stop" in house.refused("restore", str(backup))
    house.end_all()
    restored = house.command("restore", str(backup))
    house.begin_all()
    house.order(size * 3, 1)
    house.wait_for(len(gone) + 1)  # what is new goes out as always
    new = set(house.ledger()) - gone

    assert restored["held"] == size * 2
    assert len(new) == 1
    assert house.counts()["queued"] == size * 2
    shown = house._get(f"{house.url}/api/wa/messages/{house.tenant}?status=queued&limit=1", {}).json()["data"][0]
    assert shown["hold_reason"] == "restore"
    doctor = house.command("doctor")
    assert any(check["name"] == "restore" and house.tenant in check["sentence"] for check in doctor["checks"])

    before = house.command("release", "--tenant", house.tenant, "--dry-run")
    assert set(house.ledger()) == gone | new
    after = house.command("release", "--tenant", house.tenant)
    wait_until(house.settled, PATIENCE, "what was released is sent")

    assert {name: before[name] for name in before if name != "dry_run"} == {
        name: after[name] for name in after if name != "dry_run"
    }
    assert after["held"] == size * 2
    assert len(house.ledger()) == size * 3 + 1
    sent_since = len(gone) - size
    if house.provider == "twilio":
        assert (after["already_sent"], after["unsent"]) == (sent_since, size * 2 - sent_since)
        assert house.twice() == []
    else:
        assert after["unknown"] == size * 2
        assert len(house.twice()) == sent_since
    assert house.command("invariants")["ok"] is True
    assert house.command("release", "--tenant", house.tenant)["held"] == 0
