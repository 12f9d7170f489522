"""Reading webhooks: in any order, twice, at once, broken, before their message and again: always the same end."""

import itertools
import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.webhooks import PHONE, T0, Speaker, inbound, under_way
from wa_dashboard import clock, failpoints
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import (
    Attempt,
    AuditEntry,
    ConsentEvent,
    Message,
    MessageEvent,
    OptIn,
    Outbox,
    ProviderAccount,
    Template,
    TemplateApproval,
    TemplateEvent,
    Tenant,
    WebhookEvent,
    WebhookItem,
)
from wa_dashboard.services import accounts, consent, contacts, parked, receipts

STATUSES = ("sent", "delivered", "read", "failed")
PROVIDERS = ("meta_cloud", "twilio", "dialog360")


@pytest.fixture
def speaker(tenant):
    return Speaker(tenant.account)


def all_of(model, *conditions):
    with all_tenants("a test looks"):
        found = db.session.scalars(select(model).where(*conditions).execution_options(populate_existing=True)).all()
        db.session.expunge_all()
        db.session.rollback()
    return found


def one(model, *conditions):
    [found] = all_of(model, *conditions)
    return found


def read_all():
    total = 0
    while done := receipts.process():
        total += done
    return total


def read_to_the_end():
    """Also what waits for its next try."""
    read_all()
    for minutes in (1, 2, 3, 4, 5):
        with clock.at(clock.now() + timedelta(minutes=minutes)):
            read_all()


def picture(*models):
    """Every column of every row, to see whether anything changed."""
    return {
        model.__name__: sorted(
            str([(column.key, getattr(row, column.key)) for column in model.__mapper__.column_attrs])
            for row in all_of(model)
        )
        for model in models
    }


EVERYTHING = (
    Message,
    Attempt,
    MessageEvent,
    Outbox,
    OptIn,
    ConsentEvent,
    Template,
    TemplateApproval,
    TemplateEvent,
    AuditEntry,
    ProviderAccount,
    WebhookEvent,
    WebhookItem,
)


# --- order, repetition, lateness --------------------------------------------------------------------------------


def at_of(status):
    return T0 + timedelta(seconds=10 * STATUSES.index(status))


def outcome(message_id):
    message, attempt = one(Message, Message.id == message_id), one(Attempt, Attempt.message_id == message_id)
    story = Counter(
        (event.kind, str(event.at)) for event in all_of(MessageEvent, MessageEvent.message_id == message_id)
    )
    times = (message.accepted_at, message.sent_at, message.delivered_at, message.read_at, message.failed_at)
    error = (message.error_class, message.error_code, message.error_detail)
    ids = message.external_id == attempt.external_id is not None
    return message.status, message.status_at, message.rank, attempt.rank, times, error, ids, sorted(story.items())


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_order_of_receipts_with_repetitions_ends_alike(client, tenant, speaker, length):
    made = {}
    for number, order in enumerate(itertools.permutations(STATUSES, length)):
        message = under_way(tenant, f"A-{number}")
        made[message.id] = order
        for repeat in (1, 2):  # the repetition differs in bytes, as a re-packed batch does
            for status in order[:: 1 if repeat == 1 else -1]:
                item = speaker.status(status, f"{message.id}.1", f"wamid.{number}", at_of(status))
                said = speaker.envelope(statuses=[item])
                said["entry"][0]["time"] = repeat
                assert speaker.json(said).to(client).status_code == 200
    read_all()
    ends = {}
    for message_id, order in made.items():
        ends.setdefault(frozenset(order), set()).add(str(outcome(message_id)))
    assert {len(found) for found in ends.values()} == {1}, ends
    for statuses, found in ends.items():
        best = max(statuses, key=("sent", "failed", "delivered", "read").index)
        assert f"Status.{best.upper()}" in next(iter(found)) or f"('{best}'" in next(iter(found))


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_s_receipts_reach_the_message(client, app, name):
    ready = factories.make_tenant(provider=name)
    message, speaker = under_way(ready), Speaker(ready.account)
    for status in ("read", "sent", "delivered"):
        speaker.receipt(status, f"{message.id}.1", "SM" + "0" * 32, at_of(status)).to(client)
    assert read_all() == 3
    found = one(Message, Message.id == message.id)
    assert (found.status, found.external_id) == ("read", "SM" + "0" * 32)
    assert {item.state for item in all_of(WebhookItem)} == {"applied"}
    assert {item.message_id for item in all_of(WebhookItem)} == {message.id}
    assert {event.state for event in all_of(WebhookEvent)} == {"done"}


