"""The executor's layer of the self-target guard on a real Docker engine: what it asks, and where it is asked.

Every road to UICI's own container is tried with only this layer on.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from executors.docker import DockerExecutor
from executors.docker.arguments import EngineRequest
from executors.docker.self_guard import SelfGuard, _used_by
from executors.docker.settings import DockerBinding
from tests.contract.docker_rig import make_call
from tests.integration.docker_ground import Ground
from tests.real.docker import IMAGE, DockerEngine
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfGuardLayers, SelfIdentity

pytestmark = pytest.mark.component("docker")
ONLY_EXECUTOR = SelfGuardLayers(intake=False, planning=False, translation=False)
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


YARD = "UICI_TEST_DOCKER_YARD"
"""In the environment: the mark of containers that somebody else made, and removes. Asking the guard changes nothing."""


class Yard:
    """UICI's own container, and another of the same kind."""

    def __init__(self, engine: DockerEngine, mark: str | None = None) -> None:
        self.mark = mark or secrets.token_hex(4)
        self.ground = Ground(engine)
        self.client: Any = engine.client()
        self.volume, self.network = f"uici-t-{self.mark}", f"uici-t-net-{self.mark}"
        self.name, self.other = f"uici-own-{self.mark}", f"uici-other-{self.mark}"
        if mark is None:
            self._make()
        self.own = str(self.client.inspect_container(self.name)["Id"])
        self.sibling = str(self.client.inspect_container(self.other)["Id"])

    def _make(self) -> None:
        self.client.create_volume(self.volume)
        self.client.create_network(self.network)
        labels = {PROJECT: self.mark, "com.docker.swarm.service.name": f"swarm-{self.mark}"}
        self.ground.run(
            self.name,
            labels=labels | {SERVICE: "uici"},
            host={"network_mode": self.network, "binds": [f"{self.volume}:/data"]},
        )
        self.ground.run(self.other, labels={SERVICE: "web"})

    def identity(self) -> SelfIdentity:
        """By its id only, as inside a container."""
        return SelfIdentity(containers=frozenset({self.own}))

    def executor(self, identity: SelfIdentity | None = None) -> DockerExecutor:
        return self.ground.make(identity=identity or self.identity(), layers=ONLY_EXECUTOR)

    def guard(self, identity: SelfIdentity | None = None, *, active: bool = True) -> SelfGuard:
        executor = self.ground.executor
        return SelfGuard(executor._engine, executor._lookup, lambda: identity or self.identity(), active)

    def leave(self) -> None:
        self.client.close()
        self.ground.executor.close()
        self.ground.client.close()

    def close(self) -> None:
        self.client.remove_container(self.own, force=True)
        self.client.remove_container(self.sibling, force=True)
        self.client.remove_volume(self.volume)
        self.client.remove_network(self.network)
        self.leave()


@pytest.fixture(scope="module")
def yard(docker_engine: DockerEngine) -> Iterator[Yard]:
    """For tests that ask the guard and change nothing."""
    # Not `ground_of`, which removes what other tests made: several of these may run at once on one engine.
    given = os.environ.get(YARD)
    yard = Yard(docker_engine, given)
    try:
        yield yard
    finally:
        yard.leave() if given else yard.close()


@pytest.fixture(scope="module")
def own_yard(docker_engine: DockerEngine) -> Iterator[Yard]:
    """For tests that would change something, were it not for the guard."""
    yard = Yard(docker_engine)
    try:
        yield yard
    finally:
        yard.close()


def request(
    method: str, *path: str, body: JsonObject | None = None, target: JsonObject | None = None, **query: Any
) -> EngineRequest:
    return EngineRequest.model_validate(
        {"method": method, "path": list(path), "query": query, "body": body, "target": target or {"container": "x"}}
    )


def refused(why: str, check: Any, *arguments: Any) -> None:
    with pytest.raises(CallError, match=why) as caught:
        check(*arguments)
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "self_target")


# --- what it asks -----------------------------------------------------------------------------------------------------


def test_a_binding_that_names_uici_is_refused(yard: Yard) -> None:
    named = SelfIdentity(names=frozenset({"uici"}))
    refused("names UICI itself", yard.guard(named).check_binding, DockerBinding(container="uici"))
    yard.guard(named).check_binding(DockerBinding(container="web"))
    # What only tells how its health is asked for is not what is acted on.
    health: Any = {"http": "http://127.0.0.1:1/uici"}
    yard.guard(SelfIdentity(names=frozenset({"http://127.0.0.1:1/uici"}))).check_binding(
        DockerBinding(container="web", health=health)
    )
    yard.guard(named, active=False).check_binding(DockerBinding(container="uici"))


