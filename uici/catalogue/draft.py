"""What is being loaded: typed values beside the nodes they came from, and the report on both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, TypeVar

from pydantic import BaseModel

from uici.catalogue.diagnostics import Diagnostic, Position, Report
from uici.catalogue.reading import Node
from uici.catalogue.shapes import parse
from uici.model.base import JsonObject, JsonValue
from uici.model.builtin import BUILTIN_SPECS, READING
from uici.model.call import CallSpec
from uici.model.condition import Condition
from uici.model.operation import BUILTIN, Operation
from uici.model.parameters import ValueProblem, check_value
from uici.model.references import broken_selection, is_partial, reference_in
from uici.model.selecting import selector
from uici.model.settings import PlatformFile
from uici.model.site import Environment, FindingRule, PoliciesFile, Strategy, Targeting, TargetSpec, VerbTest
from uici.ports import Executor

T = TypeVar("T", bound=BaseModel)
Later: TypeAlias = Callable[[], Node]
"""A node that is fetched when a problem must be shown: the nodes of thousands of sound verbs are not kept."""

_BY_NAME = ("before", "added")
"""Roots below which there are names only."""
KNOWN_PLATFORMS = ("local", "docker", "kubernetes", "oci")
"""Platforms that translations may name although their executor is not installed here."""


@dataclass
class Named:
    """One section of named entries: all names that were written, and the typed values of the sound ones."""

    section: str
    node: Node

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, sound or not: a reference to a broken entry is no second problem."""
        return tuple(self.node.mapping)

    def entry(self, name: str) -> Node:
        """The node of one entry."""
        return self.node.at(name)

    def parse(self, model: type[T], pattern: str, report: Report) -> dict[str, T]:
        """The typed entries; what is wrong with the others is reported."""
        found: dict[str, T] = {}
        for name, node in self.node.mapping.items():
            if re.fullmatch(pattern, name) is None:
                report.add(
                    self.node.keys[name],
                    "wrong_name",
                    f"{name!r} is no name for {self.section}: it must match {pattern}",
                )
            value = parse(model, node, report, what=f"{self.section}.{name}")
            if value is not None:
                found[name] = value
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """One verb by itself: what can be said of it without looking at any other."""

    name: str
    key: Position
    """Where it is defined."""
    node: Later
    """Its body."""
    translations: Mapping[str, Position] = field(default_factory=dict)
    """Platform -> where its translation is written, sound or not."""
    operation: Operation | None = None
    """None when it is unsound; the name stays known, so that a reference to it is no second problem."""
    tests: tuple[VerbTest, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass
class Draft:
    """A site on its way: the eight files as typed values, and the verbs; what the checks of meaning look at."""

    report: Report
    executors: Mapping[str, type[Executor]]
    platform: PlatformFile
    platform_node: Node
    policies: PoliciesFile
    policies_node: Node
    default_environment: str
    default_position: Position
    environment_entries: Named
    environments: dict[str, Environment]
    targeting: Targeting
    target_entries: Named
    targets: dict[str, TargetSpec]
    finding_entries: Named
    findings: dict[str, FindingRule]
    strategy_entries: Named
    strategies: dict[str, Strategy]
    operation_entries: Named
    translation_entries: Named

    @property
    def platforms(self) -> frozenset[str]:
        """The platforms that each verb of the site has to be translated for."""
        return covered(self.environments, self.targets, self.default_environment, self.executors)


@dataclass
class Lookup:
    """The verbs by name, for what names one; problems go to `report`."""

    verbs: Mapping[str, Verb]
    report: Report

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(self.verbs))

    @cached_property
    def _readers(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self._names
            if (operation := self.verbs[name].operation) is not None and only_reads(operation)
        )

    def operation(self, name: str, where: Callable[[], Position], what: str) -> Operation | None:
        """The operation that `what` names; None when there is no sound one, which is reported once."""
        verb = self.verbs.get(name)
        if verb is None:
            self.report.add(
                where(),
                "unknown_operation",
                f"{what} names the operation {name!r}, which does not exist",
                choices=self._names,
                given=name,
            )
            return None
        return verb.operation

    def reader(self, name: str, where: Callable[[], Position], what: str) -> Operation | None:
        """As `operation`; the operation must only read, and find something out."""
        operation = self.operation(name, where, what)
        if operation is not None and not only_reads(operation):
            self.report.add(
                where(),
                "not_read_only",
                f"{what} must only read, but {name!r} {'changes something' if operation.mutates else 'reads nothing'}",
                choices=self._readers,
            )
            return None
        return operation

    def conditions(self, conditions: Iterable[Condition], reader: Operation, node: Later) -> None:
        """Each condition's field must be one that the reader declares to return."""
        for index, condition in enumerate(conditions):
            self.returned(condition.field, reader, lambda index=index: node().at(index, "field").position)  # type: ignore[misc] # mypy cannot infer a lambda with a default

    def returned(self, path: str, reader: Operation, where: Callable[[], Position]) -> None:
        """What `path` begins with must be a field of the reader's result, if it declares any."""
        first = selector(path).parts[0]
        if reader.returns and first not in reader.returns:
            self.report.add(
                where(),
                "unknown_field",
                f"{reader.name} returns no field {str(first)!r}",
                choices=tuple(reader.returns),
                given=str(first),
            )

    def parameters(self, operation: Operation, values: JsonObject, node: Later, what: str) -> None:
        """Parameters written in configuration must satisfy the operation; what a reference stands for is not judged."""
        for problem in check_value(operation.parameters_schema, values):
            if not refers(values, problem.path):
                add_value_problem(self.report, problem, node(), f"{what}: {operation.name}")


