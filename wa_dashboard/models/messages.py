"""Messages, the tries to send them, what is still to be done, and what became of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from ..db import TenantRow, UtcDateTime
from .base import Made, Sealed, belongs_to


class Message(Made, TenantRow):
    """What a tenant asked for, and the state people see.

    ``dedupe_key`` is the business key: unique for ever, so the same order is confirmed once. No index holds a
    status or a receipt's time, so that PostgreSQL updates rows in place (engine.md §5). Costs: micro-units of
    ``currency``.
    """

    __tablename__ = "wa_messages"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "dedupe_key"),
        Index("ix_wa_messages_newest", "tenant_id", "created_at", "id"),
        Index("ix_wa_messages_contact", "tenant_id", "contact_id", "created_at"),
        Index("ix_wa_messages_order", "tenant_id", "order_id"),
        Index(
            "ix_wa_messages_media",
            "tenant_id",
            "media_source_id",
            postgresql_where=text("media_source_id IS NOT NULL"),
            sqlite_where=text("media_source_id IS NOT NULL"),
        ),
        belongs_to("wa_contacts", "contact_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    live: Mapped[bool]
    type: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    lane: Mapped[str] = mapped_column(String(8))
    policy: Mapped[str] = mapped_column(String(16))
    dedupe_key: Mapped[str] = mapped_column(String(400))
    resend_no: Mapped[int] = mapped_column(default=0)
    resend_reason: Mapped[str | None] = mapped_column(String(200))
    contact_id: Mapped[str] = mapped_column(String(40))
    to_masked: Mapped[str] = mapped_column(String(32))
    market: Mapped[str] = mapped_column(String(2))
    order_id: Mapped[str | None] = mapped_column(String(200))
    event_ref: Mapped[str | None] = mapped_column(String(200))
    template_id: Mapped[str | None] = mapped_column(String(40))
    template_name: Mapped[str | None] = mapped_column(String(512))
    language: Mapped[str | None] = mapped_column(String(16))
    account_id: Mapped[str | None] = mapped_column(String(40))
    provider: Mapped[str | None] = mapped_column(String(32))
    external_id: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16))
    status_at: Mapped[datetime] = mapped_column(UtcDateTime())
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime())
    reason: Mapped[str | None] = mapped_column(String(64))  # why skipped, held, cancelled, failed: a stable code
    reason_detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    attempts: Mapped[int] = mapped_column(default=0)
    rank: Mapped[int] = mapped_column(default=0)
    possible_duplicate: Mapped[bool] = mapped_column(default=False)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    error_code: Mapped[str | None] = mapped_column(String(32))
    error_class: Mapped[str | None] = mapped_column(String(32))
    error_detail: Mapped[str | None] = mapped_column(Text)
    estimate_micros: Mapped[int | None] = mapped_column(BigInteger)
    charged_micros: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3), default="EUR")
    reported_micros: Mapped[int | None] = mapped_column(BigInteger)  # what the provider says it took (Twilio)
    reported_currency: Mapped[str | None] = mapped_column(String(3))
    category: Mapped[str | None] = mapped_column(String(32))
    billable: Mapped[bool | None]
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    asked_by: Mapped[str] = mapped_column(String(60), default="api")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", JSON, default=dict)
    variables_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    variables = Sealed()  # {"first_name": "Ana", …} as sent
    media_source_id: Mapped[str | None] = mapped_column(String(40))
    media_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    media = Sealed()  # the header of this message alone: kind, filename, optional, location
    request_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    request = Sealed()  # the caller's body, to say what differs when the same order comes again


class Outbox(TenantRow):
    """A message that is still ours to deal with. The row goes when the provider has accepted it, or we gave up.

    Times are the database's clock. ``queued`` waits for ``next_at``; ``claimed`` has left nothing yet;
    ``sending`` has a committed attempt; ``uncertain`` waits for evidence, not before ``next_at``; ``held`` waits for
    an operator after a restore (services.fence), in doubt if it is ``uncertain_since``.
    """

    __tablename__ = "wa_outbox"
    __table_args__ = (
        Index(
            "ix_wa_outbox_due",
            "tenant_id",
            "account_id",
            "priority",
            "next_at",
            "message_id",
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        Index("ix_wa_outbox_leases", "state", "lease_until"),
        Index("ix_wa_outbox_contact", "tenant_id", "contact_id"),
        belongs_to("wa_messages", "message_id"),
    )

    message_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    contact_id: Mapped[str] = mapped_column(String(40))
    purpose: Mapped[str] = mapped_column(String(16))
    account_id: Mapped[str | None] = mapped_column(String(40))
    live: Mapped[bool]
    priority: Mapped[int]
    policy: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(10))
    next_at: Mapped[datetime] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    attempt_no: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    template_id: Mapped[str | None] = mapped_column(String(40))
    lease_token: Mapped[str | None] = mapped_column(String(64))  # the journal of who holds it, and a number
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime())
    uncertain_since: Mapped[datetime | None] = mapped_column(UtcDateTime())
    asked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())  # when the provider was last asked about a doubt


class Attempt(TenantRow):
    """One request to one provider, committed before it leaves. ``rank`` only grows (domain.statuses.Rank)."""

    __tablename__ = "wa_attempts"
    __table_args__ = (
        Index("uq_wa_attempts_external", "account_id", "external_id", unique=True),
        Index("ix_wa_attempts_watermark", "account_id", "receipt_seen", "started_at"),
        Index(
            "ix_wa_attempts_to_ask",
            "account_id",
            "ask_at",
            postgresql_where=text("ask_at IS NOT NULL"),
            sqlite_where=text("ask_at IS NOT NULL"),
        ),
        belongs_to("wa_messages", "message_id"),
        belongs_to("wa_accounts", "account_id"),
    )

    message_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    attempt_no: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(String(40))
    provider: Mapped[str] = mapped_column(String(32))
    rank: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    external_id: Mapped[str | None] = mapped_column(String(200))
    receipt_seen: Mapped[bool] = mapped_column(default=False)
    ask_at: Mapped[datetime | None] = mapped_column(UtcDateTime())  # the provider is asked for its state or price then
    http_status: Mapped[int | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    error_class: Mapped[str | None] = mapped_column(String(32))
    error_code: Mapped[str | None] = mapped_column(String(32))
    error_detail: Mapped[str | None] = mapped_column(Text)


class MessageEvent(TenantRow):
    """One line of a message's story. ``at``: when it happened; ``recorded_at``: when we learnt of it."""

    __tablename__ = "wa_message_events"
    __table_args__ = (
        Index("ix_wa_message_events_story", "tenant_id", "message_id", "recorded_at"),
        belongs_to("wa_messages", "message_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    message_id: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(UtcDateTime())
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime())
    attempt_no: Mapped[int | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Problem(TenantRow):
    """A message that ended badly and waits for a person's decision. Goes when the message moves on.

    ``cause`` groups them (domain.failures); ``closed_at`` puts it into the archive with a note.
    """

    __tablename__ = "wa_problems"
    __table_args__ = (
        Index("ix_wa_problems_open", "tenant_id", "live", "closed_at", "cause", "at"),
        belongs_to("wa_messages", "message_id"),
    )

    message_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    live: Mapped[bool]
    cause: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[str | None] = mapped_column(String(40))
    at: Mapped[datetime] = mapped_column(UtcDateTime())
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    closed_by: Mapped[str | None] = mapped_column(String(60))
    closed_note: Mapped[str | None] = mapped_column(String(500))
