"""Replacing a container on a real engine: nothing is lost, a failure brings the old one back, so does a death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.docker_ground import Ground, ground_of
from tests.real.components import free_port
from tests.real.docker import IMAGE, DockerEngine
from tests.waiting import until
from uici.model.call import FailureKind, Happened

pytestmark = pytest.mark.component("docker")
SECRET = "s3cret-value-not-to-print"


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    yield from ground_of(docker_engine)


def normalised(inspected: dict[str, Any]) -> dict[str, Any]:
    """What people configured; without what any new container has of its own."""
    one = json.loads(json.dumps(inspected))
    networks = {
        name: {
            "aliases": sorted(set(found["Aliases"] or ()) - {one["Id"][:12]}),
            "address": (found["IPAMConfig"] or {}).get("IPv4Address"),
            "links": found["Links"],
        }
        for name, found in one["NetworkSettings"]["Networks"].items()
    }
    config = one["Config"]
    if config["Hostname"] == one["Id"][:12]:
        config["Hostname"] = "(its own)"
    config["Labels"] = {key: value for key, value in config["Labels"].items() if not key.startswith("io.uici.")}
    config["Env"] = sorted(config["Env"])
    ports = one["NetworkSettings"]["Ports"]
    mounts = sorted((m["Type"], m.get("Name"), m["Source"], m["Destination"], m["RW"]) for m in one["Mounts"])
    return {
        "name": one["Name"],
        "path": [one["Path"], *one["Args"]],
        "config": config,
        "host": one["HostConfig"],
        "networks": networks,
        "ports": ports,
        "mounts": mounts,
    }


def rich(ground: Ground, tmp_path: Path, name: str) -> None:
    """A container that uses what containers have."""
    octet = os.getpid() % 200 + 20
    client = ground.client
    pools = [{"subnet": f"10.{octet}.{third}.0/24"} for third in (77, 78)]
    for network, pool in zip(("uici-t-front", "uici-t-back"), pools, strict=True):
        client.create_network(network, ipam={"Driver": "default", "Config": [{"Subnet": pool["subnet"]}]})
    (tmp_path / "bound").mkdir()
    endpoint = client.create_endpoint_config(aliases=["web", "www"], ipv4_address=f"10.{octet}.77.9")
    ground.run(
        name,
        start=False,
        user="1000:1000",
        working_dir="/data",
        entrypoint=["/bin/sh", "-c"],
        command=["trap 'exit 0' TERM; httpd -f -p 8080 -h /www & echo started; wait"],
        environment={"PORT": "8080", "SECRET": SECRET},
        labels={"team": "shop", "com.docker.compose.service": "web"},
        ports=[8080],
        volumes=["/data", "/anonymous", "/bound"],
        hostname="fixed-host",
        stop_signal="SIGTERM",
        healthcheck={"test": ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/health"], "interval": 200_000_000},
        networking_config=client.create_networking_config({"uici-t-front": endpoint}),
        host={
            "network_mode": "uici-t-front",
            "port_bindings": {8080: ("127.0.0.1", free_port())},
            "binds": ["uici-t-named:/data", f"{tmp_path / 'bound'}:/bound:ro"],
            "tmpfs": {"/scratch": "size=1m"},
            "restart_policy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "cap_add": ["NET_ADMIN"],
            "cap_drop": ["MKNOD"],
            "mem_limit": "64m",
            "nano_cpus": 500_000_000,
            "pids_limit": 50,
            "dns": ["127.0.0.1"],
            "extra_hosts": {"db": "127.0.0.9"},
            "log_config": {"type": "json-file", "config": {"max-size": "1m"}},
            "ulimits": [{"Name": "nofile", "Soft": 512, "Hard": 512}],
            "sysctls": {"net.core.somaxconn": "100"},
            "oom_score_adj": 100,
            "read_only": False,
            "init": True,
            "shm_size": "8m",
        },
    )
    client.connect_container_to_network(name, "uici-t-back", aliases=["api"])
    client.start(name)


def test_recreate_keeps_everything(ground: Ground, tmp_path: Path) -> None:
    rich(ground, tmp_path, "uici-t-rich")
    target = {"container": "uici-t-rich", "stop_seconds": 1}
    first = ground.inspect("uici-t-rich")
    volumes = {mount["Destination"]: mount["Name"] for mount in first["Mounts"] if mount["Type"] == "volume"}
    created = ground.client.exec_create("uici-t-rich", ["touch", "/data/kept"], user="0")
    ground.client.exec_start(created["Id"])

    result = ground.do("container.configure", target, environment={"NEW": "1"}, remove=["FROM_IMAGE"])

    assert result["changed"] is True
    second = ground.inspect("uici-t-rich")
    assert result["instances"] == [second["Id"]]
    assert second["Id"] != first["Id"]
    assert second["State"]["Running"]
    assert ground.names() == {"uici-t-rich"}
    now = {mount["Destination"]: mount["Name"] for mount in second["Mounts"] if mount["Type"] == "volume"}
    assert now == volumes
    environment = Path(f"/proc/{second['State']['Pid']}/environ").read_bytes()
    assert b"NEW=1" in environment
    assert b"FROM_IMAGE" not in environment

    # Undone, the container is configured as at first; anonymous volumes have become the named ones that they are.
    ground.do("container.configure", target, environment={"FROM_IMAGE": "good"}, remove=["NEW"])
    third = ground.inspect("uici-t-rich")
    before, after = normalised(first), normalised(third)
    binds = sorted({*before["host"]["Binds"], *(f"{volumes[path]}:{path}" for path in ("/anonymous",))})
    assert sorted(after["host"].pop("Binds")) == binds
    before["host"].pop("Binds")
    before["config"].pop("Volumes")
    after["config"].pop("Volumes")
    for key, value in before.items():
        assert after[key] == value, key
    ground.client.remove_container("uici-t-rich", force=True, v=True)
    for volume in volumes.values():
        ground.client.remove_volume(volume)


def test_deploy_takes_the_new_images_own_defaults_and_keeps_what_was_overridden(ground: Ground) -> None:
    ground.run("uici-t-web", environment={"OWN": "1"})
    result = ground.do("container.deploy", {"container": "uici-t-web", "stop_seconds": 1}, version="late")
    assert result["previous_image"] == f"{IMAGE}:good"
    config = ground.inspect("uici-t-web")["Config"]
    assert config["Image"] == f"{IMAGE}:late"
    assert set(config["Env"]) >= {"OWN=1", "FROM_IMAGE=late", "SPOILS_AFTER=2"}
    assert "FROM_IMAGE=good" not in config["Env"]
    ground.do("container.rollback", {"container": "uici-t-web", "stop_seconds": 1})
    config = ground.inspect("uici-t-web")["Config"]
    assert {"OWN=1", "FROM_IMAGE=good"} <= set(config["Env"])
    assert not any(entry.startswith("SPOILS_AFTER") for entry in config["Env"])


def test_a_version_that_fails_brings_the_old_container_back(ground: Ground) -> None:
    port = free_port()
    ground.run("uici-t-web", environment={"PORT": str(port), "SECRET": SECRET}, host={"network_mode": "host"})
    target = {"container": "uici-t-web", "stop_seconds": 1, "health": {"http": f"http://127.0.0.1:{port}/health"}}
    until(lambda: bool(ground.do("container.health", target)["healthy"]), "healthy at first")
    first = ground.inspect("uici-t-web")
    before = ground.before("container.deploy", target, version="bad")

    error = ground.fails("container.deploy", target, version="bad", health_timeout_seconds=2)

    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unhealthy_after_recreate")
    assert "404" in error.message
    assert SECRET not in error.message
    now = ground.inspect("uici-t-web")
    assert now["Id"] == first["Id"]
    assert normalised(now) == normalised(first)
    assert ground.names() == {"uici-t-web"}
    until(lambda: bool(ground.do("container.health", target)["healthy"]), "healthy again")
    assert ground.happened("container.deploy", before, target, version="bad") is Happened.NO


def test_an_image_whose_program_cannot_start_brings_the_old_container_back(ground: Ground) -> None:
    ground.run("uici-t-web")
    first = ground.inspect("uici-t-web")["Id"]
    ground.client.commit("uici-t-web", repository=IMAGE, tag="broken", changes=['CMD ["/no/such/program"]'])
    error = ground.fails("container.deploy", {"container": "uici-t-web", "stop_seconds": 1}, version="broken")
    assert error.kind is FailureKind.PERMANENT
    assert ground.inspect("uici-t-web")["Id"] == first
    assert ground.inspect("uici-t-web")["State"]["Running"]
    assert ground.names() == {"uici-t-web"}


def test_a_missing_image_is_refused_before_anything_is_touched(ground: Ground) -> None:
    ground.run("uici-t-web")
    ground.actions()
    for key, value in (("version", "no-such"), ("image", "nobody/nothing:1"), ("image", "../../x")):
        error = ground.fails("container.deploy", {"container": "uici-t-web"}, None, **{key: value})
        assert (error.kind, error.code) == (FailureKind.PERMANENT, "image_not_found")
    assert ground.actions() == []


def test_a_container_removed_at_its_end_is_not_replaced(ground: Ground) -> None:
    ground.run("uici-t-web", host={"auto_remove": True})
    ground.actions()
    error = ground.fails("container.deploy", {"container": "uici-t-web"}, version="late")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "auto_remove")
    assert ground.actions() == []


def test_one_failure_in_a_service_brings_all_back(ground: Ground) -> None:
    labels = {"com.docker.compose.service": "web", "com.docker.compose.project": "uici-t"}
    check = {
        "test": ["CMD", "sh", "-c", "test $NUMBER = 1 || test $FROM_IMAGE = good"],
        "interval": 100_000_000,
        "retries": 2,
    }
    ids = [
        ground.run(f"uici-t-web-{n}", labels=labels, environment={"NUMBER": str(n)}, healthcheck=check) for n in (1, 2)
    ]
    target = {"service": "web", "project": "uici-t", "stop_seconds": 1}
    error = ground.fails("container.deploy", target, version="late")
    assert error.code == "unhealthy_after_recreate"
    assert [ground.inspect(f"uici-t-web-{n}")["Id"] for n in (1, 2)] == ids
    assert ground.names() == {"uici-t-web-1", "uici-t-web-2"}


DEATHS = ("create", "stop", "rename", "rename2", "start", "healthy")
_PROGRAM = """
import json, os, signal, sys
from executors.docker import DockerExecutor
from executors.docker.engine import Engine
from executors.docker import recreate
from tests.contract.docker_rig import make_call
from uici.model.identity import SelfIdentity
from uici.ports import ExecutorContext

