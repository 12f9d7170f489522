"""A template from our words into the providers' port."""

from typing import Any

from ..domain.rendering import VARIABLE, provider_name
from ..models import Template
from ..providers.base import Button, Header, TemplateDraft


def to_provider_draft(template: Template) -> TemplateDraft:
    """The version as the providers' port wants it: variables in double braces, named per version."""
    otp = next((button for button in template.buttons if button.get("type") == "otp"), {})
    return TemplateDraft(
        name=provider_name(template.name, template.version),
        language=template.language,
        category=template.category,
        body=_braced(template.body),
        header=_header(template.header),
        footer=template.footer or "",
        buttons=[_button(button) for button in template.buttons],
        examples=dict(template.examples),
        type=template.type,
        ttl_seconds=template.ttl_seconds,
        code_expiration_minutes=otp.get("code_expiration_minutes"),
    )


def _braced(text: str) -> str:
    return VARIABLE.sub(r"{{\1}}", text)


def _header(header: dict[str, Any] | None) -> Header | None:
    if not header:
        return None
    if header["format"] == "text":
        return Header("text", text=_braced(str(header.get("text") or "")))
    example = header.get("example") or {}
    return Header(header["format"], link=str(example.get("link") or ""), handle=str(example.get("handle") or ""))


def _button(button: dict[str, Any]) -> Button:
    return Button(
        kind=button["type"],
        text=str(button.get("text") or ""),
        url=_braced(str(button.get("url") or "")),
        phone=str(button.get("phone") or ""),
        payload=str(button.get("payload") or ""),
        example=str(button.get("example") or ""),
    )
