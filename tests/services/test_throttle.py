"""The limits: exact over every sliding window, never forgotten by a flush, never open without Redis."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from tests import factories
from tests.support.rows import make_message
from wa_dashboard import clock, queues
from wa_dashboard.db import db, db_now, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Attempt, ProviderAccount
from wa_dashboard.services import contacts, throttle
from wa_dashboard.services.throttle import Ask

ORDER, PROMO, CODE = 1, 3, 0


@pytest.fixture
def limited(app):
    return factories.make_tenant(rate_per_minute=10, rate_per_hour=25)


def number(ready, **limits):
    """The tenant's number with these limits."""
    for name, value in limits.items():
        setattr(ready.account, name, value)
    return ready


@pytest.fixture
def paired(app, monkeypatch):
    """With the wait between two messages to one person, which the other tests do without."""
    monkeypatch.setitem(app.extensions, "wa_pace", replace(app.extensions["wa_pace"], pair=6.0))


def asks(count, priority=ORDER, person=None):
    return [Ask(new_id("msg"), 1, person or new_id("con"), priority) for _ in range(count)]


def take(ready, count, priority=ORDER, person=None, account=None):
    with tenant_scope(ready.id):
        return throttle.take(ready.tenant, account or ready.account, asks(count, priority, person))


def granted(leaves):
    return sum(leave.rule is None for leave in leaves)


def test_no_more_than_the_limit_leaves_in_a_minute(limited):
    first = take(limited, 7)
    second = take(limited, 7)
    (third,) = take(limited, 1)

    assert (granted(first), granted(second), third.rule) == (7, 3, "minute")
    assert 50 < third.wait <= 62


def test_limit_of_zero_is_no_limit(app):
    ready = factories.make_tenant(rate_per_minute=0, rate_per_hour=0)

    assert granted(take(ready, 5000)) == 5000


def test_many_at_once_never_get_more(app, limited):
    def one(_):
        with app.app_context():
            try:
                return granted(take(limited, 3))
            finally:
                db.session.remove()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(16))) == 10


def test_live_and_test_messages_do_not_share_a_limit(limited):
    take(limited, 10)
    account = replace_live(limited)

    assert granted(take(limited, 5, account=account)) == 5


def replace_live(ready):
    """The account as if it were a live one: another log."""
    account = ProviderAccount(id="acc_live", tenant_id=ready.id, live=True, provider="meta_cloud")
    account.rate_per_second = account.tier_limit = 0
    account.slowed, account.slowed_at = 1.0, None
    return account


def test_promotions_leave_a_fifth_for_orders(limited):
    promos = take(limited, 20, PROMO)
    orders = take(limited, 20, ORDER)

    assert (granted(promos), granted(orders)) == (8, 2)
    assert {leave.rule for leave in promos if leave.rule} == {"minute"}


def test_one_person_gets_one_message_in_six_seconds_but_a_code_at_once(app, paired):
    ready = factories.make_tenant(rate_per_minute=0, rate_per_hour=0)

    first, second = take(ready, 2, ORDER, person="con_1")
    (code,) = take(ready, 1, CODE, person="con_1")
    (other,) = take(ready, 1, ORDER, person="con_2")

    assert (first.rule, second.rule, code.rule, other.rule) == (None, "pair", None, None)
    assert 5 < second.wait <= 8


def test_number_per_second(app):
    ready = number(factories.make_tenant(rate_per_minute=0, rate_per_hour=0), rate_per_second=20)

    leaves = take(ready, 50)

    assert granted(leaves) == 20
    assert leaves[-1].rule == "second"
    assert leaves[-1].wait <= 1.3


def test_nothing_is_taken_from_one_limit_when_another_says_no(limited):
    number(limited, rate_per_second=3)

    assert granted(take(limited, 10)) == 3
    number(limited, rate_per_second=0)
    assert granted(take(limited, 10)) == 7  # of ten a minute three are gone, not ten


