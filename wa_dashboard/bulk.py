"""Statements over hundreds of rows at once: one statement and one parameter for each column, however many there are.

For hot paths. Each is for exactly the tenant in scope, as everything else; what the session guards for others, these
carry in themselves.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    Select,
    String,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    delete,
    func,
    inspect,
    literal_column,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement, FromClause
from sqlalchemy.types import TypeEngine

from .db import (
    ALL_TENANTS,
    Base,
    TenantRow,
    check_owner,
    db,
    is_postgresql,
    scope,
)


def among(which: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """``which IN (values)`` for long lists of texts: one parameter and one compiled statement however long it is."""
    listed = list(values)
    if is_postgresql():
        return which == any_(bindparam(None, listed, type_=postgresql.ARRAY(String())))
    return which.in_(select(func.json_each(json.dumps(listed)).table_valued("value").c.value))


def lies_among(model: type[Base], chosen: Select[Any]) -> ColumnElement[bool]:
    """Is this one of the rows that ``chosen``, a select from the same table, finds? Its columns are replaced.

    By where they lie, so that the way back is short even when the planner's idea of the table is old: that of the
    outbox always is.
    """
    place: ColumnElement[Any] = literal_column(f"{model.__tablename__}.{'ctid' if is_postgresql() else 'rowid'}")
    found: Select[Any] = chosen.with_only_columns(place, maintain_column_froms=True).correlate(None)
    return place == any_(func.array(found.scalar_subquery())) if is_postgresql() else place.in_(found)


# Statements over hundreds of rows are built once for each shape and then only filled: "given" is a table made of
# parameters, one array for each column (PostgreSQL), one JSON text for all (SQLite).


def insert_table(
    model: type[Base],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    once: Sequence[str] = (),
    **same: Any,
) -> list[str]:
    """As `insert_rows`, for hundreds of rows at once: values in the order of ``columns``, and those that are the
    ``same`` in every row. Returns the first primary-key column of the rows that were really inserted."""
    if not rows:
        return []
    if issubclass(model, TenantRow):
        check_owner(same.get("tenant_id"), scope())
    statement = _insertion(model, tuple(columns), tuple(same), tuple(once), is_postgresql())
    parameters = _given(model, columns, rows) | {f"same_{key}": value for key, value in same.items()}
    return list(_by_key(statement, parameters).scalars())


def rows_by_key(
    model: type[Base],
    columns: Sequence[str],
    key: Sequence[str],
    wanted: Sequence[Sequence[Any]],
    *,
    lock: bool = False,
) -> Sequence[Any]:
    """The ``columns`` of the rows whose ``key`` columns are among ``wanted``, in the order of the key; with ``lock``
    nobody else changes them until the commit. Only the rows of the tenant in scope, as everywhere."""
    if not wanted:
        return []
    names, rows = _with_tenant(model, key, wanted)
    statement = _selection(model, tuple(columns), tuple(names), lock, is_postgresql())
    return _by_key(statement, _given(model, names, rows)).all()


def update_by_key(model: type[Base], key: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Set ``columns`` of many rows at once, each to its own values: a row holds the key first, then the values."""
    if not rows:
        return
    names, rows = _with_tenant(model, key, rows)
    statement = _change(model, tuple(names), tuple(columns), is_postgresql())
    _by_key(statement, _given(model, (*names, *columns), rows))


def delete_by_key(model: type[TenantRow], key: str, values: Sequence[Any]) -> None:
    """Delete the rows of the tenant in scope whose ``key`` column is among the values."""
    if values:
        names, rows = _with_tenant(model, (key,), [(value,) for value in values])
        _by_key(_removal(model, tuple(names), is_postgresql()), _given(model, names, rows))


def _with_tenant(
    model: type[Base], key: Sequence[str], rows: Sequence[Sequence[Any]]
) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """The tenant in scope as part of each row's key instead of a filter on all: a filter leads both databases to read
    everything the tenant has when they have no statistics."""
    owner = scope()
    if not issubclass(model, TenantRow) or owner == ALL_TENANTS:
        return key, rows
    check_owner(owner, owner)
    return ("tenant_id", *key), [(owner, *row) for row in rows]


def _by_key(statement: Any, parameters: Mapping[str, Any]) -> Any:
    """These statements carry the tenant themselves, and are spared what the session does for others."""
    db.session.flush()
    return db.session.execute(statement, parameters, execution_options={"wa_plain": True})


def _table(model: type[Base]) -> Any:
    return model.__table__


