"""Pages and fragments: the one place that knows which of the two a browser asked for.

Of htmx-flask only the part is used that behaves the same in htmx 2 and 4: whether the request came from htmx,
and the response headers HX-Trigger (always a dict, so that Romanian letters survive), HX-Redirect and
HX-Push-Url. How something is swapped stands in the markup.
"""

import hashlib
from typing import Any, cast

from flask import Response, redirect, render_template, request
from htmx_flask import make_response
from htmx_flask.requests import HtmxAwareRequest


def wants_fragment() -> bool:
    """True when htmx asks for a part of a page; false for every plain navigation, also Back."""
    htmx = cast("HtmxAwareRequest", request).htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def render(page: str, fragment: str, /, **context: Any) -> str:
    """Template ``fragment`` for htmx, the whole ``page`` (which includes the fragment) for everybody else."""
    return render_template(fragment if wants_fragment() else page, **context)


def mark_of(*shown: object) -> str:
    """A short mark that changes when what is shown does: a poll that brings it back as ``have`` gets 204."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def has(mark: str) -> bool:
    """Does the page that polls show this already?"""
    return wants_fragment() and request.args.get("have") == mark


def go(url: str) -> Response:
    """Send the browser to ``url``: by HX-Redirect when htmx asked, else 303."""
    if wants_fragment():
        return cast("Response", make_response("", redirect=url))
    return cast("Response", redirect(url, code=303))


def with_toast(body: str, text: str, tone: str = "good") -> Response:
    """A fragment that also shows a short message. ``tone``: good or bad. ``text`` is already translated."""
    return cast("Response", make_response(body, trigger={"toast": {"text": text, "tone": tone}}))


def session_ended(sign_in_url: str) -> Response:
    """For somebody who is not signed in: htmx gets 401 and HX-Redirect, a navigation gets 303."""
    if not wants_fragment():
        return cast("Response", redirect(sign_in_url, code=303))
    answer = cast("Response", make_response("", redirect=sign_in_url))
    answer.status_code = 401
    return answer
