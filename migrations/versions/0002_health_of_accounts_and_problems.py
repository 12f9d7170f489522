"""health of accounts, limits of a number, problems that wait for a person."""

import sqlalchemy as sa
from alembic import op

from wa_dashboard.db import UtcDateTime, row_security_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TENANT_TABLES = ["wa_breakers", "wa_account_events", "wa_problems"]


def upgrade() -> None:
    op.create_table(
        "wa_breakers",
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("reason", sa.String(64), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("down_since", UtcDateTime(), nullable=True),
        sa.Column("retry_at", UtcDateTime(), nullable=True),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("probe_token", sa.String(64), nullable=True),
        sa.Column("probe_until", UtcDateTime(), nullable=True),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["wa_accounts.tenant_id", "wa_accounts.id"],
            name=op.f("fk_wa_breakers_tenant_id_account_id"),
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_wa_breakers")),
    )
    op.create_table(
        "wa_account_events",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["wa_accounts.tenant_id", "wa_accounts.id"],
            name=op.f("fk_wa_account_events_tenant_id_account_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wa_account_events")),
    )
    op.create_index("ix_wa_account_events_story", "wa_account_events", ["tenant_id", "account_id", "at"])
    op.create_table(
        "wa_problems",
        sa.Column("message_id", sa.String(40), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("cause", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(40), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("closed_by", sa.String(60), nullable=True),
        sa.Column("closed_note", sa.String(500), nullable=True),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "message_id"],
            ["wa_messages.tenant_id", "wa_messages.id"],
            name=op.f("fk_wa_problems_tenant_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_wa_problems")),
    )
    op.create_index("ix_wa_problems_open", "wa_problems", ["tenant_id", "live", "closed_at", "cause", "at"])
    for column in (
        sa.Column("last_receipt_at", UtcDateTime(), nullable=True),
        sa.Column("rate_per_second", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("tier_limit", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("quality", sa.String(16), nullable=True),
        sa.Column("slowed", sa.Float(), nullable=False, server_default="1"),
        sa.Column("slowed_at", UtcDateTime(), nullable=True),
    ):
        op.add_column("wa_accounts", column)
    op.add_column("wa_tenants", sa.Column("failover", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("wa_outbox", sa.Column("template_id", sa.String(40), nullable=True))
    with op.batch_alter_table("wa_outbox") as table:
        table.alter_column("lease_token", type_=sa.String(64), existing_type=sa.String(40))
    op.drop_index("ix_wa_outbox_due", table_name="wa_outbox")
    _index_what_is_due("tenant_id", "account_id", "priority", "next_at", "message_id")
    _keep_apart_and_carry_over()


def _index_what_is_due(*columns: str) -> None:
    queued = sa.text("state = 'queued'")
    op.create_index("ix_wa_outbox_due", "wa_outbox", columns, postgresql_where=queued, sqlite_where=queued)


def _keep_apart_and_carry_over() -> None:
    """Row security for the new tables; what waits learns its template, and what is stuck becomes a problem."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        op.execute("SELECT set_config('app.tenant', '*', true)")
        for table in TENANT_TABLES:
            for statement in row_security_statements(table):
                op.execute(statement)
    op.execute(
        "UPDATE wa_outbox SET template_id = (SELECT template_id FROM wa_messages WHERE wa_messages.id = message_id)"
    )
    op.execute(
        "INSERT INTO wa_problems (message_id, tenant_id, live, cause, account_id, at)"
        " SELECT id, tenant_id, live, COALESCE(error_class, reason, 'unknown'), account_id, status_at FROM wa_messages"
        " WHERE status IN ('failed', 'dead_letter', 'unconfirmed')"
    )


def downgrade() -> None:
    op.drop_index("ix_wa_outbox_due", table_name="wa_outbox")
    _index_what_is_due("account_id", "priority", "next_at", "message_id")
    with op.batch_alter_table("wa_outbox") as table:
        table.alter_column("lease_token", type_=sa.String(40), existing_type=sa.String(64))
    op.drop_column("wa_outbox", "template_id")
    op.drop_column("wa_tenants", "failover")
    for column in ("last_receipt_at", "rate_per_second", "tier_limit", "quality", "slowed", "slowed_at"):
        op.drop_column("wa_accounts", column)
    op.drop_index("ix_wa_problems_open", table_name="wa_problems")
    op.drop_table("wa_problems")
    op.drop_index("ix_wa_account_events_story", table_name="wa_account_events")
    op.drop_table("wa_account_events")
    op.drop_table("wa_breakers")
