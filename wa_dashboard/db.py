"""The database: one session that knows its tenant, transactions, and all that differs between dialects.

Nothing outside this file commits, writes raw SQL, or asks which database it talks to.
"""

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import (
    BigInteger,
    DateTime,
    Engine,
    MetaData,
    String,
    event,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, ORMExecuteState, Session, mapped_column, with_loader_criteria
from sqlalchemy.pool import Pool
from sqlalchemy.sql import ClauseElement, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

ALL_TENANTS = "*"
# Tables of which processes remember something for a moment (`remembered`): changes to them are counted.
REMEMBERED = frozenset(
    {"wa_accounts", "wa_api_keys", "wa_breakers", "wa_template_approvals", "wa_templates", "wa_tenants"}
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_scope: ContextVar[str | None] = ContextVar("tenant_scope", default=None)
_writing: ContextVar[bool] = ContextVar("writing", default=False)
_durable: ContextVar[bool] = ContextVar("durable", default=True)
# SQLite lets one write at a time and has the others poll; threads of one process wait for each other here instead.
_one_writer = threading.Lock()
_WRITER_WAITS_S = 30.0
_FRESH_S = 1.0  # a connection used so lately is not asked whether it lives


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in, aware UTC out. PostgreSQL keeps timestamptz, SQLite microseconds since 1970.

    A number in SQLite, not text, so that the database's own clock can be added to and compared exactly.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime reached the database")
        return (value - _EPOCH) // timedelta(microseconds=1) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return _EPOCH + timedelta(microseconds=value) if dialect.name == "sqlite" else value.astimezone(UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as an SQL function
    """The database's own clock, plus ``seconds``: the only clock of leases and waiting times (decisions.md D8)."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float] = 0.0) -> None:
        super().__init__(seconds)


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: Any, **kw: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: Any, **kw: Any) -> str:
    return f"(wa_now() + CAST(({compiler.process(element.clauses, **kw)}) * 1000000 AS INTEGER))"


class db_moment(FunctionElement[datetime]):  # noqa: N801 - reads as an SQL function
    """The database's clock when the statement began: the same for all its rows, so that an index can be used."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)


@compiles(db_moment, "postgresql")
def _moment_postgresql(element: db_moment, compiler: Any, **kw: Any) -> str:
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(db_moment, "sqlite")
def _moment_sqlite(element: db_moment, compiler: Any, **kw: Any) -> str:
    return f"(SELECT wa_now() + CAST(({compiler.process(element.clauses, **kw)}) * 1000000 AS INTEGER))"


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class Row(Base):
    """Any table of ours that belongs to nobody in particular (users, the instance itself)."""

    __abstract__ = True


class TenantRow(Base):
    """A table whose every row belongs to one tenant and is invisible to all others."""

    __abstract__ = True
    tenant_id: Mapped[str] = mapped_column(String(40), index=False)


class WriteOutsideTransaction(RuntimeError):
    """Somebody changed a row outside ``transaction()``."""


class TenantScopeMissing(RuntimeError):
    """Somebody touched a tenant's rows without saying which tenant, or another tenant's."""


class TenantSession(FlaskSession):
    """The only session there is: filtered by the tenant in scope, read-only outside ``transaction()``."""


db = SQLAlchemy(model_class=Base, session_options={"class_": TenantSession, "expire_on_commit": False})


# --- whose rows -------------------------------------------------------------------------------------------------


@contextmanager
def tenant_scope(tenant_id: str) -> Iterator[None]:
    """Inside the block only this tenant's rows exist. Never nests in another tenant's block."""
    outer = _scope.get()
    if outer not in (None, ALL_TENANTS, tenant_id):
        raise TenantScopeMissing("one tenant's work may not run inside another's")
    with _in_scope(tenant_id):
        yield


@contextmanager
def all_tenants(reason: str) -> Iterator[None]:
    """Inside the block every row is visible: for sweeps, sign-in and commands. ``reason`` is for the reader."""
    if not reason:
        raise ValueError("say why")
    if _scope.get() not in (None, ALL_TENANTS):
        raise TenantScopeMissing("a tenant's work may not widen its view")
    with _in_scope(ALL_TENANTS):
        yield


@contextmanager
def _in_scope(scope: str) -> Iterator[None]:
    outer = _scope.get()
    if outer is None and db.session().identity_map:
        db.session().expunge_all()  # what another tenant's block loaded is not ours to find
    token = _scope.set(scope)
    _tell_connection(scope)
    try:
        yield
    except BaseException:
        _scope.reset(token)
        with suppress(SQLAlchemyError):  # a connection that is lost has nothing to tell; what happened is to be told
            _tell_connection(outer)
        raise
    _scope.reset(token)
    _tell_connection(outer)


def _tell_connection(scope: str | None) -> None:
    session = db.session()
    if session.in_transaction() and session.is_active and is_postgresql():
        session.connection().exec_driver_sql("SELECT set_config('app.tenant', %s, true)", (scope or "",))


@event.listens_for(TenantSession, "after_begin")
def _scope_of_transaction(session: Session, transaction: Any, connection: Connection) -> None:
    session.info["raw"] = connection.connection.driver_connection
    session.info["dialect"] = connection.dialect
    if connection.dialect.name == "postgresql" and not transaction.nested:
        _begin_postgresql(connection, _scope.get() or "", session.info.pop("patience", None))


def _begin_postgresql(connection: Connection, scope: str, patience: float | None) -> None:
    """Begin, say whose rows, and how long to wait for locks, in one message where psycopg would send three."""
    raw: Any = connection.connection.driver_connection
    if re.fullmatch(r"[\w*]*", scope, re.ASCII) and not raw.info.transaction_status:
        words = f"BEGIN; SET LOCAL app.tenant = '{scope}'"
        if patience is not None:
            words += f"; SET LOCAL lock_timeout = '{int(patience * 1000)}ms'"
        if not _durable.get():
            words += "; SET LOCAL synchronous_commit = off"
        if not raw.pgconn.exec_(words.encode()).error_message:
            return
    connection.exec_driver_sql("SELECT set_config('app.tenant', %s, true)", (scope,))
    if patience is not None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(patience * 1000)}ms'")


@event.listens_for(TenantSession, "do_orm_execute")
def _guard_statement(state: ORMExecuteState) -> None:
    changes = state.is_insert or state.is_update or state.is_delete
    if changes and not _writing.get():
        raise WriteOutsideTransaction("change rows inside transaction() only")
    if changes and state.is_orm_statement and not state.execution_options.get("wa_changes_nothing_remembered"):
        _touch(state.session, (mapper.class_ for mapper in state.all_mappers))
    if not state.is_orm_statement:
        if not state.execution_options.get("wa_plain"):
            raise TenantScopeMissing("plain SQL passes the tenant filter by: write it over the models")
        return
    scope = _scope.get()
    if scope == ALL_TENANTS:
        return
    if scope is None and any(issubclass(mapper.class_, TenantRow) for mapper in state.all_mappers):
        raise TenantScopeMissing("say whose rows: tenant_scope(…) or all_tenants(…)")
    if state.is_insert:
        if not state.execution_options.get("wa_checked"):
            raise TenantScopeMissing("insert through insert_rows() or session.add()")
        return
    state.statement = state.statement.options(
        with_loader_criteria(TenantRow, lambda cls: cls.tenant_id == scope, include_aliases=True)
    )


@event.listens_for(TenantSession, "before_flush")
def _guard_flush(session: Session, _context: Any, _instances: Any) -> None:
    new = set(session.new)
    rows = [*new, *(row for row in session.dirty if session.is_modified(row)), *session.deleted]
    if rows and not _writing.get():
        raise WriteOutsideTransaction("change rows inside transaction() only")
    if rows:
        _touch(session, {type(row) for row in rows})
    scope = _scope.get()
    for row in rows:
        if not isinstance(row, TenantRow):
            continue
        history = inspect(row).attrs.tenant_id.history
        if row not in new and history.has_changes():
            raise TenantScopeMissing("a row never changes its tenant")
        check_owner(row.tenant_id, scope)


# --- what this process changed ----------------------------------------------------------------------------------

_versions: dict[str, int] = {}


def versions_of(models: Sequence[type[Base]]) -> tuple[int | None, ...]:
    """Numbers that change when this process commits a change to rows of the models; None for one that the running
    transaction has changed itself."""
    touched = db.session().info.get("touched", ())
    names = [model.__tablename__ for model in models]
    return tuple(None if name in touched else _versions.get(name, 0) for name in names)


def _touch(session: Session, models: Iterable[Any]) -> None:
    names = {model.__tablename__ for model in models} & REMEMBERED
    if names:
        session.info.setdefault("touched", set()).update(names)


@event.listens_for(TenantSession, "after_commit")
@event.listens_for(TenantSession, "after_rollback")
def _count_changes(session: Session) -> None:
    if not session.in_nested_transaction():
        for name in session.info.pop("touched", ()):
            _versions[name] = _versions.get(name, 0) + 1


def scope() -> str | None:
    """Whose rows exist here: a tenant's, everybody's (ALL_TENANTS), nobody's (None)."""
    return _scope.get()


def check_owner(tenant_id: str | None, scope: str | None) -> None:
    if not tenant_id or scope is None or scope not in (ALL_TENANTS, tenant_id):
        raise TenantScopeMissing("a row of another tenant, or of none")


# --- transactions -----------------------------------------------------------------------------------------------


@contextmanager
def transaction(patience: float | None = None, *, durable: bool = True) -> Iterator[None]:
    """Commit when the block ends, roll back when it raises. An inner block joins the outer one.

    What was handed to ``on_commit`` runs afterwards, and only after a real commit. On PostgreSQL a statement gives
    up (OperationalError) when another transaction holds what it needs for longer than ``patience`` seconds.
    With ``durable=False`` the commit does not wait for the disk: a power cut may take it back, but never without
    what was committed after it.
    """
    if _writing.get():
        yield
        return
    session = db.session()
    if session.in_transaction():
        session.commit()  # ends a read, whose snapshot must not become the ground of a write
    callbacks: list[Callable[[], object]] = []
    session.info["on_commit"] = callbacks
    if patience is not None:
        session.info["patience"] = patience
    token, waits = _writing.set(True), _durable.set(durable)
    try:
        with _turn_to_write():
            try:
                yield
                session.commit()
            except BaseException:
                session.rollback()
                raise
    finally:
        _writing.reset(token)
        _durable.reset(waits)
        del session.info["on_commit"]
        session.info.pop("patience", None)
    for callback in callbacks:
        callback()


@contextmanager
def _turn_to_write() -> Iterator[None]:
    """On SQLite, this thread's turn among those of this process; whoever waits too long asks SQLite itself."""
    mine = not is_postgresql() and _one_writer.acquire(timeout=_WRITER_WAITS_S)
    try:
        yield
    finally:
        if mine:
            _one_writer.release()


@contextmanager
def savepoint() -> Iterator[None]:
    """Undo only this block when it raises; the transaction around it goes on."""
    with db.session.begin_nested():
        yield


def on_commit(callback: Callable[[], object]) -> None:
    """Run ``callback`` once the open transaction has committed. It must not raise."""
    db.session().info["on_commit"].append(callback)


def in_transaction() -> bool:
    return _writing.get()


def end_read() -> None:
    """Give the connection back before waiting for anything (durability.md P4). What was read stays readable."""
    if not _writing.get():
        db.session.commit()


def give_up_read() -> None:
    """After a failure: forget everything this session had in hand."""
    if not _writing.get():
        db.session.rollback()
        db.session.expunge_all()


# --- statements that differ between dialects --------------------------------------------------------------------


def dialect_name() -> str:
    return db.engine.dialect.name


def is_postgresql() -> bool:
    return dialect_name() == "postgresql"


def insert_rows(model: type[Base], rows: Sequence[Mapping[str, Any]], *, once: Sequence[str] = ()) -> list[str]:
    """Insert many rows in one statement; with ``once`` skip those whose unique columns exist already.

    Returns the first primary-key column of the rows that were really inserted, in no particular order.
    """
    if not rows:
        return []
    if issubclass(model, TenantRow):
        for row in rows:
            check_owner(row.get("tenant_id"), _scope.get())
    insert = postgresql.insert if is_postgresql() else sqlite.insert
    statement: Any = insert(model)
    # Rows of plain values are parameters of one statement that SQLAlchemy compiles once; the database's clock
    # among them makes every row an expression of its own.
    plain = not any(isinstance(value, ClauseElement) for row in rows for value in row.values())
    if not plain:
        statement = statement.values([dict(row) for row in rows])
    if once:
        statement = statement.on_conflict_do_nothing(index_elements=list(once))
    statement = statement.returning(inspect(model).primary_key[0])
    parameters = [dict(row) for row in rows] if plain else None
    return list(db.session.scalars(statement, parameters, execution_options={"wa_checked": True}))


def upsert(model: type[Base], row: Mapping[str, Any], *, key: Sequence[str], update: Sequence[str]) -> None:
    """Insert the row, or overwrite ``update`` columns of the one with the same ``key``."""
    if issubclass(model, TenantRow):
        check_owner(row.get("tenant_id"), _scope.get())
    insert = postgresql.insert if is_postgresql() else sqlite.insert
    statement: Any = insert(model)
    plain = not any(isinstance(value, ClauseElement) for value in row.values())
    if not plain:
        statement = statement.values(dict(row))
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={column: statement.excluded[column] for column in update}
    )
    db.session.execute(statement, [dict(row)] if plain else None, execution_options={"wa_checked": True})


