"""Consent: recorded once, in a chain, in effect at once; STOP and START as people write them."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from wa_dashboard import clock
from wa_dashboard.db import TenantScopeMissing, db, end_read, in_transaction, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import PURPOSE_OF, MessageType
from wa_dashboard.errors import Invalid
from wa_dashboard.models import (
    Attempt,
    AuditEntry,
    ChainHead,
    ConsentEvent,
    Contact,
    Event,
    Message,
    OptIn,
    Outbox,
    ProviderAccount,
    Schedule,
)
from wa_dashboard.providers.base import InboundItem, PreferenceItem
from wa_dashboard.services import consent
from wa_dashboard.services.consent import ConsentRequest

ANA = "+40722123456"
DAN = "+40733987654"
NOW = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)
ALL = {"transactional", "reminder", "marketing"}


@pytest.fixture(autouse=True)
def noon():
    with clock.at(NOW):
        yield


@pytest.fixture
def house(tenant):
    """The tenant, with its scope open."""
    with tenant_scope(tenant.id):
        yield tenant


def said(status="opted_in", phone=ANA, **changes):
    request = ConsentRequest(
        phone=to_e164(phone),
        status=status,
        source="checkout",
        purposes=sorted(ALL) if status == "opted_in" else None,
        wording_id="wa-consent-v3",
    )
    return replace(request, **changes)


def record(house, *arguments, **changes):
    return consent.record(house.tenant, said(*arguments, **changes), "key:key_1")


def state(house, phone=ANA):
    return consent.state_of(consent.find_contact(house.tenant, phone).id)


def only_in(state):
    return {purpose for purpose, status in state.items() if status == "opted_in"}


def events():
    return db.session.scalar(select(func.count()).select_from(ConsentEvent))


def waiting(house, contact, kind="order_confirm", outbox="queued", external_id=None):
    """A message of this kind that is on its way: queued, claimed or sending; or accepted, with ``external_id``."""
    now, purpose = clock.now(), PURPOSE_OF[MessageType(kind)]
    message_id = new_id("msg")
    shown = "accepted" if external_id else {"queued": "queued", "claimed": "queued"}.get(outbox, outbox)
    with transaction():
        message = Message(
            id=message_id, tenant_id=house.id, live=False, type=kind, purpose=purpose, lane="normal", policy="evidence",
            dedupe_key=message_id, contact_id=contact.id, to_masked=contact.phone_masked, market="RO", status=shown,
            status_at=now, updated_at=now, account_id=house.account.id, external_id=external_id,
        )  # fmt: skip
        db.session.add(message)
        db.session.flush()
        if external_id:
            db.session.add(
                Attempt(
                    message_id=message_id, attempt_no=1, tenant_id=house.id, account_id=house.account.id,
                    provider="meta_cloud", rank=20, started_at=now, external_id=external_id,
                )
            )  # fmt: skip
        else:
            db.session.add(
                Outbox(
                    message_id=message_id, tenant_id=house.id, contact_id=contact.id, purpose=purpose, live=False,
                    account_id=house.account.id, priority=1, policy="evidence", state=outbox, next_at=now,
                )
            )  # fmt: skip
    return message_id


def planned(house, contact, interval="D-1", status="pending"):
    now = clock.now()
    with transaction():
        event = Event(
            id=new_id("evn"),
            tenant_id=house.id,
            ref=new_id("ref"),
            name="Hamlet",
            starts_at=now,
            timezone="Europe/Bucharest",
        )
        db.session.add(event)
        db.session.flush()
        schedule = Schedule(
            id=new_id("sch"), tenant_id=house.id, event_id=event.id, contact_id=contact.id, live=False,
            interval=interval, natural_key=new_id("nat"), send_at=now, zone="Europe/Bucharest", zone_source="event",
            status=status, updated_at=now,
        )  # fmt: skip
        db.session.add(schedule)
    return schedule.id


def status_of(model, row_id):
    return db.session.scalar(select(model.status).where(model.id == row_id))


# --- contacts ---------------------------------------------------------------------------------------------------


def test_a_contact_is_made_once_and_learns(house):
    first = consent.contact_for(house.tenant, to_e164(ANA), first_name="Ana")
    again = consent.contact_for(house.tenant, to_e164("+40 722 123 456"), locale="ro-RO", timezone="Europe/Bucharest")
    assert first.id == again.id
    assert (again.first_name, again.locale, again.timezone, again.market) == ("Ana", "ro-RO", "Europe/Bucharest", "RO")
    assert again.phone == ANA
    assert consent.contact_for(house.tenant, to_e164(ANA), first_name="Ana Maria").first_name == "Ana Maria"


def test_the_number_cannot_be_read_in_the_database(house):
    consent.contact_for(house.tenant, to_e164(ANA))
    row = db.session.execute(select(Contact.phone_index, Contact.phone_masked, Contact.phone_sealed)).one()
    assert all("722123" not in str(value) and b"722123" not in str(value).encode() for value in row)


def test_twenty_at_once_make_one_contact(app, house):
    def make(_):
        with app.app_context(), tenant_scope(house.id):
            return consent.contact_for(house.tenant, to_e164(ANA)).id

    end_read()
    with ThreadPoolExecutor(20) as threads:
        assert len(set(threads.map(make, range(20)))) == 1


def test_whatsapp_may_report_another_spelling_of_the_number(house):
    mexican = consent.contact_for(house.tenant, to_e164("+525512345678"))
    assert consent.find_contact(house.tenant, "+5215512345678").id == mexican.id
    assert consent.find_contact(house.tenant, "+525512345679") is None


# --- what is recorded -------------------------------------------------------------------------------------------


def test_an_opt_in_is_recorded_with_its_proof(house):
    result = record(house, purposes=["marketing"], evidence={"ip": "203.0.113.7"}, claimed_by={"type": "customer"})
    assert result.state == {"transactional": "unknown", "reminder": "unknown", "marketing": "opted_in"}
    (event,) = result.events
    assert (event.applied, event.changed, event.seq) == (True, True, 1)
    stored = db.session.scalars(select(ConsentEvent)).one()
    assert (stored.wording_id, stored.source, stored.occurred_at) == ("wa-consent-v3", "checkout", NOW)
    assert stored.actor == {"type": "customer", "by": "key:key_1"}
    assert stored.evidence == {"ip": "203.0.113.7"}
    assert b"203.0.113.7" not in stored.evidence_sealed
    assert consent.verify(house.id) is None


def test_an_opt_out_without_purposes_means_all(house):
    record(house)
    result = record(house, "opted_out", occurred_at=NOW)
    assert set(result.state.values()) == {"opted_out"}
    assert len(result.events) == 3


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"purposes": None}, "/consent/purposes", "purposes_missing"),
        ({"purposes": []}, "/consent/purposes", "purposes_missing"),
        ({"occurred_at": NOW + timedelta(minutes=5, seconds=1)}, "/consent/occurred_at", "occurred_at_in_future"),
        ({"occurred_at": datetime(1999, 1, 1, tzinfo=UTC)}, "/consent/occurred_at", "occurred_at_too_old"),
        ({"wording_id": None}, "/consent/wording_id", "proof_missing"),
        ({"source": "import", "occurred_at": NOW}, "/consent/source_ref", "proof_missing"),
        ({"source": "import", "source_ref": "list.csv:7"}, "/consent/occurred_at", "proof_missing"),
    ],
)
def test_what_is_refused_leaves_nothing(house, changes, pointer, code):
    with pytest.raises(Invalid) as refused:
        consent.record(house.tenant, said(**changes), "key:key_1", at="/consent")
    assert [(finding.pointer, finding.code) for finding in refused.value.findings] == [(pointer, code)]
    assert events() == 0
    assert consent.find_contact(house.tenant, ANA) is None


def test_evidence_is_proof_too_and_orders_need_none(house):
    record(house, wording_id=None, evidence={"form_url": "https://x.example/checkout"})
    record(house, phone=DAN, wording_id=None, purposes=["transactional", "reminder"])
    assert only_in(state(house)) == ALL
    assert only_in(state(house, DAN)) == {"transactional", "reminder"}


def test_a_clock_that_runs_ahead_does_not_outlive_a_stop(house):
    record(house, occurred_at=NOW + timedelta(minutes=4))
    with clock.at(NOW + timedelta(minutes=1)):
        record(house, "opted_out")
        assert only_in(state(house)) == set()


# --- once -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{"source_ref": "profile-881"}, {"occurred_at": NOW - timedelta(hours=1)}])
def test_a_repetition_does_nothing(house, named):
    first = record(house, **named)
    with clock.at(NOW + timedelta(hours=1)):
        again = record(house, **named)
    assert [event.id for event in again.events] == [event.id for event in first.events]
    assert all(event.duplicate for event in again.events)
    assert not again.changed
    assert events() == 3


def test_another_source_person_status_or_purpose_is_another_event(house):
    record(house, purposes=["reminder"], source_ref="x")
    record(house, purposes=["transactional"], source_ref="x")
    record(house, purposes=["reminder"], source_ref="x", source="qr")
    record(house, purposes=["reminder"], source_ref="x", phone=DAN)
    record(house, "opted_out", purposes=["reminder"], source_ref="x")
    assert events() == 5


def test_a_repeated_yes_does_not_bring_back_what_was_withdrawn(house):
    record(house, source_ref="order-1")
    with clock.at(NOW + timedelta(minutes=1)):
        record(house, "opted_out", source="settings_page", source_ref="profile-881")
    with clock.at(NOW + timedelta(minutes=2)):
        record(house, source_ref="order-1")
        assert only_in(state(house)) == set()
        record(house, source_ref="order-1", occurred_at=NOW + timedelta(minutes=2))
        assert only_in(state(house)) == ALL


def test_a_second_no_under_the_same_name_is_never_lost(house):
    record(house, "opted_out", source_ref="profile-881")
    with clock.at(NOW + timedelta(minutes=1)):
        record(house, source_ref="profile-881-yes")
    with clock.at(NOW + timedelta(minutes=2)):
        result = record(house, "opted_out", source_ref="profile-881")
        assert result.changed
        repeated = record(house, "opted_out", source_ref="profile-881")
        assert not repeated.changed
        assert only_in(state(house)) == set()


# --- in whatever order ------------------------------------------------------------------------------------------


def test_older_news_is_kept_as_history_only(house):
    record(house, "opted_out", occurred_at=NOW - timedelta(hours=1))
    late = record(house, occurred_at=NOW - timedelta(hours=2))
    assert [event.applied for event in late.events] == [False] * 3
    assert only_in(state(house)) == set()
    assert events() == 6


@pytest.mark.parametrize("order", [("opted_in", "opted_out"), ("opted_out", "opted_in")])
def test_at_the_same_instant_the_no_wins(house, order):
    for status in order:
        record(house, status, occurred_at=NOW - timedelta(hours=1))
    assert only_in(state(house)) == set()


statements = st.lists(
    st.tuples(
        st.sampled_from(["opted_in", "opted_out"]),
        st.integers(0, 4),
        st.sampled_from(["transactional", "reminder", "marketing"]),
    ),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(history=statements, seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_the_same_events_ends_in_the_same_state(house, history, seed):
    number = random.Random(seed).sample(range(10_000_000), 2)
    orders = [history, random.Random(seed).sample(history, len(history))]
    ended = []
    with clock.at(NOW):
        for index, order in zip(number, orders, strict=True):
            for status, minutes, purpose in order:
                at = NOW - timedelta(minutes=minutes)
                record(house, status, phone=f"+4072{index:07}", purposes=[purpose], occurred_at=at)
            person = consent.find_contact(house.tenant, f"+4072{index:07}")
            recomputed = {purpose: (each.status, each.at) for purpose, each in consent.recompute(person.id).items()}
            stored = {p: (each.status, each.at) for p, each in consent.states_of([person.id])[person.id].items()}
            assert recomputed == stored
            ended.append(stored)
    assert ended[0] == ended[1]


# --- the chain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"status": "opted_out"}, {"purpose": "marketing"}, {"wording_id": "other"}, {"source": "staff"},
        {"occurred_at": NOW - timedelta(days=1)}, {"actor": {"by": "somebody"}}, {"applied": True},
    ],
)  # fmt: skip
def test_a_changed_event_is_named(house, change):
    for number in range(3):
        record(house, purposes=["reminder"], source_ref=f"r{number}")
    assert consent.verify(house.id) is None
    with transaction():
        db.session.execute(update(ConsentEvent).where(ConsentEvent.seq == 2).values(**change))
    assert consent.verify(house.id)[1:] == (2, "changed")


def test_twenty_threads_keep_the_chain_dense_and_intact(app, house):
    start = NOW - timedelta(hours=1)
    end_read()

    def say(number):
        rng = random.Random(number)
        with app.app_context(), clock.at(NOW), tenant_scope(house.id):
            for step in range(4):
                record(
                    house,
                    rng.choice(["opted_in", "opted_out"]),
                    phone=rng.choice([ANA, DAN]),
                    occurred_at=start + timedelta(seconds=number * 10 + step),
                )

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(say, range(20)))
    assert consent.verify(house.id) is None
    assert db.session.scalars(select(ConsentEvent.seq).order_by(ConsentEvent.seq)).all() == list(range(1, 241))
    assert db.session.scalar(select(ChainHead.seq).where(ChainHead.chain == "consent")) == 240
    for person in db.session.scalars(select(Contact)):
        stored = consent.states_of([person.id])[person.id]
        assert {p: e.weight for p, e in consent.recompute(person.id).items()} == {
            p: e.weight for p, e in stored.items()
        }


def test_an_undone_transaction_leaves_no_link(house):
    with pytest.raises(ZeroDivisionError), transaction():
        record(house)
        raise ZeroDivisionError
    assert events() == 0
    record(house)
    assert consent.verify(house.id) is None


# --- opting out takes effect ------------------------------------------------------------------------------------


def test_an_opt_out_cancels_what_waits_in_the_same_transaction(house):
    person = record(house).contact
    order, claimed, promo = (
        waiting(house, person), waiting(house, person, outbox="claimed"), waiting(house, person, "promo"),
    )  # fmt: skip
    leaving = waiting(house, person, "reminder", outbox="sending")
    reminder, done = planned(house, person), planned(house, person, "D-3", status="dispatched")
    with clock.at(NOW + timedelta(minutes=1)):
        result = record(house, "opted_out")
    assert (result.cancelled_messages, result.cancelled_schedules) == (3, 1)
    assert {status_of(Message, each) for each in (order, claimed, promo)} == {"cancelled"}
    assert db.session.scalars(select(Message.reason).where(Message.id == promo)).one() == "opted_out"
    assert db.session.scalars(select(Outbox.message_id)).all() == [leaving]
    assert db.session.scalar(select(Message.cancel_requested).where(Message.id == leaving)) is True
    assert (status_of(Schedule, reminder), status_of(Schedule, done)) == ("cancelled", "dispatched")
    assert db.session.scalar(select(Schedule.reason).where(Schedule.id == reminder)) == "opted_out"


def test_only_the_purposes_refused_and_only_this_person(house):
    ana, dan = record(house).contact, record(house, phone=DAN).contact
    order, promo, his = waiting(house, ana), waiting(house, ana, "promo"), waiting(house, dan, "promo")
    reminder = planned(house, ana)
    with clock.at(NOW + timedelta(minutes=1)):
        result = record(house, "opted_out", purposes=["marketing"])
    assert (result.cancelled_messages, result.cancelled_schedules) == (1, 0)
    assert [status_of(Message, each) for each in (order, promo, his)] == ["queued", "cancelled", "queued"]
    assert status_of(Schedule, reminder) == "pending"


def test_reminders_that_lived_under_the_order_go_with_it(house):
    person = record(house, purposes=["transactional"]).contact
    waits, reminder = waiting(house, person, "reminder"), planned(house, person)
    with clock.at(NOW + timedelta(minutes=1)):
        record(house, "opted_out", purposes=["transactional"])
    assert (status_of(Message, waits), status_of(Schedule, reminder)) == ("cancelled", "cancelled")


def test_an_opt_out_from_the_past_cancels_nothing(house):
    person = record(house).contact
    waits = waiting(house, person)
    result = record(house, "opted_out", occurred_at=NOW - timedelta(days=1))
    assert (result.cancelled_messages, status_of(Message, waits)) == (0, "queued")


def test_what_is_undone_with_the_transaction_is_still_waiting(house):
    person = record(house).contact
    waits = waiting(house, person)
    with pytest.raises(ZeroDivisionError), clock.at(NOW + timedelta(minutes=1)), transaction():
        assert record(house, "opted_out").cancelled_messages == 1
        raise ZeroDivisionError
    assert status_of(Message, waits) == "queued"


def test_the_verdict_and_its_words(house):
    person = record(house, purposes=["transactional"]).contact
    assert consent.verdict(house.tenant, person.id, "transactional") is None
    assert consent.verdict(house.tenant, person.id, "reminder") is None
    no = consent.verdict(house.tenant, person.id, "marketing")
    assert (no.reason, consent.skip_sentence(no.reason, no.detail)) == ("not_opted_in", "has not agreed to promotions")
    hear(house, "Stop.", at=NOW)
    no = consent.verdict(house.tenant, person.id, "reminder")
    assert consent.skip_sentence(no.reason, no.detail) == "opted out on 20 Nov 2026 by WhatsApp reply Stop."


def test_a_locked_verdict_holds_off_an_opt_out(app, house):
    """The begin transaction's promise: nothing starts after an opt-out committed (durability.md §0.9)."""
    person = record(house).contact
    order = []

    def opt_out():
        with app.app_context(), clock.at(NOW + timedelta(minutes=1)), tenant_scope(house.id):
            record(house, "opted_out")
            order.append("opted out")

    end_read()
    with ThreadPoolExecutor(1) as threads:
        with transaction():
            assert consent.verdict(house.tenant, person.id, "marketing", lock=True) is None
            other = threads.submit(opt_out)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.5)
            order.append("began")
        other.result(timeout=20)
    assert order == ["began", "opted out"]


