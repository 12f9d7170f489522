"""The adapters against the simulator, which knows nothing of them: both sides of the wire meet here."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from wa_dashboard.providers import twilio_bodies
from wa_dashboard.providers.base import (
    InboundItem,
    PreferenceItem,
    ProviderError,
    StatusItem,
    TemplateStatusItem,
    WebhookRequest,
    provider_named,
)
from wa_dashboard.providers.transport import carry
from wa_dashboard.simulator import in_thread

from .samples import CORRELATION, DRAFT, OTP_DRAFT, account, outbound

KINDS = [provider_named(name) for name in ("meta_cloud", "twilio", "dialog360")]
WAIT = 10.0


class Inbox:
    """A receiver that keeps what arrives, as the product's own receiver would read it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.provider = None
        self.requests: list[WebhookRequest] = []

    def items(self, provider):
        assert all(provider.verify_webhook(request) for request in self.requests), "a webhook is not signed"
        return [item for request in self.requests for item in provider.parse_webhook(request)]

    def wait(self, provider, wanted):
        """The first item for which ``wanted`` holds."""
        return eventually(lambda: next((item for item in self.items(provider) if wanted(item)), None))


def eventually(look):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@contextmanager
def inbox() -> Iterator[Inbox]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came = datetime.now(UTC)
            box.requests.append(WebhookRequest("POST", base + self.path, dict(self.headers), body, received_at=came))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            answer = box.provider.challenge(WebhookRequest("GET", base + self.path, dict(self.headers)))
            self.send_response(200 if answer else 403)
            self.send_header("Content-Length", str(len(answer or "")))
            self.end_headers()
            self.wfile.write((answer or "").encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_port}"
    box = Inbox(f"{base}/api/wa/webhook/token")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class World:
    """One provider's account, its simulator and its inbox."""

    def __init__(self, kind, simulator, box) -> None:
        self.simulator, self.box = simulator, box
        base = {"meta_cloud": "meta", "twilio": "twilio", "dialog360": "dialog360"}[kind.name]
        urls = {"api": simulator.base_urls[base], "content": simulator.base_urls["twilio_content"]}
        self.provider = kind(account(kind).keys, urls)
        box.provider = self.provider
        self.account = self.provider.account_keys(self.provider.keys)[0].split(":")[1]
        self.control("PUT", "accounts", credentials=self.provider.keys, webhook_url=box.url)

    def control(self, method, path, **body):
        body = {"provider": self.provider.name, **body}
        answer = requests.request(method, f"{self.simulator.url}/_sim/{path}", json=body, timeout=5)
        assert answer.status_code < 300, answer.text

    def approved(self, draft=DRAFT):
        answer = self.provider.submit_template(draft)
        poll = lambda: self.provider.template_status(answer.external_id, draft.name, draft.language)  # noqa: E731
        eventually(lambda: poll().status == "approved")
        return answer

    def message(self, answer, **changed):
        settings = {"parameter_map": answer.parameter_map, "external_id": answer.external_id}
        settings |= {"status_callback_url": self.box.url, "button_payloads": {1: "STOP_MKT"}} | changed
        return outbound(self.provider, **settings)

    def send(self, answer, **changed):
        request = self.provider.build_send(self.message(answer, **changed))
        return self.provider.read_send(carry(request, timeout=(2, 5)))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def world(request, tmp_path):
    with inbox() as box, in_thread(tmp_path, approve_after_s=0.1, scale=0.1, seed=1) as simulator:
        yield World(request.param, simulator, box)


def test_a_template_is_approved_sent_and_read(world):
    provider = world.provider
    assert provider.probe().ok
    answer = world.approved()
    assert [listed.name for listed in provider.list_templates()] == [DRAFT.name]

    outcome = world.send(answer, to="+40700000001")
    read = world.box.wait(provider, lambda item: isinstance(item, StatusItem) and item.status == "read")

    assert (outcome.kind, bool(outcome.external_id)) == ("accepted", True)
    assert (read.correlation_id, read.external_id) == (CORRELATION, outcome.external_id)
    assert read.recipient == "+40700000001"
    statuses = [item for item in world.box.items(provider) if isinstance(item, StatusItem)]
    assert {item.status for item in statuses} == {"sent", "delivered", "read"}
    assert all(set(item.account_refs) & set(provider.account_keys(provider.keys)) for item in statuses)
    request = world.box.requests[-1]
    assert set(provider.account_keys_in(request)) & set(provider.account_keys(provider.keys))
    assert provider.recognises(request)
    if provider.name != "twilio":
        assert {item.pricing.billable for item in statuses if item.pricing} == {True}
        assert {item.pricing.category for item in statuses if item.pricing} == {"utility"}


