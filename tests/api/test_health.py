"""What machines ask: `/healthz`, `/readyz`, `/metrics` (operations.md)."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from tests import factories
from tests.support.servers import free_port
from tests.support.webhooks import Speaker, under_way
from wa_dashboard import clock, queues
from wa_dashboard.config import Settings
from wa_dashboard.db import all_tenants, db, db_now, is_postgresql, transaction
from wa_dashboard.factory import create_app
from wa_dashboard.models import Heartbeat
from wa_dashboard.services import parked, receipts
from wa_dashboard.workers import tick

GOOD = {"database": "ok", "schema": "ok", "tick": "ok", "queue": "ok"}


@contextmanager
def another(app: Flask, **changes: object) -> Iterator[FlaskClient]:
    """A client of the same application with other settings."""
    db.session.remove()
    other = create_app(replace(app.extensions["wa_settings"], **changes))
    yield other.test_client()
    with other.app_context():
        db.session.remove()
        db.engine.dispose()


def parts(client: FlaskClient) -> tuple[int, dict[str, str]]:
    answer = client.get("/readyz")
    assert answer.json["status"] == ("ok" if answer.status_code == 200 else "not_ready")
    return answer.status_code, answer.json["parts"]


def test_the_process_lives(client: FlaskClient) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_all_is_ready(client: FlaskClient) -> None:
    tick.beat("tick")

    assert parts(client) == (200, GOOD)


def test_sweeps_that_never_ran_are_named(client: FlaskClient) -> None:
    assert parts(client) == (503, GOOD | {"tick": "never"})


@pytest.mark.parametrize(("seconds", "status"), [(50, 200), (75, 503)])
def test_sweeps_that_are_late_are_named(client: FlaskClient, seconds: int, status: int) -> None:
    tick.beat("tick")
    with all_tenants("the test turns the clock back"), transaction():
        db.session.execute(update(Heartbeat).values(at=db_now(-seconds)))

    code, found = parts(client)

    assert code == status
    assert found["tick"] == ("ok" if status == 200 else f"{seconds} s ago")


def test_an_older_schema_is_named(client: FlaskClient) -> None:
    tick.beat("tick")
    set_revision("0000")
    try:
        code, found = parts(client)
    finally:
        set_revision("0003")

    assert code == 503
    assert found == GOOD | {"schema": "at 0000, needs 0003"}
    assert parts(client)[0] == 200


def set_revision(number: str) -> None:
    db.session.remove()
    if is_postgresql():
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{number}'")
    else:
        with sqlite3.connect(db.engine.url.database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (number,))
        connection.close()


def test_a_database_without_tables_is_named(sqlite_app: Flask, tmp_path: Path) -> None:
    with sqlite_app.app_context(), another(sqlite_app, database_url=f"sqlite:///{tmp_path / 'empty.db'}") as client:
        assert parts(client) == (503, GOOD | {"schema": "at None, needs 0003", "tick": "unknown"})
        assert client.get("/healthz").status_code == 200


def test_a_database_that_is_away_is_named(sqlite_app: Flask) -> None:
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/wa"
    with sqlite_app.app_context(), another(sqlite_app, database_url=url) as client:
        code, found = parts(client)
        assert code == 503
        assert found == GOOD | {"database": "OperationalError", "schema": "unknown", "tick": "unknown"}
        assert client.get("/healthz").status_code == 200


def test_a_queue_that_is_away_is_named(app: Flask) -> None:
    tick.beat("tick")
    with another(app, redis_url=f"redis://127.0.0.1:{free_port()}/0") as client:
        code, found = parts(client)
        assert code == 503
        assert found == GOOD | {"queue": "away (ConnectionError)"}
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(8)
        with another(app, redis_url=f"redis://127.0.0.1:{door.getsockname()[1]}/0") as client:
            assert parts(client)[1]["queue"] == "away (TimeoutError)"
    queues._away_until = 0.0


# --- numbers ----------------------------------------------------------------------------------------------------


def test_metrics_are_for_this_machine(client: FlaskClient) -> None:
    for near in ("127.0.0.1", "::1", "127.8.9.10"):
        assert client.get("/metrics", environ_base={"REMOTE_ADDR": near}).status_code == 200
    for far in ("10.0.0.5", "203.0.113.7", "2001:db8::1", "unix", ""):
        assert client.get("/metrics", environ_base={"REMOTE_ADDR": far}).status_code == 403


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_metrics_are_not_for_whoever_comes_through_a_proxy(client: FlaskClient, header: str) -> None:
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 403


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer let-me-see", 200), ("Bearer let-me-se", 403), ("Bearer ", 403), ("let-me-see", 200), (None, 403)],
)
def test_metrics_with_a_token_are_for_whoever_knows_it(
    app: Flask, base_settings: Settings, authorization: str | None, status: int
) -> None:
    with another(app, metrics_token="let-me-see") as client:
        headers = {"Authorization": authorization} if authorization else {}
        answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": "203.0.113.7"})
        assert answer.status_code == status


def test_the_token_is_a_setting(tmp_path: Path) -> None:
    environ = {"WA_DATA_DIR": str(tmp_path), "WA_METRICS_TOKEN": "let-me-see"}

    assert Settings.from_env(environ).metrics_token == "let-me-see"
    assert "let-me-see" not in repr(Settings.from_env(environ))


def test_metrics_count_what_there_is_of_everybody(client: FlaskClient) -> None:
    for name in ("one", "two"):
        tenant = factories.make_tenant(name=name, email=f"{name}@example.org")
        factories.make_template(tenant)
        for number in range(3):
            order = factories.order(f"A-{number}")
            assert client.post("/api/wa/send/confirm", json=order, headers=tenant.headers).status_code == 202
    tick.beat("tick")

    answer = client.get("/metrics")

    assert answer.content_type.startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'wa_outbox_messages{state="queued"} 6.0' in lines
    assert 'wa_messages{status="queued",type="order_confirm"} 6.0' in lines
    age = next(line for line in lines if line.startswith("wa_tick_age_seconds "))
    assert 0 <= float(age.split()[1]) < 30
    assert "+40" not in answer.text
    assert "ten_" not in answer.text


def test_metrics_count_news_that_is_not_settled(client: FlaskClient) -> None:
    for name in ("one", "two"):
        ready = factories.make_tenant(name=name, email=f"{name}@example.org")
        message = under_way(ready, "A-1")
        speaker = Speaker(ready.account)
        speaker.receipt("read", f"{message.id}.1", "wamid.1").to(client)
        speaker.receipt("read", "msg_00000000000000000000000000.1", "wamid.stranger").to(client)
    while receipts.process():
        pass

    lines = client.get("/metrics").text.splitlines()

    assert 'wa_webhook_items{state="parked"} 2.0' in lines
    assert 'wa_webhook_items{state="orphaned"} 0.0' in lines
    with clock.at(clock.now() + parked.PARKED_FOR + timedelta(minutes=1)):
        receipts.match_parked_due()
    lines = client.get("/metrics").text.splitlines()
    assert 'wa_webhook_items{state="parked"} 0.0' in lines
    assert 'wa_webhook_items{state="orphaned"} 2.0' in lines
