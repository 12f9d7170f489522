"""Bodies with a valid signature that break naive code: items or WebhookMalformed, nothing else."""

import json
from copy import deepcopy
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wa_dashboard.providers.base import (
    InboundItem,
    StatusItem,
    UnknownItem,
    WebhookMalformed,
    WebhookRequest,
    provider_named,
)
from wa_dashboard.providers.wire import bad_text

from .samples import account, parsed

META, TWILIO = account(provider_named("meta_cloud")), account(provider_named("twilio"))
CAME = datetime(2026, 11, 23, 12, tzinfo=UTC)
STATUS = {"id": "wamid.A", "status": "sent", "timestamp": "1750030073", "recipient_id": "40722000001"}
INBOUND = {"id": "wamid.B", "from": "40722000001", "timestamp": "1750030073", "type": "text", "text": {"body": "STOP"}}


def envelope(**value):
    change = {"field": "messages", "value": {"metadata": {"phone_number_id": "1"}, **value}}
    return {"object": "whatsapp_business_account", "entry": [{"id": "2", "changes": [change]}]}


def request(body):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WebhookRequest("POST", "https://h/", {"Content-Type": "application/json"}, raw, received_at=CAME)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b"[" * 300 + b"]" * 300, "nested too deep"),
        (b'{"entry":' * 50_000, "nested too deep"),
        (b'{"entry":[{"id":' + b"7" * 5_000 + b"}]}", "a number is too long"),
        (b'{"entry":NaN}', "NaN is no number"),
        (b'{"entry":-Infinity}', "-Infinity is no number"),
        (b'{"entry":1e999}', "a number is too large"),
        (b'{"entry":"\x00"}', "not JSON"),
        (b"\xff\xfe{", "not UTF-8"),
        ('{"entry":[]}'.encode("utf-16"), "not UTF-8"),
        (b"", "not JSON"),
        (b"<xml/>", "not JSON"),
        (b'{"entry":[]', "not JSON"),
        (b'{"entry":[' + b"1," * 10_001 + b"1]}", "more than 10000 items"),
    ],
)
def test_unreadable_bodies_say_why(body, reason):
    with pytest.raises(WebhookMalformed, match=reason):
        META.parse_webhook(request(body))
    assert META.account_keys_in(request(body)) == [] or b"1," in body


@pytest.mark.parametrize("body", [[], {}, None, 1, "x", True, {"entry": {}}, {"entry": 1}, {"entry": [None, [], 1]}])
def test_no_envelope_is_an_item_that_looks_damaged(body):
    items = META.parse_webhook(request(body))

    assert items
    assert all(isinstance(item, UnknownItem) and item.malformed for item in items)


@pytest.mark.parametrize("text", ["STOP\x00", "\ud800", "a\udfffb"])
def test_half_characters_and_nul_spoil_only_their_own_item(text):
    poisoned = {**INBOUND, "text": {"body": text}}
    bad, good, status = META.parse_webhook(request(envelope(messages=[poisoned, INBOUND], statuses=[STATUS])))

    assert isinstance(bad, UnknownItem)
    assert bad.malformed
    assert not bad_text(bad.raw)
    assert isinstance(good, InboundItem)
    assert isinstance(status, StatusItem)


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [("1750030073", 1750030073), (1750030073, 1750030073), ("1750030073123", 1750030073), (1750030073123, 1750030073)],
)
def test_times_come_in_seconds_or_milliseconds(stamp, seconds):
    (item,) = META.parse_webhook(request(envelope(statuses=[{**STATUS, "timestamp": stamp}])))

    assert int(item.at.timestamp()) == seconds


@pytest.mark.parametrize(
    "stamp", [None, "", "soon", "-1", 0, -5, True, [], {}, "17500300731234567", 10**24, 1e300, "１７５００３００７３"]
)
def test_an_impossible_time_makes_the_item_unknown(stamp):
    (item,) = META.parse_webhook(request(envelope(statuses=[{**STATUS, "timestamp": stamp}])))

    assert isinstance(item, UnknownItem)


def test_a_status_may_miss_everything_but_its_message():
    bare = {"id": "wamid.A", "status": "failed", "timestamp": "1750030073"}
    (item,) = META.parse_webhook(request(envelope(statuses=[bare])))

    assert (item.recipient, item.pricing, item.correlation_id) == (None, None, None)
    assert item.error[:2] == ("request", "unknown")


@pytest.mark.parametrize("missing", ["object", "field"])
def test_object_and_field_may_be_missing(missing):
    body = envelope(statuses=[STATUS])
    body.pop(missing, None)
    body["entry"][0]["changes"][0].pop(missing, None)

    assert [type(item) for item in META.parse_webhook(request(body))] == [StatusItem]


def test_a_batch_is_read_to_its_end_in_its_order():
    value = {"statuses": [{**STATUS, "id": f"wamid.{n}"} for n in range(700)]}
    body = envelope(**value)
    body["entry"] = [deepcopy(body["entry"][0]) for _ in range(3)]
    for n, entry in enumerate(body["entry"]):
        for status in entry["changes"][0]["value"]["statuses"]:
            status["id"] += f".{n}"

    items = META.parse_webhook(request(body))

    assert [item.external_id for item in items] == [f"wamid.{n}.{entry}" for entry in range(3) for n in range(700)]


KEYS = ["object", "entry", "id", "time", "changes", "field", "value", "messages", "statuses", "errors", "metadata"]
KEYS += ["user_preferences", "timestamp", "status", "from", "type", "text", "body", "button", "interactive", "code"]
KEYS += ["phone_number_id", "message_template_id", "event", "pricing", "billable", "contacts", "profile", "context"]
KEYS += ["system", "restriction_info", "ban_info", "new_quality_score", "wa_id", "recipient_id", "error_data"]
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["messages", "failed", "read", "stop", "text", "1750030073", "account_update", "\ud800", "a\x00"])
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def planted(body, path, value):
    if not path:
        return value
    body = deepcopy(body)
    target = body
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return body


