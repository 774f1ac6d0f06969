"""How far the executor `docker` reaches: programs in containers, any endpoint, what labels name, never UICI itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.docker_rig import make_call
from tests.integration.docker_ground import COMPOSE, Ground, ground_of
from tests.real.docker import IMAGE, DockerEngine
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened, Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity

pytestmark = pytest.mark.component("docker")
WEB: JsonObject = {"container": "uici-t-web", "stop_seconds": 1}
SERVICE: JsonObject = {"service": "web", "project": "uici-t", "stop_seconds": 1}


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    yield from ground_of(docker_engine)


# --- exec and the open call -----------------------------------------------------------------------------------


def test_exec_is_no_shell(ground: Ground) -> None:
    ground.run("uici-t-web")
    texts = ["; touch /tmp/evil", "$(touch /tmp/evil)", "`touch /tmp/evil`", "--help", "a\nb", "| cat"]
    result = ground.do("container.exec", WEB, argv=["echo", *texts])
    assert result == {"exit_code": 0, "output": " ".join(texts) + "\n", "truncated": False}
    assert ground.do("container.exec", WEB, argv=["ls", "/tmp/evil"])["exit_code"] == 1
    error = ground.fails("container.exec", WEB, argv=["/no/such/program", "s3cret-argument"])
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "program_not_started")
    assert "s3cret" not in error.message
    assert ground.happened("container.exec", {}, WEB, argv=["true"]) is Happened.UNKNOWN
    ground.client.stop("uici-t-web", timeout=1)
    assert ground.fails("container.exec", WEB, argv=["true"]).code == "not_running"


def test_exec_output_is_cut(ground: Ground) -> None:
    ground.run("uici-t-web")
    result = ground.do("container.exec", WEB, argv=["sh", "-c", "yes 0123456789 | head -c 200000"])
    assert (result["exit_code"], len(result["output"]), result["truncated"]) == (0, 65_536, True)


def request(method: str, *path: str, **more: object) -> JsonObject:
    return {"method": method, "path": list(path), **more}


def test_open_calls_are_classed_by_what_they_do(ground: Ground) -> None:
    classify = ground.executor.classify
    assert classify("engine.request", request("GET", "containers", "x", "json")) == (False, Risk.LOW)
    assert classify("engine.request", request("HEAD", "_ping")) == (False, Risk.LOW)
    for worst in (
        request("POST", "containers", "x", "start"),
        request("DELETE", "images", "x"),
        request("get", "containers", "json"),
        request("GET", "containers", "x", "attach", "ws"),
        {"method": {"$select": "calls.a.b"}, "path": ["info"]},
        {"method": "GET", "path": ["containers", "x", {"$select": "calls.a.b"}]},
        {"method": "GET"},
    ):
        assert classify("engine.request", worst) == (True, Risk.HIGH), worst
    selected = {"method": "GET", "path": ["containers", {"$select": "calls.a.id"}, "json"]}
    assert classify("engine.request", selected) == (False, Risk.LOW)


def test_the_open_call_reaches_any_endpoint_and_quotes_every_segment(ground: Ground) -> None:
    ground.run("uici-t-web")
    perform = ground.executor.perform
    listed = perform(
        make_call("engine.request", **request("GET", "containers", "json", query={"filters": {"name": ["uici-t-web"]}}))
    )
    assert [one["Names"] for one in listed["body"]] == [["/uici-t-web"]]
    assert perform(make_call("engine.request", **request("GET", "_ping")))["status"] == 200
    made = perform(make_call("engine.request", **request("POST", "volumes", "create", body={"Name": "uici-t-volume"})))
    assert made["status"] == 201
    perform(make_call("engine.request", **request("DELETE", "volumes", "uici-t-volume")))
    for path in (
        ["containers", "..", "info"],
        ["containers", "x/../../info", "json"],
        ["containers", "x?all=1", "json"],
    ):
        with pytest.raises(CallError) as caught:
            perform(make_call("engine.request", **request("GET", *path)))
        assert caught.value.kind is FailureKind.PERMANENT
    with pytest.raises(CallError) as caught:
        perform(make_call("engine.request", **request("POST", "containers", "create", body={"Image": "no/such:1"})))
    assert caught.value.code == "image_not_found"


# --- self -----------------------------------------------------------------------------------------------------


def test_self_is_out_of_reach_by_any_road(ground: Ground) -> None:
    ground.client.create_network("uici-t-net")
    own = ground.run(
        "uici-t-self", labels=COMPOSE, host={"network_mode": "uici-t-net", "binds": ["uici-t-state:/data"]}
    )
    ground.run(
        "uici-t-sibling", labels=COMPOSE | {"com.docker.compose.service": "db"}, host={"network_mode": "uici-t-net"}
    )
    exec_id = ground.client.exec_create(own, ["kill", "1"])["Id"]
    image = ground.inspect(own)["Image"]
    only_id = SelfIdentity(containers=frozenset({own}))
    layers = SelfGuardLayers(intake=False, planning=False, translation=False)
    guarded = ground.make(identity=only_id, layers=layers)
    ground.actions()
    for target in (
        {"container": "uici-t-self"},
        {"container": own[:12]},
        {"container": own},
        SERVICE,
        {"labels": COMPOSE},
    ):
        for name, arguments in (("container.restart", {}), ("container.exec", {"argv": ["true"]})):
            error = ground.fails(name, target, guarded, **arguments)
            assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target"), (target, name)
    roads = [
        request("POST", "containers", "uici-t-self", "kill"),
        request("POST", "containers", "/uici-t-self", "kill"),
        request("POST", "containers", own[:5], "stop"),
        request("DELETE", "containers", own[:20].upper().lower()),
        request("POST", "exec", exec_id, "start", body={"Detach": True}),
        request("POST", "networks", "uici-t-net", "disconnect", body={"Container": "uici-t-self", "Force": True}),
        request("POST", "networks", "uici-t-net", "disconnect", body={"container": own[:6], "Force": True}),
        request("DELETE", "networks", "uici-t-net"),
        request("DELETE", "volumes", "uici-t-state"),
        request("DELETE", "images", image),
        request("DELETE", "images", f"{IMAGE}:good", query={"force": True}),
        request("POST", "containers", "prune"),
        request("POST", "swarm", "leave", query={"force": True}),
        request("POST", "containers", "create", body={"HostConfig": {"VolumesFrom": [own]}}),
    ]
    for road in roads:
        with pytest.raises(CallError) as caught:
            guarded.perform(make_call("engine.request", **road))
        assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "self_target"), road
    assert ground.actions() == []
    # Siblings may be healed, and self may be watched.
    ground.do("container.restart", {"container": "uici-t-sibling", "stop_seconds": 1}, guarded)
    guarded.perform(
        make_call("engine.request", **request("POST", "containers", "uici-t-sibling", "stop", query={"t": 1}))
    )
    assert ground.do("container.status", {"container": "uici-t-self"}, guarded)["state"] == "running"
    # With the layer off, nothing else of the executor stands in the way.
    off = SelfGuardLayers(intake=False, planning=False, translation=False, executor=False)
    unguarded = ground.make(identity=only_id, layers=off)
    unguarded.perform(make_call("engine.request", **request("POST", "containers", own[:5], "stop", query={"t": 1})))
    assert not ground.inspect(own)["State"]["Running"]
    guarded.close()
    unguarded.close()
    ground.client.remove_container(own, force=True)
    ground.client.remove_volume("uici-t-state")


# --- targeting ------------------------------------------------------------------------------------------------


def test_find_asks_the_engine_what_labels_name(ground: Ground) -> None:
    container = ground.run("uici-t-web-1", labels=COMPOSE)
    by_name = ({"container": "uici-t-web-1"},)
    find = ground.executor.find
    assert find({"name": "uici-t-web-1"}) == by_name
    assert find({"container_name": "uici-t-web-1", "job": "cadvisor"}) == by_name
    assert find({"container": "uici-t-web-1"}) == by_name
    assert find({"id": f"/docker/{container}"}) == by_name
    assert find({"id": f"/system.slice/docker-{container}.scope"}) == by_name
    assert find({"container_id": container[:12]}) == by_name
    compose = {
        "container_label_com_docker_compose_service": "web",
        "container_label_com_docker_compose_project": "uici-t",
    }
    assert find(compose) == ({"service": "web", "project": "uici-t"},)
    assert find({**compose, "container_label_com_docker_compose_project": "other"}) == ()
    assert find({"name": "web", "instance": "uici-t-web-1:9100", "job": "uici-t-web-1"}) == ()
