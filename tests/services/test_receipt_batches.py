"""Receipts by the hundred end as they would one by one: the same rows, whatever is among them and whenever we die."""

import itertools
import random
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, update

from tests import factories
from tests.services.test_receipts import EVERYTHING, all_of, at_of, one, picture, read_all, read_to_the_end
from tests.support.rows import put_in_outbox
from tests.support.webhooks import T0, Speaker, inbound, under_way
from wa_dashboard import clock, failpoints
from wa_dashboard.bench import webhook as bench
from wa_dashboard.bulk import delete_by_key, insert_table, rows_by_key, update_by_key
from wa_dashboard.db import TenantScopeMissing, all_tenants, db, is_postgresql, tenant_scope, transaction
from wa_dashboard.models import (
    Attempt,
    Message,
    MessageEvent,
    Outbox,
    ProviderAccount,
    WebhookEvent,
    WebhookItem,
)
from wa_dashboard.services import receipts

STATUSES = ("sent", "delivered", "read", "failed")
NOW = T0 + timedelta(minutes=10)


def post(speaker, said, client, time=1):
    """All these receipts in one post."""
    envelope = speaker.envelope(statuses=said)
    envelope["entry"][0]["time"] = time
    assert speaker.json(envelope).to(client).status_code == 200


def add_attempt(ready, message, number, rank, external_id=None):
    with tenant_scope(ready.id), transaction():
        attempt = Attempt(
            message_id=message.id,
            attempt_no=number,
            tenant_id=ready.id,
            account_id=ready.account.id,
            provider=ready.account.provider,
            rank=rank,
            started_at=clock.now(),
            external_id=external_id,
        )
        db.session.add(attempt)


def wait_in_outbox(ready, message, state="sending"):
    with tenant_scope(ready.id), transaction():
        put_in_outbox(message, state=state, attempt_no=1)


# --- the same end -----------------------------------------------------------------------------------------------


def cast_of(ready):
    """Twelve messages of every sort: answer stored or not, waiting or not, tried once or twice."""
    messages = []
    for number in range(12):
        message = under_way(ready, f"A-{number}", f"wamid.{number}" if number % 3 == 0 else None)
        if number % 4 == 1:
            add_attempt(ready, message, 2, 12 if number % 8 == 1 else 20, f"wamid.second.{number}")
        if number % 3:
            wait_in_outbox(ready, message)
        messages.append(message)
    return messages


def script(seed):
    """Receipts as (message, attempt, status, seconds, code, category, how it is named), some of them repeated."""
    rng = random.Random(seed)
    said = [
        (
            rng.randrange(13),  # the 13th is nobody's
            2 if rng.random() < 0.2 else 1,
            rng.choice((*STATUSES, "sent", "delivered")),
            rng.randrange(120),
            rng.choice((131026, 131049, 470, 999)),
            rng.choice((None, "utility", "marketing")),
            rng.choice(("both", "both", "ours", "theirs", "wrong")),
        )
        for _ in range(60)
    ]
    said += rng.sample(said, 20)
    rng.shuffle(said)
    return said


def spoken(speaker, messages, line):
    number, attempt, status, seconds, code, category, named = line
    ours = f"{messages[number].id}.{attempt}" if number < 12 else "msg_00000000000000000000000000.1"
    theirs = f"wamid.second.{number}" if attempt == 2 else f"wamid.{number}"
    if named == "wrong":
        ours = "msg_00000000000000000000000000.9"
    item = speaker.status(
        status,
        None if named == "theirs" else ours,
        None if named == "ours" else theirs,
        T0 + timedelta(seconds=seconds),
    )
    item.pop("pricing", None)
    if category and status != "failed":
        item["pricing"] = {"billable": seconds % 2 == 0, "category": category, "pricing_model": "PMP"}
    if status == "failed":
        item["errors"] = [{"code": code, "title": f"No {code}"}]
    return item


def values(row, without):
    kept = [column.key for column in row.__mapper__.column_attrs if column.key not in without]
    return tuple((key, str(getattr(row, key))) for key in kept)


