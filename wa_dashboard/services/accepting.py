"""The statements by which a wish becomes a message: one to learn what is known, one to store everything.

Orders come thousands at a time, so these few are prepared (`prepared`), and where the database can, one statement
writes the message, its story's first line and its place in the outbox.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, bindparam, select, update

from .. import clock
from ..db import db_now, is_postgresql
from ..domain.consent import Said
from ..domain.ids import new_id
from ..domain.phone import Phone
from ..models import Contact, Message, MessageEvent, OptIn, Outbox, Tenant
from ..prepared import Prepared, insert_into, placeholders, row_of
from . import lifecycle

_FACTS = ("first_name", "locale", "timezone")
_CONTACT = ("id", "tenant_id", "phone_index", "phone_masked", "market", "phone_sealed", "created_at", *_FACTS)
_STORY = ("id", "tenant_id", "message_id", "kind", "at", "recorded_at", "attempt_no", "detail")
_OUTBOX = ("message_id", "tenant_id", "contact_id", "purpose", "account_id", "template_id", "live", "priority",
           "policy", "state", "attempt_no", "failures")  # fmt: skip
# Nothing happened to a new message yet.
NEW = {"attempts": 0, "rank": 0, "possible_duplicate": False, "cancel_requested": False}


@dataclass(frozen=True)
class Known:
    """What is known when an order comes: the message of its key, the person, and what the person agreed to."""

    message_id: str | None
    contact: Contact | None
    states: Mapping[str, Said]


def _build_look(_dialect: str) -> Any:
    tenant_id = bindparam("tenant_id", type_=Tenant.id.type, required=True)
    key = bindparam("dedupe_key", type_=Message.dedupe_key.type, required=True)
    index = bindparam("phone_index", type_=Contact.phone_index.type, required=True)
    earlier = select(Message.id).where(Message.tenant_id == tenant_id, Message.dedupe_key == key).scalar_subquery()
    person = [getattr(Contact, name).label(f"contact_{name}") for name in _CONTACT]
    said = [OptIn.purpose.label("purpose"), OptIn.status.label("status"), OptIn.occurred_at.label("said_at")]
    return (
        select(earlier.label("message_id"), *person, *said)
        .select_from(Tenant)
        .outerjoin(Contact, (Contact.tenant_id == tenant_id) & (Contact.phone_index == index))
        .outerjoin(OptIn, (OptIn.tenant_id == tenant_id) & (OptIn.contact_id == Contact.id))
        .where(Tenant.id == tenant_id)
    )


_look = Prepared(_build_look)


def look(tenant: Tenant, dedupe_key: str, phone_index: str) -> Known:
    """What is known of the key and of the person with this number; in the tenant's scope."""
    rows = _look.run(tenant_id=tenant.id, dedupe_key=dedupe_key, phone_index=phone_index)
    first = rows[0]
    contact = None
    if first["contact_id"] is not None:
        contact = row_of(Contact, {name: first[f"contact_{name}"] for name in _CONTACT})
    states = {row["purpose"]: Said(row["status"], row["said_at"], "") for row in rows if row["purpose"] is not None}
    return Known(first["message_id"], contact, states)


# --- the person -------------------------------------------------------------------------------------------------


def _build_contact(dialect: str) -> Any:
    wanted = insert_into(dialect, Contact).values(placeholders(Contact, _CONTACT))
    return wanted.on_conflict_do_nothing(index_elements=["tenant_id", "phone_index"]).returning(Contact.id)


def _build_facts(_dialect: str) -> Any:
    marks = placeholders(Contact, ("tenant_id", "id", *_FACTS), "to_")
    return (
        update(Contact).where(Contact.tenant_id == marks.pop("tenant_id"), Contact.id == marks.pop("id")).values(marks)
    )


_insert_contact = Prepared(_build_contact, changes=True)
_update_facts = Prepared(_build_facts, changes=True)


def new_contact(tenant: Tenant, phone: Phone, phone_index: str, facts: Mapping[str, str | None]) -> Contact | None:
    """A contact for a number that has none; None when somebody else was faster."""
    contact_id = new_id("con")
    values = {
        "id": contact_id,
        "tenant_id": tenant.id,
        "phone_index": phone_index,
        "phone_masked": phone.masked,
        "market": phone.market,
        "phone_sealed": Contact.phone.seal(Contact, tenant.id, contact_id, phone.e164),
        "created_at": clock.now(),
        **dict.fromkeys(_FACTS),
        **facts,
    }
    return row_of(Contact, values) if _insert_contact.run(**values) else None