def test_batches_and_workers_about_to_send_never_wait_for_each_other_in_a_ring(app, house):
    """Both lock states first, by key, then what waits: else PostgreSQL would end one of the two."""
    phones = [f"+4072200{number:04}" for number in range(30)]
    people = [record(house, phone=phone, occurred_at=NOW - timedelta(days=1)).contact.id for phone in phones]
    for phone in phones:
        waiting(house, consent.find_contact(house.tenant, phone))
    end_read()

    def report(number):
        rng = random.Random(number)
        with app.app_context(), clock.at(NOW), tenant_scope(house.id):
            for step in range(3):
                status, at = rng.choice(["opted_in", "opted_out"]), NOW - timedelta(minutes=number * 10 + step)
                batch = [said(status, phone, occurred_at=at) for phone in rng.sample(phones, len(phones))]
                consent.record_many(house.tenant, batch, "key:key_1", at=[""] * len(batch))

    def begin(number):
        with app.app_context(), tenant_scope(house.id):
            for _ in range(8):
                with transaction():
                    ids = random.Random(number).sample(people, 20)
                    consent.states_of(ids, lock=True)
                    db.session.execute(
                        update(Outbox).where(Outbox.contact_id.in_(ids)).values(lease_token=f"lse_{number}"),
                        execution_options={"synchronize_session": False},
                    )

    with ThreadPoolExecutor(8) as threads:
        under_way = [threads.submit(work, number) for number in range(4) for work in (report, begin)]
        for each in under_way:
            each.result(timeout=60)
    assert consent.verify(house.id) is None


