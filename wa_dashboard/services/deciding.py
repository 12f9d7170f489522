"""What a person decides about problems: try again, another way, another number, enough of it, look again.

For one message, for chosen ones or for a whole cause, in chunks. Repeating is harmless: what has moved on is left
alone. Everything runs in the tenant's scope.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update

from .. import clock
from ..bulk import among
from ..db import db, transaction
from ..domain.consent import IN, UNKNOWN, Source
from ..domain.phone import Phone
from ..domain.statuses import Purpose
from ..domain.text import T
from ..errors import Conflict, Finding, Invalid, WaError
from ..logs import mask_text
from ..models import Contact, Message, Problem, ProviderAccount
from . import accounts, audit, consent_log, contacts, lifecycle, messages, problems, requeueing, standby
from .requeueing import Asker

MOST = 5000  # of a cause at once: a page must be answered
NOTE_MAX = 500


@dataclass(frozen=True)
class Which:
    """Chosen messages, or all of a cause, of one mode."""

    live: bool
    message_ids: Sequence[str] = ()
    cause: str | None = None


@dataclass
class Decided:
    """``done`` went as asked; ``unchanged`` had moved on before; ``refused`` with the reason of each.

    ``more``: of a very large cause some are left for another time.
    """

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, WaError] = field(default_factory=dict)
    more: bool = False

    @property
    def seen(self) -> int:
        return len(self.done) + len(self.unchanged) + len(self.refused)


def retry(who: Asker, which: Which, *, account_id: str | None = None, confirmed: bool = False) -> Decided:
    """Send them once more, through ``account_id`` if one is named; ``confirmed``: see `requeue`.

    Raises NotFound for ids or an account not theirs.
    """
    through = accounts.find_account(account_id, live=which.live) if account_id else None

    def again(ids: list[str], decided: Decided) -> None:
        answers = requeueing.requeue(who, ids, through=through, confirmed=confirmed, live=which.live)
        for message_id, refusal in answers.items():
            if refusal is None:
                decided.done.append(message_id)
            elif isinstance(refusal, Conflict) and _has_moved_on(message_id):
                decided.unchanged.append(message_id)
            else:
                decided.refused[message_id] = refusal

    return _each_chunk(who, which, again)


def close(who: Asker, which: Which, note: str = "") -> Decided:
    """Into the archive: nobody needs to look at them any more, and ``note`` says why. Raises NotFound."""
    said = mask_text(note.strip())[:NOTE_MAX] or None  # lines outlive the person's erasure
    values = {"closed_at": clock.now(), "closed_by": who.actor[:60], "closed_note": said}
    return _mark(who, which, "closed", Problem.closed_at.is_(None), values, note=bool(note.strip()))


def reopen(who: Asker, which: Which) -> Decided:
    """Back from the archive. Raises NotFound."""
    values = {"closed_at": None, "closed_by": None, "closed_note": None}
    return _mark(who, which, "reopened", Problem.closed_at.is_not(None), values)


def _mark(who: Asker, which: Which, what: str, condition: Any, values: dict[str, Any], **detail: Any) -> Decided:
    def mark(ids: list[str], decided: Decided) -> None:
        with transaction():
            changed = db.session.scalars(
                update(Problem)
                .where(Problem.tenant_id == who.tenant.id, among(Problem.message_id, ids), condition)
                .values(**values)
                .returning(Problem.message_id),
                execution_options={"synchronize_session": False},
            ).all()
            if changed:
                subject = changed[0] if len(changed) == 1 else "problems"
                audit.record(who.tenant.id, who.actor, f"problem.{what}", subject, ids=sorted(changed), **detail)
        decided.done += changed
        decided.unchanged += [each for each in ids if each not in set(changed)]

    return _each_chunk(who, which, mark, closed=what == "reopened")


def _each_chunk(
    who: Asker, which: Which, act: Callable[[list[str], Decided], None], *, closed: bool = False
) -> Decided:
    decided = Decided()
    for ids in _chunks(who, which, closed):
        if which.cause is not None and decided.seen >= MOST:
            decided.more = True
            break
        act(ids, decided)
    return decided


def _chunks(who: Asker, which: Which, closed: bool) -> Iterable[list[str]]:
    if which.cause is not None:
        return problems.chunks_of(who.tenant, which.live, which.cause, closed=closed)
    return _in_pieces(problems.chosen(who.tenant, which.message_ids, live=which.live))


def _in_pieces(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), problems.CHUNK):
        yield ids[start : start + problems.CHUNK]


def _has_moved_on(message_id: str) -> bool:
    status = db.session.scalar(select(Message.status).where(Message.id == message_id))
    return status not in requeueing.AGAIN


# --- another way ------------------------------------------------------------------------------------------------


def others_for(message: Message) -> list[ProviderAccount]:
    """The senders through which this message could go instead: its template is approved there."""
    wanted = (
        select(ProviderAccount)
        .where(
            ProviderAccount.tenant_id == message.tenant_id,
            ProviderAccount.live == message.live,
            ProviderAccount.status != "disabled",
            ProviderAccount.id != message.account_id,
        )
        .order_by(ProviderAccount.priority, ProviderAccount.id)
    )
    found = list(db.session.scalars(wanted))
    approved = standby.approved_at([each.id for each in found])
    return [each for each in found if (message.template_id, each.id) in approved]


def change_number(who: Asker, message_id: str, phone: Phone, *, agreed: bool, live: bool | None = None) -> Message:
    """Send the message to another number of the same person, once more.

    ``agreed``: somebody says that the person behind the number agreed; it is noted with the source ``staff`` when
    nothing is known of the number. Raises NotFound; Conflict when the message has moved on; Invalid ``opted_out``
    or, without ``agreed``, ``not_opted_in``.
    """
    tenant = who.tenant
    with transaction():
        old = messages.find(tenant, message_id, live=live)
        if (refusal := requeueing.not_again(old.message)) is not None:
            raise refusal
        if phone.e164 == old.contact.phone:
            detail = T("This is the number it went to already.")
            raise Invalid(detail, findings=[Finding("/phone", "same_number", detail)])
        person = _person_at(who, old, phone, agreed=agreed)
        was = old.message.to_masked
        lifecycle.lock_message(message_id)
        lifecycle.annotate([message_id], contact_id=person.id, to_masked=phone.masked, market=phone.market)
        lifecycle.tell(tenant.id, [message_id], "number_changed", detail={"from": was, "to": phone.masked})
        audit.record(tenant.id, who.actor, "message.number_changed", message_id)
        again = requeueing.requeue(who, [message_id], live=live)[message_id]
        if again is not None:
            raise again
    return messages.find(tenant, message_id).message


def _person_at(who: Asker, old: messages.Found, phone: Phone, *, agreed: bool) -> Contact:
    """The contact with this number; what somebody says of its consent is noted first."""
    tenant, purpose = who.tenant, Purpose(old.message.purpose)
    known = contacts.find_contact(tenant, phone.e164)
    unknown = known is None or consent_log.state_of(known.id)[purpose] == UNKNOWN
    if unknown and not agreed and (known is None or consent_log.verdict(tenant, known.id, purpose) is not None):
        detail = T("Confirm that the person with this number agreed to get the message.")
        raise Invalid(detail, "not_opted_in", findings=[Finding("/agreed", "not_opted_in", detail)])
    if unknown and agreed:
        consent_log.record(
            tenant,
            consent_log.ConsentRequest(
                status=IN,
                source=Source.STAFF,
                phone=phone,
                purposes=(purpose,),
                source_ref=f"number:{old.message.id}",
                evidence={"form": "change_number", "by": who.actor},
                claimed_by={"type": who.actor.partition(":")[0], "id": who.actor.partition(":")[2]},
            ),
            who.actor,
        )
    first_name = old.contact.first_name if known is None else None
    return contacts.contact_for(
        tenant, phone, first_name=first_name, locale=old.contact.locale if known is None else None
    )
