"""The executor of Oracle Cloud against trouble: throttling, lost answers, failing work, wrong keys, being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from executors.oci import OciExecutor
from executors.oci.settings import OciBinding
from executors.oci.simulator import Order
from tests.calls import call_of
from tests.contract.oci_rig import NAME, REPOSITORY, OciRig
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Happened, Risk
from uici.model.checkup import CheckState
from uici.model.identity import SelfIdentity

CONTAINERS = "container_instances.ContainerInstanceClient"
COMPUTE = "core.ComputeClient"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OciRig]:
    rig = OciRig(tmp_path_factory.mktemp("oci"))
    yield rig
    rig.close()


@pytest.fixture
def rig(shared: OciRig) -> OciRig:
    shared.reset()
    return shared


@pytest.fixture
def hand(rig: OciRig) -> Hand:
    return Hand(rig, rig.executor(), {"container_instance": NAME, "health": rig.binding()["health"]})


class Hand:
    """Makes calls as a run does."""

    def __init__(self, rig: OciRig, executor: OciExecutor, binding: JsonObject) -> None:
        self.rig = rig
        self.executor = executor
        self.binding = binding

    def call(self, name: str, key: str = "", **arguments: Any) -> Call:
        full = f"oci.{name}"
        given = arguments if name == "request" else {"target": self.binding, **arguments}
        return call_of(OciExecutor, full, given, key)

    def do(self, name: str, key: str = "", **arguments: Any) -> JsonObject:
        return self.executor.perform(self.call(name, key, **arguments))

    def ask(self, service: str, operation: str, **arguments: Any) -> JsonObject:
        return self.do("request", service=service, operation=operation, arguments=arguments)

    def failure(self, name: str, **arguments: Any) -> CallError:
        with pytest.raises(CallError) as caught:
            self.do(name, **arguments)
        return caught.value


# --- trouble on the way ---------------------------------------------------------------------------------------


def test_a_look_outlasts_throttling(hand: Hand) -> None:
    hand.rig.simulator.order(Order("throttle", f"{CONTAINERS}.list_container_instances"))
    assert hand.do("status")["state"] == "running"
    assert hand.rig.simulator.cloud.orders.open() == []


def test_a_throttled_change_was_not_carried_out_and_says_who_was_asked(hand: Hand) -> None:
    former = hand.rig.instances()
    hand.rig.simulator.order(Order("throttle", f"{CONTAINERS}.restart_container_instance"))
    error = hand.failure("restart")
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "oci_throttled")
    assert "429 TooManyRequests" in error.message
    assert "opc-request-id" in error.message
    assert error.detail["opc_request_id"]
    assert hand.rig.instances() == former


def test_a_change_that_the_service_failed_at_is_unknown(hand: Hand) -> None:
    hand.rig.simulator.order(Order("fail", f"{CONTAINERS}.restart_container_instance"))
    error = hand.failure("restart")
    assert (error.kind, error.code) == (FailureKind.UNKNOWN, "oci_server_error")


@pytest.mark.parametrize(("trouble", "answer"), [("drop_before", Happened.NO), ("drop_after", Happened.YES)])
@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_after_a_lost_connection_the_state_tells(hand: Hand, verb: str, trouble: Any, answer: Happened) -> None:
    call = hand.call(verb)
    before = json.loads(json.dumps(hand.executor.before(call)))
    hand.rig.simulator.order(Order(trouble, f"{CONTAINERS}.{verb}_container_instance"))
    with pytest.raises(CallError) as caught:
        hand.executor.perform(call)
    assert (caught.value.kind, caught.value.code) == (FailureKind.UNKNOWN, "oci_unreachable")
    # The work that was accepted goes on after the answer was lost; the proof waits for its end.
    assert hand.executor.happened(call, before) is answer


def test_failing_work_says_why(hand: Hand) -> None:
    hand.do("stop")
    order = Order("fail_work", f"{CONTAINERS}.start_container_instance", code="OutOfHostCapacity", message="No room.")
    hand.rig.simulator.order(order)
    error = hand.failure("start")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "work_request_failed")
    assert "OutOfHostCapacity: No room." in error.message
    assert hand.do("status")["state"] == "stopped"


def test_work_that_does_not_end_is_unknown(hand: Hand) -> None:
    hand.rig.simulator.order(Order("slow_work", f"{CONTAINERS}.restart_container_instance", seconds=4000.0))
    call = hand.call("restart").model_copy(update={"timeout_seconds": 0.5})
    with pytest.raises(CallError) as caught:
        hand.executor.perform(call)
    assert (caught.value.kind, caught.value.code) == (FailureKind.UNKNOWN, "work_request_unfinished")


def test_a_change_made_by_somebody_else_meanwhile_is_not_overwritten(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "web-1"
    made = launched(hand, name)
    binding = {"instance": name}
    other = hand.rig.client(COMPUTE)
    call = Hand(hand.rig, hand.executor, binding).call("stop")
    lookup = hand.executor._lookup
    members = lookup.members

    def and_then_somebody(wanted: Any) -> Any:
        found = members(wanted)
        import oci

        other.update_instance(made, oci.core.models.UpdateInstanceDetails(freeform_tags={"by": "somebody"}))
        return found

    monkeypatch.setattr(lookup, "members", and_then_somebody)
    with pytest.raises(CallError) as caught:
        hand.executor.perform(call)
    assert (caught.value.kind, caught.value.code) == (FailureKind.TEMPORARY, "oci_changed_meanwhile")


def test_a_wrong_key_is_told_without_the_key(hand: Hand, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    (tmp_path / "other.pem").write_text(pem)
    config = hand.rig.simulator.credentials.config_file.read_text()
    lines = [
        line if not line.startswith("key_file") else f"key_file={tmp_path}/other.pem" for line in config.split("\n")
    ]
    (tmp_path / "config").write_text("\n".join(lines))
    executor = hand.rig.another({"auth": {"file": str(tmp_path / "config")}})
    error = Hand(hand.rig, executor, hand.binding).failure("status")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "oci_not_authenticated")
    assert "fingerprint" in error.message
    assert pem.split("\n")[1] not in error.message
    report = executor.check()
    assert not report.ok
    assert [check.state for check in report.checks] == [CheckState.FAIL]
    executor.close()
    (tmp_path / "other.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\nSECRETPART\n-----END RSA PRIVATE KEY-----\n")
    error = Hand(hand.rig, executor, hand.binding).failure("status")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "oci_bad_credentials")
    assert "SECRETPART" not in error.message


def test_a_session_token_lets_in(hand: Hand, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "session.pem").write_bytes(pem)
    (tmp_path / "token").write_text(hand.rig.simulator.session_token(key.public_key()))
    (tmp_path / "config").write_text(
        f"[BROWSER]\nregion=us-phoenix-1\ntenancy={hand.rig.simulator.cloud.tenancy}\nfingerprint=none\n"
        f"key_file={tmp_path}/session.pem\nsecurity_token_file={tmp_path}/token\n"
    )
    auth = {"kind": "session_token", "file": str(tmp_path / "config"), "profile": "BROWSER"}
    executor = hand.rig.another({"auth": auth})
    assert Hand(hand.rig, executor, hand.binding).do("status")["state"] == "running"
    executor.close()


# --- traffic follows ------------------------------------------------------------------------------------------


def balanced(hand: Hand) -> tuple[Hand, Callable[[], set[str]]]:
    """A group behind a load balancer by port, and what its backend set really has beside the rig's own backend."""
    front = hand.rig.binding()["backend"]
    place = (front["load_balancer"], front["backend_set"])
    client = hand.rig.client("load_balancer.LoadBalancerClient")
    backend = {"load_balancer": place[0], "backend_set": place[1], "port": 8080}
    group = Hand(hand.rig, hand.executor, {**hand.rig.binding(), "backend": backend})

    def names() -> set[str]:
        return {one.name for one in client.list_backends(*place).data} - {front["backend"]}

    for left in names():
        client.delete_backend(*place, left)
    until(lambda: not names(), "what an earlier test left is gone")

    import oci

    (first,) = addresses(hand)
    client.create_backend(oci.load_balancer.models.CreateBackendDetails(ip_address=first, port=8080, weight=7), *place)
    until(lambda: f"{first}:8080" in names(), "the first is in the set")
    return group, names


