"""The people who get messages, and what they agreed to."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, Sealed, belongs_to


class Contact(Made, TenantRow):
    """A person of a tenant, known by number. The number is encrypted; ``phone_index`` finds it by equality."""

    __tablename__ = "wa_contacts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "phone_index"),
        Index("ix_wa_contacts_user_id", "tenant_id", "provider_user_id"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    phone_index: Mapped[str] = mapped_column(String(32))
    phone_masked: Mapped[str] = mapped_column(String(32))
    market: Mapped[str] = mapped_column(String(2))
    first_name: Mapped[str | None] = mapped_column(String(200))
    locale: Mapped[str | None] = mapped_column(String(16))
    timezone: Mapped[str | None] = mapped_column(String(64))
    provider_user_id: Mapped[str | None] = mapped_column(String(160))
    last_inbound_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    phone_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    phone = Sealed()  # E.164


class OptIn(TenantRow):
    """The present state of one person's consent to one purpose; `ConsentEvent` is how it came about."""

    __tablename__ = "wa_optin"
    __table_args__ = (belongs_to("wa_contacts", "contact_id"),)

    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    contact_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    event_id: Mapped[str] = mapped_column(String(40))
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime())
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime())


class ConsentEvent(TenantRow):
    """One thing a person said about one purpose. Never changed, never deleted; each carries its forerunner's hash."""

    __tablename__ = "wa_consent_events"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "seq"),
        UniqueConstraint("tenant_id", "dedupe"),
        Index("ix_wa_consent_events_contact", "tenant_id", "contact_id", "purpose", "occurred_at"),
        belongs_to("wa_contacts", "contact_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int]
    contact_id: Mapped[str] = mapped_column(String(40))
    purpose: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(32))
    source_ref: Mapped[str | None] = mapped_column(String(200))
    wording_id: Mapped[str | None] = mapped_column(String(100))
    actor: Mapped[dict[str, Any]] = mapped_column(JSON)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime())
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime())
    applied: Mapped[bool]
    changed: Mapped[bool]
    dedupe: Mapped[str] = mapped_column(String(64))
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    evidence_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    evidence = Sealed()


class ChainHead(TenantRow):
    """The end of one of a tenant's hash chains; locked while the next link is made."""

    __tablename__ = "wa_chain_heads"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),)

    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    chain: Mapped[str] = mapped_column(String(16), primary_key=True)
    seq: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))