# --- STOP and START ---------------------------------------------------------------------------------------------

_numbers = iter(range(1_000_000))


def item(text=None, at=NOW, phone=ANA, **changes):
    wamid = changes.pop("external_id", f"wamid.{next(_numbers)}")
    said_at = at.replace(microsecond=0)
    return InboundItem(
        key=f"inbound:{wamid}", at=said_at, external_id=wamid, from_phone=phone, text=text, **changes
    )  # fmt: skip


def hear(house, text=None, at=NOW, **changes):
    with clock.at(at):
        return consent.hear(house.account, item(text, at, **changes))


def later(minutes):
    return NOW + timedelta(minutes=minutes)


def test_stop_ends_promotions_and_reminders(house):
    person = record(house).contact
    promo, order, reminder = waiting(house, person, "promo"), waiting(house, person), planned(house, person)
    answer = hear(house, "STOP", at=later(1))
    assert answer["did"] == "opted_out"
    assert answer["purposes"] == ["marketing", "reminder"]
    assert answer["cancelled"] == {"messages": 1, "schedules": 1}
    assert only_in(state(house)) == {"transactional"}
    assert [status_of(Message, promo), status_of(Message, order)] == ["cancelled", "queued"]
    assert status_of(Schedule, reminder) == "cancelled"
    event = consent.history(person.id)[-1]
    assert (event.source, event.evidence["word"]) == ("whatsapp_reply", "STOP")