@cache
def _insertion(
    model: type[Base], columns: tuple[str, ...], same: tuple[str, ...], once: tuple[str, ...], on_postgresql: bool
) -> Any:
    insert = postgresql.insert if on_postgresql else sqlite.insert
    given, kinds = _given_table(model, columns, on_postgresql), inspect(model).columns
    fixed = [bindparam(f"same_{key}", type_=kinds[key].type) for key in same]
    # "WHERE true": without it SQLite takes ON CONFLICT for a join's condition.
    wanted = select(*(given.c[key] for key in columns), *fixed).where(true())
    names = [kinds[key].name for key in (*columns, *same)]
    statement: Any = insert(_table(model)).from_select(names, wanted, include_defaults=False)
    if once:
        statement = statement.on_conflict_do_nothing(index_elements=list(once))
    return statement.returning(inspect(model).primary_key[0])


@cache
def _selection(
    model: type[Base], columns: tuple[str, ...], key: tuple[str, ...], lock: bool, on_postgresql: bool
) -> Any:
    given, ours = _given_table(model, key, on_postgresql), inspect(model).columns
    same = and_(*(ours[name] == given.c[name] for name in key))
    found = _table(model).join(given, same)
    statement = select(*(ours[name] for name in columns)).select_from(found).order_by(*(ours[name] for name in key))
    return statement.with_for_update(of=_table(model)) if lock else statement


@cache
def _change(model: type[Base], key: tuple[str, ...], columns: tuple[str, ...], on_postgresql: bool) -> Any:
    given, ours = _given_table(model, (*key, *columns), on_postgresql), inspect(model).columns
    same = and_(*(ours[name] == given.c[name] for name in key))
    return update(_table(model)).where(same).values({ours[name]: given.c[name] for name in columns})


@cache
def _removal(model: type[TenantRow], key: tuple[str, ...], on_postgresql: bool) -> Any:
    given, ours = _given_table(model, key, on_postgresql), inspect(model).columns
    found = _table(model).join(given, and_(*(ours[name] == given.c[name] for name in key)))
    return delete(_table(model)).where(lies_among(model, select(_table(model)).select_from(found)))


def _given_table(model: type[Base], columns: Sequence[str], on_postgresql: bool) -> FromClause:
    """A table of parameters, its columns named and typed as those of ``model``."""
    types = [inspect(model).columns[key].type for key in columns]
    if on_postgresql:
        kinds: list[TypeEngine[Any]] = [Text() if isinstance(kind, JSON) else kind for kind in types]
        arrays = [bindparam(f"given_{number}", type_=postgresql.ARRAY(kind)) for number, kind in enumerate(kinds)]
        named = [column(key, kind) for key, kind in zip(columns, kinds, strict=True)]
        table = func.unnest(*arrays).table_valued(*named, name="given").render_derived()
        cells = [
            cast(table.c[key], kind) if isinstance(kind, JSON) else table.c[key]
            for key, kind in zip(columns, types, strict=True)
        ]
        return select(*(cell.label(key) for cell, key in zip(cells, columns, strict=True))).subquery("rows_given")
    each = func.json_each(bindparam("given", type_=String)).table_valued("value", name="given")
    found = (func.json_extract(each.c.value, f"$[{number}]") for number in range(len(types)))
    typed = [type_coerce(cell, kind).label(key) for cell, key, kind in zip(found, columns, types, strict=True)]
    return select(*typed).subquery("rows_given")


def _given(model: type[Base], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The parameters that make up the table."""
    types = [inspect(model).columns[key].type for key in columns]
    by_column: list[Sequence[Any]] = [
        _as_text(values) if isinstance(kind, JSON) else values
        for kind, values in zip(types, zip(*rows, strict=True), strict=True)
    ]
    if is_postgresql():
        return {f"given_{number}": list(values) for number, values in enumerate(by_column)}
    dialect = db.engine.dialect
    for number, kind in enumerate(types):
        keep = None if isinstance(kind, JSON) else kind.dialect_impl(dialect).bind_processor(dialect)
        if keep is not None:
            by_column[number] = [keep(value) for value in by_column[number]]
    return {"given": json.dumps(list(zip(*by_column, strict=True)), separators=(",", ":"))}


def _as_text(values: Sequence[Any]) -> list[str]:
    """JSON, written once where the same object stands in many rows."""
    written: dict[int, str] = {}
    for value in values:
        if id(value) not in written:
            written[id(value)] = json.dumps(value)
    return [written[id(value)] for value in values]
