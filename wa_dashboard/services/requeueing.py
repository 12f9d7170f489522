"""Putting messages that did not arrive back into the queue: the one way, for one of them or for thousands."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Protocol

from sqlalchemy import select

from .. import clock, queues
from ..bulk import among
from ..db import db, transaction
from ..domain.consent import judge
from ..domain.statuses import MessageType, Status
from ..domain.text import T
from ..errors import Conflict, Invalid, NotFound, WaError
from ..models import Message, Outbox, ProviderAccount, Tenant
from . import audit, consent_log, lifecycle, media, sending, standby

AGAIN = frozenset({Status.FAILED, Status.DEAD_LETTER, Status.UNCONFIRMED, Status.EXPIRED})
CHUNK = 200


class Asker(Protocol):
    """Who decides: somebody at the pages, or an API key."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def actor(self) -> str: ...


def may_send_again(message: Message) -> bool:
    """Is it over without having arrived, so that a person may try once more?"""
    return not_again(message) is None


def not_again(message: Message) -> Conflict | None:
    """Why nobody may try it once more; None when a person may."""
    if message.status not in AGAIN:
        return Conflict(T("It is not possible any more: the message has moved on."), "state_conflict")
    if message.type == MessageType.OTP:  # nothing is left of the code
        return Conflict(T("A code is never sent again. Ask for a new one."), "state_conflict")
    return None


def requeue(
    who: Asker,
    message_ids: Sequence[str],
    *,
    through: ProviderAccount | None = None,
    confirmed: bool = False,
    live: bool | None = None,
) -> dict[str, WaError | None]:
    """Put them back into the queue, a chunk in each transaction; their attempts go on counting.

    ``through``: another account of theirs, where the very template must be approved; one whose end nobody knows goes
    that way only if somebody has ``confirmed`` that it may arrive twice. ``live``: of that mode only.
    Returns for each id None, or why it was refused: NotFound, Conflict (it has moved on, so repeating is harmless),
    Invalid with the reason's code (the person may not be written to, the template is not approved there). One whose
    end nobody knows is marked as possibly sent twice.
    """
    found: dict[str, WaError | None] = {}
    for some in _chunks(list(dict.fromkeys(message_ids))):
        with transaction():
            found |= _requeue(who, some, through, live, confirmed=confirmed)
    return found


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _requeue(
    who: Asker, ids: Sequence[str], through: ProviderAccount | None, live: bool | None, *, confirmed: bool
) -> dict[str, WaError | None]:
    tenant = who.tenant
    known = db.session.execute(
        select(Message.id, Message.contact_id, Message.live).where(
            Message.tenant_id == tenant.id, among(Message.id, ids)
        )
    ).all()
    # Consent before outbox: an opt-out takes them in this order too.
    states = consent_log.states_of({row.contact_id for row in known if live in (None, row.live)}, lock=True)
    messages = _locked([row.id for row in known if live in (None, row.live)])
    approved = standby.approved_at([through.id]) if through is not None else set()
    result: dict[str, WaError | None] = {
        message_id: NotFound(T("There is no message with this id.")) for message_id in ids
    }
    for message in messages:
        refusal = judge(states.get(message.contact_id, {}), message.purpose, contract_basis=tenant.contract_basis)
        result[message.id] = (
            _refused(message, through, approved, confirmed=confirmed)
            if refusal is None or not may_send_again(message)
            else Invalid(T("The person has asked not to be written to."), refusal.reason)
        )
    going = [message for message in messages if result[message.id] is None]
    _go(who, going, through)
    return result


def _locked(ids: Sequence[str]) -> list[Message]:
    held = select(Outbox.message_id).where(among(Outbox.message_id, ids)).order_by(Outbox.message_id)
    db.session.execute(held.with_for_update())
    wanted = select(Message).where(among(Message.id, ids)).order_by(Message.id).with_for_update()
    return list(db.session.scalars(wanted, execution_options={"populate_existing": True}))


def _refused(
    message: Message, through: ProviderAccount | None, approved: Set[tuple[str, str]], *, confirmed: bool
) -> WaError | None:
    if (refusal := not_again(message)) is not None:
        return refusal
    if through is not None:
        if message.status == Status.UNCONFIRMED and through.id != message.account_id and not confirmed:
            return Conflict(T("It may have arrived already: say that it may come twice, then try again."))
        return _no_way(message, through, approved)
    if message.account_id is None:
        return Conflict(T("No WhatsApp sender is connected."), "state_conflict")
    own = db.session.execute(
        select(ProviderAccount.label, ProviderAccount.status).where(ProviderAccount.id == message.account_id)
    ).one()
    if own.status == "disabled":  # nothing leaves through it: the message would wait for ever
        return Conflict(T("%(label)s is switched off.", label=own.label), "state_conflict")
    return None


def _no_way(message: Message, through: ProviderAccount, approved: Set[tuple[str, str]]) -> WaError | None:
    if through.live != message.live:
        return NotFound(T("There is no such account."))
    if through.status == "disabled":
        return Conflict(T("%(label)s is switched off.", label=through.label), "state_conflict")
    if (str(message.template_id), through.id) not in approved:
        detail = T("The template is not approved at %(label)s.", label=through.label)
        return Invalid(detail, "template_not_sendable")
    return None


def _go(who: Asker, messages: Sequence[Message], through: ProviderAccount | None) -> None:
    alike: dict[tuple[str, bool], list[Message]] = {}
    for message in messages:
        doubtful = message.possible_duplicate or message.status == Status.UNCONFIRMED
        alike.setdefault((message.type, doubtful), []).append(message)
    was = {message.id: message.status for message in messages}
    for (kind, doubtful), some in alike.items():
        _move(who.tenant, some, sending.LIFE[MessageType(kind)].total_seconds(), doubtful, through)
    if messages:
        _record(who, was, through)
    for account_id in {str(message.account_id) for message in messages}:
        queues.wake_lane(account_id)


def _move(
    tenant: Tenant, messages: Sequence[Message], life: float, doubtful: bool, through: ProviderAccount | None
) -> None:
    ids = [message.id for message in messages]
    if through is not None:
        for message in messages:
            if message.account_id != through.id:
                detail = {"from": message.provider, "to": through.provider}
                lifecycle.tell(tenant.id, [message.id], "switched_over", detail=detail)
            message.account_id, message.provider = through.id, through.provider
        db.session.flush()
    for message in messages:
        if message.error_code in media.LOST and message.media_source_id:
            media.forget_file_of(message, str(message.account_id))
    lifecycle.move(
        tenant.id,
        ids,
        Status.QUEUED,
        "requeued",
        reason=None,
        next_at=None,
        possible_duplicate=doubtful,
        expires_at=clock.in_seconds(life),
        rank=0,  # what the earlier tries proved must not hide what the next one does
        failed_at=None,
        cancel_requested=False,
        error_code=None,
        error_class=None,
        error_detail=None,
    )
    for message in messages:
        lifecycle.put_in_outbox(message, life)


def _record(who: Asker, was: Mapping[str, str], through: ProviderAccount | None) -> None:
    """One line however many they are."""
    more = {"account": through.id} if through else {}
    if len(was) == 1:
        message_id, status = next(iter(was.items()))
        audit.record(who.tenant.id, who.actor, "message.requeued", message_id, was=status, **more)
    else:
        audit.record(who.tenant.id, who.actor, "messages.requeued", "messages", ids=sorted(was), **more)