WHOLE = envelope(
    messages=[INBOUND, {**INBOUND, "type": "button", "button": {"payload": "P", "text": "T"}, "context": {"id": "w"}}],
    statuses=[{**STATUS, "pricing": {"billable": True}, "errors": [{"code": 1, "error_data": {"details": "x"}}]}],
    contacts=[{"wa_id": "40722000001", "profile": {"name": "Ana"}}],
    user_preferences=[{"wa_id": "40722000001", "value": "stop", "timestamp": 1750030073}],
    errors=[{"code": 130429}],
)
PLACES = list(places(WHOLE))
ABOUT = {"message_template_id": 7, "message_template_name": "a", "message_template_language": "en-US"}
TOLD = {
    "account_update": {
        "event": "ACCOUNT_RESTRICTION",
        "restriction_info": [{"restriction_type": "RESTRICTED_ALL", "expiration": 1750030073}],
        "ban_info": {"waba_ban_state": "DISABLE", "waba_ban_date": "April 3, 2026"},
        "violation_info": {"violation_type": "SCAM"},
        "volume_tier_info": {
            "tier": "0:5",
            "pricing_category": "UTILITY",
            "region": "X",
            "tier_update_time": 1750030073,
        },
        "waba_info": {"waba_id": "5"},
        "partner_client_certification_info": {"status": "APPROVED", "rejection_reasons": ["NONE"]},
        "country": "RO",
    },
    "account_alerts": {
        "entity_type": "WABA",
        "entity_id": "5",
        "alert_info": {"alert_severity": "LOW", "alert_type": "X", "alert_description": "Y"},
    },
    "phone_number_quality_update": {"display_phone_number": "40310000001", "event": "X", "current_limit": "TIER_1K"},
    "phone_number_name_update": {"decision": "X", "requested_verified_name": "Y", "rejection_reason": "Z"},
    "business_capability_update": {"max_daily_conversations_per_business": 5, "max_phone_numbers_per_waba": 5},
    "message_template_status_update": {
        **ABOUT,
        "event": "REJECTED",
        "reason": "NONE",
        "disable_info": {"disable_date": "1750030073"},
        "other_info": {"title": "T", "description": "D"},
        "rejection_info": {"reason": "R", "recommendation": "W"},
    },
    "message_template_quality_update": {**ABOUT, "previous_quality_score": "GREEN", "new_quality_score": "RED"},
    "template_category_update": {**ABOUT, "new_category": "UTILITY", "correct_category": "MARKETING"},
    "messages": {
        "messages": [
            {**INBOUND, "type": "system", "system": {"type": "user_changed_number", "wa_id": "1", "user_id": "RO.1"}},
            {**INBOUND, "type": "edit", "edit": {"original_message_id": "w", "message": {"type": "text", "text": {}}}},
            {**INBOUND, "type": "reaction", "reaction": {"message_id": "w", "emoji": "x"}},
        ],
        "contacts": [{"wa_id": "40722000001", "user_id": "RO.1", "profile": {"name": "Ana"}}],
        "statuses": [{**STATUS, "recipient_participant_id": "1", "recipient_participant_user_id": "RO.1"}],
    },
}
NEWS = {"entry": [{"id": "2", "time": 1750030073, "changes": [{"field": f, "value": v} for f, v in TOLD.items()]}]}
NEWS_PLACES = list(places(NEWS))


@pytest.mark.parametrize("name", ["meta_cloud", "dialog360"])
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    value=ANY_JSON,
    place=st.sampled_from([(WHOLE, place) for place in PLACES] + [(NEWS, place) for place in NEWS_PLACES]),
)
def test_any_json_anywhere_gives_items_or_a_reason(name, value, place):
    raw = json.dumps(planted(*place, value)).encode()
    provider = account(provider_named(name))
    result = parsed(provider, request(raw))

    assert isinstance(provider.account_keys_in(request(raw)), list)
    if isinstance(result, str):
        return
    for item in result:
        assert item.at.utcoffset().total_seconds() == 0
        assert not bad_text(item.raw)
        assert not bad_text(list(item.account_refs))
        json.dumps(item.raw, allow_nan=False).encode()
        for field in fields(item):
            value = getattr(item, field.name)
            assert not bad_text(list(value) if isinstance(value, tuple) else value), field.name
        hash(item.key)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["MessageSid", "MessageStatus", "From", "To", "Body", "ErrorCode", "AccountSid", "", "X"])
            | st.sampled_from(["NumMedia", "MediaContentType0", "Latitude", "Longitude", "MessageType", "ButtonText"])
            | st.sampled_from(["ExternalUserId", "OptOutType", "WaId", "OriginalRepliedMessageSid", "EventType"])
            | st.text(max_size=3),
            st.sampled_from(["sent", "failed", "received", "whatsapp:+40722000001", "whatsapp:US.1", "9" * 9999, "٣"])
            | st.text(max_size=5),
        ),
        max_size=8,
    )
)
def test_any_form_gives_items_or_a_reason(fields):
    asked = WebhookRequest("POST", "https://h/?mid=m.1", {}, b"", form=fields, received_at=CAME)
    result = parsed(TWILIO, asked)

    assert isinstance(TWILIO.account_keys_in(asked), list)
    assert isinstance(result, str) or (len(result) == 1 and not bad_text(result[0].raw))
