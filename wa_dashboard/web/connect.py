"""Connect your shop: the lines a developer copies, with this installation's own addresses in them."""

import json
import re

from flask import render_template

from .. import clock
from ..services import accounts
from ..services.accounts import settings
from . import web
from .access import me, requires


@web.get("/connect")
@requires("see")
def connect() -> str:
    """Where orders go, where people and events come from, where providers must post."""
    tenant = me().tenant
    senders = accounts.accounts_of(tenant, tenant.live)
    return render_template(
        "connect/show.html",
        tenant_id=tenant.id,
        order_line=_order_line(tenant.live),
        consent_line=_consent_line(tenant.live),
        webhooks=[(sender, accounts.webhook_url(sender)) for sender in senders],
    )


def _order_line(live: bool) -> str:
    body = {
        "order_id": "A-1001",
        "recipient": {"phone": "+40700000101", "first_name": "Ana", "locale": "ro-RO"},
        "event": {
            "ref": "HAMLET-1",
            "name": "Hamlet",
            "starts_at": f"{clock.now().year + 1}-04-04T20:00",
            "timezone": me().tenant.timezone,
        },
        "consent": {
            "status": "opted_in",
            "purposes": ["transactional", "reminder"],
            "source": "checkout",
            "wording_id": "checkout-v1",
        },
    }
    return _curl("/api/wa/send/confirm", body, live, "Idempotency-Key: order-A-1001")


def _consent_line(live: bool) -> str:
    body = {
        "phone": "+40700000101",
        "status": "opted_in",
        "purposes": ["reminder", "marketing"],
        "source": "settings_page",
        "wording_id": "newsletter-v2",
    }
    return _curl("/api/wa/optin", body, live, "Idempotency-Key: consent-101-1")


_LIST = re.compile(r"\[[^\[\]{}]*\]")


def _on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]")


def _curl(path: str, body: object, live: bool, *headers: str) -> str:
    key = "wak_live_…" if live else "wak_test_…"
    lines = [f"curl -X POST {settings().public_url}{path}", f'-H "Authorization: Bearer {key}"']
    lines += [f'-H "{header}"' for header in ("Content-Type: application/json", *headers)]
    lines.append(f"-d '{_LIST.sub(_on_one_line, json.dumps(body, ensure_ascii=False, indent=2))}'")
    return " \\\n  ".join(lines)
