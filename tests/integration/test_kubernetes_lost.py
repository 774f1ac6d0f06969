"""The API server is lost while a call waits for the effect of what it has changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.kubernetes_rig import KubernetesRig
from tests.integration.kubernetes_ground import make_call
from tests.real.kubernetes import RealCluster
from uici.model.call import CallError, FailureKind, Happened


@pytest.fixture
def rig(real_cluster: RealCluster) -> Iterator[KubernetesRig]:
    rig = KubernetesRig(real_cluster)
    yield rig
    rig.close()


def test_what_was_changed_is_never_said_to_be_undone_by_a_lost_connection(rig: KubernetesRig) -> None:
    binding = rig.reset()
    executor = rig.executor()
    call = make_call("workload.deploy", target=binding, version="bad")
    before = executor.before(call)
    changes = rig.mutations()
    with ThreadPoolExecutor(1) as pool:
        deploying = pool.submit(executor.perform, call)
        while rig.mutations() == changes:
            assert not deploying.done()
        with rig.unreachable(), pytest.raises(CallError) as caught:
            deploying.result(120)
    assert caught.value.kind is FailureKind.UNKNOWN
    assert "a change of this call was accepted" in caught.value.message
    assert executor.happened(call, before) is Happened.YES
