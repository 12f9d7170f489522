"""Who may speak to us: vectors of the providers, the official SDK on random input, and forgeries."""

import base64
import hashlib
import hmac
import json
import random
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from wa_dashboard.providers.base import WebhookRequest, provider_named, providers_recognising
from wa_dashboard.providers.twilio_webhooks import signature

from .samples import PAYLOADS, account, needs_contracts

META, TWILIO, DIALOG = provider_named("meta_cloud"), provider_named("twilio"), provider_named("dialog360")
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
ODD_HEADERS = ["", "sha256=", "sha256=é", "\udcff", "=", "x" * 10_000, "sha1=0", "ș" * 44, "\x00"]


def hub(secret, body):
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def twilio_request(token, url, fields, given_signature=None, signed_url=None):
    body = urlencode(fields).encode()
    proof = given_signature or RequestValidator(token).compute_signature(signed_url or url, Multi(fields))
    return WebhookRequest("POST", url, {**FORM, "X-Twilio-Signature": proof}, body)


class Multi(dict):
    """A form as web frameworks give it to the SDK: several values of one name."""

    def __init__(self, fields):
        super().__init__(fields)
        self.fields = fields

    def getlist(self, name):
        return [value for key, value in self.fields if key == name]


@needs_contracts
def test_metas_vector():
    (path,) = PAYLOADS.glob("meta/signature__*")
    vector = json.loads(path.read_bytes())
    provider = account(META, app_secret=vector["app_secret"])
    body = vector["raw_body"].encode()
    request = WebhookRequest("POST", "https://h/", {"x-hub-signature-256": vector["X-Hub-Signature-256"]}, body)
    reserialised = json.dumps(json.loads(body)).encode()

    assert provider.verify_webhook(request)
    assert not provider.verify_webhook(WebhookRequest("POST", "https://h/", request.headers, reserialised))


@needs_contracts
def test_twilios_vectors():
    form = json.loads(next(PAYLOADS.glob("twilio/signature__*sdk_form*")).read_bytes())
    body = json.loads(next(PAYLOADS.glob("twilio/signature__*sdk_json*")).read_bytes())
    provider = account(TWILIO, auth_token="12345")
    by_form = WebhookRequest(
        "POST",
        form["url"],
        {"X-Twilio-Signature": form["X-Twilio-Signature"]},
        form=list(form["params"].items()),
    )
    by_json = WebhookRequest(
        "POST",
        body["url"],
        {"X-Twilio-Signature": body["X-Twilio-Signature"], "Content-Type": "application/json"},
        body["raw_body"].encode(),
    )

    assert provider.verify_webhook(by_form)
    assert provider.verify_webhook(by_json)
    tampered = WebhookRequest("POST", body["url"], by_json.headers, body["raw_body"].encode() + b" ")
    assert not provider.verify_webhook(tampered)


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=300), secret=st.text("0123456789abcdef", min_size=8, max_size=32), flip=st.integers(0, 7)
)
def test_meta_signs_bytes(body, secret, flip):
    provider = account(META, app_secret=secret)
    proof = hub(secret, body)

    assert provider.verify_webhook(WebhookRequest("POST", "https://h/", {"X-HUB-Signature-256": proof}, body))
    for forged_body, forged_proof in [
        (body + b"x", proof),
        (body, proof[:-1]),
        (body, proof.upper()),
        (body, proof.removeprefix("sha256=")),
        (body, hub(secret + "0", body)),
        (bytes([*body[:-1], body[-1] ^ (1 << flip)]) if body else b"x", proof),
    ]:
        headers = {"X-Hub-Signature-256": forged_proof}
        assert not provider.verify_webhook(WebhookRequest("POST", "https://h/", headers, forged_body))


VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = st.lists(st.tuples(st.sampled_from(["To", "From", "Body", "A", "b", "ș"]) | VALUES, VALUES), max_size=10)
URLS = st.sampled_from(
    [
        "https://wa.example.org/api/wa/webhook/abc?mid=msg_01.1",
        "https://wa.example.org:8443/hook",
        "https://wa.example.org:443/hook?x=%20y",
        "http://127.0.0.1:8000/api/wa/webhook",
        "http://127.0.0.1/hook?bodySHA=1",
    ]
)


@settings(max_examples=400, deadline=None)
@given(fields=FIELDS, url=URLS, token=st.text("0123456789abcdef", min_size=4, max_size=32))
def test_twilio_signatures_agree_with_the_official_sdk(fields, url, token):
    provider = account(TWILIO, auth_token=token)
    request = twilio_request(token, url, fields)

    assert signature(token, url, fields) == RequestValidator(token).compute_signature(url, Multi(fields))
    assert provider.verify_webhook(request)
    assert not account(TWILIO, auth_token=token + "0").verify_webhook(request)
    more = urlencode([*fields, ("Added", "")]).encode()
    assert not provider.verify_webhook(WebhookRequest("POST", url, request.headers, more))
    assert not provider.verify_webhook(WebhookRequest("POST", url + "1", request.headers, request.body))


@settings(max_examples=200, deadline=None)
@given(fields=FIELDS, url=URLS, other=URLS)
def test_verification_agrees_with_the_official_sdk_about_ports(fields, url, other):
    provider = account(TWILIO, auth_token="12345")
    request = twilio_request("12345", url, fields, signed_url=other)
    theirs = RequestValidator("12345").validate(url, Multi(fields), request.header("X-Twilio-Signature"))

    assert provider.verify_webhook(request) == theirs


