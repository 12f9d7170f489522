"""A provider stops an account: nothing is lost, nothing burnt, and it goes on by itself once it is mended."""

import pytest
import requests
from sqlalchemy import select, update

from tests import factories
from tests.services.health_world import (
    account_of,
    account_story,
    approve,
    attempts_of,
    breaker_of,
    far,
    look_now,
    make_due,
    message_of,
    outbox_of,
    queue,
    settle,
)
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.errors import Invalid, NotFound
from wa_dashboard.models import AuditEntry, Outbox, TemplateApproval
from wa_dashboard.providers.base import Outcome, TemplateStatusItem
from wa_dashboard.services import accounts, breakers, delivery, engine, failover, outcomes, probing, template_review

__all__ = ["far"]

EXPIRED = (401, {"error": {"code": 190, "message": "Invalid OAuth access token", "type": "OAuthException"}})
SPAM = (400, {"error": {"code": 131048, "message": "Spam rate limit hit", "type": "OAuthException"}})


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


@pytest.fixture
def held(tenant, template, far):
    """Twelve messages at an account whose token is refused."""
    far.answer, far.look = EXPIRED, EXPIRED
    ids = queue(tenant, template, 12)
    engine.drain(tenant.account.id)
    failover.relieve()
    return ids


def send_all(ready):
    for _ in range(12):
        failover.relieve()
        engine.drain(ready.account.id, budget_s=1)


def test_a_refused_token_holds_the_account_and_costs_no_message_anything(tenant, held, far):
    account, row = account_of(tenant.account), breaker_of(tenant.account)

    assert (account.status, account.hold_reason, row.state) == ("held", "account_stop:190", "locked")
    assert {(message_of(each).status, message_of(each).reason) for each in held} == {("queued", "account_held")}
    assert {outbox_of(each).failures for each in held} == {0}
    assert account_story(tenant.account) == ["held"]
    sent = len(far.sends)
    make_due(tenant)
    assert engine.drain(tenant.account.id) == 0
    assert len(far.sends) == sent


def test_it_is_looked_at_by_itself_with_growing_pauses_until_it_works(tenant, held, far):
    unit = delivery.pace().probe
    waits = [breakers._wait_locked(breaker_of(tenant.account)) / unit]
    for _ in range(6):
        look_now(tenant.account.id)
        assert probing.probe_due() == 0
        waits.append(breakers._wait_locked(breaker_of(tenant.account)) / unit)
    assert len(far.looks) == 6
    assert waits == [4, 8, 16, 32, 60, 60, 60]  # at the real pace: 1, 2, 4, 8 minutes, then every quarter of an hour

    far.answer, far.look = None, (200, {"id": "1"})
    look_now(tenant.account.id)
    assert probing.probe_due() == 1
    assert account_of(tenant.account).status == "active"
    send_all(tenant)

    assert {message_of(each).status for each in held} == {"accepted"}
    assert account_story(tenant.account)[:2] == ["held", "half_open"]


def test_a_person_who_presses_test_starts_it_at_once(tenant, held, far):
    with tenant_scope(tenant.id):
        probe = accounts.test_connection("user:usr_1", tenant.account.id)
    assert probe.ok is False
    assert account_of(tenant.account).status == "held"

    far.answer, far.look = None, (200, {"id": "1"})
    with tenant_scope(tenant.id):
        probe = accounts.test_connection("user:usr_1", tenant.account.id)
        audited = db.session.scalars(select(AuditEntry.action).where(AuditEntry.actor == "user:usr_1")).all()
    assert probe.ok is True
    assert list(audited) == ["account.tested", "account.tested"]
    assert account_of(tenant.account).status == "active"
    send_all(tenant)

    assert {message_of(each).status for each in held} == {"accepted"}
    assert max(len(attempts_of(each)) for each in held) <= 2


