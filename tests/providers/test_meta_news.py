"""What Meta's news says beyond the collected samples: every event of the paper, with its facts (contracts.md §1.7)."""

import json
from datetime import UTC, datetime

import pytest

from wa_dashboard.providers.base import (
    AccountItem,
    InboundItem,
    StatusItem,
    TemplateStatusItem,
    UnknownItem,
    VolumeTier,
    WebhookRequest,
    provider_named,
)

from .samples import account

META = account(provider_named("meta_cloud"))
CAME = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOLD = 1751247548


def items(*changes, **envelope):
    entry = {"id": "102290129340398", "time": TOLD, "changes": list(changes), **envelope}
    body = {"object": "whatsapp_business_account", "entry": [entry]}
    return META.parse_webhook(WebhookRequest("POST", "https://h/", {}, json.dumps(body).encode(), received_at=CAME))


def news(field, **value):
    (item,) = items({"field": field, "value": value})
    return item


def message(**content):
    given = {"id": "wamid.A", "from": "40722000001", "timestamp": "1750030073", **content}
    contacts = [{"wa_id": "40722000001", "user_id": "RO.77", "profile": {"name": "Ana"}}]
    (item,) = items({"field": "messages", "value": {"messages": [given], "contacts": contacts}})
    return item


@pytest.mark.parametrize(
    ("limit", "tier"),
    [
        ("TIER_50", 50),
        ("TIER_250", 250),
        ("TIER_1K", 1_000),
        ("TIER_2K", 2_000),
        ("TIER_10K", 10_000),
        ("TIER_100K", 100_000),
        ("TIER_UNLIMITED", 0),
        ("TIER_NOT_SET", None),
        (None, None),
        ("", None),
        (True, None),
        ("TIER_0", None),
    ],
)
def test_a_numbers_limit_is_a_number_of_people(limit, tier):
    item = news("phone_number_quality_update", display_phone_number="40310000001", event="UPGRADE", current_limit=limit)

    assert (item.topic, item.tier, item.phone, item.rate) == ("number", tier, "+40310000001", None)
    assert "phone:+40310000001" in item.account_refs


@pytest.mark.parametrize(
    ("value", "tier", "numbers"),
    [
        ({"max_daily_conversations_per_business": 2000, "max_phone_numbers_per_waba": 25}, 2000, 25),
        ({"max_daily_conversations_per_business": "TIER_10K", "max_phone_numbers_per_business": 2}, 10_000, 2),
        ({"max_daily_conversation_per_phone": 1000, "max_phone_numbers_per_business": 25}, 1000, 25),
        ({"max_daily_conversations_per_business": -1}, 0, None),
        ({"max_daily_conversations_per_business": "many", "max_phone_numbers_per_waba": True}, None, None),
    ],
)
def test_what_a_business_may_do(value, tier, numbers):
    item = news("business_capability_update", **value)

    assert (item.topic, item.effect, item.tier, item.numbers) == ("capability", "info", tier, numbers)


@pytest.mark.parametrize(("event", "quality"), [("FLAGGED", "red"), ("UNFLAGGED", None), ("ONBOARDING", None)])
def test_a_flagged_number_is_red_and_what_it_is_afterwards_is_not_guessed(event, quality):
    assert news("phone_number_quality_update", event=event, current_limit="TIER_1K").quality == quality


@pytest.mark.parametrize(
    ("kinds", "effect"),
    [
        (["RESTRICTED_BIZ_INITIATED_MESSAGING"], "stop"),
        (["RESTRICTED_CUSTOMER_INITIATED_MESSAGING"], "stop"),
        (["RESTRICTED_ALL"], "stop"),
        (["RESTRICTED_USER_INITIATED_CALLING"], "info"),
        (["RESTRICTED_ADD_PHONE_NUMBER_ACTION"], "info"),
        ([], "info"),
    ],
)
def test_a_restriction_names_what_and_until_when(kinds, effect):
    info = [{"restriction_type": kind, "expiration": str(TOLD + 86_400 * n)} for n, kind in enumerate(kinds, 1)]
    item = news("account_update", event="ACCOUNT_RESTRICTION", restriction_info=info)

    assert (item.effect, item.restrictions) == (effect, tuple(kinds))
    assert item.until == (datetime.fromtimestamp(TOLD + 86_400, UTC) if kinds else None)