def test_a_receipt_before_our_own_answer_is_stored_settles_the_message(client, tenant, speaker):
    """The correlation id finds the attempt, which was committed before the request left."""
    message = under_way(tenant)
    speaker.receipt("delivered", f"{message.id}.1", "wamid.early").to(client)
    read_all()
    assert one(Message).status == "delivered"
    assert one(Attempt).external_id == "wamid.early"


def store_answer(tenant, message, external_id, *, match):
    with tenant_scope(tenant.id), transaction():
        db.session.execute(
            update(Attempt).where(Attempt.message_id == message.id).values(external_id=external_id, rank=20),
            execution_options={"synchronize_session": False},
        )
        return receipts.match_parked(tenant.account.id, external_id) if match else None


@pytest.mark.parametrize("match", [True, False])
def test_receipts_that_name_only_an_id_we_have_not_stored_wait_for_it(client, tenant, speaker, match):
    message = under_way(tenant)
    for status in ("read", "sent"):
        speaker.receipt(status, None, "wamid.late", at_of(status)).to(client)
    read_all()
    assert {item.state for item in all_of(WebhookItem)} == {"parked"}
    assert {event.state for event in all_of(WebhookEvent)} == {"done"}
    assert PHONE[1:] not in str([item.detail for item in all_of(WebhookItem)])
    assert receipts.match_parked_due() == 0
    if match:
        assert store_answer(tenant, message, "wamid.late", match=True) == 2
    else:
        store_answer(tenant, message, "wamid.late", match=False)
        assert receipts.match_parked_due() == 2
    found = one(Message)
    assert (found.status, found.sent_at, found.read_at) == ("read", at_of("sent"), at_of("read"))
    assert {(item.state, item.message_id) for item in all_of(WebhookItem)} == {("applied", message.id)}
    before = picture(*EVERYTHING)
    assert receipts.match_parked_due() == 0
    assert picture(*EVERYTHING) == before


def test_receipts_nobody_ever_asked_for_are_given_up_after_a_week(client, tenant, speaker):
    speaker.receipt("delivered", "msg_00000000000000000000000000.1", "wamid.stranger").to(client)
    read_all()
    with clock.at(clock.now() + parked.PARKED_FOR - timedelta(minutes=1)):
        receipts.match_parked_due()
        assert one(WebhookItem).state == "parked"
    with clock.at(clock.now() + parked.PARKED_FOR + timedelta(minutes=1)):
        receipts.match_parked_due()
    assert one(WebhookItem).state == "orphaned"


def test_another_tenant_s_correlation_id_moves_nothing(client, tenant, other_tenant, speaker):
    message = under_way(other_tenant)
    speaker.receipt("failed", f"{message.id}.1", "wamid.x").to(client)
    read_all()
    assert one(Message).status == "sending"
    assert one(WebhookItem).state == "parked"


# --- at once ----------------------------------------------------------------------------------------------------


def at_once(app, *works):
    """Run the functions in threads that start together; raise the first error any of them had."""
    errors, start = [], threading.Barrier(len(works))

    def run(work):
        with app.app_context():
            start.wait()
            try:
                work()
            except Exception as error:
                errors.append(error)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_identical_posts_at_once_are_kept_and_counted_once(app, tenant, speaker):
    message = under_way(tenant)
    post = speaker.receipt("delivered", f"{message.id}.1", "wamid.1")
    codes = []
    at_once(app, *[lambda: codes.append(post.to(app.test_client()).status_code)] * 12)
    assert codes == [200] * 12
    assert len(all_of(WebhookEvent)) == 1
    at_once(app, *[receipts.process] * 4)
    assert [event.kind for event in all_of(MessageEvent)] == ["delivered"]


