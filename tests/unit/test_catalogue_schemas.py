"""The JSON Schemas for editors: current, and of one mind with the loader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from council.configuration import FILE as AGENTS
from council.configuration import json_schema as agents_schema
from tests.real.components import REPOSITORY
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.catalogue.locations import shipped_config, shipped_operations
from uici.catalogue.schema import MODELS, VERB_FILE, json_schema, schema_file_name, schema_files
from uici.catalogue.starter import SCHEMAS, write_starter

EXECUTORS = discover_executors()
CHECKED_IN = REPOSITORY / "infrastructure" / "schemas"
SHIPPED = [*shipped_config().rglob("*.yml"), *shipped_operations().glob("*.yml")]
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def schema_of(path: Path) -> dict[str, Any]:
    if path.name == AGENTS:
        return agents_schema()
    schema: dict[str, Any] = json_schema(path.name if path.name in MODELS else VERB_FILE)
    return schema


def test_the_schemas_that_are_checked_in_are_current() -> None:
    agents = {schema_file_name(AGENTS): json.dumps(agents_schema(), indent=1, ensure_ascii=False) + "\n"}
    current = {path.name: path.read_text() for path in CHECKED_IN.iterdir()}
    assert current == schema_files() | agents, "run `make schemas`"


@pytest.mark.parametrize("name", MODELS)
def test_each_schema_is_a_schema_that_helps_to_write(name: str) -> None:
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert schema["description"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_what_ships_satisfies_its_schema_and_leads_editors_to_it(path: Path) -> None:
    text = path.read_text()
    assert list(Draft202012Validator(schema_of(path)).iter_errors(yaml.safe_load(text))) == []
    found = MODELINE.match(text)
    assert found is not None, f"{path}: the first line is `# yaml-language-server: $schema=…`"
    target = (path.parent / found[1]).resolve()
    assert target == CHECKED_IN / schema_file_name(path.name if path.name in (*MODELS, AGENTS) else VERB_FILE)
    assert target.is_file()


def test_the_starter_brings_its_schemas(tmp_path: Path) -> None:
    for path in write_starter(tmp_path):
        if path.suffix == ".yml":
            found = MODELINE.match(path.read_text())
            assert found is not None
            assert found[1].startswith(f"{SCHEMAS}/")
            assert json.loads((tmp_path / found[1]).read_text()) == schema_of(path)


SOUND = [
    ("targets.yml", "targets:\n"),
    ("environments.yml", "environments: {docker: null}\n"),
    ("operations.yml", "operations: {take_snapshot: null}\n"),
    ("strategies.yml", "strategies: {unhealthy: null}\n"),
    ("strategies.yml", "strategies: {s: {match: ['a=b'], diagnose: [check_logs], action: ignore}}\n"),
    ("platform.yml", "runs:\nservice: {shutdown_seconds: 3}\n"),
    (
        "findings.yml",
        "findings: {f: {summary: s, when: [{operation: check_logs, all: [{field: lines, matches: x}]}]}}\n",
    ),
    ("policies.yml", "autonomy: observe\ncooldown: {seconds: 0.5}\n"),
]
BROKEN = [
    ("targets.yml", "target: {}\n"),
    ("targets.yml", "targets: {web: {}}\n"),
    ("targets.yml", "targets: {web: {bindings: {local: {program: a}}, watch_only: 'yes'}}\n"),
    ("targets.yml", "targets: {web: {match: ['nonsense'], bindings: {local: {program: a}}}}\n"),
    ("environments.yml", "environments: {docker: {platform: Docker}}\n"),
    ("operations.yml", "operations: {x: {summary: a verb, risk: lwo, mutates: false}}\n"),
    ("operations.yml", "operations: {x: {summary: a verb, mutates: false}}\n"),
    ("command_translations.yml", "translations: {check_logs: {local: {}}}\n"),
    ("command_translations.yml", "translations: {check_logs: {local: {calls: [{cal: x}]}}}\n"),
    ("findings.yml", "findings: {f: {summary: s, when: [{operation: check_logs, all: [{field: lines}]}]}}\n"),
    ("findings.yml", "findings: {f: {summary: s, when: [{operation: a, all: [{field: a, equals: 1, exists: true}]}]}}"),
    ("strategies.yml", "strategies: {s: {match: []}}\n"),
    ("strategies.yml", "strategies: {s: {match: ['a=b'], remedies: [{name: r, steps: ['Restart It']}]}}\n"),
    ("platform.yml", "runs: {threads: 1}\n"),
    ("platform.yml", "service: {listn: x}\n"),
    ("policies.yml", "autonomy: always\n"),
    ("policies.yml", "give_up: {ineffective_runs: 0}\n"),
]  # fmt: skip


def codes(folder: Path, name: str, text: str) -> set[str]:
    folder.joinpath(name).write_text(text)
    try:
        load_site(folder, executors=EXECUTORS)
    except CatalogueError as error:
        return {each.code for each in error.diagnostics}
    return set()


@pytest.mark.parametrize(("name", "text"), SOUND)
def test_what_the_loader_accepts_the_schema_accepts(tmp_path: Path, name: str, text: str) -> None:
    assert not codes(tmp_path, name, text) & {"unknown_key", "missing_key", "wrong_type", "wrong_value"}
    assert list(Draft202012Validator(json_schema(name)).iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_what_the_loader_refuses_by_its_shape_the_schema_refuses(tmp_path: Path, name: str, text: str) -> None:
    assert codes(tmp_path, name, text) & {"unknown_key", "missing_key", "wrong_type", "wrong_value"}
    assert list(Draft202012Validator(json_schema(name)).iter_errors(yaml.safe_load(text)))