@pytest.mark.parametrize(
    ("state", "effect"), [("SCHEDULE_FOR_DISABLE", "info"), ("DISABLE", "stop"), ("REINSTATE", "resume"), ("?", "info")]
)
def test_a_ban_has_a_state_and_a_day(state, effect):
    ban = {"waba_ban_state": state, "waba_ban_date": "April 3, 2026"}
    item = news("account_update", event="DISABLED_UPDATE", ban_info=ban)

    assert (item.effect, item.detail, item.effective_at) == (effect, state, datetime(2026, 4, 3, tzinfo=UTC))
    odd = news("account_update", event="DISABLED_UPDATE", ban_info={**ban, "waba_ban_date": "3 aprilie"})
    assert odd.effective_at is None


@pytest.mark.parametrize(
    ("tier", "volume"),
    [
        ("0:100000", VolumeTier("utility", "Romania", 0, 100_000, "2026-11", datetime.fromtimestamp(TOLD, UTC))),
        ("250001:", VolumeTier("utility", "Romania", 250_001, None, "2026-11", datetime.fromtimestamp(TOLD, UTC))),
        ("many", None),
        (None, None),
    ],
)
def test_a_price_tier_says_from_where_to_where(tier, volume):
    info = {"tier": tier, "pricing_category": "UTILITY", "region": "Romania", "effective_month": "2026-11"}
    item = news(
        "account_update", event="VOLUME_BASED_PRICING_TIER_UPDATE", volume_tier_info=info | {"tier_update_time": TOLD}
    )

    assert item.volume == volume
    assert item.effect == "info"


def test_a_partners_news_is_about_its_customers_account_only():
    told = {"event": "PARTNER_REMOVED", "waba_info": {"waba_id": "555", "owner_business_id": "7"}}
    change = {"field": "account_update", "value": told}
    (item,) = items(change)
    body = {"entry": [{"id": "102290129340398", "changes": [change]}]}

    assert (item.effect, item.account_refs) == ("stop", ("waba:555",)), "the partner's own account goes on"
    named = META.account_keys_in(WebhookRequest("POST", "https://h/", {}, json.dumps(body).encode()))
    assert set(named) == {"waba:102290129340398", "waba:555"}


@pytest.mark.parametrize(
    ("kind", "refs"),
    [
        ("PHONE_NUMBER", {"pnid:9", "waba:102290129340398"}),
        ("WABA", {"waba:9"}),
        ("BUSINESS", {"waba:102290129340398"}),
    ],
)
def test_an_alert_says_what_it_is_about(kind, refs):
    info = {
        "alert_severity": "CRITICAL",
        "alert_status": "ACTIVE",
        "alert_type": "OBA_DENIED",
        "alert_description": "No.",
    }
    item = news("account_alerts", entity_type=kind, entity_id="9", alert_info=info)

    assert (item.topic, item.event, item.severity, item.detail) == ("alert", "OBA_DENIED", "critical", "No.")
    assert set(item.account_refs) == refs


def test_a_refused_name_has_a_reason_and_an_accepted_one_none():
    told = {"display_phone_number": "40310000001", "requested_verified_name": "Festivalul Verii"}
    refused = news("phone_number_name_update", **told, decision="REJECTED", rejection_reason="NAME_NOT_ALLOWED")
    accepted = news("phone_number_name_update", **told, decision="APPROVED", rejection_reason="NONE")

    assert (refused.topic, refused.decision, refused.reason) == ("name", "rejected", "NAME_NOT_ALLOWED")
    assert (accepted.name, accepted.decision, accepted.reason) == ("Festivalul Verii", "approved", None)


