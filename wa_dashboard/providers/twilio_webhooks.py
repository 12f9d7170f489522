"""Twilio's callbacks: signature, receipts, inbound messages (contracts.md §2.4)."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .base import received_at
from .codes_twilio import CODES
from .hooks import InboundItem, Item, StatusItem, UnknownItem, WebhookMalformed, WebhookRequest
from .port import Fault
from .verdict import fault
from .wire import bad_text, e164, fingerprint, same, scrub

STATUSES = {
    "accepted": "accepted",
    "scheduled": "accepted",
    "queued": "accepted",
    "sending": "accepted",
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
_PORTS = {"https": 443, "http": 80}


def signature(secret: str, url: str, fields: Iterable[tuple[str, str]]) -> str:
    """X-Twilio-Signature: the public URL, then every form key with each of its different values, sorted."""
    values: dict[str, set[str]] = {}
    for key, value in fields:
        values.setdefault(key, set()).add(value)
    signed = url + "".join(key + value for key in sorted(values) for value in sorted(values[key]))
    digest = hmac.new(secret.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def verified(secret: str, request: WebhookRequest, given: str) -> bool:
    """Whether the signature is the account's, with the port in the URL or without it. Never raises."""
    body_digest = request.query.get("bodySHA256")
    fields: Iterable[tuple[str, str]] = request.fields
    if body_digest is not None:
        if not same(hashlib.sha256(request.body).hexdigest(), body_digest):
            return False
        fields = ()
    answers = [same(signature(secret, url, fields), given) for url in _with_and_without_port(request.url)]
    return any(answers)


def _with_and_without_port(url: str) -> list[str]:
    url = url.partition("#")[0]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return [url]
    host, colon, _ = parts.netloc.rpartition(":")
    if port is not None and colon:
        return [url, urlunsplit(parts._replace(netloc=host))]
    standard = _PORTS.get(parts.scheme)
    return [url, urlunsplit(parts._replace(netloc=f"{parts.netloc}:{standard}"))] if standard else [url]


def parse(request: WebhookRequest) -> list[Item]:
    """The one item of a callback. Raises WebhookMalformed when there is no readable form."""
    if not request.fields:
        raise WebhookMalformed("no form fields")
    form = {key: value for key, value in request.fields if not bad_text(key)}
    clean = scrub(form)
    at = received_at(request)
    refs = (f"sid:{form['AccountSid']}",) if form.get("AccountSid") and not bad_text(form["AccountSid"]) else ()
    if len(form) != len(dict(request.fields)) or bad_text(form):
        reason = "a field holds NUL or half a character"
        key = f"unknown:{fingerprint(clean)}"
        return [UnknownItem(key=key, at=at, raw=clean, account_refs=refs, reason=reason, malformed=True)]
    word = form.get("MessageStatus") or form.get("SmsStatus") or ""
    if word == "received" or (not word and ("Body" in form or "OptOutType" in form)):
        return [_inbound(form, at, refs)]
    return [_status(form, word, at, refs, request.query.get("mid"))]


def _message_sid(form: dict[str, str]) -> str | None:
    return form.get("MessageSid") or form.get("SmsSid") or form.get("SmsMessageSid") or None


def _status(form: dict[str, str], word: str, at: Any, refs: tuple[str, ...], correlation_id: str | None) -> Item:
    sid, status = _message_sid(form), STATUSES.get(word)
    shared = {"at": at, "raw": form, "account_refs": refs}
    if status is None or (sid is None and not correlation_id):
        reason = f"status {word[:40]!r} is new to us" if word and status is None else "neither a receipt nor a message"
        return UnknownItem(key=f"unknown:{fingerprint(form)}", reason=reason, malformed=not word, **shared)
    return StatusItem(
        # Twilio gives no time: the same status of the same message is the same news.
        key=f"status:{sid or correlation_id}:{status}",
        correlation_id=correlation_id or None,
        external_id=sid,
        status=status,  # type: ignore[arg-type]
        error=failure(form.get("ErrorCode"), form.get("ErrorMessage") or form.get("ChannelStatusMessage"), word)
        if status == "failed"
        else None,
        recipient=e164(form.get("To")),
        recipient_user_id=user_id(form.get("To")),
        **shared,
    )


def failure(code: str | None, detail: str | None, word: str) -> Fault:
    """Why a message failed; without a code, the status word stands in."""
    code = (code or "").strip()
    if not re.fullmatch(r"[0-9]{1,9}", code) or int(code) == 0:
        return Fault("request", word, detail or "", "message")
    return fault(CODES, str(int(code)), detail or "")


def user_id(address: str | None) -> str | None:
    """The business-scoped user id in ``whatsapp:US.1234``, or None."""
    bare = (address or "").removeprefix("whatsapp:")
    return bare if re.fullmatch(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}", bare) else None


def _kind(form: dict[str, str]) -> str:
    """WhatsApp's word for what was sent, where Twilio does not say it."""
    if "ButtonText" in form:
        return "button"
    if form.get("Latitude") and form.get("Longitude"):
        return "location"
    if form.get("NumMedia", "0") in ("", "0"):
        return "text"
    kind = form.get("MediaContentType0", "").partition("/")[0]
    return kind if kind in ("image", "video", "audio") else "document"


def _inbound(form: dict[str, str], at: Any, refs: tuple[str, ...]) -> Item:
    sender, sid = form.get("From"), _message_sid(form)
    phone = e164(sender) or e164(form.get("WaId"))
    person = user_id(form.get("ExternalUserId")) or user_id(sender)
    if not sender and phone is None and person is None and not form.get("OriginalRepliedMessageSid"):
        reason = "a message without a sender"
        key = f"unknown:{fingerprint(form)}"
        return UnknownItem(key=key, at=at, raw=form, account_refs=refs, reason=reason, malformed=True)
    kind = form.get("MessageType") or _kind(form)
    opt_out = form.get("OptOutType", "").lower()
    return InboundItem(
        key=f"inbound:{sid or fingerprint(form)}",
        at=at,
        raw=form,
        account_refs=refs,
        external_id=sid,
        from_phone=phone,
        from_user_id=person,
        text=form.get("ButtonText") or form.get("Body") or None,
        button_payload=form.get("ButtonPayload") or None,
        opt_out_type=opt_out if opt_out in ("stop", "start", "help") else None,
        in_reply_to=form.get("OriginalRepliedMessageSid") or None,
        profile_name=form.get("ProfileName") or None,
        type=kind,
    )