def test_a_container_is_uici_by_id_by_short_id_and_by_name(yard: Yard) -> None:
    refused("is what UICI itself runs in", yard.guard().check_container, yard.own, "x")
    for name in (yard.own, yard.own[:12], yard.name):
        identity = SelfIdentity(names=frozenset({name}))
        refused("is what UICI itself runs in", yard.guard(identity).check_container, yard.own, yard.name)
    yard.guard().check_container(yard.sibling, yard.other)
    yard.guard(active=False).check_container(yard.own, yard.name)


def own_roads(yard: Yard) -> list[EngineRequest]:
    """Requests that say UICI's id or name outright."""
    return [
        request("POST", "containers", yard.own, "kill"),
        request("POST", "containers", yard.own[:12].upper(), "kill"),
        request("POST", "containers", "create", body={"HostConfig": {"VolumesFrom": [yard.own[:12]]}}),
        request("POST", "containers", "create", body={"Cmd": [f"prefix{yard.own[:12]}suffix"]}),
        request("POST", "x", filters=yard.own),
        request("POST", "x", target={"container": yard.own}),
    ]


def test_a_request_that_says_uicis_id_is_refused(yard: Yard) -> None:
    for road in own_roads(yard):
        refused("the request names UICI itself", yard.guard().check_request, road)
        yard.guard(SelfIdentity(), active=True).check_request(road)
        yard.guard(active=False).check_request(road)
    named = SelfIdentity(names=frozenset({"uici"}))
    refused("names UICI itself", yard.guard(named).check_request, request("POST", "x", body={"Name": "uici"}))


def test_an_id_that_is_too_short_to_be_sure_of_names_nothing(yard: Yard) -> None:
    short = SelfIdentity(containers=frozenset({"ab"}))
    yard.guard(short).check_request(request("POST", "containers", "create", body={"Cmd": ["crab"]}))
    twelve = SelfIdentity(containers=frozenset({"abcdefabcdef"}))
    road = request("POST", "containers", "create", body={"Cmd": ["xabcdefabcdefx"]})
    refused("names UICI itself", yard.guard(twelve).check_request, road)


@pytest.mark.parametrize("first", ["name", "slash", "short"])
def test_a_request_that_reaches_uicis_container_is_refused(yard: Yard, first: str) -> None:
    reference = {"name": yard.name, "slash": f"/{yard.name}", "short": yard.own[:11]}[first]
    own = yard.guard()
    for road in (
        request("POST", "containers", reference, "stop"),
        request("DELETE", "containers", reference),
        request("POST", "networks", "bridge", "disconnect", body={"Container": reference, "Force": True}),
        request("POST", "networks", "bridge", "disconnect", body={"container": reference}),
    ):
        refused("is the container that UICI itself runs in", own.check_request, road)


def test_a_request_about_others_passes(yard: Yard) -> None:
    for road in (
        request("POST", "containers", yard.other, "stop"),
        request("POST", "containers", yard.sibling[:11], "stop"),
        request("POST", "containers", "nobody-of-this-name", "stop"),
        request("POST", "containers", "/", "stop"),
        request("POST", "containers", "create", body={"Image": f"{IMAGE}:good"}),
        request("POST", "containers", "create"),
        request("POST", "containers"),
        request("POST", "networks", yard.network, "disconnect", body={"Container": yard.other}),
        request("POST", "networks", yard.network, "disconnect", body={"Force": True}),
        request("POST", "networks", "create", body={"Name": "x"}),
        request("DELETE", "volumes", "another"),
        request("POST", "volumes", "create", body={"Name": "x"}),
        request("DELETE", "images", "busybox"),
        request("POST", "exec", "0" * 64, "start", body={}),
        request("POST", "exec"),
        request("POST", "services"),
        request("POST", "build"),
        # Named like UICI's container, and something else all the same.
        request("POST", "networks", "create", body={"Name": yard.name}),
        request("DELETE", "volumes", yard.name),
        request("POST", "containers", "create", body={"Container": yard.name}),
    ):
        yard.guard().check_request(road)


def test_what_a_name_is_that_the_engine_cannot_tell_is_taken_for_uici(yard: Yard) -> None:
    refused("the engine cannot say what", yard.guard().check_request, request("POST", "containers", "..", "stop"))