def test_blank_and_repeated_fields_count():
    fields = [("Body", ""), ("Media", "b"), ("Media", "a"), ("Media", "b"), ("To", "x")]
    provider = account(TWILIO, auth_token="12345")
    request = twilio_request("12345", "https://h.example/", fields)

    assert provider.verify_webhook(request)
    without = urlencode([field for field in fields if field[1]]).encode()
    assert not provider.verify_webhook(WebhookRequest("POST", "https://h.example/", request.headers, without))


def test_the_fragment_of_the_callback_is_not_signed():
    provider = account(TWILIO, auth_token="12345")
    request = twilio_request("12345", "https://h.example/?mid=1", [("a", "b")])

    assert provider.verify_webhook(
        WebhookRequest("POST", "https://h.example/?mid=1#rc=5", request.headers, request.body)
    )


def test_the_shared_key_header_changes_nothing_for_a_classic_signature():
    """Its algorithm is not ours to choose: a stranger's header must not weaken the check."""
    provider = account(TWILIO, auth_token="12345")
    request = twilio_request("12345", "https://h.example/", [("a", "b")])
    settings_header = {"X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_x,algorithm=HMAC_SHA256"}

    assert provider.verify_webhook(
        WebhookRequest("POST", "https://h.example/", {**request.headers, **settings_header}, request.body)
    )


def test_a_body_digest_needs_the_digest_to_be_right():
    provider = account(TWILIO, auth_token="12345")
    body = b'{"a":1}'
    url = f"https://h.example/?bodySHA256={hashlib.sha256(body).hexdigest()}"
    proof = base64.b64encode(hmac.new(b"12345", url.encode(), hashlib.sha1).digest()).decode()

    def asked(content):
        return WebhookRequest("POST", url, {"X-Twilio-Signature": proof}, content)

    assert provider.verify_webhook(asked(body))
    assert not provider.verify_webhook(asked(b'{"a":2}'))


def test_dialog360_secret_header():
    provider = account(DIALOG)
    secret = provider.keys["webhook_secret"]

    assert provider.verify_webhook(WebhookRequest("POST", "https://h/", {"x-wa-webhook-secret": secret}, b"{}"))
    for wrong in (secret[:-1], secret + "x", secret.swapcase(), *ODD_HEADERS):
        assert not provider.verify_webhook(WebhookRequest("POST", "https://h/", {"X-WA-Webhook-Secret": wrong}, b"{}"))


@pytest.mark.parametrize("kind", [META, TWILIO, DIALOG], ids=lambda kind: kind.name)
@pytest.mark.parametrize("header", ODD_HEADERS, ids=range(len(ODD_HEADERS)))
def test_odd_headers_are_refused_quietly(kind, header):
    for url in ("https://h/", "https://h:99999/", "https://[::1/", "\ud800"):
        request = WebhookRequest("POST", url, {**FORM, kind.webhook_header: header}, b"a=%ff&b=\xff")
        assert account(kind).verify_webhook(request) is False


def test_an_empty_secret_opens_nothing():
    provider = account(DIALOG)
    provider.keys["webhook_secret"] = ""

    assert not provider.verify_webhook(WebhookRequest("POST", "https://h/", {"X-WA-Webhook-Secret": ""}, b""))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1234567890", "1234567890"),
        ("hub.challenge=1234567890&hub.mode=subscribe&hub.verify_token={token}", "1234567890"),
        ("hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1", None),
        ("hub.mode=subscribe&hub.verify_token=%C8%99&hub.challenge=1", None),
        ("hub.mode=subscribe&hub.challenge=1", None),
        ("hub.mode=unsubscribe&hub.verify_token={token}&hub.challenge=1", None),
        ("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=<script>", None),
        ("hub.mode=subscribe&hub.verify_token={token}", None),
        ("", None),
    ],
)
def test_metas_handshake(query, answer):
    provider = account(META)
    url = "https://h/webhook?" + query.format(token=provider.keys["verify_token"])

    assert provider.challenge(WebhookRequest("GET", url)) == answer
    assert provider.challenge(WebhookRequest("POST", url)) is None
    assert account(TWILIO).challenge(WebhookRequest("GET", url)) is None


def test_a_bare_webhook_is_recognised_by_its_header():
    def names(headers, url="https://h/"):
        return [kind.name for kind in providers_recognising(WebhookRequest("POST", url, headers))]

    assert names({"X-Twilio-Signature": "x"}) == ["twilio"]
    assert names({"X-Hub-Signature-256": "x"}) == ["meta_cloud"]
    assert names({"X-WA-Webhook-Secret": "x"}) == ["dialog360"]
    assert names({}, "https://h/?hub.mode=subscribe") == ["meta_cloud"]
    assert names({}) == []


def test_the_account_is_named_by_the_body_before_it_is_verified():
    credentials = META.random_test_credentials(random.Random(3))
    value = {"metadata": {"phone_number_id": credentials["phone_number_id"], "display_phone_number": "40 31 123-4567"}}
    body = json.dumps({"entry": [{"id": credentials["waba_id"], "changes": [{"value": value}]}]}).encode()
    request = WebhookRequest("POST", "https://h/", {}, body)

    assert META.account_keys_in(request) == META.account_keys(credentials)
    assert DIALOG.account_keys_in(request) == ["phone:+40311234567", f"waba:{credentials['waba_id']}"]
    assert TWILIO.account_keys_in(WebhookRequest("POST", "https://h/", FORM, b"AccountSid=AC1&x=")) == ["sid:AC1"]
