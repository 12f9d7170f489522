"""``POST /send/otp`` and ``POST /verify/otp``: a code proves that a number is the visitor's (api.md §5.10)."""

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import PlainValidator, StringConstraints

from ..domain.codes import DIGITS, NotACode, State, typed
from ..domain.text import T
from ..services import codes
from ..services.codes import SentCode
from .access import caller, requires
from .idempotency import idempotent
from .orders import message_of
from .parsing import ApiModel, Locale, Metadata, PhoneField, Wrong, body, parse
from .writing import answer, instant

blueprint = Blueprint("codes", __name__)

For = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]


def _read_code(value: Any) -> str:
    """The digits, whatever stands between them. Raises Wrong, which never repeats what was typed."""
    if not isinstance(value, str):
        raise Wrong("wrong_type", T("Send the code as text in quotes, as it was typed: it may begin with a zero."))
    try:
        return typed(value)
    except NotACode as problem:
        detail = T("The code has %(count)s digits; spaces and hyphens between them may stay.", count=DIGITS)
        raise Wrong("not_a_code", detail) from problem


class CodeBody(ApiModel):
    """The body of ``POST /send/otp``."""

    phone: PhoneField
    purpose: For = "login"
    language: Locale | None = None
    template: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,512}$")] | None = None
    metadata: Metadata = {}


class CheckBody(ApiModel):
    """The body of ``POST /verify/otp``."""

    phone: PhoneField
    purpose: For = "login"
    code: Annotated[str, PlainValidator(_read_code)]


@blueprint.post("/send/otp")
@requires("send:confirm")
@idempotent
def send() -> Response:
    """Send a code; the one before it for the same number and purpose counts no more.

    202: on its way. 429: too soon or too often, as ``code`` says; nothing was made. The code is in no answer.
    """
    asked = parse(CodeBody, body())
    wish = codes.CodeWish(asked.phone, asked.purpose, asked.language, asked.template, asked.metadata)
    made = codes.send(caller(), wish)
    to = asked.phone.e164 if caller().may_see_numbers() else asked.phone.masked
    return answer({"code": _code(made), "message": message_of(made.sent, to)}, 202)


def _code(made: SentCode) -> dict[str, Any]:
    return {
        "id": made.id,
        "purpose": made.purpose,
        "status": State.LIVE,
        "expires_at": instant(made.expires_at),
        "checks_left": made.checks_left,
        "resend_after": instant(made.resend_after),
    }


@blueprint.post("/verify/otp")
@requires("send:confirm")
def verify() -> Response:
    """Check what the person typed: 200 with ``verified`` and, for a no, ``reason``.

    No answer is kept under an ``Idempotency-Key`` here: each call is one check, and nothing of the code may stay.
    """
    asked = parse(CheckBody, body())
    found = codes.verify(caller(), asked.phone, asked.purpose, asked.code)
    return answer({"verified": found.verified, "reason": found.reason, "checks_left": found.checks_left})
