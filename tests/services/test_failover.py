"""R29: another account stands in when nothing can have been sent, and only then. A drill says so beforehand."""

import pytest
from sqlalchemy import func, select, update

from tests import factories
from tests.services.health_world import (
    DOWN,
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
    standby_far,
    story_of,
)
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.domain import story
from wa_dashboard.errors import NotFound
from wa_dashboard.models import AccountEvent, Message, Outbox, ProviderAccount, Tenant
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import accounts, breakers, engine, failover, probing, recovery, waiting

__all__ = ["far", "standby_far"]

BUSY = Outcome("not_sent", "transient", "131016", "busy", scope="provider")
UNCLEAR = Outcome("ambiguous", "ambiguous", "no_answer", "ReadTimeout", scope="provider")
KEY = Outcome("rejected", "account_stop", "190", "token", scope="account")


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


@pytest.fixture
def standby(tenant, template):
    """A second sender, at Twilio, with the very same template approved."""
    account = factories.make_account(tenant.tenant, "twilio")
    with tenant_scope(tenant.id), transaction():
        db.session.execute(
            update(ProviderAccount)
            .where(ProviderAccount.id == account.id)
            .values(priority=200, label="Twilio (rezervă)")
        )
    approve(tenant, template, account)
    return account_of(account)


@pytest.fixture
def strangers_standby(other_tenant):
    """Somebody else's healthy account, which must never be used."""
    return factories.make_account(other_tenant.tenant, "twilio")


# --- one message ------------------------------------------------------------------------------------------------


def test_a_definite_no_goes_at_once_through_the_other_account(
    tenant, template, standby, far, standby_far, strangers_standby
):
    far.answer = DOWN
    (message_id,) = queue(tenant, template)

    engine.drain(tenant.account.id)
    assert outbox_of(message_id).account_id == standby.id
    assert message_of(message_id).provider == "twilio"
    engine.drain(standby.id)

    message = message_of(message_id)
    assert (message.status, message.account_id, message.attempts) == ("accepted", standby.id, 2)
    assert [(a.attempt_no, a.account_id) for a in attempts_of(message_id)] == [(1, tenant.account.id), (2, standby.id)]
    assert len(far.sends) == len(standby_far.sends) == 1
    assert f"{message_id}.2" in standby_far.sends[0].replace("%3D", "=")
    assert "switched_over" in story_of(message_id)
    said = story.sentence("switched_over", {"from": "meta_cloud", "to": "twilio"})
    assert "Twilio" in said
    assert "Meta" in said
    assert account_story(tenant.account) == ["switched_over"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("close", "uncertain"),
        ((502, {}), "uncertain"),
        ((500, {"error": {"code": 131000, "message": "x"}}), "uncertain"),
        ((400, {"error": {"code": 131026, "message": "x"}}), "failed"),
        ((400, {"error": {"code": 131049, "message": "x"}}), "queued"),
        ((400, {"error": {"code": 130429, "message": "x"}}), "queued"),
        ((400, {"error": {"code": 132015, "message": "x"}}), "queued"),
    ],
)
def test_a_doubt_or_a_no_about_the_message_never_changes_account(
    tenant, template, standby, far, standby_far, answer, status
):
    far.answer = answer
    (message_id,) = queue(tenant, template)

    engine.drain(tenant.account.id)
    engine.drain(standby.id)
    failover.relieve()
    engine.drain(standby.id)

    assert message_of(message_id).status == status
    assert message_of(message_id).account_id == tenant.account.id
    assert standby_far.sends == []


@pytest.mark.parametrize("missing", ["template", "consent of the tenant", "mode", "health", "held"])
def test_without_a_fit_standby_it_waits_where_it_is(tenant, template, standby, far, standby_far, missing):
    with tenant_scope(tenant.id), transaction():
        if missing == "template":
            from wa_dashboard.models import TemplateApproval

            approvals = update(TemplateApproval).where(TemplateApproval.account_id == standby.id)
            db.session.execute(approvals.values(status="paused"))
        elif missing == "consent of the tenant":
            db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(failover=False))
        elif missing == "mode":
            db.session.execute(update(ProviderAccount).where(ProviderAccount.id == standby.id).values(live=True))
        elif missing == "held":
            breakers.lock(standby, KEY)
    if missing == "health":
        settle(tenant, template, [BUSY] * 10, first=50, account=standby)
        with tenant_scope(tenant.id), transaction():
            from sqlalchemy import delete

            db.session.execute(delete(Outbox))
        assert breaker_of(standby).state == "open"
    far.answer = DOWN
    (message_id,) = queue(tenant, template)

    engine.drain(tenant.account.id)

    assert (message_of(message_id).status, message_of(message_id).reason) == ("queued", "retrying")
    assert outbox_of(message_id).account_id == tenant.account.id
    assert standby_far.sends == []