def test_a_template_decision_comes_by_webhook_or_by_poll(world):
    provider = world.provider
    answer = world.approved()
    world.control(
        "POST", "templates", account=world.account, name=DRAFT.name, language="ro", event="REJECTED", reason="SCAM"
    )

    polled = provider.template_status(answer.external_id, DRAFT.name, "ro")
    assert polled.status == "rejected"
    assert "SCAM" in polled.rejected_reason
    if provider.templates_by_webhook:
        decided = [
            world.box.wait(provider, lambda item: getattr(item, "status", None) == "approved"),
            world.box.wait(provider, lambda item: getattr(item, "status", None) == "rejected"),
        ]
        assert all(isinstance(item, TemplateStatusItem) for item in decided)
        assert {(item.external_id, item.name, item.language) for item in decided} == {
            (answer.external_id, DRAFT.name, "ro")
        }
        assert decided[1].reason == "SCAM"


@pytest.mark.parametrize(("number", "code"), [("+40700000008", {"131026", "63024"})])
def test_a_failure_is_told_with_its_reason(world, number, code):
    world.send(world.approved(), to=number)
    failed = world.box.wait(world.provider, lambda item: isinstance(item, StatusItem) and item.status == "failed")

    assert failed.error.code in code
    assert failed.error.error_class == "recipient"


def test_people_answer(world):
    provider = world.provider
    world.send(world.approved(), to="+40700000001")
    world.control("POST", "inbound", account=world.account, **{"from": "+40700000001", "text": "STOP"})
    world.control("POST", "inbound", account=world.account, **{"from": "+40700000002", "button": "Dezabonare"})

    stop = world.box.wait(provider, lambda item: isinstance(item, InboundItem) and item.text == "STOP")
    button = world.box.wait(provider, lambda item: isinstance(item, InboundItem) and item.button_payload)
    assert stop.from_phone == "+40700000001"
    assert (button.from_phone, button.text) == ("+40700000002", "Dezabonare")
    if provider.name != "twilio":
        world.control("POST", "inbound", account=world.account, **{"from": "+40700000003", "preference": "stop"})
        preference = world.box.wait(provider, lambda item: isinstance(item, PreferenceItem))
        assert (preference.phone, preference.value) == ("+40700000003", "stop")


