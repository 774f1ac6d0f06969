"""Arguments of a call, parsed once into the frozen type that an executor declares; for every executor alike."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import ValidationError

from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind

_Arguments = TypeVar("_Arguments", bound=Frozen)


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
