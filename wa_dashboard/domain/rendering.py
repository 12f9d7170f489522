"""Message texts and their variables, written ``{first_name}``.

Our own parser of one pattern, on purpose: ``str.format`` and template languages would let the author of a text
walk Python objects or ask for megabytes of padding. Everything that is not exactly a variable stays as it is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

VARIABLE = re.compile(r"(?<!\{)\{([a-z][a-z0-9_]{0,63})\}(?!\})")
LONGEST_VALUE = 1024  # characters; no part of a WhatsApp template is longer
LONGEST_TEXT = 4096  # characters of a filled text, the most WhatsApp shows

_BREAK = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]")
_GAP = re.compile(r" {5,}")


class MissingVariable(ValueError):
    """A text was filled without a value for every variable. ``names``: all that are missing, in order."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)


class Written(Protocol):
    """What a template consists of (`models.Template` and `TemplateText` are two)."""

    @property
    def language(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def header(self) -> Mapping[str, Any] | None: ...
    @property
    def body(self) -> str: ...
    @property
    def footer(self) -> str | None: ...
    @property
    def buttons(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class TemplateText:
    """A template as its author writes it; members as in ``POST /api/wa/templates`` (api.md §5.1).

    ``header``: ``{"format": "text", "text"}`` or ``{"format": "document"|"image"|"video"|"location", "example"?}``.
    ``buttons``: ``{"type": "url"|"quick_reply"|"phone"|"copy_code"|"otp", "text", …}``; the ``otp`` button of a
    code message carries ``code_expiration_minutes``. ``examples``: one sample for each variable.
    """

    name: str
    type: str
    language: str
    category: str
    body: str
    header: dict[str, Any] | None = None
    footer: str | None = None
    buttons: list[dict[str, Any]] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)
    ttl_seconds: int | None = None


@dataclass(frozen=True)
class BubbleButton:
    """A button under the bubble. ``url`` is filled; None where a tap opens nothing."""

    type: str
    text: str
    url: str | None = None


@dataclass(frozen=True)
class Bubble:
    """What the recipient sees. Texts keep WhatsApp's own marks (``*bold*``); they are not HTML and not escaped.

    ``header`` is the text of a text header; ``header_format`` names the kind (``text``, ``document`` …) or is None.
    """

    header_format: str | None
    header: str
    body: str
    footer: str
    buttons: tuple[BubbleButton, ...]


def provider_name(name: str, version: int) -> str:
    """What a version is called at the provider.

    There a name and language exist once, and editing takes the text in use away for a new review. So each version
    is a template of its own: the old one goes on sending until the new one is approved.
    """
    return name if version == 1 else f"{name[:500]}_v{version}"


def variables_of(*texts: str | None) -> list[str]:
    """The names of the variables in the texts, each once, in order of appearance."""
    return list(dict.fromkeys(name for text in texts for name in VARIABLE.findall(text or "")))


def clean_value(value: object) -> str:
    """A value as WhatsApp takes it: one line, no tabs, no run of more than four spaces (contracts.md §1.2).

    Breaks and long gaps become one space; invisible characters (controls, text direction overrides, halves of
    characters) are dropped; cut at 1,024 characters.
    """
    pieces = (piece.strip() for piece in _BREAK.split(str(value)[: 4 * LONGEST_VALUE]))
    text = " ".join(piece for piece in pieces if piece)
    return _GAP.sub(" ", _INVISIBLE.sub("", text)).strip()[:LONGEST_VALUE].rstrip()


def render(text: str, values: Mapping[str, object]) -> str:
    """The text with every variable replaced by its cleaned value, in one pass: a value is never read as text.

    Raises MissingVariable with every name that has no value or an empty one. At most 4,096 characters come back.
    """
    clean = {name: clean_value(values[name]) for name in variables_of(text) if values.get(name) is not None}
    missing = [name for name in variables_of(text) if not clean.get(name)]
    if missing:
        raise MissingVariable(missing)
    return VARIABLE.sub(lambda found: clean[found[1]], text)[:LONGEST_TEXT]


def filled(text: str, values: Mapping[str, object]) -> str:
    """As ``render``, but a variable without a value stays visible as ``{name}``: for previews."""
    known = {name: clean_value(values[name]) for name in variables_of(text) if values.get(name) is not None}
    return VARIABLE.sub(lambda found: known.get(found[1]) or found[0], text)[:LONGEST_TEXT]


def header_text(template: Written) -> str:
    """The text of a text header, ``""`` for every other."""
    header = template.header or {}
    return str(header.get("text") or "") if header.get("format") == "text" else ""


def header_variables(template: Written) -> list[str]:
    return variables_of(header_text(template))


def body_variables(template: Written) -> list[str]:
    return variables_of(template.body)


def button_variables(template: Written) -> list[tuple[int, str, str]]:
    """(position from 0, type of button, variable) for each button whose value differs from message to message."""
    found = []
    for index, button in enumerate(template.buttons):
        if button.get("type") == "otp":  # the code is copied by the button, so it travels a second time
            found += [(index, "otp", name) for name in body_variables(template)[:1]]
        elif button.get("type") == "url":
            found += [(index, "url", name) for name in variables_of(str(button.get("url") or ""))[:1]]
    return found


def all_variables(template: Written) -> dict[str, list[str]]:
    """Each variable of the template with the places it is used in: ``header``, ``body``, ``buttons``."""
    places: dict[str, list[str]] = {}
    parts = {
        "header": header_variables(template),
        "body": body_variables(template),
        "buttons": [name for _, _, name in button_variables(template)],
    }
    for part, names in parts.items():
        for name in dict.fromkeys(names):
            places.setdefault(name, []).append(part)
    return places


def missing_values(template: Written, values: Mapping[str, object]) -> list[str]:
    """The variables of the whole template for which ``values`` has nothing to show, in order."""
    return [name for name in all_variables(template) if values.get(name) is None or not clean_value(values[name])]


def preview(template: Written, values: Mapping[str, object]) -> Bubble:
    """The bubble with these values; what has no value stays visible as ``{name}``. Give ``template.examples`` to
    show a draft."""
    buttons = tuple(
        BubbleButton(
            type=str(button.get("type") or ""),
            text=str(button.get("text") or ""),
            url=filled(str(button["url"]), values) if button.get("url") else None,
        )
        for button in template.buttons
    )
    header_format = str(template.header["format"]) if template.header and template.header.get("format") else None
    return Bubble(
        header_format=header_format,
        header=filled(header_text(template), values),
        body=filled(template.body, values),
        footer=template.footer or "",
        buttons=buttons,
    )
