"""The loop that sends, judged at the far end: who waits for whom, how much is taken on, what is never lost."""

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError

from tests import factories
from tests.support import children, queued
from wa_dashboard import queues
from wa_dashboard.db import all_tenants, db, is_postgresql, tenant_scope, transaction
from wa_dashboard.models import Attempt, Message, MessageEvent, Outbox, ProviderAccount
from wa_dashboard.services import engine, invariants, lane, lifecycle, recovery


def organiser(number=0, **settings):
    made = factories.make_tenant(name=f"t{number}", email=f"t{number}@example.org", **settings)
    return made, factories.make_template(made)


def number_of(ready):
    return ready.account.credentials["phone_number_id"]


def statuses(ready=None):
    with all_tenants("a test looks"):
        wanted = select(Message.status, func.count()).group_by(Message.status)
        if ready is not None:
            wanted = wanted.where(Message.tenant_id == ready.id)
        found = {str(status): count for status, count in db.session.execute(wanted).all()}
        db.session.rollback()
    return found


def column(wanted):
    with all_tenants("a test looks"):
        found = db.session.scalars(wanted).all()
        db.session.rollback()
    return found


def beside(app, work):
    """Run ``work`` in a thread of its own, in the application's context."""

    def run():
        with app.app_context():
            try:
                work()
            finally:
                db.session.remove()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# --- lanes ------------------------------------------------------------------------------------------------------


def test_far_end_that_hangs_holds_up_its_own_lane_only(app, far_end):
    made = [organiser(number) for number in range(4)]
    for ready, template in made:
        queued.queue(ready, template, queued.people(ready, 25))
    slow = number_of(made[0][0])
    far_end.hang[slow] = 2.5

    engine.serve(2.0)

    first_late_answer = min(at for number, at in far_end.answered if number == slow)
    others = [arrival.at for arrival in far_end.arrivals if arrival.number != slow]
    assert len(others) == 75
    assert max(others) < first_late_answer
    assert all(statuses(ready) == {"accepted": 25} for ready, _ in made)  # what was begun is waited for


def test_lane_whose_credentials_cannot_be_opened_stops_no_other(app, far_end, caplog):
    made = [organiser(number) for number in range(3)]
    for ready, template in made:
        queued.queue(ready, template, queued.people(ready, 5))
    broken = made[0][0]
    with tenant_scope(broken.id), transaction():
        db.session.execute(
            update(ProviderAccount).values(credentials_sealed=b"sealed with a key that is gone"),
            execution_options={"synchronize_session": False},
        )
    db.session.remove()

    engine.serve(3.0)

    assert [statuses(ready) for ready, _ in made] == [{"queued": 5}, {"accepted": 5}, {"accepted": 5}]
    assert "lane_broke" in caplog.text


def test_wake_up_is_heard_while_lingering(app, far_end):
    ready, template = organiser()
    contacts = queued.people(ready, 1)
    asked = []

    def order():
        time.sleep(1.2)
        queued.queue(ready, template, contacts)
        asked.append(time.monotonic())
        queues.nudge(queues.Job.DRAIN, ready.account.id)

    thread = beside(app, order)
    engine.serve(3.0, linger=True)
    thread.join()

    assert len(far_end.arrivals) == 1
    assert far_end.arrivals[0].at - asked[0] < 0.7  # looking alone takes up to a second


# --- who goes first ---------------------------------------------------------------------------------------------


def test_order_overtakes_two_thousand_promotions(app, far_end):
    ready, template = organiser()
    promo = factories.make_template(ready, "promo", type="promo")
    contacts = queued.people(ready, 500)
    for _ in range(4):
        queued.queue(ready, promo, contacts, "promo")
    far_end.latency = 0.01
    ordered = []

    def order():
        while len(far_end.arrivals) < 50:
            time.sleep(0.005)
        ordered.append((queued.queue(ready, template, contacts[:1])[0], len(far_end.arrivals)))
        queues.nudge(queues.Job.DRAIN, ready.account.id)

    thread = beside(app, order)
    engine.serve(30.0, stopping=lambda: ordered and ordered[0][0] in far_end.message_ids())
    thread.join()

    (message_id, before) = ordered[0]
    place = far_end.message_ids().index(message_id)
    assert place - before < 700, (before, place)
    assert statuses()["queued"] > 500


