"""What is said: templates, their versions, and what each provider thinks of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, belongs_to


class Template(Made, TenantRow):
    """One version of a text in one language. A version that was submitted is never edited: a change is a new one.

    ``header``, ``buttons`` and ``examples`` are as in the API (api.md §5.1); variables are written ``{first_name}``.
    """

    __tablename__ = "wa_templates"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "name", "language", "version"),
        ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"]),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(512))
    language: Mapped[str] = mapped_column(String(16))
    version: Mapped[int]
    type: Mapped[str] = mapped_column(String(16))
    category: Mapped[str] = mapped_column(String(16))  # utility, marketing, authentication
    header: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    body: Mapped[str] = mapped_column(Text)
    footer: Mapped[str | None] = mapped_column(String(200))
    buttons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    examples: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    ttl_seconds: Mapped[int | None]
    content_hash: Mapped[str] = mapped_column(String(64))
    draft: Mapped[bool] = mapped_column(default=True)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime())


class TemplateApproval(Made, TenantRow):
    """One version on one account: a state machine of its own (states.md §6.4).

    ``parameter_map``: our variable name → the provider's key. ``status_at`` is the time of the newest news, so
    that an old webhook or a slow poll never lowers a newer one.
    """

    __tablename__ = "wa_template_approvals"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("template_id", "account_id"),
        Index("ix_wa_template_approvals_check", "next_check_at"),
        Index("ix_wa_template_approvals_external", "account_id", "external_id"),
        belongs_to("wa_templates", "template_id"),
        belongs_to("wa_accounts", "account_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    template_id: Mapped[str] = mapped_column(String(40))
    account_id: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20))
    status_at: Mapped[datetime] = mapped_column(UtcDateTime())
    external_id: Mapped[str | None] = mapped_column(String(100))
    category: Mapped[str | None] = mapped_column(String(32))
    parameter_map: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    rejected_reason: Mapped[str | None] = mapped_column(Text)
    quality: Mapped[str | None] = mapped_column(String(16))
    previous_category: Mapped[str | None] = mapped_column(String(32))
    announced_category: Mapped[str | None] = mapped_column(String(32))  # the provider will change it then:
    announced_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    next_check_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class TemplateEvent(TenantRow):
    """What happened to an approval, and who said so (``source``: submit, webhook, poll, user)."""

    __tablename__ = "wa_template_events"
    __table_args__ = (
        Index("ix_wa_template_events_approval", "tenant_id", "approval_id", "at"),
        belongs_to("wa_template_approvals", "approval_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    approval_id: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(UtcDateTime())
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
