"""The eight files of a configuration: read, overlaid, and checked as far as they do not depend on the verbs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from uici.catalogue.diagnostics import Diagnostic, Position, Report
from uici.catalogue.draft import Draft, split
from uici.catalogue.locations import shipped_config
from uici.catalogue.overlaying import FILES, overlay
from uici.catalogue.place_checks import check_places
from uici.catalogue.reading import Node, empty, is_readable, read_file
from uici.catalogue.rule_checks import check_policies
from uici.catalogue.shapes import parse
from uici.catalogue.tree import Stamp
from uici.model.settings import PlatformFile
from uici.model.site import (
    Environment,
    EnvironmentsFile,
    FindingRule,
    FindingsFile,
    OperationsFile,
    PoliciesFile,
    StrategiesFile,
    Strategy,
    Targeting,
    TargetsFile,
    TargetSpec,
    TranslationsFile,
)
from uici.ports import Executor

_PLAIN_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
_TARGET_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}"


class Documents:
    """Reads what changed since the last time, and hands out the same draft as long as nothing did."""

    def __init__(self, directory: Path | None, executors: Mapping[str, type[Executor]]) -> None:
        self._directory = directory
        self._executors = executors
        self._files: dict[str, tuple[Stamp, Node | None, tuple[Diagnostic, ...]]] = {}
        self._last: tuple[Mapping[str, Stamp], Draft] | None = None

    def draft(self, stamps: Mapping[str, Stamp]) -> Draft:
        """The site without its verbs. All that is wrong with it stands in its report."""
        if self._last is None or self._last[0] != stamps or self._last[1].report:
            # With a problem it is made again: whether a folder may be read does not show in its files.
            report = Report()
            documents, own = self._read(stamps, report)
            self._last = (stamps, _draft(documents, report, self._executors, own))
        return self._last[1]

    def _read(self, stamps: Mapping[str, Stamp], report: Report) -> tuple[dict[str, Node], frozenset[str]]:
        """Each file's document, overlaid; and the names under which the site's own files appear in positions."""
        shipped_folder = shipped_config()
        directory = self._directory
        if directory is not None:
            if not os.path.isdir(directory):  # unlike Path.is_dir, false also for what may not be looked at
                report.add(
                    Position(str(directory)), "no_such_folder", "is no folder; `uici init DIR` makes one to begin with"
                )
                directory = None
            elif directory.resolve() == shipped_folder.resolve() or not is_readable(directory, report):
                directory = None
            else:
                _near_misses(directory, report)
        documents: dict[str, Node] = {}
        own: set[str] = set()
        files: dict[str, tuple[Stamp, Node | None, tuple[Diagnostic, ...]]] = {}
        for file in FILES:
            path = shipped_folder / file
            shipped = self._document(path, stamps, files, report) or empty(str(path))
            documents[file] = shipped
            if directory is not None and str(directory / file) in stamps:
                own.add(str(directory / file))
                site = self._document(directory / file, stamps, files, report)
                if site is not None:
                    documents[file] = overlay(FILES[file], shipped, site, report)
        self._files = files
        return documents, frozenset(own)

    def _document(
        self,
        path: Path,
        stamps: Mapping[str, Stamp],
        files: dict[str, tuple[Stamp, Node | None, tuple[Diagnostic, ...]]],
        report: Report,
    ) -> Node | None:
        name = str(path)
        kept = self._files.get(name)
        if kept is None or kept[0] != stamps[name] or kept[1] is None:
            own = Report()
            kept = (stamps[name], read_file(path, own), tuple(own))
        files[name] = kept
        report.extend(kept[2])
        return kept[1]


def _near_misses(directory: Path, report: Report) -> None:
    """A file whose name is nearly right would be silently without effect."""
    for path in sorted(directory.iterdir()):
        if path.suffix not in (".yml", ".yaml") or path.name in FILES or not path.is_file():
            continue
        near = get_close_matches(path.stem + ".yml", FILES, n=1, cutoff=0.8)
        if near:
            report.add(Position(str(path)), "unknown_file", "is not read under this name", choices=FILES, given=near[0])


def _draft(
    documents: Mapping[str, Node], report: Report, executors: Mapping[str, type[Executor]], own: frozenset[str]
) -> Draft:
    environments_head, environment_entries = split(documents["environments.yml"], "environments", report)
    targets_head, target_entries = split(documents["targets.yml"], "targets", report)
    findings_head, finding_entries = split(documents["findings.yml"], "findings", report)
    strategies_head, strategy_entries = split(documents["strategies.yml"], "strategies", report)
    operations_head, operation_entries = split(documents["operations.yml"], "operations", report)
    translations_head, translation_entries = split(documents["command_translations.yml"], "translations", report)
    environments_file = parse(EnvironmentsFile, environments_head, report) or EnvironmentsFile()
    targets_file = parse(TargetsFile, targets_head, report)
    parse(FindingsFile, findings_head, report)
    parse(StrategiesFile, strategies_head, report)
    parse(OperationsFile, operations_head, report)
    parse(TranslationsFile, translations_head, report)
    environments = environment_entries.parse(Environment, _PLAIN_NAME, report)
    for name in list(environments):
        # A shipped environment whose executor is not installed is no problem of the site's.
        shipped = environment_entries.entry(name).position.file not in own
        if shipped and environments[name].platform not in executors:
            del environments[name]
            del environment_entries.node.mapping[name]
    draft = Draft(
        report=report,
        executors=executors,
        platform=parse(PlatformFile, documents["platform.yml"], report) or PlatformFile(),
        platform_node=documents["platform.yml"],
        policies=parse(PoliciesFile, documents["policies.yml"], report) or PoliciesFile(),
        policies_node=documents["policies.yml"],
        default_environment=environments_file.default,
        default_position=environments_head.at("default").position,
        environment_entries=environment_entries,
        environments=environments,
        targeting=targets_file.targeting if targets_file is not None else Targeting(),
        target_entries=target_entries,
        targets=target_entries.parse(TargetSpec, _TARGET_NAME, report),
        finding_entries=finding_entries,
        findings=finding_entries.parse(FindingRule, _PLAIN_NAME, report),
        strategy_entries=strategy_entries,
        strategies=strategy_entries.parse(Strategy, _PLAIN_NAME, report),
        operation_entries=operation_entries,
        translation_entries=translation_entries,
    )
    check_places(draft)
    check_policies(draft)
    return draft
