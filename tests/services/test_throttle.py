"""The tenant's limits: exact over every sliding window, never forgotten by a flush, never open without Redis."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests import factories
from wa_dashboard import queues
from wa_dashboard.db import db, db_now, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Attempt
from wa_dashboard.services import contacts, throttle


@pytest.fixture
def limited(app):
    return factories.make_tenant(rate_per_minute=10, rate_per_hour=25)


def take(ready, wanted):
    with tenant_scope(ready.id):
        return throttle.take(ready.tenant, live=False, wanted=wanted)


def test_no_more_than_the_limit_leaves_in_a_minute(limited):
    first = take(limited, 7)
    second = take(limited, 7)
    third = take(limited, 1)

    assert (first.count, second.count, third.count) == (7, 3, 0)
    assert 50 < third.wait <= 62
    assert third.rule == "minute"


def test_limit_of_zero_is_no_limit(app):
    ready = factories.make_tenant(rate_per_minute=0, rate_per_hour=0)

    assert take(ready, 5000).count == 5000


def test_many_at_once_never_get_more(app, limited):
    def one(_):
        with app.app_context():
            try:
                return take(limited, 3).count
            finally:
                db.session.remove()

    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(one, range(16)))

    assert granted == 10


def test_live_and_test_messages_do_not_share_a_limit(limited):
    take(limited, 10)

    with tenant_scope(limited.id):
        assert throttle.take(limited.tenant, live=True, wanted=5).count == 5


def test_flushed_redis_gives_no_second_burst(limited):
    _attempts(limited, 8)

    queues.client().flushdb()

    assert take(limited, 10).count == 2


def test_without_redis_it_is_slower_and_never_open(app, limited, monkeypatch):
    nowhere = replace(app.extensions["wa_settings"], redis_url="redis://127.0.0.1:1/0")
    monkeypatch.setitem(app.extensions, "wa_redis", queues.connect(nowhere))

    granted = [take(limited, 5).count for _ in range(10)]

    assert 1 <= sum(granted) <= 5


def _attempts(ready, count):
    """So many messages of the last minutes, as the engine writes them down."""
    from tests.support.rows import make_message

    with tenant_scope(ready.id), transaction():
        contact = contacts.contact_for(ready.tenant, to_e164("+40722123456"))
        for _ in range(count):
            message = make_message(ready, contact)
            insert_rows(
                Attempt,
                [
                    {
                        "tenant_id": ready.id,
                        "message_id": message.id,
                        "attempt_no": 1,
                        "account_id": ready.account.id,
                        "provider": "meta_cloud",
                        "rank": 20,
                        "started_at": db_now(-5),
                        "receipt_seen": False,
                    }
                ],
            )
