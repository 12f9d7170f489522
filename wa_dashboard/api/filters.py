"""The query of ``GET /messages/{tenantId}`` as `Filters`; a wrong name or word is refused, never ignored."""

import difflib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import request

from ..domain.statuses import MessageType, Status
from ..domain.text import T
from ..errors import Finding
from ..providers.base import all_providers
from ..services.messages import HAS, Filters
from .access import caller
from .cursors import bad_filter
from .parsing import Wrong, read_instant, read_phone

INCLUDE = frozenset({"attempts", "events", "cost", "count"})

_FREE = (
    "template",
    "language",
    "account",
    "market",
    "campaign_id",
    "event_ref",
    "order_id",
    "error_code",
    "skip_reason",
)
_TIMES = ("created_from", "created_to", "updated_since")
_PAGING = ("limit", "cursor", "include")


def filters_asked() -> Filters:
    """The filters of the request. Raises BadRequest ``bad_filter`` with one finding per wrong parameter.

    A key sees the messages of its own mode only: a test key those to the simulator, a live key those to people.
    """
    readers = _readers()
    found: dict[str, Any] = {}
    wrong: list[Finding] = []
    for name in request.args:
        if name in _PAGING:
            continue
        if name not in readers:
            wrong.append(_unknown(name, [*readers, *_PAGING]))
            continue
        try:
            found[name] = readers[name](",".join(request.args.getlist(name)))
        except Wrong as problem:
            wrong.append(Finding(f"?{name}", problem.code, problem.detail, problem.extra))
    if wrong:
        raise bad_filter(wrong)
    return Filters(**found, live=caller().live)


def included() -> frozenset[str]:
    """The words of ``?include=``. Raises BadRequest ``bad_filter``."""
    try:
        return frozenset(_one_of(tuple(INCLUDE))(request.args.get("include", "")))
    except Wrong as problem:
        raise bad_filter([Finding("?include", problem.code, problem.detail, problem.extra)]) from problem


def _readers() -> dict[str, Callable[[str], Any]]:
    return {
        "status": _one_of(tuple(Status)),
        "type": _one_of(tuple(MessageType)),
        "provider": _one_of(tuple(all_providers())),
        "has": _one_of(HAS),
        "phone": _phone,
        **dict.fromkeys(_FREE, _words),
        **dict.fromkeys(_TIMES, _time),
    }


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip()[:512] for word in text.split(",") if word.strip())


def _one_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        for word in _words(text):
            if word not in known:
                detail = T("%(word)s is none of: %(known)s.", word=word[:60], known=", ".join(sorted(known)))
                raise Wrong("not_one_of", detail, **_guess(word, known))
        return _words(text)

    return read


def _phone(text: str) -> str:
    """An unescaped ``+`` arrives as a blank: it is meant, so it is put back."""
    return read_phone("+" + text[1:] if text.startswith(" ") else text).e164


def _time(text: str) -> datetime:
    """An offset's unescaped ``+`` arrives as a blank too."""
    return read_instant(text.replace(" ", "+") if text.count(" ") == 1 and "T" in text.upper() else text)


def _unknown(name: str, known: list[str]) -> Finding:
    guess = _guess(name, known)
    if guess:
        detail = T("There is no filter %(name)s. Did you mean %(guess)s?", name=name[:60], guess=guess["did_you_mean"])
    else:
        detail = T("There is no filter %(name)s. Known: %(known)s.", name=name[:60], known=", ".join(sorted(known)))
    return Finding(f"?{name[:60]}", "unknown_filter", detail, guess)


def _guess(word: str, known: Any) -> dict[str, str]:
    close = difflib.get_close_matches(word[:60], list(known), n=1, cutoff=0.6)
    return {"did_you_mean": str(close[0])} if close else {}
