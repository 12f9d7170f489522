"""Processes killed (SIGKILL) in the middle of sending, and what is known of their messages a moment later."""

import json
import time

import pytest
from sqlalchemy import select

from tests import factories
from tests.support import children, queued
from wa_dashboard.db import all_tenants, db
from wa_dashboard.models import Attempt, Message, Outbox
from wa_dashboard.services import aftermath, engine, invariants

COUNT = 5


@pytest.fixture
def pace(app):
    return app.extensions["wa_pace"]


@pytest.fixture
def waiting(app, far_end):
    """Messages of two organisers, in two lanes of one process."""
    made = [factories.make_tenant(name=f"t{n}", email=f"t{n}@example.org") for n in range(2)]
    return [queued.queue(ready, factories.make_template(ready), queued.people(ready, COUNT)) for ready in made]


def look():
    """(message status, outbox state, last attempt's outcome and code) of every message, counted."""
    found = {}
    with all_tenants("a test looks"):
        outbox = {row.message_id: row.state for row in db.session.execute(select(Outbox.message_id, Outbox.state))}
        attempts = {
            row.message_id: (row.outcome, row.error_code)
            for row in db.session.execute(
                select(Attempt.message_id, Attempt.outcome, Attempt.error_code).order_by(Attempt.attempt_no)
            )
        }
        for message_id, status in db.session.execute(select(Message.id, Message.status)):
            found[message_id] = (str(status), outbox.get(message_id), attempts.get(message_id))
        db.session.rollback()
    return found


def journals(app):
    return list((app.extensions["wa_settings"].data_dir / "journal").glob("*.journal"))


def finish(app, far_end, *, times=1):
    """The rest is sent; in the end everything was accepted, and every message arrived so often."""
    far_end.latency = 0.0
    engine.serve(5.0)
    assert {status for status, _, _ in look().values()} == {"accepted"}
    arrived = far_end.message_ids()
    assert len(set(arrived)) == 2 * COUNT
    assert max(arrived.count(message_id) for message_id in arrived) == times
    assert invariants.check()[1] is None


def test_killed_with_a_claim_in_hand(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F2=kill")
    assert {state for _, state, _ in look().values()} == {"claimed", "queued"}

    assert aftermath.clear_up(pace) == COUNT

    assert set(look().values()) == {("queued", "queued", None)}
    assert journals(app) == []
    finish(app, far_end)


def test_killed_when_attempts_were_written_down_and_nothing_had_left(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F4=kill")
    assert ("sending", "sending", (None, None)) in look().values()

    assert aftermath.clear_up(pace) == COUNT

    found = set(look().values())
    assert found == {("queued", "queued", None), ("queued", "queued", ("not_sent", "never_left"))}
    assert far_end.arrivals == []
    finish(app, far_end)


def test_killed_when_some_had_left_only_these_are_doubts(app, far_end, waiting, pace):
    far_end.latency = 30.0
    children.killed(app, lambda: engine.serve(5.0), "F6=kill@3")
    time.sleep(0.3)

    aftermath.clear_up(pace)

    found = look()
    doubts = {message_id for message_id, (status, _, _) in found.items() if status == "uncertain"}
    assert len(doubts) == 3
    assert set(far_end.message_ids()) <= doubts
    assert {found[message_id] for message_id in doubts} == {("uncertain", "uncertain", ("ambiguous", "worker_ended"))}
    assert {status for message_id, (status, _, _) in found.items() if message_id not in doubts} == {"queued"}
    assert invariants.check()[1] is None


def test_killed_just_before_the_note_of_the_second_only_the_first_is_a_doubt(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F5=kill@2")
    time.sleep(0.3)

    aftermath.clear_up(pace)

    doubts = [message_id for message_id, (status, _, _) in look().items() if status == "uncertain"]
    assert set(far_end.message_ids()) <= set(doubts)
    assert len(doubts) == 1


def test_killed_with_answers_that_were_not_settled_yet(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F7b=kill")
    before = look()
    assert "accepted" not in {status for status, _, _ in before.values()}

    aftermath.clear_up(pace)

    found = look()
    accepted = {message_id for message_id, (status, _, _) in found.items() if status == "accepted"}
    assert accepted
    assert accepted <= set(far_end.message_ids())
    assert {found[message_id] for message_id in accepted} == {("accepted", None, ("accepted", None))}
    with all_tenants("a test looks"):
        ids = dict(db.session.execute(select(Message.id, Message.external_id).where(Message.id.in_(accepted))).all())
        db.session.rollback()
    assert ids == {message_id: f"wamid.{message_id}.1" for message_id in accepted}
    assert invariants.check()[1] is None


def test_killed_while_clearing_up_leaves_the_rest_for_the_next(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F7b=kill")
    children.killed(app, lambda: aftermath.clear_up(pace), "F7b=kill")
    assert len(journals(app)) == 1
    children.start(app, lambda: aftermath.clear_up(pace))

    aftermath.clear_up(pace)

    end = time.monotonic() + 10
    while journals(app) and time.monotonic() < end:
        time.sleep(0.05)
    assert "accepted" in {status for status, _, _ in look().values()}
    assert invariants.check()[1] is None


def change_machine(app, machine):
    (path,) = journals(app)
    lines = path.read_bytes().split(b"\n")
    lines[0] = json.dumps({"made": machine}).encode()
    path.write_bytes(b"\n".join(lines))


def test_after_a_power_cut_what_is_not_in_the_journal_is_a_doubt(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F4=kill")
    change_machine(app, "this-host/before-the-power-cut")

    aftermath.clear_up(pace)

    found = list(look().values())
    assert found.count(("uncertain", "uncertain", ("ambiguous", "worker_ended"))) == COUNT
    assert found.count(("queued", "queued", None)) == COUNT


def test_what_a_living_process_has_in_hand_is_left_alone(app, far_end, waiting, pace):
    far_end.latency = 1.5
    child = children.start(app, lambda: engine.serve(5.0))
    end = time.monotonic() + 10
    while len(far_end.arrivals) < 2 * COUNT and time.monotonic() < end:
        time.sleep(0.02)
    before = look()

    assert aftermath.clear_up(pace) == 0

    assert look() == before
    assert {status for status, _, _ in before.values()} == {"sending"}
    assert children.end_of(child) == 0
    finish(app, far_end)


def test_without_its_journal_the_leases_decide(app, far_end, waiting, pace):
    children.killed(app, lambda: engine.serve(5.0), "F4=kill")
    (path,) = journals(app)
    path.unlink()

    assert aftermath.clear_up(pace) == 0

    assert ("sending", "sending", (None, None)) in look().values()
