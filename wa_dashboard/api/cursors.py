"""Page by page: limit, signed cursor, ``Link`` header (api.md §5.0)."""

import json
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from .. import errors
from ..domain.text import T
from ..services.paging import Page, Place, WrongCursor, read_cursor, write_cursor
from .access import caller
from .problems import current_settings
from .writing import link

LIMIT_DEFAULT, LIMIT_MAX = 50, 200
_BESIDES = ("cursor", "limit", "include")


def bad_filter(findings: list[errors.Finding]) -> errors.BadRequest:
    """400 for query parameters; a finding's pointer is ``?name``."""
    return errors.BadRequest(T("A filter is not right."), "bad_filter", findings=findings)


def limit_asked() -> int:
    """``?limit=`` from 1 to 200, 50 when it is not given. Raises BadRequest ``bad_filter``."""
    text = request.args.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= LIMIT_MAX):
        detail = T("limit is a whole number from 1 to %(most)s.", most=LIMIT_MAX)
        raise bad_filter([errors.Finding("?limit", "wrong_value", detail)])
    return int(text)


def place_asked() -> Place | None:
    """Where ``?cursor=`` points. Raises BadRequest ``cursor_mismatch`` when it belongs to another list."""
    text = request.args.get("cursor")
    if not text:
        return None
    try:
        return read_cursor(text, current_settings().secret_key, _list_name())
    except WrongCursor as error:
        detail = T("This cursor does not belong to this list with these filters. Start again without it.")
        raise errors.BadRequest(detail, "cursor_mismatch") from error


def paged(response: Response, page: Page[Any]) -> Response:
    """Add the ``Link`` header to neighbouring pages."""
    links = [
        f'<{link(request.path)}?{urlencode({**request.args.to_dict(), "cursor": cursor(place)})}>; rel="{rel}"'
        for rel, place in (("next", page.next), ("prev", page.prev))
        if place is not None
    ]
    if links:
        response.headers["Link"] = ", ".join(links)
    return response


def cursor(place: Place | None) -> str | None:
    """The place as a signed cursor of this list."""
    return write_cursor(place, current_settings().secret_key, _list_name()) if place else None


def _list_name() -> str:
    filters = {name: values for name, values in sorted(request.args.lists()) if name not in _BESIDES}
    return json.dumps([caller().tenant.id, caller().live, request.path, filters], sort_keys=True)
