"""The Oracle Cloud executor refuses what would hit UICI itself, wherever it asks: on the simulator."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import oci
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from executors.oci import OciExecutor, self_guard
from executors.oci.simulator import Simulator
from tests.real.components import free_port
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

YARD = "UICI_TEST_OCI_YARD"
"""Set in the environment: the file that says where a cloud runs which a `Yard` has prepared."""
NOWHERE = f"http://127.0.0.1:{free_port()}"
ALL = SelfGuardLayers()

# Before each mutant gets a process of its own: they take longer to load than all tests to run.
for package in ("auth", "container_instances", "core", "identity", "load_balancer", "work_requests"):
    importlib.import_module(f"oci.{package}")


class Yard:
    """A simulated cloud with two of everything: one is UICI's own, the other stands beside it. `what` names them."""

    def __init__(self, folder: Path) -> None:
        self.simulator = Simulator(folder, speed=400.0)
        self.simulator.start()
        self._config = oci.config.from_file(str(self.simulator.credentials.config_file))
        self.what: JsonObject = {**self.simulator.describe()}
        names = ("own", "beside", "twin")
        self.what.update({name: self._container_instance(name, 2 if name == "twin" else 1) for name in names})
        self.what.update({name: self._instance(name) for name in ("host", "guest")})
        self.what["pool"], self.what["pooled"] = self._pool()
        state = self.simulator.cloud.state
        until(lambda: all(one.wire["lifecycleState"] == "ACTIVE" for one in state.find("container_instance")), "run")
        until(lambda: all(one.wire["lifecycleState"] == "RUNNING" for one in state.find("instance")), "run")
        self.what["container"] = state.find("container_instance")[0].wire["containers"][0]["containerId"]
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        claims = {"res_tenant": self.what["tenancy"], "res_compartment": self.what["compartment"]}
        self.what["principal"] = {
            "OCI_RESOURCE_PRINCIPAL_VERSION": "2.2",
            "OCI_RESOURCE_PRINCIPAL_RPST": self.simulator.credentials.token(
                key.public_key(), res_id=self.what["own"], **claims
            ),
            "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM": key.private_bytes(*pem).decode(),
            "OCI_RESOURCE_PRINCIPAL_REGION": "us-phoenix-1",
        }
        self.file = folder / "yard.json"
        self.file.write_text(json.dumps(self.what))

    def close(self) -> None:
        self.simulator.stop()

    def _client(self, name: str) -> Any:
        package, cls = name.split(".")
        made = getattr(importlib.import_module(f"oci.{package}"), cls)
        return made(self._config, service_endpoint=self.simulator.url, retry_strategy=oci.retry.NoneRetryStrategy())

    def _container_instance(self, name: str, count: int) -> str:
        models = oci.container_instances.models
        details = models.CreateContainerInstanceDetails(
            compartment_id=self.simulator.compartment,
            availability_domain="UICI:PHX-AD-1",
            display_name=name,
            shape="CI.Standard.E4.Flex",
            shape_config=models.CreateContainerInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=2),
            containers=[
                models.CreateContainerDetails(
                    display_name=f"c{number}",
                    image_url="web:good",
                    environment_variables={"PORT": str(8080 + number)},
                )
                for number in range(count)
            ],
            vnics=[models.CreateContainerVnicDetails(subnet_id=self.simulator.subnet)],
        )
        client = self._client("container_instances.ContainerInstanceClient")
        return str(client.create_container_instance(details).data.id)

    def _launching(self, name: str) -> JsonObject:
        models = oci.core.models
        return {
            "compartment_id": self.simulator.compartment,
            "availability_domain": "UICI:PHX-AD-1",
            "display_name": name,
            "shape": "VM.Standard.E4.Flex",
            "source_details": models.InstanceSourceViaImageDetails(image_id="ocid1.image.oc1.phx.aaaa"),
        }

    def _instance(self, name: str) -> str:
        models = oci.core.models
        vnic = models.CreateVnicDetails(subnet_id=self.simulator.subnet)
        details = models.LaunchInstanceDetails(**self._launching(name), create_vnic_details=vnic)
        return str(self._client("core.ComputeClient").launch_instance(details).data.id)

    def _pool(self) -> tuple[str, str]:
        models, client = oci.core.models, self._client("core.ComputeManagementClient")
        vnic = models.InstanceConfigurationCreateVnicDetails(subnet_id=self.simulator.subnet)
        launch = self._launching("pooled")
        launch["source_details"] = models.InstanceConfigurationInstanceSourceViaImageDetails(
            image_id="ocid1.image.oc1.phx.aaaa"
        )
        launched = models.InstanceConfigurationLaunchInstanceDetails(**launch, create_vnic_details=vnic)
        configuration = client.create_instance_configuration(
            models.CreateInstanceConfigurationDetails(
                source="NONE",
                compartment_id=self.simulator.compartment,
                instance_details=models.ComputeInstanceDetails(launch_details=launched),
            )
        ).data.id
        place = models.CreateInstancePoolPlacementConfigurationDetails(
            availability_domain="UICI:PHX-AD-1", primary_subnet_id=self.simulator.subnet
        )
        made = client.create_instance_pool(
            models.CreateInstancePoolDetails(
                compartment_id=self.simulator.compartment,
                display_name="workers",
                instance_configuration_id=configuration,
                size=1,
                placement_configurations=[place],
            )
        ).data.id

        def inside() -> list[Any]:
            listed: list[Any] = client.list_instance_pool_instances(self.simulator.compartment, made).data
            return listed

        until(lambda: bool(inside()), "the pool has its instance")
        return str(made), str(inside()[0].id)


