"""The rigs over which the conformance suite runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.driver import Driver
from tests.contract.rig import Rig, fresh


@pytest.fixture(scope="session", params=["local", "docker", "oci", "kubernetes"])
def session_rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig: Rig
    if request.param == "docker":
        engine = request.getfixturevalue("docker_engine")
        from tests.contract.docker_rig import DockerRig

        rig = DockerRig(engine)
    elif request.param == "kubernetes":
        cluster = request.getfixturevalue("real_cluster")
        from tests.contract.kubernetes_rig import KubernetesRig

        rig = KubernetesRig(cluster)
    elif request.param == "oci":
        from tests.contract.oci_rig import OciRig

        rig = OciRig(tmp_path_factory.mktemp("oci-rig"))
    else:
        from tests.contract.local_rig import LocalRig

        rig = LocalRig(tmp_path_factory.mktemp("local-rig"))
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def rig(session_rig: Rig) -> Rig:
    return session_rig


@pytest.fixture
def driver(rig: Rig) -> Iterator[Driver]:
    binding = fresh(rig)
    executor = rig.executor()
    yield Driver(rig, executor, binding)
    executor.close()
