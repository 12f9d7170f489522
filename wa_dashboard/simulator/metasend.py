"""Meta's check of a send request (also 360dialog's): format first, then the template's own places."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .graph import GraphError, missing, unexpected
from .shape import Shape, shown

_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}\Z")
_BAD_SPACE = re.compile(r"[\n\r\t]| {5,}")
_TOP = {
    "messaging_product", "recipient_type", "to", "recipient", "type", "template", "text", "context",
    "biz_opaque_callback_data", "recipient_identity_key_hash", "message_activity_sharing",
}  # fmt: skip
_MEDIA_FIELDS = {"id", "link", "filename", "caption"}
_SPECIAL = {"URL": "url", "QUICK_REPLY": "quick_reply", "COPY_CODE": "copy_code"}


@dataclass(frozen=True)
class Send:
    """A well-formed send: `template` is empty for a plain text."""

    to: str
    input: str
    opaque: str
    template: str
    language: str
    components: list[dict[str, Any]]
    text: str


def check_request(body: bytes) -> Send:
    """Everything that can be said without knowing the template. Raises GraphError."""
    try:
        data = json.loads(body)
    except ValueError:
        raise GraphError(100, "The request body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise GraphError(100, "The request body must be a JSON object.")
    for key in data:
        if key not in _TOP:
            raise unexpected(key, "messages")
    if data.get("messaging_product") != "whatsapp":
        raise GraphError(100, message="(#100) The parameter messaging_product is required.")
    if data.get("recipient_type", "individual") != "individual":
        raise GraphError(100, "Param recipient_type must be one of {INDIVIDUAL}.")
    number = data.get("to")
    if number is None:
        raise missing("to")
    if not isinstance(number, str) or not _NUMBER.match(number):
        raise GraphError(131009, "Param to is not a valid phone number.")
    opaque = data.get("biz_opaque_callback_data", "")
    if not isinstance(opaque, str) or len(opaque) > 512:
        raise GraphError(100, "Param biz_opaque_callback_data must be at most 512 characters long.")
    to = number if number[0] == "+" else "+" + number
    kind = data.get("type", "text")
    if kind == "text":
        return Send(to, number, opaque, "", "", [], _free_text(data))
    if kind != "template":
        raise GraphError(131051, f"Message type {kind!r} is not supported.")
    name, language, components = _template(data)
    return Send(to, number, opaque, name, language, components, "")


def _free_text(data: dict[str, Any]) -> str:
    text = data.get("text")
    if not isinstance(text, dict) or not isinstance(text.get("body"), str) or "template" in data:
        raise missing("text['body']")
    for key in text:
        if key not in ("body", "preview_url"):
            raise unexpected(key, "text")
    if not 1 <= len(text["body"]) <= 4096:
        raise GraphError(100, "Param text['body'] must be at most 4096 characters long.")
    return str(text["body"])


def _template(data: dict[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
    template = data.get("template")
    if not isinstance(template, dict):
        raise missing("template")
    if "text" in data:
        raise unexpected("text", "messages")
    for key in template:
        if key not in ("name", "language", "components"):
            raise unexpected(key, "template")
    name, language = template.get("name"), template.get("language")
    if not isinstance(name, str) or not name:
        raise missing("template['name']")
    if not isinstance(language, dict) or not isinstance(language.get("code"), str):
        raise missing("template['language']['code']")
    for key in language:
        if key not in ("code", "policy"):
            raise unexpected(key, "template['language']")
    if language.get("policy", "deterministic") != "deterministic":
        raise GraphError(100, "Param template['language']['policy'] must be one of {deterministic}.")
    components = template.get("components", [])
    if not isinstance(components, list):
        raise GraphError(100, "Param template['components'] must be an array.")
    for i, part in enumerate(components):
        _check_component(part, f"template['components'][{i}]")
    return name, language["code"], components


def _check_component(part: Any, where: str) -> None:
    if not isinstance(part, dict):
        raise GraphError(100, f"Param {where} must be a JSON object.")
    kind = part.get("type")
    if kind not in ("header", "body", "button"):
        raise GraphError(100, f"Param {where}['type'] must be one of {{header, body, button}}.")
    known = ("type", "parameters", "sub_type", "index") if kind == "button" else ("type", "parameters")
    for key in part:
        if key not in known:
            raise unexpected(key, where)
    parameters = part.get("parameters")
    if not isinstance(parameters, list) or not all(isinstance(p, dict) for p in parameters):
        raise missing(f"{where}['parameters']")


def hydrate(send: Send, shape: Shape, named: bool) -> dict[str, Any]:
    """What the person will see. Raises GraphError where the parameters do not fit the template."""
    header: dict[str, str] = {}
    body: dict[str, str] = {}
    urls: dict[int, dict[str, str]] = {}
    payloads: dict[int, str] = {}
    media = ""
    seen: set[str] = set()
    for part in send.components:
        kind = part["type"]
        spot = f"button {part.get('index')}" if kind == "button" else kind
        if spot in seen:
            raise GraphError(100, f"Component {spot} appears twice.")
        seen.add(spot)
        if kind == "body":
            body = _texts("body", part["parameters"], shape.body_variables, named)
        elif kind == "header":
            header, media = _header(part["parameters"], shape, named)
        else:
            _button(part, shape, urls, payloads)
    _nothing_missing(shape, seen, urls)
    result = shown(shape, header, body, urls, payloads, media)
    if len(result["text"]) > 1024 or len(result["header"]) > 60:
        raise GraphError(132005, "The text is too long once its parameters are filled in.")
    return result


def _nothing_missing(shape: Shape, seen: set[str], urls: dict[int, dict[str, str]]) -> None:
    if shape.body_variables and "body" not in seen:
        raise _count("body", 0, len(shape.body_variables))
    if "header" not in seen:
        if shape.header_variables:
            raise _count("header", 0, len(shape.header_variables))
        if shape.header_format not in ("", "TEXT"):
            raise GraphError(132012, f"header: Format mismatch, expected {shape.header_format}, received UNKNOWN")
    for i, button in enumerate(shape.buttons):
        if button.variable and i not in urls:
            raise GraphError(131008, f"buttons: Button at index {i} of type Url requires a parameter")
        if button.kind == "COPY_CODE" and f"button {i}" not in {str(s) for s in seen}:
            raise GraphError(131008, f"buttons: Button at index {i} of type CopyCode requires a parameter")


def _count(where: str, given: int, wanted: int) -> GraphError:
    return GraphError(
        132000,
        f"{where}: number of localizable_params ({given}) does not match the expected number of params ({wanted})",
    )


def _texts(where: str, parameters: list[dict[str, Any]], names: tuple[str, ...], named: bool) -> dict[str, str]:
    if len(parameters) != len(names):
        raise _count(where, len(parameters), len(names))
    values: dict[str, str] = {}
    for position, parameter in enumerate(parameters):
        if parameter.get("type") != "text":
            raise GraphError(132012, f"{where}: Format mismatch, expected TEXT, received {parameter.get('type')}")
        for key in parameter:
            if key not in ("type", "text", "parameter_name"):
                raise unexpected(key, f"{where}['parameters'][{position}]")
        name = parameter.get("parameter_name")
        if named and name not in names:
            raise GraphError(132012, f"{where}: Parameter name is missing or unknown: {name}")
        if not named and name is not None:
            raise GraphError(132012, f"{where}: the template has positional parameters, received name {name}")
        values[str(name) if named else str(position + 1)] = _value(parameter.get("text"))
    if len(values) != len(names):
        raise GraphError(132012, f"{where}: a parameter name appears twice")
    return values


def _value(text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise GraphError(131008, "Parameter of type text is missing text value")
    if _BAD_SPACE.search(text):
        raise GraphError(132018, "Param text cannot have new-line/tab characters or more than 4 consecutive spaces")
    return text


def _header(parameters: list[dict[str, Any]], shape: Shape, named: bool) -> tuple[dict[str, str], str]:
    wanted = shape.header_format
    if wanted in ("", "TEXT"):
        return _texts("header", parameters, shape.header_variables, named), ""
    if len(parameters) != 1:
        raise _count("header", len(parameters), 1)
    kind = str(parameters[0].get("type", "")).upper()
    value = parameters[0].get(kind.lower())
    if kind != wanted or not isinstance(value, dict):
        raise GraphError(132012, f"header: Format mismatch, expected {wanted}, received {kind or 'UNKNOWN'}")
    if kind == "LOCATION":
        if not {"latitude", "longitude"} <= value.keys() <= {"latitude", "longitude", "name", "address"}:
            raise GraphError(131008, "header: location needs latitude and longitude")
        return {}, f"{value['latitude']},{value['longitude']}"
    if not value.keys() <= _MEDIA_FIELDS or ("id" in value) == ("link" in value):
        raise GraphError(131009, "header: exactly one of id and link")
    link = value.get("link") or value.get("id")
    if not isinstance(link, str) or ("link" in value and not re.match(r"https?://", link)):
        raise GraphError(131009, "header: link is not a URL")
    return {}, link


def _button(part: dict[str, Any], shape: Shape, urls: dict[int, dict[str, str]], payloads: dict[int, str]) -> None:
    index, parameters = str(part.get("index", "")), part["parameters"]
    if not index.isdigit() or isinstance(part.get("index"), bool) or int(index) >= len(shape.buttons):
        raise GraphError(131009, f"buttons: there is no button at index {index}")
    button = shape.buttons[int(index)]
    if str(part.get("sub_type", "")).lower() != _SPECIAL.get(button.kind):
        raise GraphError(132012, f"buttons: Button at index {index} is of type {button.kind}")
    key = {"URL": "text", "QUICK_REPLY": "payload", "COPY_CODE": "coupon_code"}[button.kind]
    if len(parameters) != 1 or (button.kind == "URL" and not button.variable):
        raise _count(f"button {index}", len(parameters), 1 if button.variable or button.kind != "URL" else 0)
    value, kind = parameters[0].get(key), parameters[0].get("type")
    if kind != key or set(parameters[0]) != {"type", key}:
        raise GraphError(132012, f"buttons: Button at index {index} takes a parameter of type {key}")
    limit = {"text": 2000, "payload": 256, "coupon_code": 20}[key]
    if len(_value(value)) > limit:
        raise GraphError(131009, f"buttons: Button at index {index}: at most {limit} characters")
    if button.kind == "QUICK_REPLY":
        payloads[int(index)] = str(value)
    else:
        urls[int(index)] = {button.variable: str(value)}
