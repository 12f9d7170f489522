"""``/e/<token>.ics``: an event for somebody's calendar, behind a signed link and nothing else."""

from flask import Blueprint, Response, abort

from ..errors import NotFound
from ..services import calendars

calendar = Blueprint("calendar", __name__)


@calendar.get("/e/<token>")
def event(token: str) -> Response:
    """The event as it is now: no sign-in, no cookie, nothing about whoever asks. 404 for a token that is not ours."""
    try:
        file = calendars.open_token(token)
    except NotFound:
        abort(404)
    answer = Response(file.text, mimetype="text/calendar")
    answer.headers["Content-Disposition"] = f"attachment; filename={file.name}"
    answer.headers["Cache-Control"] = "public, max-age=300"
    return answer
