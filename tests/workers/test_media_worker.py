"""Files through real processes: a ticket leaves within two seconds, and a killed worker costs it a minute at most."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.files import PDF, FileServer, serving
from tests.support.houses import PATIENCE, OpenHouse
from tests.support.servers import wait_until

PACE = "lease=5,connect=1,read=1.5,grace=0.5,margin=1,hold=60,long_hold=60,base=0.2,cap=1,tick=0.3"


@pytest.fixture(scope="module")
def shop(certificate: tuple[Path, Path]) -> Iterator[FileServer]:
    with serving(*certificate) as made:
        made.put("/sample.pdf", PDF)
        yield made


@pytest.fixture(scope="module")
def house(
    shop: FileServer, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, valkey_url: str
) -> Iterator[OpenHouse]:
    class Shop(OpenHouse):
        templates = (
            {
                "name": "order_confirm",
                "type": "order_confirm",
                "language": "ro",
                "category": "utility",
                "body": "Bună, {first_name}! Comanda {order_id} este confirmată, iar biletele sunt atașate aici.",
                "header": {"format": "document", "example": {"link": shop.url("/sample.pdf")}},
                "examples": {"first_name": "Ana", "order_id": "A-1001"},
                "submit": True,
            },
            {
                "name": "simplu",
                "type": "order_confirm",
                "language": "ro",
                "category": "utility",
                "body": "Bună, {first_name}! Comanda {order_id} este confirmată, te așteptăm cu drag la spectacol.",
                "examples": {"first_name": "Ana", "order_id": "A-1001"},
                "submit": True,
            },
        )

    made = Shop(tmp_path_factory.mktemp("house"), None, valkey_url, seed=1, provider="meta_cloud")
    made.env |= {
        "WA_PACE": PACE,
        "WA_MEDIA_ALLOW_HOSTS": f"localhost:{shop.port}",
        "SSL_CERT_FILE": str(certificate[0]),
    }
    try:
        made.start()
        yield made
    finally:
        made.stop()


def ticket(shop: FileServer, path: str, **more: float) -> dict[str, str]:
    return {"kind": "document", "url": shop.put(path, PDF + path.encode(), **more), "filename": "Bilet.pdf"}


def seconds(house: OpenHouse, **more: object) -> float:
    begun = time.monotonic()
    (message_id,) = house.order(**more)
    wait_until(lambda: message_id in house.ledger(), PATIENCE, "it is sent")
    return round(time.monotonic() - begun, 2)


@pytest.mark.timeout(200)
def test_a_ticket_leaves_within_two_seconds(house: OpenHouse, shop: FileServer) -> None:
    house.arm("worker")
    (warm,) = house.order(media=ticket(shop, "/warm.pdf"))
    wait_until(lambda: warm in house.ledger(), PATIENCE, "the worker works")

    plain = [seconds(house, template={"name": "simplu"}) for _ in range(5)]
    waits = [seconds(house, media=ticket(shop, f"/{number}.pdf")) for number in range(5)]

    print("seconds from the order to the provider, plain and with a file:", plain, waits)
    assert sorted(waits)[2] < sorted(plain)[2] + 1.5
    house.settle()
    house.processes.pop("worker").stop()


@pytest.mark.timeout(200)
def test_a_worker_killed_in_the_middle_of_a_file_costs_nothing_but_time(house: OpenHouse, shop: FileServer) -> None:
    house.arm("worker", "F21=kill")
    (message_id,) = house.order(media=ticket(shop, "/slow.pdf"))
    wait_until(lambda: shop.count("/slow.pdf") == 1, PATIENCE, "it is being fetched")
    time.sleep(2)
    house.processes.pop("worker").stop()
    assert message_id not in house.ledger()
    assert house.sql("SELECT state, tries FROM wa_media_sources WHERE state = 'waiting'") == [("waiting", 1)]

    house.sql("UPDATE wa_media_sources SET next_at = 1 WHERE state = 'waiting'")  # the minute is over
    house.arm("worker")

    wait_until(lambda: message_id in house.ledger(), PATIENCE, "the next worker sends it")
    assert shop.count("/slow.pdf") == 2
    house.settle()
    house.processes.pop("worker").stop()