def addresses(hand: Hand) -> list[str]:
    members = hand.executor._lookup.members(OciBinding.model_validate(hand.rig.binding()))
    return [str(hand.executor._lookup.address(one)) for one in members]


def test_the_load_balancer_follows_replacing_and_scaling(hand: Hand) -> None:
    group, backends = balanced(hand)
    former = backends()
    group.do("deploy", version="other")
    now = {f"{one}:8080" for one in addresses(hand)}
    assert backends() == now
    assert now.isdisjoint(former)
    assert group.do("backend")["weight"] == 7
    group.do("scale", replicas=3)
    assert backends() == {f"{one}:8080" for one in addresses(hand)}
    assert len(backends()) == 3
    assert group.do("set_backend", state="drain")["changed"]
    assert group.do("backend")["state"] == "drain"
    assert group.do("set_backend", state="ready")["previous_state"] == "drain"
    group.do("scale", replicas=1)
    assert backends() == now
    error = hand.failure("deploy", version="bad", health_timeout_seconds=1)
    assert error.code == "unhealthy_after_recreate"
    assert backends() == now


@pytest.mark.parametrize("stage", ["create_backend", "delete_backend"])
def test_the_load_balancer_is_left_whole_when_the_maker_dies(hand: Hand, stage: str) -> None:
    group, backends = balanced(hand)
    call = group.call("deploy", key=f"run-4/{stage}", version="other")
    happened = killed(group, call, stage, 0, "load_balancer.LoadBalancerClient")
    assert happened is Happened.YES
    assert backends() == {f"{one}:8080" for one in addresses(hand)}


