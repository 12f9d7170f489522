"""Redis being away is nobody's error: calls are counted in this process, and cost a quarter of a second at most."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests import factories
from wa_dashboard.db import all_tenants, db
from wa_dashboard.factory import create_app
from wa_dashboard.models import Message


@pytest.fixture(params=["refused", "silent"])
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A port where nobody listens, and one where somebody takes the call and never says a word."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        if request.param == "silent":
            door.listen(64)
        yield f"redis://127.0.0.1:{door.getsockname()[1]}/0"


def test_orders_are_taken_while_redis_is_away(redis_url: str, app: Flask) -> None:
    tenant = factories.make_tenant()
    factories.make_template(tenant)
    settings = replace(app.extensions["wa_settings"], redis_url=redis_url)
    db.session.remove()
    lonely = create_app(settings)
    client = lonely.test_client()
    answers, waits = [], []

    for number in range(12):
        began = time.monotonic()
        answers.append(client.post("/api/wa/send/confirm", json=factories.order(f"A-{number}"), headers=tenant.headers))
        waits.append(time.monotonic() - began)

    assert [answer.status_code for answer in answers] == [202] * 12
    assert sum(wait > 0.4 for wait in waits) <= 2  # the first, which finds out, for the limiter and the wake-up
    assert max(waits[1:]) < 1.5
    assert answers[-1].headers["RateLimit"].startswith('"key";r=')
    with lonely.app_context(), all_tenants("the test counts"):
        assert db.session.scalar(select(func.count()).select_from(Message)) == 12
        db.session.remove()
        db.engine.dispose()
