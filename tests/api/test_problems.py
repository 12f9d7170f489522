"""Refusals: RFC 9457 everywhere, in two languages, each code explained on a page of its own."""

import ast
import io
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard import errors
from wa_dashboard.api.catalogue import PROBLEMS

PACKAGE = Path(errors.__file__).parent
CONFIRM = "/api/wa/send/confirm"


def post(client: FlaskClient, tenant: ReadyTenant, data: bytes | str, content_type: str = "application/json"):
    return client.post(CONFIRM, data=data, content_type=content_type, headers=tenant.headers)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":"\\u0000"}',
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a":' + b"[" * 50 + b"]" * 50 + b"}",
        b'{"a":' + b"9" * 5_000 + b"}",
        b"\xef\xbb\xbf{}",
        b"{'a':1}",
        b'{"a":1}{}',
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_not_json_is_refused(client: FlaskClient, tenant: ReadyTenant, raw: bytes) -> None:
    answer = post(client, tenant, raw)

    assert (answer.status_code, answer.json["code"]) == (400, "malformed_json")
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_only_json_is_taken(client: FlaskClient, tenant: ReadyTenant, kind: str) -> None:
    answer = post(client, tenant, b"{}", kind)

    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


def test_a_body_over_a_mebibyte_is_refused(client: FlaskClient, tenant: ReadyTenant) -> None:
    answer = post(client, tenant, b'{"a":"' + b"x" * (1024 * 1024) + b'"}')

    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")


def test_the_members_of_a_problem(client: FlaskClient, tenant: ReadyTenant, app: Flask) -> None:
    answer = client.post(CONFIRM, json={}, headers=tenant.headers)

    assert answer.json == {
        "type": f"{app.extensions['wa_settings'].public_url}/problems/validation_failed",
        "title": "Request did not validate",
        "status": 422,
        "code": "validation_failed",
        "detail": "2 fields need attention.",
        "instance": CONFIRM,
        "request_id": answer.headers["X-Request-Id"],
        "errors": [
            {"pointer": "/order_id", "code": "missing_field", "detail": "This field is required."},
            {"pointer": "/recipient", "code": "missing_field", "detail": "This field is required."},
        ],
    }
    assert client.get(f"/problems/{answer.json['code']}").status_code == 200


@pytest.mark.parametrize(("wish", "language"), [("ro", "ro"), ("ro-RO,en;q=0.5", "ro"), ("de", "en"), ("", "en")])
def test_the_language_of_a_problem(client: FlaskClient, tenant: ReadyTenant, wish: str, language: str) -> None:
    answer = client.post(CONFIRM, json={}, headers=tenant.headers | {"Accept-Language": wish})

    assert answer.headers["Content-Language"] == language
    assert "Accept-Language" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/wa/nothing", 404, "not_found"),
        ("GET", "/api/wa", 404, "not_found"),
        ("GET", CONFIRM, 405, "method_not_allowed"),
        ("DELETE", CONFIRM, 405, "method_not_allowed"),
    ],
)
def test_unknown_addresses_and_methods_are_problems_too(
    client: FlaskClient, app: Flask, method: str, path: str, status: int, code: str
) -> None:
    answer = client.open(path, method=method)

    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    if status == 405:
        assert "POST" in answer.headers["Allow"]


def test_a_database_that_is_away_is_503(
    client: FlaskClient, tenant: ReadyTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own error, at the place where it would come from: the connection."""
    from sqlalchemy.engine import Engine

    def refuse(self: Engine, *args: object, **kwargs: object) -> object:
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    from wa_dashboard.db import db

    db.session.remove()
    monkeypatch.setattr(Engine, "connect", refuse)

    answer = client.post(CONFIRM, json=factories.order(), headers=tenant.headers)

    assert (answer.status_code, answer.json["code"]) == (503, "not_ready")
    assert int(answer.headers["Retry-After"]) >= 1


def test_every_code_that_is_raised_is_explained() -> None:
    unexplained = raised_codes() - set(PROBLEMS) - NOT_FROM_THE_API

    assert unexplained == set()


# Raised only where people sign in or an operator types, never behind an API route.
NOT_FROM_THE_API = frozenset(
    {
        "member_exists", "email_taken", "link_used", "link_spent", "no_tenant",
        "credentials_invalid", "no_account", "file_exists", "file_unreadable", "schema_unknown", "copy_unsound",
        "program_missing", "program_failed", "still_running", "no_fence",
    }
)  # fmt: skip


def raised_codes() -> set[str]:
    """The code of every refusal the package can construct, read from its source."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.WaError)}
    found = {kind.default_code for kind in map(vars(errors).get, kinds)}
    for path in PACKAGE.rglob("*.py"):
        if path.parts[-2] in ("simulator", "web"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "code")]
            if name in kinds:
                found |= {value.value for value in values if isinstance(value, ast.Constant)}
    return {code for code in found if isinstance(code, str)}


def test_every_code_has_a_page_in_both_languages(client: FlaskClient) -> None:
    for language in ("en", "ro"):
        index = client.get("/problems/codes", headers={"Accept-Language": language})
        assert index.status_code == 200
        for code in PROBLEMS:
            assert f"/problems/{code}" in index.text
            page = client.get(f"/problems/{code}", headers={"Accept-Language": language})
            assert page.status_code == 200
            assert code in page.text
    assert client.get("/problems/nonsense").status_code == 404


def test_an_unforeseen_error_tells_its_number_and_nothing_else(
    client: FlaskClient, tenant: ReadyTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wa_dashboard import failpoints

    factories.make_template(tenant)
    monkeypatch.setattr("wa_dashboard.clock.now", lambda: failpoints.Failed("secret detail").args["none"])

    answer = client.post(CONFIRM, json=factories.order(), headers=tenant.headers)

    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert answer.json["request_id"] in answer.json["detail"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/api/wa/send/confirm", "/api/wa/optin", "/api/wa/webhook"])
def test_a_body_in_pieces_has_the_same_limit(client: FlaskClient, tenant: ReadyTenant, path: str) -> None:
    """Without a Content-Length: granian says ``wsgi.input_terminated`` and hands the pieces on."""
    body = io.BytesIO(b'{"order_id":"A-1"}' + b" " * 5 * 1024 * 1024)

    answer = client.post(
        path,
        input_stream=body,
        content_type="application/json",
        headers=tenant.headers,
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")