def test_an_exec_in_uicis_container_is_refused(yard: Yard) -> None:
    inside = yard.client.exec_create(yard.own, ["true"])["Id"]
    beside = yard.client.exec_create(yard.sibling, ["true"])["Id"]
    road = request("POST", "exec", inside, "start", body={"Detach": True})
    refused("is the container that UICI itself runs in", yard.guard().check_request, road)
    yard.guard().check_request(request("POST", "exec", beside, "start", body={"Detach": True}))
    yard.guard().check_request(request("DELETE", "volumes", inside))


def test_the_container_that_holds_uicis_state_is_refused(yard: Yard) -> None:
    address = yard.client.inspect_container(yard.name)["NetworkSettings"]["Networks"][yard.network]["IPAddress"]
    guard = yard.guard(SelfIdentity(state_addresses=frozenset({f"{address}:5432"})))
    refused(r"is, or may be, .*:5432, the server of UICI's state", guard.check_container, yard.own, yard.name)
    refused("runs in, or its state", guard.check_request, request("POST", "containers", yard.name, "restart"))
    guard.check_container(yard.sibling, yard.other)
    guard.check_request(request("POST", "containers", yard.other, "restart"))


def test_an_engine_that_does_not_answer_lets_nothing_pass(yard: Yard) -> None:
    dead = yard.ground.make(url="unix:///nowhere/docker.sock")
    guard = SelfGuard(dead._engine, dead._lookup, yard.identity, True)
    for ask in (lambda: list(guard._containers_of("exec", ["a" * 64], None)), lambda: guard._resolved("web")):
        with pytest.raises(CallError) as caught:
            ask()
        assert caught.value.kind is not FailureKind.PERMANENT
    dead.close()


@pytest.mark.parametrize(
    "path", [("swarm", "leave"), ("nodes", "x"), ("Swarm", "leave"), ("volumes", "prune"), ("containers", "prune")]
)
def test_what_acts_on_the_whole_engine_is_refused_where_uici_runs_on_it(yard: Yard, path: tuple[str, ...]) -> None:
    refused("acts on the whole engine", yard.guard().check_request, request("POST", *path))
    refused(
        "acts on the whole engine",
        yard.guard(SelfIdentity(names=frozenset({yard.name}))).check_request,
        request("POST", *path),
    )
    for name in (yard.own, yard.own[:12]):
        by_id = yard.guard(SelfIdentity(names=frozenset({name})))
        refused("acts on the whole engine", by_id.check_request, request("POST", *path))
    elsewhere = SelfIdentity(containers=frozenset({"f" * 64}), names=frozenset({"nobody"}))
    yard.guard(elsewhere).check_request(request("POST", *path))
    yard.guard(SelfIdentity()).check_request(request("POST", *path))


def test_what_uicis_container_uses_or_belongs_to_is_refused(yard: Yard) -> None:
    found = yard.client.inspect_container(yard.own)
    network = yard.client.inspect_network(yard.network)["Id"]
    image = found["Image"]
    for road in (
        request("DELETE", "volumes", yard.volume),
        request("DELETE", "volumes", yard.volume.upper()),
        request("DELETE", "networks", yard.network),
        request("DELETE", "networks", network),
        request("DELETE", "images", f"{IMAGE}:good"),
        request("DELETE", "images", image),
        request("DELETE", "images", image.removeprefix("sha256:")[:12]),
        request("DELETE", "services", f"swarm-{yard.mark}"),
        request("POST", "services", f"swarm-{yard.mark}", "update"),
    ):
        refused("uses or belongs to", yard.guard().check_request, road)


def test_what_a_container_uses_is_read_from_the_engines_words() -> None:
    labels = {f"com.docker.swarm.{key}": key for key in ("service.id", "service.name", "task.id", "task.name")}
    entry: JsonObject = {
        "Labels": labels,
        "Mounts": [{"Name": "data"}, {"Source": "/host"}],
        "NetworkSettings": {"Networks": {"net": {"NetworkID": "n1"}}},
        "Image": "web:1",
        "ImageID": "sha256:" + "0123456789abcdef" * 4,
    }
    assert set(_used_by("volumes", entry)) == {"data"}
    assert set(_used_by("networks", entry)) == {"net", "n1"}
    assert set(_used_by("images", entry)) == {"web:1", entry["ImageID"], "0123456789ab"}
    for kind in ("services", "tasks"):
        assert set(_used_by(kind, entry)) == {"service.id", "service.name", "task.id", "task.name"}
    assert set(_used_by("configs", entry)) == set()
    for kind in ("volumes", "networks", "services"):
        assert set(_used_by(kind, {})) == set()


