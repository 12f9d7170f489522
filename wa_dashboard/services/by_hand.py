"""What people do with single messages on the pages: send themselves a test, send a failed one once more."""

import hashlib
from dataclasses import dataclass

from ..db import transaction
from ..domain.consent import IN, UNKNOWN, Source
from ..domain.orders import OrderConfirmation
from ..domain.phone import Phone
from ..domain.statuses import MessageType, Purpose
from ..domain.text import T
from ..errors import Invalid
from ..models import Message, Tenant
from . import accounts, consent_log, contacts, messages, sending, templates
from .requeueing import Asker, may_send_again, requeue
from .tenants import Caller, SignedIn

__all__ = ["may_send_again", "send_again", "send_test"]


@dataclass(frozen=True)
class _Person(Caller):
    """Somebody at the pages, where a key is expected."""

    user_id: str = ""

    @property
    def actor(self) -> str:
        return f"user:{self.user_id}"


def send_test(
    me: SignedIn, phone: Phone, first_name: str, token: str, language: str, *, live: bool | None = None
) -> Message:
    """Confirm an invented order to ``phone`` for real, with the template's own sample values.

    ``live``: through the live senders, also of an organisation in test mode that gets ready to go live; None: as its
    mode is.

    ``token``: the form's; the same one is one message however often it comes. A person of whom nothing is known
    is noted as having agreed to it (source ``staff``); an opt-out stays one, and the message is then ``skipped``.
    Raises Invalid when no template or account can be used.
    """
    tenant = me.tenant
    live = tenant.live if live is None else live
    caller = _Person(tenant, "", live, frozenset({"send:confirm"}), user_id=me.user.id)
    with transaction():
        contact = contacts.find_contact(tenant, phone.e164)
        if contact is None or consent_log.state_of(contact.id)[Purpose.TRANSACTIONAL] == UNKNOWN:
            _note_agreement(me, phone, token)
        choice = _template(tenant, language, live)
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


def _template(tenant: Tenant, language: str, live: bool) -> templates.Choice:
    ids = [account.id for account in accounts.accounts_of(tenant, live)]
    if not ids:
        raise Invalid(T("No WhatsApp sender is connected."), "no_account")
    wanted = list(dict.fromkeys([language, tenant.locale]))
    return templates.choose(tenant, MessageType.ORDER_CONFIRM, live, ids, name=None, languages=wanted)


def send_again(
    who: Asker,
    message_id: str,
    *,
    account_id: str | None = None,
    confirmed: bool = False,
    live: bool | None = None,
) -> Message:
    """Put one message that did not arrive back into the queue, through another account if one is named.

    Raises NotFound; Conflict when it is not over or has arrived; Invalid (the reason's code) when the person may
    not be written to any more, or the account may not send the template. See `requeueing.requeue`.
    """
    through = accounts.find_account(account_id, live=live) if account_id else None
    refusal = requeue(who, [message_id], through=through, confirmed=confirmed, live=live)[message_id]
    if refusal is not None:
        raise refusal
    return messages.find(who.tenant, message_id).message
