"""A sender at a provider, and how it is doing."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, Sealed, belongs_to


class ProviderAccount(Made, TenantRow):
    """One WhatsApp sender of a tenant. ``live`` accounts reach people, the others the simulator.

    Limits of the number, 0 for none: ``rate_per_second`` messages, ``tier_limit`` different people in 24 hours.
    ``slowed`` is the share of the rate that is left after the provider asked us to slow down, at ``slowed_at``.
    ``facts``: what the provider last told of the number (name, state, tier …), as of ``checked_at``.
    """

    __tablename__ = "wa_accounts"
    __table_args__ = (UniqueConstraint("tenant_id", "id"), ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    provider: Mapped[str] = mapped_column(String(32))
    label: Mapped[str] = mapped_column(String(200))
    live: Mapped[bool]
    priority: Mapped[int] = mapped_column(default=100)
    sender: Mapped[str] = mapped_column(String(64))
    webhook_token: Mapped[str] = mapped_column(String(64), unique=True)
    status: Mapped[str] = mapped_column(String(16), default="active")  # active, held, disabled
    hold_reason: Mapped[str | None] = mapped_column(String(64))
    hold_until: Mapped[datetime | None] = mapped_column(UtcDateTime())
    last_webhook_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    last_sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    last_receipt_at: Mapped[datetime | None] = mapped_column(UtcDateTime())  # of a message, not of anything else
    rate_per_second: Mapped[int] = mapped_column(default=0, server_default="0")
    tier_limit: Mapped[int] = mapped_column(default=0, server_default="0")
    quality: Mapped[str | None] = mapped_column(String(16))
    slowed: Mapped[float] = mapped_column(Float, default=1.0, server_default="1")
    slowed_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    credentials_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    credentials = Sealed()


class AccountRef(TenantRow):
    """A provider's own name for an account (phone number id, WABA, Account SID): finds it for a bare webhook.

    Not unique: two tenants may claim the same reference, and the signature decides whose it is.
    """

    __tablename__ = "wa_account_refs"
    __table_args__ = (
        Index("ix_wa_account_refs_ref", "provider", "ref"),
        UniqueConstraint("account_id", "ref"),
        ForeignKeyConstraint(["tenant_id", "account_id"], ["wa_accounts.tenant_id", "wa_accounts.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(40))
    provider: Mapped[str] = mapped_column(String(32))
    ref: Mapped[str] = mapped_column(String(128))


class Breaker(TenantRow):
    """What an account's health lets through (states.md §6.6). No row: closed, all is well. Times: database clock.

    ``state``: closed, open (nothing leaves), half_open (``step`` messages at a time, by whoever holds
    ``probe_token``), locked (a person must act at the provider; looked at again by itself from ``retry_at``).
    ``opened`` counts the times in a row that it opened; ``evidence`` is what the last change rests on.
    """

    __tablename__ = "wa_breakers"
    __table_args__ = (belongs_to("wa_accounts", "account_id"),)

    account_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str | None] = mapped_column(String(64))
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime())
    down_since: Mapped[datetime | None] = mapped_column(UtcDateTime())
    retry_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    opened: Mapped[int] = mapped_column(default=0)
    step: Mapped[int] = mapped_column(default=0)
    probe_token: Mapped[str | None] = mapped_column(String(64))
    probe_until: Mapped[datetime | None] = mapped_column(UtcDateTime())


class AccountEvent(TenantRow):
    """One line of an account's story: opened, closed, held, slowed, switched over, with what it rests on."""

    __tablename__ = "wa_account_events"
    __table_args__ = (
        Index("ix_wa_account_events_story", "tenant_id", "account_id", "at"),
        belongs_to("wa_accounts", "account_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(UtcDateTime())
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
