"""The door for providers: what is genuine is kept once and answered with 200, everything else leaves no trace."""

import base64
import hashlib
import hmac
import json
import random
import time
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select
from twilio.request_validator import RequestValidator

from tests import factories
from tests.support.servers import free_port
from tests.support.webhooks import FORM, JSON, Post, Speaker
from wa_dashboard import failpoints, queues
from wa_dashboard.db import all_tenants, db, transaction
from wa_dashboard.factory import create_app
from wa_dashboard.models import WebhookEvent, WebhookItem
from wa_dashboard.services import accounts, intake

SIGNED = {**JSON, "X-Hub-Signature-256": "sha256=" + "0" * 64}
PROVIDERS = ("meta_cloud", "twilio", "dialog360")


@pytest.fixture(params=PROVIDERS)
def ready(request, app):
    return factories.make_tenant(provider=request.param)


@pytest.fixture
def speaker(ready):
    return Speaker(ready.account)


def stored():
    with all_tenants("a test looks"):
        return list(db.session.scalars(select(WebhookEvent).execution_options(populate_existing=True)))


def rows():
    with all_tenants("a test counts"):
        count = [db.session.scalar(select(func.count()).select_from(model)) for model in (WebhookEvent, WebhookItem)]
        db.session.rollback()
    return sum(count)


def test_a_genuine_post_is_kept_as_it_came_and_answered(client, speaker, ready):
    post = speaker.receipt("delivered", "msg_x.1", "wamid.1")
    answer = post.to(client)
    assert answer.status_code == 200
    if speaker.provider == "twilio":
        assert (answer.mimetype, answer.data) == ("text/xml", b"<Response/>")
    else:
        assert answer.json == {"received": True}
    [event] = stored()
    assert (event.body, event.account_id, event.tenant_id) == (post.body, ready.account.id, ready.id)
    assert event.state == "new"


def test_the_secret_is_not_stored_with_the_post(client, speaker):
    speaker.receipt("delivered", "msg_x.1", "wamid.1").to(client)
    [event] = stored()
    kept = json.dumps(event.headers)
    assert list(event.headers) == ["Content-Type"]
    assert not any(secret in kept for secret in speaker.keys.values())


def test_the_same_post_twice_is_kept_once(client, speaker):
    post = speaker.receipt("delivered", "msg_x.1", "wamid.1")
    assert [post.to(client).status_code for _ in range(3)] == [200, 200, 200]
    assert len(stored()) == 1


def test_the_shared_address_finds_the_account_by_what_the_body_names(client, speaker, ready):
    body = speaker.receipt("delivered", "msg_x.1", "wamid.1")
    post = (
        speaker.raw(body.body, "/api/wa/webhook")
        if speaker.provider != "twilio"
        else speaker.form({"MessageSid": "SM1", "MessageStatus": "sent"}, path="/api/wa/webhook")
    )
    assert post.to(client).status_code == 200
    assert [event.account_id for event in stored()] == [ready.account.id]


@pytest.mark.parametrize("name", ["meta_cloud", "dialog360"])  # Twilio signs the address itself
def test_both_addresses_of_one_account_keep_one_post(client, app, name):
    speaker = Speaker(factories.make_tenant(provider=name).account)
    body = speaker.receipt("delivered", "msg_x.1", "wamid.1").body
    for path in (speaker.path, "/api/wa/webhook"):
        assert speaker.raw(body, path).to(client).status_code == 200
    assert len(stored()) == 1


def test_of_two_tenants_who_claim_one_number_the_signature_decides(client, app):
    victim = factories.make_tenant()
    keys = {**victim.account.credentials, "app_secret": "f" * 32}
    thief = factories.make_tenant(name="Alt organizator", email="other@example.org")
    accounts.create_account(thief.tenant, "meta_cloud", keys)
    body = Speaker(victim.account).receipt("delivered", "msg_x.1", "wamid.1").body
    assert Speaker(victim.account).raw(body, "/api/wa/webhook").to(client).status_code == 200
    assert [event.tenant_id for event in stored()] == [victim.id]


