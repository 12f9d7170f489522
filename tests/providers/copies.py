"""Other people's requests, wished again through our adapters: where the wish is one of ours, the same comes out."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from wa_dashboard.providers.base import Button, Header, OutboundTemplate, Provider, TemplateDraft
from wa_dashboard.providers.meta_bodies import create_body

from .far_end import far_end, ok
from .oracle import lower_enums, problems_of
from .oracle_twilio import openapi_problems
from .samples import account
from .seen import VARIABLE, Seen


class NotOurs(Exception):
    """The request wants something this product does not offer; the text says what."""


SAME, OTHERWISE = "right, and ours is the same", "right, not ours: "


def creation_verdict(body: dict[str, Any]) -> str:
    try:
        ours = lower_enums(create_body(draft_of(lower_enums(body))))
    except NotOurs as why:
        return f"{OTHERWISE}{why}"
    theirs = {key: value for key, value in lower_enums(body).items() if key != "allow_category_change"}
    if "parameter_format" not in theirs:
        ours = numbered(ours)
    assert ours == theirs, f"{json.dumps(ours)} != {json.dumps(theirs)}"
    return SAME


def draft_of(body: dict[str, Any]) -> TemplateDraft:
    """The draft from which a creation came, its enum words in lower case. Raises NotOurs."""
    parts = {part["type"]: part for part in body["components"]}
    if strange := sorted(parts.keys() - {"header", "body", "footer", "buttons"}):
        raise NotOurs(", ".join(strange))
    header, text, footer = (parts.get(kind, {}) for kind in ("header", "body", "footer"))
    examples: dict[str, str] = {}
    top = None
    if header:
        if header["format"] not in ("text", "image", "video", "document", "location"):
            raise NotOurs(f"a header with a {header['format']}")
        handle = header.get("example", {}).get("header_handle", [""])[0]
        top = Header(header["format"], text=named(header, "h", examples), handle=handle)
    return TemplateDraft(
        name=body["name"],
        language=body["language"],
        category=body["category"],
        body=named(text, "b", examples),
        header=top,
        footer=footer.get("text", ""),
        buttons=tuple(button_of(button, examples) for button in parts.get("buttons", {}).get("buttons", [])),
        examples=examples,
        ttl_seconds=body.get("message_send_ttl_seconds"),
        code_expiration_minutes=footer.get("code_expiration_minutes"),
    )


def named(part: dict[str, Any], prefix: str, examples: dict[str, str]) -> str:
    """The part's text with names for its variables; ``examples`` gets their samples."""
    sample = part.get("example", {})
    for kind in ("header_text_named_params", "body_text_named_params"):
        examples |= {entry["param_name"]: entry["example"] for entry in sample.get(kind, [])}
    values = sample.get("header_text") or (sample.get("body_text") or [[]])[0]
    examples |= {f"{prefix}{place}": value for place, value in enumerate(values, 1)}
    name = lambda found: "{{" + (prefix + found[1] if found[1].isdigit() else found[1]) + "}}"  # noqa: E731
    return VARIABLE.sub(name, part.get("text", ""))


def button_of(button: dict[str, Any], examples: dict[str, str]) -> Button:
    kind, text = button["type"], button.get("text", "")
    if kind == "otp" and button["otp_type"] == "copy_code":
        return Button("otp", text)
    if kind == "url" and "app_deep_link" not in button and "{{" not in button["url"]:
        return Button("url", text, url=button["url"])
    if kind == "phone_number":
        return Button("phone", text, phone=button["phone_number"])
    if kind == "quick_reply":
        return Button("quick_reply", text)
    raise NotOurs(f"a button {'for an app' if 'app_deep_link' in button else button.get('otp_type', kind)}")