def test_promotions_move_under_a_stream_of_orders(app, far_end):
    ready, template = organiser()
    promo = factories.make_template(ready, "promo", type="promo")
    contacts = queued.people(ready, 300)
    promos = set(queued.queue(ready, promo, contacts[:20], "promo"))
    for _ in range(3):
        queued.queue(ready, template, contacts)

    engine.serve(20.0)

    places = [place for place, message_id in enumerate(far_end.message_ids()) if message_id in promos]
    assert len(far_end.arrivals) == 920
    assert places[0] < 300
    assert places[-1] < 850, places  # they do not wait for the last order


def test_never_more_than_a_claim_is_taken_on_at_once(app, far_end):
    ready, template = organiser()
    contacts = queued.people(ready, 300)
    for _ in range(2):
        queued.queue(ready, template, contacts)

    engine.serve(20.0)

    batches = Counter(column(select(Attempt.started_at)))  # one reading of the database's clock for each batch
    assert sum(batches.values()) == 600
    assert max(batches.values()) <= lane.MOST_ROWS


# --- limits, measured at the far end ----------------------------------------------------------------------------


def drained_by(app, processes, seconds):
    """So many processes send at once, for so long."""
    pids = [children.start(app, lambda: engine.serve(seconds, linger=True)) for _ in range(processes)]
    assert [children.end_of(pid) for pid in pids] == [0] * processes


@pytest.mark.parametrize("seconds", [3.0, pytest.param(150.0, marks=[pytest.mark.full, pytest.mark.timeout(240)])])
def test_eight_processes_keep_the_limit_of_a_minute(app, far_end, capsys, seconds):
    """R23."""
    ready, template = organiser(rate_per_minute=30, rate_per_hour=1000)
    queued.queue(ready, template, queued.people(ready, 120))

    drained_by(app, 8, seconds)

    with capsys.disabled():
        print(f"\nR23: 8 processes, 30 a minute: at most {far_end.most_within(60.0)} in any minute at the far end")
    assert far_end.most_within(60.0) == 30
    assert len(set(far_end.message_ids())) == len(far_end.arrivals)


def test_four_processes_keep_what_a_number_bears_in_a_second(app, far_end, capsys):
    ready, template = organiser()
    with tenant_scope(ready.id), transaction():
        db.session.execute(update(ProviderAccount).values(rate_per_second=20))
    queued.queue(ready, template, queued.people(ready, 200))

    drained_by(app, 4, 4.0)

    with capsys.disabled():
        print(f"\nR23: 4 processes, 20 a second: at most {far_end.most_within(1.0)} in any second at the far end")
    assert far_end.most_within(1.0) <= 20
    assert len(far_end.arrivals) >= 40


def test_three_processes_keep_the_wait_between_two_messages_to_one_person(app, far_end, at_pace):
    at_pace(pair=0.5)
    ready, template = organiser()
    contacts = queued.people(ready, 3)
    for _ in range(2):
        queued.queue(ready, template, contacts)

    drained_by(app, 3, 5.0)

    times = {}
    for arrival in far_end.arrivals:
        times.setdefault(arrival.to, []).append(arrival.at)
    assert [len(each) for each in times.values()] == [2, 2, 2]
    assert all(second - first >= 0.5 for first, second in times.values())


# --- stopping ---------------------------------------------------------------------------------------------------


