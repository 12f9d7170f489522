"""The editor's form: what was typed, as a text for the lint and the services, and back again.

Everything typed lives in the form itself, so that a wrong word, an added button or a look at the preview loses
nothing; nothing is kept on the server before it is saved.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..domain.lint import CATEGORY_OF, LintFinding, mended
from ..domain.lint_buttons import MOST_BUTTONS
from ..domain.rendering import TemplateText, all_variables
from ..domain.starters import CODE_LIFE_MINUTES, code_text
from ..domain.text import T
from ..domain.variables import VARIABLES
from ..domain.wording import SAMPLES

LONGEST = 10_000  # characters of one field; nothing a person writes by hand is longer
HEADER_FORMATS = ("text", "image", "video", "document", "location")
BUTTON_KINDS = ("quick_reply", "url", "phone", "copy_code")
_VALUE_OF = {"url": "url", "phone": "phone", "copy_code": "example"}  # where a button keeps what it leads to
_FIELD_OF = {"/header/text": "header_text", "/header/example": "header_link", "/header": "header_text"}


@dataclass(frozen=True)
class TypedButton:
    """One button of the form; ``value`` is the address, the number or the example of the code."""

    kind: str = "quick_reply"
    text: str = ""
    value: str = ""

    def as_member(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": self.kind, "text": self.text}
        if self.kind in _VALUE_OF:
            found[_VALUE_OF[self.kind]] = self.value
        return found


@dataclass(frozen=True)
class Typed:
    """The form as it was sent. ``shown``: variables that have a field for a sample; ``base``: hash of the version
    that the person began with, to notice when somebody else was faster."""

    title: str = ""
    name: str = ""
    type: str = "order_confirm"
    language: str = "ro"
    header: str = "none"
    header_text: str = ""
    header_link: str = ""
    body: str = ""
    footer: str = ""
    buttons: tuple[TypedButton, ...] = ()
    samples: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    code_minutes: str = ""
    code_button: str = ""
    ttl: str = ""
    look: str = "light"
    base: str = ""

    @property
    def slug(self) -> str:
        """The name: as written, else made from the title."""
        return self.name.strip() or slug_of(self.title)

    @property
    def blank(self) -> bool:
        """Has nobody written anything yet? Then there is nothing to complain about."""
        return self.type != "otp" and not (self.title or self.name or self.body or self.header_text or self.buttons)

    @property
    def variables(self) -> list[str]:
        """The variables of the text, each once, in order."""
        return [] if self.type == "otp" else list(all_variables(self._bare()))

    def sample(self, name: str) -> str:
        """What was typed for the variable; where there was no field for it yet, the catalogue's sample."""
        if name in self.samples and (self.samples[name] or name in self.shown):
            return self.samples[name]
        known = SAMPLES.get(self.language.partition("_")[0], SAMPLES["en"])
        return "" if name in self.shown else known.get(name, "")

    def as_text(self) -> TemplateText:
        """For the lint, the preview and the services."""
        if self.type == "otp":
            minutes = int(self.code_minutes) if _whole(self.code_minutes, 1, 90) else CODE_LIFE_MINUTES
            fixed = code_text(self.slug, self.language, minutes, self.code_button.strip() or None)
            return replace(fixed, ttl_seconds=self._seconds())
        return replace(
            self._bare(), examples={name: self.sample(name) for name in self.variables}, ttl_seconds=self._seconds()
        )

    def _bare(self) -> TemplateText:
        return TemplateText(
            name=self.slug,
            type=self.type,
            language=self.language,
            category=CATEGORY_OF[self.type],
            body=self.body.replace("\r\n", "\n").strip(),
            header=self._header(),
            footer=self.footer.strip() or None,
            buttons=[button.as_member() for button in self.buttons],
        )

    def _header(self) -> dict[str, Any] | None:
        if self.header == "none":
            return None
        if self.header == "text":
            return {"format": "text", "text": self.header_text}
        link = self.header_link.strip()
        return {"format": self.header} | ({"example": {"link": link}} if link and self.header != "location" else {})

    def _seconds(self) -> int | None:
        return int(self.ttl) if _whole(self.ttl, -1, 10**9) else None

    def problems(self) -> dict[str, T]:
        """What the services could not even be asked about: a sentence by field."""
        found: dict[str, T] = {}
        if not self.slug:
            found["title"] = T("Give the text a title, such as “Order confirmation”.")
        elif not re.fullmatch(r"[a-z0-9_]{1,512}", self.slug):
            found["name"] = T("Only small letters without accents, digits and underscores, such as %(name)s.",
                              name=slug_of(self.slug)[:60] or "order_confirm")  # fmt: skip
        if self.ttl.strip() and self._seconds() is None:
            found["ttl"] = T("Write a whole number of seconds, or leave it empty.")
        if self.type == "otp" and self.code_minutes.strip() and not _whole(self.code_minutes, 1, 90):
            found["code_minutes"] = T("Write a number from 1 to 90.")
        if max(map(len, (self.body, self.header_text, self.footer, self.header_link, self.title))) > LONGEST:
            found["body"] = T("This is far too long for a message.")
        return found


