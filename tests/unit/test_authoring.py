"""`uici operations new` and `uici operations coverage`, as an author meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from uici.catalogue.coverage import NOT_WRITTEN, coverage_of
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.cli.app import app

CHANGING = ("--summary", "Poke the service awake", "--mutates", "--no-input")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "platform.yml").write_text("{}\n")
    return tmp_path


def uici(config: Path, *words: str, answers: str = "") -> Result:
    return CliRunner().invoke(app, ["operations", *words, "--config", str(config)], input=answers)


def test_a_verb_that_reads_is_complete_at_once(config: Path) -> None:
    made = uici(
        config, "new", "look_closely", answers="Look at it closely\nn\n\n\ncount:number\nx:y\nname:text:required\n\n"
    )
    assert made.exit_code == 0, made.output
    assert "'x:y' is no parameter" in made.output
    assert uici(config, "lint", "--strict").output == "0 problems, 0 warnings\n"
    assert uici(config, "test", "look_closely").exit_code == 0
    operation = load_site(config, executors=discover_executors()).operations["look_closely"]
    assert (operation.mutates, operation.risk.value, operation.required) == (False, "low", ("name",))


def test_a_verb_that_changes_something_fails_until_it_is_written(config: Path) -> None:
    made = uici(config, "new", "poke_service", *CHANGING, "--platform", "docker", "--parameter", "how:text:required")
    assert made.exit_code == 0, made.output
    assert uici(config, "lint", "--without-tests", "--strict").exit_code == 0
    assert uici(config, "lint").exit_code == 1
    tested = uici(config, "test", "poke_service")
    assert tested.exit_code == 1
    assert "write.here" in tested.output
    path = config / "operations" / "poke_service.yml"
    text = path.read_text()
    call = "{call: container.exec, arguments: {target: %s, argv: [poke, %s]}}"
    before, after = text.split("tests:")
    before = before.replace("# Here goes", "- " + call % ('"${target}"', '"${parameters.how}"') + "  # Here goes")
    after = after.replace("{call: write.here, arguments: {what: the call that changes something}}",
                          call % ('{"container": "web"}', "something"))  # fmt: skip
    path.write_text(before + "tests:" + after)
    assert uici(config, "lint", "--strict").output == "0 problems, 0 warnings\n"


def test_nothing_is_overwritten_and_nothing_odd_is_written(config: Path) -> None:
    assert uici(config, "new", "poke_service", *CHANGING).exit_code == 0
    path = config / "operations" / "poke_service.yml"
    path.write_text("mine")
    again = uici(config, "new", "poke_service", *CHANGING)
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert path.read_text() == "mine"
    for words, said in (
        (("new", "../evil", *CHANGING), "is no name"),
        (("new", "ok_name", "--no-input"), "say what the verb does"),
        (("new", "ok_name", *CHANGING, "--platform", "mars"), "is no platform"),
        (("new", "ok_name", *CHANGING, "--parameter", "a:b"), "is no parameter"),
    ):
        refused = uici(config, *words)
        assert refused.exit_code == 2
        assert said in refused.output
    assert [each.name for each in path.parent.iterdir()] == ["poke_service.yml"]


def test_coverage_tells_each_gap_and_why(config: Path) -> None:
    document = json.loads(uici(config, "coverage", "--json").output)
    rows = {each["name"]: each["platforms"] for each in document["operations"]}
    assert rows["wait"]["docker"] == {"supported": True}
    assert "no limits of processor" in rows["update_resources"]["local"]["because"]
    assert document["covered"]["docker"] >= document["covered"]["local"] > 10
    shown = uici(config, "coverage").output
    assert "update_resources on local: a supervisor" in shown
    executors = discover_executors()
    found = coverage_of(load_site(None, executors=executors), [*executors, "mars"])
    assert found.platforms[:2] == ("local", "docker")
    assert ("restart_service", "mars", NOT_WRITTEN) in found.reasons()
    assert "| mars | no translation is written |" in found.markdown()
