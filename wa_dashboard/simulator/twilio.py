"""Twilio's Messages API: `/twilio/2010-04-01/Accounts/{AC}/Messages…`, form-encoded, with a list and a fetch."""

# Every answer takes what the router gives, used or not.
# ruff: noqa: ARG002
from __future__ import annotations

import json
import re
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from .door import Reply, plain_door, send_door
from .hookforms import TWILIO_FAILURES
from .records import Account, Message, Template
from .shape import Shape, fill, shown, variables_of
from .times import now, parse_day_or_instant, rfc2822
from .twilio_common import TwilioError, authenticated, guarded
from .world import World

_FIELDS = {
    "To", "From", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables", "StatusCallback",
    "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt", "ValidityPeriod", "ForceDelivery", "ContentRetention",
    "AddressRetention", "SmartEncoded", "PersistentAction", "TrafficType", "ShortenUrls", "SendAsMms", "RiskCheck",
}  # fmt: skip
_MANY = {"MediaUrl", "PersistentAction"}
_ADDRESS = re.compile(r"whatsapp:(\+[1-9][0-9]{6,14})\Z")
_BAD_SPACE = re.compile(r"[\n\r\t]| {5,}")
_NOT_SENDABLE = {"REJECTED": 63040, "PAUSED": 63041, "DISABLED": 63042}
_PRICE = "-0.00500"


