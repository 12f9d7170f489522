"""Who is calling, what the key may do, and the scope the request runs in."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, cast

from flask import g, request

from .. import clock, errors
from ..db import tenant_scope
from ..domain.text import T
from ..services import reminders, tenants
from ..services.tenants import Caller
from .parsing import Wrong, read_instant

BODY_LIMIT = 1024 * 1024
TEST_CLOCK = "X-WA-Test-Clock"

View = TypeVar("View", bound=Callable[..., Any])


def caller() -> Caller:
    """The key behind this request."""
    return cast("Caller", g.wa_caller)


def requires(scope: str) -> Callable[[View], View]:
    """Declare the scope a view needs. Put it nearest to the function; every API view but the open ones has one."""

    def declare(view: View) -> View:
        view.wa_scope = scope  # type: ignore[attr-defined]
        return view

    return declare


def identify() -> Caller:
    """Read the request's key. Raises BadRequest ``key_in_query`` or Unauthenticated."""
    request.max_content_length = BODY_LIMIT
    _refuse_key_in_address()
    g.wa_caller = found = tenants.authenticate(_bearer())
    return found


def enter(found: Caller, scope: str | None) -> None:
    """Check what the key may do and open its tenant's scope and clock; `leave` closes them.

    A moved clock first brings what came due by then: the test reminders of the time that passed.
    Raises Forbidden (``scope`` is not the key's, or None: nobody's), NotFound for another's ``{tenantId}``,
    BadRequest ``test_clock_refused``.
    """
    if scope is None or scope not in found.scopes:
        detail = T("This key does not have the scope %(scope)s.", scope=scope or "?")
        raise errors.Forbidden(detail, extra={"scope": scope})
    # Checked here, once for all: views do not take it and cannot forget it.
    wanted = (request.view_args or {}).pop("tenant_id", None)
    if wanted is not None and wanted != found.tenant.id:
        raise errors.NotFound(T("There is no organisation with this id."), "tenant_not_found")
    moved_to = _test_clock(found)
    g.wa_entered = stack = ExitStack()
    stack.enter_context(tenant_scope(found.tenant.id))
    if moved_to is not None:
        stack.enter_context(clock.at(moved_to))
        reminders.release_test(found.tenant, moved_to)


def leave() -> None:
    """Close what `enter` opened; harmless without it."""
    stack = g.pop("wa_entered", None)
    if stack is not None:
        stack.close()


def _bearer() -> str:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise errors.Unauthenticated(T("Send the header Authorization: Bearer wak_…"))
    return key.strip()


def _refuse_key_in_address() -> None:
    if any(value.startswith("wak_") for value in request.args.values()):
        detail = T("The API key is in the address. Send it in the header Authorization, and replace this key.")
        raise errors.BadRequest(detail, "key_in_query")


def _test_clock(found: Caller) -> Any:
    written = request.headers.get(TEST_CLOCK)
    if written is None:
        return None
    if found.live:
        raise errors.BadRequest(T("X-WA-Test-Clock works with test keys only."), "test_clock_refused")
    try:
        return read_instant(written)
    except Wrong as problem:
        raise errors.BadRequest(problem.detail, "test_clock_refused") from problem
