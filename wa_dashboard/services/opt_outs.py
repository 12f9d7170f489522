"""A provider refuses a message because the person stopped our promotions (131050): that is an opt-out like any other.

Whatever was sent, what is recorded is that this person wants no promotions; what waits of them is cancelled.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from ..db import db, transaction
from ..models import Contact, Message, ProviderAccount
from . import chains, consent
from .tenants import find_tenant

CLASS = "recipient_optout"


def lock(account: ProviderAccount) -> None:
    """Take the lock of the tenant's consent: before any of messages, as everywhere."""
    chains.lock(account.tenant_id, chains.CONSENT)


def record(account: ProviderAccount, message_ids: Sequence[str], at: datetime) -> int:
    """Record it for the persons of these messages, as said at ``at`` (aware UTC); each message counts once.

    In the tenant's scope; returns how many said something new.
    """
    wanted = (
        select(Message.id, Contact)
        .join(Contact, Contact.id == Message.contact_id)
        .where(Message.id.in_(message_ids))
        .order_by(Message.id)
    )
    tenant, new = find_tenant(account.tenant_id), 0
    with transaction():
        lock(account)
        for message_id, person in db.session.execute(wanted).all():
            said = consent.blocked_by_meta(tenant, person, at=at, reference=message_id, account=account)
            new += said.changed
    return new
