"""360dialog's door: Meta's messages, another door, other envelopes."""

from __future__ import annotations

import json
from typing import Any

import pytest

PHONE = "40310000002"


def test_send_answers_with_the_id_alone(lab, contracts):
    lab.template360()
    answer = lab.send360()
    sample = json.loads((contracts / "payloads/dialog360/response__send_ok__courier_200.json").read_text())
    assert (answer.status_code, answer.json().keys()) == (200, sample.keys())
    (line,) = lab.ledger()
    assert (line["provider"], line["account"], line["correlation_id"]) == ("dialog360", PHONE, "msg_1.1")
    assert line["provider_id"] == answer.json()["messages"][0]["id"]


@pytest.mark.parametrize("headers", [{}, {"D360-API-KEY": "wrong"}, {"Authorization": "Bearer d360-key"}])
def test_wrong_key(lab, contracts, headers):
    answer = lab.http.post(f"{lab.d360}/messages", headers=headers, json=lab.message())
    sample = json.loads((contracts / "payloads/dialog360/response__error__http401_invalid_key.json").read_text())
    assert (answer.status_code, answer.json()) == (401, sample)


def test_message_errors_are_metas_and_template_errors_are_360dialogs(lab):
    answer = lab.send360()
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 132001)
    answer = lab.http.post(f"{lab.d360}/v1/configs/templates", headers=lab.key, json=lab.draft(name="Bad Name"))
    assert answer.status_code == 400
    assert answer.json()["meta"]["success"] is False
    assert "name" in answer.json()["meta"]["developer_message"]
    answer = lab.http.get(f"{lab.d360}/v1/nothing", headers=lab.key)
    assert (answer.status_code, answer.json()["meta"]["developer_message"]) == (403, "The endpoint is blocked")


def test_templates_are_listed_in_lower_case_and_deleted_by_name(lab, contracts):
    url = f"{lab.d360}/v1/configs/templates"
    made = lab.http.post(url, headers=lab.key, json=lab.draft())
    assert (made.status_code, made.json()["status"]) == (201, "PENDING")

    def listed(**params: Any) -> Any:
        return lab.http.get(url, headers=lab.key, params=params).json()

    sample = json.loads((contracts / "payloads/dialog360/response__list_templates__kairon_list.json").read_text())
    assert listed().keys() == sample.keys()
    filters = json.dumps({"business_templates.name": "order_confirmed"})
    assert listed(filters=filters)["waba_templates"][0]["status"] == "submitted"
    assert listed(filters=json.dumps({"business_templates.name": "other"}))["total"] == 0
    lab.approve("dialog360", PHONE, "order_confirmed")
    assert listed()["waba_templates"][0]["status"] == "approved"
    deleted = lab.http.delete(f"{url}/order_confirmed", headers=lab.key).json()
    sample = json.loads((contracts / "payloads/dialog360/response__delete_template__kairon_deleted.json").read_text())
    assert deleted["meta"].keys() == sample["meta"].keys()
    assert listed()["waba_templates"] == []
    assert lab.http.delete(f"{url}/order_confirmed", headers=lab.key).status_code == 404


def test_callbacks_carry_the_secret_header_and_fit_the_schema(lab, contracts):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((contracts / "specs/meta_webhook.schema.json").read_text())
    lab.template360()
    lab.send360()
    lab.control("POST", "inbound", {"provider": "dialog360", "account": PHONE, "from": "+40700000001", "text": "STOP"})
    lab.wait_for(lambda: {s["status"] for s in lab.receiver.statuses()} == {"sent", "delivered", "read"})
    for call in lab.receiver.calls:
        assert call.path == "/hook/dialog360"
        assert call.headers["X-WA-Webhook-Secret"] == "hook-secret"
        assert "object" not in call.json
        jsonschema.Draft202012Validator(schema).validate(call.json)
    paid = [s["pricing"] for s in lab.receiver.statuses() if s["status"] == "delivered"]
    assert paid[0]["billable"] == "true"


def test_webhook_configuration_replaces_url_and_headers(lab):
    url = f"{lab.d360}/v1/configs/webhook"
    assert lab.http.get(url, headers=lab.key).json()["headers"] == {"X-WA-Webhook-Secret": "hook-secret"}
    wanted = {"url": f"{lab.receiver.url}/other", "headers": {"Authorization": "Basic eDp5"}}
    assert lab.http.post(url, headers=lab.key, json=wanted).json() == wanted
    lab.template360()
    lab.wait_for(lambda: lab.receiver.calls)
    assert lab.receiver.calls[0].path == "/other"
    assert lab.receiver.calls[0].headers["Authorization"] == "Basic eDp5"
    assert "X-WA-Webhook-Secret" not in lab.receiver.calls[0].headers
    for bad in ({"url": "ftp://x"}, {"url": "https://a_b.example/"}, {"url": "https://a.example", "headers": 1}, []):
        assert lab.http.post(url, headers=lab.key, json=bad).status_code == 400


def test_account_webhook_takes_template_events_elsewhere(lab):
    url = f"{lab.d360}/waba_webhook"
    wanted = {"url": f"{lab.receiver.url}/waba", "headers": {"X-Own": "1"}, "override_all": False}
    assert lab.http.post(url, headers=lab.key, json=wanted).json() == wanted
    assert lab.http.get(url, headers=lab.key).json() == {"url": wanted["url"], "headers": wanted["headers"]}
    lab.template360()
    lab.send360()
    lab.wait_for(lambda: {s["status"] for s in lab.receiver.statuses()} == {"sent", "delivered", "read"})
    paths = {call.path: call.headers for call in lab.receiver.calls}
    assert paths.keys() == {"/waba", "/hook/dialog360"}
    assert paths["/waba"]["X-Own"] == "1"
    assert [c.path for c in lab.receiver.calls if b"message_template_status_update" in c.body] == ["/waba"]
