"""Receipts by the thousand against one ORM row at a time, on the current application's database.

All read receipts of random messages of a filled table. Two baselines: ``bare`` does the least that any reader must,
find the attempt and its message, change both, commit; ``whole`` does what ours does, one webhook at a time: check the
signature, keep the post, parse it, remember the item, change the rows, write the story, commit.
"""

import hashlib
import hmac
import json
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from flask import current_app
from sqlalchemy import select

from .. import clock
from ..bulk import insert_table
from ..db import db, dialect_name, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.phone import to_e164
from ..domain.statuses import Rank, Status
from ..models import Attempt, Contact, Message, MessageEvent, ProviderAccount, Tenant, WebhookEvent, WebhookItem
from ..providers.base import Item, WebhookRequest
from ..services import accounts, contacts, intake, receipts, tenants

SMALL = 100_000
PER_POST = 1_000
_CHUNK = 5_000
_COLUMNS = ("id", "dedupe_key", "external_id")
_TRIES = ("message_id", "external_id")


def run(scale: float) -> dict[str, Any]:
    """Fill ``scale`` × 100,000 messages of a new organisation and read receipts of some of them.

    For an application's context, while no worker runs. Returns rates per second, ``ratio`` (bulk against baseline),
    and milliseconds: of intake, and of the longest transaction.
    """
    made = tenants.create_tenant(current_app.extensions["wa_settings"], "Bench", f"{secrets.token_hex(6)}@example.org")
    tenant = made.tenant
    account = accounts.create_test_account(tenant, "meta_cloud")
    rows = max(int(SMALL * scale), 4 * PER_POST)
    began = time.perf_counter()
    names = _fill(tenant, account, rows)
    filled = time.perf_counter() - began
    random.Random(1).shuffle(names)
    chosen = iter(names)
    _bare(account, _some(chosen, 20))  # statements are compiled once
    _whole(account, _some(chosen, 20))
    _bulk(account, [_some(chosen, PER_POST)])
    posts = [_some(chosen, PER_POST) for _ in range(min(20, rows // PER_POST // 2 - 1))]
    baseline = _bare(account, _some(chosen, 400))
    whole = _whole(account, _some(chosen, 400))
    bulk = _bulk(account, posts)
    singles = _bulk(account, [[name] for name in _some(chosen, 400)])
    return {
        "database": dialect_name(),
        "rows": rows,
        "fill_per_s": round(rows / filled),
        "baseline_per_s": round(baseline),
        "bulk_per_s": round(bulk["per_s"]),
        "ratio": round(bulk["per_s"] / baseline, 1),
        "whole_baseline_per_s": round(whole),
        "whole_ratio": round(bulk["per_s"] / whole, 1),
        "singles_per_s": round(singles["per_s"]),
        "singles_ratio": round(singles["per_s"] / whole, 1),
        "intake_ms": bulk["intake_ms"],
        "intake_single_ms": singles["intake_ms"],
    }


def _some(names: Iterator[str], count: int) -> list[str]:
    return [next(names) for _ in range(count)]


def _fill(tenant: Tenant, account: ProviderAccount, rows: int) -> list[str]:
    """Messages that the provider has accepted; returns our and the provider's id of each."""
    with tenant_scope(tenant.id), transaction():
        contact = contacts.contact_for(tenant, to_e164("+40722123456"))
    names: list[str] = []
    same, tried = _message_of(account, contact), _attempt_of(account)
    for first in range(0, rows, _CHUNK):
        ids = [new_id("msg") for _ in range(min(_CHUNK, rows - first))]
        external = [f"wamid.HBgL{secrets.token_hex(20).upper()}" for _ in ids]
        with tenant_scope(tenant.id), transaction():
            insert_table(
                Message,
                _COLUMNS,
                [(one, f"order_confirm:{one}", name) for one, name in zip(ids, external, strict=True)],
                **same,
            )
            insert_table(Attempt, _TRIES, list(zip(ids, external, strict=True)), **tried)
        names += [f"{one} {name}" for one, name in zip(ids, external, strict=True)]
    return names


def _message_of(account: ProviderAccount, contact: Contact) -> dict[str, Any]:
    """What all messages have in common."""
    now = clock.now()
    return {
        "tenant_id": account.tenant_id,
        "live": False,
        "type": "order_confirm",
        "purpose": "transactional",
        "lane": "high",
        "policy": "must_deliver",
        "resend_no": 0,
        "contact_id": contact.id,
        "to_masked": contact.phone_masked,
        "market": "RO",
        "account_id": account.id,
        "provider": account.provider,
        "status": Status.ACCEPTED,
        "status_at": now,
        "updated_at": now,
        "accepted_at": now,
        "created_at": now,
        "reason_detail": {},
        "attempts": 1,
        "rank": int(Rank.ACCEPTED),
        "possible_duplicate": False,
        "cancel_requested": False,
        "currency": "EUR",
        "asked_by": "api",
        "meta": {},
        "variables_sealed": secrets.token_bytes(120),
        "request_sealed": secrets.token_bytes(400),
    }


def _attempt_of(account: ProviderAccount) -> dict[str, Any]:
    return {
        "tenant_id": account.tenant_id,
        "attempt_no": 1,
        "account_id": account.id,
        "provider": account.provider,
        "rank": int(Rank.ACCEPTED),
        "started_at": clock.now(),
        "receipt_seen": False,
    }


# --- the two ways -----------------------------------------------------------------------------------------------


def _bare(account: ProviderAccount, names: Sequence[str]) -> float:
    """Find, change, commit: per second."""
    began = time.perf_counter()
    for name in names:
        with tenant_scope(account.tenant_id), transaction():
            _deliver(account, name.partition(" ")[2])
        db.session.expunge_all()
    return len(names) / (time.perf_counter() - began)


def _deliver(account: ProviderAccount, external_id: str) -> Attempt:
    attempt, message = db.session.execute(
        select(Attempt, Message)
        .join(Message, Message.id == Attempt.message_id)
        .where(Attempt.account_id == account.id, Attempt.external_id == external_id)
    ).one()
    attempt.rank, attempt.receipt_seen = int(Rank.DELIVERED), True
    message.rank, message.status = int(Rank.DELIVERED), Status.DELIVERED
    message.status_at = message.delivered_at = message.updated_at = clock.now()
    return attempt


def _whole(account: ProviderAccount, names: Sequence[str]) -> float:
    """A webhook for each receipt, everything about it row by row, commit: per second."""
    requests = _signed(account, [[name] for name in names])
    adapter = accounts.provider_of(account)
    began = time.perf_counter()
    for request in requests:
        if not adapter.verify_webhook(request):
            raise RuntimeError("our own signature does not fit")
        [item] = adapter.parse_webhook(request)
        with tenant_scope(account.tenant_id), transaction():
            post, kept = _rows_of(account, request, item)
            db.session.add(post)
            db.session.flush()
            attempt = _deliver(account, item.external_id)  # type: ignore[attr-defined]
            kept.message_id = attempt.message_id
            db.session.add_all([kept, _line_of(attempt, item)])
        db.session.expunge_all()
    return len(names) / (time.perf_counter() - began)


def _rows_of(account: ProviderAccount, request: WebhookRequest, item: Item) -> tuple[WebhookEvent, WebhookItem]:
    now = clock.now()
    digest = hashlib.sha256(request.body).hexdigest()
    whose: dict[str, Any] = {"tenant_id": account.tenant_id, "account_id": account.id}
    raw: dict[str, Any] = {"url": request.url, "headers": {}, "body": request.body, "received_at": now}
    post = WebhookEvent(
        id=new_id("whe"), provider=account.provider, digest=digest, state="done", tries=0, **raw, **whose
    )
    key = hashlib.sha256(item.key.encode()).hexdigest()
    said: dict[str, Any] = {"kind": "status", "state": "applied", "at": item.at, "recorded_at": now, "detail": {}}
    return post, WebhookItem(id=new_id("whi"), event_id=post.id, item_key=key, **said, **whose)


def _line_of(attempt: Attempt, item: Item) -> MessageEvent:
    return MessageEvent(
        id=new_id("evt"),
        tenant_id=attempt.tenant_id,
        message_id=attempt.message_id,
        kind="delivered",
        at=item.at,
        recorded_at=clock.now(),
        attempt_no=attempt.attempt_no,
        detail={"provider": attempt.provider},
    )


def _bulk(account: ProviderAccount, posts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The posts through intake, then read: receipts per second of both together, and how long a post waited."""
    token = account.webhook_token
    requests = _signed(account, posts)
    waits = []
    for request in requests:
        began = time.perf_counter()
        intake.accept(request, token)
        waits.append(time.perf_counter() - began)
    began = time.perf_counter()
    while receipts.process():
        pass
    took = sum(waits) + time.perf_counter() - began
    waits.sort()
    return {
        "per_s": sum(map(len, posts)) / took,
        "intake_ms": {
            "p50": round(waits[len(waits) // 2] * 1000, 1),
            "p99": round(waits[int(len(waits) * 0.99)] * 1000, 1),
        },
    }


def _envelope(number: str, waba: str, names: Sequence[str]) -> bytes:
    """As Meta says that these were delivered."""
    at = str(int(clock.now().timestamp()))
    pricing = {"billable": True, "pricing_model": "PMP", "category": "utility", "type": "regular"}
    said = [
        {
            "id": name.partition(" ")[2],
            "status": "delivered",
            "timestamp": at,
            "recipient_id": "40722123456",
            "biz_opaque_callback_data": name.partition(" ")[0] + ".1",
            "pricing": pricing,
        }
        for name in names
    ]
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": number}, "statuses": said}
    entry = {"id": waba, "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def _signed(account: ProviderAccount, posts: Sequence[Sequence[str]]) -> list[WebhookRequest]:
    keys = account.credentials
    url = f"{current_app.extensions['wa_settings'].public_url}/api/wa/webhook/{account.webhook_token}"
    requests = []
    for names in posts:
        body = _envelope(keys["phone_number_id"], keys["waba_id"], names)
        digest = hmac.new(keys["app_secret"].encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={digest}"}
        requests.append(WebhookRequest("POST", url, headers, body, received_at=clock.now()))
    return requests
