"""The JSON rim, ``/api/wa``: authenticates, parses, calls a verb, answers. Refusals are RFC 9457 problems.

Every view lives on a blueprint of its own noun, nested here; authentication, body limits, rate limits and problems
are this package's, once for all of them.
"""

import re

import structlog
from flask import Blueprint, Flask, Response, current_app, g, request

from ..domain.ids import new_id
from . import accounts, codes, limits, messages, optin, orders, problems, stuck, templates, webhook
from .access import enter, identify, leave

PREFIX = "/api/wa"

# Views that answer without a key. A test compares this with the routes: adding one is a decision.
OPEN_ENDPOINTS = frozenset({"api.webhook.receive", "api.webhook.challenge"})

NOUNS = (accounts, codes, messages, optin, orders, stuck, templates, webhook)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def init_app(app: Flask) -> None:
    """Put the API and the pages that explain its problems on ``app``."""
    app.before_request(_name_request)
    app.after_request(_tell_name)
    problems.always_a_problem(app, PREFIX)
    limits.init_app(app)
    app.register_blueprint(_api())
    app.register_blueprint(problems.pages)


def _api() -> Blueprint:
    api = Blueprint("api", __name__, url_prefix=PREFIX)
    api.before_request(_enter)
    api.after_request(limits.add_headers)
    api.teardown_request(lambda _error: leave())
    api.register_error_handler(Exception, problems.answer_for)
    for noun in NOUNS:
        api.register_blueprint(noun.blueprint)
    return api


def _name_request() -> None:
    """Give the request an id (the caller's, if it is a decent one) and let every log line carry it."""
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _tell_name(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    return response


def _enter() -> None:
    g.pop("wa_limit", None)
    if request.endpoint in OPEN_ENDPOINTS:
        return
    view = current_app.view_functions.get(request.endpoint or "")
    found = identify()
    structlog.contextvars.bind_contextvars(tenant_id=found.tenant.id, key_id=found.key_id)
    limits.check()
    enter(found, getattr(view, "wa_scope", None))
