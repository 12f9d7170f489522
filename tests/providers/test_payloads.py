"""Every collected webhook body, read: kind of payload → the items it must give."""

import json
from datetime import UTC, datetime

import pytest

from wa_dashboard.providers.base import (
    AccountItem,
    InboundItem,
    PreferenceItem,
    StatusItem,
    TemplateStatusItem,
    UnknownItem,
    WebhookRequest,
    provider_named,
)

from .samples import PAYLOADS, account, needs_contracts

CAME = datetime(2026, 11, 23, 12, tzinfo=UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PROVIDERS = {"meta": "meta_cloud", "dialog360": "dialog360", "twilio": "twilio"}
S, I, T, P, A, U = StatusItem, InboundItem, TemplateStatusItem, PreferenceItem, AccountItem, UnknownItem  # noqa: E741

# The second part of a file's name (before the last capitals) → what it gives. A name alone when it stands out.
EXPECTED = {
    "account_alerts": [A],
    "account_review_update": [A],
    "account_update": [A],
    "business_capability_update": [A],
    "edge_malformed": [U],
    "edge_unknown_status": [U],
    "empty": [],
    "errors": [A],
    "inbound": [I],
    "message_template_components_update": [T],
    "message_template_quality_update": [T],
    "phone_number_name_update": [A],
    "phone_number_quality_update": [A],
    "security": [A],
    "status": [S],
    "template_category_update": [T],
    "template_status": [T],
    "unknown_field": [U],
    "user_preferences": [P],
    "piusalfred_message_and_preferences": [I, P],
    "pywa_message_interactive_message_with_err": [I, A],
}
FILES = sorted(PAYLOADS.glob("*/webhook__*"))


def expected_of(path):
    _, topic, detail = path.stem.split("__", 2)
    if detail in EXPECTED:
        return EXPECTED[detail]
    return EXPECTED[max((name for name in EXPECTED if topic.startswith(name)), key=len)]


def read(path, url="https://wa.example.org/api/wa/webhook/abc"):
    kind = provider_named(PROVIDERS[path.parent.name])
    headers = FORM if path.suffix == ".txt" else {"Content-Type": "application/json"}
    body = path.read_bytes().strip() if path.suffix == ".txt" else path.read_bytes()
    return kind, WebhookRequest("POST", url, headers, body, received_at=CAME)


def only(folder, name):
    (path,) = PAYLOADS.glob(f"{folder}/webhook__{name}*")
    kind, request = read(path)
    (item,) = account(kind).parse_webhook(request)
    return item


@needs_contracts
@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem[9:]}" for path in FILES])
def test_every_collected_webhook_gives_its_items(path):
    kind, request = read(path)
    items = account(kind).parse_webhook(request)

    if "four_changes" in path.name:
        assert len(items) == count_in_batch(path)
        assert {type(item) for item in items} == {I, P}
    else:
        assert [type(item) for item in items] == expected_of(path)
    assert len({item.key for item in items}) == len(items)
    assert items == account(kind).parse_webhook(request), "the same body gives the same keys"
    assert set(kind.account_keys_in(request)) >= {r for i in items for r in i.account_refs if kind.name == "twilio"}


KEYS = ("messages", "statuses", "errors", "user_preferences")


def count_in_batch(path):
    changes = [change for entry in json.loads(path.read_bytes())["entry"] for change in entry["changes"]]
    return sum(len(change["value"].get(key, [])) for change in changes for key in KEYS)


@needs_contracts
def test_failed_status_says_why():
    item = only("meta", "status_failed__log_131050")

    assert (item.status, item.error.code, item.error.error_class) == ("failed", "131050", "recipient_optout")
    assert item.recipient == "+16505551234"
    assert item.at == datetime(2025, 6, 18, 5, 33, 26, tzinfo=UTC)


@needs_contracts
def test_an_unknown_error_of_a_failed_status_is_a_request_error():
    assert only("meta", "status_failed__courier_error").error[:2] == ("request", "131014")


@needs_contracts
def test_pricing_is_read_and_billable_may_be_a_string():
    regular = only("dialog360", "status_delivered").pricing
    odd = only("dialog360", "status_read").pricing

    assert (regular.billable, regular.category, regular.model, regular.type) == (True, "utility", "PMP", "regular")
    assert (odd.billable, odd.category) == (True, "marketing")


@needs_contracts
def test_button_replies_carry_payload_and_what_they_answer():
    item = only("meta", "inbound_button__fbopenapi")

    assert (item.text, item.button_payload, item.type) == ("Unsubscribe", "Unsubscribe", "button")
    assert item.in_reply_to.startswith("wamid.")
    assert item.from_phone == "+16505551234"
    assert item.profile_name == "Sheena Nelson"


