"""Consent: recording it, asking for it, and hearing it on WhatsApp itself.

STOP as a whole message ends promotions and reminders; STOP ALL, or a second STOP within thirty days, ends
everything; START brings back what a STOP took (states.md §6.5). The words are in `domain.stopwords`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from .. import clock
from ..db import db, transaction
from ..domain.consent import IN, OUT, PURPOSES, Refusal, Source, restored_by_start, skip_sentence
from ..domain.phone import BadPhone, candidates_of, to_e164
from ..domain.statuses import Purpose
from ..domain.stopwords import Heard, heard, payload_heard
from ..models import Attempt, ConsentEvent, Contact, Message, ProviderAccount, Tenant
from ..providers.base import InboundItem, PreferenceItem
from . import audit, chains, contacts
from .chains import Broken
from .consent_log import (
    ConsentResult,
    Recorded,
    as_said,
    explained,
    history,
    recompute,
    record,
    record_many,
    state_of,
    states_of,
    verdict,
)
from .consent_request import ConsentRequest
from .contacts import contact_for, find_by_user_id, find_contact
from .tenants import find_tenant

__all__ = [
    "ConsentRequest", "ConsentResult", "Recorded", "Refusal", "blocked_by_meta", "contact_for", "explained",
    "find_by_user_id", "find_contact", "hear", "history", "prefer", "recompute", "record", "record_many",
    "skip_sentence", "state_of", "states_of", "verdict", "verify",
]  # fmt: skip

OLDEST_NEWS = timedelta(days=8)  # signed posts never grow stale by themselves (durability.md §3.17.6)
SECOND_STOP = timedelta(days=30)
_NEWS = (Purpose.MARKETING, Purpose.REMINDER)
_META = Source.META_PREFERENCE
_CAPTIONED = frozenset({"image", "video", "document", "audio", "sticker"})


def verify(tenant_id: str) -> Broken | None:
    """The first event of the tenant's consent history that was changed, removed or slipped in; None if all hold."""
    return chains.verify_consent(tenant_id)


# --- what a person writes ---------------------------------------------------------------------------------------


def hear(account: ProviderAccount, item: InboundItem) -> dict[str, Any]:
    """Do what an inbound message asks for; inside the tenant's scope, repeatable.

    Returns JSON: ``did`` is ``opted_out``, ``opted_in``, ``near_miss`` (nothing changed, a human should look),
    ``noted`` or ``ignored`` (with ``reason``: ``too_old``, ``unknown_person``, ``repeated``), with ``contacts``
    (ids), ``heard``, ``purposes`` and ``cancelled`` where they apply.
    """
    if item.at < clock.now() - OLDEST_NEWS:
        return {"did": "ignored", "reason": "too_old"}
    tenant, asked = find_tenant(account.tenant_id), _asked(item)
    with transaction():
        if asked in (None, "near_miss"):
            people = _people(tenant, account, item)
            answer = _flag(account, item, people) if asked else {"did": "noted"}
        else:
            # The chain's lock comes before any other, as wherever consent is written.
            chains.lock(tenant.id, chains.CONSENT)
            people = _people(tenant, account, item, everybody=asked != "start")
            answer = _obey(tenant, account, item, asked, people)
        _note_arrival(item, people)
    if not people:
        return {"did": "ignored", "reason": "unknown_person"}
    return {**answer, "contacts": [person.id for person in people]} | ({"heard": asked} if asked else {})


def _asked(item: InboundItem) -> Heard | None:
    """Payload of the tapped button, else the words, else what the provider itself made of them."""
    asked = payload_heard(item.button_payload) or heard(item.text)
    if asked in (None, "near_miss") and item.opt_out_type in ("stop", "start"):
        return "stop" if item.opt_out_type == "stop" else "start"
    return "near_miss" if asked and item.type in _CAPTIONED else asked


