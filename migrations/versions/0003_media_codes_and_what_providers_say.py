"""files of messages, codes, and what providers say of templates, numbers and prices."""

import sqlalchemy as sa
from alembic import op

from wa_dashboard.db import UtcDateTime, row_security_statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TENANT_TABLES = ["wa_media", "wa_media_sources", "wa_media_uploads", "wa_codes"]


def _new_columns() -> dict[str, list[sa.Column]]:
    return {
        "wa_messages": [
            sa.Column("reported_micros", sa.BigInteger(), nullable=True),
            sa.Column("reported_currency", sa.String(3), nullable=True),
            sa.Column("media_source_id", sa.String(40), nullable=True),
            sa.Column("media_sealed", sa.LargeBinary(), nullable=True),
        ],
        "wa_attempts": [sa.Column("ask_at", UtcDateTime(), nullable=True)],
        "wa_template_approvals": [
            sa.Column("previous_category", sa.String(32), nullable=True),
            sa.Column("announced_category", sa.String(32), nullable=True),
            sa.Column("announced_at", UtcDateTime(), nullable=True),
        ],
        "wa_accounts": [
            sa.Column("facts", sa.JSON(), nullable=False, server_default="{}"),
            sa.Column("checked_at", UtcDateTime(), nullable=True),
        ],
    }


def upgrade() -> None:
    _create_media()
    _create_codes()
    for table, columns in _new_columns().items():
        for column in columns:
            op.add_column(table, column)
    for name, table, columns, where in _PARTIAL:
        op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
    op.drop_index("ix_wa_messages_external", table_name="wa_messages")
    if op.get_bind().dialect.name == "postgresql":
        for table in TENANT_TABLES:
            for statement in row_security_statements(table):
                op.execute(statement)
        for table, share in _ROOM.items():
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {share})")


# Rows that change a few times after they are written: with room on their page, and no index on what changes,
# PostgreSQL updates them in place.
_ROOM = {"wa_messages": 70, "wa_attempts": 80, "wa_outbox": 70}
_PARTIAL = [
    ("ix_wa_messages_media", "wa_messages", ["tenant_id", "media_source_id"], "media_source_id IS NOT NULL"),
    ("ix_wa_media_uploads_due", "wa_media_uploads", ["expires_at"], "external_id = ''"),
    ("ix_wa_attempts_to_ask", "wa_attempts", ["account_id", "ask_at"], "ask_at IS NOT NULL"),
]


def _belongs(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"{to}.tenant_id", f"{to}.id"],
        name=op.f(f"fk_{table}_tenant_id_{column}"),
    )


def _tenant(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["wa_tenants.id"], name=op.f(f"fk_{table}_tenant_id"))


def _create_media() -> None:
    op.create_table(
        "wa_media",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("mime_type", sa.String(100), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.Column("content_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        _tenant("wa_media"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_media")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_media_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "sha256", name=op.f("uq_wa_media_tenant_id_sha256")),
    )
    op.create_table(
        "wa_media_sources",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("url_index", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("fetched_at", UtcDateTime(), nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("media_id", sa.String(40), nullable=True),
        sa.Column("url_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        _tenant("wa_media_sources"),
        _belongs("wa_media_sources", "media_id", "wa_media"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_media_sources")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_media_sources_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id", "url_index", "kind", name=op.f("uq_wa_media_sources_tenant_id_url_index_kind")
        ),
    )
    op.create_index("ix_wa_media_sources_due", "wa_media_sources", ["state", "next_at"])
    op.create_table(
        "wa_media_uploads",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("media_id", sa.String(40), nullable=False),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("external_id", sa.String(200), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        _belongs("wa_media_uploads", "media_id", "wa_media"),
        _belongs("wa_media_uploads", "account_id", "wa_accounts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_media_uploads")),
        sa.UniqueConstraint("media_id", "account_id", name=op.f("uq_wa_media_uploads_media_id_account_id")),
    )


def _create_codes() -> None:
    op.create_table(
        "wa_codes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("phone_index", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(64), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("checks", sa.Integer(), nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=True),
        sa.Column("message_id", sa.String(40), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        _tenant("wa_codes"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_codes")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_wa_codes_tenant_id_id")),
    )
    live = sa.text("state = 'live'")
    op.create_index(
        "uq_wa_codes_live",
        "wa_codes",
        ["tenant_id", "live", "phone_index", "purpose"],
        unique=True,
        postgresql_where=live,
        sqlite_where=live,
    )
    op.create_index("ix_wa_codes_phone", "wa_codes", ["tenant_id", "phone_index", "created_at"])
    op.create_index("ix_wa_codes_end", "wa_codes", ["state", "expires_at"])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _ROOM:
            op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
    op.create_index("ix_wa_messages_external", "wa_messages", ["tenant_id", "external_id"])
    for name, table, _, _ in _PARTIAL:
        op.drop_index(name, table_name=table)
    for table, columns in _new_columns().items():
        for column in columns:
            op.drop_column(table, column.name)
    for table in reversed(TENANT_TABLES):
        op.drop_table(table)
