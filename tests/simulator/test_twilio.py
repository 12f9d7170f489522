"""Twilio's door: form-encoded sends, Content API, signatures judged by Twilio's own library."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests

AC, MG, SK = "AC" + "a1" * 16, "MG" + "b2" * 16, "SK" + "c3" * 16


def refused(answer: Any, code: int, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    return body


class OfficialAnswer:
    """One of our answers as if Twilio's own address had given it, for the published specification."""

    def __init__(self, answer: requests.Response) -> None:
        self.status_code, self.content_type = answer.status_code, answer.headers["Content-Type"]
        self.data, self.headers = answer.content, answer.headers


def conforms(contracts: Any, spec: str, official: str, answer: requests.Response, path: str) -> None:
    openapi_core = pytest.importorskip("openapi_core")
    from openapi_core.contrib.requests import RequestsOpenAPIRequest

    api = openapi_core.OpenAPI.from_dict(json.loads((contracts / "specs" / spec).read_text()))
    ours = answer.request
    same = requests.Request(
        ours.method, official + path, headers={"Content-Type": ours.headers.get("Content-Type", "")}
    )
    api.validate_response(RequestsOpenAPIRequest(same), OfficialAnswer(answer))


def test_accepted_send_answers_as_twilio(lab, contracts):
    sid = lab.twilio_content()
    answer = lab.send_twilio(lab.form(sid))
    assert answer.status_code == 201, answer.text
    body = answer.json()
    sample = json.loads((contracts / "payloads/twilio/response__message_created__oai_createWoService.json").read_text())
    assert body.keys() == sample.keys()
    assert (body["status"], body["from"], body["to"]) == ("queued", "whatsapp:+40310000001", "whatsapp:+40700000001")
    assert body["body"] == "Salut Ana, biletele pentru Concert sunt gata. Mulțumim!"
    assert body["price"] is None
    conforms(contracts, "twilio_messages.subset.json", "https://api.twilio.com",
             answer, f"/2010-04-01/Accounts/{AC}/Messages.json")  # fmt: skip
    (line,) = lab.ledger()
    assert (line["provider"], line["account"], line["correlation_id"]) == ("twilio", AC, "msg_1.1")
    assert (line["provider_id"], line["template"], line["language"]) == (body["sid"], "order_confirmed", "ro")


def test_a_messaging_service_answers_accepted_without_from(lab):
    answer = lab.send_twilio(lab.form(lab.twilio_content(), From=None, MessagingServiceSid=MG)).json()
    assert (answer["status"], answer["from"], answer["messaging_service_sid"]) == ("accepted", None, MG)
    sent = lab.wait_for(lambda: [f for f in lab.receiver.forms() if f["MessageStatus"] == "sent"])
    assert sent[0]["MessagingServiceSid"] == MG


@pytest.mark.parametrize("auth", [None, (AC, "wrong"), ("AC" + "0" * 32, "12345"), (SK, "12345"), (AC, "")])
def test_wrong_credentials_are_20003(lab, auth):
    body = refused(lab.send_twilio(lab.form("HX" + "0" * 32), auth=auth), 20003, 401)
    assert body["detail"]
    assert lab.ledger() == []


def test_api_key_may_send(lab):
    assert lab.send_twilio(lab.form(lab.twilio_content()), auth=(SK, "keysecret")).status_code == 201


def test_another_accounts_path_is_refused(lab):
    url = lab.twilio.replace(AC, "AC" + "9" * 32) + "/Messages.json"
    refused(lab.http.post(url, data=lab.form("HX" + "0" * 32), auth=(AC, "12345")), 20003, 401)
    refused(lab.http.get(lab.twilio + "/Calls.json", auth=(AC, "12345")), 20404, 404)