def test_one_app_of_several_tenants_reaches_each_of_them(client, app):
    one = factories.make_tenant()
    other = factories.make_tenant(name="Alt organizator", email="other@example.org")
    keys = {**other.account.credentials, "app_secret": one.account.credentials["app_secret"]}
    sister = accounts.create_account(other.tenant, "meta_cloud", keys)
    first, second = Speaker(one.account), Speaker(sister)
    batch = first.envelope(statuses=[first.status("sent", "msg_x.1", "wamid.1")])
    batch["entry"] += second.envelope(statuses=[second.status("sent", "msg_y.1", "wamid.2")])["entry"]
    assert first.json(batch, "/api/wa/webhook").to(client).status_code == 200
    assert {event.tenant_id for event in stored()} == {one.id, other.id}


def test_an_unknown_address_looks_like_a_wrong_signature(client, speaker):
    post = speaker.receipt("delivered", "msg_x.1", "wamid.1")
    wrong = post.to(client, headers={speaker_header(speaker): "sha256=" + "0" * 64})
    unknown = post.to(client, path="/api/wa/webhook/" + "x" * 32)
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.mimetype == "application/problem+json"
    assert {key: wrong.json[key] for key in ("code", "detail", "title")} == {
        key: unknown.json[key] for key in ("code", "detail", "title")
    }
    assert rows() == 0


@pytest.mark.parametrize("token", ["%00", "a%00b", "..%2F..", "%F0%9F%92%A9", "'", "x" * 5000, "%ED%A0%80"])
def test_strange_addresses_are_refused_not_stumbled_over(client, app, token):
    factories.make_tenant()
    answer = client.post(f"/api/wa/webhook/{token}", data=b"{}", headers=JSON)
    assert answer.status_code in (401, 404)
    assert rows() == 0


def test_names_in_an_unverified_body_cannot_break_the_search(client, app):
    meta = Speaker(factories.make_tenant().account)
    for name in ("\x00", "\ud800", "1" * 100_000, "a b", "é", {"a": 1}, None, 10**24, True, []):
        value = {"entry": [{"id": name, "changes": [{"value": {"metadata": {"phone_number_id": name}}}]}]}
        assert meta.json(value, "/api/wa/webhook").to(client).status_code == 401
    assert rows() == 0


def speaker_header(speaker):
    return {
        "meta_cloud": "X-Hub-Signature-256",
        "twilio": "X-Twilio-Signature",
        "dialog360": "X-WA-Webhook-Secret",
    }[speaker.provider]


# --- forged -----------------------------------------------------------------------------------------------------


def forgeries(speaker: Speaker, stranger: Speaker, count: int, rng: random.Random):
    """Endless kinds of posts that nobody with the account's secret has made. Yields (what, Post)."""
    header = speaker_header(speaker)
    for number in range(count):
        post = speaker.receipt("delivered", f"msg_{number}.1", f"wamid.{number}")
        good = post.headers[header]
        yield _forgery(number % 14, speaker, stranger, post, header, good, rng)


def _forgery(kind, speaker, stranger, post, header, good, rng):
    def with_proof(proof):
        return Post(post.path, post.body, {**post.headers, header: proof})

    secret = next(speaker.keys[name] for name in ("app_secret", "auth_token", "webhook_secret") if name in speaker.keys)
    at = rng.randrange(len(good))
    flipped = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
    position = rng.randrange(len(post.body))
    bent = bytearray(post.body)
    bent[position] ^= 1 << rng.randrange(7)
    signs_body = speaker.provider != "dialog360"
    other_body = Post(post.path, bytes(bent) if bytes(bent) != post.body else post.body + b"x", post.headers)
    theirs = stranger.raw(post.body, post.path).headers[header]
    cases = [
        ("one letter of the proof", with_proof(flipped)),
        ("empty proof", with_proof("")),
        ("no proof", Post(post.path, post.body, {k: v for k, v in post.headers.items() if k != header})),
        ("another tenant's secret", with_proof(theirs)),
        ("another algorithm", with_proof(_other_algorithm(speaker.provider, secret, post.body))),
        ("letters beyond ASCII", with_proof(good[:-1] + "é")),
        ("a proof in other letters", with_proof(good.swapcase())),
        ("cut short", with_proof(good[: rng.randrange(len(good))])),
        ("with a tail", with_proof(good + "0")),
        ("twice", with_proof(f"{good},{good}")),
        ("another body", other_body if signs_body else with_proof(flipped)),
        ("written anew", _rewritten(post, speaker) if signs_body else with_proof(theirs)),
        ("another address", _elsewhere(post, speaker, stranger)),
        ("at another's door", Post(stranger.path, post.body, post.headers)),
    ]
    return cases[kind]


