"""The executors of the site's environments, made when first needed, and reading operations through them."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from uici.access.secrets import resolve_tree
from uici.model.base import JsonObject, canonical_json, digest
from uici.model.builtin import classify_builtin
from uici.model.call import Call, CallError, CallSpec, FailureKind, Risk
from uici.model.condition import all_hold
from uici.model.errors import Problem, ProblemKind, unknown_environment
from uici.model.identity import SelfGuardLayers, Selves
from uici.model.operation import BUILTIN
from uici.model.plan import Origin, Plan, PreparedPlan, PreparedReading, PreparedStep, Step
from uici.model.site import Environment, Site
from uici.monitoring.performing import MonitoringCalls
from uici.ports import Executor, ExecutorContext
from uici.runs.bounded import BoundedCalls, BoundedExecutor
from uici.translation.builtin import BUILTIN_SPECS
from uici.translation.selections import complete, operation_result
from uici.translation.translating import prepare

_STEPS_KEPT = 4096
_LONGEST_KEPT = 1000
SECRETS_SECONDS = 30.0
"""How often it is looked whether a secret of a connection has changed, while the connection is used."""

_log = structlog.get_logger(__name__)


@dataclass
class _Credentials:
    """With which secrets an executor was made, and when it is looked at again whether they have changed."""

    digest: str
    look_at: float
    former: BoundedExecutor | None = None
    """The one before: who had it in hand when it was replaced has long come to its end when the next one is."""


class Platforms:
    """Executors by environment. An environment that cannot be reached degrades alone."""

    def __init__(
        self,
        site: Callable[[], Site],
        classes: Mapping[str, type[Executor]],
        selves: Selves,
        layers: SelfGuardLayers,
        state_directory: Path,
    ) -> None:
        self._site = site
        self._classes = classes
        self._selves = selves
        self._layers = layers
        self._state_directory = state_directory
        self._lock = threading.Lock()
        self._executors: dict[tuple[str, str], BoundedExecutor] = {}
        self._latest: dict[str, tuple[Environment, BoundedExecutor]] = {}
        """Environment -> what was asked for last, which mostly is asked for next."""
        self._credentials: dict[tuple[str, str], _Credentials] = {}
        self._steps: dict[tuple[str, ...], tuple[tuple[object, ...], PreparedStep]] = {}

    @property
    def site(self) -> Site:
        """The configuration that is looked through."""
        return self._site()

    def seen_through(self, site: Site) -> Platforms:
        """The same executors, looked at through another configuration."""
        seen = copy.copy(self)
        seen._site = lambda: site
        return seen

    def executor(self, environment: str) -> BoundedExecutor:
        """The executor of an environment. Raises Problem for an unknown environment or a secret that is missing."""
        settings = self._settings(environment)
        kept = self._latest.get(environment)
        if kept is not None and kept[0] is settings and not self._due:
            return kept[1]
        # A run under way stays with the connection that it began with: a proof asked elsewhere would prove nothing.
        key = (environment, canonical_json([settings.platform, settings.connection]))
        with self._lock:
            executor = self._executors.get(key)
            if executor is None:
                connection = _settings(self._classes[settings.platform], environment, settings.connection)
                executor = self._executors[key] = self._made(environment, settings, connection)
                if connection != settings.connection:
                    self._credentials[key] = _Credentials(digest(connection), time.monotonic() + SECRETS_SECONDS)
            self._latest[environment] = (settings, executor)
            known = self._credentials.get(key)
            if known is None or time.monotonic() < known.look_at:
                return executor
            known.look_at = time.monotonic() + SECRETS_SECONDS  # who comes meanwhile takes what there is
        return self._renewed(key, settings, known, executor)

    @property
    def _due(self) -> bool:
        """Whether it is time to look whether a secret has changed."""
        now = time.monotonic()
        return any(now >= known.look_at for known in list(self._credentials.values()))

    def _renewed(
        self, key: tuple[str, str], settings: Environment, known: _Credentials, executor: BoundedExecutor
    ) -> BoundedExecutor:
        """The executor, made anew where a secret of its connection has changed; the same place, so also for a run that
        began with the former.
        """
        environment, _ = key
        try:
            connection = _settings(self._classes[settings.platform], environment, settings.connection)
        except Problem as problem:
            # What it was made with may still hold; and if not, the platform says so.
            _log.warning("secrets_not_read_again", environment=environment, problem=problem.detail)
            return executor
        now = digest(connection)
        if now == known.digest:
            return executor
        renewed = self._made(environment, settings, connection)
        with self._lock:
            former, known.former, known.digest = known.former, executor, now
            self._executors[key] = renewed
            self._latest[environment] = (settings, renewed)
        if former is not None:
            former.close()
        _log.info("secrets_changed", environment=environment)
        return renewed

    def _made(self, environment: str, settings: Environment, connection: JsonObject) -> BoundedExecutor:
        executor_class = self._classes[settings.platform]
        context = ExecutorContext(
            environment=environment,
            settings=connection,
            identity=self._selves.own,
            selves=self._selves,
            layers=self._layers,
            state_directory=str(self._state_directory / environment),
        )
        return BoundedExecutor(executor_class(context), environment)

    def performer(self, environment: str, step: PreparedStep) -> BoundedCalls:
        """Who carries out the calls of a step: the environment's executor, or for built-in verbs its monitoring.

        Raises as `executor`.
        """
        if BUILTIN not in step.operation.translations:
            return self.executor(environment)
        calls = MonitoringCalls(environment, self._settings(environment), self._selves(), self._layers)
        return BoundedCalls(calls, environment)

    def _settings(self, environment: str) -> Environment:
        settings = self._site().environments.get(environment)
        if settings is None:
            raise unknown_environment(environment, self._site().environments)
        return settings

    def prepare(self, plan: Plan) -> PreparedPlan:
        """Translate a plan for its environment. Raises Problem with everything that is wrong with it.

        The same step is asked for again and again: what became of it is kept as long as what it was made of is the
        configuration that is looked through. What is refused is worked out anew each time.
        """
        site = self._site()
        known = [self._kept(site, plan.environment, step) for step in plan.steps]
        steps = tuple(step for step in known if step is not None)
        if len(steps) == len(known):
            return PreparedPlan(plan=plan, steps=steps)
        prepared = prepare(plan, site, self.call_specs, self.classifiers, self._selves(), self._layers)
        if len(self._steps) + len(prepared.steps) > _STEPS_KEPT:
            self._steps.clear()
        for step, made in zip(plan.steps, prepared.steps, strict=True):
            key = _key(plan.environment, step)
            if key is not None:
                self._steps[key] = (self._made_of(site, plan.environment, step), made)
        return prepared

    def _made_of(self, site: Site, environment: str, step: Step) -> tuple[object, ...]:
        """All that the translation of a step looks at."""
        of_site = site.operations.get(step.operation), site.environments.get(environment), site.targets.get(step.target)
        return *of_site, self._selves()

    def _kept(self, site: Site, environment: str, step: Step) -> PreparedStep | None:
        key = _key(environment, step)
        known = self._steps.get(key) if key is not None else None
        if known is None:
            return None
        made_of = self._made_of(site, environment, step)
        return known[1] if all(a is b or a == b for a, b in zip(known[0], made_of, strict=True)) else None

    @property
    def executors(self) -> Mapping[str, type[Executor]]:
        """Platform -> what knows it."""
        return self._classes

    @property
    def call_specs(self) -> Mapping[str, Mapping[str, CallSpec]]:
        """Platform -> its calls, the platform-less ones among them."""
        return {BUILTIN: BUILTIN_SPECS, **{name: executor.call_specs for name, executor in self._classes.items()}}

    @property
    def classifiers(self) -> Mapping[str, Callable[[str, JsonObject], tuple[bool, Risk]]]:
        """Platform -> how it classes a call by its arguments."""
        return {name: executor.classify for name, executor in self._classes.items()}

    def read(self, environment: str, target: str, operation: str, parameters: JsonObject | None = None) -> JsonObject:
        """Perform a read-only operation on a target and return its result.

        Raises CallError when the platform cannot answer (after a few tries when that may help), and Problem
        when the operation is unknown, mutates, or does not fit the target.
        """
        return self.perform_reads(environment, self._reading(environment, target, operation, parameters or {}))

    def _reading(self, environment: str, target: str, operation: str, parameters: JsonObject) -> PreparedStep:
        step = Step(operation=operation, target=target, parameters=parameters)
        prepared = self._kept(self._site(), environment, step)
        if prepared is None:
            plan = Plan(environment=environment, steps=(step,), origin=Origin.RULE, reason="look")
            prepared = self.prepare(plan).steps[0]
        if prepared.operation.mutates or any(call.mutates for call in prepared.calls):
            raise Problem(
                ProblemKind.FORBIDDEN,
                "not_read_only",
                f"{operation} may change something, so it is not used for looking",
            )
        return prepared

    def perform_reads(
        self,
        environment: str,
        step: PreparedStep,
        reading: PreparedReading | None = None,
        results: JsonObject | None = None,
    ) -> JsonObject:
        """Perform the calls of a read-only prepared step; or those of one of its readings, after `results`.

        Whoever looks does not wait: a call that would be repeated until something holds is sent once, and fails with
        `not_yet` while that does not hold.
        """
        performer = self.performer(environment, step)
        known: JsonObject = dict(results or {})
        what = step if reading is None else reading
        for call in what.calls:
            ready = self.ready(environment, step, call, known)
            known[call.id] = self._patiently(performer, ready)
            if ready.poll is not None and not all_hold(ready.poll.until, known[call.id]):
                wanted = "; ".join(condition.describe() for condition in ready.poll.until)
                raise CallError(FailureKind.PERMANENT, "not_yet", f"{call.name}: not yet so: {wanted}")
        return operation_result(what, known)

    def ready(self, environment: str, step: PreparedStep, call: Call, results: JsonObject) -> Call:
        """A call of a step with its selections filled in and judged. Raises Problem when it cannot be made."""
        if BUILTIN in step.operation.translations:
            return complete(call, results, BUILTIN_SPECS[call.name], classify_builtin)
        executor = self._classes[self._settings(environment).platform]
        return complete(call, results, executor.call_specs[call.name], executor.classify)

    def check(self, environment: str) -> tuple[bool, str]:
        """Whether the environment's platform answers, and what it says."""
        try:
            report = self.executor(environment).check()
        except (Problem, CallError) as error:
            return False, str(error)
        return report.ok, report.detail

    def close(self) -> None:
        """Release all connections."""
        with self._lock:
            former = (known.former for known in self._credentials.values() if known.former is not None)
            for executor in (*self._executors.values(), *former):
                executor.close()
            self._executors.clear()
            self._latest.clear()
            self._credentials.clear()

    def _patiently(self, performer: BoundedCalls, call: Call) -> JsonObject:
        settings = self._site().platform.runs
        for attempt in range(1, settings.read_attempts + 1):
            try:
                return performer.perform(call)
            except CallError as error:
                if error.kind is FailureKind.PERMANENT or attempt == settings.read_attempts:
                    raise
                time.sleep(settings.retry_seconds)
        raise AssertionError("the loop returns or raises")


def _key(environment: str, step: Step) -> tuple[str, ...] | None:
    """Under which a step is kept; None for one that nobody will ask for again, or that will be refused."""
    try:
        parameters = canonical_json(step.parameters) if step.parameters else ""
    except (TypeError, ValueError):
        return None
    return (environment, step.target, step.operation, parameters) if len(parameters) <= _LONGEST_KEPT else None


def _settings(executor: type[Executor], environment: str, connection: JsonObject) -> JsonObject:
    """The connection with its secrets, judged now that they are known. Raises Problem; no value is repeated."""
    where = f"environments.{environment}.connection"
    resolved = resolve_tree(connection)
    try:
        executor.settings_model.model_validate(resolved)
    except ValidationError as error:
        problems = [
            f"{'.'.join((where, *map(str, found['loc'])))}: {str(found['msg']).removeprefix('Value error, ')}"
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "invalid_connection",
            "; ".join(problems),
            where=f"environments.yml: {where}",
            hint="correct what the reference leads to, or the reference",
        ) from None
    return resolved
