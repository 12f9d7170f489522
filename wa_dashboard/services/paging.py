"""Pages by keyset: a place in an ordered list, and its signed form that may travel through strangers' hands."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

R = TypeVar("R")

_VERSION = 1
_MAC_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """Just after (or, ``backwards``, just before) the row with this time and id, in the list's order."""

    at: datetime
    id: str
    backwards: bool = False


@dataclass(frozen=True)
class Page(Generic[R]):
    """Rows in the list's order, and the places where the neighbouring pages begin, None at an end."""

    rows: list[R]
    next: Place | None
    prev: Place | None


class WrongCursor(ValueError):
    """Not a cursor of ours, or one of another list, other filters or another tenant."""


def write_cursor(place: Place, secret: str, list_name: str) -> str:
    """The place as text that only works for ``list_name`` (tenant, filters and order belong into it)."""
    micros = (place.at - _EPOCH) // timedelta(microseconds=1)
    body = json.dumps([_VERSION, micros, place.id, int(place.backwards)], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_mac(body, secret, list_name) + body).rstrip(b"=").decode()


def read_cursor(text: str, secret: str, list_name: str) -> Place:
    """Raises WrongCursor."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise WrongCursor(text) from error
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(body, secret, list_name)):
        raise WrongCursor(text)
    _version, micros, row_id, backwards = json.loads(body)
    return Place(_EPOCH + timedelta(microseconds=micros), row_id, bool(backwards))


def _mac(body: bytes, secret: str, list_name: str) -> bytes:
    key = hashlib.sha256(b"cursor\0" + secret.encode()).digest()
    return hmac.new(key, list_name.encode() + b"\0" + body, hashlib.sha256).digest()[:_MAC_BYTES]


def page_of(found: list[R], limit: int, place: Place | None, place_of: Callable[[R], tuple[datetime, str]]) -> Page[R]:
    """A page from up to ``limit + 1`` rows, fetched in the direction of ``place``. ``place_of(row) -> (at, id)``."""
    more, rows = len(found) > limit, found[:limit]
    backwards = place is not None and place.backwards
    if backwards:
        rows.reverse()
    before = more if backwards else place is not None
    after = True if backwards else more
    first = replace(Place(*place_of(rows[0])), backwards=True) if rows and before else None
    last = Place(*place_of(rows[-1])) if rows and after else None
    return Page(rows, last, first)
