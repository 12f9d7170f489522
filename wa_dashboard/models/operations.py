"""What keeps the service honest: remembered answers, the audit, heartbeats, rate buckets, the instance itself."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, ForeignKeyConstraint, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Row, TenantRow, UtcDateTime
from .base import Made


class IdempotencyKey(Made, TenantRow):
    """The answer once given to an ``Idempotency-Key``, committed together with its effect, byte for byte."""

    __tablename__ = "wa_idempotency_keys"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
        Index("ix_wa_idempotency_keys_expiry", "expires_at"),
    )

    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    body_digests: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    status: Mapped[int | None]
    headers: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    answer_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())


class AuditEntry(TenantRow):
    """Who did what to what, chained by hash. Holds ids, never telephone numbers."""

    __tablename__ = "wa_audit_log"
    __table_args__ = (
        UniqueConstraint("tenant_id", "seq"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int]
    at: Mapped[datetime] = mapped_column(UtcDateTime())
    actor: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(80))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Heartbeat(Row):
    """When a periodic piece of work last ran (database clock)."""

    __tablename__ = "wa_heartbeats"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime())


class RateBucket(TenantRow):
    """The limiter's stand-in while Redis is away: tokens left and when they were counted (database clock)."""

    __tablename__ = "wa_rate_buckets"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),)

    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    rule: Mapped[str] = mapped_column(String(64), primary_key=True)
    tokens: Mapped[float] = mapped_column(Float)
    counted_at: Mapped[datetime] = mapped_column(UtcDateTime())


class InstanceFact(Row):
    """Something this installation knows about itself, by name."""

    __tablename__ = "wa_instance"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
