"""What WhatsApp would refuse in a template, said before it is sent (api.md §5.1; limits: contracts.md §1.3).

An error means the provider refuses; a warning that it may, or that it may cost more than expected; a hint, that it
would be better otherwise. The same code serves `POST /api/wa/templates`, `…/lint` and the editor.

| rules | where |
|---|---|
| T001–T008, T011–T013, T016, T018, T022 | `lint_texts` |
| T009, T010 | `lint_buttons` |
| T014, T015, T017, T023–T025 | `lint_meaning` |
| T019–T021, T026 | `lint_around` |
"""

from . import lint_buttons, lint_meaning, lint_texts
from .findings import CATEGORY_OF, LintFinding
from .lint_around import Around, Existing, lint_around
from .lint_meaning import promotional_words
from .lint_texts import LANGUAGES, as_name, wire_length
from .mending import mended
from .rendering import TemplateText

__all__ = [
    "CATEGORY_OF", "LANGUAGES", "RULES", "Around", "Existing", "LintFinding", "as_name", "has_errors", "lint",
    "mended", "promotional_words", "wire_length",
]  # fmt: skip

RULES = tuple(f"T{number:03}" for number in range(1, 27))

_EVERY_CHECK = [
    lint_texts.name, lint_texts.language, lint_meaning.category, lint_texts.header, lint_texts.body,
    lint_texts.length_when_filled, lint_texts.folding, lint_texts.emoji, lint_buttons.short_links, lint_texts.footer,
    lint_texts.samples, lint_meaning.unknown_variables, lint_buttons.buttons, lint_meaning.signals,
    lint_meaning.way_out,
]  # fmt: skip
_OF_CODES = [
    lint_texts.name, lint_texts.language, lint_meaning.category, lint_meaning.code_words, lint_texts.sample_lines,
]  # fmt: skip


def lint(draft: TemplateText, around: Around | None = None) -> list[LintFinding]:
    """Everything to mend in the template, in the order of its parts; with ``around`` also what is only seen there."""
    checks = _OF_CODES if draft.category == "authentication" else _EVERY_CHECK
    found = [finding for check in checks for finding in check(draft)]
    return found + (list(lint_around(draft, around)) if around is not None else [])


def has_errors(findings: list[LintFinding]) -> bool:
    return any(finding.level == "error" for finding in findings)
