"""Twilio's Content bodies and numbered variables (contracts.md §2.2, §2.3)."""

from typing import Any

from ..domain.media import MEDIA_PATH
from ..domain.text import T
from .codes_twilio import CODES
from .port import Button, CannotBuild, Fault, Header, OutboundTemplate, TemplateAnswer, TemplateDraft
from .template_words import template_status_word
from .verdict import fault
from .wire import dig, filled, header_text, language_code, text_at, variables_of, with_variables

_ACTION_TYPE = {"url": "URL", "phone": "PHONE_NUMBER", "quick_reply": "QUICK_REPLY", "copy_code": "COPY_CODE"}


def content_variables(message: OutboundTemplate) -> dict[str, str]:
    """Twilio's numbered keys with their values. Raises CannotBuild: a key left out would be filled with the
    template's own sample, which must never reach a person (contracts.md §2.2)."""
    buttons = [name for _, _, name in message.button_variables]
    file = [MEDIA_PATH] if MEDIA_PATH in message.parameter_map else []
    names = dict.fromkeys([*message.header_variables, *message.body_variables, *file, *buttons])
    keys = dict(message.parameter_map) or numbered(list(names))
    values = {keys.get(name, name): filled(message.parameters, name) for name in names}
    return dict(sorted(values.items(), key=lambda pair: (len(pair[0]), pair[0])))


def numbered(names: list[str]) -> dict[str, str]:
    """``{"first_name": "1", "event": "2"}`` in the order given."""
    return {name: str(position) for position, name in enumerate(names, 1)}


def parameter_map(draft: TemplateDraft) -> dict[str, str]:
    """Our variables' names and the numbers they get at Twilio: header, text, buttons, each name once."""
    if draft.category.lower() == "authentication":
        return numbered(variables_of(draft.body) or ["code"])
    urls = [text for button in draft.buttons for text in (button.url, button.payload)]
    media = draft.header.link if draft.header is not None and draft.header.kind != "text" else ""
    return numbered(variables_of(header_text(draft.header), draft.body, media, *urls))


def create_body(draft: TemplateDraft) -> dict[str, Any]:
    """The body that creates the content. Raises CannotBuild when a sample is missing."""
    keys = parameter_map(draft)
    authentication = draft.category.lower() == "authentication"
    samples = draft.examples if not authentication else {**dict.fromkeys(keys, "123456"), **draft.examples}
    body: dict[str, Any] = {
        "friendly_name": draft.name,
        "language": language_code(draft.language),
        "types": _authentication(draft) if authentication else _types(draft, keys),
    }
    if keys:
        body["variables"] = {number: filled(samples, name) for name, number in keys.items()}
    return body


def _authentication(draft: TemplateDraft) -> dict[str, Any]:
    label = next((button.text for button in draft.buttons if button.kind in ("otp", "copy_code")), "Copy code")
    content: dict[str, Any] = {
        "add_security_recommendation": True,
        "actions": [{"type": "COPY_CODE", "copy_code_text": label}],
    }
    if draft.code_expiration_minutes is not None:
        content["code_expiration_minutes"] = draft.code_expiration_minutes
    return {"whatsapp/authentication": content}


def _types(draft: TemplateDraft, keys: dict[str, str]) -> dict[str, Any]:
    """The plainest type that can hold the draft; only a card has a header, a footer or buttons of two kinds."""
    text = with_variables(draft.body, keys)
    kinds = {button.kind for button in draft.buttons}
    media = _sample(draft.header)
    mixed = "quick_reply" in kinds and len(kinds) > 1
    if draft.footer or header_text(draft.header) or mixed or (media and draft.buttons):
        return {"whatsapp/card": _card(draft, keys, text, media)}
    if media:
        return {"twilio/media": {"body": text, "media": [with_variables(media, keys)]}}
    if kinds == {"quick_reply"}:
        replies = [_reply(button, keys) for button in draft.buttons]
        return {"twilio/quick-reply": {"body": text, "actions": replies}}
    if kinds:
        return {"twilio/call-to-action": {"body": text, "actions": [_action(b, keys) for b in draft.buttons]}}
    return {"twilio/text": {"body": text}}


def _sample(header: Header | None) -> str:
    """The address of the header's picture or document. Raises CannotBuild: leaving it out would be another message."""
    if header is None or header.kind == "text":
        return ""
    if header.kind == "location":
        raise CannotBuild(T("Twilio has no templates with a place at the top. Put the place into the text."))
    if not header.link:
        raise CannotBuild(T("The header needs a sample file: give its address in the template's example."))
    return header.link


def _card(draft: TemplateDraft, keys: dict[str, str], text: str, media: str) -> dict[str, Any]:
    card: dict[str, Any] = {"body": text}
    if header := header_text(draft.header):
        card["header_text"] = with_variables(header, keys)
    if draft.footer:
        card["footer"] = draft.footer
    if media:
        card["media"] = [with_variables(media, keys)]
    if draft.buttons:
        card["actions"] = [_action(button, keys) for button in draft.buttons]
    return card


def _reply(button: Button, keys: dict[str, str]) -> dict[str, str]:
    reply = {"title": button.text}
    if button.payload:
        reply["id"] = with_variables(button.payload, keys)
    return reply


def _action(button: Button, keys: dict[str, str]) -> dict[str, str]:
    action = {"type": _ACTION_TYPE[button.kind], "title": button.text}
    if button.kind == "url":
        action["url"] = with_variables(button.url, keys)
    elif button.kind == "phone":
        action["phone"] = button.phone
    elif button.kind == "copy_code":
        action["code"] = button.example
    elif button.payload:
        action["id"] = with_variables(button.payload, keys)
    return action


def twilio_fault(data: Any, status: int) -> Fault | None:
    """The complaint in ``{"code": 21211, "message": …}``, or None."""
    code = text_at(data, "code")
    if code is None or not code.isascii() or not code.isdigit() or len(code) > 9:
        return None
    code = str(int(code))
    words = (text_at(data, key) for key in ("message", "detail"))
    unknown = "ambiguous" if status >= 500 else "request"
    return fault(CODES, code, " · ".join(dict.fromkeys(word for word in words if word)), unknown)


def approval_answer(content: Any, approval: Any) -> TemplateAnswer:
    """A content and its WhatsApp approval as a template."""
    raw_status = text_at(approval, "status") or "unsubmitted"
    category = text_at(approval, "category")
    category = {"transactional": "utility"}.get(category.lower(), category.lower()) if category else None
    variables = dig(content, "variables")
    return TemplateAnswer(
        status=template_status_word(raw_status),
        external_id=text_at(content, "sid"),
        category=category,
        parameter_map={key: key for key in variables} if isinstance(variables, dict) else {},
        rejected_reason=text_at(approval, "rejection_reason"),
        raw_status=raw_status,
        name=text_at(approval, "name") or text_at(content, "friendly_name"),
        language=language_code(text_at(content, "language")),
        raw=content if isinstance(content, dict) else {},
    )
