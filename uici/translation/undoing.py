"""What undo would do: in words before a change, as a step's parameters after it."""

from __future__ import annotations

from uici.model.base import JsonObject, JsonValue
from uici.model.condition import select
from uici.model.masking import mask
from uici.model.operation import Operation
from uici.model.references import Reference, reference_in, resolve

WHEN_NONE = "x-when-none"
"""In a parameter's schema: the value that means that there is none. Undo uses it where nothing was set before."""

_MISSING = object()


def undo_text(operation: Operation, parameters: JsonObject) -> str:
    """What undo would do after this step, in words."""
    if not operation.mutates:
        return "nothing to undo: it only reads"
    if operation.inverse is None:
        return f"cannot be undone: {operation.irreversible_because or 'no inverse is known'}"
    arguments = ", ".join(
        f"{name}={_words(value, mask(parameters))}" for name, value in operation.inverse.parameters.items()
    )
    return f"{operation.inverse.operation}({arguments})"


def resolve_inverse(
    template: JsonObject, operation: Operation, parameters: JsonObject, before: JsonObject
) -> JsonObject | None:
    """The inverse's parameters; None when the state before is not known well enough to be restored."""
    unknown: list[str] = []

    def lookup(reference: Reference) -> JsonValue:
        path = ".".join(reference.path)
        if reference.root == "added":
            return sorted(set(_keys(parameters, path)) - set(_keys(before, path)))
        value = select(parameters if reference.root == "parameters" else before, path, _MISSING)
        if value is _MISSING or value is None or value == "":
            schema = operation.parameters.get(reference.path[0], {})
            if WHEN_NONE in schema:
                return schema[WHEN_NONE]
            if value != "":
                unknown.append(reference.dotted)
        return value

    resolved: JsonObject = resolve(template, lookup)
    return None if unknown else resolved


def _keys(source: JsonObject, path: str) -> list[str]:
    value = select(source, path)
    return list(value) if isinstance(value, dict) else []


def _words(value: JsonValue, parameters: JsonObject) -> str:
    reference = reference_in(value) if isinstance(value, str) else None
    if reference is None:
        return repr(value)
    if reference.root == "before":
        return "as it was before"
    if reference.root == "added":
        return "what this step adds"
    return repr(select(parameters, ".".join(reference.path)))