def test_people_in_a_day(app):
    ready = number(factories.make_tenant(rate_per_minute=0, rate_per_hour=0), tier_limit=10)
    people = [new_id("con") for _ in range(12)]

    with tenant_scope(ready.id):
        leaves = throttle.take(ready.tenant, ready.account, [Ask(new_id("msg"), 1, who, ORDER) for who in people])
        again = throttle.take(ready.tenant, ready.account, [Ask(new_id("msg"), 1, people[0], CODE)])

    assert [leave.rule for leave in leaves] == [None] * 10 + ["tier"] * 2
    assert again[0].rule is None  # somebody written to today costs no place
    assert leaves[-1].wait > 80_000


def test_slowed_number_recovers_by_a_tenth_a_minute(app):
    ready = factories.make_tenant()
    slowed_at = clock.now()
    number(ready, rate_per_second=80, slowed=0.5, slowed_at=slowed_at)

    with tenant_scope(ready.id):
        assert throttle.number_bears(ready.account) == 40
        with clock.at(slowed_at + timedelta(minutes=3)):
            assert throttle.number_bears(ready.account) == 64
        with clock.at(slowed_at + timedelta(minutes=30)):
            assert throttle.number_bears(ready.account) == 80


def test_live_number_without_a_limit_has_the_providers(app):
    account = replace_live(factories.make_tenant())

    assert throttle.number_bears(account) == 80
    account.provider = "twilio"
    assert throttle.number_bears(account) == 10


def test_flushed_redis_gives_no_second_burst(limited):
    _attempts(limited, 8)

    queues.client().flushdb()

    assert granted(take(limited, 10)) == 2


def test_flush_forgets_neither_pairs_nor_people(app, paired):
    ready = number(factories.make_tenant(rate_per_minute=0, rate_per_hour=0), tier_limit=1)
    person = _attempts(ready, 1)

    queues.client().flushdb()

    (same,) = take(ready, 1, person=person)
    (other,) = take(ready, 1)
    assert (same.rule, other.rule) == ("pair", "tier")


def test_without_redis_it_is_slower_and_never_open(app, limited, monkeypatch):
    nowhere = replace(app.extensions["wa_settings"], redis_url="redis://127.0.0.1:1/0")
    monkeypatch.setitem(app.extensions, "wa_redis", queues.connect(nowhere))

    total = sum(granted(take(limited, 5)) for _ in range(10))

    assert 1 <= total <= 5


def test_what_left_without_redis_counts_when_it_is_back(app, limited, monkeypatch):
    take(limited, 1)
    nowhere = replace(app.extensions["wa_settings"], redis_url="redis://127.0.0.1:1/0")
    with monkeypatch.context() as away:
        away.setitem(app.extensions, "wa_redis", queues.connect(nowhere))
        take(limited, 1)
    _attempts(limited, 8)

    assert granted(take(limited, 10)) == 1


def test_pages_are_told_what_is_used_and_when_the_last_leaves(limited):
    take(limited, 4)

    with tenant_scope(limited.id):
        minute, hour = throttle.use(limited.tenant, live=False)
        at, binding = throttle.last_leaves_at(limited.tenant, False, 46)

    assert [(use.rule, use.limit, use.used) for use in (minute, hour)] == [("minute", 10, 4), ("hour", 25, 4)]
    assert binding.rule == "hour"
    assert 3500 < (at - clock.now()).total_seconds() < 3700
    other = factories.make_tenant(rate_per_minute=10)
    with tenant_scope(other.id):
        assert throttle.use(other.tenant, live=False)[0].used == 0


def _attempts(ready, count):
    """So many messages of the last seconds, as the engine writes them down; the person they went to."""
    with tenant_scope(ready.id), transaction():
        contact = contacts.contact_for(ready.tenant, to_e164("+40722123456"))
        for _ in range(count):
            message = make_message(ready, contact)
            row = {
                "tenant_id": ready.id,
                "message_id": message.id,
                "attempt_no": 1,
                "account_id": ready.account.id,
                "provider": "meta_cloud",
                "rank": 20,
                "started_at": db_now(-2),
                "receipt_seen": False,
            }
            insert_rows(Attempt, [row])
    return contact.id
