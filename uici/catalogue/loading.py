"""Loading a site: read, overlay, shape, meaning. All problems are found before any is raised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from uici.catalogue.detection import choose_environment, detect_platform
from uici.catalogue.diagnostics import UNREADABLE, CatalogueError, Position, Report
from uici.catalogue.draft import Draft, split
from uici.catalogue.locations import shipped_config, shipped_operations, site_operations
from uici.catalogue.operation_checks import check_operations
from uici.catalogue.overlaying import FILES, overlay
from uici.catalogue.place_checks import AUTO, check_places
from uici.catalogue.reading import Node, empty, is_readable, read_file
from uici.catalogue.rule_checks import check_rules
from uici.catalogue.shapes import parse
from uici.catalogue.translation_checks import check_translations
from uici.catalogue.verbs import collect_verbs
from uici.model.settings import PlatformFile
from uici.model.site import (
    Environment,
    EnvironmentsFile,
    FindingRule,
    FindingsFile,
    PoliciesFile,
    Site,
    StrategiesFile,
    Strategy,
    Targeting,
    TargetsFile,
    TargetSpec,
)
from uici.ports import Executor

T = TypeVar("T", bound=BaseModel)

_PLAIN_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
_TARGET_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}"


def load_site(config_dir: Path | None, *, executors: Mapping[str, type[Executor]]) -> Site:
    """The shipped defaults with the tree in `config_dir` over them, checked as a whole.

    `executors` are the installed ones by platform. Raises CatalogueError with every problem found.
    """
    report = Report()
    documents, site_files = _documents(config_dir, report)
    draft = _draft(documents, report, executors, site_files)
    own = site_operations(config_dir) if config_dir is not None and not _unread(report) else ()
    folders = [folder for folder in (shipped_operations(), *own) if is_readable(folder, report)]
    collect_verbs(draft, documents["operations.yml"], documents["command_translations.yml"], folders)
    check_operations(draft)
    check_translations(draft)
    check_rules(draft)
    check_places(draft)
    default, because = _default_environment(draft)
    if report:
        raise CatalogueError(report)
    return Site(
        platform=draft.platform,
        default_environment=default,
        default_because=because,
        environments=draft.environments,
        targeting=draft.targeting,
        targets=draft.targets,
        operations=draft.operations,
        findings=draft.findings,
        strategies=draft.strategies,
        policies=draft.policies,
        verb_tests=draft.verb_tests,
    )


def _unread(report: Report) -> bool:
    return any(problem.code in UNREADABLE for problem in report)


def _default_environment(draft: Draft) -> tuple[str, str]:
    """The name that is written, or what `auto` means here and now; and why."""
    if draft.default_environment != AUTO or draft.report:
        return draft.default_environment, "environments.yml says so"
    chosen = choose_environment(draft.environments, detect_platform())
    if chosen is None:
        draft.report.add(
            draft.default_position,
            "nothing_detected",
            "default: auto found no environment for the platform that UICI runs on; name one",
            choices=tuple(draft.environments),
        )
        return AUTO, ""
    return chosen[0], f"auto: {chosen[1].evidence}"


def _documents(config_dir: Path | None, report: Report) -> tuple[dict[str, Node], frozenset[str]]:
    """Each file's document, overlaid; and the names under which the site's own files appear in positions."""
    shipped_folder = shipped_config()
    documents: dict[str, Node] = {}
    own: set[str] = set()
    if config_dir is not None:
        if not os.path.isdir(config_dir):  # unlike Path.is_dir, false also for what may not be looked at
            report.add(
                Position(str(config_dir)), "no_such_folder", "is no folder; `uici init DIR` makes one to begin with"
            )
            config_dir = None
        elif config_dir.resolve() == shipped_folder.resolve() or not is_readable(config_dir, report):
            config_dir = None
        else:
            _near_misses(config_dir, report)
    for file in FILES:
        shipped = read_file(shipped_folder / file, report) or empty(str(shipped_folder / file))
        documents[file] = shipped
        if config_dir is not None and (config_dir / file).exists():
            own.add(str(config_dir / file))
            site = read_file(config_dir / file, report)
            if site is not None:
                documents[file] = overlay(file, shipped, site, report)
    return documents, frozenset(own)


def _near_misses(config_dir: Path, report: Report) -> None:
    """A file whose name is nearly right would be silently without effect."""
    for path in sorted(config_dir.iterdir()):
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
    environments_file = parse(EnvironmentsFile, environments_head, report) or EnvironmentsFile()
    targets_file = parse(TargetsFile, targets_head, report)
    parse(FindingsFile, findings_head, report)
    parse(StrategiesFile, strategies_head, report)
    environments = environment_entries.parse(Environment, _PLAIN_NAME, report)
    for name in list(environments):
        # A shipped environment whose executor is not installed is no problem of the site's.
        shipped = environment_entries.entry(name).position.file not in own
        if shipped and environments[name].platform not in executors:
            del environments[name]
            del environment_entries.node.mapping[name]
    return Draft(
        report=report,
        executors=executors,
        platform=parse(PlatformFile, documents["platform.yml"], report) or PlatformFile(),
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
    )
