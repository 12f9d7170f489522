"""A template taken apart once: what it wants filled in, and what the person then sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


@dataclass(frozen=True)
class ButtonShape:
    """`variable` is the name inside the URL, or empty. `kind` is Meta's upper-case button type."""

    kind: str
    text: str
    url: str
    variable: str


@dataclass(frozen=True)
class Shape:
    """Texts hold `{{name}}` places; the tuples hold the names in the order of the text, each once."""

    header_format: str
    header_text: str
    header_variables: tuple[str, ...]
    body_text: str
    body_variables: tuple[str, ...]
    footer: str
    buttons: tuple[ButtonShape, ...]


def variables_of(text: str) -> tuple[str, ...]:
    """Names between double braces in order of first appearance."""
    return tuple(dict.fromkeys(VARIABLE.findall(text)))


def shape_of(components: list[dict[str, Any]]) -> Shape:
    """The shape of checked components in Meta's form."""
    parts = {str(c["type"]).upper(): c for c in components}
    header = parts.get("HEADER", {})
    body = str(parts.get("BODY", {}).get("text", ""))
    header_text = str(header.get("text", ""))
    return Shape(
        header_format=str(header.get("format", "")).upper(),
        header_text=header_text,
        header_variables=variables_of(header_text),
        body_text=body,
        body_variables=variables_of(body),
        footer=str(parts.get("FOOTER", {}).get("text", "")),
        buttons=tuple(_button(b) for b in parts.get("BUTTONS", {}).get("buttons", [])),
    )


def _button(button: dict[str, Any]) -> ButtonShape:
    url = str(button.get("url", ""))
    names = variables_of(url)
    return ButtonShape(str(button["type"]).upper(), str(button.get("text", "")), url, names[0] if names else "")


def fill(text: str, values: dict[str, str]) -> str:
    """The text with its places filled; a place without a value stays as it is."""
    if "{{" not in text:
        return text
    return VARIABLE.sub(lambda m: values.get(m.group(1), m.group(0)), text)


def shown(
    shape: Shape,
    header: dict[str, str],
    body: dict[str, str],
    urls: dict[int, dict[str, str]],
    payloads: dict[int, str],
    media: str = "",
) -> dict[str, Any]:
    """What the phone draws: header, text, footer, buttons, each with its values."""
    return {
        "header": fill(shape.header_text, header),
        "header_format": shape.header_format,
        "media": media,
        "text": fill(shape.body_text, body),
        "footer": shape.footer,
        "buttons": [
            {
                "type": button.kind,
                "text": button.text,
                **({"url": fill(button.url, urls.get(i, {}))} if button.url else {}),
                **({"payload": payloads.get(i, button.text)} if button.kind == "QUICK_REPLY" else {}),
            }
            for i, button in enumerate(shape.buttons)
        ],
    }
