"""Reading messages: the list people search in, and one message's whole story. Changes nothing.

Both the API and the dashboard read here, so that they can never tell two different tales.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select, tuple_

from .. import security
from ..db import db
from ..domain import rendering
from ..domain.codes import HIDDEN
from ..domain.phone import BadPhone, to_e164
from ..domain.statuses import NOT_RECEIVED, MessageType, Rank, Status
from ..domain.story import sentence
from ..domain.text import T
from ..errors import NotFound
from ..models import Attempt, Contact, Message, MessageEvent, Template, Tenant, WebhookEvent, WebhookItem
from .paging import Page, Place, page_of

COUNTED_TO = 10_000
_RECEIPT_KINDS = {"accepted": 1, "sent": 2, "failed": 3, "delivered": 4, "read": 5}


@dataclass(frozen=True)
class Filters:
    """What a list shows. Empty means everything; several words in one field mean any of them.

    ``phone`` is E.164 and exact; ``q`` is what a person typed: a name, a number or its last digits, an order,
    message or provider id. ``created_to`` is exclusive. ``updated_since`` orders by change, oldest first.
    """

    status: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    template: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    market: tuple[str, ...] = ()
    campaign_id: tuple[str, ...] = ()
    event_ref: tuple[str, ...] = ()
    order_id: tuple[str, ...] = ()
    error_code: tuple[str, ...] = ()
    skip_reason: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    phone: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    updated_since: datetime | None = None
    live: bool | None = None
    q: str = ""


HAS = ("error", "cost", "duplicate_suspected")


@dataclass(frozen=True)
class Found:
    """A message with the person it is for and the template version it uses (None while none could be chosen)."""

    message: Message
    contact: Contact
    template: Template | None

    @property
    def bubble(self) -> rendering.Bubble | None:
        """What the person sees, filled with the values that were sent; of a code nothing but dots, ever."""
        if self.template is None:
            return None
        if self.message.type == MessageType.OTP:
            return rendering.preview(self.template, dict.fromkeys(rendering.all_variables(self.template), HIDDEN))
        return rendering.preview(self.template, self.message.variables or {})

    @property
    def version(self) -> int | None:
        return self.template.version if self.template else None


@dataclass(frozen=True)
class Totals:
    """Sums over a whole filter. ``cost_micros`` counts what was charged, in ``currency`` (the first by name)."""

    count: int
    failed: int
    cost_micros: int
    currency: str | None


@dataclass(frozen=True)
class Line:
    """One line of a story. ``gap``: how long after the line before; ``kind``: stable word for icons."""

    at: datetime
    kind: str
    text: T
    gap: timedelta | None
    attempt_no: int | None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Webhook:
    """A piece of news the provider sent about a message, and the post it came in."""

    item: WebhookItem
    received_at: datetime
    event_state: str


@dataclass(frozen=True)
class Story:
    """Everything about one message, in the order it happened."""

    found: Found
    lines: list[Line]
    attempts: list[Attempt]
    webhooks: list[Webhook]

    @property
    def message(self) -> Message:
        return self.found.message


# --- the list ---------------------------------------------------------------------------------------------------


def search(
    tenant: Tenant, filters: Filters, place: Place | None = None, limit: int = 50, *, newest_first: bool = True
) -> Page[Found]:
    """One page of messages by time of creation; with ``updated_since`` by time of change, oldest first."""
    by_change = filters.updated_since is not None
    time = Message.updated_at if by_change else Message.created_at
    descending = newest_first and not by_change
    if place is not None and place.backwards:
        descending = not descending
    wanted = _joined().where(*_conditions(tenant, filters))
    if place is not None:
        key, here = tuple_(time, Message.id), (place.at, place.id)
        wanted = wanted.where(key < here if descending else key > here)
    order = (time.desc(), Message.id.desc()) if descending else (time, Message.id)
    rows = db.session.execute(wanted.order_by(*order).limit(limit + 1)).all()
    found = [Found(message, contact, template) for message, contact, template in rows]
    return page_of(
        found,
        limit,
        place,
        lambda row: (row.message.updated_at if by_change else row.message.created_at, row.message.id),
    )


def count(tenant: Tenant, filters: Filters) -> int | None:
    """How many messages match, exactly; None when they are more than 10,000."""
    some = select(Message.id).join(Contact, Contact.id == Message.contact_id).where(*_conditions(tenant, filters))
    number = db.session.scalar(select(func.count()).select_from(some.limit(COUNTED_TO + 1).subquery())) or 0
    return number if number <= COUNTED_TO else None


def totals(tenant: Tenant, filters: Filters) -> Totals:
    """Count, what was not received, and cost of everything that matches."""
    bad = Message.status.in_(NOT_RECEIVED)
    row = db.session.execute(
        select(
            func.count(Message.id),
            func.count(Message.id).filter(bad),
            func.coalesce(func.sum(Message.charged_micros), 0),
            func.min(Message.currency),
        )
        .join(Contact, Contact.id == Message.contact_id)
        .where(*_conditions(tenant, filters))
    ).one()
    return Totals(row[0], row[1], int(row[2] or 0), row[3])


def _joined() -> Select[Message, Contact, Template]:
    return (
        select(Message, Contact, Template)
        .join(Contact, Contact.id == Message.contact_id)
        .outerjoin(Template, Template.id == Message.template_id)
    )


def _conditions(tenant: Tenant, filters: Filters) -> list[ColumnElement[bool]]:
    columns = {
        "status": Message.status, "type": Message.type, "template": Message.template_name,
        "language": Message.language, "provider": Message.provider, "account": Message.account_id,
        "market": Message.market, "event_ref": Message.event_ref, "order_id": Message.order_id,
        "error_code": Message.error_code,
    }  # fmt: skip
    found: list[ColumnElement[bool]] = [
        column.in_(words) for name, column in columns.items() if (words := getattr(filters, name))
    ]
    if filters.skip_reason:
        found.append(and_(Message.status == Status.SKIPPED, Message.reason.in_(filters.skip_reason)))
    if filters.campaign_id:
        found.append(false())  # no message belongs to a campaign yet
    if filters.live is not None:
        found.append(Message.live.is_(filters.live))
    if filters.phone is not None:
        found.append(Contact.phone_index == _index(tenant, filters.phone))
    return found + _times(filters) + _having(filters.has) + _typed(tenant, filters.q.strip())


def _times(filters: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.created_from is not None:
        found.append(Message.created_at >= filters.created_from)
    if filters.created_to is not None:
        found.append(Message.created_at < filters.created_to)
    if filters.updated_since is not None:
        found.append(Message.updated_at >= filters.updated_since)
    return found


def _having(words: Sequence[str]) -> list[ColumnElement[bool]]:
    meaning = {
        "error": or_(Message.error_code.is_not(None), Message.error_class.is_not(None)),
        "cost": Message.charged_micros.is_not(None),
        "duplicate_suspected": Message.possible_duplicate.is_(True),
    }
    return [or_(*(meaning[word] for word in words))] if words else []


def _typed(tenant: Tenant, text: str) -> list[ColumnElement[bool]]:
    """What a person typed into one box can be any of these."""
    if not text:
        return []
    may_be = [
        Message.id == text,
        Message.external_id == text,
        Message.order_id.icontains(text, autoescape=True),
        Contact.first_name.icontains(text, autoescape=True),
    ]
    digits = "".join(letter for letter in text if letter.isdigit())
    if digits and all(letter.isdigit() or letter in "+ -.()/•" for letter in text):
        may_be += _number(tenant, text, digits)
    return [or_(*may_be)]


def _number(tenant: Tenant, text: str, digits: str) -> list[ColumnElement[bool]]:
    """A whole number is found exactly. Of a part only the last three digits help: no more is kept readable."""
    try:
        phone = to_e164(text, tenant.default_country)
    except BadPhone:
        return [Message.to_masked.endswith(digits[-3:])] if len(digits) >= 3 else []
    return [Contact.phone_index == _index(tenant, phone.e164)]


def _index(tenant: Tenant, e164: str) -> str:
    return security.blind_index(bytes.fromhex(tenant.index_pepper), e164)


# --- one message ------------------------------------------------------------------------------------------------


def find(tenant: Tenant, message_id: str, *, live: bool | None = None) -> Found:
    """One message of the tenant; with ``live`` only of that mode. Raises NotFound."""
    wanted = _joined().where(Message.tenant_id == tenant.id, Message.id == message_id)
    row = db.session.execute(wanted, execution_options={"populate_existing": True}).one_or_none()
    if row is None or live not in (None, row[0].live):
        raise NotFound(T("There is no message with this id."))
    return Found(*row)


def story(tenant: Tenant, message_id: str, *, live: bool | None = None) -> Story:
    """Everything about one message of the tenant; with ``live`` only of that mode. Raises NotFound."""
    found = find(tenant, message_id, live=live)
    attempts = attempts_of([message_id]).get(message_id, [])
    events = events_of([message_id]).get(message_id, [])
    return Story(found, lines_of(events, attempts, tenant.timezone), attempts, _webhooks(message_id))


def attempts_of(message_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """The tries of each message, first to last."""
    wanted = select(Attempt).where(Attempt.message_id.in_(message_ids)).order_by(Attempt.message_id, Attempt.attempt_no)
    found: dict[str, list[Attempt]] = {}
    for attempt in db.session.scalars(wanted):
        found.setdefault(attempt.message_id, []).append(attempt)
    return found


def events_of(message_ids: Sequence[str]) -> dict[str, list[MessageEvent]]:
    """What was told of each message, in the order we learnt it."""
    wanted = (
        select(MessageEvent)
        .where(MessageEvent.message_id.in_(message_ids))
        .order_by(MessageEvent.message_id, MessageEvent.recorded_at, MessageEvent.id)
    )
    found: dict[str, list[MessageEvent]] = {}
    for event in db.session.scalars(wanted):
        found.setdefault(event.message_id, []).append(event)
    return found


def lines_of(events: Sequence[MessageEvent], attempts: Sequence[Attempt], zone: str = "UTC") -> list[Line]:
    """The story's lines in the order things happened, days written as in the IANA ``zone``."""
    told = [(event.at, event.kind, event.attempt_no, dict(event.detail or {})) for event in events]
    for attempt in attempts:
        detail = {"number": attempt.attempt_no, "provider": attempt.provider}
        told.append((attempt.started_at, "attempt", attempt.attempt_no, detail))
    taken = {number: at for at, kind, number, _ in told if kind == "accepted"}
    told.sort(key=lambda line: _when(line[0], line[1], taken.get(line[2])))
    lines: list[Line] = []
    for at, kind, attempt_no, detail in told:
        gap = max(at - lines[-1].at, timedelta(0)) if lines else None
        lines.append(Line(at, kind, sentence(kind, detail, zone), gap, attempt_no, detail))
    return lines


def _when(at: datetime, kind: str, taken: datetime | None) -> tuple[datetime, int]:
    """Receipts come in whole seconds, from another clock: within their second they follow what we did, in their own
    order, and never come before the line that says that the provider took the try (``taken``)."""
    if kind not in _RECEIPT_KINDS:
        return at, 0
    late = at + timedelta(microseconds=999_999) if at.microsecond == 0 else at
    return max(late, taken or late), _RECEIPT_KINDS[kind]


def _webhooks(message_id: str) -> list[Webhook]:
    wanted = (
        select(WebhookItem, WebhookEvent.received_at, WebhookEvent.state)
        .join(WebhookEvent, WebhookEvent.id == WebhookItem.event_id)
        .where(WebhookItem.message_id == message_id)
        .order_by(WebhookEvent.received_at, WebhookItem.id)
    )
    return [Webhook(item, received_at, state) for item, received_at, state in db.session.execute(wanted)]


def may_be_cancelled(message: Message) -> bool:
    """Has it not left yet?"""
    return message.status == Status.QUEUED and message.rank < Rank.ACCEPTED
