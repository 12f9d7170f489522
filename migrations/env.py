"""How migrations run: on the application's own engine, in one transaction, never waiting long for a lock."""

from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db


def ours(_: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    return not (kind == "table" and reflected and compare_to is None and not (name or "").startswith("wa_"))


with db.engine.connect() as connection:
    if connection.dialect.name == "postgresql":
        # Old code goes on working while this runs: better to fail than to hold everybody up.
        connection.exec_driver_sql("SET lock_timeout = '5s'")
        connection.exec_driver_sql("SET statement_timeout = '15min'")
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        compare_type=True,
        include_object=ours,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
