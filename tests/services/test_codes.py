"""Codes: any number of guesses at once, ends, erasure, what a person says who asked for none."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from flask import current_app
from sqlalchemy import event, select

from tests.support import codes as seen
from tests.support.codes import PHONE, code_in, everything_stored, rows, sealed, wrong
from tests.support.webhooks import Speaker
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.domain import codes as rules
from wa_dashboard.domain.pace import Pace
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank, Status
from wa_dashboard.errors import Conflict, RateLimited
from wa_dashboard.models import AccountEvent, Attempt, AuditEntry, Code, Message, MessageEvent, Outbox
from wa_dashboard.providers.base import Fault, Outcome, StatusItem
from wa_dashboard.services import (
    code_ends,
    codes,
    deciding,
    delivery,
    invariants,
    lifecycle,
    receipts,
    recovery,
    requeueing,
    settlement,
    tenants,
)
from wa_dashboard.services.tenants import Caller

NUMBER = to_e164(PHONE)


@pytest.fixture
def shop(tenant):
    seen.make_template(tenant)
    return tenant


@pytest.fixture
def caller(shop):
    return caller_of(shop)


@pytest.fixture
def stranger(other_tenant):
    """Somebody else, with a code to the same number."""
    seen.make_template(other_tenant)
    return send(caller_of(other_tenant))


def caller_of(ready, live=False):
    return Caller(ready.tenant, "key_1", live, frozenset(tenants.SCOPES))


def send(caller, purpose="login", phone=NUMBER):
    with tenant_scope(caller.tenant.id):
        return codes.send(caller, codes.CodeWish(phone, purpose))


def check(caller, code, purpose="login", phone=NUMBER):
    with tenant_scope(caller.tenant.id):
        return codes.verify(caller, phone, purpose, code)


def code_of(made):
    return code_in(made.sent.message.id)


def at_once(app, count, work):
    """The results of so many calls from eight threads, each with its own connection."""

    def one(number):
        with app.app_context():
            try:
                return work(number)
            finally:
                db.session.remove()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def message(message_id):
    with all_tenants("a test looks"):
        return db.session.scalars(
            select(Message).where(Message.id == message_id), execution_options={"populate_existing": True}
        ).one()


def kinds_of(message_id):
    with all_tenants("a test looks"):
        return set(db.session.scalars(select(MessageEvent.kind).where(MessageEvent.message_id == message_id)))


class TestAtOnce:
    def test_fifty_guesses_are_five_checks(self, app, caller, stranger):
        code = code_of(send(caller))

        found = at_once(app, 50, lambda _: check(caller, wrong(code)))

        assert sorted(each.reason for each in found) == ["too_many_checks"] * 45 + ["wrong_code"] * 5
        assert sorted(each.checks_left for each in found if each.reason == "wrong_code") == [0, 1, 2, 3, 4]
        mine = next(row for row in rows() if row.tenant_id == caller.tenant.id)
        assert (mine.checks, mine.state, mine.code_hash) == (5, "blocked", None)
        assert check(caller, code).reason == "too_many_checks"
        assert next(row.checks for row in rows() if row.tenant_id != caller.tenant.id) == 0

    def test_the_right_code_is_right_for_one_of_many(self, app, caller):
        code = code_of(send(caller))

        found = at_once(app, 16, lambda _: check(caller, code))

        assert [each.verified for each in found].count(True) == 1
        assert {each.reason for each in found if not each.verified} == {"used"}

    def test_many_requests_at_once_are_one_code(self, app, caller):
        def ask(_):
            try:
                return send(caller).id
            except RateLimited as refusal:
                return refusal.code

        found = at_once(app, 12, ask)

        assert sorted(found)[1:] == ["code_too_soon"] * 11
        assert len(rows()) == 1
        with all_tenants("a test looks"):
            assert len(db.session.scalars(select(Message.id)).all()) == 1

    def test_the_share_of_the_hour_holds_at_once(self, app, caller, monkeypatch):
        from dataclasses import replace

        settings = replace(app.extensions["wa_settings"], codes_per_hour=7)
        monkeypatch.setitem(app.extensions, "wa_settings", settings)

        def ask(number):
            try:
                return send(caller, phone=to_e164(f"+407221230{number:02d}")).id[:3]
            except RateLimited as refusal:
                return refusal.code

        assert sorted(at_once(app, 20, ask)) == ["cod"] * 7 + ["codes_exhausted"] * 13


class TestTheSameWork:
    def test_a_known_and_an_unknown_number_cost_the_same_statements(self, caller, stranger):
        code = code_of(send(caller))

        known = statements_of(lambda: check(caller, wrong(code)))
        unknown = statements_of(lambda: check(caller, code, phone=to_e164("+40722999888")))
        elsewhere = statements_of(lambda: check(caller, code, purpose="checkout"))

        assert known == unknown == elsewhere
        assert len(known) > 1

    def test_it_reckons_the_same(self, caller, monkeypatch):
        code = code_of(send(caller))
        made = []
        kept = codes.security.keyed_hash
        monkeypatch.setattr(codes.security, "keyed_hash", lambda *parts: made.append(parts) or kept(*parts))

        check(caller, wrong(code))
        known = len(made)
        check(caller, code, phone=to_e164("+40722999888"))

        assert known == len(made) - known == 2

    def test_a_hash_belongs_to_its_row_and_organisation(self, caller, stranger):
        mine = send(caller)
        theirs = next(row for row in rows() if row.id == stranger.id)
        with tenant_scope(caller.tenant.id), transaction():
            row = db.session.scalars(select(Code).where(Code.id == mine.id)).one()
            row.code_hash = theirs.code_hash
            db.session.flush()

        assert check(caller, code_of(stranger)).verified is False


def statements_of(work):
    found = []

    def note(_connection, _cursor, statement, *_):
        found.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    return found


class TestEnds:
    def test_a_code_that_arrived_is_erased_and_still_counts(self, caller, shop):
        made = send(caller)
        code = code_of(made)
        deliver(shop, made.sent.message.id, "delivered")

        assert code_ends.sweep() == 1

        assert sealed(made.sent.message.id) is None
        assert check(caller, code).verified is True

    @pytest.mark.parametrize("status", ["failed", "read"])
    def test_so_is_one_that_ended_otherwise(self, caller, shop, status):
        made = send(caller)
        deliver(shop, made.sent.message.id, status)

        code_ends.sweep()

        assert sealed(made.sent.message.id) is None

    def test_while_the_message_may_need_it_it_stays(self, caller, shop, stranger):
        made = send(caller)
        assert code_ends.sweep() == 0
        deliver(shop, made.sent.message.id, "sent")

        assert code_ends.sweep() == 0

        assert sealed(made.sent.message.id) is not None
        assert sealed(stranger.sent.message.id) is not None

    def test_time_ends_it_and_leaves_nothing(self, caller):
        made = send(caller)
        with clock.at(clock.now() + timedelta(minutes=10, seconds=1)):
            assert code_ends.sweep() == 1
            (row,) = rows()
            assert (row.state, row.code_hash, row.ended_at) == ("expired", None, row.expires_at)
            assert sealed(made.sent.message.id) is None
            assert code_ends.sweep() == 0
        with clock.at(clock.now() + timedelta(hours=2, minutes=11)):
            assert code_ends.sweep() == 1
        assert rows() == []

    def test_a_message_that_waits_expires_with_its_code(self, caller):
        made = send(caller)
        with all_tenants("a test"), transaction():
            db.session.scalars(select(Outbox)).one().expires_at = db_now(-1)
            db.session.flush()

        recovery.reap(Pace())

        assert message(made.sent.message.id).status == "expired"
        code_ends.sweep()
        assert sealed(made.sent.message.id) is None
        assert invariants.check()[1] is None

    def test_a_doubt_ends_with_the_code(self, caller, shop):
        made = send(caller)
        message_id = made.sent.message.id
        with tenant_scope(shop.id), transaction():
            now = db_now()
            db.session.add(
                Attempt(tenant_id=shop.id, message_id=message_id, attempt_no=1, account_id=shop.account.id,
                        provider=shop.account.provider, rank=int(Rank.AMBIGUOUS), started_at=clock.now())
            )  # fmt: skip
            row = db.session.scalars(select(Outbox)).one()
            row.state, row.attempt_no, row.uncertain_since = "uncertain", 1, now
            row.next_at, row.expires_at = db_now(-1), db_now(60)
            db.session.flush()
            lifecycle.move(shop.id, [message_id], Status.UNCERTAIN, "uncertain", attempts=1)
        recovery.reap(Pace())
        assert message(message_id).status == "uncertain"
        with all_tenants("a test"), transaction():
            row = db.session.scalars(select(Outbox)).one()
            row.next_at = row.expires_at = db_now(-1)
            db.session.flush()

        recovery.reap(Pace())

        assert message(message_id).status == "unconfirmed"
        code_ends.sweep()
        assert sealed(message_id) is None

    def test_an_ended_code_is_not_sent_again(self, caller, shop):
        made = send(caller)
        message_id = made.sent.message.id
        with tenant_scope(shop.id), transaction():
            lifecycle.bury(shop.id, message_id, "131026", "not on WhatsApp")
        with tenant_scope(shop.id):
            answer = requeueing.requeue(caller, [message_id])[message_id]
            decided = deciding.retry(caller, deciding.Which(False, [message_id]))
            with pytest.raises(Conflict, match="never sent again"):
                deciding.change_number(caller, message_id, to_e164("+40722999888"), agreed=True)

        assert isinstance(answer, Conflict)
        assert set(decided.refused) == {message_id}
        assert message(message_id).status == "dead_letter"

    def test_a_code_that_was_replaced_while_its_try_was_under_way_is_not_tried_again(self, caller, shop):
        made = send(caller)
        (begun,) = delivery.next_batch(delivery.open_lane(shop.account.id), 10).begun
        with clock.at(clock.now() + timedelta(seconds=31)):
            send(caller)

        with tenant_scope(shop.id):
            settlement.settle(shop.account, [(begun, Outcome("throttled", "throttled", "130429"))], Pace())

        stopped = message(made.sent.message.id)
        assert (stopped.status, stopped.reason) == ("cancelled", "code_replaced")
        assert sealed(stopped.id) is None
        with all_tenants("a test looks"):
            assert len(db.session.scalars(select(Outbox.message_id)).all()) == 1
        assert invariants.check()[1] is None

    def test_a_refused_account_brings_back_no_code_that_has_ended(self, caller, shop):
        made = send(caller)
        code = code_of(made)
        check(caller, code)
        deliver(shop, made.sent.message.id, "failed")

        with tenant_scope(shop.id), transaction():
            assert lifecycle.wait_for_account(made.sent.message.id) is False


def deliver(ready, message_id, status):
    """Its first attempt, accepted, and a receipt."""
    now = clock.now()
    with tenant_scope(ready.id), transaction():
        db.session.add(
            Attempt(tenant_id=ready.id, message_id=message_id, attempt_no=1, account_id=ready.account.id,
                    provider=ready.account.provider, rank=int(Rank.ACCEPTED), started_at=now)
        )  # fmt: skip
        db.session.flush()
        error = Fault("recipient", "131026", "about 123456", "recipient") if status == "failed" else None
        item = StatusItem(key=f"k-{message_id}-{status}", at=now, correlation_id=f"{message_id}.1", external_id=None,
                          status=status, error=error)  # fmt: skip
        lifecycle.apply_receipt(ready.account, item)


class TestEchoes:
    """A provider may repeat in its complaint what it complains about."""

    def test_of_a_receipt(self, caller, shop):
        made = send(caller)

        deliver(shop, made.sent.message.id, "failed")

        assert "about ••••••" in everything_stored()
        assert "about 123456" not in everything_stored()

    def test_of_an_answer(self, caller, shop):
        made = send(caller)
        code = code_of(made)
        lane = delivery.open_lane(shop.account.id)
        (begun,) = delivery.next_batch(lane, 10).begun
        outcome = Outcome("rejected", "request", "100", f"Parameter {code} is wrong")

        with tenant_scope(shop.id):
            settlement.settle(shop.account, [(begun, outcome)], Pace())

        assert message(made.sent.message.id).error_detail == "Parameter •••••• is wrong"
        assert code not in everything_stored()


class TestDisowned:
    def press(self, client, ready, payload="DID_NOT_REQUEST_CODE", reply_to=None):
        speaker = Speaker(ready.account)
        said = {"from": PHONE[1:], "id": "wamid.IN9", "timestamp": str(int(clock.now().timestamp())), "type": "button",
                "button": {"payload": payload, "text": "I didn't request a code"}}  # fmt: skip
        said |= {"context": {"id": reply_to}} if reply_to else {}
        assert speaker.json(speaker.envelope(messages=[said])).to(client).status_code == 200
        receipts.process()

    def test_who_asked_for_no_code_stops_it(self, client, caller, shop, stranger):
        made, other = send(caller), send(caller, "checkout")
        code = code_of(made)

        self.press(client, shop)

        states = {row.id: row.state for row in rows()}
        assert states == {made.id: "blocked", other.id: "blocked", stranger.id: "live"}
        assert check(caller, code).reason == "no_code"
        assert "code_disowned" in kinds_of(made.sent.message.id)
        assert message(made.sent.message.id).status == "cancelled"
        assert sealed(made.sent.message.id) is None
        with tenant_scope(shop.id):
            assert db.session.scalars(select(AccountEvent.kind)).all() == ["code_disowned"]
            entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "code.disowned")).one()
            assert entry.actor.startswith("contact:con_")
            assert set(entry.detail["codes"]) == {made.id, other.id}
            assert PHONE[1:] not in json.dumps(entry.detail)

    def test_it_is_written_down_after_the_code_was_used_too(self, client, caller, shop):
        made = send(caller)
        code = code_of(made)
        with tenant_scope(shop.id), transaction():
            db.session.add(
                Attempt(tenant_id=shop.id, message_id=made.sent.message.id, attempt_no=1, account_id=shop.account.id,
                        provider="meta_cloud", rank=int(Rank.ACCEPTED), started_at=clock.now(), external_id="wamid.C")
            )  # fmt: skip
        assert check(caller, code).verified is True

        self.press(client, shop, reply_to="wamid.C")

        assert {"code_used", "code_disowned"} <= kinds_of(made.sent.message.id)

    def test_another_button_stops_nothing(self, client, caller, shop):
        made = send(caller)

        self.press(client, shop, payload="HELP")

        assert [row.state for row in rows()] == ["live"]
        assert sealed(made.sent.message.id) is not None


class TestRules:
    def test_codes_are_six_digits_and_differ(self):
        found = {rules.new_code() for _ in range(500)}

        assert all(len(code) == 6 and code.isascii() and code.isdigit() for code in found)
        assert len(found) > 450
        assert any(code.startswith("0") for code in found)

    def test_hiding_leaves_other_numbers(self):
        assert rules.hide("code 123456, try 3, id 1234567") == "code ••••••, try 3, id 1234567"


@contextmanager
def moved(seconds):
    with clock.at(clock.now() + timedelta(seconds=seconds)):
        yield


def test_the_limit_of_the_hour_slides(caller, stranger):
    for number in range(5):
        with moved(number * 600):
            send(caller, f"p{number}")
    with moved(3300), pytest.raises(RateLimited) as refused:
        send(caller, "p5")

    assert refused.value.code == "code_limit"
    assert 250 < refused.value.retry_after <= 300
    with moved(3605):
        send(caller, "p5")
    with moved(3610), pytest.raises(RateLimited):
        send(caller, "p6")


def test_the_installations_secret_is_needed_to_guess(caller):
    made = send(caller)
    code, row = code_of(made), rows()[0]
    settings = current_app.extensions["wa_settings"]

    parts = ("wa_codes", caller.tenant.id, made.id, code)
    assert row.code_hash == codes.security.keyed_hash(settings.secret_key, *parts)
    assert row.code_hash != codes.security.keyed_hash("another secret of the same form", *parts)
