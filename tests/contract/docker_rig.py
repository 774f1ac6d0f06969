"""The rig of the platform `docker`: a small HTTP service as a compose-labelled container on a real engine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import signal
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from executors.docker import DockerExecutor
from executors.docker.recreate import LABEL_BATCH, LABEL_REPLACES, LABEL_WAS_RUNNING
from tests.calls import call_of
from tests.contract.demands import Demands
from tests.contract.local_rig import diagnostics, sleepers
from tests.contract.rig import ALL_LAYERS, CANARY, NOBODY
from tests.real.components import free_port
from tests.real.docker import IMAGE, DockerEngine
from tests.real.haproxy import HAProxy, haproxy
from tests.real.web import web
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

SERVICE, PROJECT = "victim", "uici-rig"
NAME = f"{PROJECT}-{SERVICE}-1"
_LABELS = {
    "com.docker.compose.service": SERVICE,
    "com.docker.compose.project": PROJECT,
    "com.docker.compose.container-number": "1",
    "com.docker.compose.oneoff": "False",
}
# A version that is not well at once never stays on Docker: its container is replaced by the old one again.
_TAGS = {"good": "good", "bad": "late"}


def make_call(name: str, **arguments: object) -> Call:
    return call_of(DockerExecutor, name, arguments)


def empty_image() -> bytes:
    """The root of an image that holds one file, another one each time."""
    content = secrets.token_hex(2000).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# How a replacement is recognised when its maker has died; a container's labels cannot be changed afterwards.
_MARKS = (LABEL_BATCH, LABEL_REPLACES, LABEL_WAS_RUNNING)


class Mutations:
    """Counts changes of containers by the engine's own event stream; what health checks do is no change."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._since = time.time()
        self.actions: list[tuple[str, str]] = []
        """(action, container's name) of all events so far."""

    def count(self) -> int:
        """How many until now. Asked in time: the engine keeps the last 256 events only."""
        now = time.time()
        query = {"since": f"{self._since:.9f}", "until": f"{now:.9f}", "decode": True, "filters": {"type": "container"}}
        for event in self._client.events(**query):
            if not event["Action"].startswith(("exec_", "health_status", "attach", "top")):
                self.actions.append((event["Action"], event["Actor"]["Attributes"]["name"]))
        self._since = now
        return len(self.actions)


