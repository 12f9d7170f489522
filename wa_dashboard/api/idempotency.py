"""``@idempotent``: a view whose answer is remembered under the request's ``Idempotency-Key``."""

import functools
from collections.abc import Callable
from typing import Any

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue

from ..services import idempotency
from ..services.idempotency import Once, StoredAnswer
from .access import caller
from .parsing import body
from .problems import problem

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_KEPT_HEADERS = ("Content-Type", "Content-Language", "Location")


def idempotent(view: Callable[..., ResponseReturnValue]) -> Callable[..., Response]:
    """Answer the same request with the same bytes, and have its effect once (api.md §5.0).

    Without the header the view runs as it is. A dry run stores nothing, so nothing is remembered of it either.
    """

    @functools.wraps(view)
    def once(**arguments: Any) -> Response:
        key = request.headers.get(HEADER)
        if key is None or body().get("dry_run") is True:
            return current_app.make_response(view(**arguments))
        # The path itself, not its rule: two messages cancelled under one key are two requests.
        asked = Once(key, f"{request.method} {request.path}", body(), caller().live)
        answer = idempotency.remember(
            caller().tenant,
            asked,
            lambda: _stored(current_app.make_response(view(**arguments))),
            lambda refusal: _stored(problem(refusal)),
        )
        return _sent(answer)

    return once


def _stored(response: Response) -> StoredAnswer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return StoredAnswer(response.status_code, headers, response.get_data())


def _sent(answer: StoredAnswer) -> Response:
    response = Response(answer.body, answer.status, dict(answer.headers))
    if answer.replayed:
        response.headers[REPLAYED] = "true"
    return response