def end_of(ready, messages):
    """All rows, with names in place of what differs between two organisers."""
    names = {message.id: f"message {number}" for number, message in enumerate(messages)}
    own = {
        "id",
        "tenant_id",
        "account_id",
        "contact_id",
        "event_id",
        "message_id",
        "created_at",
        "started_at",
        "dedupe_key",
    }
    found = []
    for model in (Message, Attempt, MessageEvent, Outbox, WebhookItem):
        for row in all_of(model, model.tenant_id == ready.id):
            without = own | {"item_key", "next_at", "detail"} if model in (Outbox, WebhookItem) else own
            whose = names.get(row.id if model is Message else row.message_id, "nobody's")
            found.append((model.__name__, whose, values(row, without)))
    return sorted(found)


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_ends_as_its_receipts_one_by_one(client, tenant, other_tenant, seed):
    with clock.at(NOW):
        singly, together = cast_of(tenant), cast_of(other_tenant)
        lines = script(seed)
        for number, line in enumerate(lines):
            speaker = Speaker(tenant.account)
            post(speaker, [spoken(speaker, singly, line)], client, number)
            read_all()
        untouched = end_of(other_tenant, together)
        speaker = Speaker(other_tenant.account)
        for number, start in enumerate(range(0, len(lines), 40)):
            post(speaker, [spoken(speaker, together, line) for line in lines[start : start + 40]], client, number)
        with counted_statements() as statements:
            read_all()

        assert end_of(tenant, singly) == end_of(other_tenant, together) != untouched
        assert {item.state for item in all_of(WebhookItem)} == {"applied", "parked"}
        assert statements["UPDATE wa_messages"] == 1  # they did go together