def test_stop_all_and_a_second_stop_end_everything(house):
    record(house)
    record(house, phone=DAN)
    hear(house, "stop tot", at=later(1))
    assert only_in(state(house)) == set()
    hear(house, "STOP", at=later(1), phone=DAN)
    assert only_in(state(house, DAN)) == {"transactional"}
    hear(house, "stop", at=later(2), phone=DAN)
    assert only_in(state(house, DAN)) == set()


def test_a_second_stop_after_thirty_days_is_a_first_again(house):
    record(house)
    hear(house, "STOP", at=later(1))
    hear(house, "STOP", at=later(1) + timedelta(days=31))
    assert only_in(state(house)) == {"transactional"}


def test_a_stop_in_the_second_of_the_yes_wins(house):
    record(house)  # at 12:00:00.25; the STOP of 12:00:00.9 is reported as 12:00:00
    hear(house, "STOP", at=NOW + timedelta(milliseconds=650))
    assert only_in(state(house)) == {"transactional"}


def test_start_brings_back_what_stop_took(house):
    record(house)
    hear(house, "STOP ALL", at=later(1))
    answer = hear(house, "start", at=later(2))
    assert (answer["did"], set(answer["purposes"])) == ("opted_in", ALL)
    assert only_in(state(house)) == ALL


