"""The migrations make exactly what the models say, on both databases, and can be taken back."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect, make_url

from tests import factories
from wa_dashboard import db as database
from wa_dashboard.config import Settings
from wa_dashboard.db import Base, TenantRow, db
from wa_dashboard.factory import create_app
from wa_dashboard.services import checkup

VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, base_settings: Settings, tmp_path: Path) -> Iterator[Flask]:
    """The application on a database without a single table."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'fresh.db'}"
    else:
        url = request.getfixturevalue("fresh_postgres_url")
    app = create_app(replace(base_settings, database_url=url))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def run(app: Flask, step: object, revision: str) -> None:
    step(directory=app.extensions["migrate"].directory, revision=revision)
    db.session.remove()


def tables() -> set[str]:
    return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def test_head_is_what_the_models_say(empty: Flask) -> None:
    run(empty, upgrade, "head")

    assert tables() == set(Base.metadata.tables)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []
    assert database.schema_revision() == checkup.newest_migration()
    found = inspect(db.engine)
    for name, table in Base.metadata.tables.items():
        ours = {str(each.name) for each in table.constraints if each.name and each.name.startswith(("uq_", "fk_"))}
        theirs = {each["name"] for each in (*found.get_unique_constraints(name), *found.get_foreign_keys(name))}
        assert len(ours) == len(theirs)
        assert None not in theirs  # an unnamed one could not be changed by a later migration


def test_down_to_nothing_and_up_again(empty: Flask) -> None:
    run(empty, upgrade, "head")
    run(empty, downgrade, "base")
    assert tables() == set()
    assert database.schema_revision() is None

    run(empty, upgrade, "head")
    run(empty, upgrade, "head")
    assert tables() == set(Base.metadata.tables)


def test_migrations_are_numbered_without_a_gap() -> None:
    files = sorted(file.name for file in VERSIONS.glob("*.py"))

    assert [name[:4] for name in files] == [f"{number:04d}" for number in range(1, len(files) + 1)]
    for number, name in enumerate(files, 1):
        assert re.fullmatch(r"\d{4}_[a-z0-9_]+\.py", name)
        source = (VERSIONS / name).read_text(encoding="utf-8")
        assert f'revision = "{number:04d}"' in source
        before = "None" if number == 1 else f'"{number - 1:04d}"'
        assert f"down_revision = {before}" in source


# --- row security -----------------------------------------------------------------------------------------------


@pytest.fixture
def walled(postgresql_app: Flask) -> Iterator[Flask]:
    """The PostgreSQL database of the run, as the role that the application has."""
    with postgresql_app.app_context():
        yield postgresql_app
        db.session.remove()


def test_every_table_of_tenants_has_a_forced_policy(walled: Flask) -> None:
    owned = {mapper.local_table.name for mapper in Base.registry.mappers if issubclass(mapper.class_, TenantRow)}
    assert owned
    with db.engine.connect() as connection:
        with_column = set(
            connection.exec_driver_sql(
                "SELECT table_name FROM information_schema.columns WHERE column_name = 'tenant_id'"
                " AND table_schema = 'public'"
            ).scalars()
        )
        forced = set(
            connection.exec_driver_sql(
                "SELECT c.relname FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid"
                " WHERE c.relrowsecurity AND c.relforcerowsecurity AND p.polcmd = '*'"
                " AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL"
            ).scalars()
        )

    assert with_column == owned
    assert forced == owned


def test_no_gap_for_the_applications_role(walled: Flask) -> None:
    assert database.row_security_gaps() == []


@pytest.mark.parametrize(
    ("hole", "mend"),
    [
        ("ALTER TABLE wa_messages NO FORCE ROW LEVEL SECURITY", "ALTER TABLE wa_messages FORCE ROW LEVEL SECURITY"),
        ("ALTER TABLE wa_messages DISABLE ROW LEVEL SECURITY", "ALTER TABLE wa_messages ENABLE ROW LEVEL SECURITY"),
        ("DROP POLICY own_tenant ON wa_messages", database.row_security_statements("wa_messages")[-1]),
    ],
)
def test_a_hole_in_the_wall_is_reported(walled: Flask, hole: str, mend: str) -> None:
    with db.engine.begin() as connection:
        connection.exec_driver_sql(hole)
    try:
        assert database.row_security_gaps() == ["table wa_messages has no forced row security"]
    finally:
        with db.engine.begin() as connection:
            connection.exec_driver_sql(mend)
    assert database.row_security_gaps() == []


def test_a_superuser_is_reported(walled: Flask, base_settings: Settings) -> None:
    owner = make_url(walled.extensions["wa_settings"].database_url).set(username="postgres")
    mighty = create_app(replace(base_settings, database_url=owner.render_as_string(hide_password=False)))
    with mighty.app_context():
        gaps = database.row_security_gaps()
        db.session.remove()
        db.engine.dispose()

    assert gaps == ["the database role is a superuser or may bypass row security"]


def test_nothing_to_report_on_sqlite(sqlite_app: Flask) -> None:
    with sqlite_app.app_context():
        assert database.row_security_gaps() == []


def test_without_a_scope_the_database_shows_nothing(walled: Flask) -> None:
    """The wall stands by itself: even plain SQL past the session finds nothing of anybody."""
    factories.make_tenant()
    with db.engine.connect() as connection:
        for mapper in Base.registry.mappers:
            if issubclass(mapper.class_, TenantRow):
                count = connection.exec_driver_sql(f"SELECT count(*) FROM {mapper.local_table.name}").scalar()
                assert count == 0, mapper.local_table.name
