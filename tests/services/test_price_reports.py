"""Twilio is asked about messages whose callbacks never came, and once about the price of each."""

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.services.health_world import account_story, attempts_of, far_end_at, message_of, outbox_of, story_of
from tests.support.webhooks import Speaker
from wa_dashboard.db import all_tenants, clock_of_database, db, db_now, tenant_scope, transaction
from wa_dashboard.models import Attempt, ConsentEvent, OptIn, ProviderAccount
from wa_dashboard.services import engine, price_reports, receipts

SID = "SM" + "0" * 31


class Twilio:
    """What Twilio says of each message, by its number in the order of acceptance."""

    def __init__(self, far):
        self.far = far
        self.answers = {}
        far.peek = self.peek
        self.asked = []
        self.serial = 0
        far.send = self.send

    def send(self, path, body):
        self.serial += 1
        return 201, {"sid": f"{SID}{self.serial}", "status": "queued"}

    def peek(self, path):
        sid = path.rpartition("/")[2].removesuffix(".json")
        self.asked.append(sid)
        return self.answers.get(sid[-1], (404, {"code": 20404, "message": "not found"}))

    def says(self, number, status, price=None, **more):
        self.answers[str(number)] = 200, {
            "sid": f"{SID}{number}", "status": status, "price": price, "price_unit": "USD",
            "date_created": "Wed, 25 Nov 2026 09:00:00 +0000", "date_updated": "Wed, 25 Nov 2026 09:00:07 +0000",
            "error_code": None, "error_message": None, "body": "…", **more,
        }  # fmt: skip


@pytest.fixture
def twilio(app, at_pace):
    at_pace(stuck=900.0)
    with far_end_at(app, "twilio") as far:
        yield Twilio(far)


def sender(name="Teatrul Mic", email="ana@example.org"):
    made = factories.make_tenant(name, email, "twilio")
    numbers = {"first_name": "1", "order_id": "2", "event_name": "3"}
    factories.make_template(made, external_id="HX" + "a" * 32, parameter_map=numbers)
    return made


@pytest.fixture
def house(twilio):
    return sender()


@pytest.fixture
def message_id(client, house):
    return confirm(client, house)


def confirm(client, ready, order_id="A-1"):
    answer = client.post("/api/wa/send/confirm", json=factories.order(order_id), headers=ready.headers)
    assert answer.status_code == 202, answer.json
    engine.drain(ready.account.id)
    return answer.json["message"]["id"]


def time_is_up():
    with all_tenants("test"), transaction():
        db.session.execute(update(Attempt).where(Attempt.ask_at.is_not(None)).values(ask_at=db_now(-1)))


def older(seconds):
    with all_tenants("test"), transaction():
        db.session.execute(update(Attempt).values(started_at=db_now(-seconds)))


def ask_at(message_id):
    return attempts_of(message_id)[0].ask_at


def test_nobody_is_asked_before_a_quarter_of_an_hour(twilio, message_id):
    assert message_of(message_id).status == "accepted"
    assert ask_at(message_id) is not None

    assert price_reports.ask_due() == 0
    assert twilio.asked == []


def test_a_message_without_callbacks_settles_by_asking_and_has_its_price(client, twilio, house, message_id):
    twilio.says(1, "delivered", "-0.00750")
    time_is_up()

    assert price_reports.ask_due() == 1

    message = message_of(message_id)
    assert (message.status, message.reported_micros, message.reported_currency) == ("delivered", 7500, "USD")
    assert message.delivered_at.isoformat() == "2026-11-25T09:00:07+00:00"
    assert attempts_of(message_id)[0].receipt_seen is False, "what we asked for says nothing of webhooks"
    assert "looked_up" in story_of(message_id)
    time_is_up()
    assert price_reports.ask_due() == 0, "once is enough"
    shown = client.get(f"/api/wa/messages/{house.id}/{message_id}", headers=house.headers).json["cost"]
    assert (shown["reported"], shown["reported_currency"]) == ("0.0075", "USD")


def test_a_price_that_is_not_there_yet_is_asked_for_again_a_few_times(twilio, message_id):
    twilio.says(1, "delivered")
    asked = 0
    for age in (900, 4500, 26_000, 200_000):
        older(age)
        time_is_up()
        asked += price_reports.ask_due()

    assert asked == 3
    assert (message_of(message_id).reported_micros, ask_at(message_id)) == (None, None)
    assert story_of(message_id).count("looked_up") == 1