# --- creation happens once ------------------------------------------------------------------------------------


def test_the_repetition_of_a_sending_creates_nothing_twice(hand: Hand) -> None:
    group = Hand(hand.rig, hand.executor, hand.rig.binding())
    hand.rig.simulator.order(Order("drop_after", f"{CONTAINERS}.create_container_instance"))
    with pytest.raises(CallError):
        group.do("scale", key="run-1/step-1", replicas=2)
    assert group.do("scale", key="run-1/step-1", replicas=2)["replicas"] == 2
    assert len(hand.rig.alive()) == 2


# --- being killed in the middle of a replacement --------------------------------------------------------------

_CHILD = """
import json, sys
from executors.oci import OciExecutor
from uici.model.call import Call
from uici.model.identity import SelfIdentity
from uici.ports import ExecutorContext
settings, call = json.loads(sys.argv[1]), Call.model_validate_json(sys.argv[2])
OciExecutor(ExecutorContext(environment="rig", settings=settings, identity=SelfIdentity())).perform(call)
"""


def killed(hand: Hand, call: Call, stage: str, skip: int, client: str = CONTAINERS) -> Happened:
    """Let another process make the call, kill it when it asks for `stage`, and say what is then proved."""
    before = json.loads(json.dumps(hand.executor.before(call)))
    orders = hand.rig.simulator.cloud.orders
    hand.rig.simulator.order(Order("hang", f"{client}.{stage}", skip=skip, seconds=60.0))
    settings = hand.executor._cloud.settings.model_dump(mode="json")
    child = subprocess.Popen([sys.executable, "-c", _CHILD, json.dumps(settings), call.model_dump_json()])
    until(lambda: orders.open() == [] or child.poll() is not None, "the child is there")
    assert child.poll() is None, "the child ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return hand.executor.happened(call, before)