@pytest.fixture(scope="module")
def what(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JsonObject]:
    if given := os.environ.get(YARD):
        yield json.loads(Path(given).read_text())
        return
    yard = Yard(tmp_path_factory.mktemp("yard"))
    yield yard.what
    yard.close()


class Hand:
    """Makes calls as a run does, with another connection where that is said."""

    def __init__(
        self, what: JsonObject, identity: SelfIdentity, layers: SelfGuardLayers = ALL, **connection: object
    ) -> None:
        settings = {
            "auth": {"file": what["config_file"]},
            "endpoint": what["endpoint"],
            "compartment": what["compartment"],
            "poll_seconds": 0.02,
            "attempts": 1,
            "limits": {"diagnostic_seconds": 0.1},
            **connection,
        }
        self.executor = OciExecutor(
            ExecutorContext(environment="test", settings=settings, identity=identity, layers=layers)
        )

    def call(self, name: str, arguments: JsonObject) -> Call:
        spec = OciExecutor.call_specs[f"oci.{name}"]
        mutates, risk = OciExecutor.classify(f"oci.{name}", arguments)
        return Call(
            id="c1", name=f"oci.{name}", arguments=arguments, mutates=mutates, risk=risk, timeout_seconds=20,
            in_flight_seconds=spec.in_flight_seconds, provable=spec.provable,
        )  # fmt: skip

    def outcome(self, name: str, /, **arguments: Any) -> str:
        """The code of the failure; empty when it was done."""
        try:
            self.executor.perform(self.call(name, arguments))
        except CallError as error:
            return error.code
        finally:
            self.executor.close()
        return ""

    def request(self, operation: str, service: str = "container_instances", /, **arguments: Any) -> str:
        target = arguments.pop("target", None)
        return self.outcome("request", service=service, operation=operation, arguments=arguments, target=target)


def named(*names: str) -> SelfIdentity:
    return SelfIdentity(names=frozenset(names))


