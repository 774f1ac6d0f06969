"""The simulated Oracle Cloud with the SDK's real clients in front of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oci

from executors.oci.simulator import Simulator

SPEED = 0.01
"""So slow that nothing comes by itself while a test looks: a test puts the clock ahead."""
MANY_STEPS = 500
CONTAINERS = "container_instances.ContainerInstanceClient"


def instance_details(compartment: str, subnet: str, image: str = "web:good", **environment: str) -> Any:
    """What a container instance is created with."""
    models = oci.container_instances.models
    return models.CreateContainerInstanceDetails(
        compartment_id=compartment,
        availability_domain="UICI:PHX-AD-1",
        display_name="web",
        shape="CI.Standard.E4.Flex",
        shape_config=models.CreateContainerInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=2),
        containers=[
            models.CreateContainerDetails(display_name="web", image_url=image, environment_variables=environment)
        ],
        vnics=[models.CreateContainerVnicDetails(subnet_id=subnet)],
    )


class Ground:
    """A simulator and clients of it. Its clients never retry unless a test says how."""

    def __init__(self, folder: Path, speed: float = SPEED) -> None:
        self.simulator = Simulator(folder, speed=speed)
        self.simulator.start()
        self._clients: dict[str, Any] = {}
        self.config = oci.config.from_file(str(self.simulator.credentials.config_file))

    def close(self) -> None:
        """Stop, and insist that nothing that the simulator sent or would have sent was wrong."""
        faults = self.simulator.gateway.faults
        self.simulator.stop()
        assert faults == []

    def client(self, name: str) -> Any:
        """A client of the SDK, by `service.Class`; always the same one."""
        if name not in self._clients:
            self._clients[name] = self.new_client(name)
        return self._clients[name]

    def new_client(self, name: str, **options: Any) -> Any:
        """A client of its own, with options."""
        service, cls = name.split(".")
        options.setdefault("retry_strategy", oci.retry.NoneRetryStrategy())
        options.setdefault("circuit_breaker_strategy", oci.circuit_breaker.NoCircuitBreakerStrategy())
        options.setdefault("service_endpoint", self.simulator.url)
        return getattr(importlib.import_module(f"oci.{service}"), cls)(self.config, **options)

    @property
    def containers(self) -> Any:
        """Of Container Instances."""
        return self.client(CONTAINERS)

    def details(self, image: str = "web:good", **environment: str) -> Any:
        """What a container instance of this cloud is created with."""
        return instance_details(self.simulator.compartment, self.simulator.subnet, image, **environment)

    def instance(self, image: str = "web:good", policy: str = "ALWAYS", **environment: str) -> Any:
        """A container instance whose creation has ended, well or not."""
        details = self.details(image, **environment)
        details.container_restart_policy = policy
        made = self.containers.create_container_instance(details)
        self.finished(made.headers["opc-work-request-id"])
        return self.containers.get_container_instance(made.data.id).data

    def finished(self, work_request: str) -> Any:
        """A work request when it has ended."""
        client = self.containers

        def ended() -> Any:
            found = client.get_work_request(work_request).data
            return found if found.status in {"SUCCEEDED", "FAILED"} else None

        return self.until(ended)

    def until(self, look: Callable[[], Any]) -> Any:
        """Let one thing after the other happen that is due, until what is seen is true."""
        for _ in range(MANY_STEPS):
            if seen := look():
                return seen
            assert self.simulator.skip(), f"{look} is not true, and nothing more is due"
        raise AssertionError(f"{look} never became true")

    def passes(self, seconds: float) -> None:
        """Let so many seconds of the real service pass."""
        self.simulator.advance(seconds / SPEED)

    def container(self, instance: Any) -> Any:
        """The first container of an instance."""
        return self.containers.get_container(instance.containers[0].container_id).data

    def address(self, instance: Any) -> str:
        """Where the instance's program answers health probes."""
        vnic = self.client("core.VirtualNetworkClient").get_vnic(instance.vnics[0].vnic_id).data
        return f"http://{vnic.private_ip}:8080/health"
