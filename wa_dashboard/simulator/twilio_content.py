"""Twilio's Content API: `/twilio-content/v1/Content…`, JSON, templates that are polled and never announced."""

# Every answer takes what the router gives, used or not.
# ruff: noqa: ARG002
from __future__ import annotations

import json
import secrets
from typing import Any

from aiohttp import web

from .door import Reply, plain_door
from .graph import GraphError
from .records import Account, Template
from .rules import CATEGORIES, LANGUAGES, NAME, check_components
from .times import iso_seconds, now
from .twilio_common import TwilioError, authenticated, guarded
from .world import World

_TYPES = {
    "twilio/text": {"body"},
    "twilio/media": {"body", "media"},
    "twilio/quick-reply": {"body", "actions"},
    "twilio/call-to-action": {"body", "actions"},
    "twilio/card": {"title", "subtitle", "media", "actions"},
    "whatsapp/card": {"body", "footer", "media", "header_text", "actions"},
    "whatsapp/authentication": {"add_security_recommendation", "code_expiration_minutes", "actions"},
}
_REQUIRED = {
    "twilio/text": {"body"}, "twilio/media": {"media"}, "twilio/quick-reply": {"body", "actions"},
    "twilio/call-to-action": {"body", "actions"}, "twilio/card": {"title"}, "whatsapp/card": {"body"},
    "whatsapp/authentication": {"actions"},
}  # fmt: skip
_ACTION_FIELDS = {"type", "title", "url", "phone", "code", "id", "copy_code_text"}
_ACTION_TYPES = {"URL", "PHONE_NUMBER", "COPY_CODE", "QUICK_REPLY"}


class ContentDoor:
    """Routes under `/twilio-content`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""

        def plain(answer: Any) -> Any:
            return plain_door(self._world, "twilio", guarded(answer))

        one = r"/twilio-content/v1/Content/{sid:HX[0-9a-fA-F]{32}}"
        return [
            web.post("/twilio-content/v1/Content", plain(self.create)),
            web.get("/twilio-content/v1/Content", plain(self.list_contents)),
            web.get("/twilio-content/v1/ContentAndApprovals", plain(self.list_contents)),
            web.get(one, plain(self.fetch)),
            web.put(one, plain(self.update)),
            web.delete(one, plain(self.delete)),
            web.post(one + "/ApprovalRequests/whatsapp", plain(self.submit)),
            web.get(one + "/ApprovalRequests", plain(self.approval)),
            web.route("*", "/twilio-content/{rest:.*}", plain(self.unknown)),
        ]

    def create(self, request: web.Request, body: bytes) -> Reply:
        """`POST /v1/Content`: the template exists, nothing is under review yet."""
        account = authenticated(self._world, request)[0]
        template = Template(
            provider="twilio", owner=account.key, id="HX" + secrets.token_hex(16), category="", status="UNSUBMITTED",
            created_at=now(), updated_at=now(), **_content(request, body),
        )  # fmt: skip
        self._world.put_template(template)
        return Reply(201, _content_json(request, template))

    def update(self, request: web.Request, body: bytes) -> Reply:
        """`PUT /v1/Content/{HX}`: only while nobody has been asked to approve it."""
        template = self._template(request)
        if template.status != "UNSUBMITTED":
            raise TwilioError(92001, "this content was submitted to WhatsApp and does not change any more")
        for name, value in _content(request, body, template.language).items():
            setattr(template, name, value)
        template.updated_at = now()
        self._world.put_template(template)
        return Reply(200, _content_json(request, template))

    def _template(self, request: web.Request) -> Template:
        owners = {a.key for a in authenticated(self._world, request)}
        template = self._world.templates.get(request.match_info["sid"])
        if template is None or template.owner not in owners or template.status == "DELETED":
            raise TwilioError(20404)
        return template

    def fetch(self, request: web.Request, body: bytes) -> Reply:
        """`GET /v1/Content/{HX}`."""
        return Reply(200, _content_json(request, self._template(request)))

    def delete(self, request: web.Request, body: bytes) -> Reply:
        """`DELETE /v1/Content/{HX}`: also takes the WhatsApp template away."""
        self._world.delete_template(self._template(request))
        return Reply(204, None)

    def submit(self, request: web.Request, body: bytes) -> Reply:
        """`POST …/ApprovalRequests/whatsapp`. What breaks WhatsApp's rules is rejected by the review, in prose."""
        template = self._template(request)
        wanted = _object(request, body, {"name", "category", "allow_category_change"})
        name, category = wanted.get("name"), wanted.get("category")
        if not isinstance(name, str) or not NAME.match(name):
            raise TwilioError(92001, "name must be lower-case letters, digits and underscores")
        if category not in CATEGORIES:
            raise TwilioError(92001, f"category must be one of {', '.join(CATEGORIES)}")
        if template.status != "UNSUBMITTED":
            raise TwilioError(92001, "this content was already submitted to WhatsApp")
        finding = self._finding(template, name, category)
        template.name, template.category = name, category
        template.content["approval_name"] = name
        self._world.submit(template, finding)
        return Reply(201, {**_approval_json(template), "status": "received"})

    def _finding(self, template: Template, name: str, category: str) -> str:
        """Why the review will reject it, or an empty text."""
        for other in self._world.templates_of("twilio", template.owner):
            taken = other.content.get("approval_name") == name and other.language == template.language
            if other is not template and taken and other.status not in ("REJECTED", "UNSUBMITTED"):
                return "INVALID_FORMAT: Content in this language already exists"
        fixed_text = template.content["kind"] == "whatsapp/authentication"
        if fixed_text != (category == "AUTHENTICATION"):
            return "INCORRECT_CATEGORY: The category does not fit the content type"
        if fixed_text:
            return ""
        parts = [dict(part) for part in template.components]
        try:
            check_components(parts, category, template.parameter_format, samples=template.content["variables"])
        except GraphError as error:
            return f"INVALID_FORMAT: {error.user_msg or error.details or error}"
        return ""

    def approval(self, request: web.Request, body: bytes) -> Reply:
        """`GET …/ApprovalRequests`."""
        template = self._template(request)
        answer = {
            "sid": template.id,
            "account_sid": template.owner,
            "whatsapp": {"type": "whatsapp", **_approval_json(template)},
            "url": _url(request, f"/v1/Content/{template.id}/ApprovalRequests"),
        }
        return Reply(200, answer)

    def list_contents(self, request: web.Request, body: bytes) -> Reply:
        """`GET /v1/Content` and `GET /v1/ContentAndApprovals` with PageSize and Page."""
        account: Account = authenticated(self._world, request)[0]
        approvals = request.path.endswith("ContentAndApprovals")
        size, page = request.query.get("PageSize", "50"), request.query.get("Page", "0")
        if not size.isdigit() or not page.isdigit() or not 1 <= int(size) <= 1000:
            raise TwilioError(20001, "paging")
        rows = self._world.templates_of("twilio", account.key)
        start = int(page) * int(size)
        contents = []
        for template in rows[start : start + int(size)]:
            item = _content_json(request, template)
            if approvals:
                item = {k: v for k, v in item.items() if k not in ("url", "links")}
                item["approval_requests"] = _approval_json(template)
            contents.append(item)

        def url(number: int) -> str:
            path = request.path.removeprefix("/twilio-content")
            return _url(request, f"{path}?PageSize={size}&Page={number}")

        meta = {
            "page": int(page), "page_size": int(size), "first_page_url": url(0), "url": url(int(page)),
            "previous_page_url": url(int(page) - 1) if int(page) else None, "key": "contents",
            "next_page_url": url(int(page) + 1) if len(rows) > start + int(size) else None,
        }  # fmt: skip
        return Reply(200, {"contents": contents, "meta": meta})

    def unknown(self, request: web.Request, body: bytes) -> Reply:
        """Any other path or method."""
        raise TwilioError(20404)


