"""What each provider's real answers come to."""

import json

import pytest

from wa_dashboard.providers.base import WireReply, provider_named

from .samples import PAYLOADS, account, each_provider, needs_contracts

META, TWILIO, DIALOG = provider_named("meta_cloud"), provider_named("twilio"), provider_named("dialog360")


def meta_error(code, **more):
    return json.dumps({"error": {"message": f"(#{code}) x", "code": code, "fbtrace_id": "Az8", **more}}).encode()


def read(kind, status, body, **headers):
    return account(kind).read_send(WireReply(status, headers, body if isinstance(body, bytes) else body.encode()))


# status, code → kind, class, scope, least wait
META_ANSWERS = [
    (400, 130429, "throttled", "throttle", "sender", None),
    (400, 131056, "throttled", "throttle", "pair", 6.0),
    (400, 80007, "throttled", "throttle", "account", 60.0),
    (400, 4, "throttled", "throttle", "account", 60.0),
    (400, 131048, "throttled", "throttle", "sender", 900.0),
    (401, 190, "rejected", "account_stop", "account", None),
    (400, 190, "rejected", "account_stop", "account", None),
    (403, 250, "rejected", "account_stop", "account", None),
    (400, 131042, "rejected", "account_stop", "account", None),
    (400, 133010, "rejected", "account_stop", "sender", None),
    (403, 130497, "rejected", "account_stop", "recipient", None),
    (503, 2, "not_sent", "transient", "provider", None),
    (500, 2, "not_sent", "transient", "provider", None),
    (503, 131016, "not_sent", "transient", "provider", None),
    (500, 131057, "not_sent", "transient", "sender", 60.0),
    (500, 131000, "ambiguous", "ambiguous", "message", None),
    (400, 135000, "ambiguous", "ambiguous", "message", None),
    (404, 132001, "rejected", "template", "template", None),
    (400, 132015, "rejected", "template", "template", None),
    (400, 132012, "rejected", "template", "message", None),
    (400, 131063, "rejected", "template", "template", None),
    (400, 100, "rejected", "request", "message", None),
    (400, 134011, "rejected", "request", "message", None),
    (400, 131026, "rejected", "recipient", "recipient", None),
    (400, 131050, "rejected", "recipient_optout", "recipient", None),
    (400, 131049, "rejected", "recipient_defer", "recipient", None),
    (400, 131047, "rejected", "window", "recipient", None),
    (400, 999999, "rejected", "request", "message", None),
    (500, 999999, "ambiguous", "ambiguous", "provider", None),
    (200, 131026, "rejected", "recipient", "recipient", None),
]


@pytest.mark.parametrize("kind", [META, DIALOG], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("status", "code", "outcome", "error_class", "scope", "wait"), META_ANSWERS)
def test_meta_codes_decide_whatever_the_status(kind, status, code, outcome, error_class, scope, wait):
    found = read(kind, status, meta_error(code))

    assert (found.kind, found.error_class, found.scope, found.retry_after) == (outcome, error_class, scope, wait)
    assert found.code == str(code)
    assert "Az8" in found.detail


@pytest.mark.parametrize("status", [200, 400, 401, 429])
def test_an_answer_that_broke_off_decides_nothing(status):
    body = b'{"error":{"code":131026}}' if status != 200 else b'{"messages":[{"id":"wamid.X"}]}'

    assert account(META).read_send(WireReply(status, {}, body, error="truncated")).kind == "ambiguous"


def test_meta_maintenance_is_told_by_the_subcode():
    found = read(META, 400, meta_error(1, error_subcode=2494100))

    assert (found.kind, found.code, found.scope) == ("not_sent", "2494100", "sender")


def test_meta_words_for_people_come_first_in_the_detail():
    found = read(META, 400, meta_error(100, error_subcode=2388299, error_user_title="No.", error_user_msg="Leading."))

    assert found.code == "2388299"
    assert found.detail.startswith("No. · Leading.")


def test_the_longer_wait_wins():
    assert read(META, 400, meta_error(131056), **{"Retry-After": "2"}).retry_after == 6
    assert read(META, 400, meta_error(131056), **{"Retry-After": "40"}).retry_after == 40


@pytest.mark.parametrize(
    ("kind", "code", "holds"),
    [
        (META, 190, "account"),
        (META, 131048, "sender"),
        (META, 133010, "sender"),
        (META, 130497, None),
        (META, 130429, None),
        (META, 131026, None),
    ],
)
def test_what_must_hold_is_said(kind, code, holds):
    assert read(kind, 400, meta_error(code)).holds == holds


@pytest.mark.parametrize("kind", [META, DIALOG], ids=lambda kind: kind.name)
def test_meta_acceptance_needs_only_the_id(kind):
    for status in (200, 201):
        found = read(kind, status, '{"messages":[{"id":"wamid.X","message_status":"held_for_quality_assessment"}]}')

        assert (found.kind, found.external_id, found.error_class) == ("accepted", "wamid.X", None)


