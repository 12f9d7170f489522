"""From bytes to checked values: strict JSON, then pydantic models whose every complaint says what to do.

``read_json`` refuses what JSON parsers like to let through (NaN, repeated keys, half letters); ``parse`` turns
pydantic's errors into `Finding`s with a JSON pointer, a stable code and a sentence.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, NoReturn, TypeVar, cast, get_args
from zoneinfo import ZoneInfo, available_timezones

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import RequestEntityTooLarge

from .. import errors
from ..domain.phone import BadPhone, Phone, to_e164
from ..domain.text import T

M = TypeVar("M", bound=BaseModel)

MAX_DEPTH = 32
_BODY = "wa.body"  # kept on the request itself, so that two requests in one context never share it
MICROS = 1_000_000


def body() -> dict[str, Any]:
    """The JSON object of the running request.

    Raises UnsupportedMedia for another content type, BadRequest ``malformed_json``, and what werkzeug raises for a
    body over the limit.
    """
    environ = request.environ
    if _BODY not in environ:
        if not request.is_json:
            raise errors.UnsupportedMedia(T("Send JSON with the header Content-Type: application/json."))
        value = read_json(raw_body())
        if not isinstance(value, dict):
            raise _malformed(T("The body must be a JSON object."))
        environ[_BODY] = value
    return cast("dict[str, Any]", environ[_BODY])


def raw_body() -> bytes:
    """The bytes of the running request. Raises RequestEntityTooLarge, also for a body that came in pieces.

    Of such a body, which has no length to refuse, werkzeug silently returns what the limit lets through.
    """
    raw = request.get_data(cache=False)
    limit = request.max_content_length
    if request.content_length is None and limit is not None and len(raw) >= limit:
        raise RequestEntityTooLarge
    return raw


# --- bytes → values ---------------------------------------------------------------------------------------------


def read_json(raw: bytes) -> Any:
    """What the JSON text says. Raises BadRequest ``malformed_json`` for everything RFC 8259 leaves doubtful."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_once_each,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise _malformed(T("The body is not UTF-8 (byte %(at)s).", at=error.start)) from error
    except json.JSONDecodeError as error:
        detail = T("The body is not JSON: line %(line)s, column %(column)s.", line=error.lineno, column=error.colno)
        raise _malformed(detail) from error
    except RecursionError as error:
        raise _malformed(_TOO_DEEP) from error
    except ValueError as error:  # a number of thousands of digits
        raise _malformed(T("The body holds a number that is too long.")) from error
    # Only an escape can say NUL or half a pair, and what opens few brackets is not deep.
    if b"\\u" in raw or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_texts(value)
    return value


_TOO_DEEP = T("The body is nested more than %(depth)s levels deep.", depth=MAX_DEPTH)


def _malformed(detail: T) -> errors.BadRequest:
    return errors.BadRequest(detail, "malformed_json")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _malformed(T("The key %(name)s appears twice in one object.", name=ascii(twice[:60])))
    return found


def _no_constant(word: str) -> NoReturn:
    raise _malformed(T("%(word)s is not JSON.", word=word))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed(T("The body holds a number that is too large."))
    return number