class TwilioDoor:
    """Routes under `/twilio`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""

        def plain(answer: Any) -> Any:
            return plain_door(self._world, "twilio", guarded(answer))

        send = send_door(
            self._world, "twilio", guarded(self.send),
            throttled=TwilioError(20429).reply, unavailable=TwilioError(20503).reply,
        )  # fmt: skip
        base = r"/twilio/2010-04-01/Accounts/{account:AC[0-9a-fA-F]{32}}"
        one = base + r"/Messages/{sid:(?:SM|MM)[0-9a-fA-F]{32}}.json"
        return [
            web.post(base + "/Messages.json", send),
            web.get(base + "/Messages.json", plain(self.list_messages)),
            web.get(one, plain(self.fetch)),
            web.post(one, plain(self.redact)),
            web.delete(one, plain(self.delete)),
            web.get(base + ".json", plain(self.account)),
            web.get(base + "/Balance.json", plain(self.balance)),
            web.route("*", "/twilio/{rest:.*}", plain(self.unknown)),
        ]

    def _account(self, request: web.Request) -> Account:
        wanted = request.match_info["account"]
        for account in authenticated(self._world, request):
            if account.key == wanted:
                return account
        raise TwilioError(20003)

    def send(self, request: web.Request, body: bytes) -> Reply:
        """`POST Messages.json`."""
        account = self._account(request)
        form = _form(request, body)
        to = _recipient(form)
        sender, service = _sender(account, form)
        if sender == to:
            raise TwilioError(63031)
        if self._world.is_stopped(account, to):
            raise TwilioError(21610)
        callback = form.get("StatusCallback", "")
        if callback:
            _check_callback(callback)
        validity = form.get("ValidityPeriod", "36000")
        if not validity.isdigit() or not 1 <= int(validity) <= 36_000:
            raise TwilioError(20422, "ValidityPeriod must be between 1 and 36000")
        template, seen, problem = self._content(account, form, to)
        message = Message(
            provider="twilio", account=account.key, id="SM" + secrets.token_hex(16),
            correlation_id=_correlation(callback), recipient=to, template=template.name if template else "",
            language=template.language if template else "", category=template.category if template else "SERVICE",
            at=now(), status="accepted" if service else "queued", shown=seen, script=[], callback=callback,
            sender=sender or account.phone, service=service,
        )  # fmt: skip
        self._world.accept(account, message, problem)
        answer = _message_json(message)
        if service:
            answer["from"] = None
        return Reply(201, answer, accepted=True)

    def _content(self, account: Account, form: dict[str, str], to: str) -> tuple[Template | None, dict[str, Any], int]:
        sid = form.get("ContentSid", "")
        if not sid:
            if "ContentVariables" in form:
                raise TwilioError(21655, "ContentVariables without ContentSid")
            text = form.get("Body", "")
            if not text and "MediaUrl" not in form:
                raise TwilioError(21602)
            if len(text) > 1600:
                raise TwilioError(21617)
            if "MediaUrl" in form and not re.match(r"https?://", form["MediaUrl"]):
                raise TwilioError(21620)
            problem = 0 if self._world.window_open(account, to) else 63016
            return None, {"text": text, "media": form.get("MediaUrl", ""), "buttons": []}, problem
        template = self._world.templates.get(sid)
        if template is None or template.owner != account.owner or template.status == "DELETED":
            raise TwilioError(21655)
        values, problem = _variables(template, self._world.shape(template), form.get("ContentVariables", "{}"))
        if not template.sendable and not self._world.window_open(account, to):
            problem = _NOT_SENDABLE.get(template.status, 63016)
        shape = self._world.shape(template)
        every_url = dict.fromkeys(range(len(shape.buttons)), values)
        payloads = {i: str(p) for i, p in enumerate(template.content.get("payloads", [])) if p}
        media = fill(template.content.get("media", ""), values)
        media = media.split("?")[0].rsplit("/", 1)[-1]
        return template, shown(shape, values, values, every_url, payloads, media), problem

    def list_messages(self, request: web.Request, body: bytes) -> Reply:
        """`GET Messages.json` with To, From, DateSent, DateSent<, DateSent>, PageSize and Page; newest first."""
        account = self._account(request)
        query = dict(request.query)
        for key in query:
            if key not in ("To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"):
                raise TwilioError(20001, key)
        size, page = _whole(query.get("PageSize", "50"), 1, 1000), _whole(query.get("Page", "0"), 0, 10**9)
        to = query.get("To", "").removeprefix("whatsapp:")
        pool = self._world.threads.get(to, []) if to else self._world.messages.values()
        rows = [
            m for m in pool
            if isinstance(m, Message) and m.provider == "twilio" and m.account == account.key and _matches(m, query)
        ]  # fmt: skip
        rows.sort(key=lambda m: m.at, reverse=True)
        shown_rows = rows[page * size : (page + 1) * size]
        base = f"/2010-04-01/Accounts/{account.key}/Messages.json"
        kept = {k: v for k, v in query.items() if k not in ("Page", "PageToken", "PageSize")}

        def uri(number: int) -> str:
            return f"{base}?{urlencode({**kept, 'PageSize': size, 'Page': number})}"

        answer = {
            "end": page * size + max(0, len(shown_rows) - 1),
            "first_page_uri": uri(0),
            "next_page_uri": uri(page + 1) if len(rows) > (page + 1) * size else None,
            "page": page,
            "page_size": size,
            "previous_page_uri": uri(page - 1) if page else None,
            "start": page * size,
            "uri": uri(page),
            "messages": [_message_json(m) for m in shown_rows],
        }
        return Reply(200, answer)

    def _message(self, request: web.Request) -> Message:
        account = self._account(request)
        message = self._world.messages.get(request.match_info["sid"])
        if message is None or message.provider != "twilio" or message.account != account.key:
            raise TwilioError(20404)
        return message

    def fetch(self, request: web.Request, body: bytes) -> Reply:
        """`GET Messages/{sid}.json`."""
        return Reply(200, _message_json(self._message(request)))

    def redact(self, request: web.Request, body: bytes) -> Reply:
        """`POST Messages/{sid}.json` with an empty Body takes the text out."""
        message, form = self._message(request), _form(request, body, known={"Body", "Status"})
        if form.get("Body") != "" or "Status" in form:
            raise TwilioError(20422, "only an empty Body is possible: nothing is scheduled here")
        self._world.forget_message(message)
        return Reply(200, _message_json(message))

    def delete(self, request: web.Request, body: bytes) -> Reply:
        """`DELETE Messages/{sid}.json`: the text goes; later fetches answer 404."""
        message = self._message(request)
        self._world.forget_message(message)
        del self._world.messages[message.id]
        return Reply(204, None)

    def account(self, request: web.Request, body: bytes) -> Reply:
        """`GET Accounts/{AC}.json`: whether the credentials are good."""
        account = self._account(request)
        answer = {"sid": account.key, "friendly_name": "Simulated account", "status": "active", "type": "Full",
                  "owner_account_sid": account.key}  # fmt: skip
        return Reply(200, answer)

    def balance(self, request: web.Request, body: bytes) -> Reply:
        """`GET Accounts/{AC}/Balance.json`."""
        return Reply(200, {"account_sid": self._account(request).key, "balance": "100.00", "currency": "USD"})

    def unknown(self, request: web.Request, body: bytes) -> Reply:
        """Any other path or method."""
        raise TwilioError(20404)


def _form(request: web.Request, body: bytes, known: set[str] | None = None) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise TwilioError(21604 if known is None else 20422)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body))
    except ValueError:
        raise TwilioError(20001, "the form cannot be read") from None
    form: dict[str, str] = {}
    for key, value in pairs:
        if key not in (known or _FIELDS):
            raise TwilioError(20001, key)
        if key in form and key not in _MANY:
            raise TwilioError(20422, f"{key} appears twice")
        form[key] = value
    return form


def _recipient(form: dict[str, str]) -> str:
    to = form.get("To", "")
    if not to:
        raise TwilioError(21604)
    found = _ADDRESS.match(to)
    if not found:
        raise TwilioError(21211, to)
    return found.group(1)


def _sender(account: Account, form: dict[str, str]) -> tuple[str, str]:
    """Number and Messaging Service SID, either of them empty. Raises TwilioError."""
    sender, service = form.get("From", ""), form.get("MessagingServiceSid", "")
    if not sender and not service:
        raise TwilioError(21603)
    if service:
        if not re.fullmatch(r"MG[0-9a-fA-F]{32}", service):
            raise TwilioError(21705)
        if service != account.credentials.get("messaging_service_sid"):
            raise TwilioError(21701)
    if sender:
        found = _ADDRESS.match(sender)
        if not found or (account.phone and found.group(1) != account.phone) or (not account.phone and not service):
            raise TwilioError(63007)
        return found.group(1), service
    return "", service


def _check_callback(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "_" in parts.hostname or " " in url:
        raise TwilioError(21609)


def _correlation(callback: str) -> str:
    return dict(parse_qsl(urlsplit(callback).query)).get("mid", "") if callback else ""


def _variables(template: Template, shape: Shape, text: str) -> tuple[dict[str, str], int]:
    """Values by name, the content's samples where none was given, and 63028 where there is neither."""
    try:
        given = json.loads(text)
    except ValueError:
        raise TwilioError(21656, "not valid JSON") from None
    if not isinstance(given, dict):
        raise TwilioError(21656, "not a JSON object")
    names = {*shape.header_variables, *shape.body_variables, *(b.variable for b in shape.buttons if b.variable)}
    names |= set(variables_of(template.content.get("media", "")))
    for key, value in given.items():
        if not isinstance(value, str) or not value or _BAD_SPACE.search(value):
            raise TwilioError(21656, f"value of {key}")
        if key not in names:
            raise TwilioError(21656, f"unknown variable {key}")
    values = {**{n: v for n, v in template.content.get("variables", {}).items() if n in names}, **given}
    return values, 0 if names <= values.keys() else 63028


