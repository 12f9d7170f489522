"""Bodies of the WhatsApp Cloud API (contracts.md §1.2, §1.3), spoken by Meta itself and by 360dialog."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..domain.text import T
from .codes_meta import CODES, SUBCODES
from .port import (
    Button,
    CannotBuild,
    Fault,
    Header,
    OutboundTemplate,
    Outcome,
    ProviderError,
    TemplateAnswer,
    TemplateDraft,
)
from .template_words import template_status_word
from .verdict import fault
from .wire import (
    FilePart,
    dig,
    filled,
    header_text,
    items_at,
    language_code,
    text_at,
    variables_of,
    with_examples,
    with_variables,
)

MOST_CALLBACK_DATA = 512
_USER_ID = re.compile(r"^[A-Z]{2}\.[A-Za-z0-9.]{1,128}$")
_BUTTON_TYPE = {"url": "url", "otp": "url", "quick_reply": "quick_reply", "copy_code": "copy_code"}


def send_body(message: OutboundTemplate) -> dict[str, Any]:
    """The body that sends a template. Raises CannotBuild when a value is missing."""
    if len(message.correlation_id) > MOST_CALLBACK_DATA:
        raise CannotBuild(T("The message's own id is too long to travel along."))
    template: dict[str, Any] = {
        "name": message.template_name,
        "language": {"code": language_code(message.language)},
    }
    components = [*_header_component(message), *_body_component(message), *_button_components(message)]
    if components:
        template["components"] = components
    addressed = {"recipient": message.to} if _USER_ID.match(message.to) else {"to": "+" + message.to.lstrip("+")}
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **addressed,
        "type": "template",
        "biz_opaque_callback_data": message.correlation_id,
        "template": template,
    }


def _positional(message: OutboundTemplate) -> bool:
    if any(kind == "otp" for _, kind, _ in message.button_variables):
        return True  # Meta writes the text of authentication templates itself, with {{1}}
    used = [*message.header_variables, *message.body_variables]
    return bool(used) and all(message.parameter_map.get(name, name).isdigit() for name in used)


def _text_parameters(message: OutboundTemplate, names: Iterable[str]) -> list[dict[str, str]]:
    unique = list(dict.fromkeys(names))
    if _positional(message):
        if all(message.parameter_map.get(name, "").isdigit() for name in unique):
            unique.sort(key=lambda name: int(message.parameter_map[name]))
        return [{"type": "text", "text": filled(message.parameters, name)} for name in unique]
    return [
        {
            "type": "text",
            "parameter_name": message.parameter_map.get(name, name),
            "text": filled(message.parameters, name),
        }
        for name in unique
    ]


def _header_component(message: OutboundTemplate) -> list[dict[str, Any]]:
    if message.header is not None and message.header.kind != "text":
        return [{"type": "header", "parameters": [_media(message.header)]}]
    if message.header_variables:
        return [{"type": "header", "parameters": _text_parameters(message, message.header_variables)}]
    return []


def _media(header: Header) -> dict[str, Any]:
    if header.kind == "location":
        return {"type": "location", "location": dict(header.location)}
    media: dict[str, str] = {"id": header.media_id} if header.media_id else {"link": header.link}
    if header.kind == "document" and header.filename:
        media["filename"] = header.filename
    if not (header.media_id or header.link):
        raise CannotBuild(T("The template needs a picture or document in its header."))
    return {"type": header.kind, header.kind: media}


FILE_NAMES = {
    "application/pdf": "file.pdf", "image/jpeg": "file.jpg", "image/png": "file.png", "video/mp4": "file.mp4",
    "video/3gpp": "file.3gp",
}  # fmt: skip


def media_part(content: bytes, mime_type: str) -> FilePart:
    """The form that uploads a file for messages (contracts.md §1.1). Its name is never shown: a document's is sent
    with each message."""
    fields = {"messaging_product": "whatsapp", "type": mime_type}
    return FilePart(fields, "file", FILE_NAMES.get(mime_type, "file"), mime_type, content)


def media_id(data: Any) -> str:
    """The id in the answer to an upload. Raises ProviderError when there is none."""
    found = text_at(data, "id")
    if not found or len(found) > 200:
        raise ProviderError(Outcome("ambiguous", "ambiguous", "no_answer", "the upload came without an id"))
    return found


def _body_component(message: OutboundTemplate) -> list[dict[str, Any]]:
    if not message.body_variables:
        return []
    return [{"type": "body", "parameters": _text_parameters(message, message.body_variables)}]


def _button_components(message: OutboundTemplate) -> list[dict[str, Any]]:
    components = [
        _button_component(index, "quick_reply", {"type": "payload", "payload": payload})
        for index, payload in message.button_payloads.items()
    ]
    for index, kind, name in message.button_variables:
        value = filled(message.parameters, name)
        if kind == "quick_reply":
            parameter = {"type": "payload", "payload": value}
        elif kind == "copy_code":
            parameter = {"type": "coupon_code", "coupon_code": value}
        else:
            parameter = {"type": "text", "text": value}
        components.append(_button_component(index, _BUTTON_TYPE.get(kind, kind), parameter))
    return sorted(components, key=lambda component: int(component["index"]))


def _button_component(index: int, sub_type: str, parameter: dict[str, str]) -> dict[str, Any]:
    return {"type": "button", "sub_type": sub_type, "index": str(index), "parameters": [parameter]}


def create_body(draft: TemplateDraft) -> dict[str, Any]:
    """The body that creates a template with named variables. Raises CannotBuild when a sample is missing."""
    body: dict[str, Any] = {
        "name": draft.name,
        "language": language_code(draft.language),
        "category": draft.category.upper(),
    }
    if is_authentication(draft):
        body["components"] = _authentication(draft)
    else:
        body["parameter_format"] = "NAMED"
        body["components"] = [*_draft_header(draft), _draft_text(draft), *_draft_footer(draft), *_draft_buttons(draft)]
    if draft.ttl_seconds is not None:
        body["message_send_ttl_seconds"] = draft.ttl_seconds
    return body


def is_authentication(draft: TemplateDraft) -> bool:
    return draft.category.lower() == "authentication"


def parameter_map(draft: TemplateDraft) -> dict[str, str]:
    """Our variables' names as Meta knows them: the same names, except for the code of an authentication template."""
    if is_authentication(draft):
        return dict.fromkeys(variables_of(draft.body) or ["code"], "1")
    urls = [button.url for button in draft.buttons]
    return {name: name for name in variables_of(header_text(draft.header), draft.body, *urls)}


