"""The executor of Oracle Cloud environments: parses a call, finds its things, and lets the right module do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

from executors.arguments import fitting, parsed
from executors.deadline import Deadline
from executors.oci import calls, checkup
from executors.oci.arguments import (
    ARGUMENTS,
    OPEN_CALL,
    Configure,
    OciRequest,
    OnTarget,
    Recreate,
    Scale,
    SetBackend,
    Stop,
    Update,
)
from executors.oci.balancer import Balancing
from executors.oci.calls import CALL_SPECS
from executors.oci.connection import Cloud
from executors.oci.containers import ContainerChanges
from executors.oci.facts import Facts
from executors.oci.looking import Looks
from executors.oci.lookup import Lookup
from executors.oci.machines import FunctionChanges, MachineChanges
from executors.oci.open_calls import oci_request
from executors.oci.possible import refuse_unfit
from executors.oci.proof import Proof
from executors.oci.recreate import Recreation, Terms
from executors.oci.self_guard import SelfGuard
from executors.oci.settings import OciBinding, OciSettings
from executors.oci.work import Work
from uici.model.base import Frozen, JsonObject
from uici.model.call import Call, CallError, CallSpec, FailureKind, Happened, Risk
from uici.model.grants import Account
from uici.model.rehearsal import Rehearsal
from uici.ports import ConnectionReport, ExecutorContext

_RECREATING = frozenset({"oci.configure", "oci.deploy", "oci.rollback", "oci.update"})


class OciExecutor:
    """One region of Oracle Cloud, as one identity. Implements `uici.ports.Executor`."""

    platform: ClassVar[str] = "oci"
    call_specs: ClassVar[Mapping[str, CallSpec]] = CALL_SPECS
    settings_model: ClassVar[type[Frozen]] = OciSettings
    binding_model: ClassVar[type[Frozen]] = OciBinding
    rehearses: ClassVar[bool] = True

    def __init__(self, context: ExecutorContext) -> None:
        """Store what is given; no I/O. Raises CallError(PERMANENT, `bad_settings`)."""
        settings = fitting(OciSettings, context)
        self._cloud = Cloud(settings, context.environment)
        self._lookup = Lookup(self._cloud)
        self._work = Work(self._cloud)
        self._guard = SelfGuard(self._cloud, self._lookup, context.whole_identity, context.layers.executor)
        self._balancing = Balancing(self._cloud, self._lookup, self._work)
        self._recreation = Recreation(self._cloud, self._lookup, self._work, self._balancing)
        self._containers = ContainerChanges(self._cloud, self._lookup, self._work, self._recreation, self._balancing)
        self._machines = MachineChanges(self._cloud, self._lookup, self._work)
        self._functions = FunctionChanges(self._cloud, self._work)
        self._proof = Proof(self._lookup, self._work)
        self._looks = Looks(self._cloud, self._lookup, self._work, self._guard, self._balancing)

    @classmethod
    def classify(cls, name: str, arguments: JsonObject) -> tuple[bool, Risk]:
        """Whether this call mutates, and its risk. Raises CallError(PERMANENT, `unknown_call`)."""
        return calls.classify(name, arguments)

    @classmethod
    def grants(cls, calls: Iterable[tuple[str, JsonObject]], account: Account) -> None:
        """Policies are written for compartments, which a binding does not name."""

    def perform(self, call: Call) -> JsonObject:
        """Carry out one call and return its result. Raises CallError; never repeats a change."""
        spec = calls.spec_of(call.name)
        deadline = Deadline(min(call.timeout_seconds, spec.timeout_seconds))
        arguments = parsed(ARGUMENTS[call.name], call.name, call.arguments)
        if isinstance(arguments, OciRequest):
            mutates, _ = calls.classify(OPEN_CALL, call.arguments)
            if mutates:
                self._guard.check_request(arguments)
            return oci_request(self._cloud, arguments, mutates)
        on_target = cast(OnTarget, arguments)
        if not spec.mutates:
            return self._looks.at(call.name, on_target, deadline)
        refuse_unfit(call.name.removeprefix("oci."), on_target.target)
        self._guard.check_binding(on_target.target)
        return self._change(call, on_target, deadline)

    def before(self, call: Call) -> JsonObject:
        """State to compare with later; read-only. Raises CallError when the services cannot be asked."""
        if not calls.spec_of(call.name).provable:
            return {}
        arguments = cast(OnTarget, parsed(ARGUMENTS[call.name], call.name, call.arguments))
        if isinstance(arguments, SetBackend):
            return self._balancing.remember(arguments.target)
        return self._proof.before(call.name, arguments, self._lookup.members(arguments.target))

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """Whether the services' state shows that the call was carried out.

        A replacement that was left half done is first ended, forward or back. Raises CallError when the services
        cannot be asked.
        """
        spec = calls.spec_of(call.name)
        if not spec.provable:
            return Happened.UNKNOWN
        arguments = cast(OnTarget, parsed(ARGUMENTS[call.name], call.name, call.arguments))
        if isinstance(arguments, SetBackend):
            return self._balancing.prove(arguments.target, arguments.state, arguments.weight)
        if call.name in _RECREATING and arguments.target.is_container:
            self._guard.check_binding(arguments.target)
            self._recover(arguments, Deadline(spec.timeout_seconds))
        return self._proof.happened(call.name, arguments, before)

    def rehearse(self, call: Call) -> Rehearsal | None:
        """What does not follow when a container instance is replaced; else None: Oracle Cloud knows no dry run.

        Raises CallError when the services cannot be looked at.
        """
        arguments = parsed(ARGUMENTS[call.name], call.name, call.arguments)
        if call.name not in _RECREATING or not isinstance(arguments, Recreate) or not arguments.target.is_container:
            return None
        try:
            self._guard.check_binding(arguments.target)
            members = self._lookup.members(arguments.target)
            if not members:
                raise self._lookup.missing(arguments.target)
            self._guard.check_members(members)
            return self._containers.rehearse(members, arguments)
        except CallError as error:
            if error.kind is not FailureKind.PERMANENT:
                raise
            return Rehearsal(accepted=False, code=error.code, reason=error.message)

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of what an alert's labels name: by OCID, then by display name. Raises CallError."""
        return self._lookup.find(labels)

    def check(self) -> ConnectionReport:
        """Whether Oracle Cloud lets UICI in, and what can be told of it; never raises."""
        return checkup.report(self._cloud)

    def close(self) -> None:
        """Close the connections. What runs keeps running."""
        self._cloud.close()

    def _change(self, call: Call, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        binding = arguments.target
        if isinstance(arguments, SetBackend):
            self._guard.check_members(self._lookup.members(binding))
            return self._balancing.change(binding, arguments.state, arguments.weight, call.key, deadline)
        members = self._lookup.members(binding)
        if binding.is_container and call.name in _RECREATING and self._recover(arguments, deadline):
            members = self._lookup.members(binding)
        pool = self._lookup.pool(binding) if binding.instance_pool is not None else None
        if not members and pool is None:
            raise self._lookup.missing(binding)
        self._guard.check_members(members)
        if pool is not None:
            return self._change_pool(call, arguments, pool, deadline)
        if binding.is_container:
            return self._change_containers(call, arguments, members, deadline)
        if binding.kind == "function":
            return self._change_function(arguments, members[0], deadline)
        if isinstance(arguments, Update):
            return self._machines.update(members[0], arguments, call.key, deadline)
        verb, stop = call.name.removeprefix("oci."), arguments if isinstance(arguments, Stop) else None
        return self._machines.power(verb, stop, members, call.key, deadline)

    def _change_pool(
        self, call: Call, arguments: OnTarget, pool: tuple[JsonObject, str | None], deadline: Deadline
    ) -> JsonObject:
        seen, etag = pool
        if isinstance(arguments, Scale):
            return self._machines.scale(seen, etag, arguments, call.key, deadline)
        verb, stop = call.name.removeprefix("oci."), arguments if isinstance(arguments, Stop) else None
        return self._machines.power_of_pool(verb, seen, stop, call.key, deadline)

    def _change_containers(
        self, call: Call, arguments: OnTarget, members: Sequence[Facts], deadline: Deadline
    ) -> JsonObject:
        if isinstance(arguments, Scale):
            return self._containers.scale(members, arguments, call.key, deadline)
        if not isinstance(arguments, Recreate):
            act: Mapping[str, Callable[[Sequence[Facts], Deadline], JsonObject]] = {
                "oci.start": self._containers.start,
                "oci.stop": self._containers.stop,
                "oci.restart": self._containers.restart,
            }
            return act[call.name](members, deadline)
        terms = Terms(arguments.health_timeout_seconds, deadline, call.key)
        return self._containers.recreate(members, arguments, terms)

    def _change_function(self, arguments: Any, one: Facts, deadline: Deadline) -> JsonObject:
        if isinstance(arguments, Update):
            return self._functions.update(one, arguments, deadline)
        if isinstance(arguments, Configure):
            return self._functions.configure(one, arguments, deadline)
        return self._functions.deploy(one, arguments, deadline)

    def _recover(self, arguments: OnTarget, deadline: Deadline) -> bool:
        seconds = arguments.health_timeout_seconds if isinstance(arguments, Recreate) else 300.0
        return self._recreation.recover(arguments.target, Terms(seconds, deadline))
