"""The executor of Docker over TLS and over ssh: a useful part of the conformance suite on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.docker_rig import DockerRig
from tests.contract.rig import Rig
from tests.contract.test_conformance_changing import (  # noqa: F401  # collected here, with this module's rig
    test_changes_from_many_threads_leave_one_healthy_service,
    test_reads_from_many_threads,
)
from tests.contract.test_conformance_failures import test_secrets_stay_out_of_errors  # noqa: F401  # as above
from tests.contract.test_conformance_published import test_open_calls_are_classed_by_what_they_do  # noqa: F401  # as above
from tests.contract.test_conformance_reading import test_status_of_a_running_service  # noqa: F401  # as above
from tests.contract.test_conformance_self import test_self_may_be_watched  # noqa: F401  # as above
from tests.real.remote_engine import RemoteEngine


@pytest.fixture(scope="module", params=["tls", "ssh"])
def module_rig(request: pytest.FixtureRequest, remote_engine: RemoteEngine) -> Iterator[Rig]:
    connection = remote_engine.over_tls() if request.param == "tls" else remote_engine.over_ssh()
    rig = DockerRig(remote_engine.engine, connection)
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def rig(module_rig: Rig) -> Rig:
    return module_rig