STRICT = [
    ("no recipient", {"To": None}, 21604),
    ("recipient without channel", {"To": "+40700000001"}, 21211),
    ("not a number", {"To": "whatsapp:+40abc"}, 21211),
    ("leading zero", {"To": "whatsapp:0700000001"}, 21211),
    ("no sender", {"From": None}, 21603),
    ("another sender", {"From": "whatsapp:+40319999999"}, 63007),
    ("sender without channel", {"From": "+40310000001"}, 63007),
    ("malformed service", {"MessagingServiceSid": "MGx"}, 21705),
    ("to itself", {"To": "whatsapp:+40310000001"}, 63031),
    ("malformed content", {"ContentSid": "HX1"}, 21655),
    ("unknown content", {"ContentSid": "HX" + "0" * 32}, 21655),
    ("variables not JSON", {"ContentVariables": "{1:Ana}"}, 21656),
    ("variables not an object", {"ContentVariables": "[]"}, 21656),
    ("variable not a text", {"ContentVariables": '{"1":1}'}, 21656),
    ("empty variable", {"ContentVariables": '{"1":""}'}, 21656),
    ("newline in variable", {"ContentVariables": '{"1":"a\\nb"}'}, 21656),
    ("five spaces in variable", {"ContentVariables": '{"1":"a     b"}'}, 21656),
    ("unknown variable", {"ContentVariables": '{"3":"x"}'}, 21656),
    ("callback is not a URL", {"StatusCallback": "nowhere"}, 21609),
    ("callback host with underscore", {"StatusCallback": "https://my_host.example/x"}, 21609),
    ("unknown field", {"ContentVariable": "{}"}, 20001),
    ("validity", {"ValidityPeriod": "0"}, 20422),
    ("nothing to say", {"ContentSid": None, "ContentVariables": None}, 21602),
    ("body too long", {"ContentSid": None, "ContentVariables": None, "Body": "x" * 1601}, 21617),
]


@pytest.mark.parametrize(("what", "changes", "code"), STRICT, ids=[row[0] for row in STRICT])
def test_what_twilio_refuses_is_refused_and_not_in_the_ledger(lab, what, changes, code):
    refused(lab.send_twilio(lab.form(lab.twilio_content(), **changes)), code)
    assert lab.ledger() == []


def test_unknown_service_is_404_and_json_is_no_form(lab):
    refused(lab.send_twilio(lab.form(lab.twilio_content(), MessagingServiceSid="MG" + "0" * 32)), 21701, 404)
    refused(lab.http.post(lab.twilio + "/Messages.json", json={"To": "whatsapp:+40700000001"}, auth=lab.basic), 21604)
    twice = [*lab.form("HX" + "0" * 32).items(), ("To", "whatsapp:+40700000002")]
    refused(lab.http.post(lab.twilio + "/Messages.json", data=twice, auth=lab.basic), 20422)


def test_missing_variables_fall_back_to_samples_and_fail_later_without_any(lab):
    sid = lab.twilio_content()
    assert lab.send_twilio(lab.form(sid, ContentVariables='{"1":"Ioana"}')).json()["body"].startswith("Salut Ioana, ")
    lab.approve("twilio", AC, "order_confirmed", event="DELETED")
    bare = lab.twilio_content(variables={})
    lab.approve("twilio", AC, "order_confirmed")
    made = lab.send_twilio(lab.form(bare, ContentVariables='{"1":"Ioana"}'))
    assert made.status_code == 201
    failed = lab.wait_for(lambda: [f for f in lab.receiver.forms() if f["MessageStatus"] == "failed"])
    assert failed[0]["ErrorCode"] == "63028"


@pytest.mark.parametrize(("event", "code"), [
    ("PENDING", "63016"), ("REJECTED", "63040"), ("PAUSED", "63041"), ("DISABLED", "63042"),
])  # fmt: skip
def test_content_that_is_not_approved_is_taken_and_fails_later(lab, event, code):
    sid = lab.twilio_content()
    lab.approve("twilio", AC, "order_confirmed", event=event)
    assert lab.send_twilio(lab.form(sid)).status_code == 201
    failed = lab.wait_for(lambda: [f for f in lab.receiver.forms() if f["MessageStatus"] == "failed"])
    assert failed[0]["ErrorCode"] == code


