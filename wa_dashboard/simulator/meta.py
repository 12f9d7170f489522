"""Meta's door: `/meta/v{N}.0/…` with Graph's paths, errors and templates."""

# Every answer takes what the router gives, used or not.
# ruff: noqa: ARG002
from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from .cloud import accept_send, create_template, parsed
from .door import Reply, as_response, cut, plain_door, send_door
from .graph import GraphError, missing, no_such_object
from .media import as_json
from .records import Account, Template, digits
from .rules import check_components, wrong
from .times import now
from .world import World

_TEMPLATE_FIELDS = (
    "id", "name", "language", "status", "category", "previous_category", "correct_category", "sub_category",
    "parameter_format", "components", "rejected_reason", "quality_score", "message_send_ttl_seconds",
)  # fmt: skip
_DEFAULT_TEMPLATE_FIELDS = ("name", "parameter_format", "components", "language", "status", "category", "id")
_DEFAULT_PHONE_FIELDS = ("verified_name", "display_phone_number", "quality_rating", "id")
_DEFAULT_WABA_FIELDS = ("id", "name", "timezone_id", "message_template_namespace")
_EDITABLE = {"category", "components", "message_send_ttl_seconds"}
_DAY = 86_400.0


def template_json(template: Template) -> dict[str, Any]:
    """Every field of a template that Graph can be asked for."""
    out: dict[str, Any] = {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "parameter_format": template.parameter_format,
        "components": template.components,
        "rejected_reason": template.rejected_reason,
        "quality_score": {"score": template.quality, "date": int(template.updated_at)},
    }
    if template.previous_category:
        out["previous_category"] = template.previous_category
    if template.ttl_seconds is not None:
        out["message_send_ttl_seconds"] = template.ttl_seconds
    return out


