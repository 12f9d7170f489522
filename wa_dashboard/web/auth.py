"""The door: the welcome link, signing in, signing out."""

from flask import redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from ..domain.text import T
from ..errors import Conflict, Invalid, NotFound, RateLimited, WaError
from ..models import User
from ..services import tenants
from . import local_path, web
from .access import TOKEN, me, recognise, requires, say_next
from .errors import error_page
from .i18n import translate
from .tries import count_try

Answer = Response | str | tuple[str, int] | tuple[str, int, dict[str, str]]


@web.get("/welcome/<token>")
def welcome(token: str) -> Answer:
    """The form that makes the first account; 404 for a link that is used or old."""
    try:
        tenant, user = tenants.open_welcome(token)
    except NotFound:
        return _spent()
    known = user.email if user and not user.email.endswith("@example.org") else ""
    return _welcome_page({"organisation": tenant.name, "name": user.name if user else "", "email": known}, {})


@web.post("/welcome/<token>")
def accept_welcome(token: str) -> Answer:
    """Make the account, sign it in, and show the overview."""
    typed = {name: request.form.get(name, "").strip() for name in ("organisation", "name", "email")}
    password = request.form.get("password", "")
    try:
        tenants.open_welcome(token)
        if wrong := _wrong(typed, password):
            return _welcome_page(typed, wrong), 422
        user, tenant = tenants.accept_welcome(token, password=password, **typed)
    except NotFound:
        return _spent()
    except (Invalid, Conflict) as problem:
        return _welcome_page(typed, _by_field(problem)), 422
    _let_in(user, tenant.id)
    say_next(T("Welcome! Everything here is a rehearsal until you say otherwise."))
    return redirect(url_for("web.overview"), code=303)


def _welcome_page(typed: dict[str, str], errors: dict[str, str]) -> str:
    return render_template("auth/welcome.html", typed=typed, errors=errors, minimum=tenants.PASSWORD_MIN)


def _wrong(typed: dict[str, str], password: str) -> dict[str, str]:
    """All that is wrong at once, in the order of the form."""
    found: dict[str, str] = {}
    if not typed["organisation"]:
        found["organisation"] = T("Give the organisation a name.")
    for check, value in ((tenants.clean_email, typed["email"]), (tenants.check_password, password)):
        try:
            check(value)
        except Invalid as problem:
            found |= _by_field(problem)
    return found


def _spent() -> tuple[str, int]:
    return render_template("auth/spent.html"), 404


@web.get("/sign-in")
def sign_in() -> Answer:
    """The form; whoever is signed in already goes on."""
    if recognise() is not None:
        return redirect(_wanted(), code=303)
    return _sign_in_page("", {})


@web.post("/sign-in")
def check_sign_in() -> Answer:
    """Sign in and go on to ``next``. One sentence for a wrong address and a wrong password; 429 when too often."""
    email, password = request.form.get("email", "").strip(), request.form.get("password", "")
    if missing := _missing(email, password):
        return _sign_in_page(email, missing), 422
    try:
        count_try()
    except RateLimited as problem:
        wait = {"Retry-After": str(int(problem.retry_after or 60))}
        return _sign_in_page(email, {"": problem.detail}), 429, wait
    user = tenants.sign_in(email, password)
    if user is None:
        return _sign_in_page(email, {"email": T("E-mail or password is not right.")}), 422
    try:
        _let_in(user)
    except WaError as problem:
        return _sign_in_page(email, {"": problem.detail}), 422
    return redirect(_wanted(), code=303)


@web.post("/sign-out")
@requires("see")
def sign_out() -> Answer:
    """End this browser's session for good."""
    tenants.close_session(me().session_id)
    session.clear()
    return redirect(url_for("web.sign_in"), code=303)


def _missing(email: str, password: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if not email:
        found["email"] = T("Write your e-mail address.")
    if not password:
        found["password"] = T("Write your password.")
    return found


def _let_in(user: User, tenant_id: str | None = None) -> None:
    """A new session, and with it a new CSRF secret: what was planted before the sign-in is worth nothing after."""
    token = tenants.open_session(user, request.user_agent.string, tenant_id)
    session.clear()
    session[TOKEN] = token
    session.permanent = True


def _wanted() -> str:
    return local_path(request.values.get("next"), url_for("web.overview"))


def _sign_in_page(email: str, errors: dict[str, str]) -> str:
    return render_template("auth/sign_in.html", email=email, errors=errors, next=_wanted())


def _by_field(problem: WaError) -> dict[str, str]:
    """Sentences by form field; a refusal without a field is about the e-mail address (it is taken) or all of it."""
    if problem.findings:
        return {finding.pointer.strip("/"): finding.detail for finding in problem.findings}
    return {"email" if problem.code == "email_taken" else "": problem.detail}


@web.errorhandler(WaError)
def refused(problem: WaError) -> Response:
    """A refusal that no view turned into something better."""
    return error_page(problem.status, description=translate(problem.detail), said=translate(problem.detail))