@pytest.mark.parametrize("length", [2, 3, 4])
def test_every_order_with_repetitions_in_one_post_ends_alike(client, tenant, length):
    speaker, said, orders = Speaker(tenant.account), [], {}
    for number, order in enumerate(itertools.permutations(STATUSES, length)):
        message = under_way(tenant, f"A-{number}")
        orders[message.id] = order
        for again, status in enumerate((*order, *reversed(order))):
            at = at_of(status) + timedelta(minutes=again // length)
            said.append(speaker.status(status, f"{message.id}.1", f"wamid.{number}", at))
    post(speaker, said, client)
    read_all()

    ends = {}
    for message in all_of(Message):
        kinds = sorted(event.kind for event in all_of(MessageEvent, MessageEvent.message_id == message.id))
        times = (message.sent_at, message.failed_at, message.delivered_at, message.read_at)
        end = (message.status, message.rank, times, message.error_code, tuple(kinds))
        ends.setdefault(frozenset(orders[message.id]), set()).add(end)
    for statuses, found in ends.items():
        [(status, _, times, _, kinds)] = found
        assert status == max(statuses, key=("sent", "failed", "delivered", "read").index)
        assert kinds == tuple(sorted(statuses))
        assert set(times) - {None} == {at_of(status) for status in statuses}


@contextmanager
def counted_statements():
    """How often each kind of statement went to the database: by its first word and table."""
    counts = Counter()

    def note(_connection, _cursor, statement, *_rest):
        words = statement.split()
        table = next((word for word in words if word.startswith("wa_")), "").split(".")[0].rstrip(",")
        counts[f"{words[0]} {table}"] += 1

    sqlalchemy_event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield counts
    finally:
        sqlalchemy_event.remove(db.engine, "before_cursor_execute", note)


def test_a_thousand_receipts_cost_a_handful_of_statements(client, tenant):
    messages = [under_way(tenant, f"A-{number}") for number in range(40)]
    speaker = Speaker(tenant.account)
    said = [
        speaker.status(status, f"{message.id}.1", f"wamid.{message.id}", at_of(status) + timedelta(seconds=again))
        for again in range(3)
        for message in messages
        for status in ("sent", "delivered", "read")
    ]
    post(speaker, said, client)
    with counted_statements() as statements:
        read_all()
    assert {item.state for item in all_of(WebhookItem)} == {"applied"}
    assert len(all_of(WebhookItem)) == len(said) == 360
    assert statements["INSERT wa_webhook_items"] == statements["UPDATE wa_attempts"] == 1
    assert statements["UPDATE wa_messages"] == statements["INSERT wa_message_events"] == 1
    assert sum(statements.values()) < 45


# --- two organisers ---------------------------------------------------------------------------------------------


def test_organisers_in_one_batch_stay_apart(client, tenant, other_tenant):
    mine, theirs = under_way(tenant, "A-1", "wamid.1"), under_way(other_tenant, "A-1", "wamid.1")
    untouched = under_way(other_tenant, "A-2", "wamid.2")
    speaker, other = Speaker(tenant.account), Speaker(other_tenant.account)
    crossing = [
        speaker.status("read", f"{mine.id}.1", "wamid.1"),
        speaker.status("failed", f"{untouched.id}.1", None),
        speaker.status("failed", None, "wamid.2"),
    ]
    post(speaker, crossing, client)
    post(other, [other.status("delivered", f"{theirs.id}.1", "wamid.1"), other.status("sent", None, "wamid.1")], client)
    read_all()

    assert one(Message, Message.id == mine.id).status == "read"
    assert one(Message, Message.id == theirs.id).status == "delivered"
    assert one(Message, Message.id == untouched.id).status == "accepted"
    states = Counter((item.tenant_id, item.state) for item in all_of(WebhookItem))
    assert states == {(tenant.id, "applied"): 1, (tenant.id, "parked"): 2, (other_tenant.id, "applied"): 2}


def test_statements_by_key_see_the_tenant_in_scope_alone(tenant, other_tenant):
    theirs = under_way(other_tenant, "A-1", "wamid.1")
    wait_in_outbox(other_tenant, theirs)
    key = [(theirs.id,)]
    with tenant_scope(other_tenant.id), transaction():
        assert len(rows_by_key(Message, ("id", "status"), ("id",), key, lock=True)) == 1
    with tenant_scope(tenant.id), transaction():
        assert rows_by_key(Message, ("id", "status"), ("id",), key, lock=True) == []
        update_by_key(Message, ("id",), ("order_id",), [(theirs.id, "stolen")])
        delete_by_key(Outbox, "message_id", [theirs.id])
        with pytest.raises(TenantScopeMissing):
            insert_table(MessageEvent, ("id",), [("evt_1",)], tenant_id=other_tenant.id)
    assert one(Message).order_id == "A-1"
    assert len(all_of(Outbox)) == 1
    with transaction(), pytest.raises(TenantScopeMissing):
        rows_by_key(Message, ("id",), ("id",), key)
    with tenant_scope(other_tenant.id), transaction():
        update_by_key(Message, ("id",), ("order_id",), [(theirs.id, "A-9")])
        delete_by_key(Outbox, "message_id", [theirs.id])
    assert one(Message).order_id == "A-9"
    assert all_of(Outbox) == []


# --- trouble ----------------------------------------------------------------------------------------------------


@contextmanager
def poison(external_id):
    """The database itself refuses whatever is to become this message."""
    name = "poison_of_a_test"
    when = f"NEW.external_id = '{external_id}'"
    raising = f"BEGIN IF {when} THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END"
    if is_postgresql():
        ddl(
            f"CREATE FUNCTION {name}() RETURNS trigger AS $$ {raising} $$ LANGUAGE plpgsql",
            f"CREATE TRIGGER {name} BEFORE UPDATE ON wa_messages FOR EACH ROW EXECUTE FUNCTION {name}()",
        )
    else:
        ddl(f"CREATE TRIGGER {name} BEFORE UPDATE ON wa_messages WHEN {when} BEGIN SELECT RAISE(ABORT, 'poison'); END")
    try:
        yield
    finally:
        if is_postgresql():
            ddl(f"DROP TRIGGER {name} ON wa_messages", f"DROP FUNCTION {name}")
        else:
            ddl(f"DROP TRIGGER {name}")


def ddl(*statements):
    db.session.remove()
    with db.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_one_poisoned_receipt_in_a_batch_harms_itself_alone(client, tenant):
    messages = [under_way(tenant, f"A-{number}") for number in range(50)]
    speaker = Speaker(tenant.account)
    post(speaker, [speaker.status("read", f"{m.id}.1", f"wamid.{n}") for n, m in enumerate(messages)], client)
    with poison("wamid.31"):
        read_all()
        assert Counter(message.status for message in all_of(Message)) == {"read": 49, "sending": 1}
        assert Counter(item.state for item in all_of(WebhookItem)) == {"applied": 49, "failed": 1}
        assert (one(WebhookEvent).state, one(WebhookEvent).tries) == ("new", 1)
        before = {event.id for event in all_of(MessageEvent)}
        read_to_the_end()
        assert (one(WebhookEvent).state, one(WebhookEvent).tries) == ("quarantined", receipts.TRIES)
        assert {event.id for event in all_of(MessageEvent)} == before
    assert receipts.replay(event_id=one(WebhookEvent).id)["applied"] == 1
    assert {message.status for message in all_of(Message)} == {"read"}
    assert one(WebhookEvent).state == "done"


def test_dying_before_a_batch_is_committed_changes_nothing(client, tenant):
    messages = [under_way(tenant, f"A-{number}") for number in range(30)]
    speaker = Speaker(tenant.account)
    post(speaker, [speaker.status("delivered", f"{m.id}.1", f"wamid.{n}") for n, m in enumerate(messages)], client)
    before = picture(*EVERYTHING)
    failpoints.arm("F10=raise")
    try:
        with pytest.raises(failpoints.Failed):
            receipts.process()
    finally:
        failpoints.arm("")
    assert picture(*EVERYTHING) == before
    assert receipts.process() == 1
    assert {message.status for message in all_of(Message)} == {"delivered"}
    after = picture(*EVERYTHING)
    assert receipts.process() == 0
    counts = receipts.replay(since=T0 - timedelta(days=1))
    assert (counts["repeated"], counts.get("applied", 0)) == (30, 0)
    assert picture(*EVERYTHING) == after


def test_a_receipt_that_claims_another_s_id_keeps_it_in_the_story_only(client, tenant):
    first, second, third = (under_way(tenant, f"A-{number}") for number in range(3))
    speaker = Speaker(tenant.account)
    post(speaker, [speaker.status("sent", f"{m.id}.1", "wamid.same") for m in (first, second)], client)
    read_all()
    # One key for both: it is the same news to the provider's mind, whoever it names.
    post(speaker, [speaker.status("read", f"{third.id}.1", "wamid.same", T0)], client, 2)
    read_all()
    owners = {attempt.message_id: attempt.external_id for attempt in all_of(Attempt)}
    assert owners == {first.id: "wamid.same", second.id: None, third.id: None}
    assert one(Message, Message.id == third.id).status == "read"


# --- the account is refused -------------------------------------------------------------------------------------


def unpaid(speaker, message, at, named=True):
    item = speaker.status("failed", f"{message.id}.1" if named else None, f"wamid.{message.id}", at)
    return item | {"errors": [{"code": 131042, "title": "Business eligibility payment issue"}]}


def set_message(ready, message, **changes):
    with tenant_scope(ready.id), transaction():
        db.session.execute(update(Message).where(Message.id == message.id).values(**changes))


def account_of(ready):
    return one(ProviderAccount, ProviderAccount.id == ready.account.id)


def test_an_unpaid_account_is_held_and_its_messages_wait(client, tenant, other_tenant):
    kept, late, recalled, fine, expiring = (under_way(tenant, f"A-{n}") for n in range(5))
    now = clock.now()
    set_message(tenant, late, expires_at=now - timedelta(minutes=1))
    set_message(tenant, recalled, cancel_requested=True)
    set_message(tenant, expiring, expires_at=now + timedelta(minutes=30))
    speaker = Speaker(tenant.account)
    said = [unpaid(speaker, message, now) for message in (kept, late, recalled, expiring)]
    post(speaker, [*said, speaker.status("delivered", f"{fine.id}.1", "wamid.fine", now)], client)
    read_all()

    assert (account_of(tenant).status, account_of(tenant).hold_reason) == ("held", "account_stop:131042")
    assert account_of(other_tenant).status == "active"
    ends = {message.id: (message.status, message.reason) for message in all_of(Message)}
    assert ends[kept.id] == ends[expiring.id] == ("queued", "account_held")
    assert ends[late.id][0] == ends[recalled.id][0] == "failed"
    assert ends[fine.id][0] == "delivered"
    waiting = {row.message_id: row for row in all_of(Outbox)}
    assert set(waiting) == {kept.id, expiring.id}
    assert (waiting[kept.id].state, waiting[kept.id].attempt_no, waiting[kept.id].expires_at) == ("queued", 1, None)
    assert waiting[expiring.id].expires_at - waiting[expiring.id].next_at < timedelta(minutes=31)
    kinds = [event.kind for event in all_of(MessageEvent, MessageEvent.message_id == kept.id)]
    assert sorted(kinds) == ["account_held", "failed"]

    before = picture(*EVERYTHING)
    assert receipts.replay(since=now - timedelta(days=1)).get("applied", 0) == 0
    assert picture(*EVERYTHING) == before
    post(speaker, [unpaid(speaker, kept, now + timedelta(seconds=1))], client, 2)
    read_all()
    assert (one(Message, Message.id == kept.id).status, len(all_of(Outbox))) == ("queued", 2)
    post(speaker, [speaker.status("delivered", f"{kept.id}.1", f"wamid.{kept.id}", now)], client, 3)
    read_all()
    assert one(Message, Message.id == kept.id).status == "delivered"
    assert {row.message_id for row in all_of(Outbox)} == {expiring.id}


def test_a_refusal_that_came_before_its_message_was_known_holds_the_account_too(client, tenant):
    message = under_way(tenant)
    speaker = Speaker(tenant.account)
    post(speaker, [unpaid(speaker, message, clock.now(), named=False)], client)
    read_all()
    assert account_of(tenant).status == "held"
    assert one(WebhookItem).state == "parked"
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(Attempt).values(external_id=f"wamid.{message.id}", rank=20))
        assert receipts.match_parked(tenant.account.id, f"wamid.{message.id}") == 1
    assert (one(Message).status, one(Message).reason, len(all_of(Outbox))) == ("queued", "account_held", 1)