def test_status_callbacks_satisfy_twilios_own_validator(lab):
    validator = pytest.importorskip("twilio.request_validator").RequestValidator("12345")
    sid = lab.send_twilio(lab.form(lab.twilio_content())).json()["sid"]
    lab.wait_for(lambda: {f["MessageStatus"] for f in lab.receiver.forms()} == {"sent", "delivered", "read"})
    tokens = set()
    for call in lab.receiver.calls:
        assert call.path == "/hook/twilio?mid=msg_1.1&x=%C8%99"
        assert validator.validate(lab.receiver.url + call.path, call.form, call.headers["X-Twilio-Signature"])
        assert not validator.validate(lab.receiver.url + "/hook/twilio", call.form, call.headers["X-Twilio-Signature"])
        assert call.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        tokens.add(call.headers["I-Twilio-Idempotency-Token"])
        form = call.form
        assert (form["MessageSid"], form["AccountSid"], form["To"]) == (sid, AC, "whatsapp:+40700000001")
        assert form["ChannelToAddress"] == "+4070000XXXX"
        assert form.get("EventType") == {"delivered": "DELIVERED", "read": "READ"}.get(form["MessageStatus"])
    assert len(tokens) == 3


def test_signature_of_the_published_vector(contracts):
    from wa_dashboard.simulator.hookforms import twilio_signature

    vector = json.loads((contracts / "payloads/twilio/signature__x_twilio__sdk_form_vector.json").read_text())
    signature = twilio_signature(vector["auth_token"], vector["url"], vector["params"])
    assert signature == vector["X-Twilio-Signature"]


def test_list_finds_a_message_by_recipient_and_day(lab, contracts):
    sid = lab.twilio_content()
    made = [lab.send_twilio(lab.form(sid, to=f"+4070000100{n}")).json()["sid"] for n in range(3)]
    url = lab.twilio + "/Messages.json"
    day = requests.utils.unquote(lab.ledger()[0]["at"][:10])
    params = {"To": "whatsapp:+40700001001", "DateSent>": day}
    answer = lab.http.get(url, params=params, auth=lab.basic)
    sample = json.loads((contracts / "payloads/twilio/response__message_list__oai_readFullPage1.json").read_text())
    assert answer.json().keys() == sample.keys()
    assert [m["sid"] for m in answer.json()["messages"]] == [made[1]]
    conforms(contracts, "twilio_messages.subset.json", "https://api.twilio.com",
             answer, f"/2010-04-01/Accounts/{AC}/Messages.json")  # fmt: skip
    assert lab.http.get(url, params={"DateSent<": "2020-01-01"}, auth=lab.basic).json()["messages"] == []
    pages = [lab.http.get(url, params={"PageSize": 2}, auth=lab.basic).json()]
    pages.append(lab.http.get(lab.sim.base_urls["twilio"] + pages[0]["next_page_uri"], auth=lab.basic).json())
    assert [m["sid"] for p in pages for m in p["messages"]] == made[::-1]
    assert pages[1]["next_page_uri"] is None
    refused(lab.http.get(url, params={"DateSent>": "yesterday"}, auth=lab.basic), 20001)
    lab.wait_for(lambda: lab.http.get(f"{lab.twilio}/Messages/{made[0]}.json", auth=lab.basic).json()["price"])
    one = lab.http.get(f"{lab.twilio}/Messages/{made[0]}.json", auth=lab.basic)
    assert one.json()["price"] == "-0.00500"
    assert one.json()["date_sent"]
    refused(lab.http.get(f"{lab.twilio}/Messages/SM{'0' * 32}.json", auth=lab.basic), 20404, 404)


def test_redaction_and_deletion(lab):
    sid = lab.send_twilio(lab.form(lab.twilio_content())).json()["sid"]
    url = f"{lab.twilio}/Messages/{sid}.json"
    assert lab.http.post(url, data={"Body": ""}, auth=lab.basic).json()["body"] == ""
    assert lab.phone("+40700000001")[0]["text"] == ""
    assert lab.http.delete(url, auth=lab.basic).status_code == 204
    refused(lab.http.get(url, auth=lab.basic), 20404, 404)
    assert len(lab.ledger()) == 1


