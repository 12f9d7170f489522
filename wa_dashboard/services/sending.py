"""Accepting a wish to send: every check once, everything it needs stored in one transaction, then a wake-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from .. import clock, queues
from ..db import db, savepoint, transaction
from ..domain import pricing, rendering
from ..domain.codes import LIFE as CODE_LIFE
from ..domain.consent import Refusal, Said
from ..domain.ids import new_id
from ..domain.media import MediaWish
from ..domain.orders import GivenConsent, OrderConfirmation, OrderEvent
from ..domain.statuses import LANE_OF, POLICY_OF, PURPOSE_OF, MessageType, Status
from ..domain.text import T
from ..errors import Invalid, invalid
from ..models import Breaker, Contact, Message, ProviderAccount, Tenant
from ..remembered import Remembered
from . import (
    accepting,
    accounts,
    audit,
    consent_log,
    contacts,
    enclosing,
    idempotency,
    media,
    planning,
    templates,
)
from .tenants import Caller

LIFE = {
    MessageType.ORDER_CONFIRM: timedelta(hours=24),
    MessageType.REMINDER: timedelta(hours=24),
    MessageType.PROMO: timedelta(hours=48),
    MessageType.OTP: CODE_LIFE,
}
RESENDS = 5
SENDERS_REMEMBERED_S = 1.0
_senders: Remembered[Mapping[str, str]] = Remembered("senders", SENDERS_REMEMBERED_S, ProviderAccount, Breaker)
# What may differ between two posts of one order without the message being another.
_BESIDES = {"resend", "dry_run", "strict", "metadata", "consent", "reminders"}


@dataclass(frozen=True)
class Wish:
    """One message somebody wants sent: to whom, of which template, with which values.

    The standard variables of ``event`` are said in the template's language; ``values`` win over them. ``states``:
    what the person agreed to, if this transaction has read it already.
    """

    type: MessageType
    dedupe_key: str
    contact: Contact
    live: bool
    languages: Sequence[str] | Sequence[tuple[str, T]]
    values: Mapping[str, str]
    asked_by: str
    template_name: str | None = None
    order_id: str | None = None
    event: OrderEvent | None = None
    expires_at: datetime | None = None
    resend_no: int = 0
    resend_reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, Said] | None = None
    media: MediaWish | None = None


@dataclass(frozen=True)
class Sent:
    """What became of a wish. ``refusal`` is set when the person may not be written to (the message is skipped).

    ``values``: of all variables that the template (``choice``) may use.
    """

    message: Message
    duplicate: bool = False
    refusal: Refusal | None = None
    choice: templates.Choice | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    price: pricing.Price | None = None
    content_differs: tuple[str, ...] = ()
    consent: consent_log.ConsentResult | None = None
    reminders: planning.Planned | None = None

    def rendered(self) -> rendering.Bubble | None:
        """What the recipient would see; None without a template."""
        return rendering.preview(self.choice.template, self.values) if self.choice is not None else None


class _OnlyRehearsed(Exception):
    """Carries a dry run's result out of the savepoint that undoes it."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent


def send_order_confirmation(caller: Caller, order: OrderConfirmation) -> Sent:
    """Confirm an order once, for ever (api.md §5.2).

    Consent given with the order, the message and its reminders are stored together. The same order again returns
    the first message with ``duplicate``. A person who may not be written to gets a ``skipped`` message, or, with
    ``strict``, Invalid whose code is the reason. Raises Invalid for a missing variable, a template that cannot be
    sent, an ``expires_at`` in the past, more than five resends.
    """
    with transaction():
        if not order.dry_run:
            return _confirm(caller, order)
        return _rehearse(caller, order)


def _rehearse(caller: Caller, order: OrderConfirmation) -> Sent:
    try:
        with savepoint():
            raise _OnlyRehearsed(_confirm(caller, order))  # noqa: TRY301 - raising is what undoes the savepoint
    except _OnlyRehearsed as rehearsal:
        return rehearsal.sent


def _confirm(caller: Caller, order: OrderConfirmation) -> Sent:
    tenant = caller.tenant
    index = contacts.index_of(tenant, order.phone.e164)
    first_key = _order_key(caller, order, index, 0)
    known = accepting.look(tenant, first_key, index)
    if known.message_id is not None and order.resend_reason is None:
        return _again(_the_one(first_key), order)
    resend_no = _next_resend(order, first_key) if known.message_id is not None else 0
    contact, states, said = _person(caller, order, index, known)
    wish = Wish(
        type=MessageType.ORDER_CONFIRM,
        dedupe_key=_order_key(caller, order, index, resend_no),
        contact=contact,
        live=caller.live,
        languages=_languages(order, tenant),
        values=_values(order),
        asked_by=caller.actor,
        template_name=order.template_name,
        order_id=order.order_id,
        event=order.event,
        expires_at=order.expires_at,
        resend_no=resend_no,
        resend_reason=order.resend_reason,
        metadata=order.metadata,
        request=order.body,
        states=states,
        media=order.media,
    )
    sent = accept(tenant, wish)
    if sent.duplicate:  # a twin was faster by a hair
        return _again(sent.message, order)
    if sent.refusal is not None and order.strict:
        raise Invalid(T("The message would be left out: %(reason)s.", reason=sent.refusal.reason), sent.refusal.reason)
    if resend_no:
        audit.record(tenant.id, caller.actor, "message.resent", sent.message.id, reason=order.resend_reason or "")
    planned = _plan_reminders(caller, order, contact)
    return replace(sent, consent=said, reminders=planned)


