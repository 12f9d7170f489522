"""R7 of the catalogue: at every point of durability.md §3.20 a process dies, and what must follow follows.

Each death is a real SIGKILL of a real process. The next process is armed for the next point, so that it also has to
clean up after the one before. The simulator's ledger judges. F11 and F15 belong to features that do not exist yet.
"""

import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.houses import PATIENCE, OpenHouse, as_found, open_house
from tests.support.servers import wait_until

PACE = "lease=5,connect=1,read=1.5,grace=0.5,margin=1,hold=60,long_hold=60,base=0.2,cap=1,tick=0.3"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
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


def die(house: OpenHouse, point: str) -> None:
    """A tick that kills itself at this point."""
    house.arm("tick", f"{point}=kill")
    wait_until(lambda: house.died("tick"), PATIENCE, f"{point} is reached")
    assert house.processes["tick"].process.returncode == -9, point


# What a message shows and its outbox row says after the death, None where there is no row (durability.md §3.20).
SENDING = [
    ("F2", "queued", "claimed"),
    ("F3", "queued", "claimed"),
    ("F4", "sending", "sending"),
    ("F5", "sending", "sending"),
    ("F6", "sending", "sending"),
    ("F7", "sending", "sending"),
    ("F7b", "sending", "sending"),
    ("F8", "accepted", None),
]


@pytest.mark.timeout(300)
def test_a_sender_that_dies_anywhere_loses_nothing_and_sends_nothing_twice(house: OpenHouse, full: bool) -> None:
    for point, status, state in SENDING * (3 if full else 1):
        house.faults(webhooks_off=True)  # receipts must not hide what the rows say at the moment of death
        (message_id,) = house.order()
        die(house, point)
        row = house.sql(f"SELECT state FROM wa_outbox WHERE message_id = '{message_id}'")
        assert (house.status(message_id), [found for (found,) in row]) == (status, [state] if state else []), point
        assert set(house.ledger().values()) <= {1}, point
        house.faults()

    die(house, "F10")  # receipts are read anew
    assert house.sql("SELECT count(*) FROM wa_webhook_events WHERE state = 'new'")[0][0] > 0
    house.arm("tick")
    house.settle()


@pytest.mark.timeout(240)
def test_sweeps_that_die_are_done_again(house: OpenHouse) -> None:
    house.order()
    die(house, "F6")
    # No journal tells of it, and its lease is over: the reaper's case.
    for journal in (house.folder / "data" / "journal").iterdir():
        journal.unlink()
    expire_leases(house)
    die(house, "F13")
    assert house.states() == {"sending": 1}

    reminder = {"ref": "EVT-1", "name": "Hamlet", "starts_at": "2027-04-04T20:00", "timezone": "Europe/Bucharest"}
    house.order(event=reminder, reminders=["D-7"], consent=agreed())
    make_due(house)
    die(house, "F12")
    assert house.sql("SELECT status FROM wa_schedules") == [("pending",)]

    house.arm("tick")
    wait_until(lambda: house.sql("SELECT status FROM wa_schedules") == [("dispatched",)], PATIENCE, "it is dispatched")
    house.wanted.update(message_id for (message_id,) in house.sql("SELECT message_id FROM wa_schedules"))
    house.settle()


def agreed() -> dict[str, object]:
    return {
        "status": "opted_in",
        "purposes": ["transactional", "reminder"],
        "source": "checkout",
        "wording_id": "v1",
        "occurred_at": "2026-11-20T10:00:00Z",
    }


def expire_leases(house: OpenHouse) -> None:
    past = "1" if "DATABASE_URL" not in house.env else "now() - interval '1 minute'"
    house.sql(f"UPDATE wa_outbox SET lease_until = {past}")


def make_due(house: OpenHouse) -> None:
    just_now = str((time.time_ns() // 1000) - 1_000_000)
    now = just_now if "DATABASE_URL" not in house.env else "now() - interval '1 second'"
    house.sql(f"UPDATE wa_schedules SET send_at = {now}")


@pytest.mark.timeout(240)
def test_a_web_that_dies_after_its_commit_has_said_yes_to_nobody_and_does_it_once(house: OpenHouse) -> None:
    house.number += 1
    body = house.body(house.number)
    stop = {"phone": "+40700007770", "status": "opted_out", "purposes": ["marketing"], "source": "settings_page"}

    # F1: stored, nobody woken, nobody told
    rearm(house, "F1=kill")
    assert house.ask("send/confirm", body, "f1") is None
    rearm(house, "F14=kill")
    again = house.ask("send/confirm", body, "f1")
    assert again is not None
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    house.wanted.add(again.json()["message"]["id"])

    # F14: opted out, nobody told
    assert house.ask("optin", stop, "f14") is None
    rearm(house, "F9=kill")
    said = house.ask("optin", stop, "f14b")
    assert said is not None
    assert said.json()["state"]["marketing"] == "opted_out"
    assert not any(event["changed"] and not event["duplicate"] for event in said.json()["events"])

    # F9: the receipt is stored, the provider not told: it comes again and counts once
    house.begin("tick", "tick")
    wait_until(lambda: not house._answers(f"{house.url}/healthz"), PATIENCE, "the web dies of a webhook")
    rearm(house, "")
    house.settle()

    items = house.sql("SELECT item_key, count(*) FROM wa_webhook_items GROUP BY account_id, item_key")
    assert items
    assert all(count == 1 for _, count in items)


def rearm(house: OpenHouse, points: str) -> None:
    """The web, dead or alive, is started again with these failpoints."""
    house.processes.pop("web").kill()
    house.arm("web", points)


@pytest.mark.timeout(240)
def test_mistakes_at_every_point_are_survived(house: OpenHouse) -> None:
    """As before, but the process lives on: each point raises once."""
    points = ("F2", "F3", "F4", "F5", "F7", "F7b", "F8", "F10", "F12", "F13")
    house.order(5)
    house.arm("tick", ",".join(f"{point}=raise" for point in points))

    house.settle()

    assert not house.died("tick")
    assert requests.get(f"{house.url}/healthz", timeout=5).ok
