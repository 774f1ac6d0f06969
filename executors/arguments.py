"""What an executor is given, parsed once into the frozen types that it declares; for every executor alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind
from uici.ports import ExecutorContext

_Arguments = TypeVar("_Arguments", bound=Frozen)
_Published = TypeVar("_Published")


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
