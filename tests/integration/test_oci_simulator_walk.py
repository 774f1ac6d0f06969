"""Every operation that the simulator of Oracle Cloud serves, sent by the SDK's own client and read by it.

The SDK builds the request and reads the answer, so a path, a query name or a shape that is not its own fails here. The
other half is that the simulator refuses to send what the SDK's models do not know; that it does is shown last.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import oci
import pytest

from executors.oci.simulator.sdk import operation
from executors.oci.simulator.serving import HANDLERS, Answer
from executors.oci.simulator.shapes import problems
from tests.integration.oci_ground import CONTAINERS, Ground

LONG = 2000.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.simulator.gateway.faults.clear()  # the last test makes some
    ground.close()


class Walk:
    """Calls by the SDK; each answer must have been read without a value that the SDK does not know."""

    def __init__(self, cloud: Ground) -> None:
        self.cloud = cloud
        self.compartment = cloud.simulator.compartment

    def call(self, client: str, method: str, *arguments: Any, **options: Any) -> Any:
        answer = getattr(self.cloud.client(client), method)(*arguments, **options)
        assert "UNKNOWN_ENUM_VALUE" not in str(answer.data)
        assert answer.headers["opc-simulator"] == "uici"
        assert answer.headers["opc-request-id"]
        return answer

    def wait(self) -> None:
        self.cloud.passes(LONG)


def containers(walk: Walk) -> None:
    models = oci.container_instances.models
    details = walk.cloud.details()
    details.containers[0].health_checks = [
        models.CreateContainerHttpHealthCheckDetails(name="ready", port=8080, path="/health")
    ]
    details.containers[0].resource_config = models.CreateContainerResourceConfigDetails(memory_limit_in_gbs=1)
    details.volumes = [
        models.CreateContainerEmptyDirVolumeDetails(name="scratch", backing_store="EPHEMERAL_STORAGE"),
        models.CreateContainerConfigFileVolumeDetails(
            name="settings", configs=[models.ContainerConfigFile(file_name="a.yml", data="YQ==")]
        ),
    ]
    details.containers[0].volume_mounts = [models.CreateVolumeMountDetails(mount_path="/a", volume_name="scratch")]
    details.freeform_tags = {"team": "shop"}
    made = walk.call(CONTAINERS, "create_container_instance", details)
    walk.wait()
    found = walk.call(CONTAINERS, "get_container_instance", made.data.id).data
    container = found.containers[0].container_id
    assert walk.call(CONTAINERS, "get_container", container).data.health_checks[0].status == "HEALTHY"
    for method in ("list_container_instances", "list_containers", "list_container_instance_shapes"):
        assert walk.call(CONTAINERS, method, walk.compartment).data.items
    assert "ready" in walk.call(CONTAINERS, "retrieve_logs", container).data.text
    walk.call("core.VirtualNetworkClient", "get_vnic", found.vnics[0].vnic_id)
    tags = models.UpdateContainerDetails(freeform_tags={"a": "b"})
    for method, *arguments in (
        ("update_container", container, tags),
        ("update_container_instance", found.id, models.UpdateContainerInstanceDetails(display_name="other")),
        ("restart_container_instance", found.id),
        ("stop_container_instance", found.id),
        ("start_container_instance", found.id),
        ("delete_container_instance", found.id),
    ):
        begun = walk.call(CONTAINERS, method, *arguments).headers["opc-work-request-id"]
        walk.wait()
        assert walk.call(CONTAINERS, "get_work_request", begun).data.status == "SUCCEEDED"
    works(walk, CONTAINERS, begun, "resource_id", found.id)


def works(walk: Walk, client: str, work: str, by: str, resource: str) -> None:
    assert walk.call(client, "get_work_request", work).data.percent_complete == 100
    listed = walk.call(client, "list_work_requests", walk.compartment, **{by: resource}).data
    assert work in {one.id for one in getattr(listed, "items", listed)}
    logs = walk.call(client, "list_work_request_logs", work).data
    assert getattr(logs, "items", logs)
    walk.call(client, "list_work_request_errors", work)


def machines(walk: Walk) -> None:
    compute, models = "core.ComputeClient", oci.core.models
    details = models.LaunchInstanceDetails(
        availability_domain="UICI:PHX-AD-1",
        compartment_id=walk.compartment,
        shape="VM.Standard.E4.Flex",
        shape_config=models.LaunchInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=8),
        source_details=models.InstanceSourceViaImageDetails(image_id="ocid1.image.oc1.phx.web"),
        metadata={"image": "web:good"},
    )
    made = walk.call(compute, "launch_instance", details)
    walk.wait()
    works(walk, "work_requests.WorkRequestClient", made.headers["opc-work-request-id"], "resource_id", made.data.id)
    id = made.data.id
    assert walk.call(compute, "get_instance", id).data.lifecycle_state == "RUNNING"
    larger = models.UpdateInstanceShapeConfigDetails(memory_in_gbs=16)
    update = models.UpdateInstanceDetails(display_name="other", shape_config=larger)
    assert walk.call(compute, "update_instance", id, update).data.shape_config.memory_in_gbs == 16
    assert walk.call(compute, "list_instances", walk.compartment, display_name="other").data[0].id == id
    assert walk.call(compute, "list_vnic_attachments", walk.compartment, instance_id=id).data
    history = walk.call(compute, "capture_console_history", models.CaptureConsoleHistoryDetails(instance_id=id)).data
    commands(walk, id)
    assert walk.call(compute, "get_console_history", history.id).data.lifecycle_state == "SUCCEEDED"
    assert walk.call(compute, "list_console_histories", walk.compartment, instance_id=id).data
    walk.call(compute, "get_console_history_content", history.id)
    walk.call(compute, "delete_console_history", history.id)
    for action in ("SOFTRESET", "RESET", "SOFTSTOP", "START", "STOP"):
        walk.call(compute, "instance_action", id, action)
        walk.wait()
    walk.call(compute, "terminate_instance", id)


def commands(walk: Walk, instance: str) -> None:
    agent, models = "compute_instance_agent.ComputeInstanceAgentClient", oci.compute_instance_agent.models
    source = models.InstanceAgentCommandSourceViaTextDetails(text="echo hello")
    details = models.CreateInstanceAgentCommandDetails(
        compartment_id=walk.compartment,
        execution_time_out_in_seconds=60,
        target=models.InstanceAgentCommandTarget(instance_id=instance),
        content=models.InstanceAgentCommandContent(source=source),
    )
    made = walk.call(agent, "create_instance_agent_command", details).data
    walk.call(agent, "get_instance_agent_command_execution", made.id, instance)
    walk.wait()
    done = walk.call(agent, "get_instance_agent_command_execution", made.id, instance).data
    assert done.content.text == "hello\n"
    walk.call(agent, "get_instance_agent_command", made.id)
    walk.call(agent, "list_instance_agent_commands", walk.compartment)
    walk.call(agent, "list_instance_agent_command_executions", walk.compartment, instance)
    walk.call(agent, "cancel_instance_agent_command", made.id)


def pools(walk: Walk) -> None:
    client, models = "core.ComputeManagementClient", oci.core.models
    launch = models.InstanceConfigurationLaunchInstanceDetails(shape="VM.Standard.E4.Flex", metadata={"a": "b"})
    details = models.CreateInstanceConfigurationDetails(
        compartment_id=walk.compartment, instance_details=models.ComputeInstanceDetails(launch_details=launch)
    )
    configuration = walk.call(client, "create_instance_configuration", details).data.id
    walk.call(client, "get_instance_configuration", configuration)
    walk.call(client, "list_instance_configurations", walk.compartment)
    placement = models.CreateInstancePoolPlacementConfigurationDetails(
        availability_domain="UICI:PHX-AD-1", primary_subnet_id=walk.cloud.simulator.subnet
    )
    wanted = models.CreateInstancePoolDetails(
        compartment_id=walk.compartment,
        instance_configuration_id=configuration,
        size=2,
        placement_configurations=[placement],
    )
    id = walk.call(client, "create_instance_pool", wanted).data.id
    walk.wait()
    assert walk.call(client, "get_instance_pool", id).data.current_size == 2
    assert walk.call(client, "list_instance_pools", walk.compartment).data
    first, _ = walk.call(client, "list_instance_pool_instances", walk.compartment, id).data
    walk.call(client, "get_instance_pool_instance", id, first.id)
    for action in ("softreset", "reset", "softstop", "start", "stop", "start"):
        walk.call(client, f"{action}_instance_pool", id)
        walk.wait()
    walk.call(client, "update_instance_pool", id, models.UpdateInstancePoolDetails(size=3))
    walk.wait()
    details = models.DetachInstancePoolInstanceDetails(instance_id=first.id, is_decrement_size=True)
    walk.call(client, "detach_instance_pool_instance", id, details)
    walk.wait()
    walk.call(client, "terminate_instance_pool", id)


def functions(walk: Walk) -> None:
    client, models = "functions.FunctionsManagementClient", oci.functions.models
    details = models.CreateApplicationDetails(
        compartment_id=walk.compartment, display_name="shop", subnet_ids=[walk.cloud.simulator.subnet]
    )
    application = walk.call(client, "create_application", details).data.id
    walk.wait()
    assert walk.call(client, "get_application", application).data.lifecycle_state == "ACTIVE"
    walk.call(client, "update_application", application, models.UpdateApplicationDetails(config={"a": "b"}))
    walk.wait()
    assert walk.call(client, "list_applications", walk.compartment).data
    source = models.CreateContainerImageFunctionSourceDetails(image="pay:good")
    wanted = models.CreateFunctionDetails(
        display_name="pay", application_id=application, memory_in_mbs=128, source_details=source
    )
    id = walk.call(client, "create_function", wanted).data.id
    walk.wait()
    assert walk.call(client, "get_function", id).data.lifecycle_state == "ACTIVE"
    assert walk.call(client, "list_functions", application).data
    begun = walk.call(client, "update_function", id, models.UpdateFunctionDetails(config={"c": "d"}))
    walk.wait()
    works(walk, "functions.WorkRequestManagementClient", begun.headers["opc-work-request-id"], "resource_id", id)
    walk.call("functions.FunctionsInvokeClient", "invoke_function", id)
    walk.call(client, "delete_function", id)
    walk.wait()
    walk.call(client, "delete_application", application)


def balancers(walk: Walk) -> None:
    client, models = "load_balancer.LoadBalancerClient", oci.load_balancer.models
    checker = models.HealthCheckerDetails(protocol="HTTP", url_path="/")
    backend_set = models.BackendSetDetails(policy="ROUND_ROBIN", health_checker=checker)
    details = models.CreateLoadBalancerDetails(
        compartment_id=walk.compartment,
        display_name="front",
        shape_name="flexible",
        subnet_ids=[walk.cloud.simulator.subnet],
        backend_sets={"web": backend_set},
        listeners={"http": models.ListenerDetails(default_backend_set_name="web", port=80, protocol="HTTP")},
    )
    begun = walk.call(client, "create_load_balancer", details).headers["opc-work-request-id"]
    walk.wait()
    id = walk.call(client, "get_work_request", begun).data.load_balancer_id
    assert walk.call(client, "list_load_balancers", walk.compartment).data[0].id == id
    backend = models.CreateBackendDetails(ip_address="127.9.9.9", port=80)
    walk.call(client, "create_backend", backend, id, "web")
    walk.wait()
    name = walk.call(client, "list_backends", id, "web").data[0].name
    drained = models.UpdateBackendDetails(weight=2, backup=False, drain=True, offline=False)
    walk.call(client, "update_backend", drained, id, "web", name)
    walk.wait()
    assert walk.call(client, "get_backend", id, "web", name).data.weight == 2
    for method in ("get_backend_set", "get_backend_set_health"):
        walk.call(client, method, id, "web")
    for method in ("get_load_balancer", "get_load_balancer_health", "list_backend_sets", "list_work_requests"):
        walk.call(client, method, id)
    assert walk.call(client, "get_backend_health", id, "web", name).data.status == "CRITICAL"
    walk.call(client, "delete_backend", id, "web", name)
    walk.wait()
    wanted = models.UpdateBackendSetDetails(policy="LEAST_CONNECTIONS", backends=[], health_checker=checker)
    walk.call(client, "update_backend_set", wanted, id, "web")
    walk.wait()


def seeing(walk: Walk) -> None:
    client, models = "monitoring.MonitoringClient", oci.monitoring.models
    now = datetime.now(UTC)
    datapoints = [models.Datapoint(timestamp=now - timedelta(seconds=5), value=1.0)]
    posted = models.MetricDataDetails(
        namespace="shop", name="m", compartment_id=walk.compartment, dimensions={"a": "b"}, datapoints=datapoints
    )
    walk.call(client, "post_metric_data", models.PostMetricDataDetails(metric_data=[posted]))
    assert walk.call(client, "list_metrics", walk.compartment, models.ListMetricsDetails()).data
    query = models.SummarizeMetricsDataDetails(namespace="shop", query="m[1m].max()")
    assert walk.call(client, "summarize_metrics_data", walk.compartment, query).data
    search = oci.loggingsearch.models.SearchLogsDetails(
        time_start=now - timedelta(hours=1), time_end=now, search_query=f'search "{walk.compartment}"'
    )
    walk.call("loggingsearch.LogSearchClient", "search_logs", search)


def the_rest(walk: Walk) -> None:
    identity, tenancy = "identity.IdentityClient", walk.cloud.config["tenancy"]
    walk.call(identity, "get_tenancy", tenancy)
    walk.call(identity, "get_compartment", walk.compartment)
    for method in ("list_compartments", "list_availability_domains", "list_region_subscriptions"):
        assert walk.call(identity, method, tenancy).data
    engine = "container_engine.ContainerEngineClient"
    cluster = walk.cloud.simulator.add_cluster("one", "https://127.0.0.1:6443")
    walk.call(engine, "get_cluster", cluster)
    walk.call(engine, "create_kubeconfig", cluster)
    for method in ("list_clusters", "list_node_pools"):
        walk.call(engine, method, walk.compartment)


def vault(walk: Walk) -> None:
    models = oci.vault.models
    content = models.Base64SecretContentDetails(content="YQ==")
    details = models.CreateSecretDetails(
        compartment_id=walk.compartment,
        vault_id="ocid1.vault.one",
        key_id="ocid1.key.one",
        secret_name="token",
        secret_content=content,
    )
    made = walk.call("vault.VaultsClient", "create_secret", details).data
    walk.call("vault.VaultsClient", "update_secret", made.id, models.UpdateSecretDetails(secret_content=content))
    secrets = "secrets.SecretsClient"
    assert walk.call(secrets, "get_secret_bundle", made.id).data.version_number == 2
    walk.call(secrets, "get_secret_bundle_by_name", "token", "ocid1.vault.one")


def test_every_operation_is_sent_and_read_by_the_sdk(cloud: Ground) -> None:
    walk = Walk(cloud)
    for part in (containers, machines, pools, functions, balancers, seeing, vault, the_rest):
        part(walk)
    assert set(HANDLERS) - set(cloud.simulator.gateway.answered) == set()


BROKEN: dict[str, dict[str, Any]] = {
    "has no attribute surprise": {"surprise": 1},
    "requires displayName": {"displayName": None},
    "does not know the value 'SLEEPING'": {"lifecycleState": "SLEEPING"},
    "int expected, str": {"containerCount": "one"},
    "datetime expected": {"timeCreated": "yesterday"},
    "dict(str, str) expected": {"freeformTags": ["a"]},
    "$.freeformTags.a: str expected": {"freeformTags": {"a": 1}},
    "$.shapeConfig: ContainerInstanceShapeConfig expected": {"shapeConfig": 4},
    "ContainerInstanceShapeConfig requires ocpus": {"shapeConfig": {"memoryInGBs": 4}},
    "ContainerConfigFileVolume has no attribute x": {"volumes": [{"name": "a", "volumeType": "CONFIGFILE", "x": 1}]},
}


@pytest.mark.parametrize("says", BROKEN)
def test_an_answer_that_the_sdk_does_not_expect_is_never_sent(
    cloud: Ground, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    made = cloud.containers.create_container_instance(cloud.details()).data
    name = f"{CONTAINERS}.get_container_instance"
    good = HANDLERS[name]

    def broken(*arguments: Any) -> Answer:
        answer = good(*arguments)
        return Answer(body={**answer.body, **BROKEN[says]}, headers=answer.headers)

    monkeypatch.setitem(HANDLERS, name, broken)
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.containers.get_container_instance(made.id)
    assert refused.value.status == 500
    assert says in refused.value.message
    assert says in cloud.simulator.gateway.faults[-1]


def test_a_handler_that_breaks_changes_nothing_and_says_so(cloud: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{CONTAINERS}.create_container_instance"
    good = HANDLERS[name]

    def broken(*arguments: Any) -> Answer:
        good(*arguments)
        return Answer(body={})

    before = cloud.simulator.cloud.state.fingerprint(), cloud.simulator.effects()
    monkeypatch.setitem(HANDLERS, name, broken)
    with pytest.raises(oci.exceptions.ServiceError, match="requires id"):
        cloud.containers.create_container_instance(cloud.details())
    assert (cloud.simulator.cloud.state.fingerprint(), cloud.simulator.effects()) == before


def test_what_the_sdk_says_of_an_operation() -> None:
    found = operation(f"{CONTAINERS}.create_container_instance")
    assert (found.method, found.path) == ("POST", "/20210415/containerInstances")
    assert (found.body, found.response) == ("CreateContainerInstanceDetails", "ContainerInstance")
    assert {"opc-retry-token", "opc-request-id"} <= found.headers
    assert operation("core.ComputeClient.instance_action").required_queries == {"action"}
    assert problems({"id": 1}, "WorkRequest", found.types) != []
