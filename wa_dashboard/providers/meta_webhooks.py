"""Webhooks of the WhatsApp Cloud API (contracts.md §1.4–1.8), as Meta sends them and 360dialog passes them on.

Every list is walked to its end, every field may be missing, and one bad item never hides its neighbours.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from .base import received_at
from .codes_meta import CODES
from .hooks import (
    AccountItem,
    InboundItem,
    Item,
    PreferenceItem,
    Pricing,
    StatusItem,
    WebhookMalformed,
    WebhookRequest,
    refer,
)
from .meta_news import accounts_meant, news_item, unknown_item
from .port import Fault
from .verdict import fault
from .wire import (
    bad_text,
    dig,
    e164,
    fingerprint,
    instant,
    items_at,
    load_signed,
    may_hold_bad_text,
    read_json,
    text_at,
)

MOST_ITEMS = 10_000  # Meta batches up to about 1,000
STATUSES = {"sent": "sent", "delivered": "delivered", "read": "read", "played": "read", "failed": "failed"}
# What a message may hold, where its type is missing.
CONTENTS = (
    *("text", "button", "interactive", "image", "video", "audio", "document", "sticker", "location", "contacts"),
    *("order", "reaction", "edit", "revoke", "system"),
)
# WhatsApp's words, newest first, for a person who has another number now.
CHANGED_NUMBER = ("user_changed_number", "customer_changed_number")


def parse(request: WebhookRequest) -> list[Item]:
    """Every item of a webhook body. Raises WebhookMalformed when it is not sane JSON or holds over 10,000 items."""
    data = load_signed(request.body)
    items: list[Item] = []
    for item in _walk(data, received_at(request), may_hold_bad_text(request.body)):
        items.append(item)
        if len(items) > MOST_ITEMS:
            raise WebhookMalformed(f"more than {MOST_ITEMS} items")
    return items


def references(request: WebhookRequest) -> tuple[list[str], list[str], list[str]]:
    """Phone number ids, account ids and display numbers named in an unverified body, each once; never raises."""
    data = read_json(request.body)
    numbers: dict[str, None] = {}
    accounts: dict[str, None] = {}
    displays: dict[str, None] = {}
    for entry in items_at(data, "entry")[:1000]:
        _remember(accounts, text_at(entry, "id"))
        for change in items_at(entry, "changes")[:1000]:
            _remember(numbers, text_at(change, "value", "metadata", "phone_number_id"))
            _remember(displays, e164(text_at(change, "value", "metadata", "display_phone_number")))
            _remember(displays, e164(text_at(change, "value", "display_phone_number")))
            _remember(accounts, text_at(change, "value", "waba_info", "waba_id"))
    return list(numbers)[:100], list(accounts)[:100], list(displays)[:100]


def _remember(seen: dict[str, None], value: str | None) -> None:
    if value and len(value) <= 64 and not bad_text(value):
        seen[value] = None


def _walk(data: Any, came: datetime, suspect: bool) -> Iterator[Item]:
    if not isinstance(data, dict) or "entry" not in data:
        yield unknown_item(data, came, "no WhatsApp envelope", malformed=True)
        return
    for entry in items_at(data, "entry"):
        if not isinstance(entry, dict):
            yield unknown_item(entry, came, "an entry is no object", malformed=True)
            continue
        told = instant(entry.get("time")) or came
        changes = items_at(entry, "changes")
        if not changes:
            yield unknown_item(entry, told, "an entry without changes", malformed=True)
        for change in changes:
            yield from _change(change, text_at(entry, "id"), told, came, suspect)


def _change(change: Any, account: str | None, told: datetime, came: datetime, suspect: bool) -> Iterator[Item]:
    value = dig(change, "value")
    if not isinstance(value, dict):
        yield unknown_item(change, told, "a change has no value", malformed=True)
        return
    refs = _refs(value, account)
    field = text_at(change, "field") or _field_of(value)
    if field in ("messages", "user_preferences"):
        for item in _batch(value, came, suspect):
            yield refer(item, refs)
        return
    yield refer(_guarded(value, told, lambda: news_item(field, value, told, account), suspect), refs)


def _refs(value: dict[str, Any], account: str | None) -> tuple[str, ...]:
    account, alerted = accounts_meant(value, account)
    number = text_at(value, "metadata", "phone_number_id") or alerted
    display = e164(text_at(value, "metadata", "display_phone_number") or text_at(value, "display_phone_number"))
    named = (("pnid", number), ("waba", account), ("phone", display))
    return tuple(f"{kind}:{ref}" for kind, ref in named if ref and not bad_text(ref))


def _field_of(value: dict[str, Any]) -> str:
    if any(key in value for key in ("messages", "statuses", "errors")):
        return "messages"
    return "user_preferences" if "user_preferences" in value else ""


def _batch(value: dict[str, Any], came: datetime, suspect: bool) -> Iterator[Item]:
    """Everything in the value of ``messages`` and ``user_preferences``; errors that belong to nothing come last."""
    empty = True
    for name, read in _READERS.items():
        for item in items_at(value, name):
            empty = False
            yield _guarded(item, came, lambda item=item, read=read: read(item, value, came), suspect)  # type: ignore[misc]
    if empty:
        yield unknown_item(value, came, "a change without messages or statuses")


def _guarded(raw: Any, at: datetime, read: Callable[[], Item], suspect: bool) -> Item:
    if not isinstance(raw, dict):
        return unknown_item(raw, at, "an item is no object", malformed=True)
    if suspect and bad_text(raw):
        return unknown_item(raw, at, "a text holds NUL or half a character", malformed=True)
    return read()


def _status(item: dict[str, Any], value: dict[str, Any], came: datetime) -> Item:
    word = text_at(item, "status") or ""
    status = STATUSES.get(word)
    at = instant(item.get("timestamp"))
    external_id, correlation_id = text_at(item, "id"), text_at(item, "biz_opaque_callback_data")
    if word == "deleted":  # about a message of theirs: nothing of ours changed (contracts.md §1.5)
        return unknown_item(item, came, "a person took back a message of theirs")
    if status is None:
        return unknown_item(item, came, f"status {word[:40]!r} is new to us")
    if at is None:
        return unknown_item(item, came, "a status without a time", malformed=True)
    if external_id is None and correlation_id is None:
        return unknown_item(item, came, "a status without a message", malformed=True)
    error = _first_error(item) if status == "failed" else None
    return StatusItem(
        key=f"status:{external_id or correlation_id}:{status}:{int(at.timestamp())}",
        at=at,
        raw=item,
        correlation_id=correlation_id,
        external_id=external_id,
        status=status,  # type: ignore[arg-type]
        error=error or (Fault("request", "unknown", "", "message") if status == "failed" else None),
        pricing=_pricing(item),
        recipient=e164(text_at(item, "recipient_id")) or e164(text_at(item, "recipient_participant_id")),
        recipient_user_id=text_at(item, "recipient_user_id")
        or text_at(item, "recipient_participant_user_id")
        or text_at(_contact(value, item, "recipient_id", "recipient_user_id"), "user_id"),
    )


def _first_error(item: dict[str, Any]) -> Fault | None:
    return next((found for error in items_at(item, "errors") if (found := _error(error))), None)


def _error(error: Any) -> Fault | None:
    code = text_at(error, "code")
    if code is None or len(code) > 20:
        return None
    words = (text_at(error, *path) for path in (("title",), ("message",), ("error_data", "details"), ("details",)))
    return fault(CODES, code, " · ".join(dict.fromkeys(word for word in words if word)))


def _pricing(item: dict[str, Any]) -> Pricing | None:
    pricing = item.get("pricing")
    if not isinstance(pricing, dict):
        return None
    billable = pricing.get("billable")
    if isinstance(billable, str):  # 360dialog sends "true"
        billable = {"true": True, "false": False}.get(billable.lower())
    category = text_at(pricing, "category")
    return Pricing(
        billable=billable if isinstance(billable, bool) else None,
        category=category.replace("-", "_").lower() if category else None,
        model=text_at(pricing, "pricing_model"),
        type=text_at(pricing, "type"),
    )


def _message(item: dict[str, Any], value: dict[str, Any], came: datetime) -> Item:
    at = instant(item.get("timestamp"))
    if at is None:
        return unknown_item(item, came, "a message without a time", malformed=True)
    kind = text_at(item, "type") or next((k for k in CONTENTS if k in item), "unknown")
    contact = _contact(value, item, "from", "from_user_id")
    phone = e164(text_at(item, "from")) or _phone_of_system(item) or e164(text_at(contact, "wa_id"))
    paths = (("from_user_id",), ("system", "previous_user_id"), ("system", "user_id"))
    user_id = next((found for path in paths if (found := text_at(item, *path))), None) or text_at(contact, "user_id")
    reply_to = next((found for path in _ABOUT if (found := text_at(item, *path))), None)
    if not (phone or user_id or reply_to or text_at(item, "from") or kind == "system"):
        return unknown_item(item, came, "a message without a sender", malformed=True)
    external_id = text_at(item, "id")
    text, payload = _content(kind, item)
    return InboundItem(
        key=f"inbound:{external_id or fingerprint(item)}",
        at=at,
        raw=item,
        external_id=external_id,
        from_phone=phone,
        from_user_id=user_id,
        text=text,
        button_payload=payload,
        in_reply_to=reply_to,
        profile_name=_clean(text_at(contact, "name")),
        type=kind,
        **_moved(item if kind == "system" else None),
    )


# What a message answers, or is about.
_ABOUT = (
    ("context", "id"),
    ("reaction", "message_id"),
    ("edit", "original_message_id"),
    ("revoke", "original_message_id"),
    ("edit", "message", "context", "id"),
)


def _phone_of_system(item: dict[str, Any]) -> str | None:
    """Whom a system message is about, never the number they have moved to."""
    moved = text_at(item, "system", "type") in CHANGED_NUMBER
    return e164(text_at(item, "system", "customer") or (None if moved else text_at(item, "system", "wa_id")))


def _moved(item: dict[str, Any] | None) -> dict[str, Any]:
    """Where a person is to be found from now on (contracts.md §1.6). In older forms the event has other names."""
    if item is None:
        return {}
    event = text_at(item, "system", "type")
    number = text_at(item, "system", "wa_id") or text_at(item, "system", "new_wa_id")
    return {
        "event": event,
        "new_phone": e164(number) if event in CHANGED_NUMBER else None,
        "new_user_id": text_at(item, "system", "user_id") if event == "user_changed_user_id" else None,
    }


def _content(kind: str, item: dict[str, Any]) -> tuple[str | None, str | None]:
    """What the person wrote and the payload of what they tapped."""
    if kind == "text":
        return text_at(item, "text", "body"), None
    if kind == "button":
        return text_at(item, "button", "text"), text_at(item, "button", "payload")
    if kind == "interactive":
        chosen = dig(item, "interactive", "button_reply") or dig(item, "interactive", "list_reply")
        return text_at(chosen, "title"), text_at(chosen, "id")
    if kind in ("image", "video", "document"):
        return text_at(item, kind, "caption"), None
    if kind == "edit":  # what they wrote instead: a STOP written by correcting a message is a STOP
        edited = dig(item, "edit", "message")
        content = text_at(edited, "type") or ""
        return _content(content, edited)[0] if content in ("text", "image", "video", "document") else None, None
    return None, None


def _contact(value: dict[str, Any], item: dict[str, Any], phone_key: str, user_key: str) -> dict[str, str | None]:
    """``wa_id``, ``user_id`` and ``name`` of the contact that an item's person is, or of the only contact there is;
    but no id of a contact that has another number than the person."""
    contacts = items_at(value, "contacts")
    phone, person = text_at(item, phone_key), text_at(item, user_key)
    for contact in contacts:
        known = text_at(contact, "wa_id"), text_at(contact, "user_id")
        same_person = any(ref is not None and ref in known for ref in (phone, person))
        if same_person or len(contacts) == 1:
            name = _clean(text_at(contact, "profile", "name"))
            strange = not same_person and any(a and b and a != b for a, b in zip((phone, person), known, strict=True))
            ids = (None, None) if strange else map(_clean, known)
            return dict(zip(("wa_id", "user_id", "name"), (*ids, name), strict=True))
    return {}


def _clean(text: str | None) -> str | None:
    return None if text is None or bad_text(text) else text


def _preference(item: dict[str, Any], value: dict[str, Any], came: datetime) -> Item:
    word = (text_at(item, "value") or "").lower()
    wanted = {"stop": "stop", "resume": "resume", "signup": "resume"}.get(word)
    contact = _contact(value, item, "wa_id", "user_id")
    phone = e164(text_at(item, "wa_id")) or e164(text_at(contact, "wa_id"))
    user_id = text_at(item, "user_id") or text_at(contact, "user_id")
    if wanted is None:
        return unknown_item(item, came, f"preference {word[:40]!r} is new to us")
    if phone is None and user_id is None:
        return unknown_item(item, came, "a preference without a person", malformed=True)
    at = instant(item.get("timestamp")) or came
    key = f"preference:{phone or user_id}:{wanted}:{item.get('timestamp')}"
    return PreferenceItem(
        key=key[:300],
        at=at,
        raw=item,
        phone=phone,
        value=wanted,  # type: ignore[arg-type]
        user_id=user_id,
        detail=text_at(item, "detail") or "",
    )


def _stray_error(item: dict[str, Any], value: dict[str, Any], came: datetime) -> Item:
    found = _error(item)
    return AccountItem(
        key=f"error:{fingerprint(item, text_at(value, 'metadata', 'phone_number_id'), came.isoformat())}",
        at=came,
        raw=item,
        event="error",
        effect="stop" if found and found.error_class == "account_stop" and found.scope != "recipient" else "info",
        detail=found.detail if found else "",
        fault=found,
        topic="error",
    )


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], datetime], Item]] = {
    "messages": _message,
    "statuses": _status,
    "user_preferences": _preference,
    "errors": _stray_error,
}
