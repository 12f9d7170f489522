"""The simulator's own controls under `/_sim/`: accounts, faults, templates, a customer who writes, the ledger."""

# Every answer takes what the router gives, used or not.
# ruff: noqa: ARG002
from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from . import phone as handset
from .door import Handler
from .fates import BadSetting
from .faults import BadFault
from .records import PROVIDERS, Account, Template, digits
from .rules import CATEGORIES
from .times import iso
from .world import World

_CREDENTIALS: dict[str, tuple[set[str], set[str]]] = {
    "meta_cloud": (
        {"phone_number_id", "waba_id", "access_token", "app_secret", "verify_token", "display_phone_number"},
        {"app_id"},
    ),
    "twilio": ({"account_sid", "auth_token"}, {"from", "messaging_service_sid", "api_key", "api_secret"}),
    "dialog360": ({"api_key", "phone_number", "webhook_secret"}, {"waba_id"}),
}
_FORMS = {
    "phone_number_id": r"[A-Za-z0-9_.-]{1,64}",
    "waba_id": r"[A-Za-z0-9_.-]{1,64}",
    "account_sid": r"AC[0-9a-fA-F]{32}",
    "messaging_service_sid": r"MG[0-9a-fA-F]{32}",
    "api_key": r"\S+",
    "from": r"(whatsapp:)?\+[1-9]\d{6,14}",
}
EVENTS = (
    "APPROVED", "REJECTED", "PAUSED", "DISABLED", "FLAGGED", "REINSTATED", "PENDING", "IN_APPEAL", "LIMIT_EXCEEDED",
    "ARCHIVED", "UNARCHIVED", "LOCKED", "PENDING_DELETION", "DELETED", "CATEGORY",
)  # fmt: skip