def test_our_payload_comes_back_with_the_tap(world):
    world.send(world.approved(), to="+40700000001")
    world.control("POST", "inbound", account=world.account, **{"from": "+40700000001", "button": "Dezabonare"})

    tapped = world.box.wait(world.provider, lambda item: isinstance(item, InboundItem))
    assert (tapped.text, tapped.button_payload) == ("Dezabonare", "STOP_MKT")


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"drop_before": 1}, "ambiguous"),
        ({"drop_after": 1}, "ambiguous"),
        ({"http_502_after_accept": 1}, "ambiguous"),
        ({"http_429": 1}, "throttled"),
        ({"http_503": 1}, "not_sent"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_faults_are_told_apart(world, faults, kind):
    answer = world.approved()
    before = datetime.now(UTC) - timedelta(seconds=2)
    world.control("PUT", "faults", **faults)

    outcome = world.send(answer, to="+40722000009")

    assert outcome.kind == kind
    accepted = "drop_after" in faults or "http_502_after_accept" in faults
    assert len(ledger(world)) == accepted
    if world.provider.can_look_up:
        found = world.provider.find_sent("+40722000009", before)
        assert len(found) == accepted
        assert [world.provider.fetch_message(record.external_id) is not None for record in found] == [True] * accepted


def ledger(world):
    text = requests.get(f"{world.simulator.url}/_sim/ledger", timeout=5).text
    return [json.loads(line) for line in text.splitlines()]


def test_the_ledger_knows_our_id(world):
    outcome = world.send(world.approved(), to="+40700000001")
    (line,) = ledger(world)

    assert CORRELATION in line.values()
    assert outcome.external_id in line.values()


def test_codes_reach_people(world):
    answer = world.approved(OTP_DRAFT)
    outcome = world.send(
        answer,
        template_name=OTP_DRAFT.name,
        language=OTP_DRAFT.language,
        parameters={"code": "123456"},
        header_variables=[],
        body_variables=["code"],
        button_variables=[(0, "otp", "code")],
        button_payloads={},
    )

    assert outcome.kind == "accepted"


def test_a_wrong_key_is_refused_in_the_providers_own_words(world):
    secret = {"meta_cloud": "access_token", "twilio": "auth_token", "dialog360": "api_key"}[world.provider.name]
    stranger = type(world.provider)({**world.provider.keys, secret: "wrong"}, world.provider.urls)

    probe = stranger.probe()
    assert probe.ok is False
    assert probe.outcome.holds == "account"
    sent = stranger.read_send(carry(stranger.build_send(outbound(stranger))))
    assert (sent.kind, sent.holds) == ("rejected", "account")
    with pytest.raises(ProviderError):
        stranger.list_templates()


def test_an_unknown_template_is_the_templates_fault(world):
    answer = world.approved()
    outcome = world.send(answer, template_name="no_such_template", external_id="HX" + "0" * 32)

    assert (outcome.kind, outcome.error_class, outcome.scope) == ("rejected", "template", "template")


def test_a_registered_webhook_is_used(world):
    if world.provider.name == "twilio":  # set by hand in its console; every message carries its own address
        assert world.box.url in world.provider.register_webhook(world.box.url)
        return
    elsewhere = world.box.url.replace("/token", "/other")
    # 360dialog takes no address with a port (contracts.md §3).
    if world.provider.name == "dialog360":
        assert "https://wa.example.org/hook" in world.provider.register_webhook("https://wa.example.org/hook")
        return
    world.provider.register_webhook(elsewhere)
    world.control("POST", "inbound", account=world.account, **{"from": "+40700000001", "text": "Bună"})

    world.box.wait(world.provider, lambda item: isinstance(item, InboundItem))
    assert world.box.requests[-1].url == elsewhere


def test_metas_handshake_needs_the_right_token(world):
    if world.provider.name != "meta_cloud":
        assert world.provider.challenge(WebhookRequest("GET", "https://h/?hub.mode=subscribe")) is None
        return
    stranger = type(world.provider)({**world.provider.keys, "verify_token": "wrong"}, world.provider.urls)

    with pytest.raises(ProviderError) as problem:
        stranger.register_webhook(world.box.url)
    assert problem.value.outcome.kind == "rejected"


ENGLISH = replace(DRAFT, language="en", body="Hello {{first_name}}, your tickets for {{event}} are ready.")


def test_one_language_is_deleted_and_the_other_stays(world):
    provider = world.provider
    romanian, english = world.approved(), world.approved(ENGLISH)

    if provider.name == "dialog360":  # it would delete both
        with pytest.raises(ProviderError) as problem:
            provider.delete_template(romanian.external_id, DRAFT.name, "ro")
        assert problem.value.outcome.code == "all_languages"
        assert len(provider.list_templates()) == 2
        return
    provider.delete_template(romanian.external_id, DRAFT.name, "ro")
    provider.delete_template(romanian.external_id, DRAFT.name, "ro")

    assert [left.external_id for left in provider.list_templates()] == [english.external_id]
    assert provider.template_status(romanian.external_id, DRAFT.name, "ro") is None
    assert world.send(english, language="en").kind == "accepted"
    assert world.send(romanian).error_class in ("template", "request")


def test_the_last_language_is_deleted_by_name_too(world):
    world.approved()
    world.provider.delete_template(None, DRAFT.name, "ro")

    assert world.provider.list_templates() == []


def test_a_rejected_template_is_changed_and_goes_back_to_review(world):
    provider = world.provider
    answer = world.approved()
    decided = {"account": world.account, "name": DRAFT.name, "language": "ro"}
    world.control("POST", "templates", **decided, event="REJECTED", reason="SCAM")
    better = replace(DRAFT, body="Bună {{first_name}}, biletele pentru {{event}} te așteaptă aici.")

    if provider.name == "dialog360":
        with pytest.raises(ProviderError):
            provider.edit_template(answer.external_id, better)
        return
    changed = provider.edit_template(answer.external_id, better)
    eventually(lambda: provider.template_status(changed.external_id, DRAFT.name, "ro").status == "approved")

    assert (changed.external_id == answer.external_id) == (provider.name == "meta_cloud")
    world.send(changed, to="+40700000001")
    asked = requests.get(f"{world.simulator.url}/_sim/phone", params={"to": "+40700000001"}, timeout=5)
    assert "te așteaptă aici" in asked.json()["messages"][-1]["text"]


def test_a_content_nobody_was_asked_about_is_changed_in_place(world):
    if world.provider.name != "twilio":
        return
    wanted = twilio_bodies.create_body(DRAFT)
    url = f"{world.provider.urls['content']}/v1/Content"
    sid = world.provider.ask(world.provider.request("POST", url, payload=wanted))["sid"]

    changed = world.provider.edit_template(sid, ENGLISH)
    assert changed.external_id == sid
    eventually(lambda: world.provider.template_status(sid, DRAFT.name, "en").status == "approved")
    with pytest.raises(ProviderError):
        world.provider.ask(world.provider.request("PUT", f"{url}/{sid}", payload=wanted))


def test_a_pause_is_ended_where_the_provider_lets_us(world):
    provider = world.provider
    answer = world.approved()
    world.control("POST", "templates", account=world.account, name=DRAFT.name, language="ro", event="PAUSED")
    assert provider.template_status(answer.external_id, DRAFT.name, "ro").status == "paused"

    if not provider.can_unpause:
        with pytest.raises(ProviderError):
            provider.unpause_template(answer.external_id)
        return
    provider.unpause_template(answer.external_id)

    assert provider.template_status(answer.external_id, DRAFT.name, "ro").status == "approved"
    with pytest.raises(ProviderError) as problem:
        provider.unpause_template(answer.external_id)
    assert "not paused" in problem.value.outcome.detail


def test_lists_of_more_than_one_page_are_whole(world):
    provider = world.provider
    names = [f"long_list_{n:03d}" for n in range(103)]
    for n, name in enumerate(names):  # a text of its own, or Meta would call it a duplicate
        provider.submit_template(
            replace(DRAFT, name=name, body=f"Salut {{{{first_name}}}}, ai locul {n} la noi.", header=None)
        )

    assert sorted(answer.name for answer in provider.list_templates()) == names
