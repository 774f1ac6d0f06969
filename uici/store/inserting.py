"""Inserts that say what becomes of a row that is there already, and inserts of many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple

from sqlalchemy import JSON, Connection, Dialect, String, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from uici.model.base import JsonValue
from uici.store.json import json_text
from uici.store.times import UtcText, stored_time

_Bind = Callable[[Any], Any]


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert of the database in use, whose `ON CONFLICT` SQLAlchemy knows for each by itself only."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table)


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all name the same columns; columns that they do not name get no default of Python's.

    The values are bound here: SQLAlchemy's own way costs four times what the database needs for a row. A server gets
    all rows as one parameter, so that the driver has not each value of each row to see to while other writers wait.
    """
    prepared = _prepared(table, tuple(rows[0]), connection.dialect)
    bound = ([row[name] if bind is None else bind(row[name]) for name, bind in prepared.binds] for row in rows)
    if prepared.as_json:
        names = [name for name, _ in prepared.binds]
        document = json_text([dict(zip(names, values, strict=True)) for values in bound])
        connection.exec_driver_sql(prepared.statement, (document,))
    else:
        connection.exec_driver_sql(prepared.statement, [tuple(values) for values in bound])


class _Prepared(NamedTuple):
    statement: str
    binds: tuple[tuple[str, _Bind | None], ...]
    """In the statement's order each column's name, and what makes its values ready."""
    as_json: bool
    """Whether all rows are one parameter."""


@lru_cache(maxsize=64)
def _prepared(table: Table, names: tuple[str, ...], dialect: Dialect) -> _Prepared:
    if dialect.name == "postgresql":
        binds = tuple((name, _binding(table.c[name].type, dialect)) for name in names)
        return _Prepared(_of_records(table, names, dialect), binds, as_json=True)
    compiled = table.insert().compile(dialect=dialect, column_keys=names)
    ordered = compiled.positiontup or names
    binds = tuple((name, _binding(table.c[name].type, dialect)) for name in ordered)
    return _Prepared(str(compiled), binds, as_json=False)


def _of_records(table: Table, names: tuple[str, ...], dialect: Dialect) -> str:
    """Texts stay texts until they are stored: what a column holds is then checked, as it is with a value by itself."""
    quoted = dialect.identifier_preparer.quote
    into, taken, typed = [], [], []
    for name in names:
        type_ = table.c[name].type
        into.append(quoted(name))
        taken.append(f"{quoted(name)}::json" if isinstance(type_, JSON) else quoted(name))
        as_text = isinstance(type_, JSON | String | UtcText)
        typed.append(f"{quoted(name)} {'text' if as_text else type_.compile(dialect=dialect)}")
    return (
        f"INSERT INTO {quoted(table.name)} ({', '.join(into)}) "  # noqa: S608  # names of our own tables and columns
        f"SELECT {', '.join(taken)} FROM json_to_recordset(%s::json) AS given({', '.join(typed)})"
    )


def _binding(type_: TypeEngine[Any], dialect: Dialect) -> _Bind | None:
    """What makes a value ready, without the layers that the dialect puts around it."""
    if isinstance(type_, UtcText):
        return stored_time
    if isinstance(type_, JSON):
        return partial(_json, none_as_null=type_.none_as_null)
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _json(value: JsonValue, *, none_as_null: bool) -> str | None:
    return None if value is None and none_as_null else json_text(value)


def insert_or_leave(connection: Connection, table: Table, *key: str) -> postgresql.Insert | sqlite.Insert:
    """An insert that changes nothing where a row of this key is there already; built once for each table."""
    return _leaving(connection.dialect.name, table, key)


@lru_cache(maxsize=64)
def _leaving(dialect: str, table: Table, key: tuple[str, ...]) -> postgresql.Insert | sqlite.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=key)


RENEWED_WITHIN = timedelta(days=1)
"""How old `created_at` of a row may get that somebody puts to use: what was not renewed for longer may be deleted."""


def insert_or_renew(connection: Connection, table: Table, key: str, values: Mapping[str, Any], now: datetime) -> None:
    """Insert a row that never changes under its key, or renew the date of the one that is there.

    With that in the transaction of what begins to refer to it, nobody can delete it as unused in between.
    """
    statement = _renewing(connection.dialect.name, table, key)
    connection.execute(statement, {**values, "created_at": now, "renewed_before": now - RENEWED_WITHIN})


@lru_cache(maxsize=64)
def _renewing(dialect: str, table: Table, key: str) -> postgresql.Insert | sqlite.Insert:
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    return insert.on_conflict_do_update(
        index_elements=[key],
        set_={"created_at": insert.excluded.created_at},
        where=table.c.created_at < bindparam("renewed_before", type_=UtcText),
    )
