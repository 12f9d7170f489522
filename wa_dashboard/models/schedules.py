"""What is to be sent later."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, Sealed, belongs_to


class Event(Made, TenantRow):
    """A show, match or conference as the checkout described it. ``starts_local`` is its wall clock in ``timezone``."""

    __tablename__ = "wa_events"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "ref"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    ref: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(default=0)
    name: Mapped[str] = mapped_column(String(300))
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime())
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    timezone: Mapped[str] = mapped_column(String(64))
    venue: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class Schedule(Made, TenantRow):
    """One reminder for one person: event × attendee × interval (states.md §6.3)."""

    __tablename__ = "wa_schedules"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "natural_key"),
        Index("ix_wa_schedules_due", "status", "send_at"),
        Index("ix_wa_schedules_contact", "tenant_id", "contact_id"),
        belongs_to("wa_events", "event_id"),
        belongs_to("wa_contacts", "contact_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(40))
    contact_id: Mapped[str] = mapped_column(String(40))
    order_id: Mapped[str | None] = mapped_column(String(200))
    live: Mapped[bool]
    interval: Mapped[str] = mapped_column(String(8))
    natural_key: Mapped[str] = mapped_column(String(400))
    send_at: Mapped[datetime] = mapped_column(UtcDateTime())
    zone: Mapped[str] = mapped_column(String(64))
    zone_source: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(12))  # pending, dispatched, skipped, cancelled, missed
    reason: Mapped[str | None] = mapped_column(String(32))
    language: Mapped[str | None] = mapped_column(String(16))
    message_id: Mapped[str | None] = mapped_column(String(40))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime())
    variables_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    variables = Sealed()
