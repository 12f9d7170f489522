"""Speaking as a provider: bodies in its own format, signed as it signs them, without the help of our adapters."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from flask import current_app
from twilio.request_validator import RequestValidator

from tests.factories import ReadyTenant
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank, Status
from wa_dashboard.models import Attempt, Message, ProviderAccount
from wa_dashboard.services import contacts

PHONE = "+40722123456"
T0 = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Post:
    """A request as it would come over the wire. ``path`` includes the query."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    def to(self, client: Any, **changes: Any) -> Any:
        """Send it; ``changes`` replace parts (``headers`` are added to the old ones, None removes one)."""
        headers = {**self.headers, **changes.pop("headers", {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        return client.post(
            changes.pop("path", self.path), data=changes.pop("body", self.body), headers=headers, **changes
        )


class Speaker:
    """One account's provider."""

    def __init__(self, account: ProviderAccount) -> None:
        self.account = account
        self.keys: dict[str, str] = account.credentials
        self.provider = account.provider
        self.path = f"/api/wa/webhook/{account.webhook_token}"

    # --- what is said

    def receipt(self, status: str, correlation_id: str | None, external_id: str | None, at: datetime = T0) -> Post:
        """One receipt, in its own post."""
        if self.provider == "twilio":
            fields = {"MessageSid": external_id or "", "MessageStatus": status, "To": f"whatsapp:{PHONE}"}
            if status == "failed":
                fields["ErrorCode"] = "63024"
            return self.form(fields, f"?mid={quote(correlation_id)}" if correlation_id else "")
        return self.json(self.envelope(statuses=[self.status(status, correlation_id, external_id, at)]))

    def status(
        self, status: str, correlation_id: str | None, external_id: str | None, at: datetime = T0
    ) -> dict[str, Any]:
        """Meta's object for one receipt."""
        said: dict[str, Any] = {"status": status, "timestamp": str(int(at.timestamp())), "recipient_id": PHONE[1:]}
        said |= {"id": external_id} if external_id else {}
        said |= {"biz_opaque_callback_data": correlation_id} if correlation_id else {}
        if status in ("sent", "delivered"):
            said["pricing"] = {"billable": True, "pricing_model": "PMP", "category": "utility", "type": "regular"}
        if status == "failed":
            said["errors"] = [{"code": 131026, "title": "Message undeliverable"}]
        return said

    def inbound(self, text: str, at: datetime | None = None, external_id: str = "wamid.IN1") -> Post:
        """A person writes."""
        at = at or clock.now()
        if self.provider == "twilio":
            fields = {"MessageSid": external_id, "From": f"whatsapp:{PHONE}", "Body": text, "SmsStatus": "received"}
            return self.form(fields)
        return self.json(self.envelope(messages=[inbound(text, at, external_id)]))

    def envelope(self, field: str = "messages", **value: Any) -> dict[str, Any]:
        """Meta's and 360dialog's frame."""
        number = self.keys.get("display_phone_number") or self.keys["phone_number"]
        metadata = {"phone_number_id": self.keys.get("phone_number_id", "1"), "display_phone_number": number[1:]}
        change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
        return {"object": "whatsapp_business_account", "entry": [{"id": self.keys["waba_id"], "changes": [change]}]}

    # --- how it is signed

    def json(self, value: Any, path: str | None = None) -> Post:
        """Any JSON, signed. Not-ASCII goes out as Meta writes it: escaped."""
        return self.raw(json.dumps(value).encode(), path)

    def raw(self, body: bytes, path: str | None = None) -> Post:
        """Any bytes, signed."""
        path = path or self.path
        if self.provider == "meta_cloud":
            digest = hmac.new(self.keys["app_secret"].encode(), body, hashlib.sha256).hexdigest()
            return Post(path, body, {**JSON, "X-Hub-Signature-256": f"sha256={digest}"})
        if self.provider == "dialog360":
            return Post(path, body, {**JSON, "X-WA-Webhook-Secret": self.keys["webhook_secret"]})
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")
        return Post(path, body, {**FORM, "X-Twilio-Signature": self.twilio_signature(path, pairs)})

    def form(self, fields: Mapping[str, str], query: str = "", path: str | None = None) -> Post:
        """Twilio's form."""
        fields = {"AccountSid": self.keys["account_sid"], **fields}
        path = (path or self.path) + query
        return Post(
            path,
            urlencode(fields).encode(),
            {**FORM, "X-Twilio-Signature": self.twilio_signature(path, fields.items())},
        )

    def twilio_signature(self, path: str, pairs: Iterable[tuple[str, str]]) -> str:
        """As the official SDK signs."""
        public_url = current_app.extensions["wa_settings"].public_url
        return RequestValidator(self.keys["auth_token"]).compute_signature(public_url + path, dict(pairs))


def inbound(text: str, at: datetime, external_id: str = "wamid.IN1", phone: str = PHONE) -> dict[str, Any]:
    """Meta's object for a text."""
    return {
        "from": phone[1:],
        "id": external_id,
        "timestamp": str(int(at.timestamp())),
        "type": "text",
        "text": {"body": text},
    }


def under_way(ready: ReadyTenant, order_id: str = "A-1", external_id: str | None = None) -> Message:
    """A message whose first attempt has left and whose answer we may not have stored: ``{id}.1`` is its correlation
    id."""
    now = clock.now()
    with tenant_scope(ready.id), transaction():
        contact = contacts.contact_for(ready.tenant, to_e164(PHONE))
        message = Message(
            id=new_id("msg"),
            tenant_id=ready.id,
            live=False,
            type="order_confirm",
            purpose="transactional",
            lane="high",
            policy="must_deliver",
            dedupe_key=f"order_confirm:{order_id}",
            contact_id=contact.id,
            to_masked=contact.phone_masked,
            market="RO",
            order_id=order_id,
            account_id=ready.account.id,
            provider=ready.account.provider,
            external_id=external_id,
            status=Status.ACCEPTED if external_id else Status.SENDING,
            status_at=now,
            updated_at=now,
            attempts=1,
            rank=Rank.ACCEPTED if external_id else 0,
        )
        db.session.add(message)
        db.session.flush()
        attempt = Attempt(
            message_id=message.id,
            attempt_no=1,
            tenant_id=ready.id,
            account_id=ready.account.id,
            provider=ready.account.provider,
            rank=Rank.ACCEPTED if external_id else Rank.INFLIGHT,
            started_at=now,
            external_id=external_id,
        )
        db.session.add(attempt)
    return message
