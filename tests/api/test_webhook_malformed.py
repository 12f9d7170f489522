"""Bodies that are correctly signed and otherwise everything a body should not be: never a 5xx, never a dead reader."""

import json
import random
from collections import Counter
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from tests import factories
from tests.support.webhooks import T0, Speaker, inbound, under_way
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db
from wa_dashboard.models import Message, WebhookEvent, WebhookItem
from wa_dashboard.services import intake, receipts

HUGE = "7" * 5_000
ODD_TEXTS = [
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "💥" * 50,
    "é" * 300,
    "x" * 70_000,
    "\u202e",
    "' OR 1=1 --",
    "-1",
]
ODD = [None, True, False, 0, -1, 10**24, 1e300, -1e-300, [], {}, [[]], [None], {"": {}}, [{}], *ODD_TEXTS]
RAW_ODD = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    HUGE,
    f"-{HUGE}",
    '"\\ud800"',
    '"\\u0000"',
    "[" * 300,
    "{",
    "",
    "1 2",
    "\x00",
]


def malformed(speaker: Speaker, rng: random.Random) -> bytes:
    """One body that the account's provider would never send."""
    if speaker.provider == "twilio" and rng.random() < 0.8:
        return _form(speaker, rng)
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(400))
    if kind == 1:
        return rng.choice([b"[", b'{"entry":', b'{"a":[']) * rng.choice([1, 70, 5_000, 60_000])
    if kind == 2:
        return _with_raw(_template(speaker, rng), rng)
    if kind == 3:
        body = json.dumps(_template(speaker, rng)).encode()
        return body[: rng.randrange(len(body))]
    if kind == 4:
        body = bytearray(json.dumps(_template(speaker, rng)).encode())
        for _ in range(rng.randrange(1, 6)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        return bytes(body)
    value = _template(speaker, rng)
    for _ in range(rng.randrange(1, 5)):
        value = _bent(value, rng)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _template(speaker: Speaker, rng: random.Random) -> object:
    number = rng.randrange(10**9)
    meta = Speaker.status(
        speaker, rng.choice(["sent", "failed", "read", "played", "new"]), f"msg_{number}.1", f"w.{number}"
    )
    if "waba_id" not in speaker.keys:
        return {"entry": [{"changes": [{"value": {"statuses": [meta]}}]}]}
    choice = rng.randrange(4)
    if choice == 0:
        return speaker.envelope(statuses=[meta, meta | {"id": "x"}])
    if choice == 1:
        return speaker.envelope(messages=[inbound("STOP", clock.now(), f"wamid.{number}")], contacts=[{"wa_id": "1"}])
    if choice == 2:
        news = {"event": "APPROVED", "message_template_id": number, "message_template_name": "x"}
        return speaker.envelope("message_template_status_update", message_template_language="ro", **news)
    ban = {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}
    return speaker.envelope("account_update", event="DISABLED_UPDATE", ban_info=ban, number=number)


def _bent(value: object, rng: random.Random) -> object:
    """The value with one random place inside it replaced, doubled or removed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(ODD)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], _bent(value[at], rng), *value[at:]]
    key = rng.choice(list(value))
    if rng.random() < 0.1:
        return {name: inner for name, inner in value.items() if name != key}
    if rng.random() < 0.1:
        return {**value, rng.choice(ODD_TEXTS): value[key]}
    return {**value, key: _bent(value[key], rng)}


def _with_raw(value: object, rng: random.Random) -> bytes:
    """JSON with something in it that no JSON library writes."""
    text = json.dumps(value)
    numbers = [at for at, letter in enumerate(text) if letter == ":"]
    at = rng.choice(numbers) + 1
    return (text[:at] + rng.choice(RAW_ODD) + "," * rng.randrange(2) + text[at:]).encode("utf-8", "surrogatepass")


def _form(speaker: Speaker, rng: random.Random) -> bytes:
    fields = {
        "AccountSid": speaker.keys["account_sid"],
        "MessageSid": f"SM{rng.randrange(10**9)}",
        "MessageStatus": rng.choice(["sent", "read", "received", "failed", "partially_delivered", ""]),
        "From": "whatsapp:+40722123456",
        "Body": "STOP",
        "ErrorCode": "63024",
    }
    for _ in range(rng.randrange(1, 5)):
        name = rng.choice([*fields, *[text.encode("utf-8", "replace").decode() for text in ODD_TEXTS]])
        odd = rng.choice(ODD_TEXTS) if rng.random() < 0.8 else rng.choice(RAW_ODD)
        fields[name] = odd.encode("utf-8", "replace").decode()
        if rng.random() < 0.2:
            fields.pop(rng.choice(list(fields)))
    body = urlencode(fields).encode()
    return body + rng.choice([b"", b"&", b"&=", b"&%", b"&%ff=%fe", b"&%00=1", b"&a&b=&c=%", b";"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["meta_cloud", "twilio", "dialog360"])
def test_malformed_bodies_with_a_right_signature(client, app, name, full):
    """A third of 10,000 per provider in the full run, of 300 else."""
    ready = factories.make_tenant(provider=name)
    speaker, rng = Speaker(ready.account), random.Random(11)
    answers: Counter[int] = Counter()
    bodies = {malformed(speaker, rng) for _ in range(3334 if full else 100)}
    for body in sorted(bodies):
        answers[speaker.raw(body).to(client).status_code] += 1
        assert max(answers) < 500, body[:500]
    answers[speaker.raw(b"x" * (intake.BODY_LIMIT + 1)).to(client).status_code] += 1
    # A form whose signature the official SDK and a strict reading make differently is refused: that is its right.
    assert set(answers) <= {200, 413} | ({401} if name == "twilio" else set()), answers
    assert answers[200] >= len(bodies) * 0.8
    assert answers[413] == 1
    assert count(WebhookEvent) == answers[200]
    for hours in range(7):
        with clock.at(clock.now() + timedelta(hours=hours)):
            while receipts.process():
                pass
    assert states() <= {"done", "quarantined"}
    assert count(WebhookItem, WebhookItem.state == "failed") == 0
    message = under_way(ready)
    speaker.receipt("delivered", f"{message.id}.1", "SM" + "1" * 32, T0).to(client)
    receipts.process()
    with all_tenants("a test looks"):
        assert db.session.scalar(select(Message.status).where(Message.id == message.id)) == "delivered"
        db.session.rollback()


def count(model, *conditions):
    with all_tenants("a test counts"):
        found = db.session.scalar(select(func.count()).select_from(model).where(*conditions))
        db.session.rollback()
    return found


def states():
    with all_tenants("a test counts"):
        found = set(db.session.scalars(select(WebhookEvent.state)))
        db.session.rollback()
    return found
