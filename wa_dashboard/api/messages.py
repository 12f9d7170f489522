"""``/messages`` and ``/send/confirm``: asking for an order confirmation, and seeing what became of messages."""

from typing import Any

from flask import Blueprint, Response, request

from .. import clock
from ..services import cancelling, messages
from ..services.messages import COUNTED_TO, Filters
from . import cursors
from .access import caller, requires
from .filters import filters_asked, included
from .idempotency import idempotent
from .message_items import attempts_of, item_of, lines_of, story_of
from .message_table import csv_of
from .writing import answer, instant

blueprint = Blueprint("messages", __name__)


@blueprint.get("/messages/<tenant_id>")
@requires("messages:read")
def index() -> Response:
    """A page of messages, newest first; with ``updated_since`` those that changed, oldest change first (api.md §5.8).

    ``Accept: text/csv`` streams everything that matches.
    """
    filters, include = filters_asked(), included()
    if request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
        return csv_of(caller(), filters)
    page = messages.search(caller().tenant, filters, cursors.place_asked(), cursors.limit_asked())
    body: dict[str, Any] = {
        "data": _items(page.rows, include),
        "page": {
            "next": cursors.cursor(page.next),
            "prev": cursors.cursor(page.prev),
            "limit": cursors.limit_asked(),
        },
        "as_of": instant(clock.now()),
    }
    if "count" in include:
        body["count"] = _count(filters)
    return cursors.paged(answer(body), page)


@blueprint.get("/messages/<tenant_id>/<message_id>")
@requires("messages:read")
def show(message_id: str) -> Response:
    """One message with its whole story. 404 for another organisation's or another mode's."""
    return answer(story_of(messages.story(caller().tenant, message_id, live=caller().live)))


@blueprint.post("/messages/<tenant_id>/<message_id>/cancel")
@requires("send:confirm")
@idempotent
def cancel(message_id: str) -> Response:
    """Stop a message that has not left: 200. Already on its way: 202 with ``cancel_requested``. Over: 409."""
    stopped = cancelling.cancel(caller().tenant, message_id, caller().actor, live=caller().live)
    found = messages.find(caller().tenant, message_id, live=caller().live)
    return answer(item_of(found), 200 if stopped else 202)


def _items(rows: list[messages.Found], include: frozenset[str]) -> list[dict[str, object]]:
    ids = [row.message.id for row in rows]
    attempts = messages.attempts_of(ids) if include & {"attempts", "events"} else {}
    events = messages.events_of(ids) if "events" in include else {}
    found = []
    for row in rows:
        item = item_of(row)
        own = attempts.get(row.message.id, [])
        if "attempts" in include:
            item["attempts_made"] = attempts_of(own)
        if "events" in include:
            item["events"] = lines_of(messages.lines_of(events.get(row.message.id, []), own, caller().tenant.timezone))
        found.append(item)
    return found


def _count(filters: Filters) -> object:
    number = messages.count(caller().tenant, filters)
    return {"at_least": COUNTED_TO} if number is None else number