@pytest.mark.parametrize(
    ("stage", "skip", "image"),
    [
        ("create_container_instance", 0, "good"),  # asked for, and not yet answered
        ("stop_container_instance", 0, "other"),  # the new one runs, the old one too
        ("update_container_instance", 0, "other"),  # the new one is well, nothing is renamed
        ("update_container_instance", 1, "other"),  # the old one is aside
        ("delete_container_instance", 0, "other"),  # the old one waits for its end
    ],
)
def test_a_replacement_survives_the_death_of_its_maker(hand: Hand, stage: str, skip: int, image: str) -> None:
    rig = hand.rig
    happened = killed(hand, hand.call("deploy", key="run-2/step-1", version="other"), stage, skip)
    assert happened is (Happened.YES if image == "other" else Happened.NO)
    (alive,) = rig.alive()
    assert alive.wire["displayName"] == NAME
    assert rig.containers_of(alive)[0].wire["imageUrl"] == f"{REPOSITORY}:{image}"
    assert not [tag for tag in alive.wire["freeformTags"] if tag in ("uici-replaces", "uici-batch")]
    assert hand.do("health")["healthy"]


@pytest.mark.parametrize(
    ("stage", "skip", "image"),
    [
        ("create_container_instance", 1, "good"),  # one has its successor, the other has none
        ("update_container_instance", 1, "other"),  # one is aside, the other is not
        ("update_container_instance", 3, "other"),  # one of the new has its name
        ("delete_container_instance", 1, "other"),  # one of the old is gone
    ],
)
def test_a_group_is_replaced_as_a_whole_or_not_at_all(hand: Hand, stage: str, skip: int, image: str) -> None:
    hand.rig.make(name=f"{NAME}-2")
    group = Hand(hand.rig, hand.executor, hand.rig.binding())
    call = group.call("deploy", key="run-3/step-1", version="other")
    happened = killed(group, call, stage, skip)
    assert happened is (Happened.YES if image == "other" else Happened.NO)
    alive = hand.rig.alive()
    assert sorted(one.wire["displayName"] for one in alive) == [NAME, f"{NAME}-2"]
    images = {hand.rig.containers_of(one)[0].wire["imageUrl"] for one in alive}
    assert images == {f"{REPOSITORY}:{image}"}
    assert group.do("health")["healthy"]


def test_what_does_not_get_well_gives_way_to_the_old_one(hand: Hand) -> None:
    former = set(hand.rig.instances())
    error = hand.failure("deploy", version="bad", health_timeout_seconds=1)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unhealthy_after_recreate")
    assert "answered 503" in error.message
    assert set(hand.rig.instances()) == former
    assert hand.do("health")["healthy"]


def test_what_is_not_well_at_first_may_get_well_in_time(hand: Hand) -> None:
    simulator = hand.rig.simulator

    def fresh() -> str | None:
        made = [one for one in hand.rig.alive() if str(one.wire["displayName"]).endswith(".uici-new")]
        return made[0].id if made and made[0].id in hand.rig.instances() else None

    waiting = threading.Thread(target=lambda: simulator.heal(until(fresh, "the new one runs")))
    waiting.start()
    result = hand.do("deploy", version="bad", health_timeout_seconds=60)
    waiting.join()
    assert (result["changed"], result["version"]) == (True, "bad")
    assert hand.do("health")["healthy"]