def numbered(body: dict[str, Any]) -> dict[str, Any]:
    """A creation with named variables as it would be with numbered ones."""
    parts = []
    for given in body["components"]:
        part = dict(given)
        names = list(dict.fromkeys(VARIABLE.findall(part.get("text", ""))))
        if names:
            sample = part["example"][f"{part['type']}_text_named_params"]
            values = [entry["example"] for entry in sample]
            part["text"] = VARIABLE.sub(lambda found, n=names: "{{" + str(n.index(found[1]) + 1) + "}}", part["text"])
            part["example"] = {"header_text": values} if part["type"] == "header" else {"body_text": [values]}
        parts.append(part)
    return {key: value for key, value in {**body, "components": parts}.items() if key != "parameter_format"}


def sending_verdict(kind: type[Provider], body: dict[str, Any]) -> str:
    try:
        request = account(kind).build_send(message_of(body))
    except NotOurs as why:
        return f"{OTHERWISE}{why}"
    ours, theirs = json.loads(request.body), json.loads(json.dumps(body))
    assert problems_of(account(kind), Seen.built(request)) == []
    theirs["template"]["language"].pop("policy", None)
    theirs["to"] = "+" + theirs["to"].removeprefix("+")
    ours.pop("biz_opaque_callback_data")
    assert ours == theirs, f"{json.dumps(ours)} != {json.dumps(theirs)}"
    return SAME


def message_of(body: dict[str, Any]) -> OutboundTemplate:
    """The message from which a send came. Raises NotOurs."""
    if body["type"] != "template":
        raise NotOurs(f"free {body['type']}")
    values: dict[str, str] = {}
    where: dict[str, list[str]] = {"header": [], "body": []}
    keys: dict[str, str] = {}
    header = None
    for part in body["template"].get("components", []):
        if part["type"] not in where:
            raise NotOurs(f"{part['type']} {str(part.get('sub_type', '')).lower()}".strip())
        for place, given in enumerate(part["parameters"], 1):
            kind = given["type"]
            if kind == "text":
                name = given.get("parameter_name") or f"{part['type'][0]}{place}"
                keys[name] = given.get("parameter_name") or str(place)
                values[name] = given["text"]
                where[part["type"]].append(name)
            elif kind in ("image", "video", "document"):
                media = given[kind]
                header = Header(kind, link=media.get("link", ""), media_id=media.get("id", ""))
            else:
                raise NotOurs(f"a header with a {kind}")
    return OutboundTemplate(
        correlation_id="msg_01.1",
        to=body["to"],
        template_name=body["template"]["name"],
        language=body["template"]["language"]["code"],
        parameters=values,
        header_variables=where["header"],
        body_variables=where["body"],
        parameter_map=keys,
        header=header,
    )


def twilio_verdict(kind: type[Provider], raw: bytes, form: dict[str, str]) -> str:
    provider = account(kind, **{"from": form["From"], "messaging_service_sid": form["MessagingServiceSid"]})
    variables = json.loads(form.get("ContentVariables", "{}"))
    message = OutboundTemplate(
        correlation_id="msg_01.1",
        to=form["To"].removeprefix("whatsapp:"),
        template_name="-",
        language="-",
        parameters=variables,
        body_variables=list(variables),
        parameter_map={key: key for key in variables},
        external_id=form.get("ContentSid", "HX" + "0" * 32),
    )
    request = provider.build_send(message)
    theirs = Seen("POST", request.url, {k.lower(): v for k, v in request.headers.items()}, raw)
    assert openapi_problems(theirs, "twilio_messages.subset.json") == []
    if "ContentSid" not in form:
        return f"{OTHERWISE}free text"
    ours = dict(parse_qsl(request.body.decode()))
    callback = re.compile(r"^https://[^_/]+/")
    assert callback.match(form.pop("StatusCallback"))
    for told in (ours, form):
        told["ContentVariables"] = json.loads(told["ContentVariables"])
    assert ours == form, f"{ours} != {form}"
    return SAME


def registration_verdict(kind: type[Provider], body: dict[str, Any]) -> str:
    with far_end(ok({})) as (base, seen):
        account(kind, base).register_webhook(body["url"])
    ours = json.loads(seen[0].partition(b"\r\n\r\n")[2])
    assert ours.keys() == body.keys()
    assert ours["url"] == body["url"]
    return "right, and ours is the same but for the header that proves it"