def _authentication(draft: TemplateDraft) -> list[dict[str, Any]]:
    label = next((button.text for button in draft.buttons if button.kind in ("otp", "copy_code")), "Copy code")
    components: list[dict[str, Any]] = [{"type": "BODY", "add_security_recommendation": True}]
    if draft.code_expiration_minutes is not None:
        components.append({"type": "FOOTER", "code_expiration_minutes": draft.code_expiration_minutes})
    button = {"type": "OTP", "otp_type": "COPY_CODE", "text": label}
    return [*components, {"type": "BUTTONS", "buttons": [button]}]


def _draft_header(draft: TemplateDraft) -> list[dict[str, Any]]:
    header = draft.header
    if header is None or (header.kind == "text" and not header.text):
        return []
    if header.kind == "location":
        return [{"type": "HEADER", "format": "LOCATION"}]
    if header.kind != "text":
        sample = header.handle or header.link
        if not sample:
            raise CannotBuild(T("The header needs a sample file: give its address in the template's example."))
        return [{"type": "HEADER", "format": header.kind.upper(), "example": {"header_handle": [sample]}}]
    component: dict[str, Any] = {"type": "HEADER", "format": "TEXT", "text": _plain(header.text)}
    if names := variables_of(header.text):
        component["example"] = {"header_text_named_params": _samples(draft, names)}
    return [component]


def _draft_text(draft: TemplateDraft) -> dict[str, Any]:
    component: dict[str, Any] = {"type": "BODY", "text": _plain(draft.body)}
    if names := variables_of(draft.body):
        component["example"] = {"body_text_named_params": _samples(draft, names)}
    return component