def test_start_invents_no_consent(house):
    record(house, purposes=["transactional"])
    assert hear(house, "START", at=later(1))["did"] == "noted"
    assert only_in(state(house)) == {"transactional"}
    hear(house, "STOP", at=later(2))
    hear(house, "START", at=later(3))
    assert state(house)["marketing"] == "opted_out"  # they had never agreed to promotions


def test_start_does_not_undo_an_opt_out_made_elsewhere(house):
    record(house)
    with clock.at(later(1)):
        record(house, "opted_out", source="settings_page")
    hear(house, "START", at=later(2))
    assert only_in(state(house)) == set()


def test_a_start_in_the_simulator_does_not_undo_a_real_stop(house):
    record(house)
    real = ProviderAccount(id=house.account.id, tenant_id=house.id, provider="meta_cloud", live=True)
    with clock.at(later(1)):
        consent.hear(real, item("STOP", later(1)))
    hear(house, "START", at=later(2))
    assert only_in(state(house)) == {"transactional"}
    with clock.at(later(3)):
        consent.hear(real, item("START", later(3)))
    assert only_in(state(house)) == ALL


def test_the_same_message_is_heard_once(house):
    record(house)
    hear(house, "STOP", at=later(1), external_id="wamid.A")
    again = hear(house, "STOP", at=later(1), external_id="wamid.A")
    assert (again["did"], again["reason"]) == ("ignored", "repeated")
    assert only_in(state(house)) == {"transactional"}
    hear(house, "START", at=later(2), external_id="wamid.B")
    hear(house, "STOP", at=later(1), external_id="wamid.A")
    assert only_in(state(house)) == ALL


