"""The simulator of Oracle Cloud: machines, pools, Run Command, load balancers and functions, by the SDK's clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import oci
import pytest

from executors.oci.simulator import Order
from tests.integration.oci_ground import Ground
from tests.real.web import web

COMPUTE = "core.ComputeClient"
POOLS = "core.ComputeManagementClient"
AGENT = "compute_instance_agent.ComputeInstanceAgentClient"
BALANCERS = "load_balancer.LoadBalancerClient"
FUNCTIONS = "functions.FunctionsManagementClient"
DOMAIN = "UICI:PHX-AD-1"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


def machine(cloud: Ground) -> Any:
    models = oci.core.models
    details = models.LaunchInstanceDetails(
        availability_domain=DOMAIN,
        compartment_id=cloud.simulator.compartment,
        shape="VM.Standard.E4.Flex",
        shape_config=models.LaunchInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=8),
        source_details=models.InstanceSourceViaImageDetails(image_id="ocid1.image.oc1.phx.web"),
        create_vnic_details=models.CreateVnicDetails(subnet_id=cloud.simulator.subnet),
    )
    made = cloud.client(COMPUTE).launch_instance(details)
    assert made.headers["opc-work-request-id"]
    return in_state(cloud, made.data.id, "RUNNING")


def in_state(cloud: Ground, id: str, state: str) -> Any:
    client = cloud.client(COMPUTE)
    return cloud.until(lambda: found if (found := client.get_instance(id).data).lifecycle_state == state else None)


def address(cloud: Ground, instance: str) -> str:
    found = cloud.client(COMPUTE).list_vnic_attachments(cloud.simulator.compartment, instance_id=instance).data
    return str(cloud.client("core.VirtualNetworkClient").get_vnic(found[0].vnic_id).data.private_ip)


def test_power_actions_go_through_their_states(cloud: Ground) -> None:
    made = machine(cloud)
    client = cloud.client(COMPUTE)
    assert web.get(f"http://{address(cloud, made.id)}:8080/").status_code == 200
    assert client.instance_action(made.id, "STOP").data.lifecycle_state == "STOPPING"
    in_state(cloud, made.id, "STOPPED")
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        client.instance_action(made.id, "RESET")
    assert (refused.value.status, refused.value.code) == (409, "IncorrectState")
    assert client.instance_action(made.id, "START", opc_retry_token="a").data.lifecycle_state == "STARTING"
    assert client.instance_action(made.id, "START", opc_retry_token="a").data.lifecycle_state == "STARTING"
    in_state(cloud, made.id, "RUNNING")
    started = [one for one in cloud.simulator.requested() if (one.resource, one.effect) == (made.id, "START accepted")]
    assert len(started) == 1
    client.terminate_instance(made.id)
    in_state(cloud, made.id, "TERMINATED")


def test_a_hanging_machine_hears_no_soft_reset_for_a_quarter_of_an_hour(cloud: Ground) -> None:
    made = machine(cloud)
    cloud.simulator.ail(made.id, "hang")
    cloud.client(COMPUTE).instance_action(made.id, "SOFTRESET")
    assert cloud.client(COMPUTE).get_instance(made.id).data.lifecycle_state == "STOPPING"
    cloud.passes(899)
    assert cloud.client(COMPUTE).get_instance(made.id).data.lifecycle_state == "STOPPING"
    in_state(cloud, made.id, "RUNNING")
    assert web.get(f"http://{address(cloud, made.id)}:8080/").status_code == 200


def test_the_console_history_has_what_the_machine_said(cloud: Ground) -> None:
    made = machine(cloud)
    client = cloud.client(COMPUTE)
    details = oci.core.models.CaptureConsoleHistoryDetails(instance_id=made.id)
    history = client.capture_console_history(details).data
    cloud.until(lambda: client.get_console_history(history.id).data.lifecycle_state == "SUCCEEDED")
    content = client.get_console_history_content(history.id)
    assert "ready" in str(content.data)
    part = client.get_console_history_content(history.id, length=4)
    assert int(part.headers["opc-bytes-remaining"]) > 0
    client.delete_console_history(history.id)


def command(cloud: Ground, instance: str, text: str) -> Any:
    models = oci.compute_instance_agent.models
    details = models.CreateInstanceAgentCommandDetails(
        compartment_id=cloud.simulator.compartment,
        execution_time_out_in_seconds=600,
        target=models.InstanceAgentCommandTarget(instance_id=instance),
        content=models.InstanceAgentCommandContent(
            source=models.InstanceAgentCommandSourceViaTextDetails(text=text),
            output=models.InstanceAgentCommandOutputViaTextDetails(),
        ),
    )
    made = cloud.client(AGENT).create_instance_agent_command(details).data
    return made.id


def execution(cloud: Ground, command: str, instance: str) -> Any:
    return cloud.client(AGENT).get_instance_agent_command_execution(command, instance).data


def ended(cloud: Ground, id: str, instance: str) -> Any:
    return cloud.until(
        lambda: e if (e := execution(cloud, id, instance)).lifecycle_state not in {"ACCEPTED", "IN_PROGRESS"} else None
    )


def test_a_command_runs_on_a_machine_and_gives_its_output(cloud: Ground) -> None:
    made = machine(cloud)
    cloud.simulator.ail(made.id, "disk_full")
    full = ended(cloud, command(cloud, made.id, "df -P /"), made.id)
    assert (full.lifecycle_state, full.content.exit_code, "100%" in full.content.text) == ("SUCCEEDED", 0, True)
    assert web.get(f"http://{address(cloud, made.id)}:8080/").status_code == 503
    ended(cloud, command(cloud, made.id, "journalctl --vacuum-size=100M"), made.id)
    assert web.get(f"http://{address(cloud, made.id)}:8080/").status_code == 200
    unknown = ended(cloud, command(cloud, made.id, "nonsense"), made.id)
    assert (unknown.lifecycle_state, unknown.content.exit_code) == ("FAILED", 127)
    listed = cloud.client(AGENT).list_instance_agent_command_executions(cloud.simulator.compartment, made.id).data
    assert len(listed) == 3
    assert len(cloud.client(AGENT).list_instance_agent_commands(cloud.simulator.compartment).data) >= 3


def test_a_machine_that_hangs_takes_no_command(cloud: Ground) -> None:
    made = machine(cloud)
    cloud.simulator.ail(made.id, "hang")
    given = command(cloud, made.id, "df -P /")
    late = ended(cloud, given, made.id)
    assert (late.lifecycle_state, late.delivery_state) == ("TIMED_OUT", "EXPIRED")


def test_a_command_can_be_cancelled(cloud: Ground) -> None:
    made = machine(cloud)
    cloud.simulator.ail(made.id, "hang")
    given = command(cloud, made.id, "df -P /")
    cloud.client(AGENT).cancel_instance_agent_command(given)
    assert cloud.client(AGENT).get_instance_agent_command(given).data.is_canceled is True
    assert execution(cloud, given, made.id).lifecycle_state == "CANCELED"


def pool(cloud: Ground, size: int) -> Any:
    models = oci.core.models
    launch = models.InstanceConfigurationLaunchInstanceDetails(
        compartment_id=cloud.simulator.compartment, shape="VM.Standard.E4.Flex"
    )
    configuration = cloud.client(POOLS).create_instance_configuration(
        models.CreateInstanceConfigurationDetails(
            compartment_id=cloud.simulator.compartment,
            instance_details=models.ComputeInstanceDetails(launch_details=launch),
        )
    )
    made = cloud.client(POOLS).create_instance_pool(
        models.CreateInstancePoolDetails(
            compartment_id=cloud.simulator.compartment,
            instance_configuration_id=configuration.data.id,
            size=size,
            placement_configurations=[
                models.CreateInstancePoolPlacementConfigurationDetails(
                    availability_domain=DOMAIN, primary_subnet_id=cloud.simulator.subnet
                )
            ],
        )
    )
    return pool_in_state(cloud, made.data.id, "RUNNING")


def pool_in_state(cloud: Ground, id: str, state: str) -> Any:
    client = cloud.client(POOLS)
    return cloud.until(lambda: found if (found := client.get_instance_pool(id).data).lifecycle_state == state else None)


def members(cloud: Ground, id: str) -> list[Any]:
    return list(cloud.client(POOLS).list_instance_pool_instances(cloud.simulator.compartment, id).data)


def test_a_pool_takes_the_size_that_it_is_given(cloud: Ground) -> None:
    made = pool(cloud, 2)
    first = [one.id for one in members(cloud, made.id)]
    assert (len(first), made.size, made.current_size) == (2, 2, 2)
    etag = cloud.client(POOLS).get_instance_pool(made.id).headers["etag"]
    larger = oci.core.models.UpdateInstancePoolDetails(size=3)
    changed = cloud.client(POOLS).update_instance_pool(made.id, larger, if_match=etag).data
    assert changed.lifecycle_state == "SCALING"
    pool_in_state(cloud, made.id, "RUNNING")
    assert [one.state for one in members(cloud, made.id)] == ["Running"] * 3
    with pytest.raises(oci.exceptions.ServiceError) as stale:
        cloud.client(POOLS).update_instance_pool(made.id, larger, if_match=etag)
    assert stale.value.code == "NoEtagMatch"
    cloud.client(POOLS).update_instance_pool(made.id, oci.core.models.UpdateInstancePoolDetails(size=1))
    pool_in_state(cloud, made.id, "RUNNING")
    left = [one.id for one in members(cloud, made.id)]
    assert len(left) == 1
    assert not set(left) & set(first), "the oldest are terminated first"
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.client(POOLS).update_instance_pool(made.id, oci.core.models.UpdateInstancePoolDetails(size=51))
    assert (refused.value.status, refused.value.code) == (400, "LimitExceeded")


@pytest.mark.parametrize(
    ("action", "during", "after"), [("stop", "STOPPING", "STOPPED"), ("softreset", "STARTING", "RUNNING")]
)
def test_a_pools_instances_are_stopped_and_reset_together(cloud: Ground, action: str, during: str, after: str) -> None:
    made = pool(cloud, 2)
    began = getattr(cloud.client(POOLS), f"{action}_instance_pool")(made.id).data
    assert began.lifecycle_state == during
    pool_in_state(cloud, made.id, after)
    assert {one.state for one in members(cloud, made.id)} == {after.title()}


def test_a_detached_instance_is_replaced_unless_the_size_goes_down(cloud: Ground) -> None:
    made = pool(cloud, 2)
    gone = members(cloud, made.id)[0].id
    details = oci.core.models.DetachInstancePoolInstanceDetails(instance_id=gone, is_auto_terminate=True)
    cloud.client(POOLS).detach_instance_pool_instance(made.id, details)
    pool_in_state(cloud, made.id, "RUNNING")
    assert len(members(cloud, made.id)) == 2
    assert gone not in {one.id for one in members(cloud, made.id)}
    cloud.client(POOLS).terminate_instance_pool(made.id)
    pool_in_state(cloud, made.id, "TERMINATED")


def balancer(cloud: Ground, backend: str) -> Any:
    models = oci.load_balancer.models
    backends = [models.BackendDetails(ip_address=backend, port=8080)]
    checker = models.HealthCheckerDetails(protocol="HTTP", url_path="/health")
    details = models.CreateLoadBalancerDetails(
        compartment_id=cloud.simulator.compartment,
        display_name="front",
        shape_name="flexible",
        subnet_ids=[cloud.simulator.subnet],
        backend_sets={"web": models.BackendSetDetails(policy="ROUND_ROBIN", backends=backends, health_checker=checker)},
        listeners={"http": models.ListenerDetails(default_backend_set_name="web", port=80, protocol="HTTP")},
    )
    made = cloud.client(BALANCERS).create_load_balancer(details)
    work = settled(cloud, made.headers["opc-work-request-id"])
    assert (work.lifecycle_state, work.type) == ("SUCCEEDED", "CreateLoadBalancer")
    return cloud.client(BALANCERS).get_load_balancer(work.load_balancer_id).data


def settled(cloud: Ground, work: str) -> Any:
    client = cloud.client(BALANCERS)
    return cloud.until(lambda: w if (w := client.get_work_request(work).data).time_finished else None)


def test_a_backend_is_drained_and_its_health_is_seen(cloud: Ground) -> None:
    made = cloud.instance()
    front = balancer(cloud, httpx.URL(cloud.address(made)).host)
    client = cloud.client(BALANCERS)
    name = client.list_backends(front.id, "web").data[0].name
    assert client.get_backend_health(front.id, "web", name).data.status == "OK"
    assert client.get_load_balancer_health(front.id).data.status == "OK"
    etag = client.get_backend(front.id, "web", name).headers["etag"]
    drained = oci.load_balancer.models.UpdateBackendDetails(weight=1, backup=False, drain=True, offline=False)
    begun = client.update_backend(drained, front.id, "web", name, if_match=etag).headers["opc-work-request-id"]
    settled(cloud, begun)
    assert client.get_backend(front.id, "web", name).data.drain is True
    assert [one.id for one in client.list_work_requests(front.id).data][-1] == begun
    with pytest.raises(oci.exceptions.ServiceError) as stale:
        client.update_backend(drained, front.id, "web", name, if_match=etag)
    assert (stale.value.status, stale.value.code) == (412, "NoEtagMatch")

    cloud.simulator.ail(made.id, "hang")
    health = client.get_backend_health(front.id, "web", name).data
    assert [one.health_check_status for one in health.health_check_results] == ["TIMED_OUT"]
    assert client.get_backend_set_health(front.id, "web").data.critical_state_backend_names == [name]
    assert client.get_load_balancer_health(front.id).data.status == "CRITICAL"


def test_a_change_of_a_load_balancer_that_fails_changes_nothing_and_says_why(cloud: Ground) -> None:
    front = balancer(cloud, "10.0.0.1")
    client = cloud.client(BALANCERS)
    cloud.simulator.order(Order("fail_work", "*.create_backend", message="no capacity"))
    details = oci.load_balancer.models.CreateBackendDetails(ip_address="10.0.0.2", port=80)
    begun = client.create_backend(details, front.id, "web").headers["opc-work-request-id"]
    failed = settled(cloud, begun)
    assert (failed.lifecycle_state, [one.message for one in failed.error_details]) == ("FAILED", ["no capacity"])
    assert len(client.list_backends(front.id, "web").data) == 1
    settled(cloud, client.create_backend(details, front.id, "web").headers["opc-work-request-id"])
    settled(cloud, client.delete_backend(front.id, "web", "10.0.0.2:80").headers["opc-work-request-id"])
    assert len(client.list_backends(front.id, "web").data) == 1


def test_a_functions_configuration_and_memory_are_changed(cloud: Ground) -> None:
    models = oci.functions.models
    client = cloud.client(FUNCTIONS)
    application = client.create_application(
        models.CreateApplicationDetails(
            compartment_id=cloud.simulator.compartment, display_name="shop", subnet_ids=[cloud.simulator.subnet]
        )
    ).data
    cloud.until(lambda: client.get_application(application.id).data.lifecycle_state == "ACTIVE")
    made = client.create_function(
        models.CreateFunctionDetails(
            display_name="pay",
            application_id=application.id,
            memory_in_mbs=128,
            config={"MEMORY_DEMAND_MB": "200"},
            source_details=models.CreateContainerImageFunctionSourceDetails(image="phx.ocir.io/shop/pay:good"),
        )
    ).data
    cloud.until(lambda: client.get_function(made.id).data.lifecycle_state == "ACTIVE")
    endpoint = client.get_function(made.id).data.invoke_endpoint
    invoke = cloud.new_client("functions.FunctionsInvokeClient", service_endpoint=endpoint)
    with pytest.raises(oci.exceptions.ServiceError) as failed:
        invoke.invoke_function(made.id)
    assert (failed.value.status, failed.value.code) == (502, "FunctionInvokeContainerInitFail")
    changed = client.update_function(made.id, models.UpdateFunctionDetails(memory_in_mbs=256))
    works = cloud.client("functions.WorkRequestManagementClient")
    cloud.until(lambda: works.get_work_request(changed.headers["opc-work-request-id"]).data.status == "SUCCEEDED")
    assert client.get_function(made.id).data.memory_in_mbs == 256
    assert "MEMORY_DEMAND_MB" in invoke.invoke_function(made.id).data.text
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        client.update_function(made.id, models.UpdateFunctionDetails(memory_in_mbs=100))
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameter")
    assert [one.id for one in client.list_functions(application.id).data] == [made.id]


def test_the_tenancy_can_be_looked_at(cloud: Ground) -> None:
    client = cloud.client("identity.IdentityClient")
    tenancy = cloud.config["tenancy"]
    assert client.get_tenancy(tenancy).data.id == tenancy
    assert [one.id for one in client.list_compartments(tenancy).data] == [cloud.simulator.compartment]
    assert [one.name for one in client.list_availability_domains(tenancy).data] == [DOMAIN]
    assert client.list_region_subscriptions(tenancy).data[0].is_home_region is True
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        client.get_compartment("ocid1.compartment.oc1..nowhere")
    assert (refused.value.status, refused.value.code) == (404, "NotAuthorizedOrNotFound")