def _draft_footer(draft: TemplateDraft) -> list[dict[str, Any]]:
    return [{"type": "FOOTER", "text": draft.footer}] if draft.footer else []


def _draft_buttons(draft: TemplateDraft) -> list[dict[str, Any]]:
    if not draft.buttons:
        return []
    return [{"type": "BUTTONS", "buttons": [_draft_button(draft, button) for button in draft.buttons]}]


def _draft_button(draft: TemplateDraft, button: Button) -> dict[str, Any]:
    if button.kind == "phone":
        return {"type": "PHONE_NUMBER", "text": button.text, "phone_number": button.phone}
    if button.kind == "copy_code":
        return {"type": "COPY_CODE", "example": button.example}
    if button.kind == "url":
        described: dict[str, Any] = {"type": "URL", "text": button.text, "url": button.url}
        if names := variables_of(button.url):
            described["url"] = with_variables(button.url, dict.fromkeys(names, "1"))
            described["example"] = [with_examples(button.url, draft.examples)]
        return described
    return {"type": "QUICK_REPLY", "text": button.text}


def _samples(draft: TemplateDraft, names: list[str]) -> list[dict[str, str]]:
    return [{"param_name": name, "example": filled(draft.examples, name)} for name in names]


def _plain(text: str) -> str:
    return with_variables(text, {})


def message_id(data: Any) -> str | None:
    """The wamid of a send answer; everything else in it may be missing (contracts.md §3)."""
    return text_at(data, "messages", 0, "id")


def graph_fault(data: Any) -> Fault | None:
    """The complaint in ``{"error": {"code": …}}``, or None.

    A subcode we know says more than code 100; what Meta wrote for people (``error_user_msg``) comes first.
    """
    error = dig(data, "error")
    code = text_at(error, "code")
    if code is None or not re.fullmatch(r"[0-9]{1,9}", code):
        return None
    subcode = text_at(error, "error_subcode") or ""
    if subcode in SUBCODES or subcode in CODES:
        code = subcode
    words = [
        text_at(error, *path)
        for path in (("error_user_title",), ("error_user_msg",), ("message",), ("error_data", "details"))
    ]
    trace = text_at(error, "fbtrace_id")
    detail = " · ".join(dict.fromkeys(word for word in words if word)) + (f" [fbtrace_id {trace}]" if trace else "")
    return fault(CODES, str(int(code)), detail)


def graph_fault_at(data: Any, status: int) -> Fault | None:
    """As ``graph_fault``; a code we do not know is a mistake of ours with 4xx and nobody knows what with 5xx."""
    found = graph_fault(data)
    if found is None or found.code in CODES or found.code in SUBCODES or 200 <= status < 500:
        return found
    return found._replace(error_class="ambiguous", scope="provider")


def template_answer(data: Any, name: str | None = None, language: str | None = None) -> TemplateAnswer:
    """A template as created or listed by Meta or 360dialog (status in either case)."""
    raw_status = text_at(data, "status") or ""
    reason = text_at(data, "rejected_reason")
    category, was, right = (text_at(data, key) for key in ("category", "previous_category", "correct_category"))
    quality = text_at(data, "quality_score", "score") or text_at(data, "quality_score")
    return TemplateAnswer(
        status=template_status_word(raw_status),
        external_id=text_at(data, "external_id") or text_at(data, "id"),
        category=category.lower() if category else None,
        parameter_map=_map_of_components(data),
        rejected_reason=None if reason in (None, "NONE", "none") else reason,
        raw_status=raw_status,
        quality=quality.lower() if quality and quality.upper() != "UNKNOWN" else None,
        name=text_at(data, "name") or name,
        language=language_code(text_at(data, "language") or language),
        raw=data if isinstance(data, dict) else {},
        previous_category=was.lower() if was else None,
        announced_category=right.lower() if right and right != category else None,
    )


def _map_of_components(data: Any) -> Mapping[str, str]:
    texts = []
    for component in items_at(data, "components"):
        texts.append(text_at(component, "text") or "")
        if (text_at(component, "type") or "").upper() != "BUTTONS":
            continue
        texts += [text_at(button, "url") or "" for button in items_at(component, "buttons")]
    return {name: name for name in variables_of(*texts)}