def covered(
    environments: Mapping[str, Environment],
    targets: Mapping[str, TargetSpec],
    default: str,
    executors: Mapping[str, type[Executor]],
) -> frozenset[str]:
    """The platforms that each verb has to be translated for: where targets live, and the default environment's.

    Only those whose executors are installed. An environment that nobody uses asks nothing of a site's verbs.
    """
    inhabited = {name for target in targets.values() for name in target.bindings} | {default}
    platforms = {environment.platform for name, environment in environments.items() if name in inhabited}
    return frozenset(platforms) & executors.keys()


def call_specs(executors: Mapping[str, type[Executor]], platform: str) -> Mapping[str, CallSpec] | None:
    """The calls of a platform; None when its executor is not installed here."""
    if platform == BUILTIN:
        return BUILTIN_SPECS
    executor = executors.get(platform)
    return None if executor is None else executor.call_specs


def add_value_problem(report: Report, problem: ValueProblem, node: Node, what: str) -> None:
    """One problem of a value at its place below `node`."""
    unknown = problem.code in ("unknown_parameter", "missing_parameter")
    position = node.key_position(*problem.path) if unknown else node.at(*problem.path).position
    shown = f"{what}: {problem.dotted}: {problem.text}" if problem.path else f"{what}: {problem.text}"
    given = str(problem.path[-1]) if problem.code == "unknown_parameter" else problem.suggestion or None
    report.add(position, problem.code, shown, choices=problem.choices, given=given)


def check_texts(report: Report, node: Node, roots: Iterable[str]) -> bool:
    """Below `node`, `${` may stand only in whole references that begin with one of `roots`; says whether any does."""
    allowed = tuple(roots)
    any_ = False
    for part in node.walk():
        # Nearly every text of a site is plain.
        if not isinstance(part.value, str) or "${" not in part.value:
            continue
        any_ = True
        found = reference_in(part.value)
        broken = broken_selection(part.value)
        if broken is not None:
            report.add(part.position, "bad_selection", broken)
        elif is_partial(part.value):
            report.add(
                part.position,
                "partial_reference",
                "a reference must be the whole value, such as ${parameters.name}; nothing is pasted into a text",
            )
        elif found is not None and (found.root not in allowed or (found.rest and found.root in _BY_NAME)):
            report.add(
                part.position,
                "unknown_reference",
                f"{part.value} cannot be used here",
                choices=tuple(f"${{{root}.…}}" for root in allowed) or ("no reference",),
            )
    return any_


def or_empty(node: Node, key: str) -> Node:
    """What stands under `key`; an empty mapping at the node's own place where nothing does."""
    return node.mapping.get(key, Node(node.position, {}))


def only_reads(operation: Operation) -> bool:
    """Whether the operation only reads. Passing time and telling people find nothing out."""
    if operation.mutates:
        return False
    builtin = operation.translations.get(BUILTIN)
    return builtin is None or all(call.call in READING for call in builtin.calls)


def refers(value: JsonValue, path: tuple[str | int, ...]) -> bool:
    """Whether what stands at `path` is a reference, whose value only a run will know."""
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return False
    return isinstance(value, str) and reference_in(value) is not None


def split(document: Node, section: str, report: Report) -> tuple[Node, Named]:
    """A document without its section of named entries, and that section."""
    head = {key: node for key, node in document.mapping.items() if key != section}
    keys = {key: position for key, position in document.keys.items() if key != section}
    found = document.mapping.get(section)
    if found is None or found.value is None:
        found = Node(document.position, {})
    elif not isinstance(found.value, dict):
        report.add(found.position, "wrong_type", f"{section} must be a mapping of named entries")
        found = Node(found.position, {})
    return Node(document.position, head, keys), Named(section, found)