def _object(request: web.Request, body: bytes, known: set[str]) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise TwilioError(92001, "Content-Type must be application/json")
    try:
        wanted = json.loads(body)
    except ValueError:
        raise TwilioError(92001, "not valid JSON") from None
    if not isinstance(wanted, dict):
        raise TwilioError(92001, "not a JSON object")
    for key in wanted:
        if key not in known:
            raise TwilioError(20001, key)
    return wanted


def _content(request: web.Request, body: bytes, language: str | None = None) -> dict[str, Any]:
    """The fields of a template that a content decides; ``language`` stands in where an update names none."""
    wanted = _object(request, body, {"friendly_name", "language", "variables", "types"})
    variables, language = wanted.get("variables", {}), wanted.get("language", language)
    if not isinstance(language, str) or language not in LANGUAGES:
        raise TwilioError(92001, "language")
    if not isinstance(variables, dict) or not all(isinstance(v, str) for v in variables.values()):
        raise TwilioError(92001, "variables")
    kind, value = _type_of(wanted.get("types"))
    return {
        "name": str(wanted.get("friendly_name", "")),
        "language": language,
        "components": _components(kind, value, variables),
        "parameter_format": "POSITIONAL" if all(key.isdigit() for key in variables) else "NAMED",
        "content": {
            "friendly_name": wanted.get("friendly_name"),
            "variables": variables,
            "types": wanted["types"],
            "payloads": [action.get("id", "") for action in value.get("actions", [])],
            "kind": kind,
            "media": (value.get("media") or [""])[0],
        },
    }