def one_tenant(tenant_id: str) -> None:
    """Raises TenantScopeMissing unless exactly this tenant is in scope."""
    if _scope.get() != tenant_id:
        raise TenantScopeMissing("say whose rows: tenant_scope(…)")


class Driver:
    """The running transaction's connection as the driver knows it, begun if there was none; for `prepared`."""

    def __init__(self) -> None:
        self._session = db.session()
        info = self._session.info
        if "raw" not in info:
            self._session.connection()
        self._raw: Any = info["raw"]
        self.dialect: Dialect = info["dialect"]

    def execute(self, sql: str, parameters: Any, *, returns: bool) -> Sequence[Any]:
        """Execute what was compiled from the models for this dialect; its rows if it ``returns`` any.

        Raises what SQLAlchemy would raise.
        """
        cursor = self._raw.cursor()
        try:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if returns else ()
        except Exception as error:
            raise _as_sqlalchemy_says(self._session, sql, error) from error
        finally:
            cursor.close()


def _as_sqlalchemy_says(session: Session, sql: str, error: Exception) -> BaseException:
    connection = session.connection()
    dialect: Any = connection.dialect
    gone = isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(error, None, None)
    if gone:
        connection.invalidate(error)
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
    )


@event.listens_for(TenantSession, "after_transaction_end")
def _let_go_of_connection(session: Session, transaction: Any) -> None:
    if transaction.parent is None:
        session.info.pop("raw", None)