def test_told_to_stop_it_begins_nothing_more_and_settles_what_is_under_way(app, far_end):
    ready, template = organiser()
    queued.queue(ready, template, queued.people(ready, 400))
    far_end.latency = 0.2

    engine.serve(20.0, stopping=lambda: len(far_end.arrivals) >= 10)

    found = statuses()
    assert set(found) == {"queued", "accepted"}
    assert found["accepted"] == len(far_end.arrivals) == len(column(select(Attempt.message_id)))
    assert found["accepted"] <= 2 * lane.MOST_ROWS - 1  # what was taken on before the first ten arrived
    assert set(column(select(Outbox.state))) == {"queued"}


# --- a database that goes away ----------------------------------------------------------------------------------


def cut_connections():
    """Every other connection to the database ends, as when its server is restarted."""
    with db.engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_connections_cut_while_requests_are_under_way_lose_no_answer(app, far_end):
    if not is_postgresql():
        pytest.skip("SQLite has no connections that could be cut")
    ready, template = organiser()
    ids = queued.queue(ready, template, queued.people(ready, 150))
    far_end.latency = 0.15
    cuts = []

    def cut(_):
        if len(far_end.arrivals) in (5, 60, 120):
            with app.app_context():
                cut_connections()
            cuts.append(1)

    far_end.heard = cut
    end = time.monotonic() + 20
    while statuses() != {"accepted": 150} and time.monotonic() < end:
        engine.serve(4.0)
        recovery.reap(app.extensions["wa_pace"])

    assert len(cuts) == 3
    assert sorted(far_end.message_ids()) == sorted(ids)
    assert statuses() == {"accepted": 150}
    assert invariants.check()[1] is None


def test_a_connection_that_is_lost_is_reported_as_that_and_nothing_else(app):
    if not is_postgresql():
        pytest.skip("SQLite has no connections that could be cut")
    with pytest.raises(OperationalError), all_tenants("test"):
        assert db.session.scalar(select(func.count()).select_from(Message)) == 0
        raw = db.session.connection().connection.driver_connection
        raw.close()
        db.session.scalar(select(func.count()).select_from(Message))
    db.session.rollback()


@pytest.mark.parametrize("nth", range(1, 5))
def test_commits_that_fail_while_requests_are_under_way_lose_no_answer(app, far_end, nth):
    """Each commit after the first request has left, by turns, and the two after it."""
    ready, template = organiser()
    ids = queued.queue(ready, template, queued.people(ready, 60))
    far_end.latency = 0.1
    seen = []

    def fail(_connection):
        if far_end.arrivals:
            seen.append(1)
            if nth <= len(seen) < nth + 3:
                raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    event.listen(db.engine, "commit", fail)
    try:
        end = time.monotonic() + 20
        while statuses() != {"accepted": 60} and time.monotonic() < end:
            engine.serve(2.0)
            recovery.reap(app.extensions["wa_pace"])
    finally:
        event.remove(db.engine, "commit", fail)

    assert len(seen) >= nth
    assert sorted(far_end.message_ids()) == sorted(ids)
    told = Counter(column(select(MessageEvent.message_id).where(MessageEvent.kind == "accepted")))
    assert set(told.values()) == {1}
    assert invariants.check()[1] is None


# --- cancelling under way ---------------------------------------------------------------------------------------


def test_cancelling_stops_all_that_has_not_begun_while_it_is_being_sent(app, far_end):
    ready, template = organiser()
    ids = queued.queue(ready, template, queued.people(ready, 400))
    far_end.latency = 0.03
    stopped = []

    def cancel():
        while len(far_end.arrivals) < 40:
            time.sleep(0.005)
        with tenant_scope(ready.id), transaction():
            stopped.append(lifecycle.cancel_waiting(ready.id, "cancelled_by_user", message_ids=ids))

    thread = beside(app, cancel)
    engine.serve(20.0)
    thread.join()

    found = statuses()
    assert set(found) == {"accepted", "cancelled"}
    assert found["cancelled"] == stopped[0] >= 100
    cancelled = set(column(select(Message.id).where(Message.status == "cancelled")))
    assert not cancelled & set(far_end.message_ids())
    assert column(select(Attempt.message_id).where(Attempt.message_id.in_(cancelled))) == []
    assert column(select(Outbox.message_id)) == []
