"""The rig of the platform `oci`: a container instance of the simulated Oracle Cloud, behind the SDK's own clients.

The platform's side of it is the simulator's own state, which the executor never sees.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import oci
import pytest

from executors.oci import OciExecutor
from executors.oci.recreate import MARKS
from executors.oci.simulator import Simulator
from executors.oci.simulator.network import remove_vnic
from executors.oci.simulator.state import Resource
from executors.oci.simulator.workloads import DEFAULT_BEHAVIOURS
from tests.contract.local_rig import diagnostics
from tests.contract.rig import ALL_LAYERS, CANARY, NOBODY
from tests.real.web import web
from tests.waiting import until
from uici.model.base import JsonObject, JsonValue
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

NAME, SERVICE = "uici-victim", "victim"
REPOSITORY = "phx.ocir.io/uici/web"
SPEED = 400.0
"""Forty seconds of the real service take a tenth of one."""
# A version that is not well at once never stays: its container instance is replaced by the old one again.
_TAGS = {"good": "good", "bad": "late"}
_LATE_SECONDS = 3.0
"""Of this machine's clock, from its start; long enough to be taken for well when it has just been deployed."""
_BACKEND_SET, _BACKEND = "web", "127.0.0.9:8080"


class OciBalancer:
    """The simulated load balancer of the binding's `backend`."""

    def __init__(self, client: Any, load_balancer: str) -> None:
        self._client = client
        self.id = load_balancer

    def admin_state(self, server: str) -> int:
        """In HAProxy's bits: 0x01 offline, 0x08 drained."""
        seen = self._client.get_backend(self.id, _BACKEND_SET, _BACKEND).data
        return (0x01 if seen.offline else 0) | (0x08 if seen.drain else 0)

    def settings(self) -> JsonValue:
        return oci.util.to_dict(self._client.get_backend(self.id, _BACKEND_SET, _BACKEND).data)


