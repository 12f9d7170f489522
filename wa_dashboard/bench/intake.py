"""Confirming orders: how much of what the server could answer at all is left for ``POST /api/wa/send/confirm``.

The real web process, an empty Flask route behind the same server, and the usual ORM way with one RQ job for each
message are asked in turn, again and again, on this machine alone.
"""

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from .. import clock, embedded
from ..config import PROJECT, Settings
from ..db import db, insert_rows, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.phone import to_e164
from ..models import Template, TemplateApproval
from ..services import accounts, consent_log, tenants
from .load import Burst, fire, request

CONFIRM = "/api/wa/send/confirm"
ROUNDS = 5
PEOPLE = 500
_BODY = "Bună, {first_name}! Comanda {order_id} pentru {event_name} este confirmată. Mulțumim."
# What is asked in each round, and how often at scale 1.
SHAPE = {"empty": 1500, "confirm": 500, "first_order": 250, "replay": 500, "naive": 100}


@dataclass(frozen=True)
class _House:
    """Two servers on one database: the product's and the baseline's; the key that may confirm; process ids."""

    product: int
    baseline: int
    key: str
    pids: Mapping[str, int]


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure in interleaved rounds; about 20 seconds at scale 1. PostgreSQL if ``DATABASE_URL`` says so.

    Returns requests per second (medians of the rounds) by name: ``empty``, ``confirm`` (a known buyer's new order),
    ``first_order`` (a new buyer, who agrees with the order), ``replay`` (same Idempotency-Key), ``naive``;
    ``cpu_us``: processor time of the server per request; ``p99_ms``; ``errors``; and ``ratio_to_empty``,
    ``ratio_to_naive``, ``first_order_to_empty``, ``replay_to_empty``, ``cpu_ratio_to_empty``. Uses loopback only.
    """
    orders = _Orders()
    with _house() as house:
        for name in SHAPE:  # everything is imported, connected and compiled once
            _burst(house, orders, name, 64)
        rounds = [
            {name: _burst(house, orders, name, max(32, int(count * scale))) for name, count in SHAPE.items()}
            for _ in range(ROUNDS)
        ]
    return _summed_up(rounds)


@dataclass(frozen=True)
class _Measured:
    burst: Burst
    cpu_us: float


def _burst(house: _House, orders: "_Orders", name: str, count: int) -> _Measured:
    product = name in ("confirm", "first_order", "replay")
    port = house.product if product else house.baseline
    pid = house.pids["product" if product else "baseline"]
    before = _cpu_seconds(pid)
    burst = fire(port, list(orders.requests(name, count, house.key)))
    return _Measured(burst, (_cpu_seconds(pid) - before) * 1e6 / count)


def _summed_up(rounds: Sequence[Mapping[str, _Measured]]) -> dict[str, Any]:
    def middle(name: str) -> float:
        return statistics.median(one[name].burst.per_second for one in rounds)

    def ratio(name: str, other: str) -> float:
        return round(statistics.median(one[name].burst.per_second / one[other].burst.per_second for one in rounds), 3)

    cpu = {name: statistics.median(one[name].cpu_us for one in rounds) for name in SHAPE}
    good = {"empty": {200}, "replay": {202}, "confirm": {202}, "first_order": {202}, "naive": {202}}
    return {
        "database": "postgresql" if _database_url() else "sqlite",
        "per_second": {name: round(middle(name), 1) for name in SHAPE},
        "cpu_us": {name: round(value) for name, value in cpu.items()},
        "p99_ms": {
            name: round(statistics.median(one[name].burst.percentile(0.99) for one in rounds), 1) for name in SHAPE
        },
        "errors": sum(
            count
            for one in rounds
            for name, measured in one.items()
            for status, count in measured.burst.statuses.items()
            if status not in good[name]
        ),
        "ratio_to_empty": ratio("confirm", "empty"),
        "ratio_to_naive": ratio("confirm", "naive"),
        "first_order_to_empty": ratio("first_order", "empty"),
        "replay_to_empty": ratio("replay", "empty"),
        "cpu_ratio_to_empty": round(cpu["empty"] / cpu["confirm"], 3) if cpu["confirm"] else None,
    }


# --- what is asked ----------------------------------------------------------------------------------------------


class _Orders:
    """Requests of each kind; every order is a new one."""

    def __init__(self) -> None:
        self._number = 0
        self._random = random.Random(7)

    def requests(self, name: str, count: int, key: str) -> Iterator[bytes]:
        first = self._number
        for _ in range(count):
            self._number += 1
            # A replay says again what the first of the burst said.
            number = first + 1 if name == "replay" else self._number
            yield self._request(name, number, key)

    def _request(self, name: str, number: int, key: str) -> bytes:
        path = {"empty": "/empty", "naive": "/naive"}.get(name, CONFIRM)
        known = self._random.randrange(PEOPLE) if name != "replay" else 0
        body: dict[str, Any] = {
            "order_id": f"A-{number}",
            "recipient": {
                "phone": phone_of(PEOPLE + number if name == "first_order" else known),
                "first_name": "Ana",
                "locale": "ro-RO",
                "timezone": "Europe/Bucharest",
            },
            "event": {
                "ref": "EVT-9",
                "name": "Hamlet",
                "starts_at": "2027-04-04T20:00",
                "timezone": "Europe/Bucharest",
                "venue": {"name": "Sala Mare"},
            },
            "metadata": {"channel": "web"},
        }
        if name == "first_order":
            body["consent"] = {
                "status": "opted_in",
                "purposes": ["transactional", "reminder"],
                "source": "checkout",
                "wording_id": "wa-consent-v3",
            }
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"{name}-{number}"}
        return request("POST", path, headers, json.dumps(body).encode())


def phone_of(number: int) -> str:
    """A Romanian mobile number of its own for each of 9,000,000 people."""
    return f"+4072{1_000_000 + number:07d}"


# --- where it is asked ------------------------------------------------------------------------------------------


@contextmanager
def _house() -> Iterator[_House]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wa-bench-")))
        ports = [free_port() for _ in range(3)]
        environ = _environment(folder, ports[0], ports[2])
        stack.enter_context(embedded.running(folder))
        key = _prepare(Settings.from_env(environ))
        product = stack.enter_context(_process([sys.executable, str(PROJECT / "app.py"), "web"], environ))
        module = "wa_dashboard.bench.intake_baseline"
        baseline = stack.enter_context(_process([sys.executable, "-m", module, str(ports[1])], environ))
        _wait_for(ports[0], product)
        _wait_for(ports[1], baseline)
        yield _House(ports[0], ports[1], key, {"product": product.pid, "baseline": baseline.pid})


def _environment(folder: Path, port: int, simulator_port: int) -> dict[str, str]:
    ours = ("WA_", "DATABASE_URL", "REDIS_URL", "WHATSAPP_PROVIDER")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {
        "WA_DATA_DIR": str(folder),
        "WA_PORT": str(port),
        "WA_SIMULATOR_PORT": str(simulator_port),
        "WA_API_PER_MINUTE": "10000000",
        "WA_LOG_LEVEL": "error",
    }
    return environ | ({"DATABASE_URL": _database_url()} if _database_url() else {})


def _database_url() -> str:
    return os.environ.get("DATABASE_URL", "")


@contextmanager
def _process(words: Sequence[str], environ: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(words, cwd=PROJECT, env=dict(environ), stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 30
    while True:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the server did not start")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_seconds(pid: int) -> float:
    """Processor time of the process and its children so far (Linux; elsewhere 0)."""
    total = 0.0
    for one in [pid, *_children(pid)]:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _prepare(settings: Settings) -> str:
    """The schema, an organisation with an approved template, people who agreed; returns its key."""
    from flask_migrate import upgrade

    from ..factory import create_app

    app = create_app(settings)
    with app.app_context():
        upgrade(directory=app.extensions["migrate"].directory)
        key = _populate(app)
        db.session.remove()
        db.engine.dispose()
    return key


def _populate(app: Flask) -> str:
    settings: Settings = app.extensions["wa_settings"]
    made = tenants.create_tenant(settings, "Benchmark", f"bench-{new_id('usr')}@example.org")
    tenant = made.tenant
    account = accounts.create_test_account(tenant, "meta_cloud")
    now = clock.now()
    with tenant_scope(tenant.id), transaction():
        template = {
            "id": new_id("tpl"), "tenant_id": tenant.id, "name": "order_confirm", "language": "ro", "version": 1,
            "type": "order_confirm", "category": "utility", "body": _BODY, "buttons": [], "examples": {},
            "content_hash": "bench", "draft": False, "created_at": now, "updated_at": now,
        }  # fmt: skip
        insert_rows(Template, [template])
        approval = {"id": new_id("tap"), "tenant_id": tenant.id, "template_id": template["id"], "created_at": now,
                    "account_id": account.id, "status": "approved", "status_at": now, "category": "utility",
                    "parameter_map": {}}  # fmt: skip
        insert_rows(TemplateApproval, [approval])
        said = [
            consent_log.ConsentRequest(
                status="opted_in", source="checkout", phone=to_e164(phone_of(number)), purposes=("transactional",)
            )
            for number in range(PEOPLE)
        ]
        consent_log.record_many(tenant, said, "command", at=[""] * len(said))
    return made.test_key


if __name__ == "__main__":
    print(json.dumps(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0), indent=2))  # noqa: T201