def _other_algorithm(provider, secret, body):
    if provider == "twilio":
        return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()


def _rewritten(post, speaker):
    """The same meaning in other bytes."""
    if speaker.provider == "twilio":
        return Post(post.path, post.body + b"&Extra=", post.headers)
    return Post(post.path, json.dumps(json.loads(post.body), separators=(",", ":")).encode(), post.headers)


def _elsewhere(post, speaker, stranger):
    if speaker.provider == "twilio":
        return Post(post.path + "0", post.body, post.headers)  # another ?mid=
    return Post(post.path + "x", post.body, post.headers)


@pytest.mark.parametrize("name", PROVIDERS)
def test_forged_posts_are_refused_and_leave_nothing(client, app, name):
    speaker = Speaker(factories.make_tenant(provider=name).account)
    stranger = Speaker(factories.make_tenant(name="Alt", email="other@example.org", provider=name).account)
    answers = {}
    for what, post in forgeries(speaker, stranger, 200, random.Random(5)):
        headers = {key: value.encode() if not value.isascii() else value for key, value in post.headers.items()}
        code = client.post(post.path, data=post.body, headers=_as_wire(headers)).status_code
        answers.setdefault((what, code), 0)
        answers[what, code] += 1
    assert {code for _, code in answers} == {401}, answers
    assert sum(answers.values()) == 200
    assert rows() == 0


def _as_wire(headers):
    """Bytes of a header arrive as Latin-1 text (PEP 3333)."""
    return {key: value.decode("latin-1") if isinstance(value, bytes) else value for key, value in headers.items()}


def test_what_a_proxy_or_a_liar_says_of_the_host_changes_nothing(client, app):
    speaker = Speaker(factories.make_tenant(provider="twilio").account)
    lies = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "host=e",
    }
    assert speaker.receipt("sent", "msg_x.1", "SM1").to(client, headers=lies).status_code == 200
    fields = {"AccountSid": speaker.keys["account_sid"], "MessageSid": "SM2", "MessageStatus": "sent"}
    for_evil = RequestValidator(speaker.keys["auth_token"]).compute_signature(
        "https://evil.example" + speaker.path, fields
    )
    forged = Post(speaker.path, urlencode(fields).encode(), {**FORM, "X-Twilio-Signature": for_evil})
    assert forged.to(client, headers=lies).status_code == 401
    assert len(stored()) == 1


def test_the_secret_of_another_mode_does_not_open_an_account(client, app):
    """A live account's door takes nothing that its simulator twin has signed, and the other way round."""
    ready = factories.make_tenant()
    with transaction(), all_tenants("a test makes it live"):
        ready.tenant.live = True
        db.session.merge(ready.tenant)
    keys = {**ready.account.credentials, "app_secret": "a" * 32}
    live = accounts.create_account(ready.tenant, "meta_cloud", keys, live=True)
    body = Speaker(ready.account).receipt("delivered", "msg_x.1", "wamid.1").body
    for signer, door in ((ready.account, live), (live, ready.account)):
        assert Speaker(signer).raw(body, Speaker(door).path).to(client).status_code == 401
    assert rows() == 0


# --- size, trouble, speed ---------------------------------------------------------------------------------------


