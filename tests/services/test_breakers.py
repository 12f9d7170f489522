"""The breaker: what opens it, who looks, who tries, what closes it, and what it costs the messages: nothing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from tests import factories
from tests.services.health_world import (
    DOWN,
    account_of,
    account_story,
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
from tests.support import children
from wa_dashboard.db import all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.domain import health
from wa_dashboard.domain.pace import Pace
from wa_dashboard.models import AccountEvent, Attempt, Breaker, Message, Outbox, ProviderAccount
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import breakers, delivery, engine, failover, probing, settlement, slowing, waiting

__all__ = ["far"]

OK = Outcome("accepted", external_id=None)
BUSY = Outcome("not_sent", "transient", "131016", "busy", scope="provider")
REFUSED = Outcome("not_sent", "network", "network", "refused", scope="provider")
UNCLEAR = Outcome("ambiguous", "ambiguous", "no_answer", "ReadTimeout", scope="provider")
OUTAGE = Outcome("ambiguous", "ambiguous", "131000", "Something went wrong", scope="message")


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


def taken(count):
    return [Outcome("accepted", external_id=f"wamid.{time.monotonic_ns()}.{n}") for n in range(count)]


# --- what opens it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [BUSY, REFUSED, UNCLEAR, OUTAGE])
def test_an_outage_opens_the_breaker_of_this_account_only(tenant, other_tenant, template, trouble):
    theirs = factories.make_template(other_tenant)

    settle(tenant, template, [trouble] * 10)
    settle(other_tenant, theirs, taken(3))

    row = breaker_of(tenant.account)
    assert (row.state, row.opened, row.evidence["failed"], row.evidence["requests"]) == ("open", 1, 10, 10)
    assert row.down_since is not None
    assert row.retry_at > row.changed_at
    assert account_story(tenant.account) == ["opened"]
    assert breaker_of(other_tenant.account) is None
    assert account_story(other_tenant.account) == []
    with tenant_scope(tenant.id), transaction():
        assert breakers.leave(tenant.account.id, 10).count == 0
    with tenant_scope(other_tenant.id), transaction():
        assert breakers.leave(other_tenant.account.id, 10) == breakers.Leave(10)


@pytest.mark.parametrize(
    ("good", "bad", "opens"),
    [(0, 9, False), (0, 10, True), (5, 5, True), (6, 5, False), (6, 4, False), (10, 10, True), (11, 10, False)],
)
def test_it_takes_five_failures_and_half_of_ten_requests(tenant, template, good, bad, opens):
    settle(tenant, template, [*taken(good), *[BUSY] * bad])

    assert (breaker_of(tenant.account) is not None) is opens


def test_failures_older_than_a_minute_do_not_count(tenant, template):
    settle(tenant, template, [BUSY] * 9)
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Attempt).values(started_at=db_now(-70)))

    settle(tenant, template, [BUSY] * 9, first=20)
    assert breaker_of(tenant.account) is None

    settle(tenant, template, [BUSY], first=40)
    assert breaker_of(tenant.account).state == "open"


def test_with_little_traffic_nothing_but_failures_for_a_while_is_enough(tenant, other_tenant, template):
    """Nine tries in ten minutes never make ten in one: without this they would use up the messages' tries instead."""
    theirs = factories.make_template(other_tenant)
    settle(tenant, template, [BUSY] * 4)
    settle(other_tenant, theirs, [*[BUSY] * 4, *taken(1)])
    with all_tenants("test"), transaction():
        db.session.execute(update(Attempt).values(started_at=db_now(-130)))

    settle(tenant, template, [BUSY], first=20)
    settle(other_tenant, theirs, [BUSY], first=20)

    assert breaker_of(tenant.account).state == "open"
    assert breaker_of(tenant.account).evidence["seconds"] == 600
    assert breaker_of(other_tenant.account) is None  # one got through


