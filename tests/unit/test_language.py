"""The language of translations: selections, polls and readings, when they are loaded and when they are filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_polling import VERB as GROW
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.model.call import Risk
from uici.model.errors import Problem
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, Plan, PreparedStep, Step
from uici.model.site import TargetSpec
from uici.translation.selections import complete
from uici.translation.translating import prepare

EXECUTORS = discover_executors()
GROWN = "operations/grow_service.yml"
FILE = "operations/pick_one.yml"
VERB = """
operation:
  summary: Stop the container of a name, in a network
  risk: high
  mutates: true
  parameters:
    name: {type: string, maxLength: 60}
    other: {type: string, maxLength: 60}
  required: [name]
  reversible: false
  irreversible_because: a test stops nothing
translations:
  docker:
    calls:
      - id: found
        call: engine.request
        arguments: {target: "${target}", method: GET, path: [networks, shop]}
        until: [{field: 'body.Containers.length()', at_least: 1}]
        within_seconds: 10
      - call: engine.request
        arguments:
          target: "${target}"
          method: POST
          path: [containers, '${calls.found.body.List[?Name=$parameters.name].Id}', stop]
  local: {unsupported: programs have no networks}
tests:
  - {name: a name is needed, platform: docker, target: {container: web}, error: is required}
"""
READING = "  docker:\n    {}: {{calls: [{{call: container.{}, arguments: {{target: '${{target}}'}}}}]}}\n"


def load(folder: Path, text: str, name: str = FILE) -> Any:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return load_site(folder, executors=EXECUTORS)


def prepared(folder: Path, text: str, binding: JsonObject, **parameters: object) -> PreparedStep:
    site = load(folder, text).model_copy(update={"targets": {"web": TargetSpec(bindings={"docker": binding})}})
    step = Step(operation="pick_one", target="web", parameters=parameters)
    plan = Plan(environment="docker", steps=(step,), origin=Origin.HUMAN, reason="a test")
    specs = {name: executor.call_specs for name, executor in EXECUTORS.items()}
    classify = {name: executor.classify for name, executor in EXECUTORS.items()}
    return prepare(plan, site, specs, classify, SelfIdentity(), SelfGuardLayers()).steps[0]


SELECTION = "calls.found.body.List[?Name=$parameters.name].Id"


@pytest.mark.parametrize(
    ("old", "new", "code", "text"),
    [
        ("[?Name=$parameters.name]", "[?Name]", "bad_selection", "is no index"),
        ("[?Name=$parameters.name]", "[?Name=$parameters.nam]", "unknown_reference", "did you mean 'parameters.name'"),
        ("[?Name=$parameters.name]", "[?Name=$env.HOME]", "bad_selection", "may compare with"),
        ("calls.found.body.List", "calls.fund.body.List", "unknown_reference", "valid choices calls.found"),
        ("body.Containers.length()", "body..length()", "wrong_value", "a name is wanted"),
        ("body.Containers.length()", "body[?a=$parameters.name]", "wrong_value", "compares with a value, not with"),
        ("        within_seconds: 10\n", "", "wrong_value", "until and within_seconds belong together"),
        ("within_seconds: 10", "within_seconds: 10000", "wrong_value", "less than or equal to 3600"),
        ("method: GET", "method: DELETE", "repeated_change", "put until on a call after it that only reads"),
        ("method: POST", 'method: "${calls.found.body.length()}"', "wrong_type", "a length is a whole number"),
        ("  reversible: false\n", "  before: {keep: {a: b}}\n  reversible: false\n", "missing_reading", "for docker"),
        ("  docker:\n", READING.format("before", "status"), "useless_reading", "is never read"),
        ("  docker:\n", READING.format("verification", "restart"), "mutating_call", "only reads"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_stands(tmp_path: Path, old: str, new: str, code: str, text: str) -> None:
    assert old in VERB
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, VERB.replace(old, new, 1))
    found = [each for each in caught.value.diagnostics if each.code == code]
    assert found, [str(each) for each in caught.value.diagnostics]
    assert text in str(found[0])
    assert found[0].file == str(tmp_path / FILE)
    assert found[0].line > 1


def test_a_reading_of_its_own_belongs_to_each_platform(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError) as caught:
        load(
            tmp_path,
            GROW.replace("    verification:\n      calls", "    veri:\n      calls"),
            "operations/grow_service.yml",
        )
    assert "unknown_key" in {each.code for each in caught.value.diagnostics}
    site = load(tmp_path, GROW.replace("WITHIN", "9"), GROWN)
    assert site.operations["grow_service"].translations["local"].before is not None


def test_a_filter_compares_with_a_parameter_whatever_it_holds(tmp_path: Path) -> None:
    for name in ("web", 'a"] b', "[?x=1]", "${target}", "1", "true"):
        step = prepared(tmp_path, VERB, {"container": "web"}, name=name)
        found, stop = step.calls
        assert found.poll is not None
        assert [condition.describe() for condition in found.poll.until] == ["body.Containers.length() at least 1.0"]
        assert found.poll.every_seconds == 1
        selects = stop.selects[0]
        assert (selects["argument"], selects["kind"]) == ("path.1", "a text")
        results = {"found": {"body": {"List": [{"Name": name, "Id": "abc"}, {"Name": 1, "Id": "no"}]}}}
        spec = EXECUTORS["docker"].call_specs[stop.name]
        ready = complete(stop, results, spec, EXECUTORS["docker"].classify)
        assert ready.arguments["path"] == ["containers", "abc", "stop"]
        with pytest.raises(Problem, match="fits 2 of the 2 items"):
            complete(stop, {"found": {"body": {"List": [{"Name": name}] * 2}}}, spec, EXECUTORS["docker"].classify)


def test_a_filter_on_what_was_not_given_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"pick_one needs parameters\.other, which was not given"):
        prepared(tmp_path, VERB.replace("$parameters.name", "$parameters.other"), {"container": "web"}, name="x")
    with pytest.raises(Problem, match="cannot be compared with"):
        prepared(tmp_path, VERB.replace("$parameters.name", "$target.labels"), {"labels": {"a": "b"}}, name="x")


def test_what_was_selected_is_judged_before_it_is_sent(tmp_path: Path) -> None:
    _, stop = prepared(tmp_path, VERB, {"container": "web"}, name="web").calls
    spec, classify = EXECUTORS["docker"].call_specs[stop.name], EXECUTORS["docker"].classify
    for value in (7, True, ["hunter2-is-secret"], {"hunter2-is-secret": 1}, "hunter2" * 5000):
        with pytest.raises(Problem) as caught:
            complete(stop, {"found": {"body": {"List": [{"Name": "web", "Id": value}]}}}, spec, classify)
        assert caught.value.code == "selection_unfit"
        assert SELECTION.partition("[")[0] in caught.value.detail
        assert "hunter2" not in caught.value.detail


def test_a_selected_argument_cannot_make_another_call_of_it(tmp_path: Path) -> None:
    text = VERB.replace("method: POST", 'method: "${calls.found.body.Method}"')
    _, call = prepared(tmp_path, text, {"container": "web"}, name="web").calls
    body = {"List": [{"Name": "web", "Id": "x"}], "Method": "DELETE"}
    reading = call.model_copy(update={"mutates": False, "risk": Risk.LOW})
    spec, classify = EXECUTORS["docker"].call_specs[call.name], EXECUTORS["docker"].classify
    assert complete(call, {"found": {"body": body}}, spec, classify).arguments["method"] == "DELETE"
    with pytest.raises(Problem, match="one that does more"):
        complete(reading, {"found": {"body": body}}, spec, classify)
