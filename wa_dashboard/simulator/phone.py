"""What one simulated phone shows: the dashboard draws it, and a person can answer on it."""

from __future__ import annotations

import secrets
from typing import Any

from .hookforms import meta_inbound, meta_preference, new_wamid, twilio_inbound
from .records import Account, Inbound, Message
from .times import iso, now
from .webhooks import Form
from .world import World

_STOP_WORDS = frozenset("STOP STOPALL UNSUBSCRIBE CANCEL END QUIT".split())
_START_WORDS = frozenset("START YES UNSTOP".split())
_HELP_WORDS = frozenset("HELP INFO".split())
_NAME = "Ana Simulată"


def thread(world: World, phone: str, limit: int) -> list[dict[str, Any]]:
    """Messages from and to one phone, newest last."""
    return [_line(record) for record in world.threads.get(phone, [])[-limit:]]


def _line(record: Message | Inbound) -> dict[str, Any]:
    if isinstance(record, Inbound):
        return {
            "direction": "inbound", "at": iso(record.at), "text": record.text, "kind": record.kind,
            "provider": record.provider, "account": record.account, "provider_id": record.id,
        }  # fmt: skip
    return {
        "direction": "outbound",
        "at": iso(record.at),
        "text": record.shown.get("text", ""),
        "header": record.shown.get("header", ""),
        "header_format": record.shown.get("header_format", ""),
        "media": record.shown.get("media", ""),
        "media_sha256": record.shown.get("media_sha256", ""),
        "footer": record.shown.get("footer", ""),
        "buttons": record.shown.get("buttons", []),
        "template": record.template or None,
        "language": record.language or None,
        "status": record.status,
        "status_at": iso(record.status_at) if record.status_at else None,
        "error_code": record.error_code or None,
        "on_phone": record.reached_phone,
        "provider": record.provider,
        "account": record.account,
        "provider_id": record.id,
        "correlation_id": record.correlation_id or None,
    }


def phones(world: World, limit: int) -> list[dict[str, Any]]:
    """Phones with messages, the one with the newest message first."""
    rows = [
        {"phone": phone, "messages": len(records), "last_at": iso(records[-1].at)}
        for phone, records in world.threads.items()
    ]
    return sorted(rows, key=lambda row: str(row["last_at"]), reverse=True)[:limit]


def write_text(world: World, account: Account, phone: str, text: str) -> str:
    """The person writes. Returns the id of the message."""
    if account.provider == "twilio":
        word = _twilio_keyword(world, account, phone, text)
        extra = {"Body": text, **({"OptOutType": word} if word else {})}
        return _twilio(world, account, phone, extra, text, "text")
    item = {"text": {"body": text}, "type": "text"}
    return _meta(world, account, phone, item, text, "text")


def press_button(world: World, account: Account, phone: str, text: str, payload: str) -> str:
    """The person presses a quick reply under the newest template message. Returns the id of the reply."""
    last = world.last_to(account, phone)
    if account.provider == "twilio":
        extra = {"Body": text, "MessageType": "button", "ButtonText": text, "ButtonPayload": payload}
        if last is not None:
            extra["OriginalRepliedMessageSid"] = last.id
            extra["OriginalRepliedMessageSender"] = f"whatsapp:{last.sender}"
        return _twilio(world, account, phone, extra, text, "button")
    item: dict[str, Any] = {"type": "button", "button": {"payload": payload, "text": text}}
    if last is not None:
        item["context"] = {"from": account.phone.lstrip("+"), "id": last.id}
    return _meta(world, account, phone, item, text, "button")


def set_preference(world: World, account: Account, phone: str, value: str) -> str:
    """`stop` or `resume` of marketing messages. Twilio has no such callback: there the person writes STOP or START."""
    if account.provider == "twilio":
        return write_text(world, account, phone, "STOP" if value == "stop" else "START")
    world.set_stopped(account, phone, value == "stop")
    inbound = _inbound(account, phone, new_wamid(phone), value, "preference")
    world.put_inbound(inbound)
    world.outbox.put(account, meta_preference(account, phone, value))
    return inbound.id


def _inbound(account: Account, phone: str, own_id: str, text: str, kind: str) -> Inbound:
    return Inbound(account.provider, account.key, own_id, phone, now(), text, kind)


def _meta(world: World, account: Account, phone: str, item: dict[str, Any], text: str, kind: str) -> str:
    inbound = _inbound(account, phone, new_wamid(phone), text, kind)
    world.put_inbound(inbound)
    world.outbox.put(account, meta_inbound(account, phone, _NAME, {"id": inbound.id, **item}))
    return inbound.id


def _twilio(world: World, account: Account, phone: str, extra: dict[str, str], text: str, kind: str) -> str:
    inbound = _inbound(account, phone, "SM" + secrets.token_hex(16), text, kind)
    world.put_inbound(inbound)
    form = twilio_inbound(account, inbound.id, phone, _NAME, extra)
    world.outbox.put(account, Form(account.webhook_url, form))
    return inbound.id


def _twilio_keyword(world: World, account: Account, phone: str, text: str) -> str:
    """Advanced Opt-Out belongs to a Messaging Service: it blocks the person for that service and says so."""
    word = text.strip().upper()
    if not account.credentials.get("messaging_service_sid"):
        return ""
    if word in _STOP_WORDS:
        world.set_stopped(account, phone, True)
        return "STOP"
    if word in _START_WORDS:
        world.set_stopped(account, phone, False)
        return "START"
    return "HELP" if word in _HELP_WORDS else ""
