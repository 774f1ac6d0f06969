"""`uici operations` and `uici schema` without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.real.components import REPOSITORY
from uici.catalogue.advice import ADVICE
from uici.catalogue.locations import shipped_operations
from uici.catalogue.schema import MODELS, schema_files
from uici.cli.app import app

RUNNER = CliRunner()
VERB = (shipped_operations() / "reload_service.yml").read_text()
CARELESS = """
operation:
  summary: It does something
  risk: low
  mutates: true
  parameters:
    text: {type: string}
    number: {type: integer, minimum: 1, description: how often}
  reversible: false
  irreversible_because: it is only a test
translations:
  local: {calls: [{call: program.restart, arguments: {target: "${target}"}}]}
  docker: {calls: [{call: container.restart, arguments: {target: "${target}"}}]}
tests:
  - name: it restarts
    platform: local
    target: {program: web}
    expect: [{call: program.restart, arguments: {target: {program: web}}}]
"""


pytestmark = pytest.mark.usefixtures("lone_shell")


def uici(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def test_operations_are_listed_and_shown_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "site" / "operations").mkdir(parents=True)
    (tmp_path / "site" / "operations" / "nudge_service.yml").write_text(VERB)
    listed = json.loads(uici("operations", "list", "--config", "site", "-o", "json").output)["operations"]
    assert {"nudge_service", "restart_service"} <= {each["name"] for each in listed}
    shown = json.loads(uici("operations", "show", "nudge_service", "--config", "site", "-o", "json").output)
    assert shown["translations"]["docker"]["calls"]
    missing = uici("operations", "show", "nudge_servise", "--config", "site")
    assert missing.exit_code == 1
    assert "did you mean 'nudge_service'" in missing.output


def test_a_good_verb_gets_no_advice(tmp_path: Path) -> None:
    (tmp_path / "nudge_service.yml").write_text(VERB)
    done = uici("operations", "lint", "nudge_service.yml", "--strict")
    assert (done.exit_code, done.output) == (0, "0 problems, 0 warnings\n")


def test_a_careless_verb_gets_advice_which_counts_when_strict(tmp_path: Path) -> None:
    (tmp_path / "careless.yml").write_text(CARELESS)
    done = uici("operations", "lint", "careless.yml", "-o", "json")
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert found["ok"] is True
    assert {(each["level"], each["code"], each["where"]) for each in found["findings"]} == {
        ("warning", "mutating_without_verification", "careless.yml:2:1"),
        ("warning", "parameter_without_description", "careless.yml:7:5"),
        ("warning", "text_without_bounds", "careless.yml:7:5"),
        ("warning", "number_without_bounds", "careless.yml:8:5"),
        ("warning", "platform_without_test", "careless.yml:13:3"),
        ("warning", "risk_below_calls", "careless.yml:12:3"),
        ("warning", "risk_below_calls", "careless.yml:13:3"),
    }
    assert uici("operations", "lint", "careless.yml", "--strict").exit_code == 1


def test_a_broken_verb_is_annotated_for_pipelines(tmp_path: Path) -> None:
    (tmp_path / "careless.yml").write_text(CARELESS.replace("program.restart, arguments", "program.restrat, arguments"))
    done = uici("operations", "lint", "careless.yml", "--github")
    assert done.exit_code == 1
    errors = [line for line in done.output.splitlines() if line.startswith("::error ")]
    assert errors[0].startswith("::error file=careless.yml,line=12,col=26,title=unknown_call::local has no call")
    assert any(line.startswith("::warning file=careless.yml,line=7,") for line in done.output.splitlines())


def test_a_whole_tree_is_linted_with_the_advice_about_its_own_verbs(tmp_path: Path) -> None:
    (tmp_path / "site" / "operations").mkdir(parents=True)
    (tmp_path / "site" / "operations" / "careless.yml").write_text(CARELESS)
    (tmp_path / "site" / "targets.yml").write_text("targets: 1\n")
    done = uici("operations", "lint", "--config", "site")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0].startswith("site/targets.yml:1:10: error: wrong_type: ")
    assert all(line.startswith("site/") for line in lines[:-1])
    assert lines[-1] == "1 problem, 7 warnings"


def test_tests_show_the_difference(tmp_path: Path) -> None:
    (tmp_path / "careless.yml").write_text(CARELESS.replace("arguments: {target: {program: web}}", "arguments: {}"))
    assert "1 tests of 1 operations, 0 failed" not in uici("operations", "test", "careless.yml").output
    done = uici("operations", "test", "careless.yml")
    assert done.exit_code == 1
    assert "careless.yml:2: careless: 'it restarts' failed" in done.output
    assert '  +      "target": {' in done.output
    answer = json.loads(uici("operations", "test", "careless.yml", "-o", "json").output)
    assert answer["failures"][0]["expected"] == [{"call": "program.restart", "arguments": {}}]
    assert answer["failures"][0]["got"][0]["arguments"] == {"target": {"program": "web"}}


def test_tests_are_chosen_by_name() -> None:
    done = uici("operations", "test", "reload_service")
    assert (done.exit_code, done.output) == (0, "3 tests of 1 operations, 0 failed\n")
    assert "carries no tests" in uici("operations", "test", "restart_service").output
    assert uici("operations", "test", "nothing").exit_code == 1
    assert uici("operations", "test", "nothing.yml").exit_code == 2


def test_schemas_are_listed_printed_and_written(tmp_path: Path) -> None:
    assert uici("schema").output.split() == list(MODELS)
    assert json.loads(uici("schema", "targets.yml").output)["title"] == "targets.yml"
    assert uici("schema", "target.yml").exit_code == 1
    assert uici("schema", "--out", "schemas").exit_code == 0
    assert {path.name: path.read_text() for path in (tmp_path / "schemas").iterdir()} == schema_files()


def test_every_piece_of_advice_is_documented() -> None:
    text = (REPOSITORY / "docs" / "configuration.md").read_text()
    assert [line for code, why in ADVICE.items() if (line := f"| `{code}` | {why} |") not in text] == []