def test_what_follows_a_replacement_and_what_does_not_is_told_before(hand: Hand) -> None:
    group = "ocid1.networksecuritygroup.oc1.phx.aaaa"
    card = {
        "subnet_id": hand.rig.simulator.subnet,
        "hostname_label": "shop",
        "nsg_ids": [group],
        "skip_source_dest_check": True,
        "freeform_tags": {"team": "web"},
    }
    details = {
        "compartment_id": hand.rig.simulator.compartment,
        "availability_domain": "UICI:PHX-AD-1",
        "display_name": "carded",
        "freeform_tags": {"service": "another"},
        "shape": "CI.Standard.E4.Flex",
        "shape_config": {"ocpus": 1, "memory_in_gbs": 2},
        "containers": [{"display_name": "web", "image_url": f"{REPOSITORY}:good"}],
        "vnics": [card],
    }
    hand.ask("container_instances", "create_container_instance", create_container_instance_details=details)
    carded = Hand(hand.rig, hand.executor, {"container_instance": "carded"})
    until(lambda: carded.do("status")["state"] == "running", "it runs")
    cloud = hand.rig.simulator.cloud

    def wire() -> JsonObject:
        listed = cloud.state.find("container_instance")
        (made,) = (
            one for one in listed if one.wire["displayName"] == "carded" and one.wire["lifecycleState"] != "DELETED"
        )
        return cloud.need("vnic", made.wire["vnics"][0]["vnicId"]).wire

    before, fingerprint = wire(), cloud.state.fingerprint()
    told = carded.executor.rehearse(carded.call("deploy", version="other"))
    assert told is not None
    assert told.accepted is None
    assert any(str(before["privateIp"]) in one for one in told.warnings)
    assert any("hostname label 'shop'" in one for one in told.warnings)
    assert cloud.state.fingerprint() == fingerprint
    # What is as it should be is not replaced, and what would be refused is said to be.
    same = carded.executor.rehearse(carded.call("deploy", version="good"))
    assert (same is not None and same.warnings) == ()
    refused = carded.executor.rehearse(carded.call("rollback"))
    assert refused is not None
    assert (refused.accepted, refused.code) == (False, "no_previous_version")
    assert carded.executor.rehearse(carded.call("restart")) is None
    assert carded.do("deploy", version="other")["changed"]
    after = wire()
    for name in ("nsgIds", "skipSourceDestCheck", "freeformTags", "subnetId"):
        assert after[name] == before[name], name
    assert after["privateIp"] != before["privateIp"]
    assert after["hostnameLabel"] is None


def test_a_version_means_nothing_to_an_image_without_a_name(hand: Hand) -> None:
    instance = hand.rig.alive()[0]
    with hand.rig.simulator.cloud.state.transaction():
        container = hand.rig.containers_of(instance)[0]
        container.wire["imageUrl"] = "sha256:" + "a" * 64
        hand.rig.simulator.cloud.state.put(container)
    assert hand.failure("deploy", version="other").code == "no_repository"


# --- compute instances, pools, functions ----------------------------------------------------------------------


def launched(hand: Hand, name: str) -> str:
    """A compute instance made by the open call; its OCID."""
    details = {
        "compartmentId": hand.rig.simulator.compartment,
        "availability_domain": "UICI:PHX-AD-1",
        "display_name": name,
        "shape": "VM.Standard.E4.Flex",
        "shape_config": {"ocpus": 1, "memory_in_gbs": 8},
        "create_vnic_details": {"subnet_id": hand.rig.simulator.subnet},
        "source_details": {"source_type": "image", "image_id": "ocid1.image.oc1.phx.aaaa"},
    }
    made = str(hand.ask("core", "launch_instance", launch_instance_details=details)["body"]["id"])
    running(hand, made)
    return made


def running(hand: Hand, instance: str) -> None:
    def runs() -> bool:
        found = hand.ask("core", "get_instance", instance_id=instance)
        return bool(found["body"]["lifecycle_state"] == "RUNNING")

    until(runs, "it runs")


