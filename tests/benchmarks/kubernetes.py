"""Kubernetes: a large namespace, changes beside the raw client, translation, and what an import costs.

Needs a cluster of its own (`UICI_TEST_KUBECONFIG` or `KUBECONFIG`): a control plane without nodes suffices. The objects
are made by its own controllers, which takes minutes, and stay in the namespace `uici-bench` for the next time.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes import KubernetesExecutor
from executors.kubernetes.api import Api
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesSettings
from tests.benchmarks import ground
from tests.benchmarks.measuring import Figure, Ratio, Result, timed
from tests.doubles.memory_executor import World
from tests.real.kubernetes import given_kubeconfig, why_no_cluster
from uici.bootstrap import Application
from uici.model.base import JsonObject
from uici.model.call import Call
from uici.model.identity import SelfIdentity
from uici.model.plan import Origin, Plan, Step
from uici.ports import ExecutorContext

_NAMESPACE = "uici-bench"
_DEPLOYMENTS = 1000
_PODS = 5000
_PATIENCE = 1800.0
_IMPORT = "import time; begun = time.process_time(); import {}; print(time.process_time() - begun)"
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


def measure(folder: Path) -> Result:
    """All figures; those that need a cluster are absent without one."""
    imports = [_imported("uici"), _imported("uici.cli.app")]
    figures = [*imports, _translated(folder)]
    bare = _imported("sys").median
    ratios = [Ratio(item.name, item.median, "import sys", bare, "ms", 300) for item in imports]
    missing = why_no_cluster()
    if missing is not None:
        return Result(name="kubernetes", figures=tuple(figures), ratios=tuple(ratios), absent=f"the cluster: {missing}")
    fast = {"requests_per_second": 1000, "burst": 1000, "timeout_seconds": 60}
    settings = KubernetesSettings.model_validate({"kubeconfig": given_kubeconfig(), **fast})
    cluster = Cluster(settings, "bench")
    try:
        facts = _fill(cluster)
        more, beside, counted = _large(cluster)
        changes = _changed(settings)
    finally:
        cluster.close()
    return Result(
        name="kubernetes",
        figures=(*figures, *more, *changes[0]),
        ratios=(*ratios, *beside, *changes[1]),
        facts={**facts, **counted},
    )


def _imported(module: str) -> Figure:
    """Processor time, which other work on the machine changes least; each time in a process of its own."""

    def once() -> float:
        program = _IMPORT.format(module)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return float(done.stdout.splitlines()[-1]) * 1000

    return Figure.of(f"import {module}, processor time", [once() for _ in range(11)][1:])


def _translated(folder: Path) -> Figure:
    config = ground.site(folder / "site", 20)
    executors = {"local": World().executor_class()}
    application = Application(config, f"sqlite:///{folder / 'state.db'}", executors=executors)
    step = Step(operation="scale_service", target="svc1", parameters={"replicas": 3})
    plan = Plan(environment="local", steps=(step,), origin=Origin.RULE, reason="bench")
    try:
        return Figure.of("translation of a plan", timed(lambda: application.platforms.prepare(plan).cid, count=1000))
    finally:
        application.platforms.close()
        application.store.close()


def _fill(cluster: Cluster) -> dict[str, str | int | float]:
    """A thousand Deployments of five pods each, where they are not there yet."""
    begun, deadline = time.monotonic(), Deadline(_PATIENCE)
    deployments, pods = cluster.resource("Deployment"), cluster.resource("Pod")
    body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
    if cluster.find(cluster.resource("Namespace"), None, _NAMESPACE, deadline) is None:
        cluster.create(cluster.resource("Namespace"), None, body, deadline)
    known = {one["metadata"]["name"] for one in cluster.list(deployments, _NAMESPACE, deadline=deadline)}
    for number in range(_DEPLOYMENTS):
        if (name := f"svc-{number:04d}") not in known:
            cluster.create(deployments, _NAMESPACE, _deployment(name), deadline)
    while (made := sum(1 for _ in cluster.list(pods, _NAMESPACE, deadline=deadline))) < _PODS:
        time.sleep(10)
    return {"deployments": _DEPLOYMENTS, "pods": made, "seconds to make them": round(time.monotonic() - begun)}


def _deployment(name: str) -> JsonObject:
    labels = {"app": name}
    spec = {"containers": [{"name": "web", "image": "none:1"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": _PODS // _DEPLOYMENTS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _large(cluster: Cluster) -> tuple[list[Figure], list[Ratio], dict[str, str | int | float]]:
    """Going through all pods, and finding the Deployment of one."""
    pods = cluster.resource("Pod")

    def through() -> int:
        return sum(1 for _ in cluster.list(pods, _NAMESPACE, deadline=Deadline(120)))

    def raw() -> int:
        whole = cluster.api.get(pods.path(_NAMESPACE), deadline=Deadline(120), limit=256 * 1024 * 1024).json()
        return len(whole["items"])

    paged = Figure.of("5,000 pods, page by page", timed(through, count=5, warm_up=1))
    whole = Figure.of("5,000 pods, in one answer", timed(raw, count=5, warm_up=1))
    first = next(cluster.list(pods, _NAMESPACE, deadline=Deadline(30)))
    labels = {"namespace": _NAMESPACE, "pod": str(first["metadata"]["name"])}
    executor = KubernetesExecutor(
        ExecutorContext(environment="bench", settings=cluster.settings.model_dump(mode="json"), identity=SelfIdentity())
    )
    facts: dict[str, str | int | float] = {
        "requests for 5,000 pods": _requests(through),
        "MiB at most, page by page": _peak(through),
        "MiB at most, in one answer": _peak(raw),
    }
    figures = [paged, whole]
    if executor.find(labels):
        facts["requests of find() for a pod"] = _requests(lambda: executor.find(labels))
        figures.append(Figure.of("find() of a pod's Deployment", timed(lambda: executor.find(labels), count=50)))
    else:
        facts["find() of a pod"] = "absent: it finds nothing"
    executor.close()
    ratio = Ratio("5,000 pods, page by page", paged.median, "in one answer", whole.median, "ms")
    return figures, [ratio], facts


def _changed(settings: KubernetesSettings) -> tuple[list[Figure], list[Ratio]]:
    """The change that restarts a Deployment, by UICI and by the SDK; nothing rolls out without a node."""
    from kubernetes import client, config  # type: ignore[import-untyped,unused-ignore]  # it ships no types

    context = ExecutorContext(environment="bench", settings=settings.model_dump(mode="json"), identity=SelfIdentity())
    executor = KubernetesExecutor(context)
    sdk: Any = client.AppsV1Api(config.new_client_from_config(config_file=settings.kubeconfig))
    moments = iter(range(10_000_000))

    def body() -> JsonObject:
        return {"spec": {"template": {"metadata": {"annotations": {_RESTARTED: str(next(moments))}}}}}

    def by_uici() -> None:
        executor.perform(_request({"verb": "patch", "patch_type": "strategic", "body": body()}))

    def by_sdk() -> None:
        sdk.patch_namespaced_deployment("svc-0001", _NAMESPACE, body())

    ours, theirs = (Figure.of(name, timed(action, count=50)) for name, action in (
        ("a restart is sent by UICI", by_uici), ("a restart is sent by the SDK", by_sdk)
    ))  # fmt: skip
    executor.close()
    return [ours, theirs], [Ratio("a restart is sent", ours.median, "by the SDK", theirs.median, "ms")]


def _request(arguments: JsonObject) -> Call:
    where = {"kind": "Deployment", "namespace": _NAMESPACE, "name": "svc-0000"}
    spec = KubernetesExecutor.call_specs["kubernetes.request"]
    return Call(
        id="it", name=spec.name, arguments=where | arguments, mutates=True, risk=spec.risk, timeout_seconds=60,
        in_flight_seconds=60, provable=False,
    )  # fmt: skip


def _requests(action: Callable[[], object]) -> int:
    """How many requests it sends."""
    sent = 0
    original = Api.opened

    def counted(self: Api, *arguments: Any, **more: Any) -> Any:
        nonlocal sent
        sent += 1
        return original(self, *arguments, **more)

    Api.opened = counted  # type: ignore[method-assign]  # put back below
    try:
        action()
    finally:
        Api.opened = original  # type: ignore[method-assign]  # as it was
    return sent


def _peak(action: Callable[[], object]) -> float:
    """The most memory that Python's objects take meanwhile, in MiB."""
    tracemalloc.start()
    try:
        action()
        return round(tracemalloc.get_traced_memory()[1] / 2**20, 1)
    finally:
        tracemalloc.stop()