def test_content_life_is_polled(lab, contracts):
    lab.control("PUT", "settings", {"approve_after_s": 0.6})
    wanted = {
        "friendly_name": "bilete", "language": "ro", "variables": {"1": "Ana", "2": "T-1"},
        "types": {"twilio/call-to-action": {
            "body": "Salut {{1}}, biletele tale sunt gata acum.",
            "actions": [{"type": "URL", "title": "Bilete", "url": "https://t.example.org/{{2}}"}],
        }},
    }  # fmt: skip
    made = lab.http.post(f"{lab.content}/Content", json=wanted, auth=lab.basic)
    assert made.status_code == 201
    payloads = contracts / "payloads/twilio"
    sample = json.loads((payloads / "response__template_content__oai_content_v1_ContentSid_update.json").read_text())
    assert made.json().keys() == sample.keys()
    conforms(contracts, "twilio_content_v1.json", "https://content.twilio.com", made, "/v1/Content")
    sid = made.json()["sid"]
    assert re.fullmatch(r"HX[0-9a-f]{32}", sid)
    own = f"{lab.content}/Content/{sid}"
    poll = lab.http.get(own + "/ApprovalRequests", auth=lab.basic)
    assert poll.json()["whatsapp"]["status"] == "unsubmitted"
    asked = {"name": "bilete", "category": "UTILITY"}
    submitted = lab.http.post(own + "/ApprovalRequests/whatsapp", json=asked, auth=lab.basic)
    assert (submitted.status_code, submitted.json()["status"]) == (201, "received")
    path = f"/v1/Content/{sid}/ApprovalRequests/whatsapp"
    conforms(contracts, "twilio_content_v1.json", "https://content.twilio.com", submitted, path)
    refused(lab.http.post(own + "/ApprovalRequests/whatsapp", json=asked, auth=lab.basic), 92001)
    assert lab.http.get(own + "/ApprovalRequests", auth=lab.basic).json()["whatsapp"]["status"] == "pending"

    def approved() -> Any:
        return lab.http.get(own + "/ApprovalRequests", auth=lab.basic).json()["whatsapp"]["status"] == "approved"

    lab.wait_for(approved)
    name = "response__template_approval__oai_content_v1_ContentSidApprovalRequests_getApproval.json"
    sample = json.loads((payloads / name).read_text())
    answer = lab.http.get(own + "/ApprovalRequests", auth=lab.basic)
    assert answer.json().keys() == sample.keys()
    assert answer.json()["whatsapp"].keys() == sample["whatsapp"].keys()
    listed = lab.http.get(f"{lab.content}/ContentAndApprovals", auth=lab.basic)
    conforms(contracts, "twilio_content_v1.json", "https://content.twilio.com", listed, "/v1/ContentAndApprovals")
    assert listed.json()["contents"][0]["approval_requests"]["status"] == "approved"
    assert lab.receiver.calls == []
    form = lab.form(sid, ContentVariables='{"1":"Ana","2":"T-9"}')
    assert lab.send_twilio(form).status_code == 201
    assert lab.phone("+40700000001")[0]["buttons"][0]["url"] == "https://t.example.org/T-9"
    assert lab.http.delete(own, auth=lab.basic).status_code == 204
    refused(lab.http.get(own, auth=lab.basic), 20404, 404)
    refused(lab.send_twilio(form), 21655)


def test_a_content_changes_until_it_is_submitted(lab, contracts):
    lab.control("PUT", "settings", {"approve_after_s": None})
    wanted = {"friendly_name": "a", "language": "ro", "variables": {"1": "Ana"}}
    first, second = ({"twilio/text": {"body": f"{word} {{{{1}}}}, te așteptăm."}} for word in ("Salut", "Bună"))
    made = lab.http.post(f"{lab.content}/Content", auth=lab.basic, json={**wanted, "types": first})
    sid = made.json()["sid"]
    own = f"{lab.content}/Content/{sid}"

    changed = lab.http.put(own, auth=lab.basic, json={"types": second, "variables": {"1": "Ion"}})
    conforms(contracts, "twilio_content_v1.json", "https://content.twilio.com", changed, f"/v1/Content/{sid}")
    assert (changed.status_code, changed.json()["types"], changed.json()["language"]) == (200, second, "ro")
    assert lab.http.get(own, auth=lab.basic).json()["variables"] == {"1": "Ion"}
    refused(lab.http.put(own, auth=lab.basic, json={"types": {}}), 92001)
    refused(lab.http.put(own, auth=("AC" + "f" * 32, "x"), json={"types": second}), 20003, 401)

    asked = {"name": "a", "category": "UTILITY"}
    assert lab.http.post(own + "/ApprovalRequests/whatsapp", json=asked, auth=lab.basic).status_code == 201
    refused(lab.http.put(own, auth=lab.basic, json={"types": first}), 92001)


