"""An installation of real processes whose database a test may look into, and whose parts it may start armed."""

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import requests
from sqlalchemy import create_engine, make_url

from tests import factories
from tests.flows.storm import Installation
from tests.support.servers import wait_until
from wa_dashboard.bench.storm import CONFIRMATION, Process

PATIENCE = 60.0
REMINDER = {
    "name": "reminder",
    "type": "reminder",
    "language": "ro",
    "category": "utility",
    "body": "Bună, {first_name}! {event_name} începe curând, te așteptăm.",
    "examples": {"first_name": "Ana", "event_name": "Hamlet"},
    "submit": True,
}


class OpenHouse(Installation):
    """Its parts are started by the test."""

    parts = {"web": "web"}
    templates = (CONFIRMATION, REMINDER)
    number = 0

    def start(self) -> None:
        self.wanted: set[str] = set()  # messages that the provider must have accepted once, in the end
        super().start()

    def tidy(self, env: dict[str, str]) -> None:
        """As it was before a test: only the web and the far end run, which makes no trouble."""
        for name in [name for name in self.processes if name not in ("web", "simulator")]:
            self.processes.pop(name).stop()
        self.env = dict(env)
        self.faults()
        if self.died("web") or not self._answers(f"{self.url}/healthz"):
            self.processes.pop("web").kill()
            self.arm("web")

    def arm(self, name: str, points: str = "", **env: str) -> None:
        """Start a part with these failpoints and variables."""
        log = self.folder / f"{name}.log"
        self.processes[name] = Process([name], {**self.env, "WA_FAILPOINTS": points, **env}, log)
        if name == "web":
            wait_until(lambda: self._answers(f"{self.url}/healthz"), PATIENCE, "the web answers")

    def ask(self, path: str, body: dict[str, Any], key: str) -> requests.Response | None:
        """A call, None when nobody answered."""
        headers = self.headers | {"Idempotency-Key": key}
        with suppress(requests.RequestException):
            return requests.post(f"{self.url}/api/wa/{path}", json=body, headers=headers, timeout=20)
        return None

    def body(self, number: int, **more: object) -> dict[str, object]:
        order = factories.order(f"S-{number}", phone=f"+4070000{number % 1000:03d}0")
        return {name: order[name] for name in ("order_id", "recipient", "consent")} | more

    def order(self, count: int = 1, **more: object) -> list[str]:
        """New orders; the ids of their messages."""
        made = []
        for _ in range(count):
            self.number += 1
            answer = self.ask("send/confirm", self.body(self.number, **more), f"o-{self.number}")
            assert answer is not None
            assert answer.status_code == 202, answer.text
            made.append(answer.json()["message"]["id"])
        self.wanted.update(made)
        return made

    def died(self, name: str) -> bool:
        return self.processes[name].process.poll() is not None

    def status(self, message_id: str) -> str:
        return self.ids_by_status().get(message_id, "")

    def ids_by_status(self) -> dict[str, str]:
        self.counts()
        return self.ids

    def states(self) -> Counter[str]:
        return Counter(state for (state,) in self.sql("SELECT state FROM wa_outbox"))

    def sql(self, statement: str) -> list[Any]:
        """Plain SQL, past everything that keeps organisations apart."""
        url = self.env.get("DATABASE_URL")
        if url is None:
            with closing(sqlite3.connect(self.folder / "data" / "wa.db", timeout=30)) as link, link:
                return link.execute(statement).fetchall()
        with psycopg.connect(re.sub(r"\+psycopg", "", url), options="-c app.tenant=*") as link:
            done = link.execute(statement)
            return done.fetchall() if done.description else []

    def finished(self) -> bool:
        return set(self.counts()) <= {"delivered", "read", "failed", "cancelled", "dead_letter"}

    def settle(self, seconds: float = PATIENCE * 2) -> None:
        """Wait until all is decided, and judge: the provider has accepted everything exactly once, and nothing else.

        As in life, new orders keep coming, whose receipts move the watermark.
        """
        end = time.monotonic() + seconds
        while not self.finished():
            assert time.monotonic() < end, self.counts()
            if self.counts()["uncertain"]:
                self.order()
            time.sleep(0.7)
        ledger = self.ledger()
        assert {message_id for message_id, sends in ledger.items() if sends > 1} == set()
        assert set(ledger) == self.wanted
        assert self.command("invariants")["ok"] is True


@contextmanager
def open_house(folder: Path, valkey_url: str, postgres_url: str | None, pace: str) -> Iterator[OpenHouse]:
    """A house of its own for the time of the block, on SQLite or, with ``postgres_url``, beside that database."""
    url = empty_beside(postgres_url, "wa_open_house") if postgres_url else None
    made = OpenHouse(folder, url, valkey_url, seed=1, provider="meta_cloud")
    made.env["WA_PACE"] = pace
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def as_found(house: OpenHouse) -> Iterator[OpenHouse]:
    """A house shared by the tests of a module: what one of them changed is put right for the next."""
    env = dict(house.env)
    yield house
    house.tidy(env)


def empty_beside(url: str, name: str) -> str:
    """The URL of a new, empty database of this name on the server of ``url``."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)