@pytest.mark.parametrize(
    "harmless",
    [
        Outcome("rejected", "recipient", "131026", "not on WhatsApp", scope="recipient"),
        Outcome("rejected", "template", "132015", "paused", scope="template"),
        Outcome("rejected", "request", "131009", "bad"),
        Outcome("throttled", "throttle", "130429", "slow", scope="sender"),
        Outcome("throttled", "throttle", "131056", "slow", scope="pair", retry_after=6),
        Outcome("not_sent", "transient", "131053", "media", scope="message"),
        Outcome("not_sent", "network", "self_fence", "the worker was stopped"),
        Outcome("ambiguous", "ambiguous", "lease_expired", "gone"),
    ],
)
def test_what_is_not_the_providers_health_never_opens_it(tenant, template, harmless):
    settle(tenant, template, [harmless] * 20)

    assert breaker_of(tenant.account) is None

    settle(tenant, template, [BUSY] * 20, first=30)  # the same number of the right kind does
    assert breaker_of(tenant.account).state == "open"


def test_while_all_is_well_no_breaker_is_read_or_written(tenant, template, monkeypatch):
    from sqlalchemy import event

    said = []
    listener = lambda *args: said.append(args[2])  # noqa: E731
    lane = delivery.open_lane(tenant.account.id)
    queue(tenant, template, 5)
    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 5))
        event.listen(db.engine, "before_cursor_execute", listener)
        settlement.settle(lane.account, list(zip(begun, taken(5), strict=True)), delivery.pace())
        event.remove(db.engine, "before_cursor_execute", listener)

    assert len(said) > 5
    assert not [statement for statement in said if "wa_breakers" in statement or "wa_account_events" in statement]


def test_two_workers_that_fail_together_open_it_once(app, tenant, template):
    settle(tenant, template, [BUSY] * 9)
    queue(tenant, template, 8, first=20)
    lane = delivery.open_lane(tenant.account.id)
    with tenant_scope(tenant.id):
        begun = [delivery.begin(lane, delivery.claim(lane, 2)) for _ in range(4)]
    ready = threading.Barrier(4)

    def fail(mine):
        with app.app_context(), tenant_scope(tenant.id):
            ready.wait(5)
            settlement.settle(lane.account, [(one, BUSY) for one in mine], delivery.pace())
            db.session.remove()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail, begun))

    assert breaker_of(tenant.account).opened == 1
    assert account_story(tenant.account) == ["opened"]


# --- looking ----------------------------------------------------------------------------------------------------


def test_looks_come_after_a_third_of_the_outage(app):
    unit = delivery.pace().probe
    for age, expected in [(0, unit), (unit * 3, unit), (unit * 30, unit * 10), (unit * 10_000, unit * 40)]:
        waits = [breakers._wait(age) for _ in range(200)]
        assert expected * 0.9 <= min(waits) < max(waits) <= expected * 1.1


def test_one_of_many_workers_looks(app, tenant, template, far):
    settle(tenant, template, [BUSY] * 10)
    far.look, far.slow_look = (503, {}), 0.3
    ready = threading.Barrier(4)

    def look(_):
        with app.app_context():
            ready.wait(5)
            found = probing.probe_due()
            db.session.remove()
            return found

    for turn in range(3):
        look_now(tenant.account.id)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(look, range(4))) == [0, 0, 0, 0]
        assert len(far.looks) == turn + 1
    assert far.most_looks == 1
    assert breaker_of(tenant.account).state == "open"
    assert breaker_of(tenant.account).probe_token is None


def test_a_looker_that_was_killed_is_replaced_when_its_time_is_over(tenant, template, far):
    settle(tenant, template, [BUSY] * 10)
    look_now(tenant.account.id)
    with tenant_scope(tenant.id), transaction():
        assert breakers.take_look(tenant.account.id)

    assert probing.probe_due() == 0
    assert far.looks == []

    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Breaker).values(probe_until=db_now(-1)))
    assert probing.probe_due() == 1
    assert breaker_of(tenant.account).state == "half_open"


def test_no_transaction_is_open_while_a_look_is_on_its_way(tenant, template, far):
    from wa_dashboard.db import in_transaction

    settle(tenant, template, [BUSY] * 10)
    look_now(tenant.account.id)
    seen, engine = [], db.engine
    far.peek = lambda _path: (seen.append((in_transaction(), engine.pool.checkedout())), (200, {"id": "1"}))[1]

    assert probing.probe_due() == 1
    assert seen == [(False, 0)]


