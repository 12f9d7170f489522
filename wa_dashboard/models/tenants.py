"""Who uses the product: tenants, people, keys, sessions."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Row, TenantRow, UtcDateTime
from .base import Made, Sealed


class Tenant(Made, Row):
    """An organiser. Rates: messages; 0 means no limit. Money: micro-units of ``currency``."""

    __tablename__ = "wa_tenants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    live: Mapped[bool] = mapped_column(default=False)
    is_demo: Mapped[bool] = mapped_column(default=False)
    locale: Mapped[str] = mapped_column(String(16), default="ro")
    timezone: Mapped[str] = mapped_column(String(64), default="Europe/Bucharest")
    default_country: Mapped[str] = mapped_column(String(2), default="RO")
    currency: Mapped[str] = mapped_column(String(3), default="EUR")
    payer: Mapped[str] = mapped_column(String(16), default="own")
    contract_basis: Mapped[bool] = mapped_column(default=False)
    rate_per_minute: Mapped[int] = mapped_column(default=100)
    rate_per_hour: Mapped[int] = mapped_column(default=1000)
    reminder_intervals: Mapped[list[str]] = mapped_column(JSON, default=lambda: ["D-7", "D-3", "D-1"])
    reminder_hour: Mapped[str] = mapped_column(String(5), default="10:00")
    quiet_from: Mapped[str] = mapped_column(String(5), default="21:00")
    quiet_to: Mapped[str] = mapped_column(String(5), default="08:00")
    cost_tracking: Mapped[bool] = mapped_column(default=True)
    failover: Mapped[bool] = mapped_column(default=True, server_default=true())
    retention_days: Mapped[int] = mapped_column(default=180)
    index_pepper_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    index_pepper = Sealed()  # hexadecimal; makes this tenant's blind indexes differ from every other's

    @property
    def tenant_id(self) -> str:
        return self.id


class User(Made, Row):
    """A person who signs in. ``email`` is kept in lower case."""

    __tablename__ = "wa_users"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    password_hash: Mapped[str | None] = mapped_column(String(200))
    locale: Mapped[str | None] = mapped_column(String(16))


class Membership(Made, TenantRow):
    """What a person may do for a tenant: owner, editor or viewer (security.md §4.2)."""

    __tablename__ = "wa_memberships"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "user_id"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("wa_users.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))


class ApiKey(Made, TenantRow):
    """A checkout's key. Only the hash of its secret is kept."""

    __tablename__ = "wa_api_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "id"), ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    public_id: Mapped[str] = mapped_column(String(16), unique=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    live: Mapped[bool]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class SignInLink(Made, Row):
    """A single-use link: ``welcome`` makes the first account. Only the token's hash is kept."""

    __tablename__ = "wa_sign_in_links"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    for_tenant_id: Mapped[str] = mapped_column(ForeignKey("wa_tenants.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("wa_users.id"))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class UserSession(Made, Row):
    """A signed-in browser. Kept here, not in the cookie, so that signing out really ends it."""

    __tablename__ = "wa_user_sessions"
    __table_args__ = (Index("ix_wa_user_sessions_user", "user_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("wa_users.id"))
    chosen_tenant_id: Mapped[str] = mapped_column(ForeignKey("wa_tenants.id"))
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    user_agent: Mapped[str] = mapped_column(String(300), default="")