def test_a_refused_template_says_how_to_put_it_right():
    about = {"message_template_id": 7, "message_template_name": "a", "message_template_language": "ro"}
    rejection = {"reason": "INVALID_FORMAT", "recommendation": "Add a sample."}
    item = news("message_template_status_update", **about, event="REJECTED", reason="NONE", rejection_info=rejection)
    paused = {"title": "FIRST_PAUSE", "description": "Paused for 3 hours."}
    pause = news("message_template_status_update", **about, event="PAUSED", reason=None, other_info=paused)

    assert (item.status, item.reason, item.recommendation) == ("rejected", "INVALID_FORMAT", "Add a sample.")
    assert (pause.status, pause.reason, pause.detail) == ("paused", "FIRST_PAUSE", "Paused for 3 hours.")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("APPROVED", "approved"),
        ("REINSTATED", "approved"),
        ("UNARCHIVED", "approved"),
        ("IN_APPEAL", "in_appeal"),
        ("PENDING", "pending"),
        ("PENDING_DELETION", "deleted"),
        ("DELETED", "deleted"),
        ("REJECTED", "rejected"),
        ("PAUSED", "paused"),
        ("DISABLED", "disabled"),
        ("FLAGGED", "flagged"),
        ("LOCKED", "locked"),
        ("ARCHIVED", "archived"),
        ("LIMIT_EXCEEDED", "limit_exceeded"),
        ("WITHDRAWN_TOMORROW", "unknown"),
    ],
)
def test_every_event_of_a_template_is_a_status(event, status):
    item = news("message_template_status_update", event=event, message_template_id=7, message_template_name="a")

    assert isinstance(item, TemplateStatusItem)
    assert (item.change, item.status, item.external_id) == ("status", status, "7")


@pytest.mark.parametrize("field", ["message_template_status_update", "template_category_update", "anything", ""])
def test_the_content_of_template_news_decides_whatever_its_field(field):
    quality = news(field, message_template_id=7, previous_quality_score="UNKNOWN", new_quality_score="GREEN")

    assert (quality.change, quality.quality, quality.previous) == ("quality", "green", None)


@pytest.mark.parametrize("event", ["A_NEW_EVENT", "PARTNER_ADDED", "AD_ACCOUNT_LINKED", None])
def test_events_that_mean_nothing_to_us_stop_nothing(event):
    item = news("account_update", event=event, something={"new": [1, 2]})

    assert isinstance(item, AccountItem)
    assert item.effect == "info"
    assert item.raw["something"] == {"new": [1, 2]}


@pytest.mark.parametrize(
    "field", ["calls", "flows", "smb_message_echoes", "history", "payment_configuration_update", ""]
)
def test_fields_nobody_has_told_us_of_are_kept_and_raise_nothing(field):
    item = news(field, something=[{"new": True}])

    assert isinstance(item, UnknownItem)
    assert not item.malformed
    assert item.raw == {"something": [{"new": True}]}


@pytest.mark.parametrize(
    ("content", "about"),
    [
        ({"type": "reaction", "reaction": {"message_id": "wamid.ours", "emoji": "👍"}}, "reaction"),
        ({"type": "reaction", "reaction": {"message_id": "wamid.ours"}}, "reaction"),
        ({"type": "revoke", "revoke": {"original_message_id": "wamid.ours"}}, "revoke"),
        ({"reaction": {"message_id": "wamid.ours"}}, "reaction"),
        ({"edit": {"original_message_id": "wamid.ours", "message": {"type": "text", "text": {"body": "x"}}}}, "edit"),
    ],
)
def test_what_a_message_is_about_is_known(content, about):
    item = message(**content)

    assert (item.type, item.in_reply_to) == (about, "wamid.ours")
    assert item.button_payload is None


def test_a_stop_written_by_correcting_a_message_is_a_stop():
    edit = {"original_message_id": "wamid.B", "message": {"type": "text", "text": {"body": "STOP"}}}

    assert message(type="edit", edit=edit).text == "STOP"


@pytest.mark.parametrize(
    "type_", ["sticker", "location", "contacts", "order", "audio", "unsupported", "poll_of_tomorrow"]
)
def test_nobody_wrote_a_word_where_there_is_none(type_):
    item = message(type=type_, **{type_: {"caption": "STOP", "body": "STOP"}})

    assert (item.type, item.text, item.button_payload) == (type_, None, None)


