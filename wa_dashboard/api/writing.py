"""Values as the API writes them: RFC 3339 in UTC, money as decimal text, sentences in the caller's language."""

import json
from datetime import datetime
from typing import Any

from flask import Response

from ..i18n import translate
from ..models import Contact
from .access import caller
from .parsing import MICROS
from .problems import current_settings, language


def answer(body: dict[str, Any], status: int = 200) -> Response:
    """The JSON answer, Romanian letters as they are."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, content_type="application/json")


def instant(moment: datetime | None) -> str | None:
    """``2027-04-04T17:00:00Z``; fractions only when there are some."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def amount(micros: int | None) -> str | None:
    """Micro-units as decimal text with two to six decimals: 31900 → ``"0.0319"``."""
    if micros is None:
        return None
    sign, micros = "-" if micros < 0 else "", abs(micros)
    whole, rest = divmod(micros, MICROS)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"


def said(text: str | None) -> str | None:
    """A sentence in the language of the request; None stays None."""
    return translate(text, language()) if text is not None else None


def number(contact: Contact) -> str:
    """The telephone number, hidden but for its end unless the key has ``pii:read``."""
    return str(contact.phone) if caller().may_see_numbers() else contact.phone_masked


def link(path: str) -> str:
    """The public address of a path of ours."""
    return current_settings().public_url.rstrip("/") + path