def keep_facts(contact: Contact, facts: Mapping[str, str | None]) -> Contact:
    """The contact (as `look` gave it) with the facts that are given, which replace old ones."""
    told = {name: value for name, value in facts.items() if value is not None and getattr(contact, name) != value}
    if not told:
        return contact
    values = {name: getattr(contact, name) for name in _CONTACT} | told
    _update_facts.run(tenant_id=contact.tenant_id, to_id=contact.id, **{f"to_{name}": values[name] for name in _FACTS})
    return row_of(Contact, values)


# --- the message ------------------------------------------------------------------------------------------------


class _Writing:
    """The statements that store messages whose rows have these columns."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.message = Prepared(self._message, changes=True)
        self.all = Prepared(self._all, changes=True)

    def _message(self, dialect: str) -> Any:
        wanted = insert_into(dialect, Message).values(placeholders(Message, self.columns, "m_"))
        return wanted.on_conflict_do_nothing(index_elements=["tenant_id", "dedupe_key"]).returning(Message.id)

    def _all(self, dialect: str) -> Any:
        """PostgreSQL: message, line and outbox row at once; the latter two only if the message is really new."""
        message = self._message(dialect).cte("message")
        story = insert_into(dialect, MessageEvent).from_select(
            list(_STORY), select(*placeholders(MessageEvent, _STORY, "e_").values()).select_from(message)
        )
        outbox = insert_into(dialect, Outbox).from_select(
            [*_OUTBOX, "next_at", "expires_at"],
            select(*placeholders(Outbox, _OUTBOX, "o_").values(), *_times()).select_from(message),
        )
        return select(message.c.id).add_cte(story.cte("story"), outbox.cte("outbox"))


def _times() -> tuple[Any, Any]:
    life = bindparam("life_s", type_=Float(), required=True)
    return db_now(), db_now(life)


def _build_story(dialect: str) -> Any:
    return insert_into(dialect, MessageEvent).values(placeholders(MessageEvent, _STORY, "e_"))


def _build_outbox(dialect: str) -> Any:
    next_at, expires_at = _times()
    values = placeholders(Outbox, _OUTBOX, "o_") | {"next_at": next_at, "expires_at": expires_at}
    return insert_into(dialect, Outbox).values(values)


def _line(message: Message, kind: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    now = clock.now()
    values = {"id": new_id("evt"), "message_id": message.id, "kind": kind, "at": now, "recorded_at": now,
              "attempt_no": None, "detail": dict(detail)}  # fmt: skip
    return {f"e_{name}": value for name, value in values.items()}


def _outbox(message: Message, life_s: float) -> dict[str, Any]:
    return {f"o_{name}": value for name, value in lifecycle.outbox_row(message).items()} | {"life_s": life_s}


_insert_story = Prepared(_build_story, changes=True)
_insert_outbox = Prepared(_build_outbox, changes=True)
_writings: dict[frozenset[str], _Writing] = {}


def store(
    row: Mapping[str, Any], lines: Sequence[tuple[str, Mapping[str, Any]]], life_s: float | None
) -> Message | None:
    """Store a new message with the lines of its story (kind, detail); with ``life_s`` it waits so long to be sent.

    Inside a transaction. Returns it, to be read only; None when there is one with its ``dedupe_key`` already.
    """
    row = {**row, **NEW}
    message = row_of(Message, row)
    writing = _writings.get(frozenset(row)) or _writings.setdefault(frozenset(row), _Writing(tuple(sorted(row))))
    values = {"tenant_id": message.tenant_id} | {f"m_{name}": value for name, value in row.items()}
    stories = [_line(message, kind, detail) for kind, detail in lines]
    if life_s is not None and len(stories) == 1 and is_postgresql():
        return message if writing.all.run(**values, **stories[0], **_outbox(message, life_s)) else None
    if not writing.message.run(**values):
        return None
    for story in stories:
        _insert_story.run(tenant_id=message.tenant_id, **story)
    if life_s is not None:
        _insert_outbox.run(tenant_id=message.tenant_id, **_outbox(message, life_s))
    return message