def test_a_compute_instance_is_looked_at_and_restarted(hand: Hand) -> None:
    made = launched(hand, "web-2")
    binding = {
        "instance": "web-2",
        "health": {"port": 8080, "path": "/health"},
        "diagnostics": {"disk": ["df", "-P", "/"], "say": ["echo", "a b", "$(id)"], "none": ["no-such-program"]},
    }
    machine = Hand(hand.rig, hand.rig.another({"limits": {"diagnostic_seconds": 60.0}}), binding)
    status = machine.do("status")
    assert (status["state"], status["instances"][0]["id"]) == ("running", made)
    assert machine.do("health")["healthy"]
    assert machine.do("logs", lines=5)["lines"]
    assert machine.do("usage")["memory_limit_bytes"] == 8 * 1024**3
    assert any("/dev/sda3" in line for line in machine.do("diagnose", diagnostic="disk")["lines"])
    assert machine.do("diagnose", diagnostic="say")["lines"] == ["a b $(id)"]
    assert machine.do("diagnose", diagnostic="none")["exit_code"] == 127
    hand.rig.simulator.ail(made, "hang")
    assert not machine.do("health")["healthy"]
    before = machine.executor.before(machine.call("restart"))
    assert machine.executor.happened(machine.call("restart"), before) is Happened.NO
    assert machine.do("restart", hard=True)["changed"]
    assert machine.executor.happened(machine.call("restart"), before) is not Happened.NO
    assert machine.do("health")["healthy"]
    assert machine.do("stop")["changed"]
    assert machine.do("stop")["changed"] is False
    assert machine.do("status")["state"] == "stopped"
    assert machine.do("start")["changed"]
    assert machine.do("update", cpus=2)["changed"]
    assert machine.do("describe")["configuration"]["cpus"] == 2
    impossible: dict[str, JsonObject] = {"deploy": {"version": "x"}, "configure": {}, "scale": {"replicas": 2}}
    for verb, arguments in impossible.items():
        error = machine.failure(verb, **arguments)
        assert (error.kind, error.code) == (FailureKind.PERMANENT, "not_possible")


def test_a_pool_is_scaled_and_restarted(hand: Hand) -> None:
    details = {
        "compartment_id": hand.rig.simulator.compartment,
        "availability_domain": "UICI:PHX-AD-1",
        "shape": "VM.Standard.E4.Flex",
        "create_vnic_details": {"subnet_id": hand.rig.simulator.subnet},
        "source_details": {"source_type": "image", "image_id": "ocid1.image.oc1.phx.aaaa"},
    }
    configuration = hand.ask(
        "core",
        "create_instance_configuration",
        create_instance_configuration={
            "source": "NONE",
            "compartment_id": hand.rig.simulator.compartment,
            "instance_details": {"instance_type": "compute", "launch_details": details},
        },
    )["body"]["id"]
    pool = {
        "compartment_id": hand.rig.simulator.compartment,
        "display_name": "workers",
        "instance_configuration_id": configuration,
        "size": 1,
        "placement_configurations": [
            {"availability_domain": "UICI:PHX-AD-1", "primary_subnet_id": hand.rig.simulator.subnet}
        ],
    }
    hand.ask("core", "create_instance_pool", create_instance_pool_details=pool)
    workers = Hand(hand.rig, hand.executor, {"instance_pool": "workers"})
    until(lambda: workers.do("status")["state"] == "running", "the pool runs")
    call = workers.call("scale", replicas=3)
    before = workers.executor.before(call)
    assert workers.executor.happened(call, before) is Happened.NO
    result = workers.do("scale", replicas=3)
    assert (result["previous_replicas"], result["replicas"], len(result["instances"])) == (1, 3, 3)
    assert workers.executor.happened(call, before) is Happened.YES
    assert workers.do("status")["desired"] == 3
    assert workers.do("scale", replicas=3)["changed"] is False
    assert workers.do("restart")["changed"]
    assert workers.do("stop")["changed"]
    assert workers.do("status")["running"] == 0
    assert workers.do("start")["changed"]
    own = workers.do("status")["instances"][0]["id"]
    guarded = Hand(hand.rig, hand.rig.executor(SelfIdentity(names=frozenset({own}))), {"instance_pool": "workers"})
    changes: dict[str, JsonObject] = {"scale": {"replicas": 1}, "restart": {}, "stop": {}}
    for verb, arguments in changes.items():
        assert guarded.failure(verb, **arguments).code == "self_target"
    assert workers.do("scale", replicas=1)["replicas"] == 1