def test_new_access_data_start_it_at_once(tenant, held, far):
    far.answer, far.look = None, (200, {"id": "1"})

    with tenant_scope(tenant.id):
        probe = accounts.replace_credentials(
            "user:usr_1", tenant.account.id, {"access_token": "EAAJBnew", "app_secret": ""}
        )
    assert probe.ok
    kept = account_of(tenant.account).credentials
    assert kept["access_token"] == "EAAJBnew"
    assert kept["app_secret"] == tenant.account.credentials["app_secret"]
    send_all(tenant)

    assert {message_of(each).status for each in held} == {"accepted"}
    assert "credentials_replaced" in account_story(tenant.account)


def test_access_data_of_another_number_or_for_somebody_elses_account_are_refused(tenant, other_tenant, held):
    with tenant_scope(tenant.id):
        with pytest.raises(Invalid) as refused:
            accounts.replace_credentials("user:usr_1", tenant.account.id, {"phone_number_id": "999"})
        assert refused.value.code == "credentials_invalid"
        with pytest.raises(Invalid):
            accounts.replace_credentials("user:usr_1", tenant.account.id, {"nonsense": "x"})
        with pytest.raises(NotFound):
            accounts.replace_credentials("user:usr_1", other_tenant.account.id, {"access_token": "x"})
        with pytest.raises(NotFound):
            accounts.test_connection("user:usr_1", other_tenant.account.id)
    assert account_of(other_tenant.account).credentials == other_tenant.account.credentials


def test_the_same_trouble_again_costs_one_message_one_attempt(tenant, held, far):
    """The look passes (a token is fine, a payment is missing): one message finds out, and keeps its tries."""
    far.answer, far.look = EXPIRED, (200, {"id": "1"})
    before = len(far.sends)
    look_now(tenant.account.id)
    assert probing.probe_due() == 1

    engine.drain(tenant.account.id)

    assert len(far.sends) == before + 1
    row = breaker_of(tenant.account)
    assert (row.state, row.probe_token, row.evidence["looks"]) == ("locked", None, 1)
    assert account_of(tenant.account).status == "held"
    assert {outbox_of(each).failures for each in held} == {0}


def test_a_spam_limit_rests_a_quarter_of_an_hour_first(tenant, template, far):
    far.answer = SPAM
    (message_id,) = queue(tenant, template)
    engine.drain(tenant.account.id)

    row = breaker_of(tenant.account)
    assert (row.state, account_of(tenant.account).hold_reason) == ("locked", "throttle:131048")
    assert breakers._wait_locked(row) == 60 * delivery.pace().probe
    assert account_of(tenant.account).slowed == 1.0
    assert (message_of(message_id).reason, outbox_of(message_id).failures) == ("account_held", 0)


def test_an_open_breaker_whose_look_is_refused_becomes_a_hold(tenant, template, far):
    settle(tenant, template, [Outcome("not_sent", "network", "network", "refused", scope="provider")] * 10)
    far.look = EXPIRED
    look_now(tenant.account.id)

    assert probing.probe_due() == 0

    assert (breaker_of(tenant.account).state, account_of(tenant.account).status) == ("locked", "held")


@pytest.mark.parametrize("ready", ["meta_cloud"], indirect=True)
def test_against_the_simulator_a_changed_token_stops_and_the_new_one_resumes(client, ready, simulator, until, work):
    """R28 end to end: 190 holds, is mended, resumes; every order arrives once."""
    changed = {**ready.account.credentials, "access_token": "EAAJBchanged"}
    body = {"provider": "meta_cloud", "credentials": changed, "webhook_url": accounts.webhook_url(ready.account)}
    assert requests.put(f"{simulator}/_sim/accounts", json=body, timeout=5).ok
    ids = []
    for number in range(5):
        order = factories.order(f"A-{number}", phone=f"+4070000010{number}")
        answer = client.post("/api/wa/send/confirm", json=order, headers=ready.headers)
        assert answer.status_code == 202, answer.json
        ids.append(answer.json["message"]["id"])
    engine.drain(ready.account.id)
    assert account_of(ready.account).hold_reason == "account_stop:190"
    assert {message_of(each).status for each in ids} == {"queued"}

    with tenant_scope(ready.id):
        assert accounts.replace_credentials("user:usr_1", ready.account.id, {"access_token": "EAAJBchanged"}).ok

    def all_arrived():
        work()
        return all(message_of(each).status in ("delivered", "read") for each in ids)

    until(all_arrived)
    lines = requests.get(f"{simulator}/_sim/ledger", timeout=5).text
    assert [lines.count(each) for each in ids] == [1] * 5


