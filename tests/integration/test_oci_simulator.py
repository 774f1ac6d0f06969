"""The simulator of Oracle Cloud against the SDK's real clients: containers, machines, work requests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import oci
import pytest

from executors.oci.simulator import Order
from tests.integration.oci_ground import CONTAINERS, SPEED, Ground
from tests.real.web import web


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


def status(url: str) -> int:
    return web.get(url, timeout=2.0).status_code


def test_a_container_instance_comes_runs_and_goes(cloud: Ground) -> None:
    made = cloud.instance(COLOUR="blue")
    container = cloud.container(made)
    address = cloud.address(made)
    assert (made.lifecycle_state, container.lifecycle_state) == ("ACTIVE", "ACTIVE")
    assert container.environment_variables == {"COLOUR": "blue"}
    assert status(address) == 200
    assert "ready" in cloud.containers.retrieve_logs(container.id).data.text

    stopped = cloud.containers.stop_container_instance(made.id)
    assert cloud.containers.get_container_instance(made.id).data.lifecycle_state == "UPDATING"
    work = cloud.finished(stopped.headers["opc-work-request-id"])
    assert (work.status, work.percent_complete, work.operation_type) == ("SUCCEEDED", 100, "STOP_CONTAINER_INSTANCE")
    assert cloud.containers.get_container_instance(made.id).data.lifecycle_state == "INACTIVE"
    with pytest.raises(httpx.ConnectError):
        status(address)

    started = cloud.containers.start_container_instance(made.id)
    cloud.finished(started.headers["opc-work-request-id"])
    assert status(address) == 200

    deleted = cloud.containers.delete_container_instance(made.id)
    cloud.finished(deleted.headers["opc-work-request-id"])
    assert cloud.containers.get_container_instance(made.id).data.lifecycle_state == "DELETED"
    cloud.passes(7200)
    with pytest.raises(oci.exceptions.ServiceError) as missing:
        cloud.containers.get_container_instance(made.id)
    assert (missing.value.status, missing.value.code) == (404, "NotAuthorizedOrNotFound")


@pytest.mark.parametrize(("image", "state"), [("web:missing", "FAILED"), ("web:bad", "ACTIVE"), ("web:good", "ACTIVE")])
def test_an_images_tag_says_how_its_program_behaves(cloud: Ground, image: str, state: str) -> None:
    made = cloud.instance(image)
    assert made.lifecycle_state == state
    if image == "web:missing":
        created = cloud.containers.list_work_requests(cloud.simulator.compartment, resource_id=made.id)
        errors = cloud.containers.list_work_request_errors(created.data.items[0].id).data.items
        assert [(error.code, error.message) for error in errors] == [("ImagePullFailed", "Failed to pull web:missing")]
    else:
        assert status(cloud.address(made)) == (503 if image == "web:bad" else 200)


def test_a_program_that_is_out_of_memory_is_killed_and_started_again(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.ail(made.id, "oom", cure="once")
    killed = cloud.until(lambda: c if (c := cloud.container(made)).exit_code == 137 else None)
    assert (killed.lifecycle_state, killed.lifecycle_details) == ("INACTIVE", "OOMKilled")
    again = cloud.until(lambda: c if (c := cloud.container(made)).lifecycle_state == "ACTIVE" else None)
    assert again.container_restart_attempt_count == 1
    previous = cloud.containers.retrieve_logs(again.id, is_previous=True).data.text
    assert "out of memory" in previous


def test_too_little_memory_kills_at_every_start(cloud: Ground) -> None:
    made = cloud.instance(MEMORY_DEMAND_GB="3", policy="NEVER")
    cloud.until(lambda: cloud.containers.get_container_instance(made.id).data.lifecycle_state == "INACTIVE")
    assert cloud.container(made).exit_code == 137


def test_a_crash_loop_ends_only_with_an_asked_restart(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.ail(made.id, "exit", code=3)
    cloud.until(lambda: cloud.container(made).container_restart_attempt_count >= 2)
    assert cloud.container(made).exit_code == 3
    cloud.finished(cloud.containers.restart_container_instance(made.id).headers["opc-work-request-id"])
    cloud.passes(600)
    assert cloud.container(made).container_restart_attempt_count == 0
    assert status(cloud.address(made)) == 200


def test_a_hanging_program_answers_nothing_until_it_is_restarted(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.ail(made.id, "hang")
    with pytest.raises(httpx.ReadTimeout):
        web.get(cloud.address(made), timeout=0.3)
    cloud.finished(cloud.containers.restart_container_instance(made.id).headers["opc-work-request-id"])
    assert status(cloud.address(made)) == 200


def test_an_action_in_the_wrong_state_is_refused(cloud: Ground) -> None:
    made = cloud.instance()
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.containers.start_container_instance(made.id)
    assert (refused.value.status, refused.value.code) == (409, "IncorrectState")


def test_a_changed_resource_does_not_match_its_old_etag(cloud: Ground) -> None:
    made = cloud.instance()
    etag = cloud.containers.get_container_instance(made.id).headers["etag"]
    change = oci.container_instances.models.UpdateContainerInstanceDetails(display_name="other")
    updated = cloud.containers.update_container_instance(made.id, change, if_match=etag)
    cloud.finished(updated.headers["opc-work-request-id"])
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.containers.update_container_instance(made.id, change, if_match=etag)
    assert (refused.value.status, refused.value.code) == (412, "NoEtagMatch")


def test_the_same_retry_token_creates_once(cloud: Ground) -> None:
    details = cloud.details()
    first = cloud.containers.create_container_instance(details, opc_retry_token="one")
    second = cloud.containers.create_container_instance(details, opc_retry_token="one")
    assert (first.data.id, first.headers["etag"]) == (second.data.id, second.headers["etag"])
    created = [effect for effect in cloud.simulator.effects() if effect.effect == "create accepted"]
    assert [effect.resource for effect in created].count(first.data.id) == 1
    details.display_name = "other"
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.containers.create_container_instance(details, opc_retry_token="one")
    assert (refused.value.status, refused.value.code) == (409, "InvalidatedRetryToken")
    details.display_name = "web"
    cloud.finished(first.headers["opc-work-request-id"])
    cloud.finished(cloud.containers.delete_container_instance(first.data.id).headers["opc-work-request-id"])
    with pytest.raises(oci.exceptions.ServiceError) as gone:
        cloud.containers.create_container_instance(details, opc_retry_token="one")
    assert (gone.value.status, gone.value.code) == (409, "InvalidatedRetryToken")


def test_the_same_retry_token_creates_once_however_many_send_it_at_once(cloud: Ground) -> None:
    details, client = cloud.details(), cloud.containers
    before = len(cloud.simulator.requested())

    def create(token: str) -> str:
        return str(client.create_container_instance(details, opc_retry_token=token).data.id)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, ["same"] * 8 + ["a", "b", "c"]))
    assert (len(set(made[:8])), len(set(made))) == (1, 4)
    assert len(cloud.simulator.requested()) - before == 4
    cloud.passes(100)
    addresses = {cloud.address(client.get_container_instance(id).data) for id in made}
    assert len(addresses) == 4


def test_lists_come_in_pages(cloud: Ground) -> None:
    for _ in range(3):
        cloud.instance()
    compartment = cloud.simulator.compartment
    whole = cloud.containers.list_container_instances(compartment).data.items
    page = cloud.containers.list_container_instances(compartment, limit=2)
    assert (len(page.data.items), page.has_next_page) == (2, True)
    paged = oci.pagination.list_call_get_all_results(
        cloud.containers.list_container_instances, compartment, limit=2
    ).data
    assert [one.id for one in paged] == [one.id for one in whole]
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        cloud.containers.list_container_instances(compartment, page="nonsense")
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameter")


def test_what_is_asked_is_checked_against_the_models(cloud: Ground) -> None:
    details = cloud.details()
    details.subnet_id = None
    details.vnics[0].subnet_id = "ocid1.subnet.oc1..nowhere"
    with pytest.raises(oci.exceptions.ServiceError) as related:
        cloud.containers.create_container_instance(details)
    assert (related.value.status, related.value.code) == (400, "RelatedResourceNotAuthorizedOrNotFound")
    details.vnics = None
    with pytest.raises(oci.exceptions.ServiceError) as missing:
        cloud.containers.create_container_instance(details)
    assert missing.value.code == "InvalidParameter"
    assert "requires vnics" in missing.value.message


def test_lists_are_sorted_as_asked_and_the_newest_first_else(cloud: Ground) -> None:
    made = [cloud.instance().id for _ in range(2)]
    compartment, client = cloud.simulator.compartment, cloud.containers
    assert [one.id for one in client.list_container_instances(compartment).data.items[:2]] == made[::-1]
    oldest_first = client.list_container_instances(compartment, sort_by="timeCreated", sort_order="ASC").data.items
    assert [one.id for one in oldest_first[-2:]] == made
    names = [one.display_name for one in client.list_container_instances(compartment, sort_by="displayName").data.items]
    assert names == sorted(names)


TROUBLES: dict[str, Any] = {"throttle": (429, "TooManyRequests"), "fail": (500, "InternalServerError")}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_ordered_trouble_meets_the_next_requests_only(cloud: Ground, trouble: Any) -> None:
    made = cloud.instance()
    cloud.simulator.order(Order(trouble, "container_instances.*.get_container_instance", count=2))
    for _ in range(2):
        with pytest.raises(oci.exceptions.ServiceError) as refused:
            cloud.containers.get_container_instance(made.id)
        assert (refused.value.status, refused.value.code) == TROUBLES[trouble]
        assert refused.value.request_id
    assert cloud.containers.get_container_instance(made.id).status == 200


def test_the_sdks_retries_outlast_throttling(cloud: Ground) -> None:
    made = cloud.instance()
    retries = oci.retry.RetryStrategyBuilder(
        max_attempts=4, retry_base_sleep_time_seconds=0.01, retry_max_wait_between_calls_seconds=0.02
    ).get_retry_strategy()
    cloud.simulator.order(Order("throttle", count=3))
    client = cloud.new_client(CONTAINERS, retry_strategy=retries)
    assert client.get_container_instance(made.id).data.id == made.id
    assert cloud.simulator.cloud.orders.open() == []


def test_a_cut_connection_leaves_the_change_done_or_not(cloud: Ground) -> None:
    made = cloud.instance()
    before = len(cloud.simulator.requested())
    cloud.simulator.order(Order("drop_before", "*.stop_container_instance"))
    with pytest.raises(oci.exceptions.RequestException):
        cloud.containers.stop_container_instance(made.id)
    assert len(cloud.simulator.requested()) == before
    cloud.simulator.order(Order("drop_after", "*.stop_container_instance"))
    with pytest.raises(oci.exceptions.RequestException):
        cloud.containers.stop_container_instance(made.id)
    [done] = cloud.simulator.requested()[before:]
    assert (done.resource, done.effect) == (made.id, "stop accepted")


def test_a_work_request_fails_as_ordered_and_says_why(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.order(Order("fail_work", "*.stop_*", code="InternalError", message="the host is gone"))
    work = cloud.finished(cloud.containers.stop_container_instance(made.id).headers["opc-work-request-id"])
    assert work.status == "FAILED"
    errors = cloud.containers.list_work_request_errors(work.id).data.items
    assert [(error.code, error.message) for error in errors] == [("InternalError", "the host is gone")]
    assert cloud.containers.get_container_instance(made.id).data.lifecycle_state == "ACTIVE"


def test_a_slow_work_request_shows_its_percentage(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.order(Order("slow_work", seconds=980 / SPEED))  # and the usual twenty
    begun = cloud.containers.stop_container_instance(made.id).headers["opc-work-request-id"]
    assert cloud.containers.get_work_request(begun).data.status == "ACCEPTED"
    cloud.passes(500)
    half = cloud.containers.get_work_request(begun).data
    assert (half.status, half.percent_complete) == ("IN_PROGRESS", 50)
    cloud.passes(490)
    assert cloud.containers.get_work_request(begun).data.percent_complete == 99
    cloud.passes(11)
    assert cloud.containers.get_work_request(begun).data.status == "SUCCEEDED"


def test_looking_changes_nothing(cloud: Ground) -> None:
    made = cloud.instance()
    before, effects = cloud.simulator.cloud.state.fingerprint(), cloud.simulator.requested()
    cloud.containers.list_container_instances(cloud.simulator.compartment)
    cloud.containers.list_containers(cloud.simulator.compartment, container_instance_id=made.id)
    cloud.containers.retrieve_logs(made.containers[0].container_id)
    assert (cloud.simulator.cloud.state.fingerprint(), cloud.simulator.requested()) == (before, effects)


def test_every_answer_says_that_it_is_simulated(cloud: Ground) -> None:
    found = cloud.containers.list_container_instances(cloud.simulator.compartment, opc_request_id="asked")
    assert found.headers["opc-simulator"] == "uici"
    assert found.headers["opc-request-id"].startswith("asked/")
