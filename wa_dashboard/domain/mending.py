"""Applying what the lint proposes: one button, one value changed."""

from dataclasses import replace
from typing import Any

from .findings import LintFinding
from .rendering import TemplateText


def mended(draft: TemplateText, finding: LintFinding) -> TemplateText:
    """The template with the finding's ``mend`` in place; as it was where there is none.

    Knows the pointers the lint writes: a member of the template, or of its header, examples or a button.
    """
    if finding.mend is None:
        return draft
    pointer, value = finding.mend
    part, *rest = (step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("/").split("/"))
    if part == "buttons":
        buttons = [dict(button) for button in draft.buttons]
        buttons[int(rest[0])][rest[1]] = value
        return replace(draft, buttons=buttons)
    if part == "header":
        return replace(draft, header=_set(draft.header or {}, rest, value))
    if part == "examples":
        return replace(draft, examples={**draft.examples, rest[0]: value})
    changes: dict[str, Any] = {part: value}
    return replace(draft, **changes)


def _set(holder: dict[str, Any], steps: list[str], value: str) -> dict[str, Any]:
    inner = value if len(steps) == 1 else _set(dict(holder.get(steps[0]) or {}), steps[1:], value)
    return {**holder, steps[0]: inner}