def test_a_refusal_of_long_ago_or_of_one_country_holds_nothing(client, tenant):
    old, country = under_way(tenant, "A-1"), under_way(tenant, "A-2")
    speaker = Speaker(tenant.account)
    abroad = speaker.status("failed", f"{country.id}.1", "wamid.2", clock.now())
    abroad["errors"] = [{"code": 130497, "title": "Restricted in this country"}]
    post(speaker, [unpaid(speaker, old, clock.now() - timedelta(hours=2)), abroad], client)
    read_all()
    assert account_of(tenant).status == "active"
    assert one(Message, Message.id == old.id).status == "queued"  # nothing was wrong with the message all the same
    assert one(Message, Message.id == country.id).status == "failed"


# --- signs of life ----------------------------------------------------------------------------------------------


def test_the_last_receipt_is_noted_every_five_seconds_and_by_receipts_alone(client, tenant, other_tenant):
    speaker, seen = Speaker(tenant.account), []
    for number, seconds in enumerate((0, 3, 6, 20)):
        with clock.at(NOW + timedelta(seconds=seconds)):
            speaker.receipt("read", "msg_x.1", f"wamid.{number}").to(client)
            read_all()
        seen.append((account_of(tenant).last_receipt_at - NOW).total_seconds())
    assert seen == [0, 0, 6, 20]
    with clock.at(NOW + timedelta(seconds=60)):
        post(speaker, [], client, 9)
        speaker.json(speaker.envelope(messages=[inbound("Salut", clock.now())])).to(client)
        read_all()
    assert account_of(tenant).last_webhook_at == NOW + timedelta(seconds=60)
    assert account_of(tenant).last_receipt_at == NOW + timedelta(seconds=20)
    with clock.at(NOW + timedelta(hours=1)):
        receipts.replay(since=NOW - timedelta(days=1))
    assert account_of(tenant).last_receipt_at == NOW + timedelta(seconds=20)
    assert account_of(other_tenant).last_receipt_at is None


