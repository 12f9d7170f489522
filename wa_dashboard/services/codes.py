"""Codes that prove a number is somebody's: sending one, and checking what the person typed (api.md §5.10).

One live code for each number, purpose and mode; ten minutes, five checks, used once. The code is never stored but
sealed in its message; what is compared is an HMAC under the installation's secret, bound to the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from .. import clock, security
from ..db import db, db_now, insert_rows, transaction
from ..domain.codes import CHECKS, LIFE, PER_NUMBER, RESEND_AFTER, WINDOW, State, new_code
from ..domain.ids import new_id
from ..domain.phone import Phone
from ..domain.statuses import MessageType
from ..domain.text import T
from ..errors import RateLimited
from ..models import Code, RateBucket, Tenant
from . import accounts, code_ends, contacts, lifecycle, sending, templates
from .tenants import Caller

_NOBODY = "cod_00000000000000000000000000"  # its hash is compared where there is no code, so that both take as long
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class CodeWish:
    """A code that somebody asked for. ``language``: wanted, else the person's, else the organisation's own."""

    phone: Phone
    purpose: str
    language: str | None = None
    template_name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SentCode:
    """``id`` names the code, which itself is in the message only. Another may be asked for from ``resend_after``."""

    id: str
    purpose: str
    expires_at: datetime
    resend_after: datetime
    sent: sending.Sent
    checks_left: int = CHECKS


@dataclass(frozen=True)
class Checked:
    """``reason`` is None when ``verified``, else ``wrong_code``, ``expired``, ``no_code``, ``too_many_checks``, or
    ``used``."""

    verified: bool
    reason: str | None
    checks_left: int


# --- sending ----------------------------------------------------------------------------------------------------


def send(caller: Caller, wish: CodeWish) -> SentCode:
    """Send a new code to the number; the one before it counts no more.

    Raises RateLimited: ``code_too_soon`` (within 30 seconds of the last), ``code_limit`` (five an hour to a number),
    ``codes_exhausted`` (the organisation's codes of the hour); Invalid as `sending.accept`. Nothing is stored then.
    """
    tenant, now = caller.tenant, clock.now()
    index = contacts.index_of(tenant, wish.phone.e164)
    with transaction():
        _one_at_a_time(tenant, caller.live)
        _refuse_too_many(caller, index, wish.purpose, now)
        code_ends.end(tenant.id, _live_ones(caller, index, wish.purpose), State.REPLACED)
        code_id, code = new_id("cod"), new_code()
        sent = sending.accept(tenant, _message_of(caller, wish, code_id, code, now + LIFE))
        row = {
            "id": code_id,
            "tenant_id": tenant.id,
            "live": caller.live,
            "phone_index": index,
            "purpose": wish.purpose,
            "state": str(State.LIVE),
            "checks": 0,
            "code_hash": _hash(tenant, code_id, code),
            "message_id": sent.message.id,
            "created_at": now,
            "expires_at": now + LIFE,
        }
        insert_rows(Code, [row])
    return SentCode(code_id, wish.purpose, now + LIFE, now + RESEND_AFTER, sent)


def _one_at_a_time(tenant: Tenant, live: bool) -> None:
    """The organisation's codes are made one after another, so that no limit is passed by two at once."""
    rule = f"codes:{'live' if live else 'test'}"
    row = {"tenant_id": tenant.id, "rule": rule, "tokens": 0.0, "counted_at": db_now()}
    insert_rows(RateBucket, [row], once=["tenant_id", "rule"])
    db.session.scalars(
        select(RateBucket.rule).where(RateBucket.tenant_id == tenant.id, RateBucket.rule == rule).with_for_update()
    ).one()


def _refuse_too_many(caller: Caller, index: str, purpose: str, now: datetime) -> None:
    lately = (Code.tenant_id == caller.tenant.id, Code.live == caller.live, Code.created_at > now - WINDOW)
    newest = Code.created_at.desc()
    to_number = db.session.execute(
        select(Code.created_at, Code.purpose).where(*lately, Code.phone_index == index).order_by(newest)
    ).all()
    last = next((row.created_at for row in to_number if row.purpose == purpose), None)
    if last is not None and last + RESEND_AFTER > now:
        wait = (last + RESEND_AFTER - now).total_seconds()
        detail = T("A code was sent to this number a moment ago. Another may follow after %(count)s seconds.",
                   count=int(RESEND_AFTER.total_seconds()))  # fmt: skip
        raise RateLimited(detail, "code_too_soon", retry_after=wait)
    if len(to_number) >= PER_NUMBER:
        wait = (to_number[PER_NUMBER - 1].created_at + WINDOW - now).total_seconds()
        detail = T("This number got %(count)s codes within an hour, which is all it may get.", count=PER_NUMBER)
        raise RateLimited(detail, "code_limit", retry_after=wait)
    most = accounts.settings().codes_per_hour
    if not most:
        return
    first = db.session.scalar(select(Code.created_at).where(*lately).order_by(newest).offset(most - 1).limit(1))
    if first is not None:
        detail = T("Your organisation may send %(count)s codes an hour, and has.", count=most)
        raise RateLimited(detail, "codes_exhausted", retry_after=(first + WINDOW - now).total_seconds())


def _live_ones(caller: Caller, index: str, purpose: str) -> list[str]:
    return list(db.session.scalars(select(Code.id).where(*_these(caller, index, purpose), Code.state == State.LIVE)))


def _these(caller: Caller, index: str, purpose: str) -> tuple[Any, ...]:
    return (
        Code.tenant_id == caller.tenant.id,
        Code.live == caller.live,
        Code.phone_index == index,
        Code.purpose == purpose,
    )


def _message_of(caller: Caller, wish: CodeWish, code_id: str, code: str, end: datetime) -> sending.Wish:
    tenant = caller.tenant
    contact = contacts.contact_for(tenant, wish.phone)
    mode = "live" if caller.live else "test"
    return sending.Wish(
        type=MessageType.OTP,
        dedupe_key=f"otp:{mode}:{code_id}",
        contact=contact,
        live=caller.live,
        languages=templates.language_chain(wish.language or contact.locale, None, tenant.locale),
        values={"code": code},
        asked_by=caller.actor,
        template_name=wish.template_name,
        expires_at=end,
        metadata=wish.metadata,
        request={"purpose": wish.purpose},
    )


# --- checking ---------------------------------------------------------------------------------------------------


def verify(caller: Caller, phone: Phone, purpose: str, code: str) -> Checked:
    """Is this the live code of the number? Counts as one of its five checks; the right one is used up by it.

    The same statements and the same reckoning whether or not there is a code. Any number at once get five checks
    together, and one yes: each is counted by an update that finds the row only while checks are left.
    """
    tenant, now = caller.tenant, clock.now()
    index = contacts.index_of(tenant, phone.e164)
    with transaction():
        tried = db.session.execute(
            update(Code)
            .where(
                *_these(caller, index, purpose),
                Code.state == State.LIVE,
                Code.checks < CHECKS,
                Code.expires_at > now,
            )
            .values(checks=Code.checks + 1)
            .returning(Code.id, Code.code_hash, Code.checks),
            execution_options=_QUIET,
        ).one_or_none()
        newest = db.session.execute(
            select(Code.state, Code.checks)
            .where(*_these(caller, index, purpose))
            .order_by(Code.created_at.desc(), Code.id.desc())
            .limit(1)
        ).one_or_none()
        nobodys = _hash(tenant, _NOBODY, "")
        kept = tried.code_hash if tried is not None else nobodys
        right = security.same(_hash(tenant, tried.id if tried is not None else _NOBODY, code), kept or nobodys)
        if tried is None:
            return Checked(False, _why_not(newest), 0)
        if right:
            _close(tenant, tried.id, State.USED, "code_used")
            return Checked(True, None, 0)
        if tried.checks >= CHECKS:
            _close(tenant, tried.id, State.BLOCKED, "code_blocked")
        return Checked(False, "wrong_code", CHECKS - tried.checks)


def _close(tenant: Tenant, code_id: str, state: State, line: str) -> None:
    messages = code_ends.end(tenant.id, [code_id], state)
    lifecycle.tell(tenant.id, messages, line)


def _why_not(newest: Any) -> str:
    """Of the number's last code, which cannot be checked."""
    if newest is None or newest.state == State.REPLACED:
        return "no_code"
    if newest.state == State.BLOCKED:
        return "too_many_checks" if newest.checks >= CHECKS else "no_code"
    return "used" if newest.state == State.USED else "expired"


def _hash(tenant: Tenant, code_id: str, code: str) -> str:
    return security.keyed_hash(accounts.settings().secret_key, "wa_codes", tenant.id, code_id, code)
