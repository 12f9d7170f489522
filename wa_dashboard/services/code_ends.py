"""How codes end, and that nothing of them is left then: the hash goes with the end, the code with its message's.

A code is in the clear on the recipient's phone only, and sealed in its message's variables while the message may still
need it: until it has arrived or failed, or the code has ended.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import and_, delete, select, update

from .. import clock, logs
from ..bulk import among
from ..db import all_tenants, db, end_read, transaction
from ..domain.codes import WINDOW, State
from ..domain.statuses import MessageType, Status
from ..models import Attempt, Code, Contact, Message, ProviderAccount
from ..providers.base import InboundItem
from . import account_story, audit, contacts, lifecycle
from .tenants import find_tenant

log = logs.get(__name__)

DISOWNED = "DID_NOT_REQUEST_CODE"  # the payload of WhatsApp's own button below a code (contracts.md §1.8)
KEPT = 2 * WINDOW  # rows of ended codes: the limits and the answers to late checks need no more
_MOST = 500
_MAY_NEED_IT = (Status.QUEUED, Status.SENDING, Status.UNCERTAIN, Status.ACCEPTED, Status.SENT)
_QUIET = {"synchronize_session": False}


def end(tenant_id: str, code_ids: Collection[str], state: State) -> list[str]:
    """Those of the codes that are live end now; their messages are stopped if they have not left, and hold no code any
    more. In a transaction and the tenant's scope. Returns the messages of those that ended here."""
    ended = db.session.scalars(
        update(Code)
        .where(Code.tenant_id == tenant_id, Code.id.in_(code_ids), Code.state == State.LIVE)
        .values(state=str(state), ended_at=clock.now(), code_hash=None)
        .returning(Code.message_id),
        execution_options=_QUIET,
    ).all()
    message_ids = sorted(each for each in ended if each is not None)
    if message_ids:
        lifecycle.cancel_waiting(tenant_id, f"code_{state}", message_ids=message_ids)
        _erase(message_ids)
    return message_ids


def _erase(message_ids: Sequence[str]) -> None:
    """Locked in the order of their ids, as everybody who locks several messages does."""
    if not message_ids:
        return
    locked = select(Message.id).where(among(Message.id, message_ids)).order_by(Message.id).with_for_update()
    some = db.session.scalars(locked).all()
    db.session.execute(
        update(Message).where(among(Message.id, some)).values(variables_sealed=None), execution_options=_QUIET
    )


# --- what time ends ---------------------------------------------------------------------------------------------


def sweep() -> int:
    """Everybody's codes whose time is over end, those that arrived or failed are erased from their messages, old rows
    go. Returns how many it dealt with. Safe to run in any number at once."""
    with all_tenants("everybody's codes end"):
        found = any(db.session.scalar(wanted.limit(1)) is not None for wanted in (_over(), _unneeded(), _old()))
        end_read()
        if not found:
            return 0
        with transaction():
            count = _expire() + _erase_unneeded() + _forget()
    log.info("codes_swept", count=count)
    return count


def _over() -> Any:
    return select(Code.id).where(Code.state == State.LIVE, Code.expires_at <= clock.now())


def _expire() -> int:
    """A message that still waits to be sent expires with its code by itself (`recovery`)."""
    some = db.session.scalars(_over().order_by(Code.id).limit(_MOST).with_for_update(skip_locked=True)).all()
    if not some:
        return 0
    ended = db.session.scalars(
        update(Code)
        .where(among(Code.id, some))
        .values(state=str(State.EXPIRED), ended_at=Code.expires_at, code_hash=None)
        .returning(Code.message_id),
        execution_options=_QUIET,
    ).all()
    _erase([each for each in ended if each is not None])
    return len(some)


def _unneeded() -> Any:
    """Messages that arrived, or never will, and still hold a live code: the end of a code erases by itself."""
    return (
        select(Message.id)
        .join(Code, and_(Code.tenant_id == Message.tenant_id, Code.message_id == Message.id))
        .where(Code.state == State.LIVE, Message.variables_sealed.is_not(None), Message.status.not_in(_MAY_NEED_IT))
    )


def _erase_unneeded() -> int:
    some = db.session.scalars(_unneeded().limit(_MOST)).all()
    _erase(some)
    return len(some)


def _old() -> Any:
    ended = [str(state) for state in State if state != State.LIVE]
    return select(Code.id).where(Code.state.in_(ended), Code.expires_at <= clock.now() - KEPT)


def _forget() -> int:
    some = db.session.scalars(_old().limit(_MOST)).all()
    if some:
        db.session.execute(delete(Code).where(among(Code.id, some)), execution_options=_QUIET)
    return len(some)


# --- what a person says -----------------------------------------------------------------------------------------


def is_disowned(item: InboundItem) -> bool:
    """Does this say that the person asked for no code?"""
    return item.button_payload == DISOWNED


def disown(account: ProviderAccount, item: InboundItem) -> dict[str, Any]:
    """Somebody else asked for the code: what is live for that number counts no more, and it is written down.

    In a transaction, in the tenant's scope, repeatable. Returns JSON: ``codes``, how many ended.
    """
    people, replied = _people(account, item), _answered(account, item)
    indexes = [person.phone_index for person in people]
    live = db.session.execute(
        select(Code.id, Code.message_id).where(
            Code.tenant_id == account.tenant_id,
            Code.live == account.live,
            Code.phone_index.in_(indexes),
            Code.state == State.LIVE,
        )
    ).all()
    stopped = end(account.tenant_id, [row.id for row in live], State.BLOCKED)
    told = sorted({*stopped, *([replied] if replied else [])})
    lifecycle.tell(account.tenant_id, told, "code_disowned", at=item.at)
    account_story.add_line(account.tenant_id, account.id, "code_disowned", codes=len(live))
    actor = f"contact:{people[0].id}" if people else f"provider:{account.provider}"
    detail = {"codes": [row.id for row in live], "messages": told}
    audit.record(account.tenant_id, actor, "code.disowned", account.id, **detail)
    log.warning("code_disowned", account_id=account.id, codes=len(live))
    return {"codes": len(live)}


def _people(account: ProviderAccount, item: InboundItem) -> list[Contact]:
    tenant = find_tenant(account.tenant_id)
    found = contacts.find_aliases(tenant, item.from_phone) if item.from_phone else []
    if not found and item.from_user_id and (person := contacts.find_by_user_id(tenant, item.from_user_id)):
        found = [person]
    return found


def _answered(account: ProviderAccount, item: InboundItem) -> str | None:
    """The message with a code below which the button was."""
    if not item.in_reply_to:
        return None
    return db.session.scalar(
        select(Message.id)
        .join(Attempt, Attempt.message_id == Message.id)
        .where(
            Attempt.account_id == account.id,
            Attempt.external_id == item.in_reply_to,
            Message.type == MessageType.OTP,
        )
    )
