"""Reading what strangers send and cleaning what we send: no function here raises on bad data unless it says so."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Never

from urllib3.filepost import encode_multipart_formdata

from ..domain.text import T
from .hooks import WebhookMalformed
from .port import CannotBuild, Header

DEEPEST = 64  # real webhooks nest about ten levels
LONGEST_NUMBER = 25
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
_BREAKS = re.compile(r"[ ]*[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+[ ]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_BAD_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_BAD_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_LANGUAGE = re.compile(r"^([A-Za-z]{2,3})[-_]([A-Za-z]{2})$")


class FilePart(NamedTuple):
    """One file of a form, with the fields beside it."""

    fields: Mapping[str, str]
    name: str
    filename: str
    mime_type: str
    content: bytes


def multipart(file: FilePart) -> tuple[bytes, str]:
    """(body, content type) of a form with one file (RFC 7578)."""
    parts: dict[str, Any] = {**file.fields, file.name: (file.filename, file.content, file.mime_type)}
    return encode_multipart_formdata(parts)


def parameter_text(value: object) -> str:
    """A parameter as WhatsApp takes it: no line breaks, no tabs, no run of more than four spaces (contracts §1.2)."""
    text = _BREAKS.sub(" ", str(value))
    text = _UNPRINTABLE.sub("", text)
    return re.sub(r" {5,}", " ", text).strip()


def filled(parameters: Any, name: str) -> str:
    """The cleaned value of a variable. Raises CannotBuild when it is missing or empty: providers refuse both."""
    value = parameters.get(name)
    text = "" if value is None else parameter_text(value)
    if not text:
        raise CannotBuild(T("The template needs a value for “%(name)s”.", name=name))
    return text


def variables_of(*texts: str) -> list[str]:
    """The names of the ``{{variables}}`` in the texts, each once, in order."""
    return list(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text or "")))


def with_variables(text: str, keys: Any) -> str:
    """The text with each ``{{our_name}}`` replaced by ``{{keys[our_name]}}``."""
    return _VARIABLE.sub(lambda found: "{{" + keys.get(found[1], found[1]) + "}}", text)


def with_examples(text: str, examples: Any) -> str:
    """The text with each ``{{our_name}}`` replaced by its sample."""
    return _VARIABLE.sub(lambda found: filled(examples, found[1]), text)


def header_text(header: Header | None) -> str:
    return header.text if header is not None and header.kind == "text" else ""


def language_code(text: str | None) -> str | None:
    """``en-us`` and ``en_US`` are both ``en_US``; ``ro`` stays."""
    if not text:
        return None
    found = _LANGUAGE.match(text)
    return f"{found[1].lower()}_{found[2].upper()}" if found else text


def same(ours: str, theirs: str) -> bool:
    """Whether two secrets are equal, in constant time and for any characters; never for an empty secret."""
    return bool(ours) and hmac.compare_digest(_bytes(ours), _bytes(theirs))


def read_json(body: bytes) -> Any:
    """The JSON of a reply, or None for anything that is not sane JSON."""
    try:
        return load_signed(body)
    except WebhookMalformed:
        return None


def load_signed(body: bytes) -> Any:
    """The JSON of an authentic webhook. Raises WebhookMalformed for what would break those who come after us:
    wrong UTF-8, nesting deeper than 64, NaN, numbers of more than 25 digits."""
    try:
        loaded = json.loads(
            body.decode("utf-8-sig"), parse_constant=_no_constant, parse_int=_sane_int, parse_float=_sane_float
        )
    except RecursionError:
        raise WebhookMalformed("nested too deep") from None
    except UnicodeDecodeError:
        raise WebhookMalformed("not UTF-8") from None
    except ValueError as problem:
        raise WebhookMalformed(f"not JSON: {str(problem)[:120]}") from None
    _refuse_depth(loaded)
    return loaded


def may_hold_bad_text(body: bytes) -> bool:
    """Whether sane JSON might hold what `bad_text` looks for: a quick look at the whole."""
    return bool(_BAD_ESCAPE.search(body))


def bad_text(value: Any) -> bool:
    """Whether any text in the value holds a NUL or half a character (no database stores those)."""
    if isinstance(value, str):
        return bool(_BAD_TEXT.search(value))
    if isinstance(value, dict):
        return any(bad_text(key) or bad_text(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(bad_text, value))


def scrub(value: Any) -> Any:
    """The value with every NUL and half character replaced by U+FFFD."""
    if isinstance(value, str):
        return _BAD_TEXT.sub("\ufffd", value)
    if isinstance(value, dict):
        return {scrub(key): scrub(inner) for key, inner in value.items()}
    return [scrub(inner) for inner in value] if isinstance(value, list) else value


def fingerprint(*parts: Any) -> str:
    """A short stable name for any JSON value."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def dig(value: Any, *path: str | int) -> Any:
    """What lies at the path through objects and lists, or None."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def text_at(value: Any, *path: str | int) -> str | None:
    """The non-empty text (or whole number, as text) at the path, or None."""
    found = dig(value, *path)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) and found else None


def items_at(value: Any, *path: str | int) -> list[Any]:
    """The list at the path; what is there and is no list comes as a list of one; nothing is an empty list."""
    found = dig(value, *path)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def instant(value: Any) -> datetime | None:
    """A Unix time in seconds or milliseconds, as number or digits, as aware UTC; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{10,13}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    seconds = value / 1000 if value >= 100_000_000_000 else value
    return datetime.fromtimestamp(seconds, UTC) if 1_000_000_000 <= seconds < 10_000_000_000 else None


def e164(value: str | None) -> str | None:
    """``+`` and the digits of a number as providers write it (``whatsapp:+40…``, ``40…``, ``+40 722 …``), or None."""
    if not value:
        return None
    bare = re.sub(r"[\s().-]", "", value.removeprefix("whatsapp:").removeprefix("+"))
    return "+" + bare if re.fullmatch(r"[0-9]{6,15}", bare) and bare.isascii() else None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number")


def _sane_int(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("a number is too long")
    return int(digits)


def _sane_float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise WebhookMalformed("nested too deep")