def _check_texts(value: Any) -> None:
    """Refuse what databases and terminals choke on: NUL, halves of a surrogate pair, bottomless nesting."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _malformed(_TOO_DEEP)
        if isinstance(item, str):
            if "\0" in item or any("\ud800" <= letter <= "\udfff" for letter in item):
                raise _malformed(T("The body holds a character that is not text (NUL or half a surrogate pair)."))
        elif isinstance(item, dict):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]


# --- values → a model, or findings ------------------------------------------------------------------------------


class ApiModel(BaseModel):
    """Base of every request body: unknown fields are refused, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Wrong(ValueError):
    """Raised by a field's validator: a stable ``code``, a sentence, and members for the machine."""

    def __init__(self, code: str, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra


def parse(model: type[M], body: Any, *, at: str = "") -> M:
    """``body`` as a ``model``. Raises Invalid with one finding per wrong field, pointers starting with ``at``."""
    if not isinstance(body, dict):
        detail = T("Send a JSON object.")
        raise errors.Invalid(detail, findings=[errors.Finding(at, "wrong_type", detail)])
    try:
        return model.model_validate(body)
    except ValidationError as problem:
        details = problem.errors(include_url=False, include_input=False)
        raise invalid([_finding(model, detail, at) for detail in details]) from problem


def invalid(findings: Sequence[errors.Finding]) -> errors.Invalid:
    """422 for several fields at once."""
    if len(findings) == 1:
        return errors.Invalid(T("1 field needs attention."), findings=findings)
    return errors.Invalid(T("%(count)s fields need attention.", count=len(findings)), findings=findings)


def pointer(parts: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901): ``/recipient/phone``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _finding(model: type[BaseModel], problem: ErrorDetails, at: str) -> errors.Finding:
    where = at + pointer(problem["loc"])
    wrong = problem.get("ctx", {}).get("error")
    if isinstance(wrong, Wrong):
        return errors.Finding(where, wrong.code, wrong.detail, wrong.extra)
    if problem["type"] == "extra_forbidden":
        return _unknown_field(model, problem["loc"], where)
    code, say = _SENTENCES.get(problem["type"], ("wrong_value", lambda _: T("This value is not allowed here.")))
    return errors.Finding(where, code, say(problem.get("ctx", {})))


def _unknown_field(model: type[BaseModel], loc: tuple[int | str, ...], where: str) -> errors.Finding:
    name = str(loc[-1])
    known = _fields_at(model, loc[:-1])
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        detail = T("There is no field %(name)s here. Did you mean %(guess)s?", name=name[:60], guess=close[0])
        return errors.Finding(where, "unknown_field", detail, {"did_you_mean": close[0]})
    detail = T("There is no field %(name)s here. Known: %(known)s.", name=name[:60], known=", ".join(known))
    return errors.Finding(where, "unknown_field", detail)


def _fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    for part in loc:
        if isinstance(part, int):
            continue
        inner = next(_models_in(model.model_fields[str(part)].annotation), None)
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _kind(name: T) -> tuple[str, Callable[[dict[str, Any]], T]]:
    return "wrong_type", lambda _: T("This must be %(kind)s.", kind=name)


_SENTENCES: dict[str, tuple[str, Callable[[dict[str, Any]], T]]] = {
    "missing": ("missing_field", lambda _: T("This field is required.")),
    "string_type": _kind(T("text in quotes")),
    "bool_type": _kind(T("true or false")),
    "int_type": _kind(T("a whole number")),
    "float_type": _kind(T("a number")),
    "dict_type": _kind(T("an object")),
    "model_type": _kind(T("an object")),
    "model_attributes_type": _kind(T("an object")),
    "list_type": _kind(T("a list")),
    "tuple_type": _kind(T("a list")),
    "none_required": _kind(T("null")),
    "string_too_short": (
        "too_short",
        lambda c: (
            T("Write at least %(count)s characters.", count=c["min_length"])
            if c["min_length"] > 1
            else T("This must not be empty.")
        ),
    ),
    "string_too_long": ("too_long", lambda c: T("At most %(count)s characters.", count=c["max_length"])),
    "string_pattern_mismatch": ("wrong_format", lambda c: T("This must match %(pattern)s.", pattern=c["pattern"])),
    "too_short": ("too_few", lambda c: T("At least %(count)s are needed.", count=c["min_length"])),
    "too_long": ("too_many", lambda c: T("At most %(count)s are allowed.", count=c["max_length"])),
    "literal_error": (
        "not_one_of",
        lambda c: T("This must be one of: %(words)s.", words=c["expected"].replace("'", "").replace(" or ", ", ")),
    ),
    "greater_than_equal": ("too_small", lambda c: T("This must be %(limit)s or more.", limit=c["ge"])),
    "greater_than": ("too_small", lambda c: T("This must be more than %(limit)s.", limit=c["gt"])),
    "less_than_equal": ("too_large", lambda c: T("This must be %(limit)s or less.", limit=c["le"])),
    "less_than": ("too_large", lambda c: T("This must be less than %(limit)s.", limit=c["lt"])),
}


# --- field types ------------------------------------------------------------------------------------------------

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("wrong_type", T("This must be %(kind)s.", kind=T("text in quotes")))
    return value


def read_phone(value: Any) -> Phone:
    """E.164 with ``+``. Raises Wrong with the number's own code and, where there is one, a ``guess``."""
    try:
        return to_e164(_text(value))
    except BadPhone as problem:
        raise Wrong(problem.code, problem.detail, **({"guess": problem.guess} if problem.guess else {})) from problem


def read_instant(value: Any) -> datetime:
    """RFC 3339 with an offset → aware UTC. Raises Wrong."""
    written = _text(value)
    if not _RFC3339.fullmatch(written):
        detail = T("Write a time with its offset, such as 2027-04-04T20:00:00+03:00.")
        raise Wrong("time_needs_offset" if _LOCAL.fullmatch(written) else "not_a_time", detail)
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError) as problem:
        raise Wrong("not_a_time", T("%(text)s does not exist.", text=written)) from problem


