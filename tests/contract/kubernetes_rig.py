"""The rig of the platform `kubernetes`: a small HTTP service as a Deployment on a real cluster.

Its pods use the node's own network, so that the probe reaches them on loopback. The executors reach the API server
through a forwarder of the rig's own, which it can take away without stopping anybody's cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import httpx

from executors.kubernetes import KubernetesExecutor
from tests.contract.demands import Demands
from tests.contract.local_rig import diagnostics, sleepers
from tests.contract.rig import ALL_LAYERS, CANARY, NOBODY
from tests.real.components import free_port
from tests.real.docker import DockerEngine
from tests.real.haproxy import HAProxy, haproxy
from tests.real.kubernetes import REPOSITORY, RealCluster, deployment, engine_url
from tests.real.web import web
from tests.waiting import until
from uici.model.base import JsonObject, digest
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

NAME = "victim"


class Forwarder:
    """Hands connections on to the API server, until it is closed; then nobody listens there, and none is left."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = free_port()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        for one in (self._listener, *self._open):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._listener = None
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._to)
                self._open |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class KubernetesRig:
    """See tests.contract.rig.Rig."""

    platform = "kubernetes"
    prefix = "workload"
    cannot: Mapping[str, str] = {"reclaim": "unknown_call", "pids": "", "processes": ""}
    crashed = "restarting"
    patience: Mapping[str, JsonObject] = {
        "configure": {"stuck_seconds": 5},
        "deploy": {"stuck_seconds": 5},
        "start": {"stuck_seconds": 60},  # longer than the kubelet waits before it starts what has crashed
    }

    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster
        self._namespace = f"{os.environ.get('UICI_TEST_NAMESPACES', 'uici-test')}-rig-{secrets.token_hex(4)}"
        cluster.new_namespace(self._namespace)
        self._client = DockerEngine(url=engine_url()).client()
        self._port = free_port()
        self._executors: list[KubernetesExecutor] = []
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="uici-rig-")))
        self._demands = Demands(self._stack, self._folder)
        server = urlsplit(cluster.server()["server"])
        self._forwarder = Forwarder(server.hostname or "", server.port or 443)
        self._forwarder.start()
        self._kubeconfig = self._forwarded()
        self._balancer: HAProxy | None = None
        self._states: dict[str, str] = {}
        self._changes = 0
        self._broken: set[str] = set()
        """Pods, by uid, whose processes shall not live."""
        self._ended = threading.Event()
        self._breaker = threading.Thread(target=self._keep_broken, daemon=True)
        self._breaker.start()

    def _forwarded(self) -> str:
        """A kubeconfig whose server is the forwarder."""
        config = json.loads(self._cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._forwarder.port}"
        file = self._folder / "kubeconfig"
        file.write_text(json.dumps(config))
        return str(file)

    def connection(self) -> JsonObject:
        return {
            "kubeconfig": self._kubeconfig,
            "namespace": self._namespace,
            "requests_per_second": 200,
            "burst": 400,
            "limits": {"diagnostic_seconds": 2.0},
        }

    def executor(self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS) -> KubernetesExecutor:
        context = ExecutorContext(environment="rig", settings=self.connection(), identity=identity, layers=layers)
        self._executors.append(KubernetesExecutor(context))
        return self._executors[-1]

    def binding(self) -> JsonObject:
        return {
            **self.named(NAME),
            "health": {"http": f"http://127.0.0.1:{self._port}/health", "timeout": 1.0},
            "diagnostics": diagnostics("sh", "sleep"),
            "backend": {"haproxy": f"unix:{self._folder}/admin.sock", "backend": "web", "server": "a"},
        }

    def demand(self) -> JsonObject:
        self._demands.meet()
        return self._reset(demanding=True)

    def full(self) -> contextlib.AbstractContextManager[None]:
        return self._demands.full(self.answers)

    def lacking(self) -> contextlib.AbstractContextManager[None]:
        return self._demands.lacking(self.answers)

    def exhaust(self) -> None:
        self._demands.grow()

        def was_killed() -> bool:
            statuses = [one for pod in self._pods() for one in pod["status"].get("containerStatuses") or ()]
            last = [(one.get("lastState") or {}).get("terminated") or {} for one in statuses]
            return [one.get("reason") for one in last] == ["OOMKilled"]

        until(lambda: was_killed() and self.answers(), "the kernel has killed it, and the kubelet has started it again")

    @contextlib.contextmanager
    def drained(self) -> Iterator[None]:
        until(lambda: len(self._pods()) == 1, "what the last test replaced has gone")
        (pod,) = self._pods()
        node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]

        def waits() -> bool:
            pods = self._pods()
            conditions = [one for pod in pods for one in pod["status"].get("conditions") or ()]
            return len(pods) == 1 and any(one.get("reason") == "Unschedulable" for one in conditions)

        try:
            # Of the pods there only the rig's are moved, and none is waited for: the node is everybody's.
            only = ("--pod-selector", f"app={NAME}", "--ignore-daemonsets", "--skip-wait-for-delete-timeout=1")
            self._cluster.kubectl("drain", node, *only, "--timeout=60s")
            until(lambda: not self.instances(), "its program has ended")
            # A kubelet tells late that a pod has gone.
            self._cluster.kubectl(
                "-n", self._namespace, "delete", "pod", name, "--force", "--grace-period=0", check=False
            )
            until(waits, "its successor finds no node")
            yield
        finally:
            self._cluster.kubectl("uncordon", node)

    def reset(self) -> JsonObject:
        return self._reset()

    def _reset(self, *, demanding: bool = False) -> JsonObject:
        workloads = "deployments,replicasets"
        self._cluster.kubectl("-n", self._namespace, "delete", workloads, "--all", "--cascade=background")

        def is_empty() -> bool:
            if self._pods():
                # Not waited for: a kubelet tells late that a pod has gone.
                force = ("--force", "--grace-period=0", "--wait=false")
                self._cluster.kubectl("-n", self._namespace, "delete", "pods", "--all", *force, check=False)
            return not self._pods() and not self._containers()

        until(is_empty, "nothing is left of the former service")
        self._broken.clear()
        self._cluster.apply(self._deployment(demanding=demanding))
        until(lambda: self.answers() and len(self.instances()) == 1, "the service answers")
        until(lambda: self._deployed()["status"].get("readyReplicas") == 1, "the cluster has noticed")
        until(lambda: bool(self._deployed()["status"].get("observedGeneration")), "its controller has seen it")
        self.mutations()
        return self.binding()

    def _deployment(self, *, demanding: bool) -> JsonObject:
        made = deployment(self._namespace, NAME, hostNetwork=True)
        container = made["spec"]["template"]["spec"]["containers"][0]
        variables = {"PORT": str(self._port), "SECRET_CANARY": CANARY, "COLOUR": "blue"}
        if demanding:
            variables |= {"DATA": "/data", "NEEDS": self._demands.other}
            container["resources"] = {"limits": {"memory": "32Mi"}}
            container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
            # The node is this machine.
            disk = {"name": "data", "hostPath": {"path": str(self._demands.data), "type": "Directory"}}
            made["spec"]["template"]["spec"]["volumes"] = [disk]
        container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
        container["command"] = ["/bin/serve"]
        return made

    def answers(self) -> bool:
        try:
            return web.get(f"http://127.0.0.1:{self._port}/health", timeout=1.0).is_success
        except httpx.TransportError:
            return False

    def balancer(self) -> HAProxy:
        if self._balancer is None:
            self._balancer = self._stack.enter_context(haproxy(self._folder, {"a": f"127.0.0.1:{self._port}"}))
        self._balancer.ask("set server web/a state ready")
        return self._balancer

    def litter(self) -> int:
        raise AssertionError("a cluster's nodes reclaim their disks by themselves")

    def littered(self) -> int:
        raise AssertionError("a cluster's nodes reclaim their disks by themselves")

    def configuration(self) -> JsonObject:
        found = self._deployed()
        template = found["spec"]["template"]
        annotations = template["metadata"].get("annotations") or {}
        template["metadata"]["annotations"] = {
            name: value for name, value in annotations.items() if name != "kubectl.kubernetes.io/restartedAt"
        }
        for container in template["spec"]["containers"]:
            container["env"] = sorted(container.get("env") or (), key=lambda one: one["name"])
        return {"spec": found["spec"], "labels": found["metadata"]["labels"]}

    def left_by(self, diagnostic: str) -> list[int]:
        return sleepers(diagnostic)

    def version(self, name: str) -> str:
        return name

    def version_now(self) -> str:
        (only,) = self._running()
        image = self._client.inspect_image(only["ImageID"])
        return next(str(tag).rpartition(":")[2] for tag in image["RepoTags"] if tag.startswith(f"{REPOSITORY}:"))

    def environment_now(self) -> dict[str, str]:
        pid = next(iter(self.instances().values()))
        raw = Path(f"/proc/{pid}/environ").read_bytes()
        return dict(item.decode().split("=", 1) for item in raw.split(b"\0") if item)

    def instances(self) -> dict[str, int]:
        found = {}
        for one in self._running():
            state = self._client.inspect_container(one["Id"])["State"]
            if state["Running"]:
                found[str(one["Labels"]["io.kubernetes.pod.uid"])] = int(state["Pid"])
        return found

    def crash(self, lasting: bool = False) -> None:
        # The kubelet starts it again by itself: what lasts is a process that is killed whenever it comes.
        if lasting:
            self._broken |= set(self.instances())

        def is_given_up() -> bool:
            for pid in self.instances().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            statuses = [one for pod in self._pods() for one in pod["status"].get("containerStatuses") or ()]
            # The first wait lasts 10 s, the second 20 s.
            waiting = [(one["state"].get("waiting") or {}).get("reason") for one in statuses if one["restartCount"]]
            return waiting == ["CrashLoopBackOff"]

        until(is_given_up, "the kubelet waits before it starts it again")

    def _keep_broken(self) -> None:
        with contextlib.closing(DockerEngine(url=engine_url()).client()) as client:
            while not self._ended.wait(0.1):
                for uid in tuple(self._broken):
                    filters = {"label": [f"io.kubernetes.pod.uid={uid}", "io.kubernetes.docker.type=container"]}
                    for one in client.containers(filters=filters):
                        with contextlib.suppress(docker.errors.APIError):  # it ended by itself
                            client.kill(one["Id"], signal.SIGKILL)

    def stop(self) -> None:
        self._cluster.kubectl("-n", self._namespace, "scale", "deployment", NAME, "--replicas=0")
        until(lambda: not self.instances() and not self._pods(), "it is stopped")

    def hang(self) -> None:
        for one in self._containers():
            for process in self._client.top(one["Id"])["Processes"]:
                os.kill(int(process[1]), signal.SIGSTOP)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        self._forwarder.stop()
        try:
            yield
        finally:
            self._forwarder.start()

    def mutations(self) -> int:
        """How often an object of the namespace was seen to have another specification, to be new or to have gone."""
        found = self._cluster.get("-n", self._namespace, "deployments,replicasets,pods,configmaps")["items"]
        now = {f"{one['kind']}/{one['metadata']['uid']}": digest(_meant(one)) for one in found}
        self._changes += sum(self._states.get(name) != state for name, state in now.items())
        self._changes += sum(name not in now for name in self._states)
        self._states = now
        return self._changes

    def resource_versions(self) -> dict[str, str]:
        """Of every object of the namespace that is no event: another after any change."""
        return self._cluster.resource_versions(self._namespace)

    def node(self) -> str:
        """A node of the cluster."""
        return str(self._cluster.get("nodes")["items"][0]["metadata"]["name"])

    def named(self, text: str) -> JsonObject:
        return {"kind": "Deployment", "name": text, "namespace": self._namespace}

    def self_by_name(self) -> SelfIdentity:
        return SelfIdentity(names=frozenset({NAME}))

    def self_by_id(self) -> SelfIdentity:
        return SelfIdentity(pods=frozenset(f"{self._namespace}/{pod['metadata']['name']}" for pod in self._pods()))

    def open_read(self) -> tuple[str, JsonObject]:
        return "kubernetes.request", self._request("get")

    def open_change(self) -> tuple[str, JsonObject]:
        return "kubernetes.request", self._request("patch", body={"spec": {"replicas": 0}})

    def _request(self, verb: str, **more: Any) -> JsonObject:
        return {"verb": verb, "kind": "Deployment", "namespace": self._namespace, "name": NAME, **more}

    def close(self) -> None:
        self._ended.set()
        self._breaker.join()
        for executor in self._executors:
            executor.close()
        self._forwarder.stop()
        self._cluster.clear(self._namespace)
        self._client.close()
        self._stack.close()

    def _deployed(self) -> Any:
        return self._cluster.get("-n", self._namespace, "deployment", NAME)

    def _pods(self) -> list[Any]:
        found: list[Any] = self._cluster.get("-n", self._namespace, "pods")["items"]
        return found

    def _running(self) -> list[Any]:
        """The containers of the service that are to run, once those that are to end have ended.

        What a rollout replaces has its grace period to end in. A pod itself goes later, when its kubelet tells so; and
        a kubelet may still start what was deleted a moment ago, and ends it when it hears of that.
        """

        def settled() -> tuple[list[Any]] | None:
            pods = {pod["metadata"]["uid"]: pod["metadata"].get("deletionTimestamp") for pod in self._pods()}
            known = [one for one in self._containers() if one["Labels"]["io.kubernetes.pod.uid"] in pods]
            ending = [one for one in known if pods[one["Labels"]["io.kubernetes.pod.uid"]]]
            return None if ending else (known,)

        (running,) = until(settled, "what is to end has ended")
        return running

    def _containers(self) -> list[Any]:
        """The containers of the service that run, by the kubelet's own labels on them."""
        labels = [f"io.kubernetes.pod.namespace={self._namespace}", "io.kubernetes.docker.type=container"]
        found: list[Any] = self._client.containers(filters={"label": labels, "status": "running"})
        return found


def _meant(thing: JsonObject) -> JsonObject:
    metadata = thing["metadata"]
    annotations = metadata.get("annotations") or {}
    return {
        "spec": {name: value for name, value in (thing.get("spec") or {}).items() if name != "nodeName"},
        "labels": metadata.get("labels"),
        "annotations": {name: value for name, value in annotations.items() if not name.startswith("deployment.")},
        "data": thing.get("data"),
        "deleted": bool(metadata.get("deletionTimestamp")),
    }
