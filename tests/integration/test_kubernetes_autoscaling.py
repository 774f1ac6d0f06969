"""Scaling where an autoscaler sets the number, on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.integration.kubernetes_ground import binding, make_call, new_executor, workload
from tests.real.kubernetes import RealCluster
from uici.model.call import CallError


@pytest.fixture
def executor(real_cluster: RealCluster) -> Iterator[KubernetesExecutor]:
    made = new_executor(real_cluster)
    yield made
    made.close()


def test_bounds_are_respected_or_widened_and_come_back(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    real_cluster.apply(workload("Deployment", namespace, "web"))
    real_cluster.kubectl("-n", namespace, "autoscale", "deployment", "web", "--min=1", "--max=2", "--cpu-percent=80")
    target = binding("Deployment", namespace, "web")

    def bounds() -> tuple[int, int]:
        spec = real_cluster.get("-n", namespace, "hpa", "web")["spec"]
        return spec["minReplicas"], spec["maxReplicas"]

    outside = make_call("workload.scale", target=target, replicas=3)
    with pytest.raises(CallError, match="HorizontalPodAutoscaler 'web' between 1 and 2") as refused:
        executor.perform(outside)
    assert refused.value.code == "autoscaler_bounds"
    assert bounds() == (1, 2)
    adjusting = {**target, "autoscaler": "adjust"}
    done = executor.perform(make_call("workload.scale", target=adjusting, replicas=3))
    assert (done["replicas"], bounds()) == (3, (1, 3))
    # What undo does: the number that was there, and with it the bounds that people gave.
    back = executor.perform(make_call("workload.scale", target=adjusting, replicas=1))
    assert (back["replicas"], bounds()) == (1, (1, 2))
    left = real_cluster.get("-n", namespace, "hpa", "web")["metadata"].get("annotations", {})
    assert not any("uici" in name for name in left)
