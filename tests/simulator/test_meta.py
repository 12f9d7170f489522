"""Meta's door: strict sends, strict templates, signed callbacks."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

META_NUMBER, WABA, SECRET = "106540352242922", "102290129340398", b"0123456789abcdef0123456789abcdef"


def refused(answer: Any, code: int, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert error["type"]
    assert error["message"]
    assert error["fbtrace_id"].startswith("A")
    return error


def test_accepted_send_answers_as_meta_and_is_in_the_ledger_first(lab, contracts):
    lab.template()
    answer = lab.send()
    assert answer.status_code == 200
    body = answer.json()
    assert body["contacts"] == [{"input": "+40700000001", "wa_id": "40700000001"}]
    assert body["messages"][0]["message_status"] == "accepted"
    assert body["messages"][0]["id"].startswith("wamid.HBgL")
    sample = json.loads((contracts / "payloads/meta/response__send_ok__send_ok_no_message_status.json").read_text())
    assert body.keys() == sample.keys()
    (line,) = lab.ledger()
    assert line["provider_id"] == body["messages"][0]["id"]
    expected = {
        "provider": "meta_cloud", "account": META_NUMBER, "correlation_id": "msg_1.1", "recipient": "+40700000001",
        "template": "order_confirmed", "language": "ro",
    }  # fmt: skip
    assert {k: line[k] for k in expected} == expected
    assert line["at"].endswith("Z")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic EAAJBtest", "Bearer "])
def test_wrong_token_is_190(lab, header):
    lab.template()
    headers = {"Authorization": header} if header else {}
    answer = lab.http.post(f"{lab.meta}/{META_NUMBER}/messages", headers=headers, json=lab.message())
    refused(answer, 190, 401)
    assert lab.ledger() == []


def test_another_number_is_unknown_to_this_token(lab):
    error = refused(lab.http.post(f"{lab.meta}/999999/messages", headers=lab.bearer, json=lab.message()), 100)
    assert error["error_subcode"] == 33
    refused(lab.http.get(f"{lab.meta}/{WABA}/nothing", headers=lab.bearer), 2500)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(message: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        spot: Any = message
        for key in parents:
            spot = spot[int(key)] if key.isdigit() else spot[key]
        if value is KeyError:
            del spot[last]
        elif isinstance(spot, list):
            spot[int(last)] = value
        else:
            spot[last] = value

    return apply


PARAMETERS = "template.components.0.parameters"
STRICT = [
    ("unknown top field", change("foo", 1), 100, 400),
    ("unknown template field", change("template.namespace", "x"), 100, 400),
    ("unknown component field", change("template.components.0.x", 1), 100, 400),
    ("unknown parameter field", change(f"{PARAMETERS}.0.x", 1), 100, 400),
    ("no product", change("messaging_product", KeyError), 100, 400),
    ("no recipient", change("to", KeyError), 131008, 400),
    ("letters as number", change("to", "+40abc"), 131009, 400),
    ("leading zero", change("to", "0722000000"), 131009, 400),
    ("number as integer", change("to", 40700000001), 131009, 400),
    ("to itself", change("to", "+15550783881"), 131021, 400),
    ("callback data too long", change("biz_opaque_callback_data", "x" * 513), 100, 400),
    ("another type", change("type", "sticker"), 131051, 400),
    ("other template", change("template.name", "nothing"), 132001, 404),
    ("other language", change("template.language.code", "en"), 132001, 404),
    ("policy", change("template.language.policy", "fallback"), 100, 400),
    ("no components", change("template.components", KeyError), 132000, 400),
    ("one parameter", change(PARAMETERS, [{"type": "text", "parameter_name": "event", "text": "x"}]), 132000, 400),
    ("unknown name", change(f"{PARAMETERS}.0.parameter_name", "nume"), 132012, 400),
    ("name twice", change(f"{PARAMETERS}.0.parameter_name", "event"), 132012, 400),
    ("position for a named template", change(f"{PARAMETERS}.0.parameter_name", KeyError), 132012, 400),
    ("currency for text", change(f"{PARAMETERS}.0.type", "currency"), 132012, 400),
    ("empty text", change(f"{PARAMETERS}.0.text", ""), 131008, 400),
    ("newline", change(f"{PARAMETERS}.0.text", "a\nb"), 132018, 400),
    ("tab", change(f"{PARAMETERS}.0.text", "a\tb"), 132018, 400),
    ("five spaces", change(f"{PARAMETERS}.0.text", "a     b"), 132018, 400),
    ("too long when filled", change(f"{PARAMETERS}.0.text", "x" * 1024), 132005, 400),
    ("header that is not there", change("template.components.0.type", "header"), 132000, 400),
    ("component type", change("template.components.0.type", "footer"), 100, 400),
    ("text beside template", change("text", {"body": "x"}), 100, 400),
]


@pytest.mark.parametrize(("what", "apply", "code", "status"), STRICT, ids=[row[0] for row in STRICT])
def test_what_meta_refuses_is_refused_and_not_in_the_ledger(lab, what, apply, code, status):
    lab.template()
    message = lab.message()
    apply(message)
    refused(lab.send(message), code, status)
    assert lab.ledger() == []


def test_four_spaces_and_a_number_without_plus_are_accepted(lab):
    lab.template()
    message = lab.message(to="40700000001")
    message["template"]["components"][0]["parameters"][0]["text"] = "a    b"
    assert lab.send(message).json()["contacts"] == [{"input": "40700000001", "wa_id": "40700000001"}]


def test_not_json(lab):
    url = f"{lab.meta}/{META_NUMBER}/messages"
    refused(lab.http.post(url, headers=lab.bearer, data={"to": "+40700000001"}), 100)
    refused(lab.http.post(url, headers={**lab.bearer, "Content-Type": "application/json"}, data="[1]"), 100)


@pytest.mark.parametrize(("event", "code", "status"), [
    ("PENDING", 132001, 404), ("REJECTED", 132001, 404), ("PAUSED", 132015, 400), ("DISABLED", 132016, 400),
    ("DELETED", 132001, 404),
])  # fmt: skip
def test_only_approved_templates_are_sent(lab, event, code, status):
    lab.template()
    lab.approve("meta_cloud", WABA, "order_confirmed", event=event)
    refused(lab.send(), code, status)


@pytest.mark.parametrize("event", ["FLAGGED", "REINSTATED", "UNARCHIVED"])
def test_flagged_templates_are_still_sent(lab, event):
    lab.template()
    lab.approve("meta_cloud", WABA, "order_confirmed", event=event)
    assert lab.send().status_code == 200


def test_positional_header_and_buttons(lab):
    buttons = [
        {"type": "URL", "text": "Bilete", "url": "https://t.example.org/{{1}}", "example": ["https://t.example.org/T"]},
        {"type": "QUICK_REPLY", "text": "Dezabonare"},
    ]
    lab.template(parameter_format="POSITIONAL", components=[
        {"type": "header", "format": "text", "text": "Comanda {{1}}", "example": {"header_text": ["8841"]}},
        {"type": "body", "text": "Salut {{1}}, ne vedem curând la {{2}} împreună.",
         "example": {"body_text": [["Ana", "Concert"]]}},
        {"type": "footer", "text": "Scrie STOP"},
        {"type": "buttons", "buttons": buttons},
    ])  # fmt: skip
    header = {"type": "header", "parameters": [{"type": "text", "text": "42"}]}
    body = {"type": "body", "parameters": [{"type": "text", "text": "Ana"}, {"type": "text", "text": "Arenă"}]}
    url = {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "T-1"}]}
    reply = {"type": "button", "sub_type": "QUICK_REPLY", "index": 1,
             "parameters": [{"type": "payload", "payload": "STOP_MKT"}]}  # fmt: skip
    message = lab.message()
    message["template"]["components"] = [header, body, url, reply]
    assert lab.send(message).status_code == 200
    (seen,) = lab.phone("+40700000001")
    assert (seen["header"], seen["footer"]) == ("Comanda 42", "Scrie STOP")
    assert seen["text"] == "Salut Ana, ne vedem curând la Arenă împreună."
    assert [b.get("url") or b["payload"] for b in seen["buttons"]] == ["https://t.example.org/T-1", "STOP_MKT"]

    def without(*parts: dict[str, Any]) -> Any:
        changed = copy.deepcopy(message)
        changed["template"]["components"] = list(parts)
        return lab.send(changed)

    refused(without(header, body), 131008)
    refused(without(body, url), 132000)
    refused(without(header, body, {**url, "sub_type": "quick_reply"}), 132012)
    refused(without(header, body, {**url, "index": "7"}), 131009)
    named = [{**p, "parameter_name": "a"} for p in body["parameters"]]
    refused(without(header, {"type": "body", "parameters": named}, url), 132012)
    assert without(header, body, url).status_code == 200


def test_authentication_template_takes_the_code_twice(lab):
    lab.template(name="cod", language="en", category="AUTHENTICATION", parameter_format="POSITIONAL", components=[
        {"type": "BODY", "add_security_recommendation": True},
        {"type": "FOOTER", "code_expiration_minutes": 10},
        {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy code"}]},
    ])  # fmt: skip
    code = [{"type": "text", "text": "123456"}]
    message = lab.message()
    message["template"] = {"name": "cod", "language": {"code": "en"}, "components": [
        {"type": "body", "parameters": code},
        {"type": "button", "sub_type": "url", "index": "0", "parameters": code},
    ]}  # fmt: skip
    assert lab.send(message).status_code == 200
    assert lab.phone("+40700000001")[0]["text"].startswith("*123456* is your verification code.")
    message["template"]["components"].pop()
    refused(lab.send(message), 131008)


def body_of(text: str, *names: str) -> dict[str, Any]:
    samples = [{"param_name": n, "example": "x"} for n in names]
    return {"type": "BODY", "text": text, "example": {"body_text_named_params": samples}}


OK_BODY = body_of("Salut {{a}}, ne vedem mâine.", "a")
URL = {"type": "URL", "text": "Da", "url": "https://x.example/{{1}}", "example": ["https://x.example/1"]}
QUICK = {"type": "QUICK_REPLY", "text": "Nu"}
PHONE = {"type": "PHONE_NUMBER", "text": "Sună", "phone_number": "+40310000000"}


def header(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "HEADER", "format": "TEXT", "text": text, **more}


def buttons(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"type": "BUTTONS", "buttons": list(rows)}


DRAFTS = [
    ("name", {"name": "Order Confirmed"}, None),
    ("category", {"category": "TRANSACTIONAL"}, None),
    ("language", {"language": "romanian"}, None),
    ("unknown field", {"namespace": "x"}, None),
    ("no body", {"components": [{"type": "FOOTER", "text": "x"}]}, 2388072),
    ("two bodies", {"components": [OK_BODY, OK_BODY]}, None),
    ("body too long", {"components": [body_of("x" * 1025)]}, 2388040),
    ("body starts with variable", {"components": [body_of("{{a}} ne vedem mâine la mare.", "a")]}, 2388299),
    ("body ends with variable", {"components": [body_of("Ne vedem mâine la {{a}}", "a")]}, 2388299),
    ("variables side by side", {"components": [body_of("Salut {{a}} {{b}}, ne vedem mâine.", "a", "b")]}, 2388072),
    ("too many variables", {"components": [body_of("Da {{a}}, nu {{b}}, ok.", "a", "b")]}, 2388293),
    ("no sample", {"components": [{"type": "BODY", "text": "Salut {{a}}, ne vedem mâine."}]}, 2388072),
    ("sample of another name", {"components": [body_of("Salut {{a}}, ne vedem mâine.", "b")]}, 2388072),
    ("upper-case name", {"components": [body_of("Salut {{Nume}}, ne vedem mâine.", "Nume")]}, 2388072),
    ("position in a named template", {"components": [body_of("Salut {{1}}, ne vedem mâine.", "1")]}, 2388072),
    ("half a variable", {"components": [body_of("Salut {{a, ne vedem mâine.")]}, 2388072),
    ("gap in positions", {"parameter_format": "POSITIONAL", "components": [
        {"type": "BODY", "text": "Salut {{1}}, ne vedem mâine la {{3}} toți.", "example": {"body_text": [["a", "b"]]}}
    ]}, 2388072),
    ("header too long", {"components": [header("x" * 61), OK_BODY]}, 2388040),
    ("header with two variables", {"components": [header("{{a}} și {{b}}"), OK_BODY]}, 2388047),
    ("header with newline", {"components": [header("a\nb"), OK_BODY]}, 2388047),
    ("media header without sample", {"components": [{"type": "HEADER", "format": "IMAGE"}, OK_BODY]}, 2388047),
    ("footer with variable", {"components": [OK_BODY, {"type": "FOOTER", "text": "{{a}}"}]}, 2388073),
    ("footer too long", {"components": [OK_BODY, {"type": "FOOTER", "text": "x" * 61}]}, 2388040),
    ("eleven buttons", {"components": [OK_BODY, buttons(*[QUICK] * 11)]}, None),
    ("three URLs", {"components": [OK_BODY, buttons(URL, URL, URL)]}, None),
    ("two phones", {"components": [OK_BODY, buttons(PHONE, PHONE)]}, None),
    ("mixed quick replies", {"components": [OK_BODY, buttons(QUICK, URL, QUICK)]}, None),
    ("long button", {"components": [OK_BODY, buttons({**QUICK, "text": "x" * 26})]}, None),
    ("variable inside URL", {"components": [OK_BODY, buttons({**URL, "url": "https://x.example/{{1}}/y"})]}, None),
    ("URL without example", {"components": [OK_BODY, buttons({k: URL[k] for k in ("type", "text", "url")})]}, None),
    ("ttl", {"message_send_ttl_seconds": 5}, None),
    ("own text in authentication", {"category": "AUTHENTICATION"}, 2388072),
]  # fmt: skip


@pytest.mark.parametrize(("what", "changes", "subcode"), DRAFTS, ids=[row[0] for row in DRAFTS])
def test_bad_templates_are_refused_with_their_subcode(lab, what, changes, subcode):
    url = f"{lab.meta}/{WABA}/message_templates"
    error = refused(lab.http.post(url, headers=lab.bearer, json=lab.draft(**changes)), 100)
    assert error.get("error_subcode") == subcode
    if subcode:
        assert error["error_user_title"]
        assert error["error_user_msg"]


def test_template_life(lab, contracts):
    url = f"{lab.meta}/{WABA}/message_templates"
    made = lab.http.post(url, headers=lab.bearer, json=lab.draft())
    sample = json.loads(
        (contracts / "payloads/meta/response__template_write__create_template_auth_pending.json").read_text()
    )
    assert made.json().keys() == sample.keys()
    assert made.json()["status"] == "PENDING"
    refused(lab.http.post(url, headers=lab.bearer, json=lab.draft()), 100)
    refused(lab.http.post(url, headers=lab.bearer, json=lab.draft(language="en", category="MARKETING")), 100)
    twin = lab.http.post(url, headers=lab.bearer, json=lab.draft(name="other_name"))
    assert twin.json()["status"] == "REJECTED"
    rows = lab.http.get(url, headers=lab.bearer, params={"limit": 1, "fields": "name,status,rejected_reason"}).json()
    assert rows["data"] == [
        {"id": made.json()["id"], "name": "order_confirmed", "status": "PENDING", "rejected_reason": "NONE"}
    ]
    second = lab.http.get(rows["paging"]["next"], headers=lab.bearer).json()
    assert second["data"][0]["rejected_reason"] == "INVALID_FORMAT"
    assert "next" not in second["paging"]
    refused(lab.http.get(url, headers=lab.bearer, params={"after": "nonsense"}), 131059)
    own = f"{lab.meta}/{made.json()['id']}"
    refused(lab.http.post(own, headers=lab.bearer, json={"components": lab.draft()["components"]}), 100)
    lab.approve("meta_cloud", WABA, "order_confirmed")
    edit = {"components": [body_of("Salut {{first_name}}, ne vedem mâine.", "first_name")]}
    assert lab.http.post(own, headers=lab.bearer, json=edit).json() == {"success": True}
    assert lab.http.get(own, headers=lab.bearer).json()["status"] == "PENDING"
    lab.approve("meta_cloud", WABA, "order_confirmed")
    refused(lab.http.post(own, headers=lab.bearer, json=edit), 100)
    assert lab.http.delete(url, headers=lab.bearer, params={"name": "order_confirmed"}).json() == {"success": True}
    refused(lab.http.get(own, headers=lab.bearer), 100)
    error = refused(lab.http.post(url, headers=lab.bearer, json=lab.draft()), 100)
    assert error["error_subcode"] == 2388023


def test_number_and_account_can_be_read(lab):
    fields = {"fields": "id,quality_rating,throughput"}
    number = lab.http.get(f"{lab.meta}/{META_NUMBER}", headers=lab.bearer, params=fields).json()
    assert number == {"id": META_NUMBER, "quality_rating": "GREEN", "throughput": {"level": "STANDARD"}}
    assert lab.http.get(f"{lab.meta}/{WABA}", headers=lab.bearer).json()["id"] == WABA
    refused(lab.http.get(f"{lab.meta}/{META_NUMBER}", headers=lab.bearer, params={"fields": "nope"}), 100)


def test_callbacks_are_signed_over_their_bytes_and_fit_the_schema(lab, contracts):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((contracts / "specs/meta_webhook.schema.json").read_text())
    lab.template()
    lab.send()
    base = {"provider": "meta_cloud", "account": META_NUMBER, "from": "+40700000001"}
    lab.control("POST", "inbound", {**base, "text": "Șterge-mă / 🙏"}, 202)
    lab.control("POST", "inbound", {**base, "preference": "stop"}, 202)
    lab.control("POST", "templates", {**base, "name": "order_confirmed", "language": "ro", "event": "CATEGORY",
                                      "category": "MARKETING"})  # fmt: skip
    lab.wait_for(lambda: {s["status"] for s in lab.receiver.statuses()} == {"sent", "delivered", "read"})
    lab.wait_for(lambda: b"template_category_update" in b"".join(c.body for c in lab.receiver.calls))
    fields = set()
    for call in lab.receiver.calls:
        assert call.path == "/hook/meta_cloud"
        signature = "sha256=" + hmac.new(SECRET, call.body, hashlib.sha256).hexdigest()
        assert call.headers["X-Hub-Signature-256"] == signature
        jsonschema.Draft202012Validator(schema).validate(call.json)
        assert b"/" not in call.body.replace(b"\\/", b"")
        assert call.body.isascii()
        assert call.json["object"] == "whatsapp_business_account"
        assert call.json["entry"][0]["id"] == WABA
        fields |= {c["field"] for c in call.json["entry"][0]["changes"]}
    assert fields == {
        "messages", "user_preferences", "message_template_status_update", "template_category_update",
    }  # fmt: skip
    by_status = {s["status"]: s for s in lab.receiver.statuses()}
    for status in by_status.values():
        assert status["biz_opaque_callback_data"] == "msg_1.1"
        assert status["recipient_id"] == "40700000001"
    paid = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
    assert by_status["sent"]["pricing"] == by_status["delivered"]["pricing"] == paid
    assert "pricing" not in by_status["read"]


def test_signature_of_the_published_vector(contracts):
    from wa_dashboard.simulator.hookforms import meta_signature

    vector = json.loads((contracts / "payloads/meta/signature__x_hub_256__computed_escaped_unicode.json").read_text())
    assert meta_signature(vector["app_secret"], vector["raw_body"].encode()) == vector["X-Hub-Signature-256"]


def test_every_sample_request_meets_no_unknown_field(lab, contracts):
    """Real template requests of others pass the format check: only our template is missing for them."""
    for name in ("courier_2", "courier_3", "metadocs_custom_marketing_templates_16"):
        sample = json.loads((contracts / f"payloads/meta/request__send_template__{name}.json").read_text())
        answer = lab.send(sample)
        assert answer.json()["error"]["code"] == 132001, (name, answer.text)


def test_free_text_needs_an_open_window(lab):
    text = {"messaging_product": "whatsapp", "to": "+40700000002", "type": "text", "text": {"body": "Bună!"}}
    assert lab.send(text).status_code == 200
    failed = lab.wait_for(lambda: [s for s in lab.receiver.statuses() if s["status"] == "failed"])
    assert failed[0]["errors"][0]["code"] == 131047
    lab.control(
        "POST", "inbound", {"provider": "meta_cloud", "account": META_NUMBER, "from": "40700000002", "text": "?"}
    )
    lab.send(text)
    read = lab.wait_for(lambda: [s for s in lab.receiver.statuses() if s["status"] == "delivered"])
    assert read[0]["pricing"]["category"] == "service"


def test_marketing_after_stop_fails_with_131050_and_utility_does_not(lab):
    lab.template()
    lab.template(name="promo", category="MARKETING", components=[body_of("Salut {{a}}, reduceri mari azi.", "a")])
    base = {"provider": "meta_cloud", "account": WABA, "from": "+40700000003"}
    lab.control("POST", "inbound", {**base, "preference": "stop"})
    promo = lab.message(to="+40700000003", biz_opaque_callback_data="msg_2.1")
    promo["template"] = {"name": "promo", "language": {"code": "ro"}, "components": [
        {"type": "body", "parameters": [{"type": "text", "parameter_name": "a", "text": "Ana"}]}
    ]}  # fmt: skip
    assert lab.send(promo).status_code == 200
    failed = lab.wait_for(lambda: [s for s in lab.receiver.statuses() if s["status"] == "failed"])
    assert failed[0]["errors"][0]["code"] == 131050
    lab.send(lab.message(to="+40700000003"))
    lab.wait_for(lambda: [s for s in lab.receiver.statuses() if s["status"] == "read"])
    lab.control("POST", "inbound", {**base, "preference": "resume"})
    lab.send(promo)
    lab.wait_for(lambda: len([s for s in lab.receiver.statuses() if s["status"] == "read"]) == 2)


def test_a_new_callback_url_must_pass_the_handshake(lab):
    url = f"{lab.meta}/{WABA}/subscribed_apps"
    wanted = {"override_callback_uri": f"{lab.receiver.url}/new", "verify_token": "wrong"}
    error = refused(lab.http.post(url, headers=lab.bearer, json=wanted), 2200)
    assert "HTTP Status Code = 403" in error["message"]
    refused(
        lab.http.post(url, headers=lab.bearer, json={"override_callback_uri": wanted["override_callback_uri"]}), 100
    )
    lab.template()
    lab.wait_for(lambda: lab.receiver.calls)
    assert lab.receiver.calls[0].path == "/hook/meta_cloud"
    answer = lab.http.post(url, headers=lab.bearer, json={**wanted, "verify_token": "verify-me"})
    assert answer.json() == {"success": True}
    listed = lab.http.get(url, headers=lab.bearer).json()["data"]
    assert listed[0]["override_callback_uri"] == f"{lab.receiver.url}/new"
    lab.send()
    lab.wait_for(lambda: lab.receiver.calls[-1].path == "/new")
    assert lab.http.post(url, headers=lab.bearer).json() == {"success": True}
