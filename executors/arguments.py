"""What an executor is given, parsed once into the frozen types that it declares; for every executor alike."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind
from uici.ports import ExecutorContext

_Arguments = TypeVar("_Arguments", bound=Frozen)
_Published = TypeVar("_Published")
_DEFINITION = re.compile(r"#/\$defs/([^\"]+)")


def parsed(kind: type[_Arguments], name: str, arguments: JsonObject) -> _Arguments:
    """`arguments` as the frozen type `kind`. Raises CallError(PERMANENT, `bad_arguments`); values are not repeated."""
    try:
        # As JSON, which arguments are: strict, yet with lists where tuples are meant.
        return kind.model_validate_json(json.dumps(arguments), strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:10]
        )
        raise CallError(
            FailureKind.PERMANENT, "bad_arguments", f"{name}: the arguments do not fit: {problems}"
        ) from None


def schemas_of(kinds: Collection[type[Frozen]]) -> dict[type[Frozen], JsonObject]:
    """The JSON Schema of each of `kinds`, as its own `model_json_schema` gives it.

    Made together, because what they share, such as the whole binding, then is gone through once and not for each.
    """
    roots, together = models_json_schema([(kind, "validation") for kind in kinds])
    definitions: dict[str, JsonObject] = together.get("$defs", {})
    needs = {name: _definitions_in(schema) for name, schema in definitions.items()}
    found: dict[type[Frozen], JsonObject] = {}
    for kind in kinds:
        (root,) = _definitions_in(roots[kind, "validation"])
        needed: set[str] = set()
        waiting = set(needs[root])
        while waiting:
            needed |= waiting
            waiting = {inner for name in waiting for inner in needs[name]} - needed
        inner = {name: definitions[name] for name in sorted(needed)}
        found[kind] = {"$defs": inner, **definitions[root]} if inner else definitions[root]
    return found


def _definitions_in(schema: JsonObject) -> set[str]:
    return set(_DEFINITION.findall(json.dumps(schema)))


def fitting(kind: type[_Arguments], context: ExecutorContext) -> _Arguments:
    """The environment's `connection` as the frozen type `kind`. Raises CallError(PERMANENT, `bad_settings`)."""
    try:
        return kind.model_validate(context.settings)
    except ValidationError as error:
        raise CallError(
            FailureKind.PERMANENT,
            "bad_settings",
            f"the connection of environment {context.environment!r} does not fit: {error.errors()[0]['msg']}",
        ) from None


def call_named(platform: str, published: Mapping[str, _Published], name: str) -> _Published:
    """What an executor publishes of a call. Raises CallError(PERMANENT, `unknown_call`)."""
    found = published.get(name)
    if found is None:
        raise CallError(
            FailureKind.PERMANENT,
            "unknown_call",
            f"the executor {platform} has no call {name!r:.100}; it has {', '.join(published)}",
        )
    return found