BACKEND = {"load_balancer": "ocid1.loadbalancer.oc1.phx.aaaa", "backend_set": "web", "backend": "10.0.0.1:80"}
CHANGES: dict[str, tuple[JsonObject, JsonObject]] = {
    "restart": ({"container_instance": "own"}, {}),
    "set_backend": ({"instance": "host", "backend": BACKEND}, {"state": "drain"}),
    "diagnose": ({"instance": "host", "diagnostics": {"disk": ["df"]}}, {"diagnostic": "disk"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_binding_that_names_uici_is_refused_before_anybody_is_asked(what: JsonObject, name: str) -> None:
    binding, more = CHANGES[name]
    hand = Hand(what, named("own", "host"), endpoint=NOWHERE)
    assert hand.outcome(name, target=binding, **more) == "self_target"


@pytest.mark.parametrize("name", CHANGES)
def test_what_uici_runs_in_is_refused_whatever_it_is_called(what: JsonObject, name: str) -> None:
    binding, more = CHANGES[name]
    hand = Hand(what, named(what["own"], what["host"]))
    assert hand.outcome(name, target=binding, **more) == "self_target"


def test_what_is_named_as_uici_is_refused_when_it_is_reached_by_its_ocid(what: JsonObject) -> None:
    assert Hand(what, named("own")).outcome("stop", target={"container_instance": what["own"]}) == "self_target"


def test_a_replacement_of_uici_that_is_proved_is_not_gone_on_with(what: JsonObject) -> None:
    hand = Hand(what, named("own"), endpoint=NOWHERE)
    call = hand.call("deploy", {"target": {"container_instance": "own"}, "version": "other"})
    with pytest.raises(CallError) as caught:
        hand.executor.happened(call, {})
    assert caught.value.code == "self_target"


@pytest.mark.parametrize("by_ocid", [False, True])
def test_a_preview_of_a_replacement_of_uici_says_that_it_is_refused(what: JsonObject, by_ocid: bool) -> None:
    hand = Hand(what, named(what["own"])) if by_ocid else Hand(what, named("own"), endpoint=NOWHERE)
    told = hand.executor.rehearse(hand.call("deploy", {"target": {"container_instance": "own"}, "version": "other"}))
    assert told is not None
    assert (told.accepted, told.code) == (False, "self_target")


def test_a_preview_of_what_stands_beside_uici_is_not_refused(what: JsonObject) -> None:
    hand = Hand(what, named(what["own"]))
    told = hand.executor.rehearse(hand.call("deploy", {"target": {"container_instance": "beside"}, "version": "other"}))
    assert told is not None
    assert told.accepted is None


def test_what_stands_beside_uici_is_not_refused(what: JsonObject) -> None:
    identity = named(what["own"], "df", "http://127.0.0.1:9/health")
    beside = {"container_instance": "beside", "health": {"http": "http://127.0.0.1:9/health"}}
    assert Hand(what, identity).outcome("start", target=beside) == ""
    machine = {"instance": "guest", "diagnostics": {"disk": ["df"]}}
    assert Hand(what, identity).outcome("start", target=machine) == ""


def test_the_layer_can_be_switched_off_to_try_the_others(what: JsonObject) -> None:
    for identity in (named("own"), named(what["own"])):
        off = Hand(what, identity, SelfGuardLayers(executor=False))
        assert off.outcome("start", target={"container_instance": "own"}) == ""
        off = Hand(what, identity, SelfGuardLayers(executor=False))
        assert off.request("start_container_instance", container_instance_id=what["own"]) != "self_target"


# --- requests that reach anything -----------------------------------------------------------------------------


def test_a_request_that_names_uici_is_refused_before_anybody_is_asked(what: JsonObject) -> None:
    def refused(**arguments: Any) -> str:
        return Hand(what, named("own"), endpoint=NOWHERE).request("update_container_instance", **arguments)

    details: JsonObject = {"freeform_tags": {"a": "b"}}
    assert refused(container_instance_id="own") == "self_target"
    assert refused(update_container_instance_details={"deep": [{"display_name": "own"}]}) == "self_target"
    assert refused(container_instance_id="beside", target={"container_instance": "own"}) == "self_target"
    assert refused(container_instance_id="beside", update_container_instance_details=details) != "self_target"


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("own", ["own", "host", "pooled"])
def test_a_request_for_the_ocid_of_what_uici_runs_in_is_refused(what: JsonObject, own: str, deep: bool) -> None:
    # Known by its name alone, so that its OCID has to be looked up.
    name = str(what["pooled"]) if own == "pooled" else own
    reached = what["pool"] if own == "pooled" else what[own]
    sent: Any = {"list": [1, reached]} if deep else reached
    assert Hand(what, named(name)).request("delete_anything", "core", some_id=sent) == "self_target"


def test_a_request_for_one_of_its_containers_is_refused(what: JsonObject) -> None:
    gone = what["container"][:-6] + "aaaaaa"
    assert Hand(what, named("own")).request("delete_container", container_id=what["container"]) == "self_target"
    assert Hand(what, named("own")).request("delete_container", container_id=gone) != "self_target"


def test_one_of_several_containers_is_enough(what: JsonObject) -> None:
    asked = {"container_instance_id": what["twin"]}
    assert Hand(what, named("twin")).request("delete_container_instance", **asked) == "self_target"
    assert Hand(what, named("own")).request("start_container_instance", **asked) != "self_target"


@pytest.mark.parametrize("beside", ["beside", "guest", "pool", "subnet"])
def test_a_request_for_what_stands_beside_uici_is_not_refused(what: JsonObject, beside: str) -> None:
    assert Hand(what, named("own")).request("delete_anything", "core", some_id=what[beside]) == "bad_arguments"


def test_what_cannot_be_looked_up_is_not_taken_for_something_else(what: JsonObject) -> None:
    hand = Hand(what, named("own"), endpoints={"core": NOWHERE})
    assert hand.request("instance_action", "core", instance_id=what["host"], action="START") == "oci_unreachable"


# --- who it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reached", ["host", "guest"])
def test_the_metadata_service_says_on_which_instance_it_runs(what: JsonObject, reached: str) -> None:
    here = f"{what['admin']}/imds/{what['host']}/opc/v2"
    wanted = "self_target" if reached == "host" else ""
    assert Hand(what, named(), metadata=here).outcome("start", target={"instance": reached}) == wanted


def test_what_the_metadata_service_says_is_known_by_the_ocid_too(what: JsonObject) -> None:
    here = f"{what['admin']}/imds/{what['host']}/opc/v2"
    hand = Hand(what, named(), metadata=here, endpoint=NOWHERE)
    assert hand.outcome("stop", target={"instance": what["host"]}) == "self_target"


def test_what_the_site_says_goes_before_what_the_environment_says(
    what: JsonObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", NOWHERE)
    here = f"{what['admin']}/imds/{what['host']}/opc/v2"
    hand = Hand(what, named(), metadata=here, endpoint=NOWHERE)
    assert hand.outcome("stop", target={"instance": "host"}) == "self_target"


def test_an_instance_principal_asks_without_being_told_where(what: JsonObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", f"{what['admin']}/imds/{what['host']}/opc/v2")
    hand = Hand(what, named(), auth={"kind": "instance_principal"}, endpoint=NOWHERE)
    assert hand.outcome("stop", target={"instance": "host"}) == "self_target"


def test_with_a_key_of_its_own_nobody_is_asked_who_it_is(what: JsonObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", NOWHERE)
    assert Hand(what, named()).outcome("start", target={"instance": "guest"}) == ""


def test_without_a_word_the_usual_address_is_asked(what: JsonObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCI_METADATA_BASE_URL", raising=False)
    monkeypatch.setattr(self_guard, "_METADATA", f"{what['admin']}/imds/{what['host']}/opc/v2")
    hand = Hand(what, named(), auth={"kind": "instance_principal"}, endpoint=NOWHERE)
    assert hand.outcome("stop", target={"instance": "host"}) == "self_target"


def test_the_compartment_that_uici_is_in_is_not_changed_as_a_whole(what: JsonObject) -> None:
    here: dict[str, Any] = {"metadata": f"{what['admin']}/imds/{what['host']}/opc/v2"}
    within = {"compartment_id": what["compartment"]}
    assert Hand(what, named(), **here).request("delete_compartment", "identity", **within) == "self_target"


def test_another_compartment_or_something_in_it_is_not_the_whole(what: JsonObject) -> None:
    here: dict[str, Any] = {"metadata": f"{what['admin']}/imds/{what['host']}/opc/v2"}
    own = what["compartment"]
    other = own[:-6] + "aaaaaa"
    assert Hand(what, named(), **here).request("delete_compartment", "identity", compartment_id=other) != "self_target"
    assert Hand(what, named(), **here).request("delete_anything", "core", compartment_id=own) == "bad_arguments"


@pytest.mark.parametrize(("name", "wanted"), [("own", "self_target"), ("beside", ""), ("compartment", "self_target")])
def test_a_resource_principal_knows_itself_by_its_token(
    what: JsonObject, monkeypatch: pytest.MonkeyPatch, name: str, wanted: str
) -> None:
    for variable, text in what["principal"].items():
        monkeypatch.setenv(variable, text)
    hand = Hand(what, named(), auth={"kind": "resource_principal"})
    if name == "compartment":
        assert hand.request("delete_compartment", "identity", compartment_id=what[name]) == wanted
    else:
        assert hand.outcome("start", target={"container_instance": name}) == wanted


class Metadata:
    """An instance metadata service that says what it is told to. Use it as a context."""

    def __init__(self, says: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the base class gives the name
                self.send_response(200)
                self.end_headers()
                self.wfile.write(says.encode())

            def log_message(self, format: str, *arguments: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Metadata:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_where_it_does_not_say_who_uici_is_nothing_is_changed(what: JsonObject) -> None:
    with Metadata("no json") as silent:
        for base in (silent.url, NOWHERE):
            hand = Hand(what, named(), metadata=base)
            with structlog.testing.capture_logs() as logged, pytest.raises(CallError) as caught:
                hand.executor.perform(hand.call("start", {"target": {"instance": "guest"}}))
            assert (caught.value.kind, caught.value.code) == (FailureKind.TEMPORARY, "self_unknown")
            assert [entry["event"] for entry in logged] == ["oci_metadata_unreadable"]


def test_an_instance_without_a_name_or_a_compartment_is_known_by_what_it_has(what: JsonObject) -> None:
    with Metadata(json.dumps({"id": what["host"]})) as short:
        assert Hand(what, named(), metadata=short.url).outcome("stop", target={"instance": "host"}) == "self_target"
