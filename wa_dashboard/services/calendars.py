"""The public calendar link of an event: a signed name that nobody can guess, and behind it only the event itself."""

import base64
import hmac
from dataclasses import dataclass

from sqlalchemy import select

from ..db import all_tenants, db, end_read, tenant_scope
from ..domain.calendar import calendar_file
from ..domain.orders import OrderEvent
from ..domain.text import T
from ..errors import Conflict, NotFound
from ..models import Event, Tenant
from . import accounts, planning

VARIABLE = "calendar_token"  # of a template: the product fills it for messages about an event
ENDING = ".ics"
_SIGNED = 16  # octets


@dataclass(frozen=True)
class CalendarFile:
    """``name`` for saving; ``text`` as RFC 5545 has it."""

    name: str
    text: str


def token_of(tenant: Tenant, event: OrderEvent) -> str:
    """The last part of the event's link, ``….ics``; the event is noted if it was not known (in a transaction)."""
    known = db.session.execute(
        select(Event.id, Event.version).where(Event.tenant_id == tenant.id, Event.ref == event.ref)
    ).one_or_none()
    if known is not None and known.version >= event.version:
        return token_for(known.id)
    try:
        return token_for(planning.keep_event(tenant, event).id)
    except Conflict:  # a newer version came at the same instant
        return token_for(db.session.scalars(select(Event.id).where(Event.ref == event.ref)).one())


def token_for(event_id: str) -> str:
    """The event's id with our signature, and the ending that calendars look for."""
    return f"{event_id}.{_signature(event_id)}{ENDING}"


def url_of(event_id: str) -> str:
    """The whole link."""
    return f"{accounts.settings().public_url}/e/{token_for(event_id)}"


def open_token(token: str) -> CalendarFile:
    """The file behind a link, as the event is now. Raises NotFound for any token that is not ours."""
    event_id, _, signature = token.removesuffix(ENDING).rpartition(".")
    if not event_id or not hmac.compare_digest(signature.encode(), _signature(event_id).encode()):
        raise NotFound(T("There is no such event."))
    with all_tenants("a signed link names the event, whoever's it is"):
        tenant_id = db.session.scalar(select(Event.tenant_id).where(Event.id == event_id))
        end_read()
    if tenant_id is None:
        raise NotFound(T("There is no such event."))
    with tenant_scope(tenant_id):
        event = db.session.scalars(select(Event).where(Event.id == event_id)).one()
        venue = event.venue or {}
        text = calendar_file(
            uid=f"{event.id}@wa-dashboard",
            name=event.name,
            starts_at=event.starts_at,
            ends_at=event.ends_at,
            zone=event.timezone,
            place=", ".join(filter(None, (venue.get("name"), venue.get("address")))),
            changed_at=event.created_at,
            version=event.version,
        )
        end_read()
    return CalendarFile("event.ics", text)


def _signature(event_id: str) -> str:
    digest = hmac.digest(accounts.settings().secret_key.encode(), f"calendar:{event_id}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:_SIGNED]).decode().rstrip("=")