# --- trying -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trying(tenant, template, far):
    """An account whose outage has just ended, with forty messages that wait."""
    ids = settle(tenant, template, [BUSY] * 10) + queue(tenant, template, 30, first=50)
    make_due(tenant)
    failover.relieve()
    look_now(tenant.account.id)
    assert probing.probe_due() == 1
    return ids


def test_one_then_two_then_four_then_eight_then_all(tenant, trying, far):
    assert breaker_of(tenant.account).state == "half_open"
    steps = []
    for _ in range(4):
        lane = delivery.open_lane(tenant.account.id)
        with tenant_scope(tenant.id):
            claimed = delivery.claim(lane, 64)
            begun = delivery.begin(lane, claimed)
            steps.append(len(begun))
            settlement.settle(lane.account, list(zip(begun, taken(len(begun)), strict=True)), delivery.pace())

    assert steps == [1, 2, 4, 8]
    assert breaker_of(tenant.account).state == "closed"
    failover.relieve()
    assert breaker_of(tenant.account) is None
    assert account_story(tenant.account) == ["opened", "half_open", "closed"]
    assert engine.drain(tenant.account.id) == 25
    assert {message_of(each).status for each in trying} == {"accepted"}


def test_results_that_come_in_pieces_climb_the_same_steps(tenant, trying):
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Breaker).values(step=4))
    lane = delivery.open_lane(tenant.account.id)
    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 64))
        token = begun[0].trial
        settlement.settle(lane.account, [(begun[0], taken(1)[0])], delivery.pace())
        assert (breaker_of(tenant.account).step, breaker_of(tenant.account).probe_token) == (4, token)
        settlement.settle(lane.account, list(zip(begun[1:], taken(3), strict=True)), delivery.pace())

    assert (breaker_of(tenant.account).step, breaker_of(tenant.account).probe_token) == (8, None)


def test_only_one_worker_tries_at_a_time(app, tenant, trying):
    ready = threading.Barrier(4)

    def ask(_):
        with app.app_context(), tenant_scope(tenant.id):
            ready.wait(5)
            with transaction():
                got = breakers.leave(tenant.account.id, 10)
            db.session.remove()
            return got

    with ThreadPoolExecutor(4) as pool:
        leaves = list(pool.map(ask, range(4)))

    assert sorted(leave.count for leave in leaves) == [0, 0, 0, 1]
    assert len([leave for leave in leaves if leave.token]) == 1


@pytest.mark.parametrize("trouble", [BUSY, REFUSED, UNCLEAR])
def test_a_trial_that_fails_opens_again_and_burns_no_try(tenant, trying, trouble):
    lane = delivery.open_lane(tenant.account.id)
    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 64))
        before = outbox_of(begun[0].message_id).failures
        settlement.settle(lane.account, [(begun[0], trouble)], delivery.pace())

    row = breaker_of(tenant.account)
    assert (row.state, row.opened, row.probe_token) == ("open", 2, None)
    assert outbox_of(begun[0].message_id).failures == before


def test_a_clear_no_about_a_message_is_a_sign_of_life(tenant, trying):
    lane = delivery.open_lane(tenant.account.id)
    no = Outcome("rejected", "recipient", "131026", "not on WhatsApp", scope="recipient")
    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 64))
        settlement.settle(lane.account, [(begun[0], no)], delivery.pace())

    assert (breaker_of(tenant.account).state, breaker_of(tenant.account).step) == ("half_open", 2)


def test_a_trial_that_finds_nothing_to_send_gives_its_token_back(tenant, template, far):
    settle(tenant, template, [UNCLEAR] * 10)
    look_now(tenant.account.id)
    probing.probe_due()

    assert engine.drain(tenant.account.id) == 0
    assert breaker_of(tenant.account).probe_token is None


def test_a_worker_that_died_trying_is_replaced(tenant, trying):
    with tenant_scope(tenant.id), transaction():
        assert breakers.leave(tenant.account.id, 10).token
    with tenant_scope(tenant.id), transaction():
        assert breakers.leave(tenant.account.id, 10).token is None
        db.session.execute(update(Breaker).values(probe_until=db_now(-1)))
        assert breakers.leave(tenant.account.id, 10).token


