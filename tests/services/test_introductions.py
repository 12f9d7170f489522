"""A test account is known to the simulator whoever was there first, and after all was forgotten."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from flask import Flask
from sqlalchemy import select

from tests import factories
from tests.support.servers import app_process, free_port, wait_until
from wa_dashboard.config import Settings
from wa_dashboard.db import db, tenant_scope
from wa_dashboard.models import Message, ProviderAccount, TemplateApproval
from wa_dashboard.services import introductions, templates


@pytest.fixture
def later(app: Flask, tmp_path: Path) -> Iterator[Callable]:
    """The application with a simulator of its own that is not running yet: ``with later(folder): …`` runs it."""
    before: Settings = app.extensions["wa_settings"]
    mine = replace(before, simulator_port=free_port(), data_dir=tmp_path)
    mine = replace(mine, test_urls={k: v.replace(str(before.simulator_port), str(mine.simulator_port))
                                    for k, v in before.test_urls.items()})  # fmt: skip
    app.extensions["wa_settings"] = mine

    @contextmanager
    def run(folder: str) -> Iterator[str]:
        env = {
            "WA_DATA_DIR": str(tmp_path / folder),
            "WA_PORT": str(mine.port),
            "WA_SIMULATOR_PORT": str(mine.simulator_port),
            "REDIS_URL": mine.redis_url,
        }
        with app_process("simulator", env=env, log=tmp_path / "simulator.log"):
            wait_until(lambda: answers(mine.simulator_url), 30, "the simulator answers")
            requests.put(f"{mine.simulator_url}/_sim/settings", json={"approve_after_s": 0}, timeout=5)
            yield mine.simulator_url

    yield run
    app.extensions["wa_settings"] = before


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/_sim/state", timeout=1).status_code == 200
    except requests.RequestException:
        return False


def known(url: str) -> int:
    return len(requests.get(f"{url}/_sim/state", timeout=5).json()["accounts"])


def test_nothing_is_asked_without_test_accounts_and_nothing_breaks_without_a_simulator(later, app: Flask) -> None:
    assert introductions.reintroduce() == 0
    factories.make_tenant()
    assert introductions.reintroduce() == 0


def test_accounts_made_before_the_simulator_ran_are_introduced_once(later, monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in ("meta_cloud", "twilio", "dialog360"):
        factories.make_tenant(name=provider, email=f"{provider}@example.org", provider=provider)

    with later("one") as url:
        assert known(url) == 0
        assert introductions.reintroduce() == 3
        assert known(url) == 3

        puts = []
        put = requests.put
        monkeypatch.setattr(requests, "put", lambda *args, **more: puts.append(args) or put(*args, **more))
        assert introductions.reintroduce() == 0
        assert puts == []  # it was told already: one question, no more
        factories.make_tenant(name="late", email="late@example.org")
        puts.clear()
        introductions.reintroduce()
        introductions.reintroduce()
        assert len(puts) == 1


def test_another_address_for_callbacks_is_told(later, app: Flask) -> None:
    factories.make_tenant()
    with later("one") as url:
        assert introductions.reintroduce() == 1
        moved = replace(app.extensions["wa_settings"], public_url="http://127.0.0.1:9")
        app.extensions["wa_settings"] = moved

        assert introductions.reintroduce() == 0  # nobody new …

        told = requests.get(f"{url}/_sim/state", timeout=5).json()["accounts"]
        assert len(told) == 1  # … and the one it knew has been replaced
        assert introductions._told()["address"] == "http://127.0.0.1:9"


ALSO = [pytest.param(name, marks=pytest.mark.full) for name in ("twilio", "dialog360")]


@pytest.mark.parametrize("provider", ["meta_cloud", *ALSO])
def test_after_the_simulator_forgot_everything_orders_go_out_again(
    later, web, client, work, until, provider: str
) -> None:
    tenant = factories.make_tenant(provider=provider)
    templates.install_starters(tenant.tenant, ["ro"])
    for folder in ("one", "two"):  # the second has never heard of anything
        with later(folder):
            work()
            until(lambda: approved(tenant) or work(), seconds=30)
            answer = client.post("/api/wa/send/confirm", json=factories.order(folder), headers=tenant.headers)
            assert answer.status_code == 202, answer.text
            message_id = answer.json["message"]["id"]
            until(lambda message_id=message_id: accepted(tenant, message_id) or work(), seconds=30)


def approved(tenant: factories.ReadyTenant) -> bool:
    with tenant_scope(tenant.id):
        found = db.session.scalars(select(TemplateApproval.status)).all()
    return bool(found) and set(found) == {"approved"}


def accepted(tenant: factories.ReadyTenant, message_id: str) -> bool:
    with tenant_scope(tenant.id):
        status = db.session.scalar(select(Message.status).where(Message.id == message_id))
    return status in ("accepted", "sent", "delivered", "read")


def test_an_account_that_was_held_meanwhile_may_send_again(later, client, work, until) -> None:
    """The simulator is back before anybody was introduced: an order in that moment gets "unknown key"."""
    tenant = factories.make_tenant()
    factories.make_template(tenant)
    with later("one"):
        client.post("/api/wa/send/confirm", json=factories.order(), headers=tenant.headers)
        from wa_dashboard.services import delivery, engine

        engine.drain(tenant.account.id)
        with tenant_scope(tenant.id):
            assert db.session.scalar(select(ProviderAccount.status)) == "held"

        assert introductions.reintroduce() == 1

        with tenant_scope(tenant.id):
            assert db.session.scalar(select(ProviderAccount.status)) == "active"
        assert delivery.lanes_with_work() == [tenant.account.id]