class OciRig:
    """See tests.contract.rig.Rig."""

    platform = "oci"
    prefix = "oci"
    cannot: Mapping[str, str] = {
        "reclaim": "unknown_call",
        "diagnose": "not_possible",
        "pids": "",
        "processes": "",
    }
    crashed = "exited"
    patience: Mapping[str, JsonObject] = {}

    def __init__(self, folder: Path, speed: float = SPEED) -> None:
        self.folder = folder
        self.speed = speed
        self.simulator = Simulator(folder, speed=speed)
        self.simulator.start()
        unknown = {"image": "*:no-such-*", "then": "pull_failure"}
        late = {"image": "*:late", "then": "unready", "after": _LATE_SECONDS * speed}
        # What listens below 1024 is for root alone.
        privileged = {"environment": {"PORT": "1"}, "then": "exit", "code": 1}
        others = [one for one in DEFAULT_BEHAVIOURS if one.get("image") != late["image"]]
        self.simulator.cloud.state.set_fact("behaviours", [unknown, late, privileged, *others])
        self.config = oci.config.from_file(str(self.simulator.credentials.config_file))
        self._clients: dict[str, Any] = {}
        self._executors: list[OciExecutor] = []
        self._balancer: OciBalancer | None = None
        self._made = self._other = ""

    def connection(self) -> JsonObject:
        return {
            "auth": {"file": str(self.simulator.credentials.config_file)},
            "endpoint": self.simulator.url,
            "compartment": self.simulator.compartment,
            "poll_seconds": 0.02,
            "attempts": 2,
            "limits": {"diagnostic_seconds": 1.0},
        }

    def executor(self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS) -> OciExecutor:
        self._executors.append(self.another({}, identity, layers))
        return self._executors[-1]

    def another(
        self, connection: JsonObject, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS
    ) -> OciExecutor:
        """An executor whose connection has something else in it."""
        settings = {**self.connection(), **connection}
        return OciExecutor(ExecutorContext(environment="rig", settings=settings, identity=identity, layers=layers))

    def client(self, name: str) -> Any:
        """A client of the SDK of our own, by `package.Class`; it tries once."""
        if name not in self._clients:
            package, cls = name.split(".")
            self._clients[name] = getattr(importlib.import_module(f"oci.{package}"), cls)(
                self.config, service_endpoint=self.simulator.url, retry_strategy=oci.retry.NoneRetryStrategy()
            )
        return self._clients[name]

    @property
    def containers(self) -> Any:
        """Of Container Instances."""
        return self.client("container_instances.ContainerInstanceClient")

    def binding(self) -> JsonObject:
        assert self._balancer is not None, "it is made by the first reset"
        return {
            "container_instances": {"tags": {"service": SERVICE}},
            "health": {"port": 8080, "path": "/health", "timeout": 1.0},
            "diagnostics": diagnostics("sh", "sleep"),
            "backend": {"load_balancer": self._balancer.id, "backend_set": _BACKEND_SET, "backend": _BACKEND},
        }

    def reset(self) -> JsonObject:
        self.simulator.cloud.orders.clear()
        self._remove_all()
        self._made = self.make()
        if self._balancer is None:
            client = self.client("load_balancer.LoadBalancerClient")
            self._balancer = OciBalancer(client, self._new_balancer(client))
        return self.binding()

    def demand(self) -> JsonObject:
        binding = self.reset()
        # Started again by the platform itself as soon as nothing is wrong with it.
        self._other = self.make(name="uici-other", policy="ALWAYS", service="other")
        return binding

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        self.simulator.ail(self._made, "disk_full", cure="replace")
        try:
            yield
        finally:
            self.simulator.heal(self._made, "disk_full")

    @contextlib.contextmanager
    def lacking(self) -> Iterator[None]:
        self.simulator.ail(self._other, "exit", cure="replace")
        # From now on it asks the other one.
        self.simulator.ail(self._made, "dependency_down", cure="replace", on=self._other)
        until(lambda: not self.answers(), "the service misses the other one")
        try:
            yield
        finally:
            self.simulator.heal(self._other, "exit")

    def exhaust(self) -> None:
        self.simulator.ail(self._made, "oom", cure="once")
        until(lambda: not self.instances(), "the program has ended")

    def drained(self) -> contextlib.AbstractContextManager[None]:
        pytest.skip("Container Instances show no host: there is no such resource in their API to drain")

    def make(
        self,
        image: str = f"{REPOSITORY}:good",
        name: str = NAME,
        policy: str = "NEVER",
        service: str = SERVICE,
    ) -> str:
        """A container instance that runs; its OCID."""
        models = oci.container_instances.models
        container = models.CreateContainerDetails(
            display_name="web",
            image_url=image,
            command=["serve"],
            environment_variables={"SECRET_CANARY": CANARY, "COLOUR": "blue"},
        )
        details = models.CreateContainerInstanceDetails(
            compartment_id=self.simulator.compartment,
            availability_domain="UICI:PHX-AD-1",
            display_name=name,
            shape="CI.Standard.E4.Flex",
            shape_config=models.CreateContainerInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=2),
            container_restart_policy=policy,
            freeform_tags={"service": service},
            containers=[container],
            vnics=[models.CreateContainerVnicDetails(subnet_id=self.simulator.subnet)],
        )
        made = str(self.containers.create_container_instance(details).data.id)
        until(
            lambda: self.simulator.cloud.need("container_instance", made).wire["lifecycleState"] == "ACTIVE", "it runs"
        )
        return made

    def answers(self) -> bool:
        cloud = self.simulator.cloud
        found = [cloud.need("vnic", one["vnicId"]) for instance in self.alive() for one in instance.wire["vnics"]]
        try:
            addresses = [f"http://{vnic.wire['privateIp']}:8080/health" for vnic in found]
            return all(web.get(address, timeout=1.0).is_success for address in addresses)
        except httpx.TransportError:
            return False

    def balancer(self) -> OciBalancer:
        client, made = self.client("load_balancer.LoadBalancerClient"), self._balancer
        assert made is not None, "it is made by the first reset"
        plain = oci.load_balancer.models.UpdateBackendDetails(weight=1, backup=False, drain=False, offline=False)
        client.update_backend(plain, made.id, _BACKEND_SET, _BACKEND)
        until(lambda: made.admin_state("a") == 0, "the backend is ready")
        return made

    def _new_balancer(self, client: Any) -> str:
        models = oci.load_balancer.models
        address, _, port = _BACKEND.partition(":")
        backend_set = models.BackendSetDetails(
            policy="ROUND_ROBIN",
            health_checker=models.HealthCheckerDetails(protocol="HTTP", url_path="/health", port=8080),
            backends=[models.BackendDetails(ip_address=address, port=int(port), weight=1)],
        )
        client.create_load_balancer(
            models.CreateLoadBalancerDetails(
                compartment_id=self.simulator.compartment,
                display_name="front",
                shape_name="flexible",
                subnet_ids=[self.simulator.subnet],
                backend_sets={_BACKEND_SET: backend_set},
            )
        )

        def found() -> list[Any]:
            listed: list[Any] = client.list_load_balancers(self.simulator.compartment).data
            return [one for one in listed if one.lifecycle_state == "ACTIVE"]

        until(lambda: bool(found()), "the load balancer is there")
        return str(found()[0].id)

    def litter(self) -> int:
        pytest.skip("reclaim is not possible")

    def littered(self) -> int:
        pytest.skip("reclaim is not possible")

    def left_by(self, diagnostic: str) -> list[int]:
        return []

    def configuration(self) -> JsonObject:
        found: JsonObject = {}
        for instance in self.alive():
            wire = instance.wire
            tags = {name: text for name, text in wire["freeformTags"].items() if name not in MARKS}
            kept = {"shape", "shapeConfig", "containerRestartPolicy", "availabilityDomain", "compartmentId"}
            own = {"imageUrl", "command", "environmentVariables", "displayName"}
            found[wire["displayName"]] = {
                **{name: wire.get(name) for name in sorted(kept)},
                "tags": tags,
                "containers": [
                    {name: one.wire.get(name) for name in sorted(own)} for one in self.containers_of(instance)
                ],
            }
        return found

    def version(self, name: str) -> str:
        return _TAGS.get(name, "missing")

    def version_now(self) -> str:
        tag = self.containers_of(self.alive()[0])[0].wire["imageUrl"].rpartition(":")[2]
        return next(name for name, own in _TAGS.items() if own == tag)

    def environment_now(self) -> dict[str, str]:
        return dict(self.containers_of(self.alive()[0])[0].hidden["program"]["environment"])

    def instances(self) -> dict[str, int]:
        """With the microsecond in which each program was started."""
        found = {}
        for instance in self.alive():
            run = self.containers_of(instance)[0].hidden.get("run") or {}
            if run.get("running"):
                found[instance.id] = int(run["since"] * 1_000_000)
        return found

    def crash(self, lasting: bool = False) -> None:
        for instance in self.instances():
            self.simulator.ail(instance, "exit", cure="once", code=137)
        until(lambda: not self.instances(), "the program has ended")

    def stop(self) -> None:
        for instance in self.instances():
            self.containers.stop_container_instance(instance)
        until(lambda: not self.instances(), "it is stopped")

    def hang(self) -> None:
        for instance in self.instances():
            self.simulator.ail(instance, "hang")

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        port = int(self.simulator.url.rpartition(":")[2])
        self.simulator.stop()
        try:
            yield
        finally:
            self.simulator = Simulator(self.folder, port=port, speed=self.speed)
            self.simulator.start()

    def mutations(self) -> int:
        return len(self.simulator.requested())

    def named(self, text: str) -> JsonObject:
        return {"container_instance": text}

    def self_by_name(self) -> SelfIdentity:
        return SelfIdentity(names=frozenset({NAME}))

    def self_by_id(self) -> SelfIdentity:
        return SelfIdentity(names=frozenset(self.instances()))

    def open_read(self) -> tuple[str, JsonObject]:
        wanted = {"container_instance_id": self._made}
        request: JsonObject = {"service": "container_instances", "operation": "get_container_instance"}
        return "oci.request", {**request, "arguments": wanted}

    def open_change(self) -> tuple[str, JsonObject]:
        _, request = self.open_read()
        return "oci.request", {**request, "operation": "stop_container_instance"}

    def close(self) -> None:
        for executor in self._executors:
            executor.close()
        for client in self._clients.values():
            client.base_client.session.close()
        faults = self.simulator.gateway.faults
        self.simulator.stop()
        assert faults == [], "the simulator sent, or would have sent, what the service never does"

    def alive(self) -> list[Resource]:
        """The service's container instances that still exist, oldest first; those that are being replaced come last."""
        found = [
            one
            for one in self.simulator.cloud.state.find("container_instance")
            if one.wire["lifecycleState"] not in ("DELETING", "DELETED")
            and one.wire["freeformTags"].get("service") == SERVICE
        ]
        return sorted(found, key=lambda one: ".uici-" in str(one.wire["displayName"]))

    def containers_of(self, instance: Resource) -> list[Resource]:
        """Its containers."""
        ids = [one["containerId"] for one in instance.wire["containers"]]
        return [self.simulator.cloud.need("container", one) for one in ids]

    def _remove_all(self) -> None:
        cloud = self.simulator.cloud
        with cloud.state.transaction():
            for instance in cloud.state.find("container_instance"):
                for vnic in instance.wire["vnics"]:
                    remove_vnic(cloud, vnic["vnicId"])
                for container in instance.wire["containers"]:
                    cloud.state.remove(container["containerId"])
                cloud.state.remove(instance.id)
        self.simulator.settle()
