"""Who sits at the browser, what the role allows, and the tenant's scope that a request runs in.

The signed session cookie carries one random token; the session itself is a row (`services.tenants`), so that
signing out really ends it.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import structlog
from flask import Request, current_app, flash, g, request, session, url_for
from flask_login import UserMixin, current_user
from werkzeug.wrappers import Response

from ..db import tenant_scope
from ..domain.text import T
from ..errors import Forbidden
from ..extensions import login_manager
from ..services import tenants
from ..services.tenants import SignedIn
from . import SAFE, web
from .errors import error_page
from .htmx import session_ended
from .i18n import translate
from .shell import Shell, set_shell

TOKEN = "token"  # noqa: S105 - the name of the session's member

# Pages for people who are not signed in. A test compares this with the routes: adding one is a decision.
OPEN = frozenset({"web.welcome", "web.accept_welcome", "web.sign_in", "web.check_sign_in", "web.switch_language"})

# security.md §4.2: what each role may do.
ROLES: Mapping[str, frozenset[str]] = {
    "owner": frozenset({"see", "send", "templates", "settings", "keys"}),
    "editor": frozenset({"see", "send", "templates", "settings"}),
    "viewer": frozenset({"see"}),
}
_ROLE_FOR = {"send": T("editor"), "templates": T("editor"), "settings": T("editor"), "keys": T("owner")}

View = TypeVar("View", bound=Callable[..., Any])


def requires(what: str) -> Callable[[View], View]:
    """Declare what a view needs: ``see``, ``send``, ``templates``, ``settings`` or ``keys``. Every view but the OPEN
    ones has one."""
    if not any(what in allowed for allowed in ROLES.values()):
        raise ValueError(what)

    def declare(view: View) -> View:
        view.wa_needs = what  # type: ignore[attr-defined]
        return view

    return declare


class Person(UserMixin):
    """Flask-Login's user: a signed-in person with the tenant and the role of this browser's session."""

    def __init__(self, signed_in: SignedIn) -> None:
        self.id = signed_in.session_id
        self.signed_in = signed_in


@login_manager.request_loader
def person_at(_request: Request) -> Person | None:
    """Whose session the cookie's token opens. Flask-Login's own session keys stay unused: ours is a row, and ends."""
    token = session.get(TOKEN)
    found = tenants.session_of(token) if isinstance(token, str) else None
    return Person(found) if found else None


def me() -> SignedIn:
    """The signed-in person of this request."""
    return cast("Person", current_user).signed_in


def whoever() -> SignedIn | None:
    """The signed-in person of this request, None when nobody is."""
    return me() if current_user.is_authenticated else None


def may(what: str) -> bool:
    """Does the person's role allow it? For leaving out buttons; the views check by themselves."""
    found = whoever()
    return found is not None and what in ROLES.get(found.role, frozenset())


@web.app_template_global()
def may_go_live() -> bool:
    """Whether the band of test mode shows the way out: to the owner, and not on that page itself."""
    return may("keys") and request.endpoint not in ("web.going_live", "web.go_live")


def say_next(text: str, tone: str = "good") -> None:
    """Show a sentence on the next page. ``tone``: good, info, warn or bad."""
    flash(translate(text), tone)


def recognise() -> SignedIn | None:
    """The person behind this browser's cookie, with the frame of the page set to suit; None when nobody is."""
    g.pop("_login_user", None)  # what another request of the same context had looked up
    found = whoever()
    set_shell(_shell_of(found) if found else Shell())
    return found


def _shell_of(found: SignedIn) -> Shell:
    return Shell(
        signed_in=True,
        tenant_name=found.tenant.name,
        user_name=found.user.name,
        email=found.user.email,
        test_mode=not found.tenant.live,
        language=found.user.locale,
        timezone=found.tenant.timezone,
    )


@web.before_app_request
def greet_the_lost() -> None:
    """An address without a view passes no sign-in check; its page still has the frame of whoever is signed in."""
    if request.endpoint is None and session:
        recognise()


@web.before_request
def enter() -> Response | None:
    """Let people in who are signed in and may do it; the rest of the request sees their tenant's rows only."""
    leave()
    found = recognise()
    if request.endpoint in OPEN:
        return None
    if found is None:
        session.pop(TOKEN, None)
        return session_ended(_sign_in_url())
    structlog.contextvars.bind_contextvars(tenant_id=found.tenant.id, user_id=found.user.id)
    needed = getattr(current_app.view_functions.get(request.endpoint or ""), "wa_needs", None)
    if needed is None or not may(needed):
        return error_page(403, needed_role=translate(_ROLE_FOR[needed]) if needed in _ROLE_FOR else None)
    g.wa_entered = stack = ExitStack()
    stack.enter_context(tenant_scope(found.tenant.id))
    return None


@web.teardown_request
def leave(_error: BaseException | None = None) -> None:
    """Close the tenant's scope; harmless without one."""
    g.pop("wa_open_problems", None)
    stack = g.pop("wa_entered", None)
    if stack is not None:
        stack.close()


def _sign_in_url() -> str:
    """Back to here after signing in, if here is a page that can be opened by its address."""
    here = request.full_path.rstrip("?") if request.method in SAFE and "HX-Request" not in request.headers else None
    if here is None:
        here = _path_of(request.headers.get("HX-Current-URL", ""))
    plain = url_for("web.sign_in")
    return plain if here in (None, "", "/") else f"{plain}?{urlencode({'next': here})}"


def _path_of(url: str) -> str:
    """Path and query of an address of this site."""
    start = request.host_url.rstrip("/")
    return url.removeprefix(start) if url.startswith(f"{start}/") else ""


def refuse_live() -> None:
    """For pages that only exist in test mode. Raises Forbidden."""
    if me().tenant.live:
        raise Forbidden(T("This page exists in test mode only."))