def test_old_posts_do_not_flip_consent(house):
    record(house, occurred_at=NOW - timedelta(days=20))
    with clock.at(NOW):
        nine_days = consent.hear(house.account, item("STOP", NOW - timedelta(days=9)))
    assert (nine_days["did"], nine_days["reason"]) == ("ignored", "too_old")
    record(house, "opted_out", source="settings_page")
    with clock.at(later(1)):
        consent.hear(house.account, item("START", NOW - timedelta(days=1)))
        consent.hear(house.account, item("STOP", NOW - timedelta(days=2)))
    assert only_in(state(house)) == set()


def test_a_stop_older_than_the_newest_yes_is_history(house):
    record(house)
    with clock.at(later(1)):
        answer = consent.hear(house.account, item("STOP", NOW - timedelta(hours=1)))
    assert answer["purposes"] == []
    assert only_in(state(house)) == ALL
    assert events() == 5


@pytest.mark.parametrize("text", ["nonstop", "stop la intrare?", "stop te rog"])
def test_a_near_miss_changes_nothing_and_is_noted(house, text):
    person = record(house).contact
    assert hear(house, text, at=later(1))["did"] == "near_miss"
    assert only_in(state(house)) == ALL
    note = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "consent.near_miss")).one()
    assert note.subject == person.id
    assert text not in str(note.detail)
    assert ANA[1:] not in str(note.detail)


