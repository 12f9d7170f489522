"""Pages for when something did not work: they say what happened, that nothing was lost, and where to go."""

from flask import Flask, Response, g, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

PAGES = {400: "errors/400.html", 403: "errors/403.html", 404: "errors/404.html", 429: "errors/429.html"}


def error_page(status: int, **context: object) -> Response:
    """The page for an HTTP status, with the request's id on it (``g.request_id``, when somebody set one)."""
    page = PAGES.get(status, "errors/500.html" if status >= 500 else "errors/400.html")
    return make_response(render_template(page, request_id=g.get("request_id"), **context), status)


def on_http_error(error: HTTPException) -> Response | HTTPException:
    """HTML for pages; the API and machine endpoints keep their own form of error."""
    if request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/assets/")) or error.code is None:
        return error
    if error.code < 400:
        return error
    page = error_page(error.code, expired=isinstance(error, CSRFError), description=error.description)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            page.headers[name] = value
    return page


def install_errors(app: Flask) -> None:
    app.register_error_handler(HTTPException, on_http_error)