def _people(tenant: Tenant, account: ProviderAccount, item: InboundItem, *, everybody: bool = False) -> list[Contact]:
    """Who wrote this: by number, else by WhatsApp's user id, else whoever got the message it answers.

    ``everybody`` (opt-outs): also the one who got that message under another number, and strangers are written
    down, so that a STOP holds from whoever proves to read the messages.
    """
    found = contacts.find_aliases(tenant, item.from_phone) if item.from_phone else []
    if not found and item.from_user_id and (person := contacts.find_by_user_id(tenant, item.from_user_id)):
        found = [person]
    if (everybody or not found) and (addressee := _addressee(account, item)) and addressee not in found:
        found.append(addressee)
    if everybody and not found and item.from_phone:
        found = _stranger(tenant, item.from_phone)
    return found


def _stranger(tenant: Tenant, number: str) -> list[Contact]:
    for alias in candidates_of(number):
        try:
            return [contacts.contact_for(tenant, to_e164(alias))]
        except BadPhone:
            continue
    return []


def _addressee(account: ProviderAccount, item: InboundItem) -> Contact | None:
    if not item.in_reply_to:
        return None
    return db.session.scalar(
        select(Contact)
        .join(Message, Message.contact_id == Contact.id)
        .join(Attempt, Attempt.message_id == Message.id)
        .where(Attempt.account_id == account.id, Attempt.external_id == item.in_reply_to)
    )


def _note_arrival(item: InboundItem, people: Sequence[Contact]) -> None:
    """The person wrote: that opens the 24-hour window, and shows which user id belongs to the number."""
    if item.type == "system":
        if people and item.new_user_id:
            contacts.keep_user_ids([(people[0].id, item.new_user_id)])
        return
    for number, person in enumerate(people):
        if person.last_inbound_at is None or person.last_inbound_at < item.at:
            person.last_inbound_at = item.at
        if number == 0 and item.from_phone and item.from_user_id and len(item.from_user_id) <= 160:
            person.provider_user_id = item.from_user_id
    db.session.flush()


def _flag(account: ProviderAccount, item: InboundItem, people: Collection[Contact]) -> dict[str, Any]:
    for person in people:
        reference = {"account": account.id, "external_id": item.external_id}
        audit.record(account.tenant_id, f"contact:{person.id}", "consent.near_miss", person.id, **reference)
    return {"did": "near_miss"}


def _obey(
    tenant: Tenant, account: ProviderAccount, item: InboundItem, asked: Heard, people: Collection[Contact]
) -> dict[str, Any]:
    purposes: set[str] = set()
    messages = schedules = repeated = 0
    for person in people:
        past = history(person.id)
        if any(event.source == Source.WHATSAPP_REPLY and event.source_ref == _reference(item) for event in past):
            repeated += 1
            continue
        wanted = _restored(account, item, past) if asked == "start" else _refused(asked, item, past)
        if not wanted:
            continue
        status = IN if asked == "start" else OUT
        result = record(tenant, _request(account, item, status, wanted), f"contact:{person.id}", contact=person)
        purposes.update(event.purpose for event in result.events if event.applied)
        messages += result.cancelled_messages
        schedules += result.cancelled_schedules
    if people and repeated == len(people):
        return {"did": "ignored", "reason": "repeated"}
    if asked == "start":
        return {"did": "opted_in" if purposes else "noted", "purposes": sorted(purposes)}
    cancelled = {"messages": messages, "schedules": schedules}
    return {"did": "opted_out", "purposes": sorted(purposes), "cancelled": cancelled}


def _refused(asked: Heard, item: InboundItem, past: list[ConsentEvent]) -> Collection[str]:
    if asked == "stop_marketing":
        return (Purpose.MARKETING,)
    return PURPOSES if asked == "stop_all" or _is_second_stop(item.at, past) else _NEWS


def _is_second_stop(at: datetime, past: list[ConsentEvent]) -> bool:
    """Had a STOP within thirty days already ended promotions and reminders?"""
    newest = _newest(past)
    states = [newest.get(purpose) for purpose in _NEWS]
    return all(event is not None and event.status == OUT for event in states) and any(
        event is not None and event.source == Source.WHATSAPP_REPLY and at - event.occurred_at <= SECOND_STOP
        for event in states
    )