def test_any_message_opens_the_window(house):
    person = record(house).contact
    assert hear(house, "La ce oră începe?", at=later(1))["did"] == "noted"
    hear(house, "mersi", at=later(0))  # older, reported later
    assert consent.find_contact(house.tenant, ANA).last_inbound_at == later(1).replace(microsecond=0)
    hear(house, None, at=later(5), type="system")
    db.session.refresh(person)
    assert person.last_inbound_at == later(1).replace(microsecond=0)


@pytest.mark.parametrize(
    ("tap", "left"),
    [
        ({"button_payload": "STOP_MARKETING:summer", "text": "Nu, mulțumesc"}, {"transactional", "reminder"}),
        ({"button_payload": "Stop promotions", "text": "Stop promotions"}, {"transactional", "reminder"}),
        ({"button_payload": "7", "text": "Dezabonare"}, {"transactional"}),
        ({"button_payload": "STOP_ALL", "text": "Gata"}, set()),
        ({"button_payload": "order:1", "text": "Vezi biletul"}, ALL),
    ],
)
def test_buttons(house, tap, left):
    record(house)
    hear(house, at=later(1), type="button", **tap)
    assert only_in(state(house)) == left


def test_what_twilio_made_of_it_counts_where_we_hear_nothing(house):
    record(house)
    hear(house, "GATA", at=later(1), opt_out_type="stop")
    assert only_in(state(house)) == {"transactional"}
    hear(house, "PORNIM", at=later(2), opt_out_type="start")
    assert only_in(state(house)) == ALL
    hear(house, "HELP", at=later(3), opt_out_type="help")
    assert only_in(state(house)) == ALL


def test_a_caption_is_not_a_command(house):
    record(house)
    assert hear(house, "STOP", at=later(1), type="image")["did"] == "near_miss"
    assert only_in(state(house)) == ALL


def test_a_stranger_who_says_stop_is_remembered(house):
    answer = hear(house, "STOP", phone=DAN)
    assert (answer["did"], answer["contacts"]) == ("opted_out", [consent.find_contact(house.tenant, DAN).id])
    assert state(house, DAN)["marketing"] == "opted_out"
    assert hear(house, "START", phone="+40744111222")["reason"] == "unknown_person"
    assert hear(house, "bună", phone="+40744111222")["reason"] == "unknown_person"
    assert consent.find_contact(house.tenant, "+40744111222") is None


def test_a_stop_without_a_number_by_user_id_or_by_the_message_answered(house):
    ana = record(house).contact
    record(house, phone=DAN)
    hear(house, "bună", at=later(1), from_user_id="RO.123")  # number and id together: now we know the pair
    assert consent.find_by_user_id(house.tenant, "RO.123").id == ana.id
    hear(house, "STOP", at=later(2), phone=None, from_user_id="RO.123")
    assert only_in(state(house)) == {"transactional"}
    dan = consent.find_contact(house.tenant, DAN)
    waiting(house, dan, external_id="wamid.sent")
    answer = hear(house, "STOP", at=later(2), phone=None, from_user_id="RO.999", in_reply_to="wamid.sent")
    assert answer["contacts"] == [dan.id]
    assert only_in(state(house, DAN)) == {"transactional"}
    nobody = hear(house, "STOP", at=later(2), phone=None, from_user_id="RO.998", in_reply_to="wamid.unknown")
    assert nobody["reason"] == "unknown_person"


