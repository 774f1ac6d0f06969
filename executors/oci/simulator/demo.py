"""The ground of `uici demo --platform oci`: container instances of a simulated cloud, healed over its real API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import oci

from executors.oci.simulator import Simulator
from executors.oci.simulator.services import AVAILABILITY_DOMAIN
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

_SPEED = 40.0
"""Forty seconds of the real service take one."""
_REPOSITORY = "phx.ocir.io/demo"
_BAD = "2.0"
_CONFIGURATION_ERROR = 78
"""EX_CONFIG of sysexits.h."""
_KILLED = 137


class OciDemo:
    """Implements `uici.ports.DemoGround`."""

    platform: ClassVar[str] = "oci"
    simulation: ClassVar[str] = "Oracle Cloud"
    opening: ClassVar[str] = "{count} container instances have been created in the simulated cloud"

    def __init__(self, folder: Path, services: Sequence[str]) -> None:
        """Found the cloud; nothing listens yet."""
        self._services = services
        self._simulator = Simulator(folder / "simulated-cloud", speed=_SPEED)
        self._http = httpx.Client(trust_env=False, timeout=1.0)

    def open(self) -> None:
        """Create one container instance for each service, as anybody would who has a tenancy."""
        self._simulator.start()
        configuration = oci.config.from_file(str(self._simulator.credentials.config_file))
        client = oci.container_instances.ContainerInstanceClient(
            configuration, service_endpoint=self._simulator.url, retry_strategy=oci.retry.NoneRetryStrategy()
        )
        try:
            for service in self._services:
                client.create_container_instance(self._details(service))
        finally:
            client.base_client.session.close()
        while not all(map(self.healthy, self._services)) and self._simulator.skip():
            pass  # nobody has to wait for the creations

    def connection(self) -> JsonObject:
        """To the simulator, with a key that it knows."""
        return {
            "auth": {"file": str(self._simulator.credentials.config_file)},
            "endpoint": self._simulator.url,
            "compartment": self._simulator.compartment,
            "poll_seconds": 0.2,
        }

    def binding(self, service: str) -> JsonObject:
        """By name; its health is asked at its own private address, which a replacement changes."""
        return {"container_instance": service, "health": {"port": 8080, "path": "/health", "timeout": 1.0}}

    def healthy(self, service: str) -> bool:
        """Whether the service answers."""
        found = self._find(service)
        if found is None:
            return False
        address = self._simulator.cloud.need("vnic", found.wire["vnics"][0]["vnicId"]).wire["privateIp"]
        try:
            return self._http.get(f"http://{address}:8080/health").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def kill(self, service: str) -> None:
        """End the service's program as a crash would."""
        self._simulator.ail(self._running(service).id, "exit", cure="once", code=_KILLED)

    def hang(self, service: str) -> None:
        """Let the service's program live on without answering."""
        self._simulator.ail(self._running(service).id, "hang")

    def order(self, service: str) -> None:
        """Use the service as its clients would: the bad version does not survive it, however often it is started."""
        found = self._running(service)
        container = self._simulator.cloud.need("container", found.wire["containers"][0]["containerId"])
        if container.wire["imageUrl"].endswith(f":{_BAD}"):
            self._simulator.ail(found.id, "exit", cure="replace", code=_CONFIGURATION_ERROR)

    def close(self) -> None:
        """Stop the cloud."""
        self._http.close()
        self._simulator.stop()

    def _details(self, service: str) -> Any:
        models = oci.container_instances.models
        return models.CreateContainerInstanceDetails(
            compartment_id=self._simulator.compartment,
            availability_domain=AVAILABILITY_DOMAIN,
            display_name=service,
            shape="CI.Standard.E4.Flex",
            shape_config=models.CreateContainerInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=2),
            container_restart_policy="NEVER",
            containers=[models.CreateContainerDetails(display_name=service, image_url=f"{_REPOSITORY}/{service}:1.0")],
            vnics=[models.CreateContainerVnicDetails(subnet_id=self._simulator.subnet)],
        )

    def _find(self, service: str) -> Resource | None:
        listed = self._simulator.cloud.state.find("container_instance")
        return next(
            (one for one in listed if one.wire["displayName"] == service and one.wire["lifecycleState"] == "ACTIVE"),
            None,
        )

    def _running(self, service: str) -> Resource:
        found = self._find(service)
        if found is None:
            raise LookupError(f"the simulated cloud runs no container instance {service!r}")
        return found
