"""Bodies and signatures of the callbacks, as the providers make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any

from .graph import FAILURES, REFERENCE
from .records import Account, Message, Template, digits
from .times import now

Change = tuple[str, dict[str, Any]]
"""`field` and `value` of one entry in Meta's `changes`."""

TWILIO_FAILURES = {
    63016: "Failed to send freeform message because you are outside the allowed window.",
    63024: "Invalid message recipient",
    63028: "Number of parameters provided does not match the expected number of parameters",
    63040: "Template rejected",
    63041: "Template paused",
    63042: "Template disabled",
}


def new_wamid(phone: str) -> str:
    """A message id of Meta's form: the number and 18 random characters, in base64."""
    number = digits(phone).encode()
    token = secrets.token_hex(9).upper().encode()
    raw = b"\x1c\x18" + bytes([len(number)]) + number + b"\x15\x02\x00\x11\x18\x12" + token + b"\x00"
    return "wamid." + base64.b64encode(raw).decode()


def meta_status(account: Account, message: Message, status: str, code: int) -> Change:
    """A status of an outgoing message. `pricing` comes with sent and delivered."""
    item: dict[str, Any] = {
        "id": message.id,
        "status": status,
        "timestamp": str(int(now())),
        "recipient_id": digits(message.recipient),
    }
    if message.correlation_id:
        item["biz_opaque_callback_data"] = message.correlation_id
    if status in ("sent", "delivered"):
        free = not message.template
        item["pricing"] = {
            "billable": ("false" if free else "true") if account.provider == "dialog360" else not free,
            "pricing_model": "PMP",
            "type": "free_customer_service" if free else "regular",
            "category": message.category.lower() or "service",
        }
    if status == "failed":
        title, details = FAILURES.get(code, ("Message undeliverable", "Message Undeliverable."))
        item["errors"] = [
            {"code": code, "title": title, "message": title, "error_data": {"details": details}, "href": REFERENCE}
        ]
    return "messages", {**_head(account), "statuses": [item]}


def _head(account: Account) -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": digits(account.phone), "phone_number_id": account.phone_number_id},
    }


def meta_inbound(account: Account, phone: str, name: str, item: dict[str, Any]) -> Change:
    """A message from a customer; `item` holds id, type and the content of the type."""
    wa_id = digits(phone)
    return "messages", {
        **_head(account),
        "contacts": [{"profile": {"name": name}, "wa_id": wa_id}],
        "messages": [{"from": wa_id, "timestamp": str(int(now())), **item}],
    }


def meta_preference(account: Account, phone: str, value: str) -> Change:
    """The customer stopped or resumed marketing messages in WhatsApp's own settings."""
    wa_id = digits(phone)
    return "user_preferences", {
        **_head(account),
        "contacts": [{"wa_id": wa_id}],
        "user_preferences": [
            {
                "wa_id": wa_id,
                "detail": f"User requested to {value} marketing messages",
                "category": "marketing_messages",
                "value": value,
                "timestamp": int(now()),
            }
        ],
    }


def meta_template_event(template: Template, event: str, reason: str | None) -> Change:
    """A review decision or a change of state; the language comes with a hyphen, as on Meta's page."""
    value: dict[str, Any] = {
        "event": event,
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language.replace("_", "-"),
        "reason": reason or ("NONE" if event not in ("PAUSED", "PENDING_DELETION") else None),
        "message_template_category": template.category,
    }
    if event == "PAUSED":
        value["other_info"] = {"title": "FIRST_PAUSE", "description": "Paused for 3 hours because of low quality."}
    if event == "DISABLED":
        value["disable_info"] = {"disable_date": str(int(now()))}
    if event == "REJECTED":
        value["rejection_info"] = {"reason": reason or "INVALID_FORMAT", "recommendation": "Edit and submit again."}
    return "message_template_status_update", value


def meta_category_event(template: Template, previous: str) -> Change:
    """The provider moved a template to another category."""
    return "template_category_update", {
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language.replace("_", "-"),
        "previous_category": previous,
        "new_category": template.category,
    }


def meta_body(account: Account, changes: list[Change]) -> bytes:
    """One POST with one or many changes, escaped as Meta escapes: \\uXXXX and \\/.

    360dialog's envelopes come without `object`, and those with statuses without `field`: both were seen there.
    """
    bare = account.provider == "dialog360"
    listed: list[dict[str, Any]] = []
    for field, value in changes:
        last = listed[-1] if listed else None
        if last is not None and "statuses" in value and "statuses" in last["value"]:
            last["value"]["statuses"].extend(value["statuses"])
        else:
            own = {**value, "statuses": list(value["statuses"])} if "statuses" in value else value
            listed.append({"value": own} if bare and "statuses" in value else {"value": own, "field": field})
    entry: dict[str, Any] = {"id": account.waba_id, "changes": listed}
    if changes[0][0] not in ("messages", "user_preferences"):
        entry["time"] = int(now())
    data: dict[str, Any] = {} if bare else {"object": "whatsapp_business_account"}
    data["entry"] = [entry]
    return json.dumps(data, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def meta_signature(app_secret: str, body: bytes) -> str:
    """Value of X-Hub-Signature-256 over the exact bytes."""
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def twilio_signature(auth_token: str, url: str, params: dict[str, str]) -> str:
    """Value of X-Twilio-Signature: the URL without fragment, then every key and value in order of the keys."""
    text = url + "".join(key + params[key] for key in sorted(params))
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def twilio_status(account: Account, message: Message, status: str, code: int) -> dict[str, str]:
    """Form of a status callback. The channel address is masked, as Twilio masks it."""
    number = message.recipient
    form = {
        "ApiVersion": "2010-04-01",
        "MessageSid": message.id,
        "SmsSid": message.id,
        "MessageStatus": status,
        "SmsStatus": status,
        "To": f"whatsapp:{number}",
        "From": f"whatsapp:{message.sender}",
        "AccountSid": account.key,
        "ChannelPrefix": "whatsapp",
        "ChannelToAddress": number[:-4] + "XXXX",
        "ChannelInstallSid": "XE" + hashlib.md5(account.key.encode(), usedforsecurity=False).hexdigest(),
    }
    if message.service:
        form["MessagingServiceSid"] = message.service
    if status == "sent":
        form["StructuredMessage"] = "true" if message.template else "false"
    if status in ("delivered", "read"):
        form["EventType"] = status.upper()
    if code:
        form["ErrorCode"] = str(code)
        form["ErrorMessage"] = TWILIO_FAILURES.get(code, "Message failed")
    return form


def twilio_inbound(account: Account, sid: str, phone: str, name: str, extra: dict[str, str]) -> dict[str, str]:
    """Form of a message from a customer; `extra` holds Body and what belongs to its kind."""
    wa_id = digits(phone)
    context = {"ProfileName": name, "WaId": wa_id}
    form = {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ProfileName": name,
        "MessageType": "text",
        "SmsSid": sid,
        "WaId": wa_id,
        "SmsStatus": "received",
        "Body": "",
        "To": f"whatsapp:{account.phone or '+40310000001'}",
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": account.key,
        "ChannelMetadata": json.dumps({"type": "whatsapp", "data": {"context": context}}, separators=(",", ":")),
        "From": f"whatsapp:{phone}",
        "ApiVersion": "2010-04-01",
        **extra,
    }
    if account.credentials.get("messaging_service_sid"):
        form["MessagingServiceSid"] = account.credentials["messaging_service_sid"]
    return form