def test_many_readers_at_once_apply_each_item_once(app, client, tenant, speaker):
    messages = [under_way(tenant, f"A-{number}") for number in range(12)]
    for number in range(40):
        # Every post overlaps with others, in an order of its own: the classic way to block each other.
        chosen = messages[number % 12 :] + messages[: number % 12]
        chosen = chosen[:: -1 if number % 2 else 1][:6]
        said = [
            speaker.status(status, f"{message.id}.1", f"wamid.{message.id}", at_of(status))
            for message in chosen
            for status in STATUSES[number % 3 : number % 3 + 2]
        ]
        envelope = speaker.envelope(statuses=said)
        envelope["entry"][0]["time"] = number
        assert speaker.json(envelope).to(client).status_code == 200
    at_once(app, *[read_all] * 4)
    read_all()
    assert {event.state for event in all_of(WebhookEvent)} == {"done"}
    assert {item.state for item in all_of(WebhookItem)} == {"applied"}
    for message in all_of(Message):
        kinds = Counter(event.kind for event in all_of(MessageEvent, MessageEvent.message_id == message.id))
        assert set(kinds.values()) == {1}, kinds
        assert message.status == "read"
        assert one(Attempt, Attempt.message_id == message.id).rank == 60


def test_stop_and_receipts_at_once_do_not_block_each_other(app, client, tenant, speaker):
    messages = [under_way(tenant, f"A-{number}") for number in range(6)]
    for number in range(12):
        said = [speaker.status("delivered", f"{m.id}.1", f"wamid.{m.id}", T0) for m in messages[:: (-1) ** number]]
        words = [inbound("STOP" if number % 2 else "START", clock.now(), f"wamid.IN{number}")]
        envelope = speaker.envelope(statuses=said, messages=words)
        envelope["entry"][0]["time"] = number
        speaker.json(envelope).to(client)
    at_once(app, *[read_all] * 3)
    read_all()
    assert {event.state for event in all_of(WebhookEvent)} == {"done"}
    assert {item.state for item in all_of(WebhookItem)} == {"applied"}
    assert {message.status for message in all_of(Message)} == {"delivered"}


# --- trouble ----------------------------------------------------------------------------------------------------


def break_pepper(tenant):
    """The tenant's index pepper becomes unreadable: whatever looks a person up by number fails. Returns the cure."""
    whole = one(Tenant, Tenant.id == tenant.id).index_pepper_sealed

    def put(value):
        with all_tenants("a test breaks and mends"), transaction():
            db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(index_pepper_sealed=value))

    put(b"rubbish")
    return lambda: put(whole)


def test_a_poisoned_item_never_blocks_its_neighbours(client, tenant, speaker):
    message = under_way(tenant)
    cure = break_pepper(tenant)
    said = speaker.envelope(
        messages=[inbound("STOP", clock.now())], statuses=[speaker.status("read", f"{message.id}.1", "wamid.1", T0)]
    )
    speaker.json(said).to(client)
    later = speaker.receipt("delivered", f"{message.id}.1", "wamid.1")
    later.to(client)
    read_all()
    assert one(Message).status == "read"
    assert Counter(item.state for item in all_of(WebhookItem)) == {"applied": 2, "failed": 1}
    poisoned = one(WebhookEvent, WebhookEvent.error.is_not(None))
    assert (poisoned.state, poisoned.tries) == ("new", 1)
    assert "Undecryptable" in poisoned.error
    read_to_the_end()
    poisoned = one(WebhookEvent, WebhookEvent.error.is_not(None))
    assert (poisoned.state, poisoned.tries) == ("quarantined", receipts.TRIES)
    assert len(all_of(MessageEvent)) == 2  # its neighbour was not repeated with it

    assert receipts.replay(event_id=poisoned.id)["failed"] == 1
    cure()
    assert receipts.replay(event_id=poisoned.id, dry_run=True)["applied"] == 1
    assert all_of(ConsentEvent) == []
    counts = receipts.replay(event_id=poisoned.id)
    assert (counts["applied"], counts["repeated"], counts["quarantined"]) == (1, 1, 0)
    assert one(WebhookEvent, WebhookEvent.id == poisoned.id).state == "done"
    assert {event.status for event in all_of(ConsentEvent)} == {"opted_out"}


def test_tries_are_spread_over_time(client, tenant, speaker):
    break_pepper(tenant)
    speaker.inbound("STOP").to(client)
    came = one(WebhookEvent).received_at
    tries = []
    for seconds in (0, 1, 3, 5, 11, 31, 61):
        with clock.at(came + timedelta(seconds=seconds)):
            read_all()
        tries.append(one(WebhookEvent).tries)
    assert tries == [1, 1, 2, 2, 3, 4, 5]
    assert one(WebhookEvent).state == "quarantined"