def _whole(text: str, low: int, high: int) -> int:
    if not text.isdigit() or not low <= int(text) <= high:
        raise TwilioError(20001, "paging")
    return int(text)


def _matches(message: Message, query: dict[str, str]) -> bool:
    if "From" in query and query["From"].removeprefix("whatsapp:") != message.sender:
        return False
    at = message.sent_at or message.at
    for key in ("DateSent", "DateSent<", "DateSent>"):
        if key not in query:
            continue
        try:
            limit, whole_day = parse_day_or_instant(query[key])
        except ValueError:
            raise TwilioError(20001, key) from None
        end = limit + (86_400 if whole_day else 0)
        if key != "DateSent<" and at < limit:
            return False
        if key != "DateSent>" and at >= end and at > limit:
            return False
    return True


def _message_json(message: Message) -> dict[str, Any]:
    base = f"/2010-04-01/Accounts/{message.account}/Messages/{message.id}"
    finished = message.status in ("delivered", "read")
    created = rfc2822(message.at)
    return {
        "account_sid": message.account,
        "api_version": "2010-04-01",
        "body": message.shown.get("text", ""),
        "date_created": created,
        "date_sent": rfc2822(message.sent_at) if message.sent_at else None,
        "date_updated": rfc2822(message.status_at) if message.status_at else created,
        "direction": "outbound-api",
        "error_code": message.error_code or None,
        "error_message": TWILIO_FAILURES.get(message.error_code) if message.error_code else None,
        "from": f"whatsapp:{message.sender}",
        "messaging_service_sid": message.service or None,
        "num_media": "0",
        "num_segments": "1",
        "price": _PRICE if finished else None,
        "price_unit": "USD",
        "sid": message.id,
        "status": message.status,
        "subresource_uris": {"media": f"{base}/Media.json"},
        "to": f"whatsapp:{message.recipient}",
        "uri": f"{base}.json",
    }
