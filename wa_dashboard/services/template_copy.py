"""A template in another language: what we can say there ourselves, and what still waits for a translator."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import select

from ..db import db
from ..domain.packs import LANGUAGES, PACKS, texts_of
from ..domain.rendering import TemplateText, header_text
from ..domain.starters import code_text, starters
from ..domain.text import T
from ..domain.wording import PAIRS, SAMPLES, spoken
from ..errors import invalid
from ..models import Template, Tenant
from . import templates


@dataclass(frozen=True)
class Missing:
    """A part whose words are still the source's. ``pointer``: JSON pointer into the template."""

    pointer: str
    sentence: T


@dataclass(frozen=True)
class Copied:
    """The text in the other language, not stored, and what is missing in it."""

    text: TemplateText
    missing: tuple[Missing, ...]


def copy_to(tenant: Tenant, template_id: str, language: str) -> Copied:  # noqa: ARG001 - the scope is the tenant's
    """The version in ``language``; writes nothing. In the tenant's scope.

    Words of ours (packs, starters, the usual footers and buttons, Meta's code messages) are said in the language;
    everything else stays as it is and is named in ``missing``. Variables, addresses and samples come along.
    Raises NotFound; Invalid ``same_language`` for the language it is in.
    """
    source = templates.text_of(templates.find(template_id))
    if source.language == language:
        raise invalid("/language", "same_language", T("The template is in this language already."))
    if source.category == "authentication":
        return Copied(_code(source, language), ())
    here, there = spoken(source.language), spoken(language)
    if here is not None and here == there:  # en and en_GB
        return Copied(replace(source, language=language), ())
    return _translated(source, language, _table(here, there) if here and there else {})


def twins(template_name: str) -> dict[str, Template]:
    """The newest version of the name in each of its languages. In the tenant's scope."""
    rows = db.session.scalars(select(Template).where(Template.name == template_name).order_by(Template.version))
    return {row.language: row for row in rows}


def _code(source: TemplateText, language: str) -> TemplateText:
    button = next((each for each in source.buttons if each.get("type") == "otp"), {})
    minutes = button.get("code_expiration_minutes")
    text = code_text(source.name, language, **({"minutes": minutes} if minutes else {}))
    return replace(text, ttl_seconds=source.ttl_seconds, examples={**text.examples, **source.examples})


def _translated(source: TemplateText, language: str, words: dict[str, str]) -> Copied:
    missing: list[Missing] = []

    def say(text: str, pointer: str) -> str:
        if text.strip() and text not in words:
            sentence = T("Still in the words of the %(language)s template.", language=source.language)
            missing.append(Missing(pointer, sentence))
        return words.get(text, text)

    header = dict(source.header) if source.header else None
    if header and header_text(source):
        header["text"] = say(header_text(source), "/header/text")
    body = say(source.body, "/body")
    footer = say(source.footer, "/footer") if source.footer else source.footer
    buttons = [
        {**button, "text": say(str(button["text"]), f"/buttons/{index}/text")} if button.get("text") else dict(button)
        for index, button in enumerate(source.buttons)
    ]
    examples = {name: words.get(value, value) for name, value in source.examples.items()}
    text = replace(source, language=language, header=header, body=body, footer=footer, buttons=buttons,
                   examples=examples)  # fmt: skip
    return Copied(text, tuple(missing))


@cache
def _table(source: str, target: str) -> dict[str, str]:
    """Every text we know in both languages, from one to the other."""
    found: dict[str, str] = {}
    for pair in PAIRS:
        both = dict(zip(LANGUAGES, pair, strict=True))
        found[both[source]] = both[target]
    for ours, theirs in zip(_ours(source), _ours(target), strict=True):
        found |= {ours.body: theirs.body, header_text(ours): header_text(theirs)}
        found |= {value: theirs.examples[name] for name, value in ours.examples.items()}
    found |= {value: SAMPLES[target][name] for name, value in SAMPLES[source].items()}
    return found


def _ours(language: str) -> Iterator[TemplateText]:
    yield from starters(language)
    for key in PACKS:
        yield from texts_of(key, language)