def test_the_pauses_grow(twilio, message_id):
    twilio.says(1, "sent")
    waits = []
    for age in (900, 4500):
        older(age)
        time_is_up()
        price_reports.ask_due()
        with all_tenants("test"):
            waits.append(round((ask_at(message_id) - clock_of_database()).total_seconds(), -2))
    assert waits == [3600, 21_600]
    assert message_of(message_id).status == "sent"


def test_a_receipt_that_comes_later_counts_once_and_never_lowers(client, twilio, house, message_id):
    twilio.says(1, "delivered", "-0.005")
    time_is_up()
    price_reports.ask_due()
    before = story_of(message_id)

    speaker = Speaker(house.account)
    for status in ("sent", "delivered", "sent"):
        speaker.receipt(status, f"{message_id}.1", f"{SID}1").to(client)
    while receipts.process():
        pass

    message = message_of(message_id)
    assert (message.status, message.reported_micros) == ("delivered", 5000)
    assert [kind for kind in story_of(message_id) if kind not in before] == ["sent"]
    assert attempts_of(message_id)[0].receipt_seen is True


def test_a_failure_found_by_asking_says_why(twilio, message_id):
    twilio.says(1, "undelivered", "0", error_code=63024, error_message="Invalid message recipient")
    time_is_up()

    price_reports.ask_due()

    message = message_of(message_id)
    assert (message.status, message.error_code, message.reported_micros) == ("failed", "63024", 0)


def test_a_paused_template_found_by_asking_holds_the_message(twilio, message_id):
    twilio.says(1, "failed", error_code=63041, error_message="Template paused")
    time_is_up()

    price_reports.ask_due()

    message = message_of(message_id)
    assert (message.status, message.reason) == ("queued", "template_unavailable")
    assert outbox_of(message_id).state == "queued"


def test_a_person_who_opted_out_at_twilio_is_remembered(twilio, house, message_id):
    twilio.says(1, "failed", error_code=63014, error_message="blocked")
    time_is_up()

    price_reports.ask_due()

    with tenant_scope(house.id):
        state = db.session.scalars(select(OptIn.status).where(OptIn.purpose == "marketing")).one()
        event = db.session.scalars(select(ConsentEvent).where(ConsentEvent.purpose == "marketing")).one()
    assert (state, event.source, event.source_ref) == ("opted_out", "meta_preference", message_id)


def test_what_twilio_does_not_know_is_asked_once(twilio, message_id):
    time_is_up()

    assert price_reports.ask_due() == 1
    assert (message_of(message_id).status, ask_at(message_id)) == ("accepted", None)


def test_another_organisations_account_in_trouble_stops_nobody(client, twilio, house, message_id):
    other = sender("Alt organizator", "other@example.org")
    foreign = confirm(client, other)
    with tenant_scope(other.id), transaction():
        db.session.execute(
            update(ProviderAccount).where(ProviderAccount.id == other.account.id).values(credentials_sealed=b"lost")
        )
    twilio.says(1, "read", "-0.005")
    time_is_up()

    assert price_reports.ask_due() == 1

    assert (message_of(message_id).status, message_of(foreign).status) == ("read", "accepted")
    assert message_of(foreign).reported_micros is None
    assert price_reports.ask_due() == 0, "not again at once"


def test_twilio_that_is_away_is_asked_later_with_nothing_lost(twilio, house, message_id):
    twilio.answers["1"] = 503, {"code": 20503, "message": "unavailable"}
    time_is_up()
    assert price_reports.ask_due() == 0
    assert price_reports.ask_due() == 0
    assert len(twilio.asked) == 1

    twilio.says(1, "delivered", "-0.005")
    time_is_up()
    assert price_reports.ask_due() == 1
    assert message_of(message_id).reported_micros == 5000
    assert account_story(house.account) == []


@pytest.mark.parametrize(
    ("price", "unit", "micros"),
    [("-0.00750", "USD", 7500), ("-0.0239", "eur", 23_900), ("0", "USD", 0), (None, "USD", None), ("much", "USD", None),
     ("-1", "", None), ("NaN", "USD", None), ("-1e99", "USD", None)],
)  # fmt: skip
def test_prices_as_twilio_writes_them(twilio, message_id, price, unit, micros):
    twilio.says(1, "delivered", price, price_unit=unit)
    older(200_000)
    time_is_up()

    price_reports.ask_due()

    assert message_of(message_id).reported_micros == micros
