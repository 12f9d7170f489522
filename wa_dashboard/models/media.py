"""Files that go with messages: fetched once, kept for a while, uploaded to each account that sends them."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, Sealed, SealedBytes, belongs_to


class Media(Made, TenantRow):
    """One file by its content. ``kind``: image, video, document. A ticket is personal data: the bytes are sealed,
    and erased at ``erased_at``; what is left says only that there was one."""

    __tablename__ = "wa_media"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "sha256"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    mime_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]  # bytes
    used_at: Mapped[datetime] = mapped_column(UtcDateTime())
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    content_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    content = SealedBytes()


class MediaSource(Made, TenantRow):
    """A web address a caller named, and what came of fetching it. Times of fetching: the database's clock.

    ``state``: waiting (for ``next_at``), ready, failed (``error_code`` and ``error_detail`` say why; it will not be
    tried again). ``url_index`` is the tenant's blind index of the address, which is sealed: it often opens a ticket.
    """

    __tablename__ = "wa_media_sources"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "url_index", "kind"),
        Index("ix_wa_media_sources_due", "state", "next_at"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
        belongs_to("wa_media", "media_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url_index: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(12))
    tries: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    fetched_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Text)
    media_id: Mapped[str | None] = mapped_column(String(40))
    url_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    url = Sealed()


class MediaUpload(Made, TenantRow):
    """What a file is called at one account, until ``expires_at`` (Meta keeps uploads for thirty days).

    An empty ``external_id``: it is to be uploaded, not before ``expires_at``. The database's clock.
    """

    __tablename__ = "wa_media_uploads"
    __table_args__ = (
        UniqueConstraint("media_id", "account_id"),
        Index(
            "ix_wa_media_uploads_due",
            "expires_at",
            postgresql_where=text("external_id = ''"),
            sqlite_where=text("external_id = ''"),
        ),
        belongs_to("wa_media", "media_id"),
        belongs_to("wa_accounts", "account_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    media_id: Mapped[str] = mapped_column(String(40))
    account_id: Mapped[str] = mapped_column(String(40))
    external_id: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())