def test_a_function_gets_configuration_memory_and_image(hand: Hand) -> None:
    application = hand.ask(
        "functions",
        "create_application",
        create_application_details={
            "compartment_id": hand.rig.simulator.compartment,
            "display_name": "media",
            "subnet_ids": [hand.rig.simulator.subnet],
        },
    )
    made = application["body"]["id"]
    hand.ask(
        "functions",
        "create_function",
        create_function_details={
            "application_id": made,
            "display_name": "resize",
            "source_details": {"source_type": "CONTAINER_IMAGE", "image": "phx.ocir.io/uici/resize:1"},
            "memory_in_mbs": 128,
        },
    )
    resize = Hand(hand.rig, hand.executor, {"function": "resize", "application": "media"})
    until(lambda: resize.do("status")["state"] == "running", "the function is there")
    assert resize.do("configure", environment={"SIZE": "10", "OLD": "1"})["changed"]
    assert resize.do("configure", environment={"SIZE": "20"}, remove=["OLD"])["changed"]
    assert resize.do("describe")["configuration"]["environment"] == {"SIZE": "20"}
    assert resize.do("update", memory_bytes=512 * 1024**2)["changed"]
    assert resize.do("describe")["configuration"]["memory_bytes"] == 512 * 1024**2
    assert resize.do("deploy", version="2")["previous_image"] == "phx.ocir.io/uici/resize:1"
    assert resize.do("rollback")["version"] == "1"
    for verb in ("start", "stop", "restart", "diagnose", "logs"):
        arguments = {"diagnostic": "x"} if verb == "diagnose" else {}
        assert resize.failure(verb, **arguments).code == "not_possible"


# --- the open call --------------------------------------------------------------------------------------------


def test_open_calls_are_classed_by_their_operation() -> None:
    def of(operation: str) -> tuple[bool, Risk]:
        return OciExecutor.classify("oci.request", {"service": "core", "operation": operation})

    assert of("list_instances") == (False, Risk.LOW)
    assert of("instance_action") == (True, Risk.HIGH)
    assert of("terminate_instance") == (True, Risk.DESTRUCTIVE)
    # Their names look like reading.
    assert of("get_messages") == of("get_path_analysis") == (True, Risk.HIGH)


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "told"),
    [
        ("core", "get_instanse", {}, "did you mean 'get_instance'"),
        ("no_such", "get_it", {}, "no service 'no_such'"),
        ("core", "get_instance", {}, "needs instance_id"),
        ("core", "get_instance", {"instance_id": "x", "shape": 1}, "has no argument 'shape'"),
        ("core", "__init__", {}, "do not fit"),
        ("core", "launch_instance", {"launch_instance_details": {"shap": 1}}, "did you mean 'shape'"),
        ("core", "launch_instance", {"launch_instance_details": {"shape": 1}}, "launch_instance_details.shape: str is"),
    ],
)
def test_what_the_sdk_does_not_have_is_not_sent(
    hand: Hand, service: str, operation: str, arguments: JsonObject, told: str
) -> None:
    count = hand.rig.mutations()
    client = {"client": "ComputeClient"} if service == "core" else {}
    error = hand.failure("request", service=service, operation=operation, arguments=arguments, **client)
    assert error.kind is FailureKind.PERMANENT
    assert told in error.message or "LaunchInstanceDetails.shape: str is" in error.message
    assert hand.rig.mutations() == count


# --- finding, and not touching oneself ------------------------------------------------------------------------