DIALOG_ANSWERS = [
    (401, {"meta": {"success": False, "http_code": 401, "developer_message": "Invalid api_key"}}, "account_stop"),
    (400, {"meta": {"httpCode": 400, "developerMessage": "Your number has been disabled"}}, "account_stop"),
    (400, {"error": "Could not send message due to lack of payment"}, "account_stop"),
    (400, {"meta": {"developer_message": "You have exceeded the endpoint rate limit."}}, "throttle"),
    (400, {"error": {"message": "You have exceeded the limit of 5 requests every 1 seconds"}}, "throttle"),
    (403, {"error": "The endpoint is blocked"}, "request"),
    (502, {"error": "WhatsApp for Business API not available"}, "transient"),
    (500, {"error": "Internal server error"}, "ambiguous"),
    (500, {}, "ambiguous"),
    (400, {"meta": {"success": False}}, "request"),
    (400, {"error": "something new"}, "request"),
    (403, {"error": {"code": 250012}}, "ambiguous"),
]


@pytest.mark.parametrize(("status", "body", "error_class"), DIALOG_ANSWERS)
def test_dialog360_sentences_are_read_in_every_shape(status, body, error_class):
    assert read(DIALOG, status, json.dumps(body)).error_class == error_class


TWILIO_ANSWERS = [
    (400, 21211, "rejected", "recipient", "recipient"),
    (400, 21610, "rejected", "recipient_optout", "recipient"),
    (400, 63016, "rejected", "window", "recipient"),
    (401, 20003, "rejected", "account_stop", "account"),
    (400, 63007, "rejected", "account_stop", "sender"),
    (400, 21408, "rejected", "account_stop", "recipient"),
    (429, 20429, "throttled", "throttle", "account"),
    (429, 63038, "throttled", "throttle", "account"),
    (400, 63018, "throttled", "throttle", "sender"),
    (503, 20503, "not_sent", "transient", "provider"),
    (500, 20500, "ambiguous", "ambiguous", "provider"),
    (400, 21655, "rejected", "template", "template"),
    (400, 92003, "rejected", "request", "message"),
    (400, 77777, "rejected", "request", "message"),
    (500, 77777, "ambiguous", "ambiguous", "message"),
]


@pytest.mark.parametrize(("status", "code", "outcome", "error_class", "scope"), TWILIO_ANSWERS)
def test_twilio_codes_decide(status, code, outcome, error_class, scope):
    found = read(TWILIO, status, json.dumps({"code": code, "message": "No.", "status": status}))

    assert (found.kind, found.error_class, found.scope, found.code) == (outcome, error_class, scope, str(code))


def test_twilio_credit_without_code_is_a_no():
    assert read(TWILIO, 400, '{"error":"out of credits"}').kind == "rejected"


def test_twilio_created_and_failed_at_once_is_not_accepted():
    found = read(TWILIO, 201, '{"sid":"SM0123456789abcdef0123456789abcdef","status":"failed","error_code":63024}')

    assert (found.kind, found.code, found.external_id) == ("rejected", "63024", "SM0123456789abcdef0123456789abcdef")


EXPECTED = {
    "dialog360/response__error__http400_meta_false": "rejected",
    "dialog360/response__error__http400_rate_limit": "throttled",
    "dialog360/response__error__http401_invalid_key": "rejected",
    "dialog360/response__error__http403_meta_style": "ambiguous",
    "dialog360/response__error__http502_unavailable": "not_sent",
    "dialog360/response__send_ok__courier_200": "accepted",
    "dialog360/response__send_ok__goprovider_wamid": "accepted",
    "meta/response__error__http400_100_mm_api": "rejected",
    "meta/response__error__http400_131053": "not_sent",
    "meta/response__error__http403_131056_minimal": "throttled",
    "meta/response__error__http403_368": "rejected",
    "meta/response__error__http429_613": "throttled",
    "meta/response__error__http500_code2_transient": "not_sent",
    "meta/response__error__http500_not_json": "ambiguous",
    "meta/response__send_ok__send_ok_no_message_status": "accepted",
    "meta/response__send_ok__send_ok_phone_and_bsuid": "accepted",
    "twilio/response__error__http200_without_sid": "ambiguous",
    "twilio/response__error__http400_21603": "rejected",
    "twilio/response__error__http400_21610_minimal": "rejected",
    "twilio/response__error__http429_20429": "throttled",
    "twilio/response__message_created__oai_createScheduledMessageSms": "accepted",
    "twilio/response__message_created__oai_createWithMessagingService": "accepted",
    "twilio/response__message_created__oai_createWoService": "accepted",
}
KIND_OF_FOLDER = {"meta": META, "twilio": TWILIO, "dialog360": DIALOG}


@needs_contracts
def test_every_collected_answer_is_classified():
    found = {}
    for path in sorted(PAYLOADS.glob("*/response__*")):
        topic = path.name.split("__")[1]
        if topic not in ("error", "send_ok", "message_created"):
            continue
        detail = path.stem.split("__")[2]
        status = int(detail[4:7]) if detail.startswith("http") else 201
        name = f"{path.parent.name}/{path.stem}"
        found[name] = read(KIND_OF_FOLDER[path.parent.name], status, path.read_bytes()).kind

    assert found == EXPECTED


@each_provider
def test_a_wrong_key_is_explained_by_the_probe_words(kind):
    found = account(kind).judged(WireReply(200, {}, b"{}"))

    assert found.kind == "accepted"
