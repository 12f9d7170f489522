"""The product's own adapters against the simulator, each from template to receipt, over real sockets.

A provider that is added joins by itself: everything here goes through the port.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.conftest import Lab, Receiver, wait_for
from wa_dashboard import simulator
from wa_dashboard.providers import base, port, transport

DRAFT = port.TemplateDraft(
    name="order_confirmed",
    language="ro",
    category="utility",
    header=port.Header(kind="text", text="Comanda {{order_no}}"),
    body="Salut {{first_name}}, biletele pentru {{event}} sunt gata. Ne vedem acolo!",
    footer="Scrie STOP pentru dezabonare",
    buttons=[
        port.Button("url", "Vezi biletele", url="https://t.example.org/{{ticket}}"),
        port.Button("quick_reply", "Dezabonare", payload="STOP_MKT"),
    ],
    examples={"order_no": "8841", "first_name": "Ana", "event": "Concert", "ticket": "T-8841"},
    type="order_confirm",
)
VALUES = {"order_no": "42", "first_name": "Ștefan", "event": "Arenă", "ticket": "T-42"}


@pytest.fixture(params=sorted(base.all_providers()))
def far(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> Any:
    """(lab, adapter, name) with one account made as the product makes test accounts."""
    kind = base.provider_named(request.param)
    keys = kind.random_test_credentials(random.Random(5))
    with simulator.in_thread(tmp_path, approve_after_s=None, scale=0.02, seed=3) as sim:
        lab = Lab(sim, receiver)
        urls = {
            "meta_cloud": {"api": sim.base_urls["meta"]},
            "twilio": {"api": sim.base_urls["twilio"], "content": sim.base_urls["twilio_content"]},
            "dialog360": {"api": sim.base_urls["dialog360"]},
        }[request.param]
        account = {"provider": request.param, "credentials": keys, "webhook_url": f"{receiver.url}/hook"}
        key = lab.control("PUT", "accounts", account, 201)["account"]
        yield lab, kind(keys, urls), key
        lab.http.close()


def requests_of(receiver: Receiver) -> list[base.WebhookRequest]:
    return [base.WebhookRequest("POST", receiver.url + c.path, c.headers, c.body) for c in list(receiver.calls)]


def items(receiver: Receiver, adapter: base.Provider, kind: type[Any]) -> list[Any]:
    """Every item of this kind in the callbacks so far, each callback verified first."""
    found: list[Any] = []
    for request in requests_of(receiver):
        assert adapter.verify_webhook(request)
        assert set(adapter.account_keys_in(request)) & set(adapter.account_keys(adapter.keys)), request.body
        found += [item for item in adapter.parse_webhook(request) if isinstance(item, kind)]
    return found


def approved(lab: Lab, adapter: base.Provider, key: str) -> port.TemplateAnswer:
    answer = adapter.submit_template(DRAFT)
    assert answer.status != "approved"
    lab.approve(adapter.name, key, DRAFT.name)
    now = adapter.template_status(answer.external_id, DRAFT.name, "ro")
    assert now is not None
    assert now.status == "approved"
    return answer


def outbound(lab: Lab, answer: port.TemplateAnswer, to: str = "+40700000001") -> port.OutboundTemplate:
    return port.OutboundTemplate(
        correlation_id="msg_01.1",
        to=to,
        template_name=DRAFT.name,
        language="ro",
        parameters=VALUES,
        header=DRAFT.header,
        header_variables=["order_no"],
        body_variables=["first_name", "event"],
        button_variables=[(0, "url", "ticket")],
        parameter_map=answer.parameter_map,
        external_id=answer.external_id,
        status_callback_url=f"{lab.receiver.url}/status",
    )


def carried(adapter: base.Provider, message: port.OutboundTemplate) -> port.Outcome:
    return adapter.read_send(transport.carry(adapter.build_send(message)))


def test_from_template_to_receipt(far):
    lab, adapter, key = far
    answer = approved(lab, adapter, key)
    outcome = carried(adapter, outbound(lab, answer))
    assert outcome.kind == "accepted", outcome
    (line,) = lab.ledger()
    assert (line["provider_id"], line["correlation_id"]) == (outcome.external_id, "msg_01.1")

    def statuses() -> list[base.StatusItem]:
        return items(lab.receiver, adapter, base.StatusItem)

    wait_for(lambda: {s.status for s in statuses()} >= {"sent", "delivered", "read"})
    assert {s.correlation_id for s in statuses()} == {"msg_01.1"}
    assert {s.external_id for s in statuses()} == {outcome.external_id}
    (seen,) = lab.phone("+40700000001")
    assert seen["text"] == "Salut Ștefan, biletele pentru Arenă sunt gata. Ne vedem acolo!"
    assert seen["buttons"][0].get("url") == "https://t.example.org/T-42"


def test_not_on_whatsapp_is_the_recipients_fault(far):
    lab, adapter, key = far
    carried(adapter, outbound(lab, approved(lab, adapter, key), "+40700000008"))
    failed = wait_for(lambda: [s for s in items(lab.receiver, adapter, base.StatusItem) if s.status == "failed"])
    assert failed[0].error.error_class == "recipient"


def test_a_person_answers(far):
    lab, adapter, key = far
    carried(adapter, outbound(lab, approved(lab, adapter, key)))
    said = {"provider": adapter.name, "account": key, "from": "+40700000001"}
    lab.control("POST", "inbound", {**said, "text": "STOP"}, 202)
    lab.control("POST", "inbound", {**said, "button": "Dezabonare"}, 202)
    found = wait_for(lambda: len(f := items(lab.receiver, adapter, base.InboundItem)) == 2 and f)
    assert {f.from_phone for f in found} == {"+40700000001"}
    assert {f.text for f in found} == {"STOP", "Dezabonare"}
    # Twilio keeps the payload in the template; at Meta it is the button's text unless the send brought one.
    payload = {"twilio": "STOP_MKT"}.get(adapter.name, "Dezabonare")
    assert {f.button_payload for f in found} - {None} == {payload}


@pytest.mark.parametrize(("fault", "kinds"), [
    ("drop_before", {"ambiguous"}), ("drop_after", {"ambiguous"}), ("http_502_after_accept", {"ambiguous"}),
    ("http_429", {"throttled"}), ("http_503", {"not_sent", "throttled"}), ("refuse", {"ambiguous", "not_sent"}),
])  # fmt: skip
def test_faults_are_understood(far, fault, kinds):
    lab, adapter, key = far
    message = outbound(lab, approved(lab, adapter, key))
    lab.control("PUT", "faults", {"provider": adapter.name, fault: True if fault == "refuse" else 1})
    outcome = carried(adapter, message)
    assert outcome.kind in kinds, outcome
    assert len(lab.ledger()) == (1 if "after" in fault else 0)


def test_wrong_keys_stop_the_account(far):
    lab, adapter, key = far
    message = outbound(lab, approved(lab, adapter, key))
    secrets = {c.name for c in adapter.credentials if c.secret and c.name not in ("app_secret", "webhook_secret")}
    wrong = type(adapter)({k: v[:-1] + "0" if k in secrets else v for k, v in adapter.keys.items()}, adapter.urls)
    outcome = carried(wrong, message)
    assert (outcome.kind, outcome.error_class) == ("rejected", "account_stop"), outcome
    assert lab.ledger() == []


def test_templates_are_listed(far):
    lab, adapter, key = far
    approved(lab, adapter, key)
    assert [(t.name, t.language, t.status) for t in adapter.list_templates()] == [("order_confirmed", "ro", "approved")]
