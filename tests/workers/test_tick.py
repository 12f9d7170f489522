"""The sweeps: each stands alone, says when it failed, and stops when told to."""

from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from tests import factories
from tests.support.servers import free_port
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.factory import create_app
from wa_dashboard.models import Attempt, Heartbeat, Outbox, ProviderAccount
from wa_dashboard.services import reminders
from wa_dashboard.workers import tick


def test_a_round_is_quiet_and_beats(app: Flask) -> None:
    assert tick.run_once(here=True) == []

    assert db.session.scalars(select(Heartbeat.name)).all() == ["tick"]


def test_one_that_fails_does_not_stop_the_others(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(reminders, "release_due", broken)

    assert tick.run_once(here=True) == ["reminders"]

    assert "sweep_failed" in caplog.text
    assert db.session.scalars(select(Heartbeat.name)).all() == ["tick"]


def test_a_database_that_is_away_is_said_and_survived(sqlite_app: Flask) -> None:
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/wa"
    away = create_app(replace(sqlite_app.extensions["wa_settings"], database_url=url))
    with away.app_context():
        failed = tick.run_once(here=True)
        db.session.remove()
        db.engine.dispose()

    assert {"reap", "receipts", "reminders", "lanes", "heartbeat"} <= set(failed)


def test_told_to_stop_it_begins_nothing_more(app: Flask) -> None:
    answers = iter([False, False])

    tick.run_once(here=True, stopping=lambda: next(answers, True))

    assert db.session.scalars(select(Heartbeat.name)).all() == []


def test_told_to_stop_it_leaves_the_other_lanes_alone(client, app: Flask) -> None:
    """The refused connections to a simulator that is away are quick; what counts is who was tried at all."""
    made = [factories.make_tenant(name=f"t{n}", email=f"t{n}@example.org") for n in range(3)]
    for tenant in made:
        factories.make_template(tenant)
        client.post("/api/wa/send/confirm", json=factories.order(), headers=tenant.headers)

    tried_so_far = []

    def stopping() -> bool:
        tried_so_far.append(sum(tried(tenant) for tenant in made))
        return tried_so_far[-1] > 0

    tick.run_once(here=True, stopping=stopping)

    assert sum(tried(tenant) for tenant in made) == 1
    assert sum(waiting(tenant) for tenant in made) == 3


def tried(tenant: factories.ReadyTenant) -> int:
    with tenant_scope(tenant.id):
        return db.session.scalar(select(func.count()).select_from(Attempt)) or 0


def waiting(tenant: factories.ReadyTenant) -> int:
    with tenant_scope(tenant.id):
        return db.session.scalar(select(func.count()).select_from(Outbox)) or 0


def test_an_account_that_cannot_be_read_stops_no_other(
    client, app: Flask, simulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = [factories.make_tenant(name=f"t{n}", email=f"t{n}@example.org") for n in range(3)]
    for tenant in made:
        factories.make_template(tenant)
        client.post("/api/wa/send/confirm", json=factories.order(), headers=tenant.headers)
    broken = made[0]
    with tenant_scope(broken.id), transaction():
        db.session.execute(
            update(ProviderAccount).values(credentials_sealed=b"sealed with a key that is gone"),
            execution_options={"synchronize_session": False},
        )
    db.session.remove()

    tick.run_once(here=True)

    assert [tried(tenant) for tenant in made] == [0, 1, 1]
    assert "lane_broke" in caplog.text
    assert "account_unreadable" in caplog.text