def test_four_mebibytes_are_taken_and_no_byte_more(client, app):
    speaker = Speaker(factories.make_tenant().account)
    full = b'{"a":"' + b"x" * (intake.BODY_LIMIT - 8) + b'"}'
    assert speaker.raw(full).to(client).status_code == 200
    answer = speaker.raw(full + b" ").to(client)
    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")
    assert len(stored()) == 1


def test_without_a_database_the_provider_is_asked_to_come_again(base_settings):
    nowhere = f"postgresql+psycopg://wa@127.0.0.1:{free_port()}/wa"
    app = create_app(replace(base_settings, database_url=nowhere))
    answers = [app.test_client().post(f"/api/wa/webhook{end}", data=b"{}", headers=SIGNED) for end in ("", "/token")]
    answers.append(handshake(app.test_client(), "/api/wa/webhook/token", "x"))
    assert [answer.status_code for answer in answers[1:]] == [503, 503]
    assert answers[0].status_code == 401  # names nobody: the database is not even asked
    assert int(answers[1].headers["Retry-After"]) > 0


def test_dying_between_commit_and_answer_keeps_the_post_and_takes_no_second(client, speaker):
    post = speaker.receipt("delivered", "msg_x.1", "wamid.1")
    failpoints.arm("F9=raise")
    try:
        assert post.to(client).status_code == 500
    finally:
        failpoints.arm("")
    assert len(stored()) == 1
    assert post.to(client).status_code == 200
    assert len(stored()) == 1


def test_a_new_post_wakes_the_reader_after_the_commit(client, speaker):
    speaker.receipt("delivered", "msg_x.1", "wamid.1").to(client)
    assert queues.client().exists("wa:awake:receipts:")


def test_a_queue_that_is_away_costs_little_and_loses_nothing(client, speaker, app, monkeypatch):
    gone = queues.connect(replace(app.extensions["wa_settings"], redis_url="unix:///nowhere/at/all.sock"))
    monkeypatch.setitem(app.extensions, "wa_redis", gone)
    began = time.monotonic()
    assert speaker.receipt("delivered", "msg_x.1", "wamid.1").to(client).status_code == 200
    assert time.monotonic() - began < 1
    assert len(stored()) == 1


# --- Meta's handshake -------------------------------------------------------------------------------------------


def handshake(client, path, token, mode="subscribe", challenge="1158201444"):
    return client.get(path, query_string={"hub.mode": mode, "hub.verify_token": token, "hub.challenge": challenge})


@pytest.mark.parametrize("own_address", [True, False])
def test_the_handshake_answers_with_the_bare_challenge(client, tenant, own_address):
    speaker = Speaker(tenant.account)
    path = speaker.path if own_address else "/api/wa/webhook"
    answer = handshake(client, path, speaker.keys["verify_token"])
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"1158201444", "text/plain")


def test_a_wrong_handshake_is_forbidden(client, tenant, other_tenant):
    speaker = Speaker(tenant.account)
    right, theirs = speaker.keys["verify_token"], other_tenant.account.credentials["verify_token"]
    wrong = [
        handshake(client, speaker.path, theirs),
        handshake(client, speaker.path, ""),
        handshake(client, speaker.path, right + "é"),
        handshake(client, speaker.path, right, mode="unsubscribe"),
        handshake(client, "/api/wa/webhook", "nobody's"),
        handshake(client, "/api/wa/webhook/unknown", right),
        client.get(speaker.path),
    ]
    assert [answer.status_code for answer in wrong] == [403] * len(wrong)


def test_other_providers_have_no_handshake(client, app):
    for name in ("twilio", "dialog360"):
        ready = factories.make_tenant(name=name, email=f"{name}@example.org", provider=name)
        assert handshake(client, Speaker(ready.account).path, "x").status_code == 403


def test_a_key_in_the_header_is_neither_needed_nor_helpful(client, tenant):
    answer = client.post(Speaker(tenant.account).path, data=b"{}", headers={**JSON, **tenant.headers})
    assert answer.status_code == 401
    assert rows() == 0
