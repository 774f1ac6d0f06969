"""The translation over arbitrary parameters: a refusal, or calls in which each value stays what it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import canonical_json
from uici.model.call import SELECTION_KEY
from uici.model.errors import Problem, ProblemKind
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.masking import MASK, is_secret_key, mask
from uici.model.plan import Origin, Plan, PreparedPlan, Step
from uici.model.references import OMITTED, Reference, is_partial, reference_in, resolve
from uici.model.site import Site, TargetSpec
from uici.translation.selections import resolve_selections
from uici.translation.translating import prepare

EXECUTORS = discover_executors()
SPECS = {name: executor.call_specs for name, executor in EXECUTORS.items()}
CLASSIFY = {name: executor.classify for name, executor in EXECUTORS.items()}
BINDINGS = {"local": {"program": "web", "command": ["/bin/web"]}, "docker": {"container": "web-1"}}

TEXTS = st.text(max_size=30) | st.sampled_from(
    ["; ls", "$(id)", "a\nb", "--x", "../..", "${target}", "{{x}}", "\ud800"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just(SELECTION_KEY), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def site() -> Site:
    shipped = load_site(None, executors=EXECUTORS)
    return shipped.model_copy(update={"targets": {"web": TargetSpec(bindings=BINDINGS)}})


def translate(site: Site, environment: str, step: Step) -> PreparedPlan | Problem:
    plan = Plan(environment=environment, steps=(step,), origin=Origin.COUNCIL, reason="a test")
    try:
        return prepare(plan, site, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers())
    except Problem as problem:
        return problem


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_parameters_are_refused_or_sent_unchanged(site: Site, data: st.DataObject) -> None:
    operation = site.operations[data.draw(st.sampled_from(sorted(site.operations)))]
    environment = data.draw(st.sampled_from(["local", "docker"]))
    names = st.sampled_from([*operation.parameters, "other"])
    parameters = data.draw(st.dictionaries(names, VALUES, max_size=3))
    found = translate(site, environment, Step(operation=operation.name, target="web", parameters=parameters))
    if isinstance(found, Problem):
        assert found.errors
        assert found.kind is ProblemKind.UNPROCESSABLE
        return
    assert set(parameters) <= set(operation.parameters)
    assert found.cid.startswith("sha256:")
    for call in found.steps[0].calls:
        for name, value in call.arguments.items():
            if name in parameters:
                assert canonical_json(value) == canonical_json(parameters[name])
        assert call.arguments.get("target", BINDINGS[environment]) == BINDINGS[environment]


@given(VALUES)
def test_a_value_is_never_looked_at_for_references_again(value: Any) -> None:
    resolved = resolve({"a": "${parameters.x}", "b": ["${parameters.x}"]}, lambda reference: value)
    assert repr(resolved) == repr({"a": value, "b": [value]})


@given(st.text(max_size=20))
def test_a_text_is_a_reference_as_a_whole_or_not_at_all(text: str) -> None:
    found = reference_in(text)
    if found is not None:
        assert text == f"${{{found.dotted}}}"
    assert is_partial(text) is ("${" in text and found is None)


@given(VALUES)
def test_without_references_nothing_changes(value: Any) -> None:
    def none(reference: Reference) -> Any:
        return "seen"

    resolved = resolve({"a": value}, none)
    if "${" not in repr(value):
        assert repr(resolved) == repr({"a": value})


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), VALUES, min_size=1, max_size=3))
def test_what_was_not_given_disappears(values: dict[str, Any]) -> None:
    template = {name: f"${{parameters.{name}}}" for name in values} | {"gone": "${parameters.none}"}
    resolved = resolve(template, lambda reference: values.get(reference.path[0], OMITTED))
    assert repr(resolved) == repr(values)


@given(VALUES)
def test_results_are_pasted_whole(value: Any) -> None:
    if value is None:
        return
    arguments = {"x": {SELECTION_KEY: "calls.first.value"}}
    assert repr(resolve_selections(arguments, {"first": {"value": value}})) == repr({"x": value})


@given(VALUES)
def test_masking_keeps_the_shape_and_hides_what_is_secret(value: Any) -> None:
    hidden = mask({"password": value, "plain": 1})
    assert hidden["plain"] == 1

    def leaves(part: Any) -> list[Any]:
        if isinstance(part, dict):
            return [leaf for item in part.values() for leaf in leaves(item)]
        if isinstance(part, list):
            return [leaf for item in part for leaf in leaves(item)]
        return [part]

    for leaf in leaves(hidden["password"]):
        assert leaf in (MASK, None, "") or isinstance(leaf, bool)
    assert is_secret_key("password")