class Wrong(Exception):
    """A control request that cannot be done; the text says why in one sentence."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def account_from(wanted: dict[str, Any]) -> Account:
    """An account from `PUT /_sim/accounts`. Raises Wrong, naming the key."""
    provider, given = wanted.get("provider"), wanted.get("credentials")
    if provider not in PROVIDERS:
        raise Wrong(f"provider must be one of {', '.join(PROVIDERS)}")
    if not isinstance(given, dict):
        raise Wrong("credentials must be an object")
    required, optional = _CREDENTIALS[provider]
    for key in sorted(required - given.keys()):
        raise Wrong(f"credentials: {key} is missing")
    for key in sorted(given.keys() - required - optional):
        raise Wrong(f"credentials: {key} is unknown")
    credentials = {k: v for k, v in given.items() if v is not None}
    for key, value in credentials.items():
        if not isinstance(value, str) or not value or not re.fullmatch(_FORMS.get(key, r"[\s\S]+"), value):
            raise Wrong(f"credentials: {key} is not well-formed")
    if provider == "twilio" and not {"from", "messaging_service_sid"} & credentials.keys():
        raise Wrong("credentials: from or messaging_service_sid is missing")
    url = wanted.get("webhook_url", "")
    if not isinstance(url, str) or (url and urlsplit(url).scheme not in ("http", "https")):
        raise Wrong("webhook_url must be a http or https URL")
    for key in sorted(wanted.keys() - {"provider", "credentials", "webhook_url"}):
        raise Wrong(f"{key} is unknown")
    name = {"meta_cloud": "phone_number_id", "twilio": "account_sid", "dialog360": "phone_number"}[provider]
    key = credentials[name] if provider != "dialog360" else digits(credentials[name])
    if not key:
        raise Wrong(f"credentials: {name} is not well-formed")
    headers = {"X-WA-Webhook-Secret": credentials["webhook_secret"]} if provider == "dialog360" else {}
    return Account(provider, key, credentials, url, headers)


class Control:
    """Routes under `/_sim`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        return [
            web.put("/_sim/accounts", self._guard(self.put_account)),
            web.get("/_sim/faults", self._guard(self.read_faults)),
            web.put("/_sim/faults", self._guard(self.put_faults)),
            web.get("/_sim/settings", self._guard(self.read_settings)),
            web.put("/_sim/settings", self._guard(self.put_settings)),
            web.post("/_sim/templates", self._guard(self.template_event)),
            web.post("/_sim/inbound", self._guard(self.inbound)),
            web.get("/_sim/ledger", self._guard(self.ledger)),
            web.get("/_sim/state", self._guard(self.state)),
            web.get("/_sim/phone", self._guard(self.phone)),
            web.get("/_sim/phones", self._guard(self.phones)),
        ]

    def _guard(self, answer: Any) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                _check_caller(request)
                result: web.StreamResponse = await answer(request)
                return result
            except (Wrong, BadFault, BadSetting) as error:
                status = error.status if isinstance(error, Wrong) else 400
                return web.json_response({"error": str(error)}, status=status)

        return handle

    async def _object(self, request: web.Request) -> dict[str, Any]:
        try:
            wanted = json.loads(await request.read())
        except ValueError:
            raise Wrong("the body is not valid JSON") from None
        if not isinstance(wanted, dict):
            raise Wrong("the body must be a JSON object")
        return wanted

    def _account(self, wanted: dict[str, Any]) -> Account:
        provider, name = wanted.get("provider"), wanted.get("account")
        if provider not in PROVIDERS:
            raise Wrong(f"provider must be one of {', '.join(PROVIDERS)}")
        account = self._world.find_account(provider, str(name)) if name else None
        if account is None:
            raise Wrong(f"there is no {provider} account {name}", 404)
        return account

    async def put_account(self, request: web.Request) -> web.Response:
        """Registers an account or replaces it; 201 when it is new, else 200."""
        account = account_from(await self._object(request))
        new = self._world.put_account(account)
        answer = {"provider": account.provider, "account": account.key, "created": new}
        return web.json_response(answer, status=201 if new else 200)

    async def read_faults(self, request: web.Request) -> web.Response:
        """The faults in force, by provider."""
        return web.json_response(self._world.faults.as_json())

    async def put_faults(self, request: web.Request) -> web.Response:
        """Changes faults; callbacks held back go out when `webhooks_off` ends."""
        self._world.faults.change(await self._object(request))
        self._world.outbox.release()
        return web.json_response(self._world.faults.as_json())

    async def read_settings(self, request: web.Request) -> web.Response:
        """The settings in force."""
        return web.json_response(vars(self._world.settings))

    async def put_settings(self, request: web.Request) -> web.Response:
        """Changes settings; absent keys stay."""
        self._world.settings.change(await self._object(request))
        return web.json_response(vars(self._world.settings))

    def _template(self, account: Account, wanted: dict[str, Any]) -> Template:
        name, language = wanted.get("name"), wanted.get("language")
        for template in reversed(self._world.templates_of(account.provider, account.owner)):
            names = {template.name, template.id, template.content.get("friendly_name")}
            if name in names and language in (template.language, None if name == template.id else template.language):
                return template
        raise Wrong(f"there is no template {name} in {language}", 404)

    async def template_event(self, request: web.Request) -> web.Response:
        """Approves, rejects, pauses … now; CATEGORY with `category` re-classes."""
        wanted = await self._object(request)
        template = self._template(self._account(wanted), wanted)
        event, reason = str(wanted.get("event", "")).upper(), wanted.get("reason")
        if event not in EVENTS:
            raise Wrong(f"event must be one of {', '.join(EVENTS)}")
        if reason is not None and not isinstance(reason, str):
            raise Wrong("reason must be a text")
        if event == "CATEGORY":
            category = str(wanted.get("category", "")).upper()
            if category not in CATEGORIES:
                raise Wrong(f"category must be one of {', '.join(CATEGORIES)}")
            self._world.change_category(template, category)
        elif event == "DELETED":
            self._world.delete_template(template)
        else:
            self._world.template_event(template, event, reason)
        return web.json_response(_template_line(template))

    async def inbound(self, request: web.Request) -> web.Response:
        """A customer writes, presses a button, or sets the preference; 202 with the message's id."""
        wanted = await self._object(request)
        account = self._account(wanted)
        sender = "+" + digits(str(wanted.get("from", "")))
        if not re.fullmatch(r"\+[1-9]\d{6,14}", sender):
            raise Wrong("from must be a phone number")
        kinds = [k for k in ("text", "button", "preference") if k in wanted]
        if len(kinds) != 1:
            raise Wrong("exactly one of text, button and preference")
        value = wanted[kinds[0]]
        if kinds[0] == "text":
            if not isinstance(value, str) or not 1 <= len(value) <= 4096:
                raise Wrong("text must have 1 to 4096 characters")
            own_id = handset.write_text(self._world, account, sender, value)
        elif kinds[0] == "button":
            own_id = handset.press_button(self._world, account, sender, *self._button(account, sender, value))
        else:
            if value not in ("stop", "resume"):
                raise Wrong("preference must be stop or resume")
            own_id = handset.set_preference(self._world, account, sender, value)
        return web.json_response({"id": own_id}, status=202)

    def _button(self, account: Account, sender: str, value: Any) -> tuple[str, str]:
        """Text and payload. A text alone takes the payload of the button of that text on the newest message."""
        if isinstance(value, dict) and isinstance(value.get("text"), str):
            return value["text"], str(value.get("payload") or value["text"])
        if not isinstance(value, str) or not value:
            raise Wrong('button must be a text or {"text","payload"}')
        last = self._world.last_to(account, sender)
        for button in last.shown.get("buttons", []) if last else []:
            if button["text"] == value and "payload" in button:
                return value, button["payload"]
        return value, value

    async def ledger(self, request: web.Request) -> web.StreamResponse:
        """Accepted sends numbered above `after`, as JSON lines; `X-Ledger-Count` tells how many there are."""
        after = request.query.get("after", "0") or "0"
        if not after.isdigit():
            raise Wrong("after must be a whole number")
        response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "X-Ledger-Count": str(self._world.ledger.count)}
        )
        await response.prepare(request)
        for chunk in self._world.ledger.read_after(int(after)):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def state(self, request: web.Request) -> web.Response:
        """What it holds, without any secret."""
        world = self._world
        answer = {
            "started_at": iso(world.started_at),
            "ledger": world.ledger.count,
            "accounts": [
                {
                    "provider": a.provider,
                    "account": a.key,
                    "owner": a.owner,
                    "phone": a.phone or None,
                    "webhook": bool(a.webhook_url),
                }
                for a in world.accounts.values()
            ],
            "templates": [_template_line(t) for t in world.templates.values() if t.status != "DELETED"],
            "messages": {"held": len(world.messages), "by_status": world.counts()},
            "phones": len(world.threads),
            "webhooks": {"pending": world.outbox.pending, **world.outbox.counts},
            "faults": world.faults.as_json(),
            "settings": vars(world.settings),
        }
        return web.json_response(answer)

    async def phone(self, request: web.Request) -> web.Response:
        """The thread of one phone, newest last. `limit` defaults to 100."""
        number = "+" + digits(request.query.get("to", ""))
        if len(number) < 8:
            raise Wrong("to must be a phone number")
        rows = handset.thread(self._world, number, _limit(request, 100))
        return web.json_response({"to": number, "messages": rows})

    async def phones(self, request: web.Request) -> web.Response:
        """Phones with messages, the newest first. `limit` defaults to 200."""
        return web.json_response({"phones": handset.phones(self._world, _limit(request, 200))})


def _check_caller(request: web.Request) -> None:
    """A page open in somebody's browser may not play with the controls: neither by form nor by a rebound name."""
    host = request.host.rpartition(":")[0] if ":" in request.host else request.host
    if host not in ("127.0.0.1", "localhost") or "Origin" in request.headers:
        raise Wrong("the controls are for programs on this machine", 403)


def _limit(request: web.Request, default: int) -> int:
    text = request.query.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise Wrong("limit must be between 1 and 10000")
    return int(text)


def _template_line(template: Template) -> dict[str, Any]:
    return {
        "provider": template.provider,
        "owner": template.owner,
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "category": template.category,
        "status": template.status,
        "rejected_reason": template.rejected_reason,
    }
