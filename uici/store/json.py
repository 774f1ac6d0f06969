"""JSON in the database: how values are written, and a list of keys as one parameter of a statement."""

from __future__ import annotations

import json
from typing import Any

import pydantic_core
from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from uici.model.base import JsonValue


def json_text(value: JsonValue) -> str:
    """A value of a JSON column as text, at a quarter of what `json.dumps` costs."""
    try:
        return pydantic_core.to_json(value).decode()
    except pydantic_core.PydanticSerializationError:
        return json.dumps(value)  # half a surrogate pair out of a platform's answer has no UTF-8, but an escape


class json_values(GenericFunction[str]):  # noqa: N801  # the name is the function's in a statement
    """The elements of a list in JSON as rows of `value`, each as text."""

    inherit_cache = True


class json_item(GenericFunction[str]):  # noqa: N801  # as above
    """One element of a list in JSON, as text, by its place as a literal."""

    type = Text()
    inherit_cache = True


@compiles(json_values, "sqlite")
def _values_of_sqlite(element: json_values, compiler: SQLCompiler, **more: Any) -> str:
    return f"json_each{compiler.process(element.clause_expr, **more)}"


@compiles(json_values, "postgresql")
def _values_of_postgres(element: json_values, compiler: SQLCompiler, **more: Any) -> str:
    return f"json_array_elements_text({compiler.process(element.clause_expr, **more)}::json)"


@compiles(json_item, "sqlite")
def _item_of_sqlite(element: json_item, compiler: SQLCompiler, **more: Any) -> str:
    document, place = element.clauses
    return f"json_extract({compiler.process(document, **more)}, '$[{compiler.process(place, **more)}]')"


@compiles(json_item, "postgresql")
def _item_of_postgres(element: json_item, compiler: SQLCompiler, **more: Any) -> str:
    document, place = element.clauses
    return f"({compiler.process(document, **more)}::json ->> {compiler.process(place, **more)})"