def _restored(account: ProviderAccount, item: InboundItem, past: list[ConsentEvent]) -> list[str]:
    """What a START brings back. One from the simulator never undoes a real person's STOP."""
    return [
        purpose
        for purpose, event in _newest(past).items()
        if event.occurred_at <= _moment(item.at)
        and (account.live or not event.actor.get("live"))
        and restored_by_start(purpose, _said(past, purpose), Source.WHATSAPP_REPLY)
    ]


def _newest(past: list[ConsentEvent]) -> dict[str, ConsentEvent]:
    """The event that counts, by purpose."""
    newest: dict[str, ConsentEvent] = {}
    for event in past:
        known = newest.get(event.purpose)
        if known is None or as_said(event).weight > as_said(known).weight:
            newest[event.purpose] = event
    return newest


def _said(past: list[ConsentEvent], purpose: str) -> list[Any]:
    return [as_said(event) for event in past if event.purpose == purpose]


def _request(account: ProviderAccount, item: InboundItem, status: str, purposes: Collection[str]) -> ConsentRequest:
    word = (item.text or item.button_payload or item.opt_out_type or "").strip()[:40]
    return ConsentRequest(
        status=status,
        source=Source.WHATSAPP_REPLY,
        purposes=purposes,
        occurred_at=_moment(item.at),
        source_ref=_reference(item),
        evidence={"word": word, "message": item.external_id or item.key, "account": account.id},
        claimed_by={"type": "customer", "account": account.id, "live": account.live},
    )


def _reference(item: InboundItem) -> str:
    return (item.external_id or item.key)[:200]


def _moment(at: datetime) -> datetime:
    """When it was said, at the latest: providers cut off the fraction of the second.

    Without this a STOP would lose against a yes given earlier within the same second.
    """
    return min(at if at.microsecond else at.replace(microsecond=999_999), clock.now())


# --- WhatsApp's own switch --------------------------------------------------------------------------------------


def prefer(account: ProviderAccount, item: PreferenceItem) -> dict[str, Any]:
    """A person stopped or resumed our promotions in WhatsApp's settings; inside the tenant's scope, repeatable.

    *resume* brings back a yes that *stop* took, and never invents one. Answers like `hear`.
    """
    if item.at < clock.now() - OLDEST_NEWS:
        return {"did": "ignored", "reason": "too_old"}
    tenant, stop = find_tenant(account.tenant_id), item.value == "stop"
    with transaction():
        chains.lock(tenant.id, chains.CONSENT)
        people = _switched_by(tenant, item)
        if people and item.phone and item.user_id:
            contacts.keep_user_ids([(people[0].id, item.user_id)])
        changed = False
        for person in people:
            if stop or restored_by_start(Purpose.MARKETING, _said(history(person.id), Purpose.MARKETING), _META):
                result = blocked_by_meta(
                    tenant, person, at=item.at, reference=item.key, account=account, resumed=not stop
                )
                changed = changed or result.changed
    if not people:
        return {"did": "ignored", "reason": "unknown_person"}
    did = ("opted_out" if stop else "opted_in") if changed else "noted"
    return {"did": did, "contacts": [person.id for person in people], "purposes": [str(Purpose.MARKETING)]}


def _switched_by(tenant: Tenant, item: PreferenceItem) -> list[Contact]:
    found = contacts.find_aliases(tenant, item.phone) if item.phone else []
    if not found and item.user_id and (person := contacts.find_by_user_id(tenant, item.user_id)):
        found = [person]
    return found or (_stranger(tenant, item.phone) if item.phone and item.value == "stop" else [])


def blocked_by_meta(
    tenant: Tenant,
    person: Contact,
    *,
    at: datetime,
    reference: str,
    account: ProviderAccount,
    resumed: bool = False,
) -> ConsentResult:
    """Meta says this person stopped our promotions (``user_preferences``, or error 131050 on a send), or resumed.

    ``reference``: the news item or the message refused; the same one counts once.
    """
    request = ConsentRequest(
        status=IN if resumed else OUT,
        source=_META,
        purposes=(Purpose.MARKETING,),
        occurred_at=_moment(at),
        source_ref=reference[:200],
        evidence={"reference": reference, "account": account.id},
        claimed_by={"type": "customer", "account": account.id, "live": account.live},
    )
    return record(tenant, request, f"contact:{person.id}", contact=person)
