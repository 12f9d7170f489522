"""A template from our words into the providers' port."""

from dataclasses import replace
from typing import Any

from ..domain.media import MEDIA_PATH, name_in, split_link
from ..domain.rendering import VARIABLE, provider_name
from ..models import Template
from ..providers.base import (
    Button,
    CannotBuild,
    Header,
    Outcome,
    Provider,
    ProviderError,
    TemplateDraft,
)
from ..providers.wire import with_examples
from . import accounts, fetching


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
        examples=dict(template.examples) | _sample_path(template.header),
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
    link = _sample_link(header)
    base = split_link(link)[0] + "{{" + MEDIA_PATH + "}}" if link else ""
    return Header(header["format"], link=base, handle=str(example.get("handle") or ""))


def _sample_link(header: dict[str, Any]) -> str:
    """The address of the sample file: of the example, else the one every message carries."""
    example = header.get("example") or {}
    return str(example.get("link") or header.get("link") or "")


def _sample_path(header: dict[str, Any] | None) -> dict[str, str]:
    link = _sample_link(header or {})
    return {MEDIA_PATH: split_link(link)[1]} if link else {}


def with_sample(provider: Provider, draft: TemplateDraft) -> TemplateDraft:
    """The draft with the sample of its header as this provider wants it: a handle of the uploaded file, or its address.
    Opens connections. Raises ProviderError, CannotBuild."""
    header = draft.header
    if header is None or header.kind in ("text", "location") or header.handle or not header.link:
        return draft
    link = with_examples(header.link, draft.examples)
    if provider.samples_by_handle:
        return replace(draft, header=replace(header, handle=_handle(provider, link, header.kind), link=""))
    if provider.uploads_media:
        return replace(draft, header=replace(header, link=link))
    return draft


def _handle(provider: Provider, link: str, kind: str) -> str:
    try:
        file = fetching.fetch(link, kind, allowed=accounts.settings().media_hosts)
    except fetching.CannotFetch as problem:
        if problem.final:
            raise CannotBuild(problem.sentence) from problem
        raise ProviderError(Outcome("not_sent", "transient", problem.code, str(problem.sentence))) from problem
    return provider.upload_sample(file.content, file.mime_type, name_in(link) or "sample")


def _button(button: dict[str, Any]) -> Button:
    return Button(
        kind=button["type"],
        text=str(button.get("text") or ""),
        url=_braced(str(button.get("url") or "")),
        phone=str(button.get("phone") or ""),
        payload=str(button.get("payload") or ""),
        example=str(button.get("example") or ""),
    )