# --- where it is asked ------------------------------------------------------------------------------------------------

CHANGES: dict[str, JsonObject] = {
    "container.start": {},
    "container.stop": {},
    "container.restart": {},
    "container.exec": {"argv": ["true"]},
    "container.scale": {"replicas": 1},
    "container.update": {"cpus": 0.5},
    "container.configure": {"environment": {"A": "b"}},
    "container.deploy": {"version": "good"},
    "container.recreate": {},
    "container.rollback": {},
    "container.set_backend": {"state": "drain"},
    "container.reclaim": {},
}


NO_CONTAINER = frozenset({"container.set_backend", "container.reclaim"})
"""What they change is a proxy, or the engine's own room; the binding's text is all there is of a container."""


def test_every_call_that_changes_something_is_tried(own_yard: Yard) -> None:
    known = {name for name, spec in DockerExecutor.call_specs.items() if spec.mutates and not spec.open}
    assert known <= set(CHANGES), "a new call: say with which arguments it is tried"


@pytest.mark.parametrize(
    "name", [name for name, spec in DockerExecutor.call_specs.items() if spec.mutates and not spec.open]
)
def test_a_change_of_uicis_container_is_refused_by_name_and_by_what_the_binding_resolves_to(
    own_yard: Yard, name: str
) -> None:
    before = own_yard.client.inspect_container(own_yard.own)
    by_name = own_yard.executor(SelfIdentity(names=frozenset({own_yard.name})))
    by_id = own_yard.executor()
    missing = own_yard.executor(SelfIdentity(names=frozenset({"no-such-container"})))
    for executor, target in (
        (by_name, {"container": own_yard.name}),
        (by_id, {"container": own_yard.name}),
        (by_id, {"service": "uici", "project": own_yard.mark}),
        (by_id, {"labels": {PROJECT: own_yard.mark}}),
        # Refused by its text before the engine is asked: it would else be said not to exist.
        (missing, {"container": "no-such-container"}),
    ):
        if name in NO_CONTAINER and executor is by_id:
            continue
        proxied = {"backend": {"haproxy": "unix:/nowhere.sock", "backend": "b", "server": "s"}}
        bound: JsonObject = {**target, **(proxied if name == "container.set_backend" else {})}
        refused("UICI", executor.perform, make_call(name, target=bound, **CHANGES[name]))
    after = own_yard.client.inspect_container(own_yard.own)
    assert (after["Id"], after["State"]["StartedAt"], after["HostConfig"]) == (
        before["Id"],
        before["State"]["StartedAt"],
        before["HostConfig"],
    )


def test_a_diagnostic_is_not_run_inside_uici(own_yard: Yard) -> None:
    by_name = own_yard.executor(SelfIdentity(names=frozenset({own_yard.name})))
    missing = own_yard.executor(SelfIdentity(names=frozenset({"no-such-container"})))
    for executor, container in (
        (by_name, own_yard.name),
        (own_yard.executor(), own_yard.name),
        (missing, "no-such-container"),  # refused by its text before the engine is asked
    ):
        target = {"container": container, "diagnostics": {"look": ["ls"]}}
        refused("UICI", executor.perform, make_call("container.diagnose", target=target, diagnostic="look"))


def test_an_open_call_is_refused_and_reading_is_not(own_yard: Yard) -> None:
    executor = own_yard.executor()
    road = {"method": "POST", "path": ["containers", own_yard.name, "rename"], "query": {"name": f"{own_yard.name}-x"}}
    refused("UICI itself runs in", executor.perform, make_call("engine.request", **road))
    look = {"method": "GET", "path": ["containers", own_yard.name, "json"]}
    assert executor.perform(make_call("engine.request", **look))["body"]["Name"] == f"/{own_yard.name}"


@pytest.mark.parametrize("name", ["container.deploy", "container.configure"])
def test_a_replacement_is_not_ended_for_the_sake_of_proof_where_it_is_uicis(own_yard: Yard, name: str) -> None:
    executor = own_yard.executor(SelfIdentity(names=frozenset({own_yard.name})))
    refused(
        "names UICI itself",
        executor.happened,
        make_call(name, target={"container": own_yard.name}, **CHANGES[name]),
        {},
    )
