"""The doctor finds each illness, and says what to do about it."""

from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update

from tests import factories
from wa_dashboard import queues
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.models import ProviderAccount
from wa_dashboard.services import checkup
from wa_dashboard.workers import runner, tick


def found(app: Flask, name: str) -> checkup.Check:
    """The first bad check of that name, else the first."""
    mine = [check for check in checkup.examine(app.extensions["wa_settings"]) if check.name == name]
    return next((check for check in mine if not check.ok), mine[0])


def test_a_healthy_installation(app: Flask, tenant: factories.ReadyTenant, simulator: str, web: str) -> None:
    from wa_dashboard.services import introductions

    introductions.reintroduce()
    tick.beat("tick")

    checks = checkup.examine(app.extensions["wa_settings"])

    assert [check.sentence for check in checks if not check.ok] == []
    names = {check.name for check in checks}
    assert {"python", "data folder", "secrets", "settings", "database", "queue", "sweeps", "keys", "provider"} <= names


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_forgets_is_named_by_doctor_and_worker(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setattr(runner.Worker, "work", lambda *_, **__: None)  # RQ's loop would not end
    queues.client().config_set("maxmemory-policy", policy)
    try:
        check = found(app, "queue")
        runner._serve_queue(app)
    finally:
        queues.client().config_set("maxmemory-policy", "noeviction")

    assert not check.ok
    assert policy in check.sentence
    assert "noeviction" in check.sentence
    assert "queue_may_forget" in caplog.text
    assert found(app, "queue").ok


def test_sweeps_that_do_not_run(app: Flask) -> None:
    assert "never ran" in found(app, "sweeps").sentence
    tick.beat("tick")
    assert found(app, "sweeps").ok


def test_secrets_that_others_may_read(app: Flask) -> None:
    file = app.extensions["wa_settings"].data_dir / "secrets.env"
    file.chmod(0o644)
    try:
        check = found(app, "secrets")
    finally:
        file.chmod(0o600)

    assert not check.ok
    assert "chmod 600" in check.sentence


def test_a_mistyped_variable(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WA_PROT", "8000")

    check = found(app, "settings")

    assert not check.ok
    assert "WA_PROT" in check.sentence
    assert "WA_PORT" in check.sentence


def test_secrets_whose_key_is_gone(app: Flask, tenant: factories.ReadyTenant) -> None:
    with tenant_scope(tenant.id), transaction():
        db.session.execute(
            update(ProviderAccount).values(credentials_sealed=b"sealed with another key"),
            execution_options={"synchronize_session": False},
        )

    check = found(app, "encryption")

    assert not check.ok
    assert tenant.account.id in check.sentence
    assert "old key" in check.sentence


def test_an_account_that_is_held(app: Flask, tenant: factories.ReadyTenant, simulator: str) -> None:
    with tenant_scope(tenant.id), transaction():
        db.session.execute(
            update(ProviderAccount).values(status="held", hold_reason="account_stop:190"),
            execution_options={"synchronize_session": False},
        )

    check = found(app, "provider")

    assert not check.ok
    assert "account_stop:190" in check.sentence


def test_webhooks_that_could_not_arrive(app: Flask) -> None:
    check = found(app, "webhooks")

    assert not check.ok
    assert "WA_PUBLIC_URL" in check.sentence


def test_a_folder_that_cannot_be_written(app: Flask) -> None:
    settings = replace(app.extensions["wa_settings"], data_dir=Path("/nonexistent"))

    check = next(each for each in checkup.examine(settings) if each.name == "data folder")

    assert not check.ok
    assert "/nonexistent" in check.sentence