def test_a_sister_s_receipts_are_the_sister_s_sign_of_life(client, tenant):
    keys = {**tenant.account.credentials, "phone_number_id": "999", "display_phone_number": "+40310000009"}
    sister = factories.accounts.create_account(tenant.tenant, "meta_cloud", keys)
    speaker = Speaker(tenant.account)
    said = Speaker(sister).envelope(statuses=[speaker.status("read", "msg_x.1", "wamid.1")])
    speaker.json(said).to(client)
    read_all()
    heard = {account.id: account.last_receipt_at is not None for account in all_of(ProviderAccount)}
    assert heard == {tenant.account.id: False, sister.id: True}


# --- the door and the yardstick ---------------------------------------------------------------------------------


def test_the_door_looks_once_and_writes_once_whatever_the_size(client, tenant):
    speaker = Speaker(tenant.account)
    post(speaker, [speaker.status("read", "msg_x.1", "wamid.0")], client)  # what is done once is done
    for size in (1, 500):
        said = [speaker.status("read", "msg_x.1", f"wamid.{size}.{number}") for number in range(size)]
        with counted_statements() as statements:
            post(speaker, said, client, size)
        tables = {kind: count for kind, count in statements.items() if " wa_" in kind}
        assert tables == {"SELECT wa_accounts": 1, "INSERT wa_webhook_events": 1}


def test_the_benchmark_measures_both_ways(app):
    found = bench.run(0.04)
    with all_tenants("a test looks"):
        applied = db.session.scalars(select(WebhookItem.state)).all()
    assert set(applied) == {"applied"}
    assert found["rows"] == 4000
    assert found["database"] == ("postgresql" if is_postgresql() else "sqlite")
    assert found["bulk_per_s"] > found["whole_baseline_per_s"] > 0
    assert found["baseline_per_s"] > 0
