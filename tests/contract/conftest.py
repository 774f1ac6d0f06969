"""The rigs over which the conformance suite runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.rig import Rig


def _required(component: str) -> bool:
    return component in os.environ.get("UICI_REQUIRE", "").replace(",", " ").split()


def _docker_missing() -> str | None:
    """Why no Docker engine can be used here; None when one answers."""
    if shutil.which("docker") is None and not Path("/var/run/docker.sock").exists():
        return "no Docker engine on this machine"
    try:
        import docker
    except ImportError:
        return "the docker extra is not installed: pip install 'uici[docker]'"
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except (docker.errors.DockerException, OSError) as error:
        return f"the Docker engine does not answer: {error}"
    return None


@pytest.fixture(scope="session", params=["local", "docker"])
def session_rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig: Rig
    if request.param == "docker":
        missing = _docker_missing()
        if missing is not None:
            if _required("docker"):
                pytest.fail(f"UICI_REQUIRE names docker, but {missing}")
            pytest.skip(missing)
        from tests.contract.docker_rig import DockerRig

        rig = DockerRig(tmp_path_factory.mktemp("docker-rig"))
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
