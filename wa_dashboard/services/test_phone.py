"""The phone of a test recipient, as the simulator keeps it: only for test accounts and only the tenant's own people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from sqlalchemy import func, select

from .. import logs
from ..db import db, end_read
from ..domain.text import T
from ..errors import Conflict, NotFound
from ..models import Contact, Message, ProviderAccount, Tenant
from . import accounts

log = logs.get(__name__)

TIMEOUT_S = 2
PEOPLE = 30
LINES = 200
_OWN_NAME = ("phone_number_id", "account_sid", "phone_number")  # which credential names an account


class PhoneAway(Exception):
    """The simulator does not answer."""


@dataclass(frozen=True)
class Line:
    """One bubble. ``ours``: we sent it; ``status`` is then the simulator's word. ``at`` is aware UTC."""

    ours: bool
    at: datetime
    text: str
    header: str = ""
    file: str = ""
    footer: str = ""
    buttons: tuple[Mapping[str, Any], ...] = ()
    status: str = ""
    error_code: str = ""


def people(tenant: Tenant) -> list[Contact]:
    """Who got test messages, the one with the newest first; at most thirty."""
    newest = (
        select(Message.contact_id, func.max(Message.created_at).label("at"))
        .where(Message.tenant_id == tenant.id, Message.live.is_(False))
        .group_by(Message.contact_id)
        .order_by(func.max(Message.created_at).desc())
        .limit(PEOPLE)
        .subquery()
    )
    wanted = select(Contact).join(newest, newest.c.contact_id == Contact.id).order_by(newest.c.at.desc(), Contact.id)
    return list(db.session.scalars(wanted))


def find_person(tenant: Tenant, contact_id: str) -> Contact:
    """One of the tenant's people. Raises NotFound."""
    found = db.session.scalar(select(Contact).where(Contact.tenant_id == tenant.id, Contact.id == contact_id))
    if found is None:
        raise NotFound(T("There is no such person."))
    return found


def thread(tenant: Tenant, person: Contact) -> list[Line]:
    """What this person's phone shows of the tenant, oldest first. Raises PhoneAway.

    The simulator knows one phone for all tenants; what belongs to another tenant's sender is left out here.
    """
    mine = {(account.provider, _key(account)) for account in _senders(tenant)}
    phone = person.phone
    end_read()
    answer = _ask("GET", "/_sim/phone", params={"to": phone, "limit": str(LINES)})
    return [
        _line(row)
        for row in answer.get("messages", [])
        if (row.get("provider"), row.get("account")) in mine and _shown(row)
    ]


def answer(tenant: Tenant, person: Contact, text: str, *, button: bool = False) -> None:
    """Let the person write ``text``, or press the button of that text, to the sender they last heard from.

    Raises PhoneAway, Conflict without a test sender.
    """
    account = _last_sender(tenant, person)
    wanted = {
        "provider": account.provider,
        "account": _key(account),
        "from": person.phone,
        "button" if button else "text": text,
    }
    end_read()
    _ask("POST", "/_sim/inbound", json=wanted)


def _senders(tenant: Tenant) -> list[ProviderAccount]:
    wanted = select(ProviderAccount).where(ProviderAccount.tenant_id == tenant.id, ProviderAccount.live.is_(False))
    return list(db.session.scalars(wanted.order_by(ProviderAccount.priority, ProviderAccount.id)))


def _last_sender(tenant: Tenant, person: Contact) -> ProviderAccount:
    senders = {account.id: account for account in _senders(tenant)}
    last = db.session.scalars(
        select(Message.account_id)
        .where(
            Message.tenant_id == tenant.id,
            Message.contact_id == person.id,
            Message.live.is_(False),
            Message.account_id.is_not(None),
        )
        .order_by(Message.created_at.desc())
        .limit(1)
    ).first()
    found = senders.get(last or "") or next(iter(senders.values()), None)
    if found is None:
        raise Conflict(T("There is no test sender to write to."))
    return found


def _key(account: ProviderAccount) -> str:
    """How the simulator calls the account."""
    credentials: Mapping[str, str] = account.credentials
    name = next(credentials[key] for key in _OWN_NAME if credentials.get(key))
    return name.lstrip("+") if account.provider == "dialog360" else name


def _ask(method: str, path: str, **wanted: Any) -> Mapping[str, Any]:
    url = f"{accounts.settings().simulator_url}{path}"
    try:
        reply = requests.request(method, url, timeout=TIMEOUT_S, allow_redirects=False, **wanted)
        reply.raise_for_status()
        found: Mapping[str, Any] = reply.json()
    except (requests.RequestException, ValueError) as error:
        log.info("simulator_away", path=path, error=type(error).__name__)
        raise PhoneAway from error
    return found


def _shown(row: Mapping[str, Any]) -> bool:
    """A switch in WhatsApp's settings is no bubble; what failed never reached the phone."""
    return row.get("kind") != "preference" and row.get("on_phone", True)


def _line(row: Mapping[str, Any]) -> Line:
    at = datetime.fromisoformat(str(row["at"]))
    if row["direction"] == "inbound":
        return Line(False, at, str(row["text"]))
    media = str(row.get("media") or "") or (_FILES.get(str(row.get("header_format") or "").upper(), ""))
    return Line(
        ours=True,
        at=at,
        text=str(row.get("text") or ""),
        header=str(row.get("header") or ""),
        file=media,
        footer=str(row.get("footer") or ""),
        buttons=tuple(row.get("buttons") or ()),
        status=str(row.get("status") or ""),
        error_code=str(row.get("error_code") or ""),
    )


_FILES = {"DOCUMENT": "PDF", "IMAGE": "JPEG", "VIDEO": "MP4"}