class MetaDoor:
    """Routes under `/meta`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""

        def plain(answer: Any) -> Any:
            return plain_door(self._world, "meta_cloud", self._guard(answer))

        send = send_door(
            self._world,
            "meta_cloud",
            self._guard(self.send),
            throttled=_as_reply(GraphError(130429, "Cloud API message throughput has been reached.")),
            unavailable=_as_reply(GraphError(2)),
        )
        base = r"/meta/{version:v\d+\.0}/{node:[A-Za-z0-9_.-]+}"
        return [
            web.post(base + "/messages", send),
            web.post(base + "/media", plain(self.upload)),
            web.post(base + "/uploads", plain(self.open_upload)),
            web.post(r"/meta/{version:v\d+\.0}/{session:upload:[A-Za-z0-9_-]+}", plain(self.fill_upload)),
            web.post(base + "/message_templates", plain(self.create)),
            web.get(base + "/message_templates", plain(self.list_templates)),
            web.delete(base + "/message_templates", plain(self.delete)),
            web.post(base + "/unpause", plain(self.unpause)),
            web.post(base + "/subscribed_apps", self.subscribe),
            web.get(base + "/subscribed_apps", plain(self.subscriptions)),
            web.get(base, plain(self.read)),
            web.post(base, plain(self.edit)),
            web.route("*", "/meta/{rest:.*}", plain(self.unknown)),
        ]

    def _guard(self, answer: Any) -> Any:
        def guarded(request: web.Request, body: bytes) -> Reply:
            try:
                result: Reply = answer(request, body)
                return result
            except GraphError as error:
                return _as_reply(error)

        return guarded

    def _accounts(self, request: web.Request) -> list[Account]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise GraphError(190, message="Authentication Error", status=401)
        found = self._world.login("meta_cloud", token.strip())
        if not found:
            raise GraphError(190)
        return found

    def _waba(self, request: web.Request) -> str:
        node = request.match_info["node"]
        if not any(a.owner == node for a in self._accounts(request)):
            raise no_such_object(node)
        return node

    def send(self, request: web.Request, body: bytes) -> Reply:
        """`POST /{phone number id}/messages`."""
        node = request.match_info["node"]
        account = next((a for a in self._accounts(request) if a.key == node), None)
        if account is None:
            raise no_such_object(node)
        send, message = accept_send(self._world, account, body)
        first: dict[str, Any] = {"id": message.id}
        if send.template:
            first["message_status"] = "accepted"
        answer = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": send.input, "wa_id": digits(send.to)}],
            "messages": [first],
        }
        return Reply(200, answer, accepted=True)

    def upload(self, request: web.Request, body: bytes) -> Reply:
        """`POST /{phone number id}/media`."""
        node = request.match_info["node"]
        if not any(account.key == node for account in self._accounts(request)):
            raise no_such_object(node)
        stored = self._world.files.upload(node, request.headers.get("Content-Type", ""), body)
        return Reply(200, {"id": stored.id})

    def open_upload(self, request: web.Request, body: bytes) -> Reply:
        """`POST /{app id}/uploads`: a session for one sample file."""
        self._accounts(request)
        return Reply(200, {"id": self._world.files.open_session(request.match_info["node"], dict(request.query))})

    def fill_upload(self, request: web.Request, body: bytes) -> Reply:
        """`POST /upload:…` with `Authorization: OAuth`: the bytes of a sample file."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "OAuth" or not self._world.login("meta_cloud", token):
            raise GraphError(190)
        offset = request.headers.get("file_offset", "")
        return Reply(200, {"h": self._world.files.fill_session(request.match_info["session"], offset, body)})

    def create(self, request: web.Request, body: bytes) -> Reply:
        """`POST /{waba}/message_templates`."""
        template = create_template(self._world, "meta_cloud", self._waba(request), body)
        return Reply(200, {"id": template.id, "status": template.status, "category": template.category})

    def list_templates(self, request: web.Request, body: bytes) -> Reply:
        """`GET /{waba}/message_templates` with `fields`, `limit`, `name`, `status`, `language`, `after`."""
        query = request.query
        rows = self._world.templates_of("meta_cloud", self._waba(request))
        for key in query:
            if key not in ("fields", "limit", "name", "status", "language", "category", "after"):
                raise GraphError(100, f"Param {key} is not supported.")
        for key in ("language", "status", "category"):
            if key in query:
                rows = [t for t in rows if getattr(t, key).upper() == query[key].upper()]
        if "name" in query:
            rows = [t for t in rows if query["name"].lower() in t.name]
        limit = int(query.get("limit", "25")) if query.get("limit", "25").isdigit() else 0
        if not 1 <= limit <= 1000:
            raise GraphError(100, "Param limit must be between 1 and 1000.")
        start = _cursor(query["after"]) if "after" in query else 0
        page = rows[start : start + limit]
        fields = _wanted(query.get("fields", ""), _TEMPLATE_FIELDS, _DEFAULT_TEMPLATE_FIELDS)
        data = [{k: v for k, v in template_json(t).items() if k in fields} for t in page]
        cursors = {"before": _cursor_text(start), "after": _cursor_text(start + len(page))}
        paging: dict[str, Any] = {"cursors": cursors}
        if start + limit < len(rows):
            paging["next"] = str(request.url.update_query(after=cursors["after"]))
        return Reply(200, {"data": data, "paging": paging} if page else {"data": []})

    def delete(self, request: web.Request, body: bytes) -> Reply:
        """`DELETE /{waba}/message_templates?name=[&hsm_id=]`: without id every language goes."""
        owner = self._waba(request)
        name = request.query.get("name") or dict(parse_qsl(body.decode("utf-8", "replace"))).get("name")
        if not name:
            raise missing("name")
        hsm_id = request.query.get("hsm_id")
        found = [
            t
            for t in self._world.templates_of("meta_cloud", owner)
            if t.name == name and (hsm_id is None or t.id == hsm_id)
        ]
        if not found:
            raise wrong(2593002, "Message Template Not Found", f"No template named {name} was found.")
        if any(t.status == "DISABLED" for t in found):
            raise GraphError(100, "A disabled template cannot be deleted.")
        for template in found:
            self._world.delete_template(template)
        return Reply(200, {"success": True})

    def read(self, request: web.Request, body: bytes) -> Reply:
        """`GET /{id}` of a phone number, an account or a template."""
        node, fields = request.match_info["node"], request.query.get("fields", "")
        accounts = self._accounts(request)
        for account in accounts:
            if account.key == node:
                return Reply(200, _pick(_phone_json(account), fields, _DEFAULT_PHONE_FIELDS))
            if account.owner == node:
                return Reply(200, _pick(_waba_json(account), fields, _DEFAULT_WABA_FIELDS))
        file = self._world.files.stored.get(node)
        if file is not None and any(account.key == file.owner for account in accounts):
            return Reply(200, as_json(file, f"{request.url.origin()}/_sim/files/{file.id}"))
        template = self._template(accounts, node)
        return Reply(200, _pick(template_json(template), fields, _DEFAULT_TEMPLATE_FIELDS))

    def _template(self, accounts: list[Account], node: str) -> Template:
        template = self._world.templates.get(node)
        owners = {a.owner for a in accounts}
        if template is None or template.provider != "meta_cloud" or template.status == "DELETED":
            raise no_such_object(node)
        if template.owner not in owners:
            raise no_such_object(node)
        return template

    def edit(self, request: web.Request, body: bytes) -> Reply:
        """`POST /{template id}`: new components and, unless approved, a new category; goes back to review."""
        template = self._template(self._accounts(request), request.match_info["node"])
        change = parsed(body)
        if not isinstance(change, dict) or not change or not change.keys() <= _EDITABLE:
            raise GraphError(100, "Only category, components and message_send_ttl_seconds can be edited.")
        if template.status not in ("APPROVED", "REJECTED", "PAUSED"):
            raise GraphError(100, f"A template that is {template.status} cannot be edited.")
        category = str(change.get("category", template.category)).upper()
        if template.status == "APPROVED":
            recent = [at for at in template.edits if now() - at < 30 * _DAY]
            if any(now() - at < _DAY for at in recent) or len(recent) >= 10:
                raise GraphError(100, "An approved template can be edited once a day and ten times in 30 days.")
            if category != template.category:
                raise GraphError(100, "The category of an approved template cannot be edited.")
            template.edits = [*recent, now()]
        components = change.get("components", template.components)
        if "components" in change:
            components = check_components(components, category, template.parameter_format)
        template.category, template.components = category, components
        self._world.submit(template)
        return Reply(200, {"success": True})

    def unpause(self, request: web.Request, body: bytes) -> Reply:
        """`POST /{template id}/unpause`: a paused template is approved again; Meta says no with 200 and a reason."""
        template = self._template(self._accounts(request), request.match_info["node"])
        if template.status != "PAUSED":
            return Reply(200, {"success": False, "reason": f"The template is not paused, it is {template.status}."})
        self._world.template_event(template, "APPROVED", None)
        return Reply(200, {"success": True})

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        """`POST /{waba}/subscribed_apps`, optionally with a callback URL of its own, which must pass the handshake."""
        if self._world.faults.of("meta_cloud").refuse:
            return cut(request)
        try:
            await self._override(self._waba(request), parsed(await request.read() or b"{}"))
        except GraphError as error:
            return as_response(_as_reply(error))
        return as_response(Reply(200, {"success": True}))

    async def _override(self, waba: str, wanted: Any) -> None:
        if not isinstance(wanted, dict) or not wanted.keys() <= {"override_callback_uri", "verify_token"}:
            raise GraphError(100, "Only override_callback_uri and verify_token can be given.")
        if not wanted:
            return
        url, token = wanted.get("override_callback_uri"), wanted.get("verify_token")
        if not isinstance(url, str) or not isinstance(token, str):
            raise GraphError(100, "override_callback_uri and verify_token belong together.")
        problem = await self._world.outbox.handshake(url, token)
        if problem:
            text = f"(#2200) Callback verification failed with the following errors: {problem}"
            raise GraphError(2200, message=text)
        for account in self._world.accounts_of("meta_cloud"):
            if account.owner == waba:
                account.webhook_url = url
                self._world.put_account(account)

    def subscriptions(self, request: web.Request, body: bytes) -> Reply:
        """`GET /{waba}/subscribed_apps`."""
        waba = self._waba(request)
        urls = {a.webhook_url for a in self._accounts(request) if a.owner == waba}
        app = {"name": "Simulated app", "id": "1", "link": "https://www.facebook.com/games/?app_id=1"}
        rows = [{"whatsapp_business_api_data": app, "override_callback_uri": url} for url in sorted(urls)]
        return Reply(200, {"data": rows})

    def unknown(self, request: web.Request, body: bytes) -> Reply:
        """Any other path or method."""
        raise GraphError(2500, message=f"Unknown path components: /{request.match_info['rest']}")


