"""Whatever a provider tells of an account is seen, believed and acted on, in whatever order it comes."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.webhooks import Speaker
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.domain import account_news as words
from wa_dashboard.domain import health
from wa_dashboard.models import ProviderAccount, WebhookItem
from wa_dashboard.services import account_news, accounts, receipts


@pytest.fixture
def speaker(tenant):
    return Speaker(tenant.account)


def say(client, speaker, field, seconds=0, **value):
    """One piece of news as Meta posts it: of the business account, without the number's metadata."""
    at = int((clock.now() + timedelta(seconds=seconds)).timestamp())
    change = {"field": field, "value": value}
    entry = {"id": speaker.keys["waba_id"], "time": at, "changes": [change]}
    answer = speaker.json({"object": "whatsapp_business_account", "entry": [entry]}).to(client)
    assert answer.status_code == 200
    while receipts.process():
        pass


def account_of(account):
    with all_tenants("test"):
        wanted = select(ProviderAccount).where(ProviderAccount.id == account.id)
        return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def news_of(ready, account=None):
    with tenant_scope(ready.id):
        return account_news.news_of((account or ready.account).id)


def test_a_new_limit_and_poor_quality_become_the_accounts_own(client, tenant, other_tenant, speaker):
    number = speaker.keys["display_phone_number"][1:]
    say(client, speaker, "phone_number_quality_update", display_phone_number=number, event="FLAGGED",
        current_limit="TIER_2K")  # fmt: skip

    account = account_of(tenant.account)
    assert (account.tier_limit, account.quality) == (2000, "red")
    (line,) = news_of(tenant)
    assert (line.kind, line.unknown, line.raw["current_limit"]) == ("FLAGGED", False, "TIER_2K")
    assert "poor" in line.sentence
    assert "2000" in line.sentence
    stranger = account_of(other_tenant.account)
    assert (stranger.tier_limit, stranger.quality, news_of(other_tenant)) == (0, None, [])


@pytest.mark.parametrize(
    ("told", "limit"),
    [("TIER_250", 250), ("TIER_100K", 100_000), ("TIER_UNLIMITED", 0), (2000, 2000), (-1, 0), ("TIER_NOT_SET", 77)],
)
def test_every_way_to_tell_a_limit(client, tenant, speaker, told, limit):
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(ProviderAccount).values(tier_limit=77))

    say(client, speaker, "business_capability_update", max_daily_conversations_per_business=told)

    assert account_of(tenant.account).tier_limit == limit
    assert len(news_of(tenant)) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_limit_counts_in_whatever_order_they_come(client, tenant, speaker, order):
    told = [(-60, "TIER_10K"), (-30, "TIER_250")]
    for index in order:
        seconds, limit = told[index]
        say(client, speaker, "business_capability_update", seconds, max_daily_conversations_per_business=limit)

    assert account_of(tenant.account).tier_limit == 250
    assert [line.raw["max_daily_conversations_per_business"] for line in news_of(tenant)] == ["TIER_250", "TIER_10K"]


def test_news_of_the_business_account_concerns_all_its_numbers_and_nobody_elses(client, tenant, other_tenant, speaker):
    keys = {**tenant.account.credentials, "phone_number_id": "990011", "display_phone_number": "+40312220011"}
    sister = accounts.create_account(tenant.tenant, "meta_cloud", keys)
    stranger = factories.make_account(tenant.tenant, "meta_cloud")

    say(client, speaker, "account_update", event="DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE"})

    assert [account_of(each).status for each in (tenant.account, sister)] == ["held", "held"]
    assert [account_of(each).status for each in (stranger, other_tenant.account)] == ["active", "active"]
    say(client, speaker, "account_update", 1, event="DISABLED_UPDATE", ban_info={"waba_ban_state": "REINSTATE"})
    assert [account_of(each).status for each in (tenant.account, sister)] == ["active", "active"]
    assert len(news_of(tenant, sister)) == 2


def test_somebody_else_who_claims_the_same_account_hears_nothing_of_it(client, other_tenant, tenant, speaker):
    keys = dict(tenant.account.credentials)
    claimed = accounts.create_account(other_tenant.tenant, "meta_cloud", keys)

    say(client, speaker, "business_capability_update", max_daily_conversations_per_business=250)
    say(client, speaker, "account_update", 1, event="DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE"})

    assert (account_of(tenant.account).tier_limit, account_of(tenant.account).status) == (250, "held")
    assert (account_of(claimed).tier_limit, account_of(claimed).status) == (0, "active")
    assert news_of(other_tenant, claimed) == []


def test_what_is_repeated_or_read_again_is_told_once(client, tenant, speaker):
    for _ in range(2):
        with clock.at(clock.now().replace(microsecond=0)):
            say(client, speaker, "account_review_update", -5, decision="APPROVED")
    receipts.replay()

    assert len({line.at for line in news_of(tenant)}) == len(news_of(tenant)) <= 2
    before = len(news_of(tenant))
    receipts.replay()
    assert len(news_of(tenant)) == before


def test_kinds_we_do_not_know_are_kept_and_shown_once_a_day(client, tenant, speaker):
    for number in range(3):
        say(client, speaker, "account_settings_update", number, phone_number_settings={"number": number})
    say(client, speaker, "wholly_new", 3, owner="+40722123456")

    lines = news_of(tenant)
    assert [line.unknown for line in lines] == [True, True]
    assert "wholly_new" in lines[0].sentence
    assert "722123" not in str(lines[0].raw)
    with all_tenants("test"):
        assert {item.state for item in db.session.scalars(select(WebhookItem))} == {"unknown"}
        assert len(list(db.session.scalars(select(WebhookItem)))) == 4


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("phone_number_name_update", {"decision": "APPROVED", "requested_verified_name": "Teatrul Mic"}, "Teatrul Mic"),
        ("phone_number_name_update", {"decision": "REJECTED", "requested_verified_name": "X", "rejection_reason": "Y"}, "refused"),  # noqa: E501
        ("account_review_update", {"decision": "REJECTED"}, "refused"),
        ("account_alerts", {"alert_info": {"alert_severity": "WARNING", "alert_type": "A", "alert_description": "Too few"}}, "Too few"),  # noqa: E501
        ("account_update", {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SCAM"}}, "scam"),
        ("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1800000000}]}, "15.01.2027"),  # noqa: E501
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE", "waba_ban_date": "January 3, 2027"}}, "03.01.2027"),  # noqa: E501
        ("account_update", {"event": "SOMETHING_OF_2027"}, "something of 2027"),
        ("security", {"event": "PIN_CHANGED"}, "PIN"),
        ("phone_number_quality_update", {"event": "THROUGHPUT_UPGRADE", "current_limit": "TIER_UNLIMITED"}, "1000"),
    ],
)  # fmt: skip
def test_each_piece_of_news_has_a_sentence(client, tenant, speaker, field, value, says):
    say(client, speaker, field, **value)

    (line,) = news_of(tenant)
    assert says in line.sentence
    assert not line.unknown
    assert {account_news.NEWS, account_news.UNKNOWN} <= health.known_events()


def test_whatever_the_facts_are_there_is_a_sentence():
    for topic in ("account", "number", "name", "review", "security", "alert", "capability", "error", "new", None):
        assert words.sentence({"topic": topic})