def test_labels_lead_to_what_they_name(hand: Hand) -> None:
    ocid = next(iter(hand.rig.instances()))
    assert hand.executor.find({"resource_id": ocid}) == ({"container_instance": ocid},)
    assert hand.executor.find({"resource_display_name": NAME}) == ({"container_instance": NAME},)
    assert hand.executor.find({"resource_id": ocid[:-4] + "aaaa"}) == ()


def test_one_of_two_by_the_same_name_is_not_guessed(hand: Hand) -> None:
    hand.rig.make()
    error = hand.failure("status")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "oci_ambiguous")
    assert hand.executor.find({"name": NAME}) == ()


def test_the_instance_that_uici_runs_on_is_not_touched(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = launched(hand, "uici-host"), launched(hand, "beside")
    admin = hand.rig.simulator.admin_url
    monkeypatch.setenv("OCI_METADATA_BASE_URL", f"{admin}/imds/{own}/opc/v2")
    executor = hand.rig.another({"auth": {"kind": "instance_principal"}, "endpoints": {"auth": admin}})
    for binding in ({"instance": "uici-host"}, {"instance": own}):
        host = Hand(hand.rig, executor, binding)
        assert host.do("status")["state"] == "running"
        for verb in ("restart", "stop"):
            error = host.failure(verb)
            assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
    action = {"instance_id": own, "action": "STOP"}
    error = host.failure("request", service="core", operation="instance_action", arguments=action)
    assert error.code == "self_target"
    root = {"compartment_id": hand.rig.simulator.compartment}
    error = host.failure("request", service="identity", operation="delete_compartment", arguments=root)
    assert error.code == "self_target"
    assert Hand(hand.rig, executor, {"instance": other}).do("restart")["changed"]
    executor.close()


def test_without_knowing_itself_nothing_is_changed(hand: Hand) -> None:
    executor = hand.rig.another({"metadata": f"{hand.rig.simulator.admin_url}/imds/nowhere/opc/v2"})
    unsure = Hand(hand.rig, executor, hand.binding)
    assert unsure.do("status")["state"] == "running"
    former = hand.rig.instances()
    error = unsure.failure("restart")
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "self_unknown")
    assert hand.rig.instances() == former
    executor.close()


def test_a_container_instance_knows_itself_by_its_token(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    own = next(iter(hand.rig.instances()))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    claims: dict[str, Any] = {
        "res_tenant": hand.rig.simulator.cloud.tenancy,
        "res_compartment": hand.rig.simulator.compartment,
    }
    token = hand.rig.simulator.credentials.token(key.public_key(), res_id=own, **claims)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_RPST", token)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", pem)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_REGION", "us-phoenix-1")
    executor = hand.rig.another({"auth": {"kind": "resource_principal"}})
    inside = Hand(hand.rig, executor, hand.binding)
    assert inside.do("status")["state"] == "running"
    assert inside.failure("restart").code == "self_target"
    executor.close()


def test_a_cluster_takes_the_token_that_the_plugin_gives(hand: Hand) -> None:
    simulator = hand.rig.simulator
    cluster = simulator.add_cluster("one", "https://127.0.0.1:6443", "Q0E=")
    argv = ["--cluster-id", cluster, "--region", "us-phoenix-1", "--config-file"]
    plugin = [sys.executable, "-m", "executors.oci.oke", *argv]
    done = subprocess.run([*plugin, str(simulator.credentials.config_file)], capture_output=True, text=True, check=True)
    credential = json.loads(done.stdout)
    assert (credential["kind"], credential["apiVersion"]) == ("ExecCredential", "client.authentication.k8s.io/v1beta1")
    asked = {"spec": {"token": credential["status"]["token"]}}
    review = httpx.post(f"{simulator.admin_url}/tokenreviews", json=asked).json()
    assert review["status"]["authenticated"] is True
    failed = subprocess.run([*plugin, "/nowhere"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "profile 'DEFAULT' of /nowhere gives no credentials" in failed.stderr