def test_a_post_that_cannot_be_read_is_set_aside_at_once(client, tenant, speaker):
    for body in (b"[" * 100_000, b"{", b"\xff\xfe", b'{"entry":NaN}', b""):
        assert speaker.raw(body).to(client).status_code == 200
    message = under_way(tenant)
    speaker.receipt("read", f"{message.id}.1", "wamid.1").to(client)
    assert read_all() == 6
    assert Counter(event.state for event in all_of(WebhookEvent)) == {"quarantined": 5, "done": 1}
    assert all(event.error for event in all_of(WebhookEvent, WebhookEvent.state == "quarantined"))
    assert one(Message).status == "read"


def test_what_is_new_to_us_is_shown_and_what_is_damaged_is_set_aside(client, tenant, speaker):
    message = under_way(tenant)
    speaker.json(speaker.envelope("a_field_of_next_year", shiny=True)).to(client)
    damaged = speaker.envelope(
        statuses=[{"id": "wamid.1", "status": "sent"}, 7, speaker.status("sent", f"{message.id}.1", "wamid.1")]
    )
    speaker.json(damaged).to(client)
    read_all()
    assert Counter(item.state for item in all_of(WebhookItem)) == {"unknown": 3, "applied": 1}
    assert all(item.detail["why"] for item in all_of(WebhookItem, WebhookItem.state == "unknown"))
    assert Counter(event.state for event in all_of(WebhookEvent)) == {"done": 1, "quarantined": 1}
    assert one(Message).status == "sent"


def test_dying_before_the_commit_changes_nothing_and_the_next_pass_does_it(client, tenant, speaker):
    message = under_way(tenant)
    speaker.receipt("read", f"{message.id}.1", "wamid.1").to(client)
    before = picture(*EVERYTHING)
    failpoints.arm("F10=raise")
    try:
        with pytest.raises(failpoints.Failed):
            receipts.process()
    finally:
        failpoints.arm("")
    assert picture(*EVERYTHING) == before
    assert receipts.process() == 1
    assert one(Message).status == "read"


def test_a_batch_of_a_thousand_is_read_in_slices(client, tenant, speaker):
    messages = [under_way(tenant, f"A-{number}") for number in range(40)]
    said = [
        speaker.status(status, f"{message.id}.1", f"wamid.{message.id}", at_of(status) + timedelta(seconds=again))
        for again in range(4)
        for message in messages
        for status in ("delivered", "sent", "read")
    ]
    speaker.json(speaker.envelope(statuses=said)).to(client)
    assert receipts.process(limit=1) == 1
    assert Counter(item.state for item in all_of(WebhookItem)) == {"applied": len(said)}
    assert one(WebhookEvent).state == "done"
    assert {message.status for message in all_of(Message)} == {"read"}


def test_an_account_whose_secrets_are_lost_holds_up_nobody(client, tenant, other_tenant, speaker):
    message = under_way(other_tenant)
    speaker.receipt("read", "msg_x.1", "wamid.1").to(client)
    Speaker(other_tenant.account).receipt("read", f"{message.id}.1", "wamid.2").to(client)
    with all_tenants("a test breaks"), transaction():
        db.session.execute(
            update(ProviderAccount).where(ProviderAccount.id == tenant.account.id).values(credentials_sealed=b"rubbish")
        )
    read_to_the_end()
    assert one(Message).status == "read"
    assert Counter(event.state for event in all_of(WebhookEvent)) == {"quarantined": 1, "done": 1}


# --- what people, templates and accounts say --------------------------------------------------------------------


def states(tenant):
    with tenant_scope(tenant.id):
        contact = contacts.find_contact(tenant.tenant, PHONE)
    return {row.purpose: row.status for row in all_of(OptIn, OptIn.contact_id == contact.id)} if contact else {}