def accept(tenant: Tenant, wish: Wish) -> Sent:
    """Store one message, queued or skipped (inside a transaction). Raises Invalid as `send_order_confirmation`.

    The result's ``message`` is to be read only.
    """
    refusal = consent_log.verdict(tenant, wish.contact.id, PURPOSE_OF[wish.type], states=wish.states)
    senders = _senders_of(tenant, wish.live)
    choice = _choose(tenant, wish, list(senders), must=refusal is None)
    account_id = choice.approval.account_id if choice else None
    if choice is not None:
        wish = replace(wish, values=enclosing.values_for(tenant, wish, choice.template))
    price = _price(tenant, wish, choice)
    row = _message_row(tenant, wish, choice, refusal, price)
    row |= {"account_id": account_id, "provider": senders[account_id] if account_id else None}
    lines: list[tuple[str, Mapping[str, Any]]] = [("asked", {"by": wish.asked_by})]
    if refusal is not None:
        lines.append(("skipped", {"reason": refusal.reason, **refusal.detail}))
    file = enclosing.enclose(tenant, wish, choice.template, row) if refusal is None and choice is not None else None
    life = (row["expires_at"] - row["created_at"]).total_seconds()
    message = accepting.store(row, lines, life if refusal is None else None)
    if message is None:
        return Sent(_the_one(wish.dedupe_key), duplicate=True)
    if file is not None and file.waits:
        media.park(message.id)
    elif refusal is None and account_id is not None:
        queues.wake_lane(account_id)
    return Sent(message, refusal=refusal, choice=choice, values=wish.values, price=price)


def _senders_of(tenant: Tenant, live: bool) -> Mapping[str, str]:
    """The accounts that may send, best first, and their providers."""
    return _senders.get(
        (tenant.id, live), lambda: {account.id: account.provider for account in accounts.accounts_of(tenant, live)}
    )


def _choose(tenant: Tenant, wish: Wish, ids: Sequence[str], *, must: bool) -> "templates.Choice | None":
    """The template to use; for somebody who gets nothing it may be missing."""
    if not ids and must:
        live = T("No live sender is connected. Add one with python3 app.py account-create, or use a test key.")
        rehearsal = T("No test sender is connected. Add one with python3 app.py account-create.")
        raise invalid("/template", "no_account", live if wish.live else rehearsal)
    try:
        return templates.choose(tenant, wish.type, wish.live, ids, name=wish.template_name, languages=wish.languages)
    except Invalid:
        if must:
            raise
        return None


def _price(tenant: Tenant, wish: Wish, choice: "templates.Choice | None") -> pricing.Price | None:
    if not tenant.cost_tracking or choice is None:
        return None
    category = (choice.approval.category or choice.template.category).lower()
    return pricing.price_of(wish.contact.market, category, clock.now())


def _message_row(
    tenant: Tenant,
    wish: Wish,
    choice: "templates.Choice | None",
    refusal: Refusal | None,
    price: pricing.Price | None,
) -> dict[str, Any]:
    now = clock.now()
    message_id = new_id("msg")
    lane = LANE_OF[wish.type]
    names = rendering.all_variables(choice.template) if choice else {}
    values = {name: rendering.clean_value(wish.values[name]) for name in names}
    return {
        "id": message_id,
        "tenant_id": tenant.id,
        "live": wish.live,
        "type": wish.type,
        "purpose": PURPOSE_OF[wish.type],
        "lane": lane,
        "policy": POLICY_OF[wish.type],
        "dedupe_key": wish.dedupe_key,
        "resend_no": wish.resend_no,
        "resend_reason": wish.resend_reason,
        "contact_id": wish.contact.id,
        "to_masked": wish.contact.phone_masked,
        "market": wish.contact.market,
        "order_id": wish.order_id,
        "event_ref": wish.event.ref if wish.event else None,
        "template_id": choice.template.id if choice else None,
        "template_name": choice.template.name if choice else wish.template_name,
        "language": choice.template.language if choice else None,
        "status": Status.QUEUED if refusal is None else Status.SKIPPED,
        "status_at": now,
        "created_at": now,
        "updated_at": now,
        "reason": refusal.reason if refusal else None,
        "reason_detail": dict(refusal.detail) if refusal else {},
        "estimate_micros": price.micros if price and refusal is None else None,
        "currency": price.currency if price else tenant.currency,
        "category": price.category if price else None,
        "expires_at": _expiry(wish, now),
        "asked_by": wish.asked_by,
        "meta": dict(wish.metadata),
        "variables_sealed": Message.variables.seal(Message, tenant.id, message_id, values),
        "request_sealed": Message.request.seal(Message, tenant.id, message_id, dict(wish.request)),
    }


