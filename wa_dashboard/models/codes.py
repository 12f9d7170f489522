"""Codes that prove a number is somebody's."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made


class Code(Made, TenantRow):
    """One code sent to one number for one ``purpose``. The code itself is nowhere: ``code_hash`` is keyed and erased
    with the end. ``state``: live (one for each number and purpose), used, replaced, expired, blocked (too many checks).
    """

    __tablename__ = "wa_codes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        Index(
            "uq_wa_codes_live",
            "tenant_id",
            "live",
            "phone_index",
            "purpose",
            unique=True,
            postgresql_where=text("state = 'live'"),
            sqlite_where=text("state = 'live'"),
        ),
        Index("ix_wa_codes_phone", "tenant_id", "phone_index", "created_at"),
        Index("ix_wa_codes_end", "state", "expires_at"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    live: Mapped[bool]
    phone_index: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12))
    checks: Mapped[int] = mapped_column(default=0)
    code_hash: Mapped[str | None] = mapped_column(String(64))
    message_id: Mapped[str | None] = mapped_column(String(40))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