@needs_contracts
def test_people_without_a_number_are_known_by_their_id():
    for item in (only("meta", "inbound_text_bsuid_only"), only("dialog360", "inbound_bsuid")):
        assert item.from_phone is None
        assert item.from_user_id.startswith("US.")


@needs_contracts
def test_system_messages_are_no_words_of_the_person():
    item = only("meta", "inbound_system__bsuid_changed")

    assert (item.type, item.text, item.from_phone) == ("system", None, "+16505551234")


@needs_contracts
def test_template_news():
    rejected = only("meta", "template_status_REJECTED")
    paused = only("meta", "template_status_PAUSED")
    announced = only("meta", "template_category_update__metadocs_template_category_update_1")
    moved = only("meta", "template_category_update__metadocs_template_category_update_2")
    quality = only("meta", "message_template_quality_update")
    approved = only("meta", "template_status_APPROVED__metadocs_message")

    assert (rejected.status, rejected.reason, rejected.category) == ("rejected", "ABUSIVE_CONTENT", "marketing")
    assert (paused.status, paused.reason) == ("paused", "RATE_LIMITING_PAUSE")
    assert (announced.change, announced.category) == ("announced", "marketing")
    assert announced.effective_at == datetime(2025, 5, 2, 7, tzinfo=UTC)
    assert (moved.change, moved.category, moved.status) == ("category", "marketing", None)
    assert (quality.change, quality.quality, quality.status) == ("quality", "yellow", None)
    assert (approved.status, approved.reason, approved.language) == ("approved", None, "en_US")
    assert approved.external_id == "1689556908129832"
    assert only("meta", "template_status_FLAGGED").status == "approved"
    assert only("meta", "template_status_PENDING_DELETION").status == "deleted"


@needs_contracts
@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("account_update_ACCOUNT_DELETED", "stop"),
        ("account_update_ACCOUNT_OFFBOARDED", "stop"),
        ("account_update_ACCOUNT_RECONNECTED", "resume"),
        ("account_update_ACCOUNT_RESTRICTION__metadocs_call_settings_1", "info"),
        ("account_update_DISABLED_UPDATE__composed", "resume"),
        ("account_update_ACCOUNT_VIOLATION", "info"),
        ("account_update_PARTNER_REMOVED", "stop"),
        ("account_update_MM_LITE", "info"),
    ],
)
def test_account_news_stops_or_resumes(name, effect):
    assert only("meta", name).effect == effect


@needs_contracts
def test_preferences_are_about_one_person():
    stop = only("meta", "user_preferences_stop")

    assert (stop.phone, stop.value) == ("+16315551181", "stop")
    assert only("meta", "user_preferences_resume").value == "resume"
    assert only("meta", "user_preferences_signup").value == "resume"


@needs_contracts
def test_items_say_which_account_they_claim():
    assert set(only("meta", "status_sent__metadocs_status_2").account_refs) >= {
        "pnid:106540352242922",
        "waba:102290129340398",
    }
    assert only("twilio", "status_sent__log").account_refs == ("sid:AC8a8bb7cd343aa2ad99b7d762030857a2",)


@needs_contracts
def test_twilio_inbound_variants():
    stop = only("twilio", "inbound_stop")
    button = only("twilio", "inbound_button__real")
    person = only("twilio", "inbound_bsuid__courier_waReceiveFromBSUID")

    assert (stop.opt_out_type, stop.text, stop.from_phone) == ("stop", "Stop", "+40700000001")
    assert (button.text, button.button_payload) == ("Konfirmasi", "{verifyEmail:asd@asd.com}")
    assert button.in_reply_to == "MM2d387ab98437e5f528a87b031a086256"
    assert (button.from_phone, button.from_user_id) == ("+6285000000035", "ID.4566000000000823")
    assert (person.from_phone, person.from_user_id) == (None, "US.1234")
    assert stop.at == CAME


@needs_contracts
def test_twilio_receipts_bring_our_id_back_in_the_address():
    path = next(PAYLOADS.glob("twilio/webhook__status_failed__courier_statusStop.txt"))
    kind, request = read(path, "https://wa.example.org/api/wa/webhook/abc?mid=msg_01.2")
    (item,) = account(kind).parse_webhook(request)

    assert item.correlation_id == "msg_01.2"
    assert (item.status, item.error.error_class) == ("failed", "recipient_optout")
    assert item.recipient == "+12028831111"


@needs_contracts
def test_a_meta_callback_brings_our_id_back():
    (path,) = PAYLOADS.glob("meta/webhook__status_sent__metadocs_status_2*")
    body = json.loads(path.read_bytes())
    body["entry"][0]["changes"][0]["value"]["statuses"][0]["biz_opaque_callback_data"] = "msg_01.3"
    (item,) = account(provider_named("meta_cloud")).parse_webhook(
        WebhookRequest("POST", "https://h/", {}, json.dumps(body).encode())
    )

    assert item.correlation_id == "msg_01.3"
