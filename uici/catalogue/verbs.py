"""Verbs from where they are written: operations.yml with command_translations.yml, and operations/<verb>.yml."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from uici.catalogue.diagnostics import Position
from uici.catalogue.draft import Draft, Named, split
from uici.catalogue.locations import shipped_config
from uici.catalogue.reading import Node, read_file
from uici.catalogue.shapes import parse
from uici.model.operation import NAME, Operation, OperationBody, Translation
from uici.model.site import OperationsFile, TranslationsFile, VerbFile


def collect_verbs(draft: Draft, operations: Node, translations: Node, folders: Iterable[Path]) -> None:
    """Fill the draft's operations. A name that two places define is an error that names both."""
    head, entries = split(operations, "operations", draft.report)
    parse(OperationsFile, head, draft.report)
    bodies = entries.parse(OperationBody, NAME.strip("^$"), draft.report)
    for name, node in entries.node.mapping.items():
        draft.operation_nodes[name] = node
        draft.operation_keys[name] = entries.node.keys[name]
    translated: dict[str, dict[str, Translation]] = {}
    tests: dict[str, VerbFile] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yml")):
            verb = _verb_file(draft, path, tests)
            if verb is not None:
                bodies[path.stem] = verb.operation
                translated[path.stem] = dict(verb.translations)
    for name in tests:
        draft.verb_tests[name] = tests[name].tests
    head, table = split(translations, "translations", draft.report)
    parse(TranslationsFile, head, draft.report)
    _translations(draft, table, translated)
    for name, body in bodies.items():
        if not re.fullmatch(NAME, name):
            continue
        position = draft.operation_keys[name]
        draft.operations[name] = Operation(
            **{given: getattr(body, given) for given in body.model_fields_set},
            name=name,
            translations=translated.get(name, {}),
            source=f"{position.file}:{position.line}",
        )


def _verb_file(draft: Draft, path: Path, sound: dict[str, VerbFile]) -> VerbFile | None:
    node = read_file(path, draft.report)
    name = path.stem
    if not re.fullmatch(NAME, name):
        draft.report.add(
            Position(str(path)), "wrong_name", f"the file's name is the verb's, and {name!r} does not match {NAME}"
        )
        return None
    key = node.keys.get("operation", node.position) if node is not None else Position(str(path))
    first = draft.operation_keys.get(name)
    if first is not None:
        draft.report.add(key, "duplicate_operation", f"the verb {name!r} is defined twice; first at {first}")
        return None
    draft.operation_nodes[name] = node.at("operation") if node is not None else Node(key, {})
    draft.operation_keys[name] = key
    if node is None:
        return None
    for platform, translation in node.at("translations").mapping.items() if "translations" in node.mapping else ():
        draft.translation_nodes[name, platform] = translation
        draft.translation_keys[name, platform] = node.at("translations").keys[platform]
    if "tests" in node.mapping:
        draft.verb_test_nodes[name] = node.at("tests")
    verb = parse(VerbFile, node, draft.report)
    if verb is not None:
        sound[name] = verb
    return verb


def _translations(draft: Draft, table: Named, translated: dict[str, dict[str, Translation]]) -> None:
    for operation, by_platform in table.node.mapping.items():
        position = table.node.keys[operation]
        if not isinstance(by_platform.value, dict):
            draft.report.add(
                by_platform.position, "wrong_type", f"translations.{operation} must be a mapping of platforms"
            )
            continue
        if operation not in draft.operation_nodes:
            if not _left_behind(position):
                draft.report.add(
                    position,
                    "unknown_operation",
                    f"translations name the operation {operation!r}, which does not exist",
                    choices=sorted(draft.operation_nodes),
                    given=operation,
                )
            continue
        for platform, node in by_platform.mapping.items():
            first = draft.translation_keys.get((operation, platform))
            key = by_platform.keys[platform]
            if first is not None:
                draft.report.add(
                    key,
                    "duplicate_translation",
                    f"{operation} is translated for {platform} twice; first at {first}",
                )
                continue
            draft.translation_nodes[operation, platform] = node
            draft.translation_keys[operation, platform] = key
            value = parse(Translation, node, draft.report, what=f"translations.{operation}.{platform}")
            if value is not None:
                translated.setdefault(operation, {})[platform] = value


def _left_behind(position: Position) -> bool:
    """Whether a translation without its operation is a shipped one, whose operation a site removed with null."""
    return position.file == str(shipped_config() / "command_translations.yml")
