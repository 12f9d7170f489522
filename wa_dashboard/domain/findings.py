"""What the lint says: one finding for each thing to mend, and the limits all its rules share."""

from dataclasses import dataclass
from typing import Literal

from .text import T

Level = Literal["error", "warning", "hint"]

CATEGORY_OF = {"order_confirm": "utility", "reminder": "utility", "promo": "marketing", "otp": "authentication"}
LONGEST_BODY, LONGEST_HEADER, LONGEST_FOOTER, LONGEST_BUTTON, LONGEST_URL = 1024, 60, 60, 25, 2000


@dataclass(frozen=True)
class LintFinding:
    """One thing to mend. ``pointer``: JSON pointer into the template; ``fix``: what to do about it.

    ``mend``: (pointer, value) that sets it right, where that needs no thought; `domain.mending.mended` applies it.
    """

    rule: str
    level: Level
    pointer: str
    message: T
    fix: T
    mend: tuple[str, str] | None = None


def error(rule: str, pointer: str, message: T, fix: T, mend: tuple[str, str] | None = None) -> LintFinding:
    """WhatsApp would refuse the template."""
    return LintFinding(rule, "error", pointer, message, fix, mend)


def warning(rule: str, pointer: str, message: T, fix: T, mend: tuple[str, str] | None = None) -> LintFinding:
    """WhatsApp may refuse it, or it may cost more than expected, or not do what its author wants."""
    return LintFinding(rule, "warning", pointer, message, fix, mend)


def hint(rule: str, pointer: str, message: T, fix: T, mend: tuple[str, str] | None = None) -> LintFinding:
    """It would be better otherwise."""
    return LintFinding(rule, "hint", pointer, message, fix, mend)


def escaped(name: str) -> str:
    """A name as a step of a JSON pointer."""
    return name[:80].replace("~", "~0").replace("/", "~1")
