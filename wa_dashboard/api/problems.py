"""Refusals as RFC 9457 problems, in the caller's language, and the pages that explain each code."""

import json
import math

from flask import Blueprint, Flask, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as ResponseBase

from .. import errors, i18n, logs
from ..config import Settings
from ..db import is_unavailable
from ..domain.text import T
from .catalogue import PROBLEMS

PROBLEM_JSON = "application/problem+json"
RETRY_WHEN_AWAY_S = 5

log = logs.get(__name__)
pages = Blueprint("problems", __name__)


def language() -> str:
    """``ro`` or ``en``: the best of Accept-Language, English when it says nothing we speak."""
    return i18n.best_of(request.accept_languages.values())


def problem(error: errors.WaError) -> Response:
    """The answer for a refusal: body and headers as api.md §5.0 says."""
    entry, to = PROBLEMS.get(error.code), language()
    members = {
        "type": f"{_public_url()}/problems/{error.code}",
        "title": i18n.translate(entry.title if entry else error.title, to),
        "status": error.status,
        "code": error.code,
        "detail": i18n.translate(error.detail, to),
        "instance": request.path,
        "request_id": g.get("request_id"),
    }
    if error.findings:
        members["errors"] = [_finding(finding, to) for finding in error.findings]
    members |= {name: _said(value, to) for name, value in error.extra.items() if name not in members}
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    answer = Response(body, error.status, content_type=PROBLEM_JSON)
    answer.headers["Content-Language"] = to
    answer.vary.add("Accept-Language")
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="wa"'
    return answer


def _finding(finding: errors.Finding, to: str) -> dict[str, object]:
    extra = {name: _said(value, to) for name, value in finding.extra.items()}
    return {"pointer": finding.pointer, "code": finding.code, "detail": i18n.translate(finding.detail, to), **extra}


def _said(value: object, to: str) -> object:
    if isinstance(value, str):
        return i18n.translate(value, to)
    if isinstance(value, dict):
        return {name: _said(item, to) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_said(item, to) for item in value]
    return value


def _public_url() -> str:
    return current_settings().public_url.rstrip("/")


def current_settings() -> Settings:
    found: Settings = current_app.extensions["wa_settings"]
    return found


# --- what goes wrong, as a problem ------------------------------------------------------------------------------

_OF_STATUS: dict[int, tuple[type[errors.WaError], str, T]] = {
    400: (errors.BadRequest, "malformed_request", T("The request could not be read.")),
    404: (errors.NotFound, "not_found", T("There is nothing at this address.")),
    405: (errors.WaError, "method_not_allowed", T("This address does not take that method.")),
    413: (errors.TooLarge, "body_too_large", T("A body may have at most 1 MiB.")),
    415: (errors.UnsupportedMedia, "unsupported_media_type", T("Send JSON with Content-Type: application/json.")),
    429: (errors.RateLimited, "rate_limited", T("Too many requests. Wait a moment.")),
    503: (errors.NotReady, "not_ready", T("Not ready. Try again in a moment.")),
}


def as_refusal(error: Exception) -> errors.WaError:
    """Any exception as one of our refusals; what nobody foresaw becomes ``internal_error`` and is logged."""
    if isinstance(error, errors.WaError):
        return error
    if isinstance(error, HTTPException) and error.code in _OF_STATUS:
        kind, code, detail = _OF_STATUS[error.code]
        refusal = kind(detail, code)
        refusal.status = error.code
        return refusal
    if is_unavailable(error):
        log.warning("database_unavailable", exc_info=error)
        detail = T("The database is not answering. Nothing was done; try again in a moment.")
        return errors.NotReady(detail, retry_after=RETRY_WHEN_AWAY_S)
    log.error("unexpected_error", exc_info=error)
    detail = T("Something went wrong on our side. It was logged under %(id)s.", id=g.get("request_id"))
    return errors.WaError(detail, "internal_error")


def answer_for(error: Exception) -> ResponseBase:
    """The error handler of every API blueprint."""
    if isinstance(error, HTTPException) and error.code is not None and error.code < 400:
        return error.get_response()
    answer = problem(as_refusal(error))
    if isinstance(error, HTTPException):
        for name, value in error.get_headers(request.environ):
            if name.lower() in ("allow", "retry-after"):
                answer.headers[name] = value
    return answer


def always_a_problem(app: Flask, prefix: str) -> None:
    """Below ``prefix`` no error leaves as HTML, also where no route matched and no blueprint was asked."""

    @app.after_request
    def no_html(response: Response) -> Response:
        if response.status_code < 400 or not request.path.startswith(prefix) or response.mimetype == PROBLEM_JSON:
            return response
        if response.mimetype != "text/html":
            return response
        kind, code, detail = _OF_STATUS.get(
            response.status_code, (errors.WaError, "internal_error", T("Not possible."))
        )
        refusal = kind(detail, code)
        refusal.status = response.status_code
        answer = problem(refusal)
        response.set_data(answer.get_data())
        for name in ("Content-Type", "Content-Language"):
            response.headers[name] = answer.headers[name]
        response.vary.add("Accept-Language")
        return response


# --- the pages behind the type URLs -----------------------------------------------------------------------------


@pages.get("/problems/codes")
def index() -> str:
    """All codes with their titles."""
    return render_template("problems/index.html", problems=PROBLEMS)


@pages.get("/problems/<code>")
def show(code: str) -> tuple[str, int]:
    """What one code means and what to do."""
    entry = PROBLEMS.get(code)
    return render_template("problems/show.html", code=code, problem=entry), 200 if entry else 404