def test_two_accounts_in_trouble_do_not_play_ball(tenant, template, standby, far, standby_far):
    far.answer = DOWN
    standby_far.answer = (503, {"code": 20503, "message": "unavailable", "status": 503})
    (message_id,) = queue(tenant, template)

    engine.drain(tenant.account.id)
    engine.drain(standby.id)

    assert outbox_of(message_id).account_id == standby.id
    assert message_of(message_id).reason == "retrying"
    assert outbox_of(message_id).failures == 2
    assert len(far.sends) == 1


# --- the whole queue --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["open", "held", "disabled"])
def test_what_waits_moves_when_its_account_stops(
    tenant, other_tenant, template, standby, trouble, monkeypatch, strangers_standby
):
    monkeypatch.setattr(waiting, "CHUNK", 7)
    theirs = queue(other_tenant, factories.make_template(other_tenant), 2)
    unknown = factories.make_template(tenant, name="reminder", type="reminder")
    ids = queue(tenant, template, 20)
    stays = queue(tenant, unknown, 3, first=30)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Outbox).where(Outbox.message_id == ids[0]).values(state="sending"))
        db.session.execute(update(Outbox).where(Outbox.message_id == ids[1]).values(state="uncertain"))
        db.session.execute(update(Outbox).where(Outbox.message_id == ids[2]).values(state="claimed"))
        db.session.execute(update(Message).where(Message.id == ids[3]).values(possible_duplicate=True))
        if trouble == "held":
            breakers.lock(tenant.account, KEY)
        elif trouble == "disabled":
            db.session.execute(
                update(ProviderAccount).where(ProviderAccount.id == tenant.account.id).values(status="disabled")
            )
    if trouble == "open":
        with tenant_scope(tenant.id), transaction():
            row = breakers._new(tenant.account)
            breakers._open(tenant.account, row, {"failed": 10, "requests": 10})

    assert failover.relieve() == 20
    assert failover.relieve() == 0

    moved = {each for each in [*ids, *stays] if outbox_of(each).account_id == standby.id}
    assert moved == set(ids[4:])
    assert {message_of(each).account_id for each in moved} == {standby.id}
    assert all("switched_over" in story_of(each) for each in moved)
    reason = {"open": "breaker_open", "held": "account_held", "disabled": "account_disabled"}[trouble]
    message = message_of(stays[0])
    assert message.reason == reason
    assert message.reason_detail == {"standby": "Twilio (rezervă)", "missing": "reminder (ro)"}
    assert "reminder (ro)" in story.why_waiting(message.reason, message.reason_detail)
    assert message_of(ids[3]).reason == reason
    assert [outbox_of(each).account_id for each in theirs] == [other_tenant.account.id] * 2
    with all_tenants("test"):
        event = db.session.scalars(select(AccountEvent).where(AccountEvent.kind == "switched_over")).one()
    assert event.detail == {"to": "Twilio (rezervă)", "count": 16}


def test_with_switching_off_everything_waits(tenant, template, standby):
    ids = queue(tenant, template, 3)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(failover=False))
        breakers.lock(tenant.account, KEY)

    failover.relieve()

    assert {outbox_of(each).account_id for each in ids} == {tenant.account.id}
    assert {message_of(each).reason for each in ids} == {"account_held"}


def test_new_messages_take_the_healthy_account_and_return_to_the_preferred_one(
    tenant, other_tenant, template, standby, far
):
    def order():
        with tenant_scope(tenant.id):
            return [account.id for account in accounts.accounts_of(tenant.tenant, live=False)]

    third = factories.make_account(tenant.tenant, "dialog360")
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(ProviderAccount).where(ProviderAccount.id == third.id).values(priority=300))
    here, second = tenant.account.id, standby.id
    assert order() == [here, second, third.id]

    settle(tenant, template, [UNCLEAR] * 10)
    assert order() == [second, third.id, here]
    with tenant_scope(tenant.id), transaction():
        breakers.lock(standby, KEY)
    assert order() == [third.id, here, second]

    look_now(here)
    probing.probe_due()
    assert order() == [third.id, here, second]  # being tried again: before what is out of order
    with tenant_scope(tenant.id), transaction():
        breakers._close(tenant.account, breakers._locked(breakers.Breaker.account_id == here))
    assert order() == [here, third.id, second]


