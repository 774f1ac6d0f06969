"""Stages two and three for operations: their parameters' schemas, what they read, undo and verify."""

from __future__ import annotations

from uici.catalogue.draft import Draft
from uici.catalogue.reading import Node
from uici.model.operation import Operation
from uici.model.parameters import check_value, schema_problem
from uici.model.references import references

STATUS = "get_service_status"
"""The operation over whose result preconditions speak."""

INVERSE_ROOTS = ("before", "parameters", "added")
"""`${added.x}`: the keys that the parameter `x` has and the kept `x` had not; undo removes them."""


def check_operations(draft: Draft) -> None:
    """Report whatever is wrong with the operations themselves."""
    for name, operation in list(draft.operations.items()):
        node = draft.operation_nodes[name]
        if not _schemas(draft, operation, node):
            # Nothing can be judged by a broken schema; the name stays known.
            del draft.operations[name]
    for name, operation in draft.operations.items():
        node = draft.operation_nodes[name]
        _preconditions(draft, operation, node)
        _before(draft, operation, node)
        _inverse(draft, operation, node)
        _verification(draft, operation, node)


def _schemas(draft: Draft, operation: Operation, node: Node) -> bool:
    sound = True
    for parameter, schema in operation.parameters.items():
        place = node.at("parameters", parameter)
        key = node.key_position("parameters", parameter)
        problem = schema_problem(schema) if isinstance(schema, dict) else "must be a mapping: a JSON Schema"
        if problem is None and "type" not in schema and "enum" not in schema and "const" not in schema:
            problem = "has neither type nor enum, so it would accept anything"
        if problem is not None:
            draft.report.add(key, "bad_schema", f"parameter {parameter!r} of {operation.name}: {problem}")
            sound = False
        elif "default" in schema:
            for wrong in check_value(schema, schema["default"]):
                draft.report.add(
                    place.at("default").position,
                    "bad_default",
                    f"the default of {parameter!r} of {operation.name} does not satisfy its own schema: {wrong}",
                )
    for index, parameter in enumerate(operation.required):
        if parameter not in operation.parameters:
            draft.report.add(
                node.at("required", index).position,
                "unknown_parameter",
                f"{operation.name} requires {parameter!r}, which is none of its parameters",
                choices=tuple(operation.parameters),
                given=parameter,
            )
            sound = False
    return sound


def _preconditions(draft: Draft, operation: Operation, node: Node) -> None:
    if operation.preconditions:
        place = node.at("preconditions")
        reader = draft.reader(STATUS, place.position, f"{operation.name}: preconditions")
        if reader is not None:
            draft.conditions(operation.preconditions, reader, place)


def _before(draft: Draft, operation: Operation, node: Node) -> None:
    before = operation.before
    if before is None:
        return
    place = node.at("before")
    reader = draft.reader(before.read, place.at("read").position, f"{operation.name}: before")
    if reader is None:
        return
    draft.parameters(reader, before.parameters, _or_empty(place, "parameters"), f"{operation.name}: before")
    for name, path in before.keep.items():
        draft.returned(path, reader, place.at("keep", name).position)


def _inverse(draft: Draft, operation: Operation, node: Node) -> None:
    inverse = operation.inverse
    if inverse is None:
        return
    place = node.at("inverse")
    undo = draft.operation(inverse.operation, place.at("operation").position, f"{operation.name}: inverse")
    kept = operation.before.keep if operation.before is not None else {}
    parameters = _or_empty(place, "parameters")
    both = tuple(name for name in kept if name in operation.parameters)
    names = {"before": tuple(kept), "parameters": tuple(operation.parameters), "added": both}
    _known(draft, operation, parameters, names)
    if undo is None:
        return
    if not undo.mutates:
        draft.report.add(
            place.at("operation").position,
            "wrong_inverse",
            f"{operation.name}: {undo.name!r} only reads, so it restores nothing",
        )
    draft.parameters(undo, inverse.parameters, parameters, f"{operation.name}: inverse", roots=INVERSE_ROOTS)


def _verification(draft: Draft, operation: Operation, node: Node) -> None:
    verification = operation.verification
    if verification is None:
        return
    place = node.at("verification")
    reader = draft.reader(verification.read, place.at("read").position, f"{operation.name}: verification")
    _known(draft, operation, place, {"parameters": tuple(operation.parameters)})
    draft.texts(_or_empty(place, "expect"), ("parameters",))
    if reader is None:
        return
    draft.conditions(verification.expect, reader, place.at("expect"))
    draft.parameters(
        reader,
        verification.parameters,
        _or_empty(place, "parameters"),
        f"{operation.name}: verification",
        roots=("parameters",),
    )


def _known(draft: Draft, operation: Operation, node: Node, names: dict[str, tuple[str, ...]]) -> None:
    """Every reference below `node` must name something of `names`."""
    for part in node.walk():
        for reference in references(part.value) if isinstance(part.value, str) else ():
            known = names.get(reference.root)
            first = reference.path[0] if reference.path else ""
            if known is not None and first not in known:
                draft.report.add(
                    part.position,
                    "unknown_reference",
                    f"{operation.name}: nothing is called {reference.dotted!r}",
                    choices=tuple(f"{reference.root}.{name}" for name in known),
                    given=reference.dotted,
                )


def _or_empty(node: Node, key: str) -> Node:
    return node.mapping.get(key, Node(node.position, {}))
