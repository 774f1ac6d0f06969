"""Verbs by themselves, from where they are written: operations.yml with command_translations.yml, and one file each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from uici.catalogue.diagnostics import Diagnostic, Position, Report
from uici.catalogue.draft import Draft, Later, Named, Verb
from uici.catalogue.locations import shipped_config
from uici.catalogue.operation_checks import check_own_references, check_schemas
from uici.catalogue.reading import Node, empty, read_file
from uici.catalogue.shapes import parse
from uici.catalogue.translation_checks import check_translations, check_verb_tests
from uici.model.base import share_field_sets
from uici.model.operation import NAME, Operation, OperationBody, Translation
from uici.model.site import VerbFile, VerbTest
from uici.ports import Executor

Executors: TypeAlias = Mapping[str, type[Executor]]
Translations: TypeAlias = Mapping[str, tuple[Position, Node]]
"""Platform -> where its key is written, and what stands there."""


NOTHING_TABLED: Translations = {}


@dataclass(frozen=True, slots=True)
class VerbReading:
    """What one file of verbs holds. Without a verb it has no usable name."""

    verb: Verb | None
    tabled: Translations
    """What command_translations.yml added to it."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """Of a file without a verb; what is wrong with a verb is the verb's."""


def read_verb_file(path: str, executors: Executors, tabled: Translations) -> VerbReading:
    """The verb in `path`, named after the file, with the translations that command_translations.yml adds to it."""
    report = Report()
    node = read_file(Path(path), report)
    name = os.path.basename(path).removesuffix(".yml")
    if not re.fullmatch(NAME, name):
        report.add(Position(path), "wrong_name", f"the file's name is the verb's, and {name!r} does not match {NAME}")
        return VerbReading(None, tabled, tuple(report))
    key = node.keys.get("operation", node.position) if node is not None else Position(path)
    if node is None:
        return VerbReading(Verb(name, key, lambda: Node(key, {}), diagnostics=tuple(report)), tabled=tabled)
    written = node.at("translations") if "translations" in node.mapping else empty(path)
    translations = {platform: (written.keys[platform], each) for platform, each in written.mapping.items()}
    verb = parse(VerbFile, node, report)
    typed = dict(verb.translations) if verb is not None else {}
    typed |= parse_translations(name, tabled, translations, report)
    body = node.at("operation")
    operation = _operation(name, key, verb.operation, typed) if verb is not None else None
    if verb is not None and operation is not None:
        share_field_sets((operation, *verb.tests))
    return VerbReading(
        studied(
            name,
            key,
            later_body(key),
            body,
            operation,
            {**tabled, **translations},
            executors,
            report,
            tests=(verb.tests if verb is not None else (), node.at("tests")),
        ),
        tabled=tabled,
    )


def table_verbs(draft: Draft, tabled: Mapping[str, Translations], report: Report) -> dict[str, Verb]:
    """The verbs of operations.yml, in its order. What is wrong with the table as a whole goes to `report`."""
    entries = draft.operation_entries
    bodies = entries.parse(OperationBody, NAME.strip("^$"), report)
    found: dict[str, Verb] = {}
    for name, node in entries.node.mapping.items():
        key = entries.node.keys[name]
        own = Report()
        translations = tabled.get(name, {})
        typed = parse_translations(name, translations, {}, own)
        body = bodies.get(name)
        operation = None
        if body is not None and re.fullmatch(NAME, name):
            operation = _operation(name, key, body, typed)
        found[name] = studied(name, key, _kept(node), node, operation, translations, draft.executors, own)
    return found


def table_translations(table: Named, report: Report) -> dict[str, Translations]:
    """The translations of command_translations.yml by operation; entries that are no mappings are reported."""
    found: dict[str, Translations] = {}
    for operation, by_platform in table.node.mapping.items():
        if isinstance(by_platform.value, dict):
            found[operation] = {
                platform: (by_platform.keys[platform], node) for platform, node in by_platform.mapping.items()
            }
        else:
            report.add(by_platform.position, "wrong_type", f"translations.{operation} must be a mapping of platforms")
    return found


def check_table(table: Named, verbs: Mapping[str, Verb], report: Report) -> None:
    """Report translations of operations that do not exist."""
    for operation, by_platform in table.node.mapping.items():
        position = table.node.keys[operation]
        if operation not in verbs and isinstance(by_platform.value, dict) and not _left_behind(position):
            report.add(
                position,
                "unknown_operation",
                f"translations name the operation {operation!r}, which does not exist",
                choices=sorted(verbs),
                given=operation,
            )


def parse_translations(
    operation: str, tabled: Translations, written: Translations, report: Report
) -> dict[str, Translation]:
    """The typed translations of the table, without those that the verb's own file has `written` already."""
    found: dict[str, Translation] = {}
    for platform, (key, node) in tabled.items():
        if platform in written:
            report.add(
                key,
                "duplicate_translation",
                f"{operation} is translated for {platform} twice; first at {written[platform][0]}",
            )
            continue
        value = parse(Translation, node, report, what=f"translations.{operation}.{platform}")
        if value is not None:
            found[platform] = value
    return found


def studied(
    name: str,
    key: Position,
    later: Later,
    body: Node,
    operation: Operation | None,
    translations: Translations,
    executors: Executors,
    report: Report,
    *,
    tests: tuple[tuple[VerbTest, ...], Node] | None = None,
) -> Verb:
    """A verb with all that can be said of it by itself. Problems found before stand in `report` already."""
    if operation is not None and not check_schemas(report, operation, body):
        # Nothing can be judged by a broken schema; the name stays known.
        operation = None
    if operation is not None:
        check_own_references(report, operation, body)
        check_translations(report, operation, translations, executors)
        if tests is not None:
            check_verb_tests(report, operation, *tests)
    return Verb(
        name=name,
        key=key,
        node=later,
        translations={platform: position for platform, (position, _) in translations.items()},
        operation=operation,
        tests=tests[0] if tests is not None else (),
        diagnostics=tuple(report),
    )


def _operation(name: str, key: Position, body: OperationBody, translations: Mapping[str, Translation]) -> Operation:
    return Operation(
        **{given: getattr(body, given) for given in body.model_fields_set},
        name=name,
        translations=dict(translations),
        source=f"{key.file}:{key.line}",
    )


def _kept(node: Node) -> Later:
    return lambda: node


def later_body(key: Position) -> Later:
    """The body of the verb at `key`, read again when it is wanted to show where a problem stands."""

    def read() -> Node:
        # Whatever the file holds by now, it is looked at anew in a moment.
        node = read_file(Path(key.file), Report())
        return node.at("operation") if node is not None else Node(key, {})

    return read


def _left_behind(position: Position) -> bool:
    """Whether a translation without its operation is a shipped one, whose operation a site removed with null."""
    return position.file == str(shipped_config() / "command_translations.yml")
