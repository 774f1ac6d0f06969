"""The executor of Kubernetes environments: parses a call and lets the part that publishes it carry it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from executors.arguments import fitting, parsed
from executors.deadline import Deadline
from executors.kubernetes import calls, checkup, finding
from executors.kubernetes.access import grants
from executors.kubernetes.calls import CALL_SPECS
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.deploying import Deploying
from executors.kubernetes.lifecycle import Lifecycle
from executors.kubernetes.nodes import Nodes
from executors.kubernetes.open_guard import OpenGuard
from executors.kubernetes.opening import Opening
from executors.kubernetes.parts import Part
from executors.kubernetes.read_calls import SET_BACKEND
from executors.kubernetes.reading import Reading
from executors.kubernetes.rehearsing import rehearse
from executors.kubernetes.replacing import Replacing
from executors.kubernetes.schedules import Schedules
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.settings import KubernetesBinding, KubernetesSettings
from executors.kubernetes.workloads import Workloads
from uici.model.base import Frozen, JsonObject
from uici.model.call import Call, CallSpec, Happened, Risk
from uici.model.grants import Account, Grants
from uici.model.rehearsal import Rehearsal
from uici.ports import ConnectionReport, ExecutorContext

_PROOF_SECONDS = 30.0


class KubernetesExecutor:
    """Workloads and nodes of one cluster. Implements `uici.ports.Executor`."""

    platform: ClassVar[str] = "kubernetes"
    call_specs: ClassVar[Mapping[str, CallSpec]] = CALL_SPECS
    settings_model: ClassVar[type[Frozen]] = KubernetesSettings
    binding_model: ClassVar[type[Frozen]] = KubernetesBinding
    rehearses: ClassVar[bool] = True

    def __init__(self, context: ExecutorContext) -> None:
        """Store what is given; no I/O. Raises CallError(PERMANENT, `bad_settings`)."""
        settings = fitting(KubernetesSettings, context)
        self._cluster = Cluster(settings, context.environment)
        self._identity, self._guards = context.whole_identity, context.layers.executor
        self._parts = self._parts_of(self._cluster)

    @classmethod
    def classify(cls, name: str, arguments: JsonObject) -> tuple[bool, Risk]:
        """Whether this call mutates, and its risk. Raises CallError(PERMANENT, `unknown_call`)."""
        return calls.classify(name, arguments)

    @classmethod
    def grants(cls, calls: Iterable[tuple[str, JsonObject]], account: Account) -> Grants:
        """The account with the roles that RBAC needs for these calls, and no more."""
        return grants(calls, account)

    def perform(self, call: Call) -> JsonObject:
        """Carry out one call and return its result. Raises CallError; never retries."""
        published = calls.published_of(call.name)
        deadline = Deadline(min(call.timeout_seconds, published.spec.timeout_seconds))
        arguments = parsed(published.arguments, call.name, call.arguments)
        with self._cluster.api.one_call():
            return self._parts[call.name].perform(call.name, arguments, deadline)

    def before(self, call: Call) -> JsonObject:
        """State to compare with later; read-only. Raises CallError when the cluster cannot be asked."""
        published = calls.published_of(call.name)
        if not published.spec.provable:
            return {}
        arguments = parsed(published.arguments, call.name, call.arguments)
        return self._parts[call.name].before(call.name, arguments, Deadline(_PROOF_SECONDS))

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """Whether the cluster shows that the call was carried out. Raises CallError when it cannot be asked."""
        published = calls.published_of(call.name)
        if not published.spec.provable:
            return Happened.UNKNOWN
        arguments = parsed(published.arguments, call.name, call.arguments)
        return self._parts[call.name].happened(call.name, arguments, before, Deadline(_PROOF_SECONDS))

    def rehearse(self, call: Call) -> Rehearsal | None:
        """What the API server says of the call's requests, all of them sent as dry runs. Raises CallError.

        None for a call to a load balancer, which the API server knows nothing of.
        """
        published = calls.published_of(call.name)
        if call.name == SET_BACKEND:
            return None
        deadline = Deadline(min(call.timeout_seconds, published.spec.timeout_seconds))
        arguments = parsed(published.arguments, call.name, call.arguments)
        return rehearse(
            self._cluster, lambda dry: self._parts_of(dry)[call.name].perform(call.name, arguments, deadline)
        )

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of what an alert's labels name: workloads, else a pod's owner, else a node. Raises CallError."""
        return finding.find(self._cluster, labels)

    def check(self) -> ConnectionReport:
        """Whether the API server answers, and what can be told of it; never raises."""
        return checkup.report(self._cluster)

    def close(self) -> None:
        """Close the connections. Workloads keep running."""
        self._cluster.close()

    def _parts_of(self, cluster: Cluster) -> Mapping[str, Part]:
        """Call -> the part that carries it out, all of them on this cluster."""
        workloads = Workloads(cluster)
        guard = SelfGuard(cluster, self._identity, self._guards)
        parts: tuple[Part, ...] = (
            Reading(cluster, workloads, guard),
            Lifecycle(cluster, workloads, guard),
            Deploying(cluster, workloads, guard),
            Replacing(cluster, workloads, guard),
            Schedules(cluster, workloads, guard),
            Nodes(cluster, guard),
            Opening(cluster, workloads, guard, OpenGuard(cluster, self._identity, self._guards)),
        )
        return {name: part for part in parts for name in part.published}