def slug_of(title: str) -> str:
    """A name as WhatsApp takes it: ``Confirmare comandă`` becomes ``confirmare_comanda``."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:120]


def read(form: Mapping[str, str]) -> Typed:
    """What came with the request; what makes no sense falls back to what an empty form has."""
    kind, header, look = form.get("type", ""), form.get("header", ""), form.get("look", "")
    return Typed(
        title=form.get("title", ""),
        name=form.get("name", ""),
        type=kind if kind in CATEGORY_OF else "order_confirm",
        language=form.get("language", "")[:16] or "ro",
        header=header if header in HEADER_FORMATS else "none",
        header_text=form.get("header_text", ""),
        header_link=form.get("header_link", ""),
        body=form.get("body", ""),
        footer=form.get("footer", ""),
        buttons=tuple(_buttons(form)),
        samples={key[7:]: form[key].strip() for key in form if key.startswith("sample-") and key[7:]},
        shown=tuple(name for name in form.get("shown", "").split(" ") if name),
        code_minutes=form.get("code_minutes", ""),
        code_button=form.get("code_button", ""),
        ttl=form.get("ttl", ""),
        look=look if look in ("light", "dark") else "light",
        base=form.get("base", ""),
    )


def _buttons(form: Mapping[str, str]) -> Iterable[TypedButton]:
    for index in range(MOST_BUTTONS):
        kind = form.get(f"button-{index}-type")
        if kind in BUTTON_KINDS:
            yield TypedButton(kind, form.get(f"button-{index}-text", ""), form.get(f"button-{index}-value", ""))


def typed_of(text: TemplateText, base: str = "") -> Typed:
    """The form that shows this text."""
    header = text.header or {}
    otp: dict[str, Any] = next((button for button in text.buttons if button.get("type") == "otp"), {})
    example = header.get("example") or {}
    typed = Typed(
        name=text.name,
        type=text.type,
        language=text.language,
        header=str(header.get("format") or "none"),
        header_text=str(header.get("text") or ""),
        header_link=str(example.get("link") or ""),
        body="" if text.type == "otp" else text.body,
        footer="" if text.type == "otp" else text.footer or "",
        buttons=tuple(
            TypedButton(
                str(button["type"]), str(button.get("text") or ""),
                str(button.get(_VALUE_OF.get(str(button["type"]), "")) or ""),
            )
            for button in text.buttons if button.get("type") in BUTTON_KINDS
        ),
        samples={name: str(value) for name, value in text.examples.items()},
        code_minutes=str(otp.get("code_expiration_minutes") or ""),
        code_button=str(otp.get("text") or ""),
        ttl="" if text.ttl_seconds is None else str(text.ttl_seconds),
        base=base,
    )  # fmt: skip
    return replace(typed, shown=tuple(name for name in typed.variables if name in typed.samples))


def changed(typed: Typed, act: str) -> Typed:
    """The form after a press on one of its own buttons: ``add``, ``remove:2``, ``insert:first_name``."""
    verb, _, what = act.partition(":")
    if verb == "add" and len(typed.buttons) < MOST_BUTTONS:
        return replace(typed, buttons=(*typed.buttons, TypedButton()))
    if verb == "remove" and what.isdigit():
        return replace(typed, buttons=tuple(each for at, each in enumerate(typed.buttons) if at != int(what)))
    if verb == "insert" and what in VARIABLES:
        gap = "" if not typed.body or typed.body[-1].isspace() else " "
        return replace(typed, body=f"{typed.body}{gap}{{{what}}}")
    return typed


def mended_form(typed: Typed, finding: LintFinding) -> Typed:
    """The form with the finding's own remedy in it; what the remedy does not touch stays as it was typed."""
    new = typed_of(mended(typed.as_text(), finding))
    return replace(
        new, title=typed.title, name=typed.name, look=typed.look, base=typed.base, ttl=typed.ttl,
        samples={**typed.samples, **new.samples}, code_minutes=typed.code_minutes, code_button=typed.code_button,
        header_text=new.header_text or typed.header_text, header_link=new.header_link or typed.header_link,
    )  # fmt: skip


def field_of(pointer: str, typed: Typed) -> str:
    """The id of the form's field that a finding's pointer is about."""
    if pointer in _FIELD_OF:
        return "header-text" if typed.header == "none" else _FIELD_OF[pointer]
    parts = pointer.strip("/").split("/")
    if parts[0] == "header":
        return "header_text" if typed.header == "text" else "header_link"
    if parts[0] == "examples" and len(parts) > 1:
        return f"sample-{parts[1]}" if parts[1] in typed.variables else "body"
    if parts[0] == "buttons":
        return _button_field(parts, typed)
    if parts[0] == "name" and not typed.name.strip():
        return "title"
    return {"type": "type-" + typed.type, "category": "type-" + typed.type, "ttl_seconds": "ttl"}.get(
        parts[0], parts[0] or "body"
    )


def _button_field(parts: Sequence[str], typed: Typed) -> str:
    if len(parts) < 2 or not parts[1].isdigit() or int(parts[1]) >= len(typed.buttons):
        return "code_button" if typed.type == "otp" else "add-button"
    kind = parts[2] if len(parts) > 2 else "text"
    return f"button-{parts[1]}-{kind if kind in ('text', 'type') else 'value'}"


def _whole(text: str, low: int, high: int) -> bool:
    return bool(re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text)) and low <= int(text) <= high