def test_review_rejects_what_meta_would_in_prose(lab):
    lab.control("PUT", "settings", {"approve_after_s": 0.0})
    body = {"twilio/text": {"body": "{{1}}, biletele tale sunt gata."}}
    made = lab.http.post(f"{lab.content}/Content", auth=lab.basic,
                         json={"language": "ro", "variables": {"1": "Ana"}, "types": body})  # fmt: skip
    own = f"{lab.content}/Content/{made.json()['sid']}/ApprovalRequests"
    lab.http.post(own + "/whatsapp", json={"name": "x", "category": "UTILITY"}, auth=lab.basic)
    found = lab.wait_for(lambda: (
        (w := lab.http.get(own, auth=lab.basic).json()["whatsapp"])["status"] == "rejected" and w
    ))  # fmt: skip
    assert found["rejection_reason"].startswith("INVALID_FORMAT: Variables can't be at the start")


@pytest.mark.parametrize("changes", [
    {"language": "romanian"}, {"variables": {"1": 1}}, {"types": {}}, {"types": {"twilio/sms": {"body": "x"}}},
    {"types": {"twilio/text": {}}}, {"types": {"twilio/text": {"body": "x", "y": 1}}},
    {"types": {"twilio/quick-reply": {"body": "x", "actions": [{"type": "NO", "title": "x"}]}}},
])  # fmt: skip
def test_bad_content_is_refused(lab, changes):
    wanted = {"language": "ro", "variables": {}, "types": {"twilio/text": {"body": "Bună ziua"}}, **changes}
    refused(lab.http.post(f"{lab.content}/Content", json=wanted, auth=lab.basic), 92001)
    refused(lab.http.post(f"{lab.content}/Content", json={**wanted, "x": 1}, auth=lab.basic), 20001)


def test_inbound_and_stop_words(lab):
    validator = pytest.importorskip("twilio.request_validator").RequestValidator("12345")
    sid = lab.twilio_content()
    base = {"provider": "twilio", "account": AC, "from": "+40700000001"}
    lab.control("POST", "inbound", {**base, "text": "Mulțumesc / 🙏"}, 202)
    lab.control("POST", "inbound", {**base, "text": "stop"}, 202)
    forms = lab.wait_for(lambda: len(f := lab.receiver.forms()) == 2 and f)
    for call in lab.receiver.calls:
        assert call.path == "/hook/twilio"
        assert validator.validate(lab.receiver.url + call.path, call.form, call.headers["X-Twilio-Signature"])
    by_body = {f["Body"]: f for f in forms}
    assert by_body["stop"]["OptOutType"] == "STOP"
    assert "OptOutType" not in by_body["Mulțumesc / 🙏"]
    assert by_body["stop"]["From"] == "whatsapp:+40700000001"
    refused(lab.send_twilio(lab.form(sid)), 21610)
    lab.control("POST", "inbound", {**base, "preference": "resume"}, 202)
    assert lab.send_twilio(lab.form(sid)).status_code == 201


def test_button_refers_to_the_message_it_is_under(lab):
    sid = lab.twilio_content(types={"twilio/quick-reply": {
        "body": "Salut {{1}}, ne vedem la {{2}} mâine?", "actions": [{"title": "Da, vin", "id": "YES_1"}],
    }})  # fmt: skip
    sent = lab.send_twilio(lab.form(sid, StatusCallback=None)).json()["sid"]
    lab.control("POST", "inbound", {"provider": "twilio", "account": AC, "from": "+40700000001", "button": "Da, vin"})
    (form,) = lab.wait_for(lab.receiver.forms)
    assert (form["MessageType"], form["ButtonText"], form["ButtonPayload"]) == ("button", "Da, vin", "YES_1")
    assert form["OriginalRepliedMessageSid"] == sent
