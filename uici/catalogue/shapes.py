"""Stages one and two: nodes against the frozen types. Errors of the types become diagnostics at the right place."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from uici.catalogue.diagnostics import Position, Report
from uici.catalogue.reading import Node, kind_of
from uici.model.secret import is_reference

T = TypeVar("T", bound=BaseModel)
Path = tuple[str | int, ...]

_QUOTED = re.compile(r"'([^']*)'")
_WANTED = {
    "string_type": "a text (put it in quotes)",
    "string_sub_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "frozen_set_type": "a list",
    "set_type": "a list",
}


def parse(model: type[T], node: Node, report: Report, *, what: str = "", resolved_later: bool = False) -> T | None:
    """The typed value of `node`; None when it has none, with every reason in `report`.

    With `resolved_later` a value that is wholly a reference to a secret is not judged: what it stands for is, as soon
    as it is known (`uici.runs.platforms`).

    Values are never converted: a text does not become a number, nor `1` true.
    """
    try:
        return model.model_validate_json(json.dumps(node.plain(), allow_nan=False), strict=True)
    except ValidationError as error:
        # `input` may be a secret: neither it nor an URL to documentation belongs in a diagnostic.
        for problem in error.errors(include_url=False, include_input=False):
            found = node.at(*_real_path(node, problem["loc"])).value
            if resolved_later and isinstance(found, str) and is_reference(found):
                continue
            _report(model, node, problem, report, what)
        return None


def _report(model: type[BaseModel], node: Node, problem: Mapping[str, Any], report: Report, what: str) -> None:
    kind = str(problem["type"])
    path = _real_path(node, problem["loc"])
    shown = ".".join([*([what] if what else []), *map(str, path)]) or "the file"
    message = str(problem["msg"]).removeprefix("Value error, ")
    context = problem.get("ctx", {})
    found = node.at(*path)
    if kind == "extra_forbidden":
        key = str(path[-1])
        report.add(
            node.key_position(*path),
            "unknown_key",
            f"{shown} is not known here",
            choices=sorted(_fields_at(model, path[:-1])),
            given=key,
        )
    elif kind == "missing":
        missing = ".".join([*([what] if what else []), *map(str, problem["loc"])])
        field = model.model_fields.get(str(problem["loc"][0])) if len(problem["loc"]) == 1 else None
        wanted = f"; it is {field.description}" if field is not None and field.description else ""
        report.add(_place(node, path), "missing_key", f"{missing} is missing{wanted}")
    elif kind in ("enum", "literal_error"):
        choices = _QUOTED.findall(str(context.get("expected", "")))
        given = found.value if isinstance(found.value, str) else None
        report.add(
            found.position, "wrong_value", f"{shown} has a value that is not known", choices=choices, given=given
        )
    elif kind in _WANTED:
        report.add(found.position, "wrong_type", f"{shown} must be {_WANTED[kind]}, not {kind_of(found.value)}")
    elif "[key]" in problem["loc"]:
        report.add(node.key_position(*path), "wrong_name", f"{shown}: the name is not allowed: {message}")
    elif "by reference only" in message:
        report.add(found.position, "inline_secret", f"{shown}: {message}")
    else:
        report.add(_place(node, path), "wrong_value", f"{shown}: {message}")


def _place(node: Node, path: Path) -> Position:
    """A mapping is shown at its key, a scalar where it stands."""
    found = node.at(*path)
    return node.key_position(*path) if path and isinstance(found.value, dict | list) else found.position


def _real_path(node: Node, loc: Iterable[str | int]) -> Path:
    """The part of pydantic's location that exists in the document: its names of union members do not."""
    path: list[str | int] = []
    for part in loc:
        if node.at(*path, part) is not node.at(*path):
            path.append(part)
    return tuple(path)


def _fields_at(model: type[BaseModel], path: Path) -> frozenset[str]:
    """The keys that a mapping at `path` of a document of `model` may have; empty when any are allowed."""
    kinds: list[Any] = [model]
    for part in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return frozenset(
        name
        for kind in kinds
        for member in _members(kind)
        if isinstance(member, type) and issubclass(member, BaseModel)
        for name in member.model_fields
    )


def _members(kind: Any) -> list[Any]:
    """`kind` without annotations, and the members of a union one by one."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _members(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for argument in typing.get_args(kind) for member in _members(argument)]
    return [kind]


def _inside(kind: Any, part: str | int) -> list[Any]:
    found: list[Any] = []
    for member in _members(kind):
        origin = typing.get_origin(member)
        if isinstance(member, type) and not origin and issubclass(member, BaseModel):
            field = member.model_fields.get(str(part))
            if field is not None:
                found.append(field.annotation)
        elif origin is dict:
            found.append(typing.get_args(member)[1])
        elif origin in (tuple, list, frozenset, set):
            found.append(typing.get_args(member)[0])
    return found