def _expiry(wish: Wish, now: datetime) -> datetime:
    if wish.expires_at is not None and wish.expires_at <= now:
        raise invalid("/expires_at", "expires_in_past", T("expires_at has passed: nothing could be sent in time."))
    return wish.expires_at or now + LIFE[wish.type]


# --- orders -----------------------------------------------------------------------------------------------------


def _order_key(caller: Caller, order: OrderConfirmation, phone_index: str, resend_no: int) -> str:
    mode = "live" if caller.live else "test"
    return f"order_confirm:{mode}:{order.order_id}:{phone_index}:{resend_no}"


def _the_one(dedupe_key: str) -> Message:
    return db.session.scalars(select(Message).where(Message.dedupe_key == dedupe_key)).one()


def _again(message: Message, order: OrderConfirmation) -> Sent:
    before = {key: value for key, value in (message.request or {}).items() if key not in _BESIDES}
    now = {key: value for key, value in order.body.items() if key not in _BESIDES}
    return Sent(message, duplicate=True, content_differs=tuple(idempotency.differences(before, now)))


def _next_resend(order: OrderConfirmation, first_key: str) -> int:
    stem = first_key.removesuffix(":0")
    made = db.session.scalar(
        select(func.max(Message.resend_no)).where(
            Message.order_id == order.order_id, Message.dedupe_key.startswith(stem)
        )
    )
    if (made or 0) >= RESENDS:
        raise invalid("/resend", "resend_limit", T("This order was sent again %(count)s times already.", count=RESENDS))
    return (made or 0) + 1


def _person(
    caller: Caller, order: OrderConfirmation, index: str, known: accepting.Known
) -> tuple[Contact, Mapping[str, Said], "consent_log.ConsentResult | None"]:
    """The buyer, as a contact with the order's facts, and what they agreed to, with what the order says of it."""
    tenant = caller.tenant
    facts = {"first_name": order.first_name, "locale": order.locale, "timezone": order.timezone}
    if order.consent is None:
        return _contact(tenant, order, index, known, facts)[0], known.states, None
    request = _consent(order, order.consent)
    with consent_log.writing(tenant, request, caller.actor, at="/consent") as add:
        if known.contact is not None:
            known = accepting.look(tenant, "", index)  # as it is now that the lock is ours
        contact, new = _contact(tenant, order, index, known, facts)
        said = add(contact, new)
    now = clock.now()
    return contact, {purpose: Said(status, now, "") for purpose, status in said.state.items()}, said


def _contact(
    tenant: Tenant, order: OrderConfirmation, index: str, known: accepting.Known, facts: Mapping[str, str | None]
) -> tuple[Contact, bool]:
    """The contact with the order's facts; whether this transaction has made it."""
    if known.contact is None:
        contact = accepting.new_contact(tenant, order.phone, index, facts)
        if contact is not None:
            return contact, True
        known = accepting.look(tenant, "", index)
    if known.contact is None:
        raise RuntimeError("the contact that was in the way is gone")
    return accepting.keep_facts(known.contact, facts), False


def _consent(order: OrderConfirmation, given: GivenConsent) -> consent_log.ConsentRequest:
    return consent_log.ConsentRequest(
        status=given.status,
        source=given.source,
        phone=order.phone,
        purposes=given.purposes,
        occurred_at=given.occurred_at,
        # The order names the statement, so that its twin, posted at the same instant, says the same thing again.
        source_ref=given.source_ref or f"order:{order.order_id}",
        wording_id=given.wording_id,
        evidence=given.evidence,
    )


def _languages(order: OrderConfirmation, tenant: Tenant) -> Sequence[str] | Sequence[tuple[str, T]]:
    """The template's own language if one was named, else recipient → its base language → tenant (api.md §5.2)."""
    if order.template_language:
        return [order.template_language]
    return templates.language_chain(order.locale, None, tenant.locale)


def _values(order: OrderConfirmation) -> dict[str, str]:
    """What the templates may use beside the event: the order's own facts, and over them whatever the caller said."""
    values = {"order_id": order.order_id}
    if order.first_name:
        values["first_name"] = order.first_name
    return values | {name: str(value) for name, value in order.variables.items()}


def _plan_reminders(caller: Caller, order: OrderConfirmation, contact: Contact) -> "planning.Planned | None":
    if order.event is None or order.reminders == ():
        return None
    if order.reminders is None:
        return None  # nothing was asked; the tenant's own plan is made through /schedule/reminders
    return planning.plan(
        caller.tenant,
        order.event,
        [planning.Attendee(contact, order.order_id, _values(order), order.locale, order.timezone)],
        intervals=order.reminders,
        live=caller.live,
    )
