"""The house every test lives in: a real application on both databases, a real queue, the simulator over real HTTP."""

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import factories
from wa_dashboard.config import Settings
from wa_dashboard.db import db, is_postgresql
from wa_dashboard.factory import create_app

pytest_plugins = ["tests.support.fixtures"]

PACE = (
    "lease=6,connect=2,read=3,grace=0.3,margin=0.2,hold=30,long_hold=40,look_first=0.2,look_again=0.2,look_last=1.5,pair=0,"
    "base=0.05,cap=0.3,tick=0.2,probe=0.3"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Experiments of the catalogue's full size run with `python3 app.py test --full` only."""
    if os.environ.get("WA_TEST_FULL") == "1":
        return
    large = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if item not in large]


@pytest.fixture(scope="session")
def base_settings(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Settings:
    """Settings of a private installation whose queue is real and whose simulator port is free."""
    from tests.support.servers import free_port

    data = tmp_path_factory.mktemp("instance")
    environ = {
        "WA_DATA_DIR": str(data),
        "REDIS_URL": valkey_url,
        "WA_PORT": str(free_port()),
        "WA_SIMULATOR_PORT": str(free_port()),
        "WA_LOG_LEVEL": "warning",
        "WA_PACE": PACE,
        "WA_RATE_PER_MINUTE": "0",
        "WA_RATE_PER_HOUR": "0",
    }
    return Settings.from_env(environ)


def _migrated(settings: Settings) -> Flask:
    from flask_migrate import upgrade

    app = create_app(settings)
    app.config["TESTING"] = True
    with app.app_context():
        upgrade(directory=app.extensions["migrate"].directory)
        db.session.remove()
    return app


@pytest.fixture(scope="session")
def sqlite_app(base_settings: Settings) -> Iterator[Flask]:
    yield from _closing(_migrated(base_settings))


@pytest.fixture(scope="session")
def postgresql_app(base_settings: Settings, postgres_url: str) -> Iterator[Flask]:
    yield from _closing(_migrated(replace(base_settings, database_url=postgres_url)))


def _closing(app: Flask) -> Iterator[Flask]:
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The application on an empty database, inside its context; every test that takes it runs on both."""
    app: Flask = request.getfixturevalue(f"{request.param}_app")
    with app.app_context():
        _empty()
        app.extensions["wa_redis"] = None
        del app.extensions["wa_redis"]
        from wa_dashboard import queues

        queues._away_until = 0.0
        queues.client().flushdb()
        yield app
        db.session.remove()


def _empty() -> None:
    tables = [table.name for table in db.metadata.sorted_tables]
    db.session.remove()
    with db.engine.connect() as connection:
        if is_postgresql():
            connection.exec_driver_sql(f"TRUNCATE {', '.join(tables)} CASCADE")
            connection.commit()
            return
    raw = sqlite3.connect(db.engine.url.database, timeout=30)
    raw.executescript(
        "PRAGMA foreign_keys=OFF; BEGIN IMMEDIATE;" + "".join(f"DELETE FROM {t};" for t in tables) + "COMMIT;"
    )
    raw.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def tenant(app: Flask) -> factories.ReadyTenant:
    """An organisation in test mode with one account (Meta), all scopes on its key, nothing sent yet."""
    return factories.make_tenant()


@pytest.fixture
def other_tenant(app: Flask) -> factories.ReadyTenant:
    """Somebody else, whose things must never be seen."""
    return factories.make_tenant(name="Alt organizator", email="other@example.org")


@pytest.fixture
def work(app: Flask) -> Callable[[], None]:
    """Do, in this process, all that workers would do now: sweeps, receipts, deliveries."""
    from wa_dashboard.workers import tick

    def run() -> None:
        tick.run_once(here=True)

    return run


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the full sizes of the experiments were asked for (`python3 app.py test --full`)."""
    return os.environ.get("WA_TEST_FULL") == "1"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the providers' published contracts, beside the checkout; tests that need it skip aloud."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "contracts"
    if not folder.is_dir():
        pytest.skip("no shared/contracts beside this checkout: the providers' published specs cannot be checked")
    return folder


@pytest.fixture(scope="session")
def simulator(base_settings: Settings) -> Iterator[str]:
    """The far end, a real process on its own port; one for the whole run. Yields its base URL."""
    from tests.support.servers import app_process, wait_until

    env = {
        "WA_DATA_DIR": str(base_settings.data_dir),
        "WA_PORT": str(base_settings.port),
        "WA_SIMULATOR_PORT": str(base_settings.simulator_port),
        "REDIS_URL": base_settings.redis_url,
    }
    with app_process("simulator", env=env, log=base_settings.data_dir / "simulator.log"):
        wait_until(lambda: _listens(base_settings.simulator_port), 10, "the simulator listens")
        yield base_settings.simulator_url


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def web(app: Flask, base_settings: Settings) -> Iterator[str]:
    """The application over real HTTP on WA_PUBLIC_URL, so that the simulator's webhooks arrive."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", base_settings.port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield base_settings.public_url
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture(params=["meta_cloud", "twilio", "dialog360"])
def ready(request: pytest.FixtureRequest, app: Flask, simulator: str, web: str) -> factories.ReadyTenant:
    """A tenant whose account the simulator knows and whose order template it has approved; once per provider."""
    from wa_dashboard.services import template_submission, templates

    made = factories.make_tenant(provider=request.param)
    templates.install_starters(made.tenant, ["ro"])
    template_submission.submit_due()
    template_submission.approve_now(made.tenant, "order_confirm", "ro")
    return made


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true: ``until(lambda: …)``; fails after 15 seconds."""

    def wait(condition: Callable[[], bool], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never became true"
            db.session.rollback()
            time.sleep(0.05)

    return wait


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database of this test alone, beside the shared one."""
    import secrets

    from sqlalchemy import create_engine, make_url

    name = f"wa_{secrets.token_hex(4)}"
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    engine.dispose()