def opted_in(tenant, at):
    with tenant_scope(tenant.id), transaction():
        consent.record(
            tenant.tenant,
            consent.ConsentRequest(
                status="opted_in",
                source="settings_page",
                phone=to_e164(PHONE),
                purposes=["marketing", "reminder", "transactional"],
                occurred_at=at,
                wording_id="wa-promo-v2",
            ),
            "key:test",
        )


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_stop_counts_once_however_often_it_comes(client, app, name):
    ready = factories.make_tenant(provider=name)
    opted_in(ready, clock.now() - timedelta(days=1))
    speaker = Speaker(ready.account)
    for path_query in ("", "?again=1"):
        post = speaker.inbound("STOP")
        if name == "twilio":
            post = speaker.form(
                {"MessageSid": "SM9", "From": f"whatsapp:{PHONE}", "Body": "STOP", "SmsStatus": "received"}, path_query
            )
        post.to(client)
        read_all()
    assert states(ready)["marketing"] == "opted_out"
    assert len(all_of(ConsentEvent, ConsentEvent.status == "opted_out", ConsentEvent.purpose == "marketing")) == 1


def test_an_old_post_sent_again_by_an_eavesdropper_does_not_flip_consent(client, tenant, speaker):
    said = clock.now() - timedelta(days=9)
    opted_in(tenant, said - timedelta(days=1))
    speaker.inbound("STOP", at=said).to(client)
    read_all()
    assert states(tenant)["marketing"] == "opted_in"
    assert one(WebhookItem).state == "ignored"
    assert one(WebhookEvent).state == "quarantined"
    assert receipts.replay(since=said)["ignored"] == 1
    assert states(tenant)["marketing"] == "opted_in"


def test_a_clock_that_runs_ahead_does_not_outvote_what_comes_later(client, tenant, speaker):
    opted_in(tenant, clock.now() - timedelta(days=1))
    speaker.inbound("STOP", at=clock.now() + timedelta(days=300)).to(client)
    read_all()
    with clock.at(clock.now() + timedelta(hours=1)):
        opted_in(tenant, clock.now())
    assert states(tenant)["marketing"] == "opted_in"


def test_a_preference_set_in_whatsapp_reaches_the_consent(client, tenant, speaker):
    opted_in(tenant, clock.now() - timedelta(days=1))
    stop = {"wa_id": PHONE[1:], "category": "marketing_messages", "value": "stop"}
    said = speaker.envelope("user_preferences", user_preferences=[stop | {"timestamp": int(clock.now().timestamp())}])
    speaker.json(said).to(client)
    read_all()
    assert states(tenant)["marketing"] == "opted_out"
    assert states(tenant)["transactional"] == "opted_in"


def test_a_template_s_approval_arrives_by_webhook(client, tenant, speaker):
    factories.make_template(tenant, status="pending", external_id="7001")
    news = {"message_template_id": 7001, "message_template_name": "order_confirm", "message_template_language": "ro"}
    speaker.json(speaker.envelope("message_template_status_update", event="APPROVED", reason="NONE", **news)).to(client)
    news |= {"message_template_id": 1, "message_template_name": "not_ours"}
    speaker.json(speaker.envelope("message_template_status_update", event="APPROVED", **news)).to(client)
    read_all()
    assert one(TemplateApproval).status == "approved"
    assert Counter(item.state for item in all_of(WebhookItem)) == {"applied": 1, "ignored": 1}


def account_news(speaker, state, seconds):
    said = speaker.envelope("account_update", event="DISABLED_UPDATE", ban_info={"waba_ban_state": state})
    said["entry"][0]["time"] = int((clock.now() + timedelta(seconds=seconds)).timestamp())
    return speaker.json(said)


def test_the_provider_stops_and_releases_an_account_in_whatever_order_it_says_so(client, tenant, speaker):
    account_news(speaker, "DISABLE", -60).to(client)
    read_all()
    held = one(ProviderAccount)
    assert (held.status, held.hold_reason) == ("held", "provider:DISABLED_UPDATE")
    account_news(speaker, "REINSTATE", -20).to(client)
    account_news(speaker, "DISABLE", -40).to(client)
    read_all()
    assert (one(ProviderAccount).status, one(ProviderAccount).hold_reason) == ("active", None)
    actions = [entry.action for entry in all_of(AuditEntry) if entry.subject == tenant.account.id]
    assert actions[-2:] == ["account.held", "account.released"]