def test_when_nothing_waits_the_trial_ends_by_itself(tenant, template, far):
    settle(tenant, template, [UNCLEAR] * 10)
    look_now(tenant.account.id)
    probing.probe_due()
    failover.relieve()
    assert breaker_of(tenant.account).state == "half_open"

    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Breaker).values(changed_at=db_now(-60)))
    failover.relieve()

    assert breaker_of(tenant.account) is None
    assert account_story(tenant.account)[-1] == "closed"


# --- what waits -------------------------------------------------------------------------------------------------


def test_what_waits_says_why_and_is_out_of_the_way(tenant, other_tenant, template, monkeypatch):
    monkeypatch.setattr(waiting, "CHUNK", 7)
    theirs = queue(other_tenant, factories.make_template(other_tenant), 2)
    ids = settle(tenant, template, [BUSY] * 10) + queue(tenant, template, 40, first=100)
    make_due(tenant)

    assert failover.relieve() == 50
    assert failover.relieve() == 0  # nothing is written twice

    with tenant_scope(tenant.id):
        reasons = db.session.execute(select(Message.reason, func.count()).group_by(Message.reason)).all()
        due = db.session.scalar(select(func.count()).select_from(Outbox).where(Outbox.next_at <= db_now()))
        failures = db.session.scalar(select(func.max(Outbox.failures)))
    assert reasons == [("breaker_open", len(ids))]
    assert due == 0
    assert failures == 1
    assert [message_of(each).reason for each in theirs] == [None, None]


def test_an_outage_is_survived_without_a_loss(tenant, template, far, until):
    """R26 in small: everything fails, looks pass, sends do not; then the provider is back."""
    far.answer = DOWN
    ids = queue(tenant, template, 24)
    engine.drain(tenant.account.id)
    assert breaker_of(tenant.account).state == "open"
    opened_after = len(far.sends)
    began = time.monotonic()

    while time.monotonic() - began < 4:
        failover.relieve()
        engine.drain(tenant.account.id, budget_s=0.2)
        probing.probe_due()
        time.sleep(0.05)
    wasted = len(far.sends) - opened_after
    assert 1 <= wasted <= 10

    far.answer = None
    back = time.monotonic()
    while any(message_of(each).status != "accepted" for each in ids):
        assert time.monotonic() - back < 8
        failover.relieve()
        engine.drain(tenant.account.id, budget_s=1)
        probing.probe_due()
        time.sleep(0.02)
    assert len(far.sends) - opened_after - wasted == len(ids)
    assert max(len(attempts_of(each)) for each in ids) <= delivery.pace().tries + 10
    failover.relieve()
    assert breaker_of(tenant.account) is None


@pytest.mark.full
@pytest.mark.timeout(420)
def test_two_minutes_of_outage_cost_ten_requests(app, monkeypatch, tenant, template, far, capsys):
    """R26 at the real pace, four processes: what is wasted, how many look at once, what is lost, when all is back."""
    monkeypatch.setitem(app.extensions, "wa_pace", Pace())
    far.answer = DOWN
    ids = queue(tenant, template, 60)  # fewer than a minute's limit
    over = time.monotonic() + 240

    def work():
        while time.monotonic() < over and any(message_of(each).status != "accepted" for each in ids[-1:]):
            failover.relieve()
            engine.serve(1.0)
            probing.probe_due()
            time.sleep(0.5)

    pids = [children.start(app, work) for _ in range(4)]
    began = time.monotonic()
    while breaker_of(tenant.account) is None:
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    time.sleep(2.0)  # what was under way when it opened
    opened_after = len(far.sends)
    while time.monotonic() - began < 120:
        time.sleep(0.5)
    wasted, far.answer = len(far.sends) - opened_after, None
    back = time.monotonic()
    while any(message_of(each).status != "accepted" for each in ids):
        assert time.monotonic() - back < 60, [message_of(each).status for each in ids]
        time.sleep(0.5)
    recovered = time.monotonic() - back
    assert [children.end_of(pid) for pid in pids] == [0] * 4

    with capsys.disabled():
        print(
            f"\nR26: {opened_after} requests until it opened, {wasted} wasted in two minutes, {far.most_looks} look at"
            f" once, all {len(ids)} accepted {recovered:.0f} s after the end"
        )
    assert wasted <= 10
    assert far.most_looks == 1


