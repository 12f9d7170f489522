"""Codes that prove a number is somebody's: how long they live, how often they may be tried, how people type them."""

import re
import secrets
from datetime import timedelta
from enum import StrEnum

DIGITS = 6
LIFE = timedelta(minutes=10)
CHECKS = 5
RESEND_AFTER = timedelta(seconds=30)
PER_NUMBER = 5  # codes to one number in any `WINDOW`, whatever they are for
WINDOW = timedelta(hours=1)
HIDDEN = "•" * DIGITS  # stands wherever the code would

# What people put between digits: spaces of any kind, hyphens and dashes.
_BETWEEN = re.compile(r"[\s\-\u2010-\u2015\u2212]+")
_ANY_CODE = re.compile(rf"(?<!\d)\d{{{DIGITS}}}(?!\d)")


class State(StrEnum):
    """``live`` is the only one that can be checked; the others are ends."""

    LIVE = "live"
    USED = "used"
    REPLACED = "replaced"
    EXPIRED = "expired"
    BLOCKED = "blocked"  # five wrong tries, or the person says that nobody asked for it


class NotACode(ValueError):
    """What was typed cannot be a code."""


def new_code() -> str:
    """Six random digits, all of them as likely."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"


def typed(text: str) -> str:
    """The digits of what a person typed, ``483 920`` or ``483-920``. Raises NotACode."""
    digits = _BETWEEN.sub("", text)
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        raise NotACode
    return digits


def hide(text: str) -> str:
    """``text`` without anything that might be a code: what the outside says may repeat ours."""
    return _ANY_CODE.sub(HIDDEN, text)