def test_the_provider_does_not_release_what_a_person_holds(client, tenant, speaker):
    with tenant_scope(tenant.id), transaction():
        db.session.execute(update(ProviderAccount).values(status="held", hold_reason="owner"))
    account_news(speaker, "REINSTATE", 0).to(client)
    read_all()
    assert (one(ProviderAccount).status, one(ProviderAccount).hold_reason) == ("held", "owner")


def test_the_last_sign_of_life_is_written_every_ten_seconds_at_most(client, tenant, speaker):
    seen = []
    for number, seconds in enumerate((0, 3, 9, 11, 15, 30)):
        with clock.at(T0 + timedelta(seconds=seconds)):
            speaker.receipt("read", "msg_x.1", f"wamid.{number}").to(client)
            read_all()
        seen.append((one(ProviderAccount).last_webhook_at - T0).total_seconds())
    assert seen == [0, 0, 0, 11, 11, 30]


# --- whose it is ------------------------------------------------------------------------------------------------


def sister_of(ready, **changes):
    keys = {**ready.account.credentials, "phone_number_id": "999", "display_phone_number": "+40310000009", **changes}
    return accounts.create_account(ready.tenant, "meta_cloud", keys)


def test_news_of_a_sister_number_goes_to_the_sister(client, tenant, speaker):
    sister = sister_of(tenant)
    message = under_way(factories.ReadyTenant(tenant.tenant, sister, tenant.key, tenant.welcome_token))
    said = Speaker(sister).envelope(statuses=[speaker.status("read", f"{message.id}.1", "wamid.1")])
    speaker.json(said).to(client)
    read_all()
    assert one(Message).status == "read"
    assert one(WebhookItem).account_id == sister.id


def test_news_of_another_organisation_s_number_is_not_ours_to_act_on(client, tenant, other_tenant, speaker):
    opted_in(tenant, clock.now() - timedelta(days=1))
    said = Speaker(other_tenant.account).envelope(messages=[inbound("STOP", clock.now())])
    speaker.json(said).to(client)
    read_all()
    assert states(tenant)["marketing"] == "opted_in"
    assert states(other_tenant) == {}
    assert (one(WebhookItem).state, one(WebhookItem).account_id) == ("ignored", tenant.account.id)


# --- replay -----------------------------------------------------------------------------------------------------


def test_replaying_everything_changes_nothing(client, tenant, other_tenant, speaker):
    began = clock.now() - timedelta(minutes=1)
    opted_in(tenant, clock.now() - timedelta(days=1))
    factories.make_template(tenant, status="pending", external_id="7001")
    for number, order in enumerate(itertools.permutations(STATUSES, 3)):
        message = under_way(tenant, f"A-{number}")
        for status in order:
            speaker.receipt(status, f"{message.id}.1", f"wamid.{number}", at_of(status)).to(client)
    speaker.inbound("STOP").to(client)
    speaker.receipt("read", "msg_00000000000000000000000000.1", "wamid.stranger").to(client)
    speaker.json(speaker.envelope("a_field_of_next_year", shiny=True)).to(client)
    speaker.raw(b"{").to(client)
    account_news(speaker, "DISABLE", 0).to(client)
    Speaker(other_tenant.account).inbound("STOP", external_id="wamid.IN2").to(client)
    read_all()
    before = picture(*EVERYTHING)
    dry = receipts.replay(since=began, dry_run=True)
    assert picture(*EVERYTHING) == before
    real = receipts.replay(since=began)
    assert picture(*EVERYTHING) == before
    assert dry == real
    assert (real["events"], real["quarantined"]) == (len(all_of(WebhookEvent)), 1)
    assert real.get("applied", 0) == 0


def test_a_replay_takes_only_what_was_asked_for(client, app):
    meta = factories.make_tenant()
    twilio = factories.make_tenant(name="Alt", email="other@example.org", provider="twilio")
    for ready in (meta, twilio):
        Speaker(ready.account).receipt("read", "msg_x.1", "SM1").to(client)
    read_all()
    long_ago = clock.now() - timedelta(days=1)
    assert receipts.replay(since=long_ago, provider="twilio")["events"] == 1
    assert receipts.replay(since=long_ago)["events"] == 2
    assert receipts.replay(since=clock.now() + timedelta(days=1))["events"] == 0
    assert receipts.replay(event_id="whe_nothing")["events"] == 0