def clock_of_database() -> datetime:
    """What time the database thinks it is (aware UTC)."""
    return db.session.execute(select(db_now()), execution_options={"wa_plain": True}).scalar_one()


def schema_revision() -> str | None:
    """The migration the database stands at, or None before the first."""
    with db.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def row_security_gaps() -> list[str]:
    """What keeps PostgreSQL from separating tenants by itself: role rights, tables without a forced policy.

    Empty on SQLite, where the session's own guard is the only wall (security.md §4.1).
    """
    if not is_postgresql():
        return []
    gaps = []
    with db.engine.connect() as connection:
        powerful = connection.exec_driver_sql(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).scalar()
        if powerful:
            gaps.append("the database role is a superuser or may bypass row security")
        bare = connection.exec_driver_sql(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind = 'r' AND c.relname LIKE 'wa\\_%%' AND NOT (c.relrowsecurity AND c.relforcerowsecurity"
            " AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive)) ORDER BY 1"
        ).scalars()
        gaps += [f"table {name} has no forced row security" for name in bare]
    return gaps


def server_version() -> int:
    """The major version of the PostgreSQL server."""
    with db.engine.connect() as connection:
        return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000


def other_sessions() -> int:
    """How many connections of others this PostgreSQL database has."""
    db.session.remove()
    db.engine.dispose()
    with db.engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).scalar_one()
    return int(found)