class DockerRig:
    """See tests.contract.rig.Rig."""

    platform = "docker"
    prefix = "container"
    cannot: Mapping[str, str] = {}
    crashed = "exited"
    patience: Mapping[str, JsonObject] = {}

    def __init__(self, engine: DockerEngine, connection: JsonObject | None = None) -> None:
        """With `connection` the executors reach the engine that way; the rig itself uses its socket."""
        self._engine = engine
        self._connection = connection or {"base_url": engine.url}
        self._client = engine.client()
        self._port = free_port()
        self._events = Mutations(self._client)
        self._executors: list[DockerExecutor] = []
        self._dangling = ""
        self._balancer: HAProxy | None = None
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="uici-rig-")))
        self._demands = Demands(self._stack, self._folder)

    def connection(self) -> JsonObject:
        return {**self._connection, "limits": {"diagnostic_seconds": 1.0}}

    def executor(self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS) -> DockerExecutor:
        context = ExecutorContext(environment="rig", settings=self.connection(), identity=identity, layers=layers)
        self._executors.append(DockerExecutor(context))
        return self._executors[-1]

    def binding(self) -> JsonObject:
        return {
            "service": SERVICE,
            "project": PROJECT,
            "health": {"http": f"http://127.0.0.1:{self._port}/health", "timeout": 1.0},
            "stop_seconds": 1,
            "diagnostics": diagnostics("sh", "sleep"),
            "backend": {"haproxy": f"unix:{self._folder}/admin.sock", "backend": "web", "server": "a"},
        }

    def answers(self) -> bool:
        try:
            return web.get(f"http://127.0.0.1:{self._port}/health", timeout=1.0).is_success
        except httpx.TransportError:
            return False

    def balancer(self) -> HAProxy:
        if self._balancer is None:
            servers = {"a": f"127.0.0.1:{self._port}"}
            self._balancer = self._stack.enter_context(haproxy(self._folder, servers))
        self._balancer.ask("set server web/a state ready")
        return self._balancer

    def litter(self) -> int:
        """An image that has lost its name; beside the service's own, which has one."""
        with contextlib.closing(self._engine.client()) as client:
            made = client.import_image_from_data(empty_image(), repository="uici-test/litter", tag="old")
            assert "error" not in made, made
            self._dangling = client.inspect_image("uici-test/litter:old")["Id"]
            client.import_image_from_data(empty_image(), repository="uici-test/litter", tag="old")
        return 1

    def littered(self) -> int:
        names = {tag for image in self._client.images() for tag in image.get("RepoTags") or ()}
        assert {f"{IMAGE}:good", f"{IMAGE}:late", "uici-test/litter:old"} <= names
        return sum(image["Id"] == self._dangling for image in self._client.images(all=True))

    def configuration(self) -> JsonObject:
        total = self._client.info()
        found: JsonObject = {}
        for one in self._inspected():
            config, host = dict(one["Config"]), dict(one["HostConfig"])
            # The engine takes no 0 for "no limit" once there was one: then it is the whole machine.
            if host["NanoCpus"] == total["NCPU"] * 1_000_000_000:
                host["NanoCpus"] = 0
            if host["Memory"] >= total["MemTotal"]:
                host["Memory"] = host["MemorySwap"] = 0
            config["Env"] = sorted(config["Env"])
            config["Labels"] = {name: text for name, text in config["Labels"].items() if name not in _MARKS}
            config.pop("Hostname") if host["NetworkMode"] != "host" else None
            found[one["Name"]] = {
                "config": config,
                "host": host,
                "image": one["Image"],
                "mounts": sorted(json.dumps(mount, sort_keys=True) for mount in one["Mounts"]),
                "networks": sorted(one["NetworkSettings"]["Networks"]),
            }
        return found

    def left_by(self, diagnostic: str) -> list[int]:
        return sleepers(diagnostic)

    def demand(self) -> JsonObject:
        self._demands.meet()
        limits = {"mem_limit": "32m", "memswap_limit": "32m", "binds": [f"{self._demands.data}:/data"]}
        return self._reset({"DATA": "/data", "NEEDS": self._demands.other}, limits)

    def full(self) -> contextlib.AbstractContextManager[None]:
        return self._demands.full(self.answers)

    def lacking(self) -> contextlib.AbstractContextManager[None]:
        return self._demands.lacking(self.answers)

    def exhaust(self) -> None:
        self._demands.grow()
        until(lambda: not self.instances(), "the kernel has killed it")
        assert self._client.inspect_container(NAME)["State"]["OOMKilled"], "something else ended it"

    def drained(self) -> contextlib.AbstractContextManager[None]:
        pytest.skip("an engine is one host, and the API of one engine can drain none: see host_gone")

    def reset(self) -> JsonObject:
        return self._reset({}, {})

    def _reset(self, variables: dict[str, str], limits: JsonObject) -> JsonObject:
        self._remove_all()
        made = self._client.create_container(
            f"{IMAGE}:good",
            name=NAME,
            labels=_LABELS,
            environment={"PORT": str(self._port), "SECRET_CANARY": CANARY, "COLOUR": "blue", **variables},
            host_config=self._client.create_host_config(network_mode="host", **limits),
        )
        self._client.start(made["Id"])
        until(self.answers, "the service answers")
        self.mutations()
        return self.binding()

    def version(self, name: str) -> str:
        return _TAGS.get(name, name)

    def version_now(self) -> str:
        tag = self._inspected()[0]["Config"]["Image"].rpartition(":")[2]
        return next(name for name, own in _TAGS.items() if own == tag)

    def environment_now(self) -> dict[str, str]:
        raw = Path(f"/proc/{self._inspected()[0]['State']['Pid']}/environ").read_bytes()
        return dict(item.decode().split("=", 1) for item in raw.split(b"\0") if item)

    def instances(self) -> dict[str, int]:
        return {one["Id"]: one["State"]["Pid"] for one in self._inspected()}

    def crash(self, lasting: bool = False) -> None:
        for pid in self.instances().values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not self.instances(), "the engine has noticed")

    def stop(self) -> None:
        for container in self.instances():
            self._client.stop(container, timeout=1)
        until(lambda: not self.instances(), "it is stopped")

    def hang(self) -> None:
        for container in self.instances():
            for process in self._client.top(container)["Processes"]:
                os.kill(int(process[1]), signal.SIGSTOP)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        if not self._engine.is_own:
            pytest.skip("the engine is not the tests' own, so it is not stopped")
        self._engine.stop()
        try:
            yield
        finally:
            self._engine.start()

    def mutations(self) -> int:
        return self._events.count()

    def actions(self) -> list[tuple[str, str]]:
        """(action, container's name) of all changes so far."""
        self._events.count()
        return self._events.actions

    def named(self, text: str) -> JsonObject:
        return {"container": text}

    def self_by_name(self) -> SelfIdentity:
        return SelfIdentity(names=frozenset({NAME}))

    def self_by_id(self) -> SelfIdentity:
        return SelfIdentity(containers=frozenset(self.instances()))

    def open_read(self) -> tuple[str, JsonObject]:
        return "engine.request", {"method": "GET", "path": ["containers", NAME, "json"]}

    def open_change(self) -> tuple[str, JsonObject]:
        return "engine.request", {"method": "POST", "path": ["containers", NAME, "stop"], "query": {"t": 1}}

    def close(self) -> None:
        for executor in self._executors:
            executor.close()
        self._remove_all()
        if self._dangling:
            self._client.remove_image("uici-test/litter:old", force=True)
        self._client.close()
        self._stack.close()

    def _inspected(self) -> list[dict[str, Any]]:
        """What runs, oldest first."""
        listed = self._client.containers(filters={"label": [f"com.docker.compose.project={PROJECT}"]})
        found = [self._client.inspect_container(one["Id"]) for one in sorted(listed, key=lambda one: one["Created"])]
        return [one for one in found if one["State"]["Running"]]

    def _remove_all(self) -> None:
        listed = self._client.containers(all=True, filters={"label": [f"com.docker.compose.project={PROJECT}"]})
        for container in listed:
            self._client.remove_container(container["Id"], force=True, v=True)
