"""What can be wrong with a service, as the simulator of Oracle Cloud shows it to whoever looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import oci
import pytest

from executors.oci.simulator import Order
from executors.oci.simulator.workloads import DEFAULT_BEHAVIOURS
from tests.integration.oci_ground import CONTAINERS, Ground
from tests.real.web import web


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


def status(cloud: Ground, instance: Any) -> int:
    return web.get(cloud.address(instance), timeout=2.0).status_code


def restart(cloud: Ground, instance: Any) -> None:
    cloud.finished(cloud.containers.restart_container_instance(instance.id).headers["opc-work-request-id"])


def log(cloud: Ground, instance: Any, *, previous: bool = False) -> str:
    return str(cloud.containers.retrieve_logs(instance.containers[0].container_id, is_previous=previous).data.text)


def test_nothing_wrong(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.passes(3600)
    assert (status(cloud, made), cloud.container(made).container_restart_attempt_count) == (200, 0)


def test_a_bad_configuration_ends_the_program_at_every_start(cloud: Ground) -> None:
    made = cloud.instance(MODE="broken", policy="NEVER")
    for _ in range(2):
        cloud.until(lambda: cloud.containers.get_container_instance(made.id).data.lifecycle_state == "INACTIVE")
        assert cloud.container(made).exit_code == 78
        cloud.finished(cloud.containers.start_container_instance(made.id).headers["opc-work-request-id"])
    assert status(cloud, cloud.instance(MODE="plain")) == 200


def test_a_crash_is_left_to_whoever_looks_where_nothing_restarts(cloud: Ground) -> None:
    made = cloud.instance(policy="NEVER")
    cloud.simulator.ail(made.id, "exit", code=1)
    cloud.until(lambda: cloud.containers.get_container_instance(made.id).data.lifecycle_state == "INACTIVE")
    with pytest.raises(httpx.ConnectError):
        status(cloud, made)
    cloud.finished(cloud.containers.start_container_instance(made.id).headers["opc-work-request-id"])
    assert status(cloud, made) == 200
    assert "exit code 1" in log(cloud, made, previous=True)


def test_an_image_turns_bad_after_a_while(cloud: Ground) -> None:
    made = cloud.instance("web:late")
    cloud.passes(50)
    assert status(cloud, made) == 200
    cloud.passes(11)
    assert status(cloud, made) == 503


def test_a_full_disk_is_empty_after_a_restart(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.ail(made.id, "disk_full", cure="replace")
    assert status(cloud, made) == 503
    assert "No space left" in log(cloud, made)
    restart(cloud, made)
    assert status(cloud, made) == 200, "the storage of a container instance goes when it stops"


def test_a_dependency_that_is_down_makes_others_unready_until_it_is_back(cloud: Ground) -> None:
    database, shop = cloud.instance(), cloud.instance()
    cloud.simulator.ail(shop.id, "dependency_down", cure="replace", on=database.id)
    assert status(cloud, shop) == 200
    cloud.simulator.ail(database.id, "hang")
    assert status(cloud, shop) == 503
    restart(cloud, shop)
    assert status(cloud, shop) == 503
    restart(cloud, database)
    assert status(cloud, shop) == 200


def test_what_only_a_new_one_cures_outlasts_a_restart(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.ail(made.id, "unready", cure="replace")
    restart(cloud, made)
    assert status(cloud, made) == 503
    cloud.simulator.heal(made.id)
    assert status(cloud, made) == 200


@pytest.mark.parametrize(("action", "killed"), [(None, True), ("KILL", True), ("NONE", False)])
def test_a_failing_health_check_kills_the_container_unless_it_says_not_to(
    cloud: Ground, action: str | None, killed: bool
) -> None:
    details = cloud.details()
    check = oci.container_instances.models.CreateContainerHttpHealthCheckDetails(
        port=8080, path="/health", failure_action=action
    )
    details.containers[0].health_checks = [check]
    begun = cloud.containers.create_container_instance(details)
    cloud.finished(begun.headers["opc-work-request-id"])
    made = cloud.containers.get_container_instance(begun.data.id).data
    cloud.simulator.ail(made.id, "unready", cure="once")
    if not killed:
        assert cloud.container(made).health_checks[0].status == "UNHEALTHY"
    cloud.passes(29)
    assert cloud.container(made).lifecycle_state == "ACTIVE"
    cloud.passes(2)
    assert cloud.container(made).lifecycle_state == ("INACTIVE" if killed else "ACTIVE")
    cloud.passes(60)
    assert cloud.container(made).container_restart_attempt_count == int(killed)
    assert status(cloud, made) == (200 if killed else 503)


def test_an_address_can_be_kept_by_the_one_that_comes_after(cloud: Ground) -> None:
    made = cloud.instance()
    address = httpx.URL(cloud.address(made)).host
    details = cloud.details()
    details.vnics[0].private_ip = address
    with pytest.raises(oci.exceptions.ServiceError) as taken:
        cloud.containers.create_container_instance(details)
    assert (taken.value.status, taken.value.code) == (400, "InvalidParameter")
    cloud.finished(cloud.containers.delete_container_instance(made.id).headers["opc-work-request-id"])
    begun = cloud.containers.create_container_instance(details)
    cloud.finished(begun.headers["opc-work-request-id"])
    after = cloud.containers.get_container_instance(begun.data.id).data
    assert httpx.URL(cloud.address(after)).host == address
    assert status(cloud, after) == 200


def test_what_may_not_be_seen_is_not_found(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.order(Order("deny", "*.stop_*"))
    before = cloud.simulator.requested()
    with pytest.raises(oci.exceptions.ServiceError) as denied:
        cloud.containers.stop_container_instance(made.id)
    assert (denied.value.status, denied.value.code) == (404, "NotAuthorizedOrNotFound")
    assert cloud.simulator.requested() == before


def test_a_service_that_hangs_is_left_after_the_clients_patience(cloud: Ground) -> None:
    made = cloud.instance()
    hurried = cloud.new_client(CONTAINERS, timeout=(5, 0.3))
    cloud.simulator.order(Order("hang", seconds=30))
    with pytest.raises(oci.exceptions.RequestException):
        hurried.get_container_instance(made.id)
    assert cloud.containers.get_container_instance(made.id).data.id == made.id


def test_orders_can_let_some_requests_pass_first(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.order(Order("throttle", skip=1))
    assert cloud.containers.get_container_instance(made.id).status == 200
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.containers.get_container_instance(made.id)
    assert refused.value.status == 429
    cloud.simulator.order(Order("fail", count=9))
    cloud.simulator.cloud.orders.clear()
    assert cloud.containers.get_container_instance(made.id).status == 200


def test_the_tenancys_limit_is_reached(cloud: Ground) -> None:
    state = cloud.simulator.cloud.state
    state.set_fact("container_instance_limit", 0)
    try:
        with pytest.raises(oci.exceptions.ServiceError) as refused:
            cloud.containers.create_container_instance(cloud.details())
        assert (refused.value.status, refused.value.code) == (400, "LimitExceeded")
    finally:
        state.set_fact("container_instance_limit", 1000)


def test_a_site_teaches_its_own_behaviours_and_commands(cloud: Ground) -> None:
    admin = cloud.simulator.admin_url
    taught = [*DEFAULT_BEHAVIOURS, {"image": "shop:*", "environment": {"DB": "*broken*"}, "then": "unready"}]
    web.post(f"{admin}/behaviours", json=taught).raise_for_status()
    assert status(cloud, cloud.instance("shop:1", DB="a-broken-one")) == 503
    assert status(cloud, cloud.instance("shop:1", DB="a-good-one")) == 200
    assert status(cloud, cloud.instance("web:1", DB="a-broken-one")) == 200


def test_what_comes_too_late_for_something_forgotten_holds_nothing_else_up(cloud: Ground) -> None:
    cloud.simulator.cloud.later(1, "container_instance.forgotten", "ocid1.computecontainerinstance.oc1.phx.gone")
    made = cloud.instance()
    cloud.passes(10)
    assert any("container_instance.forgotten came too late" in one.effect for one in cloud.simulator.effects())
    assert status(cloud, made) == 200