def our_tables() -> set[str]:
    """The tables there are whose names say that they are ours."""
    with db.engine.connect() as connection:
        return {name for name in inspect(connection).get_table_names() if name.startswith("wa_")}


def is_unavailable(error: BaseException) -> bool:
    """Is this the database being away, busy or full, rather than a mistake of ours?"""
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


# --- connections ------------------------------------------------------------------------------------------------


def engine_options(url: str) -> dict[str, Any]:
    """What Flask-SQLAlchemy must know to open ``url``: pool, time-outs (durability.md §3.19)."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 30, "check_same_thread": False}, "pool_timeout": 10}
    return {
        "pool_size": 10,
        "max_overflow": 10,
        "pool_timeout": 2,
        "pool_recycle": 1800,
        "connect_args": {
            "connect_timeout": 3,
            "options": "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000",
        },
    }


@event.listens_for(Engine, "connect")
def _prepare_sqlite(connection: Any, _record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.create_function("wa_now", 0, lambda: time.time_ns() // 1000)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@event.listens_for(Pool, "checkin")
def _note_use(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


@event.listens_for(Pool, "checkout")
def _ask_whether_it_lives(connection: Any, record: Any, _proxy: Any) -> None:
    """What ``pool_pre_ping`` does, but not for a connection that answered within the last second."""
    if isinstance(connection, sqlite3.Connection) or time.monotonic() - record.info.get("used", -_FRESH_S) < _FRESH_S:
        return
    if connection.pgconn.exec_(b"").error_message:
        raise InvalidatePoolError("the connection is gone")


@event.listens_for(Engine, "begin")
def _begin_sqlite(connection: Connection) -> None:
    # A write takes its lock at once: upgrading a read later would fail with SQLITE_BUSY and no second try.
    if connection.dialect.name == "sqlite":
        if connection.info.get("durable", True) != _durable.get():  # cannot be said once it has begun
            connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if _durable.get() else 'NORMAL'}")
            connection.info["durable"] = _durable.get()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _writing.get() else "BEGIN")


def row_security_statements(table: str) -> list[str]:
    """The DDL by which PostgreSQL itself keeps a table's tenants apart, even from its owner (security.md §4.1 L3)."""
    mine = f"(current_setting('app.tenant', true) IN ('{ALL_TENANTS}', tenant_id))"
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY own_tenant ON {table} USING {mine} WITH CHECK {mine}",
    ]


def copy_sqlite(settings: Any) -> Any:
    """A consistent copy of an SQLite database in ``WA_DATA_DIR/backups`` (its online backup); None on PostgreSQL."""
    path = settings.database_path
    if path is None or not path.is_file():
        return None
    folder = settings.data_dir / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"wa-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.db"
    target.touch(mode=0o600)  # it holds what the database holds
    source = sqlite3.connect(path)
    copy = sqlite3.connect(target)
    with copy:
        source.backup(copy)
    copy.close()
    source.close()
    return target
