"""The people who get messages: found by number without the number being readable in the database."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, select

from .. import clock, security
from ..bulk import rows_by_key, update_by_key
from ..db import db, insert_rows, transaction
from ..domain.ids import new_id
from ..domain.phone import Phone, candidates_of
from ..models import Contact, Tenant

_CHUNK = 500
_LONGEST_USER_ID = 160
_AFRESH = {"populate_existing": True}  # not as this session happened to read it earlier


def contact_for(
    tenant: Tenant,
    phone: Phone,
    *,
    first_name: str | None = None,
    locale: str | None = None,
    timezone: str | None = None,
) -> Contact:
    """The tenant's contact with exactly this number, made if there is none; facts that are given replace old ones.

    Safe to call from many places at once. In a transaction that also records consent, record the consent first:
    consent is written one after another per tenant, and taking its lock second could meet another in the middle.
    """
    index = index_of(tenant, phone.e164)
    with transaction():
        contact = db.session.scalar(_by_index(index), execution_options=_AFRESH)
        if contact is None:
            insert_rows(Contact, [_new_row(tenant, phone, index)], once=["tenant_id", "phone_index"])
            contact = db.session.scalars(_by_index(index), execution_options=_AFRESH).one()
        facts = {"first_name": first_name, "locale": locale, "timezone": timezone}
        for name, value in facts.items():
            if value is not None and getattr(contact, name) != value:
                setattr(contact, name, value)
        db.session.flush()
    return contact


def find_contact(tenant: Tenant, e164: str) -> Contact | None:
    """The contact with this number, or with a number under which WhatsApp may report the same person."""
    return next(iter(find_aliases(tenant, e164)), None)


def find_aliases(tenant: Tenant, e164: str) -> list[Contact]:
    """All contacts who may be the person WhatsApp reports with this number; the exact number first."""
    indexes = [index_of(tenant, alias) for alias in candidates_of(e164)]
    found = db.session.scalars(select(Contact).where(Contact.phone_index.in_(indexes)))
    return sorted(found, key=lambda contact: indexes.index(contact.phone_index))


def find_by_user_id(tenant: Tenant, user_id: str) -> Contact | None:
    """The contact whom WhatsApp calls by this business-scoped user id (contracts.md §1.8)."""
    wanted = select(Contact).where(Contact.tenant_id == tenant.id, Contact.provider_user_id == user_id)
    return db.session.scalars(wanted.order_by(Contact.created_at, Contact.id)).first()


def keep_user_ids(pairs: Iterable[tuple[str, str]]) -> None:
    """Which business-scoped user id belongs to which contact, by id: told wherever both appear (in a transaction, in
    the tenant's scope). The last word counts."""
    told = {contact_id: user_id for contact_id, user_id in pairs if user_id and len(user_id) <= _LONGEST_USER_ID}
    known = dict(rows_by_key(Contact, ("id", "provider_user_id"), ("id",), [(each,) for each in sorted(told)]))
    new = sorted((each, told[each]) for each in known if known[each] != told[each])
    if new:
        update_by_key(Contact, ("id",), ("provider_user_id",), new)


def contacts_for(tenant: Tenant, phones: Sequence[Phone]) -> dict[str, Contact]:
    """`contact_for` many numbers in a handful of statements, inside a transaction; by E.164."""
    by_index = {index_of(tenant, phone.e164): phone for phone in phones}
    found: dict[str, Contact] = {}
    for start in range(0, len(by_index), _CHUNK):
        some = list(by_index)[start : start + _CHUNK]
        missing = set(some) - {contact.phone_index for contact in _load(some)}
        rows = [_new_row(tenant, by_index[index], index) for index in some if index in missing]
        insert_rows(Contact, rows, once=["tenant_id", "phone_index"])
        found.update((by_index[contact.phone_index].e164, contact) for contact in _load(some))
    return found


def _load(indexes: Sequence[str]) -> list[Contact]:
    return list(db.session.scalars(select(Contact).where(Contact.phone_index.in_(indexes))))


def index_of(tenant: Tenant, e164: str) -> str:
    return security.blind_index(bytes.fromhex(tenant.index_pepper), e164)


def _by_index(index: str) -> Select[Contact]:
    return select(Contact).where(Contact.phone_index == index)


def _new_row(tenant: Tenant, phone: Phone, index: str) -> dict[str, Any]:
    contact_id = new_id("con")
    return {
        "id": contact_id,
        "tenant_id": tenant.id,
        "phone_index": index,
        "phone_masked": phone.masked,
        "market": phone.market,
        "phone_sealed": Contact.phone.seal(Contact, tenant.id, contact_id, phone.e164),
        "created_at": clock.now(),
    }