def _as_reply(error: GraphError) -> Reply:
    headers = {"WWW-Authenticate": 'OAuth "Facebook Platform" "invalid_token"'} if error.status == 401 else {}
    return Reply(error.status, error.body, headers=headers)


def _cursor_text(position: int) -> str:
    return b64encode(f"sim:{position}".encode()).decode()


def _cursor(text: str) -> int:
    try:
        return int(b64decode(text, validate=True).decode().removeprefix("sim:"))
    except ValueError:
        raise GraphError(131059, "Invalid cursor") from None


def _wanted(fields: str, known: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    if not fields:
        return default
    names = tuple(name.strip() for name in fields.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise GraphError(100, message=f"(#100) Tried accessing nonexisting field ({name})")
    return ("id", *names)


def _pick(data: dict[str, Any], fields: str, default: tuple[str, ...]) -> dict[str, Any]:
    names = _wanted(fields, tuple({*data, *_TEMPLATE_FIELDS}) if "components" in data else tuple(data), default)
    return {name: data[name] for name in names if name in data}


def _phone_json(account: Account) -> dict[str, Any]:
    return {
        "id": account.key,
        "display_phone_number": account.credentials["display_phone_number"],
        "verified_name": "Simulated sender",
        "quality_rating": "GREEN",
        "throughput": {"level": "STANDARD"},
        "status": "CONNECTED",
        "name_status": "APPROVED",
        "code_verification_status": "VERIFIED",
        "platform_type": "CLOUD_API",
        "whatsapp_business_manager_messaging_limit": "TIER_2K",
        "health_status": {"can_send_message": "AVAILABLE", "entities": []},
        "webhook_configuration": {"application": account.webhook_url},
    }


def _waba_json(account: Account) -> dict[str, Any]:
    return {
        "id": account.owner,
        "name": "Simulated business",
        "timezone_id": "1",
        "currency": "EUR",
        "account_review_status": "APPROVED",
        "message_template_namespace": "0" * 8,
        "health_status": {"can_send_message": "AVAILABLE", "entities": []},
    }