url, after, target = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
original, renames = Engine.post, []

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def post(self, path, *arguments, **named):
    answer = original(self, path, *arguments, **named)
    step = path[-1]
    if step == "rename":
        renames.append(1)
        step = "rename" if len(renames) == 1 else "rename2"
    if step == after:
        die()
    return answer

Engine.post = post
if after == "healthy":
    wait = recreate.wait_until_well
    def waited(*arguments):
        wait(*arguments)
        die()
    recreate.wait_until_well = waited
context = ExecutorContext(environment="test", settings={"base_url": url}, identity=SelfIdentity())
DockerExecutor(context).perform(make_call("container.deploy", target=target, version="late"))
"""


@pytest.mark.parametrize("after", DEATHS)
def test_a_death_in_the_middle_is_recovered(ground: Ground, after: str) -> None:
    first = ground.run("uici-t-web", environment={"OWN": "1"})
    target = {"container": "uici-t-web", "stop_seconds": 1}
    before = ground.before("container.deploy", target, version="late")
    program = [sys.executable, "-c", _PROGRAM, ground.engine.url, after, json.dumps(target)]
    died = subprocess.run(program, timeout=60, check=False, cwd=Path(__file__).parents[2], capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()

    happened = ground.happened("container.deploy", before, target, version="late")

    # Once the new container has been started it may well be fine, and then it stays.
    assert happened is (Happened.YES if after in ("start", "healthy") else Happened.NO)
    assert ground.names() == {"uici-t-web"}
    now = ground.inspect("uici-t-web")
    assert now["State"]["Running"]
    assert (now["Id"] == first) is (happened is Happened.NO)
    ground.do("container.deploy", target, version="late")
    assert ground.inspect("uici-t-web")["Config"]["Image"] == f"{IMAGE}:late"
    assert ground.names() == {"uici-t-web"}


def test_the_next_restart_brings_a_container_back_that_was_left_aside(ground: Ground) -> None:
    first = ground.run("uici-t-web")
    ground.client.stop("uici-t-web", timeout=1)
    ground.client.rename("uici-t-web", "uici-t-web.uici-old")
    target = {"container": "uici-t-web", "stop_seconds": 1}
    assert ground.do("container.status", target)["state"] == "missing"
    ground.do("container.restart", target)
    assert ground.inspect("uici-t-web")["Id"] == first
    assert ground.inspect("uici-t-web")["State"]["Running"]


def test_an_engine_killed_while_the_new_container_settles_leaves_the_truth_to_the_next_look(
    ground: Ground, tmp_path: Path
) -> None:
    if not ground.engine.is_own:
        pytest.skip("the engine is not the tests' own")
    ground.run("uici-t-web")
    target = {"container": "uici-t-web", "stop_seconds": 1, "health": {"tcp": "127.0.0.1:9"}}
    before = ground.before("container.deploy", target, version="late")
    child = os.fork()
    if child == 0:
        # A process of its own kills the engine while this one waits for the new container.
        time.sleep(2)
        os.kill(ground.engine.pid, signal.SIGKILL)
        os._exit(0)
    try:
        error = ground.fails("container.deploy", target, version="late", health_timeout_seconds=5)
    finally:
        os.waitpid(child, 0)
        ground.engine.kill()
        ground.engine.start()
    assert (error.kind, error.code) == (FailureKind.UNKNOWN, "recreate_interrupted")
    happened = ground.happened("container.deploy", before, target, version="late", health_timeout_seconds=1)
    assert happened is Happened.NO
    assert ground.names() == {"uici-t-web"}
    assert ground.inspect("uici-t-web")["Config"]["Image"] == f"{IMAGE}:good"
