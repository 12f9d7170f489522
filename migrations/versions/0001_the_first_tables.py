"""the first tables."""

import sqlalchemy as sa
from alembic import op

from wa_dashboard.db import UtcDateTime, row_security_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TENANT_TABLES = [
    "wa_account_refs",
    "wa_accounts",
    "wa_api_keys",
    "wa_attempts",
    "wa_audit_log",
    "wa_chain_heads",
    "wa_consent_events",
    "wa_contacts",
    "wa_events",
    "wa_idempotency_keys",
    "wa_memberships",
    "wa_message_events",
    "wa_messages",
    "wa_optin",
    "wa_outbox",
    "wa_rate_buckets",
    "wa_schedules",
    "wa_template_approvals",
    "wa_template_events",
    "wa_templates",
    "wa_webhook_events",
    "wa_webhook_items",
]


def upgrade() -> None:
    op.create_table(
        "wa_heartbeats",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_wa_heartbeats")),
    )
    op.create_table(
        "wa_instance",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_wa_instance")),
    )
    op.create_table(
        "wa_tenants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("locale", sa.String(length=16), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("default_country", sa.String(length=2), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("payer", sa.String(length=16), nullable=False),
        sa.Column("contract_basis", sa.Boolean(), nullable=False),
        sa.Column("rate_per_minute", sa.Integer(), nullable=False),
        sa.Column("rate_per_hour", sa.Integer(), nullable=False),
        sa.Column("reminder_intervals", sa.JSON(), nullable=False),
        sa.Column("reminder_hour", sa.String(length=5), nullable=False),
        sa.Column("quiet_from", sa.String(length=5), nullable=False),
        sa.Column("quiet_to", sa.String(length=5), nullable=False),
        sa.Column("cost_tracking", sa.Boolean(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("index_pepper_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_tenants")),
    )
    op.create_table(
        "wa_users",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=True),
        sa.Column("locale", sa.String(length=16), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_users")),
        sa.UniqueConstraint("email", name=op.f("uq_wa_users_email")),
    )
    op.create_table(
        "wa_accounts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("sender", sa.String(length=64), nullable=False),
        sa.Column("webhook_token", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("hold_reason", sa.String(length=64), nullable=True),
        sa.Column("hold_until", UtcDateTime(), nullable=True),
        sa.Column("last_webhook_at", UtcDateTime(), nullable=True),
        sa.Column("last_sent_at", UtcDateTime(), nullable=True),
        sa.Column("credentials_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_accounts_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_accounts")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_accounts_tenant_id_id")),
        sa.UniqueConstraint("webhook_token", name=op.f("uq_wa_accounts_webhook_token")),
    )
    op.create_table(
        "wa_api_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("public_id", sa.String(length=16), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_api_keys")),
        sa.UniqueConstraint("public_id", name=op.f("uq_wa_api_keys_public_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_api_keys_tenant_id_id")),
    )
    op.create_table(
        "wa_audit_log",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_audit_log_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_audit_log")),
        sa.UniqueConstraint("tenant_id", "seq", name=op.f("uq_wa_audit_log_tenant_id_seq")),
    )
    op.create_table(
        "wa_chain_heads",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("chain", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_chain_heads_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "chain", name=op.f("pk_wa_chain_heads")),
    )
    op.create_table(
        "wa_contacts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("phone_index", sa.String(length=32), nullable=False),
        sa.Column("phone_masked", sa.String(length=32), nullable=False),
        sa.Column("market", sa.String(length=2), nullable=False),
        sa.Column("first_name", sa.String(length=200), nullable=True),
        sa.Column("locale", sa.String(length=16), nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=True),
        sa.Column("provider_user_id", sa.String(length=160), nullable=True),
        sa.Column("last_inbound_at", UtcDateTime(), nullable=True),
        sa.Column("phone_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_contacts_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_contacts")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_contacts_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "phone_index", name=op.f("uq_wa_contacts_tenant_id_phone_index")),
    )
    op.create_index("ix_wa_contacts_user_id", "wa_contacts", ["tenant_id", "provider_user_id"], unique=False)
    op.create_table(
        "wa_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("ref", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("venue", sa.JSON(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_events_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_events")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_events_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "ref", name=op.f("uq_wa_events_tenant_id_ref")),
    )
    op.create_table(
        "wa_idempotency_keys",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("body_digests", sa.JSON(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("answer_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_idempotency_keys_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_wa_idempotency_keys")),
    )
    op.create_index("ix_wa_idempotency_keys_expiry", "wa_idempotency_keys", ["expires_at"], unique=False)
    op.create_table(
        "wa_memberships",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_memberships_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["wa_users.id"], name=op.f("fk_wa_memberships_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_memberships")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_memberships_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "user_id", name=op.f("uq_wa_memberships_tenant_id_user_id")),
    )
    op.create_index(op.f("ix_wa_memberships_user_id"), "wa_memberships", ["user_id"], unique=False)
    op.create_table(
        "wa_rate_buckets",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("counted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_rate_buckets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "rule", name=op.f("pk_wa_rate_buckets")),
    )
    op.create_table(
        "wa_sign_in_links",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("for_tenant_id", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["for_tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_sign_in_links_for_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["wa_users.id"], name=op.f("fk_wa_sign_in_links_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_sign_in_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_wa_sign_in_links_token_hash")),
    )
    op.create_table(
        "wa_templates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("language", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("category", sa.String(length=16), nullable=False),
        sa.Column("header", sa.JSON(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("footer", sa.String(length=200), nullable=True),
        sa.Column("buttons", sa.JSON(), nullable=False),
        sa.Column("examples", sa.JSON(), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("draft", sa.Boolean(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_templates_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_templates")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_templates_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id", "name", "language", "version", name=op.f("uq_wa_templates_tenant_id_name_language_version")
        ),
    )
    op.create_table(
        "wa_user_sessions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("chosen_tenant_id", sa.String(length=40), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("user_agent", sa.String(length=300), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chosen_tenant_id"], ["wa_tenants.id"], name=op.f("fk_wa_user_sessions_chosen_tenant_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["wa_users.id"], name=op.f("fk_wa_user_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_user_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_wa_user_sessions_token_hash")),
    )
    op.create_index("ix_wa_user_sessions_user", "wa_user_sessions", ["user_id"], unique=False)
    op.create_table(
        "wa_account_refs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("ref", sa.String(length=128), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["wa_accounts.tenant_id", "wa_accounts.id"],
            name=op.f("fk_wa_account_refs_tenant_id_account_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_account_refs")),
        sa.UniqueConstraint("account_id", "ref", name=op.f("uq_wa_account_refs_account_id_ref")),
    )
    op.create_index("ix_wa_account_refs_ref", "wa_account_refs", ["provider", "ref"], unique=False)
    op.create_table(
        "wa_consent_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("source_ref", sa.String(length=200), nullable=True),
        sa.Column("wording_id", sa.String(length=100), nullable=True),
        sa.Column("actor", sa.JSON(), nullable=False),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("changed", sa.Boolean(), nullable=False),
        sa.Column("dedupe", sa.String(length=64), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("evidence_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "contact_id"],
            ["wa_contacts.tenant_id", "wa_contacts.id"],
            name=op.f("fk_wa_consent_events_tenant_id_contact_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_consent_events")),
        sa.UniqueConstraint("tenant_id", "dedupe", name=op.f("uq_wa_consent_events_tenant_id_dedupe")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_consent_events_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "seq", name=op.f("uq_wa_consent_events_tenant_id_seq")),
    )
    op.create_index(
        "ix_wa_consent_events_contact",
        "wa_consent_events",
        ["tenant_id", "contact_id", "purpose", "occurred_at"],
        unique=False,
    )
    op.create_table(
        "wa_messages",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("policy", sa.String(length=16), nullable=False),
        sa.Column("dedupe_key", sa.String(length=400), nullable=False),
        sa.Column("resend_no", sa.Integer(), nullable=False),
        sa.Column("resend_reason", sa.String(length=200), nullable=True),
        sa.Column("contact_id", sa.String(length=40), nullable=False),
        sa.Column("to_masked", sa.String(length=32), nullable=False),
        sa.Column("market", sa.String(length=2), nullable=False),
        sa.Column("order_id", sa.String(length=200), nullable=True),
        sa.Column("event_ref", sa.String(length=200), nullable=True),
        sa.Column("template_id", sa.String(length=40), nullable=True),
        sa.Column("template_name", sa.String(length=512), nullable=True),
        sa.Column("language", sa.String(length=16), nullable=True),
        sa.Column("account_id", sa.String(length=40), nullable=True),
        sa.Column("provider", sa.String(length=32), nullable=True),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("reason_detail", sa.JSON(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("possible_duplicate", sa.Boolean(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error_class", sa.String(length=32), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("estimate_micros", sa.BigInteger(), nullable=True),
        sa.Column("charged_micros", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("billable", sa.Boolean(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("accepted_at", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.Column("read_at", UtcDateTime(), nullable=True),
        sa.Column("failed_at", UtcDateTime(), nullable=True),
        sa.Column("asked_by", sa.String(length=60), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("variables_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("request_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "contact_id"],
            ["wa_contacts.tenant_id", "wa_contacts.id"],
            name=op.f("fk_wa_messages_tenant_id_contact_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_messages")),
        sa.UniqueConstraint("tenant_id", "dedupe_key", name=op.f("uq_wa_messages_tenant_id_dedupe_key")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_messages_tenant_id_id")),
    )
    op.create_index("ix_wa_messages_contact", "wa_messages", ["tenant_id", "contact_id", "created_at"], unique=False)
    op.create_index("ix_wa_messages_external", "wa_messages", ["tenant_id", "external_id"], unique=False)
    op.create_index("ix_wa_messages_newest", "wa_messages", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index("ix_wa_messages_order", "wa_messages", ["tenant_id", "order_id"], unique=False)
    op.create_table(
        "wa_optin",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("contact_id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "contact_id"],
            ["wa_contacts.tenant_id", "wa_contacts.id"],
            name=op.f("fk_wa_optin_tenant_id_contact_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "contact_id", "purpose", name=op.f("pk_wa_optin")),
    )
    op.create_table(
        "wa_schedules",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("contact_id", sa.String(length=40), nullable=False),
        sa.Column("order_id", sa.String(length=200), nullable=True),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("interval", sa.String(length=8), nullable=False),
        sa.Column("natural_key", sa.String(length=400), nullable=False),
        sa.Column("send_at", UtcDateTime(), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("zone_source", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("language", sa.String(length=16), nullable=True),
        sa.Column("message_id", sa.String(length=40), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("variables_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "contact_id"],
            ["wa_contacts.tenant_id", "wa_contacts.id"],
            name=op.f("fk_wa_schedules_tenant_id_contact_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "event_id"],
            ["wa_events.tenant_id", "wa_events.id"],
            name=op.f("fk_wa_schedules_tenant_id_event_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_schedules")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_schedules_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "natural_key", name=op.f("uq_wa_schedules_tenant_id_natural_key")),
    )
    op.create_index("ix_wa_schedules_contact", "wa_schedules", ["tenant_id", "contact_id"], unique=False)
    op.create_index("ix_wa_schedules_due", "wa_schedules", ["status", "send_at"], unique=False)
    op.create_table(
        "wa_template_approvals",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("status_at", UtcDateTime(), nullable=False),
        sa.Column("external_id", sa.String(length=100), nullable=True),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("parameter_map", sa.JSON(), nullable=False),
        sa.Column("rejected_reason", sa.Text(), nullable=True),
        sa.Column("quality", sa.String(length=16), nullable=True),
        sa.Column("next_check_at", UtcDateTime(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["wa_accounts.tenant_id", "wa_accounts.id"],
            name=op.f("fk_wa_template_approvals_tenant_id_account_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "template_id"],
            ["wa_templates.tenant_id", "wa_templates.id"],
            name=op.f("fk_wa_template_approvals_tenant_id_template_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_template_approvals")),
        sa.UniqueConstraint("template_id", "account_id", name=op.f("uq_wa_template_approvals_template_id_account_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_template_approvals_tenant_id_id")),
    )
    op.create_index("ix_wa_template_approvals_check", "wa_template_approvals", ["next_check_at"], unique=False)
    op.create_index(
        "ix_wa_template_approvals_external", "wa_template_approvals", ["account_id", "external_id"], unique=False
    )
    op.create_table(
        "wa_webhook_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["wa_accounts.tenant_id", "wa_accounts.id"],
            name=op.f("fk_wa_webhook_events_tenant_id_account_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_webhook_events")),
        sa.UniqueConstraint("account_id", "digest", name=op.f("uq_wa_webhook_events_account_id_digest")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_webhook_events_tenant_id_id")),
    )
    op.create_index(
        "ix_wa_webhook_events_account", "wa_webhook_events", ["tenant_id", "account_id", "received_at"], unique=False
    )
    op.create_index(
        "ix_wa_webhook_events_new",
        "wa_webhook_events",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("state = 'new'"),
        sqlite_where=sa.text("state = 'new'"),
    )
    op.create_table(
        "wa_attempts",
        sa.Column("message_id", sa.String(length=40), nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("receipt_seen", sa.Boolean(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("error_class", sa.String(length=32), nullable=True),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["wa_accounts.tenant_id", "wa_accounts.id"],
            name=op.f("fk_wa_attempts_tenant_id_account_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "message_id"],
            ["wa_messages.tenant_id", "wa_messages.id"],
            name=op.f("fk_wa_attempts_tenant_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("message_id", "attempt_no", name=op.f("pk_wa_attempts")),
    )
    op.create_index(
        "ix_wa_attempts_watermark", "wa_attempts", ["account_id", "receipt_seen", "started_at"], unique=False
    )
    op.create_index("uq_wa_attempts_external", "wa_attempts", ["account_id", "external_id"], unique=True)
    op.create_table(
        "wa_message_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("message_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "message_id"],
            ["wa_messages.tenant_id", "wa_messages.id"],
            name=op.f("fk_wa_message_events_tenant_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_message_events")),
    )
    op.create_index(
        "ix_wa_message_events_story", "wa_message_events", ["tenant_id", "message_id", "recorded_at"], unique=False
    )
    op.create_table(
        "wa_outbox",
        sa.Column("message_id", sa.String(length=40), nullable=False),
        sa.Column("contact_id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=True),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("uncertain_since", UtcDateTime(), nullable=True),
        sa.Column("asked_at", UtcDateTime(), nullable=True),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "message_id"],
            ["wa_messages.tenant_id", "wa_messages.id"],
            name=op.f("fk_wa_outbox_tenant_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_wa_outbox")),
    )
    op.create_index("ix_wa_outbox_contact", "wa_outbox", ["tenant_id", "contact_id"], unique=False)
    op.create_index(
        "ix_wa_outbox_due",
        "wa_outbox",
        ["account_id", "priority", "next_at", "message_id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_wa_outbox_leases", "wa_outbox", ["state", "lease_until"], unique=False)
    op.create_table(
        "wa_template_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("approval_id", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "approval_id"],
            ["wa_template_approvals.tenant_id", "wa_template_approvals.id"],
            name=op.f("fk_wa_template_events_tenant_id_approval_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_template_events")),
    )
    op.create_index(
        "ix_wa_template_events_approval", "wa_template_events", ["tenant_id", "approval_id", "at"], unique=False
    )
    op.create_table(
        "wa_webhook_items",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("item_key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("message_id", sa.String(length=40), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "event_id"],
            ["wa_webhook_events.tenant_id", "wa_webhook_events.id"],
            name=op.f("fk_wa_webhook_items_tenant_id_event_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_webhook_items")),
        sa.UniqueConstraint("account_id", "item_key", name=op.f("uq_wa_webhook_items_account_id_item_key")),
    )
    op.create_index("ix_wa_webhook_items_event", "wa_webhook_items", ["tenant_id", "event_id"], unique=False)
    op.create_index(
        "ix_wa_webhook_items_parked",
        "wa_webhook_items",
        ["account_id", "external_id"],
        unique=False,
        postgresql_where=sa.text("state = 'parked'"),
        sqlite_where=sa.text("state = 'parked'"),
    )
    protect_tenants()


def protect_tenants() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in TENANT_TABLES:
        for statement in row_security_statements(table):
            op.execute(statement)


def downgrade() -> None:
    op.drop_index(
        "ix_wa_webhook_items_parked",
        table_name="wa_webhook_items",
        postgresql_where=sa.text("state = 'parked'"),
        sqlite_where=sa.text("state = 'parked'"),
    )
    op.drop_index("ix_wa_webhook_items_event", table_name="wa_webhook_items")
    op.drop_table("wa_webhook_items")
    op.drop_index("ix_wa_template_events_approval", table_name="wa_template_events")
    op.drop_table("wa_template_events")
    op.drop_index("ix_wa_outbox_leases", table_name="wa_outbox")
    op.drop_index(
        "ix_wa_outbox_due",
        table_name="wa_outbox",
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.drop_index("ix_wa_outbox_contact", table_name="wa_outbox")
    op.drop_table("wa_outbox")
    op.drop_index("ix_wa_message_events_story", table_name="wa_message_events")
    op.drop_table("wa_message_events")
    op.drop_index("uq_wa_attempts_external", table_name="wa_attempts")
    op.drop_index("ix_wa_attempts_watermark", table_name="wa_attempts")
    op.drop_table("wa_attempts")
    op.drop_index(
        "ix_wa_webhook_events_new",
        table_name="wa_webhook_events",
        postgresql_where=sa.text("state = 'new'"),
        sqlite_where=sa.text("state = 'new'"),
    )
    op.drop_index("ix_wa_webhook_events_account", table_name="wa_webhook_events")
    op.drop_table("wa_webhook_events")
    op.drop_index("ix_wa_template_approvals_external", table_name="wa_template_approvals")
    op.drop_index("ix_wa_template_approvals_check", table_name="wa_template_approvals")
    op.drop_table("wa_template_approvals")
    op.drop_index("ix_wa_schedules_due", table_name="wa_schedules")
    op.drop_index("ix_wa_schedules_contact", table_name="wa_schedules")
    op.drop_table("wa_schedules")
    op.drop_table("wa_optin")
    op.drop_index("ix_wa_messages_order", table_name="wa_messages")
    op.drop_index("ix_wa_messages_newest", table_name="wa_messages")
    op.drop_index("ix_wa_messages_external", table_name="wa_messages")
    op.drop_index("ix_wa_messages_contact", table_name="wa_messages")
    op.drop_table("wa_messages")
    op.drop_index("ix_wa_consent_events_contact", table_name="wa_consent_events")
    op.drop_table("wa_consent_events")
    op.drop_index("ix_wa_account_refs_ref", table_name="wa_account_refs")
    op.drop_table("wa_account_refs")
    op.drop_index("ix_wa_user_sessions_user", table_name="wa_user_sessions")
    op.drop_table("wa_user_sessions")
    op.drop_table("wa_templates")
    op.drop_table("wa_sign_in_links")
    op.drop_table("wa_rate_buckets")
    op.drop_index(op.f("ix_wa_memberships_user_id"), table_name="wa_memberships")
    op.drop_table("wa_memberships")
    op.drop_index("ix_wa_idempotency_keys_expiry", table_name="wa_idempotency_keys")
    op.drop_table("wa_idempotency_keys")
    op.drop_table("wa_events")
    op.drop_index("ix_wa_contacts_user_id", table_name="wa_contacts")
    op.drop_table("wa_contacts")
    op.drop_table("wa_chain_heads")
    op.drop_table("wa_audit_log")
    op.drop_table("wa_api_keys")
    op.drop_table("wa_accounts")
    op.drop_table("wa_users")
    op.drop_table("wa_tenants")
    op.drop_table("wa_instance")
    op.drop_table("wa_heartbeats")