def test_a_stop_answering_a_message_under_another_number_counts_for_both(house):
    record(house)
    dan = record(house, phone=DAN).contact
    waiting(house, dan, external_id="wamid.sent")
    hear(house, "STOP", at=later(1), in_reply_to="wamid.sent")
    assert only_in(state(house)) == only_in(state(house, DAN)) == {"transactional"}


def test_every_spelling_of_the_number_is_stopped(house):
    for number in ("+5215512345678", "+525512345678"):
        consent.contact_for(house.tenant, replace(to_e164("+525512345678"), e164=number))
    answer = hear(house, "STOP", phone="+5215512345678")
    assert len(answer["contacts"]) == 2


# --- WhatsApp's own switch --------------------------------------------------------------------------------------


def prefer(house, value, at, phone=ANA, user_id=None):
    with clock.at(at):
        news = PreferenceItem(
            key=f"preference:{phone}:{value}:{at}",
            at=at.replace(microsecond=0),
            phone=phone,
            value=value,
            user_id=user_id,
        )
        return consent.prefer(house.account, news)


def test_metas_switch_stops_and_resumes_promotions(house):
    person = record(house).contact
    promo = waiting(house, person, "promo")
    assert prefer(house, "stop", later(1))["did"] == "opted_out"
    assert only_in(state(house)) == {"transactional", "reminder"}
    assert status_of(Message, promo) == "cancelled"
    assert consent.history(person.id)[-1].source == "meta_preference"
    assert prefer(house, "resume", later(2))["did"] == "opted_in"
    assert only_in(state(house)) == ALL


def test_resume_neither_invents_consent_nor_undoes_a_stop(house):
    record(house, purposes=["transactional"])
    prefer(house, "stop", later(1))
    assert prefer(house, "resume", later(2))["did"] == "noted"
    assert state(house)["marketing"] == "opted_out"
    record(house, phone=DAN)
    hear(house, "STOP", at=later(1), phone=DAN)
    assert prefer(house, "resume", later(2), phone=DAN)["did"] == "noted"
    assert only_in(state(house, DAN)) == {"transactional"}


def test_a_refused_promotion_is_an_opt_out_once(house):
    person = record(house).contact
    for _ in range(2):
        with clock.at(later(1)):
            consent.blocked_by_meta(house.tenant, person, at=later(1), reference="msg_1.1", account=house.account)
    assert only_in(state(house)) == {"transactional", "reminder"}
    assert events() == 4


# --- other tenants ----------------------------------------------------------------------------------------------


def test_another_tenants_person_and_history_are_out_of_reach(tenant, other_tenant):
    with tenant_scope(other_tenant.id):
        theirs = record(other_tenant).contact
        waits, reminder = waiting(other_tenant, theirs, "promo"), planned(other_tenant, theirs)
        waiting(other_tenant, theirs, external_id="wamid.theirs")
    with tenant_scope(tenant.id):
        assert consent.find_contact(tenant.tenant, ANA) is None
        assert consent.states_of([theirs.id])[theirs.id] == {}
        assert consent.history(theirs.id) == []
        assert hear(tenant, "STOP", phone=None, from_user_id="RO.1", in_reply_to="wamid.theirs")["did"] == "ignored"
        hear(tenant, "STOP ALL")
        mine = consent.find_contact(tenant.tenant, ANA)
        assert mine.id != theirs.id
        assert mine.phone_index != theirs.phone_index
        with pytest.raises(TenantScopeMissing):
            record(other_tenant, "opted_out")
    with tenant_scope(other_tenant.id):
        assert only_in(state(other_tenant)) == ALL
        assert (status_of(Message, waits), status_of(Schedule, reminder)) == ("queued", "pending")
        assert consent.verify(other_tenant.id) is None
        assert db.session.scalar(select(func.count()).select_from(OptIn)) == 3
    assert not in_transaction()