def read_wall_clock(value: Any) -> datetime:
    """A local time (naive) or RFC 3339 (aware), as written; `instant_in` makes it UTC. Raises Wrong."""
    written = _text(value)
    if not _LOCAL.fullmatch(written):
        return read_instant(written)
    try:
        return datetime.fromisoformat(written)
    except ValueError as problem:
        raise Wrong("not_a_time", T("%(text)s does not exist.", text=written)) from problem


def instant_in(moment: datetime, zone: str) -> datetime:
    """Aware UTC of a `WallClock` in the IANA ``zone``.

    In the hour that comes twice the first is meant; a time in the gap of spring moves on by the gap (states.md §6.3).
    """
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def read_zone(value: Any) -> str:
    """The name of an IANA zone. Raises Wrong ``unknown_zone``."""
    name = _text(value)
    if name in _zones():
        return name
    close = difflib.get_close_matches(name[:60], _zones(), n=1, cutoff=0.6)
    if close:
        detail = T("%(name)s is not a time zone. Did you mean %(guess)s?", name=name[:60], guess=close[0])
        raise Wrong("unknown_zone", detail, did_you_mean=close[0])
    raise Wrong("unknown_zone", T("%(name)s is not a time zone such as Europe/Bucharest.", name=name[:60]))


def _check_metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 16:
        raise Wrong("too_many", T("At most %(count)s keys.", count=16))
    for key, words in value.items():
        if not 1 <= len(key) <= 64:
            raise Wrong("too_long", T("Keys have 1 to %(count)s characters.", count=64))
        if len(words) > 500:
            raise Wrong("too_long", T("%(key)s: at most %(count)s characters.", key=key, count=500))
    return value


def read_micros(value: Any) -> int:
    """A decimal amount in quotes → integer micro-units: ``"0.0319"`` → 31900. Raises Wrong."""
    written = _text(value)
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", written, re.ASCII):
        raise Wrong("not_an_amount", T('Write an amount in quotes, such as "12.50", with at most six decimals.'))
    return int(Decimal(written) * MICROS)


PhoneField = Annotated[Phone, PlainValidator(read_phone)]
Instant = Annotated[datetime, PlainValidator(read_instant)]
WallClock = Annotated[datetime, PlainValidator(read_wall_clock)]
Zone = Annotated[str, PlainValidator(read_zone)]
Metadata = Annotated[dict[str, str], AfterValidator(_check_metadata)]
Micros = Annotated[int, PlainValidator(read_micros)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Locale = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class Money(ApiModel):
    """``{"amount": "12.50", "currency": "EUR"}``; ``amount`` becomes micro-units."""

    amount: Micros
    currency: Currency
