"""What Meta's Cloud API does behind either door, its own and 360dialog's: take sends, take template drafts."""

from __future__ import annotations

import json
from typing import Any

from .graph import GraphError
from .hookforms import new_wamid
from .metasend import Send, check_request, hydrate
from .records import Account, Message, Template, digits
from .rules import check_draft, wrong
from .times import now
from .world import World, numeric_id

_DELETED_NAME_BLOCKED_S = 30 * 86_400


def accept_send(world: World, account: Account, body: bytes) -> tuple[Send, Message]:
    """Checks a send against format, recipient and template, and takes it up. Raises GraphError.

    Used for Meta and for 360dialog, whose messages are Meta's.
    """
    send = check_request(body)
    if digits(send.to) == digits(account.phone):
        raise GraphError(131021)
    shown: dict[str, Any] = {"text": send.text, "buttons": []}
    category, problem = "SERVICE", 0
    if send.template:
        template = _sendable(world, account, send)
        shown = hydrate(send, world.shape(template), template.parameter_format == "NAMED")
        _look_up_file(world, account, send, shown)
        category = template.category
        if category == "MARKETING" and world.is_stopped(account, send.to):
            problem = 131050
    elif not world.window_open(account, send.to):
        problem = 131047
    message = Message(
        provider=account.provider, account=account.key, id=new_wamid(send.to), correlation_id=send.opaque,
        recipient=send.to, template=send.template, language=send.language, category=category, at=now(),
        status="accepted", shown=shown, script=[], sender=account.phone,
    )  # fmt: skip
    return send, world.accept(account, message, problem)


def _look_up_file(world: World, account: Account, send: Send, shown: dict[str, Any]) -> None:
    """A header that names an uploaded file: does the account have it? What the phone shows is its name."""
    for part in send.components:
        if part["type"] != "header":
            continue
        kind = str(part["parameters"][0].get("type", "")) if part["parameters"] else ""
        value = part["parameters"][0].get(kind) if kind in ("image", "video", "document") else None
        if not isinstance(value, dict):
            continue
        if "id" in value:
            stored = world.files.usable(account.key, str(value["id"]), kind.upper())
            shown["media"] = ""  # an id has no name that anybody sees
            shown["media_sha256"] = stored.sha256
        else:
            shown["media"] = value["link"].split("?")[0].rsplit("/", 1)[-1]
        if value.get("filename"):
            shown["media"] = str(value["filename"])


def _sendable(world: World, account: Account, send: Send) -> Template:
    template = world.template(account.provider, account.owner, send.template, send.language)
    if template is not None and template.status == "PAUSED":
        raise GraphError(132015, f"Template {send.template} is paused because of low quality.")
    if template is not None and template.status == "DISABLED":
        raise GraphError(132016, f"Template {send.template} is disabled.")
    if template is None or not template.sendable:
        raise GraphError(132001, f"template name ({send.template}) does not exist in {send.language}")
    return template


def create_template(world: World, provider: str, owner: str, body: bytes) -> Template:
    """Checks a draft against Meta's rules and puts it under review. Raises GraphError."""
    draft = check_draft(parsed(body))
    living = world.templates_of(provider, owner)
    name, language, category = draft["name"], draft["language"], draft["category"]
    if len(living) >= world.settings.templates_per_account:
        raise wrong(2388019, "Too many templates", "This account has reached its limit of message templates.")
    deleted = world.deleted_names.get(f"{provider}/{owner}/{name}", 0.0)
    if now() - deleted < _DELETED_NAME_BLOCKED_S:
        raise wrong(2388023, "The name is being deleted", f"New content for {name} can't be added for 30 days.")
    same_name = [t for t in living if t.name == name]
    if any(t.language == language for t in same_name):
        raise wrong(2388023, "Content already exists", f"There is already {language} content for {name}.")
    if any(t.category != category for t in same_name):
        raise GraphError(100, f"Param category must be {same_name[0].category}: one name has one category.")
    template = Template(
        provider=provider, owner=owner, id=numeric_id(), name=name, language=language, category=category,
        status="PENDING", components=draft["components"], parameter_format=draft["parameter_format"],
        created_at=now(), updated_at=now(), ttl_seconds=draft.get("message_send_ttl_seconds"),
    )  # fmt: skip
    if world.settings.reject_duplicates and category != "AUTHENTICATION" and _same_text(world, template, living):
        template.status, template.rejected_reason = "REJECTED", "INVALID_FORMAT"
        world.put_template(template)
    else:
        world.submit(template)
    return template


def _same_text(world: World, template: Template, living: list[Template]) -> bool:
    def text(t: Template) -> tuple[str, str]:
        shape = world.shape(t)
        return shape.body_text, shape.footer

    wanted = text(template)
    return any(t.status != "REJECTED" and text(t) == wanted for t in living)


def parsed(body: bytes) -> Any:
    """The request's JSON. Raises GraphError."""
    try:
        return json.loads(body)
    except ValueError:
        raise GraphError(100, "The request body is not valid JSON.") from None
