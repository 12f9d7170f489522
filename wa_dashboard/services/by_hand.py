"""What people do with single messages on the pages: send themselves a test, send a failed one once more."""

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from .. import clock, queues
from ..db import db, transaction
from ..domain.consent import IN, UNKNOWN, Source
from ..domain.orders import OrderConfirmation
from ..domain.phone import Phone
from ..domain.statuses import MessageType, Purpose, Status
from ..domain.text import T
from ..errors import Conflict, Invalid, NotFound
from ..models import Message, Tenant
from . import accounts, audit, consent_log, contacts, lifecycle, sending, templates
from .tenants import Caller, SignedIn

AGAIN = frozenset({Status.FAILED, Status.DEAD_LETTER, Status.UNCONFIRMED, Status.EXPIRED})


@dataclass(frozen=True)
class _Person(Caller):
    """Somebody at the pages, where a key is expected."""

    user_id: str = ""

    @property
    def actor(self) -> str:
        return f"user:{self.user_id}"


def send_test(me: SignedIn, phone: Phone, first_name: str, token: str, language: str) -> Message:
    """Confirm an invented order to ``phone`` for real, with the template's own sample values.

    ``token``: the form's; the same one is one message however often it comes. A person of whom nothing is known
    is noted as having agreed to it (source ``staff``); an opt-out stays one, and the message is then ``skipped``.
    Raises Invalid when no template or account can be used.
    """
    tenant = me.tenant
    caller = _Person(tenant, "", tenant.live, frozenset({"send:confirm"}), user_id=me.user.id)
    with transaction():
        contact = contacts.find_contact(tenant, phone.e164)
        if contact is None or consent_log.state_of(contact.id)[Purpose.TRANSACTIONAL] == UNKNOWN:
            _note_agreement(me, phone, token)
        choice = _template(tenant, language)
        order = OrderConfirmation(
            order_id=f"TEST-{hashlib.sha256(token.encode()).hexdigest()[:8].upper()}",
            phone=phone,
            first_name=first_name or None,
            locale=language,
            template_name=choice.template.name,
            template_language=choice.template.language,
            variables={**choice.template.examples, **({"first_name": first_name} if first_name else {})},
        )
        return sending.send_order_confirmation(caller, order).message


def _note_agreement(me: SignedIn, phone: Phone, token: str) -> None:
    request = consent_log.ConsentRequest(
        status=IN,
        source=Source.STAFF,
        phone=phone,
        purposes=(Purpose.TRANSACTIONAL,),
        source_ref=f"test:{token}",
        evidence={"form": "send_test", "user": me.user.id},
        claimed_by={"type": "user", "id": me.user.id},
    )
    consent_log.record(me.tenant, request, me.actor)


def _template(tenant: Tenant, language: str) -> templates.Choice:
    ids = [account.id for account in accounts.accounts_of(tenant, tenant.live)]
    if not ids:
        raise Invalid(T("No WhatsApp sender is connected."), "no_account")
    wanted = list(dict.fromkeys([language, tenant.locale]))
    return templates.choose(tenant, MessageType.ORDER_CONFIRM, tenant.live, ids, name=None, languages=wanted)


def may_send_again(message: Message) -> bool:
    """Is it over without having arrived, so that a person may try once more?"""
    return message.status in AGAIN


def send_again(me: SignedIn, message_id: str) -> Message:
    """Put a message that did not arrive back into the queue, its attempts going on counting.

    Raises NotFound; Conflict when it is not over or has arrived; Invalid (the reason's code) when the person may
    not be written to any more. A message nobody knows the end of is marked as possibly sent twice.
    """
    with transaction():
        known = _find(me.tenant, message_id)
        # Consent before outbox: an opt-out takes them in this order too.
        refusal = consent_log.verdict(me.tenant, known.contact_id, known.purpose, lock=True)
        message = lifecycle.lock_message(message_id)
        if not may_send_again(message):
            raise Conflict(T("It is not possible any more: the message has moved on."), "state_conflict")
        if refusal is not None:
            raise Invalid(T("The person has asked not to be written to."), refusal.reason)
        if message.account_id is None:
            raise Conflict(T("No WhatsApp sender is connected."), "state_conflict")
        _queue(message)
        audit.record(me.tenant.id, me.actor, "message.requeued", message.id, was=message.status)
        queues.wake_lane(message.account_id)
    return message


def _find(tenant: Tenant, message_id: str) -> Message:
    found = db.session.scalar(select(Message).where(Message.tenant_id == tenant.id, Message.id == message_id))
    if found is None:
        raise NotFound(T("There is no message with this id."))
    return found


def _queue(message: Message) -> None:
    life = sending.LIFE[MessageType(message.type)].total_seconds()
    changes: dict[str, Any] = {
        "reason": None,
        "next_at": None,
        "possible_duplicate": message.possible_duplicate or message.status == Status.UNCONFIRMED,
        "expires_at": clock.in_seconds(life),
        "error_code": None,
        "error_class": None,
        "error_detail": None,
    }
    lifecycle.move(message.tenant_id, [message.id], Status.QUEUED, "requeued", **changes)
    lifecycle.put_in_outbox(message, life)
