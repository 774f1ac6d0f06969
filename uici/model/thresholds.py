"""Which values a threshold of policies.yml may have. The shape of the file says so once; the loader and the guards ask.

A guard judges by a value only when `usable` says so: whoever made the policies, and however, it never compares with
what is missing, no number, not finite, or out of all proportion.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeGuard, TypeVar

from pydantic import ValidationError

from uici.model.base import Frozen
from uici.model.site import PoliciesFile

T = TypeVar("T")

_NO_GUARDS = frozenset({"learning"})
"""Parts of policies.yml that no guard judges by: how a remedy is chosen, not whether it may be carried out."""


def usable(value: T | None, policy: Frozen, name: str) -> TypeGuard[T]:
    """Whether the field `name` of this part of the policies may hold `value`. Nothing is converted, None never is."""
    if value is None:
        return False
    if isinstance(value, int | float | str):
        return _usable(value, type(policy), name)
    return _validated(value, type(policy), name)


# By the type of the value too, for in Python True == 1 == 1.0.
@lru_cache(maxsize=1024, typed=True)
def _usable(value: float | str, policy: type[Frozen], name: str) -> bool:
    return _validated(value, policy, name)


def _validated(value: object, policy: type[Frozen], name: str) -> bool:
    try:
        policy.model_validate({name: value}, strict=True)
    except ValidationError:
        return False
    return True


def complaint(value: object, policy: Frozen, name: str) -> str:
    """What is wrong with a value that is not usable, and which would be right."""
    return f"{_section(type(policy))}{name} is {value!r} in policies.yml; set {wanted(type(policy), name)}"


def wanted(kind: type[Frozen], name: str) -> str:
    """The values that a threshold may have, in words."""
    schema = kind.model_json_schema()
    definitions = schema.get("$defs", {})
    for branch in schema["properties"][name]["anyOf"]:
        branch = definitions.get(str(branch.get("$ref", "")).rpartition("/")[2], branch)
        if "enum" in branch:
            return f"one of {', '.join(branch['enum'])}"
        if branch.get("type") in ("integer", "number"):
            what = "a whole number" if branch["type"] == "integer" else "a number"
            return f"{what} from {branch['minimum']:g} to {branch['maximum']:.10g}"
    raise TypeError(f"{kind.__name__}.{name} is no threshold")


def thresholds(
    kind: type[Frozen] = PoliciesFile, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], type[Frozen]]]:
    """Every threshold: where it stands in policies.yml, and the part of the shape that declares it."""
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if name in _NO_GUARDS:
            continue
        if isinstance(inner, type) and issubclass(inner, Frozen):
            yield from thresholds(inner, (*path, name))
        else:
            yield (*path, name), kind


def _section(kind: type[Frozen]) -> str:
    return next((f"{name}." for name, field in PoliciesFile.model_fields.items() if field.annotation is kind), "")
