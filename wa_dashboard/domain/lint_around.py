"""The lint of what stands around a template: its twins, texts like it, and how many WhatsApp takes (T019–T021, T026).

The lint asks nobody: whoever calls it brings an `Around`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .findings import LintFinding, error, hint, warning
from .rendering import TemplateText
from .text import T
from .wording import spoken

PER_HOUR, MOST_UNVERIFIED, MOST = 100, 250, 6000  # of Meta, for each business account
NEAR = 0.8  # of a limit


@dataclass(frozen=True)
class Existing:
    """A template WhatsApp has already, of any name and language."""

    name: str
    language: str
    body: str
    footer: str | None


@dataclass(frozen=True)
class Around:
    """What the organiser has at the moment.

    ``languages``: of the template's name. ``categories``: of that name in other languages. ``existing``: what was
    sent for approval, without this very version. ``last_hour``, ``total``: templates created at the fullest account;
    ``most``: how many it may have.
    """

    languages: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    existing: Sequence[Existing] = field(default_factory=tuple)
    last_hour: int = 0
    total: int = 0
    most: int = MOST_UNVERIFIED


def lint_around(draft: TemplateText, around: Around) -> Iterator[LintFinding]:
    """Everything that is only seen beside other templates."""
    yield from _same(draft, around)
    yield from _quota(around)
    yield from _twin(draft, around)
    if around.categories - {draft.category}:
        message = T("In another language this template has the category %(category)s; one name has one category.",
                    category=", ".join(sorted(around.categories - {draft.category})))  # fmt: skip
        yield error("T026", "/name", message, T("Choose another name."))


def _same(draft: TemplateText, around: Around) -> Iterator[LintFinding]:
    if draft.category == "authentication" or not draft.body.strip():
        return
    mine = _words(draft.body, draft.footer)
    alike = [other for other in around.existing if _words(other.body, other.footer) == mine]
    others = [other for other in alike if other.name != draft.name]
    if others:
        message = T("The template %(name)s (%(language)s) has the same text and footer; WhatsApp refuses a second one.",
                    name=others[0].name, language=others[0].language)  # fmt: skip
        yield error("T019", "/body", message, T("Use that template, or say it in other words."))
    elif alike:
        message = T("An earlier version of this template has the same text and footer; WhatsApp may refuse this one.")
        yield warning("T019", "/body", message, T("Change a word of the text as well."))


def _words(body: str, footer: str | None) -> tuple[str, str]:
    return " ".join(body.split()), " ".join((footer or "").split())


def _quota(around: Around) -> Iterator[LintFinding]:
    if around.last_hour >= NEAR * PER_HOUR:
        message = T("%(count)s templates were created in the last hour; WhatsApp takes %(most)s an hour.",
                    count=around.last_hour, most=PER_HOUR)  # fmt: skip
        yield warning("T020", "/name", message, T("Wait an hour before you send more for approval."))
    if around.total >= MOST:
        message = T("You have %(count)s templates, and WhatsApp keeps %(most)s.", count=around.total, most=MOST)
        yield error("T020", "/name", message, T("Delete templates that you do not use any more."))
    elif around.total >= NEAR * around.most:
        message = T("You have %(count)s templates. WhatsApp keeps %(most)s.", count=around.total, most=around.most)
        fix = T("Delete templates that you do not use any more; a verified business may have %(most)s.", most=MOST)
        yield warning("T020", "/name", message, fix)


def _twin(draft: TemplateText, around: Around) -> Iterator[LintFinding]:
    """T021: who reads the other language gets the message in one they may not understand."""
    tongue = spoken(draft.language)
    if tongue is None or any(spoken(language) not in (tongue, None) for language in around.languages):
        return
    if tongue == "ro":
        missing = T("There is no English version of this template.")
        fix = T("Copy it to English, so that everybody is written to in their language.")
    else:
        missing = T("There is no Romanian version of this template.")
        fix = T("Copy it to Romanian, so that everybody is written to in their language.")
    yield hint("T021", "/language", missing, fix)