@pytest.mark.parametrize(
    ("hours_ago", "code", "held"), [(0, "131042", True), (0, "131026", False), (2, "131042", False)]
)
def test_a_receipt_that_tells_of_a_missing_payment_holds_after_the_first(tenant, template, far, hours_ago, code, held):
    from wa_dashboard.providers.base import Fault, StatusItem
    from wa_dashboard.services import news

    (message_id,) = queue(tenant, template)
    engine.drain(tenant.account.id)
    scope, error_class = ("account", "account_stop") if code == "131042" else ("recipient", "recipient")
    item = StatusItem(
        key="k",
        at=clock.in_seconds(-3600 * hours_ago - 1),
        correlation_id=f"{message_id}.1",
        external_id=None,
        status="failed",
        error=Fault(error_class, code, "no", scope),
    )

    with tenant_scope(tenant.id), transaction():
        news.apply(tenant.account, item, clock.now())

    waits = code == "131042"  # the message is not to blame: it goes again once the account is mended
    assert message_of(message_id).status == ("queued" if waits else "failed")
    assert (account_of(tenant.account).status == "held") is held


# --- templates --------------------------------------------------------------------------------------------------


def test_what_waited_for_a_template_goes_as_soon_as_it_is_approved_again(tenant, template, far):
    other = factories.make_template(tenant, name="reminder", status="paused")
    far.answer = (400, {"error": {"code": 132015, "message": "Template is paused", "type": "OAuthException"}})
    (message_id,) = queue(tenant, template)
    (waits,) = queue(tenant, other, first=1)
    engine.drain(tenant.account.id)
    assert {message_of(each).reason for each in (message_id, waits)} == {"template_unavailable"}
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(TemplateApproval).values(status="paused"))

    far.answer = None
    with tenant_scope(tenant.id), transaction():
        external = db.session.scalar(
            select(TemplateApproval.external_id).where(TemplateApproval.template_id == template.id)
        )
        news = TemplateStatusItem(
            key="k",
            at=clock.in_seconds(5),
            external_id=external,
            name=None,
            language=None,
            change="status",
            status="approved",
        )
        assert template_review.apply_news(tenant.account, news)
    assert message_of(message_id).reason is None
    assert message_of(waits).reason == "template_unavailable"
    assert engine.drain(tenant.account.id) == 1

    assert (message_of(message_id).status, outbox_of(message_id)) == ("accepted", None)
    assert (message_of(waits).status, outbox_of(waits).failures) == ("queued", 0)


def test_a_template_released_at_one_account_leaves_the_others_rows_alone(tenant, template):
    second = factories.make_account(tenant.tenant, "twilio")
    approve(tenant, template, second, status="paused")
    (here,), (there,) = queue(tenant, template), queue(tenant, template, first=1, account=second)
    with tenant_scope(tenant.id), transaction():
        for each in (here, there):
            outcomes.hold_message(each, "template_unavailable", "paused")

    with tenant_scope(tenant.id):
        assert outcomes.release_template(template.id, second.id) == 1

    with tenant_scope(tenant.id):
        assert db.session.scalars(select(Outbox.message_id).where(Outbox.next_at > outbox_of(there).next_at)).all() == [
            here
        ]
