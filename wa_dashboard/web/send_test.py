"""Send yourself a test: one real order confirmation, to the test phone or, in live mode, to your own number."""

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from .. import security
from ..domain.phone import BadPhone, Phone, to_e164
from ..domain.statuses import Status
from ..domain.text import T
from ..errors import Invalid, WaError
from ..services import accounts, by_hand
from . import web
from .access import me, requires, say_next
from .i18n import language

TEST_NUMBER = "+40700000100"
_TOKEN_LENGTHS = range(20, 60)


@web.get("/send-test")
@requires("send")
def send_test() -> str:
    """The form."""
    typed = {"phone": "" if _live() else TEST_NUMBER, "first_name": me().user.name.split(" ")[0]}
    return _page(typed, {}, security.new_token())


@web.post("/send-test")
@requires("send")
def do_send_test() -> Response | tuple[str, int]:
    """Send it and go to its page. The form's token makes a double tap one message."""
    typed = {name: request.form.get(name, "").strip()[:200] for name in ("phone", "first_name")}
    token = request.form.get("token", "")
    errors: dict[str, str] = {}
    phone = _phone(typed["phone"], errors)
    if _live() and not request.form.get("mine"):
        errors["mine"] = T("Say that the number is yours: nobody else has agreed to this message.")
    if len(token) not in _TOKEN_LENGTHS or not token.isascii():
        token, errors[""] = security.new_token(), T("The form was too old. Look it over and send it again.")
    if errors or phone is None:
        return _page(typed, errors, token), 422
    try:
        message = by_hand.send_test(me(), phone, typed["first_name"], token, language(), live=_live())
    except WaError as problem:
        return _page(typed, _about(problem), token), 422
    if message.status == Status.SKIPPED:
        say_next(T("This person has asked for no more messages, so nothing was sent."), "warn")
    else:
        say_next(T("On its way. This page follows it by itself."))
    return redirect(url_for("web.message", message_id=message.id), code=303)


def _live() -> bool:
    """To a real phone: once live, or on the way there, from the list of what must hold first."""
    return me().tenant.live or (request.values.get("mode") == "live" and bool(accounts.accounts_of(me().tenant, True)))


def _phone(typed: str, errors: dict[str, str]) -> Phone | None:
    try:
        return to_e164(typed, me().tenant.default_country)
    except BadPhone as problem:
        errors["phone"] = problem.detail
        return None


def _about(problem: WaError) -> dict[str, str]:
    if isinstance(problem, Invalid) and problem.findings:
        return {"": problem.findings[0].detail}
    return {"": problem.detail}


def _page(typed: dict[str, str], errors: dict[str, str], token: str) -> str:
    return render_template("send_test/show.html", typed=typed, errors=errors, token=token, live=_live())
