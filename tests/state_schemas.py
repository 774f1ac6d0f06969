"""States of older schemas, and what a database's schema is, as data that can be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text

from uici.store.migrations import StateSchema
from uici.store.times import UtcText

FROZEN = Path(__file__).parent / "unit" / "schema2"
OLD_ROWS: dict[str, list[dict[str, Any]]] = json.loads((FROZEN / "rows.json").read_text())
"""Rows of every table of schema 2, as runs of that version left them."""


def make_schema_2(connection: Connection) -> None:
    """The tables of schema 2, with rows in each."""
    for statement in (FROZEN / f"{connection.dialect.name}.sql").read_text().split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
    tables = MetaData()
    tables.reflect(connection)
    for name, rows in OLD_ROWS.items():
        connection.execute(tables.tables[name].insert(), rows)


def kept_rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """What a migrated state still holds of the rows of schema 2, in the columns of then."""
    tables = MetaData()
    tables.reflect(connection)
    found = {}
    for name, rows in OLD_ROWS.items():
        query = tables.tables[name].select()
        if name == "uici_meta":
            continue
        held = [dict(row._mapping) for row in connection.execute(query)]
        found[name] = [{column: row[column] for column in rows[0]} for row in held]
    return found


def described(connection: Connection) -> dict[str, Any]:
    """Every table of the database with all that the database knows of it, in no order of columns."""
    inspector = inspect(connection)
    tables: dict[str, dict[str, Any]] = {
        name: {
            "columns": {
                column["name"]: {
                    "type": repr(column["type"]),
                    "nullable": column["nullable"],
                    "default": _default(column.get("default"), name),
                }
                for column in inspector.get_columns(name)
            },
            "primary key": inspector.get_pk_constraint(name)["constrained_columns"],
            "unique": _in_order(inspector.get_unique_constraints(name)),
            "indexes": _in_order(inspector.get_indexes(name)),
            "checks": _in_order(inspector.get_check_constraints(name)),
            "foreign keys": _in_order(inspector.get_foreign_keys(name)),
        }
        for name in sorted(inspector.get_table_names())
    }
    if connection.dialect.name == "sqlite":
        texts = connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")).all()
        for row in texts:
            if row.type == "table" and row.name in tables:
                tables[row.name]["counts for ever"] = "AUTOINCREMENT" in row.sql.upper()
        others = {row.name: " ".join(row.sql.split()) for row in texts if row.type in ("trigger", "view")}
    else:
        triggers = text(
            "SELECT tgname, pg_get_triggerdef(t.oid) AS sql FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid "
            "WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace ORDER BY 1"
        )
        functions = text(
            "SELECT proname, pg_get_functiondef(oid) AS sql FROM pg_proc "
            "WHERE pronamespace = current_schema()::regnamespace ORDER BY 1"
        )
        others = {row[0]: row[1] for query in (triggers, functions) for row in connection.execute(query)}
    return {"tables": tables, "triggers and views": others}


def _in_order(items: Sequence[Any]) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True, default=str) for item in items)


def _default(value: object, table: str) -> object:
    # A counting column's own sequence is named after its table and column on every road to it.
    return value if value is None else str(value).replace(f"public.{table}", table)


def difference(migrated: Mapping[str, Any], fresh: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs, one line each."""
    lines = []
    for key in sorted({*migrated, *fresh}):
        here = f"{path}/{key}"
        left, right = migrated.get(key), fresh.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            lines += difference(left, right, here)
        elif left != right:
            lines.append(f"{here}: migrated {left!r}, fresh {right!r}")
    return lines


def missing_code(connection: Connection, schema: StateSchema) -> str:
    """What alembic would add to the migration, as Python."""
    context = MigrationContext.configure(connection)
    script = produce_migrations(context, schema.metadata)
    if script.upgrade_ops is None or script.upgrade_ops.is_empty():
        return "(alembic sees nothing: a trigger, a check or a detail that it does not compare)"
    return render_python_code(script.upgrade_ops, render_item=_frozen_type, migration_context=context)


def _frozen_type(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """Our own types as what the database holds: a migration must not change with them."""
    return "sa.String(27)" if kind == "type" and isinstance(item, UtcText) else False