def test_an_outage_with_a_standby_delivers_everything_once(tenant, template, standby, far, standby_far):
    far.answer, far.look = DOWN, (503, {})
    ids = queue(tenant, template, 24)

    for _ in range(6):
        engine.drain(tenant.account.id, budget_s=1)
        failover.relieve()
        engine.drain(standby.id, budget_s=1)

    assert {message_of(each).status for each in ids} == {"accepted"}
    assert {message_of(each).account_id for each in ids} == {standby.id}
    sent = "".join(standby_far.sends)
    assert [sent.count(each) for each in ids] == [1] * len(ids)
    assert {len(attempts_of(each)) for each in ids} <= {1, 2}


def test_what_was_sent_again_without_evidence_stays_with_its_account(tenant, template, standby, far, standby_far):
    """A possible duplicate must not become a certain one at another provider."""
    from wa_dashboard.domain.pace import Pace

    far.answer = "close"
    (message_id,) = queue(tenant, template)
    engine.drain(tenant.account.id)
    with tenant_scope(tenant.id), transaction():
        from wa_dashboard.db import db_now

        db.session.execute(update(Outbox).values(next_at=db_now(-1), uncertain_since=db_now(-100)))
    recovery.reap(Pace(hold=10))
    assert message_of(message_id).possible_duplicate

    far.answer = DOWN
    make_due(tenant)
    engine.drain(tenant.account.id)
    failover.relieve()
    engine.drain(standby.id)

    assert outbox_of(message_id).account_id == tenant.account.id
    assert standby_far.sends == []


# --- the drill --------------------------------------------------------------------------------------------------


def everything():
    """Every row of every table, as text."""
    db.session.commit()
    with db.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT set_config('app.tenant', '*', true)")
        return {
            table.name: sorted(map(str, connection.exec_driver_sql(f"SELECT * FROM {table.name}")))
            for table in db.metadata.sorted_tables
        }


def test_a_drill_says_what_would_happen_and_changes_nothing(tenant, other_tenant, template, standby):
    queue(other_tenant, factories.make_template(other_tenant), 4)
    unknown = factories.make_template(tenant, name="reminder", type="reminder")
    queue(tenant, template, 5)
    queue(tenant, unknown, 2, first=30)
    with tenant_scope(tenant.id), transaction():
        limits = update(ProviderAccount).where(ProviderAccount.id == standby.id)
        db.session.execute(limits.values(rate_per_second=10, tier_limit=250))
    before = everything()

    with tenant_scope(tenant.id):
        drill = failover.drill(tenant.tenant, tenant.account.id)
        said = "\n".join(drill.sentences)

    assert everything() == before
    assert len(before["wa_outbox"]) == 11
    assert (drill.moves, drill.stays, drill.ready) == (5, 2, False)
    assert [(w.template, w.count, w.to.id if w.to else None) for w in drill.waiting] == [
        ("order_confirm", 5, standby.id),
        ("reminder", 2, None),
    ]
    assert {new.type: new.to.id if new.to else None for new in drill.new} == {
        "order_confirm": standby.id,
        "reminder": None,
    }
    assert "the template reminder (ro) is not approved at Twilio (rezervă)" in said
    assert "10 messages a second, to 250 people" in said


def test_what_a_drill_promised_is_what_happens(tenant, template, standby):
    unknown = factories.make_template(tenant, name="reminder", type="reminder")
    queue(tenant, template, 5)
    queue(tenant, unknown, 2, first=30)
    with tenant_scope(tenant.id):
        drill = failover.drill(tenant.tenant, tenant.account.id)

    with tenant_scope(tenant.id), transaction():
        breakers.lock(tenant.account, KEY)
    failover.relieve()

    with tenant_scope(tenant.id):
        found = dict(db.session.execute(select(Outbox.account_id, func.count()).group_by(Outbox.account_id)).all())
    assert found == {standby.id: drill.moves, tenant.account.id: drill.stays}


def test_a_drill_without_a_second_sender_says_what_to_do(tenant, other_tenant, template, strangers_standby):
    queue(tenant, template, 2)

    with tenant_scope(tenant.id):
        drill = failover.drill(tenant.tenant, tenant.account.id)
        with pytest.raises(NotFound):
            failover.drill(tenant.tenant, other_tenant.account.id)

    assert (drill.moves, drill.stays, drill.standbys) == (0, 2, [])
    assert any("Add a second sender" in sentence for sentence in drill.sentences)
    assert "there is no second sender that works now" in "\n".join(drill.sentences)


def test_a_drill_with_everything_approved_is_ready(tenant, template, standby):
    with tenant_scope(tenant.id):
        assert failover.drill(tenant.tenant, tenant.account.id).ready
        db.session.commit()
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(failover=False))
    with tenant_scope(tenant.id):
        fresh = db.session.scalars(select(Tenant).where(Tenant.id == tenant.id)).one()
        assert not failover.drill(fresh, tenant.account.id).ready
