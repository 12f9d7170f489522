"""360dialog's door: Meta's messages behind an API key, with 360dialog's own paths, lists and errors."""

# Every answer takes what the router gives, used or not.
# ruff: noqa: ARG002
from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from .cloud import accept_send, create_template
from .door import Reply, plain_door, send_door
from .graph import GraphError
from .media import as_json
from .records import Account, Template
from .times import iso_seconds
from .world import World

_LIST_STATUS = {"PENDING": "submitted"}


def text_error(status: int, text: str) -> Reply:
    """360dialog's envelope around a sentence of its error reference."""
    return Reply(status, {"meta": {"success": False, "http_code": status, "developer_message": text}})


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body)
        self.reply = reply


class Dialog360Door:
    """Routes under `/dialog360`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""

        def plain(answer: Any) -> Any:
            return plain_door(self._world, "dialog360", self._guard(answer))

        send = send_door(
            self._world,
            "dialog360",
            self._guard(self.send),
            throttled=text_error(400, "You have exceeded the endpoint rate limit."),
            unavailable=Reply(503, {"error": "WhatsApp for Business API not available"}),
        )
        templates = "/dialog360/v1/configs/templates"
        return [
            web.post("/dialog360/messages", send),
            web.post("/dialog360/media", plain(self.upload)),
            web.get(r"/dialog360/{media_id:[0-9]{10,20}}", plain(self.read_file)),
            web.post(templates, plain(self.create)),
            web.get(templates, plain(self.list_templates)),
            web.delete(templates + "/{name}", plain(self.delete)),
            web.post("/dialog360/v1/configs/webhook", plain(self.set_webhook)),
            web.get("/dialog360/v1/configs/webhook", plain(self.read_webhook)),
            web.post("/dialog360/waba_webhook", plain(self.set_waba_webhook)),
            web.get("/dialog360/waba_webhook", plain(self.read_waba_webhook)),
            web.route("*", "/dialog360/{rest:.*}", plain(self.unknown)),
        ]

    def _guard(self, answer: Any) -> Any:
        def guarded(request: web.Request, body: bytes) -> Reply:
            try:
                result: Reply = answer(request, self._account(request), body)
                return result
            except _Refused as refused:
                return refused.reply
            except GraphError as error:
                return Reply(error.status, error.body)

        return guarded

    def _account(self, request: web.Request) -> Account:
        for account in self._world.login("dialog360", request.headers.get("D360-API-KEY", "")):
            return account
        raise _Refused(text_error(401, "Invalid api_key"))

    def send(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`POST /messages`; the answer has only the id, as real ones do."""
        _, message = accept_send(self._world, account, body)
        return Reply(200, {"messages": [{"id": message.id}]}, accepted=True)

    def upload(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`POST /media`: Meta's form, Meta's answer."""
        stored = self._world.files.upload(account.key, request.headers.get("Content-Type", ""), body)
        return Reply(200, {"id": stored.id})

    def read_file(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`GET /{media id}`: an address at Meta's file host, to be asked for through 360dialog."""
        file = self._world.files.stored.get(request.match_info["media_id"])
        if file is None or file.owner != account.key:
            raise _Refused(text_error(404, "media not found"))
        return Reply(200, as_json(file, f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={file.id}"))

    def create(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`POST /v1/configs/templates`; refusals come in 360dialog's envelope with Meta's sentence."""
        try:
            template = create_template(self._world, "dialog360", account.owner, body)
        except GraphError as error:
            text = error.user_msg or error.details or str(error.error["message"])
            raise _Refused(text_error(400, text)) from error
        return Reply(201, {"id": template.id, "status": template.status, "category": template.category})

    def list_templates(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`GET /v1/configs/templates` with `limit`, `offset`, `sort` and JSON `filters`."""
        rows = self._world.templates_of("dialog360", account.owner)
        query = request.query
        filters = _filters(query.get("filters", "{}"))
        for key, value in filters.items():
            attribute = key.removeprefix("business_templates.")
            if attribute not in ("name", "language", "status", "category", "id"):
                raise _Refused(text_error(400, f"Unknown filter {key}"))
            rows = [t for t in rows if _public(t)[attribute].lower() == str(value).lower()]
        limit, offset = _number(query.get("limit", "1000"), 1), _number(query.get("offset", "0"), 0)
        page = sorted(rows, key=lambda t: t.name)[offset : offset + limit]
        answer = {
            "count": len(page),
            "filters": filters,
            "limit": limit,
            "offset": offset,
            "sort": ["business_templates.name"],
            "total": len(rows),
            "waba_templates": [_public(t) for t in page],
        }
        return Reply(200, answer)

    def delete(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`DELETE /v1/configs/templates/{name}`: every language of the name."""
        name = request.match_info["name"]
        found = [t for t in self._world.templates_of("dialog360", account.owner) if t.name == name]
        if not found:
            return text_error(404, f"template name={name} not found")
        for template in found:
            self._world.delete_template(template)
        text = f"template name={name} was deleted"
        return Reply(200, {"meta": {"developer_message": text, "http_code": 200, "success": True}})

    def set_webhook(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`POST /v1/configs/webhook`: where callbacks go from now on, and with which headers."""
        wanted, url, headers = _webhook(body)
        account.webhook_url, account.webhook_headers = url, headers
        self._world.put_account(account)
        return Reply(200, wanted)

    def set_waba_webhook(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`POST /waba_webhook`: where template events go from now on."""
        wanted, url, headers = _webhook(body)
        account.waba_webhook = (url, headers)
        self._world.put_account(account)
        return Reply(200, wanted)

    def read_waba_webhook(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`GET /waba_webhook`."""
        url, headers = account.destination("message_template_status_update")
        return Reply(200, {"url": url, "headers": headers})

    def read_webhook(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """`GET /v1/configs/webhook`."""
        return Reply(200, {"url": account.webhook_url, "headers": account.webhook_headers})

    def unknown(self, request: web.Request, account: Account, body: bytes) -> Reply:
        """Unknown endpoints answer 403 at 360dialog."""
        return text_error(403, "The endpoint is blocked")


def _webhook(body: bytes) -> tuple[dict[str, Any], str, dict[str, str]]:
    try:
        wanted = json.loads(body)
    except ValueError:
        wanted = None
    if not isinstance(wanted, dict) or not isinstance(wanted.get("url"), str):
        raise _Refused(text_error(400, "Invalid webhook url"))
    parts, headers = urlsplit(wanted["url"]), wanted.get("headers", {})
    if parts.scheme not in ("http", "https") or not parts.hostname or "_" in parts.hostname:
        raise _Refused(text_error(400, "Invalid webhook url"))
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise _Refused(text_error(400, "Invalid webhook headers"))
    return wanted, wanted["url"], headers


def _filters(text: str) -> dict[str, Any]:
    try:
        filters = json.loads(text)
    except ValueError:
        filters = None
    if not isinstance(filters, dict):
        raise _Refused(text_error(400, "Invalid filters"))
    return filters


def _number(text: str, least: int) -> int:
    if not text.isdigit() or int(text) < least:
        raise _Refused(text_error(400, "Invalid paging"))
    return int(text)


def _public(template: Template) -> dict[str, Any]:
    reason = template.rejected_reason
    return {
        "category": template.category,
        "components": template.components,
        "external_id": template.id,
        "id": template.id,
        "language": template.language,
        "modified_at": iso_seconds(template.updated_at),
        "modified_by": {"user_id": "system", "user_name": "system"},
        "name": template.name,
        "namespace": "00000000_0000_0000_0000_000000000000",
        "quality_score": {"score": template.quality},
        "rejected_reason": None if reason == "NONE" else reason,
        "status": _LIST_STATUS.get(template.status, template.status.lower()),
    }