@pytest.mark.parametrize(
    ("system", "moved"),
    [
        ({"type": "user_changed_number", "wa_id": "40733000002"}, ("+40733000002", None)),
        ({"type": "customer_changed_number", "new_wa_id": "40733000002"}, ("+40733000002", None)),
        ({"type": "user_changed_user_id", "user_id": "RO.2", "previous_user_id": "RO.1"}, (None, "RO.2")),
        ({"type": "customer_identity_changed"}, (None, None)),
        ({"type": "user_changed_number", "wa_id": "soon"}, (None, None)),
    ],
)
def test_a_person_who_moves_is_found_again(system, moved):
    item = message(type="system", system=system)

    assert (item.new_phone, item.new_user_id) == moved
    assert item.from_phone == "+40722000001", "who they were, not who they are now"
    assert item.event == system["type"]
    assert item.from_user_id == ("RO.1" if "previous_user_id" in system else "RO.77")


def test_a_moved_person_without_their_old_number_is_not_taken_for_the_new_one():
    given = {"id": "w", "timestamp": "1750030073", "type": "system"}
    system = {"type": "user_changed_number", "wa_id": "40733000002"}
    (item,) = items({"field": "messages", "value": {"messages": [{**given, "system": system}]}})

    assert (item.from_phone, item.new_phone) == (None, "+40733000002")


def test_number_and_id_of_one_person_meet():
    assert (message(type="text", text={"body": "Da"}).from_user_id) == "RO.77"


def test_a_contact_with_another_number_lends_nobody_its_id():
    given = {"id": "w", "from": "40722000001", "timestamp": "1750030073", "type": "text", "text": {"body": "Da"}}
    contacts = [{"wa_id": "40799000009", "user_id": "RO.99", "profile": {"name": "Altcineva"}}]
    status = {"id": "w", "status": "read", "timestamp": "1750030073", "recipient_id": "40722000001"}
    value = {"messages": [given], "statuses": [status], "contacts": contacts}
    inbound, receipt = items({"field": "messages", "value": value})

    assert isinstance(inbound, InboundItem)
    assert isinstance(receipt, StatusItem)
    assert (inbound.from_user_id, receipt.recipient_user_id) == (None, None)
    assert inbound.from_phone == receipt.recipient == "+40722000001"


def test_a_person_known_only_by_id_gets_the_number_their_contact_has():
    given = {"id": "w", "from_user_id": "RO.77", "timestamp": "1750030073", "type": "text", "text": {"body": "Da"}}
    contacts = [{"wa_id": "1", "user_id": "RO.1"}, {"wa_id": "40722000001", "user_id": "RO.77"}]
    (item,) = items({"field": "messages", "value": {"messages": [given], "contacts": contacts}})

    assert (item.from_phone, item.from_user_id) == ("+40722000001", "RO.77")


def test_a_receipt_of_a_group_names_the_member():
    status = {"id": "w", "status": "played", "timestamp": "1750030073123", "recipient_id": "group-7"}
    member = {"recipient_participant_id": "40722000001", "recipient_participant_user_id": "RO.77"}
    (item,) = items({"field": "messages", "value": {"statuses": [{**status, **member}]}})

    assert (item.status, item.recipient, item.recipient_user_id) == ("read", "+40722000001", "RO.77")


def test_a_message_taken_back_by_its_writer_is_no_receipt_of_ours():
    status = {"id": "w", "status": "deleted", "timestamp": "1750030073"}
    (item,) = items({"field": "messages", "value": {"statuses": [status]}})

    assert isinstance(item, UnknownItem)
    assert not item.malformed


def test_a_thousand_of_everything_is_read_to_the_end():
    statuses = [{"id": f"w{n}", "status": "sent", "timestamp": "1750030073"} for n in range(1000)]
    messages = [{"id": f"m{n}", "from": "40722000001", "timestamp": "1750030073", "type": "text"} for n in range(1000)]
    preferences = [{"wa_id": f"40722{n:06d}", "value": "stop", "timestamp": "1750030073"} for n in range(1000)]
    value = {"statuses": statuses, "messages": messages, "user_preferences": preferences, "errors": [{"code": 130429}]}
    found = items({"field": "messages", "value": value}, {"field": "account_update", "value": {"event": "X"}})

    assert len(found) == len({item.key for item in found}) == 3002
