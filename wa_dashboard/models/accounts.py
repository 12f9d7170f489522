"""A sender at a provider."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, Sealed


class ProviderAccount(Made, TenantRow):
    """One WhatsApp sender of a tenant. ``live`` accounts reach people, the others the simulator."""

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
