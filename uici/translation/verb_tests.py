"""The tests that verbs carry in their own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from uici.catalogue.diagnostics import Diagnostic
from uici.model.base import JsonObject, canonical_json
from uici.model.errors import Problem
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.operation import BUILTIN
from uici.model.plan import Origin, Plan, Step
from uici.model.site import Environment, Site, TargetSpec, VerbTest
from uici.ports import Executor
from uici.translation.translating import prepare

_PLACE = "test"


@dataclass(frozen=True, slots=True)
class VerbTestFailure:
    """A test whose translation is not what it expects."""

    operation: str
    test: str
    source: str
    text: str

    def diagnostic(self) -> Diagnostic:
        """The failure as a problem of the configuration, where the verb is defined."""
        file, _, line = self.source.rpartition(":")
        return Diagnostic(
            file, int(line), 1, "verb_test_failed", f"{self.operation}: test {self.test!r} failed: {self.text}"
        )


def run_verb_tests(site: Site, executors: Mapping[str, type[Executor]]) -> list[VerbTestFailure]:
    """Translate every test of every verb and return what failed; nothing is sent.

    Tests of platforms whose executors are not in `executors` are passed over.
    """
    failures: list[VerbTestFailure] = []
    for name, tests in site.verb_tests.items():
        for test in tests:
            if test.platform != BUILTIN and test.platform not in executors:
                continue
            text = _run(site, executors, name, test)
            if text is not None:
                failures.append(VerbTestFailure(name, test.name, site.operations[name].source, text))
    return failures


def _run(site: Site, executors: Mapping[str, type[Executor]], name: str, test: VerbTest) -> str | None:
    """Why the test fails; None when it passes."""
    platform = next(iter(executors), BUILTIN) if test.platform == BUILTIN else test.platform
    place = site.model_copy(
        update={
            "environments": {_PLACE: Environment(platform=platform)},
            "targets": {_PLACE: TargetSpec(bindings={_PLACE: test.target})},
        }
    )
    plan = Plan(
        environment=_PLACE,
        steps=(Step(operation=name, target=_PLACE, parameters=test.parameters),),
        origin=Origin.HUMAN,
        reason=f"test {test.name}",
    )
    try:
        prepared = prepare(
            plan,
            place,
            {key: executor.call_specs for key, executor in executors.items()},
            {key: executor.classify for key, executor in executors.items()},
            SelfIdentity(),
            SelfGuardLayers(),
        )
    except Problem as problem:
        if test.error is not None and test.error in problem.detail:
            return None
        wanted = f"an error with {test.error!r}" if test.error is not None else "calls"
        return f"expected {wanted}, got the error: {problem.detail}"
    got: list[JsonObject] = [{"call": call.name, "arguments": call.arguments} for call in prepared.steps[0].calls]
    if test.error is not None:
        return f"expected an error with {test.error!r}, got {canonical_json(got)}"
    wanted_calls = [expected.model_dump(mode="json") for expected in test.expect]
    if got != wanted_calls:
        return f"expected {canonical_json(wanted_calls)}, got {canonical_json(got)}"
    return None