# --- slower -----------------------------------------------------------------------------------------------------


def test_a_throttle_halves_the_speed_once_for_a_burst_and_it_comes_back(tenant, other_tenant, template):
    slow = Outcome("throttled", "throttle", "130429", "slow down", scope="sender")

    settle(tenant, template, [slow] * 8)
    assert account_of(tenant.account).slowed == 0.5
    assert account_of(other_tenant.account).slowed == 1.0

    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(ProviderAccount).values(slowed_at=db_now(-60)))
    settle(tenant, template, [slow], first=20)
    assert account_of(tenant.account).slowed == pytest.approx(0.3, abs=0.01)  # (0.5 + 0.1) / 2

    for turn in range(6):
        with tenant_scope(tenant.id), transaction():
            db.session.execute(update(ProviderAccount).values(slowed_at=db_now(-6)))
        settle(tenant, template, [slow], first=30 + turn)
    assert account_of(tenant.account).slowed == slowing.SLOWEST
    assert account_story(tenant.account) == ["slowed"]


def test_a_refusal_among_many_acceptances_slows_nobody(tenant, template):
    slow = Outcome("throttled", "throttle", "130429", "slow down", scope="sender")
    pair = Outcome("throttled", "throttle", "131056", "pair", scope="pair")

    def went(count, first):
        taken = [Outcome("accepted", external_id=f"wamid.{first + number}") for number in range(count)]
        settle(tenant, template, taken, first=first)

    went(150, 0)
    settle(tenant, template, [slow, *[pair] * 20, slow], first=200)
    assert account_of(tenant.account).slowed == 1.0  # two of 152: providers do that at any speed
    settle(tenant, template, [slow] * 3, first=300)
    assert account_of(tenant.account).slowed == 1.0  # five: fewer than one in twenty
    settle(tenant, template, [slow] * 3, first=400)
    assert account_of(tenant.account).slowed == 0.5  # eight are more


# --- in words ---------------------------------------------------------------------------------------------------


def test_every_line_of_an_accounts_story_has_its_sentence():
    import ast
    from pathlib import Path

    import wa_dashboard.services

    told = set()
    for path in Path(wa_dashboard.services.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_line") and len(node.args) > 2:
                told |= {node.args[2].value} if isinstance(node.args[2], ast.Constant) else set()

    assert {"opened", "closed", "held", "half_open", "slowed"} <= told
    assert told | {"receipts_stopped", "receipts_back"} <= health.known_events()


def test_health_says_what_is_wrong(tenant, other_tenant, template):
    def state():
        with tenant_scope(tenant.id):
            (found,) = breakers.health_of(tenant.tenant, live=False)
            db.session.commit()
        return found

    assert (state().state, str(state().word), state().sentence, state().events) == ("healthy", "Works", None, [])

    settle(tenant, template, [BUSY] * 10)
    found = state()
    assert (found.state, found.reason, found.waiting) == ("open", "transient:131016", 10)
    assert found.retry_at
    assert found.down_since
    assert found.sentence
    assert [event.kind for event in found.events] == ["opened"]
    with tenant_scope(other_tenant.id):
        (theirs,) = breakers.health_of(other_tenant.tenant, live=False)
    assert (theirs.state, theirs.waiting) == ("healthy", 0)
    with tenant_scope(tenant.id):
        assert breakers.health_of(tenant.tenant, live=True) == []
    with all_tenants("test"):
        assert db.session.scalar(select(func.count()).select_from(AccountEvent)) == 1


def test_metrics_and_doctor_name_what_is_in_trouble(client, tenant, other_tenant, template):
    from wa_dashboard.services import checkup

    settle(tenant, template, [UNCLEAR] * 10)

    said = client.get("/metrics").text
    assert 'wa_breaker_state{state="open"} 1.0' in said
    assert 'wa_breaker_state{state="closed"} 1.0' in said
    assert "wa_uncertain_age_seconds" in said
    lines = checkup._health(None)
    assert [line.ok for line in lines] == [False]
    assert tenant.account.id in lines[0].sentence
    assert "10 are unclear" in lines[0].sentence
