"""Statements for the few places that run thousands of times a second: compiled once, executed as plain SQL.

They are written over the models like all others; what is skipped is the ORM's work around each execution (five sixths
of its time). Its guard is kept: each runs for exactly one tenant, the one in scope, whose id is the parameter
``tenant_id``; changes need a transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import bindparam, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

from .db import Base, Driver, WriteOutsideTransaction, in_transaction, one_tenant

Row = TypeVar("Row", bound=Base)


class Prepared:
    """A statement with `bindparam`s. ``build`` makes it for a dialect's name, on first use."""

    def __init__(self, build: Callable[[str], Any], *, changes: bool = False) -> None:
        self._build = build
        self._changes = changes
        self._compiled: dict[str, _Compiled] = {}

    def run(self, **values: Any) -> list[dict[str, Any]]:
        """Execute for ``values["tenant_id"]``; each row by column label.

        Raises TenantScopeMissing for a tenant that is not in scope, WriteOutsideTransaction.
        """
        one_tenant(values["tenant_id"])
        if self._changes and not in_transaction():
            raise WriteOutsideTransaction("change rows inside transaction() only")
        driver = Driver()
        dialect = driver.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._build(dialect.name), dialect)
        return compiled.run(driver, values)


class _Compiled:
    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._order: list[str] | None = compiled.positiontup
        self._fixed: dict[str, Any] = {}
        self._named: list[tuple[str, str, Callable[[Any], Any] | None]] = []
        for bind, name in compiled.bind_names.items():
            processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if bind.required:
                self._named.append((name, bind.key, processor))
            else:
                self._fixed[name] = processor(bind.value) if processor else bind.value
        self._results = [
            (column.keyname, column.type.dialect_impl(dialect).result_processor(dialect, None))
            for column in compiled._result_columns  # what SQLAlchemy itself reads rows by
        ]

    def run(self, driver: Driver, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        given = dict(self._fixed)
        for name, key, processor in self._named:
            value = values[key]
            given[name] = processor(value) if processor else value
        parameters = given if self._order is None else tuple(given[name] for name in self._order)
        rows = driver.execute(self._sql, parameters, returns=bool(self._results))
        return [
            {
                name: processor(value) if processor else value
                for (name, processor), value in zip(self._results, row, strict=True)
            }
            for row in rows
        ]


def insert_into(dialect: str, model: type[Base]) -> Any:
    """``INSERT`` of the dialect, which knows ``ON CONFLICT``."""
    return postgresql.insert(model) if dialect == "postgresql" else sqlite.insert(model)


def placeholders(model: type[Base], columns: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """A parameter for each attribute of the model, typed as its column; ``tenant_id`` keeps its name."""
    types = {attribute.key: attribute.columns[0].type for attribute in inspect(model).column_attrs}
    names = {name: name if name == "tenant_id" else f"{prefix}{name}" for name in columns}
    return {name: bindparam(names[name], type_=types[name], required=True) for name in columns}


def row_of(model: type[Row], values: Mapping[str, Any]) -> Row:
    """An object of the model with these values, which belongs to no session: to be read, never to be saved."""
    row = cast("Row", inspect(model).class_manager.new_instance())
    row.__dict__.update(values)
    return row


def copy_of(row: Row) -> Row:
    """`row_of` what the row holds now: it may be kept and read by any thread."""
    names = [attribute.key for attribute in inspect(type(row)).column_attrs]
    return row_of(type(row), {name: getattr(row, name) for name in names})


class Inserts:
    """Inserting a few rows of one tenant at once, all with these columns (``tenant_id`` among them)."""

    def __init__(self, model: type[Base], columns: Sequence[str]) -> None:
        self._model = model
        self._columns = columns
        self._of: dict[int, Prepared] = {}

    def run(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the rows. Raises what `Prepared.run` raises, and IntegrityError."""
        if not rows:
            return
        count = len(rows)
        statement = self._of.setdefault(count, Prepared(lambda dialect: self._build(dialect, count), changes=True))
        values = {f"{number}_{name}": row[name] for number, row in enumerate(rows) for name in self._columns}
        statement.run(tenant_id=rows[0]["tenant_id"], **values)

    def _build(self, dialect: str, count: int) -> Any:
        rows = [placeholders(self._model, self._columns, f"{number}_") for number in range(count)]
        return insert_into(dialect, self._model).values(rows)
