"""The tests that verbs carry in their own files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from uici.catalogue.diagnostics import Diagnostic
from uici.catalogue.following import differing
from uici.model.base import JsonObject, canonical_json
from uici.model.errors import Problem
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.operation import BUILTIN, Operation
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
    expected: list[JsonObject] | None = None
    """The calls that were expected; None where an error was."""
    got: list[JsonObject] | None = None
    """The calls that were made; None where there was an error."""

    def diagnostic(self) -> Diagnostic:
        """The failure as a problem of the configuration, where the verb is defined."""
        file, _, line = self.source.rpartition(":")
        return Diagnostic(
            file, int(line), 1, "verb_test_failed", f"{self.operation}: test {self.test!r} failed: {self.text}"
        )


class VerbProver:
    """Runs the tests of verbs, again and again for sites that follow each other; what passed is not run again."""

    def __init__(self, executors: Mapping[str, type[Executor]]) -> None:
        """Tests of platforms whose executors are not in `executors` are passed over."""
        self._executors = executors
        self._passed: dict[str, tuple[Operation, tuple[VerbTest, ...]]] = {}
        self._sound: tuple[Mapping[str, Operation], Mapping[str, tuple[VerbTest, ...]]] = ({}, {})
        """Operations and tests of the last site, when all of them passed."""

    def trust(self, site: Site) -> None:
        """Take it that all tests of this very site pass: they did when it was kept."""
        self._passed = {name: (site.operations[name], tests) for name, tests in site.verb_tests.items()}
        self._sound = (site.operations, site.verb_tests)

    def failures(self, site: Site) -> list[VerbTestFailure]:
        """Translate every test of every verb and return what failed; nothing is sent."""
        failures: list[VerbTestFailure] = []
        passed, operations = self._passed, site.operations
        for name in self._in_question(site):
            tests, before = site.verb_tests[name], passed.get(name)
            # A translation depends on nothing that a reload changes but the operation itself.
            if before is not None and before[1] is tests and before[0] is operations[name]:
                continue
            found = self._failures_of(site, name, tests)
            if found:
                failures += found
                passed.pop(name, None)
            else:
                passed[name] = (operations[name], tests)
        self._sound = ({}, {}) if failures else (operations, site.verb_tests)
        return failures

    def _in_question(self, site: Site) -> Iterable[str]:
        """The verbs whose tests may not pass as they did."""
        operations = differing(site.operations, self._sound[0])
        tests = differing(site.verb_tests, self._sound[1])
        if operations is not None and tests is not None:
            return [name for name in dict.fromkeys((*operations, *tests)) if name in site.verb_tests]
        for name in self._passed.keys() - site.verb_tests.keys():
            del self._passed[name]
        return site.verb_tests

    def _failures_of(self, site: Site, name: str, tests: tuple[VerbTest, ...]) -> list[VerbTestFailure]:
        failures = []
        for test in tests:
            if test.platform != BUILTIN and test.platform not in self._executors:
                continue
            found = _run(site, self._executors, name, test)
            if found is not None:
                text, got = found
                expected = None if test.error is not None else _calls_of(test)
                failures.append(VerbTestFailure(name, test.name, site.operations[name].source, text, expected, got))
        return failures


def run_verb_tests(site: Site, executors: Mapping[str, type[Executor]]) -> list[VerbTestFailure]:
    """Run all tests once, as `VerbProver` does."""
    return VerbProver(executors).failures(site)


def _calls_of(test: VerbTest) -> list[JsonObject]:
    return [expected.model_dump(mode="json") for expected in test.expect]


def _run(
    site: Site, executors: Mapping[str, type[Executor]], name: str, test: VerbTest
) -> tuple[str, list[JsonObject] | None] | None:
    """Why the test fails, and the calls that were made; None when it passes."""
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
            # A translation that names UICI itself would be refused each time it is needed.
            SelfIdentity(names=frozenset(name.lower() for name in site.platform.self.names)),
            SelfGuardLayers(),
        )
    except Problem as problem:
        if test.error is not None and test.error in problem.detail:
            return None
        wanted = f"an error with {test.error!r}" if test.error is not None else "calls"
        return f"expected {wanted}, got the error: {problem.detail}", None
    got: list[JsonObject] = [{"call": call.name, "arguments": call.arguments} for call in prepared.steps[0].calls]
    if test.error is not None:
        return f"expected an error with {test.error!r}, got {canonical_json(got)}", got
    wanted_calls = _calls_of(test)
    if got != wanted_calls:
        return f"expected {canonical_json(wanted_calls)}, got {canonical_json(got)}", got
    return None
