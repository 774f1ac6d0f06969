"""A caller's scope as conditions of a query."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement

from uici.model.scope import ANY, Scope, expression


def within(scope: Scope, columns: Any) -> Iterator[ColumnElement[bool]]:
    """What rows with the columns `environment` and `target` have to fulfil, as `Scope.covers` has it."""
    for patterns, column in ((scope.environments, columns.environment), (scope.targets, columns.target)):
        if ANY not in patterns:
            # A missing name matches no expression.
            yield column.regexp_match(expression(patterns))