def _type_of(types: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(types, dict) or not types:
        raise TwilioError(92001, "types")
    for kind, value in types.items():
        if kind not in _TYPES:
            raise TwilioError(92001, f"type {kind}")
        if not isinstance(value, dict) or not _REQUIRED[kind] <= value.keys() <= _TYPES[kind]:
            raise TwilioError(92001, f"fields of {kind}")
        actions = value.get("actions", [])
        if not isinstance(actions, list) or any(
            not isinstance(a, dict) or not a.keys() <= _ACTION_FIELDS for a in actions
        ):
            raise TwilioError(92001, f"actions of {kind}")
        default = "QUICK_REPLY" if kind == "twilio/quick-reply" else ""
        if any(a.get("type", default) not in _ACTION_TYPES for a in actions):
            raise TwilioError(92001, f"action types of {kind}")
        media = value.get("media", [])
        if not isinstance(media, list) or not all(isinstance(m, str) for m in media):
            raise TwilioError(92001, f"media of {kind}")
        for key in ("body", "title", "subtitle", "footer", "header_text"):
            if key in value and not isinstance(value[key], str):
                raise TwilioError(92001, f"{key} of {kind}")
    richest = max(types, key=lambda k: (k.startswith("whatsapp/"), k != "twilio/text"))
    return richest, types[richest]


def _components(kind: str, value: dict[str, Any], variables: dict[str, str]) -> list[dict[str, Any]]:
    """The content in Meta's form, for rules and for the phone."""
    if kind == "whatsapp/authentication":
        advice = " For your security, do not share this code." if value.get("add_security_recommendation") else ""
        parts: list[dict[str, Any]] = [{"type": "BODY", "text": "*{{1}}* is your verification code." + advice}]
        if value.get("code_expiration_minutes"):
            minutes = value["code_expiration_minutes"]
            parts.append({"type": "FOOTER", "text": f"This code expires in {minutes} minutes."})
        texts = [a.get("copy_code_text") or "Copy code" for a in value["actions"]]
        return [*parts, {"type": "BUTTONS", "buttons": [{"type": "URL", "text": t,
                "url": "https://www.whatsapp.com/otp/code/?code=otp{{1}}"} for t in texts]}]  # fmt: skip
    out: list[dict[str, Any]] = []
    if value.get("header_text"):
        out.append({"type": "HEADER", "format": "TEXT", "text": value["header_text"]})
    elif value.get("media"):
        out.append({"type": "HEADER", "format": _media_format(value["media"][0], variables)})
    out.append({"type": "BODY", "text": value.get("body") or value.get("title") or ""})
    footer = value.get("footer") or value.get("subtitle")
    if footer:
        out.append({"type": "FOOTER", "text": footer})
    if value.get("actions"):
        out.append({"type": "BUTTONS", "buttons": [_as_button(a) for a in value["actions"]]})
    return out


def _media_format(link: str, variables: dict[str, str]) -> str:
    """By the whole address of the sample, as Twilio's reviewers see it."""
    for name, sample in variables.items():
        link = link.replace("{{" + name + "}}", sample)
    ending = link.split("?")[0].rsplit(".", 1)[-1].lower()
    return {"pdf": "DOCUMENT", "mp4": "VIDEO", "3gp": "VIDEO"}.get(ending, "IMAGE")


def _as_button(action: dict[str, Any]) -> dict[str, Any]:
    kind = action.get("type", "QUICK_REPLY")
    if kind == "COPY_CODE":
        return {"type": kind, "example": action.get("code", "")}
    button = {"type": kind, "text": action.get("title", "")}
    if kind == "URL":
        button["url"] = action.get("url", "")
    if kind == "PHONE_NUMBER":
        button["phone_number"] = action.get("phone", "")
    return button


def _url(request: web.Request, path: str) -> str:
    return f"{request.scheme}://{request.host}/twilio-content{path}"


def _content_json(request: web.Request, template: Template) -> dict[str, Any]:
    own = f"/v1/Content/{template.id}"
    return {
        "sid": template.id,
        "account_sid": template.owner,
        "friendly_name": template.content.get("friendly_name"),
        "language": template.language,
        "variables": template.content["variables"],
        "types": template.content["types"],
        "url": _url(request, own),
        "date_created": iso_seconds(template.created_at),
        "date_updated": iso_seconds(template.updated_at),
        "links": {
            "approval_create": _url(request, own + "/ApprovalRequests/whatsapp"),
            "approval_fetch": _url(request, own + "/ApprovalRequests"),
        },
    }


def _approval_json(template: Template) -> dict[str, Any]:
    reason = template.rejected_reason if template.status == "REJECTED" else ""
    return {
        "name": template.content.get("approval_name", ""),
        "category": template.category,
        "content_type": template.content["kind"],
        "status": template.status.lower(),
        "rejection_reason": reason,
        "allow_category_change": True,
    }
